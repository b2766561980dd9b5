//! The installer on a screen or a serial line: a main screen with sections, a summary to agree to, progress (OS-INST-010).
//!
//! [`update`](mod@update) and [`draw`](mod@draw) are pure functions of the state in [`app`]; what is to be done leaves
//! [`update`](mod@update) as data, and [`run`] does it.

pub mod app;
pub mod draw;
pub mod run;
mod sections;
pub mod update;
pub mod words;
