//! The door for VNC viewers: RFB 3.8 (RFC 6143) inside TLS (VeNCrypt 0.2, as the RFB community documents it).

pub mod auth;
pub mod message;
pub mod pixels;
mod session;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use rand::Rng as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::{
    font::Font,
    guard::Guard,
    room::Room,
    stage::{Closed, Door, Person, Stage, Visit},
};

/// The only version that is spoken; older ones cannot say why somebody is refused.
const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// Kinds of security (RFC 6143, 8.1.2).
const VNC: u8 = 2;
const VENCRYPT: u8 = 19;
/// Kinds of VeNCrypt: a certificate, then VNC authentication or a name and a password.
const X509_VNC: u32 = 261;
const X509_PLAIN: u32 = 262;
/// How long the steps may take in which nobody is asked anything.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// How long somebody may look for the password and type it.
const TYPING: Duration = Duration::from_secs(180);
/// Connections at once, logged in or not: in all, and from one address.
const CONNECTIONS: (usize, usize) = (32, 8);
/// Longest name or password that is read.
const LONGEST: u32 = 1024;

/// What viewers meet.
pub struct VncDoor {
    /// The screen.
    pub stage: Arc<Stage>,
    /// Ours, for TLS.
    pub tls: TlsAcceptor,
    /// Draws for them.
    pub font: Arc<Font>,
    /// Also without TLS, which anybody on the way can read.
    pub plain: bool,
    /// What the window is called.
    pub title: String,
}

/// A connection; whether it is encrypted is known when it is made.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Serves viewers for as long as it is polled.
pub async fn serve(listener: TcpListener, door: VncDoor) {
    let (door, room) = (Arc::new(door), Room::new(CONNECTIONS.0, CONNECTIONS.1));
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(place) = room.enter(from.ip().to_canonical()) else { continue };
                let door = door.clone();
                tokio::spawn(async move {
                    // Whoever was cut off sees it; there is nobody else to tell.
                    let _ = door.greet(stream, from.ip().to_canonical()).await;
                    drop(place);
                });
            }
            // Out of descriptors, mostly; spinning would not free any.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

impl VncDoor {
    /// From the first byte to the last.
    async fn greet(&self, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let kind = timeout(HANDSHAKE, self.agree(&mut stream, from)).await??;
        if kind == VNC {
            return self.show(stream, from, false).await;
        }
        let plain = timeout(HANDSHAKE, vencrypt(&mut stream)).await?? == X509_PLAIN;
        let stream = timeout(HANDSHAKE, self.tls.accept(stream)).await??;
        self.show(stream, from, plain).await
    }

    /// Versions and kinds of security (RFC 6143, 7.1.1 and 7.1.2).
    async fn agree(&self, stream: &mut impl Stream, from: IpAddr) -> io::Result<u8> {
        stream.write_all(VERSION).await?;
        let mut version = [0; 12];
        stream.read_exact(&mut version).await?;
        if version != *VERSION {
            if version.starts_with(b"RFB 003.00") {
                // Version 3.3 reads a number of 32 bits here, and 3.7 one of 8: both find nothing and then the reason.
                let kinds: &[u8] = if version[10] == b'7' { &[0] } else { &[0; 4] };
                stream.write_all(kinds).await?;
                write_text(stream, "this server speaks RFB 3.8: use a newer viewer").await?;
            }
            return Err(wrong("a viewer speaks another version of RFB"));
        }
        if let Err(closed) = self.stage.admits(from) {
            stream.write_all(&[0]).await?;
            write_text(stream, &closed.to_string()).await?;
            return Err(wrong(closed.to_string()));
        }
        let kinds: &[u8] = if self.plain { &[VENCRYPT, VNC] } else { &[VENCRYPT] };
        stream.write_u8(u8::try_from(kinds.len()).unwrap_or_default()).await?;
        stream.write_all(kinds).await?;
        let kind = stream.read_u8().await?;
        if !kinds.contains(&kind) {
            let why = "this kind of security is not offered: choose VeNCrypt with X.509";
            fail(stream, why).await?;
            return Err(wrong(why));
        }
        Ok(kind)
    }

    /// Who it is, and then the screen.
    async fn show(&self, mut stream: impl Stream, from: IpAddr, plain: bool) -> io::Result<()> {
        let entered = timeout(TYPING, self.log_in(&mut stream, from, plain)).await??;
        let visit = match entered {
            Ok(visit) => visit,
            Err(closed) => return fail(&mut stream, &closed.to_string()).await,
        };
        // The result of security: it is well (RFC 6143, 7.1.3).
        stream.write_u32(0).await?;
        session::run(self, stream, visit).await
    }

