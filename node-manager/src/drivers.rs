//! The four seams between what an agent decides and what a host does. Each has two real implementations: the host
//! (this crate) and the simulator (`node-manager-sim`).

use std::{
    net::IpAddr,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use futures::Stream;
use node_manager_types::{
    AgentError, ByteSize, HostId, L2Id, L3Id, Progress, VmId, VolumeId,
    host::{HostFacts, LogQuery, Ping},
    image::{Access, ImageFacts, ImageFormat, ImageServer, ImageSource},
    network::{BridgeSpec, DhcpLease, DhcpListing, DhcpNetwork, VxlanSpec},
    operation::AllowTransfer,
    storage::{Capacity, ContentQuery, StorageRoot, VolumeFacts},
    vm::{DiskSpec, NicSpec, StopMode, VmSpec, VmState, VmStatus},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::jobs::Jobs;

/// Result of everything a driver does.
pub type Result<T> = std::result::Result<T, AgentError>;

/// Bytes on their way in or out.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::io::Result<axum::body::Bytes>> + Send>>;

/// Both directions of a VM's VNC connection.
pub trait Console: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Console for T {}

/// What a running job may look at and tell.
#[derive(Debug, Clone)]
pub struct Context {
    /// Raised when the job was cancelled or its deadline passed; long waits end then.
    pub cancel: CancellationToken,
    progress: watch::Sender<Progress>,
}

impl Context {
    /// A context whose progress `progress` distributes.
    pub fn new(progress: watch::Sender<Progress>) -> Self {
        Self { cancel: CancellationToken::new(), progress }
    }

    /// Reports how far the job is; a percentage above 100 counts as 100.
    pub fn progress(&self, percent: u64, stage: &str) {
        let percent = u8::try_from(percent.min(100)).unwrap_or(100);
        self.progress.send_if_modified(|now| {
            let changed = now.percent != percent || now.stage != stage;
            if changed {
                *now = Progress { percent, stage: stage.to_owned() };
            }
            changed
        });
    }

    /// Like [`Context::progress`] for `done` of `total`; an unknown total counts as nothing done.
    pub fn progress_of(&self, done: u64, total: u64, stage: &str) {
        self.progress(
            if total == 0 { 0 } else { u64::try_from(u128::from(done) * 100 / u128::from(total)).unwrap_or(100) },
            stage,
        );
    }
}

/// What a VM takes of its host.
#[derive(Debug, Clone, PartialEq)]
pub struct VmShape {
    /// Who it is and what it does.
    pub status: VmStatus,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory that it was started with.
    pub memory: ByteSize,
}

/// Load of one VM since it started; counters only grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmMetrics {
    /// The VM.
    pub id: VmId,
    /// Processor time in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Memory in use by the VM's balloon.
    pub memory: ByteSize,
    /// Bytes read from all disks.
    pub disk_read: u64,
    /// Bytes written to all disks.
    pub disk_written: u64,
    /// Bytes received by the VM over all cards.
    pub net_received: u64,
    /// Bytes sent by the VM over all cards.
    pub net_sent: u64,
}

/// Runs virtual machines.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    /// Every VM on the host, ours or not.
    async fn list(&self) -> Result<Vec<VmStatus>>;
    /// Every VM on the host with its size.
    async fn shapes(&self) -> Result<Vec<VmShape>>;
    /// Starts a VM; nothing to do when it runs already.
    async fn start(&self, spec: &VmSpec) -> Result<()>;
    /// Stops a VM; nothing to do when it is not there.
    async fn stop(&self, vm: VmId, mode: StopMode, context: &Context) -> Result<()>;
    /// Stops the processors.
    async fn pause(&self, vm: VmId) -> Result<VmState>;
    /// Lets the processors go on.
    async fn resume(&self, vm: VmId) -> Result<VmState>;
    /// Plugs a disk in; nothing to do when it is there.
    async fn attach_disk(&self, vm: VmId, disk: &DiskSpec) -> Result<()>;
    /// Unplugs a disk and waits for the guest; nothing to do when it is not there.
    async fn detach_disk(&self, vm: VmId, volume: VolumeId, context: &Context) -> Result<()>;
    /// Plugs a card in; nothing to do when it is there.
    async fn attach_nic(&self, vm: VmId, nic: &NicSpec) -> Result<()>;
    /// Unplugs a card and waits for the guest; nothing to do when it is not there.
    async fn detach_nic(&self, vm: VmId, mac: &str, context: &Context) -> Result<()>;
    /// Puts an ISO into a CD drive, or takes it out when there is no path; nothing to do when it is so.
    async fn change_medium(&self, vm: VmId, index: u32, path: Option<&str>) -> Result<()>;
    /// Tells a running guest the new size of a disk. `false` when the VM is not on this host.
    async fn resize_disk(&self, vm: VmId, path: &str, size: ByteSize) -> Result<bool>;
    /// Makes a running VM write to `new_path`, a prepared empty layer on top of `path`. `false` when the VM is not on
    /// this host.
    async fn switch_layer(&self, vm: VmId, path: &str, new_path: &str) -> Result<bool>;
    /// Pulls into the active layer `path` what lies between it and `new_base`. `false` when the VM is not on this host.
    async fn pull_layer(&self, vm: VmId, path: &str, new_base: Option<&str>, context: &Context) -> Result<bool>;
    /// The last `bytes` bytes of the serial console.
    async fn serial(&self, vm: VmId, bytes: u64) -> Result<Vec<u8>>;
    /// A connection to the VM's VNC server.
    async fn console(&self, vm: VmId) -> Result<Box<dyn Console>>;
    /// Load of every VM.
    async fn metrics(&self) -> Result<Vec<VmMetrics>>;
}

