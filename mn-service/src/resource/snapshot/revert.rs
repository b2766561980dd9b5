//! Going back to a snapshot (CS-SNAP-005, CS-SNAP-006): the volume goes on in a new layer on top of it, what was written
//! since is gone.

use std::sync::Arc;

use mn_service_db::entity::{vm_instance, volume};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{operation::RevertSnapshot, storage::VolumeFacts};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{check_ready, create::set_path, load, place_of, stand_on};
use crate::{
    agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    garbage,
    resource::{
        primary_storage::{Place, bytes},
        volume as volumes,
    },
};

mn_service_types::messages! {
    RevertVolumeFromSnapshot { uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("snapshot.revert", prepare, |_: &Revert| Reply::Empty);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("snapshot.revert", 1)
            .step("layer", layer, Undo::with(remove_layer))
            .step("record", record, Undo::nothing("one transaction; nothing after it fails because of a host"))
            .step("files", files, Undo::nothing("what is not removed now is noted and removed later")),
    )
}

/// State of a revert.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Revert {
    job: String,
    volume: String,
    snapshot: String,
    place: Place,
    snapshot_path: String,
    new_path: String,
    facts: Option<VolumeFacts>,
    garbage: Vec<i64>,
}

async fn prepare(call: Call, msg: RevertVolumeFromSnapshot) -> ApiResult<Plan<Revert>> {
    let conn = call.app.db.read();
    let row = load(conn, &msg.uuid).await?;
    check_ready(&row)?;
    let (place, snapshot_path) = place_of(conn, &row).await?;
    let volume = volumes::load(conn, row.volume_uuid.as_deref().unwrap_or_default()).await?;
    check_idle(conn, &volume).await?;
    Ok(Plan::Run(Revert {
        job: call.job.clone(),
        new_path: volumes::layer(&place.root.path, &volume.uuid, &call.job),
        volume: volume.uuid,
        snapshot: row.uuid,
        place,
        snapshot_path,
        facts: None,
        garbage: Vec::new(),
    }))
}

/// CS-SNAP-006: nobody may have the volume open.
async fn check_idle<C: ConnectionTrait>(conn: &C, volume: &volume::Model) -> ApiResult<()> {
    if volume.status != "Ready" {
        return Err(ApiError::new(
            ErrorCode::SnapshotState,
            format!("volume {} ({}) is {}, it must be Ready", volume.name, volume.uuid, volume.status),
        ));
    }
    let Some(vm) = &volume.vm_instance_uuid else { return Ok(()) };
    match vm_instance::Entity::find_by_id(vm).one(conn).await.or_internal()? {
        Some(vm) if vm.state != "Stopped" => Err(ApiError::new(
            ErrorCode::VmState,
            format!(
                "volume {} ({}) belongs to VM {} ({}), which is {}; stop it first, a volume goes back while nobody uses it",
                volume.name, volume.uuid, vm.name, vm.uuid, vm.state
            ),
        )),
        _ => Ok(()),
    }
}

async fn layer(app: Arc<App>, mut state: Revert) -> StepResult<Revert> {
    let operation = RevertSnapshot {
        root: state.place.root.clone(),
        snapshot_path: state.snapshot_path.clone(),
        new_path: state.new_path.clone(),
    };
    let agent = app.agents.of(app.db.read(), &state.place.host).await?;
    let facts = agents::run(&agent, &state.job, "revert", operation, app.host_patience()).await.map_err(|error| {
        let what = format!("volume {} could not go back to snapshot {}", state.volume, state.snapshot);
        agents::failure(ErrorCode::Operation, what, &state.place.host, &error)
    })?;
    state.facts = Some(facts);
    Ok(state)
}

async fn remove_layer(app: Arc<App>, state: Revert) -> Result<(), StepError> {
    let row = volumes::load(app.db.read(), &state.volume).await?;
    // The volume goes on in it already, and the one before is given up: what failed came later.
    if row.install_path.as_deref() == Some(&state.new_path) {
        return Ok(());
    }
    Ok(volumes::delete_on(&app, &state.job, &state.place, &state.new_path).await?)
}

async fn record(app: Arc<App>, mut state: Revert) -> StepResult<Revert> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            if let Some(id) = go_back(&service, &tx, &state).await? {
                state.garbage.push(id);
            }
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn go_back(app: &App, tx: &Tx, state: &Revert) -> ApiResult<Option<i64>> {
    let volume = volumes::load(&**tx, &state.volume).await?;
    if volume.install_path.as_deref() == Some(&state.new_path) {
        return Ok(None);
    }
    check_idle(&**tx, &volume).await?;
    let snapshot = load(&**tx, &state.snapshot).await?;
    set_path(tx, &state.volume, &state.new_path).await?;
    if let Some(facts) = &state.facts {
        // The volume may have grown since the snapshot.
        volumes::reserve(app, tx, &state.volume, &state.place, bytes(facts.size)).await?;
        use volume::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::Size, Expr::value(bytes(facts.size)))
            .col_expr(Column::ActualSize, Expr::value(bytes(facts.actual_size)))
            .filter(Column::Uuid.eq(&state.volume))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    stand_on(tx, &state.volume, Some(&snapshot)).await?;
    match &volume.install_path {
        Some(old) => garbage::add(tx, &volumes::file(&state.place, old)).await.map(Some),
        None => Ok(None),
    }
}

async fn files(app: Arc<App>, state: Revert) -> StepResult<Revert> {
    garbage::collect_now(&app, &state.garbage).await?;
    Ok(state)
}
