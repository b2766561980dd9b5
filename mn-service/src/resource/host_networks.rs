//! What deleted and detached networks leave on hosts: DHCP namespaces (NET-L3-048), bridges (NET-L2-035), plugged NICs
//! (NET-L2-032). Removal is noted as garbage in the transaction that removes the records and tried at once afterwards;
//! hosts that cannot be reached keep their rows for the collector.

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, stream};
use mn_service_db::entity::{
    garbage as garbage_row, host, l2_network, l2_network_cluster_ref, l3_network, vm_instance, vm_nic,
};
use mn_service_types::{ErrorCode, date::now_millis, error::ApiResult};
use node_manager_client::{Client, ClientError};
use node_manager_types::operation::{DetachNic, RemoveBridge, RemoveDhcp};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, prelude::*};
use serde::{Deserialize, Serialize};

use crate::{
    agents,
    app::{App, OrInternal, Tx},
    garbage::{self, Garbage},
};

/// Garbage: the bridge of an L2 network on a host.
pub const REMOVE_BRIDGE: &str = "remove-bridge";
/// Garbage: the DHCP namespace of an L3 network on a host.
pub const REMOVE_DHCP: &str = "remove-dhcp";

/// Hosts that are asked at the same time.
pub(super) const AT_ONCE: usize = 16;

/// What to remove from which host; the target of a garbage row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftover {
    /// Job that left it.
    pub job: String,
    /// Where it is.
    pub host_uuid: String,
    /// Its L2 network, or the one below its L3 network.
    pub l2_network_uuid: String,
    /// For DHCP: the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l3_network_uuid: Option<String>,
    /// For bridges: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
}

/// Hosts of clusters, whatever their status.
pub(super) async fn hosts_of<C: ConnectionTrait>(conn: &C, clusters: &[String]) -> ApiResult<Vec<host::Model>> {
    host::Entity::find()
        .filter(host::Column::ClusterUuid.is_in(clusters.iter().cloned()))
        .order_by_asc(host::Column::Uuid)
        .all(conn)
        .await
        .or_internal()
}

/// Clusters that attach an L2 network.
pub(super) async fn clusters_of<C: ConnectionTrait>(conn: &C, l2: &str) -> ApiResult<Vec<String>> {
    use l2_network_cluster_ref::{Column, Entity};
    let refs = Entity::find().filter(Column::L2NetworkUuid.eq(l2)).all(conn).await.or_internal()?;
    let mut clusters: Vec<String> = refs.into_iter().map(|row| row.cluster_uuid).collect();
    clusters.sort_unstable();
    Ok(clusters)
}

/// Notes what has to go from the hosts because these networks are being deleted; to be called in the transaction that
/// removes their records, before it does. `gone` are hosts that are deleted too: nobody will speak to them again.
pub(super) async fn note_deleted(
    app: &App,
    tx: &Tx,
    job: &str,
    l2s: &[String],
    l3s: &[String],
    gone: &[String],
) -> ApiResult<()> {
    for uuid in l3s {
        let Some(l3) = l3_network::Entity::find_by_id(uuid).one(&**tx).await.or_internal()? else { continue };
        let clusters = clusters_of(&**tx, &l3.l2_network_uuid).await?;
        for host in hosts_of(&**tx, &clusters).await?.iter().filter(|host| !gone.contains(&host.uuid)) {
            note_dhcp(tx, job, &host.uuid, &l3).await?;
        }
    }
    for uuid in l2s {
        let Some(l2) = l2_network::Entity::find_by_id(uuid).one(&**tx).await.or_internal()? else { continue };
        let clusters = clusters_of(&**tx, uuid).await?;
        for host in hosts_of(&**tx, &clusters).await?.iter().filter(|host| !gone.contains(&host.uuid)) {
            note_bridge(app, tx, job, &host.uuid, &l2).await?;
        }
    }
    Ok(())
}

