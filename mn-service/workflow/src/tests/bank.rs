//! The toy domain: a bank of resources that steps acquire and undos release.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Boundary, Engine, MemoryStore, Observer, Phase, Registry, StepFault, Store, Undo, Unobserved, Workflow};

/// Never to be seen anywhere but in the store.
pub(super) const SECRET: &str = "hunter2-in-the-state";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) seed: String,
    pub(super) password: String,
    /// Names of what this order acquires, chosen in the first step.
    pub(super) chosen: Vec<String>,
    /// How many steps have completed.
    pub(super) done: u32,
}

impl Order {
    pub(super) fn new(seed: &str) -> Order {
        Order { seed: seed.to_owned(), password: SECRET.to_owned(), chosen: Vec::new(), done: 0 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BankError {
    Refused(String),
    Fault(StepFault),
}

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BankError::Refused(what) => write!(f, "the bank refuses {what}"),
            BankError::Fault(fault) => write!(f, "fault: {fault}"),
        }
    }
}

impl From<StepFault> for BankError {
    fn from(fault: StepFault) -> Self {
        BankError::Fault(fault)
    }
}

/// What a step or undo does instead of returning well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    /// Does half of its work, then fails.
    Fails,
    Panics,
    /// Does its work and never returns.
    Hangs,
}

#[derive(Default)]
pub(super) struct Bank {
    pub(super) held: Mutex<BTreeSet<String>>,
    /// `do NAME DONE` and `undo NAME DONE` in the order they were called; DONE is that of the state they were given.
    pub(super) calls: Mutex<Vec<String>>,
    mishaps: Mutex<BTreeMap<String, Mishap>>,
}

impl Bank {
    pub(super) fn new() -> Arc<Bank> {
        Arc::default()
    }

    /// `what` is `do NAME` or `undo NAME`.
    pub(super) fn with(self: Arc<Self>, what: &str, mishap: Mishap) -> Arc<Bank> {
        self.mishaps.lock().unwrap().insert(what.to_owned(), mishap);
        self
    }

    pub(super) fn behave(&self) {
        self.mishaps.lock().unwrap().clear();
    }

    pub(super) fn held(&self) -> Vec<String> {
        self.held.lock().unwrap().iter().cloned().collect()
    }

    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    async fn call(&self, what: &str, done: u32) -> Result<(), BankError> {
        self.calls.lock().unwrap().push(format!("{what} {done}"));
        let mishap = self.mishaps.lock().unwrap().get(what).copied();
        match mishap {
            None => Ok(()),
            Some(Mishap::Fails) => Err(BankError::Refused(what.to_owned())),
            Some(Mishap::Panics) => panic!("{what} fell over"),
            Some(Mishap::Hangs) => std::future::pending().await,
        }
    }
}

async fn choose(bank: Arc<Bank>, mut order: Order) -> Result<Order, BankError> {
    bank.call("do choose", order.done).await?;
    order.chosen = ["address", "volume", "machine"].map(|kind| format!("{kind} of {}", order.seed)).to_vec();
    order.done += 1;
    Ok(order)
}

async fn acquire(bank: Arc<Bank>, mut order: Order, step: &str, index: usize) -> Result<Order, BankError> {
    // Taken before the mishap, so that a failing step leaves something behind for its own undo.
    bank.held.lock().unwrap().insert(order.chosen[index].clone());
    bank.call(&format!("do {step}"), order.done).await?;
    order.done += 1;
    Ok(order)
}

async fn release(bank: Arc<Bank>, order: Order, step: &str, index: usize) -> Result<(), BankError> {
    bank.call(&format!("undo {step}"), order.done).await?;
    bank.held.lock().unwrap().remove(&order.chosen[index]);
    Ok(())
}

/// Four steps; the last three hold something.
pub(super) fn create(version: u32) -> Workflow<Bank, Order, BankError> {
    Workflow::named("machine.create", version)
        .step("choose", choose, Undo::nothing("only this job's own log has changed"))
        .step("address", |b, o| acquire(b, o, "address", 0), Undo::with(|b, o| release(b, o, "address", 0)))
        .step("volume", |b, o| acquire(b, o, "volume", 1), Undo::with(|b, o| release(b, o, "volume", 1)))
        .step("machine", |b, o| acquire(b, o, "machine", 2), Undo::with(|b, o| release(b, o, "machine", 2)))
}

pub(super) fn registry() -> Registry<Bank, BankError> {
    let mut registry = Registry::new();
    registry.register(create(1)).unwrap();
    registry
}

pub(super) fn engine(bank: &Arc<Bank>, store: &MemoryStore) -> Engine<Bank, BankError> {
    engine_on(bank, Arc::new(store.clone()))
}

pub(super) fn engine_on(bank: &Arc<Bank>, store: Arc<dyn Store>) -> Engine<Bank, BankError> {
    Engine::new(store, Arc::clone(bank), registry(), Arc::new(Unobserved))
}

pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(super) const ALL_HELD: [&str; 3] = ["address of a", "machine of a", "volume of a"];

/// Remembers all boundaries.
#[derive(Default)]
pub(super) struct Watcher(pub(super) Mutex<Vec<(usize, Phase)>>);

impl Observer for Watcher {
    fn boundary(&self, at: Boundary) {
        assert_eq!((at.workflow, at.total), ("machine.create", 4));
        assert_eq!(at.step, ["choose", "address", "volume", "machine"][at.index]);
        self.0.lock().unwrap().push((at.index, at.phase));
    }
}

/// Polls until `check` holds.
pub(super) async fn eventually(what: &str, check: impl Fn() -> bool) {
    for _ in 0..2000 {
        if check() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never came about: {what}");
}
