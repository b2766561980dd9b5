//! The folder of backups: names, one backup at a time, nothing half under a final name.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use chrono::{Local, NaiveDateTime, TimeDelta};
use mn_service_config::layout;
use tempfile::TempDir;

use crate::failure::{AtPath as _, Failure};

const PREFIX: &str = "zstack-backup-db-";
const SUFFIX: &str = ".gz";
/// Time in names (OPS-BAK-004).
const TIME: &str = "%Y-%m-%d_%H-%M-%S";
/// Folders of work that is under way, or was when it was killed.
const WORK: &str = ".work-";

/// The folder, ours alone as long as this lives.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the folder of `data_dir` and clears away what killed backups left.
    pub fn open(data_dir: &Path) -> Result<Self, Failure> {
        if !data_dir.is_dir() {
            return Err(Failure::new(format!("the data directory {} is not there", data_dir.display()))
                .hint("name the service's configuration with --config, or start the service once"));
        }
        let folder = layout::backups(data_dir);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).at("make", &folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).at("protect", &folder)?;
        let path = folder.join(".lock");
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).at("open", &path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new("another backup or restore is under way").hint("wait until it has ended"));
            }
            Err(TryLockError::Error(error)) => return Err(Failure::file("lock", &path, &error)),
        }
        let place = Self { folder, _lock: lock };
        place.clear()?;
        Ok(place)
    }

    fn clear(&self) -> Result<(), Failure> {
        for entry in fs::read_dir(&self.folder).at("read", &self.folder)? {
            let path = entry.at("read", &self.folder)?.path();
            let name = name(&path);
            let lonely = name.strip_suffix(".sha256").is_some_and(|file| time(file).is_some() && !self.has(file));
            if name.starts_with(WORK) {
                fs::remove_dir_all(&path).at("remove", &path)?;
            } else if lonely {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// A private folder for work, on the same disk; gone with the value.
    pub fn work(&self) -> Result<TempDir, Failure> {
        tempfile::Builder::new().prefix(WORK).tempdir_in(&self.folder).at("make a folder in", &self.folder)
    }

    /// Gives a finished archive its name, with its checksum beside it.
    pub fn publish(&self, packed: &Path, sha256: &str) -> Result<PathBuf, Failure> {
        let mut now = Local::now().naive_local();
        let file = loop {
            let name = format!("{PREFIX}{}{SUFFIX}", now.format(TIME));
            if !self.has(&name) {
                break self.folder.join(name);
            }
            // Names count seconds.
            now += TimeDelta::seconds(1);
        };
        // The checksum first: whoever sees the backup finds it.
        let (beside, fresh) = (sha256_file(&file), packed.with_file_name("sha256"));
        let mut text = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh).at("make", &fresh)?;
        text.write_all(format!("{sha256}  {}\n", name(&file)).as_bytes()).at("write", &fresh)?;
        text.sync_all().at("write", &fresh)?;
        fs::rename(&fresh, &beside).at("make", &beside)?;
        fs::rename(packed, &file).at("make", &file)?;
        sync(&self.folder)?;
        Ok(file)
    }

    /// Removes all but the newest `keep` backups; returns what was removed.
    pub fn prune(&self, keep: usize) -> Result<Vec<PathBuf>, Failure> {
        let old: Vec<PathBuf> = list(&self.folder)?.into_iter().skip(keep).collect();
        for file in &old {
            fs::remove_file(file).at("remove", file)?;
            match fs::remove_file(sha256_file(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::file("remove", &sha256_file(file), &error));
                }
                _ => {}
            }
        }
        Ok(old)
    }
}

/// The checksum's file of a backup, as `sha256sum -c` reads it.
pub(super) fn sha256_file(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".sha256");
    PathBuf::from(path)
}

/// Waits until names in `folder` are on the disk.
pub(super) fn sync(folder: &Path) -> Result<(), Failure> {
    File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)
}

/// All backups in `folder`, newest first. What has another name is not ours.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::file("read", folder, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.at("read", folder)?.path();
        found.extend(time(&name(&path)).map(|time| (time, path)));
    }
    found.sort();
    Ok(found.into_iter().rev().map(|(_, path)| path).collect())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The time in a backup's name; nothing when it is no backup's name.
fn time(name: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?, TIME).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(folder: &Path, day: u32) {
        fs::create_dir_all(folder).unwrap();
        let file = folder.join(format!("zstack-backup-db-2016-07-{day:02}_18-13-11.gz"));
        fs::write(&file, "x").unwrap();
        fs::write(sha256_file(&file), "x").unwrap();
    }

    /// OPS-CTL-040, OPS-BAK-002.
    #[test]
    fn ops_ctl_040_the_newest_are_kept_and_strangers_are_left_alone() {
        let data = tempfile::tempdir().unwrap();
        let folder = layout::backups(data.path());
        (1..=16).for_each(|day| backup(&folder, day));
        fs::write(folder.join("notes.gz"), "mine").unwrap();
        let removed = Place::open(data.path()).unwrap().prune(14).unwrap();
        assert_eq!(
            removed.iter().map(|path| name(path)).collect::<Vec<_>>(),
            ["zstack-backup-db-2016-07-02_18-13-11.gz", "zstack-backup-db-2016-07-01_18-13-11.gz"]
        );
        assert_eq!(list(&folder).unwrap().len(), 14);
        assert!(folder.join("notes.gz").exists());
        assert!(!folder.join("zstack-backup-db-2016-07-01_18-13-11.gz.sha256").exists());
    }

    #[test]
    fn one_backup_at_a_time_and_leftovers_go() {
        let data = tempfile::tempdir().unwrap();
        let folder = layout::backups(data.path());
        fs::create_dir_all(folder.join(".work-killed")).unwrap();
        fs::write(folder.join("zstack-backup-db-2016-07-01_18-13-11.gz.sha256"), "lonely").unwrap();
        let place = Place::open(data.path()).unwrap();
        let second = Place::open(data.path()).unwrap_err();
        assert!(second.message.contains("another backup"), "{second}");
        let left: Vec<String> = fs::read_dir(&folder).unwrap().map(|entry| name(&entry.unwrap().path())).collect();
        assert_eq!(left, [".lock"]);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        drop(place);
        Place::open(data.path()).unwrap();
    }
}
