//! Tests of the database crate, the same on SQLite and MariaDB.

mod backends;
mod conditions;
mod fixture;
mod pages;
mod schema;
mod writing;
