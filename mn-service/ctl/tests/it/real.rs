//! The real management service under the real program, each world with a data directory, a database and ports of its
//! own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use system_tests::{Client, program};

use crate::{Run, free_port, install};

/// A machine with the programs side by side, as packages install them.
pub(crate) struct Machine {
    pub(crate) home: tempfile::TempDir,
    pub(crate) api: u16,
    pub(crate) ui: u16,
    pub(crate) console: u16,
}

impl Machine {
    /// `more` is appended to the configuration.
    pub(crate) fn new(more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let machine = Self { home, api: free_port(), ui: free_port(), console: free_port() };
        let config = format!(
            "listen = \"127.0.0.1:{}\"\nui_listen = \"127.0.0.1:{}\"\nconsole_listen = \"127.0.0.1:{}\"\n\
             data_dir = {:?}\n{more}",
            machine.api,
            machine.ui,
            machine.console,
            machine.data()
        );
        std::fs::write(machine.path("mn-service.toml"), config).unwrap();
        install(Path::new(env!("CARGO_BIN_EXE_zstack-ctl")), &machine.path("zstack-ctl"));
        std::os::unix::fs::symlink(program("mn-service", &["mn-service", "node-manager"]), machine.path("mn-service"))
            .unwrap();
        machine
    }

    /// With a database on the private server of this process.
    pub(crate) fn with_mariadb() -> Self {
        let url = private_mariadb::shared().unwrap().create_database().unwrap();
        Self::new(&format!("[database]\nurl = {url:?}\n"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("zstack-ctl"));
        command.args(arguments).arg("--config").arg(self.path("mn-service.toml")).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        output(&mut self.command(arguments))
    }

    /// Every line of a command with `--json`.
    pub(crate) fn events(&self, arguments: &[&str]) -> Vec<Value> {
        let run = self.run(arguments);
        let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        run.out.lines().map(read).collect()
    }

    /// What a command with `--json` gave.
    pub(crate) fn result(&self, arguments: &[&str]) -> Value {
        let events = self.events(arguments);
        let last = events.last().unwrap();
        assert!(last["result"].is_object(), "{last}");
        last["result"].clone()
    }

    pub(crate) async fn admin(&self) -> Client {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::new(&format!("http://127.0.0.1:{}", self.api));
        client.log_in("admin", "password").await.unwrap().unwrap();
        client
    }

    pub(crate) async fn make_zone(&self, name: &str) {
        self.admin().await.create("/zones", json!({ "name": name })).await.unwrap();
    }

    pub(crate) async fn zones(&self) -> Vec<String> {
        let zones = self.admin().await.query("/zones").await.unwrap();
        let mut names: Vec<String> = zones.iter().map(|zone| zone["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.data().join(name)).unwrap()
    }
}

pub(crate) fn output(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Ok(text) = std::fs::read_to_string(self.data().join("mn-service.pid")) else { return };
        let Ok(pid) = text.trim().parse::<i32>() else { return };
        // The PID may be another's by now; our configuration on its command line says that it is not.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&*self.home.path().to_string_lossy()) {
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
