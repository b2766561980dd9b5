//! Questions about addresses: which are free, how many, may I have this one (NET-IP-014, NET-IP-015, NET-L3-049).

use std::net::{IpAddr, Ipv4Addr};

use mn_service_db::entity::{ip_range, l3_network};
use mn_service_types::{ApiError, error::ApiResult};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::{Map, Value, json};

use super::{
    address::{self, Pool, span_of},
    dhcp, subnet,
};
use crate::{
    api::{Apis, Call},
    app::OrInternal,
};

mn_service_types::messages! {
    GetFreeIp { l3_network_uuid: Option<String>, ip_range_uuid: Option<String>, start: Option<String>, ip_range_type: Option<String>, ip_version: Option<i32>, limit: Option<i64> }
    GetIpAddressCapacity { zone_uuids: Option<Vec<String>>, l3_network_uuids: Option<Vec<String>>, ip_range_uuids: Option<Vec<String>>, all: Option<bool> }
    CheckIpAvailability { l3_network_uuid: String, ip: String, ip_range_check: Option<bool> }
    GetL3NetworkDhcpIpAddress { l3_network_uuid: String }
    GetL3NetworkMtu { l3_network_uuid: String }
    GetL3NetworkTypes {}
}

/// Most addresses that one answer lists.
const MOST: i64 = 10_000;

pub(super) fn register(apis: &mut Apis) {
    apis.sync(free);
    apis.sync(capacity);
    apis.sync(check);
    apis.sync(dhcp_address);
    apis.sync(mtu);
    apis.sync(types);
}

fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

async fn types(_call: Call, _msg: GetL3NetworkTypes) -> ApiResult<Map<String, Value>> {
    Ok(fields([("types", json!([super::BASIC]))]))
}

async fn free(call: Call, msg: GetFreeIp) -> ApiResult<Map<String, Value>> {
    let db = call.app.db.read();
    let none = fields([("inventories", json!([]))]);
    if msg.ip_version == Some(6) || msg.ip_range_type.as_deref().is_some_and(|kind| kind != super::ip_range::NORMAL) {
        return Ok(none);
    }
    let range = match msg.ip_range_uuid.as_deref().filter(|uuid| !uuid.is_empty()) {
        Some(uuid) => {
            let row = ip_range::Entity::find_by_id(uuid).one(db).await.or_internal()?;
            Some(row.ok_or_else(|| ApiError::not_found("IpRangeVO", uuid))?)
        }
        None => None,
    };
    let l3 = match (&range, msg.l3_network_uuid.filter(|uuid| !uuid.is_empty())) {
        (Some(range), _) => range.l3_network_uuid.clone(),
        (None, Some(l3)) => l3,
        (None, None) => return Err(ApiError::invalid(&["l3NetworkUuid or ipRangeUuid is required".to_owned()])),
    };
    let pool = Pool::load(db, &l3).await?;
    let mut spans = pool.spans.clone();
    if let Some(range) = &range {
        let only = span_of(&range.start_ip, &range.end_ip)?;
        spans = spans.iter().filter_map(|span| span.meet(&only)).collect();
    }
    if let Some(start) = msg.start.as_deref().map(str::trim).filter(|start| !start.is_empty()) {
        let start: Ipv4Addr =
            start.parse().map_err(|_| ApiError::invalid(&[format!("start: {start:?} is no IPv4 address")]))?;
        spans = spans.iter().filter_map(|span| subnet::Span::new(span.first.max(start), span.last)).collect();
    }
    let limit = usize::try_from(msg.limit.unwrap_or(100).clamp(0, MOST)).unwrap_or_default();
    let used = address::used(db, &l3).await?;
    let found: Vec<Value> = subnet::free(&spans, &used, Ipv4Addr::UNSPECIFIED)
        .take(limit)
        .filter_map(|ip| {
            let range = pool.range_of(ip)?;
            Some(json!({
                "ipRangeUuid": range.uuid, "ip": ip.to_string(), "netmask": range.netmask, "gateway": range.gateway,
            }))
        })
        .collect();
    Ok(fields([("inventories", Value::Array(found))]))
}

/// Addresses of one thing that was asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Capacity {
    total: u64,
    used: u64,
}

impl Capacity {
    /// Of the addresses that can be handed out, those inside `only` when given.
    fn of(pool: &Pool, used: &std::collections::BTreeSet<Ipv4Addr>, only: Option<subnet::Span>) -> Self {
        let spans: Vec<subnet::Span> = match only {
            Some(only) => pool.spans.iter().filter_map(|span| span.meet(&only)).collect(),
            None => pool.spans.clone(),
        };
        let in_use = spans.iter().map(|span| used.range(span.first..=span.last).count() as u64).sum();
        Self { total: subnet::count(&spans), used: in_use }
    }

    fn put(self, map: &mut Map<String, Value>) {
        let free = self.total - self.used;
        for (name, value) in
            [("totalCapacity", self.total), ("availableCapacity", free), ("usedIpAddressNumber", self.used)]
        {
            let capital = name.chars().next().map(|c| c.to_ascii_uppercase()).into_iter().chain(name.chars().skip(1));
            let capital: String = capital.collect();
            map.insert(name.to_owned(), json!(value));
            map.insert(format!("ipv4{capital}"), json!(value));
            map.insert(format!("ipv6{capital}"), json!(0));
        }
    }
}

