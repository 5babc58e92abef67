//! What a failed call to a stream means, by the error's typed code and never by its text.

use std::fmt;

use aws_sdk_dynamodbstreams::config::http::HttpResponse;
use aws_sdk_dynamodbstreams::error::{ProvideErrorMetadata, SdkError};
use headwater_common::failure::Kind;

/// What went wrong, as far as a reader must tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Throttled, timed out, or the service failed: the same again later.
    Busy,
    /// The iterator is older than 15 minutes: take a new one at the same place.
    IteratorExpired,
    /// The place is before the oldest record still held: data was lost unread.
    Trimmed,
    /// The table, stream or shard is not known; what that means depends on the state.
    NotFound,
    /// Authorisation, validation: a person must act.
    Refused,
    /// A record that can't be one of DynamoDB's.
    Malformed,
}

impl Fault {
    pub fn kind(self) -> Kind {
        match self {
            Fault::Busy => Kind::Transient,
            Fault::IteratorExpired | Fault::Trimmed | Fault::NotFound => Kind::Stale,
            Fault::Refused | Fault::Malformed => Kind::Operator,
        }
    }

    /// The metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Fault::Busy => "busy",
            Fault::IteratorExpired => "iterator_expired",
            Fault::Trimmed => "trimmed",
            Fault::NotFound => "not_found",
            Fault::Refused => "refused",
            Fault::Malformed => "malformed",
        }
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    pub fault: Fault,
    /// The operation's name.
    pub call: &'static str,
    /// The code and message, for people.
    pub reason: String,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.reason)
    }
}

impl std::error::Error for StreamError {}

impl StreamError {
    pub fn malformed(reason: impl Into<String>) -> StreamError {
        StreamError { fault: Fault::Malformed, call: "GetRecords", reason: reason.into() }
    }
}

/// Classifies an error of the SDK.
pub fn classify<E>(call: &'static str, error: SdkError<E, HttpResponse>) -> StreamError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let fault = match &error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            service.err().code().map_or_else(|| by_status(status), |code| by_code(code, status))
        }
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Fault::Busy,
        SdkError::DispatchFailure(failure) if failure.is_user() => Fault::Refused,
        SdkError::DispatchFailure(_) => Fault::Busy,
        // Nothing was sent: credentials that can't be had, an endpoint that is none.
        _ => Fault::Refused,
    };
    StreamError { fault, call, reason: reason(&error) }
}

fn by_code(code: &str, status: u16) -> Fault {
    match code {
        "ExpiredIteratorException" => Fault::IteratorExpired,
        "TrimmedDataAccessException" => Fault::Trimmed,
        "ResourceNotFoundException" => Fault::NotFound,
        "LimitExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "ProvisionedThroughputExceededException"
        | "InternalServerError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "RequestTimeout" => Fault::Busy,
        _ => by_status(status),
    }
}

fn by_status(status: u16) -> Fault {
    if status >= 500 || status == 429 { Fault::Busy } else { Fault::Refused }
}

fn reason<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if let (Some(code), message) = (error.code(), error.message().unwrap_or_default()) {
        return format!("{code} {message}").trim_end().to_owned();
    }
    // The SDK's own display names the kind alone; its sources say the rest.
    let mut parts = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        parts.push(inner.to_string());
        source = inner.source();
    }
    parts.dedup();
    parts.join(": ")
}
