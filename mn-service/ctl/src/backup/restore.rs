//! Putting a backup back (OPS-CTL-041, OPS-CTL-042).
//!
//! Nothing is touched before the backup is checked and unpacked, and the present state has a backup of its own. While
//! things are replaced a file in the data directory says so, and the service does not start: what a killed restore
//! leaves is repaired by running it again, and is never taken for a state of the cloud.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use mn_service_config::layout;
use node_control::{Client, ControlError, SUMMARY, management::Summary};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Database, MARIADB, Place, SQLITE,
    archive::{self, Manifest},
    make,
    mariadb::Server,
    place::sync,
    sqlite,
};
use crate::{
    control::Control,
    event::Reporter,
    failure::{AtPath as _, Failure},
};

/// Folders of restores that are under way, or were when they were killed.
const WORK: &str = ".restore-";
/// Steps under way may take a while to end.
const STOP: Duration = Duration::from_secs(120);

/// What to restore.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The backup.
    pub file: &'a Path,
    /// Password of the database server's administrator; with it database and user are made where they are missing.
    pub root_password: Option<&'a str>,
    /// The present state is lost for good.
    pub discard_present: bool,
}

/// What the file beside an unfinished restore says.
#[derive(Debug, Serialize, Deserialize)]
struct Unfinished {
    /// The backup.
    file: PathBuf,
    /// Backup of the state before.
    before: Option<PathBuf>,
}

/// Restores; what to print.
pub async fn restore(
    control: &Control,
    wanted: &Restore<'_>,
    reporter: &mut Reporter,
) -> Result<(Value, Vec<String>), Failure> {
    let config = &control.config;
    let database = Database::of(config)?;
    let place = Place::open(&config.data_dir)?;
    if layout::unfinished_reset(&config.data_dir).exists() {
        // To finish it may drop the database.
        return Err(Failure::new("a reset was interrupted; nothing was changed")
            .hint("finish it first, as it was begun: zstack-ctl reset, with or without --drop-database"));
    }
    clear(&config.data_dir)?;
    let work = work(&config.data_dir)?;
    reporter.part(0.0, 0.3);
    let manifest = check(wanted.file, work.path(), &database, reporter)?;

    reporter.part(0.3, 0.4);
    let stopped = control.stop(STOP).await.map_err(|error| Failure::new(error.to_string()))?;
    is_down(&config.control_socket()).await?;
    reporter.progress(0.0, &stopped);
    reporter.line("the management node has been stopped");

    reporter.part(0.4, 0.6);
    let marker = layout::unfinished_restore(&config.data_dir);
    let before = match interrupted(&marker)? {
        // What lies there is a mixture; the backup of before is still the one to go back to.
        Some(interrupted) => interrupted.before,
        None => present(control, &database, &place, work.path(), wanted, reporter).await?,
    };
    match &before {
        Some(file) => reporter.note(&format!("the present state is kept in {}", file.display())),
        None => reporter.note("there is no backup of a state before"),
    }

    mark(&marker, &Unfinished { file: wanted.file.to_owned(), before: before.clone() })?;
    reporter.part(0.6, 1.0);
    reporter.line("Starting recover data ...");
    match &database {
        Database::Sqlite(path) => replace_sqlite(&work.path().join(SQLITE), path)?,
        Database::MariaDb(server) => {
            let root = wanted.root_password.map(|password| server.as_root(password));
            if let Some(root) = &root {
                root.prepare(work.path(), server).await?;
            }
            let by = root.as_ref().unwrap_or(server);
            if let Err(failure) = by.load(work.path(), &work.path().join(MARIADB), reporter).await {
                return Err(back(by, before.as_deref(), &config.data_dir, &marker, failure, reporter).await);
            }
        }
    }
    replace_keys(&work.path().join("keys"), &config.data_dir, work.path())?;
    fs::remove_file(&marker).at("remove", &marker)?;
    sync(&config.data_dir)?;
    let result = json!({
        "file": wanted.file, "before": before, "product": manifest.product, "created_ms": manifest.created_ms,
        "start": "zstack-ctl start",
    });
    Ok((result, vec!["Recover data successfully! You can start node by: zstack-ctl start".to_owned()]))
}

/// Removes the folders of killed restores.
fn clear(data_dir: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(data_dir).at("read", data_dir)? {
        let entry = entry.at("read", data_dir)?;
        if entry.file_name().to_string_lossy().starts_with(WORK) {
            fs::remove_dir_all(entry.path()).at("remove", &entry.path())?;
        }
    }
    Ok(())
}

/// A private folder beside the database.
fn work(data_dir: &Path) -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new().prefix(WORK).tempdir_in(data_dir).at("make a folder in", data_dir)
}

