//! ISOs and CD drives (CS-VM-180 to CS-VM-183).

use std::sync::Arc;

use mn_service_db::entity::{image as image_row, vm_cd_rom, vm_instance, volume};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::operation::ChangeMedium;
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, prelude::*};
use serde::{Deserialize, Serialize};

use super::{INVENTORY, check_state, find};
use crate::{
    access, agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    change as fields,
    resource::{image, primary_storage::Place, volume as volumes},
};

mn_service_types::messages! {
    AttachIsoToVmInstance { vm_instance_uuid: String, iso_uuid: String }
    DetachIsoFromVmInstance { vm_instance_uuid: String, iso_uuid: Option<String> }
    CreateVmCdRom { name: String, vm_instance_uuid: String, iso_uuid: Option<String>, description: Option<String> }
    DeleteVmCdRom { uuid: String }
    UpdateVmCdRom { uuid: String, name: Option<String>, description: Option<String> }
    SetVmInstanceDefaultCdRom { uuid: String, vm_instance_uuid: String }
}

const DRIVE: &str = "VmCdRomInventory";

/// State of putting an ISO into a drive.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Insert {
    job: String,
    vm: String,
    iso: String,
    drive: String,
    place: Place,
    /// A drive that is made for it.
    new: Option<NewDrive>,
}

/// A drive to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NewDrive {
    name: String,
    description: Option<String>,
}

/// State of taking an ISO out.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Eject {
    job: String,
    vm: String,
    drive: String,
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("vm.insert-iso", prepare_attach, |state: &Insert| Reply::Inventory(INVENTORY, state.vm.clone()));
    apis.workflow("vm.eject-iso", prepare_detach, |state: &Eject| Reply::Inventory(INVENTORY, state.vm.clone()));
    apis.workflow("vm.insert-iso", prepare_create, |state: &Insert| Reply::Inventory(DRIVE, state.drive.clone()));
    apis.record(delete);
    apis.record(update);
    apis.record(set_default);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("vm.insert-iso", 1)
            .step("record", record, Undo::with(forget))
            .step("fetch", fetch, Undo::nothing("the image cache is shared and its collector removes what nobody uses"))
            .step("insert", insert, Undo::with(take_out_again)),
    )?;
    registry.register(Workflow::named("vm.eject-iso", 1).step("eject", eject, Undo::with(put_in_again)).step(
        "record",
        record_empty,
        Undo::nothing("it is the last step and one transaction"),
    ))
}

/// Drives of a VM in order.
pub(super) async fn drives<C: ConnectionTrait>(conn: &C, vm: &str) -> ApiResult<Vec<vm_cd_rom::Model>> {
    vm_cd_rom::Entity::find()
        .filter(vm_cd_rom::Column::VmInstanceUuid.eq(vm))
        .order_by_asc(vm_cd_rom::Column::DeviceId)
        .all(conn)
        .await
        .or_internal()
}

async fn load<C: ConnectionTrait>(conn: &C, drive: &str) -> ApiResult<vm_cd_rom::Model> {
    let row = vm_cd_rom::Entity::find_by_id(drive).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("VmCdRomVO", drive))
}

/// Drives belong to whoever owns their VM.
async fn may_change(call: &Call, conn: &impl ConnectionTrait, drive: &vm_cd_rom::Model) -> ApiResult<()> {
    if access::may_use(conn, &call.caller, &drive.vm_instance_uuid).await? {
        return Ok(());
    }
    let text = format!("uuid: CD drive {} is in a VM of another account", drive.uuid);
    Err(ApiError::new(ErrorCode::PermissionDenied, text))
}

/// Where the volumes of a VM are, and with them its image caches.
async fn place<C: ConnectionTrait>(conn: &C, vm: &vm_instance::Model) -> ApiResult<Place> {
    let root = match &vm.root_volume_uuid {
        Some(root) => volume::Entity::find_by_id(root).one(conn).await.or_internal()?,
        None => None,
    };
    let place = match &root {
        Some(root) => volumes::place_of(conn, root).await?,
        None => None,
    };
    place.ok_or_else(|| {
        let text = format!("VM {} ({}) has no root volume on any host yet; start it once first", vm.name, vm.uuid);
        ApiError::new(ErrorCode::VmState, text)
    })
}

