//! Making images from volumes and snapshots (CS-VOL-037, CS-VM-100 to CS-VM-102). A volume that a VM has open is frozen by
//! a snapshot of its own first, which goes when the image is stored: the image is one point in time, and the VM runs on.

use std::{sync::Arc, time::Duration};

use mn_service_db::entity::volume;
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{
    image::{Access, ImageFacts, ImageFormat},
    operation::StoreImage,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{check_ready, create, delete, load, place_of};
use crate::{
    agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::App,
    resource::{
        backup_storage,
        image::{self, NewImage, Transfer},
        primary_storage::Place,
        volume as volumes,
    },
    tags,
};

mn_service_types::messages! {
    CreateRootVolumeTemplateFromRootVolume { name: String, description: Option<String>, guest_os_type: Option<String>, backup_storage_uuids: Option<Vec<String>>, root_volume_uuid: String, platform: Option<String>, system: Option<bool>, architecture: Option<String>, virtio: Option<bool> }
    CreateDataVolumeTemplateFromVolume { name: String, description: Option<String>, volume_uuid: String, backup_storage_uuids: Option<Vec<String>> }
    CreateRootVolumeTemplateFromVolumeSnapshot { snapshot_uuid: String, name: String, description: Option<String>, guest_os_type: Option<String>, backup_storage_uuids: Option<Vec<String>>, platform: Option<String>, architecture: Option<String>, system: Option<bool>, virtio: Option<bool> }
    CreateDataVolumeTemplateFromVolumeSnapshot { snapshot_uuid: String, name: String, description: Option<String>, backup_storage_uuids: Option<Vec<String>> }
}

/// Longest transfer of a volume.
const TRANSFER: Duration = Duration::from_secs(24 * 3600);

pub(super) fn register(apis: &mut Apis) {
    fn reply(state: &Template) -> Reply {
        Reply::Inventory("ImageInventory", state.new.uuid.clone())
    }
    apis.workflow("image.from-volume", from_root_volume, reply);
    apis.workflow("image.from-volume", from_volume, reply);
    apis.workflow("image.from-volume", root_from_snapshot, reply);
    apis.workflow("image.from-volume", data_from_snapshot, reply);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("image.from-volume", 2)
            .step("record", record, Undo::with(forget))
            .step("freeze-record", freeze_record, Undo::with(freeze_forget))
            .step("freeze-flatten", freeze_flatten, Undo::nothing("a layer that stands alone reads the same as before"))
            .step("freeze-take", freeze_take, Undo::with(freeze_take_back))
            .step("freeze-settle", freeze_settle, Undo::with(thaw_again))
            .step("store", store, Undo::with(remove_files))
            .step("thaw", thaw, Undo::nothing("a snapshot that could not be merged now is listed and deleted by hand"))
            .step("ready", ready, Undo::nothing("it is the last step and one transaction")),
    )
}

/// State of making an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Template {
    job: String,
    new: NewImage,
    volume: String,
    place: Place,
    /// Layer to read.
    path: String,
    /// Nobody writes to that layer: it is a snapshot's.
    frozen: bool,
    /// Snapshot that freezes the volume while it is read.
    freeze: Option<create::Create>,
    /// Firmware that the image inherits.
    boot_mode: Option<String>,
    facts: Vec<(String, ImageFacts)>,
}

/// What a call says of the image.
struct Wish {
    name: String,
    description: Option<String>,
    media_type: &'static str,
    storages: Vec<String>,
    guest_os_type: Option<String>,
    platform: Option<String>,
    architecture: Option<String>,
    system: Option<bool>,
    virtio: Option<bool>,
}

const ROOT: &str = "RootVolumeTemplate";
const DATA: &str = "DataVolumeTemplate";

async fn from_root_volume(call: Call, msg: CreateRootVolumeTemplateFromRootVolume) -> ApiResult<Plan<Template>> {
    let row = volumes::load(call.app.db.read(), &msg.root_volume_uuid).await?;
    let wish = Wish {
        name: msg.name,
        description: msg.description,
        media_type: ROOT,
        storages: msg.backup_storage_uuids.unwrap_or_default(),
        guest_os_type: msg.guest_os_type,
        platform: msg.platform,
        architecture: msg.architecture,
        system: msg.system,
        virtio: msg.virtio,
    };
    let mut problems = Vec::new();
    if row.r#type != "Root" {
        let name = format!("volume {} ({})", row.name, row.uuid);
        problems.push(format!("{name} is a data volume; rootVolumeUuid must be that of a root volume"));
    }
    of_volume(&call, row, wish, problems).await
}

async fn from_volume(call: Call, msg: CreateDataVolumeTemplateFromVolume) -> ApiResult<Plan<Template>> {
    let row = volumes::load(call.app.db.read(), &msg.volume_uuid).await?;
    let wish = data(msg.name, msg.description, msg.backup_storage_uuids);
    of_volume(&call, row, wish, Vec::new()).await
}

fn data(name: String, description: Option<String>, storages: Option<Vec<String>>) -> Wish {
    Wish {
        name,
        description,
        media_type: DATA,
        storages: storages.unwrap_or_default(),
        guest_os_type: None,
        platform: None,
        architecture: None,
        system: None,
        virtio: None,
    }
}

