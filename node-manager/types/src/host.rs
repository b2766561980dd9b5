//! What a host is and how it is doing.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, vm::VmStatus};

/// Answer of [`crate::path::HOST`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Kernel host name.
    pub hostname: String,
    /// `x86_64` or `aarch64`.
    pub architecture: String,
    /// `PRETTY_NAME` split: distribution, release and version of `/etc/os-release`.
    pub os: OsRelease,
    /// Kernel release.
    pub kernel: String,
    /// Hardware threads.
    pub cpu_threads: u32,
    /// Sockets.
    pub cpu_sockets: u32,
    /// Model name of the first CPU.
    pub cpu_model: String,
    /// Physical memory.
    pub memory: ByteSize,
    /// True where VMs run with KVM; false where QEMU emulates.
    pub kvm: bool,
    /// libvirt version, for example `11.3.0`.
    pub libvirt_version: String,
    /// QEMU version, for example `10.0.2`.
    pub qemu_version: String,
    /// Version of the agent itself.
    pub agent_version: String,
    /// Network interfaces that may carry a network (physical NICs, bonds; no VM taps, no loopback).
    pub interfaces: Vec<Interface>,
}

/// Which logs are wanted ([`crate::path::LOGS`]); open where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogQuery {
    /// Nothing older, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Nothing newer, in milliseconds since 1970.
    pub until_ms: Option<i64>,
}

/// Parts of `/etc/os-release`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OsRelease {
    /// `ID`, for example `debian`.
    pub distribution: String,
    /// `VERSION_CODENAME`, for example `trixie`.
    pub release: String,
    /// `VERSION_ID`, for example `13`.
    pub version: String,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// Hardware address.
    pub mac: String,
    /// Carrier present.
    pub up: bool,
    /// Addresses with prefix, for example `192.0.2.2/24`.
    pub addresses: Vec<String>,
}

/// Answer of [`crate::path::PING`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ping {
    /// Changes each time the agent starts; tells management to push network state again.
    pub instance: String,
    /// Changes each time the host boots (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Every VM on the host, ours or not.
    pub vms: Vec<VmStatus>,
}
