//! What this program needs to know of `mn-service.toml`. Checking the whole file is the service's task: keys that are
//! not read here are not judged here.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Where the service looks when it is given no file.
pub const DEFAULT_FILE: &str = "/etc/zstack/mn-service.toml";

/// The part of the configuration that tells where things are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The file it was read from, or would be.
    #[serde(skip)]
    pub file: PathBuf,
    /// Address of the REST API.
    pub listen: SocketAddr,
    /// Address of the web UI.
    pub ui_listen: SocketAddr,
    /// Database, keys, certificates, PID file.
    pub data_dir: PathBuf,
    /// Socket of the service, when it is not in the data directory.
    pub control_socket: Option<PathBuf>,
    /// Where rows are kept.
    pub database: Database,
}

/// Where rows are kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Database {
    /// `sqlite:///path` or `mysql://user:password@host/zstack`; default: SQLite in the data directory.
    pub url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: PathBuf::from(DEFAULT_FILE),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            ui_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5000)),
            data_dir: PathBuf::from("/var/lib/zstack"),
            control_socket: None,
            database: Database::default(),
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not readable.
    #[error("cannot read the configuration {}: {error}; name another with --config", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("the configuration {} cannot be used: {error}", path.display())]
    Parse {
        /// File.
        path: PathBuf,
        /// Where and what.
        error: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads `path`. Like the service: without a named file, a missing one means the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let chosen = path.unwrap_or(Path::new(DEFAULT_FILE));
        match std::fs::read_to_string(chosen) {
            Ok(text) => match toml::from_str::<Self>(&text) {
                Ok(config) => Ok(Self { file: chosen.to_owned(), ..config }),
                Err(error) => Err(ConfigError::Parse { path: chosen.to_owned(), error: error.into() }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_none() => Ok(Self::default()),
            Err(error) => Err(ConfigError::Read { path: chosen.to_owned(), error }),
        }
    }

    /// Where the service answers programs of this machine.
    pub fn control_socket(&self) -> PathBuf {
        self.control_socket.clone().unwrap_or_else(|| self.data_dir.join(node_control::SOCKET))
    }

    /// URL of the database.
    pub fn database_url(&self) -> String {
        self.database.url.clone().unwrap_or_else(|| format!("sqlite://{}", self.data_dir.join("mn.db").display()))
    }

    /// Where the service writes its process id.
    pub fn pid_file(&self) -> PathBuf {
        self.data_dir.join("mn-service.pid")
    }

    /// Where the service's output goes when it runs without systemd.
    pub fn log_file(&self) -> PathBuf {
        self.data_dir.join("mn-service.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_service_that_are_not_read_here_do_not_matter() {
        let config: Config = toml::from_str("listen = '127.0.0.1:81'\nagent_port = 7\n[database]\nurl = 'x'").unwrap();
        assert_eq!(config.listen.port(), 81);
        assert_eq!(config.data_dir, Path::new("/var/lib/zstack"));
    }

    #[test]
    fn a_wrong_value_is_reported_with_file_and_key() {
        let file = std::env::temp_dir().join(format!("zstack-ctl-config-{}", std::process::id()));
        std::fs::write(&file, "listen = 'nowhere'").unwrap();
        let error = Config::load(Some(&file)).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(error.contains("listen") && error.contains(file.to_str().unwrap()), "{error}");
        assert!(Config::load(Some(&file)).unwrap_err().to_string().contains("--config"));
    }
}
