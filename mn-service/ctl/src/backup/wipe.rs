//! A cloud without anything in it: what a first start makes is made anew by the next one.

use std::path::Path;

use super::{Database, Place, make, place::sync};
use crate::{
    config::Config,
    event::Reporter,
    failure::{Failure, remove},
};

/// What the service keeps in its data directory and makes where it is missing: its keys, its name, its links. Other
/// services keep things there as well.
const OURS: [&str; 5] = ["secret.key", "ca", "ssh", "node-uuid", "publications.json"];

/// A backup of what is there; none where there is no database yet.
pub(crate) async fn present(
    config: &Config,
    place: &Place,
    reporter: &mut Reporter,
) -> Result<Option<std::path::PathBuf>, Failure> {
    if Database::of(config)?.is_absent(place.work()?.path()).await? {
        return Ok(None);
    }
    Ok(Some(make(config, place, reporter).await?.file))
}

/// Drops the database, and the keys that belong to what was in it. The service must be down. Can be done again.
pub(crate) async fn wipe(config: &Config, place: &Place) -> Result<(), Failure> {
    match Database::of(config)? {
        Database::Sqlite(path) => {
            for suffix in ["", "-wal", "-shm"] {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                remove(Path::new(&name))?;
            }
            sync(path.parent().unwrap_or(Path::new("/")))?;
        }
        Database::MariaDb(server) => server.anew(place.work()?.path()).await?,
    }
    for name in OURS {
        remove(&config.data_dir.join(name))?;
    }
    sync(&config.data_dir)
}
