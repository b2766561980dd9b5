//! The folder of the files: read as a whole, changed file by file, each change complete or not there at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Files, OURS};

/// A folder with files of systemd-networkd.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// One change of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The file shall contain this.
    Write(String, String),
    /// The file shall be gone.
    Remove(String),
}

impl Change {
    /// Name of the file.
    pub fn file(&self) -> &str {
        match self {
            Self::Write(file, _) | Self::Remove(file) => file,
        }
    }
}

/// The changes that lead from some files to others.
pub fn changes(from: &Files, to: &Files) -> Vec<Change> {
    let gone = from.keys().filter(|file| !to.contains_key(*file)).map(|file| Change::Remove(file.clone()));
    let written = to.iter().filter(|(file, text)| from.get(*file) != Some(text));
    gone.chain(written.map(|(file, text)| Change::Write(file.clone(), text.clone()))).collect()
}

impl Store {
    /// `/etc/systemd/network` below a root.
    pub fn below(root: &Path) -> Self {
        Self { folder: root.join("etc/systemd/network") }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn read(&self, wanted: impl Fn(&str) -> bool) -> io::Result<Files> {
        let entries = match fs::read_dir(&self.folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Files::new()),
            entries => entries?,
        };
        let mut files = Files::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if wanted(&name) && [".link", ".netdev", ".network"].iter().any(|ending| name.ends_with(ending)) {
                // Text in other encodings is no text of ours; what cannot be read as UTF-8 matches nothing.
                files.insert(name, String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
            }
        }
        Ok(files)
    }

    /// The files that we wrote.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn ours(&self) -> io::Result<Files> {
        self.read(|name| name.starts_with(OURS))
    }

    /// The files that others wrote.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn others(&self) -> io::Result<Files> {
        self.read(|name| !name.starts_with(OURS))
    }

    /// Makes one change; when this returns it survives a power cut.
    ///
    /// # Errors
    /// Those of the file system; the file then is as before.
    pub fn change(&self, change: &Change) -> io::Result<()> {
        match change {
            // networkd reads the files as a user of its own.
            Change::Write(file, text) => write_durably(&self.folder.join(file), text.as_bytes(), 0o644),
            Change::Remove(file) => remove_durably(&self.folder.join(file)),
        }
    }
}

/// Replaces a file at once: readers see the old or the new contents, also after a power cut.
///
/// # Errors
/// Those of the file system; the file then is as before.
pub fn write_durably(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _};
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(contents)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

/// Removes a file for good; nothing to do when it is gone.
///
/// # Errors
/// Those of the file system.
pub fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        result => {
            result?;
            fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
        }
    }
}
