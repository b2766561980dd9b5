//! Capacity: reserved and released atomically, each reservation a row, so that doing it twice counts once.
//!
//! `host_allocation` says which VM holds what on which host, `storage_allocation` which volume, snapshot or cache
//! holds what on which primary storage. The `available…` columns are running totals that queries and the scheduler
//! read; [`recount`] makes them equal to the rows again.

use std::collections::HashMap;

use mn_service_db::entity::{
    host, host_allocation, host_capacity, local_storage_host_ref, primary_storage_capacity, storage_allocation,
    vm_instance,
};
use mn_service_types::{date::now_millis, error::ApiResult};
use sea_orm::{
    ActiveValue::Set,
    ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    prelude::*,
    sea_query::{ExprTrait, SelectStatement},
};

use crate::app::{OrInternal, Tx};

/// Reserves processors and memory of a host for a VM. False when they do not fit; then nothing has changed.
/// `cpu` counts virtual processors, `memory` bytes.
pub async fn reserve_host(tx: &Tx, vm: &str, host: &str, cpu: i64, memory: i64) -> ApiResult<bool> {
    let held = host_allocation::Entity::find_by_id(vm).one(&**tx).await.or_internal()?;
    if let Some(held) = held {
        if held.host_uuid == host && held.cpu == cpu && held.memory == memory {
            return Ok(true);
        }
        release_hosts(tx, &[vm.to_owned()]).await?;
    }
    use host_capacity::Column;
    let fits = Column::AvailableCpu.gte(cpu).and(Column::AvailableMemory.gte(memory));
    take_host(tx, vm, host, cpu, memory, fits).await
}

/// Notes what a VM takes of a host on which it runs already, whether it fits or not: what is missing shows as less than
/// nothing available, and nothing of it is given out twice.
pub async fn note_host(tx: &Tx, vm: &str, host: &str, cpu: i64, memory: i64) -> ApiResult<()> {
    release_hosts(tx, &[vm.to_owned()]).await?;
    take_host(tx, vm, host, cpu, memory, host_capacity::Column::Uuid.eq(host)).await.map(drop)
}

async fn take_host(tx: &Tx, vm: &str, host: &str, cpu: i64, memory: i64, fits: Expr) -> ApiResult<bool> {
    use host_capacity::Column;
    let taken = host_capacity::Entity::update_many()
        .col_expr(Column::AvailableCpu, Expr::col(Column::AvailableCpu).sub(cpu))
        .col_expr(Column::AvailableMemory, Expr::col(Column::AvailableMemory).sub(memory))
        .filter(Column::Uuid.eq(host))
        .filter(fits)
        .exec(&**tx)
        .await
        .or_internal()?;
    if taken.rows_affected == 0 {
        return Ok(false);
    }
    let row = host_allocation::ActiveModel {
        vm_uuid: Set(vm.to_owned()),
        host_uuid: Set(host.to_owned()),
        cpu: Set(cpu),
        memory: Set(memory),
    };
    host_allocation::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(true)
}

/// Gives back what VMs hold on their hosts; VMs that hold nothing are fine.
pub async fn release_hosts(tx: &Tx, vms: &[String]) -> ApiResult<()> {
    let of_vms = || host_allocation::Column::VmUuid.is_in(vms.iter().cloned());
    let held = host_allocation::Entity::find().filter(of_vms()).all(&**tx).await.or_internal()?;
    use host_capacity::Column;
    for row in &held {
        host_capacity::Entity::update_many()
            .col_expr(Column::AvailableCpu, Expr::col(Column::AvailableCpu).add(row.cpu))
            .col_expr(Column::AvailableMemory, Expr::col(Column::AvailableMemory).add(row.memory))
            .filter(Column::Uuid.eq(&row.host_uuid))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    host_allocation::Entity::delete_many().filter(of_vms()).exec(&**tx).await.or_internal()?;
    Ok(())
}

/// Notes that VMs run no longer: they remember where they were and give back what they held.
pub async fn mark_stopped(tx: &Tx, vms: &[String]) -> ApiResult<()> {
    if vms.is_empty() {
        return Ok(());
    }
    use vm_instance::Column;
    vm_instance::Entity::update_many()
        .col_expr(Column::LastHostUuid, Expr::col(Column::HostUuid))
        .filter(Column::Uuid.is_in(vms.iter().cloned()))
        .filter(Column::HostUuid.is_not_null())
        .exec(&**tx)
        .await
        .or_internal()?;
    vm_instance::Entity::update_many()
        .col_expr(Column::HostUuid, Expr::value(Option::<String>::None))
        .col_expr(Column::State, Expr::value("Stopped"))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Uuid.is_in(vms.iter().cloned()))
        .exec(&**tx)
        .await
        .or_internal()?;
    release_hosts(tx, vms).await
}

