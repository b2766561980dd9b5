//! The files of an empty database server. Nodes are unpacked from one image: what is in it would be everybody's.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown},
    path::Path,
};

use nix::unistd::{User, syncfs};
use serde_json::{Value, json};
use tokio::process::Command;

use super::run;
use crate::{
    event::Reporter,
    failure::{AtPath as _, Failure, remove},
};

/// The database of the server itself. It is moved to its place last, and says that all is there.
const SYSTEM: &str = "mysql";
/// Where the files are made, below their place: that may be a file system of its own, and power may fail in between.
const FRESH: &str = ".zstack-new";
/// What a file system has of its own.
const FOUND: &str = "lost+found";

pub(super) async fn files(folder: &Path, user: &str, reporter: &mut Reporter) -> Result<(Value, Vec<String>), Failure> {
    if folder.join(SYSTEM).exists() {
        let line = format!("{} is a database already; nothing was changed", folder.display());
        return Ok((json!({"changed": false}), vec![line]));
    }
    let owner = User::from_name(user).ok().flatten();
    let owner = owner.ok_or_else(|| {
        Failure::new(format!("there is no user {user}")).hint("the package mariadb-server makes it: apt-get install it")
    })?;
    let own = |path: &Path| {
        let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
        let theirs = fs::metadata(path).is_ok_and(|found| (found.uid(), found.gid()) == (uid, gid));
        if theirs { Ok(()) } else { chown(path, Some(uid), Some(gid)).at("give away", path) }
    };
    // One that is mounted belongs to root.
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).at("make", folder)?;
    own(folder)?;
    let fresh = folder.join(FRESH);
    remove(&fresh)?;
    fs::DirBuilder::new().mode(0o700).create(&fresh).at("make", &fresh)?;
    own(&fresh)?;
    let made = make(folder, &fresh, user, reporter).await;
    remove(&fresh)?;
    made?;
    let line = format!("{} is an empty database", folder.display());
    Ok((json!({"changed": true, "folder": folder}), vec![line]))
}

/// Makes the files beside their place, and moves them there.
async fn make(folder: &Path, fresh: &Path, user: &str, reporter: &mut Reporter) -> Result<(), Failure> {
    reporter.progress(0.1, "making the files of the database");
    let mut install = Command::new("mariadb-install-db");
    install.args(["--rpm", "--cross-bootstrap", "--disable-log-bin", "--skip-test-db"]);
    install.arg(format!("--user={user}")).arg(format!("--datadir={}", fresh.display()));
    run(install, "mariadb-install-db", "").await?;
    let made = names(fresh)?;
    let ours = |name: &String| [FRESH, FOUND].contains(&name.as_str()) || made.contains(name);
    if let Some(other) = names(folder)?.into_iter().find(|name| !ours(name) && folder.join(name).is_dir()) {
        let (place, other) = (folder.display(), folder.join(other));
        let message = format!("{place} has no database {SYSTEM}, but {} is there", other.display());
        let hint = format!("restore {place}/{SYSTEM}, or move what is in {place} away");
        return Err(Failure::new(message).hint(hint));
    }
    reporter.progress(0.8, "moving them to their place");
    written(fresh)?;
    for name in made.iter().filter(|name| *name != SYSTEM) {
        // What an attempt left that somebody or the power ended.
        let place = folder.join(name);
        remove(&place)?;
        fs::rename(fresh.join(name), &place).at("make", &place)?;
    }
    written(folder)?;
    fs::rename(fresh.join(SYSTEM), folder.join(SYSTEM)).at("make", &folder.join(SYSTEM))?;
    written(folder)
}

/// Has everything of a file system on its disk.
fn written(path: &Path) -> Result<(), Failure> {
    let opened = fs::File::open(path).at("read", path)?;
    syncfs(&opened).map_err(Into::into).at("write", path)
}

/// What is in a folder.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.at("read", folder)?;
    Ok(entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}
