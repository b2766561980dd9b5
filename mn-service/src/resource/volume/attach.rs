//! Attaching and detaching data volumes (CS-VOL-012 to CS-VOL-014, CS-VOL-024 to CS-VOL-028).

use std::sync::Arc;

use mn_service_db::entity::{host, vm_instance, volume};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_client::ClientError;
use node_manager_types::{
    ErrorKind,
    operation::{AttachDisk, DetachDisk},
    storage::VolumeFacts,
};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{
    create::settle, create_on, delete_on, disk_spec, forget_places, load, note_place, opened_by, path, place_of,
    reserve,
};
use crate::{
    agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    resource::{
        allocation,
        primary_storage::{self, Place},
        provisioning::StorageLimits,
    },
};

mn_service_types::messages! {
    AttachDataVolumeToVm { vm_instance_uuid: String, volume_uuid: String }
    DetachDataVolumeFromVm { uuid: String, vm_uuid: Option<String> }
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("volume.attach", prepare_attach, |state: &Attach| {
        Reply::Inventory("VolumeInventory", state.volume.clone())
    });
    apis.workflow("volume.detach", prepare_detach, |state: &Detach| {
        Reply::Inventory("VolumeInventory", state.volume.clone())
    });
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("volume.attach", 1)
            .step("record", record, Undo::with(forget))
            .step("instantiate", instantiate, Undo::with(remove))
            .step("plug", plug, Undo::with(unplug_again))
            .step("ready", ready, Undo::nothing("it is the last step and one transaction")),
    )?;
    registry.register(Workflow::named("volume.detach", 1).step(
        "detach",
        detach_step,
        Undo::nothing("a volume that the guest let go of and is still noted as attached is detached by a second try"),
    ))
}

/// State of attaching.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Attach {
    job: String,
    volume: String,
    vm: String,
    /// Where the volume is instantiated; absent when it was before.
    fresh: Option<Place>,
    facts: Option<VolumeFacts>,
}

/// Host on whose disks a VM lives: that of its root volume.
async fn home<C: ConnectionTrait>(conn: &C, vm: &vm_instance::Model) -> ApiResult<Option<String>> {
    let root = match &vm.root_volume_uuid {
        Some(root) => volume::Entity::find_by_id(root).one(conn).await.or_internal()?,
        None => None,
    };
    if let Some(root) = root
        && let Some(place) = place_of(conn, &root).await?
    {
        return Ok(Some(place.host));
    }
    Ok(vm.host_uuid.clone().or_else(|| vm.last_host_uuid.clone()))
}

async fn vm_row<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<vm_instance::Model> {
    let row = vm_instance::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("VmInstanceVO", uuid))
}

/// All rules of attaching at once. Returns the VM's host.
async fn check<C: ConnectionTrait>(
    app: &App,
    conn: &C,
    volume: &volume::Model,
    vm: &vm_instance::Model,
) -> ApiResult<String> {
    let problems = attach_problems(app, conn, volume, vm).await?;
    match home(conn, vm).await? {
        Some(home) if problems.is_empty() => Ok(home),
        _ => Err(ApiError::new(ErrorCode::AttachVolume, problems.join("\n"))),
    }
}

