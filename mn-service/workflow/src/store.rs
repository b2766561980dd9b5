//! What has to be remembered of a job, and who remembers it.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Remembers jobs across restarts. Implemented by [`crate::MemoryStore`] and by the database crate.
///
/// The engine never writes to one job from two places at once. Which jobs are ours is the store's business: where
/// several management nodes share a database, `unfinished` returns only those that this node owns.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Remembers a new job. When this returns, the job survives a crash.
    ///
    /// # Errors
    ///
    /// [`StoreError::Duplicate`] if there already is a job of this id; this check and the write are one operation.
    async fn create(&self, record: Record) -> Result<(), StoreError>;

    /// Adds to the log of job `id`. When this returns, the event survives a crash; one that
    /// [need not](EventKind::must_survive) may be held back until the next one that must, and be written together
    /// with it, in order.
    ///
    /// The engine repeats a failed call until it succeeds, and a call may fail after the event was written: adding an
    /// event whose `sequence` is already there is a success and changes nothing.
    async fn append(&self, id: Uuid, event: Event) -> Result<(), StoreError>;

    /// Notes which way the job is going. For people and queries only: the log alone decides what a restart does, so a
    /// failure here is logged and not repeated.
    async fn set_state(&self, id: Uuid, state: JobState) -> Result<(), StoreError>;

    /// All jobs that were created and not forgotten, each with its events in the order of `sequence`.
    ///
    /// Jobs in state [`JobState::Done`] are part of it: until it is forgotten, nobody is known to have noted a job's
    /// outcome. Resuming one runs nothing and yields the outcome again.
    async fn unfinished(&self) -> Result<Vec<(Record, Vec<Event>)>, StoreError>;

    /// Removes job `id` and its log. That there is no such job is a success.
    async fn forget(&self, id: Uuid) -> Result<(), StoreError>;
}

/// Why a store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There already is a job of this id.
    #[error("job {id} already exists")]
    Duplicate { id: Uuid },
    /// There is no job of this id.
    #[error("there is no job {id}")]
    Unknown { id: Uuid },
    /// The medium failed.
    #[error("the job log could not be reached")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Wraps the error of a database driver.
    pub fn backend(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StoreError::Backend(cause.into())
    }
}

/// A job as it was created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: Uuid,
    /// Name of the workflow.
    pub workflow: String,
    /// Version of the workflow; at most `i32::MAX`.
    pub version: u32,
    /// Steps and initial state, as JSON; opaque outside this crate. The initial state may hold secrets.
    pub dag: String,
    pub state: JobState,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("workflow", &self.workflow)
            .field("version", &self.version)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Which way a job is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Forward.
    Running,
    /// A step failed and undos are being run.
    Unwinding,
    /// At rest: succeeded, undone or stuck.
    Done,
}

/// One entry of a job's log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The entry's place in the log, from 0 without gaps; `(job, sequence)` is a key.
    pub sequence: u32,
    /// The node of the job's graph it is about; opaque outside this crate.
    pub node: u32,
    pub kind: EventKind,
    /// The state or error that belongs to it, as JSON. It may hold secrets.
    pub data: Option<String>,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} node {} {}", self.sequence, self.node, self.kind)
    }
}

/// What an [`Event`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Started,
    Succeeded,
    Failed,
    UndoStarted,
    UndoFinished,
    UndoFailed,
}

impl EventKind {
    /// False for beginnings: a restart runs what has begun and what has not begun alike, so that only ends matter.
    pub fn must_survive(self) -> bool {
        match self {
            EventKind::Started | EventKind::UndoStarted => false,
            EventKind::Succeeded | EventKind::Failed | EventKind::UndoFinished | EventKind::UndoFailed => true,
        }
    }

    /// The word under which a database stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Started => "started",
            EventKind::Succeeded => "succeeded",
            EventKind::Failed => "failed",
            EventKind::UndoStarted => "undo_started",
            EventKind::UndoFinished => "undo_finished",
            EventKind::UndoFailed => "undo_failed",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not a kind of job event")]
pub struct UnknownEventKind {
    word: String,
}

impl std::str::FromStr for EventKind {
    type Err = UnknownEventKind;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(match word {
            "started" => EventKind::Started,
            "succeeded" => EventKind::Succeeded,
            "failed" => EventKind::Failed,
            "undo_started" => EventKind::UndoStarted,
            "undo_finished" => EventKind::UndoFinished,
            "undo_failed" => EventKind::UndoFailed,
            _ => return Err(UnknownEventKind { word: word.to_owned() }),
        })
    }
}
