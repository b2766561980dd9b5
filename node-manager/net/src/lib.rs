//! The network of a node: what is wanted, how to get there, and the way back.
//!
//! [`model`] says what is wanted, [`validate`] what is wrong with it, [`plan`](mod@plan) which steps lead from one
//! [`state`] to another; all three are pure.

pub mod apply;
pub mod attach;
pub mod change;
pub mod edit;
pub mod files;
pub mod kernel;
pub mod live;
pub mod mac;
pub mod management;
pub mod model;
pub mod plan;
pub mod ready;
pub mod show;
pub mod state;
pub mod step;
pub mod text;
pub mod validate;
