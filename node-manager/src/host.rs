//! The machine itself: facts and load, read from `/proc`, `/sys` and the kernel's network tables.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use async_trait::async_trait;
use node_logs::Sources;
use node_manager_types::{
    ByteSize,
    host::{HostFacts, Interface, LogQuery, OsRelease},
};
use tokio::sync::OnceCell;

use crate::{
    drivers::{ByteStream, HostInfo, HostMetrics, Result},
    files::blocking,
};

/// Versions that only the hypervisor knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HypervisorVersions {
    /// libvirt, for example `11.3.0`.
    pub libvirt: String,
    /// QEMU, for example `10.0.2`.
    pub qemu: String,
}

/// Asks the hypervisor for its versions; called until it answers once.
pub type AskVersions = Box<dyn Fn() -> Result<HypervisorVersions> + Send + Sync>;

/// This machine.
pub struct Machine {
    versions: OnceCell<HypervisorVersions>,
    ask: Arc<AskVersions>,
    logs: Sources,
}

impl Machine {
    /// `ask` may block. The agent's state is in `data_dir`.
    pub fn new(ask: AskVersions, data_dir: &Path) -> Arc<Self> {
        Arc::new(Self { versions: OnceCell::new(), ask: Arc::new(ask), logs: Sources::of_host(data_dir) })
    }
}

#[async_trait]
impl HostInfo for Machine {
    async fn facts(&self) -> Result<HostFacts> {
        let ask = Arc::clone(&self.ask);
        let versions = self.versions.get_or_try_init(|| blocking(move || ask())).await?.clone();
        let interfaces = crate::network::interfaces().await?;
        blocking(move || Ok(facts(versions, interfaces))).await
    }

    fn boot(&self) -> String {
        read("/proc/sys/kernel/random/boot_id").replace('-', "")
    }

    async fn metrics(&self) -> Result<HostMetrics> {
        blocking(|| Ok(metrics())).await
    }

    fn logs(&self, query: LogQuery) -> ByteStream {
        crate::logs::stream(self.logs.clone(), query)
    }
}

/// The contents of a kernel file without surrounding white space; nothing when it is not there.
fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn facts(versions: HypervisorVersions, interfaces: Vec<Interface>) -> HostFacts {
    let cpu = cpu_info(&read("/proc/cpuinfo"));
    HostFacts {
        hostname: read("/proc/sys/kernel/hostname"),
        architecture: std::env::consts::ARCH.to_owned(),
        os: os_release(&read("/etc/os-release")),
        kernel: read("/proc/sys/kernel/osrelease"),
        cpu_threads: cpu.threads,
        cpu_sockets: cpu.sockets,
        cpu_model: cpu.model,
        memory: ByteSize::bytes(meminfo(&read("/proc/meminfo"), "MemTotal")),
        kvm: kvm(),
        libvirt_version: versions.libvirt,
        qemu_version: versions.qemu,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        interfaces,
    }
}

/// True where KVM really runs guests: the device opens and the processor has the feature (CS-HOST-005). A device node
/// alone proves nothing, container hosts often show one.
pub fn kvm() -> bool {
    let flags = read("/proc/cpuinfo");
    let capable = cfg!(target_arch = "aarch64") || flags.split_whitespace().any(|word| word == "vmx" || word == "svm");
    capable && fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

#[derive(Debug, PartialEq, Eq)]
struct Cpu {
    threads: u32,
    sockets: u32,
    model: String,
}

fn cpu_info(text: &str) -> Cpu {
    let values = |key: &str| -> Vec<String> {
        let of_key = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() == key);
        of_key.map(|(_, value)| value.trim().to_owned()).collect()
    };
    let count = |list: &[String]| u32::try_from(list.len()).unwrap_or(u32::MAX);
    let mut sockets = values("physical id");
    sockets.sort();
    sockets.dedup();
    let model = values("model name").into_iter().next().unwrap_or_else(|| "unknown".to_owned());
    Cpu { threads: count(&values("processor")).max(1), sockets: count(&sockets).max(1), model }
}

fn os_release(text: &str) -> OsRelease {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    OsRelease { distribution: value("ID"), release: value("VERSION_CODENAME"), version: value("VERSION_ID") }
}

