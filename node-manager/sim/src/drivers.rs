//! The drivers of a simulated host: VMs, network, facts. Storage is next door.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use node_logs::{Sources, Window};
use node_manager::drivers::{
    ByteStream, Console, Context, Drivers, HostInfo, HostMetrics, Hypervisor, Network, Result, VmMetrics, VmShape,
};
use node_manager_types::{
    AgentError, ByteSize, ErrorKind, HostId, L2Id, L3Id, VmId, VolumeId,
    host::{HostFacts, Interface, LogQuery, OsRelease},
    network::{BridgeSpec, DhcpLease, DhcpListing, DhcpNetwork, VxlanSpec},
    vm::{DiskSpec, NicSpec, StopMode, VmSpec, VmState, VmStatus},
};
use tokio::sync::watch;

use crate::{
    Options,
    faults::{Faults, normalize},
    screen,
    state::{Event, HostState, SimDhcp, SimVm, next},
    storage::Depot,
};

/// One simulated machine.
pub(crate) struct Simulated {
    pub(crate) id: HostId,
    pub(crate) options: Arc<Options>,
    pub(crate) depot: Arc<Depot>,
    pub(crate) faults: Faults,
    latency: BTreeMap<String, Duration>,
    state: Mutex<HostState>,
    /// How many agents this machine has had; work of an earlier one ended with it.
    agents: watch::Sender<u64>,
    myself: std::sync::Weak<Simulated>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn boot() -> String {
    // An id of any kind is 32 random hexadecimal characters, like a boot id.
    VmId::random().to_string()
}

fn error(kind: ErrorKind, text: String) -> AgentError {
    AgentError::new(kind, text)
}

/// The VM other than `besides` that has a file open for writing.
fn opener(state: &HostState, path: &str, besides: Option<VmId>) -> Option<VmId> {
    let opens = |vm: &SimVm| vm.spec.as_ref().is_some_and(|spec| spec.disks.iter().any(|disk| disk.path == path));
    state.vms.iter().find(|(id, vm)| Some(**id) != besides && opens(vm)).map(|(id, _)| *id)
}

/// What QEMU says about a file that another VM has open.
pub(crate) fn locked(path: &str, vm: VmId) -> AgentError {
    error(ErrorKind::Hypervisor, format!("libvirt refused: failed to get \"write\" lock on {path}: {vm} has it open"))
}

impl Simulated {
    pub(crate) fn new(id: HostId, options: Arc<Options>, depot: Arc<Depot>) -> Arc<Self> {
        let latency = options.latency.iter().map(|(op, time)| (normalize(op), *time)).collect();
        let state = Mutex::new(HostState { boot: boot(), ..HostState::default() });
        Arc::new_cyclic(|myself| Self {
            id,
            options,
            depot,
            faults: Faults::default(),
            latency,
            state,
            agents: watch::Sender::new(0),
            myself: myself.clone(),
        })
    }

