//! apt and dpkg, run so that they end what they have begun.

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};
use tokio::process::Command;

use crate::failure::{AtPath as _, Failure};

/// How often the output is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Lines of the output that a failure repeats.
const TAIL: usize = 12;

/// Keeps programs that use dpkg out of each other's way (dpkg(1), `DPKG_FRONTEND_LOCKED`).
const FRONTEND: &str = "/var/lib/dpkg/lock-frontend";
/// Held by dpkg while it works; by one that we started and left behind as well, when the other is free again.
const DATABASE: &str = "/var/lib/dpkg/lock";
/// Longest wait for another program that installs: as long as a whole installation takes on a slow machine.
const OTHERS: Duration = Duration::from_secs(1800);

/// Options of every use: nobody is asked, another apt is waited for, and what an operator set stays.
pub(crate) const OPTIONS: [&str; 3] =
    ["DPkg::Lock::Timeout=300", "Dpkg::Options::=--force-confmiss", "Dpkg::Options::=--force-confold"];

/// apt-get with these options.
pub(crate) fn apt(options: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-y"]);
    for option in options.iter().chain(&OPTIONS) {
        command.args(["-o", option]);
    }
    command
}

/// Finishes what an earlier use left half done. It may be under way still, when only we were killed: dpkg does not wait
/// for others by itself, as apt does. `waiting` is called when there is another.
pub(crate) async fn finish(log: &Path, mut waiting: impl FnMut(&str)) -> Result<(), Failure> {
    let _held = locked(Path::new(FRONTEND), OTHERS, &mut waiting).await?;
    // dpkg takes this one itself.
    drop(locked(Path::new(DATABASE), OTHERS, &mut waiting).await?);
    let mut configure = Command::new("dpkg");
    configure.args(["--force-confmiss", "--force-confold", "--configure", "--pending"]);
    run(configure.env("DPKG_FRONTEND_LOCKED", "true"), log, |_| ()).await
}

/// Has a lock of dpkg's, until the file is dropped.
async fn locked(path: &Path, limit: Duration, waiting: impl FnOnce(&str)) -> Result<fs::File, Failure> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).open(path).at("open", path)?;
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let (begun, mut waiting) = (Instant::now(), Some(waiting));
    loop {
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)) {
            Ok(_) => return Ok(file),
            Err(Errno::EAGAIN | Errno::EACCES) if begun.elapsed() < limit => {
                if let Some(waiting) = waiting.take() {
                    waiting("waiting for another program that installs packages");
                }
                tokio::time::sleep(LOOK).await;
            }
            Err(Errno::EAGAIN | Errno::EACCES) => {
                let text = format!("another program has been installing packages for {} s", limit.as_secs());
                return Err(Failure::new(text).hint(format!(
                    "wait until it has ended, and try again; `fuser {}` tells who it is",
                    path.display()
                )));
            }
            Err(error) => return Err(Failure::new(format!("{} cannot be locked: {error}", path.display()))),
        }
    }
}

/// Runs a program to its end and hands on every line that it prints. Its output goes to `log`, which is a file and not a
/// pipe: when we are killed, it goes on to its end.
pub(crate) async fn run(command: &mut Command, log: &Path, mut heard: impl FnMut(&str)) -> Result<(), Failure> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(log);
    let (out, err) = (open().at("open", log)?, open().at("open", log)?);
    let mut seen = Seen { from: out.metadata().at("read", log)?.len(), lines: Vec::new(), path: log.to_owned() };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        // Ctrl-C here does not leave packages half installed.
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::new(format!("{name} cannot be run: {error}")))?;
    let status: ExitStatus = loop {
        let ended = tokio::time::timeout(LOOK, child.wait()).await;
        seen.more(ended.is_ok())?.iter().for_each(|line| heard(line));
        if let Ok(status) = ended {
            break status.map_err(|error| Failure::new(format!("{name} was lost: {error}")))?;
        }
    };
    if status.success() {
        return Ok(());
    }
    // Both mark what is an error; without a mark it is the end that counts.
    let is_error = |line: &&String| ["E: ", "dpkg: error"].iter().any(|mark| line.starts_with(mark));
    let errors: Vec<&str> = seen.lines.iter().filter(is_error).map(String::as_str).collect();
    let last: Vec<&str> = seen.lines.iter().map(String::as_str).collect();
    let said = if errors.is_empty() { last } else { errors };
    let said = said[said.len().saturating_sub(TAIL)..].join("\n");
    Err(Failure::new(format!("{name} failed ({status}):\n{said}")))
}

/// What was read of a file that grows.
struct Seen {
    path: PathBuf,
    from: u64,
    lines: Vec<String>,
}

impl Seen {
    /// Whole lines that were written since; at the end also one that is not.
    fn more(&mut self, end: bool) -> Result<Vec<String>, Failure> {
        let mut bytes = Vec::new();
        let read = fs::File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.from))?;
            file.read_to_end(&mut bytes)
        });
        read.at("read", &self.path)?;
        let whole =
            if end { bytes.len() } else { bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
        self.from += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let fresh: Vec<String> = text.lines().map(str::to_owned).collect();
        self.lines.extend(fresh.iter().cloned());
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OS-BIN: an installation that was killed left apt behind, which goes on.
    #[tokio::test]
    async fn another_program_that_installs_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-frontend");
        let nobody = |_: &str| panic!("there is nobody to wait for");
        let other = locked(&path, Duration::ZERO, nobody).await.unwrap();
        let failure = locked(&path, Duration::ZERO, nobody).await.unwrap_err();
        assert!(failure.message.contains("another program") && failure.hint.unwrap().contains("fuser"));
        let mut told = None;
        locked(&path, Duration::from_secs(60), |text| {
            told = Some(text.to_owned());
            drop(other);
        })
        .await
        .unwrap();
        assert!(told.unwrap().contains("waiting for another program"));
    }
}
