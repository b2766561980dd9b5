//! The text console of a node: what an operator sees on its screen and on its serial line (OS-TUI).
//!
//! [`update()`](update::update) says what happens to the [`App`](app::App) with an [`Event`](update::Event),
//! [`draw()`](draw::draw) how it looks; both are pure. What is to be done to the node leaves `update` as an
//! [`Effect`](effect::Effect), and [`perform`] does it.

pub mod app;
pub mod config;
pub mod draw;
pub mod effect;
pub mod entries;
pub mod facts;
pub mod gate;
pub mod look;
pub mod perform;
pub mod role;
pub mod run;
pub mod secret;
pub mod terminal;
pub mod update;
pub mod window;
pub mod words;
