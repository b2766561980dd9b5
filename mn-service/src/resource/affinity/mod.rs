//! Affinity groups (CS-AFG-*): VMs that keep away from each other. What placement asks is in [`neighbours`].

mod neighbours;

use std::collections::BTreeSet;

use mn_service_db::{
    entity::{affinity_group, affinity_group_usage, system_tag, vm_instance},
    query::{self, Op, Query},
};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult, new_uuid};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde_json::{Map, Value};

pub use neighbours::Neighbours;

use super::{deletion, vm};
use crate::{
    access,
    api::{Apis, Call, Caller, Reply},
    app::{OrInternal, Tx},
    change, http, tags,
};

mn_service_types::messages! {
    CreateAffinityGroup { name: String, description: Option<String>, policy: Option<String>, r#type: Option<String>, zone_uuid: Option<String>, sub_type: Option<String> }
    AddVmToAffinityGroup { affinity_group_uuid: String, uuid: String }
    RemoveVmFromAffinityGroup { affinity_group_uuid: String, uuid: String }
    GetCandidateVMForAttachingAffinityGroup { affinity_group_uuid: String }
}

const INVENTORY: &str = "AffinityGroupInventory";

/// System tag of a VM that names its group; it follows the membership.
pub const TAG: &str = "affinityGroupUuid";

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryAffinityGroup");
    apis.record(create);
    change::update(apis, "UpdateAffinityGroup", INVENTORY);
    change::state(apis, "ChangeAffinityGroupState", INVENTORY, "AffinityGroupState");
    deletion::register(apis, "DeleteAffinityGroup", "AffinityGroupVO");
    apis.record(add);
    apis.record(remove);
    apis.sync(candidates);
}

