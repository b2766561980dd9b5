//! The logs of a node (OPS-LOG), packed for those who look for a cause: what is taken, what is left out, and the folder in
//! which those of several nodes come together. The agent packs its host, the management service and `zstack-ctl` their
//! own node.

mod folder;
mod pack;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hostcmd::Cmd;
use serde::{Deserialize, Serialize};

pub use folder::{Folder, Part};
pub use pack::{Archive, Limits};

/// Units whose journal is taken.
const UNITS: [&str; 6] = [
    "mn-service.service",
    "node-manager.service",
    "libvirtd.service",
    "virtqemud.service",
    "systemd-networkd.service",
    "mariadb.service",
];
/// A program that has not answered by then is left out.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time that is looked at; in milliseconds since 1970, open where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Nothing older.
    pub since_ms: Option<i64>,
    /// Nothing newer; log files that were written later are taken whole all the same.
    pub until_ms: Option<i64>,
}

/// Where the logs of a node are.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Name in the archive, and the file or folder it comes from.
    pub trees: Vec<(String, PathBuf)>,
}

impl Sources {
    /// Those of a host whose agent keeps its state in `data_dir`.
    pub fn of_host(data_dir: &Path) -> Self {
        let tree = |name: &str, path: PathBuf| (name.to_owned(), path);
        Self {
            trees: vec![
                tree("log/zstack", PathBuf::from("/var/log/zstack")),
                tree("log/libvirt/qemu", PathBuf::from("/var/log/libvirt/qemu")),
                tree("dnsmasq", data_dir.join("dnsmasq")),
                tree("network", PathBuf::from("/etc/systemd/network")),
            ],
        }
    }

    /// Those of a management node with its data in `data_dir`.
    pub fn of_management(data_dir: &Path) -> Self {
        let mut sources = Self::of_host(data_dir);
        sources.trees.push(("log/mn-service.log".to_owned(), data_dir.join("mn-service.log")));
        sources
    }
}

/// What this node is called in a collection.
pub fn own_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("management-{}", name.trim())
}

/// Packs the logs of this node into `folder` and unpacks them there; the archive's bytes.
///
/// # Errors
/// The file system refuses.
pub async fn collect(folder: &Folder, name: &str, sources: &Sources, window: Window) -> io::Result<u64> {
    let texts = words(window).await;
    let (folder, name, sources) = (folder.clone(), name.to_owned(), sources.clone());
    let packing = tokio::task::spawn_blocking(move || {
        let mut archive = Archive::new(std::fs::File::create(folder.archive(&name))?, Limits::default());
        for (name, text) in texts {
            archive.text(&name, &text)?;
        }
        archive.files(&sources, window)?;
        archive.finish()?;
        folder.unpack(&name)
    });
    packing.await.map_err(io::Error::other)?
}

/// What programs say of the node: a name for it, and their words. Programs that the node does not have are left out.
pub async fn words(window: Window) -> Vec<(String, String)> {
    let mut journal = Cmd::new("journalctl").args(["--no-pager", "-o", "short-iso"]);
    for unit in UNITS {
        journal = journal.args(["-u", unit]);
    }
    for (option, time) in [("--since", window.since_ms), ("--until", window.until_ms)] {
        if let Some(time) = time {
            journal = journal.arg(option).arg(format!("@{}", time.div_euclid(1000)));
        }
    }
    let commands = [
        ("journal.log", journal),
        ("dmesg.log", Cmd::new("dmesg").arg("-T")),
        ("addresses.txt", Cmd::new("ip").args(["-d", "address"])),
        ("routes.txt", Cmd::new("ip").args(["route", "show", "table", "all"])),
        ("bridges.txt", Cmd::new("bridge").arg("link")),
        ("disks.txt", Cmd::new("df").arg("-h")),
        ("memory.txt", Cmd::new("free").arg("-m")),
    ];
    let mut words = Vec::new();
    for (name, command) in commands {
        let text = match command.limit(PATIENCE).run().await {
            Ok(output) => output.stdout,
            Err(hostcmd::Error::Start { .. }) => continue,
            Err(error) => format!("{error}\n"),
        };
        words.push((name.to_owned(), text));
    }
    words
}
