//! The files of a message bus that has not run yet. RabbitMQ does not wait until its files are on the disk: when the power
//! fails in its first start some are there and empty, its cookie among them, and it never starts again.

use std::{
    fs::{self, File},
    path::Path,
};

use serde_json::{Value, json};

use super::data_folder::{DataFolder, UNFINISHED, names};
use crate::{
    event::Reporter,
    failure::{AtPath as _, Failure, remove},
};

/// What nodes of the bus show each other.
const COOKIE: &str = ".erlang.cookie";
/// What Debian's package brings, empty.
const BROUGHT: &str = "mnesia";

/// Leaves a folder in which a first start can begin, or one in which a bus is already. `zstack-message-bus.service` takes
/// the mark of a first start away.
pub(super) fn files(path: &Path, user: &str, reporter: &mut Reporter) -> Result<(Value, Vec<String>), Failure> {
    let folder = DataFolder::of(path, user, "rabbitmq-server")?;
    let (mark, cookie) = (folder.join(UNFINISHED), folder.join(COOKIE));
    let found = folder.names()?;
    let place = path.display();
    let (changed, line) = if found.iter().any(|name| name == UNFINISHED) {
        reporter.progress(0.5, "removing what a first start has left");
        for name in found.iter().filter(|name| *name != UNFINISHED) {
            remove(&folder.join(name))?;
        }
        (true, format!("the first start of the message bus in {place} was cut off; it begins anew"))
    } else if found.is_empty() || found == [BROUGHT] && names(&folder.join(BROUGHT))?.is_empty() {
        File::create(&mark).at("write", &mark)?;
        folder.sync()?;
        (true, format!("{place} is empty; the message bus may begin"))
    } else if fs::metadata(&cookie).is_ok_and(|found| found.len() == 0) {
        // No bus starts with it, and every bus makes one where there is none.
        remove(&cookie)?;
        (true, format!("{} was empty, and is removed; everything else is as it was", cookie.display()))
    } else {
        (false, format!("{place} is a message bus already; nothing was changed"))
    };
    Ok((json!({"changed": changed, "folder": path}), vec![line]))
}
