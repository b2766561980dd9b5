//! The text console over the real programs: what an operator does on the screen of a management node.

use std::{fs::File, process::Command};

use private_tty::{DOWN, ENTER, F2, TAB, Tty};
use system_tests::program;

use private_mariadb::{Durability, MariaDb};

use crate::{
    install,
    real::{Machine, output},
};

/// The password of root in the console's copy of `/etc`.
const PASSWORD: &str = "first-Password-1";
/// Lines of the system configuration (OS-TUI-042).
const PASSWORDS: usize = 0;
const CONSOLE_PROXY: usize = 5;
const LOGS: usize = 6;
const BACKUP: usize = 7;
const SERVICE: usize = 8;

fn sh(script: &str) {
    let output = Command::new("unshare").args(["--mount", "sh", "-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A copy of `/etc` for a machine, in which root has a password that the test knows.
fn copy_etc(machine: &Machine) {
    let etc = machine.path("etc").display().to_string();
    sh(&format!("cp -a /etc {etc}; mount --bind {etc} /etc; echo root:{PASSWORD} | chpasswd"));
}

/// Starts the console of a machine, with a copy of `/etc` that has a password of root that the test knows.
fn console(machine: &Machine) -> Tty {
    let (home, etc) = (machine.home.path().display().to_string(), machine.path("etc").display().to_string());
    copy_etc(machine);
    let pam = include_str!("../../../../rpm-specs/pam/zstack-tui");
    std::fs::write(machine.path("etc/pam.d/zstack-tui"), pam).unwrap();
    let config = format!(
        "role = \"management\"\nfolders = [\"/\"]\nzstack_ctl = \"{home}/zstack-ctl\"\n\
         management_config = \"{home}/mn-service.toml\"\n"
    );
    std::fs::write(machine.path("tui.toml"), config).unwrap();
    let script = format!(
        "mount --bind {etc} /etc; exec {} --config {home}/tui.toml",
        program("zstack-tui", &["tui", "node-manager", "mn-service/config"]).display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &script]).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    // What is in the way of other programs' names is the test's.
    let path = format!("{home}/bin:{}", std::env::var("PATH").unwrap());
    command
        .env("PATH", path)
        .env("ZS_NETWORK_ROOT", machine.path("root"))
        .stderr(File::create(machine.path("stderr")).unwrap());
    Tty::start(&mut command)
}

/// Opens an entry of the system configuration, which is open already.
fn open(tty: &mut Tty, entry: usize) {
    tty.send("\u{1b}[H");
    tty.wait("> Change Passwords");
    (0..entry).for_each(|_| tty.send(DOWN));
    tty.send(ENTER);
}

/// Waits for the end of what was begun, which must be a good one, and goes back.
fn ended(tty: &mut Tty, said: &str) {
    tty.wait("Enter: back");
    let text = tty.text();
    assert!(text.contains(said) && !text.contains("ERROR"), "{text}");
    tty.escape("Enter: back");
}

#[tokio::test(flavor = "multi_thread")]
async fn os_tui_085_to_108_an_operator_backs_up_restores_collects_and_restarts_on_the_screen() {
    let machine = Machine::new("");
    assert_eq!(machine.run(&["start"]).code, 0);
    machine.make_zone("before").await;
    let mut tty = console(&machine);
    // OS-TUI-010: what the service says of itself.
    tty.wait("MN service  running");
    tty.wait(&format!("127.0.0.1:{}", machine.ui));
    tty.send(F2);
    tty.wait("Password of root");
    tty.send_all(&[PASSWORD, ENTER]);
    tty.wait("> Change Passwords");

    // OS-TUI-100: a backup, and a link to it.
    open(&mut tty, BACKUP);
    tty.wait("> Back up now");
    tty.send(ENTER);
    tty.wait("Backup mysql successful!");
    tty.wait("https://");
    ended(&mut tty, "/download/");
    let made = std::fs::read_dir(machine.path("data/mysql-backup")).unwrap().count();
    assert!(made >= 2, "a backup and its checksum");

    // OPS-BAK-008: what came after it is gone once it is restored, and the service rests.
    machine.make_zone("after").await;
    open(&mut tty, BACKUP);
    tty.wait("Restore zstack-backup-db-");
    tty.send_all(&[DOWN, ENTER]);
    tty.wait("To confirm, type: restore database");
    tty.send_all(&["restore database", ENTER]);
    ended(&mut tty, "Recover data successfully!");
    assert_ne!(machine.run(&["status"]).code, 0, "it was stopped");

    // OS-TUI-106.
    open(&mut tty, SERVICE);
    tty.wait("> Start");
    tty.send(ENTER);
    tty.wait("To confirm, type: start zstack");
    tty.send_all(&["start zstack", ENTER]);
    ended(&mut tty, "OK");
    assert_eq!(machine.zones().await, ["before"]);

    // OS-TUI-095.
    open(&mut tty, LOGS);
    tty.wait("Since");
    tty.send(ENTER);
    ended(&mut tty, "/download/");

    // OS-TUI-085 to 090: one field empty, the other changed.
    let port = crate::free_port();
    open(&mut tty, CONSOLE_PROXY);
    tty.wait(&format!("[{}_", machine.console));
    tty.send_all(&["10.9.9.9", TAB, private_tty::CLEAR, &port.to_string(), ENTER]);
    tty.wait("Press Y to do this");
    tty.send("y");
    ended(&mut tty, "OK");
    let file = std::fs::read_to_string(machine.path("mn-service.toml")).unwrap();
    assert!(file.contains("console_host = \"10.9.9.9\"") && file.contains(&format!("127.0.0.1:{port}")), "{file}");
    open(&mut tty, CONSOLE_PROXY);
    tty.wait(&format!("[{port}_"));
    tty.wait("[10.9.9.9_");
    tty.escape("Proxy port");

    // A service that is down is said to be, and the rest goes on.
    assert_eq!(machine.run(&["stop"]).code, 0);
    open(&mut tty, CONSOLE_PROXY);
    tty.wait("ERROR");
    tty.escape("ERROR");
    open(&mut tty, BACKUP);
    tty.wait("> Back up now");
    tty.send(ENTER);
    tty.wait("Backup mysql successful!");
    tty.wait("zstack-ctl start");
    tty.escape("Backup mysql successful!");
    let said = std::fs::read_to_string(machine.path("stderr")).unwrap();
    assert!(!said.contains(PASSWORD), "{said}");
    assert!(tty.end().success());
}

/// Fills in the form for a password: what is asked for first, and twice the new one; and says yes.
fn change(tty: &mut Tty, line: usize, [old, new]: [&str; 2]) {
    open(tty, PASSWORDS);
    tty.wait("MySQL password of root");
    (0..line).for_each(|_| tty.send(DOWN));
    tty.send(ENTER);
    tty.wait("New password again");
    tty.send_all(&[old, TAB, new, TAB, new, ENTER]);
    tty.wait("Press Y to do this");
    tty.send("y");
}

/// OS-TUI-054 to 059: from the keys to a login with the new password.
#[tokio::test(flavor = "multi_thread")]
async fn os_tui_054_to_059_passwords_typed_on_the_screen_are_those_of_database_and_message_bus() {
    let server = MariaDb::start(Durability::None).unwrap();
    let socket = server.socket().display().to_string();
    let machine = Machine::new("");
    let generated = machine.path("passwords.toml").display().to_string();
    machine.run(&["prepare_node", "database", "--socket", &socket, "--passwords", &generated]).expect(0);
    let made: toml::Table = std::fs::read_to_string(&generated).unwrap().parse().unwrap();
    let [root, zstack] = ["database_root", "database_zstack"].map(|key| made[key].as_str().unwrap().to_owned());
    let logs_in = |user: &str, password: &str| {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--user", user, &format!("--socket={socket}"), "--execute", "SELECT 1"]);
        output(client.env("MYSQL_PWD", password)).code == 0
    };
    assert!(logs_in("zstack", &zstack));
    machine.run(&["start"]).expect(0);
    machine.make_zone("paris").await;

    // A message bus that lets everybody in and notes what it is told.
    std::fs::create_dir(machine.path("bin")).unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >> {0}/asked; cat > {0}/told-$1\n", machine.home.path().display());
    std::fs::write(machine.path("script"), script).unwrap();
    install(&machine.path("script"), &machine.path("bin/rabbitmqctl"));

    let mut tty = console(&machine);
    let passwords = machine.path("etc/zstack/generated-passwords.toml");
    std::fs::create_dir_all(passwords.parent().unwrap()).unwrap();
    std::fs::write(&passwords, "bus_zstack = \"the-old-one\"\n").unwrap();
    tty.wait("MN service  running");
    tty.send(F2);
    tty.wait("Password of root");
    tty.send_all(&[PASSWORD, ENTER]);
    tty.wait("> Change Passwords");

    change(&mut tty, 2, ["not-this-one", "Second-one.2"]);
    tty.wait("ERROR");
    tty.escape("ERROR");
    assert!(logs_in("zstack", &zstack) && !logs_in("zstack", "Second-one.2"), "OS-TUI-055: nothing changed");
    let pid = machine.read("mn-service.pid");
    change(&mut tty, 2, [&root, "Second-one.2"]);
    ended(&mut tty, "the password of the database's user zstack has been changed");
    assert!(logs_in("zstack", "Second-one.2") && !logs_in("zstack", &zstack));
    assert_ne!(machine.read("mn-service.pid"), pid, "OS-TUI-056: the service is restarted");
    assert_eq!(machine.zones().await, ["paris"], "and uses it");
    change(&mut tty, 1, [&root, "Third-one.3"]);
    ended(&mut tty, "the password of the database's user root has been changed");
    change(&mut tty, 2, [&root, "Fourth-one.4"]);
    tty.wait("ERROR");
    tty.escape("ERROR");
    change(&mut tty, 2, ["Third-one.3", "Fourth-one.4"]);
    ended(&mut tty, "the password of the database's user zstack has been changed");
    assert!(logs_in("zstack", "Fourth-one.4"));

    // OS-TUI-058, and then the right one.
    change(&mut tty, 3, ["not-roots", "Bus-one.1"]);
    tty.wait("The password of root is wrong. Nothing was changed.");
    tty.escape("Nothing was changed.");
    assert!(!machine.path("asked").exists(), "the message bus heard nothing");
    change(&mut tty, 3, [PASSWORD, "Bus-one.1"]);
    ended(&mut tty, "the password of the message bus's user zstack has been changed");
    assert_eq!(std::fs::read_to_string(machine.path("told-change_password")).unwrap(), "Bus-one.1\n");
    assert!(!std::fs::read_to_string(machine.path("asked")).unwrap().contains("Bus-one"), "in no list of processes");
    let file: toml::Table = std::fs::read_to_string(&passwords).unwrap().parse().unwrap();
    assert_eq!(file["bus_zstack"].as_str(), Some("Bus-one.1"));
    let said = std::fs::read_to_string(machine.path("stderr")).unwrap();
    assert!(["one.1", "one.2", "one.3", "one.4", PASSWORD].iter().all(|secret| !said.contains(secret)), "{said}");
    assert!(tty.end().success());
    machine.run(&["stop"]).expect(0);
}
