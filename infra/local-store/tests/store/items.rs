use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue::{B, Bool, Bs, L, M, N, Ns, Null, S, Ss};

use crate::world::{World, create_table, get, s};

#[tokio::test]
async fn an_item_of_every_type_comes_back_as_it_was_written() {
    let world = World::start();
    let client = world.client();
    create_table(&client, "types").await;
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let item = HashMap::from([
        ("k".to_owned(), s("every")),
        ("text".to_owned(), S("snow ☃, quote \", line\n".to_owned())),
        ("empty text".to_owned(), s("")),
        ("whole".to_owned(), N("12345678901234567890123456789012345678".to_owned())),
        ("fraction".to_owned(), N("0.12345678901234567890123456789012345678".to_owned())),
        ("negative".to_owned(), N("-99999999999999999999999999999999999999".to_owned())),
        ("truth".to_owned(), Bool(true)),
        ("nothing".to_owned(), Null(true)),
        ("bytes".to_owned(), B(Blob::new([0, 255, 10, 13]))),
        ("no bytes".to_owned(), B(Blob::new([]))),
        ("texts".to_owned(), Ss(texts(&["a", "b"]))),
        ("numbers".to_owned(), Ns(texts(&["1", "12345678901234567890123456789012345678"]))),
        ("blobs".to_owned(), Bs(vec![Blob::new([1]), Blob::new([2])])),
        ("list".to_owned(), L(vec![s("a"), N("1".to_owned()), L(vec![]), Null(true)])),
        ("map".to_owned(), M(HashMap::from([("inner".to_owned(), M(HashMap::new()))]))),
    ]);
    client.put_item().table_name("types").set_item(Some(item.clone())).send().await.unwrap();
    let mut found = get(&client, "types", "every").await.unwrap();
    if let Some(Ns(numbers)) = found.get_mut("numbers") {
        numbers.sort();
    }
    assert_eq!(found, item);
}

#[tokio::test]
async fn a_conditional_write_is_refused_when_its_condition_fails() {
    let world = World::start();
    let client = world.client();
    create_table(&client, "conditions").await;
    let put = |time: u32| {
        let time = N(time.to_string());
        let put = client.put_item().table_name("conditions").item("k", s("a")).item("event_time", time.clone());
        put.condition_expression("attribute_not_exists(k) OR event_time < :t")
            .expression_attribute_values(":t", time)
            .send()
    };
    put(5).await.unwrap();
    put(6).await.unwrap();
    let refused = put(6).await.unwrap_err().into_service_error();
    assert!(refused.is_conditional_check_failed_exception(), "{refused:?}");
    assert_eq!(get(&client, "conditions", "a").await.unwrap()["event_time"], N("6".to_owned()));
    assert_eq!(world.records("conditions").await.len(), 2);
}
