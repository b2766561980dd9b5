//! Who may do what to which resource (PROTOCOL.md section 9): existence and ownership of everything a call names.

use mn_service_db::entity::account_resource_ref;
use mn_service_types::{
    Api, ApiError, ApiKind, ErrorCode, Param, binding::Params, contract, date::now_millis, error::ApiResult,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    sea_query::{Alias, Expr, ExprTrait, Query},
};
use serde_json::Value;

use crate::{
    api::{Call, Caller},
    app::{OrInternal, Tx},
};

/// Resource types that belong to an account; everything else belongs to the cloud and is the admin's business.
pub const OWNED: &[&str] = &[
    "AffinityGroupVO",
    "DiskOfferingVO",
    "ImageVO",
    "InstanceOfferingVO",
    "L2NetworkVO",
    "L3NetworkVO",
    "VmInstanceVO",
    "VmNicVO",
    "VolumeSnapshotVO",
    "VolumeVO",
];

/// What the existence check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Existence {
    /// Everything named is there.
    Complete,
    /// The resource to delete is gone already, which is what the caller wants.
    AlreadyGone,
}

fn uuids_of(param: &Param, params: &Params) -> Vec<String> {
    match params.get(&param.name) {
        Some(Value::String(uuid)) => vec![uuid.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Checks that every resource named by the parameters exists (PROTOCOL.md 6.5 step 1); all findings at once.
pub async fn check_existence<C: ConnectionTrait>(conn: &C, api: &Api, params: &Params) -> ApiResult<Existence> {
    let mut missing = Vec::new();
    for param in &api.params {
        let Some(table) = param.resource_type.as_deref().and_then(mn_service_db::table_of) else { continue };
        for uuid in uuids_of(param, params) {
            // The Go client sends empty texts for "not given".
            if uuid.is_empty() && !param.required {
                continue;
            }
            if mn_service_types::is_uuid(&uuid) && exists(conn, table.name, &uuid).await? {
                continue;
            }
            if param.success_if_not_existing && mn_service_types::is_uuid(&uuid) {
                return Ok(Existence::AlreadyGone);
            }
            missing.push(format!(
                "{}: there is no {} with uuid {uuid}",
                param.name,
                param.resource_type.as_deref().unwrap_or_default()
            ));
        }
    }
    if missing.is_empty() {
        Ok(Existence::Complete)
    } else {
        Err(ApiError::new(ErrorCode::NotFound, missing.join("\n")))
    }
}

/// True when `table` has a row with that uuid.
pub async fn exists<C: ConnectionTrait>(conn: &C, table: &str, uuid: &str) -> ApiResult<bool> {
    let query = Query::select()
        .expr(Expr::val(1))
        .from(Alias::new(table))
        .and_where(Expr::col(Alias::new("uuid")).eq(uuid))
        .to_owned();
    Ok(conn.query_one(&query).await.or_internal()?.is_some())
}

/// Checks role and ownership (step 2): accounts other than admin may call what their role allows on what is theirs
/// or shared with them.
pub async fn check_caller<C: ConnectionTrait>(conn: &C, api: &Api, params: &Params, caller: &Caller) -> ApiResult<()> {
    if caller.admin {
        return Ok(());
    }
    if api.admin_only() {
        return Err(ApiError::new(
            ErrorCode::PermissionDenied,
            format!("{} is for the admin account; ask an administrator to do it or to share the resource", api.name),
        ));
    }
    // The contract leaves the check out for some paths (DeleteDataVolume); what a path names is checked always.
    for param in api.params.iter().filter(|param| param.check_account || param.location == "url") {
        let owned = param.resource_type.as_deref().is_some_and(|vo| OWNED.contains(&base_type(vo)));
        for uuid in uuids_of(param, params).into_iter().filter(|uuid| owned && !uuid.is_empty()) {
            if changes(api, param) && may_use(conn, caller, &uuid).await? && !is_owner(conn, caller, &uuid).await? {
                return Err(ApiError::new(
                    ErrorCode::PermissionDenied,
                    format!(
                        "{}: resource {uuid} is shared with this account and belongs to another one, which alone may \
                         change it",
                        param.name
                    ),
                ));
            }
            if !may_use(conn, caller, &uuid).await? {
                return Err(ApiError::new(
                    ErrorCode::PermissionDenied,
                    format!("{}: resource {uuid} neither belongs to this account nor is shared with it", param.name),
                ));
            }
        }
    }
    Ok(())
}

/// True for what the call changes, in contrast to what it uses (CS-IMG-061: what is shared is not deleted). Where the
/// contract does not say, that is what the path of a change names.
fn changes(api: &Api, param: &Param) -> bool {
    match api.kind {
        ApiKind::Query | ApiKind::Sync => false,
        _ if api.params.iter().any(|param| param.operation_target) => param.operation_target,
        ApiKind::Create => false,
        _ => param.location == "url",
    }
}

/// True when a resource belongs to the caller's account itself.
pub async fn is_owner<C: ConnectionTrait>(conn: &C, caller: &Caller, uuid: &str) -> ApiResult<bool> {
    Ok(caller.admin || owner_of(conn, uuid).await?.as_ref() == Some(&caller.account))
}

fn base_type(vo: &str) -> &str {
    mn_service_db::table_of(vo).map_or(vo, |table| table.name)
}

/// True when a resource belongs to the caller's account or is shared with it.
pub async fn may_use<C: ConnectionTrait>(conn: &C, caller: &Caller, uuid: &str) -> ApiResult<bool> {
    if caller.admin {
        return Ok(true);
    }
    use account_resource_ref::{Column, Entity};
    let refs = Entity::find().filter(Column::ResourceUuid.eq(uuid)).all(conn).await.or_internal()?;
    Ok(refs.iter().any(|r| r.account_uuid.as_deref().is_none_or(|account| account == caller.account)))
}

/// Notes that the caller owns what its call created.
pub async fn own_created(call: &Call, tx: &Tx, inventory: &str, uuid: &str) -> ApiResult<()> {
    let Some(vo) = contract().inventory(inventory).and_then(|i| i.vo.as_deref()).map(base_type) else { return Ok(()) };
    if !OWNED.contains(&vo) || call.api.kind != mn_service_types::ApiKind::Create {
        return Ok(());
    }
    own(tx, &call.caller.account, vo, uuid).await
}

/// Gives a resource to an account; a resource that has an owner keeps it.
pub async fn own(tx: &Tx, account: &str, vo: &str, uuid: &str) -> ApiResult<()> {
    use account_resource_ref::{ActiveModel, Column, Entity};
    let owned = Entity::find().filter(Column::ResourceUuid.eq(uuid)).filter(Column::IsShared.eq(false)).one(&**tx);
    if owned.await.or_internal()?.is_some() {
        return Ok(());
    }
    let now = now_millis();
    let row = ActiveModel {
        account_uuid: Set(Some(account.to_owned())),
        resource_uuid: Set(uuid.to_owned()),
        resource_type: Set(vo.to_owned()),
        owner_account_uuid: Set(Some(account.to_owned())),
        permission: Set(2),
        is_shared: Set(false),
        create_date: Set(now),
        last_op_date: Set(now),
        ..Default::default()
    };
    Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(())
}

/// The account that a resource belongs to.
pub async fn owner_of<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<Option<String>> {
    use account_resource_ref::{Column, Entity};
    let owner = Entity::find().filter(Column::ResourceUuid.eq(uuid)).filter(Column::IsShared.eq(false)).one(conn);
    Ok(owner.await.or_internal()?.and_then(|row| row.account_uuid))
}

/// Forgets owners and shares of resources that are gone.
pub async fn forget(tx: &Tx, uuids: &[String]) -> ApiResult<()> {
    use account_resource_ref::{Column, Entity};
    Entity::delete_many().filter(Column::ResourceUuid.is_in(uuids.iter().cloned())).exec(&**tx).await.or_internal()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Networks below the L3 networks are the cloud's; who may see them is asked of the L3 network.
    const SEEN_BY_ALL: &[&str] = &["L2NetworkVO"];

    #[test]
    fn what_belongs_to_accounts_is_not_shown_to_others() {
        for vo in OWNED.iter().filter(|vo| !SEEN_BY_ALL.contains(vo)) {
            assert!(mn_service_db::query::is_private(vo), "{vo} has an owner; give it a rule in query/visibility.rs");
        }
    }
}
