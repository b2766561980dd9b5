//! Deleting, recovering and expunging images (CS-IMG-049, CS-IMG-050, CS-DEL-001 to CS-DEL-007).

use std::sync::Arc;

use mn_service_db::entity::{image, image_backup_storage_ref};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use sea_orm::{EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{
    add::{note_files, remove_rows},
    load, refs, upload,
};
use crate::{
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    cascade::Item,
    garbage,
    preview::{ASKED, Effect, Kind, Preview},
    resource::recycle_bin,
};

mn_service_types::messages! {
    DeleteImage { uuid: String, backup_storage_uuids: Option<Vec<String>> }
    RecoverImage { image_uuid: String, backup_storage_uuids: Option<Vec<String>> }
    ExpungeImage { image_uuid: String, backup_storage_uuids: Option<Vec<String>> }
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("image.delete", prepare_delete, |_: &Delete| Reply::Empty);
    apis.workflow("image.delete", prepare_expunge, |_: &Delete| Reply::Empty);
    apis.record(recover);
    apis.preview("DeleteImage", "ImageVO", look_delete);
    apis.preview("ExpungeImage", "ImageVO", look_expunge);
}

fn item(row: &image::Model) -> Item {
    Item { uuid: row.uuid.clone(), name: Some(row.name.clone()) }
}

async fn look_delete(call: Call) -> ApiResult<Preview> {
    let row = load(call.app.db.read(), call.text("uuid").unwrap_or_default()).await?;
    let mut preview = Preview::default();
    match fate(&call, &row).await {
        Ok(None) => {}
        Ok(Some(Fate::Marked)) => preview.effects.push(Effect::new(Kind::Recycle, "ImageVO", &item(&row), ASKED)),
        Ok(Some(Fate::Expunged)) => preview.effects.push(Effect::new(Kind::Delete, "ImageVO", &item(&row), ASKED)),
        Ok(Some(Fate::Forgotten)) => {
            let reason = format!("{ASKED}; by image/deletionPolicy its files stay");
            preview.effects.push(Effect::new(Kind::Delete, "ImageVO", &item(&row), reason));
        }
        Err(error) => preview.refuse(Err(error))?,
    }
    Ok(preview)
}

async fn look_expunge(call: Call) -> ApiResult<Preview> {
    let row = load(call.app.db.read(), call.text("imageUuid").unwrap_or_default()).await?;
    let mut preview = Preview::default();
    if row.status == "Deleted" {
        preview.effects.push(Effect::new(Kind::Delete, "ImageVO", &item(&row), ASKED));
    } else {
        preview.refuse(Err(living(&row)))?;
    }
    Ok(preview)
}

fn living(row: &image::Model) -> ApiError {
    ApiError::new(
        ErrorCode::DeleteResource,
        format!("image {} ({}) is {}; delete it with DeleteImage first", row.name, row.uuid, row.status),
    )
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("image.delete", 1)
            .step("records", records, Undo::nothing("one transaction; nothing after it fails because of a host"))
            .step("files", files, Undo::nothing("what is not removed now is noted and removed later")),
    )
}

/// What becomes of an image (CS-DEL-002 to CS-DEL-004).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Fate {
    /// It waits in the recycle bin.
    Marked,
    /// Records and files go.
    Expunged,
    /// Records go, files stay.
    Forgotten,
}

/// State of a deletion.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Delete {
    image: String,
    /// Only the copies on these servers; all when empty.
    storages: Vec<String>,
    fate: Fate,
    garbage: Vec<i64>,
}

/// What a delete makes of an image; `None` when it is in the recycle bin already.
async fn fate(call: &Call, row: &image::Model) -> ApiResult<Option<Fate>> {
    let uploading = upload::under_way(call.app.db.read(), row).await?;
    if matches!(row.status.as_str(), "Downloading" | "Creating") && !uploading {
        return Err(ApiError::new(
            ErrorCode::DeleteResource,
            format!("image {} ({}) is being made; wait until it is Ready, or for its failure", row.name, row.uuid),
        ));
    }
    let policy = call.app.settings.text("image", "deletionPolicy");
    Ok(match policy.as_str() {
        _ if uploading => Some(Fate::Expunged),
        "Direct" => Some(Fate::Expunged),
        "Never" => Some(Fate::Forgotten),
        _ if row.status == "Deleted" => None,
        _ => Some(Fate::Marked),
    })
}

