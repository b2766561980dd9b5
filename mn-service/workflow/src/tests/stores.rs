//! Stores that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use uuid::Uuid;

use super::bank::{ALL_HELD, Bank, Order, engine, engine_on, id};
use crate::{EngineError, Event, JobState, MemoryStore, Outcome, Record, Store, StoreError};

/// Fails two of three writes of events: one before writing, one after. Creation fails as often as asked.
#[derive(Default)]
struct Flaky {
    store: MemoryStore,
    appends: AtomicU32,
    refuse_creation: bool,
    refuse_states: bool,
}

fn broken() -> StoreError {
    StoreError::backend("the disk is on fire")
}

#[async_trait]
impl Store for Flaky {
    async fn create(&self, record: Record) -> Result<(), StoreError> {
        if self.refuse_creation { Err(broken()) } else { self.store.create(record).await }
    }

    async fn append(&self, id: Uuid, event: Event) -> Result<(), StoreError> {
        match self.appends.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => Err(broken()),
            1 => {
                self.store.append(id, event).await?;
                Err(broken())
            }
            _ => self.store.append(id, event).await,
        }
    }

    async fn set_state(&self, id: Uuid, state: JobState) -> Result<(), StoreError> {
        if self.refuse_states { Err(broken()) } else { self.store.set_state(id, state).await }
    }

    async fn unfinished(&self) -> Result<Vec<(Record, Vec<Event>)>, StoreError> {
        Err(broken())
    }

    async fn forget(&self, _: Uuid) -> Result<(), StoreError> {
        Err(broken())
    }
}

#[tokio::test]
async fn no_event_is_lost_or_doubled_by_a_store_that_fails_now_and_then() {
    let flaky = Arc::new(Flaky { refuse_states: true, ..Flaky::default() });
    let bank = Bank::new();
    let outcome = engine_on(&bank, flaky.clone()).run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!(bank.held(), ALL_HELD);

    let reference = MemoryStore::new();
    engine(&Bank::new(), &reference).run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    assert_eq!(flaky.store.jobs()[0].1, reference.jobs()[0].1);
    // Each event took three attempts, and nothing was done twice meanwhile.
    assert_eq!(flaky.appends.load(Ordering::SeqCst), 3 * u32::try_from(reference.jobs()[0].1.len()).unwrap());
    assert_eq!(bank.calls().len(), 4);
}

#[tokio::test]
async fn without_a_durable_creation_nothing_runs() {
    let bank = Bank::new();
    let engine = engine_on(&bank, Arc::new(Flaky { refuse_creation: true, ..Flaky::default() }));
    let error = engine.run(id(1), "machine.create", &Order::new("a")).await.unwrap_err();
    assert!(matches!(error, EngineError::Store { action: "create the job", .. }), "{error:?}");
    assert!(bank.calls().is_empty());
    // The id is free again: nothing is left of the attempt.
    let error = engine.run(id(1), "machine.create", &Order::new("a")).await.unwrap_err();
    assert!(matches!(error, EngineError::Store { .. }), "{error:?}");
}

#[tokio::test]
async fn failures_of_reading_and_forgetting_are_reported() {
    let engine = engine_on(&Bank::new(), Arc::new(Flaky::default()));
    assert!(matches!(engine.resume().await, Err(EngineError::Store { action: "read the unfinished jobs", .. })));
    assert!(matches!(engine.forget(id(1)).await, Err(EngineError::Store { action: "forget the job", .. })));
}

#[tokio::test]
async fn an_id_is_used_once() {
    let store = MemoryStore::new();
    let bank = Bank::new();
    let first = engine(&bank, &store);
    first.run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    for engine in [first, engine(&bank, &store)] {
        let again = engine.run(id(1), "machine.create", &Order::new("b")).await;
        assert!(matches!(again, Err(EngineError::AlreadyExists { .. })), "{again:?}");
    }
    assert_eq!(bank.held(), ALL_HELD);
}

#[tokio::test]
async fn a_job_whose_log_is_deleted_under_it_ends() {
    struct Deleting(MemoryStore);
    #[async_trait]
    impl Store for Deleting {
        async fn create(&self, record: Record) -> Result<(), StoreError> {
            self.0.create(record).await
        }
        async fn append(&self, id: Uuid, event: Event) -> Result<(), StoreError> {
            if event.sequence == 6 {
                self.0.forget(id).await?;
            }
            self.0.append(id, event).await
        }
        async fn set_state(&self, id: Uuid, state: JobState) -> Result<(), StoreError> {
            self.0.set_state(id, state).await
        }
        async fn unfinished(&self) -> Result<Vec<(Record, Vec<Event>)>, StoreError> {
            self.0.unfinished().await
        }
        async fn forget(&self, id: Uuid) -> Result<(), StoreError> {
            self.0.forget(id).await
        }
    }
    let engine = engine_on(&Bank::new(), Arc::new(Deleting(MemoryStore::new())));
    let ended = engine.run(id(1), "machine.create", &Order::new("a")).await;
    assert!(matches!(ended, Err(EngineError::Interrupted { .. })), "{ended:?}");
}
