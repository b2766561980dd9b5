//! Why a question to an agent has no good answer.

use std::{error::Error as _, time::Duration};

use node_manager_types::{AgentError, ErrorKind};

/// Result of asking an agent.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Why a question to an agent has no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The agent answered: it could not do it.
    #[error("{0}")]
    Agent(AgentError),
    /// No connection, or it broke, or the certificates do not fit.
    #[error("the agent cannot be reached: {0}")]
    Unreachable(String),
    /// The agent answers, but the operation did not end in time. It may still end.
    #[error("{operation} did not end within {} s", .deadline.as_secs())]
    Timeout {
        /// Word of the operation.
        operation: String,
        /// Time it was given.
        deadline: Duration,
    },
    /// What answers is not an agent of a version this client understands.
    #[error("the agent's answer makes no sense: {0}")]
    Protocol(String),
}

impl ClientError {
    /// Class of the failure where the agent told one.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Agent(error) => Some(error.kind),
            _ => None,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.kind() == Some(ErrorKind::NotFound)
    }

    /// True when asking again may help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_)) || self.kind() == Some(ErrorKind::Unavailable)
    }
}

impl From<reqwest::Error> for ClientError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_builder() {
            return Self::Protocol(chain(&error));
        }
        Self::Unreachable(if error.is_timeout() { "no answer in time".to_owned() } else { chain(&error) })
    }
}

/// The reasons from outside to inside; reqwest's own text only says that something failed.
fn chain(error: &reqwest::Error) -> String {
    let mut reasons: Vec<String> = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !reasons.iter().any(|known| known.contains(&text)) {
            reasons.push(text);
        }
        cause = inner.source();
    }
    if reasons.is_empty() { error.to_string() } else { reasons.join(": ") }
}
