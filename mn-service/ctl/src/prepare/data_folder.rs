//! The folder of a server of this node that does not run yet. Power may fail while it is being filled.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use nix::unistd::{User, syncfs};

use crate::failure::{AtPath as _, Failure};

/// What is there as long as the server's files are not whole and on the disk.
pub(super) const UNFINISHED: &str = ".zstack-new";
/// What a file system has of its own.
pub(super) const FOUND: &str = "lost+found";

/// A folder that belongs to a server.
pub(super) struct DataFolder<'a> {
    path: &'a Path,
    owner: User,
}

impl<'a> DataFolder<'a> {
    /// Makes the folder where it is not, and gives it to `user`, whom `package` makes.
    ///
    /// # Errors
    /// There is no such user, or the folder cannot be made or given away.
    pub(super) fn of(path: &'a Path, user: &str, package: &str) -> Result<Self, Failure> {
        let owner = User::from_name(user).ok().flatten().ok_or_else(|| {
            Failure::new(format!("there is no user {user}"))
                .hint(format!("the package {package} makes it: apt-get install {package}"))
        })?;
        DirBuilder::new().recursive(true).mode(0o755).create(path).at("make", path)?;
        let folder = Self { path, owner };
        // One that is mounted belongs to root.
        folder.give(path)?;
        Ok(folder)
    }

    pub(super) const fn path(&self) -> &Path {
        self.path
    }

    /// What is called `name` in it.
    pub(super) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Gives something in it to its owner. Who may not give away is no obstacle where it is theirs already.
    pub(super) fn give(&self, path: &Path) -> Result<(), Failure> {
        let (uid, gid) = (self.owner.uid.as_raw(), self.owner.gid.as_raw());
        let theirs = fs::metadata(path).is_ok_and(|found| (found.uid(), found.gid()) == (uid, gid));
        if theirs { Ok(()) } else { chown(path, Some(uid), Some(gid)).at("give away", path) }
    }

    /// What is in it, but for what every file system has.
    pub(super) fn names(&self) -> Result<Vec<OsString>, Failure> {
        let mut names = names(self.path)?;
        names.retain(|name| name != FOUND);
        Ok(names)
    }

    /// Has everything of its file system on the disk.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        let opened = File::open(self.path).at("read", self.path)?;
        syncfs(&opened).map_err(Into::into).at("write", self.path)
    }
}

/// What is in a folder.
pub(super) fn names(folder: &Path) -> Result<Vec<OsString>, Failure> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    Ok(entries.at("read", folder)?.into_iter().map(|entry| entry.file_name()).collect())
}
