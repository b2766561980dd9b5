//! The file of a backup: a gzip'd tar whose first member says what the others are.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{MARIADB, SQLITE, place};
use crate::{
    event::Reporter,
    failure::{AtPath as _, Failure},
};

/// The form of archive that this version writes and reads.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// A manifest is some kilobytes.
const LARGEST_MANIFEST: u64 = 1 << 20;

/// What a backup says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Form of the archive.
    pub(super) format: u32,
    /// Version of the product that made it.
    pub(super) product: String,
    /// When it was made, in milliseconds since 1970.
    pub(super) created_ms: u64,
    /// `sqlite` or `mariadb`.
    pub(super) database: String,
    /// Steps of the schema that the database has.
    pub(super) migrations: Vec<String>,
    /// The other members.
    pub(super) members: Vec<Member>,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    name: String,
    bytes: u64,
    sha256: String,
}

/// A file to be put into a backup.
#[derive(Debug)]
pub(super) struct Source {
    /// Name in the archive.
    pub(super) name: String,
    /// Where it is now.
    pub(super) path: PathBuf,
}

impl Manifest {
    /// Of a backup that is made now, without members yet.
    pub(super) fn new(database: &str, migrations: Vec<String>) -> Self {
        Self {
            format: FORMAT,
            product: env!("CARGO_PKG_VERSION").to_owned(),
            created_ms: now().as_millis().try_into().unwrap_or(u64::MAX),
            database: database.to_owned(),
            migrations,
            members: Vec::new(),
        }
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A plain file name.
pub(super) fn is_plain(name: &str) -> bool {
    !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Names that a backup may have, so that none leads out of where it is unpacked.
fn is_known(name: &str) -> bool {
    let key = |folder| name.strip_prefix(folder).is_some_and(|file: &str| !file.is_empty() && is_plain(file));
    [SQLITE, MARIADB, "keys/secret.key"].contains(&name) || key("keys/ca/") || key("keys/ssh/")
}

/// Counts and hashes what goes through.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
    bytes: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn hex(self) -> String {
        hex::encode(self.hash.finalize())
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.note(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.note(&buffer[..read]);
        Ok(read)
    }
}

/// Writes an archive of `sources` to the new file `to` and waits for the disk; its SHA-256 and its size.
pub(super) fn pack(
    mut manifest: Manifest,
    sources: &[Source],
    to: &Path,
    reporter: &mut Reporter,
) -> Result<(String, u64), Failure> {
    let mut total = 0;
    for source in sources {
        let mut hashing = Hashing::new(File::open(&source.path).at("read", &source.path)?);
        io::copy(&mut hashing, &mut io::sink()).at("read", &source.path)?;
        total += hashing.bytes;
        manifest.members.push(Member { name: source.name.clone(), bytes: hashing.bytes, sha256: hashing.hex() });
    }
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to).at("make", to)?;
    let mut archive = tar::Builder::new(GzEncoder::new(Hashing::new(file), Compression::default()));
    let json = serde_json::to_vec_pretty(&manifest).map_err(|error| Failure::new(error.to_string()))?;
    append(&mut archive, MANIFEST, json.len() as u64, json.as_slice()).at("write", to)?;
    let mut done = 0;
    for (source, member) in sources.iter().zip(&manifest.members) {
        let from = File::open(&source.path).at("read", &source.path)?;
        let from = Told {
            inner: from,
            told: |read| {
                done += read;
                reporter.progress(part(done, total), "compressing");
            },
        };
        append(&mut archive, &member.name, member.bytes, from).at("write", to)?;
    }
    let hashing = archive.into_inner().and_then(GzEncoder::finish).at("write", to)?;
    hashing.inner.sync_all().at("write", to)?;
    let bytes = hashing.bytes;
    Ok((hashing.hex(), bytes))
}

/// Says how much was read.
struct Told<R, F> {
    inner: R,
    told: F,
}

impl<R: Read, F: FnMut(u64)> Read for Told<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (self.told)(read as u64);
        Ok(read)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a part of a whole, for people")]
fn part(done: u64, total: u64) -> f64 {
    if total == 0 { 1.0 } else { done as f64 / total as f64 }
}

fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, bytes: u64, data: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(now().as_secs());
    archive.append_data(&mut header, name, data)
}

/// What the backup `file` says of itself; else why it is not one.
pub(super) fn manifest(file: &Path) -> Result<Manifest, String> {
    let opened = File::open(file).map_err(|error| error.to_string())?;
    let mut archive = tar::Archive::new(GzDecoder::new(opened));
    let mut entries = archive.entries().map_err(|error| not_one(&error))?;
    match entries.next() {
        Some(entry) => read_manifest(&mut entry.map_err(|error| not_one(&error))?),
        None => Err("it is empty".to_owned()),
    }
}

fn not_one(error: &io::Error) -> String {
    format!("it is no backup, or a damaged one: {error}")
}

fn read_manifest(entry: &mut tar::Entry<'_, impl Read>) -> Result<Manifest, String> {
    let is_it = entry.path().is_ok_and(|path| path == Path::new(MANIFEST));
    if !is_it {
        return Err(format!("it is no backup of ours: it does not begin with {MANIFEST}"));
    }
    let mut text = Vec::new();
    entry.take(LARGEST_MANIFEST).read_to_end(&mut text).map_err(|error| not_one(&error))?;
    serde_json::from_slice(&text).map_err(|error| format!("its {MANIFEST} cannot be read: {error}"))
}

/// Unpacks `file` into the private folder `into`, and checks everything on the way.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn unpack(file: &Path, into: &Path, reporter: &mut Reporter) -> Result<Manifest, Vec<String>> {
    let open = || Ok::<_, io::Error>((fs::metadata(file)?.len(), File::open(file)?));
    let (total, opened) = open().map_err(|error| vec![error.to_string()])?;
    let mut done = 0;
    let told = Told {
        inner: opened,
        told: |read| {
            done += read;
            reporter.progress(part(done, total), "checking the backup");
        },
    };
    let mut hashing = Hashing::new(told);
    let mut problems = Vec::new();
    let manifest = unpack_all(&mut hashing, into, &mut problems);
    // The rest too: the checksum is that of the whole file.
    if let Err(error) = io::copy(&mut hashing, &mut io::sink()) {
        problems.push(error.to_string());
    }
    match checksum(file) {
        Ok(Some(expected)) if expected != hashing.hex() => {
            problems.push(format!("it is not as it was made: its SHA-256 differs from that in {}", shown(file)));
        }
        Ok(_) => {}
        Err(problem) => problems.push(problem),
    }
    match manifest {
        Some(manifest) if problems.is_empty() => Ok(manifest),
        _ => Err(problems),
    }
}

