//! The text console as an operator meets it: its screens, its forms, and random keys.
//!
//! Root is needed for the namespaces in which the real program runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

mod console;
mod forms;
mod keys;
mod real;
mod screens;
mod tty;
