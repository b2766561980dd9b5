//! Hosts (CS-HOST-*).

mod add;
mod connect;
mod ping;

pub(crate) use add::check_address;
pub use connect::connect;
pub(crate) use ping::try_at_once;
pub use ping::{forget_connections, ping_all, ping_disconnected, reconnect_all};

use std::sync::Arc;

use mn_service_db::entity::{host, host_capacity, vm_instance};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult, new_uuid};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::deletion;
use crate::{
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    change,
    deploy::{command::Password, ensure},
};

mn_service_types::messages! {
    ReconnectHost { uuid: String }
    ChangeHostState { uuid: String, state_event: String }
    UpdateKVMHost { uuid: String, name: Option<String>, description: Option<String>, management_ip: Option<String>, username: Option<String>, password: Option<String>, ssh_port: Option<i32> }
    GetCpuMemoryCapacity { zone_uuids: Option<Vec<String>>, cluster_uuids: Option<Vec<String>>, host_uuids: Option<Vec<String>>, all: bool }
    GetHostAllocatorStrategies {}
}

const INVENTORY: &str = "KVMHostInventory";

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryHost");
    apis.workflow("host.add", add::prepare, |state: &add::AddHost| Reply::Inventory(INVENTORY, state.uuid.clone()));
    apis.workflow("host.add", add::prepare_enrolled, |state: &add::AddHost| {
        Reply::Inventory(INVENTORY, state.uuid.clone())
    });
    apis.workflow("host.reconnect", prepare_reconnect, |state: &Reconnect| {
        Reply::Inventory(INVENTORY, state.uuid.clone())
    });
    apis.workflow("host.state", prepare_state, |state: &ChangeState| Reply::Inventory(INVENTORY, state.uuid.clone()));
    apis.record(update);
    change::update(apis, "UpdateHost", "HostInventory");
    deletion::register(apis, "DeleteHost", "HostVO");
    apis.sync(capacity);
    apis.sync(strategies);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(add::workflow())?;
    registry.register(
        Workflow::named("host.reconnect", 1)
            .step("deploy", step_redeploy, Undo::nothing("an agent that was replaced serves as the old one did; a host that fails is noted as Disconnected by the step itself"))
            .step("connect", step_reconnect, Undo::nothing("a host that does not connect is noted as Disconnected by the step itself")),
    )?;
    registry.register(
        Workflow::named("host.state", 1)
            .step("close", close, Undo::with(reopen))
            .step(
                "stop-vms",
                stop_vms,
                Undo::nothing("VMs that were stopped stay stopped; their owners start them elsewhere"),
            )
            .step("switch", switch_state, Undo::nothing("it is the last step and one transaction")),
    )
}

/// The row of a host.
pub async fn find<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<host::Model> {
    let row = host::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("HostVO", uuid))
}

/// Refuses work that a host cannot hear of. Only where a call begins: a step that is under way waits for its host.
pub async fn check_connected<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<()> {
    let row = find(conn, uuid).await?;
    if row.status == "Connected" {
        return Ok(());
    }
    let text = format!(
        "host {} ({uuid}) is {}; it is taken up again when it answers, or at once with ReconnectHost",
        row.name, row.status
    );
    Err(ApiError::new(ErrorCode::HostDisconnected, text))
}

/// CS-HOST-030: a host that may still run VMs is not deleted by accident.
pub async fn check_deletable(app: &App, uuid: &str) -> ApiResult<()> {
    let row = find(app.db.read(), uuid).await?;
    if row.status == "Disconnected" || matches!(row.state.as_str(), "Maintenance" | "PreMaintenance") {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::DeleteResource,
        format!(
            "host {} ({}) is {} and {}; put it into maintenance first (ChangeHostState stateEvent=maintain), or delete with deleteMode=Enforcing",
            row.name, row.management_ip, row.status, row.state
        ),
    ))
}

/// State of a reconnection.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reconnect {
    job: String,
    uuid: String,
}

async fn prepare_reconnect(call: Call, msg: ReconnectHost) -> ApiResult<Plan<Reconnect>> {
    Ok(Plan::Run(Reconnect { job: call.job.clone(), uuid: msg.uuid }))
}

/// A host that cannot be reconnected counts as Disconnected.
async fn lost(app: &App, uuid: &str, error: ApiError) -> StepError {
    if let Err(failure) = connect::disconnected(app, uuid).await {
        return failure.into();
    }
    let failure =
        ApiError::new(ErrorCode::ReconnectHost, format!("host {uuid} could not be reconnected: {}", error.details));
    failure.caused_by(error).into()
}

