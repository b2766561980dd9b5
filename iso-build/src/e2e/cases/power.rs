//! Power cuts between every two steps of a change.
//!
//! All that a power cut leaves is the disk. The machine is stopped after each action and its disk is read; it boots once from
//! every disk that is different from those before. Steps in the kernel leave none.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::network::{change, zs};
use crate::e2e::{
    lab::Lab,
    machine::{Files, Machine},
    wait::until,
};

/// More durable actions than any plan of this size has.
const MOST: usize = 100;
/// How long networkd may take after a boot.
const SETTLE: Duration = Duration::from_secs(120);
const JOURNAL: &str = "var/lib/zstack/network/change.json";
const OLD: &str = "zs-network-setting -i ens16 10.9.0.1 255.255.255.0 10.9.0.254";
const NEW: &str = "zs-network-setting --apply /root/wanted.toml --confirm";

/// A card becomes, under another name, a member of a bond with a VLAN with a bridge with the management address. After
/// a power cut at any point the node comes up as it was or as it should be, and takes the change when it is made again.
pub(crate) async fn cuts(lab: &Lab) -> Result<()> {
    // Each looks at every other point.
    let (left, right) = tokio::try_join!(half(lab, "left", 1), half(lab, "right", 2))?;
    let (points, disks) = (left.last.max(right.last), left.disks + right.disks);
    ensure!(points >= 20 && disks >= 10, "the change had only {points} points to cut it at, with {disks} disks");
    lab.note(format!("{points} power cuts, boots from {disks} different disks"));
    Ok(())
}

/// What was tried on one machine.
struct Tried {
    /// The last point that was not the end of the change.
    last: usize,
    /// Disks that it booted from.
    disks: usize,
}

/// Cuts at `first`, `first` + 2 and so on until the change ends before the cut.
async fn half(lab: &Lab, name: &str, first: usize) -> Result<Tried> {
    let node = lab.boot(name, &[None, None]).await?;
    change(&node, OLD).await?;
    let old = state(&node).await?;
    node.power_cycle().await?;
    comes_up(&node, &[&old]).await.context("after the first reboot")?;
    node.write("/root/wanted.toml", wanted(&node).as_bytes()).await?;
    node.save("before").await?;

    node.ok(NEW).await?;
    let new = state(&node).await?;
    node.power_cycle().await?;
    comes_up(&node, &[&new]).await.context("after the change and a reboot")?;
    ensure!(old != new, "the change changed nothing");

    let (mut last, mut disks) = (0, Vec::new());
    for point in (first..MOST).step_by(2) {
        node.restore("before").await?;
        if !halted(&node, point).await? {
            return Ok(Tried { last, disks: disks.len() });
        }
        last = point;
        let disk = without_names(node.freeze().await?);
        if disks.contains(&disk) {
            continue;
        }
        disks.push(disk);
        node.power_cycle().await?;
        comes_up(&node, &[&old, &new]).await.with_context(|| format!("power cut after action {point}"))?;
        let left = node.run(&format!("ls /{JOURNAL}")).await?;
        ensure!(left.code != 0, "power cut after action {point}: the change still waits for something");
    }
    bail!("the change did not end within {MOST} actions")
}

/// Waits until the node is in one of these states: networkd is at work when a boot is over.
async fn comes_up(node: &Machine, states: &[&Value]) -> Result<()> {
    let found = until("the node is as it was or as it should be", SETTLE, async || {
        let now = state(node).await?;
        Ok(states.contains(&&now).then_some(()))
    });
    if let Err(error) = found.await {
        bail!("{error}: it has {:#}\nwhere it could have {:#}", state(node).await?, json!(states));
    }
    Ok(())
}

/// The journal names the process that writes it and what was typed, the point of the cut included.
fn without_names(mut disk: Files) -> Files {
    if let Some(journal) = disk.get_mut(JOURNAL) {
        let text = String::from_utf8_lossy(journal);
        let named = |line: &&str| ["\"id\":", "\"command\":"].iter().any(|key| line.trim_start().starts_with(key));
        *journal = text.lines().filter(|line| !named(line)).collect::<String>().into_bytes();
    }
    disk
}

/// Starts the change and waits until it stands still after that many actions; false when it ends before.
async fn halted(node: &Machine, point: usize) -> Result<bool> {
    let script = format!(
        "({NEW} --halt-after {point} >/run/change.log 2>&1; echo $? >/run/change.code) &\n\
         until [ -e /run/change.code ] || grep -qs '^State:.T' /proc/[0-9]*/status; do usleep 50000; done\n\
         cat /run/change.code 2>/dev/null || echo halted"
    );
    match node.ok(&script).await?.as_str() {
        "halted" => Ok(true),
        "0" => Ok(false),
        code => bail!("the change ended with {code}: {}", node.ok("cat /run/change.log").await?),
    }
}

/// Everything about the node's network that a person would notice.
async fn state(node: &Machine) -> Result<Value> {
    let shown = zs(node, "zs-show-network").await?;
    let interfaces: Result<Vec<Value>> = shown["interfaces"]
        .as_array()
        .context("zs-show-network --json shows no interfaces")?
        .iter()
        .map(|interface| {
            let addresses = interface["addresses"].as_array().into_iter().flatten();
            // What IPv6 gives itself comes and goes with the link.
            let addresses: Vec<&Value> =
                addresses.filter(|address| !address.as_str().unwrap_or_default().starts_with("fe80")).collect();
            let mut kept = json!({ "addresses": addresses });
            for key in ["name", "kind", "permanent_mac", "mtu", "up", "master", "managed", "management"] {
                kept[key] = interface[key].clone();
            }
            Ok(kept)
        })
        .collect();
    let mut interfaces = interfaces?;
    interfaces.sort_by_key(|interface| interface["name"].to_string());
    let files = node.ok("cd /etc/systemd/network && for file in *; do echo \"== $file\"; cat $file; done").await?;
    let routes = node.ok("ip -4 route show | sort").await?;
    Ok(json!({ "interfaces": interfaces, "bonds": shown["bonds"], "files": files, "routes": routes }))
}

fn wanted(node: &Machine) -> String {
    format!(
        "management = \"br0\"\n\
         [links.em01]\n\
         kind.nic = {{ mac = \"{}\" }}\n\
         [links.ens17]\n\
         kind.nic = {{ mac = \"{}\" }}\n\
         [links.bond0]\n\
         kind.bond = {{ mode = \"active-backup\", members = [\"em01\", \"ens17\"] }}\n\
         [links.\"bond0.10\"]\n\
         kind.vlan = {{ parent = \"bond0\", id = 10 }}\n\
         [links.br0]\n\
         kind.bridge = {{ ports = [\"bond0.10\"] }}\n\
         ip = {{ addresses = [\"10.9.0.1/24\"], routes = [{{ to = \"0.0.0.0/0\", via = \"10.9.0.254\" }}] }}\n",
        node.mac(0),
        node.mac(1)
    )
}
