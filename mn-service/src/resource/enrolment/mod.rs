//! One-time codes by which nodes join by themselves (docs/decisions/0015-enrolment.md): the administrator makes, lists
//! and withdraws them here; [`desk`] hears the nodes.

pub mod desk;
mod limits;
mod nodes;

use mn_service_db::entity::{enrolment_code, enrolment_node};
use mn_service_types::{
    ApiError, ErrorCode,
    date::{now_millis, to_wire},
    error::ApiResult,
    new_uuid,
};
use node_manager_types::enrolment::Code;
use rand::TryRngCore as _;
use sea_orm::{EntityTrait, QueryFilter, QueryOrder, prelude::*};
use serde_json::{Map, Value, json};

use crate::{
    api::{Apis, Call, Reply},
    app::{App, OrInternal, Tx},
    audit,
};

pub use limits::Limits;

mn_service_types::messages! {
    CreateHostEnrolmentCode { cluster_uuid: String, lifetime_seconds: i64, uses: i32 }
    GetHostEnrolmentCodes {}
    DeleteHostEnrolmentCode { uuid: String }
}

/// Wrong proofs after which a code is of no use to anybody.
const BURNED: i32 = 10;
/// How long a code that has ended is still listed, in milliseconds.
const REMEMBERED: i64 = 24 * 3600 * 1000;
/// Identifiers that are tried before a new one is given up: of a million, a few thousand are in use at most.
const ATTEMPTS: usize = 16;

pub(super) fn register(apis: &mut Apis) {
    apis.sync(create);
    apis.sync(list);
    apis.record(withdraw);
}

/// What enrolment keeps in memory.
#[derive(Debug, Default)]
pub struct Enrolments {
    /// Who has to wait.
    pub limits: Limits,
    /// Held while it is decided whether a node is connected anew, so that it is once.
    connecting: tokio::sync::Mutex<()>,
}

/// Purpose under which the key of a code is sealed.
fn purpose(code: &str) -> String {
    format!("enrolment-code:{code}")
}

/// What a code is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    UsedUp,
    Expired,
    Burned,
}

impl State {
    fn of(row: &enrolment_code::Model, now: i64) -> Self {
        match () {
            () if row.failures >= BURNED => Self::Burned,
            () if row.expires <= now => Self::Expired,
            () if row.used >= row.uses => Self::UsedUp,
            () => Self::Open,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::UsedUp => "UsedUp",
            Self::Expired => "Expired",
            Self::Burned => "Burned",
        }
    }
}

/// It answers at once and is no job: the result of a job is kept in the database, and the code must not be.
async fn create(call: Call, msg: CreateHostEnrolmentCode) -> ApiResult<Map<String, Value>> {
    let started = now_millis();
    let made = make(&call, &msg).await;
    audit::note(&call, started, made.as_ref().err()).await?;
    let (row, code) = made?;
    tracing::info!(code = row.identifier, cluster = row.cluster_uuid, uses = row.uses, "an enrolment code was made");
    let mut inventory = inventory(&row, &[]);
    inventory["code"] = json!(code.reveal());
    Ok(Map::from_iter([("inventory".to_owned(), inventory)]))
}

async fn make(call: &Call, msg: &CreateHostEnrolmentCode) -> ApiResult<(enrolment_code::Model, Code)> {
    let app = &call.app;
    for _ in 0..ATTEMPTS {
        let mut random = [0; 20];
        rand::rngs::OsRng.try_fill_bytes(&mut random).map_err(ApiError::internal)?;
        let (code, uuid, now) = (Code::of(random), new_uuid(), now_millis());
        let row = enrolment_code::Model {
            identifier: code.identifier().to_owned(),
            sealed_key: app.sealer.seal(&purpose(&uuid), &code.key().to_hex()).or_internal()?,
            uuid,
            cluster_uuid: msg.cluster_uuid.clone(),
            account_uuid: call.caller.account.clone(),
            uses: msg.uses,
            used: 0,
            failures: 0,
            created: now,
            expires: now.saturating_add(msg.lifetime_seconds.saturating_mul(1000)),
        };
        let stored = app
            .write(|tx| {
                let row = row.clone();
                async move {
                    let taken = enrolment_code::Column::Identifier.eq(&row.identifier);
                    let taken = enrolment_code::Entity::find().filter(taken).one(&*tx).await.or_internal()?;
                    if taken.is_some() {
                        return Ok(false);
                    }
                    let row = enrolment_code::ActiveModel::from(row).reset_all();
                    enrolment_code::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
                    Ok(true)
                }
            })
            .await?;
        if stored {
            return Ok((row, code));
        }
    }
    Err(ApiError::new(ErrorCode::Internal, "no name for a new code is free; withdraw codes that nobody needs"))
}

