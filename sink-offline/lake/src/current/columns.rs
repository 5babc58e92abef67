//! The columns of `<table>_current`, which follow from history's. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoArrow;
use headwater_sink_offline::delta::{Format, Metadata};
use headwater_sink_offline::schema;
use serde_json::{Value, json};

/// The partition column: the bucket of the key's hash.
pub const BUCKET: &str = "_bucket";
/// The table property that fixes the number of buckets when the table is made.
pub const BUCKETS_PROPERTY: &str = "headwater.buckets";
/// The table property that names, by its id, the history that a `<table>_current` is made from.
pub const SOURCE_PROPERTY: &str = "headwater.source";

/// What says something of a change and nothing of the item.
const OF_THE_CHANGE: [&str; 9] = [
    schema::OP,
    schema::DATE,
    schema::SEQ,
    schema::SHARD,
    schema::EVENT_ID,
    schema::LOG_PARTITION,
    schema::LOG_OFFSET,
    schema::CHANGED,
    schema::ERROR,
];

/// Whether history's column of this name is one of current's too.
pub fn is_carried(column: &str) -> bool {
    !OF_THE_CHANGE.contains(&column)
}

/// The metadata of a `<table>_current` that follows from history's; `old` keeps its identity, its properties, and the
/// columns that history has no more.
pub fn current_metadata(
    history: &Metadata,
    old: Option<&Metadata>,
    name: &str,
    properties: BTreeMap<String, Option<String>>,
    now_ms: i64,
) -> Result<Metadata, String> {
    let mut fields: Vec<Value> = match old {
        Some(old) => fields_of(&old.schema_string)?,
        None => Vec::new(),
    };
    let known: Vec<String> = fields.iter().filter_map(name_of).map(str::to_lowercase).collect();
    let carried = fields_of(&history.schema_string)?
        .into_iter()
        .filter(|field| name_of(field).is_some_and(|name| is_carried(name) && !known.contains(&name.to_lowercase())));
    fields.extend(carried);
    if !known.iter().any(|name| name == BUCKET) {
        fields.push(json!({"name": BUCKET, "type": "integer", "nullable": true, "metadata": {}}));
    }
    let schema_string = json!({"type": "struct", "fields": fields}).to_string();
    Ok(match old {
        Some(old) => Metadata { schema_string, ..old.clone() },
        None => Metadata {
            id: uuid::Uuid::new_v4().to_string(),
            name: Some(name.to_owned()),
            description: Some("the newest state of every item".to_owned()),
            format: Format::default(),
            schema_string,
            partition_columns: vec![BUCKET.to_owned()],
            configuration: properties,
            created_time: Some(now_ms),
        },
    })
}

/// The columns of a table as Arrow has them, partition columns among them.
pub fn arrow_schema(metadata: &Metadata) -> Result<SchemaRef, String> {
    let parsed: StructType = serde_json::from_str(&metadata.schema_string).map_err(|error| error.to_string())?;
    let schema: Schema = (&parsed).try_into_arrow().map_err(|error| error.to_string())?;
    Ok(Arc::new(schema))
}

/// The columns that a table's files have: all but the partition columns.
pub fn file_schema(metadata: &Metadata) -> Result<SchemaRef, String> {
    let schema = arrow_schema(metadata)?;
    let in_files = schema.fields().iter().filter(|field| !metadata.partition_columns.contains(field.name()));
    Ok(Arc::new(Schema::new(in_files.cloned().collect::<Vec<_>>())))
}

/// The number of buckets of a table; a table without the property is refused by `None`.
pub fn buckets_of(metadata: &Metadata) -> Option<u16> {
    metadata.property(BUCKETS_PROPERTY)?.parse().ok().filter(|buckets| *buckets > 0)
}

fn fields_of(schema_string: &str) -> Result<Vec<Value>, String> {
    let schema: Value = serde_json::from_str(schema_string).map_err(|error| error.to_string())?;
    match schema {
        Value::Object(mut object) => match object.remove("fields") {
            Some(Value::Array(fields)) => Ok(fields),
            _ => Err("it has no fields".to_owned()),
        },
        _ => Err("it is no struct".to_owned()),
    }
}

fn name_of(field: &Value) -> Option<&str> {
    field.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use headwater_common::definition::Entity;
    use headwater_sink_offline::schema::HistorySchema;

    use super::*;

    fn history(features: Value) -> Metadata {
        let entity: Entity = serde_json::from_value(json!({
            "entity": "aircraft",
            "key": {"partition": {"name": "tail", "type": "string"}},
            "features": features,
        }))
        .unwrap();
        Metadata {
            id: "x".into(),
            name: None,
            description: None,
            format: Format::default(),
            schema_string: HistorySchema::of(&entity).unwrap().schema_string(),
            partition_columns: vec!["_date".into()],
            configuration: BTreeMap::new(),
            created_time: None,
        }
    }

    #[test]
    fn current_has_the_items_columns_and_its_bucket() {
        let one = history(json!([{"name": "delay", "type": {"decimal": {"precision": 38, "scale": 2}}}]));
        let made = current_metadata(&one, None, "aircraft_current", BTreeMap::new(), 0).unwrap();
        let schema = arrow_schema(&made).unwrap();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let expected = [
            "_key",
            "_pk",
            "_sk",
            "_version",
            "_event_ts",
            "_event_time",
            "_commit_ts",
            "item",
            "delay",
            "_rescued",
            "_bucket",
        ];
        assert_eq!(names, expected);
        assert_eq!(file_schema(&made).unwrap().fields().len(), expected.len() - 1);
    }

    #[test]
    fn a_new_feature_is_added_and_the_table_stays_the_same_table() {
        let one = history(json!([{"name": "delay", "type": "long"}]));
        let two = history(json!([{"name": "delay", "type": "long"}, {"name": "gate", "type": "keyword"}]));
        let old = current_metadata(&one, None, "n", BTreeMap::from([(BUCKETS_PROPERTY.into(), Some("4".into()))]), 0);
        let old = old.unwrap();
        assert_eq!(current_metadata(&one, Some(&old), "n", BTreeMap::new(), 9).unwrap(), old);
        let new = current_metadata(&two, Some(&old), "n", BTreeMap::new(), 9).unwrap();
        assert_eq!((new.id.clone(), buckets_of(&new)), (old.id.clone(), Some(4)));
        assert!(arrow_schema(&new).unwrap().column_with_name("gate").is_some());
    }
}
