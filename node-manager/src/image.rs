//! Images: brought in from the world, checked, and carried between hosts.

pub mod add;
pub mod inspect;
pub mod local;
pub mod sidecar;
pub mod transfer;
pub mod transfers;
mod writer;
