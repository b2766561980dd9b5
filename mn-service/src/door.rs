//! The service's doors: each listening address speaks TLS and plain HTTP on the same port, told apart by the first byte
//! of a connection. Existing clients, which know `http://` only, go on; everybody else is encrypted without another
//! port, and an old bookmark of the web UI still leads somewhere.

pub mod certificate;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use node_manager_types::enrolment::Fingerprint;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;

use certificate::Certificate;

/// Who says nothing for so long after connecting is sent away. Browsers connect ahead of need.
const FIRST_BYTE: Duration = Duration::from_secs(60);
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that are ready and not yet taken.
const READY: usize = 128;
/// The first byte of a TLS connection: a handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Of the certificate that the other end sees here; zeros where it is not encrypted.
    pub certificate: Fingerprint,
}

impl Peer {
    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// True for who would be heard by everybody on the way.
    pub fn is_in_the_clear(&self) -> bool {
        !self.tls && !self.address.ip().is_loopback()
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        *stream.remote_addr()
    }
}

/// A connection of either kind.
pub type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// A listening address.
#[derive(Debug)]
pub struct Door {
    local: SocketAddr,
    ready: mpsc::Receiver<(Stream, Peer)>,
    /// Ends with the door.
    _accepting: JoinSet<()>,
}

impl Door {
    /// Begins to accept.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn open(listener: TcpListener, certificate: Arc<Certificate>) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let (send, ready) = mpsc::channel(READY);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, certificate, send));
        Ok(Self { local, ready, _accepting: accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.local
    }
}

impl Listener for Door {
    type Io = Stream;
    type Addr = Peer;

    async fn accept(&mut self) -> (Stream, Peer) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting task ends with this door alone.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.local, tls: false, certificate: Fingerprint::default() })
    }
}

async fn accept(listener: TcpListener, certificate: Arc<Certificate>, ready: mpsc::Sender<(Stream, Peer)>) {
    // Handshakes under way end with the door too.
    let mut greeting = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = greeting.join_next() => continue,
        };
        match accepted {
            Ok((stream, address)) => {
                greeting.spawn(greet(stream, address, certificate.clone(), ready.clone()));
            }
            Err(error) => {
                // Out of descriptors, mostly; spinning would not free any.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn greet(
    stream: TcpStream,
    address: SocketAddr,
    certificate: Arc<Certificate>,
    ready: mpsc::Sender<(Stream, Peer)>,
) {
    let mut first = [0];
    let Ok(Ok(1)) = timeout(FIRST_BYTE, stream.peek(&mut first)).await else { return };
    // Answers are written whole; waiting for more to send only delays them.
    let _best_effort = stream.set_nodelay(true);
    let tls = first == [TLS_HANDSHAKE];
    let (config, fingerprint) = certificate.current();
    let stream = if tls {
        match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => Either::Right(stream),
            Ok(Err(error)) => return tracing::debug!(%address, %error, "no TLS with a client"),
            Err(_) => return tracing::debug!(%address, "a TLS handshake took too long"),
        }
    } else {
        Either::Left(stream)
    };
    let peer = Peer { address, tls, certificate: if tls { fingerprint } else { Fingerprint::default() } };
    // An error means that the door is closed.
    let _closed = ready.send((stream, peer)).await;
}
