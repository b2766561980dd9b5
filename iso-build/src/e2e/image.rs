//! What machines under test boot: Debian's cloud kernel, and an initramfs with Debian's systemd, udev, networkd and
//! D-Bus, busybox, and the programs of this repository. Nothing is installed: boots take seconds, and a new program
//! costs a copy.
//!
//! What comes from Debian is built once and kept in the cache. The programs of the repository are a second archive,
//! which the kernel unpacks over the first.

mod console;
mod elf;
mod extra;
mod installer;
mod product;
mod tree;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

pub(super) use self::console::{PASSWORD, console};
pub(crate) use self::extra::Extra;
pub(super) use self::installer::installer;
use self::tree::Tree;
use crate::{
    cache,
    debian::{self, Package},
    modules::{Modules, uncompressed},
    program::Program,
    progress::Progress,
};

/// Changes when this module puts the image together differently, so that cached images are built anew.
const LAYOUT: &str = "1";
/// Packages whose programs are in the image; the libraries they need come by themselves.
const PACKAGES: [&str; 7] =
    ["systemd", "udev", "dbus-daemon", "dbus", "dbus-system-bus-common", "iproute2", "busybox-static"];
/// Kernel modules, loaded at every boot.
const MODULES: [&str; 9] =
    ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "bonding", "8021q", "bridge", "vxlan", "veth"];
const PROGRAMS: [&str; 13] = [
    "bin/busybox",
    "bin/networkctl",
    "bin/systemctl",
    "bin/systemd-run",
    "bin/udevadm",
    "lib/systemd/systemd",
    "lib/systemd/systemd-networkd",
    "lib/systemd/systemd-shutdown",
    "lib/systemd/systemd-sysctl",
    "sbin/bridge",
    "sbin/ip",
    "usr/bin/dbus-daemon",
    "sbin/tc",
];
/// In the image where the release has them: systemd starts units through the first, and loads the others by name.
const OPTIONAL_PROGRAMS: [&str; 1] = ["usr/lib/systemd/systemd-executor"];
const OPTIONAL_LIBRARIES: [&str; 3] = ["libkmod.so.2", "libmount.so.1", "libblkid.so.1"];
/// What Rust programs link.
const LIBRARIES: [&str; 3] = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];
const UNITS: [&str; 30] = [
    "basic.target",
    "dbus.service",
    "dbus.socket",
    "final.target",
    "local-fs-pre.target",
    "local-fs.target",
    "multi-user.target",
    "network-online.target",
    "network-pre.target",
    "network.target",
    "paths.target",
    "poweroff.target",
    "reboot.target",
    "shutdown.target",
    "slices.target",
    "sockets.target",
    "swap.target",
    "sysinit.target",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-poweroff.service",
    "systemd-reboot.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "time-sync.target",
    "timers.target",
    "umount.target",
    "getty.target",
];
/// What udev does: name cards, and tell systemd of devices. The rules about disks, sound and seats would only cost time.
const UDEV_RULES: [&str; 5] = [
    "50-udev-default.rules",
    "75-net-description.rules",
    "80-drivers.rules",
    "80-net-setup-link.rules",
    "99-systemd.rules",
];
/// Which targets start which units.
const WANTS: [(&str, &str); 7] = [
    ("sockets.target", "dbus.socket"),
    ("multi-user.target", "dbus.service"),
    ("sysinit.target", "systemd-udevd.service"),
    ("sysinit.target", "systemd-udev-trigger.service"),
    ("multi-user.target", "systemd-networkd.service"),
    ("sysinit.target", "zs-e2e-agent.service"),
    ("multi-user.target", "zs-e2e-console.service"),
];
/// Folders that are on the disk and not in memory.
const PERSISTENT: [&str; 2] = ["etc/systemd/network", "var/lib/zstack"];
const FOLDERS: [&str; 14] = [
    "dev",
    "persist",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr/lib/busybox",
    "usr/lib/modules",
    "usr/local/bin",
    "usr/local/sbin",
    "var/lib",
    "var/log",
    "etc/systemd/system",
];
const TEXTS: [(&str, &str); 10] = [
    ("etc/group", include_str!("../../e2e/group")),
    ("etc/os-release", "ID=zstack-e2e\nPRETTY_NAME=\"Machine under test\"\n"),
    (
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\nsystemd-network:x:101:101::/:/bin/false\n",
    ),
    ("etc/systemd/system.conf", include_str!("../../e2e/system.conf")),
    ("etc/systemd/system/zs-e2e-agent.service", include_str!("../../e2e/agent.service")),
    ("etc/systemd/system/zs-e2e-console.service", include_str!("../../e2e/console.service")),
    ("etc/systemd/system/systemd-udev-trigger.service.d/devices.conf", include_str!("../../e2e/devices.conf")),
    ("usr/lib/e2e/agent", include_str!("../../e2e/agent")),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
];
const INIT: &str = include_str!("../../e2e/init");
/// Size of the disk, in bytes: what it holds are a few small files.
const DISK: u64 = 16 << 20;

