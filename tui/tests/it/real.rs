//! The real program on real parts: PAM, the kernel's network, a terminal.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    time::Duration,
};

use private_tty::{CLEAR, DOWN, ENTER, F2, F12, TAB, Tty};

use crate::tty::{PASSWORD, inside, open, prepare, start};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    folder
}

fn namespaced(tty: &Tty, command: &str) -> String {
    let pid = tty.pid().to_string();
    let output =
        std::process::Command::new("nsenter").args(["--net", "-t", &pid, "sh", "-c", command]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn os_tui_010_030_to_033_the_panels_the_gate_and_the_way_back() {
    let folder = folder();
    let mut tty = start(folder.path(), "ip link add br0 type bridge; ip link set br0 up", "xterm");
    tty.wait("NODE INFO");
    tty.wait("br0");
    // What somebody has written over it goes with Ctrl+L.
    std::fs::write(format!("/proc/{}/fd/1", tty.pid()), "kernel: something happened\r\n").unwrap();
    tty.wait("something happened");
    tty.send("\u{c}");
    tty.gone("something happened");
    // No service runs here, and the console says so.
    tty.wait("NOT running");
    for key in [F2, F12] {
        tty.send(key);
        tty.wait("Password of root");
        tty.send_all(&["not-the-password", ENTER]);
        tty.wait("Wrong password. Nothing was done.");
        tty.escape("Wrong password");
        tty.wait("F2 System configuration");
    }
    tty.send(F2);
    tty.wait("Password of root");
    tty.send_all(&[PASSWORD, ENTER]);
    tty.wait("> Change Passwords");
    tty.send(F2);
    tty.wait("NODE INFO");
    let said = std::fs::read_to_string(folder.path().join("stderr")).unwrap();
    assert!(!said.contains(PASSWORD), "{said}");
    assert!(tty.end().success());
}

#[test]
fn os_tui_051_to_053_the_password_of_root_is_changed_through_pam() {
    let folder = folder();
    let mut tty = start(folder.path(), "", "xterm");
    let change = |tty: &mut Tty, gate: &str, old: &str, new: &str| {
        open(tty, gate, 0);
        tty.wait("System password of root");
        tty.send(ENTER);
        tty.wait("Present password");
        tty.send_all(&[old, TAB, new, TAB, new, ENTER]);
        tty.wait("Press Y to do this");
        tty.send("y");
    };
    let shadow = || std::fs::read_to_string(folder.path().join("etc/shadow")).unwrap();
    let before = shadow();
    change(&mut tty, PASSWORD, "not-the-old-one", "second-Password-2");
    tty.wait("The present password is wrong. Nothing was changed.");
    assert_eq!(shadow(), before);
    tty.escape("The present password is wrong");
    tty.send(F2);
    change(&mut tty, PASSWORD, PASSWORD, "second-Password-2");
    tty.wait("The password of root was changed.");
    assert_ne!(shadow(), before);
    // The old one leads nowhere now, the new one does.
    tty.escape("The password of root was changed.");
    tty.send(F2);
    tty.wait("F2 System configuration");
    tty.send(F2);
    tty.wait("Password of root");
    tty.send_all(&[PASSWORD, ENTER]);
    tty.wait("Wrong password");
    tty.escape("Wrong password");
    open(&mut tty, "second-Password-2", 0);
    tty.wait("System password of root");
    assert!(tty.end().success());
}

#[test]
fn os_tui_065_066_the_network_is_tested_with_real_questions() {
    let folder = folder();
    let mut tty = start(folder.path(), "ip addr add 10.99.0.1/24 dev lo", "xterm");
    for (target, said) in [
        ("10.99.0.1", "10.99.0.1 answers."),
        ("localhost", "localhost answers."),
        ("10.98.0.1", "10.98.0.1: no answer"),
        ("no-such-host.invalid", "cannot be looked up"),
    ] {
        open(&mut tty, PASSWORD, 2);
        tty.wait("Address or name");
        tty.send_all(&[CLEAR, target, ENTER]);
        tty.wait("Enter: back");
        let text = tty.text();
        assert!(text.contains(said) && text.contains("There is no default route"), "{text}");
        tty.escape("Enter: back");
        tty.send(F2);
    }
    assert!(tty.end().success());
}

#[test]
fn os_tui_072_077_an_address_is_set_kept_and_written_down() {
    let folder = folder();
    let mut tty = start(folder.path(), "ip link add br0 type bridge; ip link set br0 up", "xterm");
    tty.wait("br0");
    open(&mut tty, PASSWORD, 3);
    tty.wait("Configure Networks");
    tty.wait("> br0");
    tty.send(ENTER);
    tty.wait("Address of br0");
    tty.send_all(&["10.99.0.10", TAB, "255.255.255.0", TAB, "10.99.1.1", ENTER]);
    tty.wait("is not in the network 10.99.0.0/24");
    tty.send_all(&[CLEAR, "10.99.0.1", ENTER]);
    tty.wait("Press Y to do this");
    tty.wait("10.99.0.10/24");
    tty.send("y");
    tty.wait("The change is in force");
    assert!(namespaced(&tty, "ip -o addr show br0").contains("10.99.0.10/24"));
    if tty.text().contains("Y: keep it") {
        tty.send("y");
        tty.wait("kept");
    }
    let files = folder.path().join("root/etc/systemd/network");
    assert!(any_file(&files, "Address=10.99.0.10/24"), "{}", tty.text());
    assert!(tty.end().success());
}

#[test]
fn a_change_of_the_management_network_comes_back_when_nobody_keeps_it_and_when_the_console_dies() {
    let folder = folder();
    let network = "ip link add br0 type bridge; ip addr add 10.99.0.10/24 dev br0; ip link set br0 up; \
                   ip route add default via 10.99.0.1";
    let mut tty = start(folder.path(), network, "xterm");
    let begin = |tty: &mut Tty| {
        tty.wait("> br0(MN)");
        tty.send(ENTER);
        tty.wait("carries the management network");
        tty.send_all(&[CLEAR, "10.99.0.20", TAB, TAB, "10.99.0.1", ENTER]);
        tty.wait("Press Y to do this");
        tty.send("y");
        tty.wait("Y: keep it");
        assert!(namespaced(tty, "ip -o addr show br0").contains("10.99.0.20/24"));
    };
    tty.wait("br0");
    open(&mut tty, PASSWORD, 3);
    begin(&mut tty);
    tty.send("n");
    tty.wait("taken back");
    let addresses = namespaced(&tty, "ip -o addr show br0");
    assert!(addresses.contains("10.99.0.10/24") && !addresses.contains("10.99.0.20/24"), "{addresses}");
    tty.escape("taken back");
    tty.wait("> Configure Networks");
    tty.send(ENTER);
    begin(&mut tty);
    // A second process in the namespace sees it come back after the console was killed.
    let mut watcher = std::process::Command::new("nsenter")
        .args(["--net", "-t", &tty.pid().to_string(), "sh", "-c"])
        .arg(
            "echo inside; for i in $(seq 1200); do ip -o addr show br0 | grep -q 10.99.0.10/24 && exit 0; sleep 0.1; \
             done; exit 1",
        )
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(watcher.stdout.take().unwrap()).read_line(&mut line).unwrap();
    tty.kill();
    assert!(watcher.wait().unwrap().success(), "the old address did not come back");
}

#[test]
fn os_tui_105_to_108_the_service_is_told_and_the_phrase_is_needed() {
    let folder = folder();
    let mut tty = start(folder.path(), "", "xterm");
    open(&mut tty, PASSWORD, 8);
    tty.wait("Restart");
    tty.send_all(&[DOWN, ENTER]);
    tty.wait("To confirm, type: stop zstack");
    tty.send_all(&["stop", ENTER]);
    tty.send_all(&[" zstack", ENTER]);
    tty.wait("told to stop");
    assert_eq!(inside(folder.path(), "cat /etc/ctl.log"), "stop\n");
    assert!(tty.end().success());
}

/// Stands for `node-manager join`: says what that says, and makes the node a host.
const JOIN: &str = r#"#!/bin/sh
read -r code
echo "$@" >/etc/join.log
echo "$code" >/etc/join.code
echo '{"message":"asking the management service","progress":0.0}'
case $code in
*tvwx) ;;
*) echo '{"error":{"message":"the code is wrong; compare it with the one that was shown"}}'; exit 3 ;;
esac
touch "${2%/*}/host.crt"
echo '{"result":{"host":"c1"},"lines":["This node is host c1 of the cloud, and connected."]}'
"#;

