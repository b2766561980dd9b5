//! What an operator does at the screen, the keyboard and the serial line of an installed management node (issue 4;
//! OS-CON, OS-TUI-050 to 127). One installation, then everything on that node, in the order of what destroys least.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    BOOT, COMMAND, PASSWORD,
    node::{Login, Node, administrator, api_answers},
    roles::{Installed, management},
};
use crate::{
    api::Client,
    e2e::{
        computer::{Computer, Medium},
        desk::Desk,
        wait::until,
    },
};

/// How long a command of the console may take that starts the service anew or installs packages.
const WORK: Duration = Duration::from_secs(900);
/// The entries of the system configuration (OS-TUI-042).
const ENTRIES: [&str; 12] = [
    "Change Passwords",
    "Rename NIC",
    "Test Network",
    "Configure Networks",
    "Set Management Network",
    "Configure Console Proxy",
    "Collect Logs",
    "Backup Database",
    "Start/Stop/Restart ZStack Service",
    "Reset ZStack Service",
    "Reset ZStack Service&Drop Database",
    "Terminal Info",
];
/// What the password of the message bus becomes.
const BUS: &str = "Bus_password.2";

/// Somebody at the screen and the keyboard, who also looks at the node over SSH.
struct Seat<'a> {
    desk: &'a Desk,
    computer: &'a Computer,
    node: &'a Node<'a>,
    api: u16,
}

impl Seat<'_> {
    /// What is on a terminal.
    async fn text(&self, terminal: u8) -> Result<String> {
        let look = format!(
            "fold -b -w $(stty -F /dev/tty{terminal} size | cut -d' ' -f2) /dev/vcs{terminal} | tr -c '\\n -~' '.'"
        );
        self.node.run(&look).await
    }

    async fn sees(&self, terminal: u8, words: &str, limit: Duration) -> Result<()> {
        let mut last = String::new();
        let seen = until(&format!("{words:?} on terminal {terminal}"), limit, async || {
            last = self.text(terminal).await?;
            Ok(last.contains(words).then_some(()))
        })
        .await;
        if seen.is_err() {
            self.computer.picture(&self.desk.picture("not-seen")).await?;
        }
        seen.with_context(|| format!("it has:\n{last}"))
    }

    /// Waits until the console shows these words.
    async fn shows(&self, words: &str) -> Result<()> {
        self.sees(1, words, COMMAND).await
    }

    async fn press(&self, keys: &str) -> Result<()> {
        self.computer.press(keys).await
    }

    /// Types, a few keys at a time: a keyboard keeps no more, and a machine without hardware help is slower than it.
    /// `shown` is what is on the screen then.
    async fn types(&self, text: &str, shown: impl Fn(&str) -> String) -> Result<()> {
        let mut typed = String::new();
        let characters: Vec<char> = text.chars().collect();
        for part in characters.chunks(3) {
            let part: String = part.iter().collect();
            self.computer.type_text(&part).await?;
            typed.push_str(&part);
            self.shows(&shown(&typed)).await?;
        }
        Ok(())
    }

    /// Fills in the field with the cursor: a password.
    async fn secret(&self, text: &str) -> Result<()> {
        self.types(text, |text| format!("[{}_", "*".repeat(text.len()))).await
    }

    /// Through the gate to what a key leads to.
    async fn gate(&self, key: &str, behind: &str) -> Result<()> {
        self.press(key).await?;
        self.shows("Password of root on this node").await?;
        self.secret(PASSWORD).await?;
        self.press("ret").await?;
        self.shows(behind).await
    }

    /// Opens an entry from the list, which is open.
    async fn open(&self, entry: &str) -> Result<()> {
        let lines = ENTRIES.iter().position(|name| *name == entry).context("there is no such entry")?;
        self.press("home").await?;
        self.shows(&format!("> {}", ENTRIES[0])).await?;
        for name in &ENTRIES[1..=lines] {
            self.press("down").await?;
            self.shows(&format!("> {name}")).await?;
        }
        self.press("ret").await
    }

    /// Answers a question with its phrase.
    async fn confirm(&self, phrase: &str) -> Result<()> {
        self.shows(&format!("To confirm, type: {phrase}")).await?;
        self.types(phrase, |text| format!("> {text}")).await?;
        self.press("ret").await
    }

    /// Waits for the end of what was begun, which must be this, and closes its window.
    async fn ended(&self, words: &str) -> Result<()> {
        let mut last = String::new();
        until("an end", WORK, async || {
            last = self.text(1).await?;
            Ok(last.contains("Enter: back").then_some(()))
        })
        .await
        .with_context(|| format!("the screen has:\n{last}"))?;
        // The words of a result may be broken over lines of its window.
        let flat: String = last.split(|c: char| c.is_whitespace() || c == '.' || c == '|').collect();
        let wanted: String = words.split(|c: char| c.is_whitespace() || c == '.').collect();
        ensure!(flat.contains(&wanted) && !last.contains("ERROR"), "{words:?} is not on\n{last}");
        self.press("esc").await?;
        self.shows("Up/Down or k/j").await
    }

    async fn client(&self) -> Result<Client> {
        administrator(self.api).await
    }

    async fn make_zone(&self, name: &str) -> Result<()> {
        self.client().await?.create("/zones", json!({ "name": name })).await.map(drop)
    }

    async fn has_zones(&self, expected: &[&str]) -> Result<()> {
        let zones = self.client().await?.query("/zones", &[]).await?;
        let mut names: Vec<&str> = zones.iter().filter_map(|zone| zone["name"].as_str()).collect();
        names.sort_unstable();
        ensure!(names == expected, "the cloud has the zones {names:?} and not {expected:?}");
        Ok(())
    }
}

