//! Virtual machines, their cards and CD drives.

/// Virtual machine; memory in bytes.
pub mod vm_instance {
    use sea_orm::entity::prelude::*;

    /// Virtual machine; memory in bytes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "VmInstanceVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub zone_uuid: Option<String>,
        pub cluster_uuid: Option<String>,
        pub image_uuid: Option<String>,
        pub host_uuid: Option<String>,
        pub last_host_uuid: Option<String>,
        pub instance_offering_uuid: Option<String>,
        pub root_volume_uuid: Option<String>,
        pub platform: Option<String>,
        pub architecture: Option<String>,
        pub default_l3_network_uuid: Option<String>,
        pub r#type: String,
        pub hypervisor_type: Option<String>,
        pub memory_size: i64,
        pub reserved_memory_size: Option<i64>,
        pub cpu_num: i32,
        pub cpu_speed: i64,
        pub allocator_strategy: Option<String>,
        pub state: String,
        pub internal_id: i64,
        pub guest_os_type: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Network card of a virtual machine.
pub mod vm_nic {
    use sea_orm::entity::prelude::*;

    /// Network card of a virtual machine.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "VmNicVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub vm_instance_uuid: Option<String>,
        pub used_ip_uuid: Option<String>,
        pub l3_network_uuid: Option<String>,
        pub ip: Option<String>,
        pub mac: String,
        pub hypervisor_type: Option<String>,
        pub netmask: Option<String>,
        pub gateway: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub meta_data: Option<String>,
        pub ip_version: Option<i32>,
        pub driver_type: Option<String>,
        pub internal_name: Option<String>,
        pub device_id: i32,
        pub r#type: String,
        pub state: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// CD drive of a virtual machine.
pub mod vm_cd_rom {
    use sea_orm::entity::prelude::*;

    /// CD drive of a virtual machine.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "VmCdRomVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub vm_instance_uuid: String,
        pub device_id: i32,
        pub iso_uuid: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub iso_install_path: Option<String>,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub protocol: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
