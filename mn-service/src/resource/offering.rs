//! Instance offerings (CS-IOF-*) and disk offerings (CS-DOF-*).

use mn_service_db::entity::{disk_offering, instance_offering};
use mn_service_types::{ApiError, date::now_millis, error::ApiResult};
use node_manager_types::ByteSize;
use sea_orm::{ActiveValue::Set, EntityTrait};

use super::deletion;
use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    change,
};

mn_service_types::messages! {
    CreateInstanceOffering { name: String, description: Option<String>, cpu_num: i32, memory_size: i64, reserved_memory_size: Option<i64>, allocator_strategy: Option<String>, sort_key: i32, r#type: Option<String> }
    CreateDiskOffering { name: String, description: Option<String>, disk_size: i64, sort_key: i32, allocation_strategy: Option<String>, r#type: Option<String> }
}

/// CS-IOF-001: smaller VMs cannot start.
const SMALLEST_MEMORY: ByteSize = ByteSize::mib(16);

/// Strategy of an offering that names none.
pub const DEFAULT_STRATEGY: &str = "LeastVmPreferredHostAllocatorStrategy";

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryInstanceOffering");
    apis.record(create_instance);
    change::update(apis, "UpdateInstanceOffering", "InstanceOfferingInventory");
    change::state(apis, "ChangeInstanceOfferingState", "InstanceOfferingInventory", "InstanceOfferingState");
    deletion::register(apis, "DeleteInstanceOffering", "InstanceOfferingVO");
    apis.query("QueryDiskOffering");
    apis.record(create_disk);
    change::update(apis, "UpdateDiskOffering", "DiskOfferingInventory");
    change::state(apis, "ChangeDiskOfferingState", "DiskOfferingInventory", "DiskOfferingState");
    deletion::register(apis, "DeleteDiskOffering", "DiskOfferingVO");
}

async fn create_instance(call: Call, tx: Tx, msg: CreateInstanceOffering) -> ApiResult<Reply> {
    let mut problems = Vec::new();
    if msg.cpu_num < 1 {
        problems.push(format!("cpuNum must be at least 1, not {}", msg.cpu_num));
    }
    if msg.memory_size <= SMALLEST_MEMORY.as_bytes() as i64 {
        problems.push(format!("memorySize must be more than {SMALLEST_MEMORY}, not {} bytes", msg.memory_size));
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = instance_offering::ActiveModel {
        uuid: Set(uuid.clone()),
        name: Set(msg.name),
        description: Set(msg.description),
        cpu_num: Set(msg.cpu_num),
        cpu_speed: Set(0),
        memory_size: Set(msg.memory_size),
        reserved_memory_size: Set(msg.reserved_memory_size),
        r#type: Set(msg.r#type.unwrap_or_else(|| "UserVm".to_owned())),
        allocator_strategy: Set(Some(msg.allocator_strategy.unwrap_or_else(|| DEFAULT_STRATEGY.to_owned()))),
        sort_key: Set(msg.sort_key),
        state: Set("Enabled".to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    instance_offering::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("InstanceOfferingInventory", uuid))
}

async fn create_disk(call: Call, tx: Tx, msg: CreateDiskOffering) -> ApiResult<Reply> {
    if msg.disk_size < 1 {
        return Err(ApiError::invalid(&[format!("diskSize must be at least 1 byte, not {}", msg.disk_size)]));
    }
    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = disk_offering::ActiveModel {
        uuid: Set(uuid.clone()),
        name: Set(msg.name),
        description: Set(msg.description),
        disk_size: Set(msg.disk_size),
        sort_key: Set(msg.sort_key),
        state: Set("Enabled".to_owned()),
        r#type: Set(msg.r#type.unwrap_or_else(|| "DefaultDiskOfferingType".to_owned())),
        allocator_strategy: Set(Some(
            msg.allocation_strategy.unwrap_or_else(|| "DefaultPrimaryStorageAllocationStrategy".to_owned()),
        )),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    disk_offering::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("DiskOfferingInventory", uuid))
}
