//! The database of the management service: tables, migrations, transactions and the query engine.
//!
//! SQLite (embedded) and MariaDB behave alike behind [`Db`]; see `README.md`.

mod connection;
pub mod entity;
mod error;
pub mod migration;
mod tables;
pub mod query;
mod txn;

pub use connection::{Backend, Db, connect};
pub use error::DbError;
pub use txn::Txn;
pub use tables::*;