async fn root_from_snapshot(call: Call, msg: CreateRootVolumeTemplateFromVolumeSnapshot) -> ApiResult<Plan<Template>> {
    let wish = Wish {
        name: msg.name,
        description: msg.description,
        media_type: ROOT,
        storages: msg.backup_storage_uuids.unwrap_or_default(),
        guest_os_type: msg.guest_os_type,
        platform: msg.platform,
        architecture: msg.architecture,
        system: msg.system,
        virtio: msg.virtio,
    };
    of_snapshot(&call, &msg.snapshot_uuid, wish).await
}

async fn data_from_snapshot(call: Call, msg: CreateDataVolumeTemplateFromVolumeSnapshot) -> ApiResult<Plan<Template>> {
    of_snapshot(&call, &msg.snapshot_uuid, data(msg.name, msg.description, msg.backup_storage_uuids)).await
}

async fn of_snapshot(call: &Call, uuid: &str, wish: Wish) -> ApiResult<Plan<Template>> {
    let conn = call.app.db.read();
    let snapshot = load(conn, uuid).await?;
    check_ready(&snapshot)?;
    let (place, path) = place_of(conn, &snapshot).await?;
    let row = volumes::load(conn, snapshot.volume_uuid.as_deref().unwrap_or_default()).await?;
    let mut problems = Vec::new();
    if wish.media_type == ROOT && row.r#type != "Root" {
        problems.push(format!(
            "snapshot {} ({uuid}) is one of a data volume; use CreateDataVolumeTemplateFromVolumeSnapshot",
            snapshot.name
        ));
    }
    plan(call, row, wish, Some((place, path)), true, problems).await
}

async fn of_volume(
    call: &Call,
    row: volume::Model,
    wish: Wish,
    mut problems: Vec<String>,
) -> ApiResult<Plan<Template>> {
    let conn = call.app.db.read();
    let place = volumes::place_of(conn, &row).await?.zip(row.install_path.clone());
    if place.is_none() || row.status != "Ready" {
        problems.push(format!("volume {} ({}) is {}, it must be Ready", row.name, row.uuid, row.status));
    }
    plan(call, row, wish, place, false, problems).await
}

async fn plan(
    call: &Call,
    row: volume::Model,
    wish: Wish,
    place: Option<(Place, String)>,
    frozen: bool,
    mut problems: Vec<String>,
) -> ApiResult<Plan<Template>> {
    let conn = call.app.db.read();
    let open = volumes::opened_by(conn, &row).await?.is_some();
    if wish.storages.is_empty() {
        problems.push("backupStorageUuids must name at least one backup storage".to_owned());
    }
    for uuid in &wish.storages {
        let storage = backup_storage::load(conn, uuid).await?;
        problems.extend(backup_storage::problems(conn, &storage, None).await?);
    }
    let Some((place, path)) = place.filter(|_| problems.is_empty()) else { return Err(ApiError::invalid(&problems)) };
    let origin = match &row.root_image_uuid {
        Some(uuid) => image::find_row(conn, uuid).await?,
        None => None,
    };
    let inherited = |given: Option<String>, of: fn(&mn_service_db::entity::image::Model) -> Option<String>| {
        given.filter(|text| !text.is_empty()).or_else(|| origin.as_ref().and_then(of))
    };
    let boot_mode = match (&row.vm_instance_uuid, wish.media_type) {
        (Some(vm), ROOT) => {
            let of_vm = tags::system_of(conn, vm).await?;
            of_vm.iter().find_map(|tag| tags::parse("bootMode::{mode}", tag)?.into_iter().next())
        }
        _ => None,
    };
    let platform = inherited(wish.platform, |image| image.platform.clone()).unwrap_or_else(|| "Linux".to_owned());
    let new = NewImage {
        uuid: image::uuid_for(call, "image"),
        account: call.caller.account.clone(),
        name: wish.name,
        description: wish.description,
        url: format!("volume://{}", row.uuid),
        media_type: wish.media_type.to_owned(),
        guest_os_type: inherited(wish.guest_os_type, |image| image.guest_os_type.clone()),
        architecture: inherited(wish.architecture, |image| image.architecture.clone()),
        format: Some(ImageFormat::Qcow2),
        system: wish.system.unwrap_or(false),
        virtio: wish.virtio.unwrap_or_else(|| image::has_virtio(&platform)),
        platform,
        storages: wish.storages,
    };
    let freeze = match open && !frozen {
        true => Some(create::freeze(call, &row, &format!("for-image-{}", new.name)).await?),
        false => None,
    };
    Ok(Plan::Run(Template {
        job: call.job.clone(),
        new,
        volume: row.uuid,
        place,
        path,
        frozen,
        freeze,
        boot_mode,
        facts: Vec::new(),
    }))
}

async fn freeze_record(app: Arc<App>, mut state: Template) -> StepResult<Template> {
    if let Some(freeze) = state.freeze.take() {
        state.freeze = Some(create::record(app, freeze).await?);
    }
    Ok(state)
}

