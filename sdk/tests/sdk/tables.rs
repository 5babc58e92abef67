//! Tables are made as their definitions say, or refused with the remedy.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType, TimeToLiveSpecification,
};
use headwater_common::failure::Kind;
use headwater_sdk::{Ensured, Error, FeatureStore, TableFault};

use crate::support::{Bench, entities};

async fn create(client: &Client, table: &str, key: &[(&str, ScalarAttributeType)], view: Option<StreamViewType>) {
    let mut request = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    for (at, (name, kind)) in key.iter().enumerate() {
        let role = if at == 0 { KeyType::Hash } else { KeyType::Range };
        request = request
            .key_schema(KeySchemaElement::builder().attribute_name(*name).key_type(role).build().unwrap())
            .attribute_definitions(
                AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone()).build().unwrap(),
            );
    }
    if let Some(view) = view {
        let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view);
        request = request.stream_specification(stream.build().unwrap());
    }
    request.send().await.unwrap();
}

async fn refusal(bench: &Bench, entity: &str) -> TableFault {
    let error = bench.entity(entity).ensure_table().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Operator, "{error}");
    match error {
        Error::Table { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_missing_table_is_created_with_its_key_stream_and_time_to_live() {
    let bench = Bench::empty().await;
    let ensured = bench.store.ensure_tables().await.unwrap();
    assert!(ensured.values().all(|ensured| *ensured == Ensured::Created) && ensured.len() == 3);
    let client = bench.store.client();
    let table = client.describe_table().table_name("routes").send().await.unwrap().table.unwrap();
    let key: Vec<&str> = table.key_schema().iter().map(|element| element.attribute_name.as_str()).collect();
    assert_eq!(key, ["from", "day"]);
    let stream = table.stream_specification.unwrap();
    assert_eq!(stream.stream_view_type, Some(StreamViewType::NewAndOldImages));
    let ttl = client.describe_time_to_live().table_name("aircraft").send().await.unwrap();
    assert_eq!(ttl.time_to_live_description.unwrap().attribute_name.as_deref(), Some("expires"));
    let again = bench.store.ensure_tables().await.unwrap();
    assert!(again.values().all(|ensured| *ensured == Ensured::Existed));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_create_one_table_at_once_all_succeed() {
    let bench = Bench::empty().await;
    let created: Vec<_> = (0..4).map(|_| bench.entity("aircraft")).collect();
    let created: Vec<_> =
        created.into_iter().map(|store| tokio::spawn(async move { store.create_table().await })).collect();
    let mut makers = 0;
    for one in created {
        makers += usize::from(one.await.unwrap().unwrap() == Ensured::Created);
    }
    assert_eq!(makers, 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_table_with_another_key_is_refused() {
    let bench = Bench::empty().await;
    let images = Some(StreamViewType::NewAndOldImages);
    create(
        bench.store.client(),
        "routes",
        &[("from", ScalarAttributeType::S), ("day", ScalarAttributeType::S)],
        images,
    )
    .await;
    let fault = refusal(&bench, "route").await;
    assert_eq!(
        fault.to_string(),
        "has the key (from S HASH, day S RANGE) and its definition (from S HASH, day N RANGE): a table's key never \
         changes, so correct `key`, or name another table"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_table_without_a_stream_of_new_images_is_refused_with_the_command_that_mends_it() {
    let bench = Bench::empty().await;
    let client = bench.store.client();
    create(client, "aircraft", &[("tail", ScalarAttributeType::S)], None).await;
    create(client, "blob", &[("id", ScalarAttributeType::B)], Some(StreamViewType::KeysOnly)).await;
    let fault = refusal(&bench, "aircraft").await;
    assert_eq!(
        fault.to_string(),
        "has no change stream, so nothing can follow it: switch it on by `aws dynamodb update-table --table-name \
         aircraft --stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES`"
    );
    let fault = refusal(&bench, "blob").await;
    assert!(matches!(&fault, TableFault::StreamView { found, .. } if found == "KEYS_ONLY"), "{fault}");
    bench.stop().await;
}

#[tokio::test]
async fn a_time_to_live_that_is_off_is_switched_on_and_another_one_is_refused() {
    let bench = Bench::empty().await;
    let client = bench.store.client();
    create(client, "aircraft", &[("tail", ScalarAttributeType::S)], Some(StreamViewType::NewImage)).await;
    assert_eq!(bench.entity("aircraft").ensure_table().await.unwrap(), Ensured::Existed);
    let ttl = client.describe_time_to_live().table_name("aircraft").send().await.unwrap();
    assert_eq!(ttl.time_to_live_description.unwrap().attribute_name.as_deref(), Some("expires"));

    create(client, "other", &[("tail", ScalarAttributeType::S)], Some(StreamViewType::NewImage)).await;
    let foreign = TimeToLiveSpecification::builder().enabled(true).attribute_name("gone").build().unwrap();
    client.update_time_to_live().table_name("other").time_to_live_specification(foreign).send().await.unwrap();
    let mut definition = entities().remove(0);
    definition.table = Some("other".into());
    let store = FeatureStore::connect(Some(&bench.endpoint), vec![definition]).await.unwrap();
    let error = store.entity("aircraft").unwrap().ensure_table().await.unwrap_err().to_string();
    assert!(
        error.starts_with("table `other` has its time to live in `gone` and its definition in `expires`"),
        "{error}"
    );
    bench.stop().await;
}
