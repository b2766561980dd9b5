//! A whole cloud for a test: the real management service on a port of its own, its own database, and simulated hosts.

pub mod browser;
pub mod client;
pub mod cloud;
pub mod database;
pub mod eventually;
pub mod program;
pub mod world;

pub use browser::Browser;
pub use client::Client;
pub use cloud::Cloud;
pub use eventually::eventually;
pub use program::program;
pub use world::World;