/// Unpacks the backup and looks at all of it.
fn check(file: &Path, into: &Path, database: &Database, reporter: &mut Reporter) -> Result<Manifest, Failure> {
    let wrong = |problems: &[String]| {
        Failure::all(&format!("{} cannot be restored, and nothing was changed", file.display()), problems)
            .hint("zstack-ctl list_backups shows those that can")
    };
    let manifest = archive::unpack(file, into, reporter).map_err(|problems| wrong(&problems))?;
    let mut problems = Vec::new();
    let known = mn_service_db::migration::known();
    let newer: Vec<&str> =
        manifest.migrations.iter().filter(|step| !known.contains(step)).map(String::as_str).collect();
    if !newer.is_empty() {
        problems.push(format!(
            "it is of version {}, which is newer than this one ({}): its schema has {}; upgrade first",
            manifest.product,
            env!("CARGO_PKG_VERSION"),
            newer.join(", ")
        ));
    }
    let (kind, member) = match database {
        Database::Sqlite(_) => (database.kind(), SQLITE),
        Database::MariaDb(_) => (database.kind(), MARIADB),
    };
    if manifest.database != kind {
        problems.push(format!(
            "it holds a database of {}, and the configuration names one of {kind}; change `url` in [database]",
            manifest.database
        ));
    }
    for needed in [member, "keys/secret.key", "keys/ca/ca.pem", "keys/ca/ca.key"] {
        if manifest.database == kind && !into.join(needed).is_file() {
            problems.push(format!("it has no {needed}"));
        }
    }
    if member == SQLITE && into.join(SQLITE).is_file() {
        problems.extend(sqlite::problem(&into.join(SQLITE)));
    }
    if problems.is_empty() { Ok(manifest) } else { Err(wrong(&problems)) }
}

/// Refuses while a service that we did not start uses the data directory.
pub(crate) async fn is_down(socket: &Path) -> Result<(), Failure> {
    match Client::new(socket).get::<Summary>(SUMMARY).await {
        Err(ControlError::NotRunning { .. }) => Ok(()),
        _ => Err(Failure::new(format!(
            "a management service still answers on {}; nothing was changed",
            socket.display()
        ))
        .hint("stop it, then try again")),
    }
}

fn interrupted(marker: &Path) -> Result<Option<Unfinished>, Failure> {
    match fs::read(marker) {
        // One that says nothing was cut off while it was written, before anything was replaced.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file("read", marker, &error)),
    }
}

fn mark(marker: &Path, unfinished: &Unfinished) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(unfinished).map_err(|error| Failure::new(error.to_string()))?;
    let fresh = marker.with_extension("new");
    let open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh);
    let write = |mut file: fs::File| file.write_all(&bytes).and_then(|()| file.sync_all());
    open.and_then(write).at("write", &fresh)?;
    fs::rename(&fresh, marker).at("make", marker)?;
    sync(marker.parent().unwrap_or(Path::new("/")))
}

/// A backup of what is there now.
async fn present(
    control: &Control,
    database: &Database,
    place: &Place,
    work: &Path,
    wanted: &Restore<'_>,
    reporter: &mut Reporter,
) -> Result<Option<PathBuf>, Failure> {
    if wanted.discard_present {
        return Ok(None);
    }
    let is_absent = match (database, wanted.root_password) {
        // The user of the configuration may not be there yet.
        (Database::MariaDb(server), Some(password)) => server.as_root(password).tables(work).await?.is_empty(),
        _ => database.is_absent(work).await?,
    };
    if is_absent {
        return Ok(None);
    }
    let made = make(&control.config, place, reporter).await.map_err(|failure| {
        Failure::new(format!("the present state cannot be kept, and nothing was changed: {failure}"))
            .hint("to lose it for good, say --discard-present")
    })?;
    Ok(Some(made.file))
}

fn replace_sqlite(fresh: &Path, path: &Path) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    // What they hold belongs to the old file; beside the new one they would damage it.
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::file("remove", Path::new(&name), &error));
            }
            _ => {}
        }
    }
    sync(folder)?;
    match fs::rename(fresh, path) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let beside = path.with_extension("restored");
            fs::copy(fresh, &beside).at("copy the database to", &beside)?;
            fs::File::open(&beside).and_then(|file| file.sync_all()).at("write", &beside)?;
            fs::rename(&beside, path).at("replace", path)?;
        }
        renamed => renamed.at("replace", path)?,
    }
    sync(folder)
}

/// Puts the keys of the backup in place of those that are there.
fn replace_keys(fresh: &Path, data_dir: &Path, work: &Path) -> Result<(), Failure> {
    for name in ["secret.key", "ca", "ssh"] {
        let (new, target) = (fresh.join(name), data_dir.join(name));
        if !new.exists() {
            continue;
        }
        if target.exists() {
            let old = work.join(format!("old-{name}"));
            fs::rename(&target, &old).at("move away", &target)?;
        }
        fs::rename(&new, &target).at("replace", &target)?;
    }
    sync(data_dir)
}

/// The database could not be loaded: puts the state of before back.
async fn back(
    server: &Server,
    before: Option<&Path>,
    data_dir: &Path,
    marker: &Path,
    failure: Failure,
    reporter: &mut Reporter,
) -> Failure {
    let Some(file) = before else {
        return Failure::new(format!("{failure}; the database is incomplete, and there was none before"))
            .hint("repair the cause and run the restore again");
    };
    let put = async {
        let work = work(data_dir)?;
        let unpacked = archive::unpack(file, work.path(), reporter);
        unpacked.map_err(|problems| Failure::all("the backup of the state before", &problems))?;
        server.load(work.path(), &work.path().join(MARIADB), reporter).await?;
        fs::remove_file(marker).at("remove", marker)
    };
    match put.await {
        Ok(()) => Failure { message: format!("{failure}; the state of before is back"), hint: failure.hint },
        Err(second) => Failure::new(format!("{failure}; and the state of before could not be put back: {second}"))
            .hint(format!("repair the cause and run: zstack-ctl restore_mysql -f {}", file.display())),
    }
}
