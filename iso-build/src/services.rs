//! Processes this program starts: each in a process group of its own, so that Ctrl-C in the terminal reaches them
//! through us alone, and each remembered by pid and start time, so that only what was started here is ever ended.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::program::last_lines;

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(20);

/// A process, told from a later one that got the same pid by when it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// What it is, for example `mn-service`.
    pub(crate) name: String,
    /// Process id.
    pub(crate) pid: i32,
    /// Start time in clock ticks since boot.
    pub(crate) started: u64,
    /// Boot it belongs to.
    pub(crate) boot: String,
}

impl Process {
    /// Describes a process that is alive now.
    pub(crate) fn of(name: &str, pid: i32) -> Result<Self> {
        let started = start_time(pid).with_context(|| format!("{name} (pid {pid}) is gone already"))?;
        Ok(Self { name: name.to_owned(), pid, started, boot: boot() })
    }

    /// True while this very process exists.
    pub(crate) fn is_alive(&self) -> bool {
        self.boot == boot() && start_time(self.pid) == Some(self.started)
    }

    /// Asks it to end, waits, and kills it when it does not listen. Done when it is gone.
    pub(crate) async fn end(&self) -> Result<()> {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            if !self.is_alive() {
                return Ok(());
            }
            match kill(Pid::from_raw(self.pid), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => bail!("{} (pid {}) cannot be ended: {error}", self.name, self.pid),
            }
            let deadline = Instant::now() + GRACE;
            while self.is_alive() && Instant::now() < deadline {
                sleep(Duration::from_millis(20)).await;
            }
        }
        if self.is_alive() {
            bail!("{} (pid {}) does not end even when killed", self.name, self.pid);
        }
        Ok(())
    }
}

impl Process {
    /// Ends it, and takes its last status if it is a child of ours that no [`Service`] holds, so that it does not stay
    /// in the process table.
    pub(crate) async fn end_detached(&self) -> Result<()> {
        self.end().await?;
        match waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(_) | Err(Errno::ECHILD) => Ok(()),
            Err(error) => bail!("{} (pid {}) cannot be collected: {error}", self.name, self.pid),
        }
    }
}

/// Start time of a process that runs; a dead one that nobody has waited for yet counts as gone.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; what follows the last parenthesis is fixed.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// A child of ours.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its identity.
    pub(crate) process: Process,
    log: PathBuf,
    child: Child,
}

impl Service {
    /// Starts a program with both outputs in a log file.
    pub(crate) fn start(name: &str, program: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let pid = i32::try_from(child.id())?;
        match Process::of(name, pid) {
            Ok(process) => Ok(Self { process, log: log.to_owned(), child }),
            Err(_) => {
                let status = child.wait()?;
                bail!("{name} ended with {status}: {}", tail(log));
            }
        }
    }

    /// An error with the end of the log once the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.process.name, tail(&self.log)),
        }
    }

    /// End of the log, for error messages.
    pub(crate) fn log_end(&self) -> String {
        tail(&self.log)
    }

    /// Ends the process and collects it.
    pub(crate) async fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        self.process.end().await?;
        self.child.wait()?;
        Ok(())
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    format!("(end of {})\n{}", log.display(), last_lines(text.trim_end(), 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(folder: &Path, program: &str, arguments: &[&str]) -> Result<Service> {
        Service::start("thing", Path::new(program), arguments, &folder.join("log"))
    }

    #[tokio::test]
    async fn a_process_is_ended_and_known_to_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut service = start(folder.path(), "/bin/sleep", &["60"]).unwrap();
        service.check().unwrap();
        let process = service.process.clone();
        assert!(process.is_alive());
        service.end().await.unwrap();
        assert!(!process.is_alive());
        service.end().await.unwrap();
    }

    #[tokio::test]
    async fn a_child_let_go_of_leaves_nothing_in_the_process_table() {
        let folder = tempfile::tempdir().unwrap();
        let process = start(folder.path(), "/bin/sleep", &["60"]).unwrap().process;
        process.end_detached().await.unwrap();
        assert!(!Path::new(&format!("/proc/{}", process.pid)).exists());
        process.end_detached().await.unwrap();
    }

    #[tokio::test]
    async fn a_stranger_with_the_same_pid_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut service = start(folder.path(), "/bin/sleep", &["60"]).unwrap();
        let earlier = Process { started: service.process.started - 1, ..service.process.clone() };
        assert!(!earlier.is_alive());
        earlier.end().await.unwrap();
        let other_boot = Process { boot: "another".into(), ..service.process.clone() };
        other_boot.end().await.unwrap();
        service.check().unwrap();
        service.end().await.unwrap();
    }

    #[tokio::test]
    async fn one_that_dies_tells_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        // It may be dead before or after it is first looked at; the message is the same.
        let mut started = start(folder.path(), "/bin/cat", &["/no/such/file"]);
        let error = loop {
            match started
                .as_mut()
                .map_err(|error| error.to_string())
                .and_then(|service| service.check().map_err(|error| error.to_string()))
            {
                Err(error) => break error,
                Ok(()) => assert!(Instant::now() < deadline),
            }
            sleep(Duration::from_millis(10)).await;
        };
        assert!(error.contains("thing ended with exit status: 1") && error.contains("/no/such/file"), "{error}");
    }
}
