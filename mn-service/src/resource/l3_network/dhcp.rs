//! DHCP, DNS and metadata on the hosts (NET-DHCP-*, NET-UD-*): what a network's server has to know, and getting it
//! there. Every host serves its own guests (NET-DHCP-001), so a lease is on the host that runs the VM and nowhere else.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use mn_service_db::entity::{
    l2_network, l3_network, l3_network_dns, l3_network_host_route, network_service_l3_network_ref, used_ip,
    vm_instance, vm_nic,
};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult, new_uuid};
use node_manager_types::{
    network::{DhcpLease, DhcpListing, DhcpNetwork, HostRoute, Metadata},
    operation::{ApplyDhcp, ListDhcp, RemoveDhcp},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, prelude::*};

use super::{
    address::{self, Holder, Pool},
    service::{DHCP, USERDATA},
    subnet,
};
use crate::{
    agents,
    app::{App, OrInternal, Tx},
    resource::l2_network as l2,
    settings::Settings,
    tags,
};

/// Tag that shows the DHCP server's address to clients (NET-DHCP-011); the chosen address is given in the same form.
const SERVER_TAG: &str = "flatNetwork::DhcpServer::{ip}::ipUuid::{ipUuid}";
const MTU_TAG: &str = "l3NetworkUuid::{l3Uuid}::mtu::{mtu}";

/// The DHCP service of a network; `None` where the network has none or has no addresses yet. The server takes its own
/// address at first use (NET-DHCP-010). Opens a write transaction then: not to be called while holding one.
pub async fn dhcp(app: &App, l3: &str) -> ApiResult<Option<DhcpNetwork>> {
    let known = describe(app.db.read(), &app.settings, l3).await?;
    if known.is_some() || !offers(app.db.read(), l3, DHCP).await? {
        return Ok(known);
    }
    let owned = l3.to_owned();
    app.write(|tx| async move { ensure_server(&tx, &owned, None).await }).await?;
    describe(app.db.read(), &app.settings, l3).await
}

/// True when a network has a service of that type.
async fn offers<C: ConnectionTrait>(conn: &C, l3: &str, service: &str) -> ApiResult<bool> {
    use network_service_l3_network_ref::{Column, Entity};
    let row = Entity::find().filter(Column::L3NetworkUuid.eq(l3)).filter(Column::NetworkServiceType.eq(service));
    Ok(row.one(conn).await.or_internal()?.is_some())
}

/// Takes the DHCP server's address where the network has DHCP and ranges and the server has none yet: `wanted`, else
/// the one that a tag asks for, else any. Called again it changes nothing.
pub(super) async fn ensure_server(tx: &Tx, l3: &str, wanted: Option<IpAddr>) -> ApiResult<()> {
    let pool = Pool::load(&**tx, l3).await?;
    if pool.l3.dhcp_server_ip.is_some() || pool.ranges.is_empty() || !offers(&**tx, l3, DHCP).await? {
        return Ok(());
    }
    let wanted = match wanted {
        Some(ip) => Some(ip),
        None => wished_server(&tags::system_of(&**tx, l3).await?)?,
    };
    let held = address::take(tx, l3, &new_uuid(), Holder::DhcpServer, wanted).await?;
    l3_network::Entity::update_many()
        .col_expr(l3_network::Column::DhcpServerIp, Expr::value(held.ip.as_str()))
        .filter(l3_network::Column::Uuid.eq(l3))
        .exec(&**tx)
        .await
        .or_internal()?;
    forget_tags(tx, l3, SERVER_TAG).await?;
    let tag = format!("flatNetwork::DhcpServer::{}::ipUuid::{}", held.ip, held.uuid);
    tags::add_system(&**tx, "L3NetworkVO", l3, &tag, true).await?;
    Ok(())
}

/// True for the tag that chooses or shows the DHCP server's address.
pub(super) fn is_server_tag(tag: &str) -> bool {
    tags::parse(SERVER_TAG, tag).is_some()
}

