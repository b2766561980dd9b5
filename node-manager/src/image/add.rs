//! New images from a URL, a file of the image server, or an upload (CS-IMG-020..031).

use std::{error::Error as _, path::Path, time::Duration};

use futures::StreamExt as _;
use node_manager_types::{
    AgentError, ByteSize, ErrorKind,
    image::{ImageFacts, ImageFormat, ImageSource},
    storage::StorageRoot,
};
use tokio::io::AsyncReadExt as _;

use super::{
    inspect, sidecar,
    writer::{Writer, hash_file},
};
use crate::{
    drivers::{Context, Result},
    files::{PRIVATE, blocking, io_error},
    storage::{Directories, qemu_img, root::Root},
};

/// A client for downloads: TLS against the system's authorities, redirects followed, gives up after `stall` without a
/// byte.
///
/// # Errors
/// When the system has no usable certificate store.
pub fn web_client(stall: Duration) -> std::result::Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(stall)
        .read_timeout(stall)
        .user_agent(concat!("zstack-node-manager/", env!("CARGO_PKG_VERSION")))
        .build()
}

pub(crate) async fn add(
    storage: &Directories,
    root: &StorageRoot,
    source: &ImageSource,
    claimed: Option<ImageFormat>,
    path: &str,
    context: &Context,
) -> Result<ImageFacts> {
    let root = storage.open(root).await?;
    let target = root.file(path)?;
    if let Some(sha256) = sidecar::sealed(&target) {
        // Done by an earlier attempt whose answer was lost.
        let format = sniff(&target, claimed).await?;
        return facts(&target, format, sha256).await;
    }
    if let ImageSource::Uploaded { path: uploaded, .. } = source
        && root.file(uploaded)? == target
    {
        return uploaded_in_place(&root, source, claimed, &target, context).await;
    }
    if target.exists() {
        let message = format!("{path} exists already and is not a finished image; delete it first");
        return Err(AgentError::new(ErrorKind::Conflict, message));
    }

    let temp = root.scratch(storage.host)?;
    let sha256 = match source {
        ImageSource::Http { url } => download(storage, &root, url, &temp, context).await?,
        ImageSource::File { path } => {
            let (forbidden, name) = (storage.forbidden.clone(), path.clone());
            let file = blocking(move || forbidden.open(&name)).await?;
            copy(&root, file, path, &temp, context).await?
        }
        ImageSource::Uploaded { path, size } => {
            let file = root.existing(path)?;
            expect_size(&file, *size)?;
            let open = std::fs::File::open(&file).map_err(|e| io_error(format_args!("cannot read {path}"), &e))?;
            copy(&root, open, path, &temp, context).await?
        }
    };
    let format = validate(&temp, claimed, context).await?;
    finish(&root, temp, &target, &sha256)?;
    if let ImageSource::Uploaded { path, .. } = source {
        forget_upload(&root.file(path)?).await;
    }
    facts(&target, format, sha256).await
}

/// The upload already has the image's name: check it there, and remove it when it is no good.
async fn uploaded_in_place(
    root: &Root,
    source: &ImageSource,
    claimed: Option<ImageFormat>,
    target: &Path,
    context: &Context,
) -> Result<ImageFacts> {
    let ImageSource::Uploaded { path, size } = source else {
        return Err(AgentError::new(ErrorKind::Invalid, "only an upload can already be in place"));
    };
    let file = root.existing(path)?;
    let work = async {
        expect_size(&file, *size)?;
        let format = validate(&file, claimed, context).await?;
        context.progress(95, "hashing");
        let sha256 = hash_file(&file).await?;
        sidecar::seal(target, &sha256)?;
        facts(target, format, sha256).await
    };
    let done = work.await;
    if done.is_err() {
        forget_upload(&file).await;
    } else {
        remove(&sidecar::uploading(&file)).await;
    }
    done
}

async fn forget_upload(file: &Path) {
    remove(file).await;
    remove(&sidecar::uploading(file)).await;
}

async fn remove(file: &Path) {
    if let Err(cause) = tokio::fs::remove_file(file).await
        && cause.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(file = %file.display(), %cause, "left-over file stays");
    }
}

fn expect_size(file: &Path, promised: ByteSize) -> Result<()> {
    let meta = std::fs::metadata(file).map_err(|e| io_error(format_args!("cannot read {}", file.display()), &e))?;
    if meta.len() != promised.as_bytes() {
        let message =
            format!("the upload has {} bytes, {} were promised; upload it again", meta.len(), promised.as_bytes());
        return Err(AgentError::new(ErrorKind::BadImage, message));
    }
    Ok(())
}

pub(crate) fn finish(root: &Root, temp: tempfile::TempPath, target: &Path, sha256: &str) -> Result<()> {
    root.publish(temp, target, PRIVATE)?;
    sidecar::seal(target, sha256)
}

/// Format of a file and, for qcow2, whether its metadata is sound.
pub(crate) async fn validate(file: &Path, claimed: Option<ImageFormat>, context: &Context) -> Result<ImageFormat> {
    context.progress(90, "checking");
    let format = sniff(file, claimed).await?;
    if format == ImageFormat::Qcow2 {
        qemu_img::info(file, "qcow2").await?;
        qemu_img::check(file).await?;
    }
    Ok(format)
}

