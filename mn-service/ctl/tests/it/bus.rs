//! The password of the message bus (OS-TUI-057 to 059), in a RabbitMQ of the test's own.

use std::{
    fs::{self, File},
    future::ready,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use system_tests::eventually;

use crate::{Run, World, install, real::output};

/// How long the server may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Where Debian's package has it.
const INSTALLED: &str = "/usr/lib/rabbitmq/bin";

/// RabbitMQ and Erlang below a folder like `/usr`: Debian's packages, unpacked into the cache and not installed, because
/// installing them starts a server for everybody. None where they are installed.
fn unpacked() -> Option<PathBuf> {
    if Path::new(INSTALLED).is_dir() {
        return None;
    }
    let simulated = ["install", "--simulate", "--no-install-recommends", "rabbitmq-server"];
    let listing = output(Command::new("apt-get").args(simulated).env("LC_ALL", "C.UTF-8")).expect(0).out;
    let mut names = Vec::new();
    let mut version = String::new();
    for mut words in listing.lines().filter_map(|line| Some(line.strip_prefix("Inst ")?.split(' '))) {
        let name = words.next().unwrap();
        if name == "rabbitmq-server" {
            version = words.next().unwrap().trim_matches(['(', ')']).to_owned();
        }
        // The machine has its libraries.
        if name == "rabbitmq-server" || name.starts_with("erlang-") {
            names.push(name.to_owned());
        }
    }
    let cache = PathBuf::from(std::env::var("HOME").unwrap()).join(".cache/zstack");
    fs::create_dir_all(&cache).unwrap();
    let folder = cache.join(format!("rabbitmq-{version}"));
    let lock = File::create(cache.join("rabbitmq.lock")).unwrap();
    lock.lock().unwrap();
    if !folder.is_dir() {
        let work = tempfile::Builder::new().prefix("rabbitmq-").tempdir_in(&cache).unwrap();
        let mut download = Command::new("apt-get");
        download.args(["download", "-q", "-o", "APT::Sandbox::User=root"]).args(&names);
        output(download.current_dir(work.path())).expect(0);
        for package in fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().path()) {
            output(Command::new("dpkg-deb").arg("-x").arg(package).arg(work.path().join("root"))).expect(0);
        }
        fs::rename(work.path().join("root"), &folder).unwrap();
    }
    Some(folder)
}

/// A server that ends with the test, and all it has started.
struct Bus {
    world: World,
    server: Option<Child>,
}

impl Bus {
    /// One that runs.
    async fn start(unpacked: Option<&Path>) -> Self {
        let mut bus = Self::new(unpacked);
        bus.begin();
        bus.is_up().await;
        bus
    }

