//! The real program against a small server that plays the protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop loudly")]

mod calls;
mod login;
mod scripts;
mod server;
mod shell;
mod tls;
mod world;
