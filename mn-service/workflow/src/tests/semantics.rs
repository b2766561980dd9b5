//! What happens when steps and undos succeed, fail and panic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::json;

use super::bank::{ALL_HELD, Bank, BankError, Mishap, Order, SECRET, Watcher, create, engine, id, registry};
use crate::{Engine, EngineError, MemoryStore, Outcome, Phase, StepFault};

async fn run(bank: &Arc<Bank>) -> Outcome<BankError> {
    let outcome = engine(bank, &MemoryStore::new()).run(id(1), "machine.create", &Order::new("a")).await;
    outcome.unwrap()
}

#[tokio::test]
async fn steps_run_in_order_and_hand_their_state_on() {
    let bank = Bank::new();
    let outcome = run(&bank).await;
    let Outcome::Succeeded { state } = outcome else { panic!("{outcome:?}") };
    assert_eq!(state["done"], json!(4));
    assert_eq!(bank.calls(), ["do choose 0", "do address 1", "do volume 2", "do machine 3"]);
    assert_eq!(bank.held(), ALL_HELD);
}

#[tokio::test]
async fn a_failed_step_is_undone_first_with_the_state_before_it() {
    let bank = Bank::new().with("do volume", Mishap::Fails);
    let outcome = run(&bank).await;
    let error = BankError::Refused("do volume".to_owned());
    assert_eq!(outcome, Outcome::Undone { step: "volume".to_owned(), error });
    // Two steps were done when `volume` began and failed; the completed `address` is undone with its own output.
    let calls = ["do choose 0", "do address 1", "do volume 2", "undo volume 2", "undo address 2"];
    assert_eq!(bank.calls(), calls);
    assert!(bank.held().is_empty());
}

#[tokio::test]
async fn the_first_and_the_last_step_may_fail() {
    let bank = Bank::new().with("do choose", Mishap::Fails);
    assert!(matches!(run(&bank).await, Outcome::Undone { step, .. } if step == "choose"));
    assert_eq!(bank.calls(), ["do choose 0"]);

    let bank = Bank::new().with("do machine", Mishap::Fails);
    assert!(matches!(run(&bank).await, Outcome::Undone { step, .. } if step == "machine"));
    assert_eq!(bank.calls()[4..], ["undo machine 3", "undo volume 3", "undo address 2"]);
    assert!(bank.held().is_empty());
}

#[tokio::test]
async fn a_failed_own_undo_is_stuck_and_stops_unwinding() {
    let bank = Bank::new().with("do volume", Mishap::Fails).with("undo volume", Mishap::Fails);
    let outcome = run(&bank).await;
    let stuck = Outcome::Stuck {
        step: "volume".to_owned(),
        error: "the bank refuses do volume".to_owned(),
        undo_step: "volume".to_owned(),
        undo_error: "the bank refuses undo volume".to_owned(),
    };
    assert_eq!(outcome, stuck);
    assert_eq!(bank.calls().last().unwrap(), "undo volume 2");
    assert_eq!(bank.held(), ["address of a", "volume of a"]);
}

