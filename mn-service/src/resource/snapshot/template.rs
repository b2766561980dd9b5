//! Making an image from a root volume (CS-VOL-037).

use std::{sync::Arc, time::Duration};

use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{
    image::{ImageFacts, ImageFormat},
    operation::StoreImage,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::App,
    resource::{
        backup_storage,
        image::{self, NewImage},
        primary_storage::Place,
        volume as volumes,
    },
};

mn_service_types::messages! {
    CreateRootVolumeTemplateFromRootVolume { name: String, description: Option<String>, guest_os_type: Option<String>, backup_storage_uuids: Option<Vec<String>>, root_volume_uuid: String, platform: Option<String>, system: Option<bool>, architecture: Option<String>, virtio: Option<bool> }
}

/// Longest transfer of a volume.
const TRANSFER: Duration = Duration::from_secs(24 * 3600);

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("image.from-volume", prepare, |state: &Template| {
        Reply::Inventory("ImageInventory", state.new.uuid.clone())
    });
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("image.from-volume", 1)
            .step("record", record, Undo::with(forget))
            .step("store", store, Undo::with(remove_files))
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
    path: String,
    facts: Vec<(String, ImageFacts)>,
}

async fn prepare(call: Call, msg: CreateRootVolumeTemplateFromRootVolume) -> ApiResult<Plan<Template>> {
    let conn = call.app.db.read();
    let row = volumes::load(conn, &msg.root_volume_uuid).await?;
    let name = format!("volume {} ({})", row.name, row.uuid);
    let mut problems = Vec::new();
    if row.r#type != "Root" {
        problems.push(format!("{name} is a data volume; rootVolumeUuid must be that of a root volume"));
    }
    if let Some((vm, _)) = volumes::opened_by(conn, &row).await? {
        problems.push(format!(
            "VM {} ({}) is {} and writes to {name}; stop it first, so that the image is consistent",
            vm.name, vm.uuid, vm.state
        ));
    }
    let place = volumes::place_of(conn, &row).await?.zip(row.install_path.clone());
    if place.is_none() || row.status != "Ready" {
        problems.push(format!("{name} is {}, it must be Ready", row.status));
    }
    let storages = msg.backup_storage_uuids.unwrap_or_default();
    if storages.is_empty() {
        problems.push("backupStorageUuids must name at least one backup storage".to_owned());
    }
    for uuid in &storages {
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
    let platform = inherited(msg.platform, |image| image.platform.clone()).unwrap_or_else(|| "Linux".to_owned());
    Ok(Plan::Run(Template {
        job: call.job.clone(),
        new: NewImage {
            uuid: image::uuid_for(&call, "image"),
            account: call.caller.account.clone(),
            name: msg.name,
            description: msg.description,
            url: format!("volume://{}", row.uuid),
            media_type: "RootVolumeTemplate".to_owned(),
            guest_os_type: inherited(msg.guest_os_type, |image| image.guest_os_type.clone()),
            architecture: inherited(msg.architecture, |image| image.architecture.clone()),
            format: Some(ImageFormat::Qcow2),
            system: msg.system.unwrap_or(false),
            virtio: msg.virtio.unwrap_or_else(|| image::has_virtio(&platform)),
            platform,
            storages,
        },
        volume: row.uuid,
        place,
        path,
        facts: Vec::new(),
    }))
}

async fn record(app: Arc<App>, state: Template) -> StepResult<Template> {
    let new = &state.new;
    app.write(|tx| async move { image::write_rows(&tx, new, "Creating", None).await }).await?;
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
        let stored =
            agents::run_watched(&agent, &state.job, &format!("store-{uuid}"), operation, TRANSFER, watch).await;
        let stored = stored.map_err(|error| {
            let what = format!("volume {} could not be stored as image {}", state.volume, state.new.name);
            agents::failure(ErrorCode::Operation, what, &state.place.host, &error)
        })?;
        facts.push((uuid.clone(), stored));
    }
    // What was read is one point in time only if nobody wrote.
    let row = volumes::load(app.db.read(), &state.volume).await?;
    if let Some((vm, host)) = volumes::opened_by(app.db.read(), &row).await? {
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
    let (uuid, facts) = (&state.new.uuid, &state.facts);
    app.write(|tx| async move {
        image::load(&*tx, uuid).await?;
        image::settle(&tx, uuid, facts).await
    })
    .await?;
    Ok(state)
}
