//! Opening a database.

use std::{ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, IsolationLevel, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait,
    sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous},
};
use sea_orm_migration::MigratorTrait;

use crate::{DbError, Txn, direct::Direct, durable::Durable, error::is_transient, migration::Migrator};

/// Connections to SQLite that read at the same time, beside those of [`Direct`]. Each has a thread, a cache of pages and
/// one of statements.
const READERS: u32 = 8;
/// Connections to MariaDB.
const SERVER_CONNECTIONS: u32 = 32;
/// Statements that a connection to SQLite keeps prepared, at some 10 KB each.
const STATEMENTS: usize = 256;
/// How long a caller waits for a connection or for the writer before it fails.
const WAIT: Duration = Duration::from_secs(30);
/// How long one management service waits for another that migrates.
const MIGRATION_WAIT: Duration = Duration::from_secs(300);
/// How often a disturbed transaction is run.
const ATTEMPTS: u32 = 10;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// One file, embedded.
    Sqlite,
    /// A MariaDB server.
    MariaDb,
}

/// An open, migrated database. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Db {
    /// Connections for reading. On SQLite they refuse to write; writes go through [`Db::begin`] or [`Db::write`].
    pub conn: DatabaseConnection,
    /// Which database it is.
    pub backend: Backend,
    writer: DatabaseConnection,
    /// How queries are answered on SQLite.
    pub(crate) direct: Option<Arc<Direct>>,
    /// What commits wait for, where the database does not do it itself.
    durable: Option<Arc<Durable>>,
    /// Removes the file of a temporary database with the last handle.
    _temporary: Option<Arc<tempfile::TempDir>>,
}

/// Opens the database at `url` (`sqlite:/path/file.db`, `mysql://user:password@host/name`) and brings its schema up
/// to date. A SQLite file and its directory are made when missing.
pub async fn connect(url: &str) -> Result<Db, DbError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        open_sqlite(Path::new(path.split('?').next().unwrap_or(path)), true).await
    } else if url.starts_with("mysql:") || url.starts_with("mariadb:") {
        open_mariadb(url).await
    } else {
        // The address may hold a password; its scheme is all that matters here.
        Err(DbError::Address(url.split(':').next().unwrap_or_default().to_owned()))
    }
}

/// One connection writes and the others read: SQLite has a single writer, and queueing for a connection is fair and
/// costs nothing, whereas competing writers poll the file lock and fail with SQLITE_BUSY.
///
/// A `durable` database keeps what was committed over a power cut: a job is acknowledged to its caller once its row is
/// committed, and must be there after the reboot. SQLite's own `synchronous=FULL` would do that too, one commit after
/// the other; see [`Durable`].
async fn open_sqlite(path: &Path, durable: bool) -> Result<Db, DbError> {
    let synchronous = if durable { SqliteSynchronous::Normal } else { SqliteSynchronous::Off };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|source| DbError::Directory { path: parent.to_owned(), source })?;
    }
    let options = |readers: bool| {
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
        options
            .max_connections(if readers { READERS } else { 1 })
            .min_connections(1)
            .acquire_timeout(WAIT)
            // A SQLite connection does not go stale; reopening it would only drop its caches.
            .idle_timeout(None::<Duration>)
            .max_lifetime(None::<Duration>)
            .test_before_acquire(false)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(move |sqlite| {
                let sqlite = sqlite
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(synchronous)
                    .foreign_keys(true)
                    .busy_timeout(WAIT)
                    .pragma("temp_store", "memory")
                    .statement_cache_capacity(STATEMENTS)
                    .optimize_on_close(!readers, Some(400));
                if readers { sqlite.pragma("query_only", "on") } else { sqlite }
            });
        options
    };
    let writer = Database::connect(options(false)).await?;
    Migrator::up(&writer, None).await?;
    let conn = Database::connect(options(true)).await?;
    let durable = durable.then(|| Arc::new(Durable::of(path)));
    let direct = Some(Arc::new(Direct::of(path, WAIT)));
    Ok(Db { conn, backend: Backend::Sqlite, writer, direct, durable, _temporary: None })
}

async fn open_mariadb(url: &str) -> Result<Db, DbError> {
    let url = url.replacen("mariadb:", "mysql:", 1);
    let options = |connections: u32| {
        let mut options = ConnectOptions::new(&url);
        options
            .max_connections(connections)
            .min_connections(1)
            .acquire_timeout(WAIT)
            .test_before_acquire_if_idle_for(Duration::from_secs(5))
            .sqlx_logging(false)
            .map_sqlx_mysql_opts(|mysql| {
                mysql.charset("utf8mb4").collation("utf8mb4_unicode_ci").statement_cache_capacity(512)
            });
        options
    };
    migrate_mariadb(&Database::connect(options(1)).await?).await?;
    let conn = Database::connect(options(SERVER_CONNECTIONS)).await?;
    Ok(Db { writer: conn.clone(), conn, backend: Backend::MariaDb, direct: None, durable: None, _temporary: None })
}

