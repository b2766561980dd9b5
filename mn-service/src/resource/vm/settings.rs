//! Settings of a VM that its next start by the platform takes up (CS-VM-056): addresses and models of its cards, boot
//! order, firmware, console password.

use mn_service_db::entity::{vm_instance, vm_nic};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult, new_uuid};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait};
use serde_json::{Map, Value, json};

use super::{
    INVENTORY,
    configure::tag_value,
    find,
    nic::{driver_problem, give_address, mac_problem, parse_ip},
    spec,
};
use crate::{
    api::{Apis, Call, Reply},
    app::{App, OrInternal, Tx},
    resource::l3_network,
    tags::{self, CONSOLE_PASSWORD},
};

mn_service_types::messages! {
    SetVmStaticIp { vm_instance_uuid: String, l3_network_uuid: String, ip: Option<String>, ip6: Option<String>, netmask: Option<String>, gateway: Option<String>, ipv6_gateway: Option<String>, ipv6_prefix: Option<String> }
    DeleteVmStaticIp { vm_instance_uuid: String, l3_network_uuid: String, static_ip: Option<String> }
    UpdateVmNicMac { vm_nic_uuid: String, mac: String }
    UpdateVmNicDriver { vm_instance_uuid: String, vm_nic_uuid: String, driver_type: String }
    SetVmBootOrder { uuid: String, boot_order: Option<Vec<String>> }
    GetVmBootOrder { uuid: String }
    SetVmBootMode { uuid: String, boot_mode: String }
    DeleteVmBootMode { uuid: String }
    SetVmConsolePassword { uuid: String, console_password: String }
    DeleteVmConsolePassword { uuid: String }
    GetVmConsolePassword { uuid: String }
}

const NIC: &str = "VmNicInventory";

/// Words of a boot order.
const DEVICES: &[&str] = &["HardDisk", "CdRom", "Network"];
/// Words of a firmware.
const MODES: &[&str] = &["Legacy", "UEFI", "UEFI_WITH_CSM"];

pub(super) fn register(apis: &mut Apis) {
    apis.record(set_static_ip);
    apis.record(delete_static_ip);
    apis.record(update_mac);
    apis.record(update_driver);
    apis.record(set_boot_order);
    apis.sync(boot_order);
    apis.record(set_boot_mode);
    apis.record(delete_boot_mode);
    apis.record(set_console_password);
    apis.record(delete_console_password);
    apis.sync(console_password);
}

/// Refuses what the guest of a running VM would not see (CS-VM-165).
fn stopped(vm: &vm_instance::Model, what: &str) -> ApiResult<()> {
    if vm.state == "Stopped" {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::VmState,
        format!("VM {} ({}) is {}; {what} changes while it is Stopped, stop it first", vm.name, vm.uuid, vm.state),
    ))
}

/// CS-VM-140, CS-VM-192, NET-IP-011.
async fn set_static_ip(_call: Call, tx: Tx, msg: SetVmStaticIp) -> ApiResult<Reply> {
    let vm = find(&*tx, &msg.vm_instance_uuid).await?;
    stopped(&vm, "a static IP")?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let mut problems = Vec::new();
    if given(msg.ip6).or(given(msg.ipv6_gateway)).or(given(msg.ipv6_prefix)).is_some() {
        problems.push("ip6, ipv6Gateway and ipv6Prefix: networks have IPv4 only".to_owned());
    }
    if given(msg.netmask).or(given(msg.gateway)).is_some() {
        problems.push("netmask and gateway follow from the network's IP range; leave them out".to_owned());
    }
    let wanted = match given(msg.ip).map(|text| parse_ip("ip", &text)) {
        Some(Ok(ip)) => Some(ip),
        Some(Err(problem)) => {
            problems.push(problem);
            None
        }
        None => {
            problems.push("parameter ip is required".to_owned());
            None
        }
    };
    let nics = spec::nics(&*tx, &vm.uuid).await?;
    let nic = nics.iter().find(|nic| nic.l3_network_uuid.as_ref() == Some(&msg.l3_network_uuid));
    if nic.is_none() {
        problems.push(format!(
            "l3NetworkUuid: VM {} has no NIC on L3 network {}; attach one with AttachL3NetworkToVm",
            vm.name, msg.l3_network_uuid
        ));
    }
    let (Some(ip), Some(nic), true) = (wanted, nic, problems.is_empty()) else {
        return Err(ApiError::invalid(&problems));
    };
    if nic.ip.as_deref() != Some(ip.to_string().as_str()) {
        l3_network::release(&tx, std::slice::from_ref(&nic.uuid)).await?;
        give_address(&tx, &nic.uuid, &msg.l3_network_uuid, &new_uuid(), Some(ip)).await?;
    }
    tags::remove_system(&tx, &vm.uuid, &format!("staticIp::{}", msg.l3_network_uuid)).await?;
    let tag = format!("staticIp::{}::{ip}", msg.l3_network_uuid);
    tags::add_system(&*tx, "VmInstanceVO", &vm.uuid, &tag, false).await?;
    Ok(Reply::Empty)
}

