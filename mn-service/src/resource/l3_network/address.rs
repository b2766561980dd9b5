//! Addresses of L3 networks: taking and giving back (NET-IP-010), hardware addresses (NET-IP-030), and what may be
//! handed out at all.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use mn_service_db::entity::{global_config, ip_range, l3_network, reserved_ip_range, used_ip, vm_nic};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use rand::Rng;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, prelude::*};

use super::subnet::{self, Span};
use crate::app::{OrInternal, Tx};

/// `usedFor` of the DHCP server's own address.
pub(super) const FOR_DHCP: &str = "DHCP";

/// Random addresses that are tried before the whole network is searched.
const PROBES: usize = 8;

/// What an L3 network has to hand out.
#[derive(Debug)]
pub struct Pool {
    /// The network.
    pub l3: l3_network::Model,
    /// Its ranges in the order they were added.
    pub ranges: Vec<ip_range::Model>,
    /// Addresses that may be handed out, without gateways and reserved spans; ascending and disjoint.
    pub spans: Vec<Span>,
}

impl Pool {
    /// Reads the network.
    pub async fn load<C: ConnectionTrait>(conn: &C, l3: &str) -> ApiResult<Self> {
        let row = l3_network::Entity::find_by_id(l3).one(conn).await.or_internal()?;
        Self::load_of(conn, row.ok_or_else(|| ApiError::not_found("L3NetworkVO", l3))?).await
    }

    /// Reads what belongs to a network.
    async fn load_of<C: ConnectionTrait>(conn: &C, row: l3_network::Model) -> ApiResult<Self> {
        let l3 = row.uuid.as_str();
        let ranges = ip_range::Entity::find()
            .filter(ip_range::Column::L3NetworkUuid.eq(l3))
            .filter(ip_range::Column::IpVersion.eq(4))
            .filter(ip_range::Column::IpRangeType.eq(super::ip_range::NORMAL))
            .order_by_asc(ip_range::Column::CreateDate)
            .order_by_asc(ip_range::Column::Uuid)
            .all(conn)
            .await
            .or_internal()?;
        let reserved = reserved_ip_range::Entity::find()
            .filter(reserved_ip_range::Column::L3NetworkUuid.eq(l3))
            .filter(reserved_ip_range::Column::IpVersion.eq(4))
            .all(conn)
            .await
            .or_internal()?;
        Self::of(row, ranges, &reserved)
    }

    fn of(
        l3: l3_network::Model,
        ranges: Vec<ip_range::Model>,
        reserved: &[reserved_ip_range::Model],
    ) -> ApiResult<Self> {
        let mut blocked = Vec::new();
        for row in reserved {
            blocked.push(span_of(&row.start_ip, &row.end_ip)?);
        }
        for gateway in ranges.iter().filter_map(|range| range.gateway.as_deref()) {
            blocked.push(Span::single(stored(gateway)?));
        }
        let mut spans = Vec::new();
        for range in &ranges {
            spans.push(span_of(&range.start_ip, &range.end_ip)?);
        }
        let spans = subnet::without(&spans, &blocked);
        Ok(Self { l3, ranges, spans })
    }

    /// The range that an address belongs to.
    pub fn range_of(&self, address: Ipv4Addr) -> Option<&ip_range::Model> {
        self.ranges.iter().find(|r| span_of(&r.start_ip, &r.end_ip).is_ok_and(|span| span.contains(address)))
    }

    /// Why `address` can never be handed out here; `None` when it can.
    pub fn forbids(&self, address: Ipv4Addr) -> Option<String> {
        if self.spans.iter().any(|span| span.contains(address)) {
            return None;
        }
        let Some(range) = self.range_of(address) else {
            let ranges: Vec<String> = self.ranges.iter().map(|r| format!("{}-{}", r.start_ip, r.end_ip)).collect();
            return Some(match ranges.is_empty() {
                true => "the network has no IP range; add one with AddIpRange".to_owned(),
                false => format!("it is outside the network's IP ranges ({})", ranges.join(", ")),
            });
        };
        Some(if range.gateway.as_deref() == Some(address.to_string().as_str()) {
            "it is the network's gateway".to_owned()
        } else {
            "it lies in a reserved IP range".to_owned()
        })
    }
}

/// An address that the database holds.
pub(super) fn stored(text: &str) -> ApiResult<Ipv4Addr> {
    text.parse().map_err(|_| ApiError::internal(format!("the database holds the address {text:?}, which is none")))
}

