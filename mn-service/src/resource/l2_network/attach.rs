//! Attaching L2 networks to clusters and detaching them (NET-L2-020, NET-L2-031, NET-L2-032, CS-CLU-030..034).

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, stream};
use mn_service_db::entity::{cluster, host, l2_network, l2_network_cluster_ref, l3_network, vm_instance, vm_nic};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::operation::RemoveBridge;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::OnConflict,
};
use serde::{Deserialize, Serialize};

use super::{bridge, ensure_on_host, missing, missing_text};
use crate::{
    agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal},
    garbage,
    resource::host_networks::{self, AT_ONCE, Plugged},
};

mn_service_types::messages! {
    AttachL2NetworkToCluster { l2_network_uuid: String, cluster_uuid: String, l2_provider_type: Option<String> }
    DetachL2NetworkFromCluster { l2_network_uuid: String, cluster_uuid: String }
}

/// State of an attachment.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Attach {
    job: String,
    l2: String,
    cluster: String,
    provider: Option<String>,
    /// Hosts that were connected when the attachment began.
    hosts: Vec<String>,
}

/// State of a detachment.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Detach {
    job: String,
    l2: String,
    cluster: String,
    /// NICs in VMs that have a host.
    plugged: BTreeSet<Plugged>,
    /// What the network left on hosts, by its number in the garbage.
    garbage: Vec<i64>,
}

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("l2.attach", prepare_attach, |state: &Attach| {
        Reply::Inventory("L2NetworkInventory", state.l2.clone())
    });
    apis.workflow("l2.detach", prepare_detach, |state: &Detach| {
        Reply::Inventory("L2NetworkInventory", state.l2.clone())
    });
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("l2.attach", 1)
            .step("check-interfaces", check_interfaces, Undo::nothing("looking changes nothing"))
            .step("ensure-bridges", ensure_bridges, Undo::with(remove_bridges))
            .step("record", record, Undo::with(unrecord))
            .step(
                "late-hosts",
                late_hosts,
                Undo::nothing("undoing ensure-bridges covers every host that is connected by then"),
            ),
    )?;
    registry.register(
        Workflow::named("l2.detach", 1)
            .step("unplug-nics", unplug_nics, Undo::with(plug_again))
            .step("records", remove_records, Undo::nothing("one transaction, and nothing after it fails for a host"))
            .step("clean-hosts", clean_hosts, Undo::nothing("what cannot be removed now is garbage that is noted")),
    )
}

async fn prepare_attach(call: Call, msg: AttachL2NetworkToCluster) -> ApiResult<Plan<Attach>> {
    let db = call.app.db.read();
    let (l2, cluster) = load(db, &msg.l2_network_uuid, &msg.cluster_uuid).await?;
    if l2.zone_uuid != cluster.zone_uuid {
        return Err(ApiError::invalid(&[format!(
            "L2 network {} is in zone {}, cluster {} in zone {}; both must be in one zone",
            l2.name, l2.zone_uuid, cluster.name, cluster.zone_uuid
        )]));
    }
    if attached(db, &l2.uuid, &cluster.uuid).await? {
        return Err(ApiError::new(
            ErrorCode::AttachL2,
            format!("L2 network {} ({}) is attached to cluster {} already", l2.name, l2.uuid, cluster.name),
        ));
    }
    Ok(Plan::Run(Attach {
        job: call.job.clone(),
        hosts: connected(db, &cluster.uuid).await?,
        l2: l2.uuid,
        cluster: cluster.uuid,
        provider: msg.l2_provider_type,
    }))
}

async fn load<C: ConnectionTrait>(conn: &C, l2: &str, cluster: &str) -> ApiResult<(l2_network::Model, cluster::Model)> {
    let l2_row = l2_network::Entity::find_by_id(l2).one(conn).await.or_internal()?;
    let cluster_row = cluster::Entity::find_by_id(cluster).one(conn).await.or_internal()?;
    Ok((
        l2_row.ok_or_else(|| ApiError::not_found("L2NetworkVO", l2))?,
        cluster_row.ok_or_else(|| ApiError::not_found("ClusterVO", cluster))?,
    ))
}

async fn attached<C: ConnectionTrait>(conn: &C, l2: &str, cluster: &str) -> ApiResult<bool> {
    let key = (l2.to_owned(), cluster.to_owned());
    Ok(l2_network_cluster_ref::Entity::find_by_id(key).one(conn).await.or_internal()?.is_some())
}

/// Connected hosts of a cluster.
async fn connected<C: ConnectionTrait>(conn: &C, cluster: &str) -> ApiResult<Vec<String>> {
    let hosts = host::Entity::find()
        .filter(host::Column::ClusterUuid.eq(cluster))
        .filter(host::Column::Status.eq("Connected"))
        .order_by_asc(host::Column::Uuid)
        .all(conn)
        .await
        .or_internal()?;
    Ok(hosts.into_iter().map(|host| host.uuid).collect())
}

