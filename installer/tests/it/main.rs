//! The installer as its users see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

mod check;
mod kickstart;
mod remote;
mod screen;
