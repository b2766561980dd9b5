//! L3 networks (NET-L3-*, NET-IP-*, NET-DHCP-*, NET-SVC-*): who may use which addresses, and the services that hand
//! them to guests. IPv4.

pub mod address;
mod ask;
mod configure;
pub mod dhcp;
mod ip_range;
mod network;
pub mod service;
pub mod subnet;

use mn_service_db::entity::{l3_network, vm_nic};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};

pub use address::{allocate, allocate_mac, release};
pub use dhcp::{dhcp, host_connected, push_leases, remove_leases};
pub use service::ensure_providers;

use super::host_networks;
use crate::{
    api::{Apis, StepError},
    app::{App, OrInternal, Tx},
    cascade::Deletion,
};

/// `type` of networks whose services the hosts provide.
const BASIC: &str = "L3BasicNetwork";

/// `category` of networks that ordinary VMs must not use.
const SYSTEM: &str = "System";

pub(super) fn register(apis: &mut Apis) {
    network::register(apis);
    ip_range::register(apis);
    ask::register(apis);
    configure::register(apis);
    service::register(apis);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    configure::workflows(registry)
}

/// The networks in the order asked, if VMs may use all of them: there, enabled, not of the platform itself
/// (NET-L3-011), and reachable from some cluster (NET-L2-041). Names every network that is not, and why.
pub async fn check_usable<C: ConnectionTrait>(conn: &C, l3s: &[String]) -> ApiResult<Vec<l3_network::Model>> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for uuid in l3s {
        let Some(row) = l3_network::Entity::find_by_id(uuid).one(conn).await.or_internal()? else {
            problems.push(format!("there is no L3 network with uuid {uuid}"));
            continue;
        };
        let mut problem = |why: &str| problems.push(format!("L3 network {} ({uuid}) {why}", row.name));
        if row.state != "Enabled" {
            problem("is disabled; enable it with ChangeL3NetworkState");
        }
        if row.system || row.category == SYSTEM {
            problem("is a system network, which ordinary VMs cannot use; choose a public or private one");
        }
        if host_networks::clusters_of(conn, &row.l2_network_uuid).await?.is_empty() {
            problem("lies on an L2 network that no cluster has; attach that with AttachL2NetworkToCluster");
        }
        found.push(row);
    }
    if problems.is_empty() { Ok(found) } else { Err(ApiError::invalid(&problems)) }
}

/// Clusters that attach the L2 networks of all these L3 networks, ascending; none for an empty list.
pub async fn clusters_of<C: ConnectionTrait>(conn: &C, l3s: &[String]) -> ApiResult<Vec<String>> {
    let mut common: Option<Vec<String>> = None;
    for uuid in l3s {
        let row = l3_network::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
        let row = row.ok_or_else(|| ApiError::not_found("L3NetworkVO", uuid))?;
        let clusters = host_networks::clusters_of(conn, &row.l2_network_uuid).await?;
        common = Some(match common {
            None => clusters,
            Some(before) => before.into_iter().filter(|cluster| clusters.contains(cluster)).collect(),
        });
    }
    Ok(common.unwrap_or_default())
}

/// What a deletion's rows leave to mend: networks whose DHCP server lost its address with a range take another one,
/// NICs forget addresses that are gone and get new ones when their VM starts next (NET-L3-042), and VMs choose another
/// default network.
pub(super) async fn after_removal(tx: &Tx, deletion: &Deletion) -> ApiResult<()> {
    let detached = |vo: &str, column: &str| -> Vec<String> {
        let items = deletion.detaches.get(vo).and_then(|columns| columns.get(column));
        items.into_iter().flatten().map(|item| item.uuid.clone()).collect()
    };
    for chunk in detached("VmNicVO", "usedIpUuid").chunks(1_000) {
        use vm_nic::Column;
        vm_nic::Entity::update_many()
            .col_expr(Column::Ip, Expr::value(Option::<String>::None))
            .col_expr(Column::Netmask, Expr::value(Option::<String>::None))
            .col_expr(Column::Gateway, Expr::value(Option::<String>::None))
            .filter(Column::Uuid.is_in(chunk.iter().cloned()))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    if !deletion.deleted("IpRangeVO").is_empty() {
        mend_servers(tx).await?;
    }
    host_networks::mend_default(tx, detached("VmInstanceVO", "defaultL3NetworkUuid")).await
}

/// Networks whose DHCP server has an address that no record holds choose another one.
async fn mend_servers(tx: &Tx) -> ApiResult<()> {
    let served = l3_network::Entity::find().filter(l3_network::Column::DhcpServerIp.is_not_null());
    for l3 in served.all(&**tx).await.or_internal()? {
        let server = l3.dhcp_server_ip.as_deref().unwrap_or_default();
        if address::holder_of(&**tx, &l3.uuid, address::stored(server)?).await?.is_none() {
            dhcp::release_server(tx, &l3.uuid).await?;
            match dhcp::ensure_server(tx, &l3.uuid, None).await {
                // The ranges that are left are full: the server takes an address when one is free and it is needed.
                Err(error) if error.is(ErrorCode::AllocateIp) => {
                    tracing::warn!(l3 = l3.uuid, %error, "no DHCP address")
                }
                ended => ended?,
            }
        }
    }
    Ok(())
}
