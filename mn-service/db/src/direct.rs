//! Connections that read a SQLite file in the thread that asks.
//!
//! Over sqlx each statement goes to the thread of its connection, and each row comes back through a channel. That
//! costs several times what SQLite needs for a row, so queries, of which there are thousands a second, go this way.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::DbError;

/// Queries of any length that run at the same time. More of them would only take turns on the processors.
const LONG: usize = 4;
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 128;
/// Connections that are kept open while nobody uses them.
const KEPT: usize = 16;

/// Connections to one file.
#[derive(Debug)]
pub(crate) struct Direct {
    path: PathBuf,
    /// How long a connection waits for another one that restores the file after a crash.
    patience: Duration,
    /// Connections that nobody uses; `None` once closed.
    idle: Mutex<Option<Vec<Connection>>>,
    long: Semaphore,
}

impl Direct {
    /// To a file that exists. Connections are made when they are needed.
    pub(crate) fn of(path: &Path, patience: Duration) -> Self {
        Self { path: path.to_owned(), patience, idle: Mutex::new(Some(Vec::new())), long: Semaphore::new(LONG) }
    }

    /// Runs `work` here and now, in one snapshot. For what takes microseconds, such as finding a row by its key:
    /// handing it to another thread would take longer.
    pub(crate) fn short<T>(&self, work: impl FnOnce(&Connection) -> Result<T, DbError>) -> Result<T, DbError> {
        let kept = self.idle().as_mut().ok_or_else(closed)?.pop();
        let conn = match kept {
            Some(conn) => conn,
            None => self.open()?,
        };
        conn.prepare_cached("BEGIN")?.execute([])?;
        let outcome = work(&conn);
        // A connection whose transaction cannot be ended is dropped.
        conn.prepare_cached("COMMIT")?.execute([])?;
        if let Some(idle) = self.idle().as_mut().filter(|idle| idle.len() < KEPT) {
            idle.push(conn);
        }
        outcome
    }

    /// Runs `work` in a thread that may take its time, in one snapshot.
    pub(crate) async fn long<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let _place = self.long.acquire().await.map_err(|_| closed())?;
        let direct = self.clone();
        let ended = tokio::task::spawn_blocking(move || direct.short(work)).await;
        ended.map_err(|error| DbError::Unanswered(error.to_string()))?
    }

    /// Closes what is open; queries under way end first, later ones fail.
    pub(crate) fn close(&self) {
        self.idle().take();
        self.long.close();
    }

    fn idle(&self) -> MutexGuard<'_, Option<Vec<Connection>>> {
        // A panic elsewhere cannot leave the list half-changed: every change is a single call.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<Connection, DbError> {
        // Writing to the file's shared memory is part of reading; `query_only` keeps rows as they are.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(self.patience)?;
        conn.pragma_update(None, "query_only", "on")?;
        conn.pragma_update(None, "temp_store", "memory")?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(conn)
    }
}

fn closed() -> DbError {
    DbError::Unanswered("the database is closed".to_owned())
}
