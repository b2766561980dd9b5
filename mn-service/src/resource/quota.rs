//! Quotas of accounts (PLAT-QUOTA-001 to PLAT-QUOTA-018): how much of what an account may have. The admin account has
//! none. Limits are asked in the transaction that writes what counts, so two calls at once cannot both get the last one.

use mn_service_db::entity::{
    account, account_resource_ref, image, l3_network, quota, vm_instance, volume, volume_snapshot,
};
use mn_service_types::{ADMIN_ACCOUNT, ApiError, ErrorCode, contract, date::now_millis, error::ApiResult, new_uuid};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, prelude::*,
    sea_query::SelectStatement,
};
use serde_json::{Map, Value, json};

use crate::{
    api::{Apis, Call, Reply},
    app::{App, OrInternal, Tx},
    settings::Settings,
};

mn_service_types::messages! {
    UpdateQuota { identity_uuid: String, name: String, value: i64 }
    GetAccountQuotaUsage { uuid: String }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// VMs in whatever state, but for those in the recycle bin.
    Vms,
    /// VMs that run.
    RunningVms,
    /// Processors of VMs that run.
    Cpus,
    /// Bytes of memory of VMs that run.
    Memory,
    /// Data volumes, also those in the recycle bin (PLAT-QUOTA-002).
    DataVolumes,
    /// Bytes of all volumes, by virtual size.
    VolumeBytes,
    /// Images, also those in the recycle bin.
    Images,
    /// Bytes of images.
    ImageBytes,
    /// L3 networks.
    L3Networks,
    /// Volume snapshots.
    Snapshots,
}

impl Counted {
    const ALL: [Self; 10] = [
        Self::Vms,
        Self::RunningVms,
        Self::Cpus,
        Self::Memory,
        Self::DataVolumes,
        Self::VolumeBytes,
        Self::Images,
        Self::ImageBytes,
        Self::L3Networks,
        Self::Snapshots,
    ];

    /// Name of the quota, and of the setting in category `quota` that holds its default.
    fn name(self) -> &'static str {
        match self {
            Self::Vms => "vm.totalNum",
            Self::RunningVms => "vm.num",
            Self::Cpus => "vm.cpuNum",
            Self::Memory => "vm.memorySize",
            Self::DataVolumes => "volume.data.num",
            Self::VolumeBytes => "volume.capacity",
            Self::Images => "image.num",
            Self::ImageBytes => "image.size",
            Self::L3Networks => "l3.num",
            Self::Snapshots => "snapshot.volume.num",
        }
    }
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryQuota");
    apis.record(update);
    apis.sync(usage);
}

/// States of VMs that hold no processors and memory.
const IDLE: [&str; 4] = ["Created", "Stopped", "Destroyed", "Error"];

/// Uuids of one type that an account owns.
fn owned(account: &str, vo: &str) -> SelectStatement {
    use account_resource_ref::{Column, Entity};
    Entity::find()
        .select_only()
        .column(Column::ResourceUuid)
        .filter(Column::AccountUuid.eq(account))
        .filter(Column::ResourceType.eq(vo))
        .filter(Column::IsShared.eq(false))
        .into_query()
}

/// How much of everything an account has, without the resource `except`.
async fn used<C: ConnectionTrait>(
    conn: &C,
    account: &str,
    except: &str,
) -> ApiResult<impl Fn(Counted) -> i64 + use<C>> {
    let vms: Vec<(String, i32, i64)> = vm_instance::Entity::find()
        .select_only()
        .columns([vm_instance::Column::State, vm_instance::Column::CpuNum, vm_instance::Column::MemorySize])
        .filter(vm_instance::Column::Uuid.in_subquery(owned(account, "VmInstanceVO")))
        .filter(vm_instance::Column::Uuid.ne(except))
        .into_tuple()
        .all(conn)
        .await
        .or_internal()?;
    let volumes: Vec<(String, i64)> = volume::Entity::find()
        .select_only()
        .columns([volume::Column::Type, volume::Column::Size])
        .filter(volume::Column::Uuid.in_subquery(owned(account, "VolumeVO")))
        .filter(volume::Column::Uuid.ne(except))
        .into_tuple()
        .all(conn)
        .await
        .or_internal()?;
    let images: Vec<i64> = image::Entity::find()
        .select_only()
        .column(image::Column::Size)
        .filter(image::Column::Uuid.in_subquery(owned(account, "ImageVO")))
        .filter(image::Column::Uuid.ne(except))
        .into_tuple()
        .all(conn)
        .await
        .or_internal()?;
    let networks = l3_network::Entity::find()
        .filter(l3_network::Column::Uuid.in_subquery(owned(account, "L3NetworkVO")))
        .filter(l3_network::Column::Uuid.ne(except))
        .count(conn)
        .await
        .or_internal()?;
    let snapshots = volume_snapshot::Entity::find()
        .filter(volume_snapshot::Column::Uuid.in_subquery(owned(account, "VolumeSnapshotVO")))
        .filter(volume_snapshot::Column::Uuid.ne(except))
        .count(conn)
        .await
        .or_internal()?;
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let active = |vm: &&(String, i32, i64)| !IDLE.contains(&vm.0.as_str());
    Ok(move |what| match what {
        Counted::Vms => number(vms.iter().filter(|vm| vm.0 != "Destroyed").count()),
        Counted::RunningVms => number(vms.iter().filter(active).count()),
        Counted::Cpus => vms.iter().filter(active).map(|vm| i64::from(vm.1)).sum(),
        Counted::Memory => vms.iter().filter(active).map(|vm| vm.2).sum(),
        Counted::DataVolumes => number(volumes.iter().filter(|volume| volume.0 == "Data").count()),
        Counted::VolumeBytes => volumes.iter().map(|volume| volume.1).sum(),
        Counted::Images => number(images.len()),
        Counted::ImageBytes => images.iter().sum(),
        Counted::L3Networks => i64::try_from(networks).unwrap_or(i64::MAX),
        Counted::Snapshots => i64::try_from(snapshots).unwrap_or(i64::MAX),
    })
}

