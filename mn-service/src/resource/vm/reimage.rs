//! Resetting a VM (CS-VM-160): its root volume begins anew as its template has it; what was written since is gone.

use std::sync::Arc;

use mn_service_db::entity::{vm_instance, volume};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{operation::CreateVolume, storage::VolumeFacts};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{INVENTORY, find};
use crate::{
    agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal},
    garbage,
    resource::{
        image,
        primary_storage::{self, Place},
        snapshot, volume as volumes,
    },
};

mn_service_types::messages! {
    ReimageVmInstance { vm_instance_uuid: String }
}

/// State of resetting.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reimage {
    job: String,
    vm: String,
    volume: String,
    image: String,
    place: Place,
    size: i64,
    /// Active layer before.
    old_path: String,
    /// Active layer afterwards.
    new_path: String,
    facts: Option<VolumeFacts>,
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("vm.reimage", prepare, |state: &Reimage| Reply::Inventory(INVENTORY, state.vm.clone()));
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("vm.reimage", 1)
            .step(
                "fetch-image",
                fetch,
                Undo::nothing("the image cache is shared and its collector removes what nobody uses"),
            )
            .step("create", create, Undo::with(remove))
            .step("switch", switch, Undo::nothing("it is the last step; what it leaves is noted as garbage")),
    )
}

/// The template of a VM's root volume, and that volume; `None` for one that was installed from an ISO.
pub(super) async fn template<C: ConnectionTrait>(
    conn: &C,
    vm: &vm_instance::Model,
) -> ApiResult<Option<(volume::Model, String)>> {
    let Some(root) = &vm.root_volume_uuid else { return Ok(None) };
    let root = volumes::load(conn, root).await?;
    let Some(uuid) = root.root_image_uuid.clone() else { return Ok(None) };
    let is_template = image::find_row(conn, &uuid).await?.is_some_and(|image| image.media_type != "ISO");
    Ok(is_template.then_some((root, uuid)))
}

async fn prepare(call: Call, msg: ReimageVmInstance) -> ApiResult<Plan<Reimage>> {
    let conn = call.app.db.read();
    let vm = find(conn, &msg.vm_instance_uuid).await?;
    // CS-VM-165.
    if vm.state != "Stopped" {
        let text =
            format!("VM {} ({}) is {}; it is reset while it is Stopped, stop it first", vm.name, vm.uuid, vm.state);
        return Err(ApiError::new(ErrorCode::VmState, text));
    }
    let Some((root, image)) = template(conn, &vm).await? else {
        let text =
            format!("VM {} ({}) was not made from a template that still exists; it cannot be reset", vm.name, vm.uuid);
        return Err(ApiError::new(ErrorCode::Operation, text));
    };
    let place = volumes::place_of(conn, &root).await?.zip(root.install_path.clone());
    let Some((place, old_path)) = place.filter(|_| root.status == "Ready") else {
        let text = format!("volume {} ({}) is {}, it must be Ready", root.name, root.uuid, root.status);
        return Err(ApiError::new(ErrorCode::Operation, text));
    };
    Ok(Plan::Run(Reimage {
        job: call.job.clone(),
        vm: vm.uuid,
        new_path: volumes::layer(&place.root.path, &root.uuid, &image::derived(&call.job, "reimage")),
        size: root.size,
        volume: root.uuid,
        image,
        place,
        old_path,
        facts: None,
    }))
}

async fn fetch(app: Arc<App>, state: Reimage) -> StepResult<Reimage> {
    image::ensure_cached(&app, &state.job, &state.place, &state.image).await?;
    Ok(state)
}

async fn create(app: Arc<App>, mut state: Reimage) -> StepResult<Reimage> {
    let cached = image::ensure_cached(&app, &state.job, &state.place, &state.image).await?;
    let operation = CreateVolume {
        root: state.place.root.clone(),
        volume: agents::id(&state.volume)?,
        path: state.new_path.clone(),
        size: primary_storage::size(state.size),
        backing: Some(cached.path),
    };
    let agent = app.agents.of(app.db.read(), &state.place.host).await?;
    let made = agents::run(&agent, &state.job, "create", operation, app.host_patience()).await.map_err(|error| {
        let what = format!("a new layer of volume {} could not be created", state.volume);
        agents::failure(ErrorCode::CreateResource, what, &state.place.host, &error)
    })?;
    state.facts = Some(made);
    Ok(state)
}

async fn remove(app: Arc<App>, state: Reimage) -> StepResult<()> {
    let row = volumes::load(app.db.read(), &state.volume).await?;
    // The volume begins anew in it already, and the layer before is given up: what failed came later.
    if row.install_path.as_deref() == Some(&state.new_path) {
        return Ok(());
    }
    Ok(volumes::delete_on(&app, &state.job, &state.place, &state.new_path).await?)
}

async fn switch(app: Arc<App>, state: Reimage) -> StepResult<Reimage> {
    let actual = state.facts.as_ref().map(|facts| primary_storage::bytes(facts.actual_size));
    let (volume, old, new, place) = (&state.volume, &state.old_path, &state.new_path, &state.place);
    let garbage = app
        .write(|tx| async move {
            use volume::{Column, Entity};
            let changed = Entity::update_many()
                .col_expr(Column::InstallPath, Expr::value(new.as_str()))
                .col_expr(Column::ActualSize, Expr::value(actual))
                .col_expr(Column::LastOpDate, Expr::value(now_millis()))
                .filter(Column::Uuid.eq(volume))
                .filter(Column::InstallPath.eq(old))
                .exec(&*tx)
                .await
                .or_internal()?;
            // Nothing to change: this ran before a crash.
            if changed.rows_affected == 0 {
                return Ok(None);
            }
            // Snapshots stay as they are; the volume sits on none of them any more.
            snapshot::stand_on(&tx, volume, None).await?;
            garbage::add(&tx, &volumes::file(place, old)).await.map(Some)
        })
        .await?;
    garbage::collect_now(&app, &garbage.into_iter().collect::<Vec<_>>()).await?;
    Ok(state)
}
