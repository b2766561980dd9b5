//! Destroy, recover, expunge (CS-VM-027..030, CS-VM-060..062, CS-DEL-001..021).

use std::sync::Arc;

use mn_service_db::entity::vm_instance;
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{operation::StopVm, vm::StopMode};
use sea_orm::{EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{INVENTORY, check_state, find, set_state, spec, sync};
use crate::{
    agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    cascade, garbage, jobs,
    resource::{allocation, deletion, volume as volumes},
};

mn_service_types::messages! {
    DestroyVmInstance { uuid: String }
    RecoverVmInstance { uuid: String }
    ExpungeVmInstance { uuid: String }
}

/// State of a destruction or expunge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Remove {
    job: String,
    uuid: String,
    host: Option<String>,
    /// Real data goes too.
    expunge: bool,
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("vm.destroy", prepare_destroy, |_: &Remove| Reply::Empty);
    apis.workflow("vm.destroy", prepare_expunge, |_: &Remove| Reply::Empty);
    apis.record(recover);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("vm.destroy", 1)
            .step("stop", stop, Undo::with(resync))
            .step("leave-network", leave_network, Undo::nothing("starting the VM again brings its leases back"))
            .step(
                "note",
                note,
                Undo::nothing(
                    "what follows is done or retried, never taken back: the user asked for the end of the data",
                ),
            )
            .step("remove-records", remove_records, Undo::nothing("it is the last step and one transaction")),
    )
}

async fn prepare_destroy(call: Call, msg: DestroyVmInstance) -> ApiResult<Plan<Remove>> {
    let vm = find(call.app.db.read(), &msg.uuid).await?;
    if vm.state == "Destroyed" {
        return Ok(Plan::Done(Reply::Empty));
    }
    check_state(&vm, &call.api.message_class())?;
    let expunge = call.app.settings.text("vm", "deletionPolicy") == "Direct";
    Ok(Plan::Run(Remove { job: call.job.clone(), uuid: vm.uuid, host: vm.host_uuid, expunge }))
}

async fn prepare_expunge(call: Call, msg: ExpungeVmInstance) -> ApiResult<Plan<Remove>> {
    let vm = find(call.app.db.read(), &msg.uuid).await?;
    check_state(&vm, &call.api.message_class())?;
    Ok(Plan::Run(Remove { job: call.job.clone(), uuid: vm.uuid, host: vm.host_uuid, expunge: true }))
}

/// CS-VM-027: a VM that runs is powered off first.
async fn stop(app: Arc<App>, state: Remove) -> StepResult<Remove> {
    if let Some(host) = &state.host {
        let agent = app.agents.of(app.db.read(), host).await?;
        let stop = StopVm { vm: agents::id(&state.uuid)?, mode: StopMode::PowerOff };
        agents::run(&agent, &state.job, "stop", stop, app.host_patience()).await.map_err(|e| {
            agents::failure(ErrorCode::HypervisorStop, format!("VM {} could not be stopped", state.uuid), host, &e)
        })?;
    }
    Ok(state)
}

/// A VM that was stopped stays stopped, and is noted so.
async fn resync(app: Arc<App>, state: Remove) -> StepResult<()> {
    match &state.host {
        Some(_) => Ok(sync::one(&app, &state.uuid).await?),
        None => Ok(()),
    }
}

async fn leave_network(app: Arc<App>, state: Remove) -> StepResult<Remove> {
    super::leave_network(&app, &state.uuid).await?;
    Ok(state)
}

async fn note(app: Arc<App>, state: Remove) -> StepResult<Remove> {
    super::leave_network(&app, &state.uuid).await?;
    let uuid = state.uuid.clone();
    app.write(|tx| async move {
        // Gone already when this runs again after a crash.
        if vm_instance::Entity::find_by_id(&uuid).one(&*tx).await.or_internal()?.is_none() {
            return Ok(());
        }
        allocation::mark_stopped(&tx, std::slice::from_ref(&uuid)).await?;
        set_state(&tx, &uuid, "Destroyed").await
    })
    .await?;
    Ok(state)
}

/// CS-DEL-020: the records go and the files of the root volume and its snapshots with them; data volumes stay
/// (CS-VOL-014). What cannot be removed now is noted as garbage in the same transaction.
async fn remove_records(app: Arc<App>, state: Remove) -> StepResult<Remove> {
    if state.expunge {
        let uuid = state.uuid.clone();
        let files = app
            .write(|tx| async move {
                let mut files = Vec::new();
                for root in spec::volumes(&*tx, &uuid).await?.into_iter().filter(|volume| volume.r#type == "Root") {
                    files.extend(volumes::purge(&tx, &root).await?);
                }
                let plan = cascade::plan(&*tx, "VmInstanceVO", std::slice::from_ref(&uuid)).await?;
                deletion::remove(&tx, &plan).await?;
                Ok(files)
            })
            .await?;
        garbage::collect_now(&app, &files).await?;
    }
    Ok(state)
}

/// CS-VM-062: a recovered VM is Stopped.
async fn recover(_call: Call, tx: Tx, msg: RecoverVmInstance) -> ApiResult<Reply> {
    let vm = find(&*tx, &msg.uuid).await?;
    if vm.state != "Destroyed" {
        return Err(ApiError::new(
            ErrorCode::VmState,
            format!("VM {} ({}) is {}; only Destroyed VMs are recovered", vm.name, vm.uuid, vm.state),
        ));
    }
    set_state(&tx, &msg.uuid, "Stopped").await?;
    Ok(Reply::Inventory(INVENTORY, msg.uuid))
}

/// Expunges VMs whose time in the recycle bin is over (CS-DEL-003). Called by a timer.
pub async fn expunge_due(app: &Arc<App>) -> ApiResult<()> {
    if app.settings.text("vm", "deletionPolicy") == "Never" {
        return Ok(());
    }
    let seconds = app.settings.integer("vm", "expungePeriod", 86_400);
    let due = vm_instance::Entity::find()
        .filter(vm_instance::Column::State.eq("Destroyed"))
        .filter(vm_instance::Column::LastOpDate.lt(now_millis() - seconds * 1000))
        .all(app.db.read())
        .await
        .or_internal()?;
    for vm in due {
        if let Err(error) = jobs::call_as_system(app, "ExpungeVmInstance", json!({ "uuid": vm.uuid })).await {
            tracing::warn!(vm = %vm.uuid, %error, "not expunged; tried again at the next turn");
        }
    }
    Ok(())
}
