//! L3 networks (NET-L3-*, NET-IP-*, NET-DHCP-*, NET-SVC-*): who may use which addresses, and the services that hand
//! them to guests. IPv4.

pub mod address;
pub mod dhcp;
pub mod service;
pub mod subnet;

use mn_service_db::entity::{l2_network_cluster_ref, l3_network};
use mn_service_types::{ApiError, error::ApiResult};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

pub use address::{allocate, allocate_mac, release};
pub use dhcp::{dhcp, host_connected, push_leases, remove_leases};
pub use service::ensure_providers;

use crate::app::OrInternal;

/// `category` of networks that ordinary VMs must not use.
const SYSTEM: &str = "System";

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
        if clusters_of_l2(conn, &row.l2_network_uuid).await?.is_empty() {
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
        let clusters = clusters_of_l2(conn, &row.l2_network_uuid).await?;
        common = Some(match common {
            None => clusters,
            Some(before) => before.into_iter().filter(|cluster| clusters.contains(cluster)).collect(),
        });
    }
    Ok(common.unwrap_or_default())
}

async fn clusters_of_l2<C: ConnectionTrait>(conn: &C, l2: &str) -> ApiResult<Vec<String>> {
    use l2_network_cluster_ref::{Column, Entity};
    let refs = Entity::find().filter(Column::L2NetworkUuid.eq(l2)).all(conn).await.or_internal()?;
    let mut clusters: Vec<String> = refs.into_iter().map(|row| row.cluster_uuid).collect();
    clusters.sort_unstable();
    Ok(clusters)
}
