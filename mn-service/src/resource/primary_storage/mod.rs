//! Primary storages (CS-PS-*, CS-PSL-*): directories on hosts that hold volumes, snapshots and image caches.

use std::collections::BTreeSet;

use mn_service_db::entity::{
    host, local_storage_host_ref, primary_storage, primary_storage_capacity, primary_storage_cluster_ref,
};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError};
use node_manager_types::{operation::InitStorage, storage::Capacity, storage::StorageRoot};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*, sea_query::OnConflict};
use serde::{Deserialize, Serialize};

use super::{
    allocation,
    provisioning::{self, StorageLimits},
};
use crate::{
    agents,
    api::{Apis, StepError},
    app::{App, OrInternal, Tx},
};

mod attach;
mod combination;
mod manage;
mod measure;
mod report;
mod withdraw;

pub use measure::measure;

/// Wire word of the one type that this version serves.
pub const LOCAL: &str = "LocalStorage";

pub(super) fn register(apis: &mut Apis) {
    manage::register(apis);
    attach::register(apis);
    report::register(apis);
    withdraw::register(apis);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    attach::workflows(registry)?;
    withdraw::workflows(registry)
}

pub(super) use manage::{directory, guard_delete};

/// Where a volume lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Primary storage uuid.
    pub primary_storage: String,
    /// Host uuid.
    pub host: String,
    /// The directory on that host.
    pub root: StorageRoot,
}

/// The place on `host` of a primary storage.
pub async fn place<C: ConnectionTrait>(conn: &C, primary_storage: &str, host: &str) -> ApiResult<Place> {
    let row = load(conn, primary_storage).await?;
    Ok(Place { primary_storage: row.uuid.clone(), host: host.to_owned(), root: root(&row)? })
}

/// The row of a primary storage.
pub async fn load<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<primary_storage::Model> {
    let row = primary_storage::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("PrimaryStorageVO", uuid))
}

/// The directory of a primary storage; the same path on every host.
pub(super) fn root(row: &primary_storage::Model) -> ApiResult<StorageRoot> {
    Ok(StorageRoot { id: agents::id(&row.uuid)?, path: row.url.trim_end_matches('/').to_owned() })
}

/// A primary storage that could take a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Uuid.
    pub primary_storage: String,
    /// Name.
    pub name: String,
    /// Bytes that may still be given out on the host, without those that stay reserved.
    pub available: i64,
}

/// Enabled, connected primary storages attached to `cluster` that are not full on `host`, the one with most room there
/// first (CS-ALLOC-020, CS-ALLOC-030, CS-PSL-010, CS-PS-017).
pub async fn candidates<C: ConnectionTrait>(
    conn: &C,
    cluster: &str,
    host: &str,
    limits: StorageLimits,
) -> ApiResult<Vec<Candidate>> {
    let mut found = Vec::new();
    for row in attached(conn, cluster).await? {
        if row.state != "Enabled" || row.status != "Connected" {
            continue;
        }
        if let Some(share) = share(conn, &row.uuid, host).await?.filter(|share| !limits.is_full(share)) {
            let available = share.available_capacity - limits.reserved;
            found.push(Candidate { primary_storage: row.uuid, name: row.name, available });
        }
    }
    found.sort_by(|a, b| b.available.cmp(&a.available).then_with(|| a.primary_storage.cmp(&b.primary_storage)));
    Ok(found)
}

/// What to say of storages of a cluster that take nothing new because they are really full on `host` (CS-PS-017).
pub async fn nearly_full<C: ConnectionTrait>(
    conn: &C,
    cluster: &str,
    host: &str,
    limits: StorageLimits,
) -> ApiResult<Vec<String>> {
    let mut reasons = Vec::new();
    for row in attached(conn, cluster).await? {
        if let Some(share) = share(conn, &row.uuid, host).await?.filter(|share| limits.is_full(share)) {
            reasons.push(format!(
                "primary storage {} is full there: {} of {} really used, {} is the limit \
                 (mevoco/threshold.primaryStorage.physicalCapacity)",
                row.name,
                size(provisioning::used(&share)),
                size(share.total_physical_capacity),
                limits.threshold
            ));
        }
    }
    Ok(reasons)
}

