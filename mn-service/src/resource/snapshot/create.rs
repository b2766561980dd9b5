//! Taking snapshots (CS-SNAP-001 to CS-SNAP-011, CS-VOL-030).

use std::{sync::Arc, time::Duration};

use mn_service_db::entity::{system_tag, volume, volume_snapshot, volume_snapshot_tree};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_client::ClientError;
use node_manager_types::{
    ErrorKind,
    operation::{MergeSnapshot, StatVolume, TakeSnapshot},
    snapshot::SnapshotFacts,
    storage::VolumeFacts,
};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{base_of, below_active, load, stand_on, tree};
use crate::{
    access, agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    garbage,
    resource::{
        allocation::{self, Purpose},
        image,
        primary_storage::{Place, bytes},
        quota::{self, Counted},
        volume as volumes,
    },
    tags,
};

mn_service_types::messages! {
    CreateVolumeSnapshot { volume_uuid: String, name: String, description: Option<String> }
}

/// Longest merge of layers.
pub(super) const MERGE: Duration = Duration::from_secs(6 * 3600);

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("snapshot.create", prepare, |state: &Create| {
        Reply::Inventory("VolumeSnapshotInventory", state.snapshot.clone())
    });
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("snapshot.create", 1)
            .step("record", record, Undo::with(forget))
            .step("flatten", flatten, Undo::nothing("a layer that stands alone reads the same as before"))
            .step("take", take, Undo::with(take_back))
            .step("settle", settle, Undo::nothing("it is the last step and one transaction")),
    )
}

/// State of taking a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Create {
    job: String,
    account: String,
    pub(super) snapshot: String,
    name: String,
    description: Option<String>,
    volume: String,
    place: Place,
    /// Active layer, which becomes the snapshot.
    path: String,
    /// Active layer afterwards.
    new_path: String,
    /// VM that has the volume open.
    vm: Option<String>,
    tree: String,
    parent: Option<String>,
    distance: i32,
    /// The chain is long enough: this one begins a tree of its own (CS-SNAP-009).
    full: bool,
    facts: Option<SnapshotFacts>,
}

async fn prepare(call: Call, msg: CreateVolumeSnapshot) -> ApiResult<Plan<Create>> {
    let row = volumes::load(call.app.db.read(), &msg.volume_uuid).await?;
    let snapshot = image::uuid_for(&call, "snapshot");
    Ok(Plan::Run(begin(&call, &row, snapshot, msg.name, msg.description).await?))
}

/// A snapshot that freezes a volume for another purpose of this call.
pub(super) async fn freeze(call: &Call, row: &volume::Model, name: &str) -> ApiResult<Create> {
    begin(call, row, image::derived(&call.job, "freeze"), name.to_owned(), None).await
}

async fn begin(
    call: &Call,
    row: &volume::Model,
    snapshot: String,
    name: String,
    description: Option<String>,
) -> ApiResult<Create> {
    let conn = call.app.db.read();
    let place = volumes::place_of(conn, row).await?;
    let (Some(place), Some(path), "Ready") = (place, row.install_path.clone(), row.status.as_str()) else {
        return Err(ApiError::new(
            ErrorCode::SnapshotState,
            format!("volume {} ({}) is {}; only a Ready volume has snapshots", row.name, row.uuid, row.status),
        ));
    };
    let open = volumes::opened_by(conn, row).await?;
    let below = below_active(conn, &row.uuid).await?;
    let most = most(&call.app, conn, &row.uuid).await?;
    let full = below.as_ref().is_some_and(|below| tree::chain_is_full(below.distance, most));
    let (tree, parent, distance) = match below.filter(|_| !full) {
        Some(below) => (below.tree_uuid.unwrap_or_default(), Some(below.uuid), below.distance + 1),
        None => (image::derived(&call.job, "tree"), None, 1),
    };
    Ok(Create {
        job: call.job.clone(),
        account: call.caller.account.clone(),
        new_path: volumes::layer(&place.root.path, &row.uuid, &snapshot),
        snapshot,
        name,
        description,
        volume: row.uuid.clone(),
        place,
        path,
        vm: open.map(|(vm, _)| vm.uuid),
        tree,
        parent,
        distance,
        full,
        facts: None,
    })
}

/// Longest chain of a volume: its own setting, else the global one.
async fn most<C: ConnectionTrait>(app: &App, conn: &C, volume: &str) -> ApiResult<i64> {
    let own = system_tag::Entity::find()
        .filter(system_tag::Column::ResourceUuid.eq(volume))
        .filter(system_tag::Column::Tag.starts_with("volumeMaxIncrementalSnapshotNum::"))
        .one(conn)
        .await
        .or_internal()?;
    let own = own.and_then(|row| row.tag.rsplit("::").next()?.parse().ok());
    Ok(own.unwrap_or_else(|| app.settings.integer("volumeSnapshot", "incrementalSnapshot.maxNum", 128)))
}