pub(super) async fn note_dhcp(tx: &Tx, job: &str, host: &str, l3: &l3_network::Model) -> ApiResult<()> {
    let leftover = Leftover {
        job: job.to_owned(),
        host_uuid: host.to_owned(),
        l2_network_uuid: l3.l2_network_uuid.clone(),
        l3_network_uuid: Some(l3.uuid.clone()),
        bridge: None,
    };
    garbage::add(tx, &Garbage::RemoveDhcp(leftover)).await.map(drop)
}

/// Notes a bridge, unless the operator keeps bridges (`l2Network/deleteL2.bridge`).
pub(super) async fn note_bridge(app: &App, tx: &Tx, job: &str, host: &str, l2: &l2_network::Model) -> ApiResult<()> {
    if !app.settings.flag("l2Network", "deleteL2.bridge") {
        return Ok(());
    }
    let leftover = Leftover {
        job: job.to_owned(),
        host_uuid: host.to_owned(),
        l2_network_uuid: l2.uuid.clone(),
        l3_network_uuid: None,
        bridge: Some(super::l2_network::spec(l2)?.bridge),
    };
    garbage::add(tx, &Garbage::RemoveBridge(leftover)).await.map(drop)
}

/// Removes one leftover from its host. Success too when the network came back meanwhile and uses it again.
pub async fn remove(app: &App, agent: &Client, job: &str, leftover: &Leftover) -> ApiResult<Result<(), ClientError>> {
    let host = host::Entity::find_by_id(&leftover.host_uuid).one(app.db.read()).await.or_internal()?;
    let Some(host) = host else { return Ok(Ok(())) };
    if in_use(app, &host, leftover).await? {
        return Ok(Ok(()));
    }
    let l2 = agents::id(&leftover.l2_network_uuid)?;
    Ok(match (&leftover.l3_network_uuid, &leftover.bridge) {
        (Some(l3), _) => {
            agents::run(agent, job, "remove-dhcp", RemoveDhcp { l3: agents::id(l3)? }, app.host_patience()).await
        }
        (None, Some(bridge)) => {
            let operation = RemoveBridge { l2, bridge: bridge.clone() };
            agents::run(agent, job, "remove-bridge", operation, app.host_patience()).await
        }
        (None, None) => Ok(()),
    })
}

/// True when the host's cluster attaches the network, or another one with the same bridge, again.
async fn in_use(app: &App, host: &host::Model, leftover: &Leftover) -> ApiResult<bool> {
    let attached = super::l2_network::of_cluster(app.db.read(), &host.cluster_uuid).await?;
    match (&leftover.l3_network_uuid, &leftover.bridge) {
        (Some(l3), _) => {
            let there = l3_network::Entity::find_by_id(l3).one(app.db.read()).await.or_internal()?;
            Ok(there.is_some_and(|l3| attached.iter().any(|l2| l2.uuid == l3.l2_network_uuid)))
        }
        (None, bridge) => {
            let mut used = false;
            for l2 in &attached {
                used |= Some(super::l2_network::spec(l2)?.bridge) == *bridge;
            }
            Ok(used)
        }
    }
}

/// Tries what `job` noted. What cannot be removed now stays for the collector, so this does not fail for a host.
pub(super) async fn sweep(app: &Arc<App>, job: &str) -> ApiResult<()> {
    use garbage_row::{Column, Entity};
    let rows = Entity::find()
        .filter(Column::Kind.is_in([REMOVE_BRIDGE, REMOVE_DHCP]))
        .filter(Column::Target.contains(job))
        .order_by_asc(Column::Id)
        .all(app.db.read())
        .await
        .or_internal()?;
    // A DHCP server is plugged into its bridge: servers first.
    let (servers, bridges): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.kind == REMOVE_DHCP);
    for rows in [servers, bridges] {
        let ended: Vec<ApiResult<()>> = stream::iter(rows)
            .map(|row| {
                let app = app.clone();
                async move { garbage::attempt(&app, &row).await }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        ended.into_iter().collect::<ApiResult<()>>()?;
    }
    Ok(())
}

/// A NIC in a VM that has a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Plugged {
    /// The NIC.
    pub nic: String,
    /// Its hardware address.
    pub mac: String,
    /// Its VM.
    pub vm: String,
    /// Where that is.
    pub host: String,
}