fn shown(file: &Path) -> String {
    place::sha256_file(file).display().to_string()
}

/// The checksum beside a backup; one that was copied alone has none.
fn checksum(file: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(place::sha256_file(file)) {
        Ok(text) => Ok(Some(text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("its checksum {} cannot be read: {error}", shown(file))),
    }
}

fn unpack_all(from: &mut impl Read, into: &Path, problems: &mut Vec<String>) -> Option<Manifest> {
    let mut archive = tar::Archive::new(GzDecoder::new(from));
    let mut entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(not_one(&error));
            return None;
        }
    };
    let first = match entries.next() {
        Some(first) => first.map_err(|error| not_one(&error)).and_then(|mut entry| read_manifest(&mut entry)),
        None => Err("it is empty".to_owned()),
    };
    let manifest = match first {
        Ok(manifest) => manifest,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    if manifest.format != FORMAT {
        let (theirs, product) = (manifest.format, &manifest.product);
        problems.push(format!("its form is {theirs} (product {product}); this version reads form {FORMAT}"));
        return None;
    }
    let mut missing = manifest.members.clone();
    for entry in entries {
        let unpacked = entry.map_err(|error| not_one(&error)).and_then(|mut entry| {
            let name = entry.path().map_err(|error| not_one(&error))?.to_string_lossy().into_owned();
            let place = missing.iter().position(|member| member.name == name);
            let member = place.map(|place| missing.remove(place)).filter(|_| is_known(&name));
            let member = member.ok_or_else(|| format!("it has a member {name:?} that does not belong there"))?;
            unpack_one(&mut entry, &member, into)
        });
        if let Err(problem) = unpacked {
            problems.push(problem);
        }
    }
    // The compression's own checksum stands behind the last member.
    if let Err(error) = io::copy(&mut archive.into_inner(), &mut io::sink()) {
        problems.push(not_one(&error));
    }
    problems.extend(missing.iter().map(|member| format!("its member {} is missing", member.name)));
    Some(manifest)
}

