//! Copies of a SQLite database that is in use.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use crate::{event::Reporter, failure::Failure};

/// How long a copy waits for one who has the database to himself: a service that recovers it.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

fn open(path: &Path) -> Result<Connection, Failure> {
    // Writing to the file's shared memory is part of reading while a service writes.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = Connection::open_with_flags(path, flags).and_then(|conn| {
        conn.busy_timeout(PATIENCE)?;
        conn.pragma_update(None, "query_only", "off")?;
        Ok(conn)
    });
    open.map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &rusqlite::Error) -> Failure {
    let failure = Failure::new(format!("the database {} cannot be read: {error}", path.display()));
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => {
            failure.hint("there is no room for a copy; backups are made in mysql-backup of the data directory")
        }
        _ => failure,
    }
}

/// Copies the database at `path`, as it is at one moment, to the new file `to`.
pub(super) async fn copy(path: &Path, to: &Path, reporter: &mut Reporter) -> Result<(), Failure> {
    if !path.is_file() {
        return Err(Failure::new(format!("there is no database {}", path.display()))
            .hint("has the service ever run with this configuration? name another with --config"));
    }
    let total = std::fs::metadata(path).map_or(1, |found| found.len().max(1));
    let (from, target) = (path.to_owned(), to.to_owned());
    let mut copying = tokio::task::spawn_blocking(move || {
        // Readers do not hold up the writer, nor it them.
        let into = target.to_string_lossy();
        open(&from)?.execute("VACUUM INTO ?1", [into.as_ref()]).map(drop).map_err(|error| unusable(&from, &error))
    });
    loop {
        match tokio::time::timeout(LOOK, &mut copying).await {
            Ok(Ok(copied)) => return copied,
            Ok(Err(error)) => return Err(Failure::new(format!("the copy of the database was given up: {error}"))),
            Err(_) => {
                let copied = std::fs::metadata(to).map_or(0, |found| found.len());
                #[expect(clippy::cast_precision_loss, reason = "a part of a whole, for people")]
                reporter.progress(copied as f64 / total as f64 / 2.0, "copying the database");
            }
        }
    }
}

/// Steps of the schema that the database at `path` has.
pub(super) fn migrations(path: &Path) -> Result<Vec<String>, Failure> {
    let conn = open(path)?;
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut statement = conn.prepare("SELECT version FROM seaql_migrations ORDER BY version")?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(|error| unusable(path, &error))
}

/// What is wrong with the database at `path`, as far as SQLite can tell.
pub(super) fn problem(path: &Path) -> Option<String> {
    let check = open(path).map_err(|failure| failure.message).and_then(|conn| {
        let told = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        told.map_err(|error| error.to_string())
    });
    match check {
        Ok(told) if told == "ok" => None,
        Ok(told) | Err(told) => Some(format!("its database is damaged: {told}")),
    }
}