/// The limit of an account: its own, else the default.
async fn limit<C: ConnectionTrait>(conn: &C, settings: &Settings, account: &str, what: Counted) -> ApiResult<i64> {
    let row = quota::Entity::find()
        .filter(quota::Column::IdentityUuid.eq(account))
        .filter(quota::Column::Name.eq(what.name()))
        .one(conn)
        .await
        .or_internal()?;
    Ok(row.map_or_else(|| settings.integer("quota", what.name(), i64::MAX), |row| row.value))
}

/// Refuses what would exceed a quota of `account`, naming every quota that would be. `except` is a resource that counts
/// already and is not to be counted twice, or empty.
pub async fn demand(app: &App, tx: &Tx, account: &str, asked: &[(Counted, i64)], except: &str) -> ApiResult<()> {
    let asked: Vec<&(Counted, i64)> = asked.iter().filter(|(_, amount)| *amount > 0).collect();
    if account == ADMIN_ACCOUNT || asked.is_empty() {
        return Ok(());
    }
    // Keeps others of the account waiting where several connections write; a no-op on SQLite.
    account::Entity::find_by_id(account).lock_exclusive().one(&**tx).await.or_internal()?;
    let used = used(&**tx, account, except).await?;
    let mut problems = Vec::new();
    for (what, amount) in asked {
        let limit = limit(&**tx, &app.settings, account, *what).await?;
        let used = used(*what);
        if used.saturating_add(*amount) > limit {
            problems.push(format!(
                "quota {} of account {account} is {limit}; {used} are in use and {amount} more were asked for",
                what.name()
            ));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    problems.push("delete or stop something first, or ask an administrator for more (UpdateQuota)".to_owned());
    Err(ApiError::new(ErrorCode::QuotaExceeded, problems.join("\n")))
}

/// Gives a new account the quotas that the settings say (PLAT-ACCT-030).
pub(super) async fn give_defaults(settings: &Settings, tx: &Tx, account: &str) -> ApiResult<()> {
    for config in contract().global_configs.iter().filter(|config| config.category == "quota") {
        write(tx, account, &config.name, settings.integer("quota", &config.name, i64::MAX)).await?;
    }
    Ok(())
}

async fn write(tx: &Tx, account: &str, name: &str, value: i64) -> ApiResult<String> {
    use quota::{ActiveModel, Column, Entity};
    let known = Entity::find().filter(Column::IdentityUuid.eq(account)).filter(Column::Name.eq(name));
    let now = now_millis();
    if let Some(row) = known.one(&**tx).await.or_internal()? {
        let changed = ActiveModel {
            uuid: Set(row.uuid.clone()),
            value: Set(value),
            last_op_date: Set(now),
            ..Default::default()
        };
        Entity::update(changed).exec(&**tx).await.or_internal()?;
        return Ok(row.uuid);
    }
    let uuid = new_uuid();
    let row = ActiveModel {
        uuid: Set(uuid.clone()),
        name: Set(name.to_owned()),
        identity_uuid: Set(account.to_owned()),
        identity_type: Set("AccountVO".to_owned()),
        value: Set(value),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(uuid)
}

/// PLAT-ACCT-039: applies to later requests; what is there already stays.
async fn update(_call: Call, tx: Tx, msg: UpdateQuota) -> ApiResult<Reply> {
    let known: Vec<&str> = contract()
        .global_configs
        .iter()
        .filter(|config| config.category == "quota")
        .map(|config| config.name.as_str())
        .collect();
    let mut problems = Vec::new();
    if !known.contains(&msg.name.as_str()) {
        problems.push(format!("name: there is no quota {:?}; use one of {}", msg.name, known.join(", ")));
    }
    if msg.identity_uuid == ADMIN_ACCOUNT {
        problems.push("identityUuid: the admin account has no quotas".to_owned());
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    Ok(Reply::Inventory("QuotaInventory", write(&tx, &msg.identity_uuid, &msg.name, msg.value).await?))
}

async fn usage(call: Call, msg: GetAccountQuotaUsage) -> ApiResult<Map<String, Value>> {
    if !call.caller.admin && call.caller.account != msg.uuid {
        let text = format!("uuid: account {} is not yours; an account sees its own quotas", msg.uuid);
        return Err(ApiError::new(ErrorCode::PermissionDenied, text));
    }
    let conn = call.app.db.read();
    let used = used(conn, &msg.uuid, "").await?;
    let mut usages = Vec::new();
    for what in Counted::ALL {
        let total = match msg.uuid.as_str() {
            ADMIN_ACCOUNT => i64::MAX,
            account => limit(conn, &call.app.settings, account, what).await?,
        };
        usages.push(json!({ "name": what.name(), "total": total, "used": used(what) }));
    }
    Ok(Map::from_iter([("usages".to_owned(), Value::Array(usages))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quota_has_a_default_among_the_settings() {
        for what in Counted::ALL {
            let known = contract().global_configs.iter().any(|c| c.category == "quota" && c.name == what.name());
            assert!(known, "{}", what.name());
        }
    }
}
