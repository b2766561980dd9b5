//! Certificates of a client or an agent.

use std::{fmt, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// What one side of a connection needs, as PEM.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The internal authority; the only one that is trusted.
    pub ca_pem: String,
    /// Own certificate, with intermediate ones after it.
    pub cert_pem: String,
    /// Own private key.
    pub key_pem: String,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial")
            .field("ca_pem", &self.ca_pem)
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM text holds no such thing.
    #[error("the {what} is not usable PEM: {cause}")]
    Pem {
        /// `CA certificate`, `certificate` or `private key`.
        what: &'static str,
        /// Why.
        cause: rustls_pki_types::pem::Error,
    },
    /// The parts do not fit together.
    #[error("the certificate and its key do not work together")]
    Mismatch(#[source] rustls::Error),
    /// The HTTP client could not be built.
    #[error("the HTTP client could not be set up: {0}")]
    Client(String),
}

impl TlsMaterial {
    /// The one crypto provider of this product.
    pub fn provider() -> Arc<CryptoProvider> {
        Arc::new(rustls::crypto::ring::default_provider())
    }

    /// The trusted authority.
    ///
    /// # Errors
    /// [`TlsError::Pem`].
    pub fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca_pem, "CA certificate")? {
            roots.add(certificate).map_err(TlsError::Mismatch)?;
        }
        Ok(roots)
    }

    /// Own certificate chain.
    ///
    /// # Errors
    /// [`TlsError::Pem`].
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(&self.cert_pem, "certificate")
    }

    /// Own private key.
    ///
    /// # Errors
    /// [`TlsError::Pem`].
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|cause| TlsError::Pem { what: "private key", cause })
    }

    pub(crate) fn client_config(&self) -> Result<ClientConfig, TlsError> {
        ClientConfig::builder_with_provider(Self::provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Mismatch)?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain()?, self.key()?)
            .map_err(TlsError::Mismatch)
    }
}

/// A configuration that trusts nobody.
pub(crate) fn nobody() -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(TlsMaterial::provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Mismatch)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(list) if list.is_empty() => Err(TlsError::Pem { what, cause: rustls_pki_types::pem::Error::NoItemsFound }),
        Ok(list) => Ok(list),
        Err(cause) => Err(TlsError::Pem { what, cause }),
    }
}
