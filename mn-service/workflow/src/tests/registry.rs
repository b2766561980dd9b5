//! Which workflows are refused.

use std::sync::Arc;

use super::bank::{Bank, BankError, Order, create};
use crate::{Registry, RegistryError, Undo, Workflow};

async fn step(_: Arc<Bank>, order: Order) -> Result<Order, BankError> {
    Ok(order)
}

fn named(name: &'static str, version: u32) -> Workflow<Bank, Order, BankError> {
    Workflow::named(name, version)
}

fn refused(workflow: Workflow<Bank, Order, BankError>) -> RegistryError {
    Registry::new().register(workflow).unwrap_err()
}

#[test]
fn an_undo_is_never_silently_absent() {
    for reason in ["", "  "] {
        let error = refused(named("a", 1).step("one", step, Undo::nothing(reason)));
        let wanted = RegistryError::NoReason { workflow: "a".to_owned(), version: 1, step: "one".to_owned() };
        assert_eq!(error, wanted);
    }
}

#[test]
fn a_workflow_is_written_down_properly() {
    let nothing = || Undo::nothing("a test");
    assert!(matches!(refused(named("a", 1)), RegistryError::NoSteps { .. }));
    assert!(matches!(refused(named("a", 0).step("one", step, nothing())), RegistryError::Version { .. }));
    assert!(matches!(refused(named("a", u32::MAX).step("one", step, nothing())), RegistryError::Version { .. }));
    assert!(matches!(refused(named("A b", 1).step("one", step, nothing())), RegistryError::Name { .. }));
    assert!(matches!(refused(named("a", 1).step("(finish)", step, nothing())), RegistryError::Name { .. }));
    assert!(matches!(refused(named("a", 1).step("", step, nothing())), RegistryError::Name { .. }));
    let twice = named("a", 1).step("one", step, nothing()).step("one", step, nothing());
    assert!(matches!(refused(twice), RegistryError::DuplicateStep { .. }));
}

#[test]
fn a_name_and_version_belong_to_one_workflow() {
    let mut registry = Registry::new();
    registry.register(create(1)).unwrap();
    registry.register(create(2)).unwrap();
    let error = registry.register(create(1)).unwrap_err();
    assert_eq!(error.to_string(), "workflow machine.create version 1 is registered twice");
}

#[test]
fn the_registry_can_be_read() {
    let mut registry = Registry::new();
    registry.register(create(7)).unwrap();
    let info = registry.workflows().remove(0);
    assert_eq!((info.name, info.version), ("machine.create", 7));
    let reasons: Vec<_> = info.steps.iter().map(|step| (step.name, step.no_undo_because)).collect();
    let first = ("choose", Some("only this job's own log has changed"));
    assert_eq!(reasons, [first, ("address", None), ("volume", None), ("machine", None)]);
}
