//! Network cards of VMs (CS-VM-190, CS-VM-191, NET-L3-044, NET-L3-045): making, plugging and unplugging them.

use std::{net::IpAddr, sync::Arc};

use mn_service_db::entity::{host, vm_instance, vm_nic};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult, new_uuid};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::operation::{AttachNic, DetachNic};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{INVENTORY, check_state, find, join_network, spec};
use crate::{
    access, agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    resource::{
        host_networks::{self, Plugged},
        l3_network,
    },
    tags,
};

mn_service_types::messages! {
    AttachL3NetworkToVm { vm_instance_uuid: String, l3_network_uuid: String, static_ip: Option<String>, driver_type: Option<String>, custom_mac: Option<String>, vm_nic_params: Option<String>, system_tags: Option<Vec<String>> }
    DetachL3NetworkFromVm { vm_nic_uuid: String }
}

/// Card models that hosts know.
pub(super) const MODELS: &[&str] = &["virtio", "e1000", "rtl8139"];

/// A card to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NewNic {
    pub(super) uuid: String,
    pub(super) used_ip: String,
    pub(super) l3: String,
    pub(super) wanted_ip: Option<IpAddr>,
    pub(super) wanted_mac: Option<String>,
    /// Card model; absent: by the VM's platform.
    #[serde(default)]
    pub(super) driver: Option<String>,
}

/// The VM that gets a card.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receiver<'a> {
    pub(super) account: &'a str,
    pub(super) vm: &'a str,
    pub(super) internal_id: i64,
    pub(super) platform: &'a str,
}