    async fn log_in(&self, stream: &mut impl Stream, from: IpAddr, plain: bool) -> io::Result<Result<Visit, Closed>> {
        let judged = if plain {
            let (name, length) = (stream.read_u32().await?, stream.read_u32().await?);
            if name > LONGEST || length > LONGEST {
                return Err(wrong("a viewer sends a name or a password that is too long"));
            }
            let mut typed = Zeroizing::new(vec![0; (name + length) as usize]);
            stream.read_exact(&mut typed).await?;
            // There is one user; viewers ask for a name all the same.
            let typed = Zeroizing::new(String::from_utf8_lossy(&typed[name as usize..]).into_owned());
            self.stage.guard(|guard| guard.log_in(from, &typed))
        } else {
            let mut challenge = [0; auth::CHALLENGE];
            rand::rng().fill(&mut challenge[..]);
            stream.write_all(&challenge).await?;
            let mut answer = [0; auth::CHALLENGE];
            stream.read_exact(&mut answer).await?;
            let knows = |password: &str| auth::knows(password, challenge, answer);
            self.stage.guard(|guard: &mut Guard| guard.judge(from, knows))
        };
        if let Err(refusal) = judged {
            return Ok(Err(refusal.into()));
        }
        Ok(self.stage.enter(Person { door: Door::Vnc, from }).ok_or(Closed::Elsewhere))
    }
}

/// What kind of VeNCrypt it is: versions, then a list to choose from.
async fn vencrypt(stream: &mut impl Stream) -> io::Result<u32> {
    stream.write_all(&[0, 2]).await?;
    let mut version = [0; 2];
    stream.read_exact(&mut version).await?;
    if version != [0, 2] {
        stream.write_u8(1).await?;
        return Err(wrong("a viewer speaks another version of VeNCrypt"));
    }
    stream.write_all(&[0, 2]).await?;
    for kind in [X509_VNC, X509_PLAIN] {
        stream.write_u32(kind).await?;
    }
    let kind = stream.read_u32().await?;
    let known = [X509_VNC, X509_PLAIN].contains(&kind);
    stream.write_u8(u8::from(known)).await?;
    if known { Ok(kind) } else { Err(wrong("a viewer chose what was not offered")) }
}

/// The result of security: it is not well, and why.
async fn fail(stream: &mut impl Stream, why: &str) -> io::Result<()> {
    stream.write_u32(1).await?;
    write_text(stream, why).await
}

