//! IP ranges (NET-IP-001, NET-L3-041, NET-L3-042) and reserved ranges (NET-IP-020).

use mn_service_db::entity::{ip_range, l3_network, reserved_ip_range, used_ip};
use mn_service_types::{ApiError, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::{Map, Value};

use super::{
    address::{describe, span_of, stored},
    dhcp,
    subnet::{self, Range, Span},
};
use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    change,
    resource::deletion,
    tags,
};

mn_service_types::messages! {
    AddIpRange { l3_network_uuid: String, name: String, description: Option<String>, start_ip: String, end_ip: String, netmask: String, gateway: Option<String>, ip_range_type: Option<String> }
    AddIpRangeByNetworkCidr { l3_network_uuid: String, name: String, description: Option<String>, network_cidr: String, gateway: Option<String>, ip_range_type: Option<String> }
    AddReservedIpRange { l3_network_uuid: String, start_ip: String, end_ip: String }
    DeleteReservedIpRange { uuid: String }
}

/// `ipRangeType` of addresses for machines.
pub(super) const NORMAL: &str = "Normal";

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryIpRange");
    apis.query("QueryIpAddress");
    apis.record(add);
    apis.record(add_by_cidr);
    change::update(apis, "UpdateIpRange", "IpRangeInventory");
    deletion::register(apis, "DeleteIpRange", "IpRangeVO");
    apis.record(reserve);
    apis.record(unreserve);
}

async fn add(call: Call, tx: Tx, msg: AddIpRange) -> ApiResult<Reply> {
    let given = msg.gateway.as_deref().map(str::trim).filter(|gateway| !gateway.is_empty());
    let range =
        Range::from_bounds(&msg.start_ip, &msg.end_ip, &msg.netmask, given).map_err(|p| ApiError::invalid(&p))?;
    let new =
        New { l3: msg.l3_network_uuid, name: msg.name, description: msg.description, kind: msg.ip_range_type, range };
    Ok(Reply::Inventory("IpRangeInventory", insert(&call, &tx, new).await?))
}

async fn add_by_cidr(call: Call, tx: Tx, msg: AddIpRangeByNetworkCidr) -> ApiResult<Reply> {
    let range = Range::from_cidr(&msg.network_cidr, msg.gateway.as_deref()).map_err(|p| ApiError::invalid(&p))?;
    let new =
        New { l3: msg.l3_network_uuid, name: msg.name, description: msg.description, kind: msg.ip_range_type, range };
    let uuid = insert(&call, &tx, new).await?;
    let made = mn_service_db::query::load(&*tx, "IpRangeInventory", &uuid).await?;
    let made = made.ok_or_else(|| ApiError::not_found("IpRangeVO", &uuid))?;
    Ok(Reply::Fields(Map::from_iter([
        ("inventory".to_owned(), made.clone()),
        ("inventories".to_owned(), Value::Array(vec![made])),
    ])))
}

struct New {
    l3: String,
    name: String,
    description: Option<String>,
    kind: Option<String>,
    range: Range,
}

