//! Taking a primary storage away from running VMs: maintenance (CS-PS-010, CS-VM-051) and detaching from a cluster
//! (CS-CLU-023, CS-DEL-038). First no VM may start on it any more, then those that run are stopped.

use std::sync::Arc;

use mn_service_db::entity::{host, local_storage_host_ref, primary_storage, primary_storage_cluster_ref};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{load, manage::running_on, recount};
use crate::{
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal},
    change,
    resource::vm,
};

mn_service_types::messages! {
    ChangePrimaryStorageState { uuid: String, state_event: String }
    DetachPrimaryStorageFromCluster { cluster_uuid: String, primary_storage_uuid: String }
}

const INVENTORY: &str = "PrimaryStorageInventory";

/// State of a change of the administrative state.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ChangeState {
    job: String,
    uuid: String,
    event: String,
    before: String,
}

/// State of a detachment.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Detach {
    job: String,
    primary_storage: String,
    cluster: String,
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("primary-storage.state", prepare_state, |state: &ChangeState| {
        Reply::Inventory(INVENTORY, state.uuid.clone())
    });
    apis.workflow("primary-storage.detach", prepare_detach, |state: &Detach| {
        Reply::Inventory(INVENTORY, state.primary_storage.clone())
    });
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    const STOPPED: &str = "VMs that were stopped stay stopped; their owners start them when the storage is back";
    registry.register(
        Workflow::named("primary-storage.state", 1).step("switch", switch, Undo::with(switch_back)).step(
            "stop-vms",
            stop_vms,
            Undo::nothing(STOPPED),
        ),
    )?;
    registry.register(
        Workflow::named("primary-storage.detach", 1)
            .step("close", close, Undo::with(reopen))
            .step("stop-vms", stop_vms_of_cluster, Undo::nothing(STOPPED))
            .step("forget-shares", forget_shares, Undo::nothing("it is the last step and one transaction")),
    )
}

/// CS-PS-009, CS-PS-010.
async fn prepare_state(call: Call, msg: ChangePrimaryStorageState) -> ApiResult<Plan<ChangeState>> {
    if msg.state_event == "deleting" {
        return Err(ApiError::new(
            ErrorCode::ChangeState,
            "stateEvent deleting belongs to the service itself; use DeletePrimaryStorage",
        ));
    }
    let before = load(call.app.db.read(), &msg.uuid).await?.state;
    Ok(Plan::Run(ChangeState { job: call.job.clone(), uuid: msg.uuid, event: msg.state_event, before }))
}

async fn switch(app: Arc<App>, state: ChangeState) -> StepResult<ChangeState> {
    let (uuid, event) = (state.uuid.as_str(), state.event.as_str());
    app.write(|tx| async move { change::switch(&tx, INVENTORY, "PrimaryStorageState", uuid, event).await }).await?;
    Ok(state)
}

async fn switch_back(app: Arc<App>, state: ChangeState) -> StepResult<()> {
    let row = primary_storage::ActiveModel {
        uuid: Set(state.uuid),
        state: Set(state.before),
        last_op_date: Set(now_millis()),
        ..Default::default()
    };
    app.write(|tx| async move {
        primary_storage::Entity::update(row).exec(&*tx).await.or_internal()?;
        Ok(())
    })
    .await?;
    Ok(())
}

async fn stop_vms(app: Arc<App>, state: ChangeState) -> StepResult<ChangeState> {
    if state.event == "maintain" {
        stop_users(&app, &state.job, &state.uuid, None, "cannot enter maintenance").await?;
    }
    Ok(state)
}

/// Stops the VMs that use the storage, of one cluster when given.
async fn stop_users(app: &App, job: &str, storage: &str, cluster: Option<&str>, what: &str) -> ApiResult<()> {
    let vms = running_on(app.db.read(), storage, cluster).await?;
    let left = vm::stop_all(app, job, &vms).await;
    let Some(first) = left.first() else { return Ok(()) };
    let row = load(app.db.read(), storage).await?;
    let each: Vec<String> = left.iter().map(|left| format!("VM {}: {}", left.vm, left.error.details)).collect();
    let details = format!(
        "primary storage {} ({storage}) {what}, these VMs use it and do not stop:\n{}\n\
         reconnect their hosts, or note VMs of a host that is lost as stopped (UpdateVmInstance state=Stopped), \
         and try again",
        row.name,
        each.join("\n")
    );
    Err(ApiError::new(ErrorCode::StopVm, details).caused_by(first.error.clone()))
}

async fn prepare_detach(call: Call, msg: DetachPrimaryStorageFromCluster) -> ApiResult<Plan<Detach>> {
    Ok(Plan::Run(Detach {
        job: call.job.clone(),
        primary_storage: msg.primary_storage_uuid,
        cluster: msg.cluster_uuid,
    }))
}

/// From here on no VM of the cluster starts on the storage.
async fn close(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    use primary_storage_cluster_ref::{Column, Entity};
    let (storage, cluster) = (&state.primary_storage, &state.cluster);
    app.write(|tx| async move {
        Entity::delete_many()
            .filter(Column::PrimaryStorageUuid.eq(storage))
            .filter(Column::ClusterUuid.eq(cluster))
            .exec(&*tx)
            .await
            .or_internal()?;
        Ok(())
    })
    .await?;
    Ok(state)
}

async fn reopen(app: Arc<App>, state: Detach) -> StepResult<()> {
    use primary_storage_cluster_ref::{ActiveModel, Column, Entity};
    let (storage, cluster) = (state.primary_storage, state.cluster);
    app.write(|tx| async move {
        let same =
            Entity::find().filter(Column::PrimaryStorageUuid.eq(&storage)).filter(Column::ClusterUuid.eq(&cluster));
        if same.one(&*tx).await.or_internal()?.is_none() {
            let now = now_millis();
            let row = ActiveModel {
                cluster_uuid: Set(cluster),
                primary_storage_uuid: Set(storage),
                create_date: Set(now),
                last_op_date: Set(now),
                ..Default::default()
            };
            Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
        }
        Ok(())
    })
    .await?;
    Ok(())
}

async fn stop_vms_of_cluster(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    let what = format!("cannot be detached from cluster {}", state.cluster);
    stop_users(&app, &state.job, &state.primary_storage, Some(&state.cluster), &what).await?;
    Ok(state)
}

/// What volumes claim there stays noted, so that attaching again counts it again.
async fn forget_shares(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    let (storage, cluster) = (&state.primary_storage, &state.cluster);
    app.write(|tx| async move {
        let hosts = host::Entity::find().filter(host::Column::ClusterUuid.eq(cluster)).all(&*tx).await.or_internal()?;
        use local_storage_host_ref::{Column, Entity};
        Entity::delete_many()
            .filter(Column::PrimaryStorageUuid.eq(storage))
            .filter(Column::HostUuid.is_in(hosts.into_iter().map(|host| host.uuid)))
            .exec(&*tx)
            .await
            .or_internal()?;
        recount(&tx, storage).await
    })
    .await?;
    Ok(state)
}
