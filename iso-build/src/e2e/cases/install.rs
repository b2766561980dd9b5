//! The installer on a disk of its own, with the tools that the live system has.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::e2e::{lab::Lab, machine::Machine, wait::until};

const MEDIUM: &str = "/usr/lib/e2e/medium";
const ANSWERS: &str = "/root/answers.toml";
/// The disk that is installed on.
const DISK: &str = "/dev/vdb";
/// The last step that needs no boot loader, which the small layers do not have.
const LAST: &str = "login";
/// Longest installation, on a machine that is busy with other things.
const INSTALL: Duration = Duration::from_secs(600);
/// Where power is cut: after every step but the last, each time on what the cut before has left.
const CUTS: [&str; 12] = [
    "verify",
    "release",
    "wipe",
    "partition",
    "volumes",
    "format",
    "mount",
    "unpack-base",
    "unpack-compute",
    "repository",
    "system",
    "network",
];

/// A damaged medium is found before anything is changed; what lies on the disk is recognised; an installation that lost
/// power anywhere, or failed, begins anew and ends with what was planned (issue 5, OS-DISK-003, OS-DISK-004).
pub(in crate::e2e) async fn executor(lab: &Lab) -> Result<()> {
    let node = lab.boot("node", &[None]).await?;
    leave_something(&node).await?;
    node.write(ANSWERS, answers(&node).as_bytes()).await?;
    recognises(&node).await?;
    refuses_a_damaged_medium(&node).await?;
    for step in CUTS {
        halted(&node, step).await?;
        node.power_cycle().await?;
        node.write(ANSWERS, answers(&node).as_bytes()).await?;
    }
    let seconds = installed(&node).await?;
    lab.note(format!("installed in {seconds:.1} s up to {LAST}"));
    is_as_planned(&node).await?;
    // Before each of these the target of the last one is still mounted, and its volume group runs.
    fails_beside_services(&node).await?;
    installed(&node).await?;
    is_as_planned(&node).await
}

/// An array with a volume group of the name that the installer takes on it, running and with a file system.
async fn leave_something(node: &Machine) -> Result<()> {
    node.ok(
        "printf 'label: gpt\\nstart=2048, size=4194304\\nsize=4194304\\n' | sfdisk -q /dev/vdb && udevadm settle\n\
         mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 /dev/vdb1 missing\n\
         pvcreate -y /dev/md0 && vgcreate zstack /dev/md0 && lvcreate -y -n old -L 512m zstack && udevadm settle\n\
         mkfs.ext4 -q -L precious /dev/zstack/old && udevadm settle",
    )
    .await?;
    Ok(())
}

fn answers(node: &Machine) -> String {
    format!(
        "role = 'compute'\nhost_name = 'c1'\nend = 'wait'\n\
         [disk]\ndevice = 'serial:zs-spare'\nerase = true\n\
         [network]\nbond = [{{ members = ['{}'], ip.addresses = ['192.0.2.10/24'], ip.gateways = ['192.0.2.1'] }}]\n\
         vlan = [{{ parent = 'bond0', id = 7, ip.addresses = ['198.51.100.10/24'] }}]\nmanagement = 'bond0.7'\n\
         [time]\nntp = ['192.0.2.1']\n[login]\npassword = 'first-password'\n[join]\naddress = '198.51.100.1'\ncode = 'abcd-efgh-jkmn-pqrs-tvwx'\n",
        node.mac(0)
    )
}

/// Runs the installer; returns its exit code, what it said, and what it complained about.
async fn run(node: &Machine, words: &str) -> Result<(i32, String, String)> {
    let command = format!("zstack-installer install --answers {ANSWERS} --medium {MEDIUM} {words}");
    let output = node.run_for(INSTALL, &command).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.code, text(&output.stdout), text(&output.stderr)))
}

