//! Integration tests: one binary, every test with a cloud of its own.

mod accounts;
mod affinity;
mod audit;
mod capacity;
mod contract;
mod control;
mod doors;
mod download;
mod enrolment;
mod local_images;
mod logs;
mod nic;
mod own_node;
mod preview;
mod protocol;
mod reconcile;
mod recycle_bin;
mod session;
mod storage;
mod ui;
mod upload;
mod vm;
mod vm_settings;
mod webhook;
mod zone;