/// Writes a card with its address.
pub(super) async fn insert(tx: &Tx, receiver: Receiver<'_>, nic: &NewNic, position: i32) -> ApiResult<()> {
    let mac = match &nic.wanted_mac {
        Some(mac) => mac.clone(),
        None => l3_network::allocate_mac(tx).await?,
    };
    let by_platform = if spec::has_virtio(receiver.platform) { "virtio" } else { "e1000" };
    let now = now_millis();
    // The card first: the address points at it.
    let row = vm_nic::ActiveModel {
        uuid: Set(nic.uuid.clone()),
        vm_instance_uuid: Set(Some(receiver.vm.to_owned())),
        l3_network_uuid: Set(Some(nic.l3.clone())),
        mac: Set(mac),
        hypervisor_type: Set(Some("KVM".to_owned())),
        driver_type: Set(Some(nic.driver.clone().unwrap_or_else(|| by_platform.to_owned()))),
        internal_name: Set(Some(spec::device_name(receiver.internal_id, position))),
        device_id: Set(position),
        r#type: Set("VNIC".to_owned()),
        state: Set("enable".to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
        ..Default::default()
    };
    vm_nic::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    give_address(tx, &nic.uuid, &nic.l3, &nic.used_ip, nic.wanted_ip).await?;
    access::own(tx, receiver.account, "VmNicVO", &nic.uuid).await
}

/// Takes an address of a network for a card and notes it there.
pub(super) async fn give_address(tx: &Tx, nic: &str, l3: &str, used_ip: &str, wanted: Option<IpAddr>) -> ApiResult<()> {
    let address = l3_network::allocate(tx, l3, used_ip, nic, wanted).await?;
    let row = vm_nic::ActiveModel {
        uuid: Set(nic.to_owned()),
        used_ip_uuid: Set(Some(address.uuid)),
        ip: Set(Some(address.ip)),
        netmask: Set(address.netmask),
        gateway: Set(address.gateway),
        ip_version: Set(Some(address.ip_version)),
        last_op_date: Set(now_millis()),
        ..Default::default()
    };
    vm_nic::Entity::update(row).exec(&**tx).await.or_internal()?;
    Ok(())
}

/// Why a hardware address cannot be given to a card; `own` is the card that may have it already.
pub(super) async fn mac_problem<C: ConnectionTrait>(
    conn: &C,
    mac: &str,
    own: Option<&str>,
) -> ApiResult<Option<String>> {
    let bytes: Option<Vec<u8>> = mac
        .split(':')
        .map(|part| {
            let plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            if plain { u8::from_str_radix(part, 16).ok() } else { None }
        })
        .collect();
    let Some(bytes) = bytes.filter(|bytes| bytes.len() == 6) else {
        return Ok(Some(format!("{mac:?} is no MAC address; write six pairs like fa:16:3e:00:00:01")));
    };
    if bytes.iter().all(|byte| *byte == 0) || bytes[0] & 1 == 1 {
        return Ok(Some(format!(
            "{mac} is no address of a card; the first byte must be even, and not all may be zero"
        )));
    }
    let holder = vm_nic::Entity::find().filter(vm_nic::Column::Mac.eq(mac)).one(conn).await.or_internal()?;
    Ok(holder.filter(|nic| own != Some(nic.uuid.as_str())).map(|nic| {
        let vm = nic.vm_instance_uuid.map_or_else(|| "no VM".to_owned(), |vm| format!("VM {vm}"));
        format!("{mac} belongs to NIC {} of {vm} already; choose another", nic.uuid)
    }))
}

/// An address that a call names.
pub(super) fn parse_ip(name: &str, text: &str) -> Result<IpAddr, String> {
    text.trim().parse().map_err(|_| format!("{name}: {text:?} is no IP address"))
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("vm.attach-nic", prepare_attach, |state: &Attach| Reply::Inventory(INVENTORY, state.vm.clone()));
    apis.workflow("vm.detach-nic", prepare_detach, |state: &Detach| Reply::Inventory(INVENTORY, state.vm.clone()));
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(Workflow::named("vm.attach-nic", 1).step("record", record, Undo::with(forget)).step(
        "plug",
        plug,
        Undo::with(unplug_again),
    ))?;
    registry.register(
        Workflow::named("vm.detach-nic", 1)
            .step("unplug", unplug, Undo::with(plug_again))
            .step("forget", forget_detached, Undo::nothing("one transaction, and the step after it never fails"))
            .step("tell-guest", tell_rest, Undo::nothing("a host that is not told now is told when it connects")),
    )
}

/// State of attaching.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Attach {
    job: String,
    vm: String,
    account: String,
    nic: NewNic,
    /// The address was asked for, and stays with the VM.
    keep_ip: bool,
}

async fn prepare_attach(call: Call, msg: AttachL3NetworkToVm) -> ApiResult<Plan<Attach>> {
    let conn = call.app.db.read();
    let vm = find(conn, &msg.vm_instance_uuid).await?;
    check_state(&vm, &call.api.message_class())?;
    let mut problems = attach_problems(&call.app, conn, &vm, &msg.l3_network_uuid).await?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if given(msg.vm_nic_params).is_some() {
        problems.push("vmNicParams is not supported; use driverType, customMac and staticIp".to_owned());
    }
    let system_tags = msg.system_tags.unwrap_or_default();
    if let Err(error) = tags::check_system("VmInstanceVO", &system_tags) {
        problems.extend(error.details.lines().map(str::to_owned));
    }
    let of_l3 = |prefix: &str| {
        let wanted = format!("{prefix}::{}::", msg.l3_network_uuid);
        system_tags.iter().find_map(|tag| tag.strip_prefix(wanted.as_str()).map(str::to_owned))
    };
    let wanted_ip = match given(msg.static_ip).or_else(|| of_l3("staticIp")).map(|text| parse_ip("staticIp", &text)) {
        Some(Ok(ip)) => Some(ip),
        Some(Err(problem)) => {
            problems.push(problem);
            None
        }
        None => None,
    };
    let wanted_mac = given(msg.custom_mac).or_else(|| of_l3("customMac")).map(|mac| mac.to_ascii_lowercase());
    if let Some(mac) = &wanted_mac {
        problems.extend(mac_problem(conn, mac, None).await?.map(|problem| format!("customMac: {problem}")));
    }
    let driver = given(msg.driver_type);
    problems.extend(driver.as_deref().and_then(driver_problem));
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    let account = access::owner_of(conn, &vm.uuid).await?.unwrap_or_else(|| call.caller.account.clone());
    Ok(Plan::Run(Attach {
        job: call.job.clone(),
        vm: vm.uuid,
        account,
        keep_ip: wanted_ip.is_some(),
        nic: NewNic { uuid: new_uuid(), used_ip: new_uuid(), l3: msg.l3_network_uuid, wanted_ip, wanted_mac, driver },
    }))
}

