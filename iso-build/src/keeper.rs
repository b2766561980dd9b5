//! Keeps a daemon where no service manager does, and collects the dead children of its children.
//!
//! libvirt starts QEMU detached to learn what it can do, kills it, and waits until it is gone from the process table. A
//! detached process belongs to process 1; in containers and small images that often collects the dead late, and every
//! look of libvirt at QEMU then costs up to a minute and a half. Below a keeper such processes belong to the keeper.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::signal::unix::{SignalKind, signal};

/// Runs `program` until it ends, passes SIGTERM on to it, and collects whatever dies below it.
pub(crate) async fn keep(program: &Path, arguments: &[String]) -> Result<()> {
    prctl::set_child_subreaper(true).context("this process cannot collect other processes' children")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    // `waitpid` for anybody also takes the daemon's own end, so `child` is not asked for it.
    let mut collector = tokio::task::spawn_blocking(move || collect(pid));
    loop {
        tokio::select! {
            ended = &mut collector => return ended?,
            _ = terminate.recv() => match kill(pid, Signal::SIGTERM) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => bail!("{} cannot be ended: {error}", program.display()),
            },
        }
    }
}

fn collect(daemon: Pid) -> Result<()> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, 0)) if pid == daemon => return Ok(()),
            Ok(WaitStatus::Exited(pid, status)) if pid == daemon => bail!("the daemon ended with status {status}"),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == daemon => bail!("the daemon was ended by {signal}"),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => bail!("children cannot be collected: {error}"),
        }
    }
}
