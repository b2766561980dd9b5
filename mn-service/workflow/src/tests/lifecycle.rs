//! Shutdown, and resuming next to running.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use uuid::Uuid;

use super::bank::{ALL_HELD, Bank, Mishap, Order, engine, engine_on, eventually, id};
use crate::{EngineError, Event, JobState, MemoryStore, Outcome, Record, Store, StoreError};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn shutdown_lets_the_step_under_way_finish_and_begins_no_other() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let bank = Bank::new();
    let store = MemoryStore::new();
    let gate = (entered.clone(), release.clone());
    let slow = move |_: Arc<Bank>, mut order: Order| {
        let (entered, release) = gate.clone();
        async move {
            entered.notify_one();
            release.notified().await;
            order.done += 1;
            Ok(order)
        }
    };
    let registry = || {
        let nothing = || crate::Undo::nothing("a test");
        let next = |bank: Arc<Bank>, order: Order| async move {
            bank.held.lock().unwrap().insert(format!("next after {}", order.done));
            Ok::<_, super::bank::BankError>(order)
        };
        let workflow = crate::Workflow::named("slow", 1).step("slow", slow.clone(), nothing());
        let mut registry = crate::Registry::new();
        registry.register(workflow.step("next", next, nothing())).unwrap();
        registry
    };
    let engine = || crate::Engine::new(Arc::new(store.clone()), bank.clone(), registry(), Arc::new(crate::Unobserved));

    let first = engine();
    let running = first.start(id(1), "slow", &Order::new("a")).await.unwrap();
    entered.notified().await;
    let stopping = tokio::spawn({
        let first = first.clone();
        async move { first.shutdown(LONG).await }
    });
    eventually("the engine refuses jobs", || !first.switch().is_running()).await;
    release.notify_one();
    stopping.await.unwrap();
    assert!(matches!(running.await, Err(EngineError::Interrupted { .. })));
    assert!(bank.held().is_empty());
    let refused = first.run(id(2), "slow", &Order::new("b")).await;
    assert!(matches!(refused, Err(EngineError::ShuttingDown)), "{refused:?}");
    assert!(matches!(first.resume().await, Err(EngineError::ShuttingDown)));
    assert_eq!(store.jobs().len(), 1);

    // Nobody opens the gate any more: the finished step was recorded and is not run again.
    let outcome = engine().resume().await.unwrap().remove(0).running.await.unwrap();
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!(bank.held(), ["next after 1"]);
}

#[tokio::test]
async fn shutdown_abandons_what_outlasts_the_grace() {
    let store = MemoryStore::new();
    let bank = Bank::new().with("do volume", Mishap::Hangs);
    let first = engine(&bank, &store);
    let running = first.start(id(1), "machine.create", &Order::new("a")).await.unwrap();
    eventually("the step hangs", || bank.calls().len() == 3).await;
    let log = store.jobs();
    first.shutdown(Duration::from_millis(50)).await;
    assert!(matches!(running.await, Err(EngineError::Interrupted { .. })));
    assert_eq!(store.jobs(), log, "nothing is recorded for an abandoned step");
    assert_eq!(bank.calls().len(), 3, "and no undo is run");
    drop(first);
    eventually("nothing of the abandoned job is left in memory", || Arc::strong_count(&bank) == 1).await;

    bank.behave();
    let outcome = engine(&bank, &store).resume().await.unwrap().remove(0).running.await.unwrap();
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!(bank.held(), ALL_HELD);
    assert_eq!(bank.calls()[3..], ["do volume 2", "do machine 3"]);
}

#[tokio::test]
async fn a_job_goes_on_when_nobody_waits_for_it() {
    let store = MemoryStore::new();
    let bank = Bank::new();
    let engine = engine(&bank, &store);
    drop(engine.start(id(1), "machine.create", &Order::new("a")).await.unwrap());
    eventually("the job is done", || store.jobs()[0].0.state == JobState::Done).await;
    assert_eq!(bank.held(), ALL_HELD);
}

