//! The cache of what is built once and used by many runs: images of guests, and the packages they are made of.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

/// How long something that was replaced stays: another checkout of the same age may still use it.
const KEEP: Duration = Duration::from_secs(2 * 24 * 3600);

/// `$XDG_CACHE_HOME/zstack`, by default below the home folder; it exists when this returns.
pub(crate) fn folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let folder = base.context("neither XDG_CACHE_HOME nor HOME names a folder for the cache")?.join("zstack");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    Ok(folder)
}

/// Marks an entry as used now, and removes its outdated siblings: entries with the same prefix that nobody used for two
/// days, or that are more than `most`. What cannot be removed stays for the next time; the cache is no reason to fail.
pub(crate) fn used(entry: &Path, prefix: &str, most: usize) {
    prune(entry, prefix, most, SystemTime::now());
}

fn prune(entry: &Path, prefix: &str, most: usize, now: SystemTime) {
    // Fails only for an entry that is gone, which the caller notices by itself.
    let _ = std::fs::File::open(entry).and_then(|file| file.set_modified(now));
    let Some(siblings) = entry.parent().and_then(|folder| std::fs::read_dir(folder).ok()) else { return };
    let siblings = siblings.flatten().filter_map(|sibling| {
        let path = sibling.path();
        let named = path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix));
        let used = sibling.metadata().and_then(|meta| meta.modified()).ok()?;
        (named && path != entry).then(|| (now.duration_since(used).unwrap_or_default(), path))
    });
    let mut siblings: Vec<_> = siblings.collect();
    siblings.sort();
    for (number, (age, path)) in siblings.into_iter().enumerate() {
        if age < KEEP && number < most {
            continue;
        }
        let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outdated_siblings_go_and_everything_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["guest-new.qcow2", "guest-old.qcow2", "other-old"] {
            std::fs::write(at(name), "").unwrap();
        }
        std::fs::create_dir(at("guest-folder")).unwrap();
        std::fs::write(at("guest-folder/file"), "").unwrap();
        let now = SystemTime::now();

        prune(&at("guest-new.qcow2"), "guest-", 2, now + KEEP / 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "all of it was used lately");

        prune(&at("guest-new.qcow2"), "guest-", 1, now + KEEP / 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "one more may stay");

        prune(&at("guest-new.qcow2"), "guest-", 2, now + KEEP + Duration::from_secs(60));
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["guest-new.qcow2", "other-old"]);
    }
}
