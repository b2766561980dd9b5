//! Destroy, recover, expunge (CS-VM-027..030, CS-VM-060..062, CS-DEL-001..021).

use std::sync::Arc;

use mn_service_db::entity::vm_instance;
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{operation::StopVm, vm::StopMode};
use sea_orm::EntityTrait;
use serde::{Deserialize, Serialize};

use super::{INVENTORY, check_state, find, spec, sync};
use crate::{
    agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    cascade::{self, Item},
    change, garbage,
    preview::{ASKED, Effect, Kind, Preview},
    resource::{allocation, deletion, host, recycle_bin, volume as volumes},
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
    apis.preview("DestroyVmInstance", "VmInstanceVO", |call| async move {
        let expunge = recycle_bin::VMS.is_bypassed(&call.app);
        look(call, expunge).await
    });
    apis.preview("ExpungeVmInstance", "VmInstanceVO", |call| look(call, true));
}

async fn look(call: Call, expunge: bool) -> ApiResult<Preview> {
    let conn = call.app.db.read();
    let vm = find(conn, &change::target(&call)?).await?;
    let mut preview = Preview::of(&cascade::plan(conn, "VmInstanceVO", std::slice::from_ref(&vm.uuid)).await?);
    if !expunge {
        preview.effects.retain(|effect| effect.kind == Kind::Stop);
        if vm.state == "Destroyed" {
            return Ok(preview);
        }
        let item = Item { uuid: vm.uuid.clone(), name: Some(vm.name.clone()) };
        preview.effects.push(Effect::new(Kind::Recycle, "VmInstanceVO", &item, ASKED));
    }
    preview.refuse(check_state(&vm, &call.api.message_class()))?;
    if let Some(host) = &vm.host_uuid {
        preview.refuse(host::check_connected(conn, host).await)?;
    }
    Ok(preview)
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("vm.destroy", 1)
            .step("stop", stop, Undo::with(resync))
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
    if let Some(host) = &vm.host_uuid {
        host::check_connected(call.app.db.read(), host).await?;
    }
    let expunge = recycle_bin::VMS.is_bypassed(&call.app);
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

async fn note(app: Arc<App>, state: Remove) -> StepResult<Remove> {
    super::leave_network(&app, &state.uuid).await?;
    let uuid = state.uuid.clone();
    app.write(|tx| async move {
        // Gone already when this runs again after a crash.
        if vm_instance::Entity::find_by_id(&uuid).one(&*tx).await.or_internal()?.is_none() {
            return Ok(());
        }
        allocation::mark_stopped(&tx, std::slice::from_ref(&uuid)).await?;
        recycle_bin::VMS.put(&tx, &uuid).await
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
    recycle_bin::VMS.set(&tx, &msg.uuid, "Stopped").await?;
    Ok(Reply::Inventory(INVENTORY, msg.uuid))
}
