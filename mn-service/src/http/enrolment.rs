//! `POST /zstack/enrolment`: nodes that join by a code. No session: what counts is the proof in the envelope, and that is
//! worth nothing over a connection that somebody else may have ended.

use std::sync::Arc;

use axum::{
    Json,
    extract::{ConnectInfo, State, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use node_manager_types::enrolment::{Envelope, Refusal, RefusalKind};

use super::Server;
use crate::{
    door::Peer,
    resource::enrolment::desk::{self, refuse},
};

/// Largest envelope; a request and its proof have about two thousand bytes.
pub(super) const LIMIT: usize = 64 << 10;

pub(super) async fn receive(
    State(server): State<Arc<Server>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    envelope: Result<Json<Envelope>, JsonRejection>,
) -> Response {
    let heard = match envelope {
        _ if !peer.tls => Err(refuse(
            RefusalKind::Relay,
            "nodes join over TLS only, from the node to the management service itself: use https, and no proxy in between",
        )),
        Ok(Json(envelope)) => desk::hear(&server.app, peer.address.ip(), &peer.certificate, &envelope).await,
        Err(rejection) => Err(refuse(RefusalKind::Invalid, rejection.body_text())),
    };
    match heard {
        Ok(envelope) => Json(envelope).into_response(),
        Err(refusal) => answer(refusal),
    }
}

fn answer(refusal: Refusal) -> Response {
    let status = match refusal.kind {
        RefusalKind::Relay | RefusalKind::Wrong => StatusCode::FORBIDDEN,
        RefusalKind::Unknown => StatusCode::NOT_FOUND,
        RefusalKind::Over => StatusCode::GONE,
        RefusalKind::Wait => StatusCode::TOO_MANY_REQUESTS,
        RefusalKind::Taken => StatusCode::CONFLICT,
        RefusalKind::Invalid => StatusCode::BAD_REQUEST,
        RefusalKind::Unavailable | RefusalKind::Other => StatusCode::SERVICE_UNAVAILABLE,
    };
    let wait = refusal.wait_seconds;
    let mut response = (status, Json(refusal)).into_response();
    if wait > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}
