//! Audit: who called what, when, from where, how long, with which result (PLAT-AUDIT-001, PLAT-AUDIT-003).

mod mask;

use std::{net::IpAddr, path::Path};

use mn_service_db::entity::{account, audit};
use mn_service_types::{ApiError, date::now_millis, error::ApiResult};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Alias, Expr, ExprTrait, Query},
};

pub use mask::masked;

use crate::{
    api::Call,
    app::{App, OrInternal, Tx},
};

/// The resource a call is about: the first of its path that has a resource type.
fn subject(call: &Call) -> (Option<String>, Option<String>) {
    let param = call.api.params.iter().find(|p| p.location == "url" && p.resource_type.is_some());
    match param {
        Some(param) => (param.resource_type.clone(), call.text(&param.name).map(str::to_owned)),
        None => (None, None),
    }
}

/// Writes the audit entry of a call that ended, in the transaction that ends it.
pub async fn write(
    tx: &Tx,
    call: &Call,
    started: i64,
    created: Option<(&str, &str)>,
    error: Option<&ApiError>,
) -> ApiResult<()> {
    let (resource_type, resource_uuid) = match created {
        Some((vo, uuid)) => (Some(vo.to_owned()), Some(uuid.to_owned())),
        None => subject(call),
    };
    let now = now_millis();
    let resource_name = match (&resource_type, &resource_uuid) {
        (Some(vo), Some(uuid)) => name_of(&**tx, vo, uuid).await?,
        _ => None,
    };
    let row = audit::ActiveModel {
        api_name: Set(call.api.name.clone()),
        operator: Set(account_name(&**tx, &call.caller.account).await?),
        operator_account_uuid: Set(call.caller.account.clone()),
        session_ref: Set(call.caller.session.clone()),
        client_ip: Set(Some(call.caller.client_ip.clone())),
        resource_name: Set(resource_name),
        resource_type: Set(resource_type),
        resource_uuid: Set(resource_uuid),
        request_uuid: Set(Some(call.job.clone())),
        response_uuid: Set(created.map(|(_, uuid)| uuid.to_owned())),
        request_dump: Set(masked(call.api, &call.params)),
        success: Set(Some(error.is_none())),
        error: Set(error.map(ToString::to_string)),
        start_time: Set(started),
        create_time: Set(now),
        duration: Set(now - started),
        ..Default::default()
    };
    audit::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(())
}

/// Writes the entry of a call that answers at once, in a transaction of its own.
pub async fn note(call: &Call, started: i64, error: Option<&ApiError>) -> ApiResult<()> {
    call.app.write(|tx| async move { write(&tx, call, started, None, error).await }).await
}

/// Name of the entries about downloads; no API of the contract is called so.
const DOWNLOAD: &str = "DownloadPublishedFile";

/// Notes that `client` downloads `file` over a link. The download goes on when that fails: the log has it too.
pub async fn download(app: &App, client: IpAddr, file: &Path) {
    tracing::info!(%client, file = %file.display(), "a published file is downloaded");
    let now = now_millis();
    let row = audit::ActiveModel {
        api_name: Set(DOWNLOAD.to_owned()),
        operator_account_uuid: Set(String::new()),
        client_ip: Set(Some(client.to_string())),
        resource_name: Set(file.file_name().map(|name| name.to_string_lossy().into_owned())),
        request_dump: Set("{}".to_owned()),
        success: Set(Some(true)),
        start_time: Set(now),
        create_time: Set(now),
        duration: Set(0),
        ..Default::default()
    };
    let written = app.write(|tx| async move {
        audit::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
        Ok(())
    });
    if let Err(error) = written.await {
        tracing::warn!(%error, "the audit entry of a download is missing");
    }
}

/// Entries that one transaction removes: everybody else who writes waits for it.
const BATCH: u64 = 5000;

/// Removes entries that are older than the setting `audit/retention.days`; 0 keeps them for ever.
pub async fn forget_old(app: &App) -> ApiResult<()> {
    let days = app.settings.integer("audit", "retention.days", 180);
    if days == 0 {
        return Ok(());
    }
    let before = now_millis() - days.saturating_mul(86_400_000);
    loop {
        let removed = app
            .write(|tx| async move {
                use audit::{Column, Entity};
                let old = Entity::find().select_only().column(Column::Id).filter(Column::StartTime.lt(before));
                let ids: Vec<i64> = old.limit(BATCH).into_tuple().all(&*tx).await.or_internal()?;
                let removed = Entity::delete_many().filter(Column::Id.is_in(ids)).exec(&*tx).await.or_internal()?;
                Ok(removed.rows_affected)
            })
            .await?;
        if removed > 0 {
            tracing::info!(removed, days, "audit entries were removed because of their age");
        }
        if removed < BATCH {
            return Ok(());
        }
    }
}

async fn account_name<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<Option<String>> {
    Ok(account::Entity::find_by_id(uuid).one(conn).await.or_internal()?.map(|account| account.name))
}

/// The name of a resource that is still there and has one.
async fn name_of<C: ConnectionTrait>(conn: &C, vo: &str, uuid: &str) -> ApiResult<Option<String>> {
    let table = mn_service_db::table_of(vo).filter(|table| ["uuid", "name"].iter().all(|c| table.column(c).is_some()));
    let Some(table) = table else { return Ok(None) };
    let query = Query::select()
        .column(Alias::new("name"))
        .from(Alias::new(table.name))
        .and_where(Expr::col(Alias::new("uuid")).eq(uuid))
        .to_owned();
    let row = conn.query_one(&query).await.or_internal()?;
    row.map(|row| row.try_get_by_index(0).or_internal()).transpose().map(Option::flatten)
}
