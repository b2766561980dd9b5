//! Primary and image storage, images, volumes, snapshots.

/// Where volumes live.
pub mod primary_storage {
    use sea_orm::entity::prelude::*;

    /// Where volumes live.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "PrimaryStorageVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub zone_uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub url: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub r#type: String,
        pub state: String,
        pub status: String,
        #[sea_orm(column_type = "Text")]
        pub mount_path: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Capacity of a primary storage, bytes.
pub mod primary_storage_capacity {
    use sea_orm::entity::prelude::*;

    /// Capacity of a primary storage, bytes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "PrimaryStorageCapacityVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub total_capacity: i64,
        pub available_capacity: i64,
        pub total_physical_capacity: i64,
        pub available_physical_capacity: i64,
        pub system_used_capacity: Option<i64>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A primary storage is attached to a cluster.
pub mod primary_storage_cluster_ref {
    use sea_orm::entity::prelude::*;

    /// A primary storage is attached to a cluster.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "PrimaryStorageClusterRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub cluster_uuid: String,
        pub primary_storage_uuid: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Share of a host in a local primary storage, bytes.
pub mod local_storage_host_ref {
    use sea_orm::entity::prelude::*;

    /// Share of a host in a local primary storage, bytes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "LocalStorageHostRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub primary_storage_uuid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub host_uuid: String,
        pub total_capacity: i64,
        pub available_capacity: i64,
        pub total_physical_capacity: i64,
        pub available_physical_capacity: i64,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which host of a local primary storage holds a volume, image or snapshot.
pub mod local_storage_resource_ref {
    use sea_orm::entity::prelude::*;

    /// Which host of a local primary storage holds a volume, image or snapshot.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "LocalStorageResourceRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource_uuid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub primary_storage_uuid: String,
        pub host_uuid: String,
        pub size: i64,
        pub resource_type: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Image server; capacities in bytes.
pub mod backup_storage {
    use sea_orm::entity::prelude::*;

    /// Image server; capacities in bytes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "BackupStorageVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub url: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub total_capacity: i64,
        pub available_capacity: i64,
        pub r#type: String,
        pub state: String,
        pub status: String,
        pub hostname: Option<String>,
        pub username: Option<String>,
        pub ssh_port: Option<i32>,
        /// Internal: sealed SSH password, never on the wire.
        #[sea_orm(column_type = "Text")]
        pub secret: Option<String>,
        /// Internal: host whose agent serves this storage.
        pub host_uuid: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// An image server serves a zone.
pub mod backup_storage_zone_ref {
    use sea_orm::entity::prelude::*;

    /// An image server serves a zone.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "BackupStorageZoneRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub backup_storage_uuid: String,
        pub zone_uuid: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Template or ISO; sizes in bytes.
pub mod image {
    use sea_orm::entity::prelude::*;

    /// Template or ISO; sizes in bytes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ImageVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub state: String,
        pub status: String,
        pub size: i64,
        pub actual_size: i64,
        pub md5_sum: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub url: Option<String>,
        pub media_type: String,
        pub guest_os_type: Option<String>,
        pub r#type: String,
        pub platform: Option<String>,
        pub architecture: Option<String>,
        pub format: String,
        pub system: bool,
        pub virtio: bool,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Copy of an image on an image server.
pub mod image_backup_storage_ref {
    use sea_orm::entity::prelude::*;

    /// Copy of an image on an image server.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ImageBackupStorageRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub image_uuid: String,
        pub backup_storage_uuid: String,
        #[sea_orm(column_type = "Text")]
        pub install_path: Option<String>,
        pub status: String,
        pub export_md5_sum: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub export_url: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Copy of an image on a primary storage; size in bytes. It may outlive the image.
pub mod image_cache {
    use sea_orm::entity::prelude::*;

    /// Copy of an image on a primary storage; size in bytes. It may outlive the image.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ImageCacheVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub primary_storage_uuid: String,
        pub image_uuid: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub install_url: String,
        pub media_type: String,
        pub size: i64,
        pub md5sum: Option<String>,
        pub state: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Virtual disk; sizes in bytes.
pub mod volume {
    use sea_orm::entity::prelude::*;

    /// Virtual disk; sizes in bytes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "VolumeVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub primary_storage_uuid: Option<String>,
        pub vm_instance_uuid: Option<String>,
        pub disk_offering_uuid: Option<String>,
        pub root_image_uuid: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub install_path: Option<String>,
        pub r#type: String,
        pub format: Option<String>,
        pub size: i64,
        pub actual_size: Option<i64>,
        pub device_id: Option<i32>,
        pub state: String,
        pub status: String,
        pub is_shareable: bool,
        #[sea_orm(column_type = "Text")]
        pub volume_qos: Option<String>,
        pub last_detach_date: Option<i64>,
        pub last_vm_instance_uuid: Option<String>,
        pub last_attach_date: Option<i64>,
        pub protocol: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Chain or tree of snapshots of a volume.
pub mod volume_snapshot_tree {
    use sea_orm::entity::prelude::*;

    /// Chain or tree of snapshots of a volume.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "VolumeSnapshotTreeVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub volume_uuid: Option<String>,
        pub current: bool,
        pub status: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Snapshot of a volume; size in bytes, distance in steps from the root.
pub mod volume_snapshot {
    use sea_orm::entity::prelude::*;

    /// Snapshot of a volume; size in bytes, distance in steps from the root.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "VolumeSnapshotVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub r#type: String,
        pub volume_uuid: Option<String>,
        pub tree_uuid: Option<String>,
        pub parent_uuid: Option<String>,
        pub primary_storage_uuid: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub primary_storage_install_path: Option<String>,
        pub volume_type: String,
        pub format: Option<String>,
        pub latest: bool,
        pub size: i64,
        pub distance: i32,
        pub state: String,
        pub status: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Copy of a snapshot on an image server.
pub mod volume_snapshot_backup_storage_ref {
    use sea_orm::entity::prelude::*;

    /// Copy of a snapshot on an image server.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "VolumeSnapshotBackupStorageRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub volume_snapshot_uuid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub backup_storage_uuid: String,
        #[sea_orm(column_type = "Text")]
        pub install_path: Option<String>,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