/// CS-HOST-040: the agent is deployed again when it is gone or of another version.
async fn step_redeploy(app: Arc<App>, state: Reconnect) -> StepResult<Reconnect> {
    let redeployed = async {
        let row = find(app.db.read(), &state.uuid).await?;
        ensure::ensure(&app, &state.job, &access(&app, &row)?).await
    };
    match redeployed.await {
        Ok(()) => Ok(state),
        Err(error) => Err(lost(&app, &state.uuid, error).await),
    }
}

fn access(app: &App, row: &host::Model) -> ApiResult<ensure::Access> {
    let sealed = row.secret.as_deref();
    let password =
        sealed.map(|sealed| app.sealer.unseal(&add::secret_purpose(&row.uuid), sealed)).transpose().or_internal()?;
    let port = |port: Option<i32>, default: u16| port.and_then(|port| u16::try_from(port).ok()).unwrap_or(default);
    Ok(ensure::Access {
        host: row.uuid.clone(),
        management_ip: row.management_ip.clone(),
        agent_port: port(row.agent_port, app.agents.default_port()),
        ssh_port: port(row.ssh_port, 22),
        user: row.username.clone(),
        password: password.and_then(Password::new),
    })
}

async fn step_reconnect(app: Arc<App>, state: Reconnect) -> StepResult<Reconnect> {
    match connect(&app, &state.job, &state.uuid).await {
        Ok(()) => Ok(state),
        Err(error) => Err(lost(&app, &state.uuid, error).await),
    }
}

/// Reconnects a host without a job. The caller holds the host's turn, or somebody who waits for this does.
async fn reconnect_now(app: &Arc<App>, uuid: &str) -> ApiResult<()> {
    let state = Reconnect { job: new_uuid(), uuid: uuid.to_owned() };
    let state = step_redeploy(app.clone(), state).await.map_err(|error| error.0)?;
    step_reconnect(app.clone(), state).await.map(drop).map_err(|error| error.0)
}

/// State of a change of a host's administrative state.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ChangeState {
    job: String,
    uuid: String,
    event: String,
    before: String,
}

async fn prepare_state(call: Call, msg: ChangeHostState) -> ApiResult<Plan<ChangeState>> {
    let row = find(call.app.db.read(), &msg.uuid).await?;
    Ok(Plan::Run(ChangeState { job: call.job.clone(), uuid: msg.uuid, event: msg.state_event, before: row.state }))
}

async fn set_state(app: &App, uuid: &str, state: &str) -> ApiResult<()> {
    app.write(|tx| async move {
        let row = host::ActiveModel {
            uuid: Set(uuid.to_owned()),
            state: Set(state.to_owned()),
            last_op_date: Set(now_millis()),
            ..Default::default()
        };
        host::Entity::update(row).exec(&*tx).await.or_internal()?;
        Ok(())
    })
    .await
}

/// A host that goes into maintenance takes no new VMs while its own are being stopped (CS-HOST-024).
async fn close(app: Arc<App>, state: ChangeState) -> StepResult<ChangeState> {
    if state.event == "maintain" && state.before != "Maintenance" {
        app.write(|tx| {
            let uuid = state.uuid.clone();
            async move { change::switch(&tx, "HostInventory", "HostState", &uuid, "preMaintain").await }
        })
        .await?;
    }
    Ok(state)
}

async fn reopen(app: Arc<App>, state: ChangeState) -> StepResult<()> {
    Ok(set_state(&app, &state.uuid, &state.before).await?)
}

/// CS-HOST-024: with local storage the VMs of the host are stopped.
async fn stop_vms(app: Arc<App>, state: ChangeState) -> StepResult<ChangeState> {
    if state.event != "maintain" {
        return Ok(state);
    }
    let vms: Vec<String> = vm_instance::Entity::find()
        .select_only()
        .column(vm_instance::Column::Uuid)
        .filter(vm_instance::Column::HostUuid.eq(&state.uuid))
        .into_tuple()
        .all(app.db.read())
        .await
        .or_internal()?;
    let row = find(app.db.read(), &state.uuid).await?;
    let left = super::vm::stop_all(&app, &state.job, &vms).await;
    if app.settings.flag("host", "maintenanceMode.ignoreError") || row.status != "Connected" {
        for left in &left {
            tracing::warn!(vm = left.vm, error = %left.error, "left running while its host enters maintenance");
        }
        return Ok(state);
    }
    if let Some(first) = left.first() {
        let each: Vec<&str> = left.iter().map(|left| left.vm.as_str()).collect();
        let failure = ApiError::new(
            ErrorCode::EnterMaintenance,
            format!("host {} cannot enter maintenance: VM {} does not stop", row.name, each.join(", VM ")),
        );
        return Err(failure.caused_by(first.error.clone()).into());
    }
    Ok(state)
}