/// What a reservation on a primary storage is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Root or data volume, by virtual size (CS-PS-006).
    Volume,
    /// Snapshot, by actual size (CS-SNAP-011).
    Snapshot,
    /// Image cache, by actual size (CS-IMG-075).
    ImageCache,
}

impl Purpose {
    /// As it is stored.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
            Self::ImageCache => "image-cache",
        }
    }
}

/// A reservation on a primary storage.
#[derive(Debug, Clone)]
pub struct StorageClaim<'a> {
    /// What holds it: uuid of a volume or snapshot, or `<image>@<host>` for a cache.
    pub holder: &'a str,
    /// Primary storage.
    pub primary_storage: &'a str,
    /// Host, for local storage.
    pub host: Option<&'a str>,
    /// Bytes, after over-provisioning.
    pub size: i64,
    /// Bytes that must stay free beside it (CS-PS-016); a claim that does not grow is not asked for them.
    pub keep: i64,
    /// What for.
    pub purpose: Purpose,
}

/// Reserves room. False when it does not fit; then nothing has changed. An existing claim of the same holder is
/// replaced.
pub async fn reserve_storage(tx: &Tx, claim: &StorageClaim<'_>) -> ApiResult<bool> {
    let held = storage_allocation::Entity::find_by_id(claim.holder).one(&**tx).await.or_internal()?;
    let here = |held: &&storage_allocation::Model| {
        held.primary_storage_uuid == claim.primary_storage && held.host_uuid.as_deref() == claim.host
    };
    let held_here = held.as_ref().filter(here).map(|held| held.size);
    if held_here == Some(claim.size) {
        return Ok(true);
    }
    let freed = held_here.unwrap_or(0);
    if !fits(tx, claim, claim.size - freed).await? {
        return Ok(false);
    }
    if held.is_some() {
        release_storage(tx, &[claim.holder.to_owned()]).await?;
    }
    shift(tx, claim.primary_storage, claim.host, -claim.size).await?;
    let row = storage_allocation::ActiveModel {
        resource_uuid: Set(claim.holder.to_owned()),
        primary_storage_uuid: Set(claim.primary_storage.to_owned()),
        host_uuid: Set(claim.host.map(str::to_owned)),
        size: Set(claim.size),
        purpose: Set(claim.purpose.word().to_owned()),
    };
    storage_allocation::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(true)
}

async fn fits(tx: &Tx, claim: &StorageClaim<'_>, bytes: i64) -> ApiResult<bool> {
    let available = match claim.host {
        Some(host) => local_storage_host_ref::Entity::find_by_id((claim.primary_storage.to_owned(), host.to_owned()))
            .one(&**tx)
            .await
            .or_internal()?
            .map(|row| row.available_capacity),
        None => primary_storage_capacity::Entity::find_by_id(claim.primary_storage)
            .one(&**tx)
            .await
            .or_internal()?
            .map(|row| row.available_capacity),
    };
    let keep = if bytes > 0 { claim.keep } else { 0 };
    Ok(available.is_some_and(|available| available - keep >= bytes))
}

/// Primary storages in whose sum a host's share counts (CS-PSL-004): it has one and is connected.
fn counting(primary_storage: &str, host: &str) -> SelectStatement {
    let connected = host::Entity::find()
        .select_only()
        .column(host::Column::Uuid)
        .filter(host::Column::Uuid.eq(host))
        .filter(host::Column::Status.eq("Connected"))
        .into_query();
    use local_storage_host_ref::{Column, Entity};
    let shares = Entity::find().select_only().column(Column::PrimaryStorageUuid);
    shares
        .filter(Column::PrimaryStorageUuid.eq(primary_storage))
        .filter(Column::HostUuid.in_subquery(connected))
        .into_query()
}