/// See the list of cases.
pub(in crate::e2e) async fn console(desk: &Desk) -> Result<()> {
    let Installed { mut hardware, key, ports, .. } = management(desk).await?;
    let (ssh, api) = (ports[0], ports[1]);
    let stick = stick(desk).await?;
    hardware.disks.push(stick);
    let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
    let node = Node { login: Login::Key(&key), port: ssh };
    node.is_up().await?;
    let seat = Seat { desk, computer: &computer, node: &node, api };
    seat.sees(1, "NODE INFO", BOOT).await?;
    api_answers(api).await?;

    terminals(&seat).await?;
    seat.gate("f2", "> Change Passwords").await?;
    backups(&seat).await?;
    logs(&seat).await?;
    restart(&seat).await?;
    message_bus(&seat).await?;
    reset(&seat).await?;
    reset_and_drop(&seat).await?;
    slow_line(&node).await?;
    power_off(&seat).await?;
    drop(computer);

    let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
    line(desk, &computer).await
}

/// A disk with the file system of a stick as it is bought.
async fn stick(desk: &Desk) -> Result<std::path::PathBuf> {
    let (raw, disk) = (desk.folder().join("stick.img"), desk.folder().join("stick.qcow2"));
    std::fs::File::create(&raw)?.set_len(256 << 20)?;
    let run = |program: &str| crate::program::Program::new(program);
    run("mformat")
        .arg("-i")
        .arg(&raw)
        .args(["-F", "-v", "STICK", "-T", "524288", "-h", "64", "-s", "32", "::"])
        .stdout()
        .await?;
    run("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&disk).stdout().await?;
    Ok(disk)
}

/// OS-CON-001, OS-CON-003, OS-CON-004.
async fn terminals(seat: &Seat<'_>) -> Result<()> {
    for (keys, terminal, words) in
        [("ctrl-alt-f3", 3, "zstack-cli "), ("ctrl-alt-f11", 11, "login:"), ("ctrl-alt-f1", 1, "NODE INFO")]
    {
        seat.press(keys).await?;
        let front = format!("tty{terminal}");
        until(&format!("{front} in front"), COMMAND, async || {
            Ok((seat.node.run("cat /sys/class/tty/tty0/active").await?.trim() == front).then_some(()))
        })
        .await?;
        seat.sees(terminal, words, COMMAND).await?;
        seat.computer.picture(&seat.desk.picture(&front)).await?;
    }
    let owner = seat.node.run("ps -o user=,comm= -t tty3").await?;
    ensure!(owner.contains("zstack-cli") && !owner.contains("root"), "OS-CON-003: on the third terminal: {owner}");
    Ok(())
}

/// OS-TUI-057 to 059, in a real RabbitMQ.
async fn message_bus(seat: &Seat<'_>) -> Result<()> {
    seat.open("Change Passwords").await?;
    seat.shows("RabbitMQ password of zstack").await?;
    seat.press("end").await?;
    seat.shows("> RabbitMQ password of zstack").await?;
    seat.press("ret").await?;
    seat.shows("System password of root").await?;
    seat.secret(PASSWORD).await?;
    for _ in 0..2 {
        seat.press("tab").await?;
        seat.secret(BUS).await?;
    }
    seat.press("ret").await?;
    seat.shows("Press Y to do this").await?;
    seat.press("y").await?;
    seat.ended("the password of the message bus's user zstack has been changed").await?;
    let look = format!("grep -c '^bus_zstack = \"{BUS}\"' /etc/zstack/generated-passwords.toml");
    ensure!(seat.node.run(&look).await?.trim() == "1", "the file has another password");
    let said = seat.node.run(&format!("echo '{BUS}' | rabbitmqctl authenticate_user zstack")).await?;
    ensure!(said.contains("Success"), "{said}");
    Ok(())
}

/// OS-TUI-100, OPS-BAK-008, OS-TUI-106.
async fn backups(seat: &Seat<'_>) -> Result<()> {
    seat.make_zone("paris").await?;
    seat.open("Backup Database").await?;
    seat.shows("> Back up now").await?;
    seat.press("ret").await?;
    seat.ended("Backup mysql successful!").await?;
    seat.make_zone("rome").await?;
    seat.has_zones(&["paris", "rome"]).await?;
    seat.open("Backup Database").await?;
    seat.shows("Restore zstack-backup-db-").await?;
    seat.press("down").await?;
    seat.shows("> Restore zstack-backup-db-").await?;
    seat.computer.picture(&seat.desk.picture("backups")).await?;
    seat.press("ret").await?;
    seat.confirm("restore database").await?;
    seat.ended("Recover data successfully!").await?;
    seat.open("Start/Stop/Restart ZStack Service").await?;
    seat.shows("> Start").await?;
    seat.press("ret").await?;
    seat.confirm("start zstack").await?;
    seat.ended("OK").await?;
    seat.has_zones(&["paris"]).await
}

/// OS-TUI-095, OS-TUI-096, and a copy on a stick.
async fn logs(seat: &Seat<'_>) -> Result<()> {
    seat.node
        .run("mkdir -p /media/stick && mount /dev/vdb /media/stick && findmnt -no FSTYPE /media/stick | grep vfat")
        .await?;
    seat.open("Collect Logs").await?;
    seat.shows("Copy to folder").await?;
    seat.press("tab").await?;
    seat.types("/media/stick/logs", |text| format!("[{text}_")).await?;
    seat.press("ret").await?;
    seat.ended("Collect log successful!").await?;
    // As a stick that is pulled at once: what is not written is not there.
    let copied = seat
        .node
        .run(
            "umount /media/stick && mount -o ro /dev/vdb /media/stick && cd /media/stick/logs && ls && \
                                for archive in *.tar.gz; do tar -tzf $archive > /dev/null || exit 1; done",
        )
        .await?;
    ensure!(copied.contains("index.txt") && copied.contains(".tar.gz"), "on the stick: {copied}");
    seat.node.run("umount /media/stick && fsck.fat -n /dev/vdb").await.map(drop)
}

/// OS-TUI-108.
async fn restart(seat: &Seat<'_>) -> Result<()> {
    let process = async || seat.node.run("systemctl show --property=MainPID --value mn-service").await;
    let before = process().await?;
    seat.open("Start/Stop/Restart ZStack Service").await?;
    seat.shows("> Start").await?;
    seat.press("end").await?;
    seat.shows("> Restart").await?;
    seat.press("ret").await?;
    seat.confirm("restart zstack").await?;
    seat.ended("OK").await?;
    ensure!(process().await? != before, "it is the same process");
    seat.has_zones(&["paris"]).await
}

/// OS-TUI-110 to 112: packages and configuration are as they were installed, and the data is there.
async fn reset(seat: &Seat<'_>) -> Result<()> {
    let keys = async || seat.node.run("sha256sum /var/lib/zstack/secret.key /var/lib/zstack/ca/ca.pem").await;
    let before = keys().await?;
    seat.node
        .run("rm /usr/bin/zstack-cli && sed -i 's/^plain_http.*/plain_http = false/' /etc/zstack/mn-service.toml")
        .await?;
    seat.open("Reset ZStack Service").await?;
    seat.shows("extremely dangerous").await?;
    seat.computer.picture(&seat.desk.picture("reset")).await?;
    let begun = Instant::now();
    seat.confirm("reset zstack").await?;
    seat.ended("the management service has been reset and answers; its database was kept").await?;
    seat.desk.note(format!("reset in {:.0} s", begun.elapsed().as_secs_f64()));
    seat.has_zones(&["paris"]).await?;
    ensure!(keys().await? == before, "the keys of the cloud have changed");
    let state = seat
        .node
        .run("dpkg --verify zstack-cli zstack-mn-service zstack-ctl zstack-node-manager; dpkg --audit; \
              grep plain_http /etc/zstack/mn-service.toml; ls /etc/zstack; ls /var/lib/zstack; systemctl is-active mn-service")
        .await?;
    ensure!(state.contains("plain_http = true") && state.contains("mn-service.toml.before-reset-"), "{state}");
    ensure!(!state.contains("/usr/bin/") && !state.contains("reset-unfinished"), "{state}");
    ensure!(state.lines().last() == Some("active"), "{state}");
    Ok(())
}

/// OS-TUI-115 to 117: the data is gone, the first password is back, and the backup has everything.
async fn reset_and_drop(seat: &Seat<'_>) -> Result<()> {
    seat.open("Reset ZStack Service&Drop Database").await?;
    seat.shows("DATABASE").await?;
    seat.confirm("reset zstack drop database").await?;
    seat.ended("log in as admin with `password`").await?;
    seat.has_zones(&[]).await?;
    let backups = seat.node.run("zstack-ctl list_backups").await?;
    ensure!(backups.lines().count() >= 3, "backups: {backups}");
    Ok(())
}

/// From its next start on the node has a console on a slow serial line.
async fn slow_line(node: &Node<'_>) -> Result<()> {
    let line = "GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,9600\"";
    node.run(&format!(
        "mkdir -p /etc/default/grub.d && echo '{line}' > /etc/default/grub.d/zz-line.cfg && update-grub 2>&1 && sync"
    ))
    .await?;
    Ok(())
}

/// OS-TUI-125, OS-TUI-127.
async fn power_off(seat: &Seat<'_>) -> Result<()> {
    seat.press("f2").await?;
    seat.shows("F2 System configuration").await?;
    seat.gate("f12", "> Reboot").await?;
    seat.press("down").await?;
    seat.shows("> Poweroff").await?;
    seat.press("ret").await?;
    seat.shows("To confirm, type: POWEROFF").await?;
    // Nothing can be looked at once the last key is pressed.
    seat.types("POWEROFF", |text| format!("> {text}")).await?;
    seat.press("ret").await?;
    seat.computer.ended(BOOT).await?;
    Ok(())
}

/// A terminal on a serial line of 9600 baud sees the console, and its keys arrive.
async fn line(desk: &Desk, computer: &Computer) -> Result<()> {
    computer.line_shows("NODE INFO", BOOT).await?;
    let shown = computer.seconds();
    computer.line_shows("F2 or s: System configuration", BOOT).await?;
    computer.type_on_line("s").await?;
    computer.line_shows("Password of root on this node", COMMAND).await?;
    computer.type_on_line(&format!("{PASSWORD}\r")).await?;
    computer.line_shows("> Change Passwords", COMMAND).await?;
    computer.type_on_line("j").await?;
    computer.line_shows("> Rename NIC", COMMAND).await?;
    ensure!(computer.line_screen().is_ascii(), "a serial line shows ASCII alone:\n{}", computer.line_screen());
    desk.note(format!("console on the serial line {shown:.0} s after power-on"));
    Ok(())
}
