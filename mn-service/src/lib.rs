pub mod queue;
pub mod http { pub mod route; }
pub mod secret;
pub mod ca;
pub mod config;