/// Why a volume cannot be attached to a VM.
pub(in crate::resource) async fn attach_problems<C: ConnectionTrait>(
    app: &App,
    conn: &C,
    volume: &volume::Model,
    vm: &vm_instance::Model,
) -> ApiResult<Vec<String>> {
    let name = format!("volume {} ({})", volume.name, volume.uuid);
    let mut problems = Vec::new();
    if volume.r#type != "Data" {
        problems.push(format!("{name} is a root volume; only data volumes are attached"));
    }
    if volume.state != "Enabled" {
        problems.push(format!("{name} is {}; enable it with ChangeVolumeState (CS-VOL-024)", volume.state));
    }
    if !matches!(volume.status.as_str(), "Ready" | "NotInstantiated") {
        problems.push(format!("{name} is {}, it must be Ready or NotInstantiated", volume.status));
    }
    if let Some(other) = volume.vm_instance_uuid.as_ref().filter(|other| **other != vm.uuid) {
        problems.push(format!("{name} is attached to VM {other}; detach it first"));
    }
    if !matches!(vm.state.as_str(), "Running" | "Stopped" | "Paused") {
        problems
            .push(format!("VM {} ({}) is {}; it must be Running or Stopped (CS-VOL-025)", vm.name, vm.uuid, vm.state));
    }
    let most = app.settings.integer("kvm", "dataVolume.maxNum", 24);
    let beside = data_volumes(conn, &vm.uuid).await?.into_iter().filter(|other| other.uuid != volume.uuid).count();
    if i64::try_from(beside).unwrap_or(i64::MAX) >= most {
        problems.push(format!(
            "VM {} ({}) has {beside} data volumes, {most} is the most; detach one first",
            vm.name, vm.uuid
        ));
    }
    let home = home(conn, vm).await?;
    match (&home, place_of(conn, volume).await?) {
        (None, _) => problems.push(format!("VM {} ({}) has no host yet; start it once first", vm.name, vm.uuid)),
        (Some(home), Some(place)) if *home != place.host => problems.push(format!(
            "{name} lives on host {}, VM {} on host {home}; on local storage both must be on one host (CS-VOL-028)",
            place.host, vm.name
        )),
        _ => {}
    }
    if let Some(storage) = &volume.primary_storage_uuid
        && let Some(home) = &home
        && let Some(row) = host::Entity::find_by_id(home).one(conn).await.or_internal()?
    {
        let reasons = primary_storage::out_of_reach(conn, &row.cluster_uuid, [storage.clone()].into()).await?;
        problems
            .extend(reasons.into_iter().map(|reason| format!("{name} cannot be used on host {}: {reason}", row.name)));
    }
    Ok(problems)
}

async fn data_volumes<C: ConnectionTrait>(conn: &C, vm: &str) -> ApiResult<Vec<volume::Model>> {
    let rows = volume::Entity::find()
        .filter(volume::Column::VmInstanceUuid.eq(vm))
        .filter(volume::Column::Type.eq("Data"))
        .all(conn);
    rows.await.or_internal()
}

/// The lowest free position; 0 is the root volume.
fn free_position(taken: &[i32]) -> i32 {
    (1..).find(|position| !taken.contains(position)).unwrap_or(i32::MAX)
}

async fn prepare_attach(call: Call, msg: AttachDataVolumeToVm) -> ApiResult<Plan<Attach>> {
    let conn = call.app.db.read();
    let volume = load(conn, &msg.volume_uuid).await?;
    let vm = vm_row(conn, &msg.vm_instance_uuid).await?;
    if volume.vm_instance_uuid.as_ref() == Some(&vm.uuid) && volume.status == "Ready" {
        return Ok(Plan::Done(Reply::Inventory("VolumeInventory", volume.uuid)));
    }
    let home = check(&call.app, conn, &volume, &vm).await?;
    let fresh = match volume.status.as_str() {
        "NotInstantiated" => Some(choose(&call.app, &home).await?),
        _ => None,
    };
    Ok(Plan::Run(Attach { job: call.job.clone(), volume: volume.uuid, vm: vm.uuid, fresh, facts: None }))
}

/// Where a volume that was never instantiated goes on the VM's host (CS-ALLOC-030).
async fn choose(app: &App, host: &str) -> ApiResult<Place> {
    let conn = app.db.read();
    let row = host::Entity::find_by_id(host).one(conn).await.or_internal()?;
    let row = row.ok_or_else(|| ApiError::not_found("HostVO", host))?;
    let limits = StorageLimits::of(&app.settings);
    let first = primary_storage::candidates(conn, &row.cluster_uuid, host, limits).await?.into_iter().next();
    let first = first.ok_or_else(|| {
        ApiError::new(
            ErrorCode::AllocatePrimaryStorage,
            format!(
                "no Enabled, Connected primary storage with room is attached to the cluster of host {} ({host}); \
                 attach one with AttachPrimaryStorageToCluster",
                row.name
            ),
        )
    })?;
    primary_storage::place(conn, &first.primary_storage, host).await
}

