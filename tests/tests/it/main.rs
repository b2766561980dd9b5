//! Integration tests: one binary, every test with a cloud of its own.

mod accounts;
mod affinity;
mod capacity;
mod contract;
mod nic;
mod protocol;
mod storage;
mod vm;
mod vm_settings;
mod zone;
