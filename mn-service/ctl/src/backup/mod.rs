//! Backups of the cloud's software: its database, and the keys without which another machine could neither read the
//! secrets in it nor reach the hosts (OPS-BAK-006, OPS-BAK-009). A backup is therefore as secret as the machine itself.

mod archive;
mod mariadb;
mod place;
mod restore;
mod sqlite;
mod wipe;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{
    config::Config,
    event::Reporter,
    failure::{AtPath as _, Failure},
};
use archive::{Manifest, Source};
pub(crate) use mariadb::Server;
pub use place::Place;
pub(crate) use restore::is_down;
pub use restore::{Restore, restore};
pub(crate) use wipe::{present, wipe};

/// Member of an archive that holds a SQLite database.
const SQLITE: &str = "database.sqlite";
/// Member of an archive that holds the statements that make a MariaDB database.
const MARIADB: &str = "database.sql";
/// Certificate and key that browsers see: made anew by the authority, for the names of the machine it is on.
const WEB: [&str; 2] = ["web.pem", "web.key"];

/// Where the configured database is.
enum Database {
    Sqlite(PathBuf),
    MariaDb(mariadb::Server),
}

impl Database {
    fn of(config: &Config) -> Result<Self, Failure> {
        let url = config.database_url();
        if let Some(rest) = url.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default();
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        mariadb::Server::parse(&url).map(Self::MariaDb)
    }

    /// As in manifests and in the service's summary.
    fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::MariaDb(_) => "mariadb",
        }
    }

    /// True when there is nothing yet that a backup could hold.
    async fn is_absent(&self, work: &Path) -> Result<bool, Failure> {
        match self {
            Self::Sqlite(path) => Ok(!path.exists()),
            Self::MariaDb(server) => Ok(server.tables(work).await?.is_empty()),
        }
    }
}

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// File.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// `dump_mysql` (OPS-CTL-040): makes a backup, then removes the oldest above `keep`.
pub async fn dump(
    config: &Config,
    keep: Option<usize>,
    reporter: &mut Reporter,
) -> Result<(Made, Vec<PathBuf>), Failure> {
    let place = Place::open(&config.data_dir)?;
    let made = make(config, &place, reporter).await?;
    let removed = match keep {
        Some(keep) => place.prune(keep)?,
        None => Vec::new(),
    };
    Ok((made, removed))
}

/// What `dump_mysql` prints (OPS-CTL-040).
pub fn dumped(made: &Made, removed: &[PathBuf]) -> (Value, Vec<String>) {
    let text = format!("Backup mysql successful! You can check the file at {}", made.file.display());
    (json!({"file": made.file, "bytes": made.bytes, "sha256": made.sha256, "removed": removed}), vec![text])
}

/// Makes a backup. It has its final name only when it is whole and on the disk.
async fn make(config: &Config, place: &Place, reporter: &mut Reporter) -> Result<Made, Failure> {
    let database = Database::of(config)?;
    let work = place.work()?;
    let (member, copy) = match &database {
        Database::Sqlite(path) => {
            let copy = work.path().join(SQLITE);
            sqlite::copy(path, &copy, reporter).await?;
            (SQLITE, copy)
        }
        Database::MariaDb(server) => {
            let copy = work.path().join(MARIADB);
            server.dump(work.path(), &copy, reporter).await?;
            (MARIADB, copy)
        }
    };
    let migrations = match &database {
        Database::Sqlite(_) => sqlite::migrations(&copy)?,
        Database::MariaDb(server) => server.migrations(work.path()).await?,
    };
    let mut sources = vec![Source { name: member.to_owned(), path: copy }];
    sources.extend(keys(&config.data_dir)?);
    let manifest = Manifest::new(database.kind(), migrations);
    let packed = work.path().join("packed");
    let (sha256, bytes) = archive::pack(manifest, &sources, &packed, reporter)?;
    let file = place.publish(&packed, &sha256)?;
    Ok(Made { file, bytes, sha256 })
}

/// The keys of this machine, as members of an archive.
fn keys(data_dir: &Path) -> Result<Vec<Source>, Failure> {
    let secret = data_dir.join("secret.key");
    if !secret.is_file() {
        return Err(Failure::new(format!("{} is missing, and a backup without it is of no use", secret.display()))
            .hint("has the service ever run with this configuration? name another with --config"));
    }
    let mut sources = vec![Source { name: "keys/secret.key".to_owned(), path: secret }];
    for folder in ["ca", "ssh"] {
        let path = data_dir.join(folder);
        let mut names: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(&path).at("read", &path)? {
            let entry = entry.at("read", &path)?;
            let is_file = entry.file_type().at("read", &entry.path())?.is_file();
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_file && archive::is_plain(&name) && !WEB.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names.sort();
        let source = |name: String| Source { path: path.join(&name), name: format!("keys/{folder}/{name}") };
        sources.extend(names.into_iter().map(source));
    }
    Ok(sources)
}

/// `list_backups`: an extension of ours, for programs that offer a choice.
pub fn list(config: &Config) -> Result<(Value, Vec<String>), Failure> {
    let folder = mn_service_config::layout::backups(&config.data_dir);
    let mut backups = Vec::new();
    let mut lines = Vec::new();
    for file in place::list(&folder)? {
        let bytes = std::fs::metadata(&file).at("read", &file)?.len();
        let shown = file.display();
        match archive::manifest(&file) {
            Ok(manifest) => {
                lines.push(format!("{shown} {bytes} bytes, {} of version {}", manifest.database, manifest.product));
                backups.push(json!({
                    "file": file, "bytes": bytes, "created_ms": manifest.created_ms, "product": manifest.product,
                    "database": manifest.database,
                }));
            }
            Err(problem) => {
                lines.push(format!("{shown} {bytes} bytes, cannot be used: {problem}"));
                backups.push(json!({"file": file, "bytes": bytes, "problem": problem}));
            }
        }
    }
    if lines.is_empty() {
        lines.push(format!("there are no backups in {}", folder.display()));
    }
    Ok((json!({"directory": folder, "backups": backups}), lines))
}
