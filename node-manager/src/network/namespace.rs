//! Named network namespaces, compatible with `ip netns` (ip-netns(8)).

use std::{
    fs,
    future::Future,
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use node_manager_types::{AgentError, ErrorKind};

use crate::{
    drivers::Result,
    files::{blocking, io_error},
};

const DIRECTORY: &str = "/run/netns";

/// A named network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Names a namespace that may not exist yet.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Opens the file, for instance to move an interface there.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub fn file(&self) -> Result<fs::File> {
        fs::File::open(self.path())
            .map_err(|e| io_error(format_args!("cannot open network namespace {}", self.name), &e))
    }

    /// Identity of the namespace, to compare with `/proc/PID/ns/net`. A file without a namespace behind it, as a killed
    /// agent may leave, has none.
    pub fn identity(&self) -> Option<(u64, u64)> {
        let meta = fs::metadata(self.path()).ok()?;
        let proc = fs::metadata("/proc/self/ns/net").ok()?;
        (meta.dev() == proc.dev()).then(|| (meta.dev(), meta.ino()))
    }

    /// Makes it exist.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn ensure(&self) -> Result<()> {
        if self.identity().is_some() {
            return Ok(());
        }
        let path = self.path();
        let name = self.name.clone();
        blocking(move || make(&path).map_err(|e| io_error(format_args!("cannot make network namespace {name}"), &e)))
            .await
    }

    /// Removes the name; the namespace goes with its last process.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn remove(&self) -> Result<()> {
        let path = self.path();
        blocking(move || {
            match umount2(&path, MntFlags::MNT_DETACH) {
                // Not mounted: a file that was left behind, or nothing at all.
                Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
                Err(cause) => return Err(io_error(format_args!("cannot unmount {}", path.display()), &cause.into())),
            }
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    Err(io_error(format_args!("cannot remove {}", path.display()), &cause))
                }
                _ => Ok(()),
            }
        })
        .await
    }

    /// Does work on a thread inside the namespace. Programs started by it stay inside.
    ///
    /// # Errors
    /// Those of the work, and [`ErrorKind::Host`] when the namespace cannot be entered.
    pub async fn inside<T, F, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
        W: FnOnce() -> F + Send + 'static,
    {
        let file = self.file()?;
        let name = self.name.clone();
        let (done, answer) = tokio::sync::oneshot::channel();
        // A thread of its own: one of the runtime's would have to find its way back.
        std::thread::spawn(move || {
            let enter = || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()
            };
            let result = match enter() {
                Ok(runtime) => runtime.block_on(work()),
                Err(e) => Err(io_error(format_args!("cannot enter network namespace {name}"), &e)),
            };
            // Nobody waits any more when the job was dropped.
            drop(done.send(result));
        });
        answer.await.unwrap_or_else(|_| {
            Err(AgentError::new(ErrorKind::Host, "work in a network namespace broke inside the agent"))
        })
    }
}

fn make(path: &Path) -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    let none = None::<&str>;
    // Shared, so that namespaces made here are seen by programs in other mount namespaces, like `ip netns` does.
    if mount(none, DIRECTORY, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none).is_err() {
        mount(Some(DIRECTORY), DIRECTORY, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
        mount(none, DIRECTORY, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none)?;
    }
    fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let path = path.to_owned();
    let thread = std::thread::spawn(move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), &path, none, MsFlags::MS_BIND, none)?;
        Ok(())
    });
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread broke")))
}
