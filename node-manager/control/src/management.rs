//! What the management service tells its own machine.

use serde::{Deserialize, Serialize};

/// Where the service listens by default: in its data directory (key `data_dir`).
pub const DEFAULT_SOCKET: &str = "/var/lib/zstack/control.sock";

/// Answer of `GET /summary`: what the main screen of a management node shows (OS-TUI-010, OS-TUI-014, OS-TUI-015).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of the running service.
    pub version: String,
    /// When it was started, in milliseconds since 1970.
    pub started_ms: i64,
    /// URL of the web UI, as a browser on another machine types it.
    pub ui_address: String,
    /// URL of the REST API, in the same way.
    pub api_address: String,
    /// Kind of licence, in words.
    pub licence: String,
    /// `sqlite` or `mariadb`.
    pub database: String,
    /// Hosts of the cloud.
    pub hosts: Hosts,
    /// VMs of the cloud.
    pub vms: Vms,
    /// The console proxy.
    pub console_proxy: ConsoleProxy,
}

/// Counts of hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts {
    /// All of them.
    pub total: u64,
    /// Those that take new VMs: state `Enabled`.
    pub enabled: u64,
    /// Those whose agent answers: status `Connected`.
    pub connected: u64,
}

/// Counts of VMs. Those in the recycle bin do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vms {
    /// All of them.
    pub total: u64,
    /// State `Running`.
    pub running: u64,
    /// State `Stopped`.
    pub stopped: u64,
}

/// Where browsers find consoles (OS-TUI-086).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleProxy {
    /// Name or address that was configured (`console_host`); without one it is that of the request.
    pub address: Option<String>,
    /// TCP port.
    pub port: u16,
}
