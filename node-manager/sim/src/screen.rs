//! The screen of a simulated VM: a VNC server (RFB 3.8, RFC 6143) that shows three coloured bars and a field that
//! changes its colour with every key.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Width of the screen in pixels.
pub const WIDTH: u16 = 320;
/// Height of the screen in pixels.
pub const HEIGHT: u16 = 200;
/// Colours of the three bars, from the left.
pub const BARS: [Colour; 3] = [[200, 30, 30], [30, 160, 60], [30, 60, 200]];
/// Colours of the field in the middle, one after another with every key that is pressed.
pub const FIELD: [Colour; 2] = [[250, 250, 250], [250, 210, 20]];

/// Red, green, blue.
pub type Colour = [u8; 3];

/// Half the width and height of the field.
const HALF: (u16, u16) = (40, 25);
/// Longest text that a client may put into the clipboard; more ends the session.
const CLIPBOARD: u32 = 1 << 20;
/// Security type without authentication.
const NO_SECURITY: u8 = 1;

/// How a client wants its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PixelFormat {
    bytes: u8,
    big_endian: bool,
    max: [u16; 3],
    shift: [u8; 3],
}

impl PixelFormat {
    /// 32 bits, red highest: what we offer until the client chooses.
    const OURS: Self = Self { bytes: 4, big_endian: false, max: [255; 3], shift: [16, 8, 0] };

    /// Reads the 16 bytes of the wire; only true colours are possible.
    fn read(wire: [u8; 16]) -> io::Result<Self> {
        let max = |at: usize| u16::from_be_bytes([wire[at], wire[at + 1]]);
        if !matches!(wire[0], 8 | 16 | 32) || wire[3] == 0 || wire[10..13].iter().any(|shift| *shift >= wire[0]) {
            return Err(io::Error::other("a pixel format that this screen does not have"));
        }
        Ok(Self {
            bytes: wire[0] / 8,
            big_endian: wire[2] != 0,
            max: [max(4), max(6), max(8)],
            shift: [wire[10], wire[11], wire[12]],
        })
    }

    fn wire(self) -> [u8; 16] {
        let mut wire = [0; 16];
        wire[..4].copy_from_slice(&[self.bytes * 8, 24, u8::from(self.big_endian), 1]);
        for (index, max) in self.max.into_iter().enumerate() {
            wire[4 + 2 * index..6 + 2 * index].copy_from_slice(&max.to_be_bytes());
        }
        wire[10..13].copy_from_slice(&self.shift);
        wire
    }

    fn push(self, colour: Colour, into: &mut Vec<u8>) {
        let parts = colour.into_iter().zip(self.max).zip(self.shift);
        let value = parts.fold(0_u32, |value, ((part, max), shift)| {
            value | (u32::from(part) * u32::from(max) / 255).checked_shl(u32::from(shift)).unwrap_or(0)
        });
        let length = usize::from(self.bytes);
        if self.big_endian {
            into.extend_from_slice(&value.to_be_bytes()[4 - length..]);
        } else {
            into.extend_from_slice(&value.to_le_bytes()[..length]);
        }
    }
}

/// Colour of a pixel after `keys` keys.
fn colour(x: u16, y: u16, keys: usize) -> Colour {
    if x.abs_diff(WIDTH / 2) < HALF.0 && y.abs_diff(HEIGHT / 2) < HALF.1 {
        return FIELD[keys % FIELD.len()];
    }
    BARS[(usize::from(x) * BARS.len() / usize::from(WIDTH)).min(BARS.len() - 1)]
}

