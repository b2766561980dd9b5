//! Links for downloads, made by programs of this machine.

use std::{error::Error as _, sync::Arc};

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use node_control::{
    Refusal,
    management::{Publication, Publish, Published},
};
use serde_json::{Value, json};

use super::Local;
use crate::publication::{PublishError, download};

/// Makes a link. It is always encrypted: what it leads to holds keys.
pub(super) async fn publish(
    State(local): State<Arc<Local>>,
    asked: Result<Json<Publish>, JsonRejection>,
) -> Result<Json<Published>, Refusal> {
    let Json(asked) = asked.map_err(|wrong| Refusal::new(StatusCode::BAD_REQUEST, wrong.body_text()))?;
    let (secret, made) = local.app.publications.publish(&asked).map_err(|error| {
        let status = match error {
            PublishError::Invalid(_) => StatusCode::BAD_REQUEST,
            PublishError::Keep { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Refusal::new(status, format!("{error}{cause}"))
    })?;
    tracing::info!(id = made.id, paths = ?made.paths, expires_ms = made.expires_ms, "published for download");
    let url = format!("https://{}{}{secret}/", local.app.own_node.reached(local.ui), download::PATH);
    Ok(Json(Published { id: made.id, url, expires_ms: made.expires_ms }))
}

/// Links that work.
pub(super) async fn list(State(local): State<Arc<Local>>) -> Json<Vec<Publication>> {
    Json(local.app.publications.list())
}

/// Ends a link.
pub(super) async fn end(State(local): State<Arc<Local>>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let failed = |error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the list of links: {error}"));
    if local.app.publications.end(&id).map_err(failed)? {
        return Ok(Json(json!({})));
    }
    Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no link {id}; it may have ended by itself")))
}
