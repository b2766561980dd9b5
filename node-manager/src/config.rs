//! Configuration: `/etc/zstack/node-manager.toml`, with a flag for every key so that several agents can share a machine.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use node_manager_types::AGENT_PORT;
use serde::{Deserialize, Serialize};

/// Where the packages put the configuration.
pub const DEFAULT_PATH: &str = "/etc/zstack/node-manager.toml";

/// Configuration of the agent. Defaults are here; the shipped file states them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port of the HTTPS API.
    pub listen: SocketAddr,
    /// Certificate of this host (PEM); its DNS name `<host id>.host.zstack.internal` says which host this is.
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// The internal authority (PEM).
    pub ca: PathBuf,
    /// State of host services that survives the agent: DHCP, metadata, serial logs.
    pub data_dir: PathBuf,
    /// Process ids; gone after a boot.
    pub run_dir: PathBuf,
    /// Socket for programs of this machine; default: `control.sock` in the run directory.
    pub control_socket: Option<PathBuf>,
    /// libvirt to drive.
    pub libvirt_uri: String,
    /// Seconds without a byte after which an image download is given up.
    pub image_stall_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        let etc = Path::new("/etc/zstack/tls");
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], AGENT_PORT)),
            certificate: etc.join("host.crt"),
            key: etc.join("host.key"),
            ca: etc.join("ca.crt"),
            data_dir: PathBuf::from("/var/lib/zstack"),
            run_dir: PathBuf::from("/run/zstack"),
            control_socket: None,
            libvirt_uri: "qemu:///system".to_owned(),
            image_stall_seconds: 30,
        }
    }
}

/// One flag per key; a flag wins over the file.
#[derive(Debug, Clone, Default, Args)]
pub struct Overrides {
    /// Address and port of the HTTPS API.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Certificate of this host (PEM).
    #[arg(long)]
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long)]
    pub key: Option<PathBuf>,
    /// The internal authority (PEM).
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// State of host services.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Process ids.
    #[arg(long)]
    pub run_dir: Option<PathBuf>,
    /// Socket for programs of this machine.
    #[arg(long)]
    pub control_socket: Option<PathBuf>,
    /// libvirt to drive.
    #[arg(long)]
    pub libvirt_uri: Option<String>,
    /// Seconds without a byte after which an image download is given up.
    #[arg(long)]
    pub image_stall_seconds: Option<u64>,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file has a key or value that does not belong there; the text names line and key.
    #[error("configuration {}: {text}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, key and rule.
        text: String,
    },
}

impl Config {
    /// Reads the file and lays the flags over it. A missing file at the default place means defaults.
    ///
    /// # Errors
    /// [`ConfigError`], naming file and key.
    pub fn load(path: &Path, overrides: Overrides) -> Result<Self, ConfigError> {
        let mut config = match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|cause| ConfigError::Parse {
                path: path.to_owned(),
                text: cause.to_string().trim().to_owned(),
            })?,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && path == Path::new(DEFAULT_PATH) => {
                Self::default()
            }
            Err(cause) => return Err(ConfigError::Read { path: path.to_owned(), cause }),
        };
        let Overrides {
            listen,
            certificate,
            key,
            ca,
            data_dir,
            run_dir,
            control_socket,
            libvirt_uri,
            image_stall_seconds,
        } = overrides;
        lay(&mut config.listen, listen);
        lay(&mut config.certificate, certificate);
        lay(&mut config.key, key);
        lay(&mut config.ca, ca);
        lay(&mut config.data_dir, data_dir);
        lay(&mut config.run_dir, run_dir);
        config.control_socket = control_socket.or(config.control_socket);
        lay(&mut config.libvirt_uri, libvirt_uri);
        lay(&mut config.image_stall_seconds, image_stall_seconds);
        Ok(config)
    }

    /// Where programs of this machine ask the agent.
    pub fn control_socket(&self) -> PathBuf {
        self.control_socket.clone().unwrap_or_else(|| self.run_dir.join(node_control::SOCKET))
    }
}

fn lay<T>(value: &mut T, flag: Option<T>) {
    if let Some(flag) = flag {
        *value = flag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../rpm-specs/etc/node-manager.toml");

    #[test]
    fn shipped_file_states_the_defaults() {
        let shipped: Config = toml::from_str(SHIPPED).unwrap();
        assert_eq!(shipped, Config::default());
        assert_eq!(shipped.control_socket(), Path::new(node_control::agent::DEFAULT_SOCKET));
        let table: toml::Table = SHIPPED.parse().unwrap();
        let all: toml::Table = toml::Table::try_from(Config::default()).unwrap();
        let keys = |table: &toml::Table| table.keys().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(keys(&table), keys(&all), "every key stands in the shipped file");
    }

    #[test]
    fn mistakes_name_file_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node-manager.toml");
        for (text, key) in [("lisen = \"0.0.0.0:1\"", "lisen"), ("listen = \"everywhere\"", "listen")] {
            std::fs::write(&path, text).unwrap();
            let error = Config::load(&path, Overrides::default()).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("node-manager.toml"), "{error}");
        }
        let missing = Config::load(&dir.path().join("none"), Overrides::default()).unwrap_err();
        assert!(matches!(missing, ConfigError::Read { .. }));
    }

    #[test]
    fn flags_win() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nimage_stall_seconds = 5").unwrap();
        let flags = Overrides { listen: Some("127.0.0.1:2".parse().unwrap()), ..Overrides::default() };
        let config = Config::load(&path, flags).unwrap();
        assert_eq!((config.listen.port(), config.image_stall_seconds), (2, 5));
    }
}
