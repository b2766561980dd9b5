//! The installer of a node: probe, answers, plan, execution, and what people see of it.
//!
//! [`probe`](mod@probe) reads what the machine is, [`sources`] what is wanted, `installer-plan` decides, [`execute`] does
//! it, [`front`] and [`screen`] tell, [`check`] reads the whole medium, and [`mod@remote`] shows the screen to people elsewhere.

pub mod check;
pub mod events;
pub mod execute;
pub mod front;
pub mod kickstart;
pub mod medium;
pub mod probe;
pub mod remote;
pub mod screen;
pub mod sources;
pub mod tool;
