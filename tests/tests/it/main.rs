//! Integration tests: one binary, every test with a cloud of its own.

mod affinity;
mod contract;
mod protocol;
mod storage;
mod ui;
mod vm;
mod zone;
