//! A home directory, a server, and runs of the program.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::server::Server;

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) home: tempfile::TempDir,
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self { server: Server::start(), home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn logged_in() -> Self {
        let world = Self::new();
        world.run(&["LogInByAccount", "accountName=admin", "password=password"]).expect(0);
        world.server.seen();
        world
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zstack-cli"));
        command
            .env("HOME", self.home.path())
            .env_remove("ZS_SERVER_IP")
            .env_remove("ZS_SERVER_PORT")
            .arg("--url")
            .arg(&self.server.url);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, "")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Run {
        finish(self.command().args(arguments), input)
    }

    pub(crate) fn session_file(&self) -> PathBuf {
        self.home.path().join(".zstack/cli/session")
    }

    pub(crate) fn session_text(&self) -> String {
        std::fs::read_to_string(self.session_file()).unwrap_or_default()
    }
}

pub(crate) fn finish(command: &mut Command, input: &str) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("zstack-cli runs");
    // A program that needs no input may have ended before it is written.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