async fn create(call: Call, tx: Tx, msg: CreateAffinityGroup) -> ApiResult<Reply> {
    if let Some(kind) = msg.sub_type.filter(|kind| !kind.is_empty()) {
        return Err(ApiError::invalid(&[format!("subType: {kind:?} is not served; leave it out")]));
    }
    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = affinity_group::ActiveModel {
        uuid: Set(uuid.clone()),
        name: Set(msg.name),
        description: Set(msg.description),
        policy: Set(msg.policy.unwrap_or_else(|| "antiSoft".to_owned())),
        version: Set("1.0".to_owned()),
        r#type: Set(msg.r#type.unwrap_or_else(|| "host".to_owned())),
        appliance: Set("CUSTOMER".to_owned()),
        zone_uuid: Set(msg.zone_uuid.filter(|zone| !zone.is_empty())),
        state: Set("Enabled".to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    affinity_group::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    Ok(Reply::Inventory(INVENTORY, uuid))
}

async fn find<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<affinity_group::Model> {
    let row = affinity_group::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("AffinityGroupVO", uuid))
}

/// The group of a VM.
pub async fn group_of<C: ConnectionTrait>(conn: &C, vm: &str) -> ApiResult<Option<String>> {
    use affinity_group_usage::{Column, Entity};
    let row = Entity::find().filter(Column::ResourceUuid.eq(vm)).one(conn).await.or_internal()?;
    Ok(row.map(|row| row.affinity_group_uuid))
}

/// The group that the system tags of a VM to be name; what is wrong with it goes to `problems`.
pub async fn named<C: ConnectionTrait>(
    conn: &C,
    caller: &Caller,
    system_tags: &[String],
    zone: Option<&str>,
    problems: &mut Vec<String>,
) -> ApiResult<Option<affinity_group::Model>> {
    let mut uuids = system_tags.iter().filter_map(|tag| tag.strip_prefix(TAG)?.strip_prefix("::"));
    let Some(uuid) = uuids.next() else { return Ok(None) };
    if uuids.next().is_some() {
        problems.push(format!("systemTags: {TAG} is given twice; a VM is in one affinity group at most"));
    }
    let row = affinity_group::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    // Somebody else's group is not told from one that does not exist.
    let usable = access::may_use(conn, caller, uuid).await?;
    let Some(row) = row.filter(|_| usable) else {
        problems.push(format!("systemTags: there is no affinity group {uuid}"));
        return Ok(None);
    };
    if let (Some(own), Some(wanted)) = (row.zone_uuid.as_deref(), zone)
        && own != wanted
    {
        problems.push(format!("systemTags: affinity group {} is for VMs of zone {own}", row.name));
    }
    Ok(Some(row))
}

/// Notes that a VM is in a group. The caller holds [`enter`]'s lock.
pub async fn join(tx: &Tx, group: &str, vm: &str) -> ApiResult<()> {
    // It may have been deleted since the call was checked.
    find(&**tx, group).await?;
    let now = now_millis();
    let row = affinity_group_usage::ActiveModel {
        uuid: Set(new_uuid()),
        affinity_group_uuid: Set(group.to_owned()),
        resource_uuid: Set(vm.to_owned()),
        resource_type: Set("VmInstanceVO".to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    affinity_group_usage::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    tags::add_system(&**tx, "VmInstanceVO", vm, &format!("{TAG}::{group}"), true).await?;
    Ok(())
}

/// Waits until nobody else places a member of the group. It must be the first statement of its transaction: what
/// MariaDB reads later in it is then as the one before has left it. (SQLite has one writer anyway.) A group that is
/// gone has no members to wait for.
pub async fn enter(tx: &Tx, group: Option<&str>) -> ApiResult<()> {
    use sea_orm::QuerySelect;
    if let Some(group) = group {
        affinity_group::Entity::find_by_id(group).lock_exclusive().one(&**tx).await.or_internal()?;
    }
    Ok(())
}

/// Why a VM is nothing for the group, whatever it has for members.
fn outside(group: &affinity_group::Model, vm: &vm_instance::Model) -> Option<String> {
    let name = format!("VM {} ({})", vm.name, vm.uuid);
    if matches!(vm.state.as_str(), "Destroying" | "Destroyed" | "Expunging") {
        return Some(format!("{name} is {}", vm.state));
    }
    let elsewhere = group.zone_uuid.is_some() && group.zone_uuid != vm.zone_uuid;
    elsewhere.then(|| format!("{name} is in another zone than affinity group {}", group.name))
}

/// Why a VM cannot become a member.
async fn obstacle<C: ConnectionTrait>(
    conn: &C,
    group: &affinity_group::Model,
    neighbours: Option<&Neighbours>,
    vm: &vm_instance::Model,
) -> ApiResult<Option<String>> {
    if let Some(reason) = outside(group, vm) {
        return Ok(Some(reason));
    }
    let name = format!("VM {} ({})", vm.name, vm.uuid);
    if let Some(other) = group_of(conn, &vm.uuid).await? {
        return Ok(Some(format!("{name} is in affinity group {other} already; remove it there first")));
    }
    let place = neighbours::places(conn, std::slice::from_ref(vm)).await?.remove(&vm.uuid);
    let clash = neighbours.filter(|n| n.is_hard()).zip(place).filter(|(n, host)| n.keep_off(host));
    Ok(clash.map(|(n, host)| format!("{name} is on host {host} and {}; its policy is antiHard", n.reason())))
}

async fn add(_call: Call, tx: Tx, msg: AddVmToAffinityGroup) -> ApiResult<Reply> {
    enter(&tx, Some(&msg.affinity_group_uuid)).await?;
    let group = find(&*tx, &msg.affinity_group_uuid).await?;
    let vm = vm::find(&*tx, &msg.uuid).await?;
    let neighbours = Neighbours::of(&*tx, &group.uuid, None).await?;
    if let Some(obstacle) = obstacle(&*tx, &group, neighbours.as_ref(), &vm).await? {
        return Err(ApiError::new(ErrorCode::Operation, obstacle));
    }
    join(&tx, &group.uuid, &vm.uuid).await?;
    Ok(Reply::Inventory(INVENTORY, group.uuid))
}

async fn remove(_call: Call, tx: Tx, msg: RemoveVmFromAffinityGroup) -> ApiResult<Reply> {
    use affinity_group_usage::{Column, Entity};
    let gone = Entity::delete_many()
        .filter(Column::AffinityGroupUuid.eq(&msg.affinity_group_uuid))
        .filter(Column::ResourceUuid.eq(&msg.uuid))
        .exec(&*tx)
        .await
        .or_internal()?;
    if gone.rows_affected == 0 {
        let text = format!("uuid: VM {} is not in affinity group {}", msg.uuid, msg.affinity_group_uuid);
        return Err(ApiError::invalid(&[text]));
    }
    use system_tag::{Column as TagColumn, Entity as Tags};
    Tags::delete_many()
        .filter(TagColumn::ResourceUuid.eq(&msg.uuid))
        .filter(TagColumn::Tag.eq(format!("{TAG}::{}", msg.affinity_group_uuid)))
        .exec(&*tx)
        .await
        .or_internal()?;
    Ok(Reply::Inventory(INVENTORY, msg.affinity_group_uuid))
}

/// Removes the tags that name groups which are gone.
pub(super) async fn untag(tx: &Tx, groups: &[String]) -> ApiResult<()> {
    let named = groups.iter().map(|group| format!("{TAG}::{group}"));
    let of_groups = system_tag::Column::Tag.is_in(named);
    system_tag::Entity::delete_many().filter(of_groups).exec(&**tx).await.or_internal()?;
    Ok(())
}

/// VMs that one query answers; the default limit of a page.
const PAGE: usize = 1000;

/// VMs that could be added.
async fn candidates(call: Call, msg: GetCandidateVMForAttachingAffinityGroup) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let group = find(conn, &msg.affinity_group_uuid).await?;
    let neighbours = Neighbours::of(conn, &group.uuid, None).await?;
    let members: BTreeSet<String> = affinity_group_usage::Entity::find()
        .all(conn)
        .await
        .or_internal()?
        .into_iter()
        .map(|member| member.resource_uuid)
        .collect();
    let mut vms = vm_instance::Entity::find().all(conn).await.or_internal()?;
    vms.retain(|vm| !members.contains(&vm.uuid) && outside(&group, vm).is_none());
    if let Some(neighbours) = neighbours.filter(Neighbours::is_hard) {
        let places = neighbours::places(conn, &vms).await?;
        vms.retain(|vm| !places.get(&vm.uuid).is_some_and(|host| neighbours.keep_off(host)));
    }
    let mut inventories = Vec::new();
    for page in vms.chunks(PAGE) {
        let uuids: Vec<&str> = page.iter().map(|vm| vm.uuid.as_str()).collect();
        let mut query = Query::new(vm::INVENTORY).with("uuid", Op::In, uuids.join(","));
        query.viewer = http::viewer(&call.caller);
        inventories.extend(query::run(conn, &query).await?.inventories);
    }
    Ok(Map::from_iter([("inventories".to_owned(), Value::Array(inventories))]))
}
