//! Things on hosts or storages that could not be removed yet. A row is written in the transaction that forgets the
//! thing, so that nothing is left behind unknown, whatever crashes in between.

use mn_service_db::entity::garbage;
use mn_service_types::{date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, EntityTrait};

use crate::app::{OrInternal, Tx};

/// Notes that something of `kind` has to be removed; `target` says what and where.
pub async fn add(tx: &Tx, kind: &str, target: serde_json::Value) -> ApiResult<()> {
    let now = now_millis();
    let row = garbage::ActiveModel {
        kind: Set(kind.to_owned()),
        target: Set(target.to_string()),
        attempts: Set(0),
        last_error: Set(None),
        created: Set(now),
        next_try: Set(now),
        ..Default::default()
    };
    garbage::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(())
}
