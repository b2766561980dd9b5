//! What a VNC viewer meets (RFC 6143; VeNCrypt).

use std::process::Stdio;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use zstack_installer::remote::vnc::auth::response;

use super::{PATIENCE, Remote, until};

/// A font in which a test can read: bit `n` of a character's number is the first pixel of line `n` of its glyph.
pub(super) fn font() -> Vec<u8> {
    let mut bytes = vec![0x72, 0xb5, 0x4a, 0x86];
    for word in [0, 32, 1, 96, 16, 16, 8_u32] {
        bytes.extend(word.to_le_bytes());
    }
    for character in 0x20..0x80_u8 {
        bytes.extend((0..16).map(|line| if line < 8 && character >> line & 1 == 1 { 0x80 } else { 0 }));
    }
    for character in 0x20..0x80_u8 {
        bytes.extend([character, 0xff]);
    }
    bytes
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A viewer, and what it has drawn: 32 bits for a pixel.
struct Viewer {
    stream: Box<dyn Stream>,
    width: usize,
    height: usize,
    pixels: Vec<u32>,
}

impl Remote {
    /// Versions and kinds of security (RFC 6143, 7.1).
    async fn greet(&self) -> (tokio::net::TcpStream, Vec<u8>) {
        let mut stream = self.connect(self.vnc).await;
        let mut version = [0; 12];
        stream.read_exact(&mut version).await.unwrap();
        assert_eq!(version, *b"RFB 003.008\n");
        stream.write_all(&version).await.unwrap();
        let mut kinds = vec![0; stream.read_u8().await.unwrap().into()];
        stream.read_exact(&mut kinds).await.unwrap();
        (stream, kinds)
    }

    /// VeNCrypt with X.509, then whatever comes inside of it.
    async fn vencrypt(&self, kind: u32) -> Box<dyn Stream> {
        let (mut stream, kinds) = self.greet().await;
        assert!(kinds.contains(&19), "{kinds:?}");
        stream.write_u8(19).await.unwrap();
        let mut version = [0; 2];
        stream.read_exact(&mut version).await.unwrap();
        stream.write_all(&version).await.unwrap();
        assert_eq!((version, stream.read_u8().await.unwrap()), ([0, 2], 0));
        let mut offered = Vec::new();
        for _ in 0..stream.read_u8().await.unwrap() {
            offered.push(stream.read_u32().await.unwrap());
        }
        assert_eq!(offered, [261, 262]);
        stream.write_u32(kind).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        Box::new(self.encrypt(stream).await)
    }
}

/// VNC authentication; the reason, where it is refused.
async fn authenticate(stream: &mut dyn Stream, password: &str) -> Result<(), String> {
    let mut challenge = [0; 16];
    stream.read_exact(&mut challenge).await.unwrap();
    let password = password.replace('-', "");
    stream.write_all(&response(password.as_bytes(), challenge)).await.unwrap();
    result(stream).await
}

async fn result(stream: &mut dyn Stream) -> Result<(), String> {
    if stream.read_u32().await.unwrap() == 0 {
        return Ok(());
    }
    let mut reason = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut reason).await.unwrap();
    Err(String::from_utf8(reason).unwrap())
}

