//! `POST /zstack/v1/image-uploads/{image}/{token}`: the bytes of an image (PROTOCOL.md section 13).

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{ConnectInfo, Multipart, Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures::{SinkExt as _, channel::mpsc};
use md5::{Digest as _, Md5};
use mn_service_types::{ApiError, error::ApiResult};
use node_manager_client::Bytes;
use tokio::time::Instant;

use super::{Refusal, Server, bad_request, header, json_text};
use crate::{
    app::App,
    door::Peer,
    resource::image::upload::{self, Upload},
};

/// Chunks between the client and the image server that may wait.
const IN_FLIGHT: usize = 8;
/// How long a client that is refused may go on sending before it is told.
const HEARD_OUT: Duration = Duration::from_secs(10);
/// How often a long transfer says that it is alive.
const ALIVE: Duration = Duration::from_secs(10);

/// What the headers say about the bytes.
#[derive(Debug, PartialEq, Eq)]
struct Slice {
    /// Bytes of the whole image.
    total: u64,
    /// Where these bytes begin.
    offset: u64,
    /// How many they are.
    size: u64,
    /// Their MD5 in lower-case hex.
    md5: Option<String>,
}

impl Slice {
    fn read(headers: &HeaderMap) -> Result<Self, String> {
        let number = |name: &str| match header(headers, name) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("{name} must be a number, not {text:?}")),
        };
        let total = number("x-image-size")?.ok_or("X-IMAGE-SIZE is missing; it is the size of the image in bytes")?;
        let offset = number("x-slice-offset")?.unwrap_or(0);
        let size = number("x-slice-size")?.unwrap_or_else(|| total.saturating_sub(offset));
        if total == 0 || offset.checked_add(size).is_none_or(|end| end > total) {
            return Err(format!("a slice of {size} bytes at {offset} is not part of an image of {total} bytes"));
        }
        let md5 = header(headers, "x-slice-md5").map(str::to_ascii_lowercase);
        Ok(Self { total, offset, size, md5 })
    }
}

pub(super) async fn receive(
    State(server): State<Arc<Server>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path((image, token)): Path<(String, String)>,
    headers: HeaderMap,
    mut body: Multipart,
) -> Response {
    // The token is in the URL: everybody on the way could read it.
    if let Err(refusal) = server.check_encrypted(peer, &headers) {
        return refusal.into_response();
    }
    match accept(&server.app, &image, &token, &headers, &mut body).await {
        Ok(received) => json_text(StatusCode::OK, format!("{{\"received\":{received}}}")),
        Err(refusal) => {
            hear_out(&mut body).await;
            refusal.into_response()
        }
    }
}

/// Reads and drops the rest of a slice: a browser that is cut off while it sends never reads why. Whoever sends more than a
/// slice is cut off all the same.
async fn hear_out(body: &mut Multipart) {
    let rest = async { while let Ok(Some(_part)) = body.next_field().await {} };
    if tokio::time::timeout(HEARD_OUT, rest).await.is_err() {
        tracing::debug!("a client that was refused went on sending");
    }
}

async fn accept(
    app: &Arc<App>,
    image: &str,
    token: &str,
    headers: &HeaderMap,
    body: &mut Multipart,
) -> Result<u64, Refusal> {
    let slice = Slice::read(headers).map_err(bad_request)?;
    if header(headers, "x-image-uuid").is_some_and(|uuid| uuid != image) {
        return Err(bad_request("X-IMAGE-UUID names another image than the URL"));
    }
    let upload = Arc::new(upload::open(app, image, token).await?);
    // Slices of one upload follow each other; two clients with the same token do not mix their bytes.
    let ticket = app.queues.join([upload::queue_key(upload.image())]);
    ticket.turn().await;
    upload.touch(app).await?;
    let received = pass_on(app, &upload, &slice, body).await?;
    if received < slice.total {
        return Ok(received);
    }
    // The check goes on when the client has hung up.
    let (app, total) = (app.clone(), slice.total);
    let check = tokio::spawn(async move {
        let done = finish(&app, &upload, total).await;
        drop(ticket);
        done
    });
    check.await.map_err(ApiError::internal)??;
    Ok(received)
}

