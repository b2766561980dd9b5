//! Connecting a host: learn what it is, give it its networks and storage, agree on its VMs (CS-HOST-040..044).

use mn_service_db::entity::{host, host_capacity, vm_instance};
use mn_service_types::{ErrorCode, date::now_millis, error::ApiResult};
use node_manager_types::host::HostFacts;
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, prelude::*};

use crate::{
    agents,
    app::{App, OrInternal, Tx},
    garbage,
    resource::{allocation, image, l2_network, l3_network, primary_storage, provisioning, vm},
};

/// Connects a host; on success it is Connected, its capacity counted and its VMs agreed upon.
pub async fn connect(app: &App, job: &str, uuid: &str) -> ApiResult<()> {
    let agent = app.agents.of(app.db.read(), uuid).await?;
    let unreachable = |e| agents::failure(ErrorCode::HostConnection, "the agent does not answer", uuid, &e);
    let facts = agent.host().await.map_err(unreachable)?;
    let ping = agent.ping().await.map_err(unreachable)?;
    note_facts(app, uuid, &facts, &ping.instance).await?;
    l2_network::host_connected(app, job, uuid).await?;
    l3_network::host_connected(app, job, uuid).await?;
    primary_storage::host_connected(app, job, uuid).await?;
    app.write(|tx| async move {
        let row = host::ActiveModel {
            uuid: Set(uuid.to_owned()),
            status: Set("Connected".to_owned()),
            last_op_date: Set(now_millis()),
            ..Default::default()
        };
        host::Entity::update(row).exec(&*tx).await.or_internal()?;
        garbage::due_on(&tx, uuid).await?;
        recount_storage(&tx, uuid).await
    })
    .await?;
    app.sweep.notify_one();
    // What is wrong with a cache hinders VMs that need it, and no host.
    if let Err(error) = image::check_host(app, uuid).await {
        tracing::warn!(host = uuid, %error, "the image caches of a host could not be looked at");
    }
    vm::sync::host(app, uuid, &ping).await
}

async fn note_facts(app: &App, uuid: &str, facts: &HostFacts, instance: &str) -> ApiResult<()> {
    let memory = i64::try_from(facts.memory.as_bytes()).unwrap_or(i64::MAX);
    let (total_cpu, total_memory) = provisioning::host_totals(&app.settings, i64::from(facts.cpu_threads), memory);
    app.write(|tx| async move {
        let row = host::ActiveModel {
            uuid: Set(uuid.to_owned()),
            architecture: Set(Some(facts.architecture.clone())),
            os_distribution: Set(Some(facts.os.distribution.clone())),
            os_release: Set(Some(facts.os.release.clone())),
            os_version: Set(Some(facts.os.version.clone())),
            agent_instance: Set(Some(instance.to_owned())),
            agent_version: Set(Some(facts.agent_version.clone())),
            ..Default::default()
        };
        host::Entity::update(row).exec(&*tx).await.or_internal()?;
        let capacity = host_capacity::ActiveModel {
            uuid: Set(uuid.to_owned()),
            cpu_num: Set(i32::try_from(facts.cpu_threads).unwrap_or(i32::MAX)),
            cpu_sockets: Set(i32::try_from(facts.cpu_sockets).unwrap_or(i32::MAX)),
            total_physical_memory: Set(memory),
            ..Default::default()
        };
        host_capacity::Entity::update(capacity).exec(&*tx).await.or_internal()?;
        allocation::recount_host(&tx, uuid, total_cpu, total_memory).await
    })
    .await
}

/// CS-HOST-022: nobody knows what the VMs of a host do that does not answer.
pub(super) async fn disconnected(app: &App, uuid: &str) -> ApiResult<()> {
    app.write(|tx| async move {
        let row = host::ActiveModel {
            uuid: Set(uuid.to_owned()),
            status: Set("Disconnected".to_owned()),
            last_op_date: Set(now_millis()),
            ..Default::default()
        };
        host::Entity::update(row).exec(&*tx).await.or_internal()?;
        use vm_instance::Column;
        vm_instance::Entity::update_many()
            .col_expr(Column::State, Expr::value("Unknown"))
            .col_expr(Column::LastOpDate, Expr::value(now_millis()))
            .filter(Column::HostUuid.eq(uuid))
            .filter(Column::State.is_in(["Running", "Paused"]))
            .exec(&*tx)
            .await
            .or_internal()?;
        recount_storage(&tx, uuid).await
    })
    .await
}

/// CS-PSL-004: a host's share of local storage counts while the host is Connected, and only then.
async fn recount_storage(tx: &Tx, host: &str) -> ApiResult<()> {
    for storage in primary_storage::of_hosts(&**tx, &[host.to_owned()]).await? {
        primary_storage::recount(tx, &storage).await?;
    }
    Ok(())
}
