//! The plan as people read it before they agree.

use std::fmt;

use super::InstallPlan;
use crate::{
    answers::{End, Format, TableKind},
    facts::Firmware,
    size::Size,
};

impl fmt::Display for InstallPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} node", self.product, self.role)?;
        self.erased(f)?;
        for warning in &self.warnings {
            writeln!(f, "note: {warning}")?;
        }
        self.tables(f)?;
        let system = &self.system;
        writeln!(f, "system: host name {}, time zone {}", system.host_name, system.time_zone)?;
        if !system.ntp.is_empty() {
            writeln!(f, "  time servers: {}", system.ntp.join(", "))?;
        }
        writeln!(f, "  language {}, keyboard {}", system.language.word(), system.keyboard)?;
        let password = if self.login.password { "a password" } else { "no password" };
        writeln!(f, "  root: {password}, SSH keys: {}", self.login.ssh_keys.len())?;
        self.net(f)?;
        let firmware = match self.boot.firmware {
            Firmware::Bios => "BIOS",
            Firmware::Uefi => "UEFI",
        };
        writeln!(f, "boot: {firmware}, kernel arguments {}", self.boot.arguments.join(" "))?;
        if let Some(join) = &self.join {
            let how = if join.code { " by itself, with a one-time code" } else { "" };
            writeln!(f, "joins the cloud of {}{how}", join.address)?;
        }
        let steps: Vec<String> = self.steps().iter().map(|step| step.id.to_string()).collect();
        writeln!(f, "steps: {}", steps.join(", "))?;
        let end = match self.end {
            End::Reboot => "reboot",
            End::Poweroff => "power off",
            End::Wait => "wait",
        };
        writeln!(f, "then: {end}")
    }
}

impl InstallPlan {
    fn erased(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for erased in &self.erases {
            let words = [Some(erased.model.as_str()), erased.serial.as_deref()];
            let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
            let named = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
            writeln!(f, "ERASES {}{named}, {}", erased.disk, Size(erased.bytes))?;
            for line in &erased.lost {
                writeln!(f, "  lost: {line}")?;
            }
            if erased.lost.is_empty() {
                writeln!(f, "  nothing was found on it")?;
            }
        }
        Ok(())
    }

    fn tables(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.storage.tables {
            let kind = match table.kind {
                TableKind::Gpt => "GPT",
                TableKind::Mbr => "MBR",
            };
            writeln!(f, "disk {} ({kind})", table.disk)?;
            for part in &table.partitions {
                let at = part.mount.as_deref().unwrap_or("-");
                let (word, size) = (part.format.word(), Size(part.bytes));
                writeln!(f, "  {} {word:<9} {at:<10} {size} from {}", part.number, Size(part.start))?;
            }
        }
        if let Some(group) = &self.storage.group {
            writeln!(f, "volume group {} on {}, {}", group.name, group.members.join(" "), Size(group.bytes))?;
            for volume in &group.volumes {
                let at = volume.mount.as_deref().unwrap_or("-");
                writeln!(f, "  {:<6} {:<5} {at:<10} {}", volume.name, volume.format.word(), Size(volume.bytes))?;
            }
            writeln!(f, "  free for snapshots: {}", Size(group.free()))?;
        }
        let swap = self.storage.file_systems().iter().any(|fs| fs.format == Format::Swap);
        if !swap {
            writeln!(f, "no swap space")?;
        }
        Ok(())
    }

    fn net(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.network.management {
            Some(name) => writeln!(f, "network: management on {name}")?,
            None => writeln!(f, "network: none yet")?,
        }
        for (name, link) in &self.network.links {
            let mut words = vec![link.kind.word().to_owned()];
            let needs: Vec<&str> = link.needs().collect();
            if !needs.is_empty() {
                words.push(format!("on {}", needs.join(" ")));
            }
            if !link.ip.dhcp.is_off() {
                words.push("DHCP".to_owned());
            }
            words.extend(link.ip.addresses.iter().map(ToString::to_string));
            words.extend(link.ip.routes.iter().filter_map(|route| Some(format!("router {}", route.via?))));
            words.extend(link.ip.dns.iter().map(|dns| format!("DNS {dns}")));
            writeln!(f, "  {name}: {}", words.join(", "))?;
        }
        Ok(())
    }
}
