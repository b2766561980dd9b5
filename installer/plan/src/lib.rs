//! From what is wanted and what a machine is to a plan of its installation, without touching anything.
//!
//! [`answers`] say what is wanted, [`facts`] what is there, a [`manifest`] what the medium brings; [`plan()`] decides, or
//! says everything that is wrong at once.

pub mod answers;
pub mod facts;
pub mod manifest;
mod network;
pub mod plan;
pub mod problem;
pub mod select;
pub mod size;
pub mod storage;
pub mod system;

pub use node_manager_net::text;
pub use plan::{InstallPlan, plan};
