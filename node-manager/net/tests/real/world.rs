//! A node of its own for every test: a network namespace with two cards, and a folder for its files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use serde_json::Value;

/// Cables to switches that are namespaces of their own: `eth0` and `eth1`. The thread, and what it starts, is inside.
pub(crate) struct Node {
    root: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// The object of `--json`.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.out.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests make namespaces: run them as root");
        // Each test runs on a thread of its own; namespaces belong to threads.
        boot();
        Self { root: tempfile::tempdir().unwrap() }
    }

    /// A reboot: everything that the kernel knew is gone, files stay, and the kernel is another run.
    pub(crate) fn reboot(&self) {
        boot();
        let journal = self.journal();
        if let Ok(text) = fs::read_to_string(&journal) {
            let mut document: Value = serde_json::from_str(&text).unwrap();
            document["boot"] = "another".into();
            fs::write(&journal, document.to_string()).unwrap();
        }
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.path().join("var/lib/zstack/network/change.json")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zs-network"));
        command.args(words.split_whitespace()).env("ZS_NETWORK_ROOT", self.root.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command of the product.
    pub(crate) fn zs(&self, words: &str) -> Done {
        self.command(words).output().unwrap().into()
    }

    /// Runs a command as somebody who is logged in at an address of this node.
    pub(crate) fn zs_over_ssh(&self, words: &str, at: &str) -> Done {
        let connection = format!("203.0.113.9 50000 {at} 22");
        self.command(words).env("SSH_CONNECTION", connection).output().unwrap().into()
    }

    /// Writes a file of networkd, as somebody else would.
    pub(crate) fn network_file(&self, folder: &str, name: &str, text: &str) {
        let folder = self.root.path().join(folder).join("systemd/network");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, words: &str) -> Done {
        let done = self.zs(words);
        assert_eq!(done.code, 0, "{words}: {done:?}");
        done
    }

    /// Starts a command that does not end by itself.
    pub(crate) fn start(&self, words: &str) -> Child {
        self.command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Contents of our files by name.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let folder = self.root.path().join("etc/systemd/network");
        let mut files: Vec<_> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .map(|path| (name(&path), fs::read_to_string(&path).unwrap()))
            .collect();
        files.sort();
        files
    }

    /// Names and fixed addresses of the links, with the bridges they belong to, and the routes.
    pub(crate) fn summary(&self) -> String {
        let links = ip("-j -d addr");
        let links: Value = serde_json::from_str(&links).unwrap();
        let mut lines: Vec<String> = links
            .as_array()
            .unwrap()
            .iter()
            .filter(|link| !["lo", "ifb0", "ifb1"].contains(&link["ifname"].as_str().unwrap()))
            .map(|link| {
                let mut addresses: Vec<String> = link["addr_info"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|address| address["scope"] == "global")
                    .map(|address| format!("{}/{}", address["local"].as_str().unwrap(), address["prefixlen"]))
                    .collect();
                addresses.sort();
                let master = link["master"].as_str().unwrap_or("-");
                format!("{} master {master} mtu {} {addresses:?}", link["ifname"].as_str().unwrap(), link["mtu"])
            })
            .collect();
        lines.sort();
        let mut routes: Vec<String> =
            ip("route").lines().map(|line| line.replace("linkdown", "").trim().to_owned()).collect();
        routes.extend(
            ip("-6 route")
                .lines()
                .filter(|line| !line.contains("fe80::") && !line.contains("ff00::"))
                .map(|l| l.trim().to_owned()),
        );
        routes.sort();
        format!("{}\n{}", lines.join("\n"), routes.join("\n"))
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn boot() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .expect("cannot unshare: root and namespaces are needed");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
    ip("link set lo up");
    for card in 0..2 {
        ip(&format!("link add eth{card} type veth peer name switch{card}"));
        ip(&format!("link set eth{card} address 52:54:00:00:00:0{card}"));
        for end in ["eth", "switch"] {
            ip(&format!("link set {end}{card} up"));
        }
    }
}

/// `ip` from iproute2; panics with its words.
pub(crate) fn ip(arguments: &str) -> String {
    let out = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "ip {arguments}: {text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

/// Polls until `check` holds; panics with the last status.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> Result<(), String>) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match check() {
            Ok(()) => return,
            Err(status) => assert!(Instant::now() < until, "{what}: {status}"),
        }
        #[allow(clippy::disallowed_methods, reason = "no runtime here whose thread could be blocked")]
        std::thread::sleep(Duration::from_millis(30));
    }
}
