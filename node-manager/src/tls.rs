//! The agent's door: mutual TLS, and what each kind of certificate may do.
//!
//! The certificate's DNS name decides. `management.zstack.internal` may do everything; another host's agent
//! (`<host id>.host.zstack.internal`) may only carry images that
//! management announced (`/v1/content`). Nothing is served without a certificate of
//! the internal authority.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use node_manager_client::TlsMaterial;
use node_manager_types::{AgentError, ErrorKind, HOST_DOMAIN, HostId, MANAGEMENT_NAME, path};
use rustls::{ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::{Agent, config::Config, http::Refusal};

/// Who is on the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The management node.
    Management,
    /// Another host's agent.
    Host(HostId),
    /// Somebody the internal authority knows, but not for this.
    Other,
}

/// The agent cannot open its door.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// A file is missing or unreadable.
    #[error("cannot read {path} (key `{key}`): {cause}")]
    Read {
        /// Configuration key.
        key: &'static str,
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// Everybody may read the private key.
    #[error("private key {path} is readable by others (mode {mode:o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The certificate names no host.
    #[error("certificate {path} has no DNS name <32 hex characters>{HOST_DOMAIN}; issue one for this host")]
    Nameless {
        /// The file.
        path: String,
    },
    /// The files do not fit together.
    #[error("certificate, key and authority do not work together")]
    Tls(#[from] node_manager_client::TlsError),
    /// rustls refused.
    #[error("certificate, key and authority do not work together")]
    Rustls(#[from] rustls::Error),
    /// The authority cannot verify clients.
    #[error("the internal authority cannot verify clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Reads certificate, key and authority.
///
/// # Errors
/// [`DoorError`].
pub fn load(config: &Config) -> Result<TlsMaterial, DoorError> {
    let read = |key: &'static str, path: &Path| {
        fs::read_to_string(path).map_err(|cause| DoorError::Read { key, path: path.display().to_string(), cause })
    };
    let material = TlsMaterial {
        ca_pem: read("ca", &config.ca)?,
        cert_pem: read("certificate", &config.certificate)?,
        key_pem: read("key", &config.key)?,
    };
    let path = config.key.display().to_string();
    let mode = fs::metadata(&config.key)
        .map_err(|cause| DoorError::Read { key: "key", path: path.clone(), cause })?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(DoorError::Exposed { path, mode: mode & 0o777 });
    }
    Ok(material)
}

/// The host this agent is, as its certificate says.
///
/// # Errors
/// [`DoorError::Nameless`].
pub fn own_id(material: &TlsMaterial, config: &Config) -> Result<HostId, DoorError> {
    let nameless = || DoorError::Nameless { path: config.certificate.display().to_string() };
    match material.chain()?.first().map(peer_of) {
        Some(Peer::Host(id)) => Ok(id),
        _ => Err(nameless()),
    }
}

/// TLS with mandatory client certificates.
///
/// # Errors
/// [`DoorError`].
pub fn server_config(material: &TlsMaterial) -> Result<Arc<ServerConfig>, DoorError> {
    let provider = TlsMaterial::provider();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(material.roots()?), Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(material.chain()?, material.key()?)?;
    // Consoles take connections over, which HTTP/2 cannot do.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whom a verified certificate names. A certificate that names both a host and management is nobody's.
pub fn peer_of(certificate: &CertificateDer<'_>) -> Peer {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Peer::Other };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Peer::Other };
    let mut peers = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) if *name == MANAGEMENT_NAME => Some(Peer::Management),
        GeneralName::DNSName(name) => name.strip_suffix(HOST_DOMAIN)?.parse().ok().map(Peer::Host),
        _ => None,
    });
    match (peers.next(), peers.next()) {
        (Some(peer), None) => peer,
        _ => Peer::Other,
    }
}

/// Middleware: notes when management calls, and lets a request pass if its peer may do that. The listener puts the
/// [`Peer`] into the request; a request without one is a mistake in the listener and is refused.
pub async fn authorize(State(agent): State<Arc<Agent>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let allowed = match peer {
        Some(Peer::Management) => {
            agent.management_seen.now();
            true
        }
        Some(Peer::Host(_)) => request.uri().path() == path::CONTENT,
        Some(Peer::Other) | None => false,
    };
    if allowed {
        return next.run(request).await;
    }
    tracing::warn!(?peer, method = %request.method(), path = request.uri().path(), "refused");
    let error = AgentError::new(
        ErrorKind::Invalid,
        format!("this certificate may not use {}; only {MANAGEMENT_NAME} may do everything", request.uri().path()),
    );
    let mut response = Refusal(error).into_response();
    *response.status_mut() = axum::http::StatusCode::FORBIDDEN;
    response
}