/// NET-L2-031: every host that can be asked must have the interface; all that do not are named.
async fn check_interfaces(app: Arc<App>, state: Attach) -> StepResult<Attach> {
    check_hosts(&app, &state, &state.hosts).await?;
    Ok(state)
}

async fn check_hosts(app: &Arc<App>, state: &Attach, hosts: &[String]) -> ApiResult<()> {
    let uplink = bridge(app.db.read(), &state.l2).await?.uplink;
    let checks =
        stream::iter(hosts.to_vec()).map(|host| check_host(app.clone(), state.job.clone(), host, uplink.clone()));
    let found: Vec<ApiResult<Option<String>>> = checks.buffered(AT_ONCE).collect().await;
    let lacking: Vec<String> = found.into_iter().collect::<ApiResult<Vec<_>>>()?.into_iter().flatten().collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::AttachL2,
        format!(
            "L2 network {} needs interface {uplink} on every host of cluster {}:\n{}",
            state.l2,
            state.cluster,
            lacking.join("\n")
        ),
    )
    .caused_by(ApiError::new(ErrorCode::Operation, lacking.join("\n"))))
}

async fn check_host(app: Arc<App>, job: String, host: String, uplink: String) -> ApiResult<Option<String>> {
    let row = host::Entity::find_by_id(&host).one(app.db.read()).await.or_internal()?;
    let Some(row) = row else { return Ok(None) };
    let agent = app.agents.of(app.db.read(), &host).await?;
    let missing = missing(&app, &job, &agent, &host, vec![uplink])
        .await
        .map_err(|e| ApiError::new(ErrorCode::AttachL2, e.details.clone()).caused_by(e))?;
    Ok((!missing.is_empty()).then(|| missing_text(&missing, &host, &row.management_ip)))
}

async fn ensure_bridges(app: Arc<App>, state: Attach) -> StepResult<Attach> {
    ensure_hosts(&app, &state, &state.hosts).await?;
    Ok(state)
}

async fn ensure_hosts(app: &Arc<App>, state: &Attach, hosts: &[String]) -> ApiResult<()> {
    let ensure = |host: String| {
        let (app, job, l2) = (app.clone(), state.job.clone(), state.l2.clone());
        async move { ensure_on_host(&app, &job, &l2, &host).await }
    };
    let made: Vec<ApiResult<()>> = stream::iter(hosts.to_vec()).map(ensure).buffered(AT_ONCE).collect().await;
    made.into_iter()
        .collect::<ApiResult<()>>()
        .map_err(|e| ApiError::new(ErrorCode::AttachL2, format!("L2 network {}: {}", state.l2, e.details)).caused_by(e))
}

/// Takes the bridges away again, also from hosts that connected meanwhile. A host that does not answer keeps an unused
/// one: attaching later finds it as it is.
async fn remove_bridges(app: Arc<App>, state: Attach) -> Result<(), StepError> {
    let spec = bridge(app.db.read(), &state.l2).await?;
    let mut hosts: BTreeSet<String> = state.hosts.into_iter().collect();
    hosts.extend(connected(app.db.read(), &state.cluster).await?);
    for host in &hosts {
        let Ok(agent) = app.agents.of(app.db.read(), host).await else { continue };
        let remove = RemoveBridge { l2: spec.l2, bridge: spec.bridge.clone() };
        if let Err(error) = agents::run(&agent, &state.job, "undo-bridge", remove, app.host_patience()).await {
            tracing::warn!(host, bridge = spec.bridge, %error, "an unused bridge stays on the host");
        }
    }
    Ok(())
}

async fn record(app: Arc<App>, state: Attach) -> StepResult<Attach> {
    let recorded = app
        .write(|tx| async move {
            let now = now_millis();
            let row = l2_network_cluster_ref::ActiveModel {
                l2_network_uuid: Set(state.l2.clone()),
                cluster_uuid: Set(state.cluster.clone()),
                l2_provider_type: Set(state.provider.clone()),
                create_date: Set(now),
                last_op_date: Set(now),
            };
            use l2_network_cluster_ref::{Column, Entity};
            let key = [Column::L2NetworkUuid, Column::ClusterUuid];
            Entity::insert(row)
                .on_conflict(OnConflict::columns(key).do_nothing_on(key).to_owned())
                .exec_without_returning(&*tx)
                .await
                .or_internal()?;
            Ok(state)
        })
        .await?;
    Ok(recorded)
}

