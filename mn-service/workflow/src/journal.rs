//! A job's log: steno's events on their way to the store and back.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use steno::{SagaCachedState, SagaCreateParams, SagaId, SagaNodeEvent, SagaNodeEventType, SagaNodeId, SecStore};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::action::{FailedStep, Saved, Steps};
use crate::job::Job;
use crate::observer::Phase;
use crate::store::{Event, EventKind, JobState, StoreError};

/// First and longest pause between two attempts to write an event.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Steno calls this for one event after the other and waits for each, so the order of a job's events is theirs.
#[async_trait]
impl<C: Send + Sync + 'static> SecStore for Job<C> {
    /// Nothing: the engine has created the job before it tells steno, to learn of a duplicate in our own terms.
    async fn saga_create(&self, _: SagaCreateParams) -> Result<(), anyhow::Error> {
        Ok(())
    }

    async fn record_event(&self, event: SagaNodeEvent) {
        if self.is_interrupted() {
            return;
        }
        let sequence = self.next_event.load(Ordering::SeqCst);
        let event = encode(sequence, event);
        let (node, kind) = (event.node, event.kind);
        if self.unless_abandoned(self.append(event)).await != Some(Appended::Yes) {
            return;
        }
        self.next_event.store(sequence + 1, Ordering::SeqCst);
        let step = usize::try_from(node).ok().filter(|index| *index < self.definition.steps.len());
        let phase = match kind {
            EventKind::Succeeded => Some(Phase::Recorded),
            EventKind::UndoFinished | EventKind::UndoFailed => Some(Phase::UndoRecorded),
            // A step's node "fails" only in place of the step before it, which was reported when it was recorded.
            EventKind::Started | EventKind::Failed | EventKind::UndoStarted => None,
        };
        if let (Some(index), Some(phase)) = (step, phase) {
            self.notify(index, phase);
        }
    }

    async fn saga_update(&self, _: SagaId, state: SagaCachedState) {
        if self.is_interrupted() {
            return;
        }
        let state = match state {
            SagaCachedState::Running => JobState::Running,
            SagaCachedState::Unwinding => JobState::Unwinding,
            SagaCachedState::Done => JobState::Done,
        };
        if let Some(Err(cause)) = self.unless_abandoned(self.store.set_state(self.id, state)).await {
            self.span.in_scope(|| warn!(error = %Chain(&cause), ?state, "could not note the state of a job"));
        }
    }
}

#[derive(PartialEq, Eq)]
enum Appended {
    Yes,
    /// The job's log was deleted under it.
    Gone,
}

impl<C: Send + Sync + 'static> Job<C> {
    /// Writes until it is written. The job stands still meanwhile: going on without its log would lose what it did.
    async fn append(&self, event: Event) -> Appended {
        let mut pause = RETRY_FIRST;
        let mut attempts = 1_u32;
        loop {
            match self.store.append(self.id, event.clone()).await {
                Ok(()) => {
                    if attempts > 1 {
                        self.span.in_scope(|| info!(attempts, "the job log can be written again"));
                    }
                    return Appended::Yes;
                }
                Err(cause @ StoreError::Unknown { .. }) => {
                    self.span
                        .in_scope(|| error!(error = %Chain(&cause), "the job log was deleted; the job is abandoned"));
                    self.interrupt();
                    return Appended::Gone;
                }
                Err(cause) => {
                    self.span.in_scope(|| {
                        warn!(error = %Chain(&cause), attempts, retry_in = ?pause, "could not write the job log");
                    });
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_LONGEST);
            attempts = attempts.saturating_add(1);
        }
    }
}

fn encode(sequence: u32, event: SagaNodeEvent) -> Event {
    // `Display` of a JSON value is its compact text, and steno's errors consist of strings and JSON values.
    let (kind, data) = match &event.event_type {
        SagaNodeEventType::Started => (EventKind::Started, None),
        SagaNodeEventType::Succeeded(output) => (EventKind::Succeeded, Some(output.to_string())),
        SagaNodeEventType::Failed(error) => (EventKind::Failed, serde_json::to_string(error).ok()),
        SagaNodeEventType::UndoStarted => (EventKind::UndoStarted, None),
        SagaNodeEventType::UndoFinished => (EventKind::UndoFinished, None),
        SagaNodeEventType::UndoFailed(error) => (EventKind::UndoFailed, serde_json::to_string(error).ok()),
    };
    Event { sequence, node: u32::from(event.node_id), kind, data }
}

/// A stored log in steno's terms.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) events: Vec<SagaNodeEvent>,
    pub(crate) next_event: u32,
}

/// Why a stored log cannot be followed. Never quotes the data of an event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLog {
    #[error("event {expected} is missing from the job's log; the next one there is {found}")]
    Gap { expected: u32, found: u32 },
    #[error("the data of {event} in the job's log cannot be read")]
    Data { event: String },
}

impl History {
    /// `steps` is how many steps the job has: the first that many nodes of its graph.
    pub(crate) fn read(id: Uuid, steps: usize, stored: &[Event]) -> Result<History, BadLog> {
        let saga_id = saga_id(id);
        let mut events = Vec::with_capacity(stored.len());
        let mut seen = HashSet::new();
        let mut next_event = 0;
        for event in stored {
            if event.sequence != next_event {
                return Err(BadLog::Gap { expected: next_event, found: event.sequence });
            }
            next_event += 1;
            // A node does each thing once; steno takes a second report for a damaged log.
            if seen.insert((event.node, event.kind)) {
                let event_type = decode(event)
                    .filter(|event_type| is_ours(event.node, steps, event_type))
                    .ok_or_else(|| BadLog::Data { event: format!("{event:?}") })?;
                events.push(SagaNodeEvent { saga_id, node_id: SagaNodeId::from(event.node), event_type });
            }
        }
        Ok(History { events, next_event })
    }
}

fn decode(event: &Event) -> Option<SagaNodeEventType> {
    fn data<T: serde::de::DeserializeOwned>(event: &Event) -> Option<T> {
        serde_json::from_str(event.data.as_deref()?).ok()
    }
    Some(match event.kind {
        EventKind::Started => SagaNodeEventType::Started,
        EventKind::Succeeded => SagaNodeEventType::Succeeded(data(event)?),
        EventKind::Failed => SagaNodeEventType::Failed(data(event)?),
        EventKind::UndoStarted => SagaNodeEventType::UndoStarted,
        EventKind::UndoFinished => SagaNodeEventType::UndoFinished,
        EventKind::UndoFailed => SagaNodeEventType::UndoFailed(data(event)?),
    })
}

/// Whether an event carries what our actions put there. Found out before anything is run: a step whose input turns out
/// to be unreadable half-way through a recovery would fail without its own undo.
fn is_ours(node: u32, steps: usize, event_type: &SagaNodeEventType) -> bool {
    match event_type {
        SagaNodeEventType::Succeeded(output) => {
            usize::try_from(node).is_ok_and(|index| index >= steps) || Saved::deserialize(output.as_ref()).is_ok()
        }
        SagaNodeEventType::Failed(error) => error.clone().convert::<FailedStep>().is_ok(),
        SagaNodeEventType::Started
        | SagaNodeEventType::UndoStarted
        | SagaNodeEventType::UndoFinished
        | SagaNodeEventType::UndoFailed(_) => true,
    }
}

pub(crate) fn saga_id(id: Uuid) -> SagaId {
    SagaId::from_bytes(id.into_bytes())
}

/// Prints an error with its causes.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