/// The DHCP server's address that tags ask for.
pub(super) fn wished_server(given: &[String]) -> ApiResult<Option<IpAddr>> {
    let Some(values) = given.iter().find_map(|tag| tags::parse(SERVER_TAG, tag)) else { return Ok(None) };
    let text = values.first().map(String::as_str).unwrap_or_default();
    let ip = text.parse().map_err(|_| {
        ApiError::invalid(&[format!("systemTags: {text:?} in flatNetwork::DhcpServer is no IP address")])
    })?;
    Ok(Some(ip))
}

/// Gives the DHCP server's address back, when DHCP goes or its range went.
pub(super) async fn release_server(tx: &Tx, l3: &str) -> ApiResult<()> {
    used_ip::Entity::delete_many()
        .filter(used_ip::Column::L3NetworkUuid.eq(l3))
        .filter(used_ip::Column::UsedFor.eq(address::FOR_DHCP))
        .exec(&**tx)
        .await
        .or_internal()?;
    l3_network::Entity::update_many()
        .col_expr(l3_network::Column::DhcpServerIp, Expr::value(Option::<String>::None))
        .filter(l3_network::Column::Uuid.eq(l3))
        .exec(&**tx)
        .await
        .or_internal()?;
    forget_tags(tx, l3, SERVER_TAG).await
}

