//! The certificate that browsers and API clients see: the operator's own, or one of the internal authority for every
//! name and address of this machine. Both are looked at again while the service runs: an operator's certificate is
//! renewed by other programs, and a machine gets other addresses.

use std::{
    collections::BTreeSet,
    fs, io,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use node_manager_client::TlsMaterial;
use node_manager_types::enrolment::{Fingerprint, fingerprint};
use rustls::ServerConfig;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::{
    ca::{Authority, CaError, Identity},
    config::Tls,
};

/// How often names, addresses and files are compared with what is served.
const LOOK: Duration = Duration::from_secs(60);
/// An own certificate with less than this left is replaced.
const RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);

/// The certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Only one of the two is given.
    #[error(
        "tls.certificate and tls.key belong together; set both, or none for a certificate of the internal authority"
    )]
    Half,
    /// A file cannot be read.
    #[error("tls.{key}: {path} cannot be read: {source}")]
    Read {
        /// Configuration key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody may read the private key.
    #[error("tls.key: {path} is readable by everybody (mode {mode:o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// They do not fit together.
    #[error("the certificate of the service cannot be used")]
    Material(#[from] node_manager_client::TlsError),
    /// rustls refused.
    #[error("the certificate of the service cannot be used")]
    Rustls(#[from] rustls::Error),
    /// The internal authority refused.
    #[error(transparent)]
    Authority(#[from] CaError),
}

/// The certificate that is served now.
pub struct Certificate {
    source: Source,
    now: RwLock<Served>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("source", &self.source).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Source {
    Files { certificate: PathBuf, key: PathBuf },
    Own { folder: PathBuf },
}

struct Served {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    /// What it was made of: names, or times of files.
    mark: Mark,
}

#[derive(Debug, PartialEq, Eq, Clone)]
enum Mark {
    Files(Option<SystemTime>, Option<SystemTime>),
    Own { names: BTreeSet<String>, expires: i64 },
}

impl Certificate {
    /// Reads the operator's certificate, or makes one below `folder`, that of the internal authority.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(tls: &Tls, folder: &Path) -> Result<Self, CertificateError> {
        let source = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => Source::Files { certificate: certificate.clone(), key: key.clone() },
            (None, None) => Source::Own { folder: folder.to_owned() },
            _ => return Err(CertificateError::Half),
        };
        let served = source.read(true)?;
        Ok(Self { source, now: RwLock::new(served) })
    }

    /// What a new connection is served with, and the fingerprint of the certificate in it.
    pub fn current(&self) -> (Arc<ServerConfig>, Fingerprint) {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        (now.config.clone(), now.fingerprint)
    }

    /// Looks at names, addresses and files, and replaces the certificate when they call for it. One that cannot be
    /// replaced stays. Blocks: the kernel lists its addresses when nobody changes thousands of interfaces.
    fn refresh(&self) {
        let mark = self.now.read().unwrap_or_else(PoisonError::into_inner).mark.clone();
        if !self.source.is_outdated(&mark) {
            return;
        }
        match self.source.read(false) {
            Ok(served) => {
                tracing::info!(mark = ?served.mark, "the certificate of the service is replaced");
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = served;
            }
            Err(error) => tracing::error!(%error, "the certificate of the service is not replaced"),
        }
    }

    /// Keeps the certificate up to date until the task is dropped.
    pub async fn renew(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let certificate = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || certificate.refresh()).await {
                tracing::error!(%error, "the certificate of the service could not be looked at");
            }
        }
    }
}

impl Source {
    /// `keep`: an own certificate that is there already will do. Whether it names every address is looked at later, so
    /// that a start waits for nothing.
    fn read(&self, keep: bool) -> Result<Served, CertificateError> {
        match self {
            Self::Files { certificate, key } => {
                let mark = self.mark_of_files(certificate, key);
                let read = |name: &'static str, path: &Path| {
                    let failed = |source| CertificateError::Read { key: name, path: path.to_owned(), source };
                    fs::read_to_string(path).map_err(failed)
                };
                let (cert_pem, key_pem) = (read("certificate", certificate)?, read("key", key)?);
                let mode = fs::metadata(key).map_or(0, |file| file.permissions().mode() & 0o777);
                if mode & 0o007 != 0 {
                    return Err(CertificateError::Exposed { path: key.clone(), mode });
                }
                let given = Identity { ca_pem: String::new(), cert_pem, key_pem };
                served(&given, mark)
            }
            Self::Own { folder } => {
                let mark = |identity: &Identity| {
                    let (names, expires) = facts(identity).unwrap_or_default();
                    Mark::Own { names, expires }
                };
                // One whose key is not its own was being written when the power went.
                if keep
                    && let Some(kept) = Authority::kept_web(folder)
                    && facts(&kept).is_some_and(|(_, expires)| expires >= now() + seconds(RENEWAL))
                    && let Ok(served) = served(&kept, mark(&kept))
                {
                    return Ok(served);
                }
                let issued = Authority::open(folder)?.issue_web(&own_names())?;
                served(&issued, mark(&issued))
            }
        }
    }

    fn mark_of_files(&self, certificate: &Path, key: &Path) -> Mark {
        let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        Mark::Files(time(certificate), time(key))
    }

    fn is_outdated(&self, mark: &Mark) -> bool {
        match (self, mark) {
            (Self::Files { certificate, key }, mark) => self.mark_of_files(certificate, key) != *mark,
            (Self::Own { .. }, Mark::Own { names, expires }) => {
                !own_names().is_subset(names) || *expires < now() + seconds(RENEWAL)
            }
            (Self::Own { .. }, Mark::Files(..)) => true,
        }
    }
}

