//! The test guest: a bootable disk of less than 32 MiB that proves a VM is alive. Debian's cloud kernel, a static
//! busybox and a handful of scripts in an initramfs, started by GRUB.
//!
//! The guest finds its address by DHCP and its name from the metadata service, says so in one line on the serial
//! console ([`READY`]), obeys the power button and writes nothing to its disk. Packages are downloaded and unpacked, not
//! installed: a static busybox would displace the one that the machine's own boot depends on.

mod disk;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::{
    archive::{Cpio, FILE, FOLDER, PROGRAM, tar},
    cache,
    debian::{self, Package},
    modules::{Module, Modules, uncompressed},
    program::Program,
    progress::Progress,
};

/// What the guest's line of proof starts with.
pub(crate) const READY: &str = "zstack-guest ready:";
/// Largest disk that the tests and the documentation promise.
const LARGEST: usize = 32 << 20;
/// Changes when this module lays the disk out differently, so that cached disks are built anew.
const LAYOUT: &str = "1";

/// Emulated machines are the slow case, so whatever the kernel would measure, test or wait for is switched off; a guest
/// without users or secrets needs no mitigations. The last console is the one that init and the shell use.
const COMMAND_LINE: &str = "console=tty0 console=ttyS0,115200 quiet panic=5 nokaslr tsc=reliable no_timer_check \
     mitigations=off cryptomgr.notests rcupdate.rcu_expedited=1 i8042.noaux 8250.nr_uarts=1 random.trust_cpu=on \
     init_on_alloc=0 audit=0 lsm=";

/// Modules every boot loads.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_net", "button", "evdev"];
/// Modules loaded when there is no virtio disk.
const SCSI_MODULES: [&str; 3] = ["virtio_scsi", "ata_piix", "sd_mod"];

const SCRIPTS: [(&str, u32, &str); 5] = [
    ("init", PROGRAM, include_str!("../guest/init")),
    ("etc/udhcpc", PROGRAM, include_str!("../guest/udhcpc")),
    ("etc/inittab", FILE, include_str!("../guest/inittab")),
    ("etc/shell", PROGRAM, include_str!("../guest/shell")),
    // The path busybox's acpid looks for when the power button of the ACPI tables is pressed.
    ("etc/acpi/PWRF/00000080", PROGRAM, include_str!("../guest/power-button")),
];
const FOLDERS: [&str; 14] = [
    "bin",
    "dev",
    "etc",
    "etc/acpi",
    "etc/acpi/PWRF",
    "lib",
    "lib/modules",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "var",
    "var/log",
];

/// Returns the guest disk (qcow2), built now unless the cache has it for exactly these inputs.
pub(crate) async fn image(progress: &Progress) -> Result<PathBuf> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the test guest exists for x86_64 only; this machine is {}", std::env::consts::ARCH);
    }
    let cache = cache::folder()?;
    let inputs = Inputs::resolve(progress).await?;
    let path = cache.join(format!("guest-{}.qcow2", inputs.hash()));
    if path.exists() {
        cache::used(&path, "guest-", 8);
        return Ok(path);
    }
    progress.note(format!("building the test guest from {}", inputs.kernel));
    // Next to its final place, so that the rename at the end is atomic.
    let work = tempfile::Builder::new().prefix("guest-").tempdir_in(&cache)?;
    let disk = build(&inputs, work.path()).await?;
    let (raw, qcow2) = (work.path().join("disk.raw"), work.path().join("disk.qcow2"));
    std::fs::write(&raw, disk)?;
    Program::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&qcow2).stdout().await?;
    std::fs::rename(&qcow2, &path).with_context(|| format!("{} cannot be written", path.display()))?;
    cache::used(&path, "guest-", 8);
    Ok(path)
}

/// Everything the disk is made of.
#[derive(Debug)]
struct Inputs {
    /// Name of the kernel's package.
    kernel: String,
    packages: Vec<Package>,
}

impl Inputs {
    async fn resolve(progress: &Progress) -> Result<Self> {
        debian::look_up(progress, Self::from_lists).await
    }