async fn insert(call: &Call, tx: &Tx, new: New) -> ApiResult<String> {
    let l3 = l3_network::Entity::find_by_id(&new.l3).one(&**tx).await.or_internal()?;
    let l3 = l3.ok_or_else(|| ApiError::not_found("L3NetworkVO", &new.l3))?;
    let mut problems = Vec::new();
    if let Some(kind) = new.kind.as_deref().filter(|kind| *kind != NORMAL) {
        problems.push(format!("ipRangeType: {kind} ranges are not available; use {NORMAL}"));
    }
    problems.extend(conflicts(&**tx, &l3, &new.range).await?);
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = ip_range::ActiveModel {
        uuid: Set(uuid.clone()),
        l3_network_uuid: Set(new.l3.clone()),
        name: Set(new.name),
        description: Set(new.description),
        start_ip: Set(new.range.span.first.to_string()),
        end_ip: Set(new.range.span.last.to_string()),
        netmask: Set(new.range.net.netmask().to_string()),
        gateway: Set(Some(new.range.gateway.to_string())),
        network_cidr: Set(Some(new.range.net.to_string())),
        ip_version: Set(4),
        address_mode: Set(None),
        prefix_len: Set(i32::from(new.range.net.prefix_len())),
        ip_range_type: Set(NORMAL.to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    ip_range::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    tag_network(call, tx, &new.l3).await?;
    Ok(uuid)
}

/// The tags of this call are for the network; one of them may choose the DHCP server's address (NET-DHCP-010).
async fn tag_network(call: &Call, tx: &Tx, l3: &str) -> ApiResult<()> {
    let given = call.tags().system_tags;
    let wanted = dhcp::wished_server(&given)?;
    for tag in given.iter().filter(|tag| !dhcp::is_server_tag(tag)) {
        tags::add_system(&**tx, "L3NetworkVO", l3, tag, false).await?;
    }
    for tag in &call.tags().user_tags {
        tags::add_user(&**tx, "L3NetworkVO", l3, tag).await?;
    }
    dhcp::ensure_server(tx, l3, wanted).await
}

/// What speaks against a new range: the other ranges of its network, and for the same L2 network, where machines would
/// meet, those of its other networks.
async fn conflicts<C: ConnectionTrait>(conn: &C, l3: &l3_network::Model, new: &Range) -> ApiResult<Vec<String>> {
    let mut problems = Vec::new();
    let neighbours = l3_network::Entity::find()
        .filter(l3_network::Column::L2NetworkUuid.eq(&l3.l2_network_uuid))
        .order_by_asc(l3_network::Column::Uuid)
        .all(conn)
        .await
        .or_internal()?;
    for network in neighbours {
        let rows = ip_range::Entity::find()
            .filter(ip_range::Column::L3NetworkUuid.eq(&network.uuid))
            .filter(ip_range::Column::IpVersion.eq(4))
            .order_by_asc(ip_range::Column::CreateDate)
            .all(conn)
            .await
            .or_internal()?;
        for row in rows {
            let other = parsed(&row)?;
            if network.uuid == l3.uuid {
                problems.extend(new.conflicts(&row.name, &other));
            } else if new.span.overlaps(&other.span) {
                problems.push(format!(
                    "{} overlaps the range {} ({}) of L3 network {}, which is on the same L2 network",
                    new.span, row.name, other.span, network.name
                ));
            }
        }
    }
    Ok(problems)
}

fn parsed(row: &ip_range::Model) -> ApiResult<Range> {
    let span = span_of(&row.start_ip, &row.end_ip)?;
    let prefix = subnet::prefix_of(stored(&row.netmask)?)
        .ok_or_else(|| ApiError::internal(format!("IP range {} has the netmask {}", row.uuid, row.netmask)))?;
    let gateway = row.gateway.as_deref().map(stored).transpose()?.unwrap_or(span.first);
    Ok(Range { span, net: subnet::subnet(span.first, prefix), gateway })
}

/// NET-IP-020: the addresses are left to the physical network. Those in use already stay where they are, so they are
/// refused.
async fn reserve(call: Call, tx: Tx, msg: AddReservedIpRange) -> ApiResult<Reply> {
    let mut problems = Vec::new();
    let mut parse = |field: &str, text: &str| {
        let ip = text.trim().parse().ok();
        if ip.is_none() {
            problems.push(format!("{field}: {text:?} is no IPv4 address"));
        }
        ip
    };
    let (first, last) = (parse("startIp", &msg.start_ip), parse("endIp", &msg.end_ip));
    let span = match (first, last) {
        (Some(first), Some(last)) => match Span::new(first, last) {
            Some(span) => Some(span),
            None => {
                problems.push(format!("startIp {first} lies above endIp {last}; exchange them"));
                None
            }
        },
        _ => None,
    };
    let Some(span) = span.filter(|_| problems.is_empty()) else { return Err(ApiError::invalid(&problems)) };

    let l3 = &msg.l3_network_uuid;
    let ranges = ip_range::Entity::find()
        .filter(ip_range::Column::L3NetworkUuid.eq(l3))
        .filter(ip_range::Column::IpVersion.eq(4))
        .all(&*tx)
        .await
        .or_internal()?;
    let mut within = false;
    for row in &ranges {
        let range = span_of(&row.start_ip, &row.end_ip)?;
        within |= range.meet(&span) == Some(span);
    }
    if !within {
        problems.push(format!("{span} does not lie inside one IP range of the network"));
    }
    let reserved = reserved_ip_range::Entity::find().filter(reserved_ip_range::Column::L3NetworkUuid.eq(l3));
    for row in reserved.all(&*tx).await.or_internal()? {
        let other = span_of(&row.start_ip, &row.end_ip)?;
        if other.overlaps(&span) {
            problems.push(format!("{span} overlaps {other}, which is reserved already ({})", row.uuid));
        }
    }
    let held = used_ip::Entity::find()
        .filter(used_ip::Column::L3NetworkUuid.eq(l3))
        .filter(used_ip::Column::IpVersion.eq(4))
        .filter(used_ip::Column::IpInLong.between(span.first.to_bits(), span.last.to_bits()))
        .order_by_asc(used_ip::Column::IpInLong)
        .all(&*tx)
        .await
        .or_internal()?;
    problems.extend(held.iter().map(|row| format!("{} is in use by {}", row.ip, describe(row))));
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = reserved_ip_range::ActiveModel {
        uuid: Set(uuid.clone()),
        l3_network_uuid: Set(msg.l3_network_uuid),
        name: Set(None),
        description: Set(None),
        start_ip: Set(span.first.to_string()),
        end_ip: Set(span.last.to_string()),
        ip_version: Set(4),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    reserved_ip_range::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("ReservedIpRangeInventory", uuid))
}

async fn unreserve(_call: Call, tx: Tx, msg: DeleteReservedIpRange) -> ApiResult<Reply> {
    reserved_ip_range::Entity::delete_by_id(&msg.uuid).exec(&*tx).await.or_internal()?;
    tags::forget(&tx, &[msg.uuid]).await?;
    Ok(Reply::Empty)
}
