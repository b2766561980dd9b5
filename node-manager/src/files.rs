//! Files that are either there in full or not at all.

use std::{io, path::Path, time::Duration};

use node_manager_types::{AgentError, ErrorKind};

use crate::drivers::Result;

/// Mode of disks and images: nobody but root reads them. libvirt lends them to QEMU's user, the layers below included.
pub(crate) const PRIVATE: u32 = 0o600;

/// Translates an I/O error: a full disk is told apart from everything else (the way out differs).
pub(crate) fn io_error(what: impl std::fmt::Display, cause: &io::Error) -> AgentError {
    let kind = match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Host,
    };
    AgentError::new(kind, format!("{what}: {cause}"))
}

/// Translates the failure of a program; `fallback` is the kind when nothing more precise is known.
pub(crate) fn command_error(what: impl std::fmt::Display, fallback: ErrorKind, error: &hostcmd::Error) -> AgentError {
    let stderr = error.stderr().unwrap_or_default();
    let kind = match error {
        hostcmd::Error::Timeout { .. } => ErrorKind::Timeout,
        hostcmd::Error::Start { .. } | hostcmd::Error::Pipe { .. } => ErrorKind::Host,
        hostcmd::Error::Failed { .. } if stderr.contains("No space left on device") => ErrorKind::NoSpace,
        hostcmd::Error::Failed { .. } if stderr.contains("Failed to get") && stderr.contains("lock") => {
            ErrorKind::Conflict
        }
        hostcmd::Error::Failed { .. } => fallback,
    };
    let reason = match error {
        hostcmd::Error::Start { cause, .. } | hostcmd::Error::Pipe { cause, .. } => format!("{error}: {cause}"),
        hostcmd::Error::Failed { .. } => stderr.lines().last().unwrap_or("no reason given").to_owned(),
        hostcmd::Error::Timeout { .. } => error.to_string(),
    };
    AgentError::new(kind, format!("{what}: {reason}")).with_evidence(error.to_string())
}

/// Runs blocking file work away from the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|cause| {
        Err(AgentError::new(ErrorKind::Host, "work on files broke inside the agent").with_evidence(cause.to_string()))
    })
}

/// Makes the directory entry itself survive a power cut.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(parent)?.sync_all()
}

/// Replaces a small file at once: readers see the old or the new contents, also after a crash.
pub(crate) fn write_atomically(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _};
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory)?;
    file.write_all(contents)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_directory_of(path)
}

/// Polls `check` until it yields something or `limit` has passed.
pub(crate) async fn eventually<T, F>(limit: Duration, mut check: impl FnMut() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let until = tokio::time::Instant::now() + limit;
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(found) = check().await? {
            return Ok(Some(found));
        }
        if tokio::time::Instant::now() >= until {
            return Ok(None);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
