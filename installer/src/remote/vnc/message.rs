//! What a viewer says (RFC 6143, 7.5).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Encodings that one message may name; there are some dozens in all.
const ENCODINGS: u16 = 1024;
/// Longest text from a clipboard that is read past.
const CLIPBOARD: u32 = 1 << 20;

/// Part of the picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: u16,
    /// Upper edge.
    pub y: u16,
    /// Width.
    pub width: u16,
    /// Height.
    pub height: u16,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// How pixels are to be.
    Format([u8; 16]),
    /// What is understood, the best first.
    Encodings(Vec<i32>),
    /// What is to be sent: of this area what has changed, or everything.
    Request {
        /// Only what has changed.
        incremental: bool,
        /// Where.
        area: Area,
    },
    /// A key goes down or up.
    Key {
        /// Down.
        down: bool,
        /// Number of the key.
        keysym: u32,
    },
    /// The pointer moved, or the clipboard changed, neither of which means anything here.
    Other,
}

/// Reads the next message.
///
/// # Errors
/// The connection's, and what is no message.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    Ok(match from.read_u8().await? {
        0 => {
            let mut bytes = [0; 19];
            from.read_exact(&mut bytes).await?;
            let mut format = [0; 16];
            format.copy_from_slice(&bytes[3..]);
            Message::Format(format)
        }
        2 => {
            from.read_u8().await?;
            let count = from.read_u16().await?;
            if count > ENCODINGS {
                return Err(wrong("a viewer names too many encodings"));
            }
            let mut encodings = Vec::new();
            for _ in 0..count {
                encodings.push(from.read_i32().await?);
            }
            Message::Encodings(encodings)
        }
        3 => {
            let incremental = from.read_u8().await? != 0;
            let area = Area {
                x: from.read_u16().await?,
                y: from.read_u16().await?,
                width: from.read_u16().await?,
                height: from.read_u16().await?,
            };
            Message::Request { incremental, area }
        }
        4 => {
            let down = from.read_u8().await? != 0;
            from.read_u16().await?;
            Message::Key { down, keysym: from.read_u32().await? }
        }
        5 => {
            from.read_exact(&mut [0; 5]).await?;
            Message::Other
        }
        6 => {
            from.read_exact(&mut [0; 3]).await?;
            let length = from.read_u32().await?;
            if length > CLIPBOARD {
                return Err(wrong("a viewer sends a clipboard of more than 1 MiB"));
            }
            let copied = tokio::io::copy(&mut from.take(length.into()), &mut tokio::io::sink()).await?;
            if copied < length.into() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Message::Other
        }
        kind => return Err(wrong(&format!("a viewer sends a message of the unknown kind {kind}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            messages.push(read(&mut bytes).await.unwrap());
        }
        messages
    }

    /// RFC 6143, 7.5.1 to 7.5.6, byte by byte.
    #[tokio::test]
    async fn every_message_of_a_viewer_is_understood() {
        let format = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        let mut bytes = vec![0, 0, 0, 0];
        bytes.extend(format);
        bytes.extend([2, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x11]);
        bytes.extend([3, 1, 0, 1, 0, 2, 3, 0x20, 2, 0]);
        bytes.extend([4, 1, 0, 0, 0, 0, 0xff, 0x0d]);
        bytes.extend([5, 1, 0, 10, 0, 20]);
        bytes.extend([6, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'c']);
        bytes.extend([4, 0, 0, 0, 0, 0, 0, 0x61]);
        assert_eq!(
            all(&bytes).await,
            [
                Message::Format(format),
                Message::Encodings(vec![5, 0, -239]),
                Message::Request { incremental: true, area: Area { x: 1, y: 2, width: 800, height: 512 } },
                Message::Key { down: true, keysym: 0xff0d },
                Message::Other,
                Message::Other,
                Message::Key { down: false, keysym: 0x61 },
            ]
        );
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection() {
        for bytes in [
            &[1_u8][..],
            &[255],
            &[2, 0, 0xff, 0xff],
            &[6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[4, 1],
            &[6, 0, 0, 0, 0, 0, 0, 3, b'a'],
        ] {
            let mut from = bytes;
            assert!(read(&mut from).await.is_err(), "{bytes:?}");
        }
    }
}
