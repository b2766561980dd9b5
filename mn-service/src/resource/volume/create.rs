//! Creating data volumes, empty or from a snapshot (CS-VOL-010, CS-VOL-011, CS-VOL-020 to CS-VOL-023).

use std::{sync::Arc, time::Duration};

use mn_service_db::entity::{disk_offering, host, volume};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{operation::CopyVolume, storage::VolumeFacts};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{create_on, delete_on, forget_places, note_place, path, place_of, reserve};
use crate::{
    access, agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    resource::{
        allocation, image,
        primary_storage::{self, Place, bytes},
        provisioning::StorageLimits,
        quota::{self, Counted},
        snapshot,
    },
    tags,
};

mn_service_types::messages! {
    CreateDataVolume { name: String, description: Option<String>, disk_offering_uuid: Option<String>, disk_size: Option<i64>, primary_storage_uuid: Option<String> }
    CreateDataVolumeFromVolumeTemplate { image_uuid: String, name: String, description: Option<String>, primary_storage_uuid: String, host_uuid: Option<String> }
    CreateDataVolumeFromVolumeSnapshot { name: String, description: Option<String>, volume_snapshot_uuid: String, primary_storage_uuid: Option<String> }
}

/// Longest copy of a volume.
const COPY: Duration = Duration::from_secs(3 * 3600);

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("volume.create-data", prepare, reply);
    apis.workflow("volume.create-data", prepare_from_snapshot, reply);
    apis.workflow("volume.create-data", prepare_from_template, reply);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("volume.create-data", 1)
            .step("record", record, Undo::with(forget))
            .step("create", create, Undo::with(remove))
            .step("ready", ready, Undo::nothing("it is the last step and one transaction")),
    )
}

/// State of creating a volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Create {
    job: String,
    uuid: String,
    account: String,
    name: String,
    description: Option<String>,
    disk_offering: Option<String>,
    size: i64,
    /// Absent: the volume is instantiated when it is first attached (CS-VOL-010).
    place: Option<Place>,
    /// Layer to copy.
    from: Option<String>,
    /// Image that it begins as.
    #[serde(default)]
    image: Option<String>,
    facts: Option<VolumeFacts>,
}

fn reply(state: &Create) -> Reply {
    Reply::Inventory("VolumeInventory", state.uuid.clone())
}

async fn prepare(call: Call, msg: CreateDataVolume) -> ApiResult<Plan<Create>> {
    let conn = call.app.db.read();
    let mut problems = Vec::new();
    let offering = match msg.disk_offering_uuid.filter(|uuid| !uuid.is_empty()) {
        Some(uuid) => disk_offering::Entity::find_by_id(uuid).one(conn).await.or_internal()?,
        None => None,
    };
    let size = match (&offering, msg.disk_size) {
        (Some(offering), _) => {
            if offering.state != "Enabled" {
                problems.push(format!("disk offering {} is {}; enable it first", offering.name, offering.state));
            }
            offering.disk_size
        }
        (None, Some(size)) if size > 0 => size,
        _ => {
            problems.push("give diskOfferingUuid, or diskSize in bytes (CS-VOL-020)".to_owned());
            0
        }
    };
    let host = host_of_tags(&call);
    let place = match (msg.primary_storage_uuid.filter(|uuid| !uuid.is_empty()), host) {
        (None, None) => None,
        (Some(storage), None) => {
            problems.push(format!(
                "primary storage {storage} is local: name the host with the system tag localStorage::hostUuid::<uuid> \
                 (CS-VOL-022)"
            ));
            None
        }
        (storage, Some(host)) => match choose(&call, storage.as_deref(), &host).await {
            Ok(place) => Some(place),
            Err(error) => {
                problems.push(error.details);
                None
            }
        },
    };
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    Ok(Plan::Run(Create {
        job: call.job.clone(),
        uuid: image::uuid_for(&call, "volume"),
        account: call.caller.account.clone(),
        name: msg.name,
        description: msg.description,
        disk_offering: offering.map(|offering| offering.uuid),
        size,
        place,
        from: None,
        image: None,
        facts: None,
    }))
}

/// The host that the tags of a call name.
fn host_of_tags(call: &Call) -> Option<String> {
    let given = call.tags().system_tags;
    given.iter().find_map(|tag| tags::parse("localStorage::hostUuid::{hostUuid}", tag)?.pop())
}

