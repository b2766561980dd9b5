//! Configuration of the management service: `/etc/zstack/mn-service.toml`, and the places in its data directory.

mod check;
pub mod layout;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Everything an operator may set. Defaults are those of the shipped file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the REST API.
    pub listen: SocketAddr,
    /// Base URL that clients use, when it differs from what they put in the `Host` header.
    pub public_url: Option<String>,
    /// Address of the web UI (PLAT-UI-001); the API and the consoles are reachable there too.
    pub ui_listen: SocketAddr,
    /// Folder of the built web UI; default: `ui` beside this service's own program, else `/usr/share/zstack/ui`.
    pub ui_dir: Option<PathBuf>,
    /// Address of the console proxy (PROTOCOL.md section 12).
    pub console_listen: SocketAddr,
    /// Host name or address that browsers use to reach the console proxy; default: that of the request.
    pub console_host: Option<String>,
    /// Database, keys, certificates, PID file.
    pub data_dir: PathBuf,
    /// Socket for programs of this machine; default: `control.sock` in the data directory.
    pub control_socket: Option<PathBuf>,
    /// Socket of this node's own agent, which knows the address of its management network.
    pub agent_socket: PathBuf,
    /// TCP port of the agent on hosts.
    pub agent_port: u16,
    /// The agent program that hosts get over SSH; default: the `node-manager` beside this service's own program.
    pub agent_binary: Option<PathBuf>,
    /// Machines without hardware virtualization (CS-HOST-005) may be hosts; their VMs are emulated.
    pub allow_emulation: bool,
    /// For how many seconds a password that was right is accepted without its slow hash; 0: never.
    pub remember_passwords_seconds: u64,
    /// Where rows are kept.
    pub database: Database,
    /// The certificate that browsers and API clients see.
    pub tls: Tls,
    /// Clients on other machines may call the API without TLS, as those of the published contract do.
    pub plain_http: bool,
    /// Hosts are simulated by a `node-manager-sim` at this loopback URL. For tests and benchmarks only.
    pub simulator: Option<String>,
}

/// Where rows are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite:///path` or `mysql://user:password@host/zstack`; default: SQLite in the data directory.
    pub url: Option<String>,
}

/// The certificate that browsers and API clients see. Without one the internal authority issues it, for every name and
/// address of this machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificate, with intermediate ones after it (PEM).
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            public_url: None,
            ui_listen: SocketAddr::from(([0, 0, 0, 0], 5000)),
            ui_dir: None,
            console_listen: SocketAddr::from(([0, 0, 0, 0], 4900)),
            console_host: None,
            data_dir: PathBuf::from("/var/lib/zstack"),
            control_socket: None,
            agent_socket: PathBuf::from(node_control::agent::DEFAULT_SOCKET),
            agent_port: node_manager_types::AGENT_PORT,
            agent_binary: None,
            allow_emulation: true,
            remember_passwords_seconds: 300,
            database: Database::default(),
            tls: Tls::default(),
            plain_http: true,
            simulator: None,
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not readable.
    #[error("cannot read the configuration {path}")]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, or a key is unknown or of the wrong type.
    #[error("{path}: {source}")]
    Parse {
        /// File.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads `path`; a missing default file means the defaults, a missing named file is an error.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let default = Path::new("/etc/zstack/mn-service.toml");
        let chosen = path.unwrap_or(default);
        match std::fs::read_to_string(chosen) {
            Ok(text) => toml::from_str(&text)
                .map_err(|source| ConfigError::Parse { path: chosen.to_owned(), source: Box::new(source) }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_none() => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: chosen.to_owned(), source }),
        }
    }

    /// Where programs of this machine ask the service.
    pub fn control_socket(&self) -> PathBuf {
        self.control_socket.clone().unwrap_or_else(|| self.data_dir.join(node_control::SOCKET))
    }

    /// URL of the database.
    pub fn database_url(&self) -> String {
        self.database.url.clone().unwrap_or_else(|| format!("sqlite://{}", self.data_dir.join("mn.db").display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_file_states_the_defaults() {
        let shipped: Config = toml::from_str(include_str!("../../../rpm-specs/etc/mn-service.toml")).unwrap();
        assert_eq!(shipped, Config::default());
        assert_eq!(shipped.control_socket(), Path::new(node_control::management::DEFAULT_SOCKET));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = toml::from_str::<Config>("lissten = \"1.2.3.4:1\"").unwrap_err().to_string();
        assert!(error.contains("lissten"), "{error}");
    }
}
