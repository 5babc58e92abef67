use aws_sdk_dynamodbstreams::types::{AttributeValue, OperationType};

use crate::world::{World, create_table, put, s, stream};

#[tokio::test]
async fn a_stream_shows_every_change_in_order_with_both_images() {
    let world = World::start();
    let client = world.client();
    create_table(&client, "images").await;
    put(&client, "images", "a", "1").await;
    put(&client, "images", "a", "2").await;
    client.delete_item().table_name("images").key("k", s("a")).send().await.unwrap();
    let seen: Vec<_> = world
        .records("images")
        .await
        .into_iter()
        .map(|record| {
            let change = record.dynamodb.unwrap();
            let value = |image: Option<std::collections::HashMap<String, AttributeValue>>| {
                image.map(|image| image["v"].as_s().unwrap().clone())
            };
            (record.event_name.unwrap(), value(change.old_image), value(change.new_image))
        })
        .collect();
    let (one, two) = (Some("1".to_owned()), Some("2".to_owned()));
    assert_eq!(
        seen,
        [
            (OperationType::Insert, None, one.clone()),
            (OperationType::Modify, one, two.clone()),
            (OperationType::Remove, two, None)
        ]
    );
}

#[tokio::test]
async fn a_table_created_again_begins_with_an_empty_stream() {
    let world = World::start();
    let client = world.client();
    create_table(&client, "again").await;
    put(&client, "again", "old", "1").await;
    let old = world.numbers("again").await;
    client.delete_table().table_name("again").send().await.unwrap();
    create_table(&client, "again").await;
    assert_eq!(world.numbers("again").await, [""; 0]);
    put(&client, "again", "new", "1").await;
    let new = world.numbers("again").await;
    assert_eq!(new.len(), 1);
    assert!(new[0] > old[0], "{new:?} after {old:?}");
}

#[tokio::test]
async fn a_stream_switched_on_again_begins_empty_and_other_tables_keep_theirs() {
    let world = World::start();
    let client = world.client();
    for table in ["switched", "other"] {
        create_table(&client, table).await;
        put(&client, table, "a", "1").await;
    }
    for enabled in [false, true] {
        let update = client.update_table().table_name("switched").stream_specification(stream(enabled));
        update.send().await.unwrap();
    }
    assert_eq!(world.records("switched").await.len(), 0);
    assert_eq!(world.records("other").await.len(), 1);
}