/// The primary storage on `host`: the named one, or that with most room (CS-ALLOC-030).
async fn choose(call: &Call, storage: Option<&str>, host: &str) -> ApiResult<Place> {
    let conn = call.app.db.read();
    let row = host::Entity::find_by_id(host).one(conn).await.or_internal()?;
    let row = row.ok_or_else(|| ApiError::not_found("HostVO", host))?;
    if row.status != "Connected" || row.state != "Enabled" {
        return Err(ApiError::new(
            ErrorCode::HostDisconnected,
            format!("host {} ({host}) is {} and {}; it must be Enabled and Connected", row.name, row.state, row.status),
        ));
    }
    let candidates =
        primary_storage::candidates(conn, &row.cluster_uuid, host, StorageLimits::of(&call.app.settings)).await?;
    let chosen = candidates.into_iter().find(|candidate| storage.is_none_or(|uuid| uuid == candidate.primary_storage));
    match chosen {
        Some(candidate) => primary_storage::place(conn, &candidate.primary_storage, host).await,
        None => Err(ApiError::new(
            ErrorCode::AllocatePrimaryStorage,
            format!(
                "{} is not attached to the cluster of host {} ({host}), not Enabled and Connected, or nearly full there; \
                 attach it with AttachPrimaryStorageToCluster, enable it, or add disks",
                storage.map_or("no primary storage".to_owned(), |uuid| format!("primary storage {uuid}")),
                row.name
            ),
        )),
    }
}

/// CS-VOL-035: the image is brought to the cache of the storage at first use.
async fn prepare_from_template(call: Call, msg: CreateDataVolumeFromVolumeTemplate) -> ApiResult<Plan<Create>> {
    let conn = call.app.db.read();
    let found = image::load(conn, &msg.image_uuid).await?;
    let mut problems = Vec::new();
    if found.media_type != "DataVolumeTemplate" {
        problems.push(format!(
            "imageUuid: image {} ({}) is a {}, not a DataVolumeTemplate",
            found.name, found.uuid, found.media_type
        ));
    }
    let storage = primary_storage::load(conn, &msg.primary_storage_uuid).await?;
    if let Err(error) = image::usable(conn, &found.uuid, &storage.zone_uuid).await {
        problems.extend(error.details.lines().map(|line| format!("imageUuid: {line}")));
    }
    let host = msg.host_uuid.filter(|uuid| !uuid.is_empty()).or_else(|| host_of_tags(&call));
    let place = match host {
        Some(host) => match choose(&call, Some(&storage.uuid), &host).await {
            Ok(place) => Some(place),
            Err(error) => {
                problems.push(error.details);
                None
            }
        },
        None => {
            problems.push(format!("primary storage {} is local: name the host as hostUuid (CS-VOL-022)", storage.name));
            None
        }
    };
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    Ok(Plan::Run(Create {
        job: call.job.clone(),
        uuid: image::uuid_for(&call, "volume"),
        account: call.caller.account.clone(),
        name: msg.name,
        description: msg.description,
        disk_offering: None,
        size: found.size,
        place,
        from: None,
        image: Some(found.uuid),
        facts: None,
    }))
}

async fn prepare_from_snapshot(call: Call, msg: CreateDataVolumeFromVolumeSnapshot) -> ApiResult<Plan<Create>> {
    let conn = call.app.db.read();
    let found = snapshot::load(conn, &msg.volume_snapshot_uuid).await?;
    snapshot::check_ready(&found)?;
    let (place, from) = snapshot::place_of(conn, &found).await?;
    if msg.primary_storage_uuid.is_some_and(|uuid| !uuid.is_empty() && uuid != place.primary_storage) {
        return Err(ApiError::new(
            ErrorCode::InvalidArgument,
            format!(
                "snapshot {} lives on primary storage {} of host {}; a volume made from it lives there too, \
                 leave primaryStorageUuid out",
                found.uuid, place.primary_storage, place.host
            ),
        ));
    }
    let size = match &found.volume_uuid {
        Some(volume) => super::load(conn, volume).await?.size,
        None => found.size,
    };
    Ok(Plan::Run(Create {
        job: call.job.clone(),
        uuid: image::uuid_for(&call, "volume"),
        account: call.caller.account.clone(),
        name: msg.name,
        description: msg.description,
        disk_offering: None,
        size,
        place: Some(place),
        from: Some(from),
        image: None,
        facts: None,
    }))
}

