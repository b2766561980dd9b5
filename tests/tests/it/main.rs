//! Integration tests: one binary, every test with a cloud of its own.

mod affinity;
mod audit;
mod contract;
mod preview;
mod protocol;
mod recycle_bin;
mod session;
mod storage;
mod ui;
mod vm;
mod webhook;
mod zone;
