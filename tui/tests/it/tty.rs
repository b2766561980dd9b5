//! The real program on a pseudo-terminal, in namespaces of its own: network, mounts, and a copy of `/etc`.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    num::NonZero,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The password of root in the copy of `/etc`.
pub(crate) const PASSWORD: &str = "first-Password-1";

/// The program, and the terminal it is on.
pub(crate) struct Tty {
    child: Child,
    master: File,
    screen: vt100::Parser,
    /// Bytes that it has written.
    pub(crate) written: usize,
}

/// Keys that have no character.
pub(crate) const F2: &str = "\u{1b}OQ";
pub(crate) const F12: &str = "\u{1b}[24~";
pub(crate) const DOWN: &str = "\u{1b}[B";
pub(crate) const ESC: &str = "\u{1b}";
pub(crate) const ENTER: &str = "\r";
pub(crate) const TAB: &str = "\t";
pub(crate) const CLEAR: &str = "\u{15}";

/// Makes the copy of `/etc` below a folder, with our PAM file and a known password of root.
pub(crate) fn prepare(folder: &Path) {
    let etc = folder.join("etc");
    run(Command::new("cp").args(["-a", "/etc"]).arg(&etc));
    let pam = include_str!("../../../rpm-specs/pam/zstack-tui");
    std::fs::write(etc.join("pam.d/zstack-tui"), pam).unwrap();
    std::fs::write(folder.join("zstack-ctl"), "#!/bin/sh\necho \"$@\" >>/etc/ctl.log\necho told to $1\n").unwrap();
    run(Command::new("chmod").arg("0755").arg(folder.join("zstack-ctl")));
    let config = format!(
        "role = \"management\"\nfolders = [\"/\"]\nzstack_ctl = \"{0}/zstack-ctl\"\nmanagement_config = \"{0}/none\"\n\
         confirm_seconds = 10\n",
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

impl Tty {
    /// Starts the program; `network` is done in its network namespace first.
    pub(crate) fn start(folder: &Path, network: &str, term: &str) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let slave = || Stdio::from(OwnedFd::try_clone(&pty.slave).unwrap());
        let script = format!(
            "set -e; mount --bind {0}/etc /etc; ip link set lo up; {network}\n\
             exec {1} --config {0}/tui.toml",
            folder.display(),
            env!("CARGO_BIN_EXE_zstack-tui")
        );
        let child = Command::new("unshare")
            .args(["--mount", "--net", "sh", "-c", &script])
            .env("TERM", term)
            .env("LC_ALL", "C.UTF-8")
            .env("ZS_NETWORK_ROOT", folder.join("root"))
            .stdin(slave())
            .stdout(slave())
            .stderr(Stdio::from(File::create(folder.join("stderr")).unwrap()))
            .spawn()
            .unwrap();
        Self {
            child,
            master: pty.master.into(),
            screen: vt100::Parser::new(NonZero::new(24).unwrap(), NonZero::new(80).unwrap(), 0),
            written: 0,
        }
    }

    /// The process of the program.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types.
    pub(crate) fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Types one after the other.
    pub(crate) fn send_all(&mut self, keys: &[&str]) {
        keys.iter().for_each(|keys| self.send(keys));
    }

    /// Reads what has come, or waits for it that long. Returns whether anything came.
    fn read(&mut self, wait: Duration) -> bool {
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, timeout).unwrap_or(0) == 0 {
            return false;
        }
        let mut bytes = [0; 8192];
        // The program has ended when nothing can be read.
        let count = self.master.read(&mut bytes).unwrap_or(0);
        self.written += count;
        self.screen.process(&bytes[..count]);
        count > 0
    }

    /// What is on the screen.
    pub(crate) fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits until the screen has this.
    #[track_caller]
    pub(crate) fn wait(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the program ended with {ended:?}; {text:?} was not seen on\n{}", self.text());
            assert!(Instant::now() < until, "{text:?} did not come onto the screen:\n{}", self.text());
            self.read(Duration::from_millis(100));
        }
    }

    /// Closes the window that shows this. What is typed next would be taken for one key together with the escape, were it
    /// not waited for.
    #[track_caller]
    pub(crate) fn escape(&mut self, text: &str) {
        assert!(self.text().contains(text), "{text:?} is not on\n{}", self.text());
        self.send(ESC);
        let until = Instant::now() + PATIENCE;
        while self.text().contains(text) {
            assert!(Instant::now() < until, "{text:?} stays on the screen:\n{}", self.text());
            self.read(Duration::from_millis(100));
        }
    }

    /// Bytes that it writes in a time in which nothing is typed.
    pub(crate) fn idle(&mut self, time: Duration) -> usize {
        let (before, until) = (self.written, Instant::now() + time);
        while Instant::now() < until {
            self.read(until.saturating_duration_since(Instant::now()));
        }
        self.written - before
    }

    /// Goes through the gate and opens the entry so many lines down.
    pub(crate) fn open(&mut self, password: &str, entry: usize) {
        self.wait("F2 ");
        self.send(F2);
        self.wait("Password of root");
        self.send_all(&[password, ENTER]);
        self.wait("Change Passwords");
        (0..entry).for_each(|_| self.send(DOWN));
        self.send(ENTER);
    }

    /// Kills it: it can do nothing any more.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to end, and waits for that.
    pub(crate) fn end(mut self) -> std::process::ExitStatus {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            self.read(Duration::from_millis(20));
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
