//! What librdkafka can do and its Rust binding does not offer. The only unsafe code of the crate.
//!
//! Each call owns what it makes and frees it before it answers; no pointer leaves this file.

use std::ffi::{CStr, CString};
use std::time::Duration;

use headwater_common::log::LogError;
use rdkafka::bindings as c;
use rdkafka::client::{Client, OAuthToken};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer as _};

use crate::client::Context;

/// A topic as the brokers describe it.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Another one when the topic was deleted and made anew.
    pub id: String,
    pub partitions: usize,
    /// The fewest copies of a partition.
    pub replication: usize,
}

/// Frees what C made.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by the library for this handle alone, and freed once by its own destructor.
            unsafe { self.1(self.0) }
        }
    }
}

/// Describes a topic; `None` where there is none. Blocks for at most about `timeout`.
pub(crate) fn describe(client: &Client<Context>, topic: &str, timeout: Duration) -> Result<Option<Topic>, KafkaError> {
    let name = CString::new(topic).map_err(KafkaError::Nul)?;
    let (mut names, millis) = ([name.as_ptr()], timeout.as_millis() as i32);
    let mut reason = [0; 256];
    // SAFETY: `client` lives for the whole call; the collection copies the names; the answer is read before its event is
    // freed, and locals are freed in the reverse of this order, the queue after the event that came from it.
    unsafe {
        let handle = client.native_ptr();
        let topics = Owned(
            c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1),
            c::rd_kafka_TopicCollection_destroy,
        );
        let operation = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = Owned(c::rd_kafka_AdminOptions_new(handle, operation), c::rd_kafka_AdminOptions_destroy);
        c::rd_kafka_AdminOptions_set_request_timeout(options.0, millis, reason.as_mut_ptr(), reason.len());
        let queue = Owned(c::rd_kafka_queue_new(handle), c::rd_kafka_queue_destroy);
        c::rd_kafka_DescribeTopics(handle, topics.0, options.0, queue.0);
        let event = Owned(c::rd_kafka_queue_poll(queue.0, millis.saturating_add(1000)), c::rd_kafka_event_destroy);
        if event.0.is_null() {
            return Err(KafkaError::AdminOp(Code::OperationTimedOut));
        }
        check(c::rd_kafka_event_error(event.0).into())?;
        let mut count = 0;
        let answers =
            c::rd_kafka_DescribeTopics_result_topics(c::rd_kafka_event_DescribeTopics_result(event.0), &raw mut count);
        if count == 0 {
            return Ok(None);
        }
        read(*answers)
    }
}

/// # Safety
/// `topic` belongs to an event that is alive.
unsafe fn read(topic: *const c::rd_kafka_TopicDescription_t) -> Result<Option<Topic>, KafkaError> {
    // SAFETY: as the caller promises; the arrays live as long as their topic, and are as long as they say.
    unsafe {
        let code = c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(topic)).into();
        if matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) {
            return Ok(None);
        }
        check(code)?;
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        let bits =
            |part: unsafe extern "C" fn(*const c::rd_kafka_Uuid_t) -> i64| u64::from_ne_bytes(part(id).to_ne_bytes());
        let (most, least) = (c::rd_kafka_Uuid_most_significant_bits, c::rd_kafka_Uuid_least_significant_bits);
        let id = uuid::Uuid::from_u64_pair(bits(most), bits(least)).to_string();
        let (mut partitions, mut replication) = (0, usize::MAX);
        let each = c::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        for at in 0..partitions {
            let mut copies = 0;
            c::rd_kafka_TopicPartitionInfo_replicas(*each.add(at), &raw mut copies);
            replication = replication.min(copies);
        }
        Ok(Some(Topic { id, partitions, replication }))
    }
}

fn check(code: Code) -> Result<(), KafkaError> {
    if code == Code::NoError { Ok(()) } else { Err(KafkaError::AdminOp(code)) }
}

/// Waits until every message of the producer is acknowledged; whether that is so after at most `wait`. The binding's own
/// way looks once in 100 ms.
pub(crate) fn acknowledged(producer: &BaseProducer<Context>, wait: Duration) -> bool {
    // SAFETY: the producer lives for the whole call.
    let code = unsafe { c::rd_kafka_flush(producer.client().native_ptr(), wait.as_millis() as i32) };
    Code::from(code) == Code::NoError
}

pub(crate) fn set_token(client: &Client<Context>, token: &OAuthToken) -> Result<(), LogError> {
    let text = |text: &str| CString::new(text).map_err(|_| LogError::Unavailable("a token holds a null byte".into()));
    let (value, principal) = (text(&token.token)?, text(&token.principal_name)?);
    let mut reason = [0; 256];
    // SAFETY: the strings live for the whole call, which copies them; the library ends its reason with a null byte.
    unsafe {
        let code = c::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            reason.as_mut_ptr(),
            reason.len(),
        );
        if Code::from(code) == Code::NoError {
            return Ok(());
        }
        let reason = CStr::from_ptr(reason.as_ptr()).to_string_lossy();
        Err(LogError::Unavailable(format!("the token for the brokers is refused: {reason}")))
    }
}
