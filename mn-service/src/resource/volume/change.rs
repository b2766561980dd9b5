//! Growing volumes and reading their sizes (CS-VOL-036, CS-VOL-002 `actualSize`).

use std::sync::Arc;

use mn_service_db::entity::volume;
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{
    operation::{ResizeVolume, StatVolume},
    storage::VolumeFacts,
};
use sea_orm::{EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{load, opened_by, place_of, reserve};
use crate::{
    access, agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    resource::{
        primary_storage::{Place, bytes, size},
        quota::{self, Counted},
    },
};

mn_service_types::messages! {
    ResizeDataVolume { uuid: String, size: i64 }
    ResizeRootVolume { uuid: Option<String>, vm_instance_uuid: Option<String>, size: i64 }
    SyncVolumeSize { uuid: String }
    GetVolumeFormat { }
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("volume.resize", prepare_data, |state: &Resize| {
        Reply::Inventory("VolumeInventory", state.volume.clone())
    });
    apis.workflow("volume.resize", prepare_root, |state: &Resize| {
        Reply::Inventory("VolumeInventory", state.volume.clone())
    });
    apis.workflow("volume.measure", prepare_sync, |state: &Measure| {
        Reply::Inventory("VolumeInventory", state.volume.clone())
    });
    apis.sync(formats);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("volume.resize", 1)
            .step("reserve", reserve_more, Undo::with(reserve_less))
            .step(
                "resize",
                resize,
                Undo::nothing("a file that grew cannot shrink; SyncVolumeSize reads what it became"),
            )
            .step("record", record, Undo::nothing("it is the last step and one transaction")),
    )?;
    registry.register(Workflow::named("volume.measure", 1).step(
        "measure",
        measure,
        Undo::nothing("it reads a size and notes it"),
    ))
}

/// State of growing a volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Resize {
    job: String,
    volume: String,
    before: i64,
    size: i64,
    facts: Option<VolumeFacts>,
}

async fn prepare_data(call: Call, msg: ResizeDataVolume) -> ApiResult<Plan<Resize>> {
    prepare(&call, &msg.uuid, msg.size, "Data").await
}

async fn prepare_root(call: Call, msg: ResizeRootVolume) -> ApiResult<Plan<Resize>> {
    let uuid = msg
        .uuid
        .filter(|uuid| !uuid.is_empty())
        .ok_or_else(|| ApiError::new(ErrorCode::InvalidArgument, "uuid must be that of the root volume"))?;
    let volume = load(call.app.db.read(), &uuid).await?;
    if msg.vm_instance_uuid.is_some_and(|vm| !vm.is_empty() && volume.vm_instance_uuid.as_ref() != Some(&vm)) {
        return Err(ApiError::new(
            ErrorCode::InvalidArgument,
            format!("vmInstanceUuid: volume {uuid} is not the root volume of that VM"),
        ));
    }
    prepare(&call, &uuid, msg.size, "Root").await
}

