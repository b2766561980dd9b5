//! The logs of the whole cloud (OPS-LOG-023, OS-TUI-095): every connected host is asked, some at a time, and one that is
//! silent costs its own logs alone.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use futures::TryStreamExt as _;
use mn_service_db::entity::host;
use mn_service_types::{error::ApiResult, new_uuid};
use node_control::{
    Refusal,
    management::{CollectLogs, Collection, NodeLogs},
};
use node_logs::{Folder, Part, Sources, Window};
use node_manager_types::host::LogQuery;
use sea_orm::{EntityTrait as _, QueryOrder as _};
use tokio::{io::AsyncWriteExt as _, sync::Semaphore, task::JoinSet};

use super::Local;
use crate::{
    app::{App, OrInternal as _},
    config::layout,
};

/// Hosts that are asked at the same time.
const AT_ONCE: usize = 8;
/// Longest time for one host.
const PATIENCE: Duration = Duration::from_secs(300);
/// No host's archive is larger, in bytes.
const LARGEST: u64 = 2 << 30;

/// The collection that runs, or ran last.
#[derive(Debug, Default)]
pub(super) struct Collections(Mutex<Option<Collection>>);

impl Collections {
    fn lock(&self) -> MutexGuard<'_, Option<Collection>> {
        // A panic elsewhere leaves numbers that are a little old.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Collection)) {
        if let Some(collection) = self.lock().as_mut() {
            change(collection);
        }
    }
}

/// Begins a collection.
pub(super) async fn begin(
    State(local): State<Arc<Local>>,
    asked: Result<Json<CollectLogs>, JsonRejection>,
) -> Result<Json<Collection>, Refusal> {
    let Json(asked) = asked.map_err(|wrong| Refusal::new(StatusCode::BAD_REQUEST, wrong.body_text()))?;
    let begun = {
        let mut now = local.collections.lock();
        if now.as_ref().is_some_and(|collection| !collection.done) {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "logs are being collected already; wait until that has ended",
            ));
        }
        let begun = Collection { id: new_uuid(), message: "looking for hosts".to_owned(), ..Collection::default() };
        now.insert(begun).clone()
    };
    let running = local.clone();
    tokio::spawn(async move {
        let outcome = collect(&running, asked).await;
        running.collections.change(|collection| {
            collection.done = true;
            collection.progress = 1.0;
            collection.error = outcome.err();
        });
    });
    Ok(Json(begun))
}

/// How far it is.
pub(super) async fn look(State(local): State<Arc<Local>>) -> Result<Json<Collection>, Refusal> {
    let nothing = || Refusal::new(StatusCode::NOT_FOUND, "no logs have been collected since the service was started");
    local.collections.lock().clone().map(Json).ok_or_else(nothing)
}

async fn collect(local: &Local, asked: CollectLogs) -> Result<(), String> {
    let app = &local.app;
    let root = layout::published(&app.config.data_dir);
    let made = tokio::task::spawn_blocking(move || Folder::create(&root)).await.map_err(|error| error.to_string())?;
    let folder = made.map_err(|error| format!("no folder for logs can be made: {error}"))?;
    let hosts = hosts(app).await.map_err(|error| error.to_string())?;
    local.collections.change(|collection| {
        collection.directory = Some(folder.path().to_owned());
        collection.message = format!("collecting from {} hosts and this node", hosts.len());
    });
    let total = hosts.len() + 1;
    let window = Window { since_ms: asked.since_ms, until_ms: asked.until_ms };
    let mut asking = JoinSet::new();
    let (own, place) = (app.clone(), folder.clone());
    asking.spawn(async move {
        let name = node_logs::own_name();
        let sources = Sources::of_management(&own.config.data_dir);
        let outcome = node_logs::collect(&place, &name, &sources, window).await.map_err(|error| error.to_string());
        Part { name, outcome }
    });
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    for host in hosts {
        asking.spawn(part(app.clone(), host, folder.clone(), asked, turns.clone()));
    }
    let mut parts = Vec::new();
    while let Some(ended) = asking.join_next().await {
        let part = ended.map_err(|error| error.to_string())?;
        local.collections.change(|collection| {
            collection.nodes.push(NodeLogs {
                name: part.name.clone(),
                bytes: part.outcome.as_ref().ok().copied(),
                problem: part.outcome.as_ref().err().cloned(),
            });
            #[expect(clippy::cast_precision_loss, reason = "a part of a whole, for people")]
            let progress = collection.nodes.len() as f64 / total as f64;
            collection.progress = progress;
            collection.message = format!("{} of {total} nodes, last {}", collection.nodes.len(), part.name);
        });
        parts.push(part);
    }
    parts.sort_by(|one, other| one.name.cmp(&other.name));
    let written = tokio::task::spawn_blocking(move || folder.index(&parts)).await;
    written.map_err(|error| error.to_string())?.map_err(|error| format!("the index cannot be written: {error}"))
}

async fn hosts(app: &App) -> ApiResult<Vec<host::Model>> {
    host::Entity::find().order_by_asc(host::Column::Name).all(app.db.read()).await.or_internal()
}

/// The logs of one host when it is its turn, or why there are none.
async fn part(app: Arc<App>, host: host::Model, folder: Folder, asked: CollectLogs, turns: Arc<Semaphore>) -> Part {
    // Nobody closes it.
    let _turn = turns.acquire().await;
    // Names of hosts need not differ.
    let name = format!("{}-{}", host.name, host.uuid.get(..8).unwrap_or(&host.uuid));
    let outcome = match tokio::time::timeout(PATIENCE, of_host(&app, &host, &folder, &name, asked)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("it did not send its logs within {} s", PATIENCE.as_secs())),
    };
    Part { name, outcome }
}

/// The logs of one host; the bytes of its archive.
async fn of_host(
    app: &App,
    host: &host::Model,
    folder: &Folder,
    name: &str,
    asked: CollectLogs,
) -> Result<u64, String> {
    if host.status != "Connected" {
        return Err(format!("the host is {}", host.status));
    }
    let client = app.agents.of(app.db.read(), &host.uuid).await.map_err(|error| error.to_string())?;
    let query = LogQuery { since_ms: asked.since_ms, until_ms: asked.until_ms };
    let mut pieces = std::pin::pin!(client.logs(&query).await.map_err(|error| error.to_string())?);
    let at = |error: std::io::Error| format!("its logs cannot be written here: {error}");
    let mut file = tokio::fs::File::create(folder.archive(name)).await.map_err(at)?;
    let mut bytes = 0_u64;
    while let Some(piece) = pieces.try_next().await.map_err(|error| error.to_string())? {
        bytes += piece.len() as u64;
        if bytes > LARGEST {
            return Err(format!("it sent more than {LARGEST} bytes"));
        }
        file.write_all(&piece).await.map_err(at)?;
    }
    file.flush().await.map_err(at)?;
    let (folder, name) = (folder.clone(), name.to_owned());
    let unpacked = tokio::task::spawn_blocking(move || folder.unpack(&name)).await;
    unpacked.map_err(|error| error.to_string())?.map_err(|error| format!("its logs cannot be unpacked: {error}"))
}