/// Adds `bytes` to what is available.
async fn shift(tx: &Tx, primary_storage: &str, host: Option<&str>, bytes: i64) -> ApiResult<()> {
    {
        use primary_storage_capacity::Column;
        let mut sum = primary_storage_capacity::Entity::update_many()
            .col_expr(Column::AvailableCapacity, Expr::col(Column::AvailableCapacity).add(bytes))
            .filter(Column::Uuid.eq(primary_storage));
        if let Some(host) = host {
            sum = sum.filter(Column::Uuid.in_subquery(counting(primary_storage, host)));
        }
        sum.exec(&**tx).await.or_internal()?;
    }
    if let Some(host) = host {
        use local_storage_host_ref::Column;
        local_storage_host_ref::Entity::update_many()
            .col_expr(Column::AvailableCapacity, Expr::col(Column::AvailableCapacity).add(bytes))
            .filter(Column::PrimaryStorageUuid.eq(primary_storage))
            .filter(Column::HostUuid.eq(host))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    Ok(())
}

/// Gives back what these holders hold; holders of nothing are fine.
pub async fn release_storage(tx: &Tx, holders: &[String]) -> ApiResult<()> {
    let of_holders = || storage_allocation::Column::ResourceUuid.is_in(holders.iter().cloned());
    let held = storage_allocation::Entity::find().filter(of_holders()).all(&**tx).await.or_internal()?;
    for row in &held {
        shift(tx, &row.primary_storage_uuid, row.host_uuid.as_deref(), row.size).await?;
    }
    storage_allocation::Entity::delete_many().filter(of_holders()).exec(&**tx).await.or_internal()?;
    Ok(())
}

/// Room that over-provisioning leaves a claim to count: `size` bytes at `ratio` (CS-ALLOC-043).
pub fn over_provisioned(size: i64, ratio: f64) -> i64 {
    if ratio <= 1.0 { size } else { (size as f64 / ratio).ceil() as i64 }
}

/// Bytes that claims hold on each host of a local primary storage.
pub async fn claimed_by_host<C: ConnectionTrait>(conn: &C, primary_storage: &str) -> ApiResult<HashMap<String, i64>> {
    use storage_allocation::Column;
    let rows: Vec<(Option<String>, i64)> = storage_allocation::Entity::find()
        .select_only()
        .columns([Column::HostUuid, Column::Size])
        .filter(Column::PrimaryStorageUuid.eq(primary_storage))
        .into_tuple()
        .all(conn)
        .await
        .or_internal()?;
    let mut sums = HashMap::new();
    for (host, size) in rows {
        *sums.entry(host.unwrap_or_default()).or_default() += size;
    }
    Ok(sums)
}

/// Processors and memory that VMs hold, by host.
pub async fn held_by_host<C: ConnectionTrait>(conn: &C) -> ApiResult<HashMap<String, (i64, i64)>> {
    use host_allocation::Column;
    let rows: Vec<(String, i64, i64)> = host_allocation::Entity::find()
        .select_only()
        .columns([Column::HostUuid, Column::Cpu, Column::Memory])
        .into_tuple()
        .all(conn)
        .await
        .or_internal()?;
    let mut sums: HashMap<String, (i64, i64)> = HashMap::new();
    for (host, cpu, memory) in rows {
        let sum = sums.entry(host).or_default();
        *sum = (sum.0 + cpu, sum.1 + memory);
    }
    Ok(sums)
}

/// Makes a host's running totals equal to its rows; `total_cpu` and `total_memory` are what may be given out.
pub async fn recount_host(tx: &Tx, host: &str, total_cpu: i64, total_memory: i64) -> ApiResult<()> {
    let rows = host_allocation::Entity::find()
        .filter(host_allocation::Column::HostUuid.eq(host))
        .all(&**tx)
        .await
        .or_internal()?;
    let (cpu, memory) = rows.iter().fold((0, 0), |(cpu, memory), row| (cpu + row.cpu, memory + row.memory));
    use host_capacity::Column;
    host_capacity::Entity::update_many()
        .col_expr(Column::TotalCpu, Expr::value(total_cpu))
        .col_expr(Column::TotalMemory, Expr::value(total_memory))
        .col_expr(Column::AvailableCpu, Expr::value(total_cpu - cpu))
        .col_expr(Column::AvailableMemory, Expr::value(total_memory - memory))
        .filter(Column::Uuid.eq(host))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_provisioning_shrinks_claims_and_never_below_the_ratio_of_one() {
        assert_eq!(over_provisioned(100, 1.0), 100);
        assert_eq!(over_provisioned(100, 0.5), 100);
        assert_eq!(over_provisioned(100, 2.0), 50);
        assert_eq!(over_provisioned(101, 2.0), 51);
    }
}
