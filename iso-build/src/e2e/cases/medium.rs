//! From the medium to a working node, on whole computers (F-001 to F-018; OS-USB, OS-INST, OS-MODE, OS-DISK, OS-BOOT).

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use installer_plan::manifest::Role;

use crate::{
    e2e::{
        computer::{self, Computer, Firmware, Forward, Hardware, Medium},
        desk::Desk,
        wait::until,
    },
    program::{Ended, Program},
};

/// How long an installation may take on a slow machine without hardware help.
pub(super) const INSTALL: Duration = Duration::from_secs(1200);
/// How long the installed system may take to be there.
pub(super) const BOOT: Duration = Duration::from_secs(600);
/// How long one command on it may take.
pub(super) const COMMAND: Duration = Duration::from_secs(120);
/// Size of the disk; it grows as it is written.
const DISK: &str = "24G";
/// Password of root on the installed nodes.
pub(super) const PASSWORD: &str = "First_password.1";

/// What is installed, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) role: Role,
    pub(super) firmware: Firmware,
    /// From a USB stick, else from a CD.
    pub(super) stick: bool,
}

pub(crate) async fn bios_management(desk: &Desk) -> Result<()> {
    install(desk, Wanted { role: Role::Management, firmware: Firmware::Bios, stick: false }).await
}

pub(crate) async fn uefi_compute(desk: &Desk) -> Result<()> {
    install(desk, Wanted { role: Role::Compute, firmware: Firmware::Uefi, stick: true }).await
}

pub(crate) async fn secure_expert(desk: &Desk) -> Result<()> {
    install(desk, Wanted { role: Role::Expert, firmware: Firmware::Secure, stick: true }).await
}

pub(crate) async fn bios_storage(desk: &Desk) -> Result<()> {
    install(desk, Wanted { role: Role::Storage, firmware: Firmware::Bios, stick: true }).await
}

/// OS-INST-010 to OS-INST-016: everything is typed, and seen on the screen.
pub(crate) async fn attended(desk: &Desk) -> Result<()> {
    let wanted = Wanted { role: Role::Compute, firmware: Firmware::Bios, stick: true };
    let disk = desk.folder().join("disk.qcow2");
    computer::disk(&disk, DISK).await?;
    let ssh = free_port()?;
    let hardware = Hardware {
        firmware: wanted.firmware,
        memory_mib: 2048,
        disks: vec![disk],
        readonly: Vec::new(),
        forwards: vec![Forward { here: ssh, there: 22 }],
    };
    let computer = Computer::start(&hardware, Medium::Usb(desk.medium()), desk.folder()).await?;
    computer.says("Install on the serial console", BOOT).await?;
    computer.picture(&desk.picture("1-menu")).await?;
    computer.press("ret").await?;
    computer.says("root@", BOOT).await?;
    desk.note(format!("installer {:.0} s after power-on", computer.seconds()));
    computer.shows("SOFTWARE SELECTION", BOOT).await?;
    computer.picture(&desk.picture("2-main")).await?;
    let open = async |place: usize, title: &str| {
        computer.press("home").await?;
        for _ in 0..place {
            computer.press("down").await?;
        }
        computer.press("ret").await?;
        computer.shows(title, COMMAND).await
    };
    open(1, "Role <").await?;
    computer.press("right").await?;
    computer.shows("< compute >", COMMAND).await?;
    computer.picture(&desk.picture("3-software")).await?;
    computer.press("ret").await?;
    computer.shows("[ok] compute", COMMAND).await?;
    open(3, "Host name").await?;
    computer.type_text("node").await?;
    computer.picture(&desk.picture("4-network")).await?;
    computer.press("ret").await?;
    computer.shows("[ok] node,", COMMAND).await?;
    open(5, "assword").await?;
    computer.type_text(&format!("{PASSWORD}\t{PASSWORD}\n")).await?;
    computer.shows("[ok] set", COMMAND).await?;
    open(6, "vda").await?;
    computer.picture(&desk.picture("5-summary")).await?;
    computer.type_text("vda\n").await?;
    computer.shows("[8/", INSTALL).await?;
    computer.picture(&desk.picture("6-progress")).await?;
    computer.shows("INSTALLED", INSTALL).await?;
    computer.picture(&desk.picture("7-done")).await?;
    computer.press("ret").await?;
    computer.ended(BOOT).await?;
    drop(computer);
    let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
    let node = Node { login: Login::Password, port: ssh };
    let checked = async {
        node.is_up().await?;
        desk.note(format!("login {:.0} s after its first start", computer.seconds()));
        check_node(&node, wanted).await
    };
    let checked = checked.await;
    computer.picture(&desk.picture("8-node")).await?;
    checked
}

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
        ssh.deadline(COMMAND).ended().await
    }

    pub(super) async fn run(&self, script: &str) -> Result<String> {
        self.try_run(script).await?.stdout()
    }

    /// Waits until it lets us in.
    pub(super) async fn is_up(&self) -> Result<()> {
        until("the node lets us in over SSH", BOOT, async || Ok(self.try_run("true").await?.success.then_some(())))
            .await
    }
}