pub(super) async fn record(app: Arc<App>, state: Create) -> StepResult<Create> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            quota::demand(&service, &tx, &state.account, &[(Counted::Snapshots, 1)], &state.snapshot).await?;
            write_rows(&tx, &state).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn write_rows(tx: &Tx, state: &Create) -> ApiResult<()> {
    if volume_snapshot::Entity::find_by_id(&state.snapshot).one(&**tx).await.or_internal()?.is_some() {
        return Ok(());
    }
    let volume = volumes::load(&**tx, &state.volume).await?;
    let now = now_millis();
    if state.parent.is_none() {
        let tree = volume_snapshot_tree::ActiveModel {
            uuid: Set(state.tree.clone()),
            volume_uuid: Set(Some(state.volume.clone())),
            current: Set(false),
            status: Set("Creating".to_owned()),
            create_date: Set(now),
            last_op_date: Set(now),
        };
        volume_snapshot_tree::Entity::insert(tree).exec_without_returning(&**tx).await.or_internal()?;
    }
    let row = volume_snapshot::ActiveModel {
        uuid: Set(state.snapshot.clone()),
        name: Set(state.name.clone()),
        description: Set(state.description.clone()),
        r#type: Set("Hypervisor".to_owned()),
        volume_uuid: Set(Some(state.volume.clone())),
        tree_uuid: Set(Some(state.tree.clone())),
        parent_uuid: Set(state.parent.clone()),
        primary_storage_uuid: Set(Some(state.place.primary_storage.clone())),
        // It has no file of its own until the active layer is frozen.
        primary_storage_install_path: Set(None),
        volume_type: Set(volume.r#type),
        format: Set(Some("qcow2".to_owned())),
        latest: Set(false),
        size: Set(0),
        distance: Set(state.distance),
        state: Set("Enabled".to_owned()),
        status: Set("Creating".to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    volume_snapshot::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    access::own(tx, &state.account, "VolumeSnapshotVO", &state.snapshot).await
}

pub(super) async fn forget(app: Arc<App>, state: Create) -> Result<(), StepError> {
    let done = app.write(|tx| async move {
        let gone = [state.snapshot.clone()];
        allocation::release_storage(&tx, &gone).await?;
        volumes::forget_places(&tx, &gone).await?;
        tags::forget(&tx, &gone).await?;
        access::forget(&tx, &gone).await?;
        volume_snapshot::Entity::delete_by_id(&state.snapshot).exec(&*tx).await.or_internal()?;
        if state.parent.is_none() {
            volume_snapshot_tree::Entity::delete_by_id(&state.tree).exec(&*tx).await.or_internal()?;
        }
        Ok(())
    });
    Ok(done.await?)
}

/// What a merge needs to know.
pub(super) struct Merge<'a> {
    pub(super) job: &'a str,
    pub(super) step: &'a str,
    pub(super) place: &'a Place,
    pub(super) volume: &'a str,
    pub(super) path: &'a str,
    pub(super) base: Option<String>,
    pub(super) vm: Option<&'a str>,
}

/// Puts the active layer of a volume on `base`. A base that is an image and turns out not to be in the chain (it was
/// left behind by a full snapshot) means that the layer has to stand alone.
pub(super) async fn merge(app: &App, merge: &Merge<'_>) -> ApiResult<VolumeFacts> {
    let agent = app.agents.of(app.db.read(), &merge.place.host).await?;
    let operation = |base: Option<String>| -> ApiResult<MergeSnapshot> {
        Ok(MergeSnapshot {
            root: merge.place.root.clone(),
            volume: Some(agents::id(merge.volume)?),
            path: merge.path.to_owned(),
            new_base: base,
            vm: merge.vm.map(agents::id).transpose()?,
        })
    };
    let mut outcome = agents::run(&agent, merge.job, merge.step, operation(merge.base.clone())?, MERGE).await;
    let on_image = merge.base.as_ref().is_some_and(|base| base.contains("/imagecache/"));
    if let Err(ClientError::Agent(error)) = &outcome
        && error.kind == ErrorKind::Conflict
        && on_image
    {
        let step = format!("{}-alone", merge.step);
        outcome = agents::run(&agent, merge.job, &step, operation(None)?, MERGE).await;
    }
    outcome.map_err(|error| {
        let what = format!("the layers of volume {} could not be merged", merge.volume);
        agents::failure(ErrorCode::Operation, what, &merge.place.host, &error)
    })
}

pub(super) async fn flatten(app: Arc<App>, state: Create) -> StepResult<Create> {
    if state.full {
        let vm = state.vm.as_deref();
        let (job, place, volume, path) = (&state.job, &state.place, &state.volume, &state.path);
        merge(&app, &Merge { job, step: "flatten", place, volume, path, base: None, vm }).await?;
        // From here on the active layer sits on no snapshot, whatever becomes of this one.
        app.write(|tx| async move { stand_on(&tx, volume, None).await }).await?;
    }
    Ok(state)
}

pub(super) async fn take(app: Arc<App>, mut state: Create) -> StepResult<Create> {
    let operation = TakeSnapshot {
        root: state.place.root.clone(),
        volume: agents::id(&state.volume)?,
        snapshot: agents::id(&state.snapshot)?,
        path: state.path.clone(),
        new_path: state.new_path.clone(),
        vm: state.vm.as_deref().map(agents::id).transpose()?,
    };
    let agent = app.agents.of(app.db.read(), &state.place.host).await?;
    let facts = agents::run(&agent, &state.job, "take", operation, app.host_patience()).await.map_err(|error| {
        let what = format!("no snapshot of volume {} could be taken", state.volume);
        agents::failure(ErrorCode::Operation, what, &state.place.host, &error)
    })?;
    state.facts = Some(facts);
    Ok(state)
}

/// The volume must not be left with a layer that the database does not know. Offline the new layer is empty and goes;
/// online the VM may write to it already, so the frozen layer is merged into it and goes instead.
pub(super) async fn take_back(app: Arc<App>, state: Create) -> Result<(), StepError> {
    let row = volumes::load(app.db.read(), &state.volume).await?;
    if row.install_path.as_deref() == Some(&state.new_path) {
        return Ok(());
    }
    let Some(vm) = state.vm.as_deref() else {
        return Ok(volumes::delete_on(&app, &state.job, &state.place, &state.new_path).await?);
    };
    let agent = app.agents.of(app.db.read(), &state.place.host).await?;
    let look = StatVolume { root: state.place.root.clone(), path: state.new_path.clone() };
    match agents::run(&agent, &state.job, "look", look, app.host_patience()).await {
        Ok(_) => {}
        Err(ClientError::Agent(error)) if error.kind == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let what = format!("whether volume {} has the layer {} is unknown", state.volume, state.new_path);
            return Err(agents::failure(ErrorCode::Operation, what, &state.place.host, &error).into());
        }
    }
    let base = match state.full {
        true => None,
        false => {
            let parent = state.parent.as_deref();
            base_of(app.db.read(), &row, parent, Some(&state.tree), &state.place).await?
        }
    };
    let (job, place, volume, path) = (&state.job, &state.place, &state.volume, &state.new_path);
    merge(&app, &Merge { job, step: "merge-back", place, volume, path, base, vm: Some(vm) }).await?;
    let old = &state.path;
    let id = app
        .write(|tx| async move {
            set_path(&tx, volume, path).await?;
            garbage::add(&tx, &volumes::file(place, old)).await
        })
        .await?;
    Ok(garbage::collect_now(&app, &[id]).await?)
}

pub(super) async fn set_path(tx: &Tx, volume: &str, path: &str) -> ApiResult<()> {
    use volume::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::InstallPath, Expr::value(path))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Uuid.eq(volume))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

