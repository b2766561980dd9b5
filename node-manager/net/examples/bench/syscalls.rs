//! How many system calls a piece of work makes, as strace counts them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

/// How long strace may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Counts the system calls of this thread during some work, which must not leave the thread. None where there is no
/// strace. What looking whether strace has begun costs is counted by itself and taken off.
pub(crate) async fn count(work: impl AsyncFnOnce() -> Result<()>) -> Result<Option<u64>> {
    let Some(nothing) = traced(async || Ok(())).await? else { return Ok(None) };
    Ok(traced(work).await?.map(|all| all.saturating_sub(nothing)))
}

async fn traced(work: impl AsyncFnOnce() -> Result<()>) -> Result<Option<u64>> {
    let report = tempfile::NamedTempFile::new()?;
    let thread = nix::unistd::gettid().to_string();
    let strace = Command::new("strace")
        .args(["-c", "-p", &thread, "-o"])
        .arg(report.path())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut strace = match strace {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        strace => strace.context("strace cannot be started")?,
    };
    attached(&thread).await?;
    let done = work().await;
    end(&mut strace).await?;
    done?;
    let text = std::fs::read_to_string(report.path())?;
    total(&text).with_context(|| format!("strace said: {text}")).map(Some)
}

/// Returns when somebody traces the thread.
async fn attached(thread: &str) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status"))?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap_or_default().trim();
        if tracer != "0" {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!("strace does not begin; is tracing forbidden on this machine?");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn end(strace: &mut Child) -> Result<()> {
    let id = strace.id().and_then(|id| i32::try_from(id).ok()).context("strace ended by itself")?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGINT)?;
    // It ends by the signal that it was sent.
    tokio::time::timeout(PATIENCE, strace.wait()).await.context("strace does not end")??;
    Ok(())
}

/// The calls in the last line of the table; an empty table has none.
pub(crate) fn total(text: &str) -> Option<u64> {
    if text.trim().is_empty() {
        return Some(0);
    }
    let line = text.lines().rev().find(|line| line.trim_end().ends_with("total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_read_from_strace_s_table() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     \x20 0.00    0.000000           0        12           read\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.000000           0        25         2 total\n";
        assert_eq!((total(table), total(""), total("nonsense")), (Some(25), Some(0), None));
    }
}
