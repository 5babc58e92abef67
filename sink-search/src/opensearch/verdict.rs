//! What OpenSearch's answers mean, by status and by the error's type, never by its text. Pure.
//!
//! What is refused for a reason that no document can help halts the table rather than costing documents: only a closed
//! list of errors is held against a document.

use serde::Deserialize;

/// What became of one item of a bulk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Applied,
    /// A version that is not smaller is there: ours from before, or a newer one.
    Conflict,
    /// Passes by itself: the same item again.
    Transient(String),
    /// An operator must act; no item is at fault.
    Halt(Halt),
    /// This document can never be taken.
    Poison(String),
}

/// What became of a request as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overall {
    /// Each item has its own answer.
    Answered,
    /// Too large: in two halves.
    Split,
    /// The server has no room for requests now.
    Throttled(String),
    Transient(String),
    Halt(Halt),
}

/// What an operator must mend. The sink goes on by itself afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    Unauthorised {
        status: u16,
    },
    /// The flood-stage block: the node's disk is nearly full.
    DiskFull,
    /// A block that forbids writing.
    ReadOnly,
    /// The index or its alias.
    Missing,
    Closed,
    /// The mapping does not know a field that the definitions declare.
    Mapping,
    Other {
        status: u16,
        kind: String,
    },
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Cause {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub caused_by: Option<Box<Cause>>,
}

#[derive(Debug, Deserialize)]
pub struct ItemReply {
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub error: Option<Cause>,
    #[serde(rename = "_seq_no", default)]
    pub seq_no: Option<i64>,
    #[serde(rename = "_primary_term", default)]
    pub primary_term: Option<i64>,
}

/// An item under the name of its action.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    Index(ItemReply),
    Create(ItemReply),
    Update(ItemReply),
    Delete(ItemReply),
}

impl Entry {
    pub fn reply(&self) -> &ItemReply {
        match self {
            Entry::Index(reply) | Entry::Create(reply) | Entry::Update(reply) | Entry::Delete(reply) => reply,
        }
    }
}

/// The answer to a bulk request that was read; others have no `items`.
#[derive(Debug, Deserialize)]
pub struct BulkReply {
    pub items: Vec<Entry>,
}

/// The type of the error of a request that failed as a whole; empty where the body is no JSON.
pub fn error_of(body: &[u8]) -> Cause {
    #[derive(Deserialize)]
    struct Failed {
        error: Cause,
    }
    serde_json::from_slice::<Failed>(body).map(|failed| failed.error).unwrap_or_default()
}

pub fn overall(status: u16, error: &Cause) -> Overall {
    match status {
        200..=299 => Overall::Answered,
        413 => Overall::Split,
        429 if error.kind == CLUSTER_BLOCK => Overall::Halt(Halt::DiskFull),
        429 => Overall::Throttled(named(status, error)),
        408 | 500..=599 => Overall::Transient(named(status, error)),
        _ => Overall::Halt(halt(status, error)),
    }
}

const CLUSTER_BLOCK: &str = "cluster_block_exception";

pub fn verdict(reply: &ItemReply) -> Verdict {
    let none = Cause::default();
    let error = reply.error.as_ref().unwrap_or(&none);
    match reply.status {
        200..=299 => Verdict::Applied,
        409 => Verdict::Conflict,
        429 if error.kind == CLUSTER_BLOCK => Verdict::Halt(Halt::DiskFull),
        408 | 429 | 500..=599 => Verdict::Transient(named(reply.status, error)),
        400 if is_poison(error) => Verdict::Poison(named(reply.status, error)),
        status => Verdict::Halt(halt(status, error)),
    }
}

/// Errors that a document's own content causes.
fn is_poison(error: &Cause) -> bool {
    let cause = error.caused_by.as_ref().map_or("", |cause| cause.kind.as_str());
    matches!(error.kind.as_str(), "mapper_parsing_exception" | "document_parsing_exception")
        || (error.kind == "illegal_argument_exception" && cause == "max_bytes_length_exceeded_exception")
}

fn halt(status: u16, error: &Cause) -> Halt {
    match (status, error.kind.as_str()) {
        (_, CLUSTER_BLOCK) => Halt::ReadOnly,
        (401 | 403, _) => Halt::Unauthorised { status },
        (_, "index_not_found_exception" | "aliases_not_found_exception") => Halt::Missing,
        (_, "index_closed_exception") => Halt::Closed,
        (_, "strict_dynamic_mapping_exception") => Halt::Mapping,
        (404, "") => Halt::Missing,
        (_, kind) => Halt::Other { status, kind: kind.to_owned() },
    }
}

/// The error's types; its text may hold values of the document.
pub fn named(status: u16, error: &Cause) -> String {
    let mut text = format!("status {status}");
    let mut next = Some(error);
    while let Some(cause) = next {
        if !cause.kind.is_empty() {
            text.push_str(", ");
            text.push_str(&cause.kind);
        }
        next = cause.caused_by.as_deref();
    }
    text
}

impl Halt {
    pub fn reason(&self) -> String {
        match self {
            Halt::Unauthorised { status } => format!("the server does not admit this worker (status {status})"),
            Halt::DiskFull => "a node's disk is nearly full (index.blocks.read_only_allow_delete)".to_owned(),
            Halt::ReadOnly => "a block forbids writing to it".to_owned(),
            Halt::Missing => "the index or its alias is missing".to_owned(),
            Halt::Closed => "the index is closed".to_owned(),
            Halt::Mapping => "its mapping lacks a field that the definitions declare".to_owned(),
            Halt::Other { status, kind } if kind.is_empty() => format!("the server answers with status {status}"),
            Halt::Other { status, kind } => format!("the server answers with status {status}, {kind}"),
        }
    }

    pub fn remedy(&self) -> &'static str {
        match self {
            Halt::Unauthorised { .. } => {
                "mend the name, the password, the role or the policy, which needs index, create, manage and read on it"
            }
            Halt::DiskFull => {
                "free room on the node; where the block stays, set index.blocks.read_only_allow_delete to null"
            }
            Halt::ReadOnly => {
                "remove the block: set index.blocks.write, index.blocks.read_only and cluster.blocks.read_only to null"
            }
            Halt::Missing => {
                "put the alias back or restore the index; where it is lost, start a sink-search worker, which makes it \
                 anew and builds it again from the log"
            }
            Halt::Closed => "open it",
            Halt::Mapping => "start a sink-search worker with these definitions, which adds the field",
            Halt::Other { .. } => "see the server's log",
        }
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
