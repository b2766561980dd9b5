//! What is logged, and what never is. A program of its own, because the subscriber is that of the whole process: one
//! that is set for a thread misses events whose call sites other tests' threads met first.

#![allow(clippy::unwrap_used, reason = "helpers of a test, which clippy does not know for one")]

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

use mn_service_workflow::{Engine, MemoryStore, Outcome, Registry, StepFault, Undo, Unobserved, Workflow};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const SECRET: &str = "hunter2-in-the-state";

#[derive(Clone, Serialize, Deserialize)]
struct State {
    password: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

impl From<StepFault> for Refused {
    fn from(fault: StepFault) -> Self {
        Refused(fault.to_string())
    }
}

async fn do_it(_: Arc<()>, state: State) -> Result<State, Refused> {
    Ok(state)
}

async fn refuse_it(_: Arc<()>, _: State) -> Result<State, Refused> {
    Err(Refused("to do it".to_owned()))
}

async fn refuse_undo(_: Arc<()>, _: State) -> Result<(), Refused> {
    Err(Refused("to undo it".to_owned()))
}

fn registry() -> Registry<(), Refused> {
    let workflow = Workflow::named("stubborn", 1).step("first", do_it, Undo::with(refuse_undo)).step(
        "second",
        refuse_it,
        Undo::nothing("it did nothing"),
    );
    let mut registry = Registry::new();
    registry.register(workflow).unwrap();
    registry
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn failures_are_logged_once_in_their_spans_and_states_never() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let store = MemoryStore::new();
    let engine = || Engine::new(Arc::new(store.clone()), Arc::new(()), registry(), Arc::new(Unobserved));
    let id = Uuid::from_u128(7);
    let outcome = engine().run(id, "stubborn", &State { password: SECRET.to_owned() }).await.unwrap();
    assert!(matches!(&outcome, Outcome::Stuck { undo_step, .. } if undo_step == "first"), "{outcome:?}");
    engine().resume().await.unwrap().remove(0).running.await.unwrap();
    // A damaged log is the case in which steno's own words would quote the state.
    let (record, mut events) = store.jobs().remove(0);
    events.drain(2..3);
    (0..).zip(&mut events).for_each(|(sequence, event)| event.sequence = sequence);
    let damaged = MemoryStore::holding([(record, events)]);
    let engine = Engine::new(Arc::new(damaged), Arc::new(()), registry(), Arc::new(Unobserved));
    let outcome = engine.resume().await.unwrap().remove(0).running.await.unwrap();
    assert!(matches!(&outcome, Outcome::Stuck { error, .. } if !error.contains(SECRET)), "{outcome:?}");

    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!log.contains(SECRET), "{log}");
    let failed: Vec<_> = log.lines().filter(|line| line.contains("step failed")).collect();
    assert_eq!(failed.len(), 1, "{log}");
    let job = format!("job{{job={id} workflow=\"stubborn\" version=1}}");
    for part in [job.as_str(), "step{step=\"second\"}", "error=refused: to do it"] {
        assert!(failed[0].contains(part), "{part:?} is not in {:?}", failed[0]);
    }
    assert_eq!(log.matches("undo failed").count(), 1, "{log}");
    assert_eq!(log.matches("job is stuck").count(), 3, "once each time the outcome is found: {log}");
}
