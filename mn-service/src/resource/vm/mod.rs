//! Virtual machines (CS-VM-*).

mod candidates;
mod create;
mod delete;
pub mod placement;
mod power;
pub mod spec;
pub mod sync;

use mn_service_db::entity::{vm_instance, vm_nic};
use mn_service_types::{ApiError, ErrorCode, contract, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError};
use node_manager_types::{operation::StopVm, vm::StopMode};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde_json::{Map, Value, json};

use crate::{
    agents,
    api::{Apis, Call, Reply, StepError},
    app::{App, OrInternal, Tx},
    change,
    resource::{allocation, l2_network, l3_network},
};

mn_service_types::messages! {
    GetVmCapabilities { uuid: String }
}

/// Structure of a VM on the wire.
pub const INVENTORY: &str = "VmInstanceInventory";

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryVmInstance");
    apis.query("QueryVmNic");
    apis.query("QueryVmCdRom");
    apis.workflow("vm.create", create::prepare, |state: &create::CreateVm| {
        Reply::Inventory(INVENTORY, state.uuid.clone())
    });
    power::register(apis);
    delete::register(apis);
    apis.record_raw("UpdateVmInstance", update);
    candidates::register(apis);
    apis.sync(capabilities);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(create::workflow())?;
    power::workflows(registry)?;
    delete::workflows(registry)
}

/// The row of a VM.
pub async fn find<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<vm_instance::Model> {
    let row = vm_instance::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("VmInstanceVO", uuid))
}

/// The image server that holds an image.
async fn image_server<C: ConnectionTrait>(conn: &C, image: &str) -> ApiResult<Option<String>> {
    use mn_service_db::entity::image_backup_storage_ref::{Column, Entity};
    let copy = Entity::find()
        .filter(Column::ImageUuid.eq(image))
        .filter(Column::Status.eq("Ready"))
        .one(conn)
        .await
        .or_internal()?;
    Ok(copy.map(|copy| copy.backup_storage_uuid))
}

/// Refuses what the contract does not allow in the VM's state (CS-VM-230).
pub fn check_state(vm: &vm_instance::Model, message: &str) -> ApiResult<()> {
    if contract().vm_allows(&vm.state, message) {
        return Ok(());
    }
    let states = contract().vm_states_for(message).join(", ");
    Err(ApiError::new(
        ErrorCode::VmState,
        format!("VM {} ({}) is {}; this needs one of these states: {states}", vm.name, vm.uuid, vm.state),
    ))
}

/// Sets the state of a VM.
pub async fn set_state(tx: &Tx, uuid: &str, state: &str) -> ApiResult<()> {
    let row = vm_instance::ActiveModel {
        uuid: Set(uuid.to_owned()),
        state: Set(state.to_owned()),
        last_op_date: Set(now_millis()),
        ..Default::default()
    };
    vm_instance::Entity::update(row).exec(&**tx).await.or_internal()?;
    Ok(())
}

/// Notes that a VM runs on its host.
pub async fn mark_running(tx: &Tx, uuid: &str) -> ApiResult<()> {
    let host = find(&**tx, uuid).await?.host_uuid;
    let row = vm_instance::ActiveModel {
        uuid: Set(uuid.to_owned()),
        state: Set("Running".to_owned()),
        last_host_uuid: Set(host),
        last_op_date: Set(now_millis()),
        ..Default::default()
    };
    vm_instance::Entity::update(row).exec(&**tx).await.or_internal()?;
    Ok(())
}

/// Makes the networks of a VM work on a host: bridges, then leases.
pub async fn join_network(
    app: &App,
    job: &str,
    host: &str,
    vm: &vm_instance::Model,
    nics: &[vm_nic::Model],
) -> ApiResult<()> {
    let l3s: Vec<String> = nics.iter().filter_map(|nic| nic.l3_network_uuid.clone()).collect();
    let networks = mn_service_db::entity::l3_network::Entity::find()
        .filter(mn_service_db::entity::l3_network::Column::Uuid.is_in(l3s))
        .all(app.db.read())
        .await
        .or_internal()?;
    let mut l2s: Vec<String> = networks.into_iter().map(|network| network.l2_network_uuid).collect();
    l2s.sort();
    l2s.dedup();
    for l2 in l2s {
        l2_network::ensure_on_host(app, job, &l2, host).await?;
    }
    l3_network::push_leases(app, job, host, vm, nics).await
}

/// Powers a VM off and notes it. For maintenance and for deletes of what the VM depends on.
pub async fn stop_now(app: &App, job: &str, vm: &vm_instance::Model) -> ApiResult<()> {
    if let Some(host) = &vm.host_uuid {
        let agent = app.agents.of(app.db.read(), host).await?;
        let stop = StopVm { vm: agents::id(&vm.uuid)?, mode: StopMode::PowerOff };
        agents::run(&agent, job, &format!("stop-{}", vm.uuid), stop, app.host_patience()).await.map_err(|e| {
            agents::failure(ErrorCode::StopVm, format!("VM {} could not be stopped", vm.uuid), host, &e)
        })?;
    }
    let uuid = vm.uuid.clone();
    app.write(|tx| async move { allocation::mark_stopped(&tx, &[uuid]).await }).await
}

/// CS-VM-033: an operator may correct the recorded state; everything else is a plain update of columns.
async fn update(call: Call, tx: Tx) -> ApiResult<Reply> {
    let uuid = change::target(&call)?;
    let vm = find(&*tx, &uuid).await?;
    let mut problems = Vec::new();
    let resized = ["cpuNum", "memorySize"]
        .iter()
        .any(|name| call.params.get(*name).and_then(Value::as_i64).is_some_and(|n| n > 0));
    if resized && vm.state != "Stopped" {
        problems.push(format!("cpuNum and memorySize change while the VM is Stopped; it is {}", vm.state));
    }
    if let Some(l3) = call.text("defaultL3NetworkUuid") {
        let has = spec::nics(&*tx, &uuid).await?.iter().any(|nic| nic.l3_network_uuid.as_deref() == Some(l3));
        if !has {
            problems.push("defaultL3NetworkUuid must be a network of one of the VM's cards".to_owned());
        }
    }
    if call.text("state") == Some("Running") && vm.host_uuid.is_none() {
        problems.push("state: a VM without a host cannot be noted as Running; start it".to_owned());
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    let mut columns = call.clone();
    let mut params = (*call.params).clone();
    params.remove("state");
    // Zeroes mean "not given" (PROTOCOL.md section 15).
    params.retain(|name, value| !(matches!(name.as_str(), "cpuNum" | "memorySize") && value == 0));
    columns.params = std::sync::Arc::new(params);
    change::apply_update(&columns, &tx, INVENTORY, &uuid).await?;
    match call.text("state") {
        Some("Stopped") => allocation::mark_stopped(&tx, std::slice::from_ref(&uuid)).await?,
        Some(state) => set_state(&tx, &uuid, state).await?,
        None => {}
    }
    Ok(Reply::Inventory(INVENTORY, uuid))
}

async fn capabilities(call: Call, msg: GetVmCapabilities) -> ApiResult<Map<String, Value>> {
    find(call.app.db.read(), &msg.uuid).await?;
    // Local storage: neither live migration nor memory snapshots (CS-MAT-003).
    let capabilities =
        json!({ "LiveMigration": false, "VolumeMigration": false, "Reimage": false, "MemorySnapshot": false });
    Ok(Map::from_iter([("capabilities".to_owned(), capabilities)]))
}