pub(super) fn span_of(first: &str, last: &str) -> ApiResult<Span> {
    Span::new(stored(first)?, stored(last)?)
        .ok_or_else(|| ApiError::internal(format!("the database holds the range {first}-{last}, which is backwards")))
}

fn refused(l3: &l3_network::Model, why: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::AllocateIp, format!("no address of L3 network {} ({}): {why}", l3.name, l3.uuid))
}

/// Takes the wanted address, or a free one, for a NIC whose row is there already.
///
/// Free ones are chosen by the global setting `l3Network/ipAllocateStrategy`: at random (default), the lowest, or the
/// next one above the address that was handed out last. Repeating a call with the same `used_ip` uuid returns the
/// address that the first one took. Fails with `L3.1000` naming network, address and reason.
pub async fn allocate(
    tx: &Tx,
    l3: &str,
    used_ip: &str,
    nic: &str,
    wanted: Option<IpAddr>,
) -> ApiResult<used_ip::Model> {
    take(tx, l3, used_ip, Holder::Nic(nic), wanted).await
}

/// Who an address is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'a> {
    Nic(&'a str),
    DhcpServer,
}

pub(super) async fn take(
    tx: &Tx,
    l3: &str,
    uuid: &str,
    holder: Holder<'_>,
    wanted: Option<IpAddr>,
) -> ApiResult<used_ip::Model> {
    if let Some(held) = used_ip::Entity::find_by_id(uuid).one(&**tx).await.or_internal()? {
        if held.l3_network_uuid == l3 && wanted.is_none_or(|ip| ip.to_string() == held.ip) {
            return Ok(held);
        }
        return Err(ApiError::internal(format!(
            "address record {uuid} is {} of {} already",
            held.ip, held.l3_network_uuid
        )));
    }
    // Serialises allocations in one network where several connections write; a no-op on SQLite.
    let locked = l3_network::Entity::find_by_id(l3).lock_exclusive().one(&**tx).await.or_internal()?;
    let pool = Pool::load_of(&**tx, locked.ok_or_else(|| ApiError::not_found("L3NetworkVO", l3))?).await?;
    let address = match wanted {
        Some(IpAddr::V6(ip)) => return Err(refused(&pool.l3, format!("{ip} is IPv6, which networks do not have yet"))),
        Some(IpAddr::V4(ip)) => {
            if let Some(why) = pool.forbids(ip) {
                return Err(refused(&pool.l3, format!("{ip} cannot be used, {why}")));
            }
            if let Some(row) = holder_of(&**tx, l3, ip).await? {
                return Err(refused(&pool.l3, format!("{ip} is in use by {}", describe(&row))));
            }
            ip
        }
        None => choose(tx, &pool).await?,
    };
    let range = pool.range_of(address).ok_or_else(|| ApiError::internal("an address without a range"))?;
    let (nic, used_for) = match holder {
        Holder::Nic(nic) => (Some(nic.to_owned()), None),
        Holder::DhcpServer => (None, Some(FOR_DHCP.to_owned())),
    };
    let now = now_millis();
    let row = used_ip::Model {
        uuid: uuid.to_owned(),
        ip_range_uuid: Some(range.uuid.clone()),
        l3_network_uuid: l3.to_owned(),
        ip_version: 4,
        ip: address.to_string(),
        netmask: Some(range.netmask.clone()),
        gateway: range.gateway.clone(),
        used_for,
        meta_data: None,
        ip_in_long: i64::from(address.to_bits()),
        vm_nic_uuid: nic,
        create_date: now,
        last_op_date: now,
    };
    let insert: used_ip::ActiveModel = row.clone().into();
    used_ip::Entity::insert(insert.reset_all()).exec_without_returning(&**tx).await.or_internal()?;
    Ok(row)
}

/// The record of an address in use.
pub async fn holder_of<C: ConnectionTrait>(conn: &C, l3: &str, address: Ipv4Addr) -> ApiResult<Option<used_ip::Model>> {
    used_ip::Entity::find()
        .filter(used_ip::Column::L3NetworkUuid.eq(l3))
        .filter(used_ip::Column::IpVersion.eq(4))
        .filter(used_ip::Column::Ip.eq(address.to_string()))
        .one(conn)
        .await
        .or_internal()
}

