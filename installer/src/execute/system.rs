//! Names, time, languages, the mount table, and what first boot needs to know.

use std::fmt::Write as _;

use installer_plan::answers::{Format, Language};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Installation;
use crate::tool::{Error, Result, run};

/// A line of `/etc/fstab`.
struct Mounted {
    uuid: String,
    mount: Option<String>,
    format: Format,
}

/// What first boot needs: no passwords, no keys.
#[derive(Serialize)]
struct Installed<'a> {
    role: &'a str,
    product: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    management_link: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    join: Option<&'a str>,
    language: &'a str,
}

/// Where `node-manager join` finds the cloud to join.
const JOIN: &str = "/etc/zstack/join.toml";

#[derive(Serialize)]
struct Join<'a> {
    address: &'a str,
    code: &'a str,
}

impl Installation {
    pub(super) async fn system(&self) -> Result<()> {
        let mut mounts = Vec::new();
        for fs in self.plan.storage.file_systems() {
            let uuid = run("blkid", &["--probe", "--match-tag", "UUID", "--output", "value", &fs.device]).await?;
            let uuid = uuid.trim().to_owned();
            if uuid.is_empty() {
                return Err(Error::Wrong(format!("{} has no UUID, although it was just formatted", fs.device)));
            }
            mounts.push(Mounted { uuid, mount: fs.mount, format: fs.format });
        }
        self.put("/etc/fstab", &fstab(&mounts), 0o644)?;
        self.identity()?;
        self.language()?;
        self.time()?;
        let plan = &self.plan;
        let installed = Installed {
            role: plan.role.word(),
            product: &plan.product,
            management_link: plan.network.management.as_deref(),
            join: plan.join.as_ref().map(|join| join.address.as_str()),
            language: plan.system.language.word(),
        };
        let text = toml::to_string(&installed).map_err(|cause| Error::Wrong(cause.to_string()))?;
        self.put("/etc/zstack/install.toml", &text, 0o600)?;
        self.join()
    }

    /// What zstack-join.service reads once, in a file of its own that goes when the node has joined.
    fn join(&self) -> Result<()> {
        let (Some(join), Some(code)) = (&self.plan.join, &self.secrets.join_code) else { return self.remove(JOIN) };
        let file = Join { address: &join.address, code };
        let text = toml::to_string(&file).map_err(|cause| Error::Wrong(cause.to_string()))?;
        self.put(JOIN, &Zeroizing::new(text), 0o600)
    }

    /// What must differ between nodes is not what the layers brought.
    fn identity(&self) -> Result<()> {
        let name = &self.plan.system.host_name;
        self.put("/etc/hostname", &format!("{name}\n"), 0o644)?;
        self.put("/etc/hosts", &hosts(name), 0o644)?;
        // An empty file is filled at boot; with no file at all systemd would set every unit back to its preset.
        self.put("/etc/machine-id", "", 0o444)?;
        self.remove("/var/lib/dbus/machine-id")?;
        self.remove("/var/lib/systemd/random-seed")?;
        // A unit of the base layer makes new keys at first boot.
        let ssh = self.at("/etc/ssh");
        for entry in std::fs::read_dir(&ssh).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("ssh_host_") {
                self.remove(&format!("/etc/ssh/{name}"))?;
            }
        }
        Ok(())
    }

    fn language(&self) -> Result<()> {
        let system = &self.plan.system;
        let locale = match system.language {
            Language::English => "LANG=en_US.UTF-8\n",
            Language::Chinese => "LANG=zh_CN.UTF-8\n",
        };
        self.put("/etc/locale.conf", locale, 0o644)?;
        self.link("/etc/default/locale", "../locale.conf")?;
        let keyboard = format!(
            "XKBMODEL=\"pc105\"\nXKBLAYOUT=\"{}\"\nXKBVARIANT=\"\"\nXKBOPTIONS=\"\"\nBACKSPACE=\"guess\"\n",
            system.keyboard
        );
        self.put("/etc/default/keyboard", &keyboard, 0o644)?;
        self.link("/etc/vconsole.conf", "default/keyboard")
    }

    fn time(&self) -> Result<()> {
        let system = &self.plan.system;
        self.link("/etc/localtime", &format!("/usr/share/zoneinfo/{}", system.time_zone))?;
        self.put("/etc/timezone", &format!("{}\n", system.time_zone), 0o644)?;
        if !system.ntp.is_empty() {
            let servers: String = system.ntp.iter().map(|server| format!("server {server} iburst\n")).collect();
            self.put("/etc/chrony/sources.d/zstack.sources", &servers, 0o644)?;
        }
        Ok(())
    }
}

fn fstab(mounts: &[Mounted]) -> String {
    let mut text = "# Written by the installer. systemd mounts what is named here; see fstab(5).\n".to_owned();
    for Mounted { uuid, mount, format } in mounts {
        let (at, options, check) = match (mount.as_deref(), format) {
            (_, Format::Swap) => ("none", "sw", 0),
            (Some("/boot/efi"), _) => ("/boot/efi", "umask=0077", 1),
            (Some("/"), Format::Ext4) => ("/", "errors=remount-ro", 1),
            (Some("/"), _) => ("/", "defaults", 0),
            (Some(mount), Format::Ext4) => (mount, "defaults", 2),
            (Some(mount), _) => (mount, "defaults", 0),
            (None, _) => continue,
        };
        // Writing to a string cannot fail; the result only says so in its type.
        let _ = writeln!(text, "UUID={uuid} {at} {} {options} 0 {check}", format.word());
    }
    text
}

fn hosts(name: &str) -> String {
    let short = name.split('.').next().unwrap_or(name);
    let names = if short == name { name.to_owned() } else { format!("{name} {short}") };
    format!(
        "127.0.0.1 localhost\n127.0.1.1 {names}\n\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_mounted_by_uuid() {
        let mounted = |uuid: &str, mount: Option<&str>, format| Mounted {
            uuid: uuid.to_owned(),
            mount: mount.map(str::to_owned),
            format,
        };
        let text = fstab(&[
            mounted("r", Some("/"), Format::Ext4),
            mounted("b", Some("/boot"), Format::Ext4),
            mounted("E", Some("/boot/efi"), Format::Vfat),
            mounted("d", Some("/var"), Format::Xfs),
            mounted("s", None, Format::Swap),
        ]);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "UUID=r / ext4 errors=remount-ro 0 1",
                "UUID=b /boot ext4 defaults 0 2",
                "UUID=E /boot/efi vfat umask=0077 0 1",
                "UUID=d /var xfs defaults 0 0",
                "UUID=s none swap sw 0 0",
            ]
        );
    }

    #[test]
    fn the_node_knows_its_own_name() {
        assert!(hosts("c1.example").contains("127.0.1.1 c1.example c1\n"));
        assert!(hosts("mn").contains("127.0.1.1 mn\n"));
    }
}
