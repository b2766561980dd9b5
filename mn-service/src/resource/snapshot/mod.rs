//! Snapshots (CS-SNAP-*): frozen layers of volumes.
//!
//! A volume's layers form trees. Taking a snapshot freezes the active layer and goes on in a new one; reverting starts a
//! new active layer on an old snapshot, which gives the tree another branch. The snapshot marked `latest` in the tree
//! marked `current` is the one that the active layer sits on; without one, the layer sits on the image or stands alone.

use mn_service_db::entity::{volume, volume_snapshot, volume_snapshot_tree};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, prelude::*};

use super::{image, primary_storage::Place, volume as volumes};
use crate::{
    api::{Apis, StepError},
    app::{App, OrInternal, Tx},
    change,
};

mod create;
mod delete;
mod revert;
mod template;
mod tree;

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryVolumeSnapshot");
    apis.query("QueryVolumeSnapshotTree");
    change::update(apis, "UpdateVolumeSnapshot", "VolumeSnapshotInventory");
    create::register(apis);
    delete::register(apis);
    revert::register(apis);
    template::register(apis);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    create::workflows(registry)?;
    delete::workflows(registry)?;
    revert::workflows(registry)?;
    template::workflows(registry)
}

/// The row of a snapshot.
pub async fn load<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<volume_snapshot::Model> {
    let row = volume_snapshot::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("VolumeSnapshotVO", uuid))
}

/// Refuses a snapshot that is being made or removed.
pub(super) fn check_ready(row: &volume_snapshot::Model) -> ApiResult<()> {
    if row.status == "Ready" {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::SnapshotState,
        format!("snapshot {} ({}) is {}, it must be Ready", row.name, row.uuid, row.status),
    ))
}

/// Where a snapshot lives, and its file.
pub(super) async fn place_of<C: ConnectionTrait>(conn: &C, row: &volume_snapshot::Model) -> ApiResult<(Place, String)> {
    let lost = |what: &str| {
        ApiError::new(ErrorCode::SnapshotState, format!("snapshot {} ({}) has no {what}", row.name, row.uuid))
    };
    let volume = row.volume_uuid.as_deref().ok_or_else(|| lost("volume any more"))?;
    let volume = volumes::load(conn, volume).await?;
    let place = volumes::place_of(conn, &volume).await?.ok_or_else(|| lost("place on any host"))?;
    let path = row.primary_storage_install_path.clone().ok_or_else(|| lost("file"))?;
    Ok((place, path))
}

/// All snapshots of a volume.
async fn of_volume<C: ConnectionTrait>(conn: &C, volume: &str) -> ApiResult<Vec<volume_snapshot::Model>> {
    use volume_snapshot::{Column, Entity};
    Entity::find().filter(Column::VolumeUuid.eq(volume)).all(conn).await.or_internal()
}

/// The tree that the active layer belongs to.
async fn current_tree<C: ConnectionTrait>(conn: &C, volume: &str) -> ApiResult<Option<volume_snapshot_tree::Model>> {
    use volume_snapshot_tree::{Column, Entity};
    let found = Entity::find().filter(Column::VolumeUuid.eq(volume)).filter(Column::Current.eq(true)).one(conn);
    found.await.or_internal()
}

/// The snapshot that the active layer sits on.
async fn below_active<C: ConnectionTrait>(conn: &C, volume: &str) -> ApiResult<Option<volume_snapshot::Model>> {
    let Some(tree) = current_tree(conn, volume).await? else { return Ok(None) };
    use volume_snapshot::{Column, Entity};
    let latest = Entity::find()
        .filter(Column::TreeUuid.eq(&tree.uuid))
        .filter(Column::Latest.eq(true))
        .filter(Column::Status.ne("Creating"))
        .one(conn);
    latest.await.or_internal()
}

/// Makes `snapshot` the one that the active layer sits on; `None` when it sits on none.
pub(super) async fn stand_on(tx: &Tx, volume: &str, snapshot: Option<&volume_snapshot::Model>) -> ApiResult<()> {
    let now = now_millis();
    {
        use volume_snapshot::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::Latest, Expr::value(false))
            .filter(Column::VolumeUuid.eq(volume))
            .exec(&**tx)
            .await
            .or_internal()?;
        if let Some(snapshot) = snapshot {
            Entity::update_many()
                .col_expr(Column::Latest, Expr::value(true))
                .filter(Column::Uuid.eq(&snapshot.uuid))
                .exec(&**tx)
                .await
                .or_internal()?;
        }
    }
    use volume_snapshot_tree::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::Current, Expr::value(false))
        .filter(Column::VolumeUuid.eq(volume))
        .exec(&**tx)
        .await
        .or_internal()?;
    if let Some(tree) = snapshot.and_then(|snapshot| snapshot.tree_uuid.as_ref()) {
        Entity::update_many()
            .col_expr(Column::Current, Expr::value(true))
            .col_expr(Column::LastOpDate, Expr::value(now))
            .filter(Column::Uuid.eq(tree))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    Ok(())
}

/// File that a snapshot sits on: its parent's, or that of the image in the cache, or none.
async fn base_of<C: ConnectionTrait>(
    conn: &C,
    volume: &volume::Model,
    parent: Option<&str>,
    tree: Option<&str>,
    place: &Place,
) -> ApiResult<Option<String>> {
    if let Some(parent) = parent {
        return Ok(load(conn, parent).await?.primary_storage_install_path);
    }
    // Only the oldest tree begins on the image; every later one began with a full snapshot (CS-SNAP-009).
    use volume_snapshot_tree::{Column, Entity};
    let mut trees = Entity::find().filter(Column::VolumeUuid.eq(&volume.uuid)).all(conn).await.or_internal()?;
    trees.sort_by(|a, b| a.create_date.cmp(&b.create_date).then_with(|| a.uuid.cmp(&b.uuid)));
    let oldest = trees.first().map(|tree| tree.uuid.as_str());
    match &volume.root_image_uuid {
        Some(image) if tree.is_none() || tree == oldest => image::cached_path(conn, place, image).await,
        _ => Ok(None),
    }
}

/// Sets the status of snapshots.
async fn set_status(tx: &Tx, uuids: &[String], status: &str) -> ApiResult<()> {
    use volume_snapshot::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(status))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Uuid.is_in(uuids.iter().cloned()))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}
