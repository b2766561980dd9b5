//! The real program on a terminal, in namespaces of its own: network, mounts, and a copy of `/etc`.

use std::{fs::File, path::Path, process::Command};

use private_tty::{DOWN, ENTER, F2, Tty};

/// The password of root in the copy of `/etc`.
pub(crate) const PASSWORD: &str = "first-Password-1";

/// Makes the copy of `/etc` below a folder, with our PAM file and a known password of root.
pub(crate) fn prepare(folder: &Path) {
    let etc = folder.join("etc");
    run(Command::new("cp").args(["-a", "/etc"]).arg(&etc));
    let pam = include_str!("../../../rpm-specs/pam/zstack-tui");
    std::fs::write(etc.join("pam.d/zstack-tui"), pam).unwrap();
    std::fs::write(folder.join("zstack-ctl"), "#!/bin/sh\nshift 2\necho \"$@\" >>/etc/ctl.log\necho told to $1\n")
        .unwrap();
    run(Command::new("chmod").arg("0755").arg(folder.join("zstack-ctl")));
    let config = format!(
        "role = \"management\"\nfolders = [\"/\"]\nzstack_ctl = \"{0}/zstack-ctl\"\nmanagement_config = \"{0}/none\"\n\
         confirm_seconds = 10\nrepaint_seconds = 8\n",
        folder.display()
    );
    std::fs::write(folder.join("tui.toml"), config).unwrap();
    inside(folder, &format!("echo 'root:{PASSWORD}' | chpasswd"));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a script with the copy of `/etc` in place of the machine's.
pub(crate) fn inside(folder: &Path, script: &str) -> String {
    let script = format!("mount --bind {}/etc /etc && {{ {script}\n}}", folder.display());
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Starts the program; `network` is done in its network namespace first.
pub(crate) fn start(folder: &Path, network: &str, term: &str) -> Tty {
    let script = format!(
        "set -e; mount --bind {0}/etc /etc; ip link set lo up; {network}\nexec {1} --config {0}/tui.toml",
        folder.display(),
        env!("CARGO_BIN_EXE_zstack-tui")
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "sh", "-c", &script]);
    command.env("TERM", term).env("LC_ALL", "C.UTF-8").env("ZS_NETWORK_ROOT", folder.join("root"));
    command.stderr(File::create(folder.join("stderr")).unwrap());
    Tty::start(&mut command)
}

/// Goes through the gate and opens the entry so many lines down.
pub(crate) fn open(tty: &mut Tty, password: &str, entry: usize) {
    tty.wait("F2 ");
    tty.send(F2);
    tty.wait("Password of root");
    tty.send_all(&[password, ENTER]);
    tty.wait("Change Passwords");
    (0..entry).for_each(|_| tty.send(DOWN));
    tty.send(ENTER);
}
