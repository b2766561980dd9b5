//! Failures the engine itself has to report in the words of the workflow's own error type.

use std::any::Any;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::workflow::WorkflowError;

/// A step failed for a reason its own code did not put into words.
///
/// A workflow's error type converts from this, so that the outcome of a job is always one type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum StepFault {
    /// The step panicked. Its undo was run as for any failure.
    #[error("the step panicked: {message}")]
    Panicked { message: String },
    /// The state the step returned could not be turned into JSON; the step counts as failed.
    #[error("the state after the step cannot be saved: {reason}")]
    StateNotSaved { reason: String },
    /// The saved state does not fit the state type of this build. The state type was changed without a new version.
    #[error(
        "the saved state does not fit the state type of this build ({reason}); was it changed without a new version of the workflow?"
    )]
    StateNotRead { reason: String },
    /// The step failed; its error was saved but does not fit the error type of this build.
    #[error("{message}")]
    ErrorNotRead { message: String },
    /// The observer refused the step (see [`crate::Observer::permit`]).
    #[error("{reason}")]
    Refused { reason: String },
    /// The job had no time left when the step was about to begin. Its undo was run as for any failure.
    #[error("the job ran out of time")]
    TimedOut,
    /// The testkit made the step fail.
    #[error("a test made this step fail")]
    Injected,
}

impl StepFault {
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        StepFault::Panicked { message: panic_message(payload) }
    }
}

/// The text of a panic, as far as it has one.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "without a message".to_owned()
    }
}

/// What serde has to say about a state that does not fit, without quoting the state: it may hold secrets.
///
/// Names of missing fields come from our own code and are kept; everything else may quote a value and is not.
pub(crate) fn decode_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("missing field `") { text } else { "a value has the wrong type or range".to_owned() }
}

/// The failure of a step as it is saved: for machines (`error`) and, should no build be able to read that any more,
/// for people (`message`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) error: Value,
}

impl Failure {
    pub(crate) fn of<E: WorkflowError>(error: &E) -> Failure {
        // An error that cannot be saved still has its text; reading it back yields `StepFault::ErrorNotRead`.
        Failure { message: error.to_string(), error: serde_json::to_value(error).unwrap_or(Value::Null) }
    }

    pub(crate) fn fault<E: WorkflowError>(fault: StepFault) -> Failure {
        Failure::of(&E::from(fault))
    }

    pub(crate) fn into_error<E: WorkflowError>(self) -> E {
        serde_json::from_value(self.error).unwrap_or_else(|_| StepFault::ErrorNotRead { message: self.message }.into())
    }
}