async fn record(app: Arc<App>, state: Create) -> StepResult<Create> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            write_row(&service, &tx, &state).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn write_row(app: &App, tx: &Tx, state: &Create) -> ApiResult<()> {
    if volume::Entity::find_by_id(&state.uuid).one(&**tx).await.or_internal()?.is_some() {
        return Ok(());
    }
    let demands = [(Counted::DataVolumes, 1), (Counted::VolumeBytes, state.size)];
    quota::demand(app, tx, &state.account, &demands, "").await?;
    let now = now_millis();
    let status = if state.place.is_some() { "Creating" } else { "NotInstantiated" };
    let row = volume::ActiveModel {
        uuid: Set(state.uuid.clone()),
        name: Set(state.name.clone()),
        description: Set(state.description.clone()),
        primary_storage_uuid: Set(state.place.as_ref().map(|place| place.primary_storage.clone())),
        disk_offering_uuid: Set(state.disk_offering.clone()),
        root_image_uuid: Set(state.image.clone()),
        r#type: Set("Data".to_owned()),
        format: Set(Some("qcow2".to_owned())),
        size: Set(state.size),
        actual_size: Set(Some(0)),
        state: Set("Enabled".to_owned()),
        status: Set(status.to_owned()),
        is_shareable: Set(false),
        create_date: Set(now),
        last_op_date: Set(now),
        ..Default::default()
    };
    volume::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    if let Some(place) = &state.place {
        reserve(app, tx, &state.uuid, place, state.size).await?;
        note_place(tx, "VolumeVO", &state.uuid, place, state.size).await?;
    }
    access::own(tx, &state.account, "VolumeVO", &state.uuid).await
}

async fn forget(app: Arc<App>, state: Create) -> Result<(), StepError> {
    let done = app.write(|tx| async move {
        let gone = [state.uuid.clone()];
        allocation::release_storage(&tx, &gone).await?;
        forget_places(&tx, &gone).await?;
        tags::forget(&tx, &gone).await?;
        access::forget(&tx, &gone).await?;
        volume::Entity::delete_by_id(&state.uuid).exec(&*tx).await.or_internal()?;
        Ok(())
    });
    Ok(done.await?)
}

async fn create(app: Arc<App>, mut state: Create) -> StepResult<Create> {
    let Some(place) = &state.place else { return Ok(state) };
    let backing = match &state.image {
        Some(image) => Some(image::ensure_cached(&app, &state.job, place, image).await?.path),
        None => None,
    };
    let facts = match &state.from {
        None => create_on(&app, &state.job, place, &state.uuid, state.size, backing.as_deref()).await?,
        Some(from) => copy(&app, &state.job, place, &state.uuid, from).await?,
    };
    state.facts = Some(facts);
    Ok(state)
}

async fn copy(app: &App, job: &str, place: &Place, volume: &str, from: &str) -> ApiResult<VolumeFacts> {
    let to = path(&place.root.path, volume);
    let operation = CopyVolume { root: place.root.clone(), from: from.to_owned(), to };
    let agent = app.agents.of(app.db.read(), &place.host).await?;
    agents::run(&agent, job, &format!("copy-{volume}"), operation, COPY).await.map_err(|error| {
        let what = format!("volume {volume} could not be copied from {from}");
        agents::failure(ErrorCode::CreateResource, what, &place.host, &error)
    })
}

async fn remove(app: Arc<App>, state: Create) -> Result<(), StepError> {
    if let Some(place) = &state.place {
        delete_on(&app, &state.job, place, &path(&place.root.path, &state.uuid)).await?;
    }
    Ok(())
}

async fn ready(app: Arc<App>, state: Create) -> StepResult<Create> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            if let (Some(place), Some(facts)) = (&state.place, &state.facts) {
                let row = super::load(&*tx, &state.uuid).await?;
                if place_of(&*tx, &row).await?.is_none() {
                    return Err(ApiError::new(
                        ErrorCode::CreateResource,
                        format!("primary storage {} was deleted meanwhile", place.primary_storage),
                    ));
                }
                settle(&service, &tx, &state.uuid, place, facts).await?;
            }
            Ok(state)
        })
        .await?;
    Ok(state)
}

/// Notes the file that a volume got.
pub(super) async fn settle(app: &App, tx: &Tx, uuid: &str, place: &Place, facts: &VolumeFacts) -> ApiResult<()> {
    // qcow2 rounds sizes up to whole sectors.
    reserve(app, tx, uuid, place, bytes(facts.size)).await?;
    note_place(tx, "VolumeVO", uuid, place, bytes(facts.size)).await?;
    use volume::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::Status, Expr::value("Ready"))
        .col_expr(Column::PrimaryStorageUuid, Expr::value(place.primary_storage.as_str()))
        .col_expr(Column::InstallPath, Expr::value(facts.path.as_str()))
        .col_expr(Column::Size, Expr::value(bytes(facts.size)))
        .col_expr(Column::ActualSize, Expr::value(bytes(facts.actual_size)))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Uuid.eq(uuid))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}
