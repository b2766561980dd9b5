//! Progress, as seen from outside.

use uuid::Uuid;

/// Told about every boundary a job crosses: for progress reports, and for tests that kill the process at one.
///
/// Called synchronously on the job's own path, so an implementation returns quickly and does not block; it may well
/// kill the process. A panic in it is logged and otherwise ignored.
pub trait Observer: Send + Sync + 'static {
    /// The job has reached `at`. After a restart boundaries may repeat, like the steps themselves.
    fn boundary(&self, at: Boundary);

    /// Asked at every [`Phase::BeforeStep`], [`Phase::AfterStep`] and [`Phase::BeforeUndo`], after
    /// [`Observer::boundary`]. A refusal makes the step fail without having been run, fail although it was run, or makes
    /// the undo fail without having been run. For tests of what follows from a failure.
    ///
    /// # Errors
    /// The reason of the refusal, as the job's outcome will tell it.
    fn permit(&self, _at: Boundary) -> Result<(), String> {
        Ok(())
    }

    /// Asked before every step, undos excepted: true lets the step fail with [`crate::StepFault::TimedOut`] instead of
    /// beginning.
    fn is_over(&self, _id: Uuid) -> bool {
        false
    }
}

/// The observer of those who have nothing to watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn boundary(&self, _at: Boundary) {}
}

/// A place in the life of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Name of the workflow.
    pub workflow: &'static str,
    /// The job.
    pub id: Uuid,
    /// Name of the step.
    pub step: &'static str,
    /// The step's place in the list, from 0.
    pub index: usize,
    /// How many steps the list has.
    pub total: usize,
    /// Which side of what.
    pub phase: Phase,
}

/// The boundaries of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The step function is about to be called.
    BeforeStep,
    /// The step function has returned, with success or an error; nothing of that is recorded yet.
    AfterStep,
    /// The result of the step, success or error, is durable.
    Recorded,
    /// The undo is about to be called. Not reported for [`crate::Undo::nothing`].
    BeforeUndo,
    /// The undo has returned; that is not recorded yet. Not reported for [`crate::Undo::nothing`].
    AfterUndo,
    /// The result of the undo is durable. Reported for [`crate::Undo::nothing`] too.
    UndoRecorded,
}