    /// The same machine behind all four seams.
    pub(crate) fn drivers(&self) -> Drivers {
        // The machine lives in an Arc that only `new` makes; while `self` is borrowed it is there.
        let machine = || {
            self.myself
                .upgrade()
                .unwrap_or_else(|| Self::new(self.id, Arc::clone(&self.options), Arc::clone(&self.depot)))
        };
        Drivers { vm: machine(), storage: machine(), network: machine(), host: machine() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent is killed: what it was about to do is not done by it any more.
    pub(crate) fn agent_dies(&self) {
        self.forget_transfers();
        self.agents.send_modify(|agents| *agents += 1);
    }

    /// Resolves when the present agent is killed.
    pub(crate) async fn agent_death(&self) {
        // An error means that the machine is gone, and its agent with it.
        let _gone = self.agents.subscribe().changed().await;
    }

    pub(crate) fn reboot(&self) {
        self.agent_dies();
        *self.state() = HostState { boot: boot(), ..HostState::default() };
    }

    pub(crate) fn add_vm(&self, vm: VmId) {
        self.state().vms.insert(vm, SimVm { spec: None, state: VmState::Running, started: now() });
    }

    /// Where an operation waits, tarries or fails on demand.
    pub(crate) async fn enter(&self, op: &str) -> Result<()> {
        let latency = self.latency.get(&normalize(op)).or_else(|| self.latency.get("*")).copied().unwrap_or_default();
        let agents = self.agents.subscribe();
        self.faults.enter(op, latency).await?;
        match agents.has_changed() {
            Ok(false) => Ok(()),
            _ => Err(error(ErrorKind::Cancelled, format!("the agent died before {op}"))),
        }
    }

    /// The VM of this host that has a file open for writing, and with it QEMU's lock on the file.
    pub(crate) fn opener(&self, path: &str) -> Option<VmId> {
        opener(&self.state(), path, None)
    }

    fn running<T>(&self, vm: VmId, work: impl FnOnce(&mut SimVm) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        let found = state
            .vms
            .get_mut(&vm)
            .ok_or_else(|| error(ErrorKind::NotFound, format!("{vm:?} does not run on this host")))?;
        work(found)
    }

    fn shift(&self, vm: VmId, event: Event) -> Result<VmState> {
        self.running(vm, |found| {
            let refused =
                || error(ErrorKind::Conflict, format!("{vm:?} is {:?}; {event:?} is not possible", found.state));
            found.state = next(found.state, event).ok_or_else(refused)?;
            Ok(found.state)
        })
    }

    fn plugged(&self, spec: &VmSpec, state: &HostState) -> Result<()> {
        let paths =
            spec.disks.iter().map(|disk| &disk.path).chain(spec.cdroms.iter().filter_map(|drive| drive.path.as_ref()));
        if let Some(path) = paths.into_iter().find(|path| !self.has_file(path)) {
            return Err(error(
                ErrorKind::NotFound,
                format!("{path} is not there; is the primary storage mounted and attached?"),
            ));
        }
        if let Some((path, vm)) =
            spec.disks.iter().find_map(|disk| Some((&disk.path, opener(state, &disk.path, Some(spec.id))?)))
        {
            return Err(locked(path, vm));
        }
        spec.nics.iter().try_for_each(|nic| self.bridged(nic, state))
    }

    fn bridged(&self, nic: &NicSpec, state: &HostState) -> Result<()> {
        if state.has_bridge(&nic.bridge) || self.options.interfaces.contains(&nic.bridge) {
            return Ok(());
        }
        Err(error(
            ErrorKind::Hypervisor,
            format!("libvirt refused: cannot get interface MTU on '{}': No such device", nic.bridge),
        ))
    }
}

#[async_trait]
impl Hypervisor for Simulated {
    async fn list(&self) -> Result<Vec<VmStatus>> {
        self.enter("ping").await?;
        Ok(self
            .state()
            .vms
            .iter()
            .map(|(id, vm)| VmStatus { id: *id, name: id.to_string(), state: vm.state })
            .collect())
    }

    async fn shapes(&self) -> Result<Vec<VmShape>> {
        self.enter("shapes").await?;
        let state = self.state();
        let shape = |(id, vm): (&VmId, &SimVm)| VmShape {
            status: VmStatus { id: *id, name: id.to_string(), state: vm.state },
            cpus: vm.spec.as_ref().map_or(0, |spec| spec.cpus),
            memory: vm.spec.as_ref().map_or(ByteSize::default(), |spec| spec.memory),
        };
        Ok(state.vms.iter().map(shape).collect())
    }

    async fn start(&self, spec: &VmSpec) -> Result<()> {
        self.enter("start_vm").await?;
        let mut state = self.state();
        if state.vms.contains_key(&spec.id) {
            return Ok(());
        }
        self.plugged(spec, &state)?;
        let used: u64 = state.vms.values().filter_map(|vm| vm.spec.as_ref()).map(|other| other.memory.as_bytes()).sum();
        if used.saturating_add(spec.memory.as_bytes()) > self.options.memory.as_bytes() {
            return Err(error(
                ErrorKind::Hypervisor,
                format!("libvirt refused: cannot set up guest memory of {}", spec.memory),
            ));
        }
        state.vms.insert(spec.id, SimVm { spec: Some(spec.clone()), state: VmState::Running, started: now() });
        Ok(())
    }

    async fn stop(&self, vm: VmId, _mode: StopMode, _context: &Context) -> Result<()> {
        self.enter("stop_vm").await?;
        self.state().vms.remove(&vm);
        Ok(())
    }

    async fn pause(&self, vm: VmId) -> Result<VmState> {
        self.enter("pause_vm").await?;
        self.shift(vm, Event::Pause)
    }

    async fn resume(&self, vm: VmId) -> Result<VmState> {
        self.enter("resume_vm").await?;
        self.shift(vm, Event::Resume)
    }

    async fn attach_disk(&self, vm: VmId, disk: &DiskSpec) -> Result<()> {
        self.enter("attach_disk").await?;
        let there = self.has_file(&disk.path);
        if let Some(other) = opener(&self.state(), &disk.path, Some(vm)) {
            return Err(locked(&disk.path, other));
        }
        self.running(vm, |found| {
            let Some(spec) = &mut found.spec else { return Ok(()) };
            if spec.disks.iter().any(|other| other.volume == disk.volume) {
                return Ok(());
            }
            if !there {
                return Err(error(ErrorKind::NotFound, format!("{} is not there; is its storage mounted?", disk.path)));
            }
            if spec.disks.iter().any(|other| other.index == disk.index && other.bus == disk.bus) {
                return Err(error(ErrorKind::Hypervisor, format!("libvirt refused: target {} is in use", disk.index)));
            }
            spec.disks.push(disk.clone());
            Ok(())
        })
    }

    async fn detach_disk(&self, vm: VmId, volume: VolumeId, _context: &Context) -> Result<()> {
        self.enter("detach_disk").await?;
        if let Some(spec) = self.state().vms.get_mut(&vm).and_then(|found| found.spec.as_mut()) {
            spec.disks.retain(|disk| disk.volume != volume);
        }
        Ok(())
    }

    async fn attach_nic(&self, vm: VmId, nic: &NicSpec) -> Result<()> {
        self.enter("attach_nic").await?;
        self.bridged(nic, &self.state())?;
        self.running(vm, |found| {
            if let Some(spec) = &mut found.spec
                && !spec.nics.iter().any(|other| other.mac == nic.mac)
            {
                spec.nics.push(nic.clone());
            }
            Ok(())
        })
    }

    async fn detach_nic(&self, vm: VmId, mac: &str, _context: &Context) -> Result<()> {
        self.enter("detach_nic").await?;
        if let Some(spec) = self.state().vms.get_mut(&vm).and_then(|found| found.spec.as_mut()) {
            spec.nics.retain(|nic| nic.mac != mac);
        }
        Ok(())
    }

    async fn change_medium(&self, vm: VmId, index: u32, path: Option<&str>) -> Result<()> {
        self.enter("change_medium").await?;
        if let Some(missing) = path.filter(|path| !self.has_file(path)) {
            return Err(error(ErrorKind::NotFound, format!("{missing} is not there; is its storage mounted?")));
        }
        self.running(vm, |found| {
            let Some(spec) = &mut found.spec else { return Ok(()) };
            match spec.cdroms.iter_mut().find(|drive| drive.index == index) {
                Some(drive) => {
                    drive.path = path.map(str::to_owned);
                    Ok(())
                }
                None => Err(error(ErrorKind::NotFound, format!("{vm:?} was started without CD drive {index}"))),
            }
        })
    }

    async fn resize_disk(&self, vm: VmId, path: &str, size: ByteSize) -> Result<bool> {
        if !self.state().vms.contains_key(&vm) {
            return Ok(false);
        }
        self.enter("resize_volume").await?;
        self.grow(path, size);
        Ok(true)
    }

    async fn switch_layer(&self, vm: VmId, path: &str, new_path: &str) -> Result<bool> {
        let mut state = self.state();
        let Some(found) = state.vms.get_mut(&vm) else { return Ok(false) };
        if let Some(disk) = found.spec.iter_mut().flat_map(|spec| &mut spec.disks).find(|disk| disk.path == path) {
            new_path.clone_into(&mut disk.path);
        }
        Ok(true)
    }

    async fn pull_layer(&self, vm: VmId, path: &str, new_base: Option<&str>, _context: &Context) -> Result<bool> {
        let active = self
            .state()
            .vms
            .get(&vm)
            .and_then(|found| found.spec.as_ref())
            .is_some_and(|spec| spec.disks.iter().any(|disk| disk.path == path));
        if !active {
            return Ok(false);
        }
        self.enter("merge_snapshot").await?;
        self.set_backing(path, new_base);
        Ok(true)
    }

    async fn serial(&self, vm: VmId, bytes: u64) -> Result<Vec<u8>> {
        self.running(vm, |found| {
            let text = format!("simulated boot of {vm} at {}\r\nlogin: ", found.started).into_bytes();
            let skip = text.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
            Ok(text[skip..].to_vec())
        })
    }

    async fn console(&self, vm: VmId) -> Result<Box<dyn Console>> {
        self.running(vm, |_| Ok(()))?;
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            // Clients leave by hanging up.
            if let Err(cause) = screen::serve(theirs, &vm.to_string()).await {
                tracing::debug!(%vm, %cause, "a simulated console ended");
            }
        });
        Ok(Box::new(ours))
    }

