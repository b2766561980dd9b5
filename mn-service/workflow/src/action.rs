//! Our steps as steno's actions.
//!
//! Steno never undoes a node whose action failed, and it begins to unwind as soon as one fails. We want a failed
//! step's own undo to run first, durably, and to be able to fail. So to steno a step never fails: its node succeeds
//! with [`Saved::Failed`], and it is the *next* node that reads this and fails without doing anything. Steno then
//! unwinds from there, the failed step's node first, with all the bookkeeping of any other undo. A last node,
//! [`Finish`], plays the next node for the last step.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use steno::{Action, ActionContext, ActionError, ActionName, ActionResult, SagaType, UndoResult};

use crate::fault::Failure;

/// Name of the last node; no step can have it.
pub(crate) const FINISH: &str = "(finish)";

/// What steno puts before the text of a failed undo.
pub(crate) const UNDO_PREFIX: &str = "undo action attempt 1: ";

/// What is saved after a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Saved {
    /// The state after the step.
    Done(Value),
    /// The step returned an error; the state is that from before the step.
    Failed(Failure),
}

/// The error with which the node behind a failed step fails.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FailedStep {
    pub(crate) step: String,
    pub(crate) failure: Failure,
}

/// The text of an undo's error on its way through steno.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UndoFailed(String);

/// What an action needs of its job. A trait so that steno's types need not know the job's context type.
#[async_trait]
pub(crate) trait Steps: fmt::Debug + Send + Sync {
    /// Whether nothing may be done or recorded any more.
    fn is_interrupted(&self) -> bool;

    /// Runs a step. `None` if the job was interrupted before, during or right after it.
    async fn run_step(&self, index: usize, input: Value) -> Option<Result<Value, Failure>>;

    /// Runs a step's undo. `Ok` without having done it if the job was interrupted.
    async fn run_undo(&self, index: usize, state: Value) -> Result<(), String>;
}

/// A job in the hands of steno.
#[derive(Debug)]
pub(crate) struct Driven(pub(crate) Arc<dyn Steps>);

#[derive(Debug)]
pub(crate) struct Saga;

impl SagaType for Saga {
    type ExecContextType = Driven;
}

/// The node of one step.
#[derive(Debug)]
pub(crate) struct StepAction {
    pub(crate) index: usize,
    pub(crate) name: &'static str,
    pub(crate) previous: Option<&'static str>,
}

impl StepAction {
    async fn forward(&self, saga: &ActionContext<Saga>) -> ActionResult {
        let input = input(saga, self.previous)?;
        let saved = match saga.user_data().0.run_step(self.index, input).await {
            Some(Ok(state)) => Saved::Done(state),
            Some(Err(failure)) => Saved::Failed(failure),
            // Interrupted: the job's journal is closed, so what steno makes of this error is never recorded.
            None => return Err(ActionError::InjectedError),
        };
        serde_json::to_value(saved).map(Arc::new).map_err(ActionError::new_serialize)
    }

    async fn backward(&self, saga: &ActionContext<Saga>) -> Result<(), UndoFailed> {
        let job = &saga.user_data().0;
        if job.is_interrupted() {
            return Ok(());
        }
        let unreadable = || UndoFailed("the saved state cannot be read".to_owned());
        let state = match saga.lookup::<Saved>(self.name).map_err(|_| unreadable())? {
            Saved::Done(after) => after,
            Saved::Failed(_) => input(saga, self.previous).map_err(|_| unreadable())?,
        };
        job.run_undo(self.index, state).await.map_err(UndoFailed)
    }
}

/// The state that `previous` left, or the error to fail with because it failed.
fn input(saga: &ActionContext<Saga>, previous: Option<&str>) -> Result<Value, ActionError> {
    let Some(step) = previous else {
        return saga.saga_params::<Value>();
    };
    match saga.lookup::<Saved>(step)? {
        Saved::Done(state) => Ok(state),
        Saved::Failed(failure) => Err(ActionError::action_failed(FailedStep { step: step.to_owned(), failure })),
    }
}

impl Action<Saga> for StepAction {
    fn do_it(&self, saga: ActionContext<Saga>) -> BoxFuture<'_, ActionResult> {
        async move { self.forward(&saga).await }.boxed()
    }

    fn undo_it(&self, saga: ActionContext<Saga>) -> BoxFuture<'_, UndoResult> {
        async move { Ok(self.backward(&saga).await?) }.boxed()
    }

    fn name(&self) -> ActionName {
        ActionName::new(self.name)
    }
}

/// The node behind the last step: passes its state on as the result, or fails for it.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) last: &'static str,
}

impl Action<Saga> for Finish {
    fn do_it(&self, saga: ActionContext<Saga>) -> BoxFuture<'_, ActionResult> {
        async move { input(&saga, Some(self.last)).map(Arc::new) }.boxed()
    }

    fn undo_it(&self, _: ActionContext<Saga>) -> BoxFuture<'_, UndoResult> {
        // Only steno's end node follows, and that cannot fail; there is nothing to undo either.
        async { Ok(()) }.boxed()
    }

    fn name(&self) -> ActionName {
        ActionName::new(FINISH)
    }
}
