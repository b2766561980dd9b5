//! How a job ended.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steno::{ActionError, SagaResult, UndoActionError};

use crate::action::{FailedStep, UNDO_PREFIX};
use crate::fault::StepFault;
use crate::workflow::WorkflowError;

/// How a job ended. The three are different for whoever waits: done, as before, or a person has to look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome<E> {
    /// Every step completed; `state` is the output of the last one.
    Succeeded { state: Value },
    /// `step` failed with `error`; its own undo and those of all steps before it succeeded.
    Undone { step: String, error: E },
    /// `step` failed with `error`, and then the undo of `undo_step` failed with `undo_error`; the steps before
    /// `undo_step` still have their effects. Also the outcome of a job this build cannot go on with (unknown version,
    /// changed steps, unreadable log); `undo_error` then says that nothing was run.
    Stuck { step: String, error: String, undo_step: String, undo_error: String },
}

impl<E: WorkflowError> Outcome<E> {
    /// Translates steno's result.
    pub(crate) fn of(result: SagaResult) -> Outcome<E> {
        let failed = match result.kind {
            Ok(success) => {
                return match success.saga_output::<Value>() {
                    Ok(state) => Outcome::Succeeded { state },
                    // Reading JSON as JSON cannot fail; if it ever does, success is not what we may claim.
                    Err(error) => Outcome::not_run(
                        String::new(),
                        format!("the final state cannot be read ({})", action_error_kind(&error)),
                    ),
                };
            }
            Err(failed) => failed,
        };
        let node = failed.error_node_name.as_ref().to_owned();
        let cause = match failed.error_source {
            error @ ActionError::ActionFailed { .. } => error.convert::<FailedStep>().ok(),
            _ => None,
        };
        let (step, message, error) = match cause {
            Some(FailedStep { step, failure }) => {
                let message = failure.message.clone();
                (step, message, failure.into_error::<E>())
            }
            None => {
                let fault = StepFault::ErrorNotRead { message: "the saved error cannot be read".to_owned() };
                (node, fault.to_string(), E::from(fault))
            }
        };
        match failed.undo_failure {
            None => Outcome::Undone { step, error },
            Some((undo_step, UndoActionError::PermanentFailure { source_error })) => Outcome::Stuck {
                step,
                error: message,
                undo_step: undo_step.as_ref().to_owned(),
                undo_error: undo_message(&source_error),
            },
        }
    }

    /// A job that this build cannot touch.
    pub(crate) fn not_run(step: String, reason: String) -> Outcome<E> {
        Outcome::Stuck {
            undo_step: step.clone(),
            step,
            error: reason,
            undo_error: "not attempted: nothing of this job was run".to_owned(),
        }
    }
}

fn undo_message(source: &Value) -> String {
    let text = source.get("message").and_then(Value::as_str).unwrap_or("the saved error cannot be read");
    text.strip_prefix(UNDO_PREFIX).unwrap_or(text).to_owned()
}

/// The kind of a steno error without its text, which may quote a state.
pub(crate) fn action_error_kind(error: &ActionError) -> &'static str {
    match error {
        ActionError::ActionFailed { .. } => "action failed",
        ActionError::DeserializeFailed { .. } => "not readable",
        ActionError::InjectedError => "interrupted",
        ActionError::SerializeFailed { .. } => "not writable",
        ActionError::SubsagaCreateFailed { .. } => "no sub-workflow",
    }
}
