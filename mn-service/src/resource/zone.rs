//! Zones (CS-ZONE-*).

use mn_service_db::entity::{cluster, host, zone};
use mn_service_types::{date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, prelude::*};

use super::deletion;
use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    change,
};

mn_service_types::messages! {
    CreateZone { name: String, description: Option<String>, is_default: Option<bool> }
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryZone");
    apis.record(create);
    apis.record_raw("UpdateZone", update);
    apis.record_raw("ChangeZoneState", change_state);
    deletion::register(apis, "DeleteZone", "ZoneVO");
}

async fn create(call: Call, tx: Tx, msg: CreateZone) -> ApiResult<Reply> {
    let uuid = call.new_resource_uuid();
    let is_default = msg.is_default.unwrap_or(false);
    if is_default {
        unset_default(&tx).await?;
    }
    let now = now_millis();
    let row = zone::ActiveModel {
        uuid: Set(uuid.clone()),
        name: Set(msg.name),
        description: Set(msg.description),
        state: Set("Enabled".to_owned()),
        r#type: Set("zstack".to_owned()),
        is_default: Set(is_default),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    zone::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("ZoneInventory", uuid))
}

async fn update(call: Call, tx: Tx) -> ApiResult<Reply> {
    let uuid = change::target(&call)?;
    if call.params.get("isDefault").and_then(serde_json::Value::as_bool) == Some(true) {
        unset_default(&tx).await?;
    }
    change::apply_update(&call, &tx, "ZoneInventory", &uuid).await?;
    Ok(Reply::Inventory("ZoneInventory", uuid))
}

/// There is one default zone at most.
async fn unset_default(tx: &Tx) -> ApiResult<()> {
    zone::Entity::update_many()
        .col_expr(zone::Column::IsDefault, Expr::value(false))
        .filter(zone::Column::IsDefault.eq(true))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

/// CS-ZONE-006, CS-ZONE-007: the state reaches all clusters and hosts of the zone.
async fn change_state(call: Call, tx: Tx) -> ApiResult<Reply> {
    let uuid = change::target(&call)?;
    let event = call.text("stateEvent").unwrap_or_default().to_owned();
    let state = change::switch(&tx, "ZoneInventory", "ZoneState", &uuid, &event).await?;
    let now = now_millis();
    cluster::Entity::update_many()
        .col_expr(cluster::Column::State, Expr::value(state.as_str()))
        .col_expr(cluster::Column::LastOpDate, Expr::value(now))
        .filter(cluster::Column::ZoneUuid.eq(&uuid))
        .exec(&*tx)
        .await
        .or_internal()?;
    // Hosts in maintenance stay there: an operator is working on them.
    host::Entity::update_many()
        .col_expr(host::Column::State, Expr::value(state.as_str()))
        .col_expr(host::Column::LastOpDate, Expr::value(now))
        .filter(host::Column::ZoneUuid.eq(&uuid))
        .filter(host::Column::State.is_in(["Enabled", "Disabled"]))
        .exec(&*tx)
        .await
        .or_internal()?;
    Ok(Reply::Inventory("ZoneInventory", uuid))
}
