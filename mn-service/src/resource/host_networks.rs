//! What deleted and detached networks leave on hosts: DHCP namespaces (NET-L3-048), bridges (NET-L2-035), plugged NICs
//! (NET-L2-032). Removal is noted as garbage in the transaction that removes the records and tried at once afterwards;
//! hosts that cannot be reached keep their rows for the collector.

use std::collections::BTreeSet;

use mn_service_db::entity::{host, l2_network, l2_network_cluster_ref, l3_network, vm_instance, vm_nic};
use mn_service_types::{ErrorCode, date::now_millis, error::ApiResult};
use node_manager_types::operation::{AttachNic, DetachNic};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, prelude::*};
use serde::{Deserialize, Serialize};

use crate::{
    agents,
    app::{App, OrInternal, Tx},
    garbage::{self, Garbage},
};

/// Hosts that are asked at the same time.
pub(super) const AT_ONCE: usize = 16;

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
/// Returns the numbers of the garbage.
pub(super) async fn note_deleted(
    app: &App,
    tx: &Tx,
    l2s: &[String],
    l3s: &[String],
    gone: &[String],
) -> ApiResult<Vec<i64>> {
    let mut noted = Vec::new();
    // A DHCP server is plugged into its bridge: servers first.
    for uuid in l3s {
        let Some(l3) = l3_network::Entity::find_by_id(uuid).one(&**tx).await.or_internal()? else { continue };
        let clusters = clusters_of(&**tx, &l3.l2_network_uuid).await?;
        for host in hosts_of(&**tx, &clusters).await?.iter().filter(|host| !gone.contains(&host.uuid)) {
            noted.push(note_dhcp(tx, &host.uuid, uuid).await?);
        }
    }
    for uuid in l2s {
        let Some(l2) = l2_network::Entity::find_by_id(uuid).one(&**tx).await.or_internal()? else { continue };
        let clusters = clusters_of(&**tx, uuid).await?;
        for host in hosts_of(&**tx, &clusters).await?.iter().filter(|host| !gone.contains(&host.uuid)) {
            noted.extend(note_bridge(app, tx, &host.uuid, &l2).await?);
        }
    }
    Ok(noted)
}

pub(super) async fn note_dhcp(tx: &Tx, host: &str, l3: &str) -> ApiResult<i64> {
    garbage::add(tx, &Garbage::RemoveDhcp { host: host.to_owned(), l3: l3.to_owned() }).await
}

/// Notes a bridge, unless the operator keeps bridges (`l2Network/deleteL2.bridge`).
pub(super) async fn note_bridge(app: &App, tx: &Tx, host: &str, l2: &l2_network::Model) -> ApiResult<Option<i64>> {
    if !app.settings.flag("l2Network", "deleteL2.bridge") {
        return Ok(None);
    }
    let bridge = super::l2_network::spec(l2)?.bridge;
    let what = Garbage::RemoveBridge { host: host.to_owned(), l2: l2.uuid.clone(), bridge };
    Ok(Some(garbage::add(tx, &what).await?))
}

/// Why garbage of networks is garbage no longer: the host's cluster attaches the network, or another one with the same
/// bridge, again.
pub(crate) async fn in_use_again(app: &App, host: &host::Model, what: &Garbage) -> ApiResult<Option<String>> {
    let db = app.db.read();
    match what {
        Garbage::RemoveDhcp { l3, .. } => {
            let Some(row) = l3_network::Entity::find_by_id(l3).one(db).await.or_internal()? else { return Ok(None) };
            let key = (row.l2_network_uuid, host.cluster_uuid.clone());
            let attached = l2_network_cluster_ref::Entity::find_by_id(key).one(db).await.or_internal()?;
            Ok(attached.map(|_| format!("cluster {} has L3 network {} again", host.cluster_uuid, row.name)))
        }
        Garbage::RemoveBridge { bridge, .. } => {
            for l2 in super::l2_network::of_cluster(db, &host.cluster_uuid).await? {
                if super::l2_network::spec(&l2)?.bridge == *bridge {
                    return Ok(Some(format!("L2 network {} uses bridge {bridge} again", l2.name)));
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
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

/// Takes [`unplug`] back: VMs that still have these NICs and run get them plugged in again. A host that fails keeps its VM
/// without the NIC until the VM's next start.
pub(super) async fn plug_again(app: &App, job: &str, nics: &BTreeSet<Plugged>) -> ApiResult<()> {
    for plugged in nics {
        let db = app.db.read();
        let nic = vm_nic::Entity::find_by_id(&plugged.nic).one(db).await.or_internal()?;
        let vm = vm_instance::Entity::find_by_id(&plugged.vm).one(db).await.or_internal()?;
        let (Some(nic), Some(vm)) = (nic, vm.filter(|vm| vm.host_uuid.as_ref() == Some(&plugged.host))) else {
            continue;
        };
        let attach = AttachNic { vm: agents::id(&vm.uuid)?, nic: super::vm::spec::nic_spec(db, &vm, &nic).await? };
        let agent = app.agents.of(db, &plugged.host).await?;
        let step = format!("plug-again-{}", plugged.nic);
        if let Err(error) = agents::run(&agent, job, &step, attach, app.host_patience()).await {
            tracing::warn!(vm = vm.uuid, nic = nic.uuid, %error, "the VM gets its NIC back when it starts next");
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
