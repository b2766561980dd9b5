//! `/v1/content`: files below storage roots, read by other hosts and written by uploads.

use std::{io, ops::Range, path::Path};

use futures::StreamExt as _;
use node_manager_types::{
    AgentError, ErrorKind,
    storage::{ContentQuery, StorageRoot},
};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::{Directories, root::Root};
use crate::{
    drivers::{ByteStream, Content, Result},
    files::{PRIVATE, io_error},
    image::{sidecar, transfer},
};

async fn open_root(storage: &Directories, query: &ContentQuery) -> Result<Root> {
    storage.open(&StorageRoot { id: query.storage, path: query.root.clone() }).await
}

pub(crate) async fn read(storage: &Directories, query: &ContentQuery, range: Option<Range<u64>>) -> Result<Content> {
    let path = open_root(storage, query).await?.existing(&query.path)?;
    let failed = |e: &io::Error| io_error(format_args!("cannot read {}", query.path), e);
    let mut file = tokio::fs::File::open(&path).await.map_err(|e| failed(&e))?;
    let size = file.metadata().await.map_err(|e| failed(&e))?.len();
    let Range { start, end } = range.unwrap_or(0..size);
    let (start, end) = (start.min(size), end.min(size));
    file.seek(io::SeekFrom::Start(start)).await.map_err(|e| failed(&e))?;
    let stream = tokio_util::io::ReaderStream::with_capacity(file.take(end - start), 256 << 10);
    Ok(Content { size, range: start..end, stream: Box::pin(stream) })
}

pub(crate) async fn write(storage: &Directories, query: &ContentQuery, body: &mut ByteStream) -> Result<u64> {
    let root = open_root(storage, query).await?;
    let path = root.file(&query.path)?;
    let target = query.rename_to.as_deref().map(|to| root.file(to)).transpose()?;
    let failed = |e: &io::Error| io_error(format_args!("cannot write {}", query.path), e);
    let conflict = |text: String| AgentError::new(ErrorKind::Conflict, text);

    if let (Some(target), Some(sha256)) = (&target, &query.sha256)
        && sidecar::sealed(target).as_ref() == Some(sha256)
    {
        // The last chunk again, because its answer was lost; or the whole file again, up to here.
        if *target != path {
            for left in [sidecar::uploading(&path), path] {
                crate::network::process::remove(&left)?;
            }
        }
        return Ok(tokio::fs::metadata(target).await.map_err(|e| failed(&e))?.len());
    }
    let mark = sidecar::uploading(&path);
    if query.offset == 0 {
        if path.exists() && !mark.exists() {
            return Err(conflict(format!(
                "{} is there already and no upload; delete it first, or choose another path",
                query.path
            )));
        }
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(|e| failed(&e))?;
        }
        tokio::fs::write(&mark, b"").await.map_err(|e| failed(&e))?;
    } else if !mark.exists() {
        return Err(conflict(format!("no upload to {} is under way; begin with offset 0", query.path)));
    }
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(query.offset == 0)
        .mode(PRIVATE)
        .open(&path)
        .await
        .map_err(|e| failed(&e))?;
    let present = file.metadata().await.map_err(|e| failed(&e))?.len();
    if query.offset > present {
        return Err(conflict(format!(
            "{} has {present} bytes; the next chunk starts there, not at {}",
            query.path, query.offset
        )));
    }
    file.seek(io::SeekFrom::Start(query.offset)).await.map_err(|e| failed(&e))?;
    let mut size = query.offset;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|e| {
            AgentError::new(
                ErrorKind::Unreachable,
                format!("the sender of {} broke off: {e}; go on at byte {size}", query.path),
            )
        })?;
        root.require(chunk.len() as u64, "the upload")?;
        file.write_all(&chunk).await.map_err(|e| failed(&e))?;
        size += chunk.len() as u64;
    }
    file.flush().await.map_err(|e| failed(&e))?;
    // A repeated chunk may have cut short what an earlier, longer attempt wrote; the sender counts on `size`.
    file.set_len(size).await.map_err(|e| failed(&e))?;
    file.sync_all().await.map_err(|e| failed(&e))?;
    drop(file);
    if let Some(target) = &target {
        publish(&root, query, &path, target).await?;
        remove_mark(&mark).await;
    }
    Ok(size)
}

async fn publish(root: &Root, query: &ContentQuery, path: &Path, target: &Path) -> Result<()> {
    let Some(sha256) = &query.sha256 else {
        return Err(AgentError::new(ErrorKind::Invalid, "rename_to needs sha256, the hash of the whole file"));
    };
    transfer::accept(root, path, target, sha256).await
}

async fn remove_mark(mark: &Path) {
    if let Err(cause) = tokio::fs::remove_file(mark).await {
        tracing::warn!(file = %mark.display(), %cause, "left-over file stays");
    }
}
