//! Deleting a snapshot with everything above it. What the active layer still needs of it is merged into that layer first,
//! in the running VM where one has it open.

use std::sync::Arc;

use mn_service_db::entity::{volume, volume_snapshot, volume_snapshot_tree};
use mn_service_types::{date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{
    base_of, below_active, check_ready,
    create::{Merge, merge},
    load, of_volume, place_of, set_status, stand_on, tree,
};
use crate::{
    access,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    cascade::Item,
    change, garbage,
    preview::{ASKED, Effect, Kind, Preview},
    resource::{
        allocation,
        primary_storage::{Place, bytes},
        volume as volumes,
    },
    tags,
};

mn_service_types::messages! {
    DeleteVolumeSnapshot { uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("snapshot.delete", prepare, |_: &Delete| Reply::Empty);
    apis.preview("DeleteVolumeSnapshot", "VolumeSnapshotVO", look);
}

/// The snapshot goes with everything above it, and its tree with the last of them.
async fn look(call: Call) -> ApiResult<Preview> {
    let conn = call.app.db.read();
    let row = load(conn, &change::target(&call)?).await?;
    let volume = row.volume_uuid.clone().unwrap_or_default();
    let all = of_volume(conn, &volume).await?;
    let going = tree::subtree(&all, &row.uuid);
    let mut preview = Preview::default();
    for snapshot in all.iter().filter(|snapshot| going.contains(&snapshot.uuid)) {
        let item = Item { uuid: snapshot.uuid.clone(), name: Some(snapshot.name.clone()) };
        let reason =
            if snapshot.uuid == row.uuid { ASKED.to_owned() } else { format!("it sits on snapshot {}", row.name) };
        preview.effects.push(Effect::new(Kind::Delete, "VolumeSnapshotVO", &item, reason));
    }
    let of_tree = |snapshot: &&volume_snapshot::Model| snapshot.tree_uuid == row.tree_uuid;
    if let Some(uuid) = row.tree_uuid.clone().filter(|_| all.iter().filter(of_tree).all(|s| going.contains(&s.uuid))) {
        let item = Item { uuid, name: None };
        preview.effects.push(Effect::new(Kind::Delete, "VolumeSnapshotTreeVO", &item, "its last snapshot goes"));
    }
    preview.refuse(check_ready(&row))?;
    preview.refuse(volumes::opened_by(conn, &volumes::load(conn, &volume).await?).await.map(|_| ()))?;
    Ok(preview)
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("snapshot.delete", 1)
            .step("mark", mark, Undo::with(unmark))
            .step("merge", merge_active, Undo::nothing("the merged layer reads the same, and where it sits is noted"))
            .step("records", records, Undo::nothing("one transaction; nothing after it fails because of a host"))
            .step("files", files, Undo::nothing("what is not removed now is noted and removed later")),
    )
}

/// State of a deletion.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Delete {
    job: String,
    volume: String,
    place: Place,
    tree: Option<String>,
    /// What the lowest of them sits on.
    parent: Option<String>,
    /// The snapshot and its descendants, leaves first.
    snapshots: Vec<String>,
    garbage: Vec<i64>,
}

async fn prepare(call: Call, msg: DeleteVolumeSnapshot) -> ApiResult<Plan<Delete>> {
    let row = load(call.app.db.read(), &msg.uuid).await?;
    check_ready(&row)?;
    Ok(Plan::Run(begin(call.app.db.read(), &call.job, &row).await?))
}

/// Deletes a snapshot as part of another change that holds the volume's queue; one that is gone is fine.
pub(super) async fn now(app: &Arc<App>, job: &str, snapshot: &str) -> ApiResult<()> {
    let found = volume_snapshot::Entity::find_by_id(snapshot).one(app.db.read()).await.or_internal()?;
    let Some(row) = found else { return Ok(()) };
    let state = begin(app.db.read(), job, &row).await?;
    let state = mark(app.clone(), state).await.map_err(|error| error.0)?;
    let merged = match merge_active(app.clone(), state.clone()).await {
        Ok(state) => records(app.clone(), state).await,
        Err(error) => Err(error),
    };
    match merged {
        Ok(state) => files(app.clone(), state).await.map(drop).map_err(|error| error.0),
        Err(error) => {
            unmark(app.clone(), state).await.map_err(|error| error.0)?;
            Err(error.0)
        }
    }
}

