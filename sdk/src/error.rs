//! What can go wrong, by what to do about it.

use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use headwater_common::change::TableName;
use headwater_common::failure::Kind;

use crate::convert::Unreadable;
use crate::table::TableFault;

/// What was refused about one attribute. Never shows its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeFault {
    pub attribute: String,
    pub reason: String,
}

/// A write or key that does not agree with its entity's definition: every fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub entity: String,
    pub faults: Vec<AttributeFault>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.entity)?;
        for (at, AttributeFault { attribute, reason }) in self.faults.iter().enumerate() {
            write!(f, "{}`{attribute}` {reason}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no definition of the entity `{entity}`{hint}")]
    UnknownEntity { entity: String, hint: String },
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(
        "`{entity}` declares no event_time attribute, so no write can be newer than another: \
         declare one, or use `overwrite`"
    )]
    NoEventTime { entity: String },
    /// Another writer stored an event time that is no number.
    #[error(
        "the item in table `{table}` holds {found} in its event-time attribute `{attribute}`, which can't be compared \
         with epoch milliseconds (N): rewrite the item with a number there"
    )]
    Incomparable { table: TableName, attribute: String, found: &'static str },
    #[error(
        "{operation} on table `{table}` is throttled ({code}), beyond what retries bridge: write slower, or raise the table's capacity"
    )]
    Throttled {
        operation: &'static str,
        table: TableName,
        code: String,
        #[source]
        source: Source,
    },
    #[error("table `{table}` does not exist in this account, region or endpoint: create it with `ensure_table`")]
    TableMissing {
        table: TableName,
        #[source]
        source: Source,
    },
    #[error("{operation} on table `{table}` is not authorised ({code}): check the credentials and their policy")]
    Denied {
        operation: &'static str,
        table: TableName,
        code: String,
        #[source]
        source: Source,
    },
    #[error("{operation} on table `{table}` failed for now ({code}): try again")]
    Unavailable {
        operation: &'static str,
        table: TableName,
        code: String,
        #[source]
        source: Source,
    },
    #[error("{operation} on table `{table}` was refused ({code}): {message}")]
    Refused {
        operation: &'static str,
        table: TableName,
        code: String,
        message: String,
        #[source]
        source: Source,
    },
    #[error(
        "{left} of the keys in table `{table}` were still unprocessed after {attempts} attempts: read slower, or raise the table's capacity"
    )]
    Unprocessed { table: TableName, left: usize, attempts: u32 },
    #[error("an item of table `{table}` holds {fault}")]
    Unreadable { table: TableName, fault: Unreadable },
    #[error("table `{table}` {fault}")]
    Table { table: TableName, fault: TableFault },
    #[error("the endpoint `{endpoint}` is no URL: write it as http://host:port")]
    Endpoint { endpoint: String },
}

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::Throttled { .. } | Error::Unavailable { .. } | Error::Unprocessed { .. } => Kind::Transient,
            Error::Invalid(_) | Error::Incomparable { .. } | Error::Refused { .. } | Error::Unreadable { .. } => {
                Kind::Poison
            }
            Error::UnknownEntity { .. }
            | Error::NoEventTime { .. }
            | Error::TableMissing { .. }
            | Error::Denied { .. }
            | Error::Table { .. }
            | Error::Endpoint { .. } => Kind::Operator,
        }
    }
}

/// Classifies what the AWS SDK gave up on, by its type and the service's code.
pub(crate) fn failed<E, R>(operation: &'static str, table: &TableName, error: SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let table = table.clone();
    let unavailable = |code: &str, table, source| Error::Unavailable { operation, table, code: code.into(), source };
    match error {
        SdkError::ServiceError(_) => {
            let code = error.code().unwrap_or("no code").to_owned();
            let message = error.message().unwrap_or("no message").to_owned();
            of_service(operation, table, code, message, error.into())
        }
        SdkError::TimeoutError(_) => unavailable("time-out", table, error.into()),
        SdkError::DispatchFailure(_) if lacks_credentials(&error) => {
            Error::Denied { operation, table, code: "no credentials".into(), source: error.into() }
        }
        SdkError::DispatchFailure(_) => unavailable("no connection", table, error.into()),
        SdkError::ResponseError(_) => unavailable("unreadable answer", table, error.into()),
        // No request was made: most often for want of a region.
        other => Error::Denied { operation, table, code: "no request could be made".into(), source: other.into() },
    }
}

/// Whether no credentials were found, so that no request was sent.
fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<CredentialsError>())
}

fn of_service(operation: &'static str, table: TableName, code: String, message: String, source: Source) -> Error {
    match code.as_str() {
        "ProvisionedThroughputExceededException" | "ThrottlingException" | "RequestLimitExceeded" => {
            Error::Throttled { operation, table, code, source }
        }
        "ResourceNotFoundException" | "TableNotFoundException" => Error::TableMissing { table, source },
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException" => Error::Denied { operation, table, code, source },
        "InternalServerError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "LimitExceededException"
        | "ResourceInUseException"
        | "ReplicatedWriteConflictException"
        | "TransactionConflictException" => Error::Unavailable { operation, table, code, source },
        _ => Error::Refused { operation, table, code, message, source },
    }
}