async fn write_text(stream: &mut impl Stream, text: &str) -> io::Result<()> {
    let length = u32::try_from(text.len()).map_err(|_| wrong("a text is too long"))?;
    stream.write_u32(length).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{DuplexStream, duplex},
        task::JoinHandle,
    };

    use super::*;
    use crate::remote::{certificate::Identity, font::tests::font, frame::Frame, stage::tests::stage};

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    /// A door, and what keeps its stage alive.
    fn door(plain: bool) -> (Arc<VncDoor>, impl Sized) {
        let (stage, shown, ordered) = stage(Frame::empty(10, 2));
        let tls = TlsAcceptor::from(Identity::generate(&[]).unwrap().config);
        let door = VncDoor { stage, tls, font: Arc::new(font()), plain, title: "test".to_owned() };
        (Arc::new(door), (shown, ordered))
    }

    fn agreeing(door: &Arc<VncDoor>) -> (DuplexStream, JoinHandle<io::Result<u8>>) {
        let (viewer, mut server) = duplex(4096);
        let door = door.clone();
        (viewer, tokio::spawn(async move { door.agree(&mut server, FROM).await }))
    }

    async fn bytes<const N: usize>(from: &mut DuplexStream) -> [u8; N] {
        let mut bytes = [0; N];
        from.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    async fn text(from: &mut DuplexStream) -> String {
        let length = from.read_u32().await.unwrap();
        let mut text = vec![0; length as usize];
        from.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    /// RFC 6143, 7.1.1 and 7.1.2: what is offered, and that nothing else can be had.
    #[tokio::test]
    async fn without_encryption_only_where_it_was_allowed() {
        for (plain, kinds, choice, had) in
            [(false, &[1, 19][..], 19, true), (false, &[1, 19], 2, false), (true, &[2, 19, 2], 2, true)]
        {
            let (door, _kept) = door(plain);
            let (mut viewer, server) = agreeing(&door);
            assert_eq!(bytes(&mut viewer).await, *b"RFB 003.008\n");
            viewer.write_all(b"RFB 003.008\n").await.unwrap();
            let mut offered = vec![0; kinds.len()];
            viewer.read_exact(&mut offered).await.unwrap();
            assert_eq!(offered, kinds);
            viewer.write_u8(choice).await.unwrap();
            if !had {
                assert_eq!(viewer.read_u32().await.unwrap(), 1);
                assert!(text(&mut viewer).await.contains("VeNCrypt"));
            }
            assert_eq!(server.await.unwrap().is_ok(), had, "{kinds:?} {choice}");
        }
    }

    #[tokio::test]
    async fn older_viewers_are_told_what_to_do() {
        for (version, zeros) in [("3", 4), ("7", 1)] {
            let (door, _kept) = door(true);
            let (mut viewer, server) = agreeing(&door);
            let _: [u8; 12] = bytes(&mut viewer).await;
            viewer.write_all(format!("RFB 003.00{version}\n").as_bytes()).await.unwrap();
            let mut none = vec![9; zeros];
            viewer.read_exact(&mut none).await.unwrap();
            assert_eq!(none, vec![0; zeros]);
            assert!(text(&mut viewer).await.contains("RFB 3.8"));
            assert!(server.await.unwrap().is_err());
        }
    }

    /// VeNCrypt 0.2: versions, the list, the choice.
    #[tokio::test]
    async fn vencrypt_is_version_2_with_a_certificate() {
        for (version, choice, had) in [([0, 2], 261, Some(261)), ([0, 2], 262, Some(262)), ([0, 2], 258, None)] {
            let (mut viewer, mut server) = duplex(4096);
            let serving = tokio::spawn(async move { vencrypt(&mut server).await.ok() });
            assert_eq!(bytes(&mut viewer).await, [0, 2]);
            viewer.write_all(&version).await.unwrap();
            assert_eq!(bytes(&mut viewer).await, [0, 2, 0, 0, 1, 5, 0, 0, 1, 6]);
            viewer.write_u32(choice).await.unwrap();
            assert_eq!(viewer.read_u8().await.unwrap(), u8::from(had.is_some()));
            assert_eq!(serving.await.unwrap(), had);
        }
        let (mut viewer, mut server) = duplex(4096);
        let serving = tokio::spawn(async move { vencrypt(&mut server).await.ok() });
        viewer.write_all(&[0, 1]).await.unwrap();
        assert_eq!(bytes(&mut viewer).await, [0, 2, 1]);
        assert_eq!(serving.await.unwrap(), None);
    }

    /// RFC 6143, 7.1.3 and 7.2.2.
    #[tokio::test]
    async fn the_password_opens_once_and_a_wrong_one_is_told_so() {
        let (door, _kept) = door(true);
        let (mut viewer, server) = duplex(1 << 16);
        let serving = tokio::spawn({
            let door = door.clone();
            async move { door.show(server, FROM, false).await }
        });
        let challenge = bytes(&mut viewer).await;
        let password = door.stage.password().1;
        viewer.write_all(&auth::response(password.as_bytes(), challenge)).await.unwrap();
        assert_eq!(viewer.read_u32().await.unwrap(), 0);
        assert_ne!(*door.stage.password().1, *password);
        // ClientInit, then ServerInit with the size: 10 by 2 cells of 8 by 16 pixels (RFC 6143, 7.3).
        viewer.write_u8(1).await.unwrap();
        let init: [u8; 20] = bytes(&mut viewer).await;
        assert_eq!(init[..4], [0, 80, 0, 32]);
        assert_eq!(init[4..], pixels::PixelFormat::OFFERED.to_bytes());
        assert_eq!(text(&mut viewer).await, "test");
        assert_eq!(door.stage.present(), [Person { door: Door::Vnc, from: FROM }]);
        drop(viewer);
        let _ = serving.await.unwrap();
        assert_eq!(door.stage.present(), []);

        let (mut viewer, server) = duplex(1 << 16);
        let serving = tokio::spawn({
            let door = door.clone();
            async move { door.show(server, FROM, false).await }
        });
        let challenge = bytes(&mut viewer).await;
        viewer.write_all(&auth::response(password.as_bytes(), challenge)).await.unwrap();
        assert_eq!(viewer.read_u32().await.unwrap(), 1);
        assert!(text(&mut viewer).await.contains("try again in 2 s"));
        serving.await.unwrap().unwrap();
    }
}
