//! Writes a stream to a file and hashes it on the way.

use std::path::Path;

use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    drivers::Result,
    files::{PRIVATE, io_error},
};

/// A file being filled.
pub(crate) struct Writer {
    file: tokio::io::BufWriter<tokio::fs::File>,
    hash: Sha256,
    written: u64,
    name: String,
}

impl Writer {
    /// Fills a scratch file. It is not created here: a job that was dropped has removed it, and must find no new one.
    pub(crate) async fn create(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let mut options = tokio::fs::OpenOptions::new();
        let opened = options.write(true).truncate(true).open(path).await;
        let file = opened.map_err(|e| io_error(format_args!("cannot write {name}"), &e))?;
        Ok(Self { file: tokio::io::BufWriter::with_capacity(1 << 20, file), hash: Sha256::new(), written: 0, name })
    }

    /// Goes on with a file; what it holds is hashed again.
    pub(crate) async fn resume(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |e: &std::io::Error| io_error(format_args!("cannot go on with {name}"), e);
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE)
            .open(path)
            .await
            .map_err(|e| failed(&e))?;
        let (mut hash, mut written, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            let n = file.read(&mut chunk).await.map_err(|e| failed(&e))?;
            if n == 0 {
                break;
            }
            hash.update(&chunk[..n]);
            written += n as u64;
        }
        Ok(Self { file: tokio::io::BufWriter::with_capacity(1 << 20, file), hash, written, name })
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).await.map_err(|e| io_error(format_args!("cannot write {}", self.name), &e))
    }

    /// Flushes to the disk and returns the hash in lower-case hex.
    pub(crate) async fn finish(mut self) -> Result<String> {
        let failed = |e: &std::io::Error| io_error(format_args!("cannot write {}", self.name), e);
        self.file.flush().await.map_err(|e| failed(&e))?;
        self.file.get_ref().sync_all().await.map_err(|e| failed(&e))?;
        Ok(hex::encode(self.hash.finalize()))
    }
}

/// Hash of a file, in lower-case hex.
pub(crate) async fn hash_file(path: &Path) -> Result<String> {
    let failed = |e: &std::io::Error| io_error(format_args!("cannot read {}", path.display()), e);
    let file = tokio::fs::File::open(path).await.map_err(|e| failed(&e))?;
    let mut stream = tokio_util::io::ReaderStream::with_capacity(file, 1 << 20);
    let mut hash = Sha256::new();
    while let Some(chunk) = stream.next().await {
        hash.update(chunk.map_err(|e| failed(&e))?);
    }
    Ok(hex::encode(hash.finalize()))
}
