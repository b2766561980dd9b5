//! Who we are to hosts and who they are to us: the management node's key pair, and the host keys seen before.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey, key::safe_rng, ssh_key::LineEnding};

/// The folder with key pair and known hosts.
#[derive(Debug, Clone)]
pub struct Trust {
    dir: PathBuf,
}

/// A file of [`Trust`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Reading or writing.
    #[error("{}: {source}", .path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a key.
    #[error("{}: {source}", .path.display())]
    Key {
        /// File.
        path: PathBuf,
        /// Why.
        source: russh::keys::ssh_key::Error,
    },
    /// Others could use the key.
    #[error("private key {} is readable by others (mode {mode:o}); run: chmod 600 {}", .path.display(), .path.display())]
    Exposed {
        /// File.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is neither a comment nor an entry.
    #[error("{} line {line} is no known_hosts entry of the form `[address]:port algorithm key`", .path.display())]
    Line {
        /// File.
        path: PathBuf,
        /// Line number.
        line: usize,
    },
}

/// What the files say about a host's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Seen before.
    Known,
    /// Never seen; now on file.
    First,
    /// Another key is on file: these.
    Changed(Vec<PublicKey>),
}

/// Checking and noting is one action, whichever job does it.
static LEARNING: Mutex<()> = Mutex::new(());

/// Name of an SSH server in a known_hosts file.
pub fn entry(at: SocketAddr) -> String {
    format!("[{}]:{}", at.ip(), at.port())
}

/// `SHA256:…`, as ssh-keygen prints it.
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl Trust {
    /// The folder `ssh` of a data folder; made when missing.
    pub fn open(data_dir: &Path) -> Result<Self, TrustError> {
        let dir = data_dir.join("ssh");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|source| TrustError::File { path: dir.clone(), source })?;
        Ok(Self { dir })
    }

    /// File of host keys.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// The management node's key pair, made once.
    pub fn key_pair(&self) -> Result<Arc<PrivateKey>, TrustError> {
        let path = self.dir.join("id_ed25519");
        let file = |source| TrustError::File { path: path.clone(), source };
        let wrong = |source| TrustError::Key { path: path.clone(), source };
        if !path.try_exists().map_err(file)? {
            let mut fresh = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(wrong)?;
            fresh.set_comment("management-node");
            self.publish(&path, fresh.to_openssh(LineEnding::LF).map_err(wrong)?.as_bytes(), 0o600)?;
        }
        let mode = fs::metadata(&path).map_err(file)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(TrustError::Exposed { path, mode: mode & 0o777 });
        }
        let key = PrivateKey::from_openssh(fs::read(&path).map_err(file)?).map_err(wrong)?;
        let public = path.with_extension("pub");
        if !public.exists() {
            self.publish(&public, format!("{}\n", public_line(&key)?).as_bytes(), 0o644)?;
        }
        Ok(Arc::new(key))
    }

    /// Makes a file complete or not at all. A file that somebody else made meanwhile stays.
    fn publish(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), TrustError> {
        let write = || -> io::Result<()> {
            let partial = self.dir.join(format!(".{}", mn_service_types::new_uuid()));
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            let linked = fs::hard_link(&partial, path);
            fs::remove_file(&partial)?;
            match linked {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        };
        write().map_err(|source| TrustError::File { path: path.to_owned(), source })
    }

    /// Host keys on file for an SSH server.
    pub fn known(&self, at: SocketAddr) -> Result<Vec<PublicKey>, TrustError> {
        let path = self.known_hosts();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            // An unreadable file must not look like a host that was never seen.
            Err(source) => return Err(TrustError::File { path, source }),
        };
        let wanted = entry(at);
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = || TrustError::Line { path: path.clone(), line: index + 1 };
            let (name, key) = line.split_once(' ').ok_or_else(malformed)?;
            // ssh-keygen writes `address` for `[address]:22`.
            let matches = name == wanted || (at.port() == 22 && name == at.ip().to_string());
            if matches {
                keys.push(PublicKey::from_openssh(key).map_err(|_| malformed())?);
            }
        }
        Ok(keys)
    }

    /// Trust on first use: notes the key of a server that was never seen, and compares it later.
    pub fn check(&self, at: SocketAddr, shown: &PublicKey) -> Result<Verdict, TrustError> {
        let _learning = LEARNING.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known(at)?;
        if known.iter().any(|key| key.key_data() == shown.key_data()) {
            return Ok(Verdict::Known);
        }
        // A key of another algorithm is no first meeting: who is in between could choose the algorithm.
        if !known.is_empty() {
            return Ok(Verdict::Changed(known));
        }
        let path = self.known_hosts();
        let mut bare = shown.clone();
        bare.set_comment("");
        let line = bare.to_openssh().map_err(|source| TrustError::Key { path: path.clone(), source })?;
        let append = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            file.write_all(format!("{} {}\n", entry(at), line.trim()).as_bytes())?;
            file.sync_all()
        };
        append().map_err(|source| TrustError::File { path: path.clone(), source })?;
        Ok(Verdict::First)
    }
}

/// The line that lets a key in, for `authorized_keys`.
pub fn public_line(key: &PrivateKey) -> Result<String, TrustError> {
    key.public_key().to_openssh().map_err(|source| TrustError::Key { path: PathBuf::from("id_ed25519"), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PublicKey {
        PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap().public_key().clone()
    }

    #[test]
    fn the_key_pair_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open(dir.path()).unwrap();
        let first = trust.key_pair().unwrap();
        assert_eq!(first.public_key(), trust.key_pair().unwrap().public_key());
        let path = dir.path().join("ssh/id_ed25519");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let public = fs::read_to_string(dir.path().join("ssh/id_ed25519.pub")).unwrap();
        assert_eq!(public.trim(), public_line(&first).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(trust.key_pair().unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_first_key_is_noted_and_another_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open(dir.path()).unwrap();
        let (at, other) = ("192.0.2.1:22".parse().unwrap(), "[2001:db8::1]:2222".parse().unwrap());
        let (one, two) = (key(), key());
        assert_eq!(trust.check(at, &one).unwrap(), Verdict::First);
        assert_eq!(trust.check(at, &one).unwrap(), Verdict::Known);
        assert_eq!(trust.check(at, &two).unwrap(), Verdict::Changed(vec![one.clone()]));
        assert_eq!(trust.check(other, &two).unwrap(), Verdict::First);
        let text = fs::read_to_string(trust.known_hosts()).unwrap();
        assert!(text.starts_with("[192.0.2.1]:22 ssh-ed25519 ") && text.contains("\n[2001:db8::1]:2222 "), "{text}");
    }

    #[test]
    fn a_damaged_file_is_no_first_meeting() {
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open(dir.path()).unwrap();
        fs::write(trust.known_hosts(), "# comment\n\n[192.0.2.1]:22 rubbish\n").unwrap();
        let error = trust.check("192.0.2.1:22".parse().unwrap(), &key()).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
    }
}