#[tokio::test]
async fn a_log_is_forgotten_only_at_rest() {
    let store = MemoryStore::new();
    let bank = Bank::new().with("do volume", Mishap::Hangs);
    let hanging = engine(&bank, &store);
    let _running = hanging.start(id(1), "machine.create", &Order::new("a")).await.unwrap();
    assert!(matches!(hanging.forget(id(1)).await, Err(EngineError::StillRunning { .. })));
    assert!(matches!(
        hanging.run(id(1), "machine.create", &Order::new("a")).await,
        Err(EngineError::AlreadyExists { .. })
    ));
    assert!(hanging.resume().await.unwrap().is_empty(), "a running job is not resumed");
    assert_eq!(store.jobs().len(), 1);

    let finished = engine(&Bank::new(), &store);
    finished.run(id(2), "machine.create", &Order::new("b")).await.unwrap();
    finished.forget(id(2)).await.unwrap();
    finished.forget(id(2)).await.unwrap();
    assert_eq!(store.jobs().len(), 1);
}

/// Shows a snapshot only after it has had time to become out of date.
#[derive(Default)]
struct Slow {
    store: MemoryStore,
    /// The job stands still before its fourth event until this is notified.
    go: Notify,
    taken: Notify,
    show: Notify,
}

#[async_trait]
impl Store for Slow {
    async fn create(&self, record: Record) -> Result<(), StoreError> {
        self.store.create(record).await
    }

    async fn append(&self, id: Uuid, event: Event) -> Result<(), StoreError> {
        if event.sequence == 3 {
            self.go.notified().await;
        }
        self.store.append(id, event).await
    }

    async fn set_state(&self, id: Uuid, state: JobState) -> Result<(), StoreError> {
        self.store.set_state(id, state).await
    }

    async fn unfinished(&self) -> Result<Vec<(Record, Vec<Event>)>, StoreError> {
        let snapshot = self.store.jobs();
        assert_eq!((snapshot.len(), snapshot[0].1.len()), (1, 3));
        self.taken.notify_one();
        self.show.notified().await;
        Ok(snapshot)
    }

    async fn forget(&self, id: Uuid) -> Result<(), StoreError> {
        self.store.forget(id).await
    }
}

#[tokio::test]
async fn a_job_that_ends_while_the_store_is_read_is_not_run_again() {
    let store = Arc::new(Slow::default());
    let bank = Bank::new();
    let engine = engine_on(&bank, store.clone());
    let running = engine.start(id(1), "machine.create", &Order::new("a")).await.unwrap();
    eventually("the job stands before its fourth event", || store.store.jobs()[0].1.len() == 3).await;
    let resuming = tokio::spawn({
        let engine = engine.clone();
        async move { engine.resume().await }
    });
    store.taken.notified().await;
    store.go.notify_one();
    assert!(matches!(running.await.unwrap(), Outcome::Succeeded { .. }));
    engine.forget(id(1)).await.unwrap();
    store.show.notify_one();
    assert!(resuming.await.unwrap().unwrap().is_empty());
    assert_eq!(bank.calls().len(), 4);
}

#[tokio::test]
async fn new_jobs_run_while_old_ones_are_resumed() {
    let store = MemoryStore::new();
    let bank = Bank::new().with("do volume", Mishap::Hangs);
    let first = engine(&bank, &store);
    for number in 0..50 {
        drop(first.start(id(number), "machine.create", &Order::new(&format!("old {number}"))).await.unwrap());
    }
    first.shutdown(Duration::ZERO).await;
    bank.behave();

    let second = engine(&bank, &store);
    let new = (50..100).map(|number| {
        let second = second.clone();
        async move { second.run(id(number), "machine.create", &Order::new(&format!("new {number}"))).await.unwrap() }
    });
    let (new, resumed) = tokio::join!(futures::future::join_all(new), second.resume());
    let resumed = resumed.unwrap();
    assert!(resumed.len() >= 50);
    for job in resumed {
        assert!(matches!(job.running.await.unwrap(), Outcome::Succeeded { .. }));
    }
    assert!(new.iter().all(|outcome| matches!(outcome, Outcome::Succeeded { .. })));
    assert_eq!(bank.held().len(), 300);
}
