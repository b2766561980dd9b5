//! Where a VM goes: hosts and primary storages that fit, and for every one that does not, why (CS-ALLOC-*).
//!
//! The quick path asks the database for hosts that fit, best first. Only when none is left are all hosts looked at one
//! by one to say what each of them lacks.

use std::collections::{BTreeMap, BTreeSet};

use mn_service_db::entity::{backup_storage_zone_ref, cluster, host, host_capacity, zone};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use node_manager_types::ByteSize;
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, prelude::*};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, OrInternal, Tx},
    resource::{affinity::Neighbours, allocation, l3_network, primary_storage, provisioning::StorageLimits},
};

/// Fewest VMs first.
pub const LEAST_VM: &str = "LeastVmPreferredHostAllocatorStrategy";
/// The host it ran on last.
pub const LAST_HOST: &str = "LastHostPreferredAllocatorStrategy";
/// The host, cluster or zone that the caller names.
pub const DESIGNATED: &str = "DesignatedHostAllocatorStrategy";

/// What is looked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Wanted {
    /// Virtual processors.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// L3 networks of the VM.
    pub l3s: Vec<String>,
    /// Image server that must be attached to the zone.
    pub backup_storage: Option<String>,
    /// Only this zone.
    pub zone: Option<String>,
    /// Only this cluster.
    pub cluster: Option<String>,
    /// Only this host.
    pub host: Option<String>,
    /// Root volume on this primary storage only.
    pub primary_storage: Option<String>,
    /// Bytes needed for volumes together, before over-provisioning.
    pub disk: i64,
    /// Affinity group of the VM.
    #[serde(default)]
    pub affinity_group: Option<String>,
}

/// A place for a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Zone.
    pub zone: String,
    /// Cluster.
    pub cluster: String,
    /// Host.
    pub host: String,
    /// Primary storage of all its new volumes.
    pub primary_storage: String,
}

/// A host that cannot take the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Host.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Everything that it lacks.
    pub reasons: Vec<String>,
}

/// How many hosts the quick path looks at; capacity changes between looking and reserving, so one is not enough.
const QUICK: u64 = 20;

/// A host that the quick path found.
#[derive(Debug, sea_orm::FromQueryResult)]
struct Fitting {
    uuid: String,
    zone: String,
    cluster: String,
}

/// Finds a place and reserves processors and memory of its host for `vm` in the same transaction.
pub async fn reserve(app: &App, tx: &Tx, vm: &str, wanted: &Wanted) -> ApiResult<Placement> {
    let clusters = eligible_clusters(&**tx, wanted).await?;
    let limits = StorageLimits::of(&app.settings);
    for host in quick(&**tx, wanted, &clusters).await? {
        let Some(primary_storage) = storage_for(&**tx, wanted, &host.cluster, &host.uuid, limits).await? else {
            continue;
        };
        if allocation::reserve_host(tx, vm, &host.uuid, wanted.cpu, wanted.memory).await? {
            return Ok(Placement { zone: host.zone, cluster: host.cluster, host: host.uuid, primary_storage });
        }
    }
    // The best by load may all lack storage; then every host is looked at, also to say what each of them lacks.
    let (fits, refused) = explain(&**tx, wanted, limits).await?;
    for fit in fits {
        if allocation::reserve_host(tx, vm, &fit.host, wanted.cpu, wanted.memory).await? {
            return Ok(fit);
        }
    }
    Err(no_host(wanted, refused))
}