async fn freeze_forget(app: Arc<App>, state: Template) -> Result<(), StepError> {
    match state.freeze {
        Some(freeze) => create::forget(app, freeze).await,
        None => Ok(()),
    }
}

async fn freeze_flatten(app: Arc<App>, mut state: Template) -> StepResult<Template> {
    if let Some(freeze) = state.freeze.take() {
        state.freeze = Some(create::flatten(app, freeze).await?);
    }
    Ok(state)
}

async fn freeze_take(app: Arc<App>, mut state: Template) -> StepResult<Template> {
    if let Some(freeze) = state.freeze.take() {
        state.freeze = Some(create::take(app, freeze).await?);
    }
    Ok(state)
}

async fn freeze_take_back(app: Arc<App>, state: Template) -> Result<(), StepError> {
    match state.freeze {
        Some(freeze) => create::take_back(app, freeze).await,
        None => Ok(()),
    }
}

async fn freeze_settle(app: Arc<App>, mut state: Template) -> StepResult<Template> {
    if let Some(freeze) = state.freeze.take() {
        state.freeze = Some(create::settle(app, freeze).await?);
    }
    Ok(state)
}

async fn thaw_again(app: Arc<App>, state: Template) -> Result<(), StepError> {
    match &state.freeze {
        Some(freeze) => Ok(delete::now(&app, &format!("{}-undo", state.job), &freeze.snapshot).await?),
        None => Ok(()),
    }
}

/// The image is stored, whatever becomes of the snapshot.
async fn thaw(app: Arc<App>, state: Template) -> StepResult<Template> {
    if let Some(freeze) = &state.freeze
        && let Err(error) = delete::now(&app, &state.job, &freeze.snapshot).await
    {
        let (snapshot, volume) = (&freeze.snapshot, &state.volume);
        tracing::warn!(snapshot, volume, %error, "a snapshot that froze a volume for an image is left; delete it");
    }
    Ok(state)
}

async fn record(app: Arc<App>, state: Template) -> StepResult<Template> {
    let (app, new) = (&*app, &state.new);
    app.write(|tx| async move { image::write_rows(app, &tx, new, "Creating", None).await }).await?;
    Ok(state)
}

async fn forget(app: Arc<App>, state: Template) -> Result<(), StepError> {
    Ok(app.write(|tx| async move { image::remove_rows(&tx, &state.new.uuid).await }).await?)
}

async fn store(app: Arc<App>, mut state: Template) -> StepResult<Template> {
    let id = Uuid::try_parse(&state.job).unwrap_or_default();
    let mut facts = Vec::new();
    for uuid in &state.new.storages {
        let storage = backup_storage::load(app.db.read(), uuid).await?;
        let operation = StoreImage {
            root: state.place.root.clone(),
            volume_path: state.path.clone(),
            image: agents::id(&state.new.uuid)?,
            server: backup_storage::server(&app, app.db.read(), &storage).await?,
            remote_path: image::server_path(&storage.url, &state.new.uuid),
        };
        let agent = app.agents.of(app.db.read(), &state.place.host).await?;
        let watch = |seen: &node_manager_types::Progress| app.progress.report(id, seen.percent, &seen.stage);
        let (server, path) = (operation.server.clone(), operation.remote_path.clone());
        let transfer = Transfer { host: &state.place.host, server: &server, path: &path, access: Access::Write };
        let stored = transfer.during(&app, TRANSFER, async {
            let step = format!("store-{uuid}");
            let stored = agents::run_watched(&agent, &state.job, &step, operation, TRANSFER, watch).await;
            stored.map_err(|error| {
                let what = format!("volume {} could not be stored as image {}", state.volume, state.new.name);
                agents::failure(ErrorCode::Operation, what, &state.place.host, &error)
            })
        });
        facts.push((uuid.clone(), stored.await?));
    }
    // What was read is one point in time only if nobody wrote.
    let row = volumes::load(app.db.read(), &state.volume).await?;
    if !state.frozen
        && state.freeze.is_none()
        && let Some((vm, host)) = volumes::opened_by(app.db.read(), &row).await?
    {
        let text = format!("VM {} was started on host {host} meanwhile; stop it and make the image again", vm.name);
        return Err(ApiError::new(ErrorCode::VmState, text).into());
    }
    state.facts = facts;
    Ok(state)
}

async fn remove_files(app: Arc<App>, state: Template) -> Result<(), StepError> {
    Ok(image::drop_files(&app, &state.new.uuid, &state.new.storages).await?)
}

async fn ready(app: Arc<App>, state: Template) -> StepResult<Template> {
    let (app, uuid, facts, mode) = (&*app, &state.new.uuid, &state.facts, state.boot_mode.as_deref());
    app.write(|tx| async move {
        image::load(&*tx, uuid).await?;
        // CS-VM-012.
        if let Some(mode) = mode {
            tags::add_system(&*tx, "ImageVO", uuid, &format!("bootMode::{mode}"), false).await?;
        }
        image::settle(app, &tx, uuid, facts).await
    })
    .await?;
    Ok(state)
}