/// A node that was installed and is switched off.
pub(super) struct Installed {
    pub(super) hardware: Hardware,
    /// Lets root in.
    pub(super) key: PathBuf,
    /// Ports of this machine that lead to its SSH server and to its API.
    pub(super) ssh: u16,
    pub(super) api: u16,
}

/// Installs a node, asked nothing.
pub(super) async fn installed(desk: &Desk, wanted: Wanted) -> Result<Installed> {
    let key = desk.folder().join("key");
    Program::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).stdout().await?;
    let public = std::fs::read_to_string(key.with_extension("pub"))?;
    let answers = format!(
        "role = \"{}\"\nhost_name = \"node\"\n[disk]\nerase = true\n[login]\npassword = \"{PASSWORD}\"\n\
         ssh_keys = [\"{}\"]\n",
        wanted.role,
        public.trim()
    );
    let answers_disk = desk.folder().join("answers.img");
    computer::labelled(&answers_disk, "OEMDRV", &[("answers.toml", &answers)]).await?;
    let disk = desk.folder().join("disk.qcow2");
    computer::disk(&disk, DISK).await?;
    let (ssh, api) = (free_port()?, free_port()?);
    let hardware = Hardware {
        firmware: wanted.firmware,
        memory_mib: if wanted.role == Role::Management { 4096 } else { 2048 },
        disks: vec![disk],
        readonly: vec![answers_disk],
        forwards: vec![Forward { here: ssh, there: 22 }, Forward { here: api, there: 8080 }],
    };
    let medium = if wanted.stick { Medium::Usb(desk.medium()) } else { Medium::Cd(desk.medium()) };
    let computer = Computer::start(&hardware, medium, desk.folder()).await?;
    let installed = watched(desk, &computer, "install").await?;
    desk.note(format!("installed after {installed:.0} s"));
    Ok(Installed { hardware: Hardware { readonly: Vec::new(), ..hardware }, key, ssh, api })
}

async fn install(desk: &Desk, wanted: Wanted) -> Result<()> {
    let Installed { hardware, key, ssh, api } = installed(desk, wanted).await?;
    let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
    let node = Node { login: Login::Key(&key), port: ssh };
    let checked = async {
        node.is_up().await?;
        desk.note(format!("login {:.0} s after its first start", computer.seconds()));
        check_node(&node, wanted).await?;
        if wanted.role == Role::Management {
            api_answers(api).await?;
            desk.note(format!("API {:.0} s after its first start", computer.seconds()));
        }
        Ok(())
    };
    let checked: Result<()> = checked.await;
    let picture = desk.picture("node");
    computer.picture(&picture).await?;
    checked.with_context(|| format!("screen: {}", picture.display()))
}

/// Waits for the end of an installation and takes pictures of the screen meanwhile.
async fn watched(desk: &Desk, computer: &Computer, name: &str) -> Result<f64> {
    let mut number = 0;
    let look = async {
        loop {
            tokio::time::sleep(Duration::from_secs(20)).await;
            number += 1;
            // The computer may just have switched itself off.
            let _ = computer.picture(&desk.picture(&format!("{name}-{number:02}"))).await;
        }
    };
    tokio::select! {
        ended = computer.ended(INSTALL) => ended,
        () = look => unreachable!("it looks for ever"),
    }
}

async fn check_node(node: &Node<'_>, wanted: Wanted) -> Result<()> {
    let release = node.run("cat /etc/hostname; ls /usr/lib/zstack/roles 2>/dev/null; readlink /etc/localtime").await?;
    ensure!(release.starts_with("node\n"), "host name: {release}");
    ensure!(release.contains("Asia/Shanghai"), "F-011: time zone: {release}");
    let role = match wanted.role {
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
    }
    let disks = node.run("lsblk -nro NAME,FSTYPE,MOUNTPOINT; swapon --show=NAME --noheadings").await?;
    ensure!(disks.contains(" /boot\n") && disks.contains("LVM2_member"), "OS-DISK-003: {disks}");
    ensure!(disks.contains(" /boot/efi\n") == (wanted.firmware != Firmware::Bios), "OS-DISK-002: {disks}");
    ensure!(disks.lines().last().is_some_and(|line| line.starts_with("/dev/")), "no swap: {disks}");
    if wanted.firmware == Firmware::Secure {
        let secure = node.run("od -An -t u1 /sys/firmware/efi/efivars/SecureBoot-*").await?;
        ensure!(secure.trim().ends_with('1'), "Secure Boot is off: {secure}");
    }
    // OS-ISO-003, OS-ISO-011: packages come from the copy of the medium's repository.
    let apt = node.run("apt-get update -q 2>&1; apt-cache policy zstack-manager tcpdump").await?;
    ensure!(apt.contains("zstack-local") && apt.contains("/opt/zstack-dvd"), "the repository is not usable: {apt}");
    until("every unit has started", BOOT, async || {
        let state = node.try_run("systemctl is-system-running").await?.stdout;
        Ok(["running", "degraded"].contains(&state.trim()).then_some(()))
    })
    .await?;
    let failed = node.run("systemctl list-units --failed --no-legend --plain").await?;
    ensure!(failed.trim().is_empty(), "units failed:\n{failed}");
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

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
