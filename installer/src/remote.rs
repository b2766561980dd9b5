//! The screens for people elsewhere: in a browser, and in a VNC viewer (F-005).
//!
//! [`terminal`] runs `zstack-installer screen` on a pseudo-terminal and keeps what it draws as a [`frame`]; [`stage`] knows
//! who may see it; [`web`] and [`vnc`] are the doors, and [`console`] is what stands on the machine's own terminal.

pub mod certificate;
pub mod console;
pub mod font;
pub mod frame;
pub mod guard;
pub mod keys;
pub mod link;
pub mod redirect;
pub mod room;
mod run;
pub mod stage;
pub mod terminal;
pub mod vnc;
pub mod web;

pub use run::{Options, run};