/// The NIC keeps its address until it is detached; it is no longer the VM's wish.
async fn delete_static_ip(_call: Call, tx: Tx, msg: DeleteVmStaticIp) -> ApiResult<Reply> {
    let beginning = match msg.static_ip.filter(|ip| !ip.is_empty()) {
        Some(ip) => format!("staticIp::{}::{ip}", msg.l3_network_uuid),
        None => format!("staticIp::{}", msg.l3_network_uuid),
    };
    tags::remove_system(&tx, &msg.vm_instance_uuid, &beginning).await?;
    Ok(Reply::Empty)
}

/// A card and its VM, which must be stopped.
async fn stopped_nic<C: ConnectionTrait>(conn: &C, nic: &str, what: &str) -> ApiResult<vm_nic::Model> {
    let row = vm_nic::Entity::find_by_id(nic).one(conn).await.or_internal()?;
    let row = row.ok_or_else(|| ApiError::not_found("VmNicVO", nic))?;
    if let Some(vm) = &row.vm_instance_uuid {
        stopped(&find(conn, vm).await?, what)?;
    }
    Ok(row)
}

/// CS-VM-144, NET-IP-030.
async fn update_mac(_call: Call, tx: Tx, msg: UpdateVmNicMac) -> ApiResult<Reply> {
    let nic = stopped_nic(&*tx, &msg.vm_nic_uuid, "a MAC address").await?;
    let mac = msg.mac.trim().to_ascii_lowercase();
    if let Some(problem) = mac_problem(&*tx, &mac, Some(&nic.uuid)).await? {
        return Err(ApiError::invalid(&[format!("mac: {problem}")]));
    }
    let row = vm_nic::ActiveModel {
        uuid: Set(nic.uuid.clone()),
        mac: Set(mac),
        last_op_date: Set(now_millis()),
        ..Default::default()
    };
    vm_nic::Entity::update(row).exec(&*tx).await.or_internal()?;
    Ok(Reply::Inventory(NIC, nic.uuid))
}

async fn update_driver(_call: Call, tx: Tx, msg: UpdateVmNicDriver) -> ApiResult<Reply> {
    if let Some(problem) = driver_problem(&msg.driver_type) {
        return Err(ApiError::invalid(&[problem]));
    }
    let nic = stopped_nic(&*tx, &msg.vm_nic_uuid, "the model of a card").await?;
    if nic.vm_instance_uuid.as_ref() != Some(&msg.vm_instance_uuid) {
        return Err(ApiError::invalid(&[format!("vmNicUuid: NIC {} is not in VM {}", nic.uuid, msg.vm_instance_uuid)]));
    }
    let row = vm_nic::ActiveModel {
        uuid: Set(nic.uuid.clone()),
        driver_type: Set(Some(msg.driver_type)),
        last_op_date: Set(now_millis()),
        ..Default::default()
    };
    vm_nic::Entity::update(row).exec(&*tx).await.or_internal()?;
    Ok(Reply::Inventory(NIC, nic.uuid))
}

