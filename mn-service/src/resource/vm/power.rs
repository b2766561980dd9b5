//! Start, stop, reboot, pause and resume (CS-VM-021..026, CS-VM-040..057).

use std::sync::Arc;

use mn_service_db::entity::{vm_instance, volume};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{
    operation::{PauseVm, ResumeVm, StartVm, StopVm},
    vm::StopMode,
};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{INVENTORY, LEASES, check_state, find, nic, placement, set_state, spec, sync};
use crate::{
    access, agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    resource::{affinity, allocation, host, image, primary_storage, quota},
};

mn_service_types::messages! {
    StartVmInstance { uuid: String, cluster_uuid: Option<String>, host_uuid: Option<String> }
    StopVmInstance { uuid: String, r#type: Option<String> }
    RebootVmInstance { uuid: String }
    PauseVmInstance { uuid: String }
    ResumeVmInstance { uuid: String }
}

/// CS-VM-055: a guest that does not react is killed after a minute.
pub(super) const PATIENCE_SECONDS: u64 = 60;

/// State of every power change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Power {
    job: String,
    uuid: String,
    /// State before.
    before: String,
    /// Host it runs on, or is started on.
    host: Option<String>,
    /// Host that the caller asked for.
    wanted_host: Option<String>,
    /// Cut the power instead of asking the guest.
    hard: bool,
}

pub(super) fn register(apis: &mut Apis) {
    let reply = |state: &Power| Reply::Inventory(INVENTORY, state.uuid.clone());
    apis.workflow("vm.start", prepare_start, reply);
    apis.workflow("vm.stop", prepare_stop, reply);
    apis.workflow("vm.reboot", |call, msg: RebootVmInstance| prepare(call, msg.uuid, "Running"), reply);
    apis.workflow("vm.pause", |call, msg: PauseVmInstance| prepare(call, msg.uuid, "Running"), reply);
    apis.workflow("vm.resume", |call, msg: ResumeVmInstance| prepare(call, msg.uuid, "Paused"), reply);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    const LAST: &str = "it is the last step and one transaction";
    registry.register(
        Workflow::named("vm.start", 1)
            .step("reserve", reserve, Undo::with(unreserve))
            .step("prepare-network", join_network, Undo::nothing(LEASES))
            .step("start", start, Undo::with(power_off))
            .step("note", note_running, Undo::nothing(LAST)),
    )?;
    registry.register(
        Workflow::named("vm.stop", 1)
            .step("mark", |app, state| mark(app, state, "Stopping"), Undo::with(resync))
            .step("stop", stop, Undo::nothing("a VM that was stopped stays stopped; undoing the mark asks its host"))
            .step("note", note_stopped, Undo::nothing(LAST)),
    )?;
    registry.register(
        Workflow::named("vm.reboot", 1)
            .step("mark", |app, state| mark(app, state, "Rebooting"), Undo::with(resync))
            .step("stop", stop, Undo::nothing("undoing the mark asks the host what became of the VM"))
            .step("prepare-network", join_network, Undo::nothing("leases stay as they were before"))
            .step("start", start, Undo::with(power_off))
            .step("note", note_running, Undo::nothing(LAST)),
    )?;
    registry.register(
        Workflow::named("vm.pause", 1)
            .step("mark", |app, state| mark(app, state, "Pausing"), Undo::with(resync))
            .step("pause", pause, Undo::with(resume_host))
            .step("note", |app, state| note(app, state, "Paused"), Undo::nothing(LAST)),
    )?;
    registry.register(
        Workflow::named("vm.resume", 1)
            .step("mark", |app, state| mark(app, state, "Resuming"), Undo::with(resync))
            .step("resume", resume, Undo::with(pause_host))
            .step("note", |app, state| note(app, state, "Running"), Undo::nothing(LAST)),
    )
}

fn power(call: &Call, vm: &vm_instance::Model) -> Power {
    Power {
        job: call.job.clone(),
        uuid: vm.uuid.clone(),
        before: vm.state.clone(),
        host: vm.host_uuid.clone(),
        wanted_host: None,
        hard: false,
    }
}

