//! The agent program that the management node gives to hosts.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::config::Config;

/// The agent program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// File on the management node.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// SHA-256.
    pub sha256: String,
    /// Machine it runs on, as `uname -m` says it.
    pub architecture: &'static str,
}

/// Version of the agent that belongs to this management service.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The agent program cannot be given away.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Not readable.
    #[error("the agent program {} cannot be read ({source}); set agent_binary in mn-service.toml", .path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No program of a machine that can be a host.
    #[error("{} is no ELF program for x86_64 or aarch64; set agent_binary in mn-service.toml", .0.display())]
    NoProgram(PathBuf),
}

/// File of the agent program: as configured, or beside this service's own.
pub fn path(config: &Config) -> PathBuf {
    let beside = || std::env::current_exe().map(|own| own.with_file_name("node-manager"));
    config.agent_binary.clone().or_else(|| beside().ok()).unwrap_or_else(|| PathBuf::from("node-manager"))
}

impl Package {
    /// Reads the program. Blocks.
    pub fn open(path: &Path) -> Result<Self, PackageError> {
        let at = |source| PackageError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(at)?;
        let (mut hash, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; 1 << 20]);
        let mut start = Vec::new();
        loop {
            let read = file.read(&mut buffer).map_err(at)?;
            if read == 0 {
                break;
            }
            if start.len() < 20 {
                start.extend_from_slice(&buffer[..read]);
            }
            hash.update(&buffer[..read]);
            size += read as u64;
        }
        let architecture = architecture(&start).ok_or_else(|| PackageError::NoProgram(path.to_owned()))?;
        Ok(Self { path: path.to_owned(), size, sha256: hex::encode(hash.finalize()), architecture })
    }
}

/// `e_machine` of a little-endian 64-bit ELF file.
fn architecture(start: &[u8]) -> Option<&'static str> {
    if !start.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    match start.get(18..20)? {
        [62, 0] => Some("x86_64"),
        [183, 0] => Some("aarch64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_header() {
        let own = Package::open(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(own.architecture, std::env::consts::ARCH);
        assert_eq!((own.sha256.len(), own.size > 1000), (64, true));
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(matches!(Package::open(&script), Err(PackageError::NoProgram(_))));
        let missing = Package::open(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("agent_binary"), "{missing}");
    }

    #[test]
    fn the_default_lies_beside_the_service() {
        let chosen = Config { agent_binary: Some("/opt/agent".into()), ..Config::default() };
        assert_eq!(path(&chosen), Path::new("/opt/agent"));
        let beside = path(&Config::default());
        assert_eq!(beside, std::env::current_exe().unwrap().with_file_name("node-manager"));
    }
}
