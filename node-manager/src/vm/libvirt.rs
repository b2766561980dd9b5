//! The hypervisor driver over libvirt.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use node_manager_types::{
    AgentError, ByteSize, ErrorKind, VmId, VolumeId,
    vm::{CdromSpec, DiskSpec, NicSpec, StopMode, VmSpec, VmState, VmStatus},
};
use virt::{
    connect::Connect,
    domain::Domain,
    domain_snapshot::DomainSnapshot,
    error::{Error, ErrorNumber},
    sys,
};

use super::{
    block,
    live::Live,
    xml::{self, HostTraits},
};
use crate::{
    drivers::{Console, Context, Hypervisor, Result, VmMetrics, VmShape},
    files::{blocking, eventually, io_error},
    host::HypervisorVersions,
};

/// How long a guest may take to let go of a device.
const UNPLUG: Duration = Duration::from_secs(60);
/// Pause between looks at a block job or a stopping guest.
const LOOK: Duration = Duration::from_millis(500);
/// A guest may miss the first press of the power button while it boots.
const PRESS_AGAIN: Duration = Duration::from_secs(10);

/// libvirt on this host.
#[derive(Clone)]
pub struct Libvirt {
    uri: String,
    connection: Arc<Mutex<Option<Arc<Connect>>>>,
    traits: Arc<HostTraits>,
}

impl Libvirt {
    /// Connects when first used, and again whenever libvirtd has restarted. Serial logs go to `serial_dir`, which
    /// becomes readable by root only: consoles show passwords.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] when the directory cannot be made.
    pub fn new(uri: &str, serial_dir: &Path) -> Result<Self> {
        // libvirt prints every error to standard error unless told otherwise; ours go to the log.
        virt::error::clear_error_callback();
        let prepare = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(serial_dir)?;
            fs::set_permissions(serial_dir, fs::Permissions::from_mode(0o700))
        };
        prepare().map_err(|e| io_error(format_args!("cannot prepare {}", serial_dir.display()), &e))?;
        let traits = HostTraits {
            kvm: crate::host::kvm(),
            architecture: std::env::consts::ARCH.to_owned(),
            serial_dir: serial_dir.display().to_string(),
        };
        Ok(Self { uri: uri.to_owned(), connection: Arc::default(), traits: Arc::new(traits) })
    }

    /// Versions of libvirt and QEMU. Blocks.
    ///
    /// # Errors
    /// [`ErrorKind::Hypervisor`] when libvirtd does not answer.
    pub fn versions(&self) -> Result<HypervisorVersions> {
        let dotted = |n: u32| format!("{}.{}.{}", n / 1_000_000, n / 1000 % 1000, n % 1000);
        self.now(|connection| {
            let (libvirt, qemu) = (connection.get_lib_version()?, connection.get_hyp_version()?);
            Ok(Ok(HypervisorVersions { libvirt: dotted(libvirt), qemu: dotted(qemu) }))
        })
    }

    fn connect(&self) -> Result<Arc<Connect>> {
        let mut held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = &*held
            && connection.is_alive().unwrap_or(false)
        {
            return Ok(Arc::clone(connection));
        }
        let connection = Connect::open(Some(&self.uri)).map_err(|e| {
            AgentError::new(
                ErrorKind::Hypervisor,
                format!("libvirt at {} does not answer; is libvirtd running? {}", self.uri, e.message()),
            )
            .with_evidence(e.to_string())
        })?;
        Ok(Arc::clone(held.insert(Arc::new(connection))))
    }

    /// Calls libvirt on this thread. A connection that turns out to be dead is replaced and the work repeated once; all
    /// work here begins by looking what is there, so repeating it is harmless.
    fn now<T>(&self, work: impl Fn(&Connect) -> std::result::Result<Result<T>, Error>) -> Result<T> {
        let connection = self.connect()?;
        match work(&connection) {
            Ok(result) => result,
            Err(_) if !connection.is_alive().unwrap_or(false) => {
                work(&*self.connect()?).unwrap_or_else(|error| Err(refused(&error)))
            }
            Err(error) => Err(refused(&error)),
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl Fn(&Self, &Connect) -> std::result::Result<Result<T>, Error> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        blocking(move || this.now(|connection| work(&this, connection))).await
    }

    /// Works on a running VM; nothing when it is not on this host.
    async fn on<T: Send + 'static>(
        &self,
        vm: VmId,
        work: impl Fn(&Domain) -> std::result::Result<Result<T>, Error> + Send + 'static,
    ) -> Result<Option<T>> {
        self.call(move |_, connection| match find(connection, vm)? {
            Some(domain) => Ok(work(&domain)?.map(Some)),
            None => Ok(Ok(None)),
        })
        .await
    }

    pub(super) async fn on_running<T: Send + 'static>(
        &self,
        vm: VmId,
        work: impl Fn(&Domain) -> std::result::Result<Result<T>, Error> + Send + 'static,
    ) -> Result<T> {
        self.on(vm, work)
            .await?
            .ok_or_else(|| AgentError::new(ErrorKind::NotFound, format!("{vm:?} does not run on this host")))
    }

    /// Waits until a device is gone from the live XML, asking the guest again now and then.
    async fn unplug(
        &self,
        vm: VmId,
        what: &str,
        context: &Context,
        element: impl Fn(&Live) -> Option<String> + Clone + Send + Sync + 'static,
    ) -> Result<()> {
        context.progress(0, "unplugging");
        let gone = eventually(UNPLUG, || {
            let element = element.clone();
            async move {
                if context.cancel.is_cancelled() {
                    return Err(AgentError::new(ErrorKind::Cancelled, "the job ended while the guest was asked"));
                }
                let present = self
                    .on(vm, move |domain| {
                        let Some(xml) = element(&match live(domain)? {
                            Ok(live) => live,
                            Err(error) => return Ok(Err(error)),
                        }) else {
                            return Ok(Ok(false));
                        };
                        match domain.detach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE) {
                            // Asked already and not done, or just done: the live XML tells next time.
                            Err(error) if !unplugging(&error) => Err(error),
                            _ => Ok(Ok(true)),
                        }
                    })
                    .await?;
                Ok((!present.unwrap_or(false)).then_some(()))
            }
        })
        .await?;
        gone.ok_or_else(|| {
            let message = format!(
                "the guest of {vm:?} did not let go of {what} within {} s; is its operating system running? Try again, or stop the VM first",
                UNPLUG.as_secs()
            );
            AgentError::new(ErrorKind::Timeout, message)
        })
    }
}

