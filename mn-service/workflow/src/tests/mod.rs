//! The semantics of the engine, on a toy domain.

mod bank;
mod kit;
mod lifecycle;
mod recovery;
mod registry;
mod semantics;
mod stores;
