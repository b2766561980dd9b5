//! Tags as an API (PROTOCOL.md section 10).

use mn_service_db::entity::{system_tag, user_tag};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, EntityTrait};

use crate::{
    access,
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    change,
    resource::{affinity, vm},
    tags,
};

mn_service_types::messages! {
    CreateSystemTag { resource_type: String, resource_uuid: String, tag: String }
    CreateUserTag { resource_type: String, resource_uuid: String, tag: String }
    UpdateSystemTag { uuid: String, tag: String }
    DeleteTag { uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QuerySystemTag");
    apis.query("QueryUserTag");
    apis.record(create_system);
    apis.record(create_user);
    apis.record(update_system);
    apis.record(delete);
}

async fn check_resource(tx: &Tx, resource_type: &str, uuid: &str) -> ApiResult<()> {
    let table = mn_service_db::table_of(resource_type).ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidArgument, format!("resourceType: there is no resource type {resource_type:?}"))
    })?;
    if access::exists(&**tx, table.name, uuid).await? { Ok(()) } else { Err(ApiError::not_found(resource_type, uuid)) }
}

/// Tags that only tell what a resource is part of: setting one by hand would change nothing. And those that no VM could
/// start with.
fn refuse_derived(tag: &str) -> ApiResult<()> {
    if tag.strip_prefix(affinity::TAG).is_some_and(|rest| rest.starts_with("::")) {
        let text = format!("tag: {tag} follows the membership; use AddVmToAffinityGroup or RemoveVmFromAffinityGroup");
        return Err(ApiError::invalid(&[text]));
    }
    if let Some(problem) = tag.strip_prefix("hostname::").and_then(vm::hostname_problem) {
        return Err(ApiError::invalid(&[format!("tag: {problem}")]));
    }
    if tag.split("::").next() == Some(tags::CONSOLE_PASSWORD) {
        let text = "tag: a console password is kept sealed; use SetVmConsolePassword or DeleteVmConsolePassword";
        return Err(ApiError::invalid(&[text.to_owned()]));
    }
    Ok(())
}

/// Tags steer what becomes of a resource: only its owner says them, not those it is shared with.
async fn check_caller(call: &Call, tx: &Tx, resource: &str) -> ApiResult<()> {
    if access::is_owner(&**tx, &call.caller, resource).await? {
        return Ok(());
    }
    let text = format!("resource {resource} does not belong to this account");
    Err(ApiError::new(ErrorCode::PermissionDenied, text))
}

async fn create_system(call: Call, tx: Tx, msg: CreateSystemTag) -> ApiResult<Reply> {
    check_caller(&call, &tx, &msg.resource_uuid).await?;
    check_resource(&tx, &msg.resource_type, &msg.resource_uuid).await?;
    refuse_derived(&msg.tag)?;
    tags::check_system(&msg.resource_type, std::slice::from_ref(&msg.tag))?;
    let uuid = tags::add_system(&*tx, &msg.resource_type, &msg.resource_uuid, &msg.tag, false).await?;
    Ok(Reply::Inventory("SystemTagInventory", uuid))
}

async fn create_user(call: Call, tx: Tx, msg: CreateUserTag) -> ApiResult<Reply> {
    check_caller(&call, &tx, &msg.resource_uuid).await?;
    check_resource(&tx, &msg.resource_type, &msg.resource_uuid).await?;
    let uuid = tags::add_user(&*tx, &msg.resource_type, &msg.resource_uuid, &msg.tag).await?;
    Ok(Reply::Inventory("UserTagInventory", uuid))
}

async fn update_system(call: Call, tx: Tx, msg: UpdateSystemTag) -> ApiResult<Reply> {
    let row = system_tag::Entity::find_by_id(&msg.uuid).one(&*tx).await.or_internal()?;
    let row = row.ok_or_else(|| ApiError::not_found("SystemTagVO", &msg.uuid))?;
    check_caller(&call, &tx, &row.resource_uuid).await?;
    refuse_derived(&row.tag)?;
    refuse_derived(&msg.tag)?;
    tags::check_system(&row.resource_type, std::slice::from_ref(&msg.tag))?;
    let changed = system_tag::ActiveModel {
        uuid: Set(msg.uuid.clone()),
        tag: Set(msg.tag),
        last_op_date: Set(now_millis()),
        ..Default::default()
    };
    system_tag::Entity::update(changed).exec(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("SystemTagInventory", msg.uuid))
}

async fn delete(call: Call, tx: Tx, _msg: DeleteTag) -> ApiResult<Reply> {
    let uuid = change::target(&call)?;
    let row = system_tag::Entity::find_by_id(&uuid).one(&*tx).await.or_internal()?;
    let user = user_tag::Entity::find_by_id(&uuid).one(&*tx).await.or_internal()?;
    let named = row.as_ref().map(|row| &row.resource_uuid).or(user.as_ref().map(|row| &row.resource_uuid));
    if let Some(resource) = named {
        check_caller(&call, &tx, resource).await?;
    }
    if row.as_ref().is_some_and(|row| row.inherent) {
        return Err(ApiError::new(
            ErrorCode::DeleteResource,
            format!("system tag {uuid} belongs to its resource and goes with it only"),
        ));
    }
    system_tag::Entity::delete_by_id(&uuid).exec(&*tx).await.or_internal()?;
    user_tag::Entity::delete_by_id(&uuid).exec(&*tx).await.or_internal()?;
    Ok(Reply::Empty)
}
