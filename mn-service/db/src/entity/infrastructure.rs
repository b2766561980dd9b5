//! Zones, clusters, hosts and the management nodes.

/// Availability zone: the outermost grouping of resources.
pub mod zone {
    use sea_orm::entity::prelude::*;

    /// Availability zone: the outermost grouping of resources.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ZoneVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub state: String,
        pub r#type: String,
        pub is_default: bool,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Hosts of one kind that share storage and networks.
pub mod cluster {
    use sea_orm::entity::prelude::*;

    /// Hosts of one kind that share storage and networks.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ClusterVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub zone_uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub state: String,
        pub hypervisor_type: String,
        pub r#type: String,
        pub architecture: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Hypervisor host; KVM hosts live in the same table (`hypervisorType` tells them).
pub mod host {
    use sea_orm::entity::prelude::*;

    /// Hypervisor host; KVM hosts live in the same table (`hypervisorType` tells them).
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "HostVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub zone_uuid: String,
        pub cluster_uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub management_ip: String,
        pub hypervisor_type: String,
        pub state: String,
        pub status: String,
        pub architecture: Option<String>,
        pub username: Option<String>,
        pub ssh_port: Option<i32>,
        pub os_distribution: Option<String>,
        pub os_release: Option<String>,
        pub os_version: Option<String>,
        /// Internal: sealed SSH password (AES-256-GCM), never on the wire.
        #[sea_orm(column_type = "Text")]
        pub secret: Option<String>,
        /// Internal: TCP port of the agent.
        pub agent_port: Option<i32>,
        /// Internal: random id of the agent's present run; a change means that it restarted.
        pub agent_instance: Option<String>,
        /// Internal: version of the agent last seen.
        pub agent_version: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Capacity of a host: memory in bytes, CPU in virtual CPUs after overcommit.
pub mod host_capacity {
    use sea_orm::entity::prelude::*;

    /// Capacity of a host: memory in bytes, CPU in virtual CPUs after overcommit.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "HostCapacityVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub total_memory: i64,
        pub total_cpu: i64,
        pub cpu_num: i32,
        pub cpu_sockets: i32,
        pub available_memory: i64,
        pub available_cpu: i64,
        pub total_physical_memory: i64,
        pub available_physical_memory: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Out-of-band management of a host.
pub mod host_ipmi {
    use sea_orm::entity::prelude::*;

    /// Out-of-band management of a host.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "HostIpmiVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub ipmi_address: Option<String>,
        pub ipmi_username: Option<String>,
        pub ipmi_port: i32,
        pub ipmi_power_status: Option<String>,
        /// Internal: sealed IPMI password, never on the wire.
        #[sea_orm(column_type = "Text")]
        pub secret: Option<String>,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Hardware health of a host, by component.
pub mod host_hw_monitor_status {
    use sea_orm::entity::prelude::*;

    /// Hardware health of a host, by component.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "HostHwMonitorStatusVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub cpu_status: Option<String>,
        pub memory_status: Option<String>,
        pub disk_status: Option<String>,
        /// Read by `HostInventory.nicStatus`; the inventory of this table itself calls it `networkStatus`.
        pub nic_status: Option<String>,
        pub fan_status: Option<String>,
        pub power_supply_status: Option<String>,
        pub raid_status: Option<String>,
        pub network_status: Option<String>,
        pub gpu_status: Option<String>,
        pub temperature_status: Option<String>,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Network interface of a host as the agent reports it; speed in Mbit/s.
pub mod host_network_interface {
    use sea_orm::entity::prelude::*;

    /// Network interface of a host as the agent reports it; speed in Mbit/s.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "HostNetworkInterfaceVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub host_uuid: String,
        pub bonding_uuid: Option<String>,
        pub interface_model: Option<String>,
        pub vendor_id: Option<String>,
        pub device_id: Option<String>,
        pub subvendor_id: Option<String>,
        pub subdevice_id: Option<String>,
        pub interface_name: String,
        pub interface_type: Option<String>,
        pub speed: Option<i64>,
        pub slave_active: Option<bool>,
        pub carrier_active: Option<bool>,
        /// JSON list of addresses in CIDR notation.
        #[sea_orm(column_type = "Text")]
        pub ip_addresses: Option<String>,
        pub gateway: Option<String>,
        pub mac: Option<String>,
        pub call_back_ip: Option<String>,
        pub pci_device_address: Option<String>,
        pub offload_status: Option<String>,
        pub virt_status: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A running management service.
pub mod management_node {
    use sea_orm::entity::prelude::*;

    /// A running management service.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ManagementNodeVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub host_name: String,
        pub join_date: i64,
        pub heart_beat: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