async fn record(app: Arc<App>, state: Attach) -> StepResult<Attach> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            let volume = load(&*tx, &state.volume).await?;
            let vm = vm_row(&*tx, &state.vm).await?;
            if volume.vm_instance_uuid.as_ref() != Some(&vm.uuid) {
                check(&service, &*tx, &volume, &vm).await?;
                write_attachment(&tx, &volume, &vm).await?;
            }
            if let Some(place) = &state.fresh {
                reserve(&service, &tx, &volume.uuid, place, volume.size).await?;
                note_place(&tx, "VolumeVO", &volume.uuid, place, volume.size).await?;
            }
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn write_attachment(tx: &Tx, volume: &volume::Model, vm: &vm_instance::Model) -> ApiResult<()> {
    let taken: Vec<i32> =
        data_volumes(&**tx, &vm.uuid).await?.into_iter().filter_map(|other| other.device_id).collect();
    use volume::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::VmInstanceUuid, Expr::value(vm.uuid.as_str()))
        .col_expr(Column::DeviceId, Expr::value(free_position(&taken)))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Uuid.eq(&volume.uuid))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

async fn forget(app: Arc<App>, state: Attach) -> Result<(), StepError> {
    let done = app.write(|tx| async move {
        use volume::{Column, Entity};
        let mut update = Entity::update_many()
            .col_expr(Column::VmInstanceUuid, Expr::value(Option::<String>::None))
            .col_expr(Column::DeviceId, Expr::value(Option::<i32>::None))
            .filter(Column::Uuid.eq(&state.volume))
            .filter(Column::VmInstanceUuid.eq(&state.vm));
        if state.fresh.is_some() {
            update = update
                .col_expr(Column::Status, Expr::value("NotInstantiated"))
                .col_expr(Column::ActualSize, Expr::value(0))
                .col_expr(Column::PrimaryStorageUuid, Expr::value(Option::<String>::None))
                .col_expr(Column::InstallPath, Expr::value(Option::<String>::None));
            let holder = [state.volume.clone()];
            allocation::release_storage(&tx, &holder).await?;
            forget_places(&tx, &holder).await?;
        }
        update.exec(&*tx).await.or_internal()?;
        Ok(())
    });
    Ok(done.await?)
}

async fn instantiate(app: Arc<App>, mut state: Attach) -> StepResult<Attach> {
    let Some(place) = &state.fresh else { return Ok(state) };
    let volume = load(app.db.read(), &state.volume).await?;
    let facts = create_on(&app, &state.job, place, &state.volume, volume.size, None).await?;
    let (service, uuid) = (app.clone(), &state.volume);
    let made = &facts;
    app.write(|tx| async move { settle(&service, &tx, uuid, place, made).await }).await?;
    state.facts = Some(facts);
    Ok(state)
}

async fn remove(app: Arc<App>, state: Attach) -> Result<(), StepError> {
    if let Some(place) = &state.fresh {
        delete_on(&app, &state.job, place, &path(&place.root.path, &state.volume)).await?;
    }
    Ok(())
}

async fn plug(app: Arc<App>, state: Attach) -> StepResult<Attach> {
    let volume = load(app.db.read(), &state.volume).await?;
    let Some((vm, host)) = opened_by(app.db.read(), &volume).await? else { return Ok(state) };
    let disk = disk_spec(&app, app.db.read(), &volume, vm.platform.as_deref().unwrap_or("Linux")).await?;
    let agent = app.agents.of(app.db.read(), &host).await?;
    let operation = AttachDisk { vm: agents::id(&vm.uuid)?, disk };
    agents::run(&agent, &state.job, "plug", operation, app.host_patience()).await.map_err(|error| {
        let what = format!("volume {} ({}) could not be plugged into VM {}", volume.name, volume.uuid, vm.name);
        agents::failure(ErrorCode::AttachVolume, what, &host, &error)
    })?;
    Ok(state)
}

async fn unplug_again(app: Arc<App>, state: Attach) -> Result<(), StepError> {
    let volume = load(app.db.read(), &state.volume).await?;
    Ok(unplug(&app, &state.job, "unplug-again", &volume).await.map(drop)?)
}

