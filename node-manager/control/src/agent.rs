//! What the agent tells its own machine.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Where the agent listens by default: in its run directory (key `run_dir`), because on a management node its data
/// directory is that of the management service too.
pub const DEFAULT_SOCKET: &str = "/run/zstack/control.sock";

/// File in the agent's run directory that tells how joining a cloud stands; there while that is not done.
pub const JOIN_NOTE: &str = "join.json";

/// What [`JOIN_NOTE`] says. It has no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinNote {
    /// The management service, as an operator wrote it.
    pub service: String,
    /// Why the last attempt failed; nothing while one is made.
    pub error: Option<String>,
}

/// Answer of `GET /summary`: what the main screen of a compute node shows (OS-TUI-020).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of the running agent.
    pub version: String,
    /// The host it is, 32 hex characters, once the host has been added to a cloud.
    pub host_uuid: Option<String>,
    /// When a management node called last, in milliseconds since 1970; nothing when none did since the agent started.
    pub management_seen_ms: Option<i64>,
    /// The node's address in its management network, where it has one.
    #[serde(default)]
    pub management_address: Option<IpAddr>,
    /// VMs on this host, by name.
    pub vms: Vec<Vm>,
}

/// A VM on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// UUID, 32 hex characters.
    pub uuid: String,
    /// Name that libvirt knows it by.
    pub name: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// `running`, `paused`, `shutting_down` or `crashed`.
    pub state: String,
}
