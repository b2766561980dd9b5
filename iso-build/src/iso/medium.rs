//! The medium itself: one image that boots from CD and from USB, by BIOS and by UEFI, with Debian's signed loaders where
//! Secure Boot asks for them (OS-USB-001, OS-USB-002).

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use installer_plan::manifest::{self, Manifest};

use super::{
    dnf,
    layers::{Made, digest},
    repository,
};
use crate::{checksums, program::Program};

const MENU: &str = include_str!("grub.cfg");
/// Name of the file system (ISO 9660: at most 32 capitals).
const LABEL: &str = "ZSTACK";
/// Modules that GRUB needs until it can read its others from the medium.
const CORE: [&str; 9] =
    ["biosdisk", "iso9660", "part_gpt", "part_msdos", "fat", "search", "search_fs_file", "normal", "configfile"];
/// Longest reading or writing of the medium on a slow machine.
const WRITE: Duration = Duration::from_secs(1200);
/// Size of the EFI system partition in KiB.
const ESP_KIB: u64 = 8 * 1024;

/// What goes onto the medium.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    pub(super) manifest: &'a Manifest,
    /// Every layer; kernel and boot loaders are taken from the first.
    pub(super) layers: &'a [Made],
    /// Names of the layers of the live system, the lowest first.
    pub(super) live: &'a [&'a str],
    pub(super) repository: &'a Path,
    /// The repository for hosts of the RHEL family.
    pub(super) dnf: &'a Path,
    pub(super) epoch: u64,
}

/// Puts the files of the medium below `tree`, as links where that is possible.
pub(super) fn lay_out(tree: &Path, contents: &Contents<'_>) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("{} cannot be removed", tree.display()))?;
    }
    let base = contents.layers.first().context("a medium without layers")?;
    for folder in ["live", "zstack", ".disk", "boot/grub", "repo"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    for layer in contents.layers {
        symlink(layer.packed(), tree.join(format!("live/{}.squashfs", layer.name)))?;
    }
    let list: String = contents.live.iter().map(|name| format!("{name}.squashfs\n")).collect();
    fs::write(tree.join("live/filesystem.module"), list)?;
    symlink(newest(&base.tree().join("boot"), "vmlinuz-")?, tree.join("live/vmlinuz"))?;
    symlink(newest(&base.tree().join("boot"), "initrd.img-")?, tree.join("live/initrd"))?;
    symlink(contents.repository, tree.join(repository::PATH))?;
    symlink(contents.dnf, tree.join(dnf::PATH))?;
    let manifest = contents.manifest;
    fs::write(tree.join(manifest::PATH), serde_json::to_vec_pretty(manifest)?)?;
    fs::write(tree.join(".disk/info"), format!("{} {}\n", manifest.product, manifest.version))?;
    let menu = MENU.replace("@PRODUCT@", &manifest.product).replace("@VERSION@", &manifest.version);
    fs::write(tree.join("boot/grub/grub.cfg"), menu)?;
    let modules = base.tree().join("usr/lib/grub/i386-pc");
    fs::create_dir_all(tree.join("boot/grub/i386-pc"))?;
    for entry in fs::read_dir(&modules).with_context(|| format!("{} is missing", modules.display()))? {
        let path = entry?.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if let (true, Some(name)) = (["mod", "lst"].contains(&kind), path.file_name()) {
            symlink(&path, tree.join("boot/grub/i386-pc").join(name))?;
        }
    }
    Ok(())
}

