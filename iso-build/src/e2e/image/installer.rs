//! What a machine under the installer has beyond others: the tools that the live system has, a small medium, and an
//! empty disk.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use installer_plan::manifest::{self, Layer, Manifest, Repository, Role, RoleLayers};
use sha2::{Digest, Sha256};

use super::{Extra, product};
use crate::{program::Program, progress::Progress};

/// Where the machine has the medium.
const MEDIUM: &str = "usr/lib/e2e/medium";
/// Size of the empty disk.
const SPARE: u64 = 8 << 30;
/// Names under which LVM's one program is called.
const LVM: [&str; 8] = [
    "usr/sbin/lvchange",
    "usr/sbin/lvcreate",
    "usr/sbin/lvs",
    "usr/sbin/pvcreate",
    "usr/sbin/pvs",
    "usr/sbin/vgchange",
    "usr/sbin/vgcreate",
    "usr/sbin/vgs",
];

/// Builds the installer and a medium with two layers into `folder`.
pub(in crate::e2e) async fn installer(folder: &Path, progress: &Progress) -> Result<Extra> {
    let built = product::cargo(vec![["zstack-installer", "--bin", "zstack-installer"]], progress).await?;
    let formats = [("usr/sbin/mkfs.ext4", "mke2fs"), ("usr/sbin/mkfs.vfat", "mkfs.fat")];
    let links = LVM.into_iter().map(|name| (name, "lvm")).chain(formats).collect();
    Ok(Extra {
        built: vec![(built.join("zstack-installer"), "usr/sbin/zstack-installer".to_owned())],
        packaged: vec![
            ("util-linux", "bin/lsblk"),
            ("util-linux", "sbin/blkid"),
            ("util-linux", "sbin/blockdev"),
            ("util-linux", "sbin/mkswap"),
            ("util-linux", "sbin/wipefs"),
            ("mount", "bin/mount"),
            ("mount", "bin/umount"),
            ("fdisk", "sbin/sfdisk"),
            ("e2fsprogs", "sbin/mke2fs"),
            ("e2fsprogs", "etc/mke2fs.conf"),
            ("xfsprogs", "sbin/mkfs.xfs"),
            ("dosfstools", "sbin/mkfs.fat"),
            ("lvm2", "sbin/lvm"),
            ("lvm2", "lib/udev/rules.d/56-lvm.rules"),
            ("lvm2", "lib/udev/rules.d/69-lvm.rules"),
            ("dmsetup", "sbin/dmsetup"),
            ("dmsetup", "lib/udev/rules.d/55-dm.rules"),
            ("dmsetup", "lib/udev/rules.d/60-persistent-storage-dm.rules"),
            ("dmsetup", "lib/udev/rules.d/95-dm-notify.rules"),
            ("udev", "lib/udev/rules.d/60-block.rules"),
            ("udev", "lib/udev/rules.d/60-persistent-storage.rules"),
            ("mdadm", "sbin/mdadm"),
            ("mdadm", "lib/udev/rules.d/63-md-raid-arrays.rules"),
            ("mdadm", "lib/udev/rules.d/64-md-raid-assembly.rules"),
            ("squashfs-tools", "usr/bin/unsquashfs"),
        ],
        files: medium(folder).await?,
        modules: vec!["dm_mod", "raid1", "vfat", "nls_cp437", "nls_ascii", "xfs"],
        links,
        memory: 256,
        spare: SPARE,
        ..Extra::default()
    })
}

/// A medium: two layers of a few files, and a repository of one. Returns its files and where the machine has them.
async fn medium(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let root = folder.join("medium");
    let put = |path: &str, text: &[u8]| {
        let path = root.join(path);
        let folder = path.parent().context("a file without a folder")?;
        std::fs::create_dir_all(folder)?;
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    };
    let large = vec![0x5a; 24 << 20];
    let base = [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n".as_bytes()),
        ("etc/shadow", b"root:*:19000:0:99999:7:::\n"),
        ("etc/group", b"root:x:0:\nshadow:x:42:\n"),
        ("etc/machine-id", b"11111111111111111111111111111111\n"),
        ("etc/ssh/ssh_host_rsa_key", b"everybody's"),
        ("etc/motd", b"base"),
        ("usr/share/large", &large),
    ];
    let compute = [("usr/share/role", "compute".as_bytes())];
    let layers = vec![
        layer(folder, &root, "base", &base, &[]).await?,
        layer(folder, &root, "compute", &compute, &["etc/motd"]).await?,
    ];
    let package = b"a package".as_slice();
    let list = format!("Package: a\nFilename: pool/a.deb\nSHA256: {}\n", sha256(package));
    let release = format!("Components: main\nSHA256:\n {} {} main/Packages\n", sha256(list.as_bytes()), list.len());
    put("repo/apt/pool/a.deb", package)?;
    put("repo/apt/dists/zstack/main/Packages", list.as_bytes())?;
    put("repo/apt/dists/zstack/InRelease", release.as_bytes())?;
    let manifest = Manifest {
        product: "ZStack".to_owned(),
        version: "0.1.0".to_owned(),
        oldest_upgradable: "0.1.0".to_owned(),
        debian: "13".to_owned(),
        built: 0,
        layers,
        roles: vec![RoleLayers { role: Role::Compute, layers: vec!["base".to_owned(), "compute".to_owned()] }],
        repository: Repository {
            path: "repo/apt".to_owned(),
            bytes: (package.len() + list.len() + release.len()).try_into()?,
            files: 3,
            release: "dists/zstack/InRelease".to_owned(),
            release_sha256: sha256(release.as_bytes()),
        },
    };
    manifest.check()?;
    put(manifest::PATH, &serde_json::to_vec_pretty(&manifest)?)?;
    let names = [
        manifest::PATH,
        "live/base.squashfs",
        "live/compute.squashfs",
        "repo/apt/pool/a.deb",
        "repo/apt/dists/zstack/main/Packages",
        "repo/apt/dists/zstack/InRelease",
    ];
    Ok(names.into_iter().map(|name| (root.join(name), format!("{MEDIUM}/{name}"))).collect())
}

async fn layer(folder: &Path, medium: &Path, name: &str, files: &[(&str, &[u8])], removes: &[&str]) -> Result<Layer> {
    let tree = folder.join(format!("layer-{name}"));
    for (path, text) in files {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().context("a file without a folder")?)?;
        std::fs::write(path, text)?;
    }
    let file = format!("live/{name}.squashfs");
    let path = medium.join(&file);
    std::fs::create_dir_all(path.parent().context("a file without a folder")?)?;
    // Not compressed: that a layer takes its time to unpack is what the cases want.
    let words = ["-quiet", "-no-progress", "-all-root", "-noappend", "-noD", "-noF"];
    Program::new("mksquashfs").arg(&tree).arg(&path).args(words).stdout().await?;
    let bytes = std::fs::read(&path)?;
    Ok(Layer {
        name: name.to_owned(),
        file,
        bytes: bytes.len().try_into()?,
        sha256: sha256(&bytes),
        unpacked_bytes: files.iter().map(|(_, text)| text.len()).sum::<usize>().try_into()?,
        entries: files.len().try_into()?,
        removes: removes.iter().map(|&path| path.to_owned()).collect(),
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