impl Viewer {
    /// What follows the login (RFC 6143, 7.3), in this encoding.
    async fn new(mut stream: Box<dyn Stream>, encoding: i32) -> Self {
        stream.write_u8(1).await.unwrap();
        let (width, height) = (stream.read_u16().await.unwrap(), stream.read_u16().await.unwrap());
        let mut format = [0; 16];
        stream.read_exact(&mut format).await.unwrap();
        assert_eq!(format, [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
        let mut name = vec![0; stream.read_u32().await.unwrap() as usize];
        stream.read_exact(&mut name).await.unwrap();
        assert!(!name.is_empty());
        stream.write_all(&[2, 0, 0, 1]).await.unwrap();
        stream.write_i32(encoding).await.unwrap();
        let (width, height) = (usize::from(width), usize::from(height));
        Self { stream, width, height, pixels: vec![0; width * height] }
    }

    async fn ask(&mut self, incremental: bool) {
        let [w, h] = [self.width, self.height].map(|side| u16::try_from(side).unwrap().to_be_bytes());
        self.stream.write_all(&[3, incremental.into(), 0, 0, 0, 0, w[0], w[1], h[0], h[1]]).await.unwrap();
    }

    async fn press(&mut self, keysym: u32) {
        for down in [1, 0] {
            self.stream.write_all(&[4, down, 0, 0]).await.unwrap();
            self.stream.write_u32(keysym).await.unwrap();
        }
    }

    /// Draws the next update; how many pixels were sent.
    async fn update(&mut self) -> usize {
        let drawing = async {
            assert_eq!(self.stream.read_u8().await.unwrap(), 0, "a framebuffer update");
            self.stream.read_u8().await.unwrap();
            let mut sent = 0;
            for _ in 0..self.stream.read_u16().await.unwrap() {
                let mut place = [0_usize; 4];
                for number in &mut place {
                    *number = self.stream.read_u16().await.unwrap().into();
                }
                assert_eq!(self.stream.read_i32().await.unwrap(), 0, "raw");
                let [x, y, width, height] = place;
                for line in y..y + height {
                    for column in x..x + width {
                        self.pixels[line * self.width + column] = self.stream.read_u32_le().await.unwrap();
                    }
                }
                sent += width * height;
            }
            sent
        };
        timeout(PATIENCE, drawing).await.unwrap()
    }

    /// What can be read on the picture. The last line of a glyph has the colour behind it.
    fn text(&self) -> String {
        let mut text = String::new();
        for top in (0..self.height).step_by(16) {
            for left in (0..self.width).step_by(8) {
                let at = |line: usize| self.pixels[(top + line) * self.width + left];
                let number = (0..8).map(|bit| u8::from(at(bit) != at(15)) << bit).sum::<u8>();
                text.push(if number < 0x80 { char::from(number.max(0x20)) } else { '?' });
            }
            text.push('\n');
        }
        text
    }

    /// Asks for what changes until these words are there; the pixels of the last change.
    async fn see(&mut self, words: &str) -> usize {
        let mut sent = 0;
        while !self.text().contains(words) {
            self.ask(true).await;
            sent = self.update().await;
        }
        sent
    }
}

/// F-005: certificate, password, picture, keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_sees_the_screen_and_types() {
    let mut remote = Remote::start(&[]);
    let password = remote.password();
    let mut stream = remote.vencrypt(261).await;
    authenticate(&mut *stream, &password[..9]).await.unwrap();
    let mut viewer = Viewer::new(stream, 0).await;
    assert_eq!((viewer.width, viewer.height), (800, 512));
    viewer.ask(false).await;
    assert_eq!(viewer.update().await, 800 * 512, "everything at first");
    viewer.see("> SOFTWARE SELECTION").await;
    remote.tty.wait("VNC viewer from 127.0.0.1");
    remote.renewed(&password);
    // The picture is complete before what a key changes is counted.
    viewer.press(0xff54).await;
    let sent = viewer.see("> INSTALLATION DESTINATION").await;
    assert!(0 < sent && sent < 800 * 512 / 4, "{sent} pixels for two lines");
    // Chinese has no glyphs here.
    viewer.press(0xffc0).await;
    viewer.press(0xff54).await;
    viewer.see("> NETWORK & HOST NAME").await;
    drop(viewer);
    remote.tty.gone("VNC viewer from 127.0.0.1");

    // The whole password, as VeNCrypt can carry it, beside a name that means nothing.
    let password = remote.password();
    let mut stream = remote.vencrypt(262).await;
    stream.write_u32(4).await.unwrap();
    stream.write_u32(14).await.unwrap();
    stream.write_all(format!("root{password}").as_bytes()).await.unwrap();
    assert_eq!(result(&mut *stream).await, Ok(()));
    let mut viewer = Viewer::new(stream, 0).await;
    viewer.see("> NETWORK & HOST NAME").await;
}

/// What is typed is not to be read on the way, unless somebody wants it so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_encryption_only_where_it_was_asked_for() {
    let remote = Remote::start(&[]);
    let (mut stream, kinds) = remote.greet().await;
    assert_eq!(kinds, [19]);
    stream.write_u8(2).await.unwrap();
    assert!(result(&mut stream).await.unwrap_err().contains("VeNCrypt"));

    let remote = Remote::start(&["--vnc-plain"]);
    assert!(remote.tty.text().contains("in the clear"), "{}", remote.tty.text());
    let (mut stream, kinds) = remote.greet().await;
    assert_eq!(kinds, [19, 2]);
    stream.write_u8(2).await.unwrap();
    authenticate(&mut stream, &remote.password()).await.unwrap();
    let mut viewer = Viewer::new(Box::new(stream), 0).await;
    viewer.see("SOFTWARE SELECTION").await;
}

/// A wrong password is told so, and the next attempt has to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_opens_nothing() {
    let remote = Remote::start(&[]);
    let password = remote.password();
    let mut stream = remote.vencrypt(261).await;
    let reason = authenticate(&mut *stream, "aaaaaaaa").await.unwrap_err();
    assert!(reason.contains("try again in 2 s"), "{reason}");
    let (mut stream, kinds) = remote.greet().await;
    assert!(kinds.is_empty(), "nothing is offered: {kinds:?}");
    let mut reason = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut reason).await.unwrap();
    assert!(String::from_utf8(reason).unwrap().contains("try again in"));
    until("something is offered again", async || (!remote.greet().await.1.is_empty()).then_some(())).await;
    let mut stream = remote.vencrypt(261).await;
    authenticate(&mut *stream, &password).await.unwrap();
}

/// The same with a viewer that others have written, with VNC authentication, Hextile and keys. Needs the Debian packages
/// that `cargo xtask test` brings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_of_somebody_else_understands_it() {
    let remote = Remote::start(&["--vnc-plain"]);
    let mut command = tokio::process::Command::new("/usr/bin/python3");
    command.arg("tests/viewer.py").arg(remote.vnc.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let password = remote.password().replace('-', "");
    child.stdin.take().unwrap().write_all(format!("{}\n", &password[..8]).as_bytes()).await.unwrap();
    let ended = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "is gir1.2-gtk-vnc-2.0 installed? {errors}");
    assert!(said.contains("> INSTALLATION DESTINATION") && said.contains("DATE & TIME"), "{said}\n{errors}");
}
