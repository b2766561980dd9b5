//! The internal certificate authority: every agent and the management service itself carry a certificate of it.
//!
//! Names say roles: `management.zstack.internal` may ask agents for anything, `<host uuid>.host.zstack.internal` is an
//! agent, which carries what management announced (docs/decisions/0009). Nobody outside the cloud trusts this authority.

mod web;

use std::{
    fs,
    io::Write,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use node_manager_types::enrolment::fingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKey, PublicKeyData as _, SanType,
};
use x509_parser::pem::Pem;

/// DNS name in the certificate of the management service.
pub const MANAGEMENT_NAME: &str = "management.zstack.internal";

/// DNS name in the certificate of a host's agent.
pub fn host_name(host_uuid: &str) -> String {
    format!("{host_uuid}.host.zstack.internal")
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Identity {
    /// The authority's certificate.
    pub ca_pem: String,
    /// Own certificate.
    pub cert_pem: String,
    /// Own private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(***)")
    }
}

/// The authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("certificate file {path}: {source}")]
    File {
        /// File.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate cannot be made or parsed.
    #[error("certificate authority in {path}: {source}")]
    Certificate {
        /// Folder.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
}

/// Signs certificates.
pub struct Authority {
    dir: PathBuf,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Authority {
    /// Loads the authority from `dir`, making it when there is none.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        let wrong = |source| CaError::Certificate { path: dir.to_owned(), source };
        let (cert_path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
        fs::create_dir_all(dir).map_err(|source| CaError::File { path: dir.to_owned(), source })?;
        if !cert_path.exists() {
            let key = KeyPair::generate().map_err(wrong)?;
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "ZStack internal authority");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.not_after = rcgen::date_time_ymd(2099, 1, 1);
            let cert = params.self_signed(&key).map_err(wrong)?;
            // The key first: a certificate without its key would look complete after a crash.
            write_private(&key_path, &key.serialize_pem())?;
            write_private(&cert_path, &cert.pem())?;
        }
        let read =
            |path: &Path| fs::read_to_string(path).map_err(|source| CaError::File { path: path.to_owned(), source });
        let ca_pem = read(&cert_path)?;
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(wrong)?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key).map_err(wrong)?;
        Ok(Self { dir: dir.to_owned(), ca_pem, issuer })
    }

    /// The authority's own certificate (PEM).
    pub fn certificate(&self) -> &str {
        &self.ca_pem
    }

    /// Certificate for the agent of a host, valid as server and as client.
    pub fn issue_host(&self, host_uuid: &str, address: Option<IpAddr>) -> Result<Identity, CaError> {
        self.issue(&host_name(host_uuid), address)
    }

    /// Certificate of the management service, made once and kept.
    pub fn management(&self) -> Result<Identity, CaError> {
        let (cert_path, key_path) = (self.dir.join("management.pem"), self.dir.join("management.key"));
        if let (Ok(cert_pem), Ok(key_pem)) = (fs::read_to_string(&cert_path), fs::read_to_string(&key_path)) {
            return Ok(Identity { ca_pem: self.ca_pem.clone(), cert_pem, key_pem });
        }
        let identity = self.issue(MANAGEMENT_NAME, None)?;
        write_private(&key_path, &identity.key_pem)?;
        write_private(&cert_path, &identity.cert_pem)?;
        Ok(identity)
    }

    /// Certificate for the agent of a host whose key is its own. Of the request (PEM) the public key counts alone, and
    /// that its owner has the private one.
    ///
    /// # Errors
    /// [`CaError::Certificate`] for a request that is none.
    pub fn sign_host(&self, request: &HostRequest, host_uuid: &str, address: IpAddr) -> Result<String, CaError> {
        let wrong = |source| CaError::Certificate { path: self.dir.clone(), source };
        let params = self.params(&host_name(host_uuid), Some(address))?;
        Ok(params.signed_by(&request.0, &self.issuer).map_err(wrong)?.pem())
    }

    /// Fingerprint of the authority's own certificate, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let der = Pem::iter_from_buffer(self.ca_pem.as_bytes()).next().and_then(Result::ok);
        hex::encode(fingerprint(&der.map(|pem| pem.contents).unwrap_or_default()))
    }

    fn params(&self, name: &str, address: Option<IpAddr>) -> Result<CertificateParams, CaError> {
        let wrong = |source| CaError::Certificate { path: self.dir.clone(), source };
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(wrong)?;
        params.subject_alt_names.extend(address.map(SanType::IpAddress));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        Ok(params)
    }

    fn issue(&self, name: &str, address: Option<IpAddr>) -> Result<Identity, CaError> {
        let wrong = |source| CaError::Certificate { path: self.dir.clone(), source };
        let key = KeyPair::generate().map_err(wrong)?;
        let params = self.params(name, address)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(wrong)?;
        Ok(Identity { ca_pem: self.ca_pem.clone(), cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

/// A host's request for a certificate. Its signature was checked: who made it has the private key.
#[derive(Debug)]
pub struct HostRequest(PublicKey);

impl HostRequest {
    /// Reads a request (PEM); nothing when it is none or not signed with its own key.
    pub fn read(pem: &str) -> Option<Self> {
        Some(Self(CertificateSigningRequestParams::from_pem(pem).ok()?.public_key))
    }

    /// SHA-256 of the public key, in hexadecimal digits.
    pub fn key_hash(&self) -> String {
        hex::encode(fingerprint(&self.0.subject_public_key_info()))
    }
}

impl Identity {
    /// Writes `ca.pem`, `cert.pem` and `key.pem` (mode 0600) into `dir`.
    pub fn write(&self, dir: &Path) -> Result<(), CaError> {
        fs::create_dir_all(dir).map_err(|source| CaError::File { path: dir.to_owned(), source })?;
        write_private(&dir.join("key.pem"), &self.key_pem)?;
        write_private(&dir.join("cert.pem"), &self.cert_pem)?;
        write_private(&dir.join("ca.pem"), &self.ca_pem)
    }
}

/// Writes a file that only the owner reads; complete or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), CaError> {
    let partial = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|source| CaError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_survives_a_restart_and_signs_for_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::open(dir.path()).unwrap();
        let again = Authority::open(dir.path()).unwrap();
        assert_eq!(first.ca_pem, again.ca_pem);
        let kept = first.management().unwrap();
        assert_eq!(kept.cert_pem, again.management().unwrap().cert_pem, "the management certificate is kept");
        let host = again.issue_host("36c27e8ff05c4780bf6d2fa65700f22e", Some("192.0.2.1".parse().unwrap())).unwrap();
        assert!(host.cert_pem.contains("BEGIN CERTIFICATE") && host.key_pem.contains("PRIVATE KEY"));
    }

    #[test]
    fn a_node_gets_the_name_that_we_give_it_and_not_the_one_it_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut greedy = CertificateParams::new(vec![MANAGEMENT_NAME.to_owned()]).unwrap();
        greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = greedy.serialize_request(&key).unwrap().pem().unwrap();
        let request = HostRequest::read(&pem).unwrap();
        assert_eq!(request.key_hash(), hex::encode(fingerprint(&key.subject_public_key_info())));
        let uuid = "36c27e8ff05c4780bf6d2fa65700f22e";
        let signed = authority.sign_host(&request, uuid, "192.0.2.1".parse().unwrap()).unwrap();
        let pem = Pem::iter_from_buffer(signed.as_bytes()).next().unwrap().unwrap();
        let certificate = pem.parse_x509().unwrap();
        let names = format!("{:?}", certificate.subject_alternative_name().unwrap().unwrap().value);
        assert!(names.contains(&host_name(uuid)) && !names.contains(MANAGEMENT_NAME), "{names}");
        assert!(!certificate.is_ca());
        assert!(HostRequest::read("nonsense").is_none());
    }
}
