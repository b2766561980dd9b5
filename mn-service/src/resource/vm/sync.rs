//! Agreeing with hosts on the state of VMs (CS-HOST-022, CS-SET-026): a VM that died on its host is seen, a VM that
//! nobody knows is reported.

use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, Mutex, PoisonError},
};

use mn_service_db::entity::{audit, vm_instance};
use mn_service_types::{ADMIN_ACCOUNT, date::now_millis, error::ApiResult};
use node_manager_types::{host::Ping, vm::VmState};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, prelude::*};

use super::{find, set_state};
use crate::{
    app::{App, OrInternal},
    resource::allocation,
};

/// Unknown VMs that were reported already and are still there, by host and VM. Derived: after a restart they are reported
/// once more.
static REPORTED: LazyLock<Mutex<HashSet<(String, String)>>> = LazyLock::new(Default::default);

/// States in which nobody but a host changes a VM; all others belong to a job.
const SETTLED: [&str; 5] = ["Running", "Paused", "Unknown", "Stopped", "Crashed"];

/// State word for what a host reports.
fn word(state: VmState) -> &'static str {
    match state {
        VmState::Running | VmState::ShuttingDown => "Running",
        VmState::Paused => "Paused",
        VmState::Crashed => "Crashed",
    }
}

/// Compares a host's answer with what is known; where they differ the VM is looked at alone.
pub async fn host(app: &App, host: &str, ping: &Ping) -> ApiResult<()> {
    let reported: HashMap<String, VmState> = ping.vms.iter().map(|vm| (vm.id.to_string(), vm.state)).collect();
    // A stranger that leaves and comes back is news again.
    let still = |(on, vm): &(String, String)| on != host || reported.contains_key(vm);
    REPORTED.lock().unwrap_or_else(PoisonError::into_inner).retain(still);
    let here = vm_instance::Column::HostUuid.eq(host);
    let mut known: HashSet<String> = HashSet::new();
    for vm in vm_instance::Entity::find().filter(here).all(app.db.read()).await.or_internal()? {
        let told = reported.get(&vm.uuid).map_or("Stopped", |state| word(*state));
        if SETTLED.contains(&vm.state.as_str()) && vm.state != told {
            unless_busy(app, &vm.uuid).await?;
        }
        known.insert(vm.uuid);
    }
    for uuid in reported.keys().filter(|uuid| !known.contains(*uuid)) {
        match vm_instance::Entity::find_by_id(uuid).one(app.db.read()).await.or_internal()? {
            Some(vm) if SETTLED.contains(&vm.state.as_str()) => adopt(app, &vm, host).await?,
            Some(_) => {}
            None => report_unknown(app, host, uuid).await?,
        }
    }
    Ok(())
}

/// Asks again where no job has the VM in hand: the answer at hand may be older than a job that ended meanwhile. A job
/// settles the state itself, and what it leaves open is seen at the next look. It is not waited for: after a restart
/// jobs wait for the hosts to be asked, and this is how they are asked.
async fn unless_busy(app: &App, uuid: &str) -> ApiResult<()> {
    let ticket = app.queues.join([uuid.to_owned()]);
    if !ticket.has_turn() {
        return Ok(());
    }
    let row = vm_instance::Entity::find_by_id(uuid).one(app.db.read()).await.or_internal()?;
    if row.is_some_and(|vm| SETTLED.contains(&vm.state.as_str())) { one(app, uuid).await } else { Ok(()) }
}

/// Asks the host of one VM and takes its word. The caller holds the VM's turn.
pub async fn one(app: &App, uuid: &str) -> ApiResult<()> {
    let vm = find(app.db.read(), uuid).await?;
    let Some(host) = vm.host_uuid.clone() else { return Ok(()) };
    let agent = app.agents.of(app.db.read(), &host).await?;
    let state = match agent.ping().await {
        Ok(ping) => ping.vms.iter().find(|v| v.id.to_string() == uuid).map_or("Stopped", |v| word(v.state)),
        Err(error) => {
            tracing::warn!(vm = uuid, host = %host, %error, "its host does not answer; the VM counts as Unknown");
            "Unknown"
        }
    };
    if vm.state != state {
        tracing::info!(vm = uuid, host = %host, before = %vm.state, after = state, "the host reports another state");
    }
    if state == "Stopped" {
        super::leave_network(app, uuid).await?;
    }
    let uuid = uuid.to_owned();
    app.write(|tx| async move {
        match state {
            "Stopped" => allocation::mark_stopped(&tx, std::slice::from_ref(&uuid)).await,
            state => set_state(&tx, &uuid, state).await,
        }
    })
    .await
}

/// A VM of ours runs on a host where it should not: it is noted there, so that it can be stopped.
async fn adopt(app: &App, vm: &vm_instance::Model, host: &str) -> ApiResult<()> {
    if vm.host_uuid.as_deref().is_some_and(|known| known != host) {
        tracing::error!(vm = %vm.uuid, host, noted = ?vm.host_uuid, "a VM runs on two hosts; stop one of them at once");
        return report_unknown(app, host, &vm.uuid).await;
    }
    tracing::warn!(vm = %vm.uuid, host, "a VM that counted as stopped runs");
    let (uuid, host) = (vm.uuid.clone(), host.to_owned());
    let (cpu, memory) = (i64::from(vm.cpu_num), vm.memory_size);
    app.write(|tx| async move {
        let row = vm_instance::ActiveModel {
            uuid: Set(uuid.clone()),
            host_uuid: Set(Some(host.clone())),
            state: Set("Running".to_owned()),
            last_op_date: Set(now_millis()),
            ..Default::default()
        };
        vm_instance::Entity::update(row).exec(&*tx).await.or_internal()?;
        if !allocation::reserve_host(&tx, &uuid, &host, cpu, memory).await? {
            tracing::warn!(vm = %uuid, host = %host, "it runs on a host that is full");
            allocation::note_host(&tx, &uuid, &host, cpu, memory).await?;
        }
        Ok(())
    })
    .await
}

/// A VM that nobody knows is named in the log and in the audit, once.
async fn report_unknown(app: &App, host: &str, uuid: &str) -> ApiResult<()> {
    let fresh = REPORTED.lock().unwrap_or_else(PoisonError::into_inner).insert((host.to_owned(), uuid.to_owned()));
    if !fresh {
        return Ok(());
    }
    tracing::warn!(vm = uuid, host, "the host runs a VM that is not in the database");
    let (host, uuid) = (host.to_owned(), uuid.to_owned());
    let now = now_millis();
    app.write(|tx| async move {
        let row = audit::ActiveModel {
            api_name: Set("UnknownVmOnHost".to_owned()),
            operator_account_uuid: Set(ADMIN_ACCOUNT.to_owned()),
            client_ip: Set(Some("system".to_owned())),
            resource_type: Set(Some("HostVO".to_owned())),
            resource_uuid: Set(Some(host)),
            request_dump: Set(serde_json::json!({ "vm": uuid }).to_string()),
            success: Set(Some(false)),
            error: Set(Some(format!(
                "VM {uuid} runs on the host and is not in the database; stop it there or recover its records"
            ))),
            start_time: Set(now),
            create_time: Set(now),
            duration: Set(0),
            ..Default::default()
        };
        audit::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
        Ok(())
    })
    .await
}
