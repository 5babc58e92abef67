//! The client's errors as the log's: what passes by itself, and what a person must mend.

use headwater_common::log::LogError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What `error` means for whoever wanted `what`.
pub(crate) fn failed(what: &str, error: &KafkaError) -> LogError {
    match error {
        // Its own text would show the setting's value.
        KafkaError::ClientConfig(_, reason, name, _) => {
            LogError::Misconfigured(format!("{what}: {name}: {}", reason.trim_end_matches('.')))
        }
        KafkaError::ClientCreation(_) | KafkaError::Nul(_) => LogError::Misconfigured(format!("{what}: {error}")),
        _ => match error.rdkafka_error_code() {
            Some(code) => coded(what, code),
            None => LogError::Unavailable(format!("{what}: {error}")),
        },
    }
}

pub(crate) fn coded(what: &str, code: Code) -> LogError {
    let text = format!("{what}: {code}");
    if is_denied(code) {
        return LogError::Misconfigured(format!("{text}: let this client's user do that"));
    }
    match code {
        Code::InvalidTopic | Code::PolicyViolation | Code::InvalidConfig | Code::InvalidSessionTimeout => {
            LogError::Misconfigured(text)
        }
        _ => LogError::Unavailable(text),
    }
}

fn is_denied(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// Whether a consumer's error is one that the client gets over by itself.
pub(crate) fn passes(error: &KafkaError) -> bool {
    match error {
        KafkaError::MessageConsumption(code) => !is_denied(*code) && *code != Code::InvalidSessionTimeout,
        _ => false,
    }
}

/// Work in a thread that may block. A task that was cancelled or panicked has no known outcome.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(LogError::Unavailable(format!("the request did not finish: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use headwater_common::failure::Kind;

    use super::*;

    #[test]
    fn what_a_person_must_mend_is_told_from_what_passes() {
        let kind = |code| coded("open", code).kind();
        assert_eq!(kind(Code::NotEnoughReplicas), Kind::Transient);
        assert_eq!(kind(Code::BrokerTransportFailure), Kind::Transient);
        assert_eq!(kind(Code::TopicAuthorizationFailed), Kind::Operator);
        assert!(passes(&KafkaError::MessageConsumption(Code::AllBrokersDown)));
        assert!(!passes(&KafkaError::MessageConsumption(Code::GroupAuthorizationFailed)));
    }
}
