//! Generic tests for the workflows of any domain: fail everywhere, repeat everything, crash everywhere.
//!
//! Each function runs one workflow many times, each time in a [`World`] of its own, and panics with a [`Case`] that
//! says what was done to it. All of them first run the workflow undisturbed and insist that it succeeds: a workflow
//! that fails anyway would pass every other check without having been tested.
//!
//! ```ignore
//! testkit::fail_at_every_step(World::start, "vm.create", World::sample_request, async |world, case| {
//!     assert_eq!(world.leftovers().await, [], "{case}");
//! })
//! .await;
//! ```

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use crate::engine::{Engine, EngineError};
use crate::fault::StepFault;
use crate::memory::MemoryStore;
use crate::observer::{Boundary, Observer, Unobserved};
use crate::outcome::Outcome;
use crate::registry::{Definition, Registry};
use crate::switch::Switch;
use crate::workflow::{ErasedUndo, State, WorkflowError};

/// Everything workflows touch, made anew for each run: a database, simulated hosts.
pub trait World: Send + Sync {
    type Context: Send + Sync + 'static;
    type Error: WorkflowError;

    /// What the steps are given. Asked again after a simulated crash: what lives in memory only may be made anew,
    /// what outlives the process must be the same.
    fn context(&self) -> Arc<Self::Context>;

    /// The workflows.
    fn registry(&self) -> Registry<Self::Context, Self::Error>;
}

/// What was done to a run; `Display` is meant for the message of an assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub workflow: String,
    /// For example `step "reserve-address" fails after its work`.
    pub treatment: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.workflow, self.treatment)
    }
}

/// When an injected failure strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    BeforeWork,
    AfterWork,
}

#[derive(Clone, Copy, Debug, Default)]
struct Treatment {
    fail: Option<(usize, When)>,
    twice: bool,
}

/// Fails each step in turn, before it has done anything and after it has done everything, and requires
/// [`Outcome::Undone`] with that step and error; then `assert_clean` sees whether the world is as before.
pub async fn fail_at_every_step<W: World, S: State>(
    make_world: impl AsyncFn() -> W,
    workflow: &str,
    initial: impl Fn(&W) -> S,
    assert_clean: impl AsyncFn(&W, &Case),
) {
    let steps = undisturbed(&make_world, workflow, &initial, async |_: &W, _: &Case| {}).await;
    for index in 0..steps.len() {
        for when in [When::BeforeWork, When::AfterWork] {
            let treatment = Treatment { fail: Some((index, when)), twice: false };
            failing(&make_world, workflow, &steps, treatment, &initial, &assert_clean).await;
        }
    }
}

/// Runs every step twice and requires success; then fails each step in turn with every step and every undo run twice,
/// and requires [`Outcome::Undone`]. `assert_done` sees the world after each success (the first time after an
/// undisturbed run, so that once and twice meet the same check), `assert_clean` after each failure.
pub async fn repeat_every_step<W: World, S: State>(
    make_world: impl AsyncFn() -> W,
    workflow: &str,
    initial: impl Fn(&W) -> S,
    assert_done: impl AsyncFn(&W, &Case),
    assert_clean: impl AsyncFn(&W, &Case),
) {
    let steps = undisturbed(&make_world, workflow, &initial, &assert_done).await;
    let world = make_world().await;
    let twice = Treatment { fail: None, twice: true };
    let case = twice.case(workflow, &steps);
    let outcome = run(&world, workflow, twice, &initial(&world), &case).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{case}: expected success, got {}", shown(&outcome));
    assert_done(&world, &case).await;
    for index in 0..steps.len() {
        let treatment = Treatment { fail: Some((index, When::AfterWork)), twice: true };
        failing(&make_world, workflow, &steps, treatment, &initial, &assert_clean).await;
    }
}

