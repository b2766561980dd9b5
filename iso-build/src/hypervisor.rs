//! libvirt on this machine: used as it is when it runs, started when it does not, and ended only if it was started
//! here and no VM is left that needs it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use crate::{
    program::Program,
    progress::Progress,
    services::{Process, Service},
    systemd::{Systemd, Unit},
};

/// The connection everything here uses.
pub(crate) const URI: &str = "qemu:///system";

/// Units of libvirt, the one that is started first; the others may come with it.
const UNITS: [&str; 9] = [
    "libvirtd.service",
    "libvirtd.socket",
    "libvirtd-ro.socket",
    "libvirtd-admin.socket",
    "virtlogd.service",
    "virtlogd.socket",
    "virtlogd-admin.socket",
    "virtlockd.socket",
    "virtlockd-admin.socket",
];

/// What had to be started for libvirt.
#[derive(Debug)]
pub(crate) enum Started {
    /// A process of our own.
    Process(Process),
    /// Units of systemd; they replace those that were recorded before.
    Units(Vec<Unit>),
}

/// Makes libvirt answer. What must be started for that is handed to `record` at once, before anything is waited for: we
/// may be stopped at any time, and it outlives this program when VMs do.
pub(crate) async fn ensure(
    logs: &Path,
    progress: &Progress,
    mut record: impl FnMut(Started) -> Result<()>,
) -> Result<()> {
    if answers().await {
        return Ok(());
    }
    if let Some(systemd) = Systemd::here() {
        progress.note("starting libvirtd through systemd".to_owned());
        systemd.start(&UNITS, |units| record(Started::Units(units))).await?;
        return wait(&mut []).await;
    }
    progress.note("no libvirtd and no systemd here: starting virtlogd and libvirtd".to_owned());
    let mut started = Vec::new();
    for name in ["virtlogd", "libvirtd"] {
        let daemon = find(name)?;
        // By this name the program is found even when a build has replaced its file meanwhile, as `cargo xtask test` does.
        let keeper = Path::new("/proc/self/exe");
        let arguments = ["keep", daemon.to_str().context("a daemon in a folder that is not UTF-8")?];
        let service = Service::start(name, keeper, &arguments, &logs.join(format!("{name}.log")))?;
        record(Started::Process(service.process.clone()))?;
        started.push(service);
    }
    wait(&mut started).await
}

async fn answers() -> bool {
    let version = virsh().arg("version").deadline(Duration::from_secs(20)).ended().await;
    version.is_ok_and(|ended| ended.success)
}

async fn wait(started: &mut [Service]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !answers().await {
        for service in &mut *started {
            service.check()?;
        }
        if Instant::now() > deadline {
            let logs: Vec<String> = started.iter().map(Service::log_end).collect();
            bail!("libvirtd does not answer at {URI} after 60 s {}", logs.join("\n"));
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Daemons live in folders that a plain user's `PATH` lacks.
fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is not installed; it belongs to libvirt-daemon-system"))
}

fn virsh() -> Program {
    Program::new("virsh").args(["-c", URI])
}

/// Uuids (without dashes) of all VMs on this machine that exist now, ours or not.
pub(crate) async fn domains() -> Result<Vec<String>> {
    let listing = virsh().args(["list", "--uuid"]).stdout().await?;
    Ok(listing.lines().map(|line| line.trim().replace('-', "")).filter(|uuid| !uuid.is_empty()).collect())
}

/// Ends a VM at once, for cleaning up after a failure. Nothing happens when it is not there.
pub(crate) async fn destroy(uuid: &str) -> Result<()> {
    if domains().await?.iter().any(|known| known == uuid) {
        virsh().args(["destroy", &uuid::Uuid::parse_str(uuid)?.to_string()]).stdout().await?;
    }
    Ok(())
}
