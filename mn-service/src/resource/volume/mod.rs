//! Volumes (CS-VOL-*): virtual disks on primary storages.

use mn_service_db::entity::{
    host, local_storage_resource_ref, system_tag, vm_instance, volume, volume_snapshot, volume_snapshot_tree,
};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError};
use node_manager_client::ClientError;
use node_manager_types::{
    ErrorKind,
    operation::{CreateVolume, DeleteVolume},
    storage::VolumeFacts,
    vm::{CacheMode, DiskBus, DiskSpec},
};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*, sea_query::OnConflict};

use super::{
    allocation::{self, Purpose, StorageClaim},
    primary_storage::{self, Place},
    provisioning::StorageLimits,
};
use crate::{
    access, agents,
    api::{Apis, StepError},
    app::{App, OrInternal, Tx},
    change as fields,
    garbage::{self, Garbage},
    tags,
};

mod attach;
mod change;
mod create;
mod delete;

pub(in crate::resource) use attach::attach_problems;

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryVolume");
    fields::update(apis, "UpdateVolume", "VolumeInventory");
    fields::state(apis, "ChangeVolumeState", "VolumeInventory", "VolumeState");
    attach::register(apis);
    change::register(apis);
    create::register(apis);
    delete::register(apis);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    attach::workflows(registry)?;
    change::workflows(registry)?;
    create::workflows(registry)?;
    delete::workflows(registry)
}

/// First layer of a volume: `<root>/volumes/vol-<uuid>/<uuid>.qcow2`. Snapshots freeze the layer that is active and go
/// on in a new file of the same folder ([`layer`]), so one folder holds everything of one volume.
pub fn path(root: &str, volume: &str) -> String {
    layer(root, volume, volume)
}

/// A further layer of a volume, named by what made it: the snapshot below it, or the revert.
pub fn layer(root: &str, volume: &str, name: &str) -> String {
    format!("{root}/volumes/vol-{volume}/{name}.qcow2")
}

/// The row of a volume.
pub async fn load<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<volume::Model> {
    let row = volume::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("VolumeVO", uuid))
}

/// Where a volume lives; `None` for one that was never instantiated.
pub async fn place_of<C: ConnectionTrait>(conn: &C, volume: &volume::Model) -> ApiResult<Option<Place>> {
    let Some(storage) = &volume.primary_storage_uuid else { return Ok(None) };
    let key = (volume.uuid.clone(), storage.clone());
    let row = local_storage_resource_ref::Entity::find_by_id(key).one(conn).await.or_internal()?;
    match row {
        Some(row) => primary_storage::place(conn, storage, &row.host_uuid).await.map(Some),
        None => Ok(None),
    }
}

