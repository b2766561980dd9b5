//! The boot loader: GRUB for BIOS, signed shim and GRUB for UEFI, so that machines with Secure Boot start too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use installer_plan::{answers::Format, facts::Firmware, storage::Table};

use super::Installation;
use crate::tool::{Error, Result, run};

/// Name of the firmware's entry.
const ENTRY: &str = "ZStack";
const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";
const GRUB: &str = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed";
/// Manages keys of the owner; there in newer releases.
const KEYS: &str = "/usr/lib/shim/mmx64.efi.signed";
const MODULES: &str = "/usr/lib/grub/x86_64-efi";

impl Installation {
    pub(super) async fn boot(&self) -> Result<()> {
        let boot = &self.plan.boot;
        self.put("/etc/default/grub.d/zstack.cfg", &settings(&boot.arguments, boot.serial.as_deref()), 0o644)?;
        self.share().await?;
        let done = async {
            match boot.firmware {
                Firmware::Bios => self.bios().await?,
                Firmware::Uefi => self.uefi().await?,
            }
            self.inside("grub-mkconfig", &["-o", "/boot/grub/grub.cfg"]).await
        };
        let done = done.await;
        self.unshare().await?;
        done?;
        let menu = self.at("/boot/grub/grub.cfg");
        let text = crate::tool::read(&menu)?;
        if !text.lines().any(|line| line.trim_start().starts_with("linux")) {
            let text = "the boot menu has no kernel: the medium's base layer lacks /boot/vmlinuz-*".to_owned();
            return Err(Error::Wrong(text));
        }
        Ok(())
    }

    async fn bios(&self) -> Result<()> {
        for disk in self.plan.storage.tables.iter().filter(|table| starts_from(table)).map(|table| &table.disk) {
            self.inside("grub-install", &["--target=i386-pc", "--recheck", disk]).await?;
        }
        Ok(())
    }

    async fn uefi(&self) -> Result<()> {
        let uuid = self.uuid_of_boot().await?;
        let esp = self.at("/boot/efi/EFI");
        // The first is what the entry names; the second is started by firmware that has forgotten its entries.
        for (folder, shim) in [("debian", "shimx64.efi"), ("BOOT", "BOOTX64.EFI")] {
            let folder = esp.join(folder);
            fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
            self.copy_into(SHIM, &folder.join(shim))?;
            self.copy_into(GRUB, &folder.join("grubx64.efi"))?;
            if self.at(KEYS).exists() {
                self.copy_into(KEYS, &folder.join("mmx64.efi"))?;
            }
        }
        let own = self.plan.storage.file_systems().iter().any(|fs| fs.mount.as_deref() == Some("/boot"));
        let folder = if own { "/grub" } else { "/boot/grub" };
        // Debian's signed GRUB looks for this file beside itself.
        let text = format!("search.fs_uuid {uuid} root\nset prefix=($root)'{folder}'\nconfigfile $prefix/grub.cfg\n");
        self.put("/boot/efi/EFI/debian/grub.cfg", &text, 0o644)?;
        self.copy_modules()?;
        self.entry().await;
        Ok(())
    }

    /// GRUB loads them where Secure Boot does not forbid it.
    fn copy_modules(&self) -> Result<()> {
        let (from, to) = (self.at(MODULES), self.at("/boot/grub/x86_64-efi"));
        fs::create_dir_all(&to).map_err(Error::file(&to))?;
        for entry in fs::read_dir(&from).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "mod" || ending == "lst") {
                fs::copy(&path, to.join(entry.file_name())).map_err(Error::file(&path))?;
            }
        }
        Ok(())
    }

    fn copy_into(&self, from: &str, to: &Path) -> Result<()> {
        let from: PathBuf = self.at(from);
        fs::copy(&from, to).map(drop).map_err(Error::file(&from))
    }

    async fn uuid_of_boot(&self) -> Result<String> {
        let all = self.plan.storage.file_systems();
        let boot = all.iter().rfind(|fs| matches!(fs.mount.as_deref(), Some("/boot" | "/")));
        let boot = boot.ok_or_else(|| Error::Wrong("the plan mounts nothing at /".into()))?;
        let uuid = run("blkid", &["--probe", "--match-tag", "UUID", "--output", "value", &boot.device]).await?;
        Ok(uuid.trim().to_owned())
    }

    /// The firmware's entry. Firmware that takes none starts the fallback.
    async fn entry(&self) {
        let known = run("efibootmgr", &[]).await.unwrap_or_default();
        for number in entries(&known) {
            self.attempt("efibootmgr", &["--quiet", "--bootnum", &number, "--delete-bootnum"]).await;
        }
        for table in &self.plan.storage.tables {
            let Some((_, number)) = table.esp() else { continue };
            let number = number.to_string();
            let words = ["--quiet", "--create", "--disk", &table.disk, "--part", &number, "--label", ENTRY];
            let loader = ["--loader", "\\EFI\\debian\\shimx64.efi"];
            self.attempt("efibootmgr", &[&words[..], &loader].concat()).await;
        }
    }
}

