//! The host reconciler: asks every host whether it lives and what its VMs do (CS-HOST-021, CS-HOST-022, CS-SET-026..028).

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use mn_service_db::entity::host;
use mn_service_types::error::ApiResult;
use node_manager_types::host::Ping;
use sea_orm::{EntityTrait, QueryFilter, prelude::*};
use serde_json::json;

use super::connect::disconnected;
use crate::{
    app::{App, OrInternal, Tx},
    jobs,
    resource::vm,
};

/// Pings in a row that a host did not answer. Derived state: a restart begins counting anew.
static MISSED: LazyLock<Mutex<HashMap<String, i64>>> = LazyLock::new(Default::default);

/// Automatic reconnections that failed in a row, and when the next one is due. Derived state, too.
static REFUSED: LazyLock<Mutex<HashMap<String, (u32, Instant)>>> = LazyLock::new(Default::default);

/// First and longest pause between two automatic reconnections of a host that answers and cannot be connected, for
/// example because its SSH password is wrong.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Pause after `failures` failed reconnections.
fn pause(failures: u32) -> Duration {
    BACKOFF.0.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF.1)
}

/// Forgets that a host could not be connected: what is known of it was changed.
pub(crate) fn try_at_once(host: &str) {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
}

/// Reconnects a host unless that failed lately.
async fn reconnect(app: &Arc<App>, host: &str) -> ApiResult<()> {
    let waits = |(_, due): &(u32, Instant)| Instant::now() < *due;
    if REFUSED.lock().unwrap_or_else(PoisonError::into_inner).get(host).is_some_and(waits) {
        return Ok(());
    }
    let ended = jobs::call_as_system(app, "ReconnectHost", json!({ "uuid": host })).await;
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    match &ended {
        Ok(()) => drop(refused.remove(host)),
        Err(error) => {
            let (failures, due) = refused.entry(host.to_owned()).or_insert((0, Instant::now()));
            *failures = failures.saturating_add(1);
            *due = Instant::now() + pause(*failures);
            tracing::warn!(host, failures = *failures, next = ?pause(*failures), %error, "not reconnected");
        }
    }
    ended
}

/// Asks all hosts once.
pub async fn ping_all(app: &Arc<App>) -> ApiResult<()> {
    let hosts = host::Entity::find().all(app.db.read()).await.or_internal()?;
    let parallel = usize::try_from(app.settings.integer("host", "ping.parallelismDegree", 100)).unwrap_or(100).max(1);
    stream::iter(hosts)
        .for_each_concurrent(parallel, |row| async move {
            if let Err(error) = ping_one(app, &row).await {
                tracing::warn!(host = %row.uuid, %error, "a host could not be checked");
            }
        })
        .await;
    Ok(())
}

/// A service that starts knows of no connection: every host is Connecting until it answered (CS-SET-029).
pub async fn forget_connections(tx: &Tx) -> ApiResult<()> {
    host::Entity::update_many()
        .col_expr(host::Column::Status, Expr::value("Connecting"))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

/// Reconnects every host after a start.
pub async fn reconnect_all(app: &Arc<App>) -> ApiResult<()> {
    let connecting = host::Column::Status.eq("Connecting");
    let hosts = host::Entity::find().filter(connecting).all(app.db.read()).await.or_internal()?;
    let parallel = usize::try_from(app.settings.integer("host", "load.parallelismDegree", 100)).unwrap_or(100).max(1);
    stream::iter(hosts)
        .for_each_concurrent(parallel, |row| async move {
            let reconnected = match app.jobs.is_interrupted(&row.uuid) {
                // It waits for this very host, and a job of ours would wait behind it. We use its turn.
                true => super::reconnect_now(app, &row.uuid).await,
                false => jobs::call_as_system(app, "ReconnectHost", json!({ "uuid": row.uuid })).await,
            };
            if let Err(error) = reconnected {
                tracing::warn!(host = %row.uuid, name = %row.name, %error, "not reconnected after the start");
            }
        })
        .await;
    Ok(())
}

/// Asks the hosts that are Disconnected. It costs a refused connection each, and a host that is back serves at once.
pub async fn ping_disconnected(app: &Arc<App>) -> ApiResult<()> {
    let lost = host::Column::Status.eq("Disconnected");
    let hosts = host::Entity::find().filter(lost).all(app.db.read()).await.or_internal()?;
    let parallel = usize::try_from(app.settings.integer("host", "ping.parallelismDegree", 100)).unwrap_or(100).max(1);
    stream::iter(hosts)
        .for_each_concurrent(parallel, |row| async move {
            if let Err(error) = ping_one(app, &row).await {
                tracing::debug!(host = %row.uuid, %error, "still disconnected");
            }
        })
        .await;
    Ok(())
}

async fn ask(app: &App, row: &host::Model) -> ApiResult<Option<Ping>> {
    let patience = Duration::from_secs(u64::try_from(app.settings.integer("host", "ping.timeout", 10)).unwrap_or(10));
    let agent = app.agents.of(app.db.read(), &row.uuid).await?;
    Ok(match tokio::time::timeout(patience, agent.ping()).await {
        Ok(Ok(ping)) => Some(ping),
        Ok(Err(error)) => {
            tracing::debug!(host = %row.uuid, %error, "no answer");
            None
        }
        Err(_) => None,
    })
}

async fn ping_one(app: &Arc<App>, row: &host::Model) -> ApiResult<()> {
    // A host that is being added or reconnected is somebody else's business.
    if row.status == "Connecting" {
        return Ok(());
    }
    let Some(ping) = ask(app, row).await? else {
        let missed = {
            let mut missed = MISSED.lock().unwrap_or_else(PoisonError::into_inner);
            let count = missed.entry(row.uuid.clone()).or_default();
            *count += 1;
            *count
        };
        if row.status == "Connected" && missed >= app.settings.integer("host", "ping.maxFailure", 3) {
            tracing::warn!(host = %row.uuid, name = %row.name, missed, "the host does not answer; it counts as Disconnected");
            disconnected(app, &row.uuid).await?;
        }
        return Ok(());
    };
    MISSED.lock().unwrap_or_else(PoisonError::into_inner).remove(&row.uuid);
    let restarted = row.agent_instance.as_deref() != Some(ping.instance.as_str());
    if row.status != "Connected" || restarted {
        if row.status == "Connected" || app.settings.flag("host", "connection.autoReconnectOnError") {
            tracing::info!(host = %row.uuid, name = %row.name, restarted, "reconnecting");
            reconnect(app, &row.uuid).await?;
        }
        return Ok(());
    }
    if app.settings.flag("kvm", "vmSyncOnHostPing") { vm::sync::host(app, &row.uuid, &ping).await } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_reconnections_double_up_to_ten_minutes() {
        assert_eq!(pause(1), Duration::from_secs(10));
        assert_eq!(pause(2), Duration::from_secs(20));
        assert_eq!(pause(3), Duration::from_secs(40));
        assert_eq!(pause(u32::MAX), Duration::from_secs(600));
    }
}