/// Notes on which host of a local storage a volume or snapshot lives.
pub async fn note_place(tx: &Tx, resource_type: &str, uuid: &str, place: &Place, size: i64) -> ApiResult<()> {
    use local_storage_resource_ref::{ActiveModel, Column, Entity};
    let now = now_millis();
    let row = ActiveModel {
        resource_uuid: Set(uuid.to_owned()),
        primary_storage_uuid: Set(place.primary_storage.clone()),
        host_uuid: Set(place.host.clone()),
        size: Set(size),
        resource_type: Set(resource_type.to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    let moved = OnConflict::columns([Column::ResourceUuid, Column::PrimaryStorageUuid])
        .update_columns([Column::HostUuid, Column::Size, Column::ResourceType, Column::CreateDate, Column::LastOpDate])
        .to_owned();
    Entity::insert(row).on_conflict(moved).exec_without_returning(&**tx).await.or_internal()?;
    Ok(())
}

/// Forgets where volumes or snapshots live.
pub(super) async fn forget_places(tx: &Tx, uuids: &[String]) -> ApiResult<()> {
    use local_storage_resource_ref::{Column, Entity};
    let of_them = Column::ResourceUuid.is_in(uuids.iter().cloned());
    Entity::delete_many().filter(of_them).exec(&**tx).await.or_internal()?;
    Ok(())
}

/// Reserves room for a volume by virtual size (CS-PS-006, CS-PS-008), divided by the over-provisioning ratio
/// (CS-ALLOC-043). A volume that holds room already holds the new size afterwards.
pub async fn reserve(app: &App, tx: &Tx, volume: &str, place: &Place, size: i64) -> ApiResult<()> {
    claim(app, tx, volume, place, size, Purpose::Volume, &format!("volume {volume}")).await
}

/// Reserves room for a volume or snapshot.
pub(super) async fn claim(
    app: &App,
    tx: &Tx,
    holder: &str,
    place: &Place,
    size: i64,
    purpose: Purpose,
    what: &str,
) -> ApiResult<()> {
    let limits = StorageLimits::of(&app.settings);
    let claim = StorageClaim {
        holder,
        primary_storage: &place.primary_storage,
        host: Some(&place.host),
        size: if purpose == Purpose::Volume { limits.claim(size) } else { size },
        // A snapshot that is claimed is on the disk already.
        keep: if purpose == Purpose::Volume { limits.reserved } else { 0 },
        purpose,
    };
    match allocation::reserve_storage(tx, &claim).await? {
        true => Ok(()),
        false => Err(no_room(&**tx, what, place, claim.size).await?),
    }
}

/// The error of a claim that does not fit: who wanted how much of what is left where.
pub(super) async fn no_room<C: ConnectionTrait>(
    conn: &C,
    what: &str,
    place: &Place,
    wanted: i64,
) -> ApiResult<ApiError> {
    let storage = primary_storage::load(conn, &place.primary_storage).await?;
    let host = host::Entity::find_by_id(&place.host).one(conn).await.or_internal()?;
    let host = host.map_or_else(|| place.host.clone(), |host| format!("{} ({})", host.name, host.uuid));
    let details = match primary_storage::share(conn, &place.primary_storage, &place.host).await? {
        Some(share) => format!(
            "{what} needs {} on primary storage {} ({}), host {host} has {} left there; \
             delete something, choose another host or primary storage, or add disks",
            primary_storage::size(wanted),
            storage.name,
            storage.uuid,
            primary_storage::size(share.available_capacity)
        ),
        None => format!(
            "{what} cannot live on host {host}: primary storage {} ({}) is not attached to its cluster, \
             or the host has not connected since",
            storage.name, storage.uuid
        ),
    };
    Ok(ApiError::new(ErrorCode::AllocatePrimaryStorage, details))
}

/// Creates the file of a volume, empty or on top of a cached image.
pub async fn create_on(
    app: &App,
    job: &str,
    place: &Place,
    volume: &str,
    size: i64,
    backing: Option<&str>,
) -> ApiResult<VolumeFacts> {
    let operation = CreateVolume {
        root: place.root.clone(),
        volume: agents::id(volume)?,
        path: path(&place.root.path, volume),
        size: primary_storage::size(size),
        backing: backing.map(str::to_owned),
    };
    let agent = app.agents.of(app.db.read(), &place.host).await?;
    let step = format!("create-volume-{volume}");
    agents::run(&agent, job, &step, operation, app.host_patience()).await.map_err(|error| {
        let what = format!("volume {volume} could not be created on host {}", place.host);
        agents::failure(ErrorCode::CreateResource, what, &place.host, &error)
    })
}

/// Removes a file of a volume or snapshot. What an unreachable host keeps is noted as garbage and removed when the host
/// is back, so that nobody waits for it; a host that refuses is an error.
pub async fn delete_on(app: &App, job: &str, place: &Place, path: &str) -> ApiResult<()> {
    let host = host::Entity::find_by_id(&place.host).one(app.db.read()).await.or_internal()?;
    let Some(host) = host else {
        // CS-DEL-043: a host that is gone keeps its data.
        return Ok(());
    };
    if host.status == "Connected" {
        let agent = app.agents.of(app.db.read(), &place.host).await?;
        let operation = DeleteVolume { root: place.root.clone(), path: path.to_owned() };
        match agents::run(&agent, job, &format!("delete-{path}"), operation, garbage::BRIEF).await {
            Ok(()) => return Ok(()),
            Err(ClientError::Agent(error)) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) if !passing(&error) => {
                let what = format!("{path} could not be deleted");
                return Err(agents::failure(ErrorCode::DeleteResource, what, &place.host, &error));
            }
            Err(error) => tracing::warn!(host = %place.host, path, %error, "deleted later"),
        }
    }
    app.write(|tx| async move { garbage::add(&tx, &file(place, path)).await.map(drop) }).await
}

/// True when asking again later is right.
fn passing(error: &ClientError) -> bool {
    match error {
        ClientError::Agent(error) => {
            matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Cancelled)
        }
        ClientError::Unreachable(_) | ClientError::Timeout { .. } | ClientError::Protocol(_) => true,
    }
}

