//! What a cloud of `cargo xtask run` remembers between runs: identities, ports, its network, and the processes it
//! started. Lives in the state folder next to the cloud's own data.

use std::{
    fs::{File, OpenOptions},
    net::TcpListener,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::{services::Process, systemd::Unit};

/// Where the cloud of an ordinary run lives.
pub(crate) const DEFAULT: &str = "/var/lib/zstack-dev";

/// The contents of `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Uuid of the host.
    pub(crate) host: String,
    /// Uuid for the VM.
    pub(crate) vm: String,
    /// Port of the REST API.
    pub(crate) api_port: u16,
    /// Port of the console proxy.
    pub(crate) console_port: u16,
    /// Port of the web UI.
    #[serde(default = "State::ui_port")]
    pub(crate) ui_port: u16,
    /// Port of the agent.
    pub(crate) agent_port: u16,
    /// Network of the guests.
    pub(crate) subnet: Ipv4Net,
    /// Processes started here that may still run.
    pub(crate) processes: Vec<Process>,
    /// Units of systemd started here that may still run.
    #[serde(default)]
    pub(crate) units: Vec<Unit>,
}

impl State {
    /// What the web UI prefers; clouds of earlier versions had none.
    pub(crate) fn ui_port() -> u16 {
        5000
    }
}

/// A state folder in our hands; no other run can use it meanwhile.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Absolute path.
    pub(crate) path: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Creates the folder when needed and takes hold of it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("{} cannot be created", path.display()))?;
        let path = path.canonicalize()?;
        // QEMU runs as a user of its own and must reach the disks inside.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        let lock = path.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock)?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            bail!("another `cargo xtask run` uses {}; stop it, or choose another --state-dir", path.display());
        };
        Ok(Self { path, _lock: lock })
    }

    /// A folder below this one, created when needed.
    pub(crate) fn sub(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(path)
    }

    /// What was remembered, if there was an earlier run.
    pub(crate) fn load(&self) -> Result<Option<State>> {
        let path = self.file();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| {
                format!("{} is damaged; remove the folder to start with a new cloud", path.display())
            })?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// Remembers; a crash in between leaves the old file or the new one.
    pub(crate) fn save(&self, state: &State) -> Result<()> {
        let (path, next) = (self.file(), self.path.join("state.json.new"));
        std::fs::write(&next, serde_json::to_vec_pretty(state)?)?;
        std::fs::rename(&next, &path).with_context(|| format!("{} cannot be written", path.display()))
    }

    fn file(&self) -> PathBuf {
        self.path.join("state.json")
    }
}

/// The preferred port when it is free on this machine, else one that nobody has.
pub(crate) fn free_port(preferred: u16) -> Result<u16> {
    match TcpListener::bind(("0.0.0.0", preferred)) {
        Ok(_) => Ok(preferred),
        Err(_) => Ok(private_port::reserve()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_run_at_a_time_and_remembers() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        let folder = Folder::open(&path).unwrap();
        assert!(Folder::open(&path).unwrap_err().to_string().contains("another `cargo xtask run`"));
        assert_eq!(folder.load().unwrap(), None);
        let state = State {
            host: "h".into(),
            vm: "v".into(),
            api_port: 8080,
            console_port: 4900,
            ui_port: 5000,
            agent_port: 7443,
            subnet: "10.213.100.0/24".parse().unwrap(),
            processes: vec![Process { name: "x".into(), pid: 1, started: 2, boot: "b".into() }],
            units: vec![Unit { name: "x.service".into(), invocation: Some("i".into()) }],
        };
        folder.save(&state).unwrap();
        drop(folder);
        let folder = Folder::open(&path).unwrap();
        assert_eq!(folder.load().unwrap(), Some(state));
        std::fs::write(folder.path.join("state.json"), "{").unwrap();
        assert!(folder.load().unwrap_err().to_string().contains("state.json is damaged"));
    }

    #[test]
    fn a_taken_port_is_replaced() {
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_port(port).unwrap(), port);
    }
}
