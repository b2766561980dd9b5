//! A store without a disk: for tests, and for a service that need not survive itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use crate::store::{Event, JobState, Record, Store, StoreError};

type Jobs = BTreeMap<Uuid, (Record, Vec<Event>)>;

/// Remembers jobs for as long as one of its clones lives.
///
/// Clones share their content, so a test that keeps one can drop an engine and resume with another, as if the process
/// had died.
#[derive(Clone, Default)]
pub struct MemoryStore {
    jobs: Arc<Mutex<Jobs>>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// All jobs with their logs, in the order of their ids.
    pub fn jobs(&self) -> Vec<(Record, Vec<Event>)> {
        self.lock().values().cloned().collect()
    }

    /// A store that holds these jobs; the counterpart of [`MemoryStore::jobs`].
    pub fn holding(jobs: impl IntoIterator<Item = (Record, Vec<Event>)>) -> Self {
        let jobs = jobs.into_iter().map(|(record, events)| (record.id, (record, events))).collect();
        MemoryStore { jobs: Arc::new(Mutex::new(jobs)) }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // No code that can panic runs under the lock, so poison would carry no meaning.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, record: Record) -> Result<(), StoreError> {
        let mut jobs = self.lock();
        if jobs.contains_key(&record.id) {
            return Err(StoreError::Duplicate { id: record.id });
        }
        jobs.insert(record.id, (record, Vec::new()));
        Ok(())
    }

    async fn append(&self, id: Uuid, event: Event) -> Result<(), StoreError> {
        let mut jobs = self.lock();
        let (_, events) = jobs.get_mut(&id).ok_or(StoreError::Unknown { id })?;
        if events.iter().all(|known| known.sequence != event.sequence) {
            events.push(event);
        }
        Ok(())
    }

    async fn set_state(&self, id: Uuid, state: JobState) -> Result<(), StoreError> {
        let mut jobs = self.lock();
        let (record, _) = jobs.get_mut(&id).ok_or(StoreError::Unknown { id })?;
        record.state = state;
        Ok(())
    }

    async fn unfinished(&self) -> Result<Vec<(Record, Vec<Event>)>, StoreError> {
        Ok(self.jobs())
    }

    async fn forget(&self, id: Uuid) -> Result<(), StoreError> {
        self.lock().remove(&id);
        Ok(())
    }
}
