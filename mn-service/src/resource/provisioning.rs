//! How much of what hosts and storages have may be given out (CS-ALLOC-040 to CS-ALLOC-043, CS-PS-016, CS-PS-017), and
//! making that true at once when a setting changes.

use mn_service_db::entity::{host_capacity, local_storage_host_ref, primary_storage, storage_allocation, volume};
use mn_service_types::error::ApiResult;
use sea_orm::{EntityTrait, QueryFilter, prelude::*};

use super::{allocation, primary_storage as storages};
use crate::{
    app::{App, OrInternal, Tx},
    settings::Settings,
};

/// Rules of giving out room on primary storages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StorageLimits {
    /// Volumes claim their size divided by this; at least 1.
    pub ratio: f64,
    /// Bytes that stay free on every directory.
    pub reserved: i64,
    /// Part of a directory, from 0 to 1, that may be really used before it takes no new volumes.
    pub threshold: f64,
}

impl StorageLimits {
    /// As the settings have them now.
    pub fn of(settings: &Settings) -> Self {
        Self {
            ratio: settings.number("mevoco", "overProvisioning.primaryStorage", 1.0).max(1.0),
            reserved: bytes(&settings.text("primaryStorage", "reservedCapacity")),
            threshold: settings.number("mevoco", "threshold.primaryStorage.physicalCapacity", 0.9),
        }
    }

    /// What a volume of `size` bytes claims.
    pub fn claim(&self, size: i64) -> i64 {
        allocation::over_provisioned(size, self.ratio)
    }

    /// True when a directory is really used so far that nothing new goes there (CS-PS-017).
    pub fn is_full(&self, share: &local_storage_host_ref::Model) -> bool {
        used(share) >= (share.total_physical_capacity as f64 * self.threshold) as i64
            && share.total_physical_capacity > 0
    }
}

/// Bytes of a directory's file system that cannot be written any more.
pub fn used(share: &local_storage_host_ref::Model) -> i64 {
    share.total_physical_capacity - share.available_physical_capacity
}

/// Virtual processors and bytes of memory that a host may give out. Processors count by hardware threads
/// (CS-ALLOC-040); memory is multiplied (CS-ALLOC-041) and some of it stays the host's own (CS-ALLOC-042).
pub fn host_totals(settings: &Settings, threads: i64, memory: i64) -> (i64, i64) {
    let cpu = settings.integer("host", "cpu.overProvisioning.ratio", 10).max(1);
    let ratio = settings.number("mevoco", "overProvisioning.memory", 1.0).max(1.0);
    let reserved = bytes(&settings.text("kvm", "reservedMemory"));
    // Beyond 2^53 bytes a ratio of 1 must not lose any.
    let given = if ratio > 1.0 { (memory as f64 * ratio) as i64 } else { memory };
    (threads.saturating_mul(cpu), (given - reserved).max(0))
}

