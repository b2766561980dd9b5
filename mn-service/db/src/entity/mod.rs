//! Tables as SeaORM entities.
//!
//! A table of the contract is named by its resource type (`ZoneVO`) and its columns by the contract's JSON fields, so
//! that the query engine finds them by the contract's data alone; our own tables are snake_case. Moments are
//! milliseconds since 1970 UTC. Fields whose meaning the contract gives have no comment of their own.

mod affinity;
mod enrolment;
mod identity;
mod infrastructure;
mod network;
mod offering;
mod storage;
mod tagging;
mod vm;
mod work;

pub use affinity::{affinity_group, affinity_group_usage};
pub use enrolment::{enrolment_code, enrolment_node};
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
