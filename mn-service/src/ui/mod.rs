//! The web UI's own address (PLAT-UI-001, OPS-LGN-001): the built files, and beside them the API and the consoles, so
//! that a browser needs one address alone and nothing crosses origins.

mod files;
mod headers;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tower::ServiceExt as _;

use crate::{app::App, console, door::Peer, http, publication::download};
use files::Found;

/// Where packages put the built files.
const INSTALLED: &str = "/usr/share/zstack/ui";

/// Path of console web sockets on this address.
pub const CONSOLE: &str = "/console";

/// Name of the page that every address of the UI begins with.
const INDEX: &str = "index.html";

#[derive(Debug, Clone)]
struct Ui {
    app: Arc<App>,
    api: Router,
    /// Folders that may hold the built files; the first that does is used.
    folders: Arc<[PathBuf]>,
}

/// Everything that the UI's address serves.
pub fn router(app: &Arc<App>) -> Router {
    let folders = match &app.config.ui_dir {
        Some(folder) => vec![folder.clone()],
        None => default_folders(),
    };
    let ui = Ui { app: app.clone(), api: http::router(app.clone()), folders: folders.into() };
    let consoles = Router::new().route(CONSOLE, get(console::join)).with_state(app.clone());
    Router::new().fallback(serve).with_state(ui).merge(consoles)
}

fn default_folders() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join("ui")));
    beside.into_iter().chain([PathBuf::from(INSTALLED)]).collect()
}

async fn serve(State(ui): State<Ui>, ConnectInfo(peer): ConnectInfo<Peer>, request: Request) -> Response {
    if peer.is_in_the_clear() {
        return elsewhere(&request);
    }
    let path = request.uri().path();
    if path == "/zstack" || path.starts_with("/zstack/") {
        let answer = ui.api.oneshot(request).await;
        return answer.unwrap_or_else(|never| match never {});
    }
    let mut response = if path.starts_with(download::PATH) {
        download::answer(&ui.app, peer.address.ip(), request).await
    } else if matches!(*request.method(), Method::GET | Method::HEAD) {
        ui.file(path, request.headers()).await
    } else {
        let text = format!("{} is not possible here; the API is below /zstack/v1", request.method());
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")], text).into_response()
    };
    headers::secure(&mut response);
    response
}

/// Leads a browser to the encrypted side of the same address; calls keep their method and body.
fn elsewhere(request: &Request) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let rest = request.uri().path_and_query().map_or("/", |path| path.as_str());
    match host.map(|host| HeaderValue::try_from(format!("https://{host}{rest}"))) {
        Some(Ok(location)) => (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response(),
        _ => (StatusCode::FORBIDDEN, "the web interface is read over TLS only; use https://").into_response(),
    }
}

impl Ui {
    async fn file(&self, path: &str, asked: &axum::http::HeaderMap) -> Response {
        let Some(folder) = self.folder().await else { return self.missing() };
        let found = match files::find(&folder, path, headers::encodings(asked)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, path, folder = %folder.display(), "a file of the web UI cannot be read");
                return (StatusCode::INTERNAL_SERVER_ERROR, "a file of the web UI cannot be read; see the log")
                    .into_response();
            }
        };
        match found {
            Found::File(file) => headers::file(file, asked),
            Found::Index(page) => headers::index(&page),
            Found::Nothing => (StatusCode::NOT_FOUND, format!("the web UI has no file {path}")).into_response(),
        }
    }

    /// Looked for at each request: the UI may be installed while the service runs.
    async fn folder(&self) -> Option<PathBuf> {
        for folder in self.folders.iter() {
            if tokio::fs::try_exists(folder.join(INDEX)).await.unwrap_or(false) {
                return Some(folder.clone());
            }
        }
        None
    }

    fn missing(&self) -> Response {
        let places: Vec<String> = self.folders.iter().map(|folder| escape(&folder.display().to_string())).collect();
        let page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>The web interface is not installed\
             </title></head><body><h1>The web interface is not installed</h1><p>Its files were looked for in {}.</p>\
             <ul><li>On an installed node: install the package of the web interface again.</li>\
             <li>In a source tree: build it with <code>cargo xtask ui</code> and name the folder that this prints as \
             <code>ui_dir</code> in <code>mn-service.toml</code>.</li></ul>\
             <p>The API is not concerned: it answers below <code>/zstack/v1</code>.</p></body></html>",
            places.join(" and ")
        );
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        (StatusCode::SERVICE_UNAVAILABLE, headers, page).into_response()
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
