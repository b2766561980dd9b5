//! Global settings as an API (OPS-LGN-005, CS-SET-*).

use mn_service_db::entity::global_config;
use mn_service_types::error::ApiResult;
use sea_orm::{EntityTrait, QueryFilter, prelude::*};
use serde_json::Map;

use super::provisioning;
use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    settings,
};

mn_service_types::messages! {
    UpdateGlobalConfig { category: String, name: String, value: Option<String> }
    ResetGlobalConfig {}
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryGlobalConfig");
    apis.record(update);
    apis.record(reset);
}

async fn update(call: Call, tx: Tx, msg: UpdateGlobalConfig) -> ApiResult<Reply> {
    let value = msg.value.unwrap_or_default();
    settings::check(&msg.category, &msg.name, &value)?;
    use global_config::Column;
    global_config::Entity::update_many()
        .col_expr(Column::Value, Expr::value(value.as_str()))
        .filter(Column::Category.eq(&msg.category))
        .filter(Column::Name.eq(&msg.name))
        .exec(&*tx)
        .await
        .or_internal()?;
    let row = global_config::Entity::find()
        .filter(Column::Category.eq(&msg.category))
        .filter(Column::Name.eq(&msg.name))
        .one(&*tx)
        .await
        .or_internal()?;
    // Live at once; should the commit fail, the next start reads the old value from the database.
    call.app.settings.put(&msg.category, &msg.name, &value);
    provisioning::setting_changed(&call.app.settings, &tx, &msg.category, &msg.name).await?;
    call.app.nudge.notify_waiters();
    let inventory = row.map(|row| {
        let mut inventory = serde_json::json!({
            "id": row.id, "category": row.category, "name": row.name, "defaultValue": row.default_value, "value": row.value,
        });
        if let Some(description) = row.description {
            inventory["description"] = description.into();
        }
        inventory
    });
    Ok(Reply::Fields(Map::from_iter(inventory.map(|inventory| ("inventory".to_owned(), inventory)))))
}

/// CS-SET: all settings return to their defaults.
async fn reset(call: Call, tx: Tx, _msg: ResetGlobalConfig) -> ApiResult<Reply> {
    global_config::Entity::update_many()
        .col_expr(global_config::Column::Value, Expr::col(global_config::Column::DefaultValue))
        .exec(&*tx)
        .await
        .or_internal()?;
    for config in &mn_service_types::contract().global_configs {
        call.app.settings.put(&config.category, &config.name, settings::default_of(config));
    }
    provisioning::all_changed(&call.app.settings, &tx).await?;
    call.app.nudge.notify_waiters();
    Ok(Reply::Empty)
}