    /// One in the mount and network namespaces of the calling test.
    fn new(unpacked: Option<&Path>) -> Self {
        if let Some(root) = unpacked {
            // Its scripts know where they are installed.
            let layers = format!("lowerdir={}:/usr", root.join("usr").display());
            output(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers, "/usr"])).expect(0);
        }
        let world = World::new("works");
        let home = world.home.path().display();
        let environment = format!(
            "export HOME={home}/bus RABBITMQ_MNESIA_BASE={home}/bus/mnesia RABBITMQ_LOG_BASE={home}/log LC_ALL=C.UTF-8\n\
             export RABBITMQ_NODENAME=private@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_PID_FILE={home}/pid\n\
             export ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE={home}/rabbitmq\n\
             export RABBITMQ_ENABLED_PLUGINS_FILE={home}/plugins\n"
        );
        let script = |name: &str, lines: &str| {
            fs::write(world.path("script"), format!("#!/bin/sh\n{environment}{lines}\n")).unwrap();
            install(&world.path("script"), &world.path(name));
        };
        script("server", &format!("exec {INSTALLED}/rabbitmq-server"));
        // `cut` is where the power fails: before the server hears of it, or after.
        script(
            "rabbitmqctl",
            &format!(
                "echo \"$*\" >> {home}/asked\n\
                 [ \"$(cat {home}/cut 2>/dev/null)\" = \"before $1\" ] && kill -9 $PPID && exit 1\n\
                 {INSTALLED}/rabbitmqctl \"$@\" || exit $?\n\
                 [ \"$(cat {home}/cut 2>/dev/null)\" = \"after $1\" ] && kill -9 $PPID\n\
                 true"
            ),
        );
        fs::create_dir(world.path("bus")).unwrap();
        Self { world, server: None }
    }

    fn begin(&mut self) {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"]).arg(self.world.path("server"));
        // Where it leaves its dump.
        command.current_dir(self.world.home.path());
        let log = File::create(self.log()).unwrap();
        self.server = Some(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    async fn is_up(&self) {
        self.until("RabbitMQ does not start", || self.control(&["--quiet", "await_startup"]).code == 0).await;
    }

    async fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let said = || format!("{what}: {}", fs::read_to_string(self.log()).unwrap());
        eventually(START, async || if reached() { Ok(()) } else { Err(said()) }).await;
    }

    /// It ends by itself; what it has said.
    async fn ends(&mut self) -> String {
        let server = self.server.as_mut().unwrap();
        eventually(START, || ready(server.try_wait().unwrap().ok_or("RabbitMQ goes on"))).await;
        fs::read_to_string(self.log()).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.world.path("log.txt")
    }

    /// The power of the machine, as far as the server can tell.
    fn power_off(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ended = server.kill();
            let _ended = server.wait();
        }
    }

    fn control(&self, words: &[&str]) -> Run {
        output(Command::new(self.world.path("rabbitmqctl")).args(words).stdin(Stdio::null()))
    }

    /// `zstack-ctl`, with a line on its standard input.
    fn ctl(&self, words: &[&str], line: &str) -> Run {
        let (control, passwords) = (self.world.path("rabbitmqctl"), self.passwords());
        let mut command = Command::new(self.world.path("zstack-ctl"));
        command.args(words).arg("--control").arg(control).arg("--passwords").arg(passwords);
        fs::write(self.world.path("line"), format!("{line}\n")).unwrap();
        output(command.arg("--config").arg(self.world.config()).stdin(File::open(self.world.path("line")).unwrap()))
    }

    fn change(&self, to: &str) -> Run {
        self.ctl(&["change_bus_password", "--password-from-stdin"], to)
    }

    fn passwords(&self) -> PathBuf {
        self.world.path("etc/passwords.toml")
    }

    fn in_file(&self) -> toml::Table {
        fs::read_to_string(self.passwords()).unwrap().parse().unwrap()
    }

    /// The server lets this one in, and the file has it and no other.
    #[track_caller]
    fn agrees_on(&self, password: &str) {
        assert!(self.lets_in(password), "{password}");
        let file = self.in_file();
        assert_eq!((file["bus_zstack"].as_str(), file.get("bus_zstack_next")), (Some(password), None));
    }

    fn lets_in(&self, password: &str) -> bool {
        fs::write(self.world.path("line"), format!("{password}\n")).unwrap();
        let line = File::open(self.world.path("line")).unwrap();
        output(Command::new(self.world.path("rabbitmqctl")).args(["authenticate_user", "zstack"]).stdin(line)).code == 0
    }

    fn cut(&self, when: &str) {
        fs::write(self.world.path("cut"), when).unwrap();
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// OS-BOOT-001: what a power failure leaves of RabbitMQ's first start, with which it never starts again, goes.
#[test]
fn os_boot_001_a_message_bus_starts_after_the_power_failed_in_its_first_start() {
    let packages = unpacked();
    private_host::isolated(async || {
        let mut bus = Bus::new(packages.as_deref());
        let folder = bus.world.path("bus");
        let prepare = ["prepare_node", "bus-files", "--user", "root", "--folder", folder.to_str().unwrap()];
        let first = bus.world.run(&prepare).expect(0);
        assert!(first.out.contains("may begin"), "{first:?}");
        bus.begin();
        let cookie = folder.join(".erlang.cookie");
        bus.until("RabbitMQ makes no cookie", || fs::metadata(&cookie).is_ok_and(|found| found.len() > 0)).await;
        bus.power_off();
        // It is written and not synced: the file is on the disk, and what is in it is not.
        fs::write(&cookie, "").unwrap();

        bus.begin();
        let said = bus.ends().await;
        assert!(said.contains("cookie"), "{said}");
        let again = bus.world.run(&prepare).expect(0);
        assert!(again.out.contains("begins anew"), "{again:?}");
        bus.begin();
        bus.is_up().await;
        assert!(bus.control(&["--quiet", "list_users", "--no-table-headers"]).out.starts_with("guest"));
    });
}

/// OS-TUI-057, OS-TUI-058; and a password is in no list of processes.
#[test]
fn os_tui_057_the_password_of_the_message_bus_changes_in_the_server_and_in_the_file_or_in_neither() {
    // Where there is a network to fetch it.
    let packages = unpacked();
    private_host::isolated(async || {
        let bus = Bus::start(packages.as_deref()).await;
        let early = bus.change("too-early").expect(1);
        assert!(early.err.contains("prepare_node bus") && early.err.contains("nothing was changed"), "{early:?}");
        bus.ctl(&["prepare_node", "bus"], "").expect(0);
        let users = bus.control(&["--quiet", "list_users", "--no-table-headers"]).out;
        assert!(users.starts_with("zstack") && !users.contains("guest"), "{users}");
        let first = bus.in_file()["bus_zstack"].as_str().unwrap().to_owned();
        bus.agrees_on(&first);

        let odd = "neu \"und\" $anders äöü";
        let run = bus.change(odd).expect(0);
        assert!(!format!("{run:?}").contains("anders"), "{run:?}");
        bus.agrees_on(odd);
        assert!(!bus.lets_in(&first), "the old one is over");
        let asked = fs::read_to_string(bus.world.path("asked")).unwrap();
        assert!(!asked.contains("anders") && !asked.contains(&first), "{asked}");
        for wrong in ["", " blank", "blank "] {
            assert!(bus.change(wrong).expect(1).err.contains("nothing was changed"), "{wrong:?}");
        }
        bus.agrees_on(odd);

        // Cut off before the server heard of it, and after: the next run finds out.
        bus.cut("before change_password");
        assert_eq!(bus.change("second").code, -1);
        assert_eq!(bus.in_file()["bus_zstack_next"].as_str(), Some("second"));
        bus.cut("");
        bus.change("third").expect(0);
        bus.agrees_on("third");
        bus.cut("after change_password");
        assert_eq!(bus.change("fourth").code, -1);
        assert!(bus.lets_in("fourth") && bus.in_file()["bus_zstack"].as_str() == Some("third"));
        bus.cut("");
        bus.change("fifth").expect(0);
        bus.agrees_on("fifth");
        // The first start of the node, once more: what was under way is over.
        bus.cut("after change_password");
        assert_eq!(bus.change("sixth").code, -1);
        bus.cut("");
        bus.ctl(&["prepare_node", "bus"], "").expect(0);
        bus.agrees_on("fifth");

        // The file cannot be written any more: the server gets its old password back.
        let folder = bus.world.path("etc").display().to_string();
        bus.cut("");
        let script = format!(
            "#!/bin/sh\n{} \"$@\" || exit $?\n[ $1 = authenticate_user ] && mount -t tmpfs -o ro none {folder}\ntrue\n",
            bus.world.path("rabbitmqctl").display()
        );
        fs::write(bus.world.path("script"), script).unwrap();
        install(&bus.world.path("script"), &bus.world.path("full"));
        let mut command = Command::new(bus.world.path("zstack-ctl"));
        command.args(["change_bus_password", "--new-password", "seventh", "--control"]).arg(bus.world.path("full"));
        command.arg("--passwords").arg(bus.passwords()).arg("--config").arg(bus.world.config());
        let failed = output(&mut command).expect(1);
        output(Command::new("umount").arg(&folder)).expect(0);
        assert!(failed.err.contains("Read-only") || failed.err.contains("cannot"), "{failed:?}");
        assert!(bus.lets_in("fifth") && !bus.lets_in("seventh"));
        bus.change("eighth").expect(0);
        bus.agrees_on("eighth");
        bus.control(&["--quiet", "stop_app"]).expect(0);
        let down = bus.change("ninth").expect(1);
        assert!(down.err.contains("systemctl status rabbitmq-server"), "{down:?}");
    });
}

/// OS-TUI-057 on a node that has none.
#[test]
fn os_tui_057_a_node_without_rabbitmq_says_so() {
    let world = World::new("works");
    let passwords = world.path("passwords.toml");
    fs::write(&passwords, "bus_zstack = \"old\"\n").unwrap();
    let words =
        ["change_bus_password", "--new-password=new", "--control=/nowhere/rabbitmqctl", "--json", "--passwords"];
    let run = world.run(&[words.as_slice(), &[passwords.to_str().unwrap()]].concat()).expect(1);
    assert!(run.out.contains("has no RabbitMQ"), "{run:?}");
    let file: toml::Table = fs::read_to_string(&passwords).unwrap().parse().unwrap();
    assert_eq!(file["bus_zstack"].as_str(), Some("old"));
}
