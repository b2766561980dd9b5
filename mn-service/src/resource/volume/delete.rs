//! Deleting, recovering and expunging data volumes (CS-VOL-015 to CS-VOL-018, CS-VOL-033, CS-DEL-001 to CS-DEL-007).

use std::sync::Arc;

use mn_service_db::entity::volume;
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use sea_orm::EntityTrait;
use serde::{Deserialize, Serialize};

use super::{attach::detach, load, opened_by, purge};
use crate::{
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    cascade::{self, Item},
    change, garbage,
    preview::{ASKED, Effect, Kind, Preview},
    resource::recycle_bin,
};

mn_service_types::messages! {
    DeleteDataVolume { uuid: String }
    RecoverDataVolume { uuid: String }
    ExpungeDataVolume { uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("volume.delete", prepare_delete, |_: &Delete| Reply::Empty);
    apis.workflow("volume.delete", prepare_expunge, |_: &Delete| Reply::Empty);
    apis.record(recover);
    apis.preview("DeleteDataVolume", "VolumeVO", |call| look(call, false));
    apis.preview("ExpungeDataVolume", "VolumeVO", |call| look(call, true));
}

async fn look(call: Call, expunge: bool) -> ApiResult<Preview> {
    let conn = call.app.db.read();
    let row = load(conn, &change::target(&call)?).await?;
    let mut preview = Preview::default();
    let item = Item { uuid: row.uuid.clone(), name: Some(row.name.clone()) };
    if let Some(vm) = &row.vm_instance_uuid {
        let detach = Effect::new(Kind::Detach, "VolumeVO", &item, format!("it is attached to VM {vm}"));
        preview.effects.push(Effect { field: Some("vmInstanceUuid".to_owned()), ..detach });
    }
    if expunge || direct(&call, &row) {
        preview
            .effects
            .extend(Preview::of(&cascade::plan(conn, "VolumeVO", std::slice::from_ref(&row.uuid)).await?).effects);
    } else if row.status != "Deleted" {
        preview.effects.push(Effect::new(Kind::Recycle, "VolumeVO", &item, ASKED));
    }
    preview.refuse(refuse_root(&row))?;
    if expunge {
        preview.refuse(refuse_living(&row))?;
    }
    preview.refuse(opened_by(conn, &row).await.map(|_| ()))?;
    Ok(preview)
}

/// CS-VOL-016, CS-DEL-042: what never had data leaves no trace.
fn direct(call: &Call, row: &volume::Model) -> bool {
    recycle_bin::VOLUMES.is_bypassed(&call.app) || row.status == "NotInstantiated"
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("volume.delete", 1)
            .step(
                "detach",
                take_out,
                Undo::nothing("a detached volume is whole; its owner attaches it again when the delete failed"),
            )
            .step("records", records, Undo::nothing("one transaction; nothing after it fails because of a host"))
            .step("files", files, Undo::nothing("what is not removed now is noted and removed later")),
    )
}

/// State of a deletion.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Delete {
    job: String,
    volume: String,
    /// Records and files go now; otherwise the volume waits in the recycle bin.
    expunge: bool,
    garbage: Vec<i64>,
}

fn refuse_root(row: &volume::Model) -> ApiResult<()> {
    if row.r#type == "Data" {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::DeleteResource,
        format!("volume {} ({}) is a root volume; it goes with its VM, delete that", row.name, row.uuid),
    ))
}

async fn prepare_delete(call: Call, msg: DeleteDataVolume) -> ApiResult<Plan<Delete>> {
    let row = load(call.app.db.read(), &msg.uuid).await?;
    refuse_root(&row)?;
    opened_by(call.app.db.read(), &row).await?;
    let direct = direct(&call, &row);
    if row.status == "Deleted" && !direct {
        return Ok(Plan::Done(Reply::Empty));
    }
    Ok(Plan::Run(Delete { job: call.job.clone(), volume: row.uuid, expunge: direct, garbage: Vec::new() }))
}

async fn prepare_expunge(call: Call, msg: ExpungeDataVolume) -> ApiResult<Plan<Delete>> {
    let row = load(call.app.db.read(), &msg.uuid).await?;
    refuse_root(&row)?;
    refuse_living(&row)?;
    Ok(Plan::Run(Delete { job: call.job.clone(), volume: row.uuid, expunge: true, garbage: Vec::new() }))
}

fn refuse_living(row: &volume::Model) -> ApiResult<()> {
    if row.status == "Deleted" {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::DeleteResource,
        format!("volume {} ({}) is {}; delete it with DeleteDataVolume first", row.name, row.uuid, row.status),
    ))
}

async fn take_out(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    detach(&app, &state.job, &state.volume).await?;
    Ok(state)
}

async fn records(app: Arc<App>, mut state: Delete) -> StepResult<Delete> {
    let state = app
        .write(|tx| async move {
            let row = volume::Entity::find_by_id(&state.volume).one(&*tx).await.or_internal()?;
            match row {
                Some(row) if state.expunge => state.garbage = purge(&tx, &row).await?,
                Some(row) => recycle_bin::VOLUMES.put(&tx, &row.uuid).await?,
                // An earlier run of this step got as far.
                None => {}
            }
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn files(app: Arc<App>, state: Delete) -> StepResult<Delete> {
    garbage::collect_now(&app, &state.garbage).await?;
    Ok(state)
}

/// CS-VOL-017, CS-DEL-011.
async fn recover(_call: Call, tx: Tx, msg: RecoverDataVolume) -> ApiResult<Reply> {
    let row = load(&*tx, &msg.uuid).await?;
    if row.status != "Deleted" {
        return Err(ApiError::new(
            ErrorCode::Operation,
            format!("volume {} ({}) is {}; there is nothing deleted to recover", row.name, row.uuid, row.status),
        ));
    }
    recycle_bin::VOLUMES.set(&tx, &row.uuid, "Ready").await?;
    Ok(Reply::Inventory("VolumeInventory", row.uuid))
}
