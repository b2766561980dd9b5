//! Changes of a VM's own settings: columns (CS-VM-120, CS-VM-121, CS-VM-137, CS-VM-141), and what guests are told through
//! DHCP and metadata (host name, SSH keys: CS-VM-200 to CS-VM-203, NET-DHCP-012). The database changes first, then the
//! host that runs the VM; other hosts learn it when the VM starts there.

use std::sync::Arc;

use mn_service_db::entity::{instance_offering, system_tag, vm_instance, vm_nic};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{INVENTORY, check_state, find, set_state, spec};
use crate::{
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    resource::{allocation, l3_network},
    tags,
};

mn_service_types::messages! {
    UpdateVmInstance { uuid: String, name: Option<String>, description: Option<String>, state: Option<String>, default_l3_network_uuid: Option<String>, platform: Option<String>, cpu_num: Option<i32>, memory_size: Option<i64>, reserved_memory_size: Option<i64>, guest_os_type: Option<String> }
    ChangeInstanceOffering { vm_instance_uuid: String, instance_offering_uuid: String }
    SetVmHostname { uuid: String, hostname: String }
    DeleteVmHostname { uuid: String }
    GetVmHostname { uuid: String }
    DeleteVmSshKey { uuid: Option<String> }
    GetVmSshKey { uuid: String }
}

/// Columns that may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Columns {
    name: String,
    description: Option<String>,
    default_l3: Option<String>,
    platform: Option<String>,
    cpu: i32,
    memory: i64,
    reserved_memory: Option<i64>,
    guest_os: Option<String>,
    offering: Option<String>,
}

impl Columns {
    fn of(vm: &vm_instance::Model) -> Self {
        Self {
            name: vm.name.clone(),
            description: vm.description.clone(),
            default_l3: vm.default_l3_network_uuid.clone(),
            platform: vm.platform.clone(),
            cpu: vm.cpu_num,
            memory: vm.memory_size,
            reserved_memory: vm.reserved_memory_size,
            guest_os: vm.guest_os_type.clone(),
            offering: vm.instance_offering_uuid.clone(),
        }
    }
}

/// One change, able to go both ways.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Change {
    Columns {
        old: Box<Columns>,
        new: Box<Columns>,
    },
    /// System tags that begin with `beginning` become `new`.
    Tags {
        beginning: String,
        old: Vec<String>,
        new: Vec<String>,
    },
}

impl Change {
    /// False where the guest's DHCP and metadata say the same as before.
    fn reaches_guest(&self) -> bool {
        match self {
            Self::Columns { old, new } => old.default_l3 != new.default_l3,
            Self::Tags { .. } => true,
        }
    }

    fn reversed(self) -> Self {
        match self {
            Self::Columns { old, new } => Self::Columns { old: new, new: old },
            Self::Tags { beginning, old, new } => Self::Tags { beginning, old: new, new: old },
        }
    }
}

fn columns(old: Columns, new: Columns) -> Change {
    Change::Columns { old: Box::new(old), new: Box::new(new) }
}

/// State of the workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Configure {
    job: String,
    vm: String,
    change: Change,
    /// State that an operator corrects.
    state: Option<String>,
}

pub(super) fn register(apis: &mut Apis) {
    fn inventory(state: &Configure) -> Reply {
        Reply::Inventory(INVENTORY, state.vm.clone())
    }
    apis.workflow("vm.configure", update, inventory);
    apis.workflow("vm.configure", change_offering, inventory);
    apis.workflow("vm.configure", set_hostname, |_: &Configure| Reply::Empty);
    apis.workflow("vm.configure", delete_hostname, |_: &Configure| Reply::Empty);
    apis.workflow_raw("vm.configure", "SetVmSshKey", set_ssh_key, inventory);
    apis.workflow("vm.configure", delete_ssh_key, |_: &Configure| Reply::Empty);
    apis.sync(hostname);
    apis.sync(ssh_key);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(Workflow::named("vm.configure", 1).step("record", record, Undo::with(take_back)).step(
        "tell-guest",
        tell,
        Undo::nothing("undoing the record tells the host again"),
    ))
}