/// Takes a volume out of the VM that has it open; returns that VM's host.
async fn unplug(app: &App, job: &str, step: &str, volume: &volume::Model) -> ApiResult<Option<String>> {
    let Some((vm, host)) = opened_by(app.db.read(), volume).await? else { return Ok(None) };
    let agent = app.agents.of(app.db.read(), &host).await?;
    let operation = DetachDisk { vm: agents::id(&vm.uuid)?, volume: agents::id(&volume.uuid)? };
    match agents::run(&agent, job, step, operation, app.host_patience()).await {
        Ok(()) => Ok(Some(host)),
        // The VM stopped by itself, or never had it.
        Err(ClientError::Agent(error)) if error.kind == ErrorKind::NotFound => Ok(Some(host)),
        Err(error) => {
            let what = format!("volume {} ({}) could not be taken out of VM {}", volume.name, volume.uuid, vm.name);
            Err(agents::failure(ErrorCode::DetachVolume, what, &host, &error))
        }
    }
}

async fn ready(app: Arc<App>, state: Attach) -> StepResult<Attach> {
    let state = app
        .write(|tx| async move {
            use volume::{Column, Entity};
            let now = now_millis();
            Entity::update_many()
                .col_expr(Column::LastAttachDate, Expr::value(now))
                .col_expr(Column::LastOpDate, Expr::value(now))
                .filter(Column::Uuid.eq(&state.volume))
                .exec(&*tx)
                .await
                .or_internal()?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

/// State of detaching.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Detach {
    job: String,
    volume: String,
}

async fn prepare_detach(call: Call, msg: DetachDataVolumeFromVm) -> ApiResult<Plan<Detach>> {
    let conn = call.app.db.read();
    let volume = load(conn, &msg.uuid).await?;
    let refuse = |why: String| Err(ApiError::new(ErrorCode::DetachVolume, why));
    if volume.r#type != "Data" {
        return refuse(format!("volume {} ({}) is a root volume and stays with its VM", volume.name, volume.uuid));
    }
    let asked = msg.vm_uuid.filter(|uuid| !uuid.is_empty());
    match (&volume.vm_instance_uuid, asked) {
        (None, _) => return refuse(format!("volume {} ({}) is not attached to any VM", volume.name, volume.uuid)),
        (Some(vm), Some(asked)) if *vm != asked => {
            return refuse(format!("volume {} ({}) is attached to VM {vm}, not to {asked}", volume.name, volume.uuid));
        }
        _ => {}
    }
    opened_by(conn, &volume).await?;
    Ok(Plan::Run(Detach { job: call.job.clone(), volume: volume.uuid }))
}

async fn detach_step(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    detach(&app, &state.job, &state.volume).await?;
    Ok(state)
}

/// Takes a volume out of its VM, running or not, and notes it; nothing to do for one that is not attached.
pub(super) async fn detach(app: &App, job: &str, uuid: &str) -> ApiResult<()> {
    let volume = load(app.db.read(), uuid).await?;
    if volume.vm_instance_uuid.is_none() {
        return Ok(());
    }
    let host = unplug(app, job, &format!("unplug-{uuid}"), &volume).await?;
    app.write(|tx| async move {
        let now_open = opened_by(&*tx, &volume).await?;
        // A VM that was started (or moved) since has the volume open again.
        if let Some((vm, at)) = now_open
            && Some(&at) != host.as_ref()
        {
            return Err(ApiError::new(
                ErrorCode::DetachVolume,
                format!("VM {} was started on host {at} meanwhile; detach volume {} again", vm.name, volume.name),
            ));
        }
        write_detachment(&tx, &volume).await
    })
    .await
}

async fn write_detachment(tx: &Tx, volume: &volume::Model) -> ApiResult<()> {
    use volume::{Column, Entity};
    let now = now_millis();
    Entity::update_many()
        .col_expr(Column::LastVmInstanceUuid, Expr::value(volume.vm_instance_uuid.clone()))
        .col_expr(Column::LastDetachDate, Expr::value(now))
        .col_expr(Column::VmInstanceUuid, Expr::value(Option::<String>::None))
        .col_expr(Column::DeviceId, Expr::value(Option::<i32>::None))
        .col_expr(Column::LastOpDate, Expr::value(now))
        .filter(Column::Uuid.eq(&volume.uuid))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_filled_from_below_and_never_the_root_volumes() {
        assert_eq!(free_position(&[]), 1);
        assert_eq!(free_position(&[1, 2, 4]), 3);
        assert_eq!(free_position(&[0, 2]), 1);
    }
}
