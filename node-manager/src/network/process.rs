//! Host services that outlive the agent: found again by their pid file.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use node_manager_types::{AgentError, ErrorKind};

use super::namespace::Namespace;
use crate::{
    drivers::Result,
    files::{eventually, io_error},
};

/// A service process.
#[derive(Debug, Clone)]
pub struct Service {
    /// Where its pid stands.
    pub pid_file: PathBuf,
    /// A word that stands in its command line and in no other: the path of its configuration or data.
    pub word: String,
}

impl Service {
    /// Its pid, when it runs; a recycled pid is told by the command line.
    pub fn pid(&self) -> Option<i32> {
        let pid: i32 = fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()?;
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        words.split(|byte| *byte == 0).any(|word| String::from_utf8_lossy(word).contains(&self.word)).then_some(pid)
    }

    /// True when it runs inside this namespace. After the namespace was removed and made again, it may run in the old one.
    pub fn runs_in(&self, namespace: &Namespace) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let Some(pid) = self.pid() else { return false };
        let own = fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|meta| (meta.dev(), meta.ino()));
        own.is_some() && own == namespace.identity()
    }

    /// Sends a signal; `false` when it does not run.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub fn signal(&self, signal: Signal) -> Result<bool> {
        let Some(pid) = self.pid() else { return Ok(false) };
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) => Ok(true),
            Err(nix::Error::ESRCH) => Ok(false),
            Err(cause) => Err(io_error(format_args!("cannot signal process {pid}"), &cause.into())),
        }
    }

    /// Ends it and waits until it is gone.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] when even SIGKILL does not help.
    pub async fn stop(&self) -> Result<()> {
        for (signal, patience) in [(Signal::SIGTERM, 5), (Signal::SIGKILL, 5)] {
            if !self.signal(signal)? {
                break;
            }
            if eventually(Duration::from_secs(patience), || async { Ok(self.pid().is_none().then_some(())) })
                .await?
                .is_some()
            {
                break;
            }
        }
        if let Some(pid) = self.pid() {
            return Err(AgentError::new(ErrorKind::Host, format!("process {pid} ({}) does not end", self.word)));
        }
        remove(&self.pid_file)
    }
}

/// Removes a file that may not be there.
///
/// # Errors
/// [`ErrorKind::Host`].
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error(format_args!("cannot remove {}", path.display()), &cause))
        }
        _ => Ok(()),
    }
}
