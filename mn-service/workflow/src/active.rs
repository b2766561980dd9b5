//! Which jobs this engine is driving right now, so that no job is ever driven twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

#[derive(Default)]
struct Ids {
    driven: HashSet<Uuid>,
    /// How many `resume` calls are looking at a snapshot of the store.
    readers: usize,
    /// Jobs that came to rest while somebody was looking: the snapshot may show them half-done.
    ended_meanwhile: HashSet<Uuid>,
}

#[derive(Clone)]
pub(crate) struct Active {
    ids: Arc<Mutex<Ids>>,
    count: watch::Sender<usize>,
}

impl Active {
    pub(crate) fn new() -> Self {
        Active { ids: Arc::default(), count: watch::Sender::new(0) }
    }

    /// Claims a job until the claim is dropped; `None` if it is claimed or a snapshot of it may be out of date.
    pub(crate) fn claim(&self, id: Uuid) -> Option<Claim> {
        let ids = self.lock();
        if ids.ended_meanwhile.contains(&id) { None } else { self.insert(ids, id) }
    }

    /// Like `claim`, for who does not rely on a snapshot.
    pub(crate) fn claim_at_rest(&self, id: Uuid) -> Option<Claim> {
        self.insert(self.lock(), id)
    }

    fn insert(&self, mut ids: MutexGuard<'_, Ids>, id: Uuid) -> Option<Claim> {
        if !ids.driven.insert(id) {
            return None;
        }
        self.count.send_modify(|count| *count += 1);
        Some(Claim { active: self.clone(), id })
    }

    /// To be held from before a snapshot of the store is taken until all claims from it are made.
    pub(crate) fn reading(&self) -> Reading {
        self.lock().readers += 1;
        Reading { active: self.clone() }
    }

    /// Returns when no job is driven.
    pub(crate) async fn idle(&self) {
        let mut count = self.count.subscribe();
        // The sender lives in `self`, so waiting cannot end with an error.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        // No code that can panic runs under the lock, so poison would carry no meaning.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Claim {
    active: Active,
    id: Uuid,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut ids = self.active.lock();
        ids.driven.remove(&self.id);
        if ids.readers > 0 {
            ids.ended_meanwhile.insert(self.id);
        }
        drop(ids);
        self.active.count.send_modify(|count| *count -= 1);
    }
}

pub(crate) struct Reading {
    active: Active,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut ids = self.active.lock();
        ids.readers -= 1;
        if ids.readers == 0 {
            ids.ended_meanwhile.clear();
        }
    }
}
