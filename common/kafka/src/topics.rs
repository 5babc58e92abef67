//! Topics: made as they have to be, or checked.

use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::log::{LogError, LogId};
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::{Instant, sleep};

use crate::Shared;
use crate::client::Context;
use crate::errors::{blocking, coded, failed};
use crate::native::{self, Topic};
use crate::settings::Settings;
use crate::tender::dispose;

const MAX_TOPIC: usize = 249;

/// What a setting of a topic has to be.
enum Want {
    Is(&'static str),
    AtLeast(u64),
    /// Not checked: how well the topic works, not whether.
    Made(&'static str),
}

pub(crate) struct Spec {
    pub name: String,
    partitions: u16,
    wants: Vec<(&'static str, Want)>,
}

pub(crate) fn changes_topic(settings: &Settings, table: &TableName) -> String {
    format!("{}.{table}.changes", settings.prefix)
}

pub(crate) fn ledger_topic(settings: &Settings) -> String {
    format!("{}.ledger", settings.prefix)
}

impl Spec {
    pub(crate) fn changes(settings: &Settings, table: &TableName) -> Result<Spec, LogError> {
        let name = changes_topic(settings, table);
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.len() > MAX_TOPIC || !name.chars().all(legal) {
            return Err(LogError::Misconfigured(format!("{name:?} can't be a topic's name: shorten the prefix")));
        }
        let wants = vec![
            ("cleanup.policy", Want::Is("delete")),
            ("min.insync.replicas", Want::AtLeast(settings.min_insync.into())),
            ("retention.ms", Want::AtLeast(settings.retention_ms)),
            // What a worker's clock says must not decide how long a change is held.
            ("message.timestamp.type", Want::Is("LogAppendTime")),
            ("max.message.bytes", Want::AtLeast(settings.max_message_bytes.into())),
        ];
        Ok(Spec { name, partitions: settings.partitions, wants })
    }

    pub(crate) fn ledger(settings: &Settings) -> Spec {
        let wants = vec![
            ("cleanup.policy", Want::Is("compact")),
            ("min.insync.replicas", Want::AtLeast(settings.min_insync.into())),
            // Whoever begins reads all of it: it is kept short.
            ("segment.bytes", Want::Made("16777216")),
            ("segment.ms", Want::Made("600000")),
            ("min.cleanable.dirty.ratio", Want::Made("0.1")),
        ];
        Spec { name: ledger_topic(settings), partitions: settings.slots, wants }
    }

    fn mismatch(&self, setting: &str, is: &str, must: &str) -> LogError {
        LogError::Misconfigured(format!("topic {}: {setting} is {is}, and has to be {must}", self.name))
    }

    fn check_shape(&self, settings: &Settings, topic: &Topic) -> Result<(), LogError> {
        if topic.partitions != usize::from(self.partitions) {
            return Err(self.mismatch("partitions", &topic.partitions.to_string(), &self.partitions.to_string()));
        }
        if topic.replication < usize::from(settings.replication) {
            let must = format!("{} or more", settings.replication);
            return Err(self.mismatch("replication.factor", &topic.replication.to_string(), &must));
        }
        Ok(())
    }

    fn check_setting(&self, name: &str, want: &Want, is: Option<&str>) -> Result<(), LogError> {
        let Some(is) = is else {
            let name = format!("{name} of topic {}", self.name);
            return Err(LogError::Unavailable(format!("what {name} is set to is not known to the brokers yet")));
        };
        match want {
            Want::Is(must) if is != *must => Err(self.mismatch(name, is, must)),
            // -1 is no limit.
            Want::AtLeast(must) if is != "-1" && is.parse().is_ok_and(|is: u64| is < *must) => {
                Err(self.mismatch(name, is, &format!("{must} or more")))
            }
            Want::Is(_) | Want::AtLeast(_) | Want::Made(_) => Ok(()),
        }
    }
}

/// Makes the topic if there is none, and refuses one that is not as it has to be.
pub(crate) async fn ensure(shared: &Shared, spec: &Spec) -> Result<LogId, LogError> {
    make_or_check(shared, spec).await.map_err(|error| shared.clients.troubles.explain(error))
}

async fn make_or_check(shared: &Shared, spec: &Spec) -> Result<LogId, LogError> {
    let settings = &shared.clients.settings;
    let asking = shared.asking()?;
    let timeout = Duration::from_millis(settings.request_timeout_ms.into());
    let deadline = Instant::now() + timeout;
    let mut made = false;
    let topic = loop {
        if let Some(topic) = describe(&asking, &spec.name, timeout).await? {
            break topic;
        }
        // Brokers hear of a new topic one after the other.
        if made && Instant::now() >= deadline {
            return Err(LogError::Unavailable(format!("topic {} was made and is not there yet", spec.name)));
        }
        if !made {
            create(shared, spec, timeout).await?;
            made = true;
        } else {
            sleep(Duration::from_millis(50)).await;
        }
    };
    spec.check_shape(settings, &topic)?;
    loop {
        match check_settings(shared, spec, timeout).await {
            // A broker that has not heard of the topic names none of its settings.
            Err(LogError::Unavailable(_)) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            checked => break checked?,
        }
    }
    shared.clients.troubles.brokers_answer();
    Ok(LogId(topic.id))
}

pub(crate) async fn describe(
    asking: &std::sync::Arc<BaseConsumer<Context>>,
    name: &str,
    timeout: Duration,
) -> Result<Option<Topic>, LogError> {
    let (asking, name) = (asking.clone(), name.to_owned());
    blocking(move || {
        native::describe(asking.client(), &name, timeout)
            .map_err(|error| failed(&format!("topic {name} can't be described"), &error))
    })
    .await
}

async fn create(shared: &Shared, spec: &Spec, timeout: Duration) -> Result<(), LogError> {
    let settings = &shared.clients.settings;
    let value = |want: &Want| match want {
        Want::Is(value) | Want::Made(value) => (*value).to_owned(),
        Want::AtLeast(value) => value.to_string(),
    };
    let values: Vec<(&str, String)> = spec.wants.iter().map(|(name, want)| (*name, value(want))).collect();
    let replication = TopicReplication::Fixed(settings.replication.into());
    let topic = NewTopic::new(&spec.name, spec.partitions.into(), replication);
    let topic = values.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let what = format!("topic {} can't be made", spec.name);
    let admin = shared.clients.admin()?;
    let made = admin.create_topics([&topic], &options).await;
    dispose(admin);
    match made.map_err(|error| failed(&what, &error))?.into_iter().next() {
        Some(Ok(_)) => {
            tracing::info!(topic = %spec.name, partitions = spec.partitions, "topic made");
            Ok(())
        }
        Some(Err((_, Code::TopicAlreadyExists))) | None => Ok(()),
        Some(Err((_, Code::InvalidReplicationFactor))) => {
            let copies = settings.replication;
            Err(LogError::Unavailable(format!("{what}: there are not as many brokers as copies ({copies})")))
        }
        Some(Err((_, code))) => Err(coded(&what, code)),
    }
}

async fn check_settings(shared: &Shared, spec: &Spec, timeout: Duration) -> Result<(), LogError> {
    let what = format!("the settings of topic {} can't be read", spec.name);
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let admin = shared.clients.admin()?;
    let read = admin.describe_configs([&ResourceSpecifier::Topic(&spec.name)], &options).await;
    dispose(admin);
    let read = read.map_err(|error| failed(&what, &error))?.into_iter().next();
    let config = match read {
        Some(Ok(config)) => config,
        Some(Err(code)) => return Err(coded(&what, code)),
        None => return Err(LogError::Unavailable(what)),
    };
    spec.wants.iter().try_for_each(|(name, want)| {
        spec.check_setting(name, want, config.get(name).and_then(|entry| entry.value.as_deref()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_names_the_setting_what_it_is_and_what_it_has_to_be() {
        let settings = Settings::default();
        let spec = Spec::changes(&settings, &TableName::new("aircraft")).unwrap();
        let wanted = |name: &str| &spec.wants.iter().find(|(known, _)| *known == name).unwrap().1;
        let refused = |name, is| spec.check_setting(name, wanted(name), Some(is)).unwrap_err().to_string();
        assert_eq!(
            refused("cleanup.policy", "compact"),
            "topic headwater.aircraft.changes: cleanup.policy is compact, and has to be delete"
        );
        assert!(refused("retention.ms", "1000").ends_with("retention.ms is 1000, and has to be 604800000 or more"));
        spec.check_setting("retention.ms", wanted("retention.ms"), Some("-1")).unwrap();
        let unheard = spec.check_setting("cleanup.policy", wanted("cleanup.policy"), None).unwrap_err();
        assert!(matches!(unheard, LogError::Unavailable(_)), "{unheard}");
        let topic = Topic { id: String::new(), partitions: 3, replication: 3 };
        assert!(spec.check_shape(&settings, &topic).unwrap_err().to_string().contains("partitions is 3"));
    }

    #[test]
    fn a_table_whose_topic_would_have_no_legal_name_is_refused() {
        assert!(Spec::changes(&Settings::default(), &TableName::new("a".repeat(255))).is_err());
    }
}
