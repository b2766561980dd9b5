//! What this program needs to know of `mn-service.toml`. Checking the whole file is the service's task: keys that are
//! not read here are not judged here.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Where the service looks when it is given no file.
pub const DEFAULT_FILE: &str = "/etc/zstack/mn-service.toml";

/// The part of the configuration that tells where things are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address of the REST API.
    pub listen: SocketAddr,
    /// Address of the web UI.
    pub ui_listen: SocketAddr,
    /// Database, keys, certificates, PID file.
    pub data_dir: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            ui_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5000)),
            data_dir: PathBuf::from("/var/lib/zstack"),
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
            Ok(text) => toml::from_str(&text)
                .map_err(|error| ConfigError::Parse { path: chosen.to_owned(), error: error.into() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_none() => Ok(Self::default()),
            Err(error) => Err(ConfigError::Read { path: chosen.to_owned(), error }),
        }
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

/// The address to connect to from this machine.
pub fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The address to tell people: that of the way out of this machine, when the service listens on all of them.
pub fn public(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    // Connecting a UDP socket sends nothing; it only asks the routing table. The address is one for documentation.
    let way_out = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    match way_out {
        Ok(own) if !own.ip().is_unspecified() => SocketAddr::new(own.ip(), address.port()),
        _ => local(address),
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

    #[test]
    fn unspecified_addresses_are_reached_by_loopback() {
        assert_eq!(local("0.0.0.0:1".parse().unwrap()).to_string(), "127.0.0.1:1");
        assert_eq!(local("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(local("10.0.0.1:1".parse().unwrap()).to_string(), "10.0.0.1:1");
        assert!(!public("0.0.0.0:5000".parse().unwrap()).ip().is_unspecified());
    }
}