/// Every disk is found, and the summary says what is lost on the one that is chosen.
async fn recognises(node: &Machine) -> Result<()> {
    let facts: Value = serde_json::from_str(&node.ok("zstack-installer probe --json").await?)?;
    let disks = facts["disks"].as_array().context("no disks")?;
    ensure!(disks.len() == 2 && disks[0]["in_use"][0] == "/etc/systemd/network", "{facts}");
    ensure!(facts["nics"][0]["mac"] == node.mac(0) && facts["nics"][0]["driver"] == "virtio_net", "{facts}");
    let (code, plan, error) = run(node, "--dry-run").await?;
    ensure!(code == 0, "{error}");
    for line in [
        "ERASES /dev/vdb (zs-spare), 8 GiB",
        "RAID, of array",
        "volume group zstack",
        "ext4 \"precious\"",
        "/boot      1 GiB",
    ] {
        ensure!(plan.contains(line), "the plan says nothing of {line:?}:\n{plan}");
    }
    ensure!(node.ok("blkid -s LABEL -o value /dev/zstack/old").await? == "precious", "a plan changes nothing");
    Ok(())
}

/// One byte differs: it ends before the first step that destroys something.
async fn refuses_a_damaged_medium(node: &Machine) -> Result<()> {
    let layer = format!("{MEDIUM}/live/base.squashfs");
    let flip = |byte: &str| format!("printf '{byte}' | dd of={layer} bs=1 seek=5000000 conv=notrunc 2>&1");
    let before = node.ok("dd if=/dev/vdb bs=1M count=64 2>/dev/null | sha256sum").await?;
    node.ok(&flip("X")).await?;
    let (code, said, error) = run(node, &format!("--until {LAST}")).await?;
    ensure!(code == 1 && error.contains("the checksum of") && error.contains("base.squashfs"), "{said}{error}");
    ensure!(said.contains("nothing was changed"), "{said}");
    let after = node.ok("dd if=/dev/vdb bs=1M count=64 2>/dev/null | sha256sum").await?;
    ensure!(before == after, "a disk was written to before the medium was verified");
    node.ok("ls /dev/zstack/old").await?;
    node.ok(&flip("Z")).await?;
    Ok(())
}

/// Runs the installer until it stands still after a step.
async fn halted(node: &Machine, step: &str) -> Result<()> {
    let command = format!("zstack-installer install --answers {ANSWERS} --medium {MEDIUM} --halt-after {step}");
    node.ok(&format!("{command} >/root/halted.log 2>&1 & echo $! >/root/halted.pid")).await?;
    let what = format!("the installer stands still after {step}");
    let stopped = until(&what, INSTALL, async || {
        let state = state_of_halted(node).await?;
        ensure!(!has_ended(&state), "it ended: {}", node.ok("cat /root/halted.log").await?);
        Ok((state == "T").then_some(()))
    });
    stopped.await
}

/// The state of that process as proc_pid_stat(5) has it; empty when it is gone.
async fn state_of_halted(node: &Machine) -> Result<String> {
    let state = node.run("cut -d' ' -f3 /proc/$(cat /root/halted.pid)/stat").await?;
    Ok(String::from_utf8_lossy(&state.stdout).trim().to_owned())
}

/// Gone, or a zombie.
fn has_ended(state: &str) -> bool {
    matches!(state, "" | "Z")
}

/// Runs the installer into the error of its boot loader. Services that see the file systems as they were when each of them
/// started, as many of systemd's do, start before and in the middle of it. They must not keep the volumes in use: the next
/// installation could not begin.
async fn fails_beside_services(node: &Machine) -> Result<()> {
    let service = async |name: &str| {
        let words = format!("systemd-run --quiet --unit={name} --property=PrivateMounts=yes busybox sleep 100000");
        node.ok(&words).await
    };
    service("before").await?;
    halted(node, LAST).await?;
    service("between").await?;
    node.ok("kill -CONT $(cat /root/halted.pid)").await?;
    let ended =
        until("the installer ends", INSTALL, async || Ok(has_ended(&state_of_halted(node).await?).then_some(())));
    ended.await?;
    let said = node.ok("cat /root/halted.log").await?;
    ensure!(said.contains("grub-install"), "it ended elsewhere: {said}");
    Ok(())
}

