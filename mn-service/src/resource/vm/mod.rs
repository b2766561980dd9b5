//! Virtual machines (CS-VM-*).

mod candidates;
mod configure;
mod create;
mod delete;
mod halt;
mod iso;
mod nic;
mod offers;
pub mod placement;
mod power;
mod reimage;
mod settings;
pub mod spec;
pub mod sync;

use mn_service_db::entity::{vm_instance, vm_nic};
use mn_service_types::{ApiError, ErrorCode, contract, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};

pub(super) use configure::hostname_problem;
pub use halt::stop_all;

use crate::{
    api::{Apis, Reply, StepError},
    app::{App, OrInternal, Tx},
    resource::{host, l2_network, l3_network, quota::Counted},
};

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
    nic::register(apis);
    configure::register(apis);
    settings::register(apis);
    candidates::register(apis);
    offers::register(apis);
    iso::register(apis);
    reimage::register(apis);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(create::workflow())?;
    power::workflows(registry)?;
    delete::workflows(registry)?;
    nic::workflows(registry)?;
    configure::workflows(registry)?;
    iso::workflows(registry)?;
    reimage::workflows(registry)
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

/// What a VM that runs counts in its account's quotas.
fn running_demands(cpu: i32, memory: i64) -> [(Counted, i64); 3] {
    [(Counted::RunningVms, 1), (Counted::Cpus, i64::from(cpu)), (Counted::Memory, memory)]
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
    settings::use_up_boot_order(tx, uuid).await
}

/// Why [`join_network`] has no undo of its own: the step that noted the VM on its host has one that leaves.
const LEASES: &str = "taking the reservation back makes the host forget the leases";

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

/// A VM runs no longer: the host where it is noted forgets its leases, and with them what its guest was told. Whoever
/// stopped the VM does not fail or wait because of that; a host that is not there is told when it connects
/// ([`l3_network::host_connected`]).
///
/// A host that connects gets the leases of all VMs that are noted on it. So this belongs right before the transaction
/// that takes the note away, into the same step: a crash between the two repeats both.
pub async fn leave_network(app: &App, vm: &str) -> ApiResult<()> {
    let row = vm_instance::Entity::find_by_id(vm).one(app.db.read()).await.or_internal()?;
    let Some(on) = row.and_then(|row| row.host_uuid) else { return Ok(()) };
    if host::find(app.db.read(), &on).await?.status != "Connected" {
        return Ok(());
    }
    let nics = spec::nics(app.db.read(), vm).await?;
    if let Err(error) = l3_network::remove_leases(app, &on, &nics).await {
        tracing::warn!(vm, host = on, %error, "leases of a VM that does not run stay until its host connects again");
    }
    Ok(())
}
