//! Stopping VMs because what they depend on goes: a host or a primary storage enters maintenance, a primary storage is
//! detached (CS-HOST-024, CS-PS-010, CS-CLU-023).

use futures::{StreamExt as _, stream};
use mn_service_db::entity::vm_instance;
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use node_manager_types::{operation::StopVm, vm::StopMode};
use sea_orm::EntityTrait;

use super::power::PATIENCE_SECONDS;
use crate::{
    agents,
    app::{App, OrInternal},
    resource::{allocation, host},
};

/// VMs that are stopped at the same time.
const AT_ONCE: usize = 10;

/// A VM that could not be stopped.
#[derive(Debug)]
pub struct Unstopped {
    /// `name (uuid)`.
    pub vm: String,
    /// Why.
    pub error: ApiError,
}

/// Shuts these VMs down, each in its turn, so that a change of a VM that is under way ends first; a guest that does not
/// react is killed after a minute (CS-VM-055). VMs that have no host any more are fine. Returns those that still run.
///
/// The caller has seen to it that none of them can start again. It holds the queue of what goes, and waits here for
/// those of the VMs: no API may name a VM beside a host or a storage in its path.
pub async fn stop_all(app: &App, job: &str, vms: &[String]) -> Vec<Unstopped> {
    let outcomes = stream::iter(vms.to_vec()).map(|uuid| attempt(app, job, uuid));
    outcomes.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn attempt(app: &App, job: &str, uuid: String) -> Option<Unstopped> {
    let error = stop(app, job, &uuid).await.err()?;
    let vm = match find(app, &uuid).await {
        Ok(Some(vm)) => format!("{} ({uuid})", vm.name),
        _ => uuid,
    };
    Some(Unstopped { vm, error })
}

async fn find(app: &App, uuid: &str) -> ApiResult<Option<vm_instance::Model>> {
    vm_instance::Entity::find_by_id(uuid).one(app.db.read()).await.or_internal()
}

async fn stop(app: &App, job: &str, uuid: &str) -> ApiResult<()> {
    let ticket = app.queues.join([uuid.to_owned()]);
    ticket.turn().await;
    let Some(vm) = find(app, uuid).await? else { return Ok(()) };
    let Some(host) = &vm.host_uuid else { return Ok(()) };
    // A host that is away would keep everybody waiting.
    host::check_connected(app.db.read(), host).await?;
    let agent = app.agents.of(app.db.read(), host).await?;
    let stop = StopVm { vm: agents::id(uuid)?, mode: StopMode::Graceful { seconds: PATIENCE_SECONDS } };
    agents::run(&agent, job, &format!("stop-{uuid}"), stop, app.host_patience())
        .await
        .map_err(|e| agents::failure(ErrorCode::StopVm, format!("VM {uuid} could not be stopped"), host, &e))?;
    super::leave_network(app, uuid).await?;
    let uuid = uuid.to_owned();
    app.write(|tx| async move { allocation::mark_stopped(&tx, &[uuid]).await }).await
}