/// Why hosts do not know a card model.
pub(super) fn driver_problem(driver: &str) -> Option<String> {
    (!MODELS.contains(&driver)).then(|| format!("driverType must be one of {}, not {driver:?}", MODELS.join(", ")))
}

/// Why a VM cannot have a card on a network (NET-L2-041, NET-L3-044).
pub(super) async fn attach_problems<C: ConnectionTrait>(
    app: &App,
    conn: &C,
    vm: &vm_instance::Model,
    l3: &str,
) -> ApiResult<Vec<String>> {
    let mut problems = Vec::new();
    let asked = [l3.to_owned()];
    if let Err(error) = l3_network::check_usable(conn, &asked).await {
        problems.extend(error.details.lines().map(str::to_owned));
        return Ok(problems);
    }
    if let Some(cluster) = cluster_of(conn, vm).await?
        && !l3_network::clusters_of(conn, &asked).await?.contains(&cluster)
    {
        problems.push(format!(
            "L3 network {l3} does not reach cluster {cluster} of VM {}; attach its L2 network there with \
             AttachL2NetworkToCluster",
            vm.name
        ));
    }
    let has = spec::nics(conn, &vm.uuid).await?.iter().any(|nic| nic.l3_network_uuid.as_deref() == Some(l3));
    if has && !app.settings.flag("vm", "multivNic.support") {
        problems.push(format!(
            "VM {} ({}) has a NIC on L3 network {l3} already; choose another network, or allow several with the global \
             setting vm/multivNic.support",
            vm.name, vm.uuid
        ));
    }
    Ok(problems)
}

/// Cluster of a VM; that of the host it ran on last where it has none.
pub(super) async fn cluster_of<C: ConnectionTrait>(conn: &C, vm: &vm_instance::Model) -> ApiResult<Option<String>> {
    if vm.cluster_uuid.is_some() {
        return Ok(vm.cluster_uuid.clone());
    }
    let Some(host) = vm.host_uuid.as_ref().or(vm.last_host_uuid.as_ref()) else { return Ok(None) };
    let row = host::Entity::find_by_id(host).one(conn).await.or_internal()?;
    Ok(row.map(|row| row.cluster_uuid))
}

/// The lowest position that no card has.
fn free_position(nics: &[vm_nic::Model]) -> i32 {
    (0..).find(|position| nics.iter().all(|nic| nic.device_id != *position)).unwrap_or(i32::MAX)
}

async fn load<C: ConnectionTrait>(conn: &C, nic: &str) -> ApiResult<Option<vm_nic::Model>> {
    vm_nic::Entity::find_by_id(nic).one(conn).await.or_internal()
}