async fn quick<C: ConnectionTrait>(conn: &C, wanted: &Wanted, clusters: &BTreeSet<String>) -> ApiResult<Vec<Fitting>> {
    if clusters.is_empty() {
        return Ok(Vec::new());
    }
    let fitting = host_capacity::Entity::find()
        .select_only()
        .column(host_capacity::Column::Uuid)
        .filter(host_capacity::Column::AvailableCpu.gte(wanted.cpu))
        .filter(host_capacity::Column::AvailableMemory.gte(wanted.memory))
        .into_query();
    let neighbours = neighbours(conn, wanted).await?;
    let mut query = host::Entity::find()
        .select_only()
        .column(host::Column::Uuid)
        .column_as(host::Column::ZoneUuid, "zone")
        .column_as(host::Column::ClusterUuid, "cluster")
        .filter(host::Column::State.eq("Enabled"))
        .filter(host::Column::Status.eq("Connected"))
        .filter(host::Column::ClusterUuid.is_in(clusters.iter().cloned()))
        .filter(host::Column::Uuid.in_subquery(fitting));
    if let Some(uuid) = &wanted.host {
        query = query.filter(host::Column::Uuid.eq(uuid));
    }
    if let Some(neighbours) = &neighbours {
        let hosts = neighbours.hosts().cloned();
        query = if neighbours.is_hard() {
            // CS-AFG-004: never there.
            query.filter(host::Column::Uuid.is_not_in(hosts))
        } else {
            // CS-AFG-003: there last.
            sea_orm::QueryOrder::order_by_asc(query, host::Column::Uuid.is_in(hosts))
        };
    }
    let load = "(SELECT COUNT(*) FROM host_allocation WHERE host_allocation.host_uuid = HostVO.uuid)";
    let by_load = sea_orm::sea_query::Expr::cust(load);
    let first = sea_orm::QueryOrder::order_by_asc(query, by_load).limit(QUICK);
    first.into_model::<Fitting>().all(conn).await.or_internal()
}

/// Members of the VM's affinity group, where that has a say.
async fn neighbours<C: ConnectionTrait>(conn: &C, wanted: &Wanted) -> ApiResult<Option<Neighbours>> {
    match &wanted.affinity_group {
        Some(group) => Neighbours::of(conn, group, None).await,
        None => Ok(None),
    }
}

/// The primary storage for the volumes: the named one, or the one with most room on that host (CS-ALLOC-020).
async fn storage_for<C: ConnectionTrait>(
    conn: &C,
    wanted: &Wanted,
    cluster: &str,
    host: &str,
    limits: StorageLimits,
) -> ApiResult<Option<String>> {
    let needed = limits.claim(wanted.disk);
    let candidates = primary_storage::candidates(conn, cluster, host, limits).await?;
    let named =
        |c: &primary_storage::Candidate| wanted.primary_storage.as_ref().is_none_or(|uuid| *uuid == c.primary_storage);
    Ok(candidates.into_iter().find(|c| named(c) && c.available >= needed).map(|c| c.primary_storage))
}

/// Clusters whose zone, state, networks and image server fit.
async fn eligible_clusters<C: ConnectionTrait>(conn: &C, wanted: &Wanted) -> ApiResult<BTreeSet<String>> {
    let all = cluster::Entity::find().all(conn).await.or_internal()?;
    let unfit = unfit_clusters(conn, wanted, &all).await?;
    Ok(all.into_iter().map(|c| c.uuid).filter(|uuid| !unfit.contains_key(uuid)).collect())
}

/// Those of `clusters` that do not fit, and why.
async fn unfit_clusters<C: ConnectionTrait>(
    conn: &C,
    wanted: &Wanted,
    clusters: &[cluster::Model],
) -> ApiResult<BTreeMap<String, Vec<String>>> {
    let zones: BTreeMap<String, zone::Model> =
        zone::Entity::find().all(conn).await.or_internal()?.into_iter().map(|z| (z.uuid.clone(), z)).collect();
    let with_networks: BTreeSet<String> = l3_network::clusters_of(conn, &wanted.l3s).await?.into_iter().collect();
    let with_images: Option<BTreeSet<String>> = match &wanted.backup_storage {
        None => None,
        Some(uuid) => {
            let attached = backup_storage_zone_ref::Column::BackupStorageUuid.eq(uuid);
            let refs = backup_storage_zone_ref::Entity::find().filter(attached).all(conn).await.or_internal()?;
            Some(refs.into_iter().map(|r| r.zone_uuid).collect())
        }
    };
    let mut unfit = BTreeMap::new();
    for row in clusters {
        let mut reasons = Vec::new();
        let zone = zones.get(&row.zone_uuid);
        if row.state != "Enabled" {
            reasons.push(format!("its cluster {} is {}", row.name, row.state));
        }
        if let Some(zone) = zone.filter(|zone| zone.state != "Enabled") {
            reasons.push(format!("its zone {} is {}", zone.name, zone.state));
        }
        if wanted.zone.as_ref().is_some_and(|uuid| *uuid != row.zone_uuid) {
            reasons.push("it is in another zone than asked for".to_owned());
        }
        if wanted.cluster.as_ref().is_some_and(|uuid| *uuid != row.uuid) {
            reasons.push("it is in another cluster than asked for".to_owned());
        }
        if !wanted.l3s.is_empty() && !with_networks.contains(&row.uuid) {
            reasons.push(format!("its cluster {} lacks an L2 network of the VM's L3 networks", row.name));
        }
        if with_images.as_ref().is_some_and(|zones| !zones.contains(&row.zone_uuid)) {
            // CS-ALLOC-003, CS-VM-244.
            reasons.push("the image's image server is not attached to its zone".to_owned());
        }
        if !reasons.is_empty() {
            unfit.insert(row.uuid.clone(), reasons);
        }
    }
    Ok(unfit)
}

