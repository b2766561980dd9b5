//! Resuming from every log a crash can leave, and from those it cannot.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use uuid::Uuid;

use super::bank::{ALL_HELD, Bank, BankError, Mishap, Order, SECRET, create, engine, engine_on, id};
use crate::{Engine, Event, JobState, MemoryStore, Outcome, Record, Registry, Store, StoreError, Unobserved};

/// Notes what the bank held whenever an event was about to be written: the world a crash at that moment would leave.
struct Historian {
    bank: Arc<Bank>,
    store: MemoryStore,
    worlds: Mutex<Vec<BTreeSet<String>>>,
}

#[async_trait]
impl Store for Historian {
    async fn create(&self, record: Record) -> Result<(), StoreError> {
        self.store.create(record).await
    }

    async fn append(&self, id: Uuid, event: Event) -> Result<(), StoreError> {
        self.worlds.lock().unwrap().push(self.bank.held.lock().unwrap().clone());
        self.store.append(id, event).await
    }

    async fn set_state(&self, id: Uuid, state: JobState) -> Result<(), StoreError> {
        self.store.set_state(id, state).await
    }

    async fn unfinished(&self) -> Result<Vec<(Record, Vec<Event>)>, StoreError> {
        self.store.unfinished().await
    }

    async fn forget(&self, id: Uuid) -> Result<(), StoreError> {
        self.store.forget(id).await
    }
}

/// Runs `mishaps` to the end, then once more from each prefix of the log in the world of that moment.
async fn from_every_prefix(mishaps: &[&str], check: impl Fn(usize, &Outcome<BankError>, &Bank)) {
    let bank = || mishaps.iter().fold(Bank::new(), |bank, what| bank.with(what, Mishap::Fails));
    let first = bank();
    let store = MemoryStore::new();
    let historian = Arc::new(Historian { bank: first.clone(), store: store.clone(), worlds: Mutex::default() });
    let whole = engine_on(&first, historian.clone()).run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    check(usize::MAX, &whole, &first);

    let (record, events) = store.jobs().remove(0);
    let mut worlds = historian.worlds.lock().unwrap().clone();
    assert_eq!(worlds.len(), events.len());
    worlds.push(first.held.lock().unwrap().clone());
    for (length, world) in worlds.into_iter().enumerate() {
        let bank = bank();
        *bank.held.lock().unwrap() = world;
        let truncated = MemoryStore::holding([(record.clone(), events[..length].to_vec())]);
        let engine = engine(&bank, &truncated);
        let mut resumed = engine.resume().await.unwrap();
        assert_eq!(resumed.len(), 1);
        let outcome = resumed.remove(0).running.await.unwrap();
        check(length, &outcome, &bank);
        let (record, continued) = truncated.jobs().remove(0);
        assert_eq!(record.state, JobState::Done, "prefix {length}");
        let numbered = (0..).zip(&continued).all(|(number, event)| event.sequence == number);
        assert!(numbered, "prefix {length}: {continued:?}");
        assert_eq!(continued.len(), events.len(), "prefix {length}: {continued:?}");
    }
}

#[tokio::test]
async fn a_success_is_continued_from_every_prefix() {
    from_every_prefix(&[], |length, outcome, bank| {
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "prefix {length}: {outcome:?}");
        assert_eq!(bank.held(), ALL_HELD, "prefix {length}");
    })
    .await;
}

#[tokio::test]
async fn a_failure_is_continued_from_every_prefix() {
    for step in ["address", "volume", "machine"] {
        from_every_prefix(&[&format!("do {step}")], |length, outcome, bank| {
            let as_before = matches!(outcome, Outcome::Undone { step: failed, .. } if failed == step);
            assert!(as_before, "prefix {length}: {outcome:?}");
            assert!(bank.held().is_empty(), "prefix {length}: {:?}", bank.held());
        })
        .await;
    }
}

#[tokio::test]
async fn a_stuck_job_is_stuck_from_every_prefix() {
    from_every_prefix(&["do machine", "undo volume"], |length, outcome, bank| {
        let stuck = matches!(outcome, Outcome::Stuck { undo_step, .. } if undo_step == "volume");
        assert!(stuck, "prefix {length}: {outcome:?}");
        assert_eq!(bank.held(), ["address of a", "volume of a"], "prefix {length}");
    })
    .await;
}

#[tokio::test]
async fn a_recorded_failure_is_not_tried_again() {
    let store = MemoryStore::new();
    let bank = Bank::new().with("do volume", Mishap::Fails);
    engine(&bank, &store).run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    let (record, events) = store.jobs().remove(0);
    // Up to and including the record that `volume`, node 2, returned; its undo has not begun.
    let recorded = events.iter().position(|event| event.node == 2 && event.data.is_some()).unwrap();
    let truncated = MemoryStore::holding([(record, events[..=recorded].to_vec())]);
    let bank = Bank::new();
    let outcome = engine(&bank, &truncated).resume().await.unwrap().remove(0).running.await.unwrap();
    assert!(matches!(outcome, Outcome::Undone { step, .. } if step == "volume"));
    assert_eq!(bank.calls(), ["undo volume 2", "undo address 2"]);
}

