//! The first start of a management node, which makes its keys, its database and its message bus (F-007, F-017).

use anyhow::{Context, Result, ensure};
use installer_plan::manifest::Role;

use super::{
    BOOT, menu,
    node::{Login, Node, api_answers, check_node},
    roles::{Installed, on_volumes},
};
use crate::e2e::{
    computer::{self, Computer, Firmware, Hardware, Medium},
    desk::Desk,
};

/// Puts a stop behind every step of the units that make what is a node's own, and one where the message bus has a cookie
/// that is not on the disk. The stop writes its mark to the disk, and nothing else: what the steps wrote is where the
/// kernel left it, which is the worst for them.
const SCRIPT: &str = r#"set -e
udevadm settle
vgchange -q -ay zstack >/dev/null
mount /dev/zstack/root /mnt
cat >/mnt/usr/local/sbin/stop-once <<'END'
#!/bin/sh
[ -e "/var/lib/stopped-$1" ] && exit 0
touch "/var/lib/stopped-$1"
sync "/var/lib/stopped-$1"
echo "STOPPED-$1." >/dev/ttyS0
exec sleep 3600
END
chmod 755 /mnt/usr/local/sbin/stop-once
for unit in node-identity database-files database own-agent message-bus-files message-bus; do
    awk -v unit=$unit '
        { print }
        /^ExecStart(Post)?=/ {
            sub(/=.*/, "")
            step += 1
            printf "%s=/usr/local/sbin/stop-once %s-%d\n", $0, unit, step
            printf "STEP %s-%d.\n", unit, step >"/dev/stderr"
        }
    ' /mnt/usr/lib/systemd/system/zstack-$unit.service >/mnt/etc/systemd/system/zstack-$unit.service
done
cat >/mnt/usr/local/sbin/mariadb-install-db <<'END'
#!/bin/sh
/usr/bin/mariadb-install-db "$@" && exec /usr/local/sbin/stop-once files
END
chmod 755 /mnt/usr/local/sbin/mariadb-install-db
echo STEP files.
cat >/mnt/etc/systemd/system/stop-bus.service <<'END'
[Unit]
Before=zstack-message-bus.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'until [ -s /var/lib/rabbitmq/.erlang.cookie ]; do sleep 0.1; done; exec /usr/local/sbin/stop-once cookie'
END
ln -s ../stop-bus.service /mnt/etc/systemd/system/multi-user.target.wants/stop-bus.service
echo STEP cookie.
umount /mnt
vgchange -q -an zstack >/dev/null
echo STOPS-ARE-SET
"#;

/// Cuts that there are at least, whichever units work side by side.
const CUTS: usize = 7;
/// More starts than there are steps.
const STARTS: usize = 40;

/// Installs a node, whose database has a volume of its own, and cuts its power behind every step of its first start.
pub(in crate::e2e) async fn cuts(desk: &Desk) -> Result<()> {
    let Installed { hardware, key, ports, .. } = on_volumes(desk).await?;
    let more = desk.folder().join("stops.img");
    computer::labelled(&more, "STOPS", &[("stops.sh", SCRIPT.as_bytes())]).await?;
    let hurt = Hardware { readonly: vec![more], ..hardware.clone() };
    let computer = Computer::start(&hurt, Medium::Cd(desk.medium()), desk.folder()).await?;
    computer.choose(menu::RESCUE).await?;
    let shell = computer.says("root@", BOOT).await;
    computer.picture(&desk.picture("rescue")).await?;
    shell?;
    let said = computer.shell("mkdir -p /run/a; mount -o ro LABEL=STOPS /run/a; sh /run/a/stops.sh 2>&1").await?;
    ensure!(said.contains("STOPS-ARE-SET"), "no stops were set: {said}");
    let steps: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("STEP ")).collect();
    let mut made: Vec<&str> = Vec::new();
    computer.cut().await?;

    for _ in 0..STARTS {
        let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
        let node = Node { login: Login::Key(&key), port: ports[0] };
        let there = async {
            node.is_up().await?;
            node.has_started().await?;
            api_answers(ports[1]).await
        };
        tokio::select! {
            stopped = computer.says("STOPPED-", BOOT) => {
                if let Err(silent) = stopped {
                    let picture = desk.picture("silent");
                    // One that went off by itself has no screen.
                    let _ = computer.picture(&picture).await;
                    return Err(silent.context(format!("screen: {}; it made {made:?}", picture.display())));
                }
                let said = computer.serial();
                made.extend(steps.iter().filter(|step| said.contains(&format!("STOPPED-{step}"))));
                computer.cut().await?;
            }
            there = there => {
                let picture = desk.picture("node");
                computer.picture(&picture).await?;
                there.with_context(|| format!("screen: {}", picture.display()))?;
                check_node(&node, Role::Management, Firmware::Uefi, "node").await?;
                // Units work side by side, and one that has nothing left to do makes no more steps.
                ensure!(made.len() >= CUTS, "the power was cut behind these steps alone: {made:?}");
                let left = "find /etc/ssh /etc/nvme /etc/zstack /var/lib/zstack /var/lib/rabbitmq/.erlang.cookie -type f -empty \
                            ! -name '*.prepared' ! -name '*.lock'; \
                            find /var/lib/mysql /var/lib/rabbitmq -maxdepth 1 -name .zstack-new; mountpoint -q /var/lib/mysql || echo no mount";
                let left = node.run(left).await?;
                ensure!(left.is_empty(), "left of the cuts:\n{left}");
                desk.note(format!("power was cut behind {} of {} steps of the first start", made.len(), steps.len()));
                return Ok(());
            }
        }
    }
    anyhow::bail!("it was not through after {STARTS} starts; it made {made:?}")
}