/// Runs the installer to its end. Returns how long it took.
async fn installed(node: &Machine) -> Result<f64> {
    let (code, said, error) = run(node, &format!("--json --until {LAST}")).await?;
    ensure!(code == 0, "{said}{error}");
    let events: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let done = events.last().context("it said nothing")?;
    ensure!(done["event"] == "done", "{done}");
    ensure!(!said.contains("first-password"), "a secret was logged");
    let percent: Vec<f64> = events.iter().filter_map(|event| event["percent"].as_f64()).collect();
    ensure!(percent.is_sorted(), "progress goes back: {percent:?}");
    done["seconds"].as_f64().context("no time")
}

/// What is on the disk, as other tools see it.
async fn is_as_planned(node: &Machine) -> Result<()> {
    let table = node.ok(&format!("sfdisk -d {DISK}")).await?;
    ensure!(table.contains("label: gpt") && table.contains("21686148-6449-6E6F-744E-656564454649"), "{table}");
    ensure!(table.contains("size=     2097152"), "/boot has 1 GiB: {table}");
    let volumes = node.ok("lvs --noheadings -o lv_name,vg_name,lv_size,devices --units m").await?;
    ensure!(volumes.lines().count() == 2 && volumes.contains("root zstack") && !volumes.contains("old"), "{volumes}");
    let free = node.ok("vgs --noheadings --nosuffix --units m -o vg_free,vg_size zstack").await?;
    let sizes: Vec<f64> = free.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(sizes.len() == 2 && (0.09..0.12).contains(&(sizes[0] / sizes[1])), "a tenth stays free: {free}");
    node.ok("test -z \"$(cat /proc/mdstat | grep ^md)\"").await?;
    let target = "/run/zstack-installer/target";
    node.ok(&format!(
        "cd {target} && [ $(cat usr/share/role) = compute ] && [ ! -e etc/motd ] && [ $(stat -c %s etc/machine-id) = 0 ] &&\n\
         [ ! -e etc/ssh/ssh_host_rsa_key ] && [ $(cat etc/hostname) = c1 ] && cmp opt/zstack-dvd/pool/a.deb {MEDIUM}/repo/apt/pool/a.deb &&\n\
         [ $(stat -c %s usr/share/large) = 25165824 ] && [ $(stat -c %a etc/zstack/install.toml) = 600 ] &&\n\
         [ $(stat -c %a etc/zstack/join.toml) = 600 ] && grep -q 'code = .abcd-' etc/zstack/join.toml &&\n\
         [ \"$(grep -rl abcd-efgh etc var 2>/dev/null)\" = etc/zstack/join.toml ] &&\n\
         [ $(stat -c %a:%g etc/shadow) = 640:42 ] && grep -q '^root:[$]6[$]' etc/shadow &&\n\
         grep -q 'Suites: zstack' etc/apt/sources.list.d/zstack-local.sources && grep -q 'server 192.0.2.1' etc/chrony/sources.d/zstack.sources &&\n\
         [ $(readlink etc/localtime) = /usr/share/zoneinfo/Asia/Shanghai ] && grep -q Management=yes etc/systemd/network/05-zs-bond0.7.network &&\n\
         grep -q 'Mode=active-backup' etc/systemd/network/05-zs-bond0.netdev && ! grep -rq first-password etc"
    ))
    .await?;
    for (device, mount) in [("/dev/zstack/root", "/"), ("/dev/vdb2", "/boot"), ("/dev/zstack/swap", "none")] {
        let uuid = node.ok(&format!("blkid -p -s UUID -o value {device}")).await?;
        node.ok(&format!("grep -q '^UUID={uuid} {mount} ' {target}/etc/fstab")).await?;
    }
    Ok(())
}
