//! `reset` (OS-TUI-110 to 117) of the real service, on a MariaDB of the test's own. What Debian's programs are asked for
//! is noted by others in their place; that they do it is seen on whole machines (`cargo xtask e2e node-console`).
//!
//! A service with the packaged configuration listens where every other one does, so each test has a network of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use private_tty::{ENTER, Tty};
use serde_json::Value;

use crate::{
    Run, install,
    real::{Machine, output},
};

/// Ports of the packaged configuration.
const PACKAGED_API: u16 = 8080;
const PASSWORD: &str = "Geheim-und-lang";
const NAMES: [&str; 5] = ["zstack-mn-service", "zstack-ctl", "zstack-cli", "zstack-node-manager", "zstack-tui"];

/// A management node whose packages are apt's.
struct Node {
    machine: Machine,
}

impl Node {
    /// With a database whose user may do with it what he likes, and nothing else.
    fn new() -> Self {
        let server = private_mariadb::shared().unwrap();
        let fresh = server.create_database().unwrap();
        let name = fresh.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
        let sql = format!(
            "CREATE USER IF NOT EXISTS 'zstack'@'localhost' IDENTIFIED BY '{PASSWORD}'; \
             GRANT ALL PRIVILEGES ON `{name}`.* TO 'zstack'@'localhost'"
        );
        let socket = format!("--socket={}", server.socket().display());
        let mut client = Command::new("mariadb");
        output(client.args(["--no-defaults", "--user=root", &socket, "--execute", &sql])).expect(0);
        let url = format!("mysql://zstack:{PASSWORD}@localhost/{name}?socket={}", server.socket().display());
        // Nothing of the operator's is the packaged value.
        let machine = Machine::new(&format!("agent_port = 7444\nplain_http = true\n[database]\nurl = {url:?}\n"));
        let node = Self { machine };
        fs::create_dir(node.machine.path("bin")).unwrap();
        fs::write(node.source(), "Types: deb\nURIs: file:/opt/zstack-dvd\nSuites: zstack\n").unwrap();
        node.stand_in(
            "dpkg-query",
            "for name; do case $name in zstack-*) echo \"$name 0.1.0-1 installed\";; esac; done",
        );
        node.stand_in("dpkg", "");
        // `lacks` names a package that the repository does not have.
        node.stand_in(
            "apt-get",
            "for word; do case $word in --simulate|--download-only) mode=$word;; esac; done\n\
             for word; do case $word in\n\
             zstack-*=0.1.0-1) case $mode in\n\
             --simulate) [ \"${word%%=*}\" = \"$(cat $HOME_OF_TEST/lacks 2>/dev/null)\" ] || echo \"Inst ${word%%=*} [0.1.0-1]\";;\n\
             --download-only) ;;\n\
             *) echo \"Unpacking ${word%%=*} (0.1.0-1) ...\"; echo \"Setting up ${word%%=*} (0.1.0-1) ...\";;\n\
             esac;; esac; done\n\
             true",
        );
        node
    }

    /// Puts a program in the place of one of Debian's; it notes what it is asked for.
    fn stand_in(&self, name: &str, script: &str) {
        let home = self.machine.home.path().display();
        let text = format!("#!/bin/sh\nHOME_OF_TEST={home}\necho \"{name} $*\" >> {home}/notes\n{script}\n");
        fs::write(self.machine.path("script"), text).unwrap();
        install(&self.machine.path("script"), &self.machine.path(&format!("bin/{name}")));
    }

    fn source(&self) -> PathBuf {
        self.machine.path("zstack-local.sources")
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.machine.path("notes")).unwrap_or_default()
    }

    fn config(&self) -> String {
        fs::read_to_string(self.machine.path("mn-service.toml")).unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let source = self.source().display().to_string();
        let mut command = self.machine.command(&[["reset", "--source", &source].as_slice(), words].concat());
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.machine.path("bin").display()));
        command
    }

    fn reset(&self, words: &[&str]) -> Run {
        output(&mut self.command(words))
    }

    fn pid(&self) -> String {
        String::from_utf8(self.machine.read("mn-service.pid")).unwrap()
    }

    /// Starts the service for the first time, with something in its cloud.
    async fn live(&self) {
        self.machine.run(&["start"]).expect(0);
        self.machine.make_zone("paris").await;
    }

    /// The old configuration, kept beside the new one.
    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.machine.home.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.display().to_string().contains(".toml.before-reset-")).collect()
    }

    /// Nothing of a reset is left in the data directory.
    fn is_clean(&self) {
        let names = fs::read_dir(self.machine.data()).unwrap();
        let left: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!left.iter().any(|name| name.contains("reset")), "{left:?}");
    }
}

fn keys(machine: &Machine) -> Vec<Vec<u8>> {
    ["secret.key", "ca/ca.pem", "ca/ca.key", "ssh/id_ed25519", "node-uuid"].map(|name| machine.read(name)).to_vec()
}

