//! L2 networks (NET-L2-*): broadcast domains on host interfaces, and the bridges that VMs plug into.

use mn_service_db::entity::{host, l2_network, l2_network_cluster_ref};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use node_manager_client::Client;
use node_manager_types::{
    network::BridgeSpec,
    operation::{CheckInterfaces, EnsureBridge},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use sha2::{Digest, Sha256};

use crate::{
    agents,
    app::{App, OrInternal},
};

/// `type` of an untagged network.
pub const NO_VLAN: &str = "L2NoVlanNetwork";
/// `type` of a tagged network.
pub const VLAN: &str = "L2VlanNetwork";

/// Longest interface name that the kernel takes.
const LONGEST_NAME: usize = 15;

/// Bridge of an L2 network: `br_<interface>` or `br_<interface>_<vlan>`, as long as that is a kernel name. Longer ones
/// become `br_` and the first 12 hex digits of the SHA-256 of what should have stood there: the same on every host,
/// and different for different networks.
fn bridge_name(interface: &str, vlan: Option<i32>) -> String {
    let wanted = match vlan {
        Some(vlan) => format!("{interface}_{vlan}"),
        None => interface.to_owned(),
    };
    if wanted.len() + 3 <= LONGEST_NAME {
        return format!("br_{wanted}");
    }
    let digest = hex::encode(Sha256::digest(wanted.as_bytes()));
    format!("br_{}", digest.chars().take(LONGEST_NAME - 3).collect::<String>())
}

/// The bridge of an L2 network on hosts.
///
/// Its name is fixed when the network is made: [`bridge_name`], or what the system tag `kvm::bridge::<name>` asked
/// for. A tag that names the physical interface itself says that this interface *is* a bridge which the operator
/// keeps: the agent then uses it as it is and never removes it.
pub async fn bridge<C: ConnectionTrait>(conn: &C, l2: &str) -> ApiResult<BridgeSpec> {
    let row = l2_network::Entity::find_by_id(l2).one(conn).await.or_internal()?;
    spec(&row.ok_or_else(|| ApiError::not_found("L2NetworkVO", l2))?)
}

fn spec(row: &l2_network::Model) -> ApiResult<BridgeSpec> {
    let Some(uplink) = row.physical_interface.clone() else {
        return Err(ApiError::internal(format!("L2 network {} has no physical interface", row.uuid)));
    };
    let vlan = row.vlan.map(u16::try_from).transpose().map_err(ApiError::internal)?;
    let bridge = row.bridge.clone().unwrap_or_else(|| bridge_name(&uplink, row.vlan));
    Ok(BridgeSpec { l2: agents::id(&row.uuid)?, bridge, uplink, vlan })
}

/// Makes the bridge of an L2 network exist on a host.
pub async fn ensure_on_host(app: &App, job: &str, l2: &str, host: &str) -> ApiResult<()> {
    let bridge = bridge(app.db.read(), l2).await?;
    let agent = app.agents.of(app.db.read(), host).await?;
    ensure(app, job, &agent, host, bridge).await
}

async fn ensure(app: &App, job: &str, agent: &Client, host: &str, bridge: BridgeSpec) -> ApiResult<()> {
    let what = format!("bridge {} on interface {} could not be made on host {host}", bridge.bridge, bridge.uplink);
    let step = format!("ensure-bridge-{}", bridge.l2);
    agents::run(agent, job, &step, EnsureBridge { bridge }, app.host_patience())
        .await
        .map_err(|e| agents::failure(ErrorCode::Operation, what, host, &e))
}

/// Names of the interfaces among `names` that a host does not have.
async fn missing(app: &App, job: &str, agent: &Client, host: &str, names: Vec<String>) -> ApiResult<Vec<String>> {
    let what = format!("the network interfaces of host {host} could not be checked");
    let step = format!("check-interfaces-{}", names.join(","));
    agents::run(agent, job, &step, CheckInterfaces { names }, app.host_patience())
        .await
        .map_err(|e| agents::failure(ErrorCode::Operation, what, host, &e))
}

/// The host connected: it must have the interface of every L2 network of its cluster (NET-L2-033, NET-L2-034), and
/// gets all their bridges (NET-L2-017). A missing interface is `HOST.1003` caused by `SYS.1006`; who adds or
/// reconnects the host puts `HOST.1000` or `HOST.1002` on top.
pub async fn host_connected(app: &App, job: &str, host: &str) -> ApiResult<()> {
    let row = host::Entity::find_by_id(host).one(app.db.read()).await.or_internal()?;
    let row = row.ok_or_else(|| ApiError::not_found("HostVO", host))?;
    let l2s = of_cluster(app.db.read(), &row.cluster_uuid).await?;
    if l2s.is_empty() {
        return Ok(());
    }
    let bridges: Vec<BridgeSpec> = l2s.iter().map(spec).collect::<ApiResult<_>>()?;
    let mut names: Vec<String> = bridges.iter().map(|bridge| bridge.uplink.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let agent = app.agents.of(app.db.read(), host).await?;
    let missing = missing(app, job, &agent, host, names).await?;
    if !missing.is_empty() {
        let text = missing_text(&missing, host, &row.management_ip);
        return Err(
            ApiError::new(ErrorCode::HostConnection, text.clone()).caused_by(ApiError::new(ErrorCode::Operation, text))
        );
    }
    for bridge in bridges {
        ensure(app, job, &agent, host, bridge).await?;
    }
    Ok(())
}

/// The text that operators know (NET-L2-033, CS-HOST-009).
fn missing_text(names: &[String], host: &str, ip: &str) -> String {
    format!(
        "failed to check physical network interfaces[names : {}] on kvm host[uuid:{host}, ip:{ip}]",
        names.join(", ")
    )
}

/// L2 networks that a cluster attaches, by uuid.
pub async fn of_cluster<C: ConnectionTrait>(conn: &C, cluster: &str) -> ApiResult<Vec<l2_network::Model>> {
    use l2_network_cluster_ref::{Column, Entity};
    let refs = Entity::find().filter(Column::ClusterUuid.eq(cluster)).all(conn).await.or_internal()?;
    l2_network::Entity::find()
        .filter(l2_network::Column::Uuid.is_in(refs.into_iter().map(|row| row.l2_network_uuid)))
        .order_by_asc(l2_network::Column::Uuid)
        .all(conn)
        .await
        .or_internal()
}