async fn prepare(call: Call, uuid: String, needed: &'static str) -> ApiResult<Plan<Power>> {
    let vm = find(call.app.db.read(), &uuid).await?;
    check_state(&vm, &call.api.message_class())?;
    if vm.state != needed {
        return Err(ApiError::new(
            ErrorCode::VmState,
            format!("VM {} ({uuid}) is {}; this needs {needed}", vm.name, vm.state),
        ));
    }
    check_host(&call, &vm).await?;
    Ok(Plan::Run(power(&call, &vm)))
}

/// The host that the VM is on must be there to be told.
async fn check_host(call: &Call, vm: &vm_instance::Model) -> ApiResult<()> {
    match &vm.host_uuid {
        Some(host) => host::check_connected(call.app.db.read(), host).await,
        None => Ok(()),
    }
}

async fn prepare_start(call: Call, msg: StartVmInstance) -> ApiResult<Plan<Power>> {
    let vm = find(call.app.db.read(), &msg.uuid).await?;
    check_state(&vm, &call.api.message_class())?;
    if vm.state == "Running" {
        return Ok(Plan::Done(Reply::Inventory(INVENTORY, vm.uuid)));
    }
    if spec::nics(call.app.db.read(), &vm.uuid).await?.is_empty() {
        // CS-VM-047, CS-VM-050.
        let text = format!("VM {} ({}) has no network, it cannot start; attach an L3 network first", vm.name, vm.uuid);
        return Err(ApiError::new(ErrorCode::StartVm, text));
    }
    let mut state = power(&call, &vm);
    state.wanted_host = msg.host_uuid.filter(|uuid| !uuid.is_empty());
    Ok(Plan::Run(state))
}

async fn prepare_stop(call: Call, msg: StopVmInstance) -> ApiResult<Plan<Power>> {
    let vm = find(call.app.db.read(), &msg.uuid).await?;
    check_state(&vm, &call.api.message_class())?;
    if vm.state == "Stopped" {
        return Ok(Plan::Done(Reply::Inventory(INVENTORY, vm.uuid)));
    }
    check_host(&call, &vm).await?;
    let mut state = power(&call, &vm);
    state.hard = msg.r#type.as_deref() == Some("cold");
    Ok(Plan::Run(state))
}

/// Where the local volumes of a VM are; `None` while it has none (CS-VM-041).
pub(super) async fn home<C: sea_orm::ConnectionTrait>(conn: &C, vm: &str) -> ApiResult<Option<String>> {
    use mn_service_db::entity::local_storage_resource_ref::{Column, Entity};
    let volumes = volume::Entity::find().filter(volume::Column::VmInstanceUuid.eq(vm)).all(conn).await.or_internal()?;
    let uuids = volumes.into_iter().map(|volume| volume.uuid);
    let row = Entity::find().filter(Column::ResourceUuid.is_in(uuids)).one(conn).await.or_internal()?;
    Ok(row.map(|row| row.host_uuid))
}

async fn reserve(app: Arc<App>, mut state: Power) -> StepResult<Power> {
    let asked = state.clone();
    let service = app.clone();
    let group = affinity::group_of(app.db.read(), &state.uuid).await?;
    let host = app
        .write(|tx| async move {
            affinity::enter(&tx, group.as_deref()).await?;
            let vm = find(&*tx, &asked.uuid).await?;
            if let Some(account) = access::owner_of(&*tx, &vm.uuid).await? {
                let demands = super::running_demands(vm.cpu_num, vm.memory_size);
                quota::demand(&service, &tx, &account, &demands, &vm.uuid).await?;
            }
            reserve_host(&tx, &asked, group.as_deref()).await
        })
        .await?;
    state.host = Some(host);
    Ok(state)
}

