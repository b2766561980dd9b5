//! Virtual machines as a host sees them. Domains are transient: a stopped VM leaves nothing in libvirt, so a host
//! needs no state and any host may start it next.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, NicId, VmId, VolumeId};

/// State of a VM on one host. A VM that is not listed is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// Executing.
    Running,
    /// In memory, not scheduled.
    Paused,
    /// Guest asked to power off; the process still exists.
    ShuttingDown,
    /// Process died or reported a crash and libvirt still lists it.
    Crashed,
}

/// One VM in [`crate::host::Ping`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmStatus {
    /// Ours when the domain's UUID is known to management.
    pub id: VmId,
    /// libvirt domain name.
    pub name: String,
    /// State.
    pub state: VmState,
}

/// Everything needed to start a VM on any host that reaches its disks and bridges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmSpec {
    /// Domain UUID.
    pub id: VmId,
    /// Display name; the libvirt domain is named by the id.
    pub name: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory: ByteSize,
    /// Firmware.
    pub firmware: Firmware,
    /// CPU model policy.
    pub cpu_mode: CpuMode,
    /// Devices in boot order.
    pub boot_order: Vec<BootDevice>,
    /// Disks; the first is the root volume.
    pub disks: Vec<DiskSpec>,
    /// CD drives; an empty drive has no path.
    pub cdroms: Vec<CdromSpec>,
    /// Network cards.
    pub nics: Vec<NicSpec>,
    /// Video model of the VNC console, for example `cirrus`, `vga`, `qxl`.
    pub video: String,
    /// VNC password; absent means the proxy's token alone protects the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_password: Option<Password>,
}

/// A secret: `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Firmware of a VM (CS-VM-012).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Firmware {
    /// SeaBIOS, wire word `Legacy`.
    Bios,
    /// OVMF, wire word `UEFI`.
    Uefi,
}

/// CPU model policy (CS-SET-008).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuMode {
    /// The hypervisor's default model.
    None,
    /// libvirt's `host-model`.
    HostModel,
    /// libvirt's `host-passthrough`.
    HostPassthrough,
}

/// Boot device class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootDevice {
    /// Root volume.
    Disk,
    /// First CD drive that holds a medium.
    Cdrom,
    /// PXE on the first NIC.
    Network,
}

/// Bus a disk sits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskBus {
    /// virtio-blk.
    Virtio,
    /// virtio-scsi.
    VirtioScsi,
    /// IDE, for guests without virtio drivers.
    Ide,
}

/// QEMU cache mode (CS-SET-007).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// O_DIRECT; needed for live migration.
    None,
    /// Host page cache, written through.
    Writethrough,
    /// Host page cache.
    Writeback,
}

/// A disk of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// The volume.
    pub volume: VolumeId,
    /// Absolute path of its active qcow2 layer.
    pub path: String,
    /// Bus.
    pub bus: DiskBus,
    /// Position: 0 is the root volume; names the guest device (`vda`, `vdb`, ...).
    pub index: u32,
    /// Cache mode.
    pub cache: CacheMode,
}

/// A CD drive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CdromSpec {
    /// Position of the drive.
    pub index: u32,
    /// ISO inside it.
    pub path: Option<String>,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NicSpec {
    /// The card.
    pub id: NicId,
    /// Hardware address, lower case with colons.
    pub mac: String,
    /// Bridge it plugs into; must exist.
    pub bridge: String,
    /// Host-side interface name, at most 15 characters, for example `vnic7.0`.
    pub device: String,
    /// `virtio`, `e1000` or `rtl8139`.
    pub model: String,
    /// Position in the guest.
    pub index: u32,
}

/// How a VM is stopped (CS-VM-055, CS-VM-057).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum StopMode {
    /// ACPI power button, then the process is killed after `seconds` (source default 60).
    Graceful {
        /// Patience.
        seconds: u64,
    },
    /// The process is killed at once.
    PowerOff,
}