fn find(connection: &Connect, vm: VmId) -> std::result::Result<Option<Domain>, Error> {
    match Domain::lookup_by_uuid(connection, vm.uuid()) {
        Ok(domain) => Ok(if domain.is_active()? { Some(domain) } else { None }),
        Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn live(domain: &Domain) -> std::result::Result<Result<Live>, Error> {
    Ok(Live::parse(&domain.get_xml_desc(0)?))
}

fn unplugging(error: &Error) -> bool {
    error.code() == ErrorNumber::DeviceMissing || error.message().contains("is already in the process of unplug")
}

/// Translates libvirt's refusal.
fn refused(error: &Error) -> AgentError {
    let text = error.message();
    let kind = match error.code() {
        ErrorNumber::NoDomain => ErrorKind::NotFound,
        _ if text.contains("No space left on device") => ErrorKind::NoSpace,
        _ if text.contains("lock") && text.contains("Failed to get") => ErrorKind::Conflict,
        _ => ErrorKind::Hypervisor,
    };
    AgentError::new(kind, format!("libvirt refused: {text}")).with_evidence(error.to_string())
}

/// libvirt's states; a VM that is shut off is not there, because domains are transient.
fn state_of(raw: sys::virDomainState) -> Option<VmState> {
    match raw {
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => Some(VmState::Paused),
        sys::VIR_DOMAIN_SHUTDOWN => Some(VmState::ShuttingDown),
        sys::VIR_DOMAIN_CRASHED => Some(VmState::Crashed),
        sys::VIR_DOMAIN_SHUTOFF => None,
        _ => Some(VmState::Running),
    }
}

fn state(domain: &Domain) -> std::result::Result<Option<VmState>, Error> {
    domain.get_state().map(|(raw, _)| state_of(raw))
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn list(&self) -> Result<Vec<VmStatus>> {
        self.call(|_, connection| {
            let mut list = Vec::new();
            for domain in connection.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)? {
                // One that ends while we look is simply not listed.
                let (Ok(id), Ok(name), Ok(Some(state))) = (domain.get_uuid(), domain.get_name(), state(&domain)) else {
                    continue;
                };
                list.push(VmStatus { id: VmId::from_uuid(id), name, state });
            }
            Ok(Ok(list))
        })
        .await
    }

    async fn shapes(&self) -> Result<Vec<VmShape>> {
        self.call(|_, connection| {
            let domains = connection.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)?;
            // One that ends while we look is simply not listed.
            Ok(Ok(domains.iter().filter_map(|domain| shape(domain).ok().flatten()).collect()))
        })
        .await
    }

    async fn start(&self, spec: &VmSpec) -> Result<()> {
        let xml = xml::domain(spec, &self.traits)?;
        let files =
            spec.disks.iter().map(|disk| &disk.path).chain(spec.cdroms.iter().filter_map(|drive| drive.path.as_ref()));
        let files: Vec<String> = files.cloned().collect();
        let vm = spec.id;
        self.call(move |_, connection| {
            match Domain::lookup_by_uuid(connection, vm.uuid()) {
                Ok(domain) if domain.is_active()? => return Ok(Ok(())),
                Ok(_) => {
                    let message = format!(
                        "somebody defined a domain with the UUID of {vm:?} in libvirt; undefine it with virsh first"
                    );
                    return Ok(Err(AgentError::new(ErrorKind::Conflict, message)));
                }
                Err(error) if error.code() == ErrorNumber::NoDomain => {}
                Err(error) => return Err(error),
            }
            // libvirt would say so too, but less clearly (CS-VM-049).
            if let Some(missing) = files.iter().find(|file| !Path::new(file).exists()) {
                let message = format!("{missing} is not there; is the primary storage mounted and attached?");
                return Ok(Err(AgentError::new(ErrorKind::NotFound, message)));
            }
            Domain::create_xml(connection, &xml, 0).map(|_| Ok(()))
        })
        .await
    }

    async fn stop(&self, vm: VmId, mode: StopMode, context: &Context) -> Result<()> {
        let kill = || async {
            self.on(vm, |domain| match domain.destroy() {
                // It ended by itself in this moment.
                Err(error) if matches!(error.code(), ErrorNumber::NoDomain | ErrorNumber::OperationInvalid) => {
                    Ok(Ok(()))
                }
                result => result.map(Ok),
            })
            .await
            .map(drop)
        };
        let StopMode::Graceful { seconds } = mode else { return kill().await };
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut pressed: Option<Instant> = None;
        context.progress(0, "waiting for the guest");
        loop {
            let press = pressed.is_none_or(|at| at.elapsed() > PRESS_AGAIN);
            let present = self
                .on(vm, move |domain| {
                    let state = state(domain)?;
                    // A paused guest cannot hear the button, so waiting for it is pointless.
                    let hears = matches!(state, Some(VmState::Running | VmState::ShuttingDown));
                    if press && state == Some(VmState::Running) {
                        match domain.shutdown() {
                            Err(error) if error.code() != ErrorNumber::OperationInvalid => return Err(error),
                            _ => {}
                        }
                    }
                    Ok(Ok(hears))
                })
                .await?;
            match present {
                None => return Ok(()),
                Some(hears) if !hears || Instant::now() >= until => return kill().await,
                Some(_) => {}
            }
            if press {
                pressed = Some(Instant::now());
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK.min(until.saturating_duration_since(Instant::now()))) => {}
                () = context.cancel.cancelled() => {
                    return Err(AgentError::new(ErrorKind::Cancelled, "the job ended while the guest was shutting down"));
                }
            }
        }
    }

    async fn pause(&self, vm: VmId) -> Result<VmState> {
        self.on_running(vm, |domain| {
            if state(domain)? != Some(VmState::Paused) {
                domain.suspend()?;
            }
            Ok(Ok(state(domain)?.unwrap_or(VmState::Crashed)))
        })
        .await
    }

    async fn resume(&self, vm: VmId) -> Result<VmState> {
        self.on_running(vm, |domain| {
            if state(domain)? == Some(VmState::Paused) {
                domain.resume()?;
            }
            Ok(Ok(state(domain)?.unwrap_or(VmState::Crashed)))
        })
        .await
    }

    async fn attach_disk(&self, vm: VmId, disk: &DiskSpec) -> Result<()> {
        let target = xml::disk_target(disk)?;
        let element = xml::disk_element(disk, &target, None)?;
        let disk = disk.clone();
        self.on_running(vm, move |domain| {
            let before = match live(domain)? {
                Ok(live) => live,
                Err(error) => return Ok(Err(error)),
            };
            if before.volume(disk.volume).is_some() {
                return Ok(Ok(()));
            }
            if !Path::new(&disk.path).exists() {
                return Ok(Err(AgentError::new(
                    ErrorKind::NotFound,
                    format!("{} is not there; is its storage mounted?", disk.path),
                )));
            }
            domain.attach_device_flags(&element, sys::VIR_DOMAIN_AFFECT_LIVE)?;
            let after = live(domain)?;
            Ok(after.and_then(|live| match live.volume(disk.volume) {
                Some(_) => Ok(()),
                None => Err(AgentError::new(
                    ErrorKind::Hypervisor,
                    format!("libvirt took {} but does not show it", disk.path),
                )),
            }))
        })
        .await
    }

    async fn detach_disk(&self, vm: VmId, volume: VolumeId, context: &Context) -> Result<()> {
        self.unplug(vm, &format!("{volume:?}"), context, move |live| {
            let disk = live.volume(volume)?;
            let source = xml::escape(disk.file.as_deref().unwrap_or_default()).ok()?;
            Some(format!(
                "<disk type='file' device='disk'><source file='{source}'/><target dev='{}' bus='{}'/></disk>",
                disk.target, disk.bus
            ))
        })
        .await
    }

    async fn attach_nic(&self, vm: VmId, nic: &NicSpec) -> Result<()> {
        let element = xml::nic_element(nic, None)?;
        let mac = nic.mac.clone();
        self.on_running(vm, move |domain| {
            match live(domain)? {
                Ok(live) if live.nic(&mac).is_some() => return Ok(Ok(())),
                Ok(_) => {}
                Err(error) => return Ok(Err(error)),
            }
            domain.attach_device_flags(&element, sys::VIR_DOMAIN_AFFECT_LIVE)?;
            Ok(Ok(()))
        })
        .await
    }

    async fn detach_nic(&self, vm: VmId, mac: &str, context: &Context) -> Result<()> {
        let mac = xml::mac(&mac.to_ascii_lowercase())?.to_owned();
        let what = format!("card {mac}");
        self.unplug(vm, &what, context, move |live| {
            live.nic(&mac)?;
            Some(format!("<interface type='bridge'><mac address='{mac}'/></interface>"))
        })
        .await
    }

    async fn change_medium(&self, vm: VmId, index: u32, path: Option<&str>) -> Result<()> {
        self.put_medium(vm, CdromSpec { index, path: path.map(str::to_owned) }).await
    }

    async fn resize_disk(&self, vm: VmId, path: &str, size: ByteSize) -> Result<bool> {
        let path = path.to_owned();
        let done = self
            .on(vm, move |domain| {
                Ok(match live(domain)?.and_then(|live| target(&live, vm, &path)) {
                    Ok(target) => {
                        domain.block_resize(&target, size.as_bytes(), sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES)?;
                        Ok(())
                    }
                    Err(error) => Err(error),
                })
            })
            .await?;
        Ok(done.is_some())
    }

    async fn switch_layer(&self, vm: VmId, path: &str, new_path: &str) -> Result<bool> {
        let (path, new_path) = (path.to_owned(), new_path.to_owned());
        let done = self
            .on(vm, move |domain| {
                let live = match live(domain)? {
                    Ok(live) => live,
                    Err(error) => return Ok(Err(error)),
                };
                if live.file(&new_path).is_some() {
                    return Ok(Ok(()));
                }
                let (target, file) = match target(&live, vm, &path).and_then(|target| Ok((target, xml::escape(&new_path)?))) {
                    Ok(found) => found,
                    Err(error) => return Ok(Err(error)),
                };
                // Every other disk is named with snapshot='no'; libvirt would freeze them too.
                let others: String = live
                    .disks
                    .iter()
                    .filter(|disk| disk.target != target)
                    .map(|disk| format!("<disk name='{}' snapshot='no'/>", disk.target))
                    .collect();
                let xml = format!(
                    "<domainsnapshot><disks><disk name='{target}' snapshot='external' type='file'><driver type='qcow2'/>\
                     <source file='{file}'/></disk>{others}</disks></domainsnapshot>"
                );
                let flags = sys::VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
                    | sys::VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
                    | sys::VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
                    | sys::VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC;
                DomainSnapshot::create_xml(domain, &xml, flags)?;
                Ok(Ok(()))
            })
            .await?;
        Ok(done.is_some())
    }

    async fn pull_layer(&self, vm: VmId, path: &str, new_base: Option<&str>, context: &Context) -> Result<bool> {
        let (path, base) = (path.to_owned(), new_base.map(str::to_owned));
        let begin = move |domain: &Domain| {
            let live = match live(domain)? {
                Ok(live) => live,
                Err(error) => return Ok(Err(error)),
            };
            let Some(disk) = live.file(&path) else {
                // Not the active layer of this VM. One that the VM reads as a base cannot be changed below it.
                if live.disks.iter().any(|disk| disk.backing.contains(&path)) {
                    let message = format!(
                        "{path} is below the active layer of {vm:?}; merge the active layer, or stop the VM first"
                    );
                    return Ok(Err(AgentError::new(ErrorKind::Conflict, message)));
                }
                return Ok(Ok(None));
            };
            if disk.backing.first() == base.as_ref() {
                return Ok(Ok(Some((disk.target.clone(), false))));
            }
            if let Some(base) = &base
                && !disk.backing.contains(base)
            {
                let message = format!("{base} is not below {path}; only a layer of its own chain can become its base");
                return Ok(Err(AgentError::new(ErrorKind::Conflict, message)));
            }
            // A job that an earlier life of the agent started goes on by itself.
            if block::job(domain, &disk.target)?.is_none() {
                block::pull(domain, &disk.target, base.as_deref())?;
            }
            Ok(Ok(Some((disk.target.clone(), true))))
        };
        let check = begin.clone();
        let target = match self.on(vm, begin).await? {
            None | Some(None) => return Ok(false),
            Some(Some((_, false))) => return Ok(true),
            Some(Some((target, true))) => target,
        };
        loop {
            let disk = target.clone();
            let cancelled = context.cancel.is_cancelled();
            let job = self
                .on(vm, move |domain| {
                    if cancelled {
                        block::abort(domain, &disk)?;
                        return Ok(Err(AgentError::new(
                            ErrorKind::Cancelled,
                            "the job ended while layers were merged",
                        )));
                    }
                    Ok(Ok(block::job(domain, &disk)?))
                })
                .await?;
            match job {
                None => {
                    let message =
                        format!("{vm:?} stopped while its layers were merged; ask again to merge them offline");
                    return Err(AgentError::new(ErrorKind::Unavailable, message));
                }
                Some(Some((done, total))) => context.progress_of(done, total, "merging"),
                Some(None) => break,
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = context.cancel.cancelled() => {}
            }
        }
        // A job that failed looks like one that ended; only the chain tells them apart.
        match self.on(vm, check).await? {
            Some(Some((_, false))) => Ok(true),
            None | Some(None) => Ok(false),
            Some(Some((target, true))) => {
                self.on(vm, move |domain| block::abort(domain, &target).map(Ok)).await?;
                Err(AgentError::new(
                    ErrorKind::Hypervisor,
                    "QEMU gave up merging the layers; see its log in /var/log/libvirt/qemu",
                ))
            }
        }
    }

    async fn serial(&self, vm: VmId, bytes: u64) -> Result<Vec<u8>> {
        let path = PathBuf::from(&self.traits.serial_dir).join(format!("{vm}.log"));
        blocking(move || {
            let mut rotated = path.clone().into_os_string();
            rotated.push(".0");
            let end =
                tail(&path, bytes).map_err(|e| io_error(format_args!("{vm:?} has no serial log on this host"), &e))?;
            // virtlogd moves a full log aside; what was before belongs to the same console.
            let missing = bytes.saturating_sub(end.len() as u64);
            let mut all = if missing > 0 { tail(Path::new(&rotated), missing).unwrap_or_default() } else { Vec::new() };
            all.extend(end);
            Ok(all)
        })
        .await
    }

    async fn console(&self, vm: VmId) -> Result<Box<dyn Console>> {
        let socket = self.on_running(vm, |domain| Ok(live(domain)?.map(|live| live.vnc_socket))).await?;
        let Some(socket) = socket else {
            let message = format!("{vm:?} has no VNC socket; was it started by something else?");
            return Err(AgentError::new(ErrorKind::Conflict, message));
        };
        let stream = tokio::net::UnixStream::connect(&socket).await.map_err(|e| {
            AgentError::new(ErrorKind::Hypervisor, format!("the console of {vm:?} does not answer at {socket}: {e}"))
        })?;
        Ok(Box::new(stream))
    }

    async fn metrics(&self) -> Result<Vec<VmMetrics>> {
        self.call(|_, connection| {
            let domains = connection.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)?;
            Ok(Ok(domains.iter().filter_map(|domain| metrics(domain).ok()).collect()))
        })
        .await
    }
}

