//! What must hold between the commands of a file.

use std::collections::BTreeMap;

use crate::{commands::Command, document::Item, problem::Report};

/// Ways to divide disks, and images to install, that cannot be combined: none of the left with any of the right.
const APART: [(&[&str], &[&str]); 4] = [
    (&["autopart"], &["part", "raid", "volgroup", "logvol", "reqpart"]),
    (&["mount"], &["autopart", "part", "raid", "volgroup", "logvol", "reqpart"]),
    (&["ostreesetup"], &["ostreecontainer", "bootc"]),
    (&["ostreecontainer"], &["bootc"]),
];

/// Reports commands that contradict others, at their lines.
pub(crate) fn check(items: &[Item], lines: &[usize], report: &mut Report) {
    let mut seen: Vec<(&str, usize)> = Vec::new();
    let mut named: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (item, line) in items.iter().zip(lines) {
        let Item::Command(command) = item else { continue };
        if matches!(command, Command::Ignored(_)) {
            continue;
        }
        report.line = *line;
        let word = command.word();
        for (one, others) in APART {
            let rivals = if one.contains(&word) { others } else { one };
            if !one.contains(&word) && !others.contains(&word) {
                continue;
            }
            if let Some((rival, at)) = seen.iter().find(|(earlier, _)| rivals.contains(earlier)) {
                report.error(1, format!("{word} cannot be combined with {rival} (line {at}): remove one of them."));
                break;
            }
        }
        if let Some((kind, name)) = identity(command) {
            let shown = if name.is_empty() { "without a name".to_owned() } else { format!("`{name}`") };
            match named.get(&(kind, name.clone())) {
                Some(at) => {
                    report.error(1, format!("there is a {kind} {shown} already (line {at}): remove one of them."));
                }
                None => {
                    named.insert((kind, name), *line);
                }
            }
        }
        seen.push((word, *line));
    }
}

/// What distinguishes a command from others of its kind, where there must not be two that are the same.
fn identity(command: &Command) -> Option<(&'static str, String)> {
    match command {
        Command::Network(network) => Some(("network of device", network.device.clone().unwrap_or_default())),
        Command::User(user) => Some(("user", user.name.clone())),
        Command::Group(group) => Some(("group", group.name.clone())),
        Command::Sshkey(key) => Some(("sshkey of user", key.username.clone())),
        Command::Sshpw(account) => Some(("sshpw of user", account.username.clone())),
        Command::Repo(repo) => Some(("repo", repo.name.clone())),
        Command::Part(part) if part.mountpoint.as_str() == "swap" => None,
        Command::Part(part) => Some(("part for", part.mountpoint.as_str().to_owned())),
        Command::Raid(raid) => Some(("raid", raid.identity().to_owned())),
        Command::Volgroup(group) => Some(("volgroup", group.name.clone())),
        Command::Logvol(volume) => Some(("logvol", format!("{}/{}", volume.vgname, volume.name))),
        Command::Btrfs(volume) => Some(("btrfs for", volume.mountpoint.as_str().to_owned())),
        Command::Fcoe(fcoe) => Some(("fcoe for", fcoe.nic.clone())),
        Command::Zfcp(disk) => {
            let parts = [Some(disk.devnum.as_str()), disk.wwpn.as_deref(), disk.fcplun.as_deref()];
            Some(("zfcp", parts.into_iter().flatten().collect::<Vec<_>>().join(" ")))
        }
        Command::Snapshot(snapshot) => Some(("snapshot", snapshot.name.clone())),
        _ => None,
    }
}
