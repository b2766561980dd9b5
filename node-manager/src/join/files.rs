//! Key and certificates of this node, where the agent reads them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use node_control::agent::{JOIN_NOTE, JoinNote};
use node_manager_client::TlsMaterial;
use node_manager_types::enrolment::{Enrolled, fingerprint};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    config::Config,
    tls::{self, Peer},
};

/// File name of the lock, in the folder of process ids.
const LOCK: &str = "join.lock";

/// A file of the node cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refuses.
    #[error("{path}: {cause}", path = .path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Two joins at the same time.
    #[error("this node is joining a cloud at this moment (another `node-manager join` runs); wait for its end")]
    Busy,
    /// There is something else in it.
    #[error("{path} is not usable ({cause}); if this node is in no cloud, remove {path} and try again", path = .path.display())]
    Damaged {
        /// File.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The machine has no identity.
    #[error("{path} has no machine id; run systemd-machine-id-setup", path = .path.display())]
    Machine {
        /// File.
        path: PathBuf,
    },
    /// What the service gave does not fit.
    #[error("the certificate of the management service does not fit this node ({0}); are both of one version?")]
    Unfit(String),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |cause| FileError::Io { path, cause }
}

/// Reads a machine id.
pub(super) fn machine_id(path: &Path) -> Result<String, FileError> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    let id = text.trim();
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(id.to_owned());
    }
    Err(FileError::Machine { path: path.to_owned() })
}

/// Name of this machine; empty when it has none.
pub(super) fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// Where key and certificates are; nobody else joins while this is there.
#[derive(Debug)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
    note: PathBuf,
    _lock: Flock<File>,
}

/// The node's own key.
pub(super) struct NodeKey {
    pair: KeyPair,
    pem: String,
}

impl NodeKey {
    /// Certificate signing request (PEM); it asks for no name, which is the service's to give.
    pub(super) fn request(&self) -> Result<String, FileError> {
        let unfit = |error: rcgen::Error| FileError::Unfit(error.to_string());
        CertificateParams::default().serialize_request(&self.pair).and_then(|request| request.pem()).map_err(unfit)
    }
}

impl Files {
    /// Notes how the join stands. Nothing depends on it but what the console shows.
    pub(super) fn note(&self, note: &JoinNote) {
        let text = serde_json::to_string(note).unwrap_or_default();
        if let Err(error) = write(&self.note, &text, 0o600) {
            tracing::warn!(%error, "the console cannot be told how the join stands");
        }
    }