/// Lets the process die, as far as the engine can tell, at each boundary of a successful run and of one whose last
/// step fails after its work (so that every undo is met too), and resumes with a new engine over the same log.
/// Requires that the job comes to rest and is not stuck; `check` sees the world and the outcome. Returns the number
/// of crashes.
///
/// The death of a real process also strikes within steps; the tests that kill one are elsewhere.
pub async fn crash_at_every_boundary<W: World, S: State>(
    make_world: impl AsyncFn() -> W,
    workflow: &str,
    initial: impl Fn(&W) -> S,
    check: impl AsyncFn(&W, &Case, &Outcome<W::Error>),
) -> usize {
    let steps = undisturbed(&make_world, workflow, &initial, async |_: &W, _: &Case| {}).await;
    let mut crashes = 0;
    for fail in [None, steps.len().checked_sub(1).map(|last| (last, When::AfterWork))] {
        let treatment = Treatment { fail, twice: false };
        let mut at = 0;
        while crash_at(at, &make_world, workflow, &steps, treatment, &initial, &check).await {
            at += 1;
        }
        assert!(at >= 3 * steps.len(), "{workflow}: only {at} boundaries were met");
        crashes += at;
    }
    crashes
}

/// One run of [`crash_at_every_boundary`]; false if there is no boundary number `at`.
async fn crash_at<W: World, S: State>(
    at: usize,
    make_world: &impl AsyncFn() -> W,
    workflow: &str,
    steps: &[&'static str],
    treatment: Treatment,
    initial: &impl Fn(&W) -> S,
    check: &impl AsyncFn(&W, &Case, &Outcome<W::Error>),
) -> bool {
    let world = make_world().await;
    let store = MemoryStore::new();
    let crash = Arc::new(CrashAt { at, seen: AtomicUsize::new(0), boundary: OnceLock::new(), switch: OnceLock::new() });
    let doomed = Engine::new(
        Arc::new(store.clone()),
        world.context(),
        treatment.registry(&world, workflow),
        Arc::clone(&crash) as Arc<dyn Observer>,
    );
    crash.switch.get_or_init(|| doomed.switch());
    let id = Uuid::new_v4();
    let ended = doomed.run(id, workflow, &initial(&world)).await;
    let mut case = treatment.case(workflow, steps);
    let Some(boundary) = crash.boundary.get() else {
        assert!(ended.is_ok(), "{case}: {ended:?} without a crash", ended = ended.err());
        return false;
    };
    case.treatment = format!("{}, crash at {:?} of step {:?}", case.treatment, boundary.phase, boundary.step);
    assert!(
        matches!(ended, Err(EngineError::Interrupted { .. })),
        "{case}: the crash did not interrupt the job but {}",
        ended.map_or_else(|error| error.to_string(), |outcome| shown(&outcome)),
    );

    let registry = treatment.registry(&world, workflow);
    let engine = Engine::new(Arc::new(store), world.context(), registry, Arc::new(Unobserved));
    let mut resumed = engine.resume().await.unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!(resumed.len(), 1, "{case}: one job should have survived");
    let Some(job) = resumed.pop() else {
        return false;
    };
    assert_eq!(job.id, id, "{case}");
    let outcome = job.running.await.unwrap_or_else(|error| panic!("{case}: {error}"));
    let at_rest = match outcome {
        Outcome::Succeeded { .. } => treatment.fail.is_none(),
        Outcome::Undone { .. } => true,
        Outcome::Stuck { .. } => false,
    };
    assert!(at_rest, "{case}: {}", shown(&outcome));
    check(&world, &case, &outcome).await;
    true
}

/// Abandons an engine at its boundary number `at`.
struct CrashAt {
    at: usize,
    seen: AtomicUsize,
    boundary: OnceLock<Boundary>,
    switch: OnceLock<Switch>,
}

impl Observer for CrashAt {
    fn boundary(&self, at: Boundary) {
        if self.seen.fetch_add(1, Ordering::SeqCst) == self.at
            && let Some(switch) = self.switch.get()
        {
            switch.abandon();
            self.boundary.get_or_init(|| at);
        }
    }
}

/// Runs without interference, requires success, and names the steps.
async fn undisturbed<W: World, S: State>(
    make_world: &impl AsyncFn() -> W,
    workflow: &str,
    initial: &impl Fn(&W) -> S,
    assert_done: impl AsyncFn(&W, &Case),
) -> Vec<&'static str> {
    let world = make_world().await;
    let case = Treatment::default().case(workflow, &[]);
    let Some(definition) = world.registry().latest(workflow) else {
        panic!("{case}: no such workflow is registered");
    };
    let outcome = run(&world, workflow, Treatment::default(), &initial(&world), &case).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{case}: expected success, got {}", shown(&outcome));
    assert_done(&world, &case).await;
    definition.steps.iter().map(|step| step.name).collect()
}

