//! L2 and L3 networks, addresses, network services.

/// Broadcast domain; VLAN networks live in the same table (`type` tells them).
pub mod l2_network {
    use sea_orm::entity::prelude::*;

    /// Broadcast domain; VLAN networks live in the same table (`type` tells them).
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "L2NetworkVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub zone_uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub physical_interface: Option<String>,
        pub r#type: String,
        pub v_switch_type: Option<String>,
        pub virtual_network_id: Option<i32>,
        pub isolated: Option<bool>,
        pub pvlan: Option<String>,
        pub vlan: Option<i32>,
        /// Internal: name of the bridge on the hosts.
        pub bridge: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// An L2 network is attached to a cluster.
pub mod l2_network_cluster_ref {
    use sea_orm::entity::prelude::*;

    /// An L2 network is attached to a cluster.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "L2NetworkClusterRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub l2_network_uuid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub cluster_uuid: String,
        pub l2_provider_type: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Subnets on an L2 network.
pub mod l3_network {
    use sea_orm::entity::prelude::*;

    /// Subnets on an L2 network.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "L3NetworkVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub zone_uuid: String,
        pub l2_network_uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub r#type: String,
        pub state: String,
        pub dns_domain: Option<String>,
        pub system: bool,
        pub category: String,
        pub ip_version: i32,
        #[sea_orm(column_name = "enableIPAM")]
        pub enable_ipam: bool,
        pub isolated: Option<bool>,
        /// Internal: address of the DHCP service in this network.
        pub dhcp_server_ip: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Name server of an L3 network, in the order of `id`.
pub mod l3_network_dns {
    use sea_orm::entity::prelude::*;

    /// Name server of an L3 network, in the order of `id`.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "L3NetworkDnsVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub l3_network_uuid: String,
        pub dns: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Static route handed to the guests of an L3 network.
pub mod l3_network_host_route {
    use sea_orm::entity::prelude::*;

    /// Static route handed to the guests of an L3 network.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "L3NetworkHostRouteVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub l3_network_uuid: String,
        pub prefix: String,
        pub nexthop: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Addresses that an L3 network hands out.
pub mod ip_range {
    use sea_orm::entity::prelude::*;

    /// Addresses that an L3 network hands out.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "IpRangeVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub l3_network_uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub start_ip: String,
        pub end_ip: String,
        pub netmask: String,
        pub gateway: Option<String>,
        pub network_cidr: Option<String>,
        pub ip_version: i32,
        pub address_mode: Option<String>,
        pub prefix_len: i32,
        pub ip_range_type: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Addresses that an L3 network must not hand out.
pub mod reserved_ip_range {
    use sea_orm::entity::prelude::*;

    /// Addresses that an L3 network must not hand out.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ReservedIpRangeVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub l3_network_uuid: String,
        pub name: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub start_ip: String,
        pub end_ip: String,
        pub ip_version: i32,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Address in use.
pub mod used_ip {
    use sea_orm::entity::prelude::*;

    /// Address in use.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "UsedIpVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub ip_range_uuid: Option<String>,
        pub l3_network_uuid: String,
        pub ip_version: i32,
        pub ip: String,
        pub netmask: Option<String>,
        pub gateway: Option<String>,
        pub used_for: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub meta_data: Option<String>,
        pub ip_in_long: i64,
        pub vm_nic_uuid: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Who implements network services.
pub mod network_service_provider {
    use sea_orm::entity::prelude::*;

    /// Who implements network services.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "NetworkServiceProviderVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub r#type: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Service that a provider implements.
pub mod network_service_type {
    use sea_orm::entity::prelude::*;

    /// Service that a provider implements.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "NetworkServiceTypeVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub network_service_provider_uuid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub r#type: String,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A provider serves an L2 network.
pub mod network_service_provider_l2_network_ref {
    use sea_orm::entity::prelude::*;

    /// A provider serves an L2 network.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "NetworkServiceProviderL2NetworkRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub network_service_provider_uuid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub l2_network_uuid: String,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Service of an L3 network and its provider.
pub mod network_service_l3_network_ref {
    use sea_orm::entity::prelude::*;

    /// Service of an L3 network and its provider.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "NetworkServiceL3NetworkRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub l3_network_uuid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub network_service_provider_uuid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub network_service_type: String,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