pub(crate) async fn sniff(file: &Path, claimed: Option<ImageFormat>) -> Result<ImageFormat> {
    let failed = |e: &std::io::Error| io_error(format_args!("cannot read {}", file.display()), e);
    let mut head = Vec::with_capacity(inspect::HEAD);
    let open = tokio::fs::File::open(file).await.map_err(|e| failed(&e))?;
    open.take(inspect::HEAD as u64).read_to_end(&mut head).await.map_err(|e| failed(&e))?;
    inspect::inspect(&head, claimed)
}

pub(crate) async fn facts(file: &Path, format: ImageFormat, sha256: String) -> Result<ImageFacts> {
    let length = tokio::fs::metadata(file)
        .await
        .map_err(|e| io_error(format_args!("cannot read {}", file.display()), &e))?
        .len();
    let size = match format {
        ImageFormat::Qcow2 => qemu_img::info(file, "qcow2").await?.virtual_size,
        ImageFormat::Raw | ImageFormat::Iso => length,
    };
    Ok(ImageFacts {
        path: file.display().to_string(),
        format,
        size: ByteSize::bytes(size),
        actual_size: ByteSize::bytes(length),
        sha256,
    })
}

async fn copy(root: &Root, file: std::fs::File, from: &str, to: &Path, context: &Context) -> Result<String> {
    let failed = |e: &std::io::Error| io_error(format_args!("cannot read {from}"), e);
    let file = tokio::fs::File::from_std(file);
    let meta = file.metadata().await.map_err(|e| failed(&e))?;
    root.require(meta.len(), "the image")?;
    let mut stream = tokio_util::io::ReaderStream::with_capacity(file, 1 << 20);
    let mut writer = Writer::create(to).await?;
    while let Some(chunk) = stream.next().await {
        writer.write(&chunk.map_err(|e| failed(&e))?).await?;
        context.progress_of(writer.written() * 9 / 10, meta.len(), "copying");
    }
    writer.finish().await
}

async fn download(storage: &Directories, root: &Root, url: &str, to: &Path, context: &Context) -> Result<String> {
    let shown = shown(url);
    let unreachable = |text: String| AgentError::new(ErrorKind::Unreachable, text);
    let parsed = url::Url::parse(url)
        .map_err(|e| AgentError::new(ErrorKind::Invalid, format!("the image URL is malformed: {e}")))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        let message = format!("{shown}: only http and https are downloaded here");
        return Err(AgentError::new(ErrorKind::Invalid, message));
    }
    context.progress(0, "connecting");
    let response = storage.web.get(parsed).send().await.map_err(|e| {
        let reason = if e.is_timeout() { "no answer in time".to_owned() } else { innermost(&e) };
        unreachable(format!("{shown} cannot be reached: {reason}"))
    })?;
    if !response.status().is_success() {
        return Err(unreachable(format!("{shown} answered {}", response.status())));
    }
    let promised = response.content_length();
    root.require(promised.unwrap_or(0), "the image")?;

    let mut writer = Writer::create(to).await?;
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| match promised {
            _ if e.is_timeout() => unreachable(format!("{shown} sent nothing more after {} bytes", writer.written())),
            Some(size) if writer.written() < size => AgentError::new(
                ErrorKind::BadImage,
                format!("{shown} promised {size} bytes and ended after {}: {}", writer.written(), innermost(&e)),
            ),
            _ => unreachable(format!("{shown} broke off after {} bytes: {}", writer.written(), innermost(&e))),
        })?;
        writer.write(&chunk).await.map_err(|e| full(e, root, &shown, writer.written()))?;
        match promised {
            Some(size) => context.progress_of(writer.written() * 9 / 10, size, "downloading"),
            None => context.progress(0, "downloading"),
        }
    }
    if let Some(size) = promised.filter(|size| *size != writer.written()) {
        let message = format!("{shown} promised {size} bytes and sent {}", writer.written());
        return Err(AgentError::new(ErrorKind::BadImage, message));
    }
    let written = writer.written();
    writer.finish().await.map_err(|e| full(e, root, &shown, written))
}

/// Says of a full disk what filled it and what to do.
fn full(error: AgentError, root: &Root, shown: &str, written: u64) -> AgentError {
    if error.kind != ErrorKind::NoSpace {
        return error;
    }
    let (written, place) = (ByteSize::bytes(written), root.path().display());
    let message = format!("{shown} is larger than the room in {place}, which was full after {written}; free some room");
    AgentError::new(ErrorKind::NoSpace, message).with_evidence(error.message)
}

/// A URL as it may be shown: without user, password, query and fragment, any of which may be a secret.
fn shown(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) if url.has_host() => {
            // Both fail only for URLs without a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        _ => "the image URL".to_owned(),
    }
}

/// The deepest reason of an error. The outer layers of reqwest's errors repeat the URL with its query.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = error.source();
    let mut text = "the connection failed".to_owned();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_secrets() {
        assert_eq!(shown("https://bob:pw@example.org:8443/a.qcow2?token=x#y"), "https://example.org:8443/a.qcow2");
        assert_eq!(shown("not a url with pw"), "the image URL");
    }
}
