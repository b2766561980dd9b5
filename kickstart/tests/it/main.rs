//! Tests of the kickstart language against pykickstart, of the files for our roles, and of the templates.

// Helpers of tests stop a test as an assertion does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod files;
mod oracle;
mod problems;
mod readme;
mod roles;
mod templates;