async fn switch_state(app: Arc<App>, state: ChangeState) -> StepResult<ChangeState> {
    let (uuid, event) = (state.uuid.clone(), state.event.clone());
    app.write(|tx| async move {
        let row = find(&*tx, &uuid).await?;
        let target = mn_service_types::contract().transition("HostState", &row.state, &event);
        // Done before a crash: the state machine has no loop at Maintenance.
        if target.is_none() && row.state == "Maintenance" && event == "maintain" {
            return Ok(());
        }
        change::switch(&tx, "HostInventory", "HostState", &uuid, &event).await.map(drop)
    })
    .await?;
    Ok(state)
}

async fn update(call: Call, tx: Tx, msg: UpdateKVMHost) -> ApiResult<Reply> {
    let mut row =
        host::ActiveModel { uuid: Set(msg.uuid.clone()), last_op_date: Set(now_millis()), ..Default::default() };
    if let Some(name) = msg.name {
        row.name = Set(name);
    }
    if let Some(description) = msg.description {
        row.description = Set(Some(description));
    }
    if let Some(ip) = msg.management_ip {
        add::check_address(&*tx, &ip, Some(&msg.uuid)).await?;
        row.management_ip = Set(ip);
    }
    if let Some(username) = msg.username {
        row.username = Set(Some(username));
    }
    if let Some(port) = msg.ssh_port {
        row.ssh_port = Set(Some(port));
    }
    if let Some(password) = msg.password {
        let sealed = call.app.sealer.seal(&add::secret_purpose(&msg.uuid), &password).or_internal()?;
        row.secret = Set(Some(sealed));
    }
    host::Entity::update(row).exec(&*tx).await.or_internal()?;
    ping::try_at_once(&msg.uuid);
    Ok(Reply::Inventory(INVENTORY, msg.uuid))
}

async fn capacity(call: Call, msg: GetCpuMemoryCapacity) -> ApiResult<Map<String, serde_json::Value>> {
    let mut query = host::Entity::find();
    let chosen = |list: &Option<Vec<String>>| list.clone().filter(|uuids| !uuids.is_empty());
    if let Some(uuids) = chosen(&msg.zone_uuids) {
        query = query.filter(host::Column::ZoneUuid.is_in(uuids));
    }
    if let Some(uuids) = chosen(&msg.cluster_uuids) {
        query = query.filter(host::Column::ClusterUuid.is_in(uuids));
    }
    if let Some(uuids) = chosen(&msg.host_uuids) {
        query = query.filter(host::Column::Uuid.is_in(uuids));
    }
    let hosts: Vec<String> =
        query.select_only().column(host::Column::Uuid).into_tuple().all(call.app.db.read()).await.or_internal()?;
    let of_hosts = host_capacity::Column::Uuid.is_in(hosts);
    let rows = host_capacity::Entity::find().filter(of_hosts).all(call.app.db.read()).await.or_internal()?;
    let sum = |value: fn(&host_capacity::Model) -> i64| rows.iter().map(value).sum::<i64>();
    Ok(Map::from_iter([
        ("totalCpu".to_owned(), json!(sum(|c| c.total_cpu))),
        ("availableCpu".to_owned(), json!(sum(|c| c.available_cpu))),
        ("totalMemory".to_owned(), json!(sum(|c| c.total_memory))),
        ("availableMemory".to_owned(), json!(sum(|c| c.available_memory))),
        ("managedCpuNum".to_owned(), json!(sum(|c| i64::from(c.cpu_num)))),
    ]))
}

async fn strategies(_call: Call, _msg: GetHostAllocatorStrategies) -> ApiResult<Map<String, serde_json::Value>> {
    let known =
        json!([super::vm::placement::LEAST_VM, super::vm::placement::LAST_HOST, super::vm::placement::DESIGNATED]);
    Ok(Map::from_iter([("strategies".to_owned(), known)]))
}