/// Writes the image, and its checksums beside it (OS-ISO-007).
pub(super) async fn write(tree: &Path, contents: &Contents<'_>, work: &Path, image: &Path) -> Result<()> {
    let base = contents.layers.first().context("a medium without layers")?;
    let core = tree.join("boot/grub/eltorito.img");
    let mkimage = Program::new("chroot").arg(base.tree()).args(["grub-mkimage", "--format", "i386-pc-eltorito"]);
    let mkimage = mkimage.args(["--prefix", "/boot/grub", "--output", "/tmp/eltorito.img"]).args(CORE);
    mkimage.stdout().await.context("GRUB cannot be made")?;
    let menu = base.tree().join("tmp/grub.cfg");
    fs::copy(tree.join("boot/grub/grub.cfg"), &menu)?;
    let check = Program::new("chroot").arg(base.tree()).args(["grub-script-check", "/tmp/grub.cfg"]);
    check.stdout().await.context("GRUB does not understand the boot menu")?;
    fs::remove_file(&menu)?;
    let made = base.tree().join("tmp/eltorito.img");
    fs::copy(&made, &core)?;
    fs::remove_file(&made)?;
    let esp = esp(&base.tree(), work, contents.epoch).await?;
    checksums(tree)?;
    // Everything as old as its sources: the image must not tell when it was made.
    let time = format!("@{}", contents.epoch);
    let date = Program::new("date").args(["--utc", "+%Y%m%d%H%M%S00", "--date", &time]).stdout().await?;
    let mut xorriso = Program::new("xorriso").args(["-as", "mkisofs", "-follow-links", "-iso-level", "3", "-r", "-J"]);
    xorriso = xorriso.args(["-joliet-long", "-V", LABEL, "-quiet", "-o"]).arg(image);
    xorriso = xorriso.arg(format!("--modification-date={}", date.trim())).args(["--set_all_file_dates", date.trim()]);
    xorriso = xorriso.env("SOURCE_DATE_EPOCH", contents.epoch.to_string());
    xorriso =
        xorriso.args(["-b", "boot/grub/eltorito.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]);
    xorriso = xorriso
        .arg("--grub2-boot-info")
        .arg("--grub2-mbr")
        .arg(base.tree().join("usr/lib/grub/i386-pc/boot_hybrid.img"));
    xorriso = xorriso.args(["-append_partition", "2", "0xef"]).arg(&esp).arg("-appended_part_as_gpt");
    xorriso = xorriso.args(["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]);
    xorriso.arg(tree).deadline(WRITE).stdout().await.context("the image cannot be written")?;
    checksums::beside(image).await
}

/// The EFI system partition: Microsoft's firmware trusts shim, shim trusts Debian's GRUB, and that finds the menu on the
/// medium.
async fn esp(base: &Path, work: &Path, epoch: u64) -> Result<PathBuf> {
    let image = work.join("esp.img");
    let file = fs::File::create(&image).with_context(|| format!("{} cannot be created", image.display()))?;
    file.set_len(ESP_KIB * 1024)?;
    drop(file);
    let sectors = (ESP_KIB * 2).to_string();
    let run = |program: &str| Program::new(program).arg("-i").arg(&image).env("SOURCE_DATE_EPOCH", epoch.to_string());
    run("mformat")
        .args(["-N", "5a53544b", "-T", &sectors, "::"])
        .stdout()
        .await
        .context("mtools cannot make a file system")?;
    run("mmd").args(["::/EFI", "::/EFI/BOOT"]).stdout().await?;
    let signed = base.join("usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed");
    let shim = base.join("usr/lib/shim");
    let files = [
        (shim.join("shimx64.efi.signed"), "BOOTX64.EFI"),
        (shim.join("mmx64.efi.signed"), "MMX64.EFI"),
        (signed, "GRUBX64.EFI"),
    ];
    for (from, name) in files {
        ensure!(from.is_file(), "{} is missing in the lowest layer", from.display());
        let copy = work.join(name);
        fs::copy(&from, &copy)?;
        let time = std::time::UNIX_EPOCH + Duration::from_secs(epoch);
        fs::File::options().write(true).open(&copy)?.set_modified(time)?;
        run("mcopy").arg("-m").arg(&copy).arg(format!("::/EFI/BOOT/{name}")).stdout().await?;
    }
    Ok(image)
}

/// `sha256sum.txt` of everything: what `zstack-installer verify` reads, and any `sha256sum -c`.
fn checksums(tree: &Path) -> Result<()> {
    let mut lines = Vec::new();
    let mut open = vec![tree.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if fs::metadata(&path)?.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(tree)?.to_str().context("a file name is not UTF-8")?.to_owned();
            // The boot information table is written into it afterwards.
            if name != "boot/grub/eltorito.img" {
                lines.push(format!("{}  ./{name}\n", digest(&path)?.1));
            }
        }
    }
    lines.sort_by(|a, b| a[66..].cmp(&b[66..]));
    fs::write(tree.join("sha256sum.txt"), lines.concat())?;
    Ok(())
}

/// The newest file with this prefix.
fn newest(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let names = entries.flatten().map(|entry| entry.path());
    let found = names
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix)));
    found.max().with_context(|| format!("{} has no {prefix}*", folder.display()))
}
