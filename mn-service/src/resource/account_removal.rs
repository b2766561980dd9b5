//! Deleting an account with all it has (PLAT-ACCT-032, CS-DEL-040). What it owns is deleted by the same calls that its
//! owner would make, one after the other, so hosts are cleaned and every deletion is audited.

use std::sync::Arc;

use mn_service_db::entity::{account, account_resource_ref, quota};
use mn_service_types::{ADMIN_ACCOUNT, ApiError, ErrorCode, contract, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal},
    jobs,
};

mn_service_types::messages! {
    DeleteAccount { uuid: String }
}

/// What goes, users before what they use: type, and the calls that end it.
const ENDS: &[(&str, &[&str])] = &[
    ("VmInstanceVO", &["DestroyVmInstance", "ExpungeVmInstance"]),
    ("VolumeVO", &["DeleteDataVolume", "ExpungeDataVolume"]),
    ("ImageVO", &["DeleteImage", "ExpungeImage"]),
    ("L3NetworkVO", &["DeleteL3Network"]),
    ("L2NetworkVO", &["DeleteL2Network"]),
    ("InstanceOfferingVO", &["DeleteInstanceOffering"]),
    ("DiskOfferingVO", &["DeleteDiskOffering"]),
    ("AffinityGroupVO", &["DeleteAffinityGroup"]),
];

/// State of a removal.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Removal {
    uuid: String,
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("account.delete", prepare, |_: &Removal| Reply::Empty);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("account.delete", 1)
            .step("close", close, Undo::with(reopen))
            .step(
                "resources",
                end_resources,
                Undo::nothing("what was deleted stays deleted; deleting the account again goes on with the rest"),
            )
            .step("forget", forget, Undo::nothing("it is the last step and one transaction")),
    )
}

async fn prepare(call: Call, msg: DeleteAccount) -> ApiResult<Plan<Removal>> {
    if !call.caller.admin {
        return Err(ApiError::new(ErrorCode::PermissionDenied, "accounts are deleted by the admin account alone"));
    }
    if msg.uuid == ADMIN_ACCOUNT {
        return Err(ApiError::invalid(&["uuid: the admin account cannot be deleted".to_owned()]));
    }
    Ok(Plan::Run(Removal { uuid: msg.uuid }))
}

async fn set_state(app: &App, uuid: &str, state: &str) -> ApiResult<()> {
    app.write(|tx| async move {
        account::Entity::update_many()
            .col_expr(account::Column::State, Expr::value(state))
            .filter(account::Column::Uuid.eq(uuid))
            .exec(&*tx)
            .await
            .or_internal()?;
        Ok(())
    })
    .await
}

/// From here on nobody logs in, and nobody who is logged in makes anything new.
async fn close(app: Arc<App>, state: Removal) -> StepResult<Removal> {
    set_state(&app, &state.uuid, "Disabled").await?;
    let (sessions, uuid) = (&app.sessions, state.uuid.as_str());
    app.write(|tx| async move { sessions.close_others(&*tx, uuid, None).await }).await?;
    Ok(state)
}

async fn reopen(app: Arc<App>, state: Removal) -> StepResult<()> {
    Ok(set_state(&app, &state.uuid, "Enabled").await?)
}

/// What an account owns of one type.
async fn owned<C: ConnectionTrait>(conn: &C, account: &str, vo: &str) -> ApiResult<Vec<String>> {
    use account_resource_ref::{Column, Entity};
    let rows = Entity::find()
        .filter(Column::AccountUuid.eq(account))
        .filter(Column::ResourceType.eq(vo))
        .filter(Column::IsShared.eq(false))
        .order_by_asc(Column::Id);
    Ok(rows.all(conn).await.or_internal()?.into_iter().map(|row| row.resource_uuid).collect())
}

async fn end_resources(app: Arc<App>, state: Removal) -> StepResult<Removal> {
    let mut problems = Vec::new();
    for (vo, calls) in ENDS {
        for uuid in owned(app.db.read(), &state.uuid, vo).await? {
            for call in *calls {
                // An earlier call may have ended it for good: policy Direct, or a volume that went with its VM.
                if !owned(app.db.read(), &state.uuid, vo).await?.contains(&uuid) {
                    break;
                }
                // The parameter in the path has a name of its own in some (ExpungeImage).
                let named =
                    contract().api(call).and_then(|api| api.params.iter().find(|param| param.location == "url"));
                let name = named.map_or("uuid", |param| param.name.as_str());
                if let Err(error) = jobs::call_as_system(&app, call, json!({ name: uuid })).await {
                    problems.push(format!("{call} {uuid}: {}", error.details));
                }
            }
        }
    }
    if problems.is_empty() {
        return Ok(state);
    }
    let text =
        format!("account {} still has resources that could not be deleted:\n{}", state.uuid, problems.join("\n"));
    Err(ApiError::new(ErrorCode::DeleteResource, text).into())
}

async fn forget(app: Arc<App>, state: Removal) -> StepResult<Removal> {
    let uuid = state.uuid.as_str();
    app.write(|tx| async move {
        use account_resource_ref::{Column, Entity};
        // What was shared with it stays with its owners.
        Entity::delete_many().filter(Column::AccountUuid.eq(uuid)).exec(&*tx).await.or_internal()?;
        quota::Entity::delete_many().filter(quota::Column::IdentityUuid.eq(uuid)).exec(&*tx).await.or_internal()?;
        account::Entity::delete_by_id(uuid).exec(&*tx).await.or_internal()?;
        Ok(())
    })
    .await?;
    Ok(state)
}
