//! Adding, changing and guarding primary storages.

use mn_service_db::entity::{
    local_storage_host_ref, primary_storage, primary_storage_capacity, primary_storage_cluster_ref, vm_instance, volume,
};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};

use super::LOCAL;
use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    change,
    resource::deletion,
};

mn_service_types::messages! {
    AddLocalPrimaryStorage { url: String, name: String, description: Option<String>, r#type: Option<String>, zone_uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryPrimaryStorage");
    apis.query("QueryLocalStorageResourceRef");
    apis.record(add);
    apis.record_raw("UpdatePrimaryStorage", update);
    deletion::register(apis, "DeletePrimaryStorage", "PrimaryStorageVO");
}

/// Directories that are refused together with everything below them (CS-PSL-002).
const SYSTEM_TREES: &[&str] =
    &["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/usr"];
/// Directories that are refused themselves; a directory below them is fine.
const SYSTEM_DIRECTORIES: &[&str] =
    &["/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/log", "/var/tmp"];

/// The directory that `url` names, without a slash at its end; refuses what no storage may have (CS-PSL-002). Hosts
/// refuse the same and know symbolic links besides; here the operator hears of it before any host is asked.
pub(in crate::resource) fn directory(url: &str) -> ApiResult<String> {
    let refuse = |rule: &str| {
        Err(ApiError::new(
            ErrorCode::InvalidArgument,
            format!("url {url:?} {rule}; give the storage a directory of its own, for example /zstack_ps"),
        ))
    };
    let parts: Vec<&str> = url.split('/').filter(|part| !part.is_empty()).collect();
    if !url.starts_with('/') {
        return refuse("is no absolute path");
    }
    if parts.iter().any(|part| matches!(*part, "." | ".."))
        || url.contains(|c: char| c.is_control() || "\"\\,;".contains(c))
    {
        return refuse(
            "must not have `.` or `..` parts, commas, semicolons, quotes, backslashes or control characters",
        );
    }
    let path = format!("/{}", parts.join("/"));
    let below = |tree: &&str| path == **tree || path.starts_with(&format!("{tree}/"));
    if SYSTEM_DIRECTORIES.contains(&path.as_str()) || SYSTEM_TREES.iter().any(below) {
        return refuse("is a system directory");
    }
    Ok(path)
}

async fn add(call: Call, tx: Tx, msg: AddLocalPrimaryStorage) -> ApiResult<Reply> {
    if msg.r#type.as_deref().is_some_and(|ty| !ty.is_empty() && ty != LOCAL) {
        return Err(ApiError::new(ErrorCode::InvalidArgument, format!("type of a local primary storage is {LOCAL}")));
    }
    let url = directory(&msg.url)?;
    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = primary_storage::ActiveModel {
        uuid: Set(uuid.clone()),
        zone_uuid: Set(msg.zone_uuid),
        name: Set(msg.name),
        url: Set(url.clone()),
        description: Set(msg.description),
        r#type: Set(LOCAL.to_owned()),
        state: Set("Enabled".to_owned()),
        // CS-PSL-004: normally connected; a host that is away takes its share with it.
        status: Set("Connected".to_owned()),
        mount_path: Set(Some(url)),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    primary_storage::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    let capacity = primary_storage_capacity::ActiveModel {
        uuid: Set(uuid.clone()),
        total_capacity: Set(0),
        available_capacity: Set(0),
        total_physical_capacity: Set(0),
        available_physical_capacity: Set(0),
        system_used_capacity: Set(None),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    primary_storage_capacity::Entity::insert(capacity).exec_without_returning(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("PrimaryStorageInventory", uuid))
}

async fn update(call: Call, tx: Tx) -> ApiResult<Reply> {
    let uuid = change::target(&call)?;
    let before = super::load(&*tx, &uuid).await?;
    change::apply_update(&call, &tx, "PrimaryStorageInventory", &uuid).await?;
    if let Some(url) = call.text("url") {
        let url = directory(url)?;
        use local_storage_host_ref::{Column, Entity};
        let used = Entity::find().filter(Column::PrimaryStorageUuid.eq(&uuid)).one(&*tx).await.or_internal()?;
        if used.is_some() && url != before.url {
            return Err(ApiError::new(
                ErrorCode::InvalidArgument,
                format!(
                    "url of primary storage {uuid} cannot change: hosts use its directory. \
                     Detach it from all clusters first, or add a new primary storage"
                ),
            ));
        }
        primary_storage::Entity::update_many()
            .col_expr(primary_storage::Column::Url, Expr::value(url.as_str()))
            .col_expr(primary_storage::Column::MountPath, Expr::value(url.as_str()))
            .filter(primary_storage::Column::Uuid.eq(&uuid))
            .exec(&*tx)
            .await
            .or_internal()?;
    }
    Ok(Reply::Inventory("PrimaryStorageInventory", uuid))
}

/// VMs that are not stopped and have a volume on a primary storage, of one cluster when given.
pub(super) async fn running_on<C: ConnectionTrait>(
    conn: &C,
    primary_storage: &str,
    cluster: Option<&str>,
) -> ApiResult<Vec<String>> {
    let on_it = volume::Column::PrimaryStorageUuid.eq(primary_storage);
    let volumes = volume::Entity::find().filter(on_it).all(conn).await.or_internal()?;
    let mut vms: Vec<String> = volumes.into_iter().filter_map(|volume| volume.vm_instance_uuid).collect();
    vms.sort();
    vms.dedup();
    let mut found = Vec::new();
    for chunk in vms.chunks(5_000) {
        let mut rows = vm_instance::Entity::find()
            .filter(vm_instance::Column::Uuid.is_in(chunk.iter().cloned()))
            .filter(vm_instance::Column::State.is_not_in(["Created", "Stopped", "Destroyed", "Error"]));
        if let Some(cluster) = cluster {
            rows = rows.filter(vm_instance::Column::ClusterUuid.eq(cluster));
        }
        found.extend(rows.all(conn).await.or_internal()?.into_iter().map(|vm| vm.uuid));
    }
    Ok(found)
}

/// A primary storage that a cluster still uses is not deleted by mistake.
pub(in crate::resource) async fn guard_delete<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<()> {
    use primary_storage_cluster_ref::{Column, Entity};
    let refs = Entity::find().filter(Column::PrimaryStorageUuid.eq(uuid)).all(conn).await.or_internal()?;
    if refs.is_empty() {
        return Ok(());
    }
    let clusters: Vec<String> = refs.into_iter().map(|r| r.cluster_uuid).collect();
    Err(ApiError::new(
        ErrorCode::DeleteResource,
        format!(
            "primary storage {uuid} is attached to clusters {}; detach it with DetachPrimaryStorageFromCluster first",
            clusters.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cs_psl_002_system_directories_are_refused_with_a_way_out() {
        for url in
            ["/", "/dev/", "/proc", "/sys/block", "/usr/bin", "/bin", "//usr//bin", "/var/lib/", "/etc/zstack", "/home"]
        {
            let error = directory(url).unwrap_err();
            assert!(
                error.details.contains("system directory") && error.details.contains("/zstack_ps"),
                "{url}: {error}"
            );
        }
        for url in ["zstack_ps", "", "/a/../usr", "/a/./b", "/a,b", "/a\nb", "/a;b"] {
            assert!(directory(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn directories_are_kept_in_one_spelling() {
        assert_eq!(directory("/zstack_ps/").unwrap(), "/zstack_ps");
        assert_eq!(directory("//data//ps").unwrap(), "/data/ps");
        assert_eq!(directory("/var/lib/zstack").unwrap(), "/var/lib/zstack");
        assert_eq!(directory("/devices").unwrap(), "/devices");
    }
}
