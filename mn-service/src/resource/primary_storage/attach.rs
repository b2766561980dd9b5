//! Attaching to clusters, reconnecting.

use std::sync::Arc;

use mn_service_db::entity::{cluster, host, primary_storage, primary_storage_cluster_ref};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::storage::Capacity;
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};

use super::{attached, claim, combination, load, recount, write_share};
use crate::{
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal},
};

mn_service_types::messages! {
    AttachPrimaryStorageToCluster { cluster_uuid: String, primary_storage_uuid: String }
    ReconnectPrimaryStorage { uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("primary-storage.connect", prepare_attach, reply);
    apis.workflow("primary-storage.connect", prepare_reconnect, reply);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("primary-storage.connect", 1)
            .step(
                "claim-directories",
                claim_directories,
                Undo::nothing("a claimed directory is empty, marked with its storage, and claimed by the next attempt"),
            )
            .step("record", record, Undo::nothing("it is the last step and one transaction")),
    )
}

/// State of connecting a primary storage with hosts.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Connect {
    job: String,
    primary_storage: String,
    /// Cluster to attach to; absent when it only reconnects.
    attach: Option<String>,
    /// Hosts whose directories are claimed.
    hosts: Vec<String>,
    /// What they hold.
    claimed: Vec<(String, Capacity)>,
}

fn reply(state: &Connect) -> Reply {
    Reply::Inventory("PrimaryStorageInventory", state.primary_storage.clone())
}

async fn connected_hosts<C: ConnectionTrait>(conn: &C, clusters: &[String]) -> ApiResult<Vec<String>> {
    let rows = host::Entity::find()
        .filter(host::Column::ClusterUuid.is_in(clusters.iter().cloned()))
        .filter(host::Column::Status.eq("Connected"));
    Ok(rows.all(conn).await.or_internal()?.into_iter().map(|host| host.uuid).collect())
}

async fn prepare_attach(call: Call, msg: AttachPrimaryStorageToCluster) -> ApiResult<Plan<Connect>> {
    let conn = call.app.db.read();
    if check_attach(conn, &msg.primary_storage_uuid, &msg.cluster_uuid).await? {
        return Ok(Plan::Done(Reply::Inventory("PrimaryStorageInventory", msg.primary_storage_uuid)));
    }
    Ok(Plan::Run(Connect {
        job: call.job.clone(),
        hosts: connected_hosts(conn, std::slice::from_ref(&msg.cluster_uuid)).await?,
        primary_storage: msg.primary_storage_uuid,
        attach: Some(msg.cluster_uuid),
        claimed: Vec::new(),
    }))
}

/// True when it is attached already; otherwise all rules of attaching (CS-CLU-010 to CS-CLU-021) are checked at once.
async fn check_attach<C: ConnectionTrait>(conn: &C, uuid: &str, cluster_uuid: &str) -> ApiResult<bool> {
    let storage = load(conn, uuid).await?;
    let cluster = cluster::Entity::find_by_id(cluster_uuid).one(conn).await.or_internal()?;
    let cluster = cluster.ok_or_else(|| ApiError::not_found("ClusterVO", cluster_uuid))?;
    let beside: Vec<primary_storage::Model> = attached(conn, cluster_uuid).await?;
    if beside.iter().any(|other| other.uuid == storage.uuid) {
        return Ok(true);
    }
    let mut problems = Vec::new();
    if storage.zone_uuid != cluster.zone_uuid {
        problems.push(format!(
            "primary storage {} is in zone {}, cluster {} in zone {}; use a cluster of the same zone",
            storage.name, storage.zone_uuid, cluster.name, cluster.zone_uuid
        ));
    }
    if storage.state == "Maintenance" {
        problems.push(format!("primary storage {} is in maintenance; enable it first", storage.name));
    }
    if let Some(same) = beside.iter().find(|other| other.url == storage.url) {
        problems.push(format!(
            "primary storage {} ({}) already uses {} in cluster {}; each storage needs a directory of its own",
            same.name, same.uuid, same.url, cluster.name
        ));
    }
    let types: Vec<&str> = beside.iter().chain([&storage]).map(|row| row.r#type.as_str()).collect();
    if combination::rule(&types).is_none() {
        problems.push(format!(
            "cluster {} would have primary storages of the types {}; that combination is not supported",
            cluster.name,
            types.join(", ")
        ));
    }
    if problems.is_empty() {
        Ok(false)
    } else {
        Err(ApiError::new(ErrorCode::AttachPrimaryStorage, problems.join("\n")))
    }
}

async fn prepare_reconnect(call: Call, msg: ReconnectPrimaryStorage) -> ApiResult<Plan<Connect>> {
    let conn = call.app.db.read();
    use primary_storage_cluster_ref::{Column, Entity};
    let refs = Entity::find().filter(Column::PrimaryStorageUuid.eq(&msg.uuid)).all(conn).await.or_internal()?;
    let clusters: Vec<String> = refs.into_iter().map(|r| r.cluster_uuid).collect();
    Ok(Plan::Run(Connect {
        job: call.job.clone(),
        hosts: connected_hosts(conn, &clusters).await?,
        primary_storage: msg.uuid,
        attach: None,
        claimed: Vec::new(),
    }))
}

async fn claim_directories(app: Arc<App>, mut state: Connect) -> StepResult<Connect> {
    let storage = load(app.db.read(), &state.primary_storage).await?;
    let claims = state.hosts.iter().map(|host| {
        let (app, storage, job) = (&app, &storage, &state.job);
        async move { (host.clone(), claim(app, job, storage, host).await) }
    });
    let (mut claimed, mut failures) = (Vec::new(), Vec::new());
    for (host, outcome) in futures::future::join_all(claims).await {
        match outcome {
            Ok(capacity) => claimed.push((host, capacity)),
            Err(error) => failures.push(error),
        }
    }
    let mut failures = failures.into_iter();
    if let Some(first) = failures.next() {
        let others: Vec<String> = failures.map(|error| error.details).collect();
        let details = [vec![first.details.clone()], others].concat().join("\n");
        return Err(ApiError::new(ErrorCode::AttachPrimaryStorage, details).caused_by(first).into());
    }
    state.claimed = claimed;
    Ok(state)
}

async fn record(app: Arc<App>, state: Connect) -> StepResult<Connect> {
    let state = app
        .write(|tx| async move {
            if let Some(cluster) = &state.attach
                // Another attach may have come first.
                && !check_attach(&*tx, &state.primary_storage, cluster).await?
            {
                let now = now_millis();
                let row = primary_storage_cluster_ref::ActiveModel {
                    cluster_uuid: Set(cluster.clone()),
                    primary_storage_uuid: Set(state.primary_storage.clone()),
                    create_date: Set(now),
                    last_op_date: Set(now),
                    ..Default::default()
                };
                primary_storage_cluster_ref::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
            }
            for (host, capacity) in &state.claimed {
                // Hosts that were deleted meanwhile have no share.
                if host::Entity::find_by_id(host).one(&*tx).await.or_internal()?.is_some() {
                    write_share(&tx, &state.primary_storage, host, *capacity).await?;
                }
            }
            recount(&tx, &state.primary_storage).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}