async fn unrecord(app: Arc<App>, state: Attach) -> Result<(), StepError> {
    app.write(|tx| async move {
        let key = (state.l2, state.cluster);
        l2_network_cluster_ref::Entity::delete_by_id(key).exec(&*tx).await.or_internal()?;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Hosts that connected between the check and the record did not hear of this network; from the record on, they do.
async fn late_hosts(app: Arc<App>, state: Attach) -> StepResult<Attach> {
    let now = connected(app.db.read(), &state.cluster).await?;
    let late: Vec<String> = now.into_iter().filter(|host| !state.hosts.contains(host)).collect();
    check_hosts(&app, &state, &late).await?;
    ensure_hosts(&app, &state, &late).await?;
    Ok(state)
}

async fn prepare_detach(call: Call, msg: DetachL2NetworkFromCluster) -> ApiResult<Plan<Detach>> {
    let db = call.app.db.read();
    let (l2, cluster) = load(db, &msg.l2_network_uuid, &msg.cluster_uuid).await?;
    if !attached(db, &l2.uuid, &cluster.uuid).await? {
        return Ok(Plan::Done(Reply::Inventory("L2NetworkInventory", l2.uuid)));
    }
    let plugged = host_networks::plugged(db, &nics(db, &l2.uuid, &cluster.uuid).await?).await?;
    Ok(Plan::Run(Detach { job: call.job.clone(), l2: l2.uuid, cluster: cluster.uuid, plugged, garbage: Vec::new() }))
}

/// NICs on an L2 network of VMs in a cluster.
async fn nics<C: ConnectionTrait>(conn: &C, l2: &str, cluster: &str) -> ApiResult<Vec<vm_nic::Model>> {
    let l3s =
        l3_network::Entity::find().filter(l3_network::Column::L2NetworkUuid.eq(l2)).all(conn).await.or_internal()?;
    let nics = vm_nic::Entity::find()
        .filter(vm_nic::Column::L3NetworkUuid.is_in(l3s.into_iter().map(|l3| l3.uuid)))
        .order_by_asc(vm_nic::Column::Uuid)
        .all(conn)
        .await
        .or_internal()?;
    let vms = vm_instance::Entity::find()
        .filter(vm_instance::Column::ClusterUuid.eq(cluster))
        .filter(vm_instance::Column::Uuid.is_in(nics.iter().filter_map(|nic| nic.vm_instance_uuid.clone())))
        .all(conn)
        .await
        .or_internal()?;
    let here = |nic: &vm_nic::Model| vms.iter().any(|vm| Some(&vm.uuid) == nic.vm_instance_uuid.as_ref());
    Ok(nics.into_iter().filter(here).collect())
}

async fn unplug_nics(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    host_networks::unplug(&app, &state.job, &state.plugged, false).await?;
    Ok(state)
}

async fn plug_again(app: Arc<App>, state: Detach) -> Result<(), StepError> {
    Ok(host_networks::plug_again(&app, &state.job, &state.plugged).await?)
}

async fn remove_records(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    let context = app.clone();
    let removed = app
        .write(|tx| async move {
            let nics = nics(&*tx, &state.l2, &state.cluster).await?;
            let plugged = host_networks::plugged(&*tx, &nics).await?;
            if let Some(nic) = plugged.difference(&state.plugged).next() {
                return Err(ApiError::new(
                    ErrorCode::Operation,
                    format!("VM {} got a NIC on this network or was started meanwhile; detach again", nic.vm),
                ));
            }
            let Some(l2) = l2_network::Entity::find_by_id(&state.l2).one(&*tx).await.or_internal()? else {
                return Ok(state);
            };
            if !attached(&*tx, &state.l2, &state.cluster).await? {
                return Ok(state);
            }
            let l3s = l3_network::Entity::find()
                .filter(l3_network::Column::L2NetworkUuid.eq(&state.l2))
                .all(&*tx)
                .await
                .or_internal()?;
            let mut state = state;
            let hosts = host_networks::hosts_of(&*tx, std::slice::from_ref(&state.cluster)).await?;
            for host in &hosts {
                for l3 in &l3s {
                    state.garbage.push(host_networks::note_dhcp(&tx, &host.uuid, &l3.uuid).await?);
                }
                state.garbage.extend(host_networks::note_bridge(&context, &tx, &host.uuid, &l2).await?);
            }
            host_networks::remove_nics(&tx, &nics).await?;
            let key = (state.l2.clone(), state.cluster.clone());
            l2_network_cluster_ref::Entity::delete_by_id(key).exec(&*tx).await.or_internal()?;
            Ok(state)
        })
        .await?;
    Ok(removed)
}

async fn clean_hosts(app: Arc<App>, state: Detach) -> StepResult<Detach> {
    garbage::collect_now(&app, &state.garbage).await?;
    Ok(state)
}