/// GRUB goes where its files are, and where there is room for it.
fn starts_from(table: &Table) -> bool {
    let parts = &table.partitions;
    parts.iter().any(|part| part.format == Format::BiosBoot || matches!(part.mount.as_deref(), Some("/boot" | "/")))
}

/// Numbers of entries that an earlier installation made.
fn entries(listing: &str) -> Vec<String> {
    let own = |line: &str| {
        let (number, rest) = line.strip_prefix("Boot")?.split_at_checked(4)?;
        let name = rest.trim_start_matches('*').trim_start().split('\t').next()?.trim();
        (name == ENTRY && number.bytes().all(|b| b.is_ascii_hexdigit())).then(|| number.to_owned())
    };
    listing.lines().filter_map(own).collect()
}

/// What GRUB is told. A kernel that fails while it starts, before sysctl.d(5) is read, starts its node anew, too.
fn settings(arguments: &[String], serial: Option<&str>) -> String {
    let mut text = format!(
        "# Written by the installer.\nGRUB_DISTRIBUTOR=\"ZStack\"\nGRUB_TIMEOUT=5\nGRUB_DISABLE_OS_PROBER=true\n\
         GRUB_CMDLINE_LINUX_DEFAULT=\"quiet oops=panic panic=10\"\nGRUB_CMDLINE_LINUX=\"{}\"\n",
        arguments.join(" ")
    );
    if let Some((line, speed)) = serial.and_then(|serial| {
        let (line, options) = serial.split_once(',').unwrap_or((serial, "115200"));
        let speed: String = options.chars().take_while(char::is_ascii_digit).collect();
        Some((line.strip_prefix("ttyS")?.parse::<u8>().ok()?, speed))
    }) {
        let speed = if speed.is_empty() { "115200" } else { &speed };
        text.push_str("GRUB_TERMINAL=\"console serial\"\n");
        text.push_str(&format!("GRUB_SERIAL_COMMAND=\"serial --unit={line} --speed={speed}\"\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_line_is_told_to_menu_and_kernel() {
        let arguments = ["console=tty0".to_owned(), "console=ttyS1,57600n8".to_owned()];
        let text = settings(&arguments, Some("ttyS1,57600n8"));
        assert!(text.contains("GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS1,57600n8\"\n"), "{text}");
        assert!(text.contains("DEFAULT=\"quiet oops=panic panic=10\"\n"), "{text}");
        assert!(text.contains("serial --unit=1 --speed=57600\""), "{text}");
        assert!(!settings(&arguments, None).contains("GRUB_TERMINAL"));
        assert!(!settings(&arguments, Some("hvc0")).contains("GRUB_TERMINAL"));
    }

    #[test]
    fn only_our_own_entries_are_replaced() {
        let listing = "BootCurrent: 0001\nBootOrder: 0001,0000\nBoot0000* ZStack\tHD(1,GPT)\nBoot0001* UEFI QEMU\tPciRoot\n\
             Boot000A  ZStack\tHD(2,GPT)\nBoot000B* ZStack Lab\tHD\n";
        assert_eq!(entries(listing), ["0000", "000A"]);
    }
}