/// A file served through `/v1/content`.
pub struct Content {
    /// Bytes of the whole file.
    pub size: u64,
    /// The part asked for.
    pub range: Range<u64>,
    /// Exactly that part.
    pub stream: ByteStream,
}

/// Volumes, snapshots and images below storage roots.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Claims a directory.
    async fn init(&self, root: &StorageRoot) -> Result<Capacity>;
    /// Room of a claimed directory.
    async fn measure(&self, root: &StorageRoot) -> Result<Capacity>;
    /// Which of these files are not there.
    async fn missing(&self, root: &StorageRoot, paths: &[String]) -> Result<Vec<String>>;
    /// Creates a volume.
    async fn create_volume(
        &self,
        root: &StorageRoot,
        path: &str,
        size: ByteSize,
        backing: Option<&str>,
    ) -> Result<VolumeFacts>;
    /// Removes a volume, image or cache file with what belongs to it.
    async fn delete(&self, root: &StorageRoot, path: &str) -> Result<()>;
    /// Grows a volume that no VM has open.
    async fn resize_volume(&self, root: &StorageRoot, path: &str, size: ByteSize) -> Result<VolumeFacts>;
    /// Sizes of a volume.
    async fn stat_volume(&self, root: &StorageRoot, path: &str) -> Result<VolumeFacts>;
    /// Creates an empty layer `new_path` on top of `path`.
    async fn create_layer(&self, root: &StorageRoot, path: &str, new_path: &str) -> Result<VolumeFacts>;
    /// Makes `path` independent of the layers between it and `new_base`, while no VM has it open.
    async fn rebase(&self, root: &StorageRoot, path: &str, new_base: Option<&str>) -> Result<VolumeFacts>;
    /// Flattens a chain into a new file.
    async fn copy_volume(&self, root: &StorageRoot, from: &str, to: &str) -> Result<VolumeFacts>;
    /// Copies an image of an image server into a cache.
    async fn fetch_image(
        &self,
        root: &StorageRoot,
        server: &ImageServer,
        remote_path: &str,
        path: &str,
        sha256: &str,
        context: &Context,
    ) -> Result<ImageFacts>;
    /// Copies a volume to an image server.
    async fn store_image(
        &self,
        root: &StorageRoot,
        volume_path: &str,
        server: &ImageServer,
        remote_path: &str,
        context: &Context,
    ) -> Result<ImageFacts>;
    /// Brings a new image in.
    async fn add_image(
        &self,
        root: &StorageRoot,
        source: &ImageSource,
        format: Option<ImageFormat>,
        path: &str,
        context: &Context,
    ) -> Result<ImageFacts>;
    /// Announces what another host may carry, or takes it back.
    async fn allow_transfer(&self, told: &AllowTransfer) -> Result<()>;
    /// Refuses what was not announced to another host.
    fn check_transfer(&self, peer: HostId, query: &ContentQuery, access: Access) -> Result<()>;
    /// Opens a file for reading; the range is cut to the file's size.
    async fn read(&self, query: &ContentQuery, range: Option<Range<u64>>) -> Result<Content>;
    /// Writes a chunk of a new file and returns the file's size.
    async fn write(&self, query: &ContentQuery, body: &mut ByteStream) -> Result<u64>;
}

