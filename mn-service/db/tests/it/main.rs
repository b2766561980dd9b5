//! Tests of the database crate, the same on SQLite and MariaDB.

#![expect(clippy::unwrap_used, reason = "a failure in a test helper is the failure of the test")]

mod backends;
mod conditions;
mod fixture;
mod pages;
mod schema;
mod writing;