/// Looks at every host: those that fit, and what the others lack.
pub async fn explain<C: ConnectionTrait>(
    conn: &C,
    wanted: &Wanted,
    limits: StorageLimits,
) -> ApiResult<(Vec<Placement>, Vec<Refused>)> {
    let clusters = cluster::Entity::find().all(conn).await.or_internal()?;
    let unfit = unfit_clusters(conn, wanted, &clusters).await?;
    let neighbours = neighbours(conn, wanted).await?;
    let capacities: BTreeMap<String, host_capacity::Model> =
        host_capacity::Entity::find().all(conn).await.or_internal()?.into_iter().map(|c| (c.uuid.clone(), c)).collect();
    let (mut fits, mut refused) = (Vec::new(), Vec::new());
    for row in host::Entity::find().all(conn).await.or_internal()? {
        let mut reasons = unfit.get(&row.cluster_uuid).cloned().unwrap_or_default();
        if wanted.host.as_ref().is_some_and(|uuid| *uuid != row.uuid) {
            reasons.push("it is not the host asked for".to_owned());
        }
        reasons.extend(neighbours.iter().filter(|n| n.is_hard() && n.keep_off(&row.uuid)).map(Neighbours::reason));
        if row.state != "Enabled" {
            reasons.push(format!("it is {}", row.state));
        }
        if row.status != "Connected" {
            reasons.push(format!("it is {}", row.status));
        }
        if let Some(capacity) = capacities.get(&row.uuid) {
            let short = wanted.cpu - capacity.available_cpu;
            if short > 0 {
                reasons.push(format!(
                    "{short} processors short ({} of {} free)",
                    capacity.available_cpu, capacity.total_cpu
                ));
            }
            let short = u64::try_from(wanted.memory - capacity.available_memory).unwrap_or(0);
            if short > 0 {
                reasons.push(format!("{} short of memory", ByteSize::bytes(short)));
            }
        }
        let storage = storage_for(conn, wanted, &row.cluster_uuid, &row.uuid, limits).await?;
        if storage.is_none() {
            let size = ByteSize::bytes(u64::try_from(wanted.disk).unwrap_or(0));
            reasons.push(format!("no usable primary storage with {size} free on it"));
            reasons.extend(primary_storage::nearly_full(conn, &row.cluster_uuid, &row.uuid, limits).await?);
        }
        match storage {
            Some(primary_storage) if reasons.is_empty() => {
                fits.push(Placement {
                    zone: row.zone_uuid,
                    cluster: row.cluster_uuid,
                    host: row.uuid,
                    primary_storage,
                });
            }
            _ => refused.push(Refused { uuid: row.uuid, name: row.name, reasons }),
        }
    }
    Ok((fits, refused))
}

/// `HOST_ALLOCATION.1000` with every candidate's reasons, as text and as data.
pub fn no_host(wanted: &Wanted, refused: Vec<Refused>) -> ApiError {
    let memory = ByteSize::bytes(u64::try_from(wanted.memory).unwrap_or(0));
    let asked = format!("No available host found for {} processors and {memory} of memory", wanted.cpu);
    let why = if refused.is_empty() {
        "the cloud has no host; add one with AddKVMHost".to_owned()
    } else {
        let each = refused.iter().take(50).map(|r| format!("{}: {}", r.name, r.reasons.join(", ")));
        each.collect::<Vec<_>>().join("; ")
    };
    let opaque = serde_json::json!({ "candidates": refused });
    ApiError::new(ErrorCode::NoAvailableHost, format!("{asked}: {why}")).with_opaque(opaque)
}
