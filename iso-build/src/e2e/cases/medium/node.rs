//! A node that was installed, reached over SSH, and what must hold on it.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use installer_plan::manifest::Role;

use super::{ADMINISTRATOR, BOOT, COMMAND, PASSWORD};
use crate::{
    api::Client,
    e2e::{computer::Firmware, wait::until},
    program::{Ended, Program},
};

/// How a node lets us in.
#[derive(Debug)]
pub(super) enum Login<'a> {
    Key(&'a Path),
    Password,
}

/// A node that was installed, reached over SSH.
pub(super) struct Node<'a> {
    pub(super) login: Login<'a>,
    pub(super) port: u16,
}

impl Node<'_> {
    pub(super) async fn try_run(&self, script: &str) -> Result<Ended> {
        self.ended(script, COMMAND).await
    }

    /// Runs what takes long.
    pub(super) async fn run_for(&self, script: &str, limit: Duration) -> Result<String> {
        self.ended(script, limit).await?.stdout()
    }

    async fn ended(&self, script: &str, limit: Duration) -> Result<Ended> {
        let (program, own) = match self.login {
            Login::Key(key) => (Program::new("ssh").arg("-i").arg(key), "BatchMode=yes"),
            Login::Password => {
                (Program::new("sshpass").env("SSHPASS", PASSWORD).args(["-e", "ssh"]), "PubkeyAuthentication=no")
            }
        };
        let options = [own, "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
        let options = options.into_iter().chain(["ConnectTimeout=20", "ServerAliveInterval=15"]);
        let program = options.fold(program, |program, option| program.args(["-o", option]));
        let ssh = program.args(["-p", &self.port.to_string(), "root@127.0.0.1", script]);
        ssh.deadline(limit).ended().await
    }

    pub(super) async fn run(&self, script: &str) -> Result<String> {
        self.try_run(script).await?.stdout()
    }

    /// Waits until it lets us in.
    pub(super) async fn is_up(&self) -> Result<()> {
        until("the node lets us in over SSH", BOOT, async || Ok(self.try_run("true").await?.success.then_some(())))
            .await
    }

    /// Waits until no unit is on its way any more. One that failed and is tried again is on its way.
    pub(super) async fn has_started(&self) -> Result<()> {
        let started = until("every unit has started", BOOT, async || {
            let look = "systemctl is-system-running; systemctl list-units --no-legend --plain --state=activating";
            let said = self.try_run(look).await?.stdout;
            Ok(["running", "degraded"].contains(&said.trim()).then_some(()))
        });
        match started.await {
            Ok(()) => Ok(()),
            Err(late) => Err(late.context(self.trouble().await)),
        }
    }

    /// What its units that failed, or are on their way, have said.
    pub(super) async fn trouble(&self) -> String {
        let look = "units=$(systemctl list-units --no-legend --plain --state=failed,activating | cut -d' ' -f1); \
                    for unit in $units; do systemctl status --no-pager --lines=40 $unit; done";
        match self.try_run(look).await {
            Ok(said) => said.stdout,
            Err(silent) => format!("{silent:#}"),
        }
    }
}

