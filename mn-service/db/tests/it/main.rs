//! Tests of the database crate, the same on SQLite and MariaDB.

mod writing;
