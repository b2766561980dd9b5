//! The text console over the real programs: what an operator does on the screen of a management node.

use std::{fs::File, process::Command};

use private_tty::{DOWN, ENTER, F2, TAB, Tty};

use crate::real::{Machine, program};

/// The password of root in the console's copy of `/etc`.
const PASSWORD: &str = "first-Password-1";
/// Lines of the system configuration (OS-TUI-042).
const CONSOLE_PROXY: usize = 5;
const LOGS: usize = 6;
const BACKUP: usize = 7;
const SERVICE: usize = 8;

fn sh(script: &str) {
    let output = Command::new("unshare").args(["--mount", "sh", "-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Starts the console of a machine, with a copy of `/etc` that has a password of root that the test knows.
fn console(machine: &Machine) -> Tty {
    let (home, etc) = (machine.home.path().display().to_string(), machine.path("etc").display().to_string());
    sh(&format!("cp -a /etc {etc}; mount --bind {etc} /etc; echo root:{PASSWORD} | chpasswd"));
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
    command.env("ZS_NETWORK_ROOT", machine.path("root")).stderr(File::create(machine.path("stderr")).unwrap());
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
