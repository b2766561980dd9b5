//! The agent against the real host: qemu-img, libvirtd, the kernel's network, dnsmasq.
//!
//! Everything runs in namespaces of this test process: before the first test the process enters a mount namespace with
//! private `/run`, `/var/lib/libvirt` and `/etc/libvirt`, and a network namespace, so that neither the machine's network
//! nor its libvirtd is ever touched. Root is needed; without it the tests fail and say so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod control;
mod images;
mod jobs_and_access;
mod network;
mod storage;
mod vms;
mod world;