/// Memory in MiB: the files of the image twice, while the kernel unpacks them.
const MEMORY: u32 = 320;

/// What machines boot from, and how large they are.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// What it unpacks as its root.
    pub(crate) initramfs: PathBuf,
    /// A disk with an empty file system; machines write to copies.
    pub(crate) disk: PathBuf,
    /// Memory of the machines in MiB.
    pub(crate) memory: u32,
    /// Size of a second, empty disk in bytes; 0 for none.
    pub(crate) spare: u64,
}

/// Returns the image: Debian's part from the cache or built now, the product's part and what is needed beyond it built
/// now into `folder`, under this name.
pub(crate) async fn image(folder: &Path, name: &str, extra: &Extra, progress: &Progress) -> Result<Image> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("machines under test exist for x86_64 only; this machine is {}", std::env::consts::ARCH);
    }
    let base = progress.phase("image", "machine under test", base(progress)).await?;
    let product = progress.phase("product", "programs of this repository", product::archive(&base, progress)).await?;
    let mut initramfs = std::fs::read(base.join("initramfs"))?;
    initramfs.extend(product);
    initramfs.extend(extra.archive(&base).await?);
    let path = folder.join(name);
    std::fs::write(&path, initramfs).with_context(|| format!("{} cannot be written", path.display()))?;
    let (kernel, disk) = (base.join("vmlinuz"), base.join("disk"));
    Ok(Image { kernel, initramfs: path, disk, memory: MEMORY + extra.memory, spare: extra.spare })
}

/// The folder with Debian's part.
async fn base(progress: &Progress) -> Result<PathBuf> {
    let cache = cache::folder()?;
    let (kernel, packages) = debian::look_up(progress, parts).await?;
    let path = cache.join(format!("e2e-{}", hash(&packages)));
    if !path.exists() {
        progress.note(format!("building the machine from {} packages and {kernel}", packages.len()));
        // Next to its final place, so that the rename at the end is atomic.
        let work = tempfile::Builder::new().prefix("e2e-").tempdir_in(&cache)?;
        let done = work.path().join("done");
        std::fs::create_dir(&done)?;
        build(&kernel, &packages, &work.path().join("root"), &done).await?;
        match std::fs::rename(&done, &path) {
            // Somebody else was faster.
            Err(_) if path.exists() => {}
            result => result.with_context(|| format!("{} cannot be written", path.display()))?,
        }
    }
    cache::used(&path, "e2e-", 8);
    Ok(path)
}

async fn parts() -> Result<(String, Vec<Package>)> {
    let kernel = debian::kernel().await?;
    let mut names = debian::with_libraries(&PACKAGES).await?;
    names.push(kernel.clone());
    Ok((kernel, debian::packages(&names).await?))
}

fn hash(packages: &[Package]) -> String {
    let mut hash = Sha256::new();
    let lists = [
        MODULES.join(" "),
        PROGRAMS.join(" "),
        UNITS.join(" "),
        PERSISTENT.join(" "),
        FOLDERS.join(" "),
        UDEV_RULES.join(" "),
    ];
    let libraries = [OPTIONAL_PROGRAMS.join(" "), OPTIONAL_LIBRARIES.join(" "), LIBRARIES.join(" ")];
    let pairs = WANTS.iter().chain(&TEXTS).map(|(left, right)| format!("{left} {right}"));
    let parts = packages.iter().map(Package::identity).chain(lists).chain(libraries).chain(pairs);
    for part in parts.chain([INIT.to_owned(), DISK.to_string(), LAYOUT.to_owned()]) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8])
}

