//! The folder of the files: read as a whole, changed file by file, each change complete or not there at all.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Files, OURS};

/// Kinds of files of systemd-networkd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The name of a card.
    Link,
    /// What the kernel shall make.
    Netdev,
    /// What belongs where, and addresses.
    Network,
}

impl Ending {
    const ALL: [Self; 3] = [Self::Link, Self::Netdev, Self::Network];

    fn text(self) -> &'static str {
        match self {
            Self::Link => ".link",
            Self::Netdev => ".netdev",
            Self::Network => ".network",
        }
    }

    fn of(file: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| file.ends_with(ending.text()))
    }
}

/// The link that a file of ours is about, by the file's name.
fn subject(file: &str) -> Option<(&str, Ending)> {
    let (rest, ending) = (file.strip_prefix(OURS)?, Ending::of(file)?);
    Some((rest.strip_suffix(ending.text())?, ending))
}

/// What the names of our files say.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Links that have files.
    pub(crate) links: BTreeSet<String>,
    /// Those among them whose card is described by its address.
    pub(crate) cards: BTreeSet<String>,
}

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
            if wanted(&name) && Ending::of(&name).is_some() {
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

    /// Which links have files of ours, by the names of these; nothing is read.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn index(&self) -> io::Result<Index> {
        let mut index = Index::default();
        let entries = match fs::read_dir(&self.folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(index),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some((link, ending)) = name.to_str().and_then(subject) else { continue };
            if ending == Ending::Link {
                index.cards.insert(link.to_owned());
            }
            index.links.insert(link.to_owned());
        }
        Ok(index)
    }

    /// The files that we wrote for some links.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn ours_of<'a>(&self, links: impl IntoIterator<Item = &'a String>) -> io::Result<Files> {
        let mut files = Files::new();
        for link in links {
            for ending in Ending::ALL {
                files.extend(self.one(link, ending)?);
            }
        }
        Ok(files)
    }

    /// One file of ours with its name, where there is one.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn one(&self, link: &str, ending: Ending) -> io::Result<Option<(String, String)>> {
        let name = format!("{OURS}{link}{}", ending.text());
        match fs::read(self.folder.join(&name)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            text => Ok(Some((name, String::from_utf8_lossy(&text?).into_owned()))),
        }
    }

    /// The files of others that come before ours.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn earlier(&self) -> io::Result<Files> {
        self.read(|name| name < OURS)
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