    /// Removes the note, and the file with the code, which has done its work.
    pub(super) fn forget(&self, from: Option<&Path>) -> Result<(), FileError> {
        for path in [Some(self.note.as_path()), from].into_iter().flatten() {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the lock.
    pub(super) fn open(config: &Config) -> Result<Self, FileError> {
        let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(at(path));
        make(&config.run_dir)?;
        for folder in [&config.key, &config.certificate, &config.ca].into_iter().filter_map(|file| file.parent()) {
            make(folder)?;
        }
        let path = config.run_dir.join(LOCK);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock =
            Flock::lock(file.map_err(at(&path))?, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    nix::errno::Errno::EWOULDBLOCK => FileError::Busy,
                    errno => FileError::Io { path: path.clone(), cause: errno.into() },
                },
            )?;
        let (certificate, key, ca) = (config.certificate.clone(), config.key.clone(), config.ca.clone());
        Ok(Self { certificate, key, ca, note: config.run_dir.join(JOIN_NOTE), _lock: lock })
    }

    /// The key of this node; made, and safely on the disk, when there is none.
    pub(super) fn key(&self) -> Result<NodeKey, FileError> {
        let damaged = |cause: String| FileError::Damaged { path: self.key.clone(), cause };
        let pem = match fs::read_to_string(&self.key) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = KeyPair::generate().map_err(|error| damaged(error.to_string()))?.serialize_pem();
                write(&self.key, &pem, 0o600)?;
                pem
            }
            Err(error) => return Err(at(&self.key)(error)),
        };
        let pair = KeyPair::from_pem(&pem).map_err(|error| damaged(error.to_string()))?;
        Ok(NodeKey { pair, pem })
    }

    /// The certificate that this node has.
    pub(super) fn enrolled(&self) -> Result<Option<Enrolled>, FileError> {
        let read = |path: &Path| match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(path)(error)),
        };
        // The certificate is written last: without it the rest is a join that was cut off.
        let Some(certificate) = read(&self.certificate)? else { return Ok(None) };
        let Some(ca) = read(&self.ca)? else { return Ok(None) };
        let leaf = |path: &Path, pem: &str| {
            CertificateDer::from_pem_slice(pem.as_bytes())
                .map_err(|error| FileError::Damaged { path: path.to_owned(), cause: error.to_string() })
        };
        let authority = hex::encode(fingerprint(&leaf(&self.ca, &ca)?));
        match tls::peer_of(&leaf(&self.certificate, &certificate)?) {
            Peer::Host(host) => Ok(Some(Enrolled { authority, host: host.to_string() })),
            _ => Err(FileError::Damaged { path: self.certificate.clone(), cause: "it names no host".to_owned() }),
        }
    }

    /// Writes what the service gave, after a look whether it fits. The host certificate comes last: it lets the agent start.
    pub(super) fn install(
        &self,
        key: &NodeKey,
        host: &str,
        certificate: &str,
        authority: &str,
    ) -> Result<(), FileError> {
        let material =
            TlsMaterial { ca_pem: authority.to_owned(), cert_pem: certificate.to_owned(), key_pem: key.pem.clone() };
        let unfit = |error: &dyn std::fmt::Display| FileError::Unfit(error.to_string());
        tls::server_config(&material).map_err(|error| unfit(&error))?;
        let chain = material.chain().map_err(|error| unfit(&error))?;
        match chain.first().map(tls::peer_of) {
            Some(Peer::Host(named)) if named.to_string() == host => {}
            _ => return Err(FileError::Unfit("it names another host".to_owned())),
        }
        write(&self.ca, authority, 0o644)?;
        write(&self.certificate, certificate, 0o644)
    }
}

/// Writes a file; complete or not at all, and on the disk when this returns.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), FileError> {
    let new = path.with_added_extension("new");
    let write = || -> io::Result<()> {
        // One of an earlier, interrupted run has perhaps other permissions.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(at(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn config(dir: &Path) -> Config {
        let tls = dir.join("tls");
        Config {
            certificate: tls.join("host.crt"),
            key: tls.join("host.key"),
            ca: tls.join("ca.crt"),
            run_dir: dir.join("run"),
            ..Config::default()
        }
    }

    #[test]
    fn the_key_is_made_once_and_nobody_else_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let files = Files::open(&config).unwrap();
        fs::write(config.key.with_added_extension("new"), "cut off").unwrap();
        let first = files.key().unwrap().pem;
        assert_eq!(files.key().unwrap().pem, first);
        assert_eq!(fs::metadata(&config.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Files::open(&config), Err(FileError::Busy)));
        assert_eq!(files.enrolled().unwrap(), None, "a key alone is a join that was cut off");
        fs::write(&config.key, "damaged").unwrap();
        assert!(files.key().err().unwrap().to_string().contains("remove"));
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let files = Files::open(&config).unwrap();
        let key = files.key().unwrap();
        let other = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&other).unwrap().pem();
        for pem in [certificate.as_str(), "nonsense"] {
            assert!(matches!(files.install(&key, "h", pem, &certificate), Err(FileError::Unfit(_))));
        }
        assert!(!config.certificate.exists() && !config.ca.exists());
    }

    #[test]
    fn a_machine_without_an_identity_is_told_how_to_get_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("machine-id");
        fs::write(&path, "uninitialized\n").unwrap();
        assert!(machine_id(&path).unwrap_err().to_string().contains("systemd-machine-id-setup"));
        fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(machine_id(&path).unwrap(), "0123456789abcdef0123456789abcdef");
    }
}
