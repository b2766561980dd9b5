//! Integration tests: one binary, every test with a cloud of its own.

mod affinity;
mod contract;
mod preview;
mod protocol;
mod storage;
mod vm;
mod zone;
