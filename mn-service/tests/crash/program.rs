//! The real program in a folder of its own, and the file that tells it where to die or fail.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use reqwest::Method;
use system_tests::{Client, eventually};

/// A running program, killed when the test ends.
pub(crate) struct Program {
    child: Child,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be gone already; that is what these tests are about.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Program {
    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

/// Where the program lives.
pub(crate) struct Place {
    config: PathBuf,
    log: PathBuf,
    faults: PathBuf,
    /// URL of its database.
    pub(crate) database: String,
    /// Its address.
    pub(crate) base: String,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Place {
    /// A fresh folder for a program over the hosts of `simulator`.
    pub(crate) async fn new(simulator: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        let api = private_port::loopback().unwrap();
        let data = inside("data");
        std::fs::create_dir(&data).unwrap();
        let chosen = system_tests::database::url_for(&data).await.unwrap();
        let database = chosen.as_ref().map(|url| format!("[database]\nurl = \"{url}\"\n")).unwrap_or_default();
        let text = format!(
            "listen = \"{api}\"\nui_listen = \"127.0.0.1:0\"\nconsole_listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\nsimulator = \"{simulator}\"\n{database}",
            data.display()
        );
        std::fs::write(inside("mn-service.toml"), text).unwrap();
        Self {
            config: inside("mn-service.toml"),
            log: inside("log"),
            faults: inside("faults"),
            database: chosen.unwrap_or_else(|| format!("sqlite://{}?mode=ro", data.join("mn.db").display())),
            client: Client::new(&format!("http://{api}")),
            base: format!("http://{api}"),
            _folder: folder,
        }
    }

    /// Starts the program and waits until it serves.
    pub(crate) async fn start(&self) -> Program {
        let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mn-service"));
        command.arg("--config").arg(&self.config).env(mn_service::faults::VARIABLE, &self.faults);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut program = Program { child: command.spawn().unwrap() };
        eventually(Duration::from_secs(30), || {
            let ended = program.ended();
            async move {
                assert!(ended.is_none(), "the program ended with {ended:?}: {}", self.tail());
                match self.client.send(Method::GET, "/management-nodes/ready", None).await {
                    Ok((status, _)) if status.is_success() => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
        program
    }

    /// Tells the running program where to die or fail.
    pub(crate) fn arm(&self, faults: &[String]) {
        // Renamed into place: the program may read at any time.
        let fresh = self.faults.with_extension("new");
        std::fs::write(&fresh, faults.join("\n")).unwrap();
        std::fs::rename(&fresh, &self.faults).unwrap();
    }

    /// Nothing is to happen any more.
    pub(crate) fn disarm(&self) {
        if Path::new(&self.faults).exists() {
            std::fs::remove_file(&self.faults).unwrap();
        }
    }

    /// The end of the program's log.
    pub(crate) fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.reverse();
        lines.join("\n")
    }
}