/// Why an image cannot go into a CD drive of a VM.
pub(super) async fn iso_problems<C: ConnectionTrait>(
    conn: &C,
    vm: &vm_instance::Model,
    iso: &image_row::Model,
) -> ApiResult<Vec<String>> {
    let mut problems = Vec::new();
    if iso.media_type != "ISO" {
        problems.push(format!("isoUuid: image {} ({}) is a {}, not an ISO", iso.name, iso.uuid, iso.media_type));
    }
    if let Some(zone) = &vm.zone_uuid
        && let Err(error) = image::usable(conn, &iso.uuid, zone).await
    {
        problems.extend(error.details.lines().map(|line| format!("isoUuid: {line}")));
    }
    Ok(problems)
}

async fn prepare_attach(call: Call, msg: AttachIsoToVmInstance) -> ApiResult<Plan<Insert>> {
    let conn = call.app.db.read();
    let vm = find(conn, &msg.vm_instance_uuid).await?;
    check_state(&vm, &call.api.message_class())?;
    let drives = drives(conn, &vm.uuid).await?;
    if drives.iter().any(|drive| drive.iso_uuid.as_ref() == Some(&msg.iso_uuid)) {
        return Ok(Plan::Done(Reply::Inventory(INVENTORY, vm.uuid)));
    }
    let mut problems = iso_problems(conn, &vm, &image::load(conn, &msg.iso_uuid).await?).await?;
    let empty = drives.iter().find(|drive| drive.iso_uuid.is_none());
    if empty.is_none() {
        problems.push(match drives.len() {
            0 => format!("VM {} has no CD drive; stop it and add one with CreateVmCdRom", vm.name),
            count => format!(
                "all {count} CD drives of VM {} hold an ISO; detach one with DetachIsoFromVmInstance, or stop the VM and \
                 add a drive with CreateVmCdRom",
                vm.name
            ),
        });
    }
    let (Some(drive), true) = (empty, problems.is_empty()) else { return Err(ApiError::invalid(&problems)) };
    Ok(Plan::Run(Insert {
        job: call.job.clone(),
        iso: msg.iso_uuid,
        drive: drive.uuid.clone(),
        place: place(conn, &vm).await?,
        vm: vm.uuid,
        new: None,
    }))
}

/// Hardware changes while the VM is stopped.
fn stopped(vm: &vm_instance::Model) -> Option<String> {
    (vm.state != "Stopped").then(|| {
        format!("VM {} ({}) is {}; CD drives change while it is Stopped, stop it first", vm.name, vm.uuid, vm.state)
    })
}

