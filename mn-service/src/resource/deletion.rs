//! Deleting what has descendants: the workflow `resource.delete` over the cascade graph, and its preview.

use std::collections::BTreeSet;

use mn_service_db::entity::{vm_instance, vm_nic};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{operation::StopVm, vm::StopMode};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{
    affinity, allocation,
    host_networks::{self, Plugged},
    image, l3_network, primary_storage, vm,
};
use crate::{
    access, agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    cascade::{self, Deletion, Running},
    change, garbage,
    preview::Preview,
    tags,
};

/// State of a deletion.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delete {
    job: String,
    vo: String,
    uuid: String,
    /// Go on when a host does not stop its VMs.
    enforcing: bool,
    /// VMs that were running when the deletion began.
    stops: BTreeSet<Running>,
    /// NICs that go from VMs that stay and had a host when the deletion began.
    #[serde(default)]
    unplugs: BTreeSet<Plugged>,
    /// What the networks left on hosts, by its number in the garbage.
    #[serde(default)]
    garbage: Vec<i64>,
}

/// Registers a delete API over the cascade graph.
pub(super) fn register(apis: &mut Apis, name: &'static str, vo: &'static str) {
    apis.workflow_raw(
        "resource.delete",
        name,
        move |call: Call| async move { prepare(call, vo).await },
        |_: &Delete| Reply::Empty,
    );
    apis.preview(name, vo, move |call: Call| async move { look(call, vo).await });
}

async fn look(call: Call, vo: &'static str) -> ApiResult<Preview> {
    let uuid = change::target(&call)?;
    let mut preview = Preview::of(&cascade::plan(call.app.db.read(), vo, std::slice::from_ref(&uuid)).await?);
    preview.refuse(guard(&call, vo, &uuid).await)?;
    Ok(preview)
}

async fn prepare(call: Call, vo: &'static str) -> ApiResult<Plan<Delete>> {
    let uuid = change::target(&call)?;
    let deletion = cascade::plan(call.app.db.read(), vo, std::slice::from_ref(&uuid)).await?;
    guard(&call, vo, &uuid).await?;
    let enforcing = call.text("deleteMode") == Some("Enforcing");
    let unplugs = unplugs(call.app.db.read(), &deletion).await?;
    let stops = deletion.stops;
    Ok(Plan::Run(Delete {
        job: call.job.clone(),
        vo: vo.to_owned(),
        uuid,
        enforcing,
        stops,
        unplugs,
        garbage: Vec::new(),
    }))
}

/// NICs of a plan in VMs that run on without them.
async fn unplugs<C: ConnectionTrait>(conn: &C, deletion: &Deletion) -> ApiResult<BTreeSet<Plugged>> {
    let nics = vm_nic::Entity::find()
        .filter(vm_nic::Column::Uuid.is_in(deletion.deleted("VmNicVO")))
        .all(conn)
        .await
        .or_internal()?;
    let mut plugged = host_networks::plugged(conn, &nics).await?;
    plugged.retain(|nic| !deletion.stops.iter().any(|vm| vm.uuid == nic.vm));
    Ok(plugged)
}

/// Rules that a resource has of its own.
async fn guard(call: &Call, vo: &str, uuid: &str) -> ApiResult<()> {
    match vo {
        "PrimaryStorageVO" => primary_storage::guard_delete(call.app.db.read(), uuid).await,
        "HostVO" if call.text("deleteMode") != Some("Enforcing") => super::host::check_deletable(&call.app, uuid).await,
        _ => Ok(()),
    }
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("resource.delete", 1)
            .step("stop-vms", stop_vms, Undo::with(resync))
            .step("unplug-nics", unplug_nics, Undo::with(plug_again))
            .step(
                "remove-records",
                remove_records,
                Undo::nothing("one transaction, and the step after it never fails for a host"),
            )
            .step("clean-hosts", clean_hosts, Undo::nothing("what cannot be removed now is garbage that is noted")),
    )
}

/// NET-L2-035, NET-L3-048: VMs that stay lose the NICs of networks that go.
async fn unplug_nics(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    host_networks::unplug(&app, &state.job, &state.unplugs, state.enforcing).await?;
    Ok(state)
}

