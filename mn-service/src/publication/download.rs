//! Answers for `/download/<secret>/...`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::page::{Row, render, rows};
use crate::{app::App, audit};

/// Where downloads are, on the address of the web UI.
pub const PATH: &str = "/download/";
/// What reads well in a browser.
const TEXT: [&str; 8] = ["log", "txt", "json", "conf", "xml", "leases", "hosts", "sha256"];

/// What an address leads to.
enum Found {
    Folder {
        title: String,
        up: bool,
        rows: Vec<Row>,
    },
    File(PathBuf),
    /// A folder whose address lacks its final slash.
    Slash,
}

/// Answers a download. Whatever is wrong, the answer is the same: what is not published does not exist.
pub async fn answer(app: &Arc<App>, client: IpAddr, request: Request) -> Response {
    let address = request.uri().path().to_owned();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return nothing();
    }
    let found = {
        let (app, address) = (app.clone(), address.clone());
        tokio::task::spawn_blocking(move || find(&app, &address)).await
    };
    let mut response = match found {
        Ok(Some(Found::Folder { title, up, rows })) => Html(render(&address, &title, up, &rows)).into_response(),
        Ok(Some(Found::Slash)) => match HeaderValue::try_from(format!("{address}/")) {
            Ok(place) => (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, place)]).into_response(),
            Err(_) => nothing(),
        },
        Ok(Some(Found::File(path))) => {
            if *request.method() == Method::GET {
                audit::download(app, client, &path).await;
            }
            file(&path, request).await
        }
        Ok(None) => nothing(),
        Err(error) => {
            tracing::error!(%error, "a download cannot be answered");
            nothing()
        }
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn nothing() -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::NOT_FOUND, headers, "there is nothing here: the address is wrong, or its time is over\n")
        .into_response()
}

fn find(app: &App, address: &str) -> Option<Found> {
    let (secret, rest) = address.strip_prefix(PATH)?.split_once('/').unwrap_or((address.strip_prefix(PATH)?, ""));
    let publication = app.publications.find(secret)?;
    let is_slashed = address.ends_with('/');
    let mut names = Vec::new();
    for part in rest.split('/').filter(|part| !part.is_empty()) {
        let name = percent_decode_str(part).decode_utf8().ok()?.into_owned();
        // One name, and none that leads elsewhere.
        if name.starts_with('.') || name.contains(['/', '\0']) {
            return None;
        }
        names.push(name);
    }
    let Some((first, below)) = names.split_first() else {
        let rows = publication.paths.iter().filter_map(|path| Row::of(path)).collect();
        return Some(if is_slashed {
            Found::Folder { title: "Files".to_owned(), up: false, rows }
        } else {
            Found::Slash
        });
    };
    let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name == first.as_str());
    let item = publication.paths.iter().find(named)?;
    let real = below.iter().fold(item.clone(), |path, name| path.join(name)).canonicalize().ok()?;
    // Links are not followed out of what was published.
    if !real.starts_with(item) || app.publications.publishable(&real).as_deref() != Some(&real) {
        return None;
    }
    if real.is_dir() {
        let title = names.last().cloned().unwrap_or_default();
        return Some(if is_slashed {
            Found::Folder { title, up: true, rows: rows(&real).ok()? }
        } else {
            Found::Slash
        });
    }
    (real.is_file() && !is_slashed).then_some(Found::File(real))
}

/// The file, or the part of it that was asked for.
async fn file(path: &Path, request: Request) -> Response {
    let mut response = match ServeFile::new(path).oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    };
    if response.status() == StatusCode::NOT_FOUND {
        return nothing();
    }
    if response.status().is_success() {
        name_kind(response.headers_mut(), path);
    }
    response
}

/// Browsers show text and save the rest; nothing of it is ever taken for a page.
fn name_kind(headers: &mut HeaderMap, path: &Path) {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let kind = if TEXT.contains(&extension) {
        "text/plain; charset=utf-8"
    } else {
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        if extension == "gz" { "application/gzip" } else { "application/octet-stream" }
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
}