#[tokio::test]
async fn a_failed_undo_of_a_completed_step_is_stuck_too() {
    let bank = Bank::new().with("do machine", Mishap::Fails).with("undo volume", Mishap::Fails);
    let outcome = run(&bank).await;
    let stuck = Outcome::Stuck {
        step: "machine".to_owned(),
        error: "the bank refuses do machine".to_owned(),
        undo_step: "volume".to_owned(),
        undo_error: "the bank refuses undo volume".to_owned(),
    };
    assert_eq!(outcome, stuck);
    assert_eq!(bank.held(), ["address of a", "volume of a"]);
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let bank = Bank::new().with("do address", Mishap::Panics);
    let error = BankError::Fault(StepFault::Panicked { message: "do address fell over".to_owned() });
    assert_eq!(run(&bank).await, Outcome::Undone { step: "address".to_owned(), error });
    assert!(bank.held().is_empty());

    let bank = Bank::new().with("do volume", Mishap::Fails).with("undo address", Mishap::Panics);
    let outcome = run(&bank).await;
    let Outcome::Stuck { undo_step, undo_error, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((undo_step.as_str(), undo_error.as_str()), ("address", "the undo panicked: undo address fell over"));
}

#[tokio::test]
async fn every_boundary_is_reported() {
    use Phase::{AfterStep, AfterUndo, BeforeStep, BeforeUndo, Recorded, UndoRecorded};
    let bank = Bank::new().with("do address", Mishap::Fails);
    let watcher = Arc::new(Watcher::default());
    let engine = Engine::new(Arc::new(MemoryStore::new()), bank, registry(), watcher.clone());
    engine.run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    let met = watcher.0.lock().unwrap().clone();
    let forward = [BeforeStep, AfterStep, Recorded].map(|phase| (0, phase));
    let failed = [BeforeStep, AfterStep, Recorded, BeforeUndo, AfterUndo, UndoRecorded].map(|phase| (1, phase));
    assert_eq!(met, [&forward[..], &failed[..], &[(0, UndoRecorded)]].concat());
}

#[tokio::test]
async fn an_observer_that_panics_disturbs_nothing() {
    struct Clumsy;
    impl crate::Observer for Clumsy {
        fn boundary(&self, _: crate::Boundary) {
            panic!("dropped the tray");
        }
    }
    let bank = Bank::new();
    let engine = Engine::new(Arc::new(MemoryStore::new()), bank.clone(), registry(), Arc::new(Clumsy));
    let outcome = engine.run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    assert!(matches!(outcome, Outcome::Succeeded { .. }));
}

#[tokio::test]
async fn a_job_that_is_over_begins_no_further_step_and_is_undone() {
    /// Time is over once the given step is recorded.
    struct Clock(usize, AtomicBool);
    impl crate::Observer for Clock {
        fn boundary(&self, at: crate::Boundary) {
            if (at.index, at.phase) == (self.0, Phase::Recorded) {
                self.1.store(true, Ordering::SeqCst);
            }
        }
        fn is_over(&self, job: uuid::Uuid) -> bool {
            assert_eq!(job, id(1));
            self.1.load(Ordering::SeqCst)
        }
    }
    for (last, undone, calls) in [(0, "address", 1), (1, "volume", 2), (2, "machine", 3)] {
        let bank = Bank::new();
        let clock = Arc::new(Clock(last, AtomicBool::new(false)));
        let engine = Engine::new(Arc::new(MemoryStore::new()), bank.clone(), registry(), clock);
        let outcome = engine.run(id(1), "machine.create", &Order::new("a")).await.unwrap();
        let error = BankError::Fault(StepFault::TimedOut);
        assert_eq!(outcome, Outcome::Undone { step: undone.to_owned(), error });
        assert_eq!(bank.calls().iter().filter(|call| call.starts_with("do ")).count(), calls);
        assert!(bank.held().is_empty(), "undos take the time they need");
    }
    // A job whose last step is done has ended, whatever the time.
    let clock = Arc::new(Clock(3, AtomicBool::new(false)));
    let engine = Engine::new(Arc::new(MemoryStore::new()), Bank::new(), registry(), clock);
    let outcome = engine.run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
}

#[tokio::test]
async fn new_jobs_use_the_latest_version() {
    let mut registry = registry();
    registry.register(create(3)).unwrap();
    registry.register(create(2)).unwrap();
    let store = MemoryStore::new();
    let engine = Engine::new(Arc::new(store.clone()), Bank::new(), registry, Arc::new(crate::Unobserved));
    engine.run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    assert_eq!(store.jobs()[0].0.version, 3);
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_anything_is_stored() {
    let store = MemoryStore::new();
    let engine = engine(&Bank::new(), &store);
    let unknown = engine.run(id(1), "machine.melt", &Order::new("a")).await;
    assert!(matches!(unknown, Err(EngineError::UnknownWorkflow { .. })), "{unknown:?}");
    let wrong = engine.run(id(1), "machine.create", &"a string".to_owned()).await;
    assert!(matches!(wrong, Err(EngineError::WrongState { .. })), "{wrong:?}");
    assert!(store.jobs().is_empty());
}

#[tokio::test]
async fn two_hundred_at_once_do_not_mix() {
    let bank = Bank::new();
    let store = MemoryStore::new();
    let engine = engine(&bank, &store);
    let jobs = (0..200_u128).map(|number| {
        let engine = engine.clone();
        async move { engine.run(id(number), "machine.create", &Order::new(&format!("{number:03}"))).await.unwrap() }
    });
    for outcome in futures::future::join_all(jobs).await {
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    }
    assert_eq!(bank.held().len(), 600);
    assert_eq!(store.jobs().len(), 200);
}

#[tokio::test]
async fn states_appear_in_no_debug_output() {
    let store = MemoryStore::new();
    let bank = Bank::new().with("do machine", Mishap::Fails);
    engine(&bank, &store).run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    let (record, events) = store.jobs().remove(0);
    assert!(record.dag.contains(SECRET) && events.iter().any(|event| format!("{:?}", event.data).contains(SECRET)));
    assert!(!format!("{record:?} {events:?}").contains(SECRET));
}

/// Refuses one boundary.
struct Refuses(&'static str, Phase);

impl crate::Observer for Refuses {
    fn boundary(&self, _at: crate::Boundary) {}

    fn permit(&self, at: crate::Boundary) -> Result<(), String> {
        if (at.step, at.phase) == (self.0, self.1) { Err("not today".to_owned()) } else { Ok(()) }
    }
}

async fn run_observed(bank: &Arc<Bank>, observer: Refuses) -> Outcome<BankError> {
    let engine = Engine::new(Arc::new(MemoryStore::new()), Arc::clone(bank), registry(), Arc::new(observer));
    engine.run(id(1), "machine.create", &Order::new("a")).await.unwrap()
}

#[tokio::test]
async fn a_step_that_the_observer_refuses_fails_and_everything_is_undone() {
    for (phase, ran) in [(Phase::BeforeStep, false), (Phase::AfterStep, true)] {
        let bank = Bank::new();
        let outcome = run_observed(&bank, Refuses("machine", phase)).await;
        let Outcome::Undone { step, error } = outcome else { panic!("{phase:?}: {outcome:?}") };
        assert_eq!((step.as_str(), error.to_string().contains("not today")), ("machine", true), "{error}");
        assert_eq!(bank.calls().contains(&"do machine 3".to_owned()), ran, "{phase:?}");
        assert!(bank.held().is_empty(), "{phase:?}");
    }
}

#[tokio::test]
async fn an_undo_that_the_observer_refuses_leaves_the_job_stuck() {
    let bank = Bank::new().with("do machine", Mishap::Fails);
    let outcome = run_observed(&bank, Refuses("volume", Phase::BeforeUndo)).await;
    let Outcome::Stuck { undo_step, undo_error, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((undo_step.as_str(), undo_error.as_str()), ("volume", "not today"));
    assert_eq!(bank.held(), ["address of a", "volume of a"]);
}
