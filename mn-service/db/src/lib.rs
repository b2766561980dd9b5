//! The database of the management service: tables, migrations, transactions and the query engine.
//!
//! SQLite (embedded) and MariaDB behave alike behind [`Db`]; see `README.md`.

mod connection;
mod direct;
mod durable;
pub mod entity;
mod error;
pub mod migration;
pub mod query;
mod tables;
mod txn;

pub use connection::{Backend, Db, connect};
pub use error::DbError;
pub use tables::{Column, ColumnKind, Table, table_of, tables};
pub use txn::Txn;