    async fn metrics(&self) -> Result<Vec<VmMetrics>> {
        let state = self.state();
        let of = |(id, vm): (&VmId, &SimVm)| {
            let seconds = now().saturating_sub(vm.started);
            let memory = vm.spec.as_ref().map_or(ByteSize::default(), |spec| spec.memory);
            VmMetrics {
                id: *id,
                cpu_nanoseconds: seconds * 100_000_000,
                memory,
                disk_read: seconds << 12,
                disk_written: seconds << 11,
                net_received: seconds << 10,
                net_sent: seconds << 9,
            }
        };
        Ok(state.vms.iter().map(of).collect())
    }
}

#[async_trait]
impl Network for Simulated {
    async fn missing_interfaces(&self, names: &[String]) -> Result<Vec<String>> {
        self.enter("check_interfaces").await?;
        Ok(names.iter().filter(|name| !self.options.interfaces.contains(name)).cloned().collect())
    }

    async fn ensure_bridge(&self, bridge: &BridgeSpec) -> Result<()> {
        self.enter("ensure_bridge").await?;
        if !self.options.interfaces.contains(&bridge.uplink) {
            return Err(error(ErrorKind::NotFound, format!("this host has no interface {}", bridge.uplink)));
        }
        let mut state = self.state();
        let taken = state
            .bridges
            .values()
            .find(|other| other.uplink == bridge.uplink && other.vlan == bridge.vlan && other.bridge != bridge.bridge);
        if let Some(other) = taken {
            return Err(error(ErrorKind::Conflict, format!("{} already belongs to {}", bridge.uplink, other.bridge)));
        }
        match state.bridges.get(&bridge.bridge) {
            Some(other) if other.l2 != bridge.l2 => Err(error(
                ErrorKind::Conflict,
                format!("bridge {} exists already and belongs to {}", bridge.bridge, other.l2),
            )),
            _ => {
                state.bridges.insert(bridge.bridge.clone(), bridge.clone());
                Ok(())
            }
        }
    }