/// A file of a volume or snapshot as garbage.
pub(super) fn file(place: &Place, path: &str) -> Garbage {
    let (host, root) = (place.host.clone(), place.root.clone());
    Garbage::DeleteVolumeFile(garbage::File { host, root, path: path.to_owned() })
}

/// How a VM sees a volume: the bus follows the platform (CS-IMG-010, CS-VM-173 to CS-VM-175) unless the volume is made
/// for VirtioSCSI (CS-VOL-040); the cache mode is a global setting (CS-SET-007).
pub async fn disk_spec<C: ConnectionTrait>(
    app: &App,
    conn: &C,
    volume: &volume::Model,
    platform: &str,
) -> ApiResult<DiskSpec> {
    let path = volume.install_path.clone().ok_or_else(|| {
        ApiError::new(
            ErrorCode::Operation,
            format!("volume {} ({}) has no file yet; it is {}", volume.name, volume.uuid, volume.status),
        )
    })?;
    let scsi = system_tag::Entity::find()
        .filter(system_tag::Column::ResourceUuid.eq(&volume.uuid))
        .filter(system_tag::Column::Tag.eq("capability::virtio-scsi"))
        .one(conn)
        .await
        .or_internal()?
        .is_some();
    Ok(DiskSpec {
        volume: agents::id(&volume.uuid)?,
        path,
        bus: bus(platform, volume.r#type == "Root", scsi, virtio_root(conn, volume).await?),
        index: u32::try_from(volume.device_id.unwrap_or_default()).unwrap_or_default(),
        cache: cache_mode(&app.settings.text("kvm", "vm.cacheMode")),
    })
}

/// True when the volume's VM wants Virtio for its root volume in spite of its platform (CS-VM-175).
async fn virtio_root<C: ConnectionTrait>(conn: &C, volume: &volume::Model) -> ApiResult<bool> {
    match &volume.vm_instance_uuid {
        Some(vm) => Ok(tags::system_of(conn, vm).await?.iter().any(|tag| tag == "windows::virtioVolume")),
        None => Ok(false),
    }
}

fn bus(platform: &str, root: bool, scsi: bool, virtio_root: bool) -> DiskBus {
    match platform {
        _ if scsi => DiskBus::VirtioScsi,
        // CS-VM-175: setup of Windows knows IDE alone; data volumes wait for the driver.
        "Windows" if root && !virtio_root => DiskBus::Ide,
        "Other" => DiskBus::Ide,
        _ => DiskBus::Virtio,
    }
}

fn cache_mode(word: &str) -> CacheMode {
    match word {
        "writethrough" => CacheMode::Writethrough,
        "writeback" => CacheMode::Writeback,
        _ => CacheMode::None,
    }
}

/// The VM that has a volume open now and the host it runs on. A VM between two states is an error: what it will do with
/// the volume is not known yet.
pub(super) async fn opened_by<C: ConnectionTrait>(
    conn: &C,
    volume: &volume::Model,
) -> ApiResult<Option<(vm_instance::Model, String)>> {
    let Some(vm) = &volume.vm_instance_uuid else { return Ok(None) };
    let Some(vm) = vm_instance::Entity::find_by_id(vm).one(conn).await.or_internal()? else { return Ok(None) };
    match (vm.state.as_str(), vm.host_uuid.clone()) {
        ("Running" | "Paused", Some(host)) => Ok(Some((vm, host))),
        ("Stopped" | "Destroyed" | "Created" | "Error", _) => Ok(None),
        (state, _) => Err(ApiError::new(
            ErrorCode::VmState,
            format!("VM {} ({}) is {state}; wait until it is Running or Stopped", vm.name, vm.uuid),
        )),
    }
}

/// Removes everything that is noted about a volume and its snapshots, and notes their files for removal. Returns the
/// numbers of the garbage for [`garbage::collect_now`].
pub async fn purge(tx: &Tx, volume: &volume::Model) -> ApiResult<Vec<i64>> {
    let snapshots = volume_snapshot::Entity::find()
        .filter(volume_snapshot::Column::VolumeUuid.eq(&volume.uuid))
        .all(&**tx)
        .await
        .or_internal()?;
    let mut ids = Vec::new();
    if let Some(place) = place_of(&**tx, volume).await? {
        // A volume that is still being made has its file where it will be.
        let active = volume.install_path.clone().unwrap_or_else(|| path(&place.root.path, &volume.uuid));
        let frozen = snapshots.iter().filter_map(|snapshot| snapshot.primary_storage_install_path.clone());
        for path in std::iter::once(active).chain(frozen) {
            ids.push(garbage::add(tx, &file(&place, &path)).await?);
        }
    }
    let mut gone: Vec<String> = snapshots.into_iter().map(|snapshot| snapshot.uuid).collect();
    gone.push(volume.uuid.clone());
    allocation::release_storage(tx, &gone).await?;
    forget_places(tx, &gone).await?;
    tags::forget(tx, &gone).await?;
    access::forget(tx, &gone).await?;
    {
        use volume_snapshot::{Column, Entity};
        Entity::delete_many().filter(Column::VolumeUuid.eq(&volume.uuid)).exec(&**tx).await.or_internal()?;
    }
    {
        use volume_snapshot_tree::{Column, Entity};
        Entity::delete_many().filter(Column::VolumeUuid.eq(&volume.uuid)).exec(&**tx).await.or_internal()?;
    }
    volume::Entity::delete_by_id(&volume.uuid).exec(&**tx).await.or_internal()?;
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_folder_holds_every_layer_of_a_volume() {
        assert_eq!(path("/zstack_ps", "v"), "/zstack_ps/volumes/vol-v/v.qcow2");
        assert_eq!(layer("/zstack_ps", "v", "s"), "/zstack_ps/volumes/vol-v/s.qcow2");
    }

    #[test]
    fn cs_img_010_the_platform_decides_the_bus() {
        for platform in ["Linux", "WindowsVirtio", "Paravirtualization"] {
            assert_eq!(bus(platform, true, false, false), DiskBus::Virtio, "{platform}");
        }
        for platform in ["Windows", "Other"] {
            assert_eq!(bus(platform, true, false, false), DiskBus::Ide, "{platform}");
        }
        assert_eq!(bus("Linux", false, true, false), DiskBus::VirtioScsi);
    }

    #[test]
    fn cs_vm_175_windows_boots_from_ide_and_keeps_its_data_on_virtio() {
        assert_eq!(bus("Windows", false, false, false), DiskBus::Virtio);
        assert_eq!(bus("Windows", true, false, true), DiskBus::Virtio);
        assert_eq!(bus("Other", false, false, false), DiskBus::Ide);
    }
}
