//! Delta tables made by the library that the product uses, read by the harness's own path.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray};
use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, DataType, PrimitiveType, Remove, StructField, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use headwater_common::change::{Op, TableName};
use headwater_tests::lake;

const COLUMNS: &[(&str, PrimitiveType)] = &[
    ("_key", PrimitiveType::String),
    ("_version", PrimitiveType::Long),
    ("_op", PrimitiveType::String),
    ("_date", PrimitiveType::Date),
    ("_log_partition", PrimitiveType::Integer),
    ("_log_offset", PrimitiveType::Long),
    ("_event_id", PrimitiveType::String),
    ("_error", PrimitiveType::String),
    ("item", PrimitiveType::String),
];

async fn table(root: &Path, name: &str) -> DeltaTable {
    let path = root.join(name);
    std::fs::create_dir_all(&path).unwrap();
    let url = deltalake::ensure_table_uri(path.to_str().unwrap()).unwrap();
    let columns = COLUMNS.iter().map(|(name, kind)| StructField::nullable(*name, DataType::Primitive(kind.clone())));
    let table = DeltaTable::try_from_url(url).await.unwrap();
    let create = table.create().with_columns(columns).with_partition_columns(["_date"]);
    create.with_save_mode(SaveMode::ErrorIfExists).await.unwrap()
}

fn batch(from: i64, items: &[Option<&str>], error: Option<&str>) -> RecordBatch {
    let count = items.len() as i64;
    let texts = |text: &dyn Fn(i64) -> Option<String>| -> ArrayRef {
        Arc::new((from..from + count).map(text).collect::<StringArray>())
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("_key", texts(&|at| Some(format!("key{at}")))),
        ("_version", Arc::new((from..from + count).map(|at| Some(at + (1 << 60))).collect::<Int64Array>())),
        ("_op", texts(&|at| Some(if items[(at - from) as usize].is_some() { "u" } else { "d" }.into()))),
        ("_date", Arc::new(Date32Array::from(vec![19_000 + from as i32; items.len()]))),
        ("_log_partition", Arc::new(Int32Array::from(vec![3; items.len()]))),
        ("_log_offset", Arc::new((from..from + count).map(Some).collect::<Int64Array>())),
        ("_event_id", texts(&|at| Some(format!("event{at}")))),
        ("_error", texts(&|_| error.map(str::to_owned))),
        ("item", texts(&|at| items[(at - from) as usize].map(str::to_owned))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

async fn commit(table: &mut DeltaTable, actions: Vec<Action>, offset: i64) {
    let properties = CommitProperties::default()
        .with_application_transaction(Transaction::new("headwater/log/3", offset))
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false));
    let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
    let builder = CommitBuilder::from(properties).with_actions(actions);
    let log = table.log_store();
    builder.build(Some(table.snapshot().unwrap()), log, operation).await.unwrap();
    table.update_state().await.unwrap();
}

async fn append(table: &mut DeltaTable, rows: RecordBatch, offset: i64) -> Vec<Add> {
    let mut writer = RecordBatchWriter::for_table(table).unwrap();
    writer.write(rows).await.unwrap();
    let adds = writer.flush().await.unwrap();
    commit(table, adds.iter().cloned().map(Action::Add).collect(), offset).await;
    adds
}

fn removal(add: &Add) -> Action {
    Action::Remove(Remove {
        path: add.path.clone(),
        deletion_timestamp: Some(0),
        data_change: true,
        extended_file_metadata: Some(true),
        partition_values: Some(add.partition_values.clone()),
        size: Some(add.size),
        ..Remove::default()
    })
}

#[tokio::test]
async fn what_deltalake_committed_and_checkpointed_is_read_from_its_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = table(folder.path(), "t_history").await;
    let first = append(&mut table, batch(0, &[Some(r#"{"a":{"N":"1.0"}}"#), None], None), 1).await;
    append(&mut table, batch(10, &[Some(r#"{"b":{"SS":["x"]}}"#)], None), 10).await;
    commit(&mut table, first.iter().map(removal).collect(), 10).await;
    let unchecked = lake::table_log(&folder.path().join("t_history")).unwrap();
    deltalake::checkpoints::create_checkpoint(&table, None).await.unwrap();
    let name = |at: u64| folder.path().join(format!("t_history/_delta_log/{at:020}.json"));
    for version in 0..3 {
        std::fs::remove_file(name(version)).unwrap();
    }
    let checked = lake::table_log(&folder.path().join("t_history")).unwrap();
    assert_eq!(checked, unchecked, "the checkpoint says what the commits said");
    append(&mut table, batch(20, &[None], Some("not an envelope")), 20).await;

    let log = lake::table_log(&folder.path().join("t_history")).unwrap();
    let theirs: BTreeSet<String> =
        table.get_file_uris().unwrap().map(|uri| uri.rsplit('/').next().unwrap().to_owned()).collect();
    let ours: BTreeSet<String> = log.files.iter().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!((ours, log.version), (theirs, 4));
    assert_eq!(log.transactions["headwater/log/3"], 20);

    let rows = lake::history(folder.path(), &TableName::new("t")).unwrap();
    let row = rows.iter().find(|row| row.log_offset == 10).unwrap();
    assert_eq!((row.version, row.op, row.key.as_str()), (10 + (1 << 60), Some(Op::Modify), "key10"));
    assert_eq!(row.item.as_ref().unwrap().to_json(), r#"{"b":{"SS":["x"]}}"#);
    assert_eq!((row.log_partition, row.event_id.as_deref()), (3, Some("event10")));
    let dead = rows.iter().find(|row| row.error.is_some()).unwrap();
    assert_eq!((dead.log_offset, dead.item.as_ref()), (20, None));
    assert_eq!(rows.len(), 2);
}

/// For the Python readers.
pub async fn sample(root: &Path) {
    let mut history = table(root, "t_history").await;
    append(&mut history, batch(0, &[Some(r#"{"a":{"N":"1"}}"#), None, Some("{}")], None), 2).await;
    let mut current = table(root, "t_current").await;
    append(&mut current, batch(0, &[Some(r#"{"a":{"N":"1"}}"#)], None), 2).await;
    let read = lake::current(root, &TableName::new("t")).unwrap();
    assert_eq!((read.len(), read[0].version, read[0].key.as_str()), (1, 1 << 60, "key0"));
}
