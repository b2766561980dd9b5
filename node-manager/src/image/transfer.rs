//! Images between hosts: from an image server into a cache, and from a volume to an image server.

use std::{path::Path, pin::Pin};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use node_manager_client::{Client, ClientError};
use node_manager_types::{
    AgentError, ErrorKind,
    image::{ImageFacts, ImageFormat, ImageServer},
    storage::{ContentQuery, StorageRoot},
};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{
    add::{facts, finish, sniff, validate},
    sidecar,
    transfers::UNFINISHED,
    writer::{Writer, hash_file},
};
use crate::{
    drivers::{Context, Result},
    files::io_error,
    storage::{Directories, qemu_img, root::Root},
};

/// Bytes per request of an upload: small enough to repeat, large enough to be rare.
const CHUNK: usize = 8 << 20;

type Bytes = Pin<Box<dyn Stream<Item = Result<axum::body::Bytes>> + Send>>;

pub(crate) async fn fetch(
    storage: &Directories,
    root: &StorageRoot,
    server: &ImageServer,
    remote_path: &str,
    path: &str,
    sha256: &str,
    context: &Context,
) -> Result<ImageFacts> {
    let root = storage.open(root).await?;
    let target = root.file(path)?;
    if target.exists() {
        let intact = match sidecar::sealed(&target) {
            Some(seal) => seal == sha256,
            None => hash_file(&target).await? == sha256,
        };
        if intact {
            if sidecar::sealed(&target).is_none() {
                sidecar::seal(&target, sha256)?;
            }
            return facts(&target, sniff(&target, None).await?, sha256.to_owned()).await;
        }
        // Nobody can have written it but an older attempt or a broken disk; VMs on top of it are lost either way.
        let message = format!("{path} exists already and does not hash to {sha256}; delete this cache file first");
        return Err(AgentError::new(ErrorKind::Conflict, message));
    }
    if let Some(parent) = target.parent() {
        tokio::fs::create_dir_all(parent)
            .await
            .map_err(|e| io_error(format_args!("cannot create {}", parent.display()), &e))?;
    }

    let part = sidecar::part(&target);
    let mut writer = Writer::resume(&part).await?;
    let query = query(server, remote_path);
    let (size, mut stream) = open(storage, server, &query, writer.written()).await?;
    if writer.written() > size {
        drop(writer);
        discard(&part).await;
        let message = format!("{remote_path} is shorter than what was fetched of it before; ask again to start over");
        return Err(AgentError::new(ErrorKind::Unavailable, message));
    }
    root.require(size - writer.written(), "the image")?;
    while let Some(chunk) = stream.next().await {
        writer.write(&chunk?).await?;
        context.progress_of(writer.written(), size, "fetching");
    }
    if writer.written() != size {
        // What came is kept: the next attempt goes on from there.
        writer.finish().await?;
        let message = format!("{} broke off while sending {remote_path}; ask again to go on", server.url);
        return Err(AgentError::new(ErrorKind::Unreachable, message));
    }
    let found = writer.finish().await?;
    if found != sha256 {
        discard(&part).await;
        let message =
            format!("{remote_path} hashes to {found}, not to {sha256}; the image on {} is damaged", server.url);
        return Err(AgentError::new(ErrorKind::BadImage, message));
    }
    // The server checked it too, but what goes below our VMs is judged here.
    let format = match sniff(&part, None).await {
        Ok(format) => format,
        Err(error) => {
            discard(&part).await;
            return Err(error);
        }
    };
    let temp = tempfile::TempPath::try_from_path(&part)
        .map_err(|e| io_error(format_args!("cannot keep {}", part.display()), &e))?;
    finish(&root, temp, &target, sha256)?;
    facts(&target, format, sha256.to_owned()).await
}

async fn discard(part: &Path) {
    if let Err(cause) = tokio::fs::remove_file(part).await {
        tracing::warn!(file = %part.display(), %cause, "left-over file stays");
    }
}