async fn prepare_delete(call: Call, msg: DeleteImage) -> ApiResult<Plan<Delete>> {
    let row = load(call.app.db.read(), &msg.uuid).await?;
    let Some(fate) = fate(&call, &row).await? else { return Ok(Plan::Done(Reply::Empty)) };
    let storages = msg.backup_storage_uuids.unwrap_or_default();
    Ok(Plan::Run(Delete { image: row.uuid, storages, fate, garbage: Vec::new() }))
}

async fn prepare_expunge(call: Call, msg: ExpungeImage) -> ApiResult<Plan<Delete>> {
    let conn = call.app.db.read();
    let row = load(conn, &msg.image_uuid).await?;
    let mut storages = msg.backup_storage_uuids.unwrap_or_default();
    let copies = refs(conn, &row.uuid).await?;
    let deleted: Vec<String> =
        copies.into_iter().filter(|copy| copy.status == "Deleted").map(|copy| copy.backup_storage_uuid).collect();
    let given = !storages.is_empty();
    storages.retain(|uuid| deleted.contains(uuid));
    if row.status != "Deleted" && (deleted.is_empty() || (given && storages.is_empty())) {
        return Err(living(&row));
    }
    if storages.is_empty() && row.status != "Deleted" {
        storages = deleted;
    }
    Ok(Plan::Run(Delete { image: row.uuid, storages, fate: Fate::Expunged, garbage: Vec::new() }))
}

async fn records(app: Arc<App>, mut state: Delete) -> StepResult<Delete> {
    let state = app
        .write(|tx| async move {
            state.garbage = apply(&tx, &state).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn apply(tx: &Tx, state: &Delete) -> ApiResult<Vec<i64>> {
    let copies = refs(&**tx, &state.image).await?;
    let meant = |copy: &&image_backup_storage_ref::Model| {
        state.storages.is_empty() || state.storages.contains(&copy.backup_storage_uuid)
    };
    let storages: Vec<String> = copies.iter().filter(meant).map(|copy| copy.backup_storage_uuid.clone()).collect();
    if state.fate == Fate::Marked {
        mark(tx, &state.image, &storages, "Deleted").await?;
        let left = copies.iter().any(|copy| copy.status != "Deleted" && !storages.contains(&copy.backup_storage_uuid));
        if !left {
            recycle_bin::IMAGES.put(tx, &state.image).await?;
        }
        return Ok(Vec::new());
    }
    let ids = match state.fate {
        Fate::Expunged => note_files(tx, &state.image, &storages).await?,
        _ => Vec::new(),
    };
    if storages.len() == copies.len() {
        remove_rows(tx, &state.image).await?;
    } else {
        use image_backup_storage_ref::{Column, Entity};
        Entity::delete_many()
            .filter(Column::ImageUuid.eq(&state.image))
            .filter(Column::BackupStorageUuid.is_in(storages))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    Ok(ids)
}

/// Sets the status of the copies of an image on these servers.
async fn mark(tx: &Tx, image: &str, storages: &[String], status: &str) -> ApiResult<()> {
    use image_backup_storage_ref::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(status))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::ImageUuid.eq(image))
        .filter(Column::BackupStorageUuid.is_in(storages.iter().cloned()))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

async fn files(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    garbage::collect_now(&app, &state.garbage).await?;
    Ok(state)
}

/// CS-DEL-012.
async fn recover(_call: Call, tx: Tx, msg: RecoverImage) -> ApiResult<Reply> {
    let row = load(&*tx, &msg.image_uuid).await?;
    let asked = msg.backup_storage_uuids.unwrap_or_default();
    let deleted: Vec<String> = refs(&*tx, &row.uuid)
        .await?
        .into_iter()
        .filter(|copy| copy.status == "Deleted" && (asked.is_empty() || asked.contains(&copy.backup_storage_uuid)))
        .map(|copy| copy.backup_storage_uuid)
        .collect();
    if deleted.is_empty() {
        return Err(ApiError::new(
            ErrorCode::Operation,
            format!("image {} ({}) is {}; there is nothing deleted to recover", row.name, row.uuid, row.status),
        ));
    }
    mark(&tx, &row.uuid, &deleted, "Ready").await?;
    recycle_bin::IMAGES.set(&tx, &row.uuid, "Ready").await?;
    Ok(Reply::Inventory("ImageInventory", row.uuid))
}