/// Bridges and DHCP.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Which of these interfaces the host lacks.
    async fn missing_interfaces(&self, names: &[String]) -> Result<Vec<String>>;
    /// Makes a bridge exist.
    async fn ensure_bridge(&self, bridge: &BridgeSpec) -> Result<()>;
    /// Makes a bridge exist, with tunnels to other hosts.
    async fn ensure_vxlan(&self, vxlan: &VxlanSpec) -> Result<()>;
    /// The host's address in a network, where tunnels end.
    async fn tunnel_end(&self, cidr: &str) -> Result<IpAddr>;
    /// Removes a bridge that was made here.
    async fn remove_bridge(&self, l2: L2Id, bridge: &str) -> Result<()>;
    /// Makes a DHCP server run with these leases.
    async fn apply_dhcp(&self, network: &DhcpNetwork, upsert: &[DhcpLease], remove: &[String]) -> Result<()>;
    /// The DHCP servers of this host and whom they answer.
    async fn list_dhcp(&self) -> Result<Vec<DhcpListing>>;
    /// Stops a DHCP server and removes its namespace.
    async fn remove_dhcp(&self, l3: L3Id) -> Result<()>;
}

/// Load of the host; counters only grow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostMetrics {
    /// Seconds the processors spent per mode (`user`, `system`, `idle`, ...).
    pub cpu_seconds: Vec<(&'static str, f64)>,
    /// Physical memory.
    pub memory_total: u64,
    /// Memory available to new programs.
    pub memory_available: u64,
    /// Per block device: bytes read, bytes written.
    pub disks: Vec<(String, u64, u64)>,
    /// Per mount point of a local file system: size and bytes available.
    pub filesystems: Vec<(String, u64, u64)>,
    /// Per interface: bytes received, bytes sent.
    pub interfaces: Vec<(String, u64, u64)>,
}

/// What the host is.
#[async_trait]
pub trait HostInfo: Send + Sync + 'static {
    /// Facts that change rarely.
    async fn facts(&self) -> Result<HostFacts>;
    /// Identity of this boot of the host.
    fn boot(&self) -> String;
    /// Present load.
    async fn metrics(&self) -> Result<HostMetrics>;
    /// The host's logs as a gzip'd tar. A stream that fails is of no use.
    fn logs(&self, query: LogQuery) -> ByteStream;
}

/// The four drivers of one host.
#[derive(Clone)]
pub struct Drivers {
    /// Virtual machines.
    pub vm: Arc<dyn Hypervisor>,
    /// Storage.
    pub storage: Arc<dyn Storage>,
    /// Network.
    pub network: Arc<dyn Network>,
    /// The machine.
    pub host: Arc<dyn HostInfo>,
}

/// A moment that moves on.
#[derive(Debug, Default)]
pub struct LastSeen(AtomicI64);

impl LastSeen {
    /// It is now.
    pub fn now(&self) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.store(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// When it was, in milliseconds since 1970; nothing when it never was.
    pub fn millis(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|millis| *millis > 0)
    }
}

/// One host's agent: its drivers and its jobs.
pub struct Agent {
    /// The host this agent speaks for.
    pub id: HostId,
    /// Changes with each start of the agent.
    pub instance: String,
    /// What the host can do.
    pub drivers: Drivers,
    /// What it is doing.
    pub jobs: Jobs,
    /// When management called last.
    pub management_seen: LastSeen,
}

impl Agent {
    /// A freshly started agent without jobs.
    pub fn new(id: HostId, drivers: Drivers) -> Arc<Self> {
        Arc::new(Self {
            id,
            instance: uuid::Uuid::new_v4().simple().to_string(),
            drivers,
            jobs: Jobs::default(),
            management_seen: LastSeen::default(),
        })
    }

    /// Answer to a ping.
    ///
    /// # Errors
    /// When the hypervisor cannot say which VMs run: a host in that state must not count as connected (CS-HOST-041).
    pub async fn ping(&self) -> Result<Ping> {
        Ok(Ping {
            instance: self.instance.clone(),
            boot: self.drivers.host.boot(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            vms: self.drivers.vm.list().await?,
        })
    }
}