/// OS-TUI-110, OS-TUI-112.
#[test]
fn os_tui_112_a_reset_reinstalls_the_service_and_keeps_database_and_keys() {
    private_host::isolated(async || {
        let mut node = Node::new();
        node.live().await;
        let (before, old, first) = (keys(&node.machine), node.config(), node.pid());
        let run = node.reset(&["--yes", "--json"]).expect(0);
        assert!(!format!("{run:?}").contains(PASSWORD), "no secret in what it says: {run:?}");
        let events: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (last, steps) = events.split_last().unwrap();
        let shares: Vec<f64> = steps.iter().map(|event| event["progress"].as_f64().unwrap()).collect();
        assert!(shares.is_sorted() && shares.len() > 10, "{shares:?}");
        assert!(steps.iter().any(|event| event["message"] == "Setting up zstack-cli (0.1.0-1)"), "{steps:?}");
        let result = &last["result"];
        assert_eq!((&result["database"], &result["continued"]), (&"kept".into(), &false.into()));

        // The API answers where a new node's does, with what was there.
        node.machine.api = PACKAGED_API;
        assert_eq!(node.machine.zones().await, ["paris"]);
        assert_eq!(keys(&node.machine), before, "hosts are reached with the keys that they know");
        assert_ne!(node.pid(), first);
        let config: mn_service_config::Config = toml::from_str(&node.config()).unwrap();
        assert_eq!((config.agent_port, &config.data_dir), (7444, &node.machine.data()));
        assert_eq!(config.listen, mn_service_config::Config::default().listen);
        let mode = fs::metadata(node.machine.path("mn-service.toml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "it has a password");

        // What was, is kept and named.
        let [copy] = node.kept().try_into().unwrap();
        assert_eq!(result["old_configuration"], copy.display().to_string());
        assert_eq!(fs::read_to_string(&copy).unwrap(), old);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o077, 0);
        let listed = node.machine.result(&["list_backups", "--json"]);
        assert_eq!(listed["backups"][0]["file"], result["backup"]);

        // The node's own repository and no other; these versions and no newer ones.
        let notes = node.notes();
        let source = format!("Dir::Etc::sourcelist={}", node.source().display());
        for line in notes.lines().filter(|line| line.starts_with("apt-get")) {
            assert!(line.contains(&source) && line.contains("Dir::Etc::sourceparts=-"), "{line}");
        }
        let install = notes.lines().rfind(|line| line.starts_with("apt-get")).unwrap();
        assert!(install.contains("--reinstall") && install.contains("--force-confmiss"), "{install}");
        assert!(NAMES.iter().all(|name| install.contains(&format!("{name}=0.1.0-1"))), "{install}");
        node.is_clean();
        node.machine.run(&["stop"]).expect(0);
    });
}

/// OS-TUI-115, OS-TUI-116, and that the way back is open.
#[test]
fn os_tui_116_a_reset_may_drop_the_database_and_its_backup_brings_everything_back() {
    private_host::isolated(async || {
        let mut node = Node::new();
        node.live().await;
        let before = keys(&node.machine);
        let run = node.reset(&["--yes", "--drop-database"]).expect(0);
        assert!(run.out.contains("log in as admin with `password`"), "{run:?}");
        node.machine.api = PACKAGED_API;
        assert_eq!(node.machine.zones().await, [""; 0], "a new cloud, with the first password");
        for (old, new) in before.iter().zip(keys(&node.machine)) {
            assert_ne!(*old, new, "a new cloud has keys of its own");
        }
        let file = run.out.lines().find_map(|line| line.strip_prefix("the state before: zstack-ctl restore_mysql -f "));
        node.machine.run(&["restore_mysql", "-f", file.unwrap()]).expect(0);
        node.machine.run(&["start"]).expect(0);
        assert_eq!(node.machine.zones().await, ["paris"]);
        assert_eq!(keys(&node.machine)[..4], before[..4]);
        node.is_clean();
        node.machine.run(&["stop"]).expect(0);
    });
}

/// What cannot be done is refused before anything is changed, and the service goes on.
#[test]
fn os_tui_110_what_stands_in_the_way_of_a_reset_is_said_before_anything_is_changed() {
    private_host::isolated(async || {
        let node = Node::new();
        node.live().await;
        let (pid, config) = (node.pid(), node.config());
        let unchanged = |what: &str| {
            assert_eq!((node.pid(), node.config()), (pid.clone(), config.clone()), "{what}");
            assert!(node.machine.run(&["status"]).expect(0).out.contains("Running"), "{what}");
            assert!(node.kept().is_empty() && !node.notes().contains("configure"), "{what}: {}", node.notes());
            node.is_clean();
        };
        // OS-TUI-111, OS-TUI-117: only the phrase, typed on a terminal.
        let refused = node.reset(&["--drop-database"]).expect(1);
        assert!(refused.err.contains("--yes"), "{refused:?}");
        for (words, typed) in [
            ([].as_slice(), "reset"),
            (&[], "y"),
            (&[], "reset zstack drop database"),
            (&["--drop-database"], "reset zstack"),
            (&["--drop-database"], ""),
        ] {
            let mut tty = Tty::start(node.command(words).stderr(Stdio::null()));
            tty.send_all(&[typed, ENTER]);
            assert_eq!(tty.ended().code(), Some(1), "{typed:?}");
            unchanged(typed);
        }

        fs::write(node.machine.path("lacks"), "zstack-cli").unwrap();
        let refused = node.reset(&["--yes"]).expect(1);
        assert!(
            refused.err.contains("zstack-cli=0.1.0-1") && refused.err.contains("nothing was changed"),
            "{refused:?}"
        );
        fs::remove_file(node.machine.path("lacks")).unwrap();
        unchanged("a repository without one of them");

        let source = node.source();
        fs::rename(&source, source.with_extension("away")).unwrap();
        let refused = node.reset(&["--yes"]).expect(1);
        assert!(refused.err.contains("zstack-local.sources") && refused.err.contains("medium"), "{refused:?}");
        fs::rename(source.with_extension("away"), &source).unwrap();
        unchanged("no repository");

        fs::write(node.machine.data().join("restore-unfinished"), "{}").unwrap();
        assert!(node.reset(&["--yes"]).expect(1).err.contains("restore was interrupted"));
        fs::remove_file(node.machine.data().join("restore-unfinished")).unwrap();
        unchanged("half a restore");

        // No room for the backup: not even with --drop-database is anything lost.
        let folder = node.machine.data().join("mysql-backup");
        fs::create_dir_all(&folder).unwrap();
        output(Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k,mode=700", "none"]).arg(&folder)).expect(0);
        let refused = node.reset(&["--yes", "--drop-database"]).expect(1);
        output(Command::new("umount").arg(&folder)).expect(0);
        assert!(refused.err.contains("cannot be backed up, and nothing was changed"), "{refused:?}");
        unchanged("a full disk");
        assert_eq!(node.machine.zones().await, ["paris"]);

        node.stand_in("dpkg-query", "echo \"zstack-ctl 0.1.0-1 installed\"; exit 1");
        let refused = node.reset(&["--yes"]).expect(1);
        assert!(refused.err.contains("zstack-mn-service, zstack-cli, zstack-node-manager, zstack-tui"), "{refused:?}");
        let empty = node.machine.path("empty");
        fs::create_dir(&empty).unwrap();
        let refused = output(node.command(&["--yes"]).env("PATH", &empty)).expect(1);
        assert!(refused.err.contains("not from Debian packages"), "{refused:?}");
        unchanged("no packages");
        node.machine.run(&["stop"]).expect(0);
    });
}

/// A kill in or after each step leaves a service that does not start on half a reset, and a second run finishes it.
#[test]
fn os_tui_110_a_reset_that_is_killed_anywhere_is_finished_by_the_next_run() {
    private_host::isolated(async || {
        let mut node = Node::new();
        node.live().await;
        let before = keys(&node.machine);
        for (at, word) in [
            ("looking at the packages", false),
            ("backing the database up", false),
            ("stopping the management service", true),
            ("writing the configuration of a new node", true),
            ("installing the packages again", true),
            ("Unpacking zstack-cli (0.1.0-1)", true),
            ("dropping the database", true),
        ] {
            let mut child =
                node.command(&["--yes", "--json", "--drop-database"]).stdout(Stdio::piped()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let seen: Vec<String> = lines
                .map(Result::unwrap)
                .take_while(|line| serde_json::from_str::<Value>(line).unwrap()["message"] != at)
                .collect();
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!seen.iter().any(|line| line.contains("\"result\"")), "{at} was not reached: {seen:?}");
            if word {
                let mut run = node.machine.run(&["start"]);
                if run.code == 0 {
                    // It was killed before it had stopped the service.
                    node.machine.run(&["stop"]).expect(0);
                    run = node.machine.run(&["start"]);
                }
                assert!(run.code == 1 && run.err.contains("reset is under way or was interrupted"), "{at}: {run:?}");
                let refused = node.reset(&["--yes"]).expect(1);
                assert!(refused.err.contains("zstack-ctl reset --drop-database"), "{at}: {refused:?}");
                let file = node.machine.path("any.gz");
                let refused = node.machine.run(&["restore_mysql", "-f", file.to_str().unwrap()]).expect(1);
                assert!(refused.err.contains("reset was interrupted"), "{at}: {refused:?}");
            }
        }
        // Packages that cannot be installed leave it where it is.
        let state = node.machine.data().join("reset-unfinished");
        let text = fs::read_to_string(&state).unwrap();
        fs::write(&state, text.replace("\"database\"", "\"packages\"")).unwrap();
        node.stand_in("dpkg", "echo 'dpkg: error: cannot write: No space left on device'; exit 2");
        let failed = node.reset(&["--yes", "--drop-database"]).expect(1);
        assert!(failed.err.contains("No space left") && failed.err.contains("again"), "{failed:?}");
        node.stand_in("dpkg", "");

        let run = node.reset(&["--yes", "--drop-database", "--json"]).expect(0);
        let last: Value = serde_json::from_str(run.out.lines().last().unwrap()).unwrap();
        assert_eq!(last["result"]["continued"], true);
        node.machine.api = PACKAGED_API;
        assert_eq!(node.machine.zones().await, [""; 0]);
        assert_ne!(keys(&node.machine)[1], before[1]);
        assert_eq!(node.kept().len(), 1, "one reset, one old configuration");
        node.is_clean();

        // Between the last step and the answer of the API: the service is there, or comes.
        fs::write(node.machine.data().join("reset-unfinished"), text.replace("\"database\"", "\"start\"")).unwrap();
        node.machine.run(&["stop"]).expect(0);
        node.reset(&["--yes", "--drop-database"]).expect(0);
        assert_eq!(node.machine.run(&["status"]).code, 0);
        node.is_clean();

        // It came after whoever waited for it was killed: that reset is over, and the next one is another.
        node.machine.make_zone("rome").await;
        let starting = node.machine.data().join("reset-unfinished.starting");
        fs::write(starting, text.replace("\"database\"", "\"start\"")).unwrap();
        let run = node.reset(&["--yes", "--json"]).expect(0);
        let last: Value = serde_json::from_str(run.out.lines().last().unwrap()).unwrap();
        assert_eq!((&last["result"]["continued"], &last["result"]["database"]), (&false.into(), &"kept".into()));
        assert_eq!(node.machine.zones().await, ["rome"]);
        node.is_clean();
        node.machine.run(&["stop"]).expect(0);
    });
}

/// With systemd, on the packaged configuration: what an installed node does. Scripts of packages start the service while
/// it may not start, and systemd goes on trying.
#[test]
fn os_tui_110_on_an_installed_node_systemd_stops_and_starts_the_service() {
    private_host::isolated(async || {
        let node = Node::new();
        let home = node.machine.home.path().display();
        let etc = node.machine.path("etc");
        fs::create_dir(&etc).unwrap();
        output(Command::new("cp").args(["-a", "/etc/."]).arg(&etc)).expect(0);
        fs::create_dir_all(etc.join("zstack")).unwrap();
        fs::rename(node.machine.path("mn-service.toml"), etc.join("zstack/mn-service.toml")).unwrap();
        output(Command::new("mount").arg("--bind").arg(&etc).arg("/etc")).expect(0);
        fs::create_dir_all("/run/systemd/system").unwrap();
        let pid = node.machine.data().join("mn-service.pid").display().to_string();
        node.stand_in(
            "systemctl",
            &format!(
                "case $1 in show) echo loaded;;\n\
                 start) setsid {home}/mn-service >> {home}/service.log 2>&1 & ;;\n\
                 stop) kill $(cat {pid}) && while kill -0 $(cat {pid}); do sleep 0.1; done;; esac 2>/dev/null\ntrue"
            ),
        );
        let path = format!("{}:{}", node.machine.path("bin").display(), std::env::var("PATH").unwrap());
        let run = |words: &[&str]| {
            let mut ctl = Command::new(node.machine.path("zstack-ctl"));
            output(ctl.args(words).env("PATH", &path).stdin(Stdio::null()))
        };
        run(&["start"]).expect(0);
        // As the text console calls it.
        let named = ["--config", "/etc/zstack/mn-service.toml"];
        let source = node.source().display().to_string();
        let reset = run(&[named.as_slice(), &["reset", "--yes", "--source", &source]].concat()).expect(0);
        assert!(reset.out.contains("/etc/zstack/mn-service.toml.before-reset-"), "{reset:?}");
        assert!(run(&["status"]).expect(0).out.contains("Running"));
        let notes = node.notes();
        let verbs: Vec<&str> = notes
            .lines()
            .filter_map(|line| line.strip_prefix("systemctl ")?.strip_suffix(" mn-service.service"))
            .filter(|verb| !verb.starts_with("show"))
            .collect();
        assert_eq!(verbs, ["start", "stop", "stop", "reset-failed", "start"], "{notes}");
        run(&["stop"]).expect(0);
        let ended = Instant::now() + Duration::from_secs(30);
        while run(&["status"]).code == 0 {
            assert!(Instant::now() < ended, "it still runs");
        }
    });
}
