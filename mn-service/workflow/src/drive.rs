//! One job through steno, from its creation or its log to its outcome.

use std::sync::Arc;

use serde_json::Value;
use steno::SagaDag;
use tracing::{Instrument, error, info};

use crate::action::Driven;
use crate::engine::EngineError;
use crate::job::Job;
use crate::journal::{History, saga_id};
use crate::outcome::Outcome;
use crate::registry::nodes;
use crate::store::Event;
use crate::workflow::WorkflowError;

/// How steno learns of a job.
pub(crate) enum Course {
    New(Arc<SagaDag>),
    Old {
        graph: Value,
        history: History,
        /// Where the job stands and what its log holds, without data: for the reason why it cannot be continued.
        step: String,
        outline: String,
    },
}

pub(crate) async fn drive<C: Send + Sync + 'static, E: WorkflowError>(
    job: Arc<Job<C>>,
    course: Course,
) -> Result<Outcome<E>, EngineError> {
    let span = job.span.clone();
    drive_in_span(job, course).instrument(span).await
}

async fn drive_in_span<C: Send + Sync + 'static, E: WorkflowError>(
    job: Arc<Job<C>>,
    course: Course,
) -> Result<Outcome<E>, EngineError> {
    let id = job.id;
    // One coordinator per job: steno's keeps every saga it ever ran, and would be a queue all jobs wait in. Its log
    // is discarded because it quotes graphs and states, and says nothing that we do not say.
    let coordinator = steno::sec(slog::Logger::root(slog::Discard, slog::o!()), job.clone());
    let actions = Arc::clone(&job.definition.actions);
    let driven = Arc::new(Driven(job.clone()));
    let (saga, refused) = match course {
        Course::New(dag) => {
            let refused = (String::new(), String::new());
            (coordinator.saga_create(saga_id(id), driven, dag, actions).await, refused)
        }
        Course::Old { graph, history, step, outline } => {
            let events = history.events;
            (coordinator.saga_resume(saga_id(id), driven, graph, actions, events).await, (step, outline))
        }
    };
    // Steno's own words are dropped: they quote the states in the log.
    let refused = move || {
        let (step, outline) = refused;
        Outcome::not_run(step, format!("the job's log is not one that can have come about: {outline}"))
    };
    let outcome = match saga {
        Ok(saga) => match coordinator.saga_start(saga_id(id)).await {
            Ok(()) => {
                let result = saga.await;
                if job.was_interrupted() { None } else { Some(Outcome::of(result)) }
            }
            Err(_) => Some(refused()),
        },
        Err(_) => Some(refused()),
    };
    coordinator.shutdown().await;
    match outcome {
        None => {
            info!("job interrupted; it continues at the next start");
            Err(EngineError::Interrupted { id })
        }
        Some(outcome) => {
            match &outcome {
                Outcome::Succeeded { .. } => info!("job succeeded"),
                Outcome::Undone { step, .. } => info!(%step, "job undone"),
                Outcome::Stuck { step, error, undo_step, undo_error } => {
                    error!(%step, %error, %undo_step, %undo_error, "job is stuck");
                }
            }
            Ok(outcome)
        }
    }
}

/// The step the last event is about, if it is about one.
pub(crate) fn last_step(dag: &SagaDag, events: &[Event]) -> Option<String> {
    let nodes = nodes(dag);
    events.iter().rev().find_map(|event| {
        let step = nodes.iter().find(|(index, _)| u32::try_from(*index) == Ok(event.node))?;
        Some(step.1.clone())
    })
}
