//! The real program against a small server that plays the protocol.

mod calls;
mod login;
mod scripts;
mod server;
mod shell;
mod tls;
mod world;
