//! Somebody between node and service, with a certificate of his own.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use node_manager_types::enrolment::{Envelope, fingerprint};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What it does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trick {
    /// Passes everything on and reads along, as a load balancer does.
    Forward,
    /// Says that the node saw the service's certificate.
    Claim,
    /// Answers by itself.
    Answer,
    /// Speaks no TLS at all.
    Plain,
}

pub(super) struct Relay {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
    running: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Relay {
    pub(super) async fn start(service: SocketAddr, trick: Trick) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, noted) = (acceptor(), seen.clone());
        let running = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                if trick == Trick::Plain {
                    let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
                    continue;
                }
                // The node may go at any moment.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                relay(stream, service, trick, &noted).await;
            }
        });
        Self { address, seen, running }
    }

    /// Everything that the node said.
    pub(super) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }
}

async fn relay(
    mut node: impl AsyncRead + AsyncWrite + Unpin,
    service: SocketAddr,
    trick: Trick,
    seen: &Mutex<Vec<u8>>,
) {
    let mut question = request(&mut node).await;
    seen.lock().unwrap().extend_from_slice(&question);
    if trick == Trick::Answer {
        let forged = Envelope {
            code: String::new(),
            certificate: String::new(),
            message: r#"{"answer":"connected","name":"mine now"}"#.to_owned(),
            proof: "00".repeat(32),
        };
        let body = serde_json::to_string(&forged).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        node.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        return;
    }
    let stream = TcpStream::connect(service).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut onward = TlsConnector::from(client_config()).connect(name, stream).await.unwrap();
    if trick == Trick::Claim {
        let own = hex::encode(fingerprint(&onward.get_ref().1.peer_certificates().unwrap()[0]));
        let text = String::from_utf8(question).unwrap();
        let at = text.find(r#""certificate":""#).unwrap() + r#""certificate":""#.len();
        question = format!("{}{own}{}", &text[..at], &text[at + own.len()..]).into_bytes();
    }
    onward.write_all(&question).await.unwrap();
    // Until the node has its answer and goes.
    let _ = tokio::io::copy_bidirectional(&mut node, &mut onward).await;
}

/// What a router does at `address`: passes bytes on to the service and ends no encryption.
pub(super) async fn router(address: SocketAddr, service: SocketAddr) -> JoinHandle<()> {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut node, _) = listener.accept().await.unwrap();
            let mut onward = TcpStream::connect(service).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut node, &mut onward).await;
            });
        }
    })
}

/// A request with its body.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if read == 0 || length.is_some_and(|length: usize| body == Some(length)) {
            return bytes;
        }
    }
}

fn acceptor() -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn client_config() -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless))
        .with_no_client_auth();
    Arc::new(config)
}

/// It does not care who the service is.
#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
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
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