#[test]
fn a_node_without_a_cloud_joins_one_from_its_screen() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("node-manager"), JOIN).unwrap();
    std::fs::set_permissions(path("node-manager"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let agent = format!("certificate = \"{}\"\nrun_dir = \"{}\"\n", path("host.crt"), path("run"));
    std::fs::write(path("agent.toml"), agent).unwrap();
    let config = format!(
        "role = \"compute\"\nfolders = [\"/\"]\nnode_manager = \"{}\"\nagent_config = \"{}\"\n",
        path("node-manager"),
        path("agent.toml")
    );
    std::fs::write(path("tui.toml"), config).unwrap();
    let mut tty = start(folder.path(), "", "xterm");
    tty.wait("not in a cloud yet");
    tty.wait("F2, Join a Cloud");
    let join = |tty: &mut Tty, code: &str| {
        tty.send_all(&["192.0.2.1", TAB, code, ENTER]);
        tty.wait("Press Y to do this");
        tty.send("y");
    };
    open(&mut tty, PASSWORD, 5);
    tty.wait("Management node");
    join(&mut tty, "abcd-efgh-jkmn-pqrs-0000");
    tty.wait("the code is wrong");
    tty.escape("the code is wrong");
    tty.send(ENTER);
    tty.wait("Management node");
    join(&mut tty, "abcd-efgh-jkmn-pqrs-tvwx");
    tty.wait("This node is host c1 of the cloud");
    let arguments = inside(folder.path(), "cat /etc/join.log");
    let wanted =
        format!("--config {} join --json --remember /etc/zstack/join.toml --address 192.0.2.1\n", path("agent.toml"));
    assert_eq!(arguments, wanted, "the code is no argument");
    assert_eq!(inside(folder.path(), "cat /etc/join.code"), "abcd-efgh-jkmn-pqrs-tvwx\n");
    // It is in a cloud now, and joins no other.
    tty.escape("This node is host c1");
    tty.gone("Join a Cloud");
    let said = std::fs::read_to_string(folder.path().join("stderr")).unwrap();
    assert!(!said.contains("efgh"), "{said}");
    assert!(tty.end().success());
}

#[test]
fn a_mouse_is_listened_to_where_the_configuration_says_so() {
    let folder = folder();
    let mut tty = start(folder.path(), "", "xterm");
    tty.wait("NODE INFO");
    assert!(!tty.listens_to_mouse(), "not by default: it would take selecting text away");
    assert!(tty.end().success());
    let file = folder.path().join("tui.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("mouse = true\n{text}")).unwrap();
    let mut tty = start(folder.path(), "", "xterm");
    open(&mut tty, PASSWORD, 0);
    tty.wait("MySQL password of root");
    assert!(tty.listens_to_mouse());
    tty.escape("MySQL password of root");
    tty.click("Start/Stop/Restart");
    tty.wait("> Start");
    tty.click("Stop  ");
    tty.wait("To confirm, type: stop zstack");
    assert!(tty.end().success());
}

#[test]
fn a_terminal_without_unicode_gets_ascii_and_the_console_writes_little_while_it_idles() {
    let folder = folder();
    let mut tty = start(folder.path(), "", "vt220");
    tty.wait("NODE INFO");
    assert!(tty.text().is_ascii(), "{}", tty.text());
    tty.wait("NOT running");
    let written = tty.idle(Duration::from_secs(5));
    assert!(written > 0, "the clock goes on");
    // 960 bytes a second go over the slowest line, which is drawn on five times less often.
    assert!(written < 5 * 600, "{written} bytes in 5 s");
}

#[test]
fn what_the_kernel_writes_on_the_screen_is_drawn_over() {
    let folder = folder();
    let mut tty = start(folder.path(), "", "xterm");
    tty.wait("NOT running");
    let before = tty.text();
    tty.disturb("\u{1b}[5;1Hkvm [1234]: a register nobody knows\u{1b}[20;70HMessage");
    assert!(tty.text().contains("kvm [1234]"), "{}", tty.text());
    tty.gone("kvm [1234]");
    tty.gone("Message");
    let frames = |text: &str| text.matches(['│', '─']).count();
    assert_eq!(frames(&tty.text()), frames(&before), "{}", tty.text());
}

fn any_file(folder: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.into_iter().any(|file| std::fs::read_to_string(file.path()).is_ok_and(|found| found.contains(text)))
}
