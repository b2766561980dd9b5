//! What the service tells programs of its own machine, over its control socket.

mod collections;
mod publications;

use std::{net::SocketAddr, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode, routing};
use mn_service_db::{
    Backend,
    entity::{host, vm_instance},
};
use mn_service_types::{ApiError, date::now_millis, error::ApiResult};
use node_control::{
    Refusal, SUMMARY,
    management::{ConsoleProxy, Hosts, LOG_COLLECTIONS, PUBLICATIONS, RESET_PASSWORD, Summary, Vms},
};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};

use crate::{
    app::{App, OrInternal as _},
    initial_password,
};
use collections::Collections;

/// Everything is on and nothing ends; there is no other licence to have.
const LICENCE: &str = "Unlimited";

/// What the paths need to know.
struct Local {
    app: Arc<App>,
    started_ms: i64,
    api: SocketAddr,
    ui: SocketAddr,
    consoles: SocketAddr,
    collections: Collections,
}

/// The paths of the control socket; `api`, `ui` and `consoles` are where the service listens.
pub fn router(app: &Arc<App>, api: SocketAddr, ui: SocketAddr, consoles: SocketAddr) -> Router {
    let local =
        Local { app: app.clone(), started_ms: now_millis(), api, ui, consoles, collections: Collections::default() };
    Router::new()
        .route(SUMMARY, routing::get(summary))
        .route(PUBLICATIONS, routing::get(publications::list).post(publications::publish))
        .route(RESET_PASSWORD, routing::post(reset_password))
        .route(LOG_COLLECTIONS, routing::get(collections::look).post(collections::begin))
        .route(&format!("{PUBLICATIONS}/{{id}}"), routing::delete(publications::end))
        .with_state(Arc::new(local))
}

async fn summary(State(local): State<Arc<Local>>) -> Result<Json<Summary>, Refusal> {
    let failed = |error: ApiError| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    let config = &local.app.config;
    let https = |address| format!("https://{}", local.app.own_node.reached(address));
    Ok(Json(Summary {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: local.started_ms,
        ui_address: https(local.ui),
        api_address: config.public_url.clone().unwrap_or_else(|| https(local.api)),
        licence: LICENCE.to_owned(),
        database: match local.app.db.backend {
            Backend::Sqlite => "sqlite",
            Backend::MariaDb => "mariadb",
        }
        .to_owned(),
        hosts: hosts(&local.app).await.map_err(failed)?,
        vms: vms(&local.app).await.map_err(failed)?,
        console_proxy: ConsoleProxy { address: config.console_host.clone(), port: local.consoles.port() },
    }))
}

async fn reset_password(State(local): State<Arc<Local>>) -> Result<Json<serde_json::Value>, Refusal> {
    let failed = |error: ApiError| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    initial_password::reset(&local.app).await.map_err(failed)?;
    Ok(Json(serde_json::json!({})))
}

async fn hosts(app: &App) -> ApiResult<Hosts> {
    let groups: Vec<(String, String, i64)> = host::Entity::find()
        .select_only()
        .columns([host::Column::State, host::Column::Status])
        .column_as(host::Column::Uuid.count(), "number")
        .group_by(host::Column::State)
        .group_by(host::Column::Status)
        .into_tuple()
        .all(app.db.read())
        .await
        .or_internal()?;
    let count = |counts: &dyn Fn(&str, &str) -> bool| sum(groups.iter().filter(|g| counts(&g.0, &g.1)).map(|g| g.2));
    Ok(Hosts {
        total: count(&|_, _| true),
        enabled: count(&|state, _| state == "Enabled"),
        connected: count(&|_, status| status == "Connected"),
    })
}

async fn vms(app: &App) -> ApiResult<Vms> {
    let groups: Vec<(String, i64)> = vm_instance::Entity::find()
        .select_only()
        .column(vm_instance::Column::State)
        .column_as(vm_instance::Column::Uuid.count(), "number")
        .filter(vm_instance::Column::State.ne("Destroyed"))
        .group_by(vm_instance::Column::State)
        .into_tuple()
        .all(app.db.read())
        .await
        .or_internal()?;
    let count =
        |counts: &dyn Fn(&str) -> bool| sum(groups.iter().filter(|group| counts(&group.0)).map(|group| group.1));
    Ok(Vms {
        total: count(&|_| true),
        running: count(&|state| state == "Running"),
        stopped: count(&|state| state == "Stopped"),
    })
}

fn sum(counts: impl Iterator<Item = i64>) -> u64 {
    counts.map(|count| u64::try_from(count).unwrap_or(0)).sum()
}