/// What is true on every node of a role.
pub(super) async fn check_node(node: &Node<'_>, role: Role, firmware: Firmware, name: &str) -> Result<()> {
    let release = node.run("cat /etc/hostname; ls /usr/lib/zstack/roles 2>/dev/null; readlink /etc/localtime").await?;
    ensure!(release.lines().next() == Some(name), "host name: {release}");
    ensure!(release.contains("Asia/Shanghai"), "F-011: time zone: {release}");
    let role = match role {
        Role::Expert => None,
        other => Some(other.word()),
    };
    if let Some(role) = role {
        ensure!(release.lines().any(|line| line == role), "F-006: roles: {release}");
        // OS-BOOT-001 to 003: the console is on the screen.
        let screen = "fold -b -w $(stty -F /dev/tty1 size | cut -d' ' -f2) /dev/vcs1 | tr -c '\\n -~' '.'";
        until("the text console on the screen", BOOT, async || {
            Ok(node.run(screen).await?.contains("NODE INFO").then_some(()))
        })
        .await?;
        // Nothing is drawn over it.
        let level = node.run("sysctl -n kernel.printk").await?;
        ensure!(level.split_whitespace().next() == Some("3"), "messages of the kernel are on the screen: {level}");
    }
    if role == Some(Role::Management.word()) {
        // Its first start waits for the database.
        let held = until("the management service", BOOT, async || {
            // What systemd starts is systemd itself at first, with everything that it may do.
            let look = "it=/proc/$(systemctl show --property=MainPID --value mn-service); readlink $it/exe | grep -q \
                        mn-service && grep CapEff $it/status";
            let held = node.try_run(look).await?;
            Ok(held.success.then_some(held.stdout))
        })
        .await?;
        ensure!(held.trim().ends_with("0000000000000000"), "the management service has capabilities: {held}");
    }
    let panic = node.run("sysctl -n kernel.panic_on_oops kernel.panic").await?;
    ensure!(panic.split_whitespace().eq(["1", "10"]), "a kernel that failed goes on: {panic}");
    let words = node.run("cat /proc/cmdline").await?;
    ensure!(words.contains(" oops=panic panic=10"), "a kernel that fails while it starts goes on: {words}");
    let disks = node.run("lsblk -nro NAME,FSTYPE,MOUNTPOINT; swapon --show=NAME --noheadings").await?;
    ensure!(disks.contains(" /boot\n") && disks.contains("LVM2_member"), "OS-DISK-003: {disks}");
    ensure!(disks.contains(" /boot/efi\n") == (firmware != Firmware::Bios), "OS-DISK-002: {disks}");
    ensure!(disks.lines().last().is_some_and(|line| line.starts_with("/dev/")), "no swap: {disks}");
    if firmware != Firmware::Bios {
        let entries = node.run("efibootmgr").await?;
        ensure!(entries.lines().any(|line| line.contains("ZStack")), "the firmware has no entry for it:\n{entries}");
    }
    if firmware == Firmware::Secure {
        let secure = node.run("od -An -t u1 /sys/firmware/efi/efivars/SecureBoot-*").await?;
        ensure!(secure.trim().ends_with('1'), "Secure Boot is off: {secure}");
    }
    // What asks nobody who he is serves the node alone: SSH, the web interface, the API, consoles and the agent do ask.
    let listening = node.run("ss -Htlnp | grep -vE ' (127\\.|\\[::1\\]|\\[::ffff:127\\.)' || true").await?;
    let known = [22, 4900, 5000, 7443, 8080].map(|port| format!(":{port} "));
    let strange: Vec<&str> = listening.lines().filter(|line| !known.iter().any(|port| line.contains(port))).collect();
    ensure!(strange.is_empty(), "something listens to everybody:\n{}", strange.join("\n"));
    // OS-ISO-003, OS-ISO-011: packages come from the copy of the medium's repository.
    let apt = node.run("apt-get update -q 2>&1; apt-cache policy zstack-manager tcpdump").await?;
    ensure!(apt.contains("zstack-local") && apt.contains("/opt/zstack-dvd"), "the repository is not usable: {apt}");
    node.has_started().await?;
    let failed = node.run("systemctl list-units --failed --no-legend --plain").await?;
    ensure!(failed.trim().is_empty(), "units failed:\n{failed}\n{}", node.trouble().await);
    Ok(())
}

/// The API of a management node on a port of this machine.
pub(super) async fn api_answers(port: u16) -> Result<()> {
    let http = reqwest::Client::builder().danger_accept_invalid_certs(true).timeout(Duration::from_secs(20)).build()?;
    let url = format!("https://127.0.0.1:{port}/zstack/v1/management-nodes/ready");
    until("the API answers", BOOT, async || {
        let answer = http.get(&url).send().await;
        Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
    })
    .await
}

/// A session of the administrator. As long as he has his first password it can do nothing but change it, so it does.
pub(super) async fn administrator(port: u16) -> Result<Client> {
    api_answers(port).await?;
    let url = format!("https://127.0.0.1:{port}");
    if let Ok(client) = Client::trusting(&url, "admin", ADMINISTRATOR).await {
        return Ok(client);
    }
    let first = Client::trusting(&url, "admin", "password").await?;
    first.change_administrators_password(ADMINISTRATOR).await?;
    Client::trusting(&url, "admin", ADMINISTRATOR).await
}