/// Primary storages attached to a cluster.
pub(super) async fn attached<C: ConnectionTrait>(conn: &C, cluster: &str) -> ApiResult<Vec<primary_storage::Model>> {
    use primary_storage_cluster_ref::{Column, Entity};
    let refs = Entity::find().filter(Column::ClusterUuid.eq(cluster)).all(conn).await.or_internal()?;
    let uuids = refs.into_iter().map(|r| r.primary_storage_uuid);
    let of_cluster = primary_storage::Column::Uuid.is_in(uuids);
    primary_storage::Entity::find().filter(of_cluster).all(conn).await.or_internal()
}

/// Why VMs of a cluster cannot use these primary storages, one text for each that they cannot use: it is attached to
/// the cluster no longer (CS-CLU-023) or in maintenance (CS-PS-010).
pub async fn out_of_reach<C: ConnectionTrait>(
    conn: &C,
    cluster: &str,
    storages: BTreeSet<String>,
) -> ApiResult<Vec<String>> {
    let attached = attached(conn, cluster).await?;
    let mut reasons = Vec::new();
    for uuid in storages {
        let row = load(conn, &uuid).await?;
        if attached.iter().all(|other| other.uuid != uuid) {
            reasons.push(format!("primary storage {} ({uuid}) is not attached to its cluster", row.name));
        } else if row.state == "Maintenance" {
            reasons.push(format!("primary storage {} ({uuid}) is in maintenance", row.name));
        }
    }
    Ok(reasons)
}

/// Share of a host in a primary storage.
pub(super) async fn share<C: ConnectionTrait>(
    conn: &C,
    primary_storage: &str,
    host: &str,
) -> ApiResult<Option<local_storage_host_ref::Model>> {
    let key = (primary_storage.to_owned(), host.to_owned());
    local_storage_host_ref::Entity::find_by_id(key).one(conn).await.or_internal()
}

