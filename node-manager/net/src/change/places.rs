//! Where things are, and the clock that runs while nobody looks.

use std::path::{Path, PathBuf};

use crate::files::store::Store;

/// Variable that puts another folder before all paths.
pub const ROOT_VARIABLE: &str = "ZS_NETWORK_ROOT";

/// The paths below one root.
#[derive(Debug, Clone)]
pub struct Places {
    root: PathBuf,
}

impl Places {
    /// The node's own, unless the environment says otherwise.
    pub fn of_environment() -> Self {
        Self::below(std::env::var_os(ROOT_VARIABLE).map_or_else(|| PathBuf::from("/"), PathBuf::from))
    }

    /// The node's own, whatever the environment says.
    pub fn node() -> Self {
        Self::below("/")
    }

    /// The folder before all paths.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Below a root.
    pub fn below(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_owned() }
    }

    /// The node's own.
    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Files of networkd.
    pub fn store(&self) -> Store {
        Store::below(&self.root)
    }

    /// A change that is not confirmed. On a disk: it must survive a reboot.
    pub fn journal(&self) -> PathBuf {
        self.root.join("var/lib/zstack/network/change.json")
    }

    /// Held by whoever changes the network.
    pub fn lock(&self) -> PathBuf {
        self.root.join("run/zstack/network.lock")
    }

    /// Held by the keeper.
    pub fn keeper(&self) -> PathBuf {
        self.root.join("run/zstack/network-keeper.lock")
    }

    /// What the keeper had to say.
    pub fn log(&self) -> PathBuf {
        self.root.join("var/lib/zstack/network/keeper.log")
    }
}

/// Names the time since the kernel was started.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Milliseconds since the kernel was started, sleep included. Setting the clock does not change it.
pub fn uptime_ms() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| {
        u64::try_from(now.tv_sec()).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec()).unwrap_or(0) / 1_000_000
    })
}
