//! Which tables and columns exist, read off the entities once.

use std::{collections::HashMap, sync::LazyLock};

use sea_orm::{ColumnTrait, ColumnType, EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn};

use crate::entity;

/// A table.
#[derive(Debug)]
pub struct Table {
    /// Its name: a resource type of the contract (`ZoneVO`), or snake_case for tables of our own.
    pub name: &'static str,
    columns: HashMap<&'static str, Column>,
    key: Vec<Column>,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name, which is the JSON field for tables of the contract.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// May be NULL.
    pub nullable: bool,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Lower-case text that compares byte by byte.
    Uuid,
    /// Text that compares without case.
    Text,
    /// Number; also moments.
    Integer,
    /// True or false.
    Boolean,
}

impl Table {
    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<Column> {
        self.columns.get(name).copied()
    }

    /// Every column, in no particular order.
    pub fn columns(&self) -> impl Iterator<Item = Column> {
        self.columns.values().copied()
    }

    /// Columns of the primary key.
    pub fn key(&self) -> &[Column] {
        &self.key
    }

    fn of<E: EntityTrait>() -> Self {
        let columns: HashMap<_, _> = E::Column::iter()
            .map(|column| {
                let name = IdenStatic::as_str(&column);
                let def = column.def();
                let kind = match def.get_column_type() {
                    ColumnType::Boolean => ColumnKind::Boolean,
                    ColumnType::Integer | ColumnType::BigInteger => ColumnKind::Integer,
                    _ if is_uuid_column(name) => ColumnKind::Uuid,
                    _ => ColumnKind::Text,
                };
                (name, Column { name, kind, nullable: def.is_null() })
            })
            .collect();
        let key = E::PrimaryKey::iter()
            .filter_map(|key| columns.get(IdenStatic::as_str(&key.into_column())).copied())
            .collect();
        Self { name: E::default().table_name(), columns, key }
    }
}

fn is_uuid_column(name: &str) -> bool {
    name == "uuid" || name.ends_with("Uuid") || name.ends_with("_uuid") || name == "apiId"
}

macro_rules! tables {
    ($($module:ident)*) => { vec![$(Table::of::<entity::$module::Entity>()),*] };
}

static TABLES: LazyLock<HashMap<&'static str, Table>> = LazyLock::new(|| {
    let tables = tables! {
        zone cluster host host_capacity host_ipmi host_hw_monitor_status host_network_interface management_node
        primary_storage primary_storage_capacity primary_storage_cluster_ref local_storage_host_ref
        local_storage_resource_ref backup_storage backup_storage_zone_ref image image_backup_storage_ref image_cache
        volume volume_snapshot_tree volume_snapshot volume_snapshot_backup_storage_ref
        instance_offering disk_offering
        l2_network l2_network_cluster_ref l3_network l3_network_dns l3_network_host_route ip_range reserved_ip_range
        used_ip network_service_provider network_service_type network_service_provider_l2_network_ref
        network_service_l3_network_ref
        vm_instance vm_nic vm_cd_rom
        affinity_group affinity_group_usage
        system_tag tag_pattern user_tag global_config resource_config
        account account_resource_ref quota long_job session
        enrolment_code enrolment_node
        job saga saga_event audit host_allocation storage_allocation garbage counter
    };
    tables.into_iter().map(|table| (table.name, table)).collect()
});

/// A resource type that is kept in the table of its superclass.
pub(crate) struct Alias {
    pub(crate) vo: &'static str,
    pub(crate) table: &'static str,
    /// Structure on the wire.
    pub(crate) inventory: &'static str,
    /// Column that tells its rows from others, and the value there.
    pub(crate) marker: (&'static str, &'static str),
    /// Rows of a query for the superclass come back as this.
    pub(crate) specific: bool,
}

pub(crate) const ALIASES: &[Alias] = &[
    Alias {
        vo: "KVMHostVO",
        table: "HostVO",
        inventory: "KVMHostInventory",
        marker: ("hypervisorType", "KVM"),
        specific: true,
    },
    Alias {
        vo: "L2VlanNetworkVO",
        table: "L2NetworkVO",
        inventory: "L2VlanNetworkInventory",
        marker: ("type", "L2VlanNetwork"),
        specific: true,
    },
    Alias {
        vo: "SftpBackupStorageVO",
        table: "BackupStorageVO",
        inventory: "SftpBackupStorageInventory",
        marker: ("type", "SftpBackupStorage"),
        specific: true,
    },
    Alias {
        vo: "ImageStoreBackupStorageVO",
        table: "BackupStorageVO",
        inventory: "ImageStoreBackupStorageInventory",
        marker: ("type", "ImageStoreBackupStorage"),
        specific: true,
    },
    // Ranges have no `typeField` in the contract: a list of ranges holds plain ones.
    Alias {
        vo: "NormalIpRangeVO",
        table: "IpRangeVO",
        inventory: "NormalIpRangeInventory",
        marker: ("ipRangeType", "Normal"),
        specific: false,
    },
    Alias {
        vo: "AddressPoolVO",
        table: "IpRangeVO",
        inventory: "AddressPoolInventory",
        marker: ("ipRangeType", "AddressPool"),
        specific: false,
    },
];

/// The table that keeps resources of type `vo`: its own, or that of its superclass (`KVMHostVO` lives in `HostVO`).
pub fn table_of(vo: &str) -> Option<&'static Table> {
    let name = ALIASES.iter().find(|alias| alias.vo == vo).map_or(vo, |alias| alias.table);
    TABLES.get(name)
}

/// Every table.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    TABLES.values()
}
