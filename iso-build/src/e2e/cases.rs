//! The cases, a file per subject.

pub(super) mod bond;
pub(super) mod bridge;
pub(super) mod cloud;
pub(super) mod console;
pub(super) mod guest;
pub(super) mod install;
pub(super) mod medium;
pub(super) mod network;
pub(super) mod power;
pub(super) mod random;
pub(super) mod rename;
pub(super) mod revert;
pub(super) mod tunnel;
pub(super) mod vms;
pub(super) mod whole;
