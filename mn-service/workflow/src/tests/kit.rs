//! The testkit passes a sound workflow and catches unsound ones.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use super::bank::{ALL_HELD, Bank, BankError, Order, create};
use crate::testkit::{self, Case, World};
use crate::{Outcome, Registry, Undo, Workflow};

struct Branch {
    bank: Arc<Bank>,
    workflow: fn() -> Workflow<Bank, Order, BankError>,
}

impl World for Branch {
    type Context = Bank;
    type Error = BankError;

    fn context(&self) -> Arc<Bank> {
        Arc::clone(&self.bank)
    }

    fn registry(&self) -> Registry<Bank, BankError> {
        let mut registry = Registry::new();
        registry.register((self.workflow)()).unwrap();
        registry
    }
}

impl Branch {
    fn order(&self) -> Order {
        Order::new("a")
    }
}

async fn clean(branch: &Branch, case: &Case) {
    assert!(branch.bank.held().is_empty(), "{case}: {:?} is left", branch.bank.held());
}

fn sound() -> Workflow<Bank, Order, BankError> {
    create(1)
}

fn branch(workflow: fn() -> Workflow<Bank, Order, BankError>) -> impl AsyncFn() -> Branch {
    async move || Branch { bank: Bank::new(), workflow }
}

#[tokio::test]
async fn a_sound_workflow_passes() {
    testkit::fail_at_every_step(branch(sound), "machine.create", Branch::order, clean).await;
    let done = async |branch: &Branch, case: &Case| assert_eq!(branch.bank.held(), ALL_HELD, "{case}");
    testkit::repeat_every_step(branch(sound), "machine.create", Branch::order, done, clean).await;
    let check = async |branch: &Branch, case: &Case, outcome: &Outcome<BankError>| match outcome {
        Outcome::Succeeded { .. } => assert_eq!(branch.bank.held(), ALL_HELD, "{case}"),
        _ => clean(branch, case).await,
    };
    let crashes = testkit::crash_at_every_boundary(branch(sound), "machine.create", Branch::order, check).await;
    // Three per step and run; three more for each of three undos; one for the step that needs none.
    assert_eq!(crashes, 12 + 12 + 9 + 1);
}

/// What the testkit says about an unsound workflow.
async fn complaint(test: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(test).catch_unwind().await.expect_err("the testkit found nothing to complain about");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

async fn take(bank: Arc<Bank>, order: Order) -> Result<Order, BankError> {
    bank.held.lock().unwrap().insert("it".to_owned());
    Ok(order)
}

async fn give_back(bank: Arc<Bank>, _: Order) -> Result<(), BankError> {
    bank.held.lock().unwrap().remove("it");
    Ok(())
}

#[tokio::test]
async fn a_wrong_reason_for_no_undo_is_caught() {
    fn leaking() -> Workflow<Bank, Order, BankError> {
        Workflow::named("leak", 1).step("take", take, Undo::nothing("so it says"))
    }
    let said = complaint(testkit::fail_at_every_step(branch(leaking), "leak", Branch::order, clean)).await;
    assert_eq!(said, "leak: step \"take\" fails after its work: [\"it\"] is left");
    let crash = async {
        let check = async |branch: &Branch, case: &Case, outcome: &Outcome<BankError>| {
            if matches!(outcome, Outcome::Undone { .. }) {
                clean(branch, case).await;
            }
        };
        testkit::crash_at_every_boundary(branch(leaking), "leak", Branch::order, check).await;
    };
    let said = complaint(crash).await;
    assert!(said.contains("fails after its work, crash at BeforeStep of step \"take\""), "{said}");
}

#[tokio::test]
async fn an_undo_that_works_only_once_is_caught() {
    async fn strict(bank: Arc<Bank>, _: Order) -> Result<(), BankError> {
        let was_held = bank.held.lock().unwrap().remove("it");
        if was_held { Ok(()) } else { Err(BankError::Refused("what is not held".to_owned())) }
    }
    fn fragile() -> Workflow<Bank, Order, BankError> {
        Workflow::named("fragile", 1).step("take", take, Undo::with(strict))
    }
    let any = async |_: &Branch, _: &Case| {};
    let said = complaint(testkit::repeat_every_step(branch(fragile), "fragile", Branch::order, any, clean)).await;
    assert!(said.contains("stuck"), "{said}");
    let said = complaint(testkit::fail_at_every_step(branch(fragile), "fragile", Branch::order, clean)).await;
    assert!(said.starts_with("fragile: step \"take\" fails before its work: expected it to be undone"), "{said}");
}

#[tokio::test]
async fn a_step_that_works_only_once_is_caught() {
    async fn strict(bank: Arc<Bank>, order: Order) -> Result<Order, BankError> {
        let is_new = bank.held.lock().unwrap().insert("it".to_owned());
        if is_new { Ok(order) } else { Err(BankError::Refused("a second one".to_owned())) }
    }
    fn fragile() -> Workflow<Bank, Order, BankError> {
        Workflow::named("fragile", 1).step("take", strict, Undo::with(give_back))
    }
    let any = async |_: &Branch, _: &Case| {};
    let said = complaint(testkit::repeat_every_step(branch(fragile), "fragile", Branch::order, any, clean)).await;
    assert!(said.starts_with("fragile: everything is run twice: expected success"), "{said}");
}

#[tokio::test]
async fn a_workflow_that_fails_anyway_proves_nothing() {
    async fn never(_: Arc<Bank>, _: Order) -> Result<Order, BankError> {
        Err(BankError::Refused("everything".to_owned()))
    }
    fn hopeless() -> Workflow<Bank, Order, BankError> {
        Workflow::named("hopeless", 1).step("take", never, Undo::with(give_back))
    }
    let said = complaint(testkit::fail_at_every_step(branch(hopeless), "hopeless", Branch::order, clean)).await;
    assert!(said.starts_with("hopeless: undisturbed: expected success"), "{said}");
}
