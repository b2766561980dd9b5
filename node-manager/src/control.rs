//! What the agent tells programs of its own machine, over its control socket.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing};
use node_control::{
    Refusal, SUMMARY,
    agent::{Summary, Vm},
};
use node_manager_net::{change::places::Places, management};
use node_manager_types::vm::VmState;

use crate::{Agent, drivers::VmShape};

/// The paths of the control socket.
pub fn router(agent: Arc<Agent>) -> Router {
    Router::new().route(SUMMARY, routing::get(summary)).with_state(agent)
}

async fn summary(State(agent): State<Arc<Agent>>) -> Result<Json<Summary>, Refusal> {
    let silent = |error: node_manager_types::AgentError| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.message);
    let mut vms: Vec<Vm> = agent.drivers.vm.shapes().await.map_err(silent)?.into_iter().map(vm).collect();
    vms.sort_by(|one, other| (&one.name, &one.uuid).cmp(&(&other.name, &other.uuid)));
    // Who asks can do without it.
    let management_address = management::address(&Places::of_environment()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the node's addresses are unknown");
        None
    });
    Ok(Json(Summary {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host_uuid: Some(agent.id.to_string()),
        management_seen_ms: agent.management_seen.millis(),
        management_address,
        vms,
    }))
}

fn vm(shape: VmShape) -> Vm {
    let state = match shape.status.state {
        VmState::Running => "running",
        VmState::Paused => "paused",
        VmState::ShuttingDown => "shutting_down",
        VmState::Crashed => "crashed",
    };
    Vm {
        uuid: shape.status.id.to_string(),
        name: shape.status.name,
        cpus: shape.cpus,
        memory_bytes: shape.memory.as_bytes(),
        state: state.to_owned(),
    }
}