#[tokio::test]
async fn a_job_at_rest_yields_its_outcome_again_without_running_anything() {
    for mishaps in [&[][..], &["do machine"], &["do machine", "undo machine"]] {
        let store = MemoryStore::new();
        let bank = mishaps.iter().fold(Bank::new(), |bank, what| bank.with(what, Mishap::Fails));
        let outcome = engine(&bank, &store).run(id(1), "machine.create", &Order::new("a")).await.unwrap();
        let bystander = Bank::new();
        let again = engine(&bystander, &store).resume().await.unwrap().remove(0).running.await.unwrap();
        assert_eq!(again, outcome);
        assert!(bystander.calls().is_empty());
    }
}

/// The log of a job that was cut short after its second step, and the bank at that time.
async fn cut_short() -> (Record, Vec<Event>) {
    let store = MemoryStore::new();
    engine(&Bank::new(), &store).run(id(1), "machine.create", &Order::new("a")).await.unwrap();
    let (record, mut events) = store.jobs().remove(0);
    events.truncate(7);
    (record, events)
}

/// Resumes a damaged job next to a sound one; the reason why the damaged one is stuck.
async fn resume_beside_a_sound_one(damaged: (Record, Vec<Event>), registry: Registry<Bank, BankError>) -> String {
    let (mut sound, events) = cut_short().await;
    sound.id = id(2);
    let damaged_before = damaged.clone();
    let store = MemoryStore::holding([damaged, (sound, events)]);
    let bank = Bank::new();
    let engine = Engine::new(Arc::new(store.clone()), bank.clone(), registry, Arc::new(Unobserved));
    let mut reason = None;
    for job in engine.resume().await.unwrap() {
        match (job.id == id(2), job.running.await.unwrap()) {
            (true, outcome) => assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}"),
            (false, Outcome::Stuck { error, .. }) => reason = Some(error),
            (false, outcome) => panic!("{outcome:?}"),
        }
    }
    assert_eq!(store.jobs()[0], damaged_before, "a job that cannot be continued is left as it is");
    let reason = reason.unwrap();
    assert!(!reason.contains(SECRET), "{reason}");
    reason
}

#[tokio::test]
async fn an_unknown_version_is_stuck_and_hinders_nobody() {
    let (mut record, events) = cut_short().await;
    record.version = 9;
    let reason = resume_beside_a_sound_one((record, events), super::bank::registry()).await;
    assert_eq!(reason, "workflow machine.create version 9 is not known to this build");
}

#[tokio::test]
async fn changed_steps_without_a_new_version_are_stuck() {
    let (mut record, events) = cut_short().await;
    record.dag = record.dag.replace("volume", "disk");
    let reason = resume_beside_a_sound_one((record, events), super::bank::registry()).await;
    assert_eq!(reason, "workflow machine.create version 1 has other steps in this build than in the job");
}

#[tokio::test]
async fn a_damaged_log_is_stuck() {
    let (record, events) = cut_short().await;

    let mut gap = events.clone();
    gap.remove(3);
    let reason = resume_beside_a_sound_one((record.clone(), gap), super::bank::registry()).await;
    assert_eq!(reason, "event 3 is missing from the job's log; the next one there is 4");

    let mut unreadable = events.clone();
    unreadable[3].data = Some(format!("{SECRET}{{"));
    let reason = resume_beside_a_sound_one((record.clone(), unreadable), super::bank::registry()).await;
    assert_eq!(reason, "the data of #3 node 0 succeeded in the job's log cannot be read");

    // Readable, but not what a step leaves.
    let mut foreign = events.clone();
    foreign[3].data = Some(format!("{{\"done_by\":\"{SECRET}\"}}"));
    let reason = resume_beside_a_sound_one((record.clone(), foreign), super::bank::registry()).await;
    assert_eq!(reason, "the data of #3 node 0 succeeded in the job's log cannot be read");

    // The second step succeeded although the first never did.
    let mut impossible = events.clone();
    impossible.drain(2..4);
    for (sequence, event) in (0..).zip(&mut impossible) {
        event.sequence = sequence;
    }
    let reason = resume_beside_a_sound_one((record.clone(), impossible), super::bank::registry()).await;
    assert!(reason.contains("not one that can have come about"), "{reason}");

    let mut no_graph = record;
    no_graph.dag = SECRET.to_owned();
    let reason = resume_beside_a_sound_one((no_graph, events), super::bank::registry()).await;
    assert_eq!(reason, "the stored steps and initial state of the job cannot be read");
}

#[tokio::test]
async fn a_state_that_no_longer_fits_is_stuck_without_being_quoted() {
    let (mut record, mut events) = cut_short().await;
    record.dag = record.dag.replace("\"done\":0", "\"done\":\"hunter2-in-the-state\"");
    for event in &mut events {
        event.data = event.data.take().map(|data| data.replace("\"done\":2", "\"done\":\"hunter2-in-the-state\""));
    }
    let store = MemoryStore::holding([(record, events)]);
    let mut registry = Registry::new();
    registry.register(create(1)).unwrap();
    let engine = Engine::new(Arc::new(store), Bank::new(), registry, Arc::new(Unobserved));
    let outcome = engine.resume().await.unwrap().remove(0).running.await.unwrap();
    assert!(matches!(&outcome, Outcome::Stuck { step, .. } if step == "volume"), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains(SECRET), "{outcome:?}");
}