async fn reserve_host(tx: &Tx, state: &Power, group: Option<&str>) -> ApiResult<String> {
    let vm = find(&**tx, &state.uuid).await?;
    let home = home(&**tx, &vm.uuid).await?;
    if let (Some(home), Some(wanted)) = (&home, &state.wanted_host)
        && home != wanted
    {
        // CS-VM-043.
        let text = format!(
            "hostUuid: the volumes of VM {} are on host {home}; with local storage it starts there only",
            vm.name
        );
        return Err(ApiError::new(ErrorCode::InvalidArgument, text));
    }
    let host = match home.or_else(|| state.wanted_host.clone()).or_else(|| vm.last_host_uuid.clone()) {
        Some(host) => host,
        None => {
            return Err(ApiError::new(
                ErrorCode::StartVm,
                format!("VM {} has no volume on any host; it cannot start", vm.name),
            ));
        }
    };
    let row = host::find(&**tx, &host).await?;
    let mut reasons = host_problems(&**tx, &vm, &row).await?;
    if let Some(group) = group
        && let Some(neighbours) = affinity::Neighbours::of(&**tx, group, Some(&vm.uuid)).await?
        && neighbours.is_hard()
        && neighbours.run_on(&host)
    {
        reasons.push(neighbours.reason());
    }
    let wanted = placement::Wanted { cpu: i64::from(vm.cpu_num), memory: vm.memory_size, ..Default::default() };
    let reserved = reasons.is_empty()
        && crate::resource::allocation::reserve_host(tx, &vm.uuid, &host, wanted.cpu, wanted.memory).await?;
    if !reserved {
        if reasons.is_empty() {
            reasons.push("it has too few processors or too little memory free".to_owned());
        }
        let refused = placement::Refused { uuid: host, name: row.name, reasons };
        return Err(placement::no_host(&wanted, vec![refused]));
    }
    let starting = vm_instance::ActiveModel {
        uuid: Set(vm.uuid.clone()),
        state: Set("Starting".to_owned()),
        host_uuid: Set(Some(host.clone())),
        cluster_uuid: Set(Some(row.cluster_uuid)),
        zone_uuid: Set(Some(row.zone_uuid)),
        last_op_date: Set(mn_service_types::date::now_millis()),
        ..Default::default()
    };
    vm_instance::Entity::update(starting).exec(&**tx).await.or_internal()?;
    give_addresses(tx, state).await?;
    Ok(host)
}

/// Why a host cannot start a VM whatever it has free (CS-VM-045, CS-VM-049, CS-VM-051, CS-VM-052).
pub(super) async fn host_problems<C: sea_orm::ConnectionTrait>(
    conn: &C,
    vm: &vm_instance::Model,
    row: &mn_service_db::entity::host::Model,
) -> ApiResult<Vec<String>> {
    let mut reasons = Vec::new();
    if row.state != "Enabled" {
        reasons.push(format!("it is {}", row.state));
    }
    if row.status != "Connected" {
        reasons.push(format!("it is {}", row.status));
    }
    let storages = spec::volumes(conn, &vm.uuid).await?.into_iter().filter_map(|volume| volume.primary_storage_uuid);
    reasons.extend(primary_storage::out_of_reach(conn, &row.cluster_uuid, storages.collect()).await?);
    Ok(reasons)
}

/// NET-L3-042: cards whose range was deleted get an address of another one at the next start.
async fn give_addresses(tx: &Tx, state: &Power) -> ApiResult<()> {
    for card in spec::nics(&**tx, &state.uuid).await?.into_iter().filter(|card| card.ip.is_none()) {
        let Some(l3) = &card.l3_network_uuid else { continue };
        let used_ip = image::derived(&state.job, &card.uuid);
        nic::give_address(tx, &card.uuid, l3, &used_ip, None).await?;
    }
    Ok(())
}

async fn unreserve(app: Arc<App>, state: Power) -> StepResult<()> {
    super::leave_network(&app, &state.uuid).await?;
    let uuid = state.uuid.clone();
    app.write(|tx| async move {
        allocation::release_hosts(&tx, std::slice::from_ref(&uuid)).await?;
        let row = vm_instance::ActiveModel {
            uuid: Set(uuid),
            state: Set(state.before),
            host_uuid: Set(None),
            ..Default::default()
        };
        vm_instance::Entity::update(row).exec(&*tx).await.or_internal()?;
        Ok(())
    })
    .await?;
    Ok(())
}

fn host_of(state: &Power) -> ApiResult<&str> {
    state.host.as_deref().ok_or_else(|| ApiError::new(ErrorCode::VmState, format!("VM {} is on no host", state.uuid)))
}

async fn join_network(app: Arc<App>, state: Power) -> StepResult<Power> {
    let vm = find(app.db.read(), &state.uuid).await?;
    let nics = spec::nics(app.db.read(), &state.uuid).await?;
    super::join_network(&app, &state.job, host_of(&state)?, &vm, &nics).await?;
    Ok(state)
}