/// CS-VM-131: taken up by the next start; an order that begins with the CD drive holds for that one start.
async fn set_boot_order(_call: Call, tx: Tx, msg: SetVmBootOrder) -> ApiResult<Reply> {
    find(&*tx, &msg.uuid).await?;
    // Clients send one word per device, or all of them in one text.
    let words: Vec<String> = msg
        .boot_order
        .unwrap_or_default()
        .iter()
        .flat_map(|text| text.split(','))
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    let mut problems: Vec<String> = words
        .iter()
        .filter(|word| !DEVICES.contains(&word.as_str()))
        .map(|word| format!("bootOrder: {word:?} is no boot device; use {}", DEVICES.join(", ")))
        .collect();
    if words.iter().enumerate().any(|(index, word)| words[..index].contains(word)) {
        problems.push("bootOrder names a device twice".to_owned());
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    tags::remove_system(&tx, &msg.uuid, "bootOrder").await?;
    if !words.is_empty() {
        tags::add_system(&*tx, "VmInstanceVO", &msg.uuid, &format!("bootOrder::{}", words.join(",")), false).await?;
    }
    Ok(Reply::Inventory(INVENTORY, msg.uuid))
}

async fn boot_order(call: Call, msg: GetVmBootOrder) -> ApiResult<Map<String, Value>> {
    let order = tag_value(call.app.db.read(), &msg.uuid, "bootOrder").await?;
    let order = order.unwrap_or_else(|| spec::BOOT_ORDER.to_owned());
    Ok(Map::from_iter([("orders".to_owned(), json!(order.split(',').collect::<Vec<_>>()))]))
}

/// A VM started with its boot order: one that prefers the CD drive is used up (CS-VM-131).
pub(super) async fn use_up_boot_order(tx: &Tx, vm: &str) -> ApiResult<()> {
    let order = tag_value(&**tx, vm, "bootOrder").await?;
    if order.is_some_and(|order| order.starts_with("CdRom")) {
        tags::remove_system(tx, vm, "bootOrder").await?;
    }
    Ok(())
}

/// CS-VM-012, CS-VM-147.
async fn set_boot_mode(_call: Call, tx: Tx, msg: SetVmBootMode) -> ApiResult<Reply> {
    find(&*tx, &msg.uuid).await?;
    if !MODES.contains(&msg.boot_mode.as_str()) {
        let text = format!("bootMode must be one of {}, not {:?}", MODES.join(", "), msg.boot_mode);
        return Err(ApiError::invalid(&[text]));
    }
    tags::remove_system(&tx, &msg.uuid, "bootMode").await?;
    tags::add_system(&*tx, "VmInstanceVO", &msg.uuid, &format!("bootMode::{}", msg.boot_mode), false).await?;
    Ok(Reply::Empty)
}

async fn delete_boot_mode(_call: Call, tx: Tx, msg: DeleteVmBootMode) -> ApiResult<Reply> {
    tags::remove_system(&tx, &msg.uuid, "bootMode").await?;
    Ok(Reply::Empty)
}

fn purpose(vm: &str) -> String {
    format!("console-password:{vm}")
}

/// A console password as its tag has it: sealed, because tags are shown to everybody who sees the VM.
pub(super) fn sealed_password(app: &App, vm: &str, password: &str) -> ApiResult<String> {
    Ok(format!("{CONSOLE_PASSWORD}::{}", app.sealer.seal(&purpose(vm), password).or_internal()?))
}

/// The console password in the value of its tag.
pub(super) fn opened_password(app: &App, vm: &str, value: &str) -> ApiResult<String> {
    app.sealer.unseal(&purpose(vm), value).or_internal()
}

/// CS-VM-132: VNC knows passwords of up to eight characters; a longer one would be cut without a word.
async fn set_console_password(call: Call, tx: Tx, msg: SetVmConsolePassword) -> ApiResult<Reply> {
    find(&*tx, &msg.uuid).await?;
    let length = msg.console_password.chars().count();
    if length == 0 || length > 8 || msg.console_password.chars().any(char::is_control) {
        return Err(ApiError::invalid(&[
            "consolePassword must have 1 to 8 characters: VNC looks at no more than eight".to_owned(),
        ]));
    }
    tags::remove_system(&tx, &msg.uuid, CONSOLE_PASSWORD).await?;
    let tag = sealed_password(&call.app, &msg.uuid, &msg.console_password)?;
    tags::add_system(&*tx, "VmInstanceVO", &msg.uuid, &tag, false).await?;
    Ok(Reply::Inventory(INVENTORY, msg.uuid))
}

async fn delete_console_password(_call: Call, tx: Tx, msg: DeleteVmConsolePassword) -> ApiResult<Reply> {
    tags::remove_system(&tx, &msg.uuid, CONSOLE_PASSWORD).await?;
    Ok(Reply::Empty)
}

async fn console_password(call: Call, msg: GetVmConsolePassword) -> ApiResult<Map<String, Value>> {
    // The contract leaves out who may ask; a password is for those who may use the VM.
    if !crate::access::may_use(call.app.db.read(), &call.caller, &msg.uuid).await? {
        return Err(ApiError::new(
            ErrorCode::PermissionDenied,
            format!("uuid: VM {} neither belongs to this account nor is shared with it", msg.uuid),
        ));
    }
    let Some(value) = tag_value(call.app.db.read(), &msg.uuid, CONSOLE_PASSWORD).await? else { return Ok(Map::new()) };
    let password = opened_password(&call.app, &msg.uuid, &value)?;
    Ok(Map::from_iter([("password".to_owned(), json!(password))]))
}
