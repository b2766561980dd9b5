//! Failures of the database.

use mn_service_types::{ApiError, ErrorCode};
use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

/// A database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The address names no database that we know.
    #[error("database address {0:?} must begin with sqlite: or mysql: (also for MariaDB)")]
    Address(String),
    /// Another management service holds the lock of the migrations.
    #[error("another management service has been changing the schema for {0} seconds; try again when it is done")]
    MigrationBusy(u64),
    /// A directory for the database file could not be made.
    #[error("cannot make the directory {path}: {source}")]
    Directory {
        /// Which one.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The work of a transaction kept its handle.
    #[error("a transaction outlived its work and was rolled back")]
    TransactionKept,
    /// The disk did not take what was committed.
    #[error("the disk does not take what is written to the database; repair it and restart the management service")]
    Disk,
    /// The database refused.
    #[error(transparent)]
    Database(#[from] DbErr),
    /// SQLite refused a query.
    #[error(transparent)]
    Direct(#[from] rusqlite::Error),
    /// A query was given up.
    #[error("the query was not answered: {0}")]
    Unanswered(String),
}

impl DbError {
    /// A row with the same unique value exists.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))))
    }

    /// Another row depends on this one, or the row it depends on is missing.
    pub fn is_reference(&self) -> bool {
        let Self::Database(error) = self else { return false };
        // SQLite reports ON DELETE RESTRICT as SQLITE_CONSTRAINT_TRIGGER (1811), which is not among SeaORM's kinds. We
        // have no triggers.
        matches!(error.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_)))
            || reported(error).is_some_and(|error| {
                error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some()
                    && error.code().as_deref() == Some("1811")
            })
    }
}

impl From<DbError> for ApiError {
    /// Clients get the kind of failure; statements and values stay in the log.
    fn from(error: DbError) -> Self {
        tracing::error!(%error, "database operation failed");
        Self::new(
            ErrorCode::Internal,
            "the database operation failed; the log of the management service has the reason",
        )
    }
}

/// True when the same transaction may succeed if it is run again: a deadlock, a lock that took too long, or a
/// snapshot that another transaction overtook.
pub(crate) fn is_transient(error: &DbErr) -> bool {
    let Some(error) = reported(error) else { return false };
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // ER_CHECKREAD, ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK.
        return matches!(error.number(), 1020 | 1205 | 1213);
    }
    // SQLITE_BUSY and its extended codes, SQLITE_LOCKED and its extended codes.
    error.code().and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

/// What the database itself said.
fn reported(error: &DbErr) -> Option<&dyn sqlx::error::DatabaseError> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))
    | DbErr::Conn(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    error.as_database_error()
}
