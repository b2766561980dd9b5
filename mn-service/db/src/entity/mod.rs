//! Tables as SeaORM entities.
//!
//! A table of the contract is named by its resource type (`ZoneVO`) and its columns by the contract's JSON fields, so
//! that the query engine finds them by the contract's data alone; our own tables are snake_case. Moments are
//! milliseconds since 1970 UTC. Fields whose meaning the contract gives have no comment of their own.

mod identity;
mod infrastructure;
mod network;
mod offering;
mod storage;
mod tagging;
mod vm;
mod work;

pub use identity::{account, account_resource_ref, long_job, quota, session};
pub use infrastructure::{
    cluster, host, host_capacity, host_hw_monitor_status, host_ipmi, host_network_interface, management_node, zone,
};
pub use network::{
    ip_range, l2_network, l2_network_cluster_ref, l3_network, l3_network_dns, l3_network_host_route,
    network_service_l3_network_ref, network_service_provider, network_service_provider_l2_network_ref,
    network_service_type, reserved_ip_range, used_ip,
};
pub use offering::{disk_offering, instance_offering};
pub use storage::{
    backup_storage, backup_storage_zone_ref, image, image_backup_storage_ref, image_cache, local_storage_host_ref,
    local_storage_resource_ref, primary_storage, primary_storage_capacity, primary_storage_cluster_ref, volume,
    volume_snapshot, volume_snapshot_backup_storage_ref, volume_snapshot_tree,
};
pub use tagging::{global_config, resource_config, system_tag, tag_pattern, user_tag};
pub use vm::{vm_cd_rom, vm_instance, vm_nic};
pub use work::{audit, counter, garbage, host_allocation, job, saga, saga_event, storage_allocation};

/// Every entity under the name of its resource.
pub mod prelude {
    pub use super::account::Entity as Account;
    pub use super::account_resource_ref::Entity as AccountResourceRef;
    pub use super::audit::Entity as Audit;
    pub use super::backup_storage::Entity as BackupStorage;
    pub use super::backup_storage_zone_ref::Entity as BackupStorageZoneRef;
    pub use super::cluster::Entity as Cluster;
    pub use super::counter::Entity as Counter;
    pub use super::disk_offering::Entity as DiskOffering;
    pub use super::garbage::Entity as Garbage;
    pub use super::global_config::Entity as GlobalConfig;
    pub use super::host::Entity as Host;
    pub use super::host_allocation::Entity as HostAllocation;
    pub use super::host_capacity::Entity as HostCapacity;
    pub use super::host_hw_monitor_status::Entity as HostHwMonitorStatus;
    pub use super::host_ipmi::Entity as HostIpmi;
    pub use super::host_network_interface::Entity as HostNetworkInterface;
    pub use super::image::Entity as Image;
    pub use super::image_backup_storage_ref::Entity as ImageBackupStorageRef;
    pub use super::image_cache::Entity as ImageCache;
    pub use super::instance_offering::Entity as InstanceOffering;
    pub use super::ip_range::Entity as IpRange;
    pub use super::job::Entity as Job;
    pub use super::l2_network::Entity as L2Network;
    pub use super::l2_network_cluster_ref::Entity as L2NetworkClusterRef;
    pub use super::l3_network::Entity as L3Network;
    pub use super::l3_network_dns::Entity as L3NetworkDns;
    pub use super::l3_network_host_route::Entity as L3NetworkHostRoute;
    pub use super::local_storage_host_ref::Entity as LocalStorageHostRef;
    pub use super::local_storage_resource_ref::Entity as LocalStorageResourceRef;
    pub use super::long_job::Entity as LongJob;
    pub use super::management_node::Entity as ManagementNode;
    pub use super::network_service_l3_network_ref::Entity as NetworkServiceL3NetworkRef;
    pub use super::network_service_provider::Entity as NetworkServiceProvider;
    pub use super::network_service_provider_l2_network_ref::Entity as NetworkServiceProviderL2NetworkRef;
    pub use super::network_service_type::Entity as NetworkServiceType;
    pub use super::primary_storage::Entity as PrimaryStorage;
    pub use super::primary_storage_capacity::Entity as PrimaryStorageCapacity;
    pub use super::primary_storage_cluster_ref::Entity as PrimaryStorageClusterRef;
    pub use super::quota::Entity as Quota;
    pub use super::reserved_ip_range::Entity as ReservedIpRange;
    pub use super::resource_config::Entity as ResourceConfig;
    pub use super::saga::Entity as Saga;
    pub use super::saga_event::Entity as SagaEvent;
    pub use super::session::Entity as Session;
    pub use super::storage_allocation::Entity as StorageAllocation;
    pub use super::system_tag::Entity as SystemTag;
    pub use super::tag_pattern::Entity as TagPattern;
    pub use super::used_ip::Entity as UsedIp;
    pub use super::user_tag::Entity as UserTag;
    pub use super::vm_cd_rom::Entity as VmCdRom;
    pub use super::vm_instance::Entity as VmInstance;
    pub use super::vm_nic::Entity as VmNic;
    pub use super::volume::Entity as Volume;
    pub use super::volume_snapshot::Entity as VolumeSnapshot;
    pub use super::volume_snapshot_backup_storage_ref::Entity as VolumeSnapshotBackupStorageRef;
    pub use super::volume_snapshot_tree::Entity as VolumeSnapshotTree;
    pub use super::zone::Entity as Zone;
}