async fn record(app: Arc<App>, state: Attach) -> StepResult<Attach> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            if load(&*tx, &state.nic.uuid).await?.is_some() {
                return Ok(state);
            }
            let vm = find(&*tx, &state.vm).await?;
            let problems = attach_problems(&service, &*tx, &vm, &state.nic.l3).await?;
            if !problems.is_empty() {
                return Err(ApiError::invalid(&problems));
            }
            let receiver = Receiver {
                account: &state.account,
                vm: &vm.uuid,
                internal_id: vm.internal_id,
                platform: vm.platform.as_deref().unwrap_or("Linux"),
            };
            let position = free_position(&spec::nics(&*tx, &vm.uuid).await?);
            insert(&tx, receiver, &state.nic, position).await?;
            if let Some(ip) = state.nic.wanted_ip.filter(|_| state.keep_ip) {
                let tag = format!("staticIp::{}::{ip}", state.nic.l3);
                tags::add_system(&*tx, "VmInstanceVO", &vm.uuid, &tag, false).await?;
            }
            host_networks::mend_default(&tx, [vm.uuid]).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn forget(app: Arc<App>, state: Attach) -> StepResult<()> {
    if let Err(error) = leave_network(&app, &state.vm, &state.nic.uuid).await {
        tracing::warn!(vm = state.vm, nic = state.nic.uuid, %error, "its lease stays until its host connects again");
    }
    app.write(|tx| async move {
        let Some(nic) = load(&*tx, &state.nic.uuid).await? else { return Ok(()) };
        remove(&tx, &nic).await
    })
    .await?;
    Ok(())
}

/// Removes a card's rows, and tags that spoke of it.
async fn remove(tx: &Tx, nic: &vm_nic::Model) -> ApiResult<()> {
    host_networks::remove_nics(tx, std::slice::from_ref(nic)).await?;
    let (Some(vm), Some(l3)) = (&nic.vm_instance_uuid, &nic.l3_network_uuid) else { return Ok(()) };
    let others = spec::nics(&**tx, vm).await?;
    if others.iter().all(|other| other.l3_network_uuid.as_ref() != Some(l3)) {
        for prefix in ["staticIp", "customMac"] {
            tags::remove_system(tx, vm, &format!("{prefix}::{l3}")).await?;
        }
    }
    Ok(())
}

/// The VM and its host, where it has one: then the card is plugged in there.
async fn running(app: &App, vm: &str) -> ApiResult<Option<(vm_instance::Model, String)>> {
    let vm = find(app.db.read(), vm).await?;
    Ok(match (vm.state.as_str(), vm.host_uuid.clone()) {
        ("Running" | "Paused", Some(host)) => Some((vm, host)),
        _ => None,
    })
}

async fn plug(app: Arc<App>, state: Attach) -> StepResult<Attach> {
    plug_in(&app, &state.job, "plug", &state.vm, &state.nic.uuid).await?;
    Ok(state)
}

/// Makes a card's network work on the VM's host and plugs it in.
async fn plug_in(app: &App, job: &str, step: &str, vm: &str, nic: &str) -> ApiResult<()> {
    let Some((vm, host)) = running(app, vm).await? else { return Ok(()) };
    let Some(nic) = load(app.db.read(), nic).await? else { return Ok(()) };
    join_network(app, &format!("{job}-{step}"), &host, &vm, std::slice::from_ref(&nic)).await?;
    let attach = AttachNic { vm: agents::id(&vm.uuid)?, nic: spec::nic_spec(app.db.read(), &vm, &nic).await? };
    let agent = app.agents.of(app.db.read(), &host).await?;
    agents::run(&agent, job, step, attach, app.host_patience()).await.map_err(|e| {
        let what = format!("NIC {} could not be plugged into VM {} ({})", nic.uuid, vm.name, vm.uuid);
        agents::failure(ErrorCode::Operation, what, &host, &e)
    })
}

async fn unplug_again(app: Arc<App>, state: Attach) -> StepResult<()> {
    Ok(pull_out(&app, &state.job, "unplug-again", &state.vm, &state.nic.uuid).await?)
}

/// Unplugs a card.
async fn pull_out(app: &App, job: &str, step: &str, vm: &str, nic: &str) -> ApiResult<()> {
    let Some((vm, host)) = running(app, vm).await? else { return Ok(()) };
    let Some(nic) = load(app.db.read(), nic).await? else { return Ok(()) };
    let detach = DetachNic { vm: agents::id(&vm.uuid)?, mac: nic.mac.to_ascii_lowercase() };
    let agent = app.agents.of(app.db.read(), &host).await?;
    agents::run(&agent, job, step, detach, app.host_patience()).await.map_err(|e| {
        let what = format!("NIC {} could not be unplugged from VM {} ({})", nic.uuid, vm.name, vm.uuid);
        agents::failure(ErrorCode::Operation, what, &host, &e)
    })
}