async fn start(app: Arc<App>, state: Power) -> StepResult<Power> {
    let vm = find(app.db.read(), &state.uuid).await?;
    let host = host_of(&state)?;
    let start = StartVm { vm: spec::of(&app, app.db.read(), &vm).await? };
    let agent = app.agents.of(app.db.read(), host).await?;
    agents::run(&agent, &state.job, "start", start, app.host_patience()).await.map_err(|e| {
        agents::failure(ErrorCode::HypervisorStart, format!("VM {} could not be started", vm.name), host, &e)
    })?;
    Ok(state)
}

async fn send_stop(app: &App, state: &Power, work: &str, mode: StopMode) -> ApiResult<()> {
    let host = host_of(state)?;
    let agent = app.agents.of(app.db.read(), host).await?;
    let stop = StopVm { vm: agents::id(&state.uuid)?, mode };
    agents::run(&agent, &state.job, work, stop, app.host_patience()).await.map_err(|e| {
        agents::failure(ErrorCode::HypervisorStop, format!("VM {} could not be stopped", state.uuid), host, &e)
    })
}

async fn power_off(app: Arc<App>, state: Power) -> StepResult<()> {
    Ok(send_stop(&app, &state, "undo-start", StopMode::PowerOff).await?)
}

async fn stop(app: Arc<App>, state: Power) -> StepResult<Power> {
    if state.host.is_some() {
        let mode = if state.hard { StopMode::PowerOff } else { StopMode::Graceful { seconds: PATIENCE_SECONDS } };
        send_stop(&app, &state, "stop", mode).await?;
    }
    Ok(state)
}

async fn mark(app: Arc<App>, state: Power, to: &'static str) -> StepResult<Power> {
    let uuid = state.uuid.clone();
    app.write(|tx| async move { set_state(&tx, &uuid, to).await }).await?;
    Ok(state)
}

/// After a failure nobody but the host knows what became of the VM.
async fn resync(app: Arc<App>, state: Power) -> StepResult<()> {
    Ok(sync::one(&app, &state.uuid).await?)
}

async fn note_running(app: Arc<App>, state: Power) -> StepResult<Power> {
    let uuid = state.uuid.clone();
    app.write(|tx| async move { super::mark_running(&tx, &uuid).await }).await?;
    Ok(state)
}

async fn note_stopped(app: Arc<App>, state: Power) -> StepResult<Power> {
    super::leave_network(&app, &state.uuid).await?;
    let uuid = state.uuid.clone();
    app.write(|tx| async move { allocation::mark_stopped(&tx, &[uuid]).await }).await?;
    Ok(state)
}

async fn note(app: Arc<App>, state: Power, to: &'static str) -> StepResult<Power> {
    mark(app, state, to).await
}

async fn pause(app: Arc<App>, state: Power) -> StepResult<Power> {
    send_pause(&app, &state, "pause").await?;
    Ok(state)
}

async fn pause_host(app: Arc<App>, state: Power) -> StepResult<()> {
    Ok(send_pause(&app, &state, "undo-resume").await?)
}

async fn send_pause(app: &App, state: &Power, work: &str) -> ApiResult<()> {
    let host = host_of(state)?;
    let agent = app.agents.of(app.db.read(), host).await?;
    agents::run(&agent, &state.job, work, PauseVm { vm: agents::id(&state.uuid)? }, app.host_patience())
        .await
        .map(drop)
        .map_err(|e| agents::failure(ErrorCode::Operation, format!("VM {} could not be paused", state.uuid), host, &e))
}

async fn resume(app: Arc<App>, state: Power) -> StepResult<Power> {
    send_resume(&app, &state, "resume").await?;
    Ok(state)
}

async fn resume_host(app: Arc<App>, state: Power) -> StepResult<()> {
    Ok(send_resume(&app, &state, "undo-pause").await?)
}

async fn send_resume(app: &App, state: &Power, work: &str) -> ApiResult<()> {
    let host = host_of(state)?;
    let agent = app.agents.of(app.db.read(), host).await?;
    agents::run(&agent, &state.job, work, ResumeVm { vm: agents::id(&state.uuid)? }, app.host_patience())
        .await
        .map(drop)
        .map_err(|e| agents::failure(ErrorCode::Operation, format!("VM {} could not be resumed", state.uuid), host, &e))
}
