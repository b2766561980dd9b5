//! The way to a management service whose certificate is not known yet. Any certificate is taken, and noted: that it is
//! the service's own is what the proofs show.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use node_manager_client::TlsMaterial;
use node_manager_types::enrolment::{API_PORT, Envelope, Fingerprint, PATH, Refusal, fingerprint};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    net::{TcpSocket, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Opening a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Waiting for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Largest answer.
const LIMIT: usize = 64 << 10;

/// The service cannot be reached, or is none.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// What was given is no address.
    #[error(
        "{0:?} is no address of a management service; give an address or a name, with a port or without (192.0.2.1, cloud.example.org:{API_PORT}, [2001:db8::1]:{API_PORT})"
    )]
    Address(String),
    /// The name is unknown.
    #[error("{service} cannot be resolved; check the name and this node's DNS servers, or give an IP address")]
    Name {
        /// As given.
        service: String,
        /// Why.
        #[source]
        cause: Option<std::io::Error>,
    },
    /// Nobody answers there.
    #[error(
        "{service} cannot be reached; check the address, the network of this node, and that the management service runs there"
    )]
    Unreachable {
        /// As given, with the port.
        service: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Who answers does not speak TLS.
    #[error(
        "{service} answers, and does not speak TLS as a management service does; is it the port of the API (default {API_PORT})?"
    )]
    Tls {
        /// As given, with the port.
        service: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to {service} broke")]
    Broken {
        /// As given, with the port.
        service: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is something else.
    #[error(
        "{service} answers (HTTP {status}), and is no management service that takes nodes in; is it the port of the API (default {API_PORT}), and is the service of this version?"
    )]
    Stranger {
        /// As given, with the port.
        service: String,
        /// What it answered.
        status: StatusCode,
    },
}

/// A management service, as an operator names it.
#[derive(Debug, Clone)]
pub(super) struct Service {
    host: String,
    port: u16,
    from: Option<IpAddr>,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Service {
    /// `from`: the own address to speak from.
    pub(super) fn parse(text: &str, from: Option<IpAddr>) -> Result<Self, WireError> {
        let wrong = || WireError::Address(text.to_owned());
        let given = text.trim();
        let given = given.strip_prefix("https://").unwrap_or(given).trim_end_matches('/');
        let (host, port) = match given.parse::<IpAddr>() {
            Ok(ip) => (ip.to_string(), None),
            Err(_) => match given.rsplit_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port.parse::<u16>().map_err(|_| wrong())?)),
                None => (given.to_owned(), None),
            },
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).map_or(host.clone(), str::to_owned);
        ServerName::try_from(host.clone()).map_err(|_| wrong())?;
        Ok(Self { host, port: port.unwrap_or(API_PORT), from })
    }

    /// Connects, whoever answers.
    pub(super) async fn connect(&self) -> Result<Connection, WireError> {
        let service = self.to_string();
        let unreachable = |cause| WireError::Unreachable { service: self.to_string(), cause };
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<SocketAddr> =
            found.map_err(|cause| WireError::Name { service: service.clone(), cause: Some(cause) })?.collect();
        let mut failed = None;
        for at in found {
            match timeout(CONNECT, self.reach(at)).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return self.secure(stream).await,
                Err(cause) => failed = Some(cause),
            }
        }
        Err(failed.map_or(WireError::Name { service, cause: None }, unreachable))
    }

    async fn reach(&self, at: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
        let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = self.from.filter(|from| from.is_ipv4() == at.is_ipv4()) {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        socket.connect(at).await
    }

    async fn secure(&self, stream: tokio::net::TcpStream) -> Result<Connection, WireError> {
        let tls = |cause| WireError::Tls { service: self.to_string(), cause };
        let local = stream.local_addr().map_err(|cause| WireError::Unreachable { service: self.to_string(), cause })?;
        let name = ServerName::try_from(self.host.clone()).map_err(|_| WireError::Address(self.host.clone()))?;
        let connector = TlsConnector::from(client_config().map_err(|error| tls(std::io::Error::other(error)))?);
        let handshake = timeout(CONNECT, connector.connect(name, stream)).await;
        let stream = handshake.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(tls)?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|leaf| fingerprint(leaf));
        let seen = leaf.ok_or_else(|| tls(std::io::Error::other("it has no certificate")))?;
        let broken = |cause: hyper::Error| WireError::Broken { service: self.to_string(), cause: cause.into() };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with its sender.
        tokio::spawn(connection);
        Ok(Connection { service: self.to_string(), seen, local: local.ip().to_canonical(), sender })
    }
}

/// A connection over which one question is asked.
#[derive(Debug)]
pub(super) struct Connection {
    service: String,
    /// Certificate of who is on the other end.
    pub(super) seen: Fingerprint,
    /// Own address on it.
    pub(super) local: IpAddr,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Sends an envelope; what comes back is not proven to be anybody's.
    pub(super) async fn post(mut self, envelope: &Envelope) -> Result<Result<Envelope, Refusal>, WireError> {
        let service = self.service;
        let broken =
            |cause: Box<dyn std::error::Error + Send + Sync>| WireError::Broken { service: service.clone(), cause };
        let body = serde_json::to_vec(envelope).map_err(|error| broken(error.into()))?;
        let request = Request::post(PATH)
            .header(header::HOST, &service)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broken(error.into()))?;
        let sender = &mut self.sender;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LIMIT).collect().await.map_err(broken)?;
            Ok((status, body.to_bytes()))
        };
        let late = || broken(format!("no answer within {} s", ANSWER.as_secs()).into());
        let (status, body) = timeout(ANSWER, exchange).await.map_err(|_| late())??;
        let stranger = || WireError::Stranger { service: service.clone(), status };
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map(Ok).map_err(|_| stranger());
        }
        let mut refusal: Refusal = serde_json::from_slice(&body).map_err(|_| stranger())?;
        // Nobody has proven that he is the service; what he says is text and nothing else.
        refusal.text = refusal.text.chars().filter(|c| !c.is_control()).take(1000).collect();
        Ok(Err(refusal))
    }
}

/// 32 random bytes in hexadecimal digits.
pub(super) fn nonce() -> String {
    let [one, two] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    format!("{}{}", one.simple(), two.simple())
}

fn client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = TlsMaterial::provider();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Takes every certificate whose owner has its key. Without the signature of the handshake, somebody in between could
/// show the service's own certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_as_people_name_them() {
        let shown = |text: &str| Service::parse(text, None).map(|service| service.to_string());
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:8080"),
            (" 192.0.2.1:9000 ", "192.0.2.1:9000"),
            ("cloud.example.org", "cloud.example.org:8080"),
            ("https://cloud.example.org:443/", "cloud.example.org:443"),
            ("2001:db8::1", "[2001:db8::1]:8080"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(shown(text).unwrap(), expected, "{text}");
        }
        for text in ["", "a b", "host:port", "http://192.0.2.1", "[::1"] {
            assert!(matches!(shown(text), Err(WireError::Address(_))), "{text}");
        }
        assert_eq!(nonce().len(), 64);
    }
}