async fn forget_tags(tx: &Tx, resource: &str, pattern: &str) -> ApiResult<()> {
    use mn_service_db::entity::system_tag::{Column, Entity};
    for tag in tags::system_of(&**tx, resource).await?.iter().filter(|tag| tags::parse(pattern, tag).is_some()) {
        Entity::delete_many()
            .filter(Column::ResourceUuid.eq(resource))
            .filter(Column::Tag.eq(tag))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    Ok(())
}

/// The MTU that a network announces: its own, else the default of its L2 type (NET-L3-030).
pub(super) async fn mtu<C: ConnectionTrait>(conn: &C, settings: &Settings, l3: &l3_network::Model) -> ApiResult<u16> {
    if let Some(own) = own_mtu(conn, &l3.uuid).await? {
        return Ok(own);
    }
    let l2 = l2_network::Entity::find_by_id(&l3.l2_network_uuid).one(conn).await.or_internal()?;
    let name = match l2.map(|l2| l2.r#type).as_deref() {
        Some(l2::VLAN) => "defaultDhcpMtu.l2VlanNetwork",
        _ => "defaultDhcpMtu.l2NoVlanNetwork",
    };
    Ok(u16::try_from(settings.integer("networkService", name, 1500)).unwrap_or(1500))
}

/// The MTU set for this network itself.
pub(super) async fn own_mtu<C: ConnectionTrait>(conn: &C, l3: &str) -> ApiResult<Option<u16>> {
    let tags = tags::system_of(conn, l3).await?;
    Ok(tags.iter().find_map(|tag| tags::parse(MTU_TAG, tag)?.get(1)?.parse().ok()))
}

/// Sets or clears the MTU of this network.
pub(super) async fn set_mtu(tx: &Tx, l3: &str, mtu: Option<u16>) -> ApiResult<()> {
    forget_tags(tx, l3, MTU_TAG).await?;
    if let Some(mtu) = mtu {
        tags::add_system(&**tx, "L3NetworkVO", l3, &format!("l3NetworkUuid::{l3}::mtu::{mtu}"), true).await?;
    }
    Ok(())
}

/// The DHCP service as hosts are told, from what the database says now.
async fn describe<C: ConnectionTrait>(conn: &C, settings: &Settings, l3: &str) -> ApiResult<Option<DhcpNetwork>> {
    let pool = Pool::load(conn, l3).await?;
    let (Some(server), Some(range)) = (pool.l3.dhcp_server_ip.as_deref(), pool.ranges.first()) else { return Ok(None) };
    if !offers(conn, l3, DHCP).await? {
        return Ok(None);
    }
    let dns = l3_network_dns::Entity::find()
        .filter(l3_network_dns::Column::L3NetworkUuid.eq(l3))
        .order_by_asc(l3_network_dns::Column::Id)
        .all(conn)
        .await
        .or_internal()?;
    let gateway = range.gateway.as_deref().map(address::stored).transpose()?;
    Ok(Some(DhcpNetwork {
        l3: agents::id(l3)?,
        bridge: l2::bridge(conn, &pool.l3.l2_network_uuid).await?.bridge,
        server: address::stored(server)?,
        prefix: subnet::prefix_of(address::stored(&range.netmask)?).unwrap_or(24),
        gateway,
        dns: dns.iter().map(|row| address::stored(&row.dns)).collect::<ApiResult<_>>()?,
        domain: pool.l3.dns_domain.clone().filter(|domain| !domain.is_empty()),
        mtu: mtu(conn, settings, &pool.l3).await?,
        metadata: offers(conn, l3, USERDATA).await?,
        routes: routes(conn, l3).await?,
    }))
}

/// Routes that guests of a network are told.
async fn routes<C: ConnectionTrait>(conn: &C, l3: &str) -> ApiResult<Vec<HostRoute>> {
    let rows = l3_network_host_route::Entity::find()
        .filter(l3_network_host_route::Column::L3NetworkUuid.eq(l3))
        .order_by_asc(l3_network_host_route::Column::Id)
        .all(conn)
        .await
        .or_internal()?;
    let mut routes = Vec::new();
    for row in rows {
        let (network, prefix) = row.prefix.split_once('/').unwrap_or((row.prefix.as_str(), "32"));
        let prefix = prefix
            .parse()
            .map_err(|_| ApiError::internal(format!("the database holds the route {:?}, which is none", row.prefix)))?;
        routes.push(HostRoute { network: address::stored(network)?, prefix, via: address::stored(&row.nexthop)? });
    }
    Ok(routes)
}

/// The lease of one NIC; `None` while it has no address.
fn lease(
    vm: &vm_instance::Model,
    nic: &vm_nic::Model,
    vm_tags: &[String],
    metadata: bool,
) -> ApiResult<Option<DhcpLease>> {
    let Some(ip) = nic.ip.as_deref() else { return Ok(None) };
    let ip = address::stored(ip)?;
    let tag = |pattern: &str| vm_tags.iter().filter_map(|tag| tags::parse(pattern, tag)?.into_iter().next()).collect();
    let hostnames: Vec<String> = tag("hostname::{hostname}");
    // NET-DHCP-012: a guest without a name is called after its address.
    let hostname = hostnames.into_iter().next().unwrap_or_else(|| ip.to_string().replace('.', "-"));
    let user_data: Vec<String> = tag("userdata::{userdata}");
    let ssh_keys: Vec<String> = tag("sshkey::{sshkey}");
    let is_default = match vm.default_l3_network_uuid.as_deref() {
        Some(default) => nic.l3_network_uuid.as_deref() == Some(default),
        None => nic.device_id == 0,
    };
    let vm_id = agents::id(&vm.uuid)?;
    let metadata = metadata.then(|| Metadata {
        instance: vm_id,
        hostname: hostname.clone(),
        user_data: user_data.into_iter().next().map(|text| decoded(&text)),
        ssh_keys: ssh_keys
            .iter()
            .flat_map(|keys| keys.lines())
            .map(str::trim)
            .filter(|k| !k.is_empty())
            .map(str::to_owned)
            .collect(),
    });
    Ok(Some(DhcpLease {
        mac: nic.mac.to_ascii_lowercase(),
        ip,
        hostname: Some(hostname),
        default_route: is_default,
        vm: vm_id,
        metadata,
    }))
}

/// Clients put user data into the tag as Base64; plain text is taken as it is.
fn decoded(text: &str) -> String {
    let bytes = STANDARD.decode(text.trim()).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| text.to_owned())
}

fn by_network(nics: &[vm_nic::Model]) -> BTreeMap<&str, Vec<&vm_nic::Model>> {
    let mut networks: BTreeMap<&str, Vec<&vm_nic::Model>> = BTreeMap::new();
    for nic in nics {
        if let Some(l3) = nic.l3_network_uuid.as_deref() {
            networks.entry(l3).or_default().push(nic);
        }
    }
    networks
}

