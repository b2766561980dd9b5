//! A machine with an SSH server: own `/etc`, `/usr/local`, `/var`, `/tmp` and `/run`, own processes, own accounts. The
//! network is that of the test, which has one of its own.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use mn_service::deploy::{command::Password, ssh::Login};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Password of every account of a machine.
pub(crate) const PASSWORD: &str = "correct horse's \"battery\" $(staple)";

/// Runs a test on a runtime of its own in a network of its own.
pub(crate) fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    assert!(nix::unistd::geteuid().is_root(), "these tests make namespaces and accounts in them: run them as root");
    // Threads of the runtime are made after this one has entered its namespaces, so they are inside too.
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .expect("cannot unshare: root and namespaces are needed");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    // A sysfs of this network namespace, or libvirt reads the machine's interfaces.
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(up.success());
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test());
}

/// Everything below `/` that the machine writes to lies in a file system in memory. Arguments: address of the server, a folder.
/// The accounts: root, `deputy` (sudo with password), `keeper` (sudo without), `guest` (no sudo).
const BOOT: &str = r#"
set -eu
address=$1
upper=$2/upper
mkdir "$upper"
mount -t tmpfs -o mode=0755 tmpfs "$upper"
for top in etc usr/local var; do
    mkdir -p "$upper/$top/up" "$upper/$top/work"
    mount -t overlay overlay -o "lowerdir=/$top,upperdir=$upper/$top/up,workdir=$upper/$top/work" "/$top"
done
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
rm -rf /etc/zstack /var/lib/zstack /var/log/zstack /usr/local/bin/node-manager /etc/libvirt/qemu/networks/autostart
mkdir -p /run/sshd /etc/ssh-test/keys
printf 'security_driver = "none"\nnamespaces = []\ncgroup_controllers = []\n' >/etc/libvirt/qemu.conf
for user in deputy keeper guest; do useradd --no-create-home --home-dir / --shell /bin/sh "$user"; done
for user in root deputy keeper guest; do printf '%s:%s\n' "$user" "$PASSWORD"; done | chpasswd -c SHA512
printf 'deputy ALL=(ALL:ALL) ALL\nkeeper ALL=(ALL:ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/test
chmod 0440 /etc/sudoers.d/test
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh-test/host_key
cat >/etc/ssh-test/config <<END
ListenAddress $address:22
HostKey /etc/ssh-test/host_key
AuthorizedKeysFile /etc/ssh-test/keys/%u
PidFile none
UsePAM no
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
Subsystem sftp /usr/lib/openssh/sftp-server
END
unset PASSWORD
exec /usr/sbin/sshd -D -e -f /etc/ssh-test/config
"#;

/// A machine; it ends with everything on it.
pub(crate) struct Machine {
    unshare: Child,
    init: i32,
    log: PathBuf,
    /// Its SSH server.
    pub(crate) at: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Machine {
    /// Boots a machine with this address and waits for its SSH server.
    pub(crate) async fn boot(address: &str) -> Self {
        for program in ["/usr/sbin/sshd", "/usr/bin/sudo", "/usr/sbin/libvirtd"] {
            assert!(
                Path::new(program).exists(),
                "{program} is missing: apt-get install openssh-server sudo libvirt-daemon-system"
            );
        }
        let at = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 22);
        // The kernel ends a machine a moment after its `unshare`; another at this address must not be taken for it.
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(at).is_ok() {
            assert!(Instant::now() < until, "something else serves {at}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let unshare = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", BOOT, "sh", address])
            .arg(dir.path())
            .env("PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut machine = Self { unshare, init: 0, log, at, _dir: dir };
        machine.ready().await;
        machine
    }

    async fn ready(&mut self) {
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(self.at).is_err() {
            assert!(
                self.unshare.try_wait().unwrap().is_none() && Instant::now() < until,
                "no SSH server: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let pid = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        self.init = children.split_whitespace().next().unwrap().parse().unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A file of the machine, as this process reaches it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Contents of a file.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Permission bits of a file.
    pub(crate) fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}")).permissions().mode() & 0o7777
    }

    /// Runs a shell command on the machine, from outside.
    pub(crate) fn shell(&self, script: &str) -> String {
        let out = Command::new("nsenter")
            .args(["--target", &self.init.to_string(), "--mount", "--pid", "sh", "-c", script])
            .output()
            .unwrap();
        assert!(out.status.success(), "{script}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// Lets a key in.
    pub(crate) fn authorize(&self, user: &str, key: &str) {
        fs::write(self.path(&format!("/etc/ssh-test/keys/{user}")), format!("{key}\n")).unwrap();
    }

    /// A login of this machine.
    pub(crate) fn login(&self, user: &str, password: &str) -> Login {
        Login { at: self.at, user: user.to_owned(), password: Password::new(password) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the machine\n{}", self.log());
        }
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
