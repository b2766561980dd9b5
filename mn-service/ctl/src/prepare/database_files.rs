//! The files of an empty database server. Nodes are unpacked from one image: what is in it would be everybody's.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    data_folder::{DataFolder, UNFINISHED, names},
    run,
};
use crate::{
    event::Reporter,
    failure::{AtPath as _, Failure, remove},
};

/// The database of the server itself. It is moved to its place last, and says that all is there.
const SYSTEM: &str = "mysql";

pub(super) async fn files(path: &Path, user: &str, reporter: &mut Reporter) -> Result<(Value, Vec<String>), Failure> {
    let place = path.display();
    if path.join(SYSTEM).exists() {
        let line = format!("{place} is a database already; nothing was changed");
        return Ok((json!({"changed": false, "folder": path}), vec![line]));
    }
    let folder = DataFolder::of(path, user, "mariadb-server")?;
    // Below their place: that may be a file system of its own.
    let fresh = folder.join(UNFINISHED);
    remove(&fresh)?;
    DirBuilder::new().mode(0o700).create(&fresh).at("make", &fresh)?;
    folder.give(&fresh)?;
    let made = make(&folder, &fresh, user, reporter).await;
    remove(&fresh)?;
    made?;
    Ok((json!({"changed": true, "folder": path}), vec![format!("{place} is an empty database")]))
}

/// Makes the files beside their place, and moves them there.
async fn make(folder: &DataFolder<'_>, fresh: &Path, user: &str, reporter: &mut Reporter) -> Result<(), Failure> {
    reporter.progress(0.1, "making the files of the database");
    let mut install = Command::new("mariadb-install-db");
    install.args(["--rpm", "--cross-bootstrap", "--disable-log-bin", "--skip-test-db"]);
    install.arg(format!("--user={user}")).arg(format!("--datadir={}", fresh.display()));
    run(install, "mariadb-install-db", "").await?;
    let made = names(fresh)?;
    let theirs = folder.names()?.into_iter().filter(|name| name != UNFINISHED && !made.contains(name));
    if let Some(other) = theirs.map(|name| folder.join(name)).find(|path| path.is_dir()) {
        let place = folder.path().display();
        let message = format!("{place} has no database {SYSTEM}, but {} is there", other.display());
        let hint = format!("restore {place}/{SYSTEM}, or move what is in {place} away");
        return Err(Failure::new(message).hint(hint));
    }
    reporter.progress(0.8, "moving them to their place");
    folder.sync()?;
    for name in made.iter().filter(|name| *name != SYSTEM) {
        // What an attempt left that somebody or the power ended.
        let place = folder.join(name);
        remove(&place)?;
        fs::rename(fresh.join(name), &place).at("make", &place)?;
    }
    folder.sync()?;
    fs::rename(fresh.join(SYSTEM), folder.join(SYSTEM)).at("make", &folder.join(SYSTEM))?;
    folder.sync()
}
