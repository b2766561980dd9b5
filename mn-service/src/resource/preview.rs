//! `PreviewDeletion`: what a delete API would do, as an API of its own.

use std::{collections::BTreeMap, sync::Arc};

use mn_service_types::{ApiError, ErrorCode, binding, contract, error::ApiResult};
use sea_orm::{
    ConnectionTrait,
    sea_query::{Alias, Expr, ExprTrait, Query},
};
use serde_json::{Map, Value, json};

use crate::{
    access,
    api::{Apis, Call},
    app::OrInternal,
    preview::{Kind, Preview},
};

mn_service_types::messages! {
    PreviewDeletion { api: String, uuid: String, delete_mode: Option<String> }
}

pub(super) fn register(apis: &mut Apis) {
    apis.sync(preview);
}

async fn preview(call: Call, msg: PreviewDeletion) -> ApiResult<Map<String, Value>> {
    let app = &call.app;
    let known = contract().api(&msg.api).and_then(|api| Some((api, app.apis.previewer(&api.name)?)));
    let Some((api, previewer)) = known else {
        return Err(ApiError::invalid(&[format!(
            "parameter api must be one of {}, not {:?}",
            app.apis.previewed().join(", "),
            msg.api
        )]));
    };
    let subject = api.params.iter().find(|param| param.location == "url");
    let subject = subject.ok_or_else(|| ApiError::internal(format!("{}: names no resource", api.name)))?;
    let mut fields = Map::from_iter([(subject.name.clone(), json!(msg.uuid))]);
    fields.extend(msg.delete_mode.map(|mode| ("deleteMode".to_owned(), json!(mode))));
    let params = binding::bind_flat(api, &fields).map_err(|error| ApiError::invalid(&[error.0]))?;
    let (conn, vo) = (app.db.read(), previewer.vo);
    // Whoever may delete may look.
    access::check_caller(conn, api, &params, &call.caller).await?;
    if !mn_service_types::is_uuid(&msg.uuid) || !access::exists(conn, table(vo), &msg.uuid).await? {
        return Err(ApiError::new(ErrorCode::NotFound, format!("uuid: there is no {vo} with uuid {}", msg.uuid)));
    }
    let found = previewer.look(Call { api, params: Arc::new(params), ..call.clone() }).await?;
    let name = name_of(conn, vo, &msg.uuid).await?;
    Ok(Map::from_iter([("inventory".to_owned(), inventory(&msg.api, vo, &msg.uuid, name, found))]))
}

fn table(vo: &str) -> &str {
    mn_service_db::table_of(vo).map_or(vo, |table| table.name)
}

/// `DeletionPreviewInventory`.
fn inventory(api: &str, vo: &str, uuid: &str, name: Option<String>, mut found: Preview) -> Value {
    found.effects.sort();
    let mut counts: BTreeMap<Kind, BTreeMap<&str, i64>> = BTreeMap::new();
    for effect in &found.effects {
        *counts.entry(effect.kind).or_default().entry(&effect.resource_type).or_default() += 1;
    }
    let counts: Map<String, Value> = counts.into_iter().map(|(kind, by)| (format!("{kind:?}"), json!(by))).collect();
    let mut inventory = json!({
        "api": api,
        "resourceType": vo,
        "resourceUuid": uuid,
        "effects": found.effects,
        "counts": counts,
        "refusals": found.refusals,
    });
    if let Some(name) = name {
        inventory["resourceName"] = json!(name);
    }
    inventory
}

async fn name_of<C: ConnectionTrait>(conn: &C, vo: &str, uuid: &str) -> ApiResult<Option<String>> {
    let Some(table) = mn_service_db::table_of(vo).filter(|table| table.column("name").is_some()) else {
        return Ok(None);
    };
    let query = Query::select()
        .column(Alias::new("name"))
        .from(Alias::new(table.name))
        .and_where(Expr::col(Alias::new("uuid")).eq(uuid))
        .to_owned();
    let row = conn.query_one(&query).await.or_internal()?;
    row.map(|row| row.try_get_by_index(0).or_internal()).transpose().map(Option::flatten)
}
