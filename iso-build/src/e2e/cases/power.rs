//! Power cuts between every two steps of a change.
//!
//! All that a power cut leaves is the disk. The machine stands still after each action of one change, its disk is read, and
//! kept where it is different from those before; then it boots once from every disk. Steps in the kernel leave none.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

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
    let disks = Disks::default();
    let (left, right) = tokio::try_join!(half(lab, "left", 1, &disks), half(lab, "right", 2, &disks))?;
    let (points, disks) = (left.max(right), disks.seen());
    ensure!(points >= 20 && disks >= 10, "the change had only {points} points to cut it at, with {disks} disks");
    lab.note(format!("{points} power cuts, boots from {disks} different disks"));
    Ok(())
}

/// Disks that a machine has booted from. The two machines differ in the hardware addresses of their cards only.
#[derive(Debug, Default)]
struct Disks(Mutex<Vec<Files>>);

impl Disks {
    /// Whether nobody has booted from it so far; from now on somebody has.
    fn is_new(&self, disk: Files) -> bool {
        let mut disks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = !disks.contains(&disk);
        if new {
            disks.push(disk);
        }
        new
    }

    fn seen(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Cuts at `first`, `first` + 2 and so on until the change ends. Returns the last point before its end.
async fn half(lab: &Lab, name: &str, first: usize, disks: &Disks) -> Result<usize> {
    let node = lab.boot(name, &[None, None]).await?;
    change(&node, OLD).await?;
    let old = state(&node).await?;
    node.power_cycle().await?;
    comes_up(&node, &[&old]).await.context("after the first reboot")?;
    node.write("/root/wanted.toml", wanted(&node).as_bytes()).await?;
    let (last, kept) = stopped_again_and_again(&node, first, disks).await?;

    let new = state(&node).await?;
    ensure!(old != new, "the change changed nothing");
    node.power_cycle().await?;
    comes_up(&node, &[&new]).await.context("after the change and a reboot")?;
    for (point, disk) in kept {
        node.power_cycle_with(&disk).await?;
        comes_up(&node, &[&old, &new]).await.with_context(|| format!("power cut after action {point}"))?;
        let left = node.run(&format!("ls /{JOURNAL}")).await?;
        ensure!(left.code != 0, "power cut after action {point}: the change still waits for something");
    }
    Ok(last)
}

/// Makes the change, which stands still after each action. Returns how many there were, and the disks that nobody has kept
/// so far, of every second one.
async fn stopped_again_and_again(
    node: &Machine,
    first: usize,
    disks: &Disks,
) -> Result<(usize, Vec<(usize, PathBuf)>)> {
    let cards = [node.mac(0), node.mac(1)];
    let mut kept = Vec::new();
    node.ok(&format!("({NEW} --halt-after 0 >/run/change.log 2>&1; echo $? >/run/change.code) &")).await?;
    for point in 1..MOST {
        if !stands_still(node).await? {
            return Ok((point - 1, kept));
        }
        if point % 2 == first % 2 {
            let disk = without_names(node.freeze().await?, &cards);
            if disks.is_new(disk) {
                kept.push((point, node.keep_disk(&point.to_string())?));
            }
            node.go_on().await?;
        }
        node.ok("kill -CONT $(grep -ls '^State:.T' /proc/[0-9]*/status | cut -d/ -f3)").await?;
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

/// The journal names the process that writes it and what was typed, the point of the cut included; hardware addresses are
/// those of one machine.
fn without_names(disk: Files, cards: &[String]) -> Files {
    let named = |line: &&str| ["\"id\":", "\"command\":"].iter().any(|key| line.trim_start().starts_with(key));
    disk.into_iter()
        .map(|(path, bytes)| {
            let mut text = String::from_utf8_lossy(&bytes).into_owned();
            for (number, card) in cards.iter().enumerate() {
                text = text.replace(card, &format!("card {number}"));
            }
            if path == JOURNAL {
                text = text.lines().filter(|line| !named(line)).collect();
            }
            (path, text.into_bytes())
        })
        .collect()
}

/// Waits until the change stands still; false when it has ended.
async fn stands_still(node: &Machine) -> Result<bool> {
    let script = "until [ -e /run/change.code ] || grep -qs '^State:.T' /proc/[0-9]*/status; do usleep 50000; done\n\
                  cat /run/change.code 2>/dev/null || echo halted";
    match node.ok(script).await?.as_str() {
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
