//! Jobs from before a restart: taken up in the order in which they were accepted.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use mn_service_db::entity::job;
use mn_service_types::{ApiError, ErrorCode, binding::Params, contract, date::now_millis, error::ApiResult};
use mn_service_workflow::Running;
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, QueryOrder, prelude::*};

use super::{QUEUED, RUNNING, STUCK, View, error_body, id_of, keys, purpose, run};
use crate::{
    api::{Call, Caller, StepError},
    app::{App, Asked, OrInternal},
    queue::Ticket,
};

/// Takes up the jobs that a crash or restart interrupted, in the order in which they were accepted. Called once,
/// before requests are served.
pub async fn recover(app: &Arc<App>) -> ApiResult<usize> {
    let unfinished = job::Entity::find()
        .filter(job::Column::State.is_in([QUEUED, RUNNING]))
        .order_by_asc(job::Column::Created)
        .all(app.db.read())
        .await
        .or_internal()?;
    let count = unfinished.len();
    let mut interrupted = Vec::new();
    for row in unfinished {
        match revive(app, &row) {
            Ok(call) => {
                let keys = keys(&call).await?;
                app.jobs.interrupted.lock().unwrap_or_else(PoisonError::into_inner).extend(keys.iter().cloned());
                let ticket = app.queues.join(keys);
                app.jobs.put(&call.job, call.api, View::Running);
                if let Some(deadline) = row.deadline {
                    app.deadlines.set(id_of(&call), deadline);
                }
                interrupted.push((call, ticket, row.webhook));
            }
            Err(error) => {
                tracing::error!(job = %row.uuid, api = %row.api, %error, "a job from before the restart cannot be taken up");
                let ended = job::ActiveModel {
                    uuid: Set(row.uuid),
                    state: Set(STUCK.to_owned()),
                    finished: Set(Some(now_millis())),
                    error: Set(Some(error_body(&error))),
                    ..Default::default()
                };
                let tx = app.db.begin().await.or_internal()?;
                job::Entity::update(ended).exec(&tx).await.or_internal()?;
                tx.commit().await.or_internal()?;
            }
        }
    }
    tokio::spawn(go_on(app.clone(), interrupted));
    Ok(count)
}

/// Longest wait for hosts before interrupted jobs go on without them. A host that is there has answered long before; one
/// that is not must not keep the jobs of all others waiting.
const HOSTS_PATIENCE: Duration = Duration::from_secs(5);

/// Goes on with interrupted jobs once the hosts were asked: a VM must not be refused because nobody has spoken to its
/// host since the start. Their places in the queues are taken already.
async fn go_on(app: Arc<App>, interrupted: Vec<(Call, Ticket, Option<String>)>) {
    let mut asked = app.hosts_asked.subscribe();
    // Patience begins with the asking, however long the service takes to get there. An error means that the service is
    // gone, a timeout that a host keeps everybody waiting.
    drop(asked.wait_for(|asked| *asked >= Asked::Now).await);
    drop(tokio::time::timeout(HOSTS_PATIENCE, asked.wait_for(|asked| *asked == Asked::All)).await);
    app.jobs.interrupted.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let resumed = match app.engine() {
        Ok(engine) => engine.resume().await.map_err(ApiError::internal),
        Err(error) => Err(error),
    };
    let mut workflows: HashMap<String, Running<StepError>> = match resumed {
        Ok(resumed) => resumed.into_iter().map(|r| (r.id.simple().to_string(), r.running)).collect(),
        Err(error) => {
            // Running them anew could do twice what a workflow has begun.
            tracing::error!(%error, "interrupted jobs cannot be resumed; the next start tries again");
            return;
        }
    };
    for (call, ticket, webhook) in interrupted {
        let running = workflows.remove(&call.job);
        tokio::spawn(run(call, ticket, webhook, running));
    }
    for (id, _) in workflows {
        // Its job ended as stuck, and the log stays for a person to look at; or it ended while the log was read.
        tracing::debug!(job = %id, "a workflow without an unfinished job is left alone");
    }
}

fn revive(app: &Arc<App>, row: &job::Model) -> ApiResult<Call> {
    let api = contract()
        .api(&row.api)
        .ok_or_else(|| ApiError::new(ErrorCode::Unimplemented, format!("this version does not know {}", row.api)))?;
    let message = app.sealer.unseal(&purpose(&row.uuid), &row.sealed_message).or_internal()?;
    let params: Params = serde_json::from_str(&message).or_internal()?;
    let account = row.account_uuid.clone().unwrap_or_default();
    let caller = Caller {
        admin: account == mn_service_types::ADMIN_ACCOUNT,
        user: account.clone(),
        account,
        session: row.session_ref.clone(),
        client_ip: row.client_ip.clone().unwrap_or_default(),
        base: None,
    };
    Ok(Call { app: app.clone(), api, job: row.uuid.clone(), caller: Arc::new(caller), params: Arc::new(params) })
}
