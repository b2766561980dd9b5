//! Primary and image storage, images, volumes, snapshots.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] = &[
    primary_storage,
    primary_storage_capacity,
    primary_storage_cluster_ref,
    local_storage_host_ref,
    local_storage_resource_ref,
    backup_storage,
    backup_storage_zone_ref,
    image,
    image_backup_storage_ref,
    image_cache,
    volume,
    volume_snapshot_tree,
    volume_snapshot,
    volume_snapshot_backup_storage_ref,
];

fn primary_storage() -> Layout {
    table("PrimaryStorageVO")
        .key("uuid", Uuid)
        .need("zoneUuid", Uuid)
        .refers("ZoneVO")
        .need("name", Line)
        .need("url", Text)
        .maybe("description", Text)
        .need("type", Line)
        .need("state", Line)
        .need("status", Line)
        .maybe("mountPath", Text)
        .dates()
}

fn primary_storage_capacity() -> Layout {
    table("PrimaryStorageCapacityVO")
        .key("uuid", Uuid)
        .part_of("PrimaryStorageVO")
        .need("totalCapacity", Big)
        .need("availableCapacity", Big)
        .need("totalPhysicalCapacity", Big)
        .need("availablePhysicalCapacity", Big)
        .maybe("systemUsedCapacity", Big)
        .dates()
}

fn primary_storage_cluster_ref() -> Layout {
    table("PrimaryStorageClusterRefVO")
        .key("id", Auto)
        .need("clusterUuid", Uuid)
        .part_of("ClusterVO")
        .need("primaryStorageUuid", Uuid)
        .part_of("PrimaryStorageVO")
        .dates()
        .unique(&["primaryStorageUuid", "clusterUuid"])
}

fn local_storage_host_ref() -> Layout {
    table("LocalStorageHostRefVO")
        .key("primaryStorageUuid", Uuid)
        .part_of("PrimaryStorageVO")
        .key("hostUuid", Uuid)
        .part_of("HostVO")
        .need("totalCapacity", Big)
        .need("availableCapacity", Big)
        .need("totalPhysicalCapacity", Big)
        .need("availablePhysicalCapacity", Big)
        .dates()
}

fn local_storage_resource_ref() -> Layout {
    table("LocalStorageResourceRefVO")
        .key("resourceUuid", Uuid)
        .key("primaryStorageUuid", Uuid)
        .part_of("PrimaryStorageVO")
        .need("hostUuid", Uuid)
        .part_of("HostVO")
        .need("size", Big)
        .need("resourceType", Line)
        .dates()
}

fn backup_storage() -> Layout {
    table("BackupStorageVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .need("url", Text)
        .maybe("description", Text)
        .need("totalCapacity", Big)
        .need("availableCapacity", Big)
        .need("type", Line)
        .need("state", Line)
        .need("status", Line)
        .maybe("hostname", Line)
        .maybe("username", Line)
        .maybe("sshPort", Int)
        .maybe("secret", Text)
        .maybe("hostUuid", Uuid)
        .refers("HostVO")
        .dates()
}

fn backup_storage_zone_ref() -> Layout {
    table("BackupStorageZoneRefVO")
        .key("id", Auto)
        .need("backupStorageUuid", Uuid)
        .part_of("BackupStorageVO")
        .need("zoneUuid", Uuid)
        .part_of("ZoneVO")
        .dates()
        .unique(&["backupStorageUuid", "zoneUuid"])
}

fn image() -> Layout {
    table("ImageVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .maybe("description", Text)
        .need("state", Line)
        .need("status", Line)
        .need("size", Big)
        .need("actualSize", Big)
        .maybe("md5Sum", Line)
        .maybe("url", Text)
        .need("mediaType", Line)
        .maybe("guestOsType", Line)
        .need("type", Line)
        .maybe("platform", Line)
        .maybe("architecture", Line)
        .need("format", Line)
        .need("system", Flag)
        .need("virtio", Flag)
        .dates()
}

fn image_backup_storage_ref() -> Layout {
    table("ImageBackupStorageRefVO")
        .key("id", Auto)
        .need("imageUuid", Uuid)
        .part_of("ImageVO")
        .need("backupStorageUuid", Uuid)
        .part_of("BackupStorageVO")
        .maybe("installPath", Text)
        .need("status", Line)
        .maybe("exportMd5Sum", Line)
        .maybe("exportUrl", Text)
        .dates()
        .unique(&["imageUuid", "backupStorageUuid"])
}

fn image_cache() -> Layout {
    table("ImageCacheVO")
        .key("id", Auto)
        .need("primaryStorageUuid", Uuid)
        .part_of("PrimaryStorageVO")
        .maybe("imageUuid", Uuid)
        .indexed()
        .need("installUrl", Text)
        .need("mediaType", Line)
        .need("size", Big)
        .maybe("md5sum", Line)
        .need("state", Line)
        .dates()
}

fn volume() -> Layout {
    table("VolumeVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .maybe("description", Text)
        .maybe("primaryStorageUuid", Uuid)
        .refers("PrimaryStorageVO")
        .maybe("vmInstanceUuid", Uuid)
        .refers("VmInstanceVO")
        .maybe("diskOfferingUuid", Uuid)
        .refers_weakly("DiskOfferingVO")
        .maybe("rootImageUuid", Uuid)
        .indexed()
        .maybe("installPath", Text)
        .need("type", Line)
        .maybe("format", Line)
        .need("size", Big)
        .maybe("actualSize", Big)
        .maybe("deviceId", Int)
        .need("state", Line)
        .need("status", Line)
        .need("isShareable", Flag)
        .maybe("volumeQos", Text)
        .maybe("lastDetachDate", Big)
        .maybe("lastVmInstanceUuid", Uuid)
        .maybe("lastAttachDate", Big)
        .maybe("protocol", Line)
        .dates()
        .index(&["status"])
}

fn volume_snapshot_tree() -> Layout {
    table("VolumeSnapshotTreeVO")
        .key("uuid", Uuid)
        .maybe("volumeUuid", Uuid)
        .refers("VolumeVO")
        .need("current", Flag)
        .need("status", Line)
        .dates()
}

fn volume_snapshot() -> Layout {
    table("VolumeSnapshotVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .maybe("description", Text)
        .need("type", Line)
        .maybe("volumeUuid", Uuid)
        .refers("VolumeVO")
        .maybe("treeUuid", Uuid)
        .refers("VolumeSnapshotTreeVO")
        .maybe("parentUuid", Uuid)
        .indexed()
        .maybe("primaryStorageUuid", Uuid)
        .refers("PrimaryStorageVO")
        .maybe("primaryStorageInstallPath", Text)
        .need("volumeType", Line)
        .maybe("format", Line)
        .need("latest", Flag)
        .need("size", Big)
        .need("distance", Int)
        .need("state", Line)
        .need("status", Line)
        .dates()
}

fn volume_snapshot_backup_storage_ref() -> Layout {
    table("VolumeSnapshotBackupStorageRefVO")
        .key("volumeSnapshotUuid", Uuid)
        .part_of("VolumeSnapshotVO")
        .key("backupStorageUuid", Uuid)
        .part_of("BackupStorageVO")
        .maybe("installPath", Text)
}
