//! Faults on demand.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use node_manager_types::{AgentError, ErrorKind};
use tokio::sync::Notify;

/// One spelling for `StartVm` and `start_vm`.
pub fn normalize(op: &str) -> String {
    op.chars().filter(|letter| *letter != '_').flat_map(char::to_lowercase).collect()
}

#[derive(Default)]
struct Plan {
    held: BTreeSet<String>,
    waiting: BTreeMap<String, usize>,
    asked: BTreeMap<String, usize>,
    failures: BTreeMap<String, VecDeque<AgentError>>,
    silent_until: Option<Instant>,
}

/// The faults of one host.
#[derive(Default)]
pub(crate) struct Faults {
    plan: Mutex<Plan>,
    changed: Notify,
}

/// Counts an operation as waiting while it lives.
struct Waiting<'a>(&'a Faults, String);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0.plan().waiting.get_mut(&self.1) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Faults {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold(&self, op: &str) {
        self.plan().held.insert(normalize(op));
    }

    pub(crate) fn release(&self, op: &str) {
        let op = normalize(op);
        if op == "*" {
            self.plan().held.clear();
        } else {
            self.plan().held.remove(&op);
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn held(&self, op: &str) -> usize {
        self.plan().waiting.get(&normalize(op)).copied().unwrap_or(0)
    }

    pub(crate) fn asked(&self, op: &str) -> usize {
        self.plan().asked.get(&normalize(op)).copied().unwrap_or(0)
    }

    pub(crate) fn fail_next(&self, op: &str, kind: ErrorKind, message: &str) {
        self.plan().failures.entry(normalize(op)).or_default().push_back(AgentError::new(kind, message));
    }

    pub(crate) fn clear_failures(&self) {
        self.plan().failures.clear();
    }

    pub(crate) fn silent(&self, time: Duration) {
        self.plan().silent_until = Instant::now().checked_add(time);
        self.changed.notify_waiters();
    }

    /// Waits until the host speaks again.
    pub(crate) async fn silence(&self) {
        loop {
            let changed = self.changed.notified();
            let Some(left) = self.plan().silent_until.and_then(|until| until.checked_duration_since(Instant::now()))
            else {
                return;
            };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = changed => {}
            }
        }
    }

    /// What an operation meets before it does anything.
    pub(crate) async fn enter(&self, op: &str, latency: Duration) -> Result<(), AgentError> {
        let op = normalize(op);
        *self.plan().waiting.entry(op.clone()).or_default() += 1;
        *self.plan().asked.entry(op.clone()).or_default() += 1;
        let waiting = Waiting(self, op.clone());
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that a release in between is not missed.
            changed.as_mut().enable();
            let is_held = {
                let plan = self.plan();
                plan.held.contains(&op) || plan.held.contains("*")
            };
            if !is_held {
                break;
            }
            changed.await;
        }
        drop(waiting);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let failure = {
            let mut plan = self.plan();
            let own = plan.failures.get_mut(&op).and_then(VecDeque::pop_front);
            own.or_else(|| plan.failures.get_mut("*").and_then(VecDeque::pop_front))
        };
        failure.map_or(Ok(()), Err)
    }
}
