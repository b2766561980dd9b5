//! The local doors of the node's services: a Unix socket each, over which programs of the same machine (the text
//! console, `zstack-ctl`) ask the management service and the agent. HTTP/1.1 and JSON; only root and the service's own
//! user get in.
//!
//! [`Client`] is the asking side and needs no TLS and no big HTTP client, so that a program that idles for months stays
//! small. The feature `server` adds the `Door`, which the services open.

pub mod address;
pub mod agent;
mod client;
#[cfg(feature = "server")]
mod door;
mod error;
pub mod management;

pub use client::Client;
#[cfg(feature = "server")]
pub use door::{Caller, Door, DoorError, Refusal};
pub use error::ControlError;

/// File name of a socket in the directory of its service.
pub const SOCKET: &str = "control.sock";

/// Path of the summary, at both services.
pub const SUMMARY: &str = "/summary";