/// Those of `nics` whose VM has a host.
pub(super) async fn plugged<C: ConnectionTrait>(conn: &C, nics: &[vm_nic::Model]) -> ApiResult<BTreeSet<Plugged>> {
    let vms = vm_instance::Entity::find()
        .filter(vm_instance::Column::Uuid.is_in(nics.iter().filter_map(|nic| nic.vm_instance_uuid.clone())))
        .filter(vm_instance::Column::HostUuid.is_not_null())
        .all(conn)
        .await
        .or_internal()?;
    let plugged = nics.iter().filter_map(|nic| {
        let vm = vms.iter().find(|vm| Some(&vm.uuid) == nic.vm_instance_uuid.as_ref())?;
        Some(Plugged {
            nic: nic.uuid.clone(),
            mac: nic.mac.to_ascii_lowercase(),
            vm: vm.uuid.clone(),
            host: vm.host_uuid.clone()?,
        })
    });
    Ok(plugged.collect())
}

/// Unplugs NICs from running VMs, which go on without them (NET-L2-032). With `enforcing`, hosts that fail are passed
/// over: their VMs lose the NIC at their next start.
pub(super) async fn unplug(app: &App, job: &str, nics: &BTreeSet<Plugged>, enforcing: bool) -> ApiResult<()> {
    for nic in nics {
        let detach = DetachNic { vm: agents::id(&nic.vm)?, mac: nic.mac.clone() };
        let done = match app.agents.of(app.db.read(), &nic.host).await {
            Ok(agent) => agents::run(&agent, job, &format!("unplug-{}", nic.nic), detach, app.host_patience())
                .await
                .map_err(|e| {
                    let what = format!("NIC {} could not be unplugged from VM {}", nic.nic, nic.vm);
                    agents::failure(ErrorCode::Operation, what, &nic.host, &e)
                }),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {}
            Err(error) if enforcing => {
                tracing::warn!(vm = nic.vm, nic = nic.nic, %error, "left plugged because the delete is enforced");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes the records of NICs with their addresses; their VMs get another default network where they lost theirs.
pub(super) async fn remove_nics(tx: &Tx, nics: &[vm_nic::Model]) -> ApiResult<()> {
    let uuids: Vec<String> = nics.iter().map(|nic| nic.uuid.clone()).collect();
    super::l3_network::release(tx, &uuids).await?;
    crate::tags::forget(tx, &uuids).await?;
    crate::access::forget(tx, &uuids).await?;
    vm_nic::Entity::delete_many().filter(vm_nic::Column::Uuid.is_in(uuids)).exec(&**tx).await.or_internal()?;
    let vms: BTreeSet<String> = nics.iter().filter_map(|nic| nic.vm_instance_uuid.clone()).collect();
    mend_default(tx, vms).await
}

/// Gives VMs whose default network has no NIC of theirs any more the network of their first NIC, or none.
pub(super) async fn mend_default(tx: &Tx, vms: impl IntoIterator<Item = String>) -> ApiResult<()> {
    for uuid in vms {
        let Some(vm) = vm_instance::Entity::find_by_id(&uuid).one(&**tx).await.or_internal()? else { continue };
        let nics = vm_nic::Entity::find()
            .filter(vm_nic::Column::VmInstanceUuid.eq(&uuid))
            .order_by_asc(vm_nic::Column::DeviceId)
            .all(&**tx)
            .await
            .or_internal()?;
        let kept = |l3: &String| nics.iter().any(|nic| nic.l3_network_uuid.as_ref() == Some(l3));
        if vm.default_l3_network_uuid.as_ref().is_some_and(kept) {
            continue;
        }
        let next = nics.into_iter().find_map(|nic| nic.l3_network_uuid);
        vm_instance::Entity::update_many()
            .col_expr(vm_instance::Column::DefaultL3NetworkUuid, Expr::value(next))
            .col_expr(vm_instance::Column::LastOpDate, Expr::value(now_millis()))
            .filter(vm_instance::Column::Uuid.eq(&uuid))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    Ok(())
}