/// Serves one client until it leaves.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut client: S, name: &str) -> io::Result<()> {
    greet(&mut client, name).await?;
    let (mut format, mut keys) = (PixelFormat::OURS, 0);
    // A request for changes is answered when there is one.
    let mut awaited = false;
    loop {
        match client.read_u8().await? {
            // SetPixelFormat
            0 => {
                skip(&mut client, 3).await?;
                let mut wire = [0; 16];
                client.read_exact(&mut wire).await?;
                format = PixelFormat::read(wire)?;
            }
            // SetEncodings: every client takes raw pixels.
            2 => {
                skip(&mut client, 1).await?;
                let count = client.read_u16().await?;
                skip(&mut client, u64::from(count) * 4).await?;
            }
            // FramebufferUpdateRequest
            3 => {
                let incremental = client.read_u8().await? != 0;
                skip(&mut client, 8).await?;
                if incremental {
                    awaited = true;
                } else {
                    update(&mut client, format, keys).await?;
                }
            }
            // KeyEvent
            4 => {
                let down = client.read_u8().await? != 0;
                skip(&mut client, 6).await?;
                if down {
                    keys += 1;
                    if std::mem::take(&mut awaited) {
                        update(&mut client, format, keys).await?;
                    }
                }
            }
            // PointerEvent
            5 => skip(&mut client, 5).await?,
            // ClientCutText
            6 => {
                skip(&mut client, 3).await?;
                let length = client.read_u32().await?;
                if length > CLIPBOARD {
                    return Err(io::Error::other("a clipboard that is too long"));
                }
                skip(&mut client, u64::from(length)).await?;
            }
            other => return Err(io::Error::other(format!("message {other} is unknown"))),
        }
    }
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(client: &mut S, name: &str) -> io::Result<()> {
    client.write_all(b"RFB 003.008\n").await?;
    skip(client, 12).await?;
    client.write_all(&[1, NO_SECURITY]).await?;
    if client.read_u8().await? != NO_SECURITY {
        return Err(io::Error::other("a security type that was not offered"));
    }
    client.write_u32(0).await?;
    // ClientInit: whether it shares the screen with others; it does.
    client.read_u8().await?;
    client.write_u16(WIDTH).await?;
    client.write_u16(HEIGHT).await?;
    client.write_all(&PixelFormat::OURS.wire()).await?;
    client.write_u32(u32::try_from(name.len()).map_err(io::Error::other)?).await?;
    client.write_all(name.as_bytes()).await
}

/// The whole screen as one rectangle of raw pixels.
async fn update(client: &mut (impl AsyncWrite + Unpin), format: PixelFormat, keys: usize) -> io::Result<()> {
    let mut message = vec![0, 0, 0, 1, 0, 0, 0, 0];
    message.extend_from_slice(&WIDTH.to_be_bytes());
    message.extend_from_slice(&HEIGHT.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            format.push(colour(x, y, keys), &mut message);
        }
    }
    client.write_all(&message).await
}

async fn skip(client: &mut (impl AsyncRead + Unpin), bytes: u64) -> io::Result<()> {
    let skipped = tokio::io::copy(&mut client.take(bytes), &mut tokio::io::sink()).await?;
    if skipped == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_follow_the_format_of_the_client() {
        let mut pixels = Vec::new();
        PixelFormat::OURS.push([1, 2, 3], &mut pixels);
        assert_eq!(pixels, [3, 2, 1, 0]);
        // 16 bits as 5, 6 and 5, the highest first.
        let high = PixelFormat { bytes: 2, big_endian: true, max: [31, 63, 31], shift: [11, 5, 0] };
        let mut pixels = Vec::new();
        high.push([255, 0, 255], &mut pixels);
        assert_eq!(pixels, [0b1111_1000, 0b0001_1111]);
        assert_eq!(PixelFormat::read(PixelFormat::OURS.wire()).unwrap(), PixelFormat::OURS);
        assert!(PixelFormat::read([0; 16]).is_err());
    }

    #[tokio::test]
    async fn a_client_sees_the_screen_and_its_keys_change_it() {
        let (ours, mut client) = tokio::io::duplex(1 << 20);
        let server = tokio::spawn(async move { serve(ours, "vm").await });
        let mut hello = [0; 12];
        client.read_exact(&mut hello).await.unwrap();
        client.write_all(&hello).await.unwrap();
        client.read_exact(&mut [0; 2]).await.unwrap();
        client.write_all(&[NO_SECURITY]).await.unwrap();
        assert_eq!(client.read_u32().await.unwrap(), 0);
        client.write_all(&[1]).await.unwrap();
        let mut init = [0; 24 + 2];
        client.read_exact(&mut init).await.unwrap();
        assert_eq!(&init[..4], &[1, 64, 0, 200]);
        let mut frame = vec![0; 16 + usize::from(WIDTH) * usize::from(HEIGHT) * 4];
        let middle = 16 + (usize::from(HEIGHT) / 2 * usize::from(WIDTH) + usize::from(WIDTH) / 2) * 4;
        client.write_all(&[3, 0, 0, 0, 0, 0, 1, 64, 0, 200]).await.unwrap();
        client.read_exact(&mut frame).await.unwrap();
        assert_eq!((&frame[16..19], &frame[middle..middle + 3]), (&[30, 30, 200][..], &[250, 250, 250][..]));
        // A key, once changes are asked for.
        client.write_all(&[3, 1, 0, 0, 0, 0, 1, 64, 0, 200, 4, 1, 0, 0, 0, 0, 0, 97]).await.unwrap();
        client.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame[middle..middle + 3], &[20, 210, 250]);
        drop(client);
        assert_eq!(server.await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