async fn prepare(call: &Call, uuid: &str, wanted: i64, kind: &str) -> ApiResult<Plan<Resize>> {
    let conn = call.app.db.read();
    let volume = load(conn, uuid).await?;
    let name = format!("volume {} ({uuid})", volume.name);
    let mut problems = Vec::new();
    if volume.r#type != kind {
        problems.push(format!("{name} is a {} volume; use Resize{}Volume", volume.r#type, volume.r#type));
    }
    if wanted < volume.size {
        problems.push(format!("{name} has {} and cannot shrink to {}", size(volume.size), size(wanted)));
    }
    if !matches!(volume.status.as_str(), "Ready" | "NotInstantiated") {
        problems.push(format!("{name} is {}, it must be Ready", volume.status));
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    opened_by(conn, &volume).await?;
    let before = volume.size;
    Ok(Plan::Run(Resize { job: call.job.clone(), volume: volume.uuid, before, size: wanted, facts: None }))
}

async fn hold(app: &Arc<App>, volume: &str, size: i64) -> ApiResult<()> {
    let service = app.clone();
    app.write(|tx| async move {
        let row = load(&*tx, volume).await?;
        match place_of(&*tx, &row).await? {
            Some(place) => reserve(&service, &tx, volume, &place, size).await,
            None => Ok(()),
        }
    })
    .await
}

async fn reserve_more(app: Arc<App>, state: Resize) -> StepResult<Resize> {
    let (service, grows) = (app.clone(), [(Counted::VolumeBytes, state.size - state.before)]);
    let volume = state.volume.as_str();
    app.write(|tx| async move {
        match access::owner_of(&*tx, volume).await? {
            Some(account) => quota::demand(&service, &tx, &account, &grows, "").await,
            None => Ok(()),
        }
    })
    .await?;
    hold(&app, &state.volume, state.size).await?;
    Ok(state)
}

async fn reserve_less(app: Arc<App>, state: Resize) -> Result<(), StepError> {
    Ok(hold(&app, &state.volume, state.before).await?)
}

async fn resize(app: Arc<App>, mut state: Resize) -> StepResult<Resize> {
    let volume = load(app.db.read(), &state.volume).await?;
    let Some((place, path)) = instantiated(&app, &volume).await? else { return Ok(state) };
    let open = opened_by(app.db.read(), &volume).await?;
    let operation = ResizeVolume {
        root: place.root.clone(),
        volume: agents::id(&volume.uuid)?,
        path,
        size: size(state.size),
        vm: open.map(|(vm, _)| agents::id(&vm.uuid)).transpose()?,
    };
    let agent = app.agents.of(app.db.read(), &place.host).await?;
    let facts = agents::run(&agent, &state.job, "resize", operation, app.host_patience()).await.map_err(|error| {
        let what = format!("volume {} ({}) could not grow to {}", volume.name, volume.uuid, size(state.size));
        agents::failure(ErrorCode::Operation, what, &place.host, &error)
    })?;
    state.facts = Some(facts);
    Ok(state)
}

/// Place and active layer of a volume that has one.
async fn instantiated(app: &App, volume: &volume::Model) -> ApiResult<Option<(Place, String)>> {
    Ok(place_of(app.db.read(), volume).await?.zip(volume.install_path.clone()))
}

async fn record(app: Arc<App>, state: Resize) -> StepResult<Resize> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            match &state.facts {
                Some(facts) => note_sizes(&service, &tx, &state.volume, facts).await?,
                None => {
                    volume::Entity::update_many()
                        .col_expr(volume::Column::Size, Expr::value(state.size))
                        .col_expr(volume::Column::LastOpDate, Expr::value(now_millis()))
                        .filter(volume::Column::Uuid.eq(&state.volume))
                        .exec(&*tx)
                        .await
                        .or_internal()?;
                }
            }
            Ok(state)
        })
        .await?;
    Ok(state)
}

/// Notes what the host says about a volume.
async fn note_sizes(app: &App, tx: &Tx, uuid: &str, facts: &VolumeFacts) -> ApiResult<()> {
    let row = load(&**tx, uuid).await?;
    if row.size != bytes(facts.size)
        && let Some(place) = place_of(&**tx, &row).await?
    {
        reserve(app, tx, uuid, &place, bytes(facts.size)).await?;
    }
    use volume::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::Size, Expr::value(bytes(facts.size)))
        .col_expr(Column::ActualSize, Expr::value(bytes(facts.actual_size)))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Uuid.eq(uuid))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

/// State of reading a volume's sizes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Measure {
    job: String,
    volume: String,
}

async fn prepare_sync(call: Call, msg: SyncVolumeSize) -> ApiResult<Plan<Measure>> {
    let volume = load(call.app.db.read(), &msg.uuid).await?;
    if instantiated(&call.app, &volume).await?.is_none() {
        return Err(ApiError::new(
            ErrorCode::Operation,
            format!("volume {} ({}) is {} and has no file to measure", volume.name, volume.uuid, volume.status),
        ));
    }
    Ok(Plan::Run(Measure { job: call.job.clone(), volume: volume.uuid }))
}

async fn measure(app: Arc<App>, state: Measure) -> StepResult<Measure> {
    let volume = load(app.db.read(), &state.volume).await?;
    let Some((place, path)) = instantiated(&app, &volume).await? else { return Ok(state) };
    let agent = app.agents.of(app.db.read(), &place.host).await?;
    let operation = StatVolume { root: place.root.clone(), path };
    let facts = agents::run(&agent, &state.job, "stat", operation, app.host_patience()).await.map_err(|error| {
        let what = format!("volume {} ({}) could not be measured", volume.name, volume.uuid);
        agents::failure(ErrorCode::Operation, what, &place.host, &error)
    })?;
    let (service, uuid) = (app.clone(), &state.volume);
    app.write(|tx| async move { note_sizes(&service, &tx, uuid, &facts).await }).await?;
    Ok(state)
}

async fn formats(_call: Call, _msg: GetVolumeFormat) -> ApiResult<Map<String, Value>> {
    let format =
        |name: &str| json!({ "format": name, "masterHypervisorType": "KVM", "supportingHypervisorTypes": ["KVM"] });
    Ok(Map::from_iter([("formats".to_owned(), json!([format("qcow2"), format("raw")]))]))
}