/// A value of `/proc/meminfo` in bytes.
fn meminfo(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn metrics() -> HostMetrics {
    let memory = read("/proc/meminfo");
    HostMetrics {
        cpu_seconds: cpu_seconds(&read("/proc/stat")),
        memory_total: meminfo(&memory, "MemTotal"),
        memory_available: meminfo(&memory, "MemAvailable"),
        disks: disks(&read("/proc/diskstats")),
        filesystems: filesystems(&read("/proc/self/mounts")),
        interfaces: traffic(&read("/proc/net/dev")),
    }
}

/// First line of `/proc/stat`, in hundredths of a second (proc(5)).
fn cpu_seconds(text: &str) -> Vec<(&'static str, f64)> {
    const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
    let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    MODES
        .into_iter()
        .zip(line.split_whitespace().filter_map(|word| word.parse::<f64>().ok()).map(|ticks| ticks / 100.0))
        .collect()
}

/// `/proc/diskstats`: sectors of 512 bytes read (field 6) and written (field 10); partitions and loop devices left out.
fn disks(text: &str) -> Vec<(String, u64, u64)> {
    let disk = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = *words.get(2)?;
        let sectors = |at: usize| words.get(at)?.parse::<u64>().ok().map(|n| n * 512);
        let whole = Path::new("/sys/block").join(name.replace('/', "!")).exists();
        let real = whole && !["loop", "ram", "zram", "sr", "fd"].iter().any(|prefix| name.starts_with(prefix));
        Some((name.to_owned(), sectors(5)?, sectors(9)?)).filter(|_| real)
    };
    text.lines().filter_map(disk).collect()
}

/// Size and room of every mounted block device and network file system, each once.
fn filesystems(mounts: &str) -> Vec<(String, u64, u64)> {
    let mut found: BTreeMap<String, (String, u64, u64)> = BTreeMap::new();
    for line in mounts.lines() {
        let mut words = line.split_whitespace();
        let (Some(device), Some(mount), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        let counts =
            device.starts_with("/dev/") || kind.starts_with("nfs") || matches!(kind, "ceph" | "ocfs2" | "gfs2");
        if !counts || found.contains_key(device) {
            continue;
        }
        let mount = mount.replace("\\040", " ");
        if let Ok(stat) = nix::sys::statvfs::statvfs(mount.as_str()) {
            let unit = stat.fragment_size();
            found.insert(device.to_owned(), (mount, stat.blocks() * unit, stat.blocks_available() * unit));
        }
    }
    found.into_values().collect()
}

/// `/proc/net/dev`: bytes received (field 1) and sent (field 9) per interface, without loopback and VM taps.
fn traffic(text: &str) -> Vec<(String, u64, u64)> {
    let interface = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let name = name.trim();
        let words: Vec<u64> = rest.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let skip = name == "lo" || name.starts_with("vnic") || name.starts_with("zsd");
        Some((name.to_owned(), *words.first()?, *words.get(8)?)).filter(|_| !skip)
    };
    text.lines().filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_files_are_read_as_documented() {
        let cpu =
            cpu_info("processor\t: 0\nphysical id\t: 0\nmodel name\t: Xeon: x\nprocessor\t: 1\nphysical id\t: 1\n");
        assert_eq!(cpu, Cpu { threads: 2, sockets: 2, model: "Xeon: x".to_owned() });
        assert_eq!(cpu_info(""), Cpu { threads: 1, sockets: 1, model: "unknown".to_owned() });
        assert_eq!(meminfo("MemTotal:  16 kB\nMemAvailable: 8 kB", "MemAvailable"), 8192);
        let os = os_release("PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie");
        assert_eq!((os.distribution.as_str(), os.release.as_str(), os.version.as_str()), ("debian", "trixie", "13"));
        assert_eq!(cpu_seconds("cpu  100 0 250 1000 0 0 0 5 0 0\ncpu0 1")[2], ("system", 2.5));
        let net =
            "Inter-| Receive\n face |bytes\n    lo: 1 0 0 0 0 0 0 0 1 0\n  eth0: 500 1 0 0 0 0 0 0 700 2 0 0 0 0 0 0\n";
        assert_eq!(traffic(net), [("eth0".to_owned(), 500, 700)]);
    }

    #[test]
    fn this_machine_has_plausible_facts() {
        let facts = facts(HypervisorVersions::default(), Vec::new());
        assert!(facts.memory > ByteSize::mib(64) && facts.cpu_threads > 0 && !facts.kernel.is_empty(), "{facts:?}");
        let metrics = metrics();
        assert_eq!(metrics.cpu_seconds.len(), 8);
        assert!(metrics.memory_total >= metrics.memory_available && metrics.memory_available > 0);
    }
}