fn material(identity: &Identity) -> TlsMaterial {
    let Identity { ca_pem, cert_pem, key_pem } = identity.clone();
    TlsMaterial { ca_pem, cert_pem, key_pem }
}

fn served(identity: &Identity, mark: Mark) -> Result<Served, CertificateError> {
    let material = material(identity);
    let chain = material.chain()?;
    let fingerprint = chain.first().map(|leaf| fingerprint(leaf)).unwrap_or_default();
    let mut config = ServerConfig::builder_with_provider(TlsMaterial::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, material.key()?)?;
    // Consoles take connections over, which HTTP/2 cannot do.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Served { config: Arc::new(config), fingerprint, mark })
}

/// Names and addresses of this machine.
fn own_names() -> BTreeSet<String> {
    let mut names = BTreeSet::from(["localhost".to_owned()]);
    // A name that is no DNS name would spoil the whole certificate.
    let is_dns = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    names.extend(host.filter(|name| !name.is_empty() && is_dns(name)));
    match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => names.extend(interfaces.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))?;
            // Addresses of one link mean nothing to a browser elsewhere.
            let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            (!link_local).then(|| ip.to_string())
        })),
        Err(error) => tracing::warn!(%error, "the addresses of this machine are unknown"),
    }
    names
}

/// Names in a certificate and the end of its life, in seconds since 1970.
fn facts(identity: &Identity) -> Option<(BTreeSet<String>, i64)> {
    let chain = material(identity).chain().ok()?;
    let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
    let names = parsed.subject_alternative_name().ok()??.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
            bytes => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    });
    Some((names.collect(), parsed.validity().not_after.timestamp()))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, seconds)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_certificate_names_this_machine_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path()).unwrap();
        Certificate::load(&Tls::default(), dir.path()).unwrap();
        let first = Authority::kept_web(dir.path()).unwrap();
        let (names, expires) = facts(&first).unwrap();
        assert!(names.contains("localhost") && names.contains("127.0.0.1"), "{names:?}");
        assert!(expires > now() + seconds(RENEWAL) && expires < now() + 398 * 24 * 3600, "browsers accept 398 days");
        Certificate::load(&Tls::default(), dir.path()).unwrap();
        assert_eq!(Authority::kept_web(dir.path()).unwrap().cert_pem, first.cert_pem, "kept over a restart");
        let mark = |expires| Mark::Own { names: BTreeSet::from(["198.51.100.1".to_owned()]), expires };
        let source = Source::Own { folder: dir.path().to_owned() };
        assert!(source.is_outdated(&mark(expires)), "the machine's addresses need another one");
        assert!(!source.is_outdated(&Mark::Own { names: names.clone(), expires }));
        assert!(source.is_outdated(&Mark::Own { names, expires: now() + 3600 }), "its end is near");
        let mode = fs::metadata(dir.path().join("web.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn wrong_files_are_refused_by_key_and_renewed_ones_taken() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let names = BTreeSet::from(["cloud.example.org".to_owned()]);
        let (certificate, key) = (dir.path().join("own.pem"), dir.path().join("own.key"));
        let tls = Tls { certificate: Some(certificate.clone()), key: Some(key.clone()) };
        let refused = |tls: &Tls| Certificate::load(tls, dir.path()).unwrap_err().to_string();
        assert!(refused(&Tls { key: None, ..tls.clone() }).contains("belong together"));
        assert!(refused(&tls).contains("tls.certificate"), "{}", refused(&tls));
        let first = authority.issue_web(&names).unwrap();
        fs::write(&certificate, &first.cert_pem).unwrap();
        fs::write(&key, &first.key_pem).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refused(&tls).contains("chmod 600"), "{}", refused(&tls));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let served = Certificate::load(&tls, dir.path()).unwrap();
        let before = served.current();
        fs::write(&certificate, "broken in the middle of a renewal").unwrap();
        let later = fs::FileTimes::new().set_modified(SystemTime::now() + Duration::from_secs(5));
        fs::File::options().write(true).open(&certificate).unwrap().set_times(later).unwrap();
        served.refresh();
        assert!(Arc::ptr_eq(&served.current().0, &before.0), "what worked stays");
        let second = authority.issue_web(&names).unwrap();
        fs::write(&certificate, &second.cert_pem).unwrap();
        fs::write(&key, &second.key_pem).unwrap();
        served.refresh();
        assert!(!Arc::ptr_eq(&served.current().0, &before.0), "the renewed one is served");
        assert_ne!(served.current().1, before.1);
    }
}
