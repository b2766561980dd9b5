//! Tests of the kickstart language against pykickstart, of the files for our roles, and of the templates.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod commands;
mod files;
mod oracle;
mod problems;
mod readme;
mod roles;
mod templates;
