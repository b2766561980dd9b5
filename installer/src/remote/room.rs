//! How many connections a door has at once, in all and from one address: one machine must not keep everybody else out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Room for connections.
#[derive(Debug, Clone)]
pub struct Room {
    all: usize,
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Room {
    /// For so many connections, and so many of them from one address.
    pub fn new(all: usize, each: usize) -> Self {
        Self { all, each, taken: Arc::default() }
    }

    /// A place, which is free again when it is dropped; nothing, where there is none.
    pub fn enter(&self, from: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= self.all {
            return None;
        }
        let own = taken.entry(from).or_default();
        if *own >= self.each {
            return None;
        }
        *own += 1;
        Some(Place { room: self.clone(), from })
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Place {
    room: Room,
    from: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.from) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_keep_others_out() {
        let room = Room::new(3, 2);
        let from = |number| IpAddr::from([192, 0, 2, number]);
        let one = room.enter(from(1)).unwrap();
        let _second = room.enter(from(1)).unwrap();
        assert!(room.enter(from(1)).is_none(), "too many from there");
        let other = room.enter(from(2)).unwrap();
        assert!(room.enter(from(3)).is_none(), "too many in all");
        drop(other);
        assert!(room.enter(from(3)).is_some());
        drop(one);
        assert!(room.enter(from(1)).is_some());
    }
}