    async fn from_lists() -> Result<Self> {
        let names =
            [debian::kernel().await?.as_str(), "busybox-static", "grub-pc-bin", "grub-common"].map(str::to_owned);
        let [kernel, ..] = &names;
        Ok(Self { kernel: kernel.clone(), packages: debian::packages(&names).await? })
    }

    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let packages = self.packages.iter().map(Package::identity);
        let scripts = SCRIPTS.iter().map(|(path, mode, text)| format!("{path} {mode:o} {text}"));
        let names = [MODULES.join(" "), SCSI_MODULES.join(" "), FOLDERS.join(" "), COMMAND_LINE.into(), LAYOUT.into()];
        for part in packages.chain(scripts).chain(names) {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hex::encode(&hash.finalize()[..8])
    }
}

/// Downloads (once) and unpacks the packages, and puts the disk together.
async fn build(inputs: &Inputs, work: &Path) -> Result<Vec<u8>> {
    let root = work.join("root");
    debian::unpack(&inputs.packages, &root).await?;
    let release = inputs.kernel.strip_prefix("linux-image-").unwrap_or(&inputs.kernel);
    let kernel = read(&root.join(format!("boot/vmlinuz-{release}")))?;
    // Merged and unmerged /usr: Debian moved the files between 12 and 13.
    let either = |path: &str| [root.join(path), root.join("usr").join(path)].into_iter().find(|path| path.exists());
    let busybox = either("bin/busybox").context("busybox-static carries no bin/busybox")?;
    let folder = either(&format!("lib/modules/{release}")).context("the kernel package carries no modules")?;
    let initramfs = initramfs(&read(&busybox)?, &Modules::scan(&folder)?, &busybox)?;

    let grub = root.join("usr/lib/grub/i386-pc");
    let (config, core) = (work.join("grub.cfg"), work.join("core.img"));
    std::fs::write(
        &config,
        format!("set root=(hd0,msdos1)\nlinux /vmlinuz {COMMAND_LINE}\ninitrd /initramfs\nboot\n"),
    )?;
    Program::new(root.join("usr/bin/grub-mkimage"))
        .args(["-O", "i386-pc", "-p", "/", "-d"])
        .arg(&grub)
        .arg("-c")
        .arg(&config)
        .arg("-o")
        .arg(&core)
        .args(["biosdisk", "part_msdos", "tar", "linux"])
        .stdout()
        .await?;
    let archive = tar(&[("vmlinuz", &kernel), ("initramfs", &initramfs)]);
    let disk = disk::assemble(&read(&grub.join("boot.img"))?, &read(&core)?, &archive)?;
    ensure!(disk.len() <= LARGEST, "the guest disk has {} MiB and may have {}", disk.len() >> 20, LARGEST >> 20);
    Ok(disk)
}

fn initramfs(busybox_bytes: &[u8], modules: &Modules, busybox: &Path) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for folder in FOLDERS {
        cpio.add(folder, FOLDER, b"");
    }
    cpio.add("bin/busybox", PROGRAM, busybox_bytes);
    for (path, mode, text) in SCRIPTS {
        cpio.add(path, mode, text.as_bytes());
    }
    let base = modules.closure(&MODULES, |path| uncompressed(path, busybox))?;
    let all: Vec<&str> = MODULES.iter().chain(&SCSI_MODULES).copied().collect();
    let all = modules.closure(&all, |path| uncompressed(path, busybox))?;
    let order = |modules: &[Module]| modules.iter().map(|module| module.name.clone() + "\n").collect::<String>();
    cpio.add("lib/modules/order", FILE, order(&base).as_bytes());
    cpio.add("lib/modules/order-scsi", FILE, order(&all[base.len()..]).as_bytes());
    for module in &all {
        cpio.add(&format!("lib/modules/{}.ko", module.name), FILE, &module.bytes);
    }
    Ok(cpio.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The guest's line of proof, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The line as the guest wrote it.
    pub(crate) line: String,
}

impl Proof {
    /// Finds the line in a console log; a line still being written does not count.
    pub(crate) fn find(log: &str) -> Option<Self> {
        let complete = &log[..=log.rfind('\n')?];
        let line = complete.lines().map(str::trim).rfind(|line| line.starts_with(READY))?;
        Some(Self { line: line.to_owned() })
    }

    /// One `key=value` of the line; `none` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let mut pairs = self.line.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value).filter(|value| *value != "none")
    }

    /// The addresses of the guest, without their prefixes.
    pub(crate) fn addresses(&self) -> Vec<&str> {
        let all = self.get("ip").unwrap_or_default();
        all.split(',').filter_map(|address| address.split('/').next()).filter(|address| !address.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests;
