//! System and user tags (PROTOCOL.md section 10).

use std::collections::HashSet;

use mn_service_db::entity::{system_tag, user_tag};
use mn_service_types::{
    Api, ApiError, ApiKind, ErrorCode, binding::Params, contract, date::now_millis, error::ApiResult, new_uuid,
};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde_json::Value;

use crate::{
    api::Call,
    app::{OrInternal, Tx},
};

/// A pattern of the contract, matched against a tag.
#[derive(Debug)]
pub struct Matched {
    /// The call is steered, nothing is stored.
    pub ephemeral: bool,
    /// Values of the pattern's variables in order.
    pub values: Vec<String>,
}

/// Matches `tag` with `pattern` such as `staticIp::{l3NetworkUuid}::{staticIp}`; `None` when it does not fit.
pub fn parse(pattern: &str, tag: &str) -> Option<Vec<String>> {
    let mut wanted = pattern.split("::").peekable();
    let mut rest = tag;
    let mut values = Vec::new();
    while let Some(part) = wanted.next() {
        let last = wanted.peek().is_none();
        // The last variable takes everything, colons included: IPv6 addresses and user data contain them.
        let (head, tail) = if last { (rest, "") } else { rest.split_once("::")? };
        if part.starts_with('{') && part.ends_with('}') {
            if head.is_empty() {
                return None;
            }
            values.push(head.to_owned());
        } else if part != head {
            return None;
        }
        rest = tail;
    }
    Some(values)
}

/// The system tag pattern of `resource_type` that `tag` fits.
pub fn match_system(resource_type: &str, tag: &str) -> Option<Matched> {
    contract()
        .system_tags
        .iter()
        .filter(|p| p.resource_type.as_deref() == Some(resource_type))
        .find_map(|p| Some(Matched { ephemeral: p.kind.starts_with("Ephemeral"), values: parse(&p.pattern, tag)? }))
}

/// Refuses system tags that no pattern of the resource type knows.
pub fn check_system(resource_type: &str, given: &[String]) -> ApiResult<()> {
    let unknown: Vec<String> = given
        .iter()
        .filter(|tag| match_system(resource_type, tag).is_none())
        .map(|tag| format!("systemTags: {tag:?} fits no system tag pattern of {resource_type}"))
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(ApiError::invalid(&unknown)) }
}