/// CS-VM-183.
async fn prepare_create(call: Call, msg: CreateVmCdRom) -> ApiResult<Plan<Insert>> {
    let app = &call.app;
    let conn = app.db.read();
    let vm = find(conn, &msg.vm_instance_uuid).await?;
    let mut problems: Vec<String> = stopped(&vm).into_iter().collect();
    let present = drives(conn, &vm.uuid).await?;
    let most = usize::try_from(app.settings.integer("vm", "maximumCdRomNum", 3)).unwrap_or(3);
    if present.len() >= most {
        problems.push(format!(
            "VM {} has {} CD drives, {most} is the most (vm/maximumCdRomNum); delete one first",
            vm.name,
            present.len()
        ));
    }
    let iso = msg.iso_uuid.filter(|uuid| !uuid.is_empty());
    if let Some(iso) = &iso {
        problems.extend(iso_problems(conn, &vm, &image::load(conn, iso).await?).await?);
        if present.iter().any(|drive| drive.iso_uuid.as_ref() == Some(iso)) {
            problems.push(format!("isoUuid: VM {} holds ISO {iso} already", vm.name));
        }
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    Ok(Plan::Run(Insert {
        job: call.job.clone(),
        iso: iso.unwrap_or_default(),
        drive: image::uuid_for(&call, "cd-drive"),
        place: place(conn, &vm).await?,
        vm: vm.uuid,
        new: Some(NewDrive { name: msg.name, description: msg.description }),
    }))
}

async fn record(app: Arc<App>, state: Insert) -> StepResult<Insert> {
    let state = app
        .write(|tx| async move {
            let iso = Some(state.iso.clone()).filter(|iso| !iso.is_empty());
            let known = vm_cd_rom::Entity::find_by_id(&state.drive).one(&*tx).await.or_internal()?;
            match (known, &state.new) {
                (Some(drive), _) => {
                    if drive.iso_uuid.is_some() && drive.iso_uuid != iso {
                        let text = format!("CD drive {} was loaded meanwhile; try again", drive.uuid);
                        return Err(ApiError::new(ErrorCode::Operation, text));
                    }
                    write_medium(&tx, &state.drive, iso, None).await?;
                }
                (None, Some(new)) => insert_drive(&tx, &state, new, iso).await?,
                (None, None) => return Err(ApiError::not_found("VmCdRomVO", &state.drive)),
            }
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn insert_drive(tx: &Tx, state: &Insert, new: &NewDrive, iso: Option<String>) -> ApiResult<()> {
    let taken: Vec<i32> = drives(&**tx, &state.vm).await?.into_iter().map(|drive| drive.device_id).collect();
    let now = now_millis();
    let row = vm_cd_rom::ActiveModel {
        uuid: Set(state.drive.clone()),
        vm_instance_uuid: Set(state.vm.clone()),
        device_id: Set((0..).find(|position| !taken.contains(position)).unwrap_or_default()),
        iso_uuid: Set(iso),
        name: Set(new.name.clone()),
        description: Set(new.description.clone()),
        create_date: Set(now),
        last_op_date: Set(now),
        ..Default::default()
    };
    vm_cd_rom::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(())
}

async fn write_medium(tx: &Tx, drive: &str, iso: Option<String>, path: Option<String>) -> ApiResult<()> {
    use vm_cd_rom::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::IsoUuid, Expr::value(iso))
        .col_expr(Column::IsoInstallPath, Expr::value(path))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Uuid.eq(drive))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

async fn forget(app: Arc<App>, state: Insert) -> StepResult<()> {
    let (drive, is_new) = (state.drive, state.new.is_some());
    app.write(|tx| async move {
        if is_new {
            vm_cd_rom::Entity::delete_by_id(&drive).exec(&*tx).await.or_internal()?;
            return Ok(());
        }
        write_medium(&tx, &drive, None, None).await
    })
    .await?;
    Ok(())
}

async fn fetch(app: Arc<App>, state: Insert) -> StepResult<Insert> {
    if state.iso.is_empty() {
        return Ok(state);
    }
    let cached = image::ensure_cached(&app, &state.job, &state.place, &state.iso).await?;
    let (drive, iso) = (state.drive.as_str(), state.iso.clone());
    app.write(|tx| async move { write_medium(&tx, drive, Some(iso), Some(cached.path)).await }).await?;
    Ok(state)
}

/// Makes the drive of a VM that runs hold what its row says, or nothing.
async fn change_medium(app: &App, job: &str, step: &str, vm: &str, drive: &str, empty: bool) -> ApiResult<()> {
    let vm = find(app.db.read(), vm).await?;
    let host = vm.host_uuid.clone().filter(|_| matches!(vm.state.as_str(), "Running" | "Paused"));
    let Some(host) = host else { return Ok(()) };
    let drive = load(app.db.read(), drive).await?;
    let operation = ChangeMedium {
        vm: agents::id(&vm.uuid)?,
        index: u32::try_from(drive.device_id).unwrap_or_default(),
        path: drive.iso_install_path.filter(|_| !empty),
    };
    let agent = app.agents.of(app.db.read(), &host).await?;
    agents::run(&agent, job, step, operation, app.host_patience()).await.map_err(|e| {
        let what = format!("the medium of CD drive {} of VM {} could not be changed", drive.device_id, vm.name);
        agents::failure(ErrorCode::Operation, what, &host, &e)
    })
}

async fn insert(app: Arc<App>, state: Insert) -> StepResult<Insert> {
    change_medium(&app, &state.job, "insert", &state.vm, &state.drive, false).await?;
    Ok(state)
}

async fn take_out_again(app: Arc<App>, state: Insert) -> StepResult<()> {
    Ok(change_medium(&app, &state.job, "take-out-again", &state.vm, &state.drive, true).await?)
}

async fn prepare_detach(call: Call, msg: DetachIsoFromVmInstance) -> ApiResult<Plan<Eject>> {
    let conn = call.app.db.read();
    let vm = find(conn, &msg.vm_instance_uuid).await?;
    check_state(&vm, &call.api.message_class())?;
    let mut loaded = drives(conn, &vm.uuid).await?;
    loaded.retain(|drive| drive.iso_uuid.is_some());
    if let Some(iso) = msg.iso_uuid.filter(|uuid| !uuid.is_empty()) {
        loaded.retain(|drive| drive.iso_uuid.as_ref() == Some(&iso));
    }
    match loaded.as_slice() {
        [] => Ok(Plan::Done(Reply::Inventory(INVENTORY, vm.uuid))),
        [drive] => Ok(Plan::Run(Eject { job: call.job.clone(), vm: vm.uuid, drive: drive.uuid.clone() })),
        several => {
            let isos: Vec<&str> = several.iter().filter_map(|drive| drive.iso_uuid.as_deref()).collect();
            Err(ApiError::invalid(&[format!(
                "VM {} holds several ISOs; name one as isoUuid: {}",
                vm.name,
                isos.join(", ")
            )]))
        }
    }
}

async fn eject(app: Arc<App>, state: Eject) -> StepResult<Eject> {
    change_medium(&app, &state.job, "eject", &state.vm, &state.drive, true).await?;
    Ok(state)
}

async fn put_in_again(app: Arc<App>, state: Eject) -> StepResult<()> {
    Ok(change_medium(&app, &state.job, "put-in-again", &state.vm, &state.drive, false).await?)
}

async fn record_empty(app: Arc<App>, state: Eject) -> StepResult<Eject> {
    let drive = state.drive.as_str();
    app.write(|tx| async move { write_medium(&tx, drive, None, None).await }).await?;
    Ok(state)
}

async fn delete(call: Call, tx: Tx, msg: DeleteVmCdRom) -> ApiResult<Reply> {
    let drive = load(&*tx, &msg.uuid).await?;
    may_change(&call, &*tx, &drive).await?;
    if let Some(problem) = stopped(&find(&*tx, &drive.vm_instance_uuid).await?) {
        return Err(ApiError::new(ErrorCode::VmState, problem));
    }
    vm_cd_rom::Entity::delete_by_id(&msg.uuid).exec(&*tx).await.or_internal()?;
    Ok(Reply::Empty)
}

async fn update(call: Call, tx: Tx, msg: UpdateVmCdRom) -> ApiResult<Reply> {
    may_change(&call, &*tx, &load(&*tx, &msg.uuid).await?).await?;
    fields::apply_update(&call, &tx, DRIVE, &msg.uuid).await?;
    Ok(Reply::Inventory(DRIVE, msg.uuid))
}

/// The default drive is the first: it changes places with the one that is.
async fn set_default(_call: Call, tx: Tx, msg: SetVmInstanceDefaultCdRom) -> ApiResult<Reply> {
    let vm = find(&*tx, &msg.vm_instance_uuid).await?;
    let drives = drives(&*tx, &vm.uuid).await?;
    let mut problems: Vec<String> = stopped(&vm).into_iter().collect();
    let chosen = drives.iter().find(|drive| drive.uuid == msg.uuid);
    if chosen.is_none() {
        problems.push(format!("uuid: CD drive {} is not in VM {}", msg.uuid, vm.name));
    }
    let (Some(chosen), Some(first), true) = (chosen, drives.first(), problems.is_empty()) else {
        return Err(ApiError::invalid(&problems));
    };
    // Two drives never have one position, not even in between.
    let moves = [(&first.uuid, -1), (&chosen.uuid, first.device_id), (&first.uuid, chosen.device_id)];
    for (drive, position) in moves.into_iter().filter(|_| first.uuid != chosen.uuid) {
        let row = vm_cd_rom::ActiveModel {
            uuid: Set(drive.clone()),
            device_id: Set(position),
            last_op_date: Set(now_millis()),
            ..Default::default()
        };
        vm_cd_rom::Entity::update(row).exec(&*tx).await.or_internal()?;
    }
    Ok(Reply::Inventory(DRIVE, msg.uuid))
}
