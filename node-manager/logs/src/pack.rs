//! Packs logs into a gzip'd tar, within limits and without secrets.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};

use crate::{Sources, Window};

/// How much is taken.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one file; of a larger one its end.
    pub file: u64,
    /// Bytes of all files together.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file: 64 << 20, total: 1 << 30 }
    }
}

/// Folders within folders that are looked into.
const DEPTH: usize = 8;

/// An archive that is being written.
pub struct Archive<W: Write> {
    tar: tar::Builder<GzEncoder<W>>,
    left: u64,
    limits: Limits,
    /// What was left out or cut, for the reader.
    notes: String,
}

impl<W: Write> Archive<W> {
    /// Writes to `out`.
    pub fn new(out: W, limits: Limits) -> Self {
        let tar = tar::Builder::new(GzEncoder::new(out, Compression::fast()));
        Self { tar, left: limits.total, limits, notes: String::new() }
    }

    /// Adds a text.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        append(&mut self.tar, name, text.len() as u64, SystemTime::now(), text.as_bytes())
    }

    /// Adds the files of `sources` that were written to in `window`.
    ///
    /// # Errors
    /// `out` takes no more. What cannot be read is noted in the archive.
    pub fn files(&mut self, sources: &Sources, window: Window) -> io::Result<()> {
        for (name, path) in &sources.trees {
            self.tree(name, path, window, DEPTH)?;
        }
        Ok(())
    }

    fn tree(&mut self, name: &str, path: &Path, window: Window, depth: usize) -> io::Result<()> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.note(&format!("{}: {error}", path.display()));
                return Ok(());
            }
        };
        if found.is_dir() && depth > 0 {
            let mut names: Vec<_> = match fs::read_dir(path) {
                Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
                Err(error) => {
                    self.note(&format!("{}: {error}", path.display()));
                    return Ok(());
                }
            };
            names.sort();
            for inner in names {
                self.tree(&format!("{name}/{}", inner.to_string_lossy()), &path.join(&inner), window, depth - 1)?;
            }
        } else if found.is_file() {
            self.file(name, path, &found, window)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, path: &Path, found: &Metadata, window: Window) -> io::Result<()> {
        let modified = found.modified().unwrap_or(UNIX_EPOCH);
        let is_older = window.since_ms.is_some_and(|since| {
            modified.duration_since(UNIX_EPOCH).unwrap_or_default()
                < Duration::from_millis(u64::try_from(since).unwrap_or(0))
        });
        if is_older {
            return Ok(());
        }
        if is_secret(path) {
            self.note(&format!("{}: may hold secrets and was left out", path.display()));
            return Ok(());
        }
        let take = found.len().min(self.limits.file).min(self.left);
        if take < found.len() {
            self.note(&format!("{}: the last {take} of {} bytes", path.display(), found.len()));
        }
        let open = || -> io::Result<File> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(found.len() - take))?;
            Ok(file)
        };
        match open() {
            // A log that is cut off meanwhile is filled up: the archive has said its size already.
            Ok(file) => append(&mut self.tar, name, take, modified, file.chain(io::repeat(b'\n')).take(take))?,
            Err(error) => self.note(&format!("{}: {error}", path.display())),
        }
        self.left -= take;
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.notes.push_str(text);
        self.notes.push('\n');
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.notes.is_empty() {
            let notes = std::mem::take(&mut self.notes);
            self.text("left-out.txt", &notes)?;
        }
        self.tar.into_inner()?.finish()
    }
}

/// True for what may be a key or hold passwords, whatever it does among logs.
fn is_secret(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ["key", "pem", "p12"].iter().any(|extension| name.rsplit('.').next() == Some(extension))
        || ["password", "secret", "private", "id_rsa", "id_ed25519", "credential"]
            .iter()
            .any(|word| name.contains(word))
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    bytes: u64,
    modified: SystemTime,
    data: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    tar.append_data(&mut header, name, data)
}
