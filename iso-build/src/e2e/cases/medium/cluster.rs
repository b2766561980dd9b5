//! Two storage nodes and a disk that both reach: OCFS2 makes it one file system for both, as docs/installation.md tells
//! operators, and it outlives a power cut of one of them (F-009, OS-MODE-013).

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Result, ensure};
use installer_plan::manifest::Role;

use super::{
    BOOT, PASSWORD, key_pair,
    member::{Member, name},
    node::{Node, check_node},
};
use crate::e2e::{
    cable::Cable,
    computer::{Firmware, Hardware},
    desk::Desk,
    wait::until,
};

/// Size of the disk that both have.
const SHARED: u64 = 2 << 30;
/// How long the other node may take to be given up, which is a minute without a heartbeat, and what it did last to be put
/// right.
const RECOVERY: Duration = Duration::from_secs(300);

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

fn answers(number: u8, public: &str) -> impl FnOnce(&Hardware) -> String {
    move |hardware| {
        format!(
            "role = \"storage\"\nhost_name = \"{0}\"\n[disk]\nerase = true\n[login]\npassword = \"{PASSWORD}\"\n\
             ssh_keys = [\"{public}\"]\n[network]\nmanagement = \"{2}\"\nnic = [{{ device = \"{1}\", ip.dhcp = \"ipv4\" }}, \
             {{ device = \"{2}\", ip.addresses = [\"{3}/24\"] }}]\n",
            name(Role::Storage, number),
            hardware.mac(0),
            hardware.mac(1),
            address(number),
        )
    }
}

/// What an operator does on each node.
fn form() -> String {
    let nodes: String = [1, 2]
        .map(|number| {
            let node = name(Role::Storage, number);
            format!("o2cb add-node shared {node} --ip {} --port 7777 --number {number}\n", address(number))
        })
        .concat();
    format!(
        "set -e\no2cb add-cluster shared\n{nodes}sed -i 's/^O2CB_BOOTCLUSTER=.*/O2CB_BOOTCLUSTER=shared/' \
         /etc/default/o2cb\nsystemctl enable --now o2cb\nmkdir -p /shared\necho 'LABEL=shared /shared ocfs2 \
         _netdev,noatime,x-systemd.requires=o2cb.service 0 0' >> /etc/fstab\nsystemctl daemon-reload"
    )
}

/// Makes the file system, on one of them.
const MAKE: &str = "mkfs.ocfs2 -q -L shared -N 4 --cluster-stack=o2cb --cluster-name=shared \
                    /dev/disk/by-id/virtio-zs-shared && udevadm settle";
/// Both make files in one folder at once; every name is somebody's.
const FILES: u32 = 100;

/// The nodes make a file system together.
pub(in crate::e2e) async fn cluster(desk: &Desk) -> Result<()> {
    let public = key_pair(desk).await?;
    let key = desk.folder().join("key");
    let cable = [Cable::new(desk.folder(), 0)];
    let install = |number| Member::install(desk, Role::Storage, number, &cable, answers(number, &public));
    let (mut first, mut second) = tokio::try_join!(install(1), install(2))?;
    let shared = desk.folder().join("shared.raw");
    std::fs::File::create(&shared)?.set_len(SHARED)?;
    for member in [&mut first, &mut second] {
        member.hardware.shared = Some(shared.clone());
    }
    let (one_on, two_on) = tokio::try_join!(first.start(), second.start())?;
    let (one, two) = (first.node(&key), second.node(&key));
    let met = async {
        for (node, number) in [(&one, 1), (&two, 2)] {
            node.is_up().await?;
            check_node(node, Role::Storage, Firmware::Bios, &name(Role::Storage, number)).await?;
            node.run(&form()).await?;
        }
        one.run(MAKE).await?;
        for node in [&one, &two] {
            node.run("udevadm trigger --settle && mount /shared").await?;
        }
        together(&one, &two).await?;
        desk.note("both nodes read and write one file system".to_owned());
        Ok(())
    };
    let met: Result<()> = met.await;
    one_on.picture(&desk.picture("storage1")).await?;
    two_on.picture(&desk.picture("storage2")).await?;
    met?;

    // The power of one fails in the middle of its writing; what had reached the disk is there for the other.
    let write = "nohup sh -c 'for n in $(seq 100000); do echo $n >> /shared/log; sync /shared/log; echo $n >> /run/synced; done' \
                 > /dev/null 2>&1 & until [ -s /run/synced ]; do sleep 1; done; sleep 2; wc -l < /run/synced";
    let synced: u32 = two.run(write).await?.trim().parse()?;
    two_on.cut().await?;
    let read = "echo alone > /shared/alone && sync /shared/alone && wc -l < /shared/log";
    let left: u32 = one.run_for(read, RECOVERY).await?.trim().parse()?;
    ensure!(left >= synced, "{synced} lines were on the disk, and {left} are left");
    desk.note("the other node goes on when the power of one fails".to_owned());
    let two_on = second.start().await?;
    back(&two).await?;
    desk.note(format!("it has the file system {:.0} s after its next start", two_on.seconds()));
    for node in [&one, &two] {
        node.run("umount /shared").await?;
    }
    let sound = one.run("fsck.ocfs2 -fn /dev/disk/by-id/virtio-zs-shared 2>&1").await?;
    ensure!(sound.contains("All passes succeeded"), "the file system is damaged:\n{sound}");
    Ok(())
}

/// What one node does the other sees at once.
async fn together(one: &Node<'_>, two: &Node<'_>) -> Result<()> {
    one.run("head -c 20M /dev/urandom > /shared/big && sha256sum < /shared/big > /shared/sum").await?;
    let seen = two.run("sha256sum < /shared/big | cmp - /shared/sum && echo same").await?;
    ensure!(seen.trim() == "same", "the other node reads something else: {seen}");
    let make = |word: &str| format!("for n in $(seq {FILES}); do echo {word} > /shared/both/{word}$n; done");
    one.run("mkdir /shared/both").await?;
    let (a, b) = (make("one"), make("two"));
    tokio::try_join!(one.run(&a), two.run(&b))?;
    for node in [one, two] {
        let found = node.run("ls /shared/both | wc -l; cat /shared/both/* | sort | uniq -c").await?;
        let found: Vec<&str> = found.split_whitespace().collect();
        let (all, each) = ((2 * FILES).to_string(), FILES.to_string());
        ensure!(found == [&all, &each, "one", &each, "two"], "there are {found:?}");
    }
    Ok(())
}

/// The node that was cut off is back, with the file system and what was written meanwhile.
async fn back(node: &Node<'_>) -> Result<()> {
    node.is_up().await?;
    until("the shared file system is mounted again", BOOT, async || {
        Ok(node.try_run("findmnt -t ocfs2 /shared && cat /shared/alone").await?.stdout.contains("alone").then_some(()))
    })
    .await?;
    node.has_started().await?;
    let failed = node.run("systemctl list-units --failed --no-legend --plain").await?;
    ensure!(failed.trim().is_empty(), "units failed:\n{failed}");
    Ok(())
}