async fn capacity(call: Call, msg: GetIpAddressCapacity) -> ApiResult<Map<String, Value>> {
    let db = call.app.db.read();
    let asked = |list: Option<Vec<String>>| list.filter(|list| !list.is_empty());
    let mut parts: Vec<(String, Capacity)> = Vec::new();
    let kind;
    if let Some(ranges) = asked(msg.ip_range_uuids) {
        kind = "IpRangeVO";
        for uuid in ranges {
            let row = ip_range::Entity::find_by_id(&uuid).one(db).await.or_internal()?;
            let row = row.ok_or_else(|| ApiError::not_found("IpRangeVO", &uuid))?;
            let pool = Pool::load(db, &row.l3_network_uuid).await?;
            let used = address::used(db, &row.l3_network_uuid).await?;
            parts.push((uuid, Capacity::of(&pool, &used, Some(span_of(&row.start_ip, &row.end_ip)?))));
        }
    } else if let Some(l3s) = asked(msg.l3_network_uuids) {
        kind = "L3NetworkVO";
        for uuid in l3s {
            let capacity = of_network(&call, &uuid).await?;
            parts.push((uuid, capacity));
        }
    } else {
        kind = "ZoneVO";
        let zones = asked(msg.zone_uuids);
        if zones.is_none() && msg.all != Some(true) {
            let text = "zoneUuids, l3NetworkUuids, ipRangeUuids or all is required".to_owned();
            return Err(ApiError::invalid(&[text]));
        }
        let mut networks = l3_network::Entity::find().order_by_asc(l3_network::Column::ZoneUuid);
        if let Some(zones) = &zones {
            networks = networks.filter(l3_network::Column::ZoneUuid.is_in(zones.iter().cloned()));
            parts.extend(zones.iter().map(|zone| (zone.clone(), Capacity::default())));
        }
        for l3 in networks.all(db).await.or_internal()? {
            let more = of_network(&call, &l3.uuid).await?;
            match parts.iter_mut().find(|(zone, _)| *zone == l3.zone_uuid) {
                Some((_, sum)) => *sum = Capacity { total: sum.total + more.total, used: sum.used + more.used },
                None => parts.push((l3.zone_uuid, more)),
            }
        }
    }
    let sum = parts.iter().fold(Capacity::default(), |sum, (_, part)| Capacity {
        total: sum.total + part.total,
        used: sum.used + part.used,
    });
    let mut answer = fields([("resourceType", json!(kind))]);
    sum.put(&mut answer);
    let data: Vec<Value> = parts
        .into_iter()
        .map(|(uuid, part)| {
            let mut entry = fields([("resourceUuid", json!(uuid))]);
            part.put(&mut entry);
            Value::Object(entry)
        })
        .collect();
    answer.insert("capacityData".to_owned(), Value::Array(data));
    answer.insert("success".to_owned(), json!(true));
    Ok(answer)
}

async fn of_network(call: &Call, l3: &str) -> ApiResult<Capacity> {
    let db = call.app.db.read();
    Ok(Capacity::of(&Pool::load(db, l3).await?, &address::used(db, l3).await?, None))
}

/// `ipRangeCheck=false` asks only whether somebody has the address.
async fn check(call: Call, msg: CheckIpAvailability) -> ApiResult<Map<String, Value>> {
    let db = call.app.db.read();
    let refuse =
        |reason: String| Ok(fields([("available", json!(false)), ("reason", json!(reason)), ("success", json!(true))]));
    let pool = Pool::load(db, &msg.l3_network_uuid).await?;
    let ip = match msg.ip.trim().parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip,
        Ok(IpAddr::V6(ip)) => return refuse(format!("{ip} is IPv6, which networks do not have yet")),
        Err(_) => return Err(ApiError::invalid(&[format!("ip: {:?} is no IP address", msg.ip)])),
    };
    if msg.ip_range_check != Some(false)
        && let Some(why) = pool.forbids(ip)
    {
        return refuse(format!("ip is not available in the l3network: {why}"));
    }
    match address::holder_of(db, &msg.l3_network_uuid, ip).await? {
        Some(row) => {
            refuse(format!("ip is not available in the l3network: {ip} is in use by {}", address::describe(&row)))
        }
        None => Ok(fields([("available", json!(true)), ("success", json!(true))])),
    }
}

async fn network(call: &Call, l3: &str) -> ApiResult<l3_network::Model> {
    let row = l3_network::Entity::find_by_id(l3).one(call.app.db.read()).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("L3NetworkVO", l3))
}

async fn dhcp_address(call: Call, msg: GetL3NetworkDhcpIpAddress) -> ApiResult<Map<String, Value>> {
    let mut answer = fields([("success", json!(true))]);
    if let Some(ip) = network(&call, &msg.l3_network_uuid).await?.dhcp_server_ip {
        answer.insert("ip".to_owned(), json!(ip));
    }
    Ok(answer)
}

async fn mtu(call: Call, msg: GetL3NetworkMtu) -> ApiResult<Map<String, Value>> {
    let l3 = network(&call, &msg.l3_network_uuid).await?;
    let mtu = dhcp::mtu(call.app.db.read(), &call.app.settings, &l3).await?;
    Ok(fields([("mtu", json!(mtu)), ("success", json!(true))]))
}
