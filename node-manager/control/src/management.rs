//! What the management service tells its own machine.

use std::path::PathBuf;

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

/// Path of links for downloads: `POST` makes one, `GET` lists them, `DELETE` of `/publications/{id}` ends one.
pub const PUBLICATIONS: &str = "/publications";
/// How long a link works when nothing else is said, in seconds.
pub const PUBLISHED_SECONDS: u64 = 24 * 3600;
/// Shortest and longest life of a link, in seconds.
pub const PUBLISHED_RANGE: std::ops::RangeInclusive<u64> = 60..=7 * 24 * 3600;

/// Path for `POST`: gives the administrator the first password again and ends his sessions (OPS-CTL-030).
pub const RESET_PASSWORD: &str = "/reset-password";

/// What there is to publish. Nothing else can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Backups of the database (OS-TUI-100).
    Backup,
    /// Collected logs (OS-TUI-095).
    Logs,
}

/// Asks for a link: to `paths`, or to the newest of a `kind`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// The newest of these, when no path is given.
    pub kind: Option<Kind>,
    /// How long the link works, from [`PUBLISHED_RANGE`]; default: [`PUBLISHED_SECONDS`].
    pub seconds: Option<u64>,
}

/// A link, told once: only a hash of its secret part is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// To end it.
    pub id: String,
    /// What a browser is pointed at.
    pub url: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// A link that works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// To end it.
    pub id: String,
    /// What it leads to.
    pub paths: Vec<PathBuf>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// Path of collected logs: `POST` begins a collection, `GET` tells how far the last one is.
pub const LOG_COLLECTIONS: &str = "/log-collections";

/// Asks for the logs of the whole cloud; open where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectLogs {
    /// Nothing older, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Nothing newer, in milliseconds since 1970.
    pub until_ms: Option<i64>,
}

/// How far a collection is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Which one it is.
    pub id: String,
    /// From 0 to 1.
    pub progress: f64,
    /// What is done now, for people.
    pub message: String,
    /// True when it has ended.
    pub done: bool,
    /// Why there is nothing.
    pub error: Option<String>,
    /// Folder of the logs.
    pub directory: Option<PathBuf>,
    /// Nodes that are done with.
    pub nodes: Vec<NodeLogs>,
}

/// What came of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLogs {
    /// The node.
    pub name: String,
    /// Bytes of its archive.
    pub bytes: Option<u64>,
    /// Why there are no logs of it.
    pub problem: Option<String>,
}
