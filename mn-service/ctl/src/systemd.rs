//! Control through systemd, where the machine has it and the unit is installed.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::control::ControlError;

/// Our unit.
pub const UNIT: &str = "mn-service.service";
/// Where the service's output is, in words an operator can type.
pub const LOG: &str = "journalctl -u mn-service.service";

/// A machine that systemd runs.
#[derive(Debug)]
pub struct Systemd {
    program: PathBuf,
}

impl Systemd {
    /// Systemd with our unit, if `run_dir` (`/run/systemd/system`) shows that it runs and `program` knows the unit.
    pub async fn detect(run_dir: &Path, program: &Path) -> Option<Self> {
        if !run_dir.is_dir() {
            return None;
        }
        let asked =
            Command::new(program).args(["show", "--property=LoadState", "--value", UNIT]).output().await.ok()?;
        let loaded = asked.status.success() && String::from_utf8_lossy(&asked.stdout).trim() == "loaded";
        loaded.then(|| Self { program: program.to_owned() })
    }

    /// `start` or `stop`; waits until systemd has done it.
    pub async fn run(&self, verb: &str) -> Result<(), ControlError> {
        let command = format!("{} {verb} {UNIT}", self.program.display());
        let run = Command::new(&self.program).args([verb, UNIT]).output().await;
        let output = run.map_err(|error| ControlError::Systemd { command: command.clone(), why: error.to_string() })?;
        if output.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let why = if why.is_empty() { output.status.to_string() } else { why };
        Err(ControlError::Systemd { command, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `systemctl` that knows our unit as `state`, notes its arguments and fails to stop.
    fn systemctl(directory: &Path, state: &str) -> PathBuf {
        let path = directory.join("systemctl");
        let notes = directory.join("notes");
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {}\ncase $1 in show) echo {state};; stop) echo 'Access denied' >&2; exit 4;; esac\n",
            notes.display()
        );
        // A child writes the program: were the file open here while another test forks, it could not be run.
        std::fs::write(directory.join("script"), script).unwrap();
        let mut install = std::process::Command::new("install");
        let installed = install.args(["-m", "755"]).arg(directory.join("script")).arg(&path).status().unwrap();
        assert!(installed.success());
        path
    }

    #[tokio::test]
    async fn the_unit_is_used_only_where_systemd_runs_and_knows_it() {
        let directory = tempfile::tempdir().unwrap();
        let program = systemctl(directory.path(), "loaded");
        assert!(Systemd::detect(directory.path(), &program).await.is_some());
        assert!(Systemd::detect(&directory.path().join("none"), &program).await.is_none());
        let unknown = tempfile::tempdir().unwrap();
        let program = systemctl(unknown.path(), "not-found");
        assert!(Systemd::detect(unknown.path(), &program).await.is_none());
    }

    #[tokio::test]
    async fn verbs_reach_systemctl_and_its_refusal_reaches_the_operator() {
        let directory = tempfile::tempdir().unwrap();
        let program = systemctl(directory.path(), "loaded");
        let systemd = Systemd::detect(directory.path(), &program).await.unwrap();
        systemd.run("start").await.unwrap();
        let error = systemd.run("stop").await.unwrap_err().to_string();
        assert!(error.contains("Access denied") && error.contains("stop mn-service.service"), "{error}");
        let notes = std::fs::read_to_string(directory.path().join("notes")).unwrap();
        assert!(notes.lines().any(|line| line == "start mn-service.service"), "{notes}");
    }
}