/// Several management services may start at the same time; one of them migrates while the others wait. `single` has
/// one connection, because the lock belongs to its connection.
async fn migrate_mariadb(single: &DatabaseConnection) -> Result<(), DbError> {
    let lock = "CONCAT('zstack-migration-', DATABASE())";
    let wait = MIGRATION_WAIT.as_secs();
    let ask = Statement::from_string(DbBackend::MySql, format!("SELECT CAST(GET_LOCK({lock}, {wait}) AS SIGNED)"));
    let granted = match single.query_one_raw(ask).await? {
        Some(row) => row.try_get_by_index::<Option<i64>>(0)?,
        None => None,
    };
    if granted != Some(1) {
        return Err(DbError::MigrationBusy(wait));
    }
    Migrator::up(single, None).await?;
    // Closing the connection gives the lock back.
    Ok(single.close_by_ref().await?)
}

impl Db {
    /// A database in a file of its own, removed with the last handle. For tests and simulations: it does not wait for
    /// the disk.
    pub async fn temporary() -> Result<Self, DbError> {
        let directory =
            tempfile::tempdir().map_err(|source| DbError::Directory { path: std::env::temp_dir(), source })?;
        let mut db = open_sqlite(&directory.path().join("zstack.db"), false).await?;
        db._temporary = Some(Arc::new(directory));
        Ok(db)
    }

    /// Connections for reading outside a transaction.
    pub fn read(&self) -> &DatabaseConnection {
        &self.conn
    }

    /// Begins a write transaction. On SQLite callers queue here, so that a transaction that has begun never fails
    /// because of another one; keep it short, and do not begin another one or call a host inside it.
    pub async fn begin(&self) -> Result<Txn, DbError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: (self.backend == Backend::Sqlite).then_some(SqliteTransactionMode::Immediate),
            // Who has waited for a lock must see what its holder wrote. MariaDB's default shows the rows as they were
            // when the transaction began, and work that takes "the next free one" takes what is taken.
            isolation_level: (self.backend == Backend::MariaDb).then_some(IsolationLevel::ReadCommitted),
            ..TransactionOptions::default()
        };
        if let Some(durable) = &self.durable {
            durable.check()?;
        }
        Ok(Txn::new(self.writer.begin_with_options(options).await?, self.durable.clone()))
    }

    /// Runs `work` in a write transaction: committed when it succeeds, rolled back when it fails, run again when the
    /// database asks for that (deadlock). `work` may therefore run more than once and must act on the database
    /// alone. It owns its handle, may borrow everything else, and takes a copy of what it owns.
    ///
    /// ```
    /// # async fn example(db: &mn_service_db::Db, zone: &str) -> Result<(), mn_service_db::DbError> {
    /// use mn_service_db::{DbError, entity::zone};
    /// use sea_orm::EntityTrait;
    /// let deleted = db
    ///     .write(|txn| async move {
    ///         Ok::<_, DbError>(zone::Entity::delete_by_id(zone).exec(&txn).await?.rows_affected)
    ///     })
    ///     .await?;
    /// # let _ = deleted; Ok(()) }
    /// ```
    pub async fn write<T, E, F, W>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(Txn) -> W + Clone,
        W: Future<Output = Result<T, E>>,
        E: From<DbError>,
    {
        // What is the same for every transaction is not compiled anew with each of them.
        let mut attempt = 1;
        loop {
            let txn = self.begin().await?;
            let done = work.clone()(txn.handle()).await;
            if end(txn, done.is_ok(), attempt).await?.is_break() {
                return done;
            }
            attempt += 1;
        }
    }

    /// Finishes what is under way and closes all connections.
    pub async fn close(self) -> Result<(), DbError> {
        if let Some(direct) = &self.direct {
            direct.close();
        }
        self.conn.close_by_ref().await?;
        Ok(self.writer.close_by_ref().await?)
    }
}

/// Commits, or rolls back. Continues when the work is to be done again, after a pause.
async fn end(txn: Txn, done: bool, attempt: u32) -> Result<ControlFlow<()>, DbError> {
    let again = attempt < ATTEMPTS;
    let disturbed = if done {
        match txn.commit().await {
            Ok(()) => return Ok(ControlFlow::Break(())),
            Err(DbError::Database(error)) if is_transient(&error) && again => "commit",
            Err(error) => return Err(error),
        }
    } else {
        let disturbed = txn.was_disturbed() && again;
        txn.rollback().await?;
        if !disturbed {
            return Ok(ControlFlow::Break(()));
        }
        "statement"
    };
    tracing::debug!(attempt, disturbed, "transaction runs again");
    // Growing pauses that differ between callers, so that the same two do not meet again.
    let spread = u64::from(uuid::Uuid::new_v4().as_bytes()[0]);
    tokio::time::sleep(Duration::from_micros(u64::from(attempt) * 1000 + spread * 20)).await;
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_commit_of_a_durable_database_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let db = open_sqlite(&folder.path().join("a.db"), true).await.unwrap();
        for _ in 0..3 {
            let work = async |txn: Txn| txn.execute_unprepared("UPDATE counter SET value = 1").await;
            db.write(|txn| async move { Ok::<_, DbError>(work(txn).await?) }).await.unwrap();
        }
        assert!(folder.path().join("a.db-wal").exists(), "the log that is waited for");
        assert_eq!(db.durable.as_ref().unwrap().counts().await, (3, 3));
    }
}
