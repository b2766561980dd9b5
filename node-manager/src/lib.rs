//! The agent of one host: runs virtual machines, keeps their disks, plugs their networks.
//!
//! It remembers nothing that management has to repair. Running VMs live in libvirt, volumes and images below storage
//! roots, bridges in the kernel, DHCP servers in their own processes; a restarted agent finds them all again. What it
//! is asked to do arrives as [jobs](jobs::Jobs) over [`http::router`]; the same router, job table and dispatcher serve
//! the simulator with other [`drivers`].

pub mod config;
pub mod control;
pub mod drivers;
mod execute;
mod files;
pub mod host;
pub mod http;
pub mod image;
pub mod jobs;
pub mod join;
pub mod logs;
pub mod metadata;
pub mod network;
#[cfg(feature = "libvirt")]
pub mod run;
pub mod storage;
pub mod tls;
pub mod vm;

pub use drivers::{Agent, Drivers};