    async fn ensure_vxlan(&self, vxlan: &VxlanSpec) -> Result<()> {
        self.enter("ensure_vxlan").await?;
        let mut state = self.state();
        let other = state.vxlans.values().find(|other| {
            other.l2 != vxlan.l2 && (other.bridge == vxlan.bridge || (other.vni, other.port) == (vxlan.vni, vxlan.port))
        });
        if let Some(other) = other {
            let what =
                format!("bridge {} with VNI {} exists already and belongs to {}", other.bridge, other.vni, other.l2);
            return Err(error(ErrorKind::Conflict, what));
        }
        state.vxlans.insert(vxlan.bridge.clone(), vxlan.clone());
        Ok(())
    }

    /// A simulated host has an address in every IPv4 network, made of its id.
    async fn tunnel_end(&self, cidr: &str) -> Result<IpAddr> {
        self.enter("find_tunnel_end").await?;
        let invalid = || error(ErrorKind::Invalid, format!("{cidr:?} is no IPv4 CIDR"));
        let (ip, length) = cidr.split_once('/').ok_or_else(invalid)?;
        let ip: Ipv4Addr = ip.parse().map_err(|_| invalid())?;
        let length: u32 = length.parse().ok().filter(|length| *length <= 30).ok_or_else(invalid)?;
        let hosts = u32::MAX.checked_shr(length).unwrap_or_default() - 2;
        let id = u128::from_str_radix(&self.id.to_string(), 16).unwrap_or_default();
        let number = u32::try_from(id % u128::from(hosts)).unwrap_or_default();
        let network = u32::from(ip) & !u32::MAX.checked_shr(length).unwrap_or_default();
        Ok(IpAddr::V4(Ipv4Addr::from(network + 1 + number)))
    }

