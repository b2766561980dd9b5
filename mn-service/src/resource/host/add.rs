//! Adding a host: deploy its agent (or find it deployed), write it down, connect it (CS-HOST-003..009).

use std::{net::IpAddr, sync::Arc};

use mn_service_db::entity::{cluster, host, host_capacity};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Undo, Workflow};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::connect;
use crate::{
    api::{Call, Plan, StepError, StepResult},
    app::{App, OrInternal},
    cascade,
    deploy::{command::Password, ensure},
    resource::deletion,
};

mn_service_types::messages! {
    AddKVMHost { name: String, description: Option<String>, management_ip: String, cluster_uuid: String, username: String, password: String, ssh_port: i32 }
    AddEnrolledHost { name: String, description: Option<String>, management_ip: String, cluster_uuid: String, agent_port: i32 }
}

/// Where an SSH server listens unless somebody says otherwise.
const SSH_PORT: i32 = 22;

/// Purpose under which a host's SSH password is sealed.
pub(super) fn secret_purpose(host: &str) -> String {
    format!("host-password:{host}")
}

/// State of an addition. The password travels sealed. A node that joined by itself has no login.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AddHost {
    job: String,
    pub(super) uuid: String,
    name: String,
    description: Option<String>,
    management_ip: String,
    zone: String,
    cluster: String,
    username: Option<String>,
    secret: Option<String>,
    ssh_port: i32,
    /// Port of an agent that listens elsewhere than agents do.
    #[serde(default)]
    agent_port: Option<i32>,
}

/// A management address is an IP address that no other host has.
pub(crate) async fn check_address<C: ConnectionTrait>(conn: &C, ip: &str, own: Option<&str>) -> ApiResult<()> {
    if ip.parse::<IpAddr>().is_err() {
        return Err(ApiError::invalid(&[format!("managementIp must be an IP address, not {ip:?}")]));
    }
    let taken = host::Entity::find().filter(host::Column::ManagementIp.eq(ip)).one(conn).await.or_internal()?;
    match taken {
        Some(other) if own != Some(other.uuid.as_str()) => Err(ApiError::invalid(&[format!(
            "managementIp {ip} belongs to host {} ({}) already; every host needs an address of its own",
            other.name, other.uuid
        )])),
        _ => Ok(()),
    }
}

pub(super) async fn prepare(call: Call, msg: AddKVMHost) -> ApiResult<Plan<AddHost>> {
    let app = &call.app;
    check_address(app.db.read(), &msg.management_ip, None).await?;
    let cluster = cluster_of(app, &msg.cluster_uuid).await?;
    let uuid = call.new_resource_uuid();
    Ok(Plan::Run(AddHost {
        job: call.job.clone(),
        secret: Some(app.sealer.seal(&secret_purpose(&uuid), &msg.password).or_internal()?),
        uuid,
        name: msg.name,
        description: msg.description,
        management_ip: msg.management_ip,
        zone: cluster.zone_uuid,
        cluster: cluster.uuid,
        username: Some(msg.username),
        ssh_port: msg.ssh_port,
        agent_port: None,
    }))
}

async fn cluster_of(app: &App, uuid: &str) -> ApiResult<cluster::Model> {
    let cluster = cluster::Entity::find_by_id(uuid).one(app.db.read()).await.or_internal()?;
    cluster.ok_or_else(|| ApiError::not_found("ClusterVO", uuid))
}

/// The same without SSH: the node has a certificate for the host's uuid, which the call names.
pub(super) async fn prepare_enrolled(call: Call, msg: AddEnrolledHost) -> ApiResult<Plan<AddHost>> {
    let app = &call.app;
    check_address(app.db.read(), &msg.management_ip, None).await?;
    let cluster = cluster_of(app, &msg.cluster_uuid).await?;
    Ok(Plan::Run(AddHost {
        job: call.job.clone(),
        uuid: call.new_resource_uuid(),
        name: msg.name,
        description: msg.description,
        management_ip: msg.management_ip,
        zone: cluster.zone_uuid,
        cluster: cluster.uuid,
        username: None,
        secret: None,
        ssh_port: SSH_PORT,
        agent_port: Some(msg.agent_port),
    }))
}