async fn list(call: Call, _msg: GetHostEnrolmentCodes) -> ApiResult<Map<String, Value>> {
    let newest = enrolment_code::Entity::find().order_by_desc(enrolment_code::Column::Created);
    let rows = newest.all(call.app.db.read()).await.or_internal()?;
    let of_codes = enrolment_node::Column::CodeUuid.is_not_null();
    let nodes = enrolment_node::Entity::find().filter(of_codes).all(call.app.db.read()).await.or_internal()?;
    let inventories: Vec<Value> = rows.iter().map(|row| inventory(row, &nodes)).collect();
    Ok(Map::from_iter([("inventories".to_owned(), json!(inventories))]))
}

/// `HostEnrolmentCodeInventory`, without the code.
fn inventory(row: &enrolment_code::Model, nodes: &[enrolment_node::Model]) -> Value {
    let joined = nodes.iter().filter(|node| node.code_uuid.as_ref() == Some(&row.uuid));
    let now = now_millis();
    let hosts: Vec<&str> = joined.map(|node| node.host_uuid.as_str()).collect();
    json!({
        "uuid": row.uuid, "identifier": row.identifier, "clusterUuid": row.cluster_uuid, "uses": row.uses,
        "used": row.used, "state": State::of(row, now).word(), "createDate": to_wire(row.created),
        "expireDate": to_wire(row.expires), "remainingSeconds": (row.expires - now).max(0) / 1000,
        "hostUuids": hosts,
    })
}

async fn withdraw(_call: Call, tx: Tx, msg: DeleteHostEnrolmentCode) -> ApiResult<Reply> {
    let removed = enrolment_code::Entity::delete_by_id(&msg.uuid).exec(&*tx).await.or_internal()?;
    if removed.rows_affected == 0 {
        let text = format!("uuid: there is no enrolment code {}; GetHostEnrolmentCodes lists those that are", msg.uuid);
        return Err(ApiError::new(ErrorCode::NotFound, text));
    }
    Ok(Reply::Empty)
}

/// Removes codes that ended long ago. Called by a timer.
pub async fn forget_old(app: &App) -> ApiResult<()> {
    let before = now_millis() - REMEMBERED;
    app.write(|tx| async move {
        let old = enrolment_code::Column::Expires.lt(before);
        enrolment_code::Entity::delete_many().filter(old).exec(&*tx).await.or_internal()?;
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_open_until_it_is_used_old_or_burned() {
        let row = enrolment_code::Model {
            uuid: new_uuid(),
            identifier: "ABCD".to_owned(),
            sealed_key: String::new(),
            cluster_uuid: new_uuid(),
            account_uuid: new_uuid(),
            uses: 2,
            used: 1,
            failures: BURNED - 1,
            created: 0,
            expires: 1000,
        };
        let state = |change: fn(&mut enrolment_code::Model), now| {
            let mut row = row.clone();
            change(&mut row);
            State::of(&row, now)
        };
        assert_eq!(state(|_| {}, 999), State::Open);
        assert_eq!(state(|_| {}, 1000), State::Expired);
        assert_eq!(state(|row| row.used = 2, 999), State::UsedUp);
        assert_eq!(state(|row| row.failures = BURNED, 999), State::Burned);
    }
}