async fn begin<C: ConnectionTrait>(conn: &C, job: &str, row: &volume_snapshot::Model) -> ApiResult<Delete> {
    let (place, _) = place_of(conn, row).await?;
    let volume = row.volume_uuid.clone().unwrap_or_default();
    volumes::opened_by(conn, &volumes::load(conn, &volume).await?).await?;
    let snapshots = tree::subtree(&of_volume(conn, &volume).await?, &row.uuid);
    Ok(Delete {
        job: job.to_owned(),
        volume,
        place,
        tree: row.tree_uuid.clone(),
        parent: row.parent_uuid.clone(),
        snapshots,
        garbage: Vec::new(),
    })
}

async fn mark(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    let snapshots = &state.snapshots;
    app.write(|tx| async move { set_status(&tx, snapshots, "Deleting").await }).await?;
    Ok(state)
}

async fn unmark(app: Arc<App>, state: Delete) -> Result<(), StepError> {
    Ok(app.write(|tx| async move { set_status(&tx, &state.snapshots, "Ready").await }).await?)
}

async fn merge_active(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    let conn = app.db.read();
    let below = below_active(conn, &state.volume).await?;
    let row = volumes::load(conn, &state.volume).await?;
    let (Some(_), Some(path)) = (below.filter(|below| state.snapshots.contains(&below.uuid)), &row.install_path) else {
        return Ok(state);
    };
    let base = base_of(conn, &row, state.parent.as_deref(), state.tree.as_deref(), &state.place).await?;
    let open = volumes::opened_by(conn, &row).await?;
    let (job, place, volume) = (&state.job, &state.place, &state.volume);
    let vm = open.as_ref().map(|(vm, _)| vm.uuid.as_str());
    let facts = merge(&app, &Merge { job, step: "merge", place, volume, path, base, vm }).await?;
    let parent = state.parent.as_deref();
    app.write(|tx| async move {
        let parent = match parent {
            Some(parent) => Some(load(&*tx, parent).await?),
            None => None,
        };
        stand_on(&tx, volume, parent.as_ref()).await?;
        volume::Entity::update_many()
            .col_expr(volume::Column::ActualSize, Expr::value(bytes(facts.actual_size)))
            .col_expr(volume::Column::LastOpDate, Expr::value(now_millis()))
            .filter(volume::Column::Uuid.eq(volume))
            .exec(&*tx)
            .await
            .or_internal()?;
        Ok(())
    })
    .await?;
    Ok(state)
}

async fn records(app: Arc<App>, mut state: Delete) -> StepResult<Delete> {
    let state = app
        .write(|tx| async move {
            state.garbage = remove(&tx, &state).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn remove(tx: &Tx, state: &Delete) -> ApiResult<Vec<i64>> {
    let mut ids = Vec::new();
    for uuid in &state.snapshots {
        let row = volume_snapshot::Entity::find_by_id(uuid).one(&**tx).await.or_internal()?;
        if let Some(path) = row.and_then(|row| row.primary_storage_install_path) {
            ids.push(garbage::add(tx, &volumes::file(&state.place, &path)).await?);
        }
        volume_snapshot::Entity::delete_by_id(uuid).exec(&**tx).await.or_internal()?;
    }
    allocation::release_storage(tx, &state.snapshots).await?;
    volumes::forget_places(tx, &state.snapshots).await?;
    tags::forget(tx, &state.snapshots).await?;
    access::forget(tx, &state.snapshots).await?;
    if let Some(tree) = &state.tree {
        use volume_snapshot::{Column, Entity};
        let left = Entity::find().filter(Column::TreeUuid.eq(tree)).one(&**tx).await.or_internal()?;
        if left.is_none() {
            volume_snapshot_tree::Entity::delete_by_id(tree).exec(&**tx).await.or_internal()?;
        }
    }
    Ok(ids)
}

async fn files(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    garbage::collect_now(&app, &state.garbage).await?;
    Ok(state)
}