/// Everything that is wrong with the tags of a creating call, before anything is created.
pub fn problems(api: &Api, params: &Params) -> Vec<String> {
    if api.kind != ApiKind::Create {
        return Vec::new();
    }
    let texts = |name: &str| -> Vec<String> {
        let given = params.get(name).and_then(Value::as_array);
        given.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut problems = Vec::new();
    if let Some(resource_type) = tagged_type(api)
        && let Err(error) = check_system(resource_type, &texts("systemTags"))
    {
        problems.extend(error.details.lines().map(str::to_owned));
    }
    let mut seen = HashSet::new();
    for tag in texts("userTags") {
        if !seen.insert(tag.clone()) {
            problems.push(format!("userTags: {tag:?} is given twice; a resource has a user tag once"));
        }
    }
    problems
}

/// The resource type whose tags a creating call takes: what the contract says, else that of what it answers.
fn tagged_type(api: &Api) -> Option<&str> {
    let answered = || contract().inventory(api.response_fields.get("inventory")?)?.vo.as_deref();
    api.tag_resource_type.as_deref().or_else(answered)
}

/// Tag of a VM's console password. It is stored by the VM's own handlers alone, sealed.
pub const CONSOLE_PASSWORD: &str = "consolePassword";

/// Stores the tags that came with a creating call.
pub async fn store_given(call: &Call, tx: &Tx, inventory: &str, uuid: &str) -> ApiResult<()> {
    if call.api.kind != ApiKind::Create {
        return Ok(());
    }
    let tags = call.tags();
    if tags.system_tags.is_empty() && tags.user_tags.is_empty() {
        return Ok(());
    }
    let of_inventory = contract().inventory(inventory).and_then(|i| i.vo.as_deref());
    let resource_type = call.api.tag_resource_type.as_deref().or(of_inventory).unwrap_or(inventory);
    check_system(resource_type, &tags.system_tags)?;
    let table = |vo: &str| mn_service_db::table_of(vo).map(|table| table.name);
    if of_inventory.is_some_and(|vo| table(vo) != table(resource_type)) {
        // The call makes a part of a bigger resource (an IP range of an L3 network), which is what the tags are for:
        // its handler stores them there.
        return Ok(());
    }
    for tag in tags.system_tags.iter().filter(|tag| parse("consolePassword::{password}", tag).is_none()) {
        if match_system(resource_type, tag).is_some_and(|m| !m.ephemeral) {
            add_system(&**tx, resource_type, uuid, tag, false).await?;
        }
    }
    for tag in &tags.user_tags {
        add_user(&**tx, resource_type, uuid, tag).await?;
    }
    Ok(())
}

/// Adds a system tag; an equal one is kept. Returns its uuid.
pub async fn add_system<C: ConnectionTrait>(
    conn: &C,
    resource_type: &str,
    uuid: &str,
    tag: &str,
    inherent: bool,
) -> ApiResult<String> {
    use system_tag::{ActiveModel, Column, Entity};
    let same = Entity::find().filter(Column::ResourceUuid.eq(uuid)).filter(Column::Tag.eq(tag)).one(conn);
    if let Some(row) = same.await.or_internal()? {
        return Ok(row.uuid);
    }
    let now = now_millis();
    let tag_uuid = new_uuid();
    let row = ActiveModel {
        uuid: Set(tag_uuid.clone()),
        resource_uuid: Set(uuid.to_owned()),
        resource_type: Set(resource_type.to_owned()),
        inherent: Set(inherent),
        tag: Set(tag.to_owned()),
        r#type: Set("System".to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    Entity::insert(row).exec_without_returning(conn).await.or_internal()?;
    Ok(tag_uuid)
}

/// Adds a user tag; an equal one on the same resource is an error (`TAG.1000`). Returns its uuid.
pub async fn add_user<C: ConnectionTrait>(conn: &C, resource_type: &str, uuid: &str, tag: &str) -> ApiResult<String> {
    use user_tag::{ActiveModel, Column, Entity};
    let same = Entity::find().filter(Column::ResourceUuid.eq(uuid)).filter(Column::Tag.eq(tag)).one(conn);
    if same.await.or_internal()?.is_some() {
        return Err(ApiError::new(
            ErrorCode::DuplicateTag,
            format!("resource {uuid} already has the user tag {tag:?}"),
        ));
    }
    let now = now_millis();
    let tag_uuid = new_uuid();
    let row = ActiveModel {
        uuid: Set(tag_uuid.clone()),
        resource_uuid: Set(uuid.to_owned()),
        resource_type: Set(resource_type.to_owned()),
        tag: Set(tag.to_owned()),
        r#type: Set("User".to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
        ..Default::default()
    };
    Entity::insert(row).exec_without_returning(conn).await.or_internal()?;
    Ok(tag_uuid)
}

/// System tags of a resource.
pub async fn system_of<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<Vec<String>> {
    let rows =
        system_tag::Entity::find().filter(system_tag::Column::ResourceUuid.eq(uuid)).all(conn).await.or_internal()?;
    Ok(rows.into_iter().map(|row| row.tag).collect())
}

/// Removes the system tags of a resource that begin with these parts, for example `staticIp::<l3>`.
pub async fn remove_system(tx: &Tx, uuid: &str, beginning: &str) -> ApiResult<()> {
    use system_tag::{Column, Entity};
    let longer = format!("{beginning}::");
    for tag in system_of(&**tx, uuid).await?.iter().filter(|tag| *tag == beginning || tag.starts_with(&longer)) {
        Entity::delete_many()
            .filter(Column::ResourceUuid.eq(uuid))
            .filter(Column::Tag.eq(tag))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    Ok(())
}

/// Removes all tags of resources that are gone.
pub async fn forget(tx: &Tx, uuids: &[String]) -> ApiResult<()> {
    let system = system_tag::Column::ResourceUuid.is_in(uuids.iter().cloned());
    system_tag::Entity::delete_many().filter(system).exec(&**tx).await.or_internal()?;
    let user = user_tag::Column::ResourceUuid.is_in(uuids.iter().cloned());
    user_tag::Entity::delete_many().filter(user).exec(&**tx).await.or_internal()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_part_by_part_and_the_last_variable_takes_the_rest() {
        let values = parse("staticIp::{l3NetworkUuid}::{staticIp}", "staticIp::abc::fd00::2").unwrap();
        assert_eq!(values, ["abc", "fd00::2"]);
        assert!(parse("hostname::{hostname}", "hostname::").is_none());
        assert!(parse("hostname::{hostname}", "hostnames::x").is_none());
        assert_eq!(parse("ha", "ha"), Some(vec![]));
    }

    #[test]
    fn unknown_system_tags_are_refused_by_name() {
        assert!(check_system("VmInstanceVO", &["hostname::vm1".into()]).is_ok());
        let error = check_system("VmInstanceVO", &["nonsense::1".into(), "x".into()]).unwrap_err();
        assert!(error.details.contains("nonsense") && error.details.lines().count() == 2, "{error}");
    }
}
