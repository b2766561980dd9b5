//! From rows to what a host needs to start a VM.

use mn_service_db::entity::{vm_cd_rom, vm_instance, vm_nic, volume};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use node_manager_types::{
    ByteSize,
    vm::{BootDevice, CdromSpec, CpuMode, Firmware, NicSpec, Password, VmSpec},
};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, prelude::*};

use super::settings;
use crate::{
    agents,
    app::{App, OrInternal},
    resource::{l2_network, volume as volumes},
    tags,
};

/// Boot order of a VM that was given none.
pub const BOOT_ORDER: &str = "HardDisk,CdRom";

/// Cards of a VM in guest order.
pub async fn nics<C: ConnectionTrait>(conn: &C, vm: &str) -> ApiResult<Vec<vm_nic::Model>> {
    let of_vm = vm_nic::Entity::find().filter(vm_nic::Column::VmInstanceUuid.eq(vm));
    of_vm.order_by_asc(vm_nic::Column::DeviceId).all(conn).await.or_internal()
}

/// Attached volumes of a VM, the root volume first.
pub async fn volumes<C: ConnectionTrait>(conn: &C, vm: &str) -> ApiResult<Vec<volume::Model>> {
    let of_vm = volume::Entity::find().filter(volume::Column::VmInstanceUuid.eq(vm));
    of_vm.order_by_asc(volume::Column::DeviceId).all(conn).await.or_internal()
}

/// Host-side name of a card: `vnic<internal id>.<position>`, as long as 15 characters allow (CS-VM-248).
pub fn device_name(internal_id: i64, position: i32) -> String {
    format!("vnic{internal_id}.{position}")
}

/// Virtio drivers in the guest (CS-IMG-010).
pub fn has_virtio(platform: &str) -> bool {
    matches!(platform, "Linux" | "WindowsVirtio" | "Paravirtualization")
}

/// Value of the first system tag `prefix::value`.
pub fn tag_value<'t>(system_tags: &'t [String], prefix: &str) -> Option<&'t str> {
    system_tags.iter().find_map(|tag| tag.strip_prefix(prefix)?.strip_prefix("::"))
}

/// Everything needed to start the VM.
pub async fn of<C: ConnectionTrait>(app: &App, conn: &C, vm: &vm_instance::Model) -> ApiResult<VmSpec> {
    let platform = vm.platform.as_deref().unwrap_or("Linux");
    let system_tags = tags::system_of(conn, &vm.uuid).await?;
    let mut disks = Vec::new();
    for row in volumes(conn, &vm.uuid).await? {
        disks.push(volumes::disk_spec(app, conn, &row, platform).await?);
    }
    if disks.is_empty() {
        return Err(ApiError::new(ErrorCode::StartVm, format!("VM {} has no root volume; it cannot start", vm.uuid)));
    }
    let drives = vm_cd_rom::Entity::find()
        .filter(vm_cd_rom::Column::VmInstanceUuid.eq(&vm.uuid))
        .all(conn)
        .await
        .or_internal()?;
    let cdroms: Vec<CdromSpec> = drives
        .into_iter()
        .map(|drive| CdromSpec { index: u32::try_from(drive.device_id).unwrap_or(0), path: drive.iso_install_path })
        .collect();
    let mut cards = Vec::new();
    for nic in nics(conn, &vm.uuid).await? {
        cards.push(nic_spec(conn, vm, &nic).await?);
    }
    let order = tag_value(&system_tags, "bootOrder").unwrap_or(BOOT_ORDER);
    Ok(VmSpec {
        id: agents::id(&vm.uuid)?,
        name: vm.name.clone(),
        cpus: u32::try_from(vm.cpu_num).unwrap_or(1),
        memory: ByteSize::bytes(u64::try_from(vm.memory_size).unwrap_or(0)),
        firmware: if tag_value(&system_tags, "bootMode").is_some_and(|m| m.starts_with("UEFI")) {
            Firmware::Uefi
        } else {
            Firmware::Bios
        },
        cpu_mode: match app.settings.text("kvm", "vm.cpuMode").as_str() {
            "host-model" => CpuMode::HostModel,
            "host-passthrough" => CpuMode::HostPassthrough,
            _ => CpuMode::None,
        },
        boot_order: boot_order(order),
        disks,
        cdroms,
        nics: cards,
        video: app.settings.text("vm", "videoType"),
        console_password: match tag_value(&system_tags, tags::CONSOLE_PASSWORD) {
            Some(sealed) => Some(Password(settings::opened_password(app, &vm.uuid, sealed)?)),
            None => None,
        },
    })
}

fn boot_order(words: &str) -> Vec<BootDevice> {
    let devices = words.split(',').filter_map(|word| match word.trim() {
        "HardDisk" => Some(BootDevice::Disk),
        "CdRom" => Some(BootDevice::Cdrom),
        "Network" => Some(BootDevice::Network),
        _ => None,
    });
    devices.collect()
}

/// A card as a host plugs it.
pub async fn nic_spec<C: ConnectionTrait>(
    conn: &C,
    vm: &vm_instance::Model,
    nic: &vm_nic::Model,
) -> ApiResult<NicSpec> {
    let l3 = nic.l3_network_uuid.as_deref().unwrap_or_default();
    let network = mn_service_db::entity::l3_network::Entity::find_by_id(l3).one(conn).await.or_internal()?;
    let network = network.ok_or_else(|| ApiError::not_found("L3NetworkVO", l3))?;
    let bridge = l2_network::bridge(conn, &network.l2_network_uuid).await?;
    Ok(NicSpec {
        id: agents::id(&nic.uuid)?,
        mac: nic.mac.clone(),
        bridge: bridge.bridge,
        device: nic.internal_name.clone().unwrap_or_else(|| device_name(vm.internal_id, nic.device_id)),
        model: nic.driver_type.clone().unwrap_or_else(|| "virtio".to_owned()),
        index: u32::try_from(nic.device_id).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_orders_keep_their_order_and_ignore_unknown_words() {
        assert_eq!(boot_order("CdRom,HardDisk"), [BootDevice::Cdrom, BootDevice::Disk]);
        assert_eq!(boot_order("Floppy"), []);
    }

    #[test]
    fn tags_are_read_by_their_first_part() {
        let tags = ["hostname::vm1".to_owned(), "staticIp::l3::10.0.0.2".to_owned()];
        assert_eq!(tag_value(&tags, "hostname"), Some("vm1"));
        assert_eq!(tag_value(&tags, "staticIp"), Some("l3::10.0.0.2"));
        assert_eq!(tag_value(&tags, "host"), None);
    }
}