pub(crate) async fn store(
    storage: &Directories,
    root: &StorageRoot,
    volume_path: &str,
    server: &ImageServer,
    remote_path: &str,
    context: &Context,
) -> Result<ImageFacts> {
    let root = storage.open(root).await?;
    let source = root.existing(volume_path)?;
    let here = server.host == Some(storage.host);
    // On the image server itself the copy is made where it will stay, so that putting it in place is a rename.
    let home: Root = if here { storage.open(&server.root).await? } else { root };
    if here {
        let target = home.file(remote_path)?;
        if let Some(sha256) = sidecar::sealed(&target) {
            return facts(&target, ImageFormat::Qcow2, sha256).await;
        }
    }
    home.require(qemu_img::measure(&source).await?, "the image")?;
    let temp = home.scratch(storage.host)?;
    context.progress(0, "copying");
    qemu_img::flatten(&source, &temp).await?;
    let format = validate(&temp, Some(ImageFormat::Qcow2), context).await?;
    let sha256 = hash_file(&temp).await?;
    if here {
        let target = home.file(remote_path)?;
        finish(&home, temp, &target, &sha256)?;
        return facts(&target, format, sha256).await;
    }
    upload(storage, server, remote_path, &temp, &sha256, context).await?;
    let facts = facts(&temp, format, sha256).await?;
    Ok(ImageFacts { path: remote_path.to_owned(), ..facts })
}

async fn upload(
    storage: &Directories,
    server: &ImageServer,
    remote_path: &str,
    file: &Path,
    sha256: &str,
    context: &Context,
) -> Result<()> {
    let client = client(storage, server)?;
    let failed = |e: &std::io::Error| io_error(format_args!("cannot read {}", file.display()), e);
    let mut open = tokio::fs::File::open(file).await.map_err(|e| failed(&e))?;
    let size = open.metadata().await.map_err(|e| failed(&e))?.len();
    let mut query = query(server, &format!("{remote_path}{UNFINISHED}"));
    while query.offset < size {
        let mut chunk = vec![0; CHUNK.min(usize::try_from(size - query.offset).unwrap_or(CHUNK))];
        open.seek(std::io::SeekFrom::Start(query.offset)).await.map_err(|e| failed(&e))?;
        open.read_exact(&mut chunk).await.map_err(|e| failed(&e))?;
        let length = chunk.len() as u64;
        if query.offset + length == size {
            query.rename_to = Some(remote_path.to_owned());
            query.sha256 = Some(sha256.to_owned());
        }
        client.put_content(&query, chunk).await.map_err(remote)?;
        query.offset += length;
        context.progress_of(query.offset, size, "sending");
    }
    Ok(())
}

fn query(server: &ImageServer, path: &str) -> ContentQuery {
    ContentQuery {
        storage: server.root.id,
        root: server.root.path.clone(),
        path: path.to_owned(),
        offset: 0,
        rename_to: None,
        sha256: None,
    }
}

/// Size of the whole file, and its bytes from `from` on.
async fn open(storage: &Directories, server: &ImageServer, query: &ContentQuery, from: u64) -> Result<(u64, Bytes)> {
    if server.host == Some(storage.host) {
        let content = crate::storage::content::read(storage, query, Some(from..u64::MAX)).await?;
        let path = query.path.clone();
        let stream = content.stream.map_err(move |e| io_error(format_args!("cannot read {path}"), &e));
        return Ok((content.size, Box::pin(stream)));
    }
    let (size, stream) = client(storage, server)?.get_content(query, from).await.map_err(remote)?;
    Ok((size, Box::pin(stream.map_err(remote))))
}

fn client(storage: &Directories, server: &ImageServer) -> Result<Client> {
    let invalid = |text: String| AgentError::new(ErrorKind::Invalid, text);
    let Some(host) = server.host else {
        return Err(invalid(format!(
            "image server {} names no host, so its certificate cannot be checked",
            server.url
        )));
    };
    let Some(agents) = &storage.agents else {
        return Err(invalid("this agent was started without certificates and cannot speak to others".to_owned()));
    };
    let authority = server.url.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
    match authority.and_then(|text| text.parse().ok()) {
        Some(address) => Ok(agents.host(host, address)),
        None => Err(invalid(format!("image server URL {} is not https://ADDRESS:PORT", server.url))),
    }
}

/// What another agent said, or why it said nothing.
fn remote(error: ClientError) -> AgentError {
    match error {
        ClientError::Agent(error) => error,
        other => AgentError::new(ErrorKind::Unreachable, format!("the image server did not answer: {other}")),
    }
}

/// Gives a completely received file its name, when it is what the sender says.
pub(crate) async fn accept(root: &Root, received: &Path, target: &Path, sha256: &str) -> Result<()> {
    let found = hash_file(received).await?;
    if found != sha256 {
        let message = format!("{} hashes to {found}, not to {sha256}; send it again from offset 0", received.display());
        return Err(AgentError::new(ErrorKind::BadImage, message));
    }
    sniff(received, None).await?;
    let keep = |e: std::io::Error| io_error(format_args!("cannot keep {}", received.display()), &e);
    let temp = tempfile::TempPath::try_from_path(received).map_err(keep)?;
    finish(root, temp, target, sha256)
}
