//! One queue per resource: changes to the same resource run one after the other in the order they were accepted,
//! changes to different resources run in parallel. No lock is held while a change runs.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The queues of a process.
#[derive(Debug, Clone, Default)]
pub struct Queues {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    waiting: HashMap<String, VecDeque<u64>>,
    wake: HashMap<u64, Arc<Notify>>,
}

/// A place in the queues of some resources; dropping it gives the place up.
#[derive(Debug)]
pub struct Ticket {
    queues: Queues,
    number: u64,
    keys: BTreeSet<String>,
    notify: Arc<Notify>,
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere cannot leave the maps half-changed: every change below is a single call.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place at the end of every queue in `keys`, all at once, so that no two tickets can wait for each other.
    pub fn join(&self, keys: impl IntoIterator<Item = String>) -> Ticket {
        let keys: BTreeSet<String> = keys.into_iter().collect();
        let notify = Arc::new(Notify::new());
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        for key in &keys {
            inner.waiting.entry(key.clone()).or_default().push_back(number);
        }
        inner.wake.insert(number, notify.clone());
        drop(inner);
        Ticket { queues: self.clone(), number, keys, notify }
    }

    /// Number of resources with waiting or running changes.
    pub fn busy(&self) -> usize {
        self.lock().waiting.len()
    }
}

impl Ticket {
    /// Waits until this ticket is first in all its queues. Keep the ticket for as long as the change runs.
    pub async fn turn(&self) {
        loop {
            let notified = self.notify.notified();
            if self.has_turn() {
                return;
            }
            notified.await;
        }
    }

    /// True when this ticket is first in all its queues now.
    pub fn has_turn(&self) -> bool {
        let inner = self.queues.lock();
        self.keys.iter().all(|key| inner.waiting.get(key).and_then(VecDeque::front) == Some(&self.number))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.queues.lock();
        inner.wake.remove(&self.number);
        let mut next = BTreeSet::new();
        for key in &self.keys {
            if let Some(queue) = inner.waiting.get_mut(key) {
                queue.retain(|number| *number != self.number);
                match queue.front() {
                    Some(number) => _ = next.insert(*number),
                    None => _ = inner.waiting.remove(key),
                }
            }
        }
        for number in next {
            if let Some(notify) = inner.wake.get(&number) {
                notify.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    async fn waits(ticket: &Ticket) -> bool {
        timeout(Duration::from_millis(20), ticket.turn()).await.is_err()
    }

    #[tokio::test]
    async fn the_same_resource_is_served_in_order_and_others_in_parallel() {
        let queues = Queues::default();
        let first = queues.join(keys(&["vm:1"]));
        let second = queues.join(keys(&["vm:1"]));
        let other = queues.join(keys(&["vm:2"]));
        first.turn().await;
        other.turn().await;
        assert!(waits(&second).await);
        drop(first);
        second.turn().await;
        drop((second, other));
        assert_eq!(queues.busy(), 0);
    }

    #[tokio::test]
    async fn tickets_over_several_resources_cannot_deadlock() {
        let queues = Queues::default();
        let ab = queues.join(keys(&["a", "b"]));
        let ba = queues.join(keys(&["b", "a"]));
        let b = queues.join(keys(&["b"]));
        ab.turn().await;
        assert!(waits(&ba).await && waits(&b).await);
        drop(ab);
        ba.turn().await;
        assert!(waits(&b).await);
        drop(ba);
        b.turn().await;
    }

    #[tokio::test]
    async fn giving_up_a_place_in_the_middle_lets_the_next_through() {
        let queues = Queues::default();
        let first = queues.join(keys(&["a"]));
        let middle = queues.join(keys(&["a"]));
        let last = queues.join(keys(&["a"]));
        drop(middle);
        drop(first);
        last.turn().await;
    }
}
