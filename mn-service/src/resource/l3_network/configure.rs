//! Changes of what guests of an L3 network are told: domain, name servers, MTU, services. The database changes first, then the
//! hosts that run VMs there; other hosts learn it when a VM starts there or when they connect.

use std::{net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;
use mn_service_db::entity::{l3_network, l3_network_dns, l3_network_host_route};
use mn_service_types::{ApiError, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    SYSTEM,
    address::Pool,
    dhcp,
    network::check_domain,
    service::{self, Service},
};
use crate::{
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
};

mn_service_types::messages! {
    UpdateL3Network { uuid: String, name: Option<String>, description: Option<String>, dns_domain: Option<String>, category: Option<String>, system: Option<bool> }
    AddDnsToL3Network { l3_network_uuid: String, dns: String }
    RemoveDnsFromL3Network { l3_network_uuid: String, dns: String }
    AddHostRouteToL3Network { l3_network_uuid: String, prefix: String, nexthop: String }
    RemoveHostRouteFromL3Network { l3_network_uuid: String, prefix: String }
    SetL3NetworkMtu { l3_network_uuid: String, mtu: u16 }
    AttachNetworkServiceToL3Network { l3_network_uuid: String, network_services: Map<String, Value> }
    DetachNetworkServiceFromL3Network { l3_network_uuid: String, network_services: Option<Map<String, Value>>, service: Option<String> }
}

/// What UpdateL3Network may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fields {
    name: String,
    description: Option<String>,
    dns_domain: Option<String>,
    category: String,
}

/// One change, able to go both ways.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Change {
    AddDns(String),
    RemoveDns(String),
    /// Destination and next hop.
    AddRoute(String, String),
    RemoveRoute(String, String),
    Mtu {
        old: Option<u16>,
        new: Option<u16>,
    },
    Attach(Vec<Service>),
    Detach(Vec<Service>),
    Fields {
        old: Fields,
        new: Fields,
    },
}

impl Change {
    /// False where guests see no difference.
    fn reaches_guests(&self) -> bool {
        !matches!(self, Self::Fields { old, new } if old.dns_domain == new.dns_domain)
    }

    fn reversed(self) -> Self {
        match self {
            Self::AddDns(dns) => Self::RemoveDns(dns),
            Self::RemoveDns(dns) => Self::AddDns(dns),
            Self::AddRoute(prefix, via) => Self::RemoveRoute(prefix, via),
            Self::RemoveRoute(prefix, via) => Self::AddRoute(prefix, via),
            Self::Mtu { old, new } => Self::Mtu { old: new, new: old },
            Self::Attach(services) => Self::Detach(services),
            Self::Detach(services) => Self::Attach(services),
            Self::Fields { old, new } => Self::Fields { old: new, new: old },
        }
    }
}

/// State of the workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Configure {
    job: String,
    l3: String,
    change: Change,
}

pub(super) fn register(apis: &mut Apis) {
    fn network(state: &Configure) -> Reply {
        Reply::Inventory("L3NetworkInventory", state.l3.clone())
    }
    apis.workflow("l3.configure", update, network);
    apis.workflow("l3.configure", add_dns, network);
    apis.workflow("l3.configure", remove_dns, network);
    apis.workflow("l3.configure", add_route, network);
    apis.workflow("l3.configure", remove_route, network);
    apis.workflow("l3.configure", set_mtu, |_: &Configure| {
        Reply::Fields(Map::from_iter([("success".to_owned(), json!(true))]))
    });
    apis.workflow("l3.configure", attach, network);
    apis.workflow("l3.configure", detach, network);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(Workflow::named("l3.configure", 1).step("record", record, Undo::with(take_back)).step(
        "hosts",
        hosts,
        Undo::nothing("undoing the record tells the hosts again"),
    ))
}

fn plan(call: &Call, l3: String, change: Change) -> Plan<Configure> {
    Plan::Run(Configure { job: call.job.clone(), l3, change })
}

fn unchanged(l3: String) -> Plan<Configure> {
    Plan::Done(Reply::Inventory("L3NetworkInventory", l3))
}