/// Takes a card's lease back. Right before the transaction that takes its record away, into the same step: between two
/// steps the host may connect, and it gets the leases of all cards that are noted.
async fn leave_network(app: &App, vm: &str, nic: &str) -> ApiResult<()> {
    let Some((_, host)) = running(app, vm).await? else { return Ok(()) };
    let Some(nic) = load(app.db.read(), nic).await? else { return Ok(()) };
    l3_network::remove_leases(app, &host, std::slice::from_ref(&nic)).await
}

/// State of detaching.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Detach {
    job: String,
    vm: String,
    nic: String,
    /// Its VM had a host when the detachment began.
    plugged: Option<Plugged>,
}

async fn prepare_detach(call: Call, msg: DetachL3NetworkFromVm) -> ApiResult<Plan<Detach>> {
    let conn = call.app.db.read();
    let nic = load(conn, &msg.vm_nic_uuid).await?;
    let nic = nic.ok_or_else(|| ApiError::not_found("VmNicVO", &msg.vm_nic_uuid))?;
    let Some(vm) = &nic.vm_instance_uuid else {
        return Err(ApiError::invalid(&[format!("NIC {} is in no VM", nic.uuid)]));
    };
    let vm = find(conn, vm).await?;
    check_state(&vm, &call.api.message_class())?;
    let plugged = host_networks::plugged(conn, std::slice::from_ref(&nic)).await?.pop_first();
    Ok(Plan::Run(Detach { job: call.job.clone(), vm: vm.uuid, nic: nic.uuid, plugged }))
}

async fn unplug(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    pull_out(&app, &state.job, "unplug", &state.vm, &state.nic).await?;
    Ok(state)
}

async fn plug_again(app: Arc<App>, state: Detach) -> StepResult<()> {
    Ok(plug_in(&app, &state.job, "plug-again", &state.vm, &state.nic).await?)
}

async fn forget_detached(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    leave_network(&app, &state.vm, &state.nic).await?;
    let state = app
        .write(|tx| async move {
            let Some(nic) = load(&*tx, &state.nic).await? else { return Ok(state) };
            let now = host_networks::plugged(&*tx, std::slice::from_ref(&nic)).await?.pop_first();
            if now.is_some() && now != state.plugged {
                let text = format!("VM {} was started meanwhile; detach NIC {} again", state.vm, state.nic);
                return Err(ApiError::new(ErrorCode::VmState, text));
            }
            remove(&tx, &nic).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

/// The cards that stay may hear of another default route.
async fn tell_rest(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    if let Some((vm, host)) = running(&app, &state.vm).await? {
        let nics = spec::nics(app.db.read(), &vm.uuid).await?;
        if let Err(error) = l3_network::push_leases(&app, &state.job, &host, &vm, &nics).await {
            tracing::warn!(vm = %vm.uuid, host, %error, "leases are set right when the host connects");
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn net_ip_030_hardware_addresses_are_those_of_cards() {
        let db = mn_service_db::Db::temporary().await.unwrap();
        for good in ["fa:16:3e:00:00:01", "02:00:00:00:00:00"] {
            assert_eq!(mac_problem(db.read(), good, None).await.unwrap(), None, "{good}");
        }
        for bad in [
            "",
            "fa:16:3e:00:00",
            "fa:16:3e:00:00:0g",
            "fa-16-3e-00-00-01",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "+a:16:3e:00:00:01",
        ] {
            assert!(mac_problem(db.read(), bad, None).await.unwrap().is_some(), "{bad}");
        }
    }
}
