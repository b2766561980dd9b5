//! Jobs that somebody has to look at: `GetStuckJobs` lists them, `DismissStuckJob` says that it was done.

use mn_service_db::entity::{job, saga, saga_event};
use mn_service_types::{ApiError, ErrorCode, date::to_wire, error::ApiResult, error::ErrorBody};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, QueryOrder, QuerySelect, prelude::*};
use serde_json::{Map, Value, json};

use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    jobs::{FAILED, STUCK},
};

mn_service_types::messages! {
    GetStuckJobs {}
    DismissStuckJob { uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.sync(list);
    apis.record(dismiss);
}

/// Most that are shown; more than a person can look at at once.
const MOST: u64 = 1_000;

async fn list(call: Call, _msg: GetStuckJobs) -> ApiResult<Map<String, Value>> {
    let rows = job::Entity::find()
        .filter(job::Column::State.eq(STUCK))
        .order_by_desc(job::Column::Created)
        .limit(MOST)
        .all(call.app.db.read())
        .await
        .or_internal()?;
    let inventories: Vec<Value> = rows.into_iter().map(inventory).collect();
    Ok(Map::from_iter([("inventories".to_owned(), json!(inventories))]))
}

/// `StuckJobInventory`.
fn inventory(row: job::Model) -> Value {
    let error = row.error.as_deref().and_then(|text| serde_json::from_str::<ErrorBody>(text).ok());
    let mut inventory = json!({ "uuid": row.uuid, "apiName": row.api, "createDate": to_wire(row.created) });
    let optional = [
        ("accountUuid", row.account_uuid),
        ("endDate", row.finished.map(to_wire)),
        ("details", error.map(|body| body.error.details)),
        // Secrets in it are masked.
        ("parameters", Some(row.audit_message)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            inventory[name] = json!(value);
        }
    }
    inventory
}

/// The job has failed from now on, and the log of its steps goes. What it left is untouched.
async fn dismiss(_call: Call, tx: Tx, msg: DismissStuckJob) -> ApiResult<Reply> {
    let row = job::Entity::find_by_id(&msg.uuid).one(&*tx).await.or_internal()?;
    let Some(row) = row.filter(|row| row.state == STUCK) else {
        let text = format!("uuid: no job {} is stuck; GetStuckJobs lists those that are", msg.uuid);
        return Err(ApiError::new(ErrorCode::NotFound, text));
    };
    let ended = job::ActiveModel { uuid: Set(row.uuid.clone()), state: Set(FAILED.to_owned()), ..Default::default() };
    job::Entity::update(ended).exec(&*tx).await.or_internal()?;
    let of_job = saga_event::Column::SagaUuid.eq(&row.uuid);
    saga_event::Entity::delete_many().filter(of_job).exec(&*tx).await.or_internal()?;
    saga::Entity::delete_by_id(&row.uuid).exec(&*tx).await.or_internal()?;
    Ok(Reply::Empty)
}