async fn failing<W: World, S: State>(
    make_world: &impl AsyncFn() -> W,
    workflow: &str,
    steps: &[&'static str],
    treatment: Treatment,
    initial: &impl Fn(&W) -> S,
    assert_clean: &impl AsyncFn(&W, &Case),
) {
    let world = make_world().await;
    let case = treatment.case(workflow, steps);
    let outcome = run(&world, workflow, treatment, &initial(&world), &case).await;
    let wanted = treatment.fail.and_then(|(index, _)| steps.get(index));
    let injected = W::Error::from(StepFault::Injected).to_string();
    let as_wanted = match &outcome {
        Outcome::Undone { step, error } => Some(&step.as_str()) == wanted && error.to_string() == injected,
        Outcome::Succeeded { .. } | Outcome::Stuck { .. } => false,
    };
    assert!(as_wanted, "{case}: expected it to be undone, got {}", shown(&outcome));
    assert_clean(&world, &case).await;
}

async fn run<W: World, S: State>(
    world: &W,
    workflow: &str,
    treatment: Treatment,
    initial: &S,
    case: &Case,
) -> Outcome<W::Error> {
    let registry = treatment.registry(world, workflow);
    let engine = Engine::new(Arc::new(MemoryStore::new()), world.context(), registry, Arc::new(Unobserved));
    let outcome = engine.run(Uuid::new_v4(), workflow, initial).await;
    outcome.unwrap_or_else(|error| panic!("{case}: {error}"))
}

/// An outcome without the state, which may hold secrets.
fn shown<E: WorkflowError>(outcome: &Outcome<E>) -> String {
    match outcome {
        Outcome::Succeeded { .. } => "success".to_owned(),
        Outcome::Undone { step, error } => format!("undone after step {step:?} failed: {error}"),
        Outcome::Stuck { step, error, undo_step, undo_error } => {
            format!("stuck: step {step:?} failed ({error}), then the undo of {undo_step:?} ({undo_error})")
        }
    }
}

impl Treatment {
    fn case(self, workflow: &str, steps: &[&'static str]) -> Case {
        let mut words = Vec::new();
        if let Some((index, when)) = self.fail {
            let when = if when == When::BeforeWork { "before" } else { "after" };
            words.push(format!("step {:?} fails {when} its work", steps.get(index).copied().unwrap_or_default()));
        }
        if self.twice {
            words.push("everything is run twice".to_owned());
        }
        if words.is_empty() {
            words.push("undisturbed".to_owned());
        }
        Case { workflow: workflow.to_owned(), treatment: words.join(", ") }
    }

    fn registry<W: World>(self, world: &W, workflow: &str) -> Registry<W::Context, W::Error> {
        let mut registry = world.registry();
        let known = registry.alter(workflow, |definition| {
            if self.twice {
                run_twice(definition);
            }
            if let Some((index, when)) = self.fail {
                fail(definition, index, when);
            }
        });
        assert!(known, "{workflow}: no such workflow is registered");
        registry
    }
}

fn run_twice<C: Send + Sync + 'static>(definition: &mut Definition<C>) {
    for step in &mut definition.steps {
        let once = Arc::clone(&step.run);
        step.run = Arc::new(move |context, state| {
            let once = Arc::clone(&once);
            Box::pin(async move {
                once(Arc::clone(&context), state.clone()).await?;
                once(context, state).await
            })
        });
        if let ErasedUndo::With(undo) = &mut step.undo {
            let once = Arc::clone(undo);
            *undo = Arc::new(move |context, state| {
                let once = Arc::clone(&once);
                Box::pin(async move {
                    once(Arc::clone(&context), state.clone()).await?;
                    once(context, state).await
                })
            });
        }
    }
}

fn fail<C: Send + Sync + 'static>(definition: &mut Definition<C>, index: usize, when: When) {
    let injected = (definition.fault)(StepFault::Injected);
    let step = &mut definition.steps[index];
    let whole = Arc::clone(&step.run);
    step.run = Arc::new(move |context, state| {
        let (whole, injected) = (Arc::clone(&whole), injected.clone());
        Box::pin(async move {
            if when == When::AfterWork {
                whole(context, state).await?;
            }
            Err(injected)
        })
    });
}
