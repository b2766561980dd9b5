//! How many workflows of eight steps one engine finishes per second on the memory store: the engine's own cost, with
//! nothing to do and nothing to write to. Prints one line of JSON.
//!
//! `cargo run --release -p mn-service-workflow --example throughput [-- WORKFLOWS [AT-ONCE]]`

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use mn_service_workflow::{Engine, MemoryStore, Outcome, Registry, StepFault, Undo, Unobserved, Workflow};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const STEPS: [&str; 8] = ["one", "two", "three", "four", "five", "six", "seven", "eight"];

/// About as much as a job on a virtual machine has to remember.
#[derive(Clone, Serialize, Deserialize)]
struct State {
    name: String,
    ids: Vec<Uuid>,
    addresses: Vec<String>,
    done: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StepFault> for Failed {
    fn from(fault: StepFault) -> Self {
        Failed(fault.to_string())
    }
}

async fn step(_: Arc<()>, mut state: State) -> Result<State, Failed> {
    state.done += 1;
    Ok(state)
}

async fn undo(_: Arc<()>, _: State) -> Result<(), Failed> {
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("throughput: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let workflows: usize = arguments.next().map_or(Ok(5000), |text| text.parse())?;
    let at_once: usize = arguments.next().map_or(Ok(32), |text| text.parse())?;

    let mut workflow = Workflow::named("bench", 1);
    for name in STEPS {
        workflow = workflow.step(name, step, Undo::with(undo));
    }
    let mut registry = Registry::<(), Failed>::new();
    registry.register(workflow)?;
    let engine = Engine::new(Arc::new(MemoryStore::new()), Arc::new(()), registry, Arc::new(Unobserved));
    let initial = State {
        name: "web-01".to_owned(),
        ids: (0..6).map(|_| Uuid::new_v4()).collect(),
        addresses: vec!["192.0.2.17".to_owned(), "2001:db8::17".to_owned()],
        done: 0,
    };

    let begin = Instant::now();
    let results: Vec<_> = futures::stream::iter(0..workflows)
        .map(|_| async {
            let id = Uuid::new_v4();
            let outcome = engine.run(id, "bench", &initial).await?;
            engine.forget(id).await?;
            Ok::<_, mn_service_workflow::EngineError>(outcome)
        })
        .buffer_unordered(at_once)
        .collect()
        .await;
    let seconds = begin.elapsed().as_secs_f64();
    for outcome in results {
        if !matches!(outcome?, Outcome::Succeeded { .. }) {
            return Err("a workflow did not succeed".into());
        }
    }
    Ok(serde_json::json!({
        "workflows": workflows,
        "steps_each": STEPS.len(),
        "at_once": at_once,
        "seconds": (seconds * 1000.0).round() / 1000.0,
        "workflows_per_second": (workflows as f64 / seconds).round(),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    }))
}
