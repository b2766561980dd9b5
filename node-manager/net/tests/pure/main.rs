//! What needs no kernel: plans, documents and files, over random networks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod arbitrary;
mod documents;
mod files;
mod journal;
mod plans;
mod reached;
