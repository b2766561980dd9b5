//! One wait for the disk for many commits.
//!
//! A commit must be on the disk before anybody is told of it, and waiting for the disk takes milliseconds. SQLite with
//! `synchronous=FULL` waits inside every commit while it holds the only writer, so that commits queue for the disk one
//! by one. With `NORMAL` it orders its writes (a power cut never damages the file) but does not wait; here everybody
//! waits after the commit, with the writer free again, and one wait serves all who committed before it began.

use std::{
    io::ErrorKind,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Mutex;

use crate::DbError;

/// The write-ahead log of a database file.
#[derive(Debug)]
pub(crate) struct Durable {
    wal: Arc<PathBuf>,
    /// Commits so far.
    committed: AtomicU64,
    /// How many of them are known to be on the disk. Held while waiting for it.
    synced: Mutex<u64>,
    failed: AtomicBool,
}

impl Durable {
    /// Of the database in the file `database`.
    pub(crate) fn of(database: &std::path::Path) -> Self {
        let mut wal = database.as_os_str().to_owned();
        wal.push("-wal");
        Self {
            wal: Arc::new(wal.into()),
            committed: AtomicU64::new(0),
            synced: Mutex::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// Fails once the disk has refused: the kernel forgets what it could not write, so that a later wait would succeed
    /// without it. What is on the disk is known again after a restart.
    pub(crate) fn check(&self) -> Result<(), DbError> {
        if self.failed.load(Ordering::SeqCst) { Err(DbError::Disk) } else { Ok(()) }
    }

    /// Called after a commit: returns when it is on the disk.
    pub(crate) async fn settle(&self) -> Result<(), DbError> {
        let mine = self.committed.fetch_add(1, Ordering::SeqCst) + 1;
        let mut synced = self.synced.lock().await;
        self.check()?;
        if *synced >= mine {
            return Ok(());
        }
        let before = self.committed.load(Ordering::SeqCst);
        let wal = self.wal.clone();
        // By its name: the log is made anew when all connections were closed meanwhile. Then the old one is in the
        // database file already, and SQLite has waited for that.
        let wait = move || match std::fs::File::open(&*wal) {
            Ok(file) => file.sync_data(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        let outcome = tokio::task::spawn_blocking(wait).await.map_err(std::io::Error::other).flatten();
        if let Err(error) = outcome {
            tracing::error!(%error, "the disk does not take the database log; nothing is written until a restart");
            self.failed.store(true, Ordering::SeqCst);
            return Err(DbError::Disk);
        }
        *synced = before;
        Ok(())
    }

    /// Commits, and how many of them are on the disk.
    #[cfg(test)]
    pub(crate) async fn counts(&self) -> (u64, u64) {
        (self.committed.load(Ordering::SeqCst), *self.synced.lock().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_was_told_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.db-wal"), "frames").unwrap();
        let durable = Durable::of(&folder.path().join("a.db"));
        futures_of(&durable, 50).await;
        assert_eq!(durable.counts().await, (50, 50));
    }

    async fn futures_of(durable: &Durable, count: usize) {
        let (one, two) = (count / 2, count - count / 2);
        let some = async |count: usize| {
            for _ in 0..count {
                durable.settle().await.unwrap();
            }
        };
        tokio::join!(some(one), some(two));
    }

    #[tokio::test]
    async fn after_a_failed_wait_nobody_is_told_of_a_success() {
        let folder = tempfile::tempdir().unwrap();
        // A file that cannot be synchronised.
        std::os::unix::fs::symlink("/proc/self/status", folder.path().join("a.db-wal")).unwrap();
        let durable = Durable::of(&folder.path().join("a.db"));
        assert!(matches!(durable.settle().await, Err(DbError::Disk)));
        std::fs::remove_file(folder.path().join("a.db-wal")).unwrap();
        assert!(matches!(durable.settle().await, Err(DbError::Disk)));
        assert!(durable.check().is_err());
    }
}
