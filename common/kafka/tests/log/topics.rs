//! Topics that were made otherwise than they have to be.

use std::sync::Arc;

use headwater_common::clock::SystemClock;
use headwater_common::failure::Kind;
use headwater_common::health::Health;
use headwater_common::log::ChangeLog;
use headwater_conformance::table;
use headwater_kafka::{KafkaLog, Settings};
use headwater_tests::servers;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};

use crate::pipeline::Pipeline;

async fn make(pipeline: &Pipeline, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let made = pipeline.admin().create_topics([&topic], &AdminOptions::new()).await.unwrap();
    made.into_iter().for_each(|one| drop(one.unwrap()));
}

/// GIVEN a topic with one setting that is not as it has to be WHEN its table is opened THEN it is refused with the
/// setting, what it is and what it has to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_other_settings_is_refused_by_name() {
    let Some(bootstrap) = servers::kafka() else { return };
    let good = [
        ("cleanup.policy", "delete"),
        ("message.timestamp.type", "LogAppendTime"),
        ("max.message.bytes", "8388608"),
        ("retention.ms", "-1"),
    ];
    let cases = [
        (3, "cleanup.policy", "compact", "cleanup.policy is compact, and has to be delete"),
        (
            3,
            "message.timestamp.type",
            "CreateTime",
            "message.timestamp.type is CreateTime, and has to be LogAppendTime",
        ),
        (3, "max.message.bytes", "1048576", "max.message.bytes is 1048576, and has to be 8388608 or more"),
        (3, "retention.ms", "60000", "retention.ms is 60000, and has to be 604800000 or more"),
        (5, "cleanup.policy", "delete", "partitions is 5, and has to be 3"),
    ];
    for (partitions, name, value, wanted) in cases {
        let pipeline = Pipeline::new(bootstrap.clone());
        let settings = good.map(|(known, good)| if known == name { (known, value) } else { (known, good) });
        make(&pipeline, &pipeline.topic("aircraft"), partitions, &settings).await;
        let refused = pipeline.connect().await.open_table(&table()).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Operator);
        assert!(refused.to_string().ends_with(wanted), "{refused}");
        assert!(refused.to_string().contains(&pipeline.topic("aircraft")), "{refused}");
        pipeline.remove().await;
    }
}

/// GIVEN a ledger that was made with other slots, or not compacted WHEN a worker joins THEN it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_with_other_slots_or_without_compaction_is_refused() {
    let Some(bootstrap) = servers::kafka() else { return };
    for (slots, policy, wanted) in [
        (7, "compact", "partitions is 7, and has to be 4"),
        (4, "delete", "cleanup.policy is delete, and has to be compact"),
    ] {
        let pipeline = Pipeline::new(bootstrap.clone());
        make(&pipeline, &format!("{}.ledger", pipeline.settings.prefix), slots, &[("cleanup.policy", policy)]).await;
        let log = pipeline.connect().await;
        let refused = log.join().await.err().unwrap().to_string();
        assert!(refused.ends_with(wanted), "{refused}");
        let refused = log.ledger().await.err().unwrap().to_string();
        assert!(refused.ends_with(wanted), "{refused}");
        pipeline.remove().await;
    }
}

/// GIVEN settings that can't work, or brokers that are not there WHEN the log is used THEN it says so, and which.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_reached_is_said_and_passes_what_can_not_be_is_refused() {
    let connect =
        async |settings: Settings| KafkaLog::connect(&settings, Health::default(), Arc::new(SystemClock)).await;
    let refused = connect(Settings { slots: 0, ..Settings::default() }).await.err().unwrap();
    assert!(refused.to_string().starts_with("kafka.slots"), "{refused}");
    let nobody = Settings { bootstrap: "127.0.0.1:9".into(), request_timeout_ms: 1_000, ..Settings::default() };
    let unavailable = connect(nobody).await.unwrap().open_table(&table()).await.unwrap_err();
    assert_eq!(unavailable.kind(), Kind::Transient, "{unavailable}");
    let Some(bootstrap) = servers::kafka() else { return };
    let mut pipeline = Pipeline::new(bootstrap);
    pipeline.settings.replication = 9;
    let unavailable = pipeline.connect().await.open_table(&table()).await.unwrap_err();
    assert!(unavailable.to_string().contains("not as many brokers as copies (9)"), "{unavailable}");
    pipeline.remove().await;
}