async fn build(kernel: &str, packages: &[Package], root: &Path, done: &Path) -> Result<()> {
    debian::unpack(packages, root).await?;
    let release = kernel.strip_prefix("linux-image-").unwrap_or(kernel);
    let tree = fill(root, release)?;
    std::fs::copy(root.join(format!("boot/vmlinuz-{release}")), done.join("vmlinuz"))?;
    std::fs::write(done.join("initramfs"), tree.archive())?;
    let libraries: BTreeSet<&str> = tree.names().filter(|name| name.contains(".so")).collect();
    std::fs::write(done.join("libraries"), libraries.into_iter().collect::<Vec<_>>().join("\n"))?;
    let disk = done.join("disk");
    std::fs::File::create(&disk)?.set_len(DISK)?;
    // Everything is initialised now: a kernel that does it in the background would slow down the tests.
    Program::new("/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(&disk)
        .stdout()
        .await?;
    Ok(())
}

fn fill(root: &Path, release: &str) -> Result<Tree> {
    let mut tree = Tree::default();
    for folder in FOLDERS.iter().chain(&PERSISTENT) {
        tree.folder(folder);
    }
    tree.merge_usr();
    for path in PROGRAMS {
        tree.take_program(root, path)?;
    }
    for path in OPTIONAL_PROGRAMS {
        // An older release has none, and starts units itself.
        if root.join(path).exists() {
            tree.take_program(root, path)?;
        }
    }
    tree.libraries(root, &LIBRARIES)?;
    for name in OPTIONAL_LIBRARIES {
        if root.join("usr/lib/x86_64-linux-gnu").join(name).exists() {
            tree.libraries(root, &[name])?;
        }
    }
    tree.link("usr/lib/systemd/systemd-udevd", "/usr/bin/udevadm");
    tree.link("usr/bin/sh", "busybox");
    tree.link("var/run", "/run");
    for unit in UNITS {
        tree.take(root, &format!("usr/lib/systemd/system/{unit}"))?;
    }
    tree.link("etc/systemd/system/default.target", "/usr/lib/systemd/system/multi-user.target");
    for (target, unit) in WANTS {
        let folder = if unit.starts_with("zs-e2e") { "/etc" } else { "/usr/lib" };
        tree.link(&format!("etc/systemd/system/{target}.wants/{unit}"), &format!("{folder}/systemd/system/{unit}"));
    }
    for rules in UDEV_RULES {
        tree.take(root, &format!("usr/lib/udev/rules.d/{rules}"))?;
    }
    tree.take_folder(root, "usr/lib/systemd/network")?;
    tree.take_folder(root, "usr/share/dbus-1/system.d")?;
    tree.take(root, "usr/share/dbus-1/system.conf")?;
    for (path, text) in TEXTS {
        tree.file(path, text);
    }
    tree.file("etc/persist", PERSISTENT.map(|folder| format!("{folder}\n")).concat());
    tree.program("init", INIT);
    modules(&mut tree, root, release, &MODULES)?;
    Ok(tree)
}

/// Adds the modules of this package's kernel that `more` names to those that machines have.
async fn with_modules(tree: &mut Tree, more: &[&str]) -> Result<()> {
    let kernel = debian::kernel().await?;
    let mut packages = debian::packages(&["busybox-static"]).await?;
    packages.extend(debian::packages(std::slice::from_ref(&kernel)).await?);
    let root = tempfile::tempdir()?;
    debian::unpack(&packages, root.path()).await?;
    let release = kernel.strip_prefix("linux-image-").unwrap_or(&kernel);
    modules(tree, root.path(), release, &[&MODULES, more].concat())
}

fn modules(tree: &mut Tree, root: &Path, release: &str, wanted: &[&str]) -> Result<()> {
    let either = |path: &str| [root.join(path), root.join("usr").join(path)].into_iter().find(|path| path.exists());
    let folder = either(&format!("lib/modules/{release}")).context("the kernel package carries no modules")?;
    let busybox = either("bin/busybox").context("busybox-static carries no bin/busybox")?;
    let modules = Modules::scan(&folder)?.closure(wanted, |path| uncompressed(path, &busybox))?;
    let order: String = modules.iter().map(|module| format!("{}\n", module.name)).collect();
    tree.file("usr/lib/modules/order", order);
    for module in modules {
        tree.file(&format!("usr/lib/modules/{}.ko", module.name), module.bytes);
    }
    Ok(())
}