/// Checks a complete upload and says meanwhile that it is alive.
async fn finish(app: &App, upload: &Upload, total: u64) -> ApiResult<()> {
    let check = upload.finish(app, total);
    tokio::pin!(check);
    loop {
        tokio::select! {
            done = &mut check => return done,
            () = tokio::time::sleep(ALIVE) => upload.touch(app).await?,
        }
    }
}

/// Passes the file part on as it comes; returns how many bytes the image server has.
async fn pass_on(app: &App, upload: &Upload, slice: &Slice, body: &mut Multipart) -> Result<u64, Refusal> {
    let (mut sender, receiver) = mpsc::channel(IN_FLIGHT);
    let feed = async move {
        let outcome = feed(app, upload, slice, body, &mut sender).await;
        if outcome.is_err() {
            // The image server must not take a broken slice for a whole one.
            let broken = std::io::Error::other("the client's slice is not usable");
            if sender.send(Err(broken)).await.is_err() {
                tracing::debug!("the image server stopped listening first");
            }
        }
        outcome
    };
    let (fed, written) = tokio::join!(feed, upload.write(slice.offset, receiver));
    match (fed, written) {
        (Err(Fed::Client(text)), _) => Err(bad_request(text)),
        (Err(Fed::Own(error)), _) | (_, Err(error)) => Err(error.into()),
        (Ok(()) | Err(Fed::Closed), Ok(size)) => Ok(size),
    }
}

/// Why feeding ended early.
enum Fed {
    /// The client sent something else than it said.
    Client(String),
    /// The image server stopped listening; it says why itself.
    Closed,
    /// A failure of ours.
    Own(ApiError),
}

async fn feed(
    app: &App,
    upload: &Upload,
    slice: &Slice,
    body: &mut Multipart,
    sender: &mut mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), Fed> {
    let broken = |e: axum::extract::multipart::MultipartError| Fed::Client(format!("the body cannot be read: {e}"));
    let missing = || Fed::Client("the body has no part with a file; send multipart/form-data with one".to_owned());
    let mut part = loop {
        let part = body.next_field().await.map_err(broken)?.ok_or_else(missing)?;
        if part.file_name().is_some() {
            break part;
        }
    };
    let (mut size, mut md5, mut touched) = (0_u64, Md5::new(), Instant::now());
    while let Some(chunk) = part.chunk().await.map_err(broken)? {
        size += chunk.len() as u64;
        if size > slice.size {
            return Err(Fed::Client(format!("the slice is longer than the {} bytes that were announced", slice.size)));
        }
        if slice.md5.is_some() {
            md5.update(&chunk);
        }
        sender.send(Ok(chunk)).await.map_err(|_| Fed::Closed)?;
        if touched.elapsed() > ALIVE {
            upload.touch(app).await.map_err(Fed::Own)?;
            touched = Instant::now();
        }
    }
    if size < slice.size {
        return Err(Fed::Client(format!("the slice has {size} bytes, {} were announced; send it again", slice.size)));
    }
    let found = hex::encode(md5.finalize());
    if slice.md5.as_ref().is_some_and(|said| *said != found) {
        return Err(Fed::Client(format!("the slice has the MD5 {found}, not the announced one; send it again")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_whole_image_is_one_slice() {
        let slice = Slice::read(&headers(&[("x-image-size", "10")])).unwrap();
        assert_eq!(slice, Slice { total: 10, offset: 0, size: 10, md5: None });
    }

    #[test]
    fn slices_must_lie_within_the_image() {
        let read = |offset: &str, size: &str| {
            Slice::read(&headers(&[("x-image-size", "10"), ("x-slice-offset", offset), ("x-slice-size", size)]))
        };
        assert_eq!(read("4", "6").unwrap().offset, 4);
        assert!(read("4", "7").is_err() && read("18446744073709551615", "1").is_err() && read("x", "1").is_err());
        assert!(Slice::read(&headers(&[])).unwrap_err().contains("X-IMAGE-SIZE"));
    }
}