/// Bytes of a size such as `1G`, `512M`, `1T` or a plain number (CS-SET-006).
pub fn bytes(text: &str) -> i64 {
    let text = text.trim();
    let (digits, shift) = match text.chars().last().map(|c| c.to_ascii_uppercase()) {
        Some('K') => (&text[..text.len() - 1], 10),
        Some('M') => (&text[..text.len() - 1], 20),
        Some('G') => (&text[..text.len() - 1], 30),
        Some('T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.trim().parse::<i64>().unwrap_or(0).saturating_mul(1 << shift)
}

/// Counts anew what a changed setting decides. `settings` has the new value already.
pub async fn setting_changed(settings: &Settings, tx: &Tx, category: &str, name: &str) -> ApiResult<()> {
    match (category, name) {
        ("host", "cpu.overProvisioning.ratio") | ("mevoco", "overProvisioning.memory") | ("kvm", "reservedMemory") => {
            recount_hosts(settings, tx).await
        }
        ("mevoco", "overProvisioning.primaryStorage") => recount_storages(settings, tx).await,
        _ => Ok(()),
    }
}

/// Like [`setting_changed`] for all settings at once.
pub async fn all_changed(settings: &Settings, tx: &Tx) -> ApiResult<()> {
    recount_hosts(settings, tx).await?;
    recount_storages(settings, tx).await
}

/// Makes running totals equal to their rows again where they drifted from them, whatever made them. Called by a timer;
/// looks before it writes, so that a cloud that agrees with itself costs no transaction.
pub async fn heal(app: &App) -> ApiResult<()> {
    let mut drifted = Vec::new();
    let held = allocation::held_by_host(app.db.read()).await?;
    for row in host_capacity::Entity::find().all(app.db.read()).await.or_internal()? {
        let held = held.get(&row.uuid).copied().unwrap_or_default();
        if !agrees(&app.settings, &row, held) {
            drifted.push(row.uuid);
        }
    }
    let mut storages = Vec::new();
    for row in primary_storage::Entity::find().all(app.db.read()).await.or_internal()? {
        if !storages::is_counted(app.db.read(), &row.uuid).await? {
            storages.push(row.uuid);
        }
    }
    if drifted.is_empty() && storages.is_empty() {
        return Ok(());
    }
    let (drifted, storages, settings) = (&drifted, &storages, &app.settings);
    app.write(|tx| async move {
        for uuid in drifted {
            // It may have been a change under way that looked like drift.
            let held = allocation::held_by_host(&*tx).await?.remove(uuid).unwrap_or_default();
            let row = host_capacity::Entity::find_by_id(uuid).one(&*tx).await.or_internal()?;
            if let Some(row) = row.filter(|row| !agrees(settings, row, held)) {
                let (cpu, memory) = host_totals(settings, i64::from(row.cpu_num), row.total_physical_memory);
                tracing::warn!(
                    host = uuid,
                    cpu = row.available_cpu,
                    memory = row.available_memory,
                    "capacity had drifted; counted anew"
                );
                allocation::recount_host(&tx, uuid, cpu, memory).await?;
            }
        }
        for uuid in storages {
            if !storages::is_counted(&*tx, uuid).await? {
                tracing::warn!(storage = uuid, "capacity had drifted; counted anew");
                storages::recount(&tx, uuid).await?;
            }
        }
        Ok(())
    })
    .await
}

/// Whether a host's totals are what its facts, the settings and what VMs hold there make of them.
fn agrees(settings: &Settings, row: &host_capacity::Model, (cpu, memory): (i64, i64)) -> bool {
    let totals = host_totals(settings, i64::from(row.cpu_num), row.total_physical_memory);
    totals == (row.total_cpu, row.total_memory)
        && (totals.0 - cpu, totals.1 - memory) == (row.available_cpu, row.available_memory)
}

async fn recount_hosts(settings: &Settings, tx: &Tx) -> ApiResult<()> {
    for row in host_capacity::Entity::find().all(&**tx).await.or_internal()? {
        let (cpu, memory) = host_totals(settings, i64::from(row.cpu_num), row.total_physical_memory);
        allocation::recount_host(tx, &row.uuid, cpu, memory).await?;
    }
    Ok(())
}

/// Claims of volumes follow the ratio; snapshots and caches claim what they really take.
async fn recount_storages(settings: &Settings, tx: &Tx) -> ApiResult<()> {
    use storage_allocation::{Column, Entity};
    let limits = StorageLimits::of(settings);
    let claims = Entity::find().filter(Column::Purpose.eq(allocation::Purpose::Volume.word()));
    for claim in claims.all(&**tx).await.or_internal()? {
        let Some(row) = volume::Entity::find_by_id(&claim.resource_uuid).one(&**tx).await.or_internal()? else {
            continue;
        };
        let size = limits.claim(row.size);
        if size != claim.size {
            Entity::update_many()
                .col_expr(Column::Size, Expr::value(size))
                .filter(Column::ResourceUuid.eq(&claim.resource_uuid))
                .exec(&**tx)
                .await
                .or_internal()?;
        }
    }
    for storage in primary_storage::Entity::find().all(&**tx).await.or_internal()? {
        storages::recount(tx, &storage.uuid).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_units_are_bytes() {
        assert_eq!(bytes("1G"), 1 << 30);
        assert_eq!(bytes(" 512m "), 512 << 20);
        assert_eq!(bytes("4096"), 4096);
        assert_eq!(bytes("lots"), 0);
    }

    #[test]
    fn cs_alloc_040_to_042_what_a_host_gives_out() {
        let settings = Settings::default();
        assert_eq!(host_totals(&settings, 8, 4 << 30), (80, 3 << 30));
        settings.put("mevoco", "overProvisioning.memory", "2.0");
        settings.put("kvm", "reservedMemory", "512M");
        assert_eq!(host_totals(&settings, 8, 4 << 30), (80, (8 << 30) - (512 << 20)));
        settings.put("kvm", "reservedMemory", "1T");
        assert_eq!(host_totals(&settings, 8, 4 << 30).1, 0, "never less than nothing");
    }

    #[test]
    fn cs_ps_017_the_threshold_counts_what_is_really_used() {
        let share = |available| local_storage_host_ref::Model {
            primary_storage_uuid: String::new(),
            host_uuid: String::new(),
            total_capacity: 100,
            available_capacity: 100,
            total_physical_capacity: 100,
            available_physical_capacity: available,
            create_date: 0,
            last_op_date: 0,
        };
        let limits = StorageLimits { ratio: 1.0, reserved: 0, threshold: 0.9 };
        assert!(!limits.is_full(&share(11)));
        assert!(limits.is_full(&share(10)));
    }
}