    async fn remove_bridge(&self, l2: L2Id, bridge: &str) -> Result<()> {
        self.enter("remove_bridge").await?;
        let mut state = self.state();
        let used = state
            .vms
            .values()
            .filter_map(|vm| vm.spec.as_ref())
            .flat_map(|spec| &spec.nics)
            .find(|nic| nic.bridge == bridge);
        if let Some(nic) = used {
            return Err(error(ErrorKind::Conflict, format!("{} is still plugged into bridge {bridge}", nic.device)));
        }
        if state.bridges.get(bridge).is_some_and(|found| found.l2 == l2) {
            state.bridges.remove(bridge);
        }
        if state.vxlans.get(bridge).is_some_and(|found| found.l2 == l2) {
            state.vxlans.remove(bridge);
        }
        Ok(())
    }

    async fn list_dhcp(&self) -> Result<Vec<DhcpListing>> {
        self.enter("list_dhcp").await?;
        let state = self.state();
        let listing =
            |(l3, site): (&L3Id, &SimDhcp)| DhcpListing { l3: *l3, macs: site.leases.keys().cloned().collect() };
        Ok(state.dhcp.iter().map(listing).collect())
    }

    async fn apply_dhcp(&self, network: &DhcpNetwork, upsert: &[DhcpLease], remove: &[String]) -> Result<()> {
        self.enter("apply_dhcp").await?;
        let mut state = self.state();
        if !state.has_bridge(&network.bridge) && !self.options.interfaces.contains(&network.bridge) {
            return Err(error(ErrorKind::NotFound, format!("this host has no interface {}", network.bridge)));
        }
        let site = state
            .dhcp
            .entry(network.l3)
            .or_insert_with(|| SimDhcp { network: network.clone(), leases: BTreeMap::new() });
        site.network = network.clone();
        site.leases.retain(|mac, lease| !remove.contains(mac) && !upsert.iter().any(|new| new.ip == lease.ip));
        site.leases.extend(upsert.iter().map(|lease| (lease.mac.clone(), lease.clone())));
        Ok(())
    }

    async fn remove_dhcp(&self, l3: L3Id) -> Result<()> {
        self.enter("remove_dhcp").await?;
        self.state().dhcp.remove(&l3);
        Ok(())
    }
}

#[async_trait]
impl HostInfo for Simulated {
    async fn facts(&self) -> Result<HostFacts> {
        let id = self.id.to_string();
        let interface = |(number, name): (usize, &String)| Interface {
            name: name.clone(),
            mac: format!("52:54:{}:{}:{}:{:02x}", &id[0..2], &id[2..4], &id[4..6], number & 0xff),
            up: true,
            addresses: Vec::new(),
        };
        Ok(HostFacts {
            hostname: format!("sim-{}", &id[..8]),
            architecture: "x86_64".to_owned(),
            os: OsRelease { distribution: "debian".to_owned(), release: "trixie".to_owned(), version: "13".to_owned() },
            kernel: "6.12.0-sim".to_owned(),
            cpu_threads: self.options.cpu_threads,
            cpu_sockets: 2,
            cpu_model: "Simulated CPU".to_owned(),
            memory: self.options.memory,
            kvm: true,
            libvirt_version: "11.3.0".to_owned(),
            qemu_version: "10.0.2".to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            interfaces: self.options.interfaces.iter().enumerate().map(interface).collect(),
        })
    }

    fn boot(&self) -> String {
        self.state().boot.clone()
    }

    fn logs(&self, query: LogQuery) -> ByteStream {
        let text = format!("simulated host {}\n", self.id);
        let window = Window { since_ms: query.since_ms, until_ms: query.until_ms };
        let words = std::future::ready(vec![("journal.log".to_owned(), text)]);
        node_manager::logs::packed(words, Sources { trees: Vec::new() }, window)
    }

    async fn metrics(&self) -> Result<HostMetrics> {
        let used: u64 =
            self.state().vms.values().filter_map(|vm| vm.spec.as_ref()).map(|spec| spec.memory.as_bytes()).sum();
        let total = self.options.memory.as_bytes();
        Ok(HostMetrics { memory_total: total, memory_available: total.saturating_sub(used), ..HostMetrics::default() })
    }
}
