use aws_sdk_dynamodb::types::{AttributeValue, TimeToLiveSpecification};
use aws_sdk_dynamodbstreams::types::OperationType;
use headwater_local_store::{Environment, Settings};

use crate::world::{World, create_table, get, put, s, until};

#[tokio::test]
async fn an_expired_item_is_removed_by_the_service_and_others_stay() {
    let settings = Settings { ttl_sweep_ms: 10, ..Settings::default() };
    let environment = Environment::default();
    let health = environment.health.clone();
    let world = World::start_in(settings, environment);
    let client = world.client();
    create_table(&client, "expiring").await;
    let time_to_live = TimeToLiveSpecification::builder().enabled(true).attribute_name("until").build().unwrap();
    let update = client.update_time_to_live().table_name("expiring").time_to_live_specification(time_to_live);
    update.send().await.unwrap();
    put(&client, "expiring", "without", "1").await;
    for (key, until) in [("past", "1000000000"), ("future", "4000000000")] {
        let until = AttributeValue::N(until.to_owned());
        client.put_item().table_name("expiring").item("k", s(key)).item("until", until).send().await.unwrap();
    }
    let removal = until("the expiry", async || {
        let all = world.records("expiring").await;
        all.into_iter().find(|record| record.event_name == Some(OperationType::Remove))
    })
    .await;
    assert!(removal.user_identity().is_some(), "the mark of the service");
    let change = removal.dynamodb().unwrap();
    assert_eq!(change.old_image().unwrap()["k"].as_s().unwrap(), "past");
    assert!(change.new_image().is_none());
    assert!(get(&client, "expiring", "past").await.is_none());
    assert!(get(&client, "expiring", "future").await.is_some());
    assert!(get(&client, "expiring", "without").await.is_some());
    until("its count", async || (health.status()["local-store"]["expired_items"] == 1).then_some(())).await;
    assert!(health.is_ready());
}
