//! Integration tests: one binary, every test with a cloud of its own.

mod affinity;
mod contract;
mod protocol;
mod vm;
mod zone;
