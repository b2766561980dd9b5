//! A host of a test's own: mount and network namespaces in which `/run`, `/var/lib/libvirt`, `/etc/libvirt` and every
//! interface belong to the test alone, and a libvirtd that ends with it.
//!
//! For tests only: what cannot be set up panics and says why. Root is needed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

pub mod kvm;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Longest time in which libvirtd must answer; its first look at an emulating QEMU is slow.
const READY: Duration = Duration::from_secs(60);

/// Runs a test on a runtime of its own inside namespaces of its own. Threads of the runtime are made after the calling
/// thread has entered them, so they are inside too.
pub fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    assert!(nix::unistd::geteuid().is_root(), "these tests make namespaces and bridges: run them as root");
    // Each test runs on a thread of its own; namespaces belong to threads.
    enter();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test());
}

fn enter() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .expect("cannot unshare: root and namespaces are needed");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    for directory in ["/run", "/var/lib/libvirt"] {
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
    }
    // A sysfs of this network namespace, or libvirt reads the machine's interfaces.
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
    run("ip", &["link", "set", "lo", "up"]);
    if kvm::is_broken() {
        hide(kvm::DEVICE);
    }
}

/// Lays an empty file that nobody may write over a device: it can no longer be opened for writing.
fn hide(device: &str) {
    let (cover, none) = ("/run/no-device", None::<&str>);
    fs::write(cover, "").unwrap();
    mount(Some(cover), device, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, device, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).unwrap();
}

/// Runs a program of the test itself; panics with its words.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{program} {arguments:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

/// Becomes the parent of every QEMU that libvirtd leaves behind and buries it. libvirt waits for that, and not every
/// container has an init that does it promptly.
fn adopt_orphans() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let own = std::process::id().to_string();
    tokio::spawn(async move {
        loop {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                // pid (name) state parent ...
                let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
                let mut words = tail.split(' ');
                let dead = words.next() == Some("Z") && words.next() == Some(own.as_str());
                if let (true, Some((pid, name))) = (dead, head.split_once(" ("))
                    && name.starts_with("qemu-system")
                {
                    let _ = nix::sys::wait::waitpid(Pid::from_raw(pid.parse().unwrap()), None);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

/// libvirtd with private directories; ended, with its VMs, at the end.
pub struct Libvirtd {
    children: Vec<Child>,
    etc: PathBuf,
}

impl Libvirtd {
    /// Starts virtlogd and libvirtd, with configuration and logs below `dir`. Call it inside [`isolated`].
    pub async fn start(dir: &Path) -> Self {
        let etc = dir.join("etc-libvirt");
        fs::create_dir_all(etc.join("qemu")).unwrap();
        fs::write(etc.join("qemu.conf"), "security_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\n")
            .unwrap();
        fs::write(etc.join("libvirtd.conf"), format!("host_uuid = \"{}\"\n", uuid::Uuid::new_v4())).unwrap();
        fs::write(etc.join("virtlogd.conf"), "").unwrap();
        let none = None::<&str>;
        mount(Some(&etc), "/etc/libvirt", none, MsFlags::MS_BIND, none).unwrap();
        for directory in ["/run/libvirt", "/var/lib/libvirt/images", "/var/lib/libvirt/qemu"] {
            fs::create_dir_all(directory).unwrap();
        }
        let mut daemons = Self { children: Vec::new(), etc };
        adopt_orphans();
        daemons.launch("virtlogd");
        daemons.launch("libvirtd");
        daemons.ready().await;
        daemons
    }

    fn launch(&mut self, program: &str) {
        let log = fs::File::create(self.etc.join(format!("{program}.log"))).unwrap();
        let child =
            Command::new(program).stdin(Stdio::null()).stderr(log).spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
        self.children.push(child);
    }

    async fn ready(&self) {
        let until = Instant::now() + READY;
        loop {
            let out = Command::new("virsh").args(["-q", "-c", "qemu:///system", "list"]).output().unwrap();
            if out.status.success() {
                return;
            }
            let words = String::from_utf8_lossy(&out.stderr);
            assert!(Instant::now() < until, "libvirtd does not answer within {READY:?}: {words}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills libvirtd and starts another, as an upgrade of libvirt does.
    pub async fn restart(&mut self) {
        let mut child = self.children.pop().unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        child.wait().unwrap();
        self.launch("libvirtd");
        self.ready().await;
    }

    /// Names of the VMs that run or are paused, in order.
    pub fn domains(&self) -> Vec<String> {
        let list = run("virsh", &["-q", "-c", "qemu:///system", "list", "--name"]);
        let mut names: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        let list = Command::new("virsh").args(["-q", "-c", "qemu:///system", "list", "--name"]).output();
        for name in
            list.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default().split_whitespace()
        {
            let _ = Command::new("virsh").args(["-q", "-c", "qemu:///system", "destroy", name]).output();
        }
        for child in self.children.iter_mut().rev() {
            let _ = kill(Pid::from_raw(child.id().try_into().unwrap_or(i32::MAX)), Signal::SIGTERM);
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- libvirtd\n{}", fs::read_to_string(self.etc.join("libvirtd.log")).unwrap_or_default());
        }
    }
}
