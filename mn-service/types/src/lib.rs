//! The wire contract of the management service: APIs, inventories, error codes and their rules.
//!
//! The contract is data (`contract/*.json`, facts of the published protocol) and is used at run time: the server
//! binds, validates and routes by it, the command line completes by it, tests hold the code against it. Rust types
//! exist for what handlers compute with: [`message`] for parameters, [`error::ApiError`] for failures.

pub mod binding;
pub mod contract;
pub mod date;
pub mod error;
pub mod extension;
pub mod message;
pub mod shape;
mod supplement;

pub use contract::{Api, ApiKind, Contract, Inventory, Param, contract};
pub use error::{ApiError, ErrorCode};

/// Uuid of the built-in administrator account.
pub const ADMIN_ACCOUNT: &str = "36c27e8ff05c4780bf6d2fa65700f22e";

/// A fresh identifier in wire form: UUIDv4 as 32 lower-case hexadecimal characters (PROTOCOL.md section 10).
pub fn new_uuid() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// True for 32 lower-case hexadecimal characters.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
