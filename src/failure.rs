//! What a command says when it can't do what was asked: the cause, the place and the remedy, and an exit code.

use std::fmt;

use serde::Serialize;

/// Exit codes, as the README documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// The stores differ.
    Different = 1,
    /// The command line, the settings, a definition or a query is wrong.
    Usage = 2,
    /// A data folder, port or server is not there, in use, or of another version.
    Environment = 3,
    /// It should have worked.
    Failed = 4,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    #[serde(skip)]
    pub exit: Exit,
    pub cause: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, cause: impl fmt::Display) -> Failure {
        Failure { exit, cause: cause.to_string(), place: None, remedy: None }
    }

    pub fn usage(cause: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, cause)
    }

    pub fn environment(cause: impl fmt::Display) -> Failure {
        Failure::new(Exit::Environment, cause)
    }

    pub fn failed(cause: impl fmt::Display) -> Failure {
        Failure::new(Exit::Failed, cause)
    }

    pub fn at(mut self, place: impl fmt::Display) -> Failure {
        self.place = Some(place.to_string());
        self
    }

    pub fn remedy(mut self, remedy: impl fmt::Display) -> Failure {
        self.remedy = Some(remedy.to_string());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        if let Some(place) = &self.place {
            write!(f, "\n  at: {place}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  try: {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