pub(super) fn workflow() -> Workflow<App, AddHost, StepError> {
    Workflow::named("host.add", 1)
        .step("deploy", deploy, Undo::nothing("an agent does nothing by itself and obeys our certificate alone; adding the machine again uses what is there"))
        .step("record", record, Undo::with(forget))
        .step(
            "connect",
            connect_host,
            Undo::nothing("what a host keeps (bridges, storage folders) is harmless and used when it is added again"),
        )
}

fn failed(state: &AddHost, error: ApiError) -> StepError {
    let text = format!("host {} ({}) cannot be added: {}", state.name, state.management_ip, error.details);
    ApiError::new(ErrorCode::AddHost, text).caused_by(error).into()
}

/// CS-HOST-004: deploys the agent over SSH, unless the machine has one of our version that is enrolled as this host.
async fn deploy(app: Arc<App>, state: AddHost) -> StepResult<AddHost> {
    let purpose = secret_purpose(&state.uuid);
    let password =
        state.secret.as_deref().map(|sealed| app.sealer.unseal(&purpose, sealed)).transpose().or_internal()?;
    let access = ensure::Access {
        host: state.uuid.clone(),
        management_ip: state.management_ip.clone(),
        agent_port: u16::try_from(agent_port(&app, &state)).map_err(ApiError::internal)?,
        ssh_port: u16::try_from(state.ssh_port).map_err(ApiError::internal)?,
        user: state.username.clone(),
        password: password.and_then(Password::new),
    };
    let there = match state.username {
        Some(_) => ensure::ensure(&app, &state.job, &access).await,
        None => ensure::await_enrolled(&app, &state.job, &access).await,
    };
    there.map_err(|error| failed(&state, error))?;
    Ok(state)
}

fn agent_port(app: &App, state: &AddHost) -> i32 {
    state.agent_port.unwrap_or_else(|| i32::from(app.agents.default_port()))
}

async fn record(app: Arc<App>, state: AddHost) -> StepResult<AddHost> {
    let port = agent_port(&app, &state);
    let done = app
        .write(|tx| async move {
            if host::Entity::find_by_id(&state.uuid).one(&*tx).await.or_internal()?.is_some() {
                return Ok(state);
            }
            let now = now_millis();
            let row = host::ActiveModel {
                uuid: Set(state.uuid.clone()),
                zone_uuid: Set(state.zone.clone()),
                cluster_uuid: Set(state.cluster.clone()),
                name: Set(state.name.clone()),
                description: Set(state.description.clone()),
                management_ip: Set(state.management_ip.clone()),
                hypervisor_type: Set("KVM".to_owned()),
                state: Set("Enabled".to_owned()),
                status: Set("Connecting".to_owned()),
                username: Set(state.username.clone()),
                ssh_port: Set(Some(state.ssh_port)),
                secret: Set(state.secret.clone()),
                agent_port: Set(Some(port)),
                create_date: Set(now),
                last_op_date: Set(now),
                ..Default::default()
            };
            host::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
            let capacity = host_capacity::ActiveModel {
                uuid: Set(state.uuid.clone()),
                total_memory: Set(0),
                total_cpu: Set(0),
                cpu_num: Set(0),
                cpu_sockets: Set(0),
                available_memory: Set(0),
                available_cpu: Set(0),
                total_physical_memory: Set(0),
                available_physical_memory: Set(0),
            };
            host_capacity::Entity::insert(capacity).exec_without_returning(&*tx).await.or_internal()?;
            Ok(state)
        })
        .await?;
    Ok(done)
}

async fn forget(app: Arc<App>, state: AddHost) -> StepResult<()> {
    app.write(|tx| async move {
        let deletion = cascade::plan(&*tx, "HostVO", std::slice::from_ref(&state.uuid)).await?;
        deletion::remove(&tx, &deletion).await
    })
    .await?;
    Ok(())
}

async fn connect_host(app: Arc<App>, state: AddHost) -> StepResult<AddHost> {
    connect::connect(&app, &state.job, &state.uuid).await.map_err(|error| failed(&state, error))?;
    Ok(state)
}