fn unpack_one(entry: &mut tar::Entry<'_, impl Read>, member: &Member, into: &Path) -> Result<(), String> {
    let to = into.join(&member.name);
    let mut written = || -> io::Result<(String, u64)> {
        if let Some(folder) = to.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&to)?;
        let mut hashing = Hashing::new(file);
        // Not a byte more than was said: a damaged archive must not fill the disk.
        io::copy(&mut entry.take(member.bytes.saturating_add(1)), &mut hashing)?;
        hashing.inner.sync_all()?;
        let bytes = hashing.bytes;
        Ok((hashing.hex(), bytes))
    };
    match written() {
        Ok((sha256, bytes)) if sha256 == member.sha256 && bytes == member.bytes => Ok(()),
        Ok(_) => Err(format!("its member {} is damaged", member.name)),
        Err(error) => Err(format!("its member {} cannot be unpacked to {}: {error}", member.name, to.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(folder: &Path) -> PathBuf {
        fs::write(folder.join("db"), "rows").unwrap();
        let sources = [
            Source { name: SQLITE.to_owned(), path: folder.join("db") },
            Source { name: "keys/ca/ca.pem".to_owned(), path: folder.join("db") },
        ];
        let file = folder.join("backup.gz");
        let manifest = Manifest::new("sqlite", vec!["m0001".to_owned()]);
        let (sha256, _) = pack(manifest, &sources, &file, &mut Reporter::new(false)).unwrap();
        fs::write(place::sha256_file(&file), format!("{sha256}  backup.gz\n")).unwrap();
        file
    }

    fn unpacked(file: &Path) -> Result<Manifest, Vec<String>> {
        unpack(file, tempfile::tempdir().unwrap().path(), &mut Reporter::new(false))
    }

    #[test]
    fn what_was_packed_comes_out_and_other_tools_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = packed(folder.path());
        let into = folder.path().join("into");
        let read = unpack(&file, &into, &mut Reporter::new(false)).unwrap();
        assert_eq!((read.database.as_str(), read.members.len()), ("sqlite", 2));
        assert_eq!(fs::read_to_string(into.join("keys/ca/ca.pem")).unwrap(), "rows");
        assert_eq!(manifest(&file).unwrap().migrations, ["m0001"]);
        let listed = std::process::Command::new("tar").arg("tzf").arg(&file).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "manifest.json\ndatabase.sqlite\nkeys/ca/ca.pem\n");
    }

    #[test]
    fn every_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = packed(folder.path());
        let good = fs::read(&file).unwrap();
        for place in [0, 12, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 0x41;
            fs::write(&file, bad).unwrap();
            assert!(unpacked(&file).is_err(), "byte {place} of {}", good.len());
        }
        fs::write(&file, &good[..good.len() - 20]).unwrap();
        assert!(unpacked(&file).is_err(), "cut off");
        fs::write(&file, &good).unwrap();
        assert!(unpacked(&file).is_ok());
    }

    #[test]
    fn members_that_lead_elsewhere_are_refused() {
        for name in ["../x", "/etc/passwd", "keys/ca/../../x", "keys/ca/", "keys/other", "keys/ssh/.x"] {
            assert!(!is_known(name), "{name}");
        }
    }
}