/// Words for what holds an address.
pub(super) fn describe(row: &used_ip::Model) -> String {
    match (&row.vm_nic_uuid, row.used_for.as_deref()) {
        (Some(nic), _) => format!("NIC {nic}"),
        (None, Some(FOR_DHCP)) => "the network's DHCP service".to_owned(),
        (None, _) => format!("address record {}", row.uuid),
    }
}

/// Addresses of a network that are in use.
pub async fn used<C: ConnectionTrait>(conn: &C, l3: &str) -> ApiResult<BTreeSet<Ipv4Addr>> {
    let longs: Vec<i64> = used_ip::Entity::find()
        .select_only()
        .column(used_ip::Column::IpInLong)
        .filter(used_ip::Column::L3NetworkUuid.eq(l3))
        .filter(used_ip::Column::IpVersion.eq(4))
        .into_tuple()
        .all(conn)
        .await
        .or_internal()?;
    Ok(longs.into_iter().filter_map(|long| u32::try_from(long).ok()).map(Ipv4Addr::from_bits).collect())
}

async fn choose(tx: &Tx, pool: &Pool) -> ApiResult<Ipv4Addr> {
    let l3 = &pool.l3.uuid;
    let total = subnet::count(&pool.spans);
    let random = || subnet::nth(&pool.spans, rand::rng().random_range(0..total.max(1)));
    let from = match strategy(tx).await?.as_str() {
        "FirstAvailableIpAllocatorStrategy" => Ipv4Addr::UNSPECIFIED,
        "AscDelayRecycleIpAllocatorStrategy" => after_latest(tx, l3).await?,
        _ => {
            // In all but full networks one of these is free, and nothing has to be listed.
            for address in (0..PROBES).filter_map(|_| random()) {
                if holder_of(&**tx, l3, address).await?.is_none() {
                    return Ok(address);
                }
            }
            random().unwrap_or(Ipv4Addr::UNSPECIFIED)
        }
    };
    let used = used(&**tx, l3).await?;
    let found = subnet::free(&pool.spans, &used, from).next();
    found.ok_or_else(|| {
        let why = match pool.ranges.len() {
            0 => "it has no IP range; add one with AddIpRange".to_owned(),
            ranges => format!("all {total} addresses of its {ranges} range(s) are in use; add a range or delete VMs"),
        };
        refused(&pool.l3, why)
    })
}

async fn strategy(tx: &Tx) -> ApiResult<String> {
    let row = global_config::Entity::find()
        .filter(global_config::Column::Category.eq("l3Network"))
        .filter(global_config::Column::Name.eq("ipAllocateStrategy"))
        .one(&**tx)
        .await
        .or_internal()?;
    Ok(row.and_then(|row| row.value).unwrap_or_default())
}

/// The address above the one handed out last, so that released addresses rest before they are used again.
async fn after_latest(tx: &Tx, l3: &str) -> ApiResult<Ipv4Addr> {
    let latest = used_ip::Entity::find()
        .filter(used_ip::Column::L3NetworkUuid.eq(l3))
        .filter(used_ip::Column::IpVersion.eq(4))
        .filter(used_ip::Column::VmNicUuid.is_not_null())
        .order_by_desc(used_ip::Column::CreateDate)
        .order_by_desc(used_ip::Column::IpInLong)
        .one(&**tx)
        .await
        .or_internal()?;
    let next = latest.and_then(|row| u32::try_from(row.ip_in_long).ok()).and_then(|bits| bits.checked_add(1));
    Ok(next.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from_bits))
}

/// Gives back all addresses of these NICs; NICs without one are fine.
pub async fn release(tx: &Tx, nics: &[String]) -> ApiResult<()> {
    used_ip::Entity::delete_many()
        .filter(used_ip::Column::VmNicUuid.is_in(nics.iter().cloned()))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

/// A hardware address that no NIC of the cloud has: `fa` (locally administered, unicast) and five random bytes.
pub async fn allocate_mac(tx: &Tx) -> ApiResult<String> {
    for _ in 0..PROBES {
        let tail: [u8; 5] = rand::rng().random();
        let mac = tail.iter().fold("fa".to_owned(), |mac, byte| format!("{mac}:{byte:02x}"));
        let taken = vm_nic::Entity::find().filter(vm_nic::Column::Mac.eq(&mac)).one(&**tx).await.or_internal()?;
        if taken.is_none() {
            return Ok(mac);
        }
    }
    Err(ApiError::new(ErrorCode::Operation, "no free MAC address was found; try again"))
}