/// Tells a host the leases of these NICs of one VM. `job` names the work: a repetition after a crash does nothing.
pub async fn push_leases(
    app: &App,
    job: &str,
    host: &str,
    vm: &vm_instance::Model,
    nics: &[vm_nic::Model],
) -> ApiResult<()> {
    let vm_tags = tags::system_of(app.db.read(), &vm.uuid).await?;
    for (l3, nics) in by_network(nics) {
        let Some(network) = dhcp(app, l3).await? else { continue };
        let mut upsert = Vec::new();
        for nic in nics {
            upsert.extend(lease(vm, nic, &vm_tags, network.metadata)?);
        }
        let apply = ApplyDhcp { network, upsert, remove: Vec::new() };
        run(app, job, &format!("push-leases-{}-{l3}", vm.uuid), host, l3, apply).await?;
    }
    Ok(())
}

/// Makes a host forget the leases of these NICs. New work at every call: after a crash the host may have been told them
/// again meanwhile, because the VM still counted as there.
pub async fn remove_leases(app: &App, host: &str, nics: &[vm_nic::Model]) -> ApiResult<()> {
    for (l3, nics) in by_network(nics) {
        let Some(network) = describe(app.db.read(), &app.settings, l3).await? else { continue };
        let remove = nics.iter().map(|nic| nic.mac.to_ascii_lowercase()).collect();
        run(app, &new_uuid(), "remove-leases", host, l3, ApplyDhcp { network, upsert: Vec::new(), remove }).await?;
    }
    Ok(())
}

async fn run(app: &App, job: &str, step: &str, host: &str, l3: &str, apply: ApplyDhcp) -> ApiResult<()> {
    let agent = app.agents.of(app.db.read(), host).await?;
    agents::run(&agent, job, step, apply, app.host_patience()).await.map_err(|e| {
        agents::failure(
            ErrorCode::Operation,
            format!("DHCP of L3 network {l3} was not set up on host {host}"),
            host,
            &e,
        )
    })
}

async fn remove_server(app: &App, job: &str, step: &str, host: &str, l3: &str) -> ApiResult<()> {
    let agent = app.agents.of(app.db.read(), host).await?;
    let remove = RemoveDhcp { l3: agents::id(l3)? };
    agents::run(&agent, job, step, remove, app.host_patience()).await.map_err(|e| {
        agents::failure(
            ErrorCode::Operation,
            format!("DHCP of L3 network {l3} was not removed from host {host}"),
            host,
            &e,
        )
    })
}

/// Brings one network on one host up to date with the database: its settings and the leases of all VMs there; where
/// the network has no DHCP any more, removes it. Leases that the database does not know stay: a VM that is being started
/// may have its lease before the database says where it runs.
pub(super) async fn refresh(app: &App, job: &str, step: &str, host: &str, l3: &str) -> ApiResult<()> {
    let step = format!("{step}-{l3}");
    let Some(network) = dhcp(app, l3).await? else {
        return remove_server(app, job, &step, host, l3).await;
    };
    let vms = vm_instance::Entity::find()
        .filter(vm_instance::Column::HostUuid.eq(host))
        .all(app.db.read())
        .await
        .or_internal()?;
    let mut upsert = Vec::new();
    for vm in &vms {
        let nics = vm_nic::Entity::find()
            .filter(vm_nic::Column::VmInstanceUuid.eq(&vm.uuid))
            .filter(vm_nic::Column::L3NetworkUuid.eq(l3))
            .all(app.db.read())
            .await
            .or_internal()?;
        if nics.is_empty() {
            continue;
        }
        let vm_tags = tags::system_of(app.db.read(), &vm.uuid).await?;
        for nic in &nics {
            upsert.extend(lease(vm, nic, &vm_tags, network.metadata)?);
        }
    }
    let apply = ApplyDhcp { network, upsert, remove: Vec::new() };
    run(app, job, &step, host, l3, apply).await
}