fn plan(call: &Call, vm: String, change: Change) -> Plan<Configure> {
    Plan::Run(Configure { job: call.job.clone(), vm, change, state: None })
}

/// CS-VM-033: an operator may correct the recorded state; everything else is an update of columns.
async fn update(call: Call, msg: UpdateVmInstance) -> ApiResult<Plan<Configure>> {
    let conn = call.app.db.read();
    let vm = find(conn, &msg.uuid).await?;
    let mut problems = Vec::new();
    // Zeroes mean "not given" (PROTOCOL.md section 15).
    let (cpu, memory) = (msg.cpu_num.filter(|n| *n > 0), msg.memory_size.filter(|n| *n > 0));
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let default_l3 = given(msg.default_l3_network_uuid);
    if (cpu.is_some() || memory.is_some()) && vm.state != "Stopped" {
        problems.push(format!("cpuNum and memorySize change while the VM is Stopped; it is {}", vm.state));
    }
    if let Some(l3) = &default_l3
        && spec::nics(conn, &vm.uuid).await?.iter().all(|nic| nic.l3_network_uuid.as_ref() != Some(l3))
    {
        problems.push("defaultL3NetworkUuid must be a network of one of the VM's cards".to_owned());
    }
    let state = given(msg.state);
    if state.as_deref() == Some("Running") && vm.host_uuid.is_none() {
        problems.push("state: a VM without a host cannot be noted as Running; start it".to_owned());
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    let old = Columns::of(&vm);
    let new = Columns {
        name: given(msg.name).unwrap_or_else(|| old.name.clone()),
        description: msg.description.or_else(|| old.description.clone()),
        default_l3: default_l3.or_else(|| old.default_l3.clone()),
        platform: given(msg.platform).or_else(|| old.platform.clone()),
        cpu: cpu.unwrap_or(old.cpu),
        memory: memory.unwrap_or(old.memory),
        reserved_memory: msg.reserved_memory_size.or(old.reserved_memory),
        guest_os: msg.guest_os_type.or_else(|| old.guest_os.clone()),
        offering: old.offering.clone(),
    };
    Ok(Plan::Run(Configure { job: call.job.clone(), vm: vm.uuid, change: columns(old, new), state }))
}

/// CS-VM-121, CS-IOF-004.
async fn change_offering(call: Call, msg: ChangeInstanceOffering) -> ApiResult<Plan<Configure>> {
    let conn = call.app.db.read();
    let vm = find(conn, &msg.vm_instance_uuid).await?;
    check_state(&vm, &call.api.message_class())?;
    if vm.state != "Stopped" {
        return Err(ApiError::new(
            ErrorCode::VmState,
            format!(
                "VM {} ({}) is {}; its instance offering changes while it is Stopped, stop it first",
                vm.name, vm.uuid, vm.state
            ),
        ));
    }
    let offering = instance_offering::Entity::find_by_id(&msg.instance_offering_uuid).one(conn).await.or_internal()?;
    let offering = offering.ok_or_else(|| ApiError::not_found("InstanceOfferingVO", &msg.instance_offering_uuid))?;
    if offering.state != "Enabled" {
        return Err(ApiError::invalid(&[format!(
            "instanceOfferingUuid: instance offering {} is {}; enable it or choose another",
            offering.name, offering.state
        )]));
    }
    let old = Columns::of(&vm);
    let new =
        Columns { cpu: offering.cpu_num, memory: offering.memory_size, offering: Some(offering.uuid), ..old.clone() };
    Ok(plan(&call, vm.uuid, columns(old, new)))
}

/// System tags of a VM that begin with a word.
async fn tags_of<C: ConnectionTrait>(conn: &C, vm: &str, beginning: &str) -> ApiResult<Vec<String>> {
    let longer = format!("{beginning}::");
    Ok(tags::system_of(conn, vm).await?.into_iter().filter(|tag| tag.starts_with(&longer)).collect())
}

/// The change that makes a VM's tags of one kind `new`; nothing to do when they are.
async fn retag(call: &Call, vm: &str, beginning: &str, new: Vec<String>, done: Reply) -> ApiResult<Plan<Configure>> {
    find(call.app.db.read(), vm).await?;
    let old = tags_of(call.app.db.read(), vm, beginning).await?;
    if old == new {
        return Ok(Plan::Done(done));
    }
    Ok(plan(call, vm.to_owned(), Change::Tags { beginning: beginning.to_owned(), old, new }))
}

/// Why a text is no host name: one label of letters, digits and hyphens (RFC 1123 section 2.1). The domain is the
/// network's.
pub(in crate::resource) fn hostname_problem(name: &str) -> Option<String> {
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    (!good).then(|| {
        format!(
            "hostname: {name:?} is no host name; use up to 63 letters, digits and hyphens (the domain is the network's)"
        )
    })
}

/// Two guests of one network must not have one name: their DHCP server would serve it to the first alone.
async fn same_name<C: ConnectionTrait>(conn: &C, vm: &str, hostname: &str) -> ApiResult<Option<String>> {
    let tag = format!("hostname::{hostname}");
    let rows = system_tag::Entity::find()
        .filter(system_tag::Column::Tag.eq(tag))
        .filter(system_tag::Column::ResourceUuid.ne(vm))
        .all(conn)
        .await
        .or_internal()?;
    let mine: Vec<String> = spec::nics(conn, vm).await?.into_iter().filter_map(|nic| nic.l3_network_uuid).collect();
    let theirs = vm_nic::Entity::find()
        .filter(vm_nic::Column::VmInstanceUuid.is_in(rows.into_iter().map(|row| row.resource_uuid)))
        .filter(vm_nic::Column::L3NetworkUuid.is_in(mine))
        .one(conn)
        .await
        .or_internal()?;
    Ok(theirs.map(|nic| {
        format!(
            "hostname: VM {} on L3 network {} is called {hostname} already",
            nic.vm_instance_uuid.unwrap_or_default(),
            nic.l3_network_uuid.unwrap_or_default()
        )
    }))
}

async fn set_hostname(call: Call, msg: SetVmHostname) -> ApiResult<Plan<Configure>> {
    let mut problems: Vec<String> = hostname_problem(&msg.hostname).into_iter().collect();
    problems.extend(same_name(call.app.db.read(), &msg.uuid, &msg.hostname).await?);
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    retag(&call, &msg.uuid, "hostname", vec![format!("hostname::{}", msg.hostname)], Reply::Empty).await
}

async fn delete_hostname(call: Call, msg: DeleteVmHostname) -> ApiResult<Plan<Configure>> {
    retag(&call, &msg.uuid, "hostname", Vec::new(), Reply::Empty).await
}

/// CS-VM-200: the text of an OpenSSH public key; several keys stand on a line each.
async fn set_ssh_key(call: Call) -> ApiResult<Plan<Configure>> {
    // The one parameter that the contract writes with a capital letter.
    let key = call.text("SshKey").unwrap_or_default().trim().to_owned();
    let vm = crate::change::target(&call)?;
    let plain = |line: &str| {
        let mut parts = line.split_whitespace();
        let kind = parts.next().unwrap_or_default();
        ["ssh-", "ecdsa-", "sk-"].iter().any(|begin| kind.starts_with(begin)) && parts.next().is_some()
    };
    if key.is_empty() || !key.lines().filter(|line| !line.trim().is_empty()).all(plain) {
        return Err(ApiError::invalid(&[
            "SshKey must be an OpenSSH public key such as \"ssh-ed25519 AAAA… name\", several on a line each"
                .to_owned(),
        ]));
    }
    retag(&call, &vm, "sshkey", vec![format!("sshkey::{key}")], Reply::Inventory(INVENTORY, vm.clone())).await
}

/// CS-VM-203: keys that are active in the guest stay there.
async fn delete_ssh_key(call: Call, msg: DeleteVmSshKey) -> ApiResult<Plan<Configure>> {
    retag(&call, &msg.uuid.unwrap_or_default(), "sshkey", Vec::new(), Reply::Empty).await
}

/// What follows `beginning::` in the first tag of that kind.
pub(super) async fn tag_value<C: ConnectionTrait>(conn: &C, vm: &str, beginning: &str) -> ApiResult<Option<String>> {
    let tags = tags_of(conn, vm, beginning).await?;
    Ok(spec::tag_value(&tags, beginning).map(str::to_owned))
}

async fn hostname(call: Call, msg: GetVmHostname) -> ApiResult<Map<String, Value>> {
    let name = tag_value(call.app.db.read(), &msg.uuid, "hostname").await?;
    Ok(Map::from_iter(name.map(|name| ("hostname".to_owned(), json!(name)))))
}

async fn ssh_key(call: Call, msg: GetVmSshKey) -> ApiResult<Map<String, Value>> {
    let key = tag_value(call.app.db.read(), &msg.uuid, "sshkey").await?;
    Ok(Map::from_iter(key.map(|key| ("sshKey".to_owned(), json!(key)))))
}

async fn apply(tx: &Tx, vm: &str, change: Change) -> ApiResult<()> {
    match change {
        Change::Columns { new, .. } => {
            let row = vm_instance::ActiveModel {
                uuid: Set(vm.to_owned()),
                name: Set(new.name),
                description: Set(new.description),
                default_l3_network_uuid: Set(new.default_l3),
                platform: Set(new.platform),
                cpu_num: Set(new.cpu),
                memory_size: Set(new.memory),
                reserved_memory_size: Set(new.reserved_memory),
                guest_os_type: Set(new.guest_os),
                instance_offering_uuid: Set(new.offering),
                last_op_date: Set(now_millis()),
                ..Default::default()
            };
            vm_instance::Entity::update(row).exec(&**tx).await.or_internal()?;
        }
        Change::Tags { beginning, new, .. } => {
            tags::remove_system(tx, vm, &beginning).await?;
            for tag in new {
                tags::add_system(&**tx, "VmInstanceVO", vm, &tag, false).await?;
            }
        }
    }
    Ok(())
}

async fn record(app: Arc<App>, state: Configure) -> StepResult<Configure> {
    let (vm, change, forced) = (&state.vm, &state.change, state.state.as_deref());
    app.write(|tx| async move {
        apply(&tx, vm, change.clone()).await?;
        match forced {
            Some("Stopped") => allocation::mark_stopped(&tx, std::slice::from_ref(vm)).await,
            Some(state) => set_state(&tx, vm, state).await,
            None => Ok(()),
        }
    })
    .await?;
    Ok(state)
}

/// Tells the host that runs the VM, if one does.
async fn push(app: &App, job: &str, vm: &str) -> ApiResult<()> {
    let vm = find(app.db.read(), vm).await?;
    let Some(host) = vm.host_uuid.clone().filter(|_| matches!(vm.state.as_str(), "Running" | "Paused")) else {
        return Ok(());
    };
    let nics = spec::nics(app.db.read(), &vm.uuid).await?;
    l3_network::push_leases(app, job, &host, &vm, &nics).await
}

async fn tell(app: Arc<App>, state: Configure) -> StepResult<Configure> {
    if state.change.reaches_guest() {
        push(&app, &state.job, &state.vm).await?;
    }
    Ok(state)
}

/// A host that cannot be told now is told when it connects.
async fn take_back(app: Arc<App>, state: Configure) -> StepResult<()> {
    let (vm, reaches_guest) = (state.vm, state.change.reaches_guest());
    let (uuid, change) = (vm.as_str(), state.change.reversed());
    app.write(|tx| async move { apply(&tx, uuid, change).await }).await?;
    if reaches_guest && let Err(error) = push(&app, &format!("{}-back", state.job), &vm).await {
        tracing::warn!(vm, %error, "the host keeps the new settings until it connects again");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_one_label_of_letters_digits_and_hyphens() {
        for good in ["web-1", "a", "1web"] {
            assert_eq!(hostname_problem(good), None, "{good}");
        }
        for bad in ["", "-a", "a-", "a_b", "a.b", "a b", "ä", &"a".repeat(64)] {
            assert!(hostname_problem(bad).is_some(), "{bad:?}");
        }
    }
}