pub(super) async fn settle(app: Arc<App>, state: Create) -> StepResult<Create> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            write_snapshot(&service, &tx, &state).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn write_snapshot(app: &App, tx: &Tx, state: &Create) -> ApiResult<()> {
    let Some(facts) = &state.facts else { return Err(ApiError::internal("a snapshot without facts")) };
    let volume = volumes::load(&**tx, &state.volume).await?;
    if state.vm.is_none()
        && let Some((vm, host)) = volumes::opened_by(&**tx, &volume).await?
    {
        return Err(ApiError::new(
            ErrorCode::SnapshotState,
            format!("VM {} was started on host {host} meanwhile; take the snapshot again", vm.name),
        ));
    }
    let size = bytes(facts.snapshot_size);
    let what = format!("snapshot {} of volume {}", state.name, volume.name);
    volumes::claim(app, tx, &state.snapshot, &state.place, size, Purpose::Snapshot, &what).await?;
    volumes::note_place(tx, "VolumeSnapshotVO", &state.snapshot, &state.place, size).await?;
    set_path(tx, &state.volume, &facts.volume_path).await?;
    use volume_snapshot::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::Status, Expr::value("Ready"))
        .col_expr(Column::PrimaryStorageInstallPath, Expr::value(facts.snapshot_path.as_str()))
        .col_expr(Column::Size, Expr::value(size))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Uuid.eq(&state.snapshot))
        .exec(&**tx)
        .await
        .or_internal()?;
    {
        use volume_snapshot_tree::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::Status, Expr::value("Completed"))
            .filter(Column::Uuid.eq(&state.tree))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    let row = load(&**tx, &state.snapshot).await?;
    stand_on(tx, &state.volume, Some(&row)).await
}