/// The host connected: its leases become exactly those of the VMs that are there, and networks that are gone lose their
/// server. VMs count by their `hostUuid`, in whatever state; bridges must be there already ([`l2::host_connected`]).
pub async fn host_connected(app: &App, job: &str, host: &str) -> ApiResult<()> {
    // Listed before the database is asked: a VM that starts meanwhile is in neither list or in both.
    let agent = app.agents.of(app.db.read(), host).await?;
    let listed: Vec<DhcpListing> =
        agents::run(&agent, job, "list-dhcp", ListDhcp {}, app.host_patience()).await.map_err(|e| {
            agents::failure(ErrorCode::Operation, format!("host {host} does not tell its DHCP servers"), host, &e)
        })?;
    let here = networks_on(app, host).await?;
    for l3 in &here {
        refresh(app, job, "refresh-leases", host, l3).await?;
    }
    for listing in listed {
        let l3 = listing.l3.to_string();
        let step = format!("stale-leases-{l3}");
        let stale = stale(app, host, listing.macs).await?;
        let known = l3_network::Entity::find_by_id(&l3).one(app.db.read()).await.or_internal()?.is_some();
        let network = if known { describe(app.db.read(), &app.settings, &l3).await? } else { None };
        match network {
            // `refresh` saw to it.
            None if here.contains(&l3) => {}
            None => remove_server(app, job, &step, host, &l3).await?,
            Some(_) if stale.is_empty() => {}
            Some(network) => {
                tracing::info!(host, %l3, cards = ?stale, "the host forgets leases of VMs that are not there");
                let apply = ApplyDhcp { network, upsert: Vec::new(), remove: stale };
                run(app, job, &step, host, &l3, apply).await?;
            }
        }
    }
    Ok(())
}

/// Those of these cards that belong to no VM on the host.
async fn stale(app: &App, host: &str, macs: Vec<String>) -> ApiResult<Vec<String>> {
    let mut here = HashSet::new();
    let nics =
        vm_nic::Entity::find().filter(vm_nic::Column::Mac.is_in(&macs)).all(app.db.read()).await.or_internal()?;
    for nic in nics {
        let vm = nic.vm_instance_uuid.as_deref().unwrap_or_default();
        let row = vm_instance::Entity::find_by_id(vm).one(app.db.read()).await.or_internal()?;
        if row.is_some_and(|vm| vm.host_uuid.as_deref() == Some(host)) {
            here.insert(nic.mac.to_ascii_lowercase());
        }
    }
    Ok(macs.into_iter().filter(|mac| !here.contains(mac)).collect())
}

/// L3 networks that VMs on a host use.
async fn networks_on(app: &App, host: &str) -> ApiResult<Vec<String>> {
    use sea_orm::QuerySelect;
    let mut vms: Vec<String> = vm_instance::Entity::find()
        .select_only()
        .column(vm_instance::Column::Uuid)
        .filter(vm_instance::Column::HostUuid.eq(host))
        .into_tuple()
        .all(app.db.read())
        .await
        .or_internal()?;
    vms.sort_unstable();
    let l3s: Vec<Option<String>> = vm_nic::Entity::find()
        .select_only()
        .column(vm_nic::Column::L3NetworkUuid)
        .distinct()
        .filter(vm_nic::Column::VmInstanceUuid.is_in(vms))
        .into_tuple()
        .all(app.db.read())
        .await
        .or_internal()?;
    let mut l3s: Vec<String> = l3s.into_iter().flatten().collect();
    l3s.sort_unstable();
    Ok(l3s)
}

/// Connected hosts that run VMs on a network.
pub(super) async fn hosts_of(app: &App, l3: &str) -> ApiResult<Vec<String>> {
    use mn_service_db::entity::host;
    use sea_orm::QuerySelect;
    let vms: Vec<Option<String>> = vm_nic::Entity::find()
        .select_only()
        .column(vm_nic::Column::VmInstanceUuid)
        .distinct()
        .filter(vm_nic::Column::L3NetworkUuid.eq(l3))
        .into_tuple()
        .all(app.db.read())
        .await
        .or_internal()?;
    let hosts: Vec<Option<String>> = vm_instance::Entity::find()
        .select_only()
        .column(vm_instance::Column::HostUuid)
        .distinct()
        .filter(vm_instance::Column::Uuid.is_in(vms.into_iter().flatten()))
        .into_tuple()
        .all(app.db.read())
        .await
        .or_internal()?;
    host::Entity::find()
        .select_only()
        .column(host::Column::Uuid)
        .filter(host::Column::Uuid.is_in(hosts.into_iter().flatten()))
        .filter(host::Column::Status.eq("Connected"))
        .order_by_asc(host::Column::Uuid)
        .into_tuple()
        .all(app.db.read())
        .await
        .or_internal()
}
