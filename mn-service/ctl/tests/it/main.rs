//! The real program against a service of our own making: this very test program, under the name `mn-service`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop loudly")]

mod backup;
mod bus;
mod console;
mod folder;
mod install;
mod logs;
mod prepare;
mod real;
mod reset;
mod service;
mod settings;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A data directory with a configuration, and the two programs side by side as packages install them.
struct World {
    home: tempfile::TempDir,
    api: u16,
    ui: u16,
}

#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    fn line(&self, label: &str) -> &str {
        let lines = self.out.lines();
        lines.filter_map(|line| line.split_once(": ")).find(|(l, _)| *l == label).map_or("", |(_, value)| value)
    }
}

fn free_port() -> u16 {
    private_port::reserve().unwrap()
}

/// Programs are put in place by child processes: a file that is open for writing anywhere cannot be run.
fn install(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

impl World {
    /// `behaviour` steers the service, see [`service`].
    fn new(behaviour: &str) -> Self {
        let world = Self { home: tempfile::tempdir().unwrap(), api: free_port(), ui: free_port() };
        std::fs::create_dir_all(world.path("program")).unwrap();
        let config = format!(
            "listen = \"127.0.0.1:{}\"\nui_listen = \"127.0.0.1:{}\"\ndata_dir = {:?}\n",
            world.api,
            world.ui,
            world.path("data")
        );
        std::fs::write(world.config(), config).unwrap();
        install(Path::new(env!("CARGO_BIN_EXE_zstack-ctl")), &world.path("zstack-ctl"));
        install(&std::env::current_exe().unwrap(), &world.path("program/mn-service"));
        // The test harness wants its own arguments, so a script translates and then becomes that program.
        let script = format!(
            "#!/bin/sh\necho \"starting with $*\"\n\
             DATA={} API={} UI={} BEHAVIOUR={behaviour} exec {} --exact --ignored --nocapture -- service::acts \"$@\"\n",
            world.path("data").display(),
            world.api,
            world.ui,
            world.path("program/mn-service").display()
        );
        std::fs::write(world.path("script"), script).unwrap();
        install(&world.path("script"), &world.path("mn-service"));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("mn-service.toml")
    }

    fn pid_file(&self) -> PathBuf {
        self.path("data/mn-service.pid")
    }

    fn pid(&self) -> i32 {
        std::fs::read_to_string(self.pid_file()).unwrap().trim().parse().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(self.path("zstack-ctl"));
        let output = command.args(arguments).arg("--config").arg(self.config()).stdin(Stdio::null()).output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever a failed test has left running is ours: its program lies in our directory.
        let Ok(text) = std::fs::read_to_string(self.pid_file()) else { return };
        let Ok(pid) = text.trim().parse::<i32>() else { return };
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        if program.starts_with(self.home.path()) {
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// OPS-CTL-001 to OPS-CTL-005, OPS-CTL-010 to OPS-CTL-012.
#[test]
fn the_service_is_started_shown_restarted_and_stopped() {
    let world = World::new("works");
    let stopped = world.run(&["status"]).expect(3);
    let labels: Vec<&str> = stopped.out.lines().map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(
        labels,
        ["ZSTACK_HOME", "zstack.properties", "log4j2.xml", "PID file", "log file", "MN status", "UI status", "version"]
    );
    assert_eq!(stopped.line("MN status"), "Stopped");
    assert_eq!(stopped.line("UI status"), "Stopped");
    assert_eq!(stopped.line("ZSTACK_HOME"), world.path("data").to_str().unwrap());
    assert_eq!(stopped.line("zstack.properties"), world.config().to_str().unwrap());
    assert_eq!(stopped.line("PID file"), world.pid_file().to_str().unwrap());

    let started = world.run(&["start"]).expect(0);
    let pid = world.pid();
    assert!(started.out.contains("starting the management node"), "{started:?}");
    assert!(started.out.contains("is ready after") && started.out.contains(&format!("[PID:{pid}]")));
    let log = std::fs::read_to_string(world.path("data/mn-service.log")).unwrap();
    assert!(log.contains(&format!("--config {}", world.config().display())), "{log}");

    let running = world.run(&["status"]).expect(0);
    assert_eq!(running.line("MN status"), format!("Running [PID:{pid}]"));
    assert_eq!(running.line("UI status"), format!("Running [PID:{pid}] http://127.0.0.1:{}", world.ui));
    assert!(running.line("version").starts_with("9.8.7 (ZStack 9.8.7)"), "{running:?}");
    assert_eq!(world.run(&["version"]).expect(0).out, "9.8.7\n");
    let ui = world.run(&["ui_status"]).expect(0);
    assert_eq!(ui.out, format!("UI status: Running [PID:{pid}] http://127.0.0.1:{}\n", world.ui));

    assert!(world.run(&["start_node"]).expect(0).out.contains("already running"));
    assert_eq!(world.pid(), pid);

    let restarted = world.run(&["restart_node", "--timeout=60"]).expect(0);
    assert!(restarted.out.contains("has been stopped") && restarted.out.contains("is ready"), "{restarted:?}");
    let newer = world.pid();
    assert_ne!(newer, pid);

    assert!(world.run(&["stop"]).expect(0).out.contains(&format!("PID {newer} ended")));
    assert_eq!(world.run(&["status"]).expect(3).line("MN status"), "Stopped");
    assert!(world.run(&["stop"]).expect(0).out.contains("is not running"));
    assert!(world.run(&["ui_status"]).expect(3).out.contains("UI status: Stopped"));
}

#[test]
fn scripts_get_a_json_object() {
    let world = World::new("works");
    world.run(&["start"]).expect(0);
    let status: serde_json::Value = serde_json::from_str(&world.run(&["status", "--json"]).expect(0).out).unwrap();
    assert_eq!(status["management"], serde_json::json!({"state": "Running", "pid": world.pid()}));
    assert_eq!(status["runningVersion"], "9.8.7");
    assert_eq!(status["ui"]["url"], format!("http://127.0.0.1:{}", world.ui));
    world.run(&["stop"]).expect(0);
}

/// OPS-CTL-004 and OPS-CTL-005: the process is there, the API is not.
#[test]
fn a_service_that_does_not_answer_is_unknown_and_can_be_stopped() {
    let world = World::new("deaf");
    let start = world.run(&["start_node", "--timeout", "3"]).expect(1);
    assert!(start.err.contains("not ready after 3 s") && start.err.contains("mn-service.log"), "{start:?}");
    assert!(start.out.contains("."), "one dot a second: {start:?}");
    let status = world.run(&["status"]).expect(4);
    assert_eq!(
        status.line("MN status"),
        "Unknown, the management node seems to become zombie as it stops responding APIs"
    );
    assert!(world.run(&["start"]).expect(1).err.contains("stop it first"));
    world.run(&["stop"]).expect(0);
    assert_eq!(world.run(&["status"]).expect(3).line("MN status"), "Stopped");
}

#[test]
fn a_service_that_is_not_ready_yet_is_waited_for() {
    let world = World::new("slow");
    let started = world.run(&["start"]).expect(0);
    assert!(started.out.contains("is ready"), "{started:?}");
    // The service says so after it was asked that often.
    let asked = std::fs::read_to_string(world.path("data/asked")).unwrap();
    assert!(asked.len() > 3, "{asked}");
    world.run(&["stop"]).expect(0);
}

#[test]
fn a_service_that_dies_while_starting_is_reported_with_the_end_of_its_log() {
    let world = World::new("dies");
    std::fs::create_dir_all(world.path("data")).unwrap();
    std::fs::write(world.path("data/mn-service.log"), "an older failure\n").unwrap();
    let start = world.run(&["start"]).expect(1);
    assert!(start.err.contains("the database is on fire"), "{start:?}");
    assert!(start.err.contains("ended while starting") && !start.err.contains("older failure"), "{start:?}");
}

#[test]
fn a_service_that_does_not_end_is_left_alone_and_named() {
    let world = World::new("stubborn");
    world.run(&["start"]).expect(0);
    let pid = world.pid();
    let stop = world.run(&["stop", "--timeout=1"]).expect(1);
    assert!(stop.err.contains(&format!("kill -9 {pid}")), "{stop:?}");
    assert_eq!(world.run(&["status"]).expect(0).line("MN status"), format!("Running [PID:{pid}]"));
}

#[test]
fn another_program_is_never_ended() {
    let world = World::new("works");
    std::fs::create_dir_all(world.path("data")).unwrap();
    let mut bystander = Command::new("sleep").arg("600").spawn().unwrap();
    std::fs::write(world.pid_file(), bystander.id().to_string()).unwrap();
    let status = world.run(&["status"]).expect(3);
    assert_eq!(status.line("MN status"), "Stopped");
    assert!(status.err.contains("is sleep and not mn-service"), "{status:?}");
    let stop = world.run(&["stop"]).expect(0);
    assert!(stop.out.contains("is not running"), "{stop:?}");
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander was ended");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    // A stale file does not keep the service from starting.
    world.run(&["start"]).expect(0);
    world.run(&["stop"]).expect(0);
}

#[test]
fn a_stranger_on_the_port_is_not_taken_for_the_service() {
    let world = World::new("works");
    let stranger = std::net::TcpListener::bind(("127.0.0.1", world.api)).unwrap();
    let answering = std::thread::spawn(move || {
        // One answer to "ready?" is what the status asks for before it looks at who listens.
        let (mut stream, _) = stranger.accept().unwrap();
        let mut request = [0; 1024];
        let _read = std::io::Read::read(&mut stream, &mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").unwrap();
        stranger
    });
    let status = world.run(&["status"]).expect(3);
    drop(answering.join().unwrap());
    assert_eq!(status.line("MN status"), "Stopped");
    assert!(status.err.contains(&format!("port {} of the API is taken by", world.api)), "{status:?}");
}

/// The PID file may be lost; the service is found by its socket.
#[test]
fn a_service_without_pid_file_is_found_and_stopped() {
    let world = World::new("works");
    world.run(&["start"]).expect(0);
    let pid = world.pid();
    std::fs::remove_file(world.pid_file()).unwrap();
    assert_eq!(world.run(&["status"]).expect(0).line("MN status"), format!("Running [PID:{pid}]"));
    world.run(&["stop"]).expect(0);
    let end = Instant::now() + Duration::from_secs(5);
    while Path::new(&format!("/proc/{pid}/exe")).exists() && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
        assert!(Instant::now() < end, "{pid} still runs");
    }
}

/// Two services on one machine: each is controlled by its own configuration alone.
#[test]
fn a_service_with_another_configuration_is_left_alone() {
    let world = World::new("works");
    world.run(&["start"]).expect(0);
    let pid = world.pid();
    // The same address, another configuration; once without a PID file and once with that of the other service.
    let config = std::fs::read_to_string(world.config()).unwrap().replace("/data\"", "/other\"");
    let other = world.path("other.toml");
    std::fs::write(&other, config).unwrap();
    std::fs::create_dir_all(world.path("other")).unwrap();
    for attempt in 0..2 {
        let run = |command: &str| {
            let mut ctl = Command::new(world.path("zstack-ctl"));
            let output = ctl.arg(command).arg("--config").arg(&other).output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
        };
        let (code, out, err) = run("status");
        assert!(code == Some(3) && out.contains("MN status: Stopped"), "{out}");
        assert!(err.contains(&format!("process {pid} is")) && err.contains(world.config().to_str().unwrap()), "{err}");
        let (code, out, _) = run("stop");
        assert!(code == Some(0) && out.contains("is not running"), "{out}");
        assert_eq!(world.run(&["status"]).expect(0).line("MN status"), format!("Running [PID:{pid}]"), "{attempt}");
        std::fs::copy(world.pid_file(), world.path("other/mn-service.pid")).unwrap();
    }
    world.run(&["stop"]).expect(0);
}

/// OPS-CTL-061, and usage errors.
#[test]
fn commands_explain_their_options() {
    let world = World::new("works");
    let run = |arguments: &[&str]| {
        let output = Command::new(world.path("zstack-ctl")).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, help) = run(&["start_node", "-h"]);
    assert_eq!(code, 0);
    assert!(help.contains("--timeout <SECONDS>") && help.contains("120"), "{help}");
    assert_eq!(run(&["frobnicate"]).0, 2);
    assert_eq!(run(&["start", "--timeout", "0"]).0, 2);
    std::fs::write(world.config(), "listen = 7").unwrap();
    let broken = world.run(&["status"]).expect(1);
    assert!(broken.err.contains("listen") && broken.err.contains("mn-service.toml"), "{broken:?}");
}