/// Guest device name of the disk whose active layer is `path`.
fn target(live: &Live, vm: VmId, path: &str) -> Result<String> {
    live.file(path).map(|disk| disk.target.clone()).ok_or_else(|| {
        AgentError::new(
            ErrorKind::Conflict,
            format!("{path} is not the active layer of a disk of {vm:?}; look at the VM's volumes again"),
        )
    })
}

fn shape(domain: &Domain) -> std::result::Result<Option<VmShape>, Error> {
    let info = domain.get_info()?;
    let Some(state) = state_of(info.state) else { return Ok(None) };
    let status = VmStatus { id: VmId::from_uuid(domain.get_uuid()?), name: domain.get_name()?, state };
    // libvirt counts in KiB.
    let memory = ByteSize::bytes(info.max_mem.saturating_mul(1024));
    Ok(Some(VmShape { status, cpus: info.nr_virt_cpu, memory }))
}

fn metrics(domain: &Domain) -> std::result::Result<VmMetrics, Error> {
    let info = domain.get_info()?;
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    // No name: the sum over all disks (virDomainBlockStats).
    let disk = domain.get_block_stats("");
    let (mut net_received, mut net_sent) = (0, 0);
    for nic in live(domain)?.map(|live| live.nics).unwrap_or_default() {
        // libvirt counts from the guest's end of the cable.
        if let Some(stats) = nic.device.and_then(|device| domain.interface_stats(&device).ok()) {
            net_received += count(stats.rx_bytes);
            net_sent += count(stats.tx_bytes);
        }
    }
    Ok(VmMetrics {
        id: VmId::from_uuid(domain.get_uuid()?),
        cpu_nanoseconds: info.cpu_time,
        memory: ByteSize::bytes(info.memory * 1024),
        disk_read: disk.as_ref().map_or(0, |stats| count(stats.rd_bytes)),
        disk_written: disk.as_ref().map_or(0, |stats| count(stats.wr_bytes)),
        net_received,
        net_sent,
    })
}

/// The last `bytes` bytes of a file.
fn tail(path: &Path, bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_map_to_what_management_knows() {
        let known = [
            (sys::VIR_DOMAIN_NOSTATE, Some(VmState::Running)),
            (sys::VIR_DOMAIN_RUNNING, Some(VmState::Running)),
            (sys::VIR_DOMAIN_BLOCKED, Some(VmState::Running)),
            (sys::VIR_DOMAIN_PAUSED, Some(VmState::Paused)),
            (sys::VIR_DOMAIN_PMSUSPENDED, Some(VmState::Paused)),
            (sys::VIR_DOMAIN_SHUTDOWN, Some(VmState::ShuttingDown)),
            (sys::VIR_DOMAIN_CRASHED, Some(VmState::Crashed)),
            (sys::VIR_DOMAIN_SHUTOFF, None),
        ];
        for (raw, state) in known {
            assert_eq!(state_of(raw), state, "libvirt state {raw}");
        }
    }

    #[test]
    fn the_end_of_a_log_is_cut_at_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(tail(&path, 4).unwrap(), b"6789");
        assert_eq!(tail(&path, 100).unwrap(), b"0123456789");
    }
}
