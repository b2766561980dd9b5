//! The installer program on a node that was installed (F-019, F-020, F-024).

use anyhow::{Result, ensure};
use installer_plan::manifest::Role;

use super::{
    ADMINISTRATOR,
    node::{Node, administrator, api_answers},
    roles::{APT, Layout, Machine, Source, Wanted, install_and},
};
use crate::{
    api::Client,
    e2e::{computer::Firmware, desk::Desk},
};

/// The program as people call it.
const PROGRAM: &str = "bash /opt/zstack-installer.bin";
/// What would differ if something were changed: what is installed, what is configured, what the cloud is.
const STATE: &str = "dpkg-query -W 'zstack-*'; cat /etc/fstab /etc/zstack/mn-service.toml 2>&1; find /var/lib/zstack -maxdepth 1 2>&1 | \
                     sort; cat /var/lib/zstack/node-uuid 2>&1; true";
/// Packages as a next version would bring them.
const NEWER: &str = "set -e; mkdir -p /root/newer; cd /root/newer; for deb in /opt/zstack-dvd/pool/zstack-*.deb; do
    rm -rf tree; dpkg-deb --raw-extract $deb tree
    sed -i 's/^Version: .*/Version: 9.0.0-1/' tree/DEBIAN/control
    dpkg-deb -Znone --build tree . >/dev/null
done; rm -rf tree; ls";
/// Kills an installation that is under way as soon as packages are unpacked.
const KILL: &str = "timeout 900 sh -c \"until grep -q '^Unpacking' /tmp/zstack_installation.log; do sleep 1; done\"; pkill -KILL -x zstack-ctl && \
                    pgrep -x apt-get > /dev/null && echo killed while unpacking";
/// How long the service may take on a machine without hardware help.
const PATIENCE: &str = "--timeout 900";

/// An expert node becomes a management node, begins anew, and is upgraded; what is wrong is refused.
pub(in crate::e2e) async fn program(desk: &Desk) -> Result<()> {
    let wanted = Wanted {
        role: Role::Expert,
        firmware: Firmware::Bios,
        stick: false,
        source: Source::Labelled,
        layout: Layout::Automatic,
        machine: Machine::Small,
    };
    install_and(desk, wanted, async |_, node, ports| steps(desk, node, ports[1]).await).await.map(drop)
}

async fn steps(desk: &Desk, node: &Node<'_>, port: u16) -> Result<()> {
    let before = node.run(STATE).await?;
    let refused = ended(node, &format!("{PROGRAM} -i 203.0.113.9 -r relative"), 1).await?;
    let own = node.run("ip -4 -o address show scope global | awk '{ print $4 }' | cut -d/ -f1").await?;
    let (own, link) = (own.trim(), node.run("ip -4 -o address show scope global | awk '{ print $2 }'").await?);
    ensure!(
        refused.contains("does not have the address 203.0.113.9")
            && refused.contains(own)
            && refused.contains("-r relative"),
        "not everything that is wrong is named: {refused}"
    );
    let refused = ended(node, &format!("runuser -u nobody -- {PROGRAM}"), 1).await?;
    ensure!(refused.contains("root"), "OS-BIN-013: {refused}");
    ensure!(node.run(STATE).await? == before, "a refused installation changed something");

    // OS-BIN-002, OS-BIN-005, OS-BIN-006. The first attempt is killed while packages are unpacked.
    let words = format!("{PROGRAM} -E -i {own} -r /srv/cloud {PATIENCE}");
    let killed = node.run_for(&format!("({words} > /root/killed 2>&1 </dev/null &); {KILL}"), APT).await?;
    ensure!(killed.contains("killed while unpacking"), "{killed}");
    let done = ended(node, &words, 0).await?;
    ensure!(done.contains("is installed and ready") && done.contains(&format!("https://{own}:5000")), "{done}");
    api_answers(port).await?;
    desk.note("the API answers after zstack-installer.bin -E".to_owned());
    let place = node
        .run("findmnt -no SOURCE /var/lib/zstack; ls -d /srv/cloud/ca; grep -l Management=yes /etc/systemd/network/*")
        .await?;
    ensure!(place.contains("[/srv/cloud]") && place.contains(link.trim()), "data or management network: {place}");
    administrator(port).await?;

    // OS-BIN-010.
    let before = node.run(STATE).await?;
    let refused = ended(node, &format!("{PROGRAM} -E"), 1).await?;
    ensure!(["is existing", "-u", "-D"].iter().all(|word| refused.contains(word)), "F-020: {refused}");
    let refused = ended(node, &format!("{PROGRAM} -D"), 1).await?;
    ensure!(refused.contains("--yes"), "nobody confirmed it: {refused}");
    let same = ended(node, &format!("{PROGRAM} -u"), 0).await?;
    ensure!(same.contains("nothing was changed"), "{same}");
    ensure!(node.run(STATE).await? == before, "a refused installation changed something");

    let anew = ended(node, &format!("{PROGRAM} -D --yes {PATIENCE}"), 0).await?;
    let url = format!("https://127.0.0.1:{port}");
    ensure!(Client::trusting(&url, "admin", ADMINISTRATOR).await.is_err(), "the old cloud is still there: {anew}");
    administrator(port).await?;
    desk.note("a new cloud after zstack-installer.bin -D".to_owned());

    node.run_for(NEWER, APT).await?;
    let newer = format!("{PROGRAM} --packages /root/newer");
    let refused = ended(node, &newer, 1).await?;
    ensure!(refused.contains("is existing"), "F-020: {refused}");
    let upgraded = ended(node, &format!("{newer} -u {PATIENCE}"), 0).await?;
    ensure!(upgraded.contains("ZStack 9.0.0-1 is installed and ready"), "{upgraded}");
    // The cloud is the one it was.
    Client::trusting(&url, "admin", ADMINISTRATOR).await?;
    let versions =
        node.run("dpkg-query -W -f '${Package} ${Version}\\n' 'zstack-*'; ls /var/lib/zstack/mysql-backup").await?;
    ensure!(
        versions.matches(" 9.0.0-1").count() == 9 && versions.matches(".gz\n").count() == 2,
        "packages and backup: {versions}"
    );
    let refused = ended(node, &format!("{PROGRAM} -u"), 1).await?;
    ensure!(refused.contains("older"), "{refused}");
    let log = node
        .run("stat -c '%a %U' /tmp/zstack_installation.log; ls -d /var/tmp/zstack-installer.* 2>&1 || true")
        .await?;
    ensure!(log.starts_with("600 root") && log.contains("No such file"), "{log}");
    desk.note("upgraded by zstack-installer.bin -u".to_owned());
    let failed = node.run("systemctl list-units --failed --no-legend --plain").await?;
    ensure!(failed.trim().is_empty(), "units failed:\n{failed}");
    Ok(())
}

/// What a command says that ends with this code.
async fn ended(node: &Node<'_>, command: &str, code: u8) -> Result<String> {
    let said = node.run_for(&format!("{command} </dev/null 2>&1; echo \"code $?\""), APT).await?;
    ensure!(said.trim_end().ends_with(&format!("code {code}")), "{command}: {said}");
    Ok(said)
}
