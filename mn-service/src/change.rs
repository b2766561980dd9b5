//! Changes that the contract describes well enough to need no code of their own: updating fields and switching
//! states.

use mn_service_types::{ApiError, ErrorCode, contract, date::now_millis, error::ApiResult};
use sea_orm::{
    ConnectionTrait,
    sea_query::{Alias, Expr, ExprTrait, Query, SimpleExpr, Value as SqlValue},
};
use serde_json::Value;

use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
};

/// Parameters that are never columns.
const STEERING: &[&str] = &["uuid", "systemTags", "userTags", "resourceUuid", "tagUuids", "deleteMode"];

/// Registers an update API: every parameter that is a column of the resource is stored, absent ones stay unchanged
/// (PROTOCOL.md section 10).
pub fn update(apis: &mut Apis, name: &'static str, inventory: &'static str) {
    apis.record_raw(name, move |call, tx| async move {
        let uuid = target(&call)?;
        apply_update(&call, &tx, inventory, &uuid).await?;
        Ok(Reply::Inventory(inventory, uuid))
    });
}

/// The uuid a call is about.
pub fn target(call: &Call) -> ApiResult<String> {
    let uuid =
        call.text("uuid").ok_or_else(|| ApiError::new(ErrorCode::InvalidArgument, "parameter uuid is required"))?;
    Ok(uuid.to_owned())
}

/// Stores the parameters that are columns of the resource.
pub async fn apply_update(call: &Call, tx: &Tx, inventory: &str, uuid: &str) -> ApiResult<()> {
    let described = contract().inventory(inventory).ok_or_else(|| ApiError::internal(format!("no {inventory}")))?;
    let vo = described.vo.as_deref().unwrap_or_default();
    let table = mn_service_db::table_of(vo).ok_or_else(|| ApiError::internal(format!("no table for {vo}")))?;
    let mut update = Query::update();
    update.table(Alias::new(table.name)).and_where(Expr::col(Alias::new("uuid")).eq(uuid));
    for (name, value) in call.params.iter().filter(|(name, _)| !STEERING.contains(&name.as_str())) {
        if described.fields.contains_key(name) && !described.queryable.contains_key(name) {
            update.value(Alias::new(name), column_value(value)?);
        }
    }
    if described.fields.contains_key("lastOpDate") {
        update.value(Alias::new("lastOpDate"), now_millis());
    }
    tx.execute(&update).await.or_internal()?;
    Ok(())
}

fn column_value(value: &Value) -> ApiResult<SimpleExpr> {
    let bound: SqlValue = match value {
        Value::String(text) => text.clone().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        other => return Err(ApiError::internal(format!("{other} is no column value"))),
    };
    Ok(Expr::value(bound))
}

/// Registers a state-changing API (`stateEvent`) over the contract's state machine `state_enum`.
pub fn state(apis: &mut Apis, name: &'static str, inventory: &'static str, state_enum: &'static str) {
    apis.record_raw(name, move |call, tx| async move {
        let uuid = target(&call)?;
        let event = call.text("stateEvent").unwrap_or_default().to_owned();
        switch(&tx, inventory, state_enum, &uuid, &event).await?;
        Ok(Reply::Inventory(inventory, uuid))
    });
}

/// Moves one resource along its state machine; returns the new state.
pub async fn switch(tx: &Tx, inventory: &str, state_enum: &str, uuid: &str, event: &str) -> ApiResult<String> {
    let vo = contract().inventory(inventory).and_then(|i| i.vo.as_deref()).unwrap_or_default();
    let table = mn_service_db::table_of(vo).ok_or_else(|| ApiError::internal(format!("no table for {vo}")))?;
    let find = Query::select()
        .column(Alias::new("state"))
        .from(Alias::new(table.name))
        .and_where(Expr::col(Alias::new("uuid")).eq(uuid))
        .to_owned();
    let row = tx.query_one(&find).await.or_internal()?.ok_or_else(|| ApiError::not_found(vo, uuid))?;
    let now: String = row.try_get_by_index(0).or_internal()?;
    let next = next_state(state_enum, &now, event).ok_or_else(|| {
        ApiError::new(
            ErrorCode::ChangeState,
            format!("{vo} {uuid} is {now}; event {event:?} is not possible in that state"),
        )
    })?;
    let update = Query::update()
        .table(Alias::new(table.name))
        .value(Alias::new("state"), next.as_str())
        .value(Alias::new("lastOpDate"), now_millis())
        .and_where(Expr::col(Alias::new("uuid")).eq(uuid))
        .to_owned();
    tx.execute(&update).await.or_internal()?;
    Ok(next)
}

fn next_state(state_enum: &str, now: &str, event: &str) -> Option<String> {
    if let Some(next) = contract().transition(state_enum, now, event) {
        return Some(next.to_owned());
    }
    // Enums whose transitions the contract does not list are plain switches.
    let values = contract().enum_values(state_enum);
    let plain =
        !values.iter().any(|v| ["enable", "disable"].iter().any(|e| contract().transition(state_enum, v, e).is_some()));
    let next = match event {
        "enable" => "Enabled",
        "disable" => "Disabled",
        _ => return None,
    };
    (plain && values.iter().any(|v| v == next)).then(|| next.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_machines_and_plain_switches_both_work() {
        assert_eq!(next_state("ZoneState", "Enabled", "disable").as_deref(), Some("Disabled"));
        assert_eq!(next_state("ImageState", "Enabled", "disable").as_deref(), Some("Disabled"));
        assert_eq!(next_state("HostState", "Maintenance", "maintain"), None);
        assert_eq!(next_state("ZoneState", "Enabled", "explode"), None);
    }
}
