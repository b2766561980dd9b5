//! The test guest: a bootable disk of less than 32 MiB that proves a VM is alive. Debian's cloud kernel, a static
//! busybox and a handful of scripts in an initramfs, started by GRUB.
//!
//! The guest finds its address by DHCP and its name from the metadata service, says so in one line on the serial
//! console ([`READY`]), obeys the power button and writes nothing to its disk. Packages are downloaded and unpacked, not
//! installed: a static busybox would displace the one that the machine's own boot depends on.

mod archive;
mod disk;
mod modules;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use self::{
    archive::{Cpio, FILE, FOLDER, PROGRAM, tar},
    modules::Modules,
};
use crate::{packages, program::Program, progress::Progress};

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

/// A version of a package that apt can download.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    sha256: String,
}

/// Returns the guest disk (qcow2), built now unless the cache has it for exactly these inputs.
pub(crate) async fn image(progress: &Progress) -> Result<PathBuf> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the test guest exists for x86_64 only; this machine is {}", std::env::consts::ARCH);
    }
    let cache = cache_folder()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("{} cannot be created", cache.display()))?;
    let inputs = Inputs::resolve(progress).await?;
    let path = cache.join(format!("guest-{}.qcow2", inputs.hash()));
    if path.exists() {
        return Ok(path);
    }
    progress.note(format!("building the test guest from {}", inputs.kernel.name));
    // Next to its final place, so that the rename at the end is atomic.
    let work = tempfile::Builder::new().prefix("guest-").tempdir_in(&cache)?;
    let disk = build(&inputs, &cache, work.path()).await?;
    let (raw, qcow2) = (work.path().join("disk.raw"), work.path().join("disk.qcow2"));
    std::fs::write(&raw, disk)?;
    Program::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&qcow2).stdout().await?;
    std::fs::rename(&qcow2, &path).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

/// `$XDG_CACHE_HOME/zstack`, by default below the home folder.
fn cache_folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME names a folder for the cache")?.join("zstack"))
}

/// Everything the disk is made of.
#[derive(Debug)]
struct Inputs {
    kernel: Package,
    busybox: Package,
    grub: Package,
    grub_tools: Package,
}

impl Inputs {
    async fn resolve(progress: &Progress) -> Result<Self> {
        match Self::from_lists().await {
            Ok(inputs) => Ok(inputs),
            Err(_) if nix::unistd::geteuid().is_root() => {
                progress.note("the package lists are empty or out of date; fetching them".to_owned());
                packages::update().await?;
                Self::from_lists().await
            }
            Err(error) => {
                Err(error.context("the package lists know no parts for the guest; run apt-get update as root"))
            }
        }
    }

    async fn from_lists() -> Result<Self> {
        let meta = "linux-image-cloud-amd64";
        let depends = Program::new("apt-cache").args(["depends", meta]).stdout().await?;
        let kernel = kernel_package(&depends).with_context(|| format!("{meta} depends on no kernel"))?;
        let names = [kernel, "busybox-static", "grub-pc-bin", "grub-common"];
        let shown = Program::new("apt-cache").args(["show", "--no-all-versions"]).args(names).stdout().await?;
        let [kernel, busybox, grub, grub_tools] = names.map(|name| find_package(&shown, name));
        Ok(Self { kernel: kernel?, busybox: busybox?, grub: grub?, grub_tools: grub_tools? })
    }

    fn packages(&self) -> [&Package; 4] {
        [&self.kernel, &self.busybox, &self.grub, &self.grub_tools]
    }

    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let packages = self.packages().into_iter().map(|package| format!("{} {}", package.name, package.sha256));
        let scripts = SCRIPTS.iter().map(|(path, mode, text)| format!("{path} {mode:o} {text}"));
        let names = [MODULES.join(" "), SCSI_MODULES.join(" "), FOLDERS.join(" "), COMMAND_LINE.into(), LAYOUT.into()];
        for part in packages.chain(scripts).chain(names) {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hex::encode(&hash.finalize()[..8])
    }
}

/// The versioned kernel package behind the meta package.
fn kernel_package(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().trim_start_matches('|').strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-") && name.ends_with("-cloud-amd64"))
}

/// The package of that name among the stanzas that apt-cache shows.
fn find_package(shown: &str, name: &str) -> Result<Package> {
    let mut packages = shown.split("\n\n").filter_map(parse_package);
    packages.find(|package| package.name == name).with_context(|| format!("apt can download no version of {name}"))
}

fn parse_package(stanza: &str) -> Option<Package> {
    let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned());
    Some(Package { name: field("Package:")?, version: field("Version:")?, sha256: field("SHA256:")? })
}

/// Downloads (once) and unpacks the packages, and puts the disk together.
async fn build(inputs: &Inputs, cache: &Path, work: &Path) -> Result<Vec<u8>> {
    let root = work.join("root");
    for package in inputs.packages() {
        let file = download(package, cache, work).await?;
        Program::new("dpkg-deb").arg("-x").arg(&file).arg(&root).deadline(Duration::from_secs(300)).stdout().await?;
    }
    let release = inputs.kernel.name.strip_prefix("linux-image-").unwrap_or(&inputs.kernel.name);
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

/// The package file, from the cache or from the mirror; its bytes are checked against the signed lists either way.
async fn download(package: &Package, cache: &Path, work: &Path) -> Result<PathBuf> {
    let store = cache.join("packages");
    let file = store.join(format!("{}-{}.deb", package.name, package.sha256));
    if file.exists() && hex::encode(Sha256::digest(read(&file)?)) == package.sha256 {
        return Ok(file);
    }
    std::fs::create_dir_all(&store)?;
    let folder = work.join("download").join(&package.name);
    std::fs::create_dir_all(&folder)?;
    // apt's unprivileged downloader cannot enter a root-owned cache folder.
    Program::new("apt-get")
        .args(["download", "-q", "-o", "APT::Sandbox::User=root"])
        .arg(format!("{}={}", package.name, package.version))
        .directory(&folder)
        .deadline(Duration::from_secs(600))
        .stdout()
        .await
        .with_context(|| format!("{} {} could not be downloaded", package.name, package.version))?;
    let fetched = std::fs::read_dir(&folder)?.next().context("apt-get downloaded nothing")??.path();
    let sum = hex::encode(Sha256::digest(read(&fetched)?));
    ensure!(sum == package.sha256, "{} has SHA-256 {sum}, the package lists say {}", package.name, package.sha256);
    std::fs::rename(&fetched, &file)?;
    Ok(file)
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
    let order =
        |modules: &[modules::Module]| modules.iter().map(|module| module.name.clone() + "\n").collect::<String>();
    cpio.add("lib/modules/order", FILE, order(&base).as_bytes());
    cpio.add("lib/modules/order-scsi", FILE, order(&all[base.len()..]).as_bytes());
    for module in &all {
        cpio.add(&format!("lib/modules/{}.ko", module.name), FILE, &module.bytes);
    }
    Ok(cpio.finish())
}

/// The bytes of a module file. The guest's own busybox, static and of this architecture, serves as unpacker: a
/// slim Debian has no xz.
fn uncompressed(path: &Path, busybox: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return read(path);
    }
    let output = std::process::Command::new(busybox).arg("xzcat").arg(path).output()?;
    ensure!(
        output.status.success(),
        "{} cannot be unpacked: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
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
