//! The host's logs as a stream: packed while they are sent, so that nothing is written to a disk that may be full.

use std::io::{self, Write};

use axum::body::Bytes;
use futures::stream;
use node_logs::{Archive, Limits, Sources, Window};
use node_manager_types::host::LogQuery;
use tokio::sync::mpsc::{self, Sender};

use crate::drivers::ByteStream;

/// Pieces on their way; whoever reads slowly holds the packer up.
const UNDER_WAY: usize = 8;
/// Bytes of a piece.
const PIECE: usize = 1 << 18;

/// Packs the logs of `sources`.
pub fn stream(sources: Sources, query: LogQuery) -> ByteStream {
    let window = Window { since_ms: query.since_ms, until_ms: query.until_ms };
    let texts = async move { node_logs::words(window).await };
    packed(texts, sources, window)
}

/// Packs what programs said, and files.
pub fn packed(
    texts: impl Future<Output = Vec<(String, String)>> + Send + 'static,
    sources: Sources,
    window: Window,
) -> ByteStream {
    let (send, receive) = mpsc::channel(UNDER_WAY);
    tokio::spawn(async move {
        let texts = texts.await;
        let failed = send.clone();
        let packing = tokio::task::spawn_blocking(move || {
            let mut archive = Archive::new(Pieces { send, piece: Vec::with_capacity(PIECE) }, Limits::default());
            for (name, text) in texts {
                archive.text(&name, &text)?;
            }
            archive.files(&sources, window)?;
            archive.finish()?.flush()
        });
        let error = match packing.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        };
        // Nobody reads any more: that is why it failed.
        let _gone = failed.send(Err(error)).await;
    });
    Box::pin(stream::unfold(receive, async |mut receive| receive.recv().await.map(|piece| (piece, receive))))
}

/// Sends what is written in pieces.
struct Pieces {
    send: Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(buffer);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        if piece.is_empty() {
            return Ok(());
        }
        self.send.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
