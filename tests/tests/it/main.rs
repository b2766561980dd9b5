//! Integration tests: one binary, every test with a cloud of its own.

mod contract;
mod protocol;
mod vm;
mod zone;