async fn update(call: Call, msg: UpdateL3Network) -> ApiResult<Plan<Configure>> {
    let row = l3_network::Entity::find_by_id(&msg.uuid).one(call.app.db.read()).await.or_internal()?;
    let row = row.ok_or_else(|| ApiError::not_found("L3NetworkVO", &msg.uuid))?;
    let old =
        Fields { name: row.name, description: row.description, dns_domain: row.dns_domain, category: row.category };
    let new = Fields {
        name: msg.name.unwrap_or_else(|| old.name.clone()),
        description: msg.description.or_else(|| old.description.clone()),
        dns_domain: msg.dns_domain.or_else(|| old.dns_domain.clone()).filter(|domain| !domain.is_empty()),
        category: msg.category.unwrap_or_else(|| old.category.clone()),
    };
    let mut problems: Vec<String> = new.dns_domain.as_deref().and_then(check_domain).into_iter().collect();
    if msg.system.is_some_and(|system| system != (new.category == SYSTEM)) {
        problems.push(format!(
            "system: a network is a system network exactly when its category is {SYSTEM}; this one has {}",
            new.category
        ));
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    Ok(plan(&call, msg.uuid, Change::Fields { old, new }))
}

async fn has_dns(call: &Call, l3: &str, dns: &str) -> ApiResult<bool> {
    use l3_network_dns::{Column, Entity};
    let row = Entity::find().filter(Column::L3NetworkUuid.eq(l3)).filter(Column::Dns.eq(dns));
    Ok(row.one(call.app.db.read()).await.or_internal()?.is_some())
}

/// NET-L3-043.
async fn add_dns(call: Call, msg: AddDnsToL3Network) -> ApiResult<Plan<Configure>> {
    let dns: Ipv4Addr = msg.dns.trim().parse().map_err(|_| {
        ApiError::invalid(&[format!("dns: {:?} is no IPv4 address; name servers are given by address", msg.dns)])
    })?;
    if dns.is_unspecified() || dns.is_multicast() || dns.is_broadcast() {
        return Err(ApiError::invalid(&[format!("dns: {dns} is no address of a machine")]));
    }
    let dns = dns.to_string();
    if has_dns(&call, &msg.l3_network_uuid, &dns).await? {
        return Err(ApiError::invalid(&[format!(
            "dns: L3 network {} has the name server {dns} already",
            msg.l3_network_uuid
        )]));
    }
    Ok(plan(&call, msg.l3_network_uuid, Change::AddDns(dns)))
}

async fn remove_dns(call: Call, msg: RemoveDnsFromL3Network) -> ApiResult<Plan<Configure>> {
    let dns = msg.dns.trim().to_owned();
    if !has_dns(&call, &msg.l3_network_uuid, &dns).await? {
        return Ok(unchanged(msg.l3_network_uuid));
    }
    Ok(plan(&call, msg.l3_network_uuid, Change::RemoveDns(dns)))
}

/// The route of a network to `prefix`.
async fn route(call: &Call, l3: &str, prefix: &str) -> ApiResult<Option<l3_network_host_route::Model>> {
    use l3_network_host_route::{Column, Entity};
    let row = Entity::find().filter(Column::L3NetworkUuid.eq(l3)).filter(Column::Prefix.eq(prefix));
    row.one(call.app.db.read()).await.or_internal()
}

/// Guests learn the route by DHCP, so its router must be one of their own network.
async fn add_route(call: Call, msg: AddHostRouteToL3Network) -> ApiResult<Plan<Configure>> {
    let mut problems = Vec::new();
    let prefix: Option<Ipv4Net> = msg.prefix.trim().parse().ok();
    match &prefix {
        None => problems.push(format!("prefix: {:?} is no IPv4 network; write it like 192.168.7.0/24", msg.prefix)),
        Some(net) if net.trunc() != *net => {
            problems.push(format!("prefix: {net} has bits behind its length; did you mean {}?", net.trunc()))
        }
        Some(net) if net.prefix_len() == 0 => {
            problems.push("prefix: the default route is the gateway of the network's IP range".to_owned());
        }
        Some(_) => {}
    }
    let via: Option<Ipv4Addr> = msg.nexthop.trim().parse().ok();
    let ranges = Pool::load(call.app.db.read(), &msg.l3_network_uuid).await?.ranges;
    let reached = |via: Ipv4Addr| {
        ranges.iter().any(|range| {
            let (Ok(start), Ok(mask)) = (range.start_ip.parse::<Ipv4Addr>(), range.netmask.parse::<Ipv4Addr>()) else {
                return false;
            };
            start.to_bits() & mask.to_bits() == via.to_bits() & mask.to_bits()
        })
    };
    match via {
        None => problems.push(format!("nexthop: {:?} is no IPv4 address", msg.nexthop)),
        Some(via) if !reached(via) => problems
            .push(format!("nexthop: {via} is not in the network; guests reach routers of their own network only")),
        Some(_) => {}
    }
    let (Some(prefix), Some(via), true) = (prefix, via, problems.is_empty()) else {
        return Err(ApiError::invalid(&problems));
    };
    let prefix = prefix.to_string();
    match route(&call, &msg.l3_network_uuid, &prefix).await? {
        Some(known) if known.nexthop == via.to_string() => Ok(unchanged(msg.l3_network_uuid)),
        Some(known) => Err(ApiError::invalid(&[format!(
            "prefix: the network has a route to {prefix} via {} already; remove it first",
            known.nexthop
        )])),
        None => Ok(plan(&call, msg.l3_network_uuid, Change::AddRoute(prefix, via.to_string()))),
    }
}

async fn remove_route(call: Call, msg: RemoveHostRouteFromL3Network) -> ApiResult<Plan<Configure>> {
    match route(&call, &msg.l3_network_uuid, msg.prefix.trim()).await? {
        Some(known) => Ok(plan(&call, msg.l3_network_uuid, Change::RemoveRoute(known.prefix, known.nexthop))),
        None => Ok(unchanged(msg.l3_network_uuid)),
    }
}

/// NET-L3-030.
async fn set_mtu(call: Call, msg: SetL3NetworkMtu) -> ApiResult<Plan<Configure>> {
    if !(68..=9216).contains(&msg.mtu) {
        return Err(ApiError::invalid(&[format!("mtu: must be from 68 to 9216, not {}", msg.mtu)]));
    }
    let old = dhcp::own_mtu(call.app.db.read(), &msg.l3_network_uuid).await?;
    Ok(plan(&call, msg.l3_network_uuid, Change::Mtu { old, new: Some(msg.mtu) }))
}

async fn attach(call: Call, msg: AttachNetworkServiceToL3Network) -> ApiResult<Plan<Configure>> {
    let asked = service::parse(&msg.network_services)?;
    let l3 = l3_network::Entity::find_by_id(&msg.l3_network_uuid).one(call.app.db.read()).await.or_internal()?;
    let l3 = l3.ok_or_else(|| ApiError::not_found("L3NetworkVO", &msg.l3_network_uuid))?;
    let present = service::of(call.app.db.read(), &l3.uuid).await?;
    if asked.iter().any(|s| s.name() == service::USERDATA)
        && !asked.iter().chain(&present).any(|s| s.name() == service::DHCP)
    {
        return Err(ApiError::invalid(&[format!(
            "networkServices: {} needs {} on the same network; attach both",
            service::USERDATA,
            service::DHCP
        )]));
    }
    // What is there already must survive the undo of this change.
    let new: Vec<Service> = asked.into_iter().filter(|service| !present.contains(service)).collect();
    Ok(if new.is_empty() { unchanged(l3.uuid) } else { plan(&call, l3.uuid, Change::Attach(new)) })
}

async fn detach(call: Call, msg: DetachNetworkServiceFromL3Network) -> ApiResult<Plan<Configure>> {
    let present = service::of(call.app.db.read(), &msg.l3_network_uuid).await?;
    let named = match (&msg.network_services, msg.service.as_deref().filter(|name| !name.is_empty())) {
        (Some(services), _) if !services.is_empty() => service::parse(services)?,
        (_, Some(name)) => present.iter().filter(|service| service.name() == name).cloned().collect(),
        _ => return Err(ApiError::invalid(&["networkServices or service is required".to_owned()])),
    };
    let leaving: Vec<Service> = present.iter().filter(|service| named.contains(service)).cloned().collect();
    let stays = |name: &str| present.iter().any(|s| s.name() == name) && !leaving.iter().any(|s| s.name() == name);
    if leaving.iter().any(|s| s.name() == service::DHCP) && stays(service::USERDATA) {
        return Err(ApiError::invalid(&[format!(
            "{} of the network needs {}; detach both",
            service::USERDATA,
            service::DHCP
        )]));
    }
    Ok(if leaving.is_empty() {
        unchanged(msg.l3_network_uuid)
    } else {
        plan(&call, msg.l3_network_uuid, Change::Detach(leaving))
    })
}

async fn apply(tx: &Tx, l3: &str, change: Change) -> ApiResult<()> {
    use l3_network_dns::{ActiveModel, Column, Entity};
    match change {
        Change::AddDns(dns) => {
            let same = Entity::find().filter(Column::L3NetworkUuid.eq(l3)).filter(Column::Dns.eq(&dns));
            if same.one(&**tx).await.or_internal()?.is_none() {
                let now = now_millis();
                let row = ActiveModel {
                    l3_network_uuid: Set(l3.to_owned()),
                    dns: Set(dns),
                    create_date: Set(now),
                    last_op_date: Set(now),
                    ..Default::default()
                };
                Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
            }
        }
        Change::RemoveDns(dns) => {
            let rows = Entity::delete_many().filter(Column::L3NetworkUuid.eq(l3)).filter(Column::Dns.eq(dns));
            rows.exec(&**tx).await.or_internal()?;
        }
        Change::AddRoute(prefix, via) => {
            use l3_network_host_route::{ActiveModel, Column, Entity};
            let same = Entity::find().filter(Column::L3NetworkUuid.eq(l3)).filter(Column::Prefix.eq(&prefix));
            if same.one(&**tx).await.or_internal()?.is_none() {
                let now = now_millis();
                let row = ActiveModel {
                    l3_network_uuid: Set(l3.to_owned()),
                    prefix: Set(prefix),
                    nexthop: Set(via),
                    create_date: Set(now),
                    last_op_date: Set(now),
                    ..Default::default()
                };
                Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
            }
        }
        Change::RemoveRoute(prefix, _) => {
            use l3_network_host_route::{Column, Entity};
            let rows = Entity::delete_many().filter(Column::L3NetworkUuid.eq(l3)).filter(Column::Prefix.eq(prefix));
            rows.exec(&**tx).await.or_internal()?;
        }
        Change::Mtu { new, .. } => dhcp::set_mtu(tx, l3, new).await?,
        Change::Attach(services) => {
            service::attach(tx, l3, &services).await?;
            dhcp::ensure_server(tx, l3, None).await?;
        }
        Change::Detach(services) => {
            service::detach(tx, l3, &services).await?;
            if services.iter().any(|service| service.name() == service::DHCP) {
                dhcp::release_server(tx, l3).await?;
            }
        }
        Change::Fields { new, .. } => {
            l3_network::Entity::update_many()
                .col_expr(l3_network::Column::Name, Expr::value(new.name))
                .col_expr(l3_network::Column::Description, Expr::value(new.description))
                .col_expr(l3_network::Column::DnsDomain, Expr::value(new.dns_domain))
                .col_expr(l3_network::Column::System, Expr::value(new.category == SYSTEM))
                .col_expr(l3_network::Column::Category, Expr::value(new.category))
                .filter(l3_network::Column::Uuid.eq(l3))
                .exec(&**tx)
                .await
                .or_internal()?;
        }
    }
    l3_network::Entity::update_many()
        .col_expr(l3_network::Column::LastOpDate, Expr::value(now_millis()))
        .filter(l3_network::Column::Uuid.eq(l3))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

async fn record(app: Arc<App>, state: Configure) -> StepResult<Configure> {
    let recorded = app
        .write(|tx| async move {
            apply(&tx, &state.l3, state.change.clone()).await?;
            Ok(state)
        })
        .await?;
    Ok(recorded)
}

async fn hosts(app: Arc<App>, state: Configure) -> StepResult<Configure> {
    if !state.change.reaches_guests() {
        return Ok(state);
    }
    for host in dhcp::hosts_of(&app, &state.l3).await? {
        dhcp::refresh(&app, &state.job, "configure", &host, &state.l3).await?;
    }
    Ok(state)
}

/// Hosts that cannot be told now are told when they connect.
async fn take_back(app: Arc<App>, state: Configure) -> Result<(), StepError> {
    let (job, l3) = (state.job, state.l3);
    let reaches_guests = state.change.reaches_guests();
    let (network, change) = (l3.clone(), state.change.reversed());
    app.write(|tx| async move { apply(&tx, &network, change).await }).await?;
    if !reaches_guests {
        return Ok(());
    }
    for host in dhcp::hosts_of(&app, &l3).await? {
        if let Err(error) = dhcp::refresh(&app, &job, "configure-back", &host, &l3).await {
            tracing::warn!(host, l3, %error, "the host keeps the new settings until it connects again");
        }
    }
    Ok(())
}
