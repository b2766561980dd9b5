//! The files of a message bus that has not run yet. RabbitMQ does not wait until its files are on the disk: when the power
//! fails in its first start some are there and empty, its cookie among them, and it never starts again.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown},
    path::Path,
};

use nix::unistd::User;
use serde_json::{Value, json};

use crate::{
    event::Reporter,
    failure::{AtPath as _, Failure, remove},
};

/// Says that what is beside it is of a first start. `zstack-message-bus.service` takes it away once all is on the disk.
const FIRST: &str = ".zstack-new";
/// What nodes of the bus show each other.
const COOKIE: &str = ".erlang.cookie";
/// What Debian's package brings, empty.
const BROUGHT: &str = "mnesia";
/// What a file system has of its own.
const FOUND: &str = "lost+found";

pub(super) fn files(folder: &Path, user: &str, reporter: &mut Reporter) -> Result<(Value, Vec<String>), Failure> {
    let owner = User::from_name(user).ok().flatten();
    let owner = owner.ok_or_else(|| {
        Failure::new(format!("there is no user {user}"))
            .hint("the package rabbitmq-server makes it: apt-get install it")
    })?;
    DirBuilder::new().recursive(true).mode(0o755).create(folder).at("make", folder)?;
    let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
    let found = fs::metadata(folder).at("read", folder)?;
    if (found.uid(), found.gid()) != (uid, gid) {
        // One that is mounted belongs to root.
        chown(folder, Some(uid), Some(gid)).at("give away", folder)?;
    }
    let mark = folder.join(FIRST);
    let place = folder.display();
    if mark.exists() {
        reporter.progress(0.5, "removing what a first start has left");
        for entry in fs::read_dir(folder).at("read", folder)? {
            let entry = entry.at("read", folder)?;
            if entry.file_name() != FIRST && entry.file_name() != FOUND {
                remove(&entry.path())?;
            }
        }
        let line = format!("the first start of the message bus in {place} was cut off; it begins anew");
        return Ok((json!({"changed": true, "folder": folder}), vec![line]));
    }
    if used(folder)? {
        let cookie = folder.join(COOKIE);
        let line = if fs::metadata(&cookie).is_ok_and(|found| found.len() == 0) {
            // No bus starts with it; a new one is made in its place.
            remove(&cookie)?;
            format!("{} was empty; everything else is as it was", cookie.display())
        } else {
            format!("{place} is a message bus already; nothing was changed")
        };
        return Ok((json!({"changed": !cookie.exists()}), vec![line]));
    }
    let made = OpenOptions::new().create(true).truncate(true).write(true).open(&mark).at("write", &mark)?;
    made.sync_all().at("write", &mark)?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)?;
    Ok((json!({"changed": true, "folder": folder}), vec![format!("{place} is empty; the message bus may begin")]))
}

/// A bus has been here.
fn used(folder: &Path) -> Result<bool, Failure> {
    for entry in fs::read_dir(folder).at("read", folder)? {
        let entry = entry.at("read", folder)?;
        let (name, path) = (entry.file_name(), entry.path());
        let empty = || fs::read_dir(&path).at("read", &path).map(|mut inside| inside.next().is_none());
        if name == FOUND || name == BROUGHT && empty()? {
            continue;
        }
        return Ok(true);
    }
    Ok(false)
}