/// The host connected, was added, or a primary storage was attached to its cluster: claims the directories on it and
/// counts its shares. Every storage is tried before the first failure is reported.
pub async fn host_connected(app: &App, job: &str, host: &str) -> ApiResult<()> {
    let row = host::Entity::find_by_id(host).one(app.db.read()).await.or_internal()?;
    let row = row.ok_or_else(|| ApiError::not_found("HostVO", host))?;
    let mut failure: Option<ApiError> = None;
    for storage in attached(app.db.read(), &row.cluster_uuid).await? {
        match claim(app, job, &storage, host).await {
            Ok(capacity) => {
                app.write(|tx| async move {
                    write_share(&tx, &storage.uuid, host, capacity).await?;
                    recount(&tx, &storage.uuid).await
                })
                .await?;
            }
            Err(error) => failure = Some(failure.unwrap_or(error)),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Claims the directory of a primary storage on a host; claiming it again changes nothing.
async fn claim(app: &App, job: &str, storage: &primary_storage::Model, host: &str) -> ApiResult<Capacity> {
    let agent = app.agents.of(app.db.read(), host).await?;
    let step = format!("init-{}-{host}", storage.uuid);
    agents::run(&agent, job, &step, InitStorage { root: root(storage)? }, app.host_patience()).await.map_err(|error| {
        let what = format!("primary storage {} ({}) cannot use {}", storage.name, storage.uuid, storage.url);
        agents::failure(ErrorCode::AttachPrimaryStorage, what, host, &error)
    })
}

/// Writes what a host's directory holds. What may still be given out is left to [`recount`].
async fn write_share(tx: &Tx, primary_storage: &str, host: &str, capacity: Capacity) -> ApiResult<()> {
    use local_storage_host_ref::{ActiveModel, Column, Entity};
    let now = now_millis();
    let row = ActiveModel {
        primary_storage_uuid: Set(primary_storage.to_owned()),
        host_uuid: Set(host.to_owned()),
        total_capacity: Set(bytes(capacity.total)),
        available_capacity: Set(0),
        total_physical_capacity: Set(bytes(capacity.total)),
        available_physical_capacity: Set(bytes(capacity.available)),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    let conflict = OnConflict::columns([Column::PrimaryStorageUuid, Column::HostUuid])
        .update_columns([
            Column::TotalCapacity,
            Column::TotalPhysicalCapacity,
            Column::AvailablePhysicalCapacity,
            Column::LastOpDate,
        ])
        .to_owned();
    Entity::insert(row).on_conflict(conflict).exec_without_returning(&**tx).await.or_internal()?;
    Ok(())
}

/// What a primary storage and the shares in it should say.
#[derive(Debug)]
struct Counted {
    /// Shares that say something else, with what they should say.
    shares: Vec<(String, i64)>,
    /// Total, available, physical and available physical bytes.
    sums: [i64; 4],
}

/// Counts a primary storage (CS-PS-014): a host gives its partition less what volumes, snapshots and caches claim there,
/// and counts only while it is connected (CS-PSL-003, CS-PSL-004).
async fn count<C: ConnectionTrait>(conn: &C, primary_storage: &str) -> ApiResult<Counted> {
    use local_storage_host_ref::{Column, Entity};
    let shares = Entity::find().filter(Column::PrimaryStorageUuid.eq(primary_storage)).all(conn).await.or_internal()?;
    let hosts = shares.iter().map(|share| share.host_uuid.clone());
    let connected: Vec<String> = host::Entity::find()
        .filter(host::Column::Uuid.is_in(hosts))
        .filter(host::Column::Status.eq("Connected"))
        .all(conn)
        .await
        .or_internal()?
        .into_iter()
        .map(|host| host.uuid)
        .collect();
    let claimed = allocation::claimed_by_host(conn, primary_storage).await?;
    let mut counted = Counted { shares: Vec::new(), sums: [0; 4] };
    for share in shares {
        let free = share.total_capacity - claimed.get(&share.host_uuid).copied().unwrap_or_default();
        if connected.contains(&share.host_uuid) {
            let of_host =
                [share.total_capacity, free, share.total_physical_capacity, share.available_physical_capacity];
            for (sum, value) in counted.sums.iter_mut().zip(of_host) {
                *sum += value;
            }
        }
        if free != share.available_capacity {
            counted.shares.push((share.host_uuid, free));
        }
    }
    Ok(counted)
}

/// Whether the capacity of a primary storage is what its shares and claims make of it.
pub(super) async fn is_counted<C: ConnectionTrait>(conn: &C, primary_storage: &str) -> ApiResult<bool> {
    let Counted { shares, sums } = count(conn, primary_storage).await?;
    let row = primary_storage_capacity::Entity::find_by_id(primary_storage).one(conn).await.or_internal()?;
    Ok(shares.is_empty()
        && row.is_none_or(|row| {
            sums == [
                row.total_capacity,
                row.available_capacity,
                row.total_physical_capacity,
                row.available_physical_capacity,
            ]
        }))
}

/// Makes the capacity of a primary storage equal to its shares and claims (CS-PS-014).
pub async fn recount(tx: &Tx, primary_storage: &str) -> ApiResult<()> {
    let Counted { shares, sums: [total, available, physical, available_physical] } =
        count(&**tx, primary_storage).await?;
    for (host, free) in shares {
        use local_storage_host_ref::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::AvailableCapacity, Expr::value(free))
            .filter(Column::PrimaryStorageUuid.eq(primary_storage))
            .filter(Column::HostUuid.eq(&host))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    use primary_storage_capacity::Column as Sum;
    primary_storage_capacity::Entity::update_many()
        .col_expr(Sum::TotalCapacity, Expr::value(total))
        .col_expr(Sum::AvailableCapacity, Expr::value(available))
        .col_expr(Sum::TotalPhysicalCapacity, Expr::value(physical))
        .col_expr(Sum::AvailablePhysicalCapacity, Expr::value(available_physical))
        .col_expr(Sum::LastOpDate, Expr::value(now_millis()))
        .filter(Sum::Uuid.eq(primary_storage))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

/// Primary storages in which hosts have a share.
pub(super) async fn of_hosts<C: ConnectionTrait>(conn: &C, hosts: &[String]) -> ApiResult<Vec<String>> {
    use local_storage_host_ref::{Column, Entity};
    let of_hosts = Column::HostUuid.is_in(hosts.iter().cloned());
    let shares = Entity::find().filter(of_hosts).all(conn).await.or_internal()?;
    let mut uuids: Vec<String> = shares.into_iter().map(|share| share.primary_storage_uuid).collect();
    uuids.sort();
    uuids.dedup();
    Ok(uuids)
}

/// Bytes as the database keeps them.
pub(super) fn bytes(size: node_manager_types::ByteSize) -> i64 {
    i64::try_from(size.as_bytes()).unwrap_or(i64::MAX)
}

/// Bytes as hosts take them.
pub(super) fn size(bytes: i64) -> node_manager_types::ByteSize {
    node_manager_types::ByteSize::bytes(u64::try_from(bytes).unwrap_or_default())
}
