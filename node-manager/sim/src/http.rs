//! Routes of the simulator: `/hosts/{host}/...` is handed to that host's agent, `/sim/...` makes faults.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::Uri,
    response::{IntoResponse as _, Response},
    routing,
};
use bytes::Bytes;
use node_manager::http::Refusal;
use node_manager_types::{AgentError, ErrorKind, HostId, VmId};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{Host, Sim};

pub(crate) fn router(sim: Arc<Sim>) -> Router {
    Router::new()
        .route("/hosts/{host}/{*rest}", routing::any(agent))
        .route("/sim/hosts", routing::get(async |State(sim): State<Arc<Sim>>| Json(sim.known())))
        .route("/sim/hosts/{host}", routing::get(dump))
        .route("/sim/hosts/{host}/{fault}", routing::post(fault))
        .with_state(sim)
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal(AgentError::new(ErrorKind::Invalid, text))
}

fn host_of(sim: &Sim, text: &str) -> Result<Arc<Host>, Refusal> {
    let id: HostId = text.parse().map_err(|e: node_manager_types::id::IdError| invalid(e.to_string()))?;
    Ok(sim.host(id))
}

async fn agent(
    State(sim): State<Arc<Sim>>,
    Path((host, _)): Path<(String, String)>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let prefix = format!("/hosts/{host}");
    let host = host_of(&sim, &host)?;
    host.simulated.faults.silence().await;
    let path = request.uri().path_and_query().map_or("/", |whole| whole.as_str());
    let inner = path.strip_prefix(&prefix).unwrap_or(path).to_owned();
    *request.uri_mut() = inner.parse::<Uri>().map_err(|e| invalid(e.to_string()))?;
    // The outer match must not leak into the agent's own.
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    parts.extensions.clear();
    parts.extensions.extend(upgrade.into_iter().fold(axum::http::Extensions::new(), |mut all, one| {
        all.insert(one);
        all
    }));
    let death = host.simulated.agent_death();
    let answer = tokio::select! {
        answer = host.router().oneshot(Request::from_parts(parts, body)) => answer,
        () = death => return Ok(cut_off()),
    };
    host.simulated.faults.silence().await;
    Ok(answer.into_response())
}

/// What a caller sees of an agent that dies: the connection ends in the middle of the answer.
fn cut_off() -> Response {
    let end = Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    Response::new(Body::from_stream(futures::stream::iter([end])))
}

async fn dump(State(sim): State<Arc<Sim>>, Path(host): Path<String>) -> Result<Json<Value>, Refusal> {
    let host = host_of(&sim, &host)?;
    let state = host.simulated.state().clone();
    Ok(Json(json!({ "host": host.simulated.id, "state": state, "files": host.simulated.files() })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    op: Option<String>,
    kind: Option<ErrorKind>,
    message: Option<String>,
    seconds: Option<f64>,
    vm: Option<VmId>,
}

async fn fault(
    State(sim): State<Arc<Sim>>,
    Path((host, fault)): Path<(String, String)>,
    body: String,
) -> Result<Json<Value>, Refusal> {
    let host = host_of(&sim, &host)?;
    let Fault { op, kind, message, seconds, vm } = match body.trim() {
        "" => Fault::default(),
        text => serde_json::from_str(text).map_err(|e| invalid(e.to_string()))?,
    };
    let faults = &host.simulated.faults;
    let op = || op.clone().ok_or_else(|| invalid("`op` is missing, for example {\"op\": \"start_vm\"}; `*` means all"));
    let vm = || vm.ok_or_else(|| invalid("`vm` is missing"));
    let mut done = json!({});
    match fault.as_str() {
        "hold" => faults.hold(&op()?),
        "release" => faults.release(&op()?),
        "held" => done = json!({ "waiting": faults.held(&op()?) }),
        "fail_next" => {
            let message = message.unwrap_or_else(|| "the simulator was told to fail".to_owned());
            faults.fail_next(&op()?, kind.unwrap_or(ErrorKind::Host), &message);
        }
        "silent" => {
            let seconds = seconds
                .and_then(|s| Duration::try_from_secs_f64(s).ok())
                .ok_or_else(|| invalid("`seconds` is missing"))?;
            faults.silent(seconds);
        }
        "kill_vm" => done = json!({ "existed": host.simulated.state().vms.remove(&vm()?).is_some() }),
        "add_vm" => host.simulated.add_vm(vm()?),
        "reboot" => host.reboot(),
        "restart_agent" => host.restart_agent(),
        other => return Err(invalid(format!("{other} is no fault of this simulator; see its documentation"))),
    }
    Ok(Json(done))
}
