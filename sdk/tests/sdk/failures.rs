//! Failures are typed, and say what to do.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_dynamodb::Client;
use headwater_common::failure::Kind;
use headwater_sdk::{Changes, EntityStore, Error, FeatureStore, ItemBuilder, Put, sdk_config};

use crate::relay::{Relay, Step};
use crate::support::{Bench, at, entities};

#[tokio::test]
async fn a_missing_table_is_told_from_a_missing_item() {
    let bench = Bench::empty().await;
    let store = bench.entity("aircraft");
    for error in [
        store.get("N1").await.unwrap_err(),
        store.put(ItemBuilder::new().set("tail", "N1"), at(1)).await.unwrap_err(),
        store.update("N1", Changes::new().set("flights", 1), at(1)).await.unwrap_err(),
        store.delete("N1").await.unwrap_err(),
        store.batch_get(["N1"]).await.unwrap_err(),
    ] {
        assert!(matches!(&error, Error::TableMissing { table, .. } if table.as_str() == "aircraft"), "{error}");
        assert_eq!(error.kind(), Kind::Operator);
    }
    bench.stop().await;
}

#[tokio::test]
async fn what_is_invalid_is_told_by_name_and_never_sent() {
    let bench = Bench::empty().await;
    let store = bench.entity("aircraft");
    let item = ItemBuilder::new().set("tail", "N1").set("dealy", 1).set("flights", 1.5).set("profile", vec![1.0_f32]);
    let error = store.put(item, at(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "aircraft: `dealy` is not in the definition; did you mean `delay`?; `flights` is not a whole number of 64 \
         bits; `profile` is not a list of 3 numbers that floats can hold"
    );
    assert_eq!(error.kind(), Kind::Poison);
    let Error::Invalid(invalid) = error else { panic!("{error}") };
    let names: Vec<&str> = invalid.faults.iter().map(|fault| fault.attribute.as_str()).collect();
    assert_eq!(names, ["dealy", "flights", "profile"]);
    bench.stop().await;
}

#[tokio::test]
async fn an_unknown_entity_is_told_with_the_nearest_known_one() {
    let store = FeatureStore::connect(Some("http://127.0.0.1:1"), entities()).await.unwrap();
    let error = store.entity("aircarft").err().unwrap().to_string();
    assert_eq!(error, "no definition of the entity `aircarft`; did you mean `aircraft`?");
    let error = FeatureStore::connect(Some("127.0.0.1:8000"), entities()).await.err().unwrap().to_string();
    assert_eq!(error, "the endpoint `127.0.0.1:8000` is no URL: write it as http://host:port");
}

#[tokio::test]
async fn a_server_that_is_gone_is_trouble_that_may_pass() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    bench.stop().await;
    let error = store.get("N1").await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { operation: "get", .. }), "{error}");
    assert_eq!(error.kind(), Kind::Transient);
}

/// A store through `relay` whose client tries each call twice.
async fn impatient(relay: &Relay) -> EntityStore {
    let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(1));
    let config = sdk_config(Some(&relay.endpoint)).await.into_builder().retry_config(retries).build();
    FeatureStore::new(Client::new(&config), entities()).entity("aircraft").unwrap()
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_counts_once_and_is_applied() {
    let bench = Bench::start().await;
    let relay = Relay::start(&bench.endpoint, vec![Step::LoseAnswer, Step::LoseAnswer]).await;
    let store = FeatureStore::connect(Some(&relay.endpoint), entities()).await.unwrap().entity("aircraft").unwrap();
    let item = ItemBuilder::new().set("tail", "N1").set("flights", 1);
    assert_eq!(store.put(item, at(10)).await.unwrap(), Put::Applied);
    assert_eq!(relay.requests(), 3);
    let relay = Relay::start(&bench.endpoint, vec![Step::LoseAnswer]).await;
    let store = FeatureStore::connect(Some(&relay.endpoint), entities()).await.unwrap().entity("aircraft").unwrap();
    let changes = Changes::new().set("flights", 2).remove("delay");
    assert_eq!(store.update("N1", changes, at(11)).await.unwrap(), Put::Applied);
    assert_eq!(relay.requests(), 2);
    bench.stop().await;
}

#[tokio::test]
async fn trouble_that_passes_is_bridged_by_retries() {
    let bench = Bench::start().await;
    for (status, code) in [
        (400, "ProvisionedThroughputExceededException"),
        (400, "ThrottlingException"),
        (400, "RequestLimitExceeded"),
        (500, "InternalServerError"),
    ] {
        let relay = Relay::start(&bench.endpoint, vec![Step::Fail { status, code }]).await;
        assert_eq!(impatient(&relay).await.get("N1").await.unwrap(), None, "{code}");
        assert_eq!(relay.requests(), 2, "{code}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn what_the_service_answers_is_classified_by_its_code() {
    let bench = Bench::start().await;
    for (status, code, kind, attempts, name) in [
        (400, "ProvisionedThroughputExceededException", Kind::Transient, 2, "Throttled"),
        (400, "ThrottlingException", Kind::Transient, 2, "Throttled"),
        (400, "RequestLimitExceeded", Kind::Transient, 2, "Throttled"),
        (500, "InternalServerError", Kind::Transient, 2, "Unavailable"),
        (503, "ServiceUnavailable", Kind::Transient, 2, "Unavailable"),
        (400, "TransactionConflictException", Kind::Transient, 1, "Unavailable"),
        (400, "AccessDeniedException", Kind::Operator, 1, "Denied"),
        (400, "UnrecognizedClientException", Kind::Operator, 1, "Denied"),
        (400, "ResourceNotFoundException", Kind::Operator, 1, "TableMissing"),
        (400, "ValidationException", Kind::Poison, 1, "Refused"),
        (400, "ItemCollectionSizeLimitExceededException", Kind::Poison, 1, "Refused"),
    ] {
        let relay = Relay::start(&bench.endpoint, vec![Step::Fail { status, code }; 2]).await;
        let item = ItemBuilder::new().set("tail", "N1");
        let error = impatient(&relay).await.put(item, at(1)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(format!("{error:?}").starts_with(name), "{code}: {error:?}");
        assert_eq!(relay.requests(), attempts, "{code}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn without_credentials_the_remedy_is_named() {
    let config = sdk_config(Some("http://127.0.0.1:1")).await.into_builder();
    let client = Client::new(&config.credentials_provider(SharedCredentialsProvider::new(Nobody)).build());
    let store = FeatureStore::new(client, entities()).entity("aircraft").unwrap();
    let error = store.get("N1").await.unwrap_err();
    assert!(matches!(&error, Error::Denied { operation: "get", .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "get on table `aircraft` is not authorised (no credentials): check the credentials and their policy"
    );
}

#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("nobody is logged in")))
    }
}