async fn plug_again(app: Arc<App>, state: Delete) -> StepResult<()> {
    Ok(host_networks::plug_again(&app, &state.job, &state.unplugs).await?)
}

/// Takes off the hosts what the networks left there. It is in the database since the records went: what a crash or a
/// host keeps from being removed now, the collector removes later.
async fn clean_hosts(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    garbage::collect_now(&app, &state.garbage).await?;
    Ok(state)
}

async fn stop_vms(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    for vm in &state.stops {
        let stop = StopVm { vm: agents::id(&vm.uuid)?, mode: StopMode::PowerOff };
        let stopped = match app.agents.of(app.db.read(), &vm.host_uuid).await {
            Ok(agent) => agents::run(&agent, &state.job, &format!("stop-{}", vm.uuid), stop, app.host_patience())
                .await
                .map_err(|e| {
                    agents::failure(
                        ErrorCode::StopVm,
                        format!("VM {} could not be stopped", vm.uuid),
                        &vm.host_uuid,
                        &e,
                    )
                }),
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            if !state.enforcing {
                return Err(error.into());
            }
            // The host reports the VM as unknown when it comes back (CS-HOST-033).
            tracing::warn!(vm = %vm.uuid, %error, "left running because the delete is enforced");
        }
    }
    Ok(state)
}

/// A VM that was stopped stays stopped, and is noted so: its owner starts it when the delete failed.
async fn resync(app: Arc<App>, state: Delete) -> StepResult<()> {
    for stopped in &state.stops {
        let row = vm_instance::Entity::find_by_id(&stopped.uuid).one(app.db.read()).await.or_internal()?;
        if row.is_some_and(|vm| vm.host_uuid.is_some()) {
            vm::sync::one(&app, &stopped.uuid).await?;
        }
    }
    Ok(())
}

async fn remove_records(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    for stopped in &state.stops {
        vm::leave_network(&app, &stopped.uuid).await?;
    }
    let context = app.clone();
    let removed = app
        .write(|tx| async move {
            let deletion = cascade::plan(&*tx, &state.vo, std::slice::from_ref(&state.uuid)).await?;
            if let Some(vm) = deletion.stops.difference(&state.stops).next() {
                return Err(ApiError::new(
                    ErrorCode::DeleteResource,
                    format!("VM {} was started on host {} meanwhile; delete again", vm.uuid, vm.host_uuid),
                ));
            }
            if let Some(nic) = unplugs(&*tx, &deletion).await?.difference(&state.unplugs).next() {
                return Err(ApiError::new(
                    ErrorCode::DeleteResource,
                    format!("VM {} got a NIC on this network or was started meanwhile; delete again", nic.vm),
                ));
            }
            let [l2s, l3s, hosts] = ["L2NetworkVO", "L3NetworkVO", "HostVO"].map(|vo| deletion.deleted(vo));
            let mut state = state;
            state.garbage = host_networks::note_deleted(&context, &tx, &l2s, &l3s, &hosts).await?;
            remove(&tx, &deletion).await?;
            Ok(state)
        })
        .await?;
    Ok(removed)
}

/// Removes the rows of a plan and everything that is noted about them elsewhere.
pub(super) async fn remove(tx: &Tx, deletion: &Deletion) -> ApiResult<()> {
    let stopped: Vec<String> = deletion.stops.iter().map(|vm| vm.uuid.clone()).collect();
    allocation::mark_stopped(tx, &stopped).await?;
    allocation::release_hosts(tx, &deletion.deleted("VmInstanceVO")).await?;
    allocation::release_storage(tx, &deletion.deleted("VolumeVO")).await?;
    allocation::release_storage(tx, &deletion.deleted("VolumeSnapshotVO")).await?;
    let all = deletion.all();
    tags::forget(tx, &all).await?;
    affinity::untag(tx, &deletion.deleted("AffinityGroupVO")).await?;
    access::forget(tx, &all).await?;
    let hosts = deletion.deleted("HostVO");
    let mut shared = primary_storage::of_hosts(&**tx, &hosts).await?;
    shared.retain(|uuid| !all.contains(uuid));
    image::forget_caches(tx, &hosts).await?;
    cascade::remove(&**tx, deletion).await?;
    for uuid in shared {
        primary_storage::recount(tx, &uuid).await?;
    }
    l3_network::after_removal(tx, deletion).await
}
