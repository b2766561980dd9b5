//! Jobs: every asynchronous call is written down before it is acknowledged, queued per resource, run, and its result
//! kept for the client to fetch (PROTOCOL.md sections 6.2 and 7).

mod recovery;

pub use recovery::recover;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mn_service_db::entity::{job, saga, saga_event, vm_cd_rom, vm_nic, volume_snapshot};
use mn_service_types::{Api, ApiError, ErrorCode, contract, date::now_millis, error::ApiResult, error::ErrorBody};
use mn_service_workflow::{Outcome, Running};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    access,
    api::{Action, Call, Caller, Plan, Reply, StepError, queue_keys},
    app::{App, OrInternal, Tx},
    audit, deadline,
    queue::Ticket,
    tags,
};

/// Results of jobs that ended lately; older ones are read from the database.
#[derive(Debug, Default)]
pub struct Jobs {
    recent: Mutex<HashMap<String, Recent>>,
    /// Jobs that run, each with those who wait for its end.
    waiting: Mutex<HashMap<String, Arc<Notify>>>,
    /// Queues in which jobs from before the start have the first places, until they go on.
    interrupted: Mutex<HashSet<String>>,
}

/// What a client that polls is told.
#[derive(Debug, Clone)]
pub enum View {
    /// 202.
    Running,
    /// 200 with the success body.
    Succeeded(Arc<str>),
    /// 503 with the error body.
    Failed(Arc<str>),
}

/// A job of this process.
#[derive(Debug)]
struct Recent {
    api: &'static str,
    view: View,
    /// When it got there, milliseconds since 1970.
    since: i64,
    /// The client wants to know the classes in the answer.
    schema: bool,
}

const QUEUED: &str = "queued";
const RUNNING: &str = "running";
const SUCCEEDED: &str = "succeeded";
pub(crate) const FAILED: &str = "failed";
pub(crate) const STUCK: &str = "stuck";

/// How long somebody who asks about a running job waits for its end before he is told that it runs. Saves most clients
/// all polls but one.
pub const WAIT: Duration = Duration::from_secs(1);

/// Most results kept in memory.
const RECENT_LIMIT: usize = 20_000;

impl Jobs {
    fn put(&self, job: &str, api: &'static Api, view: View) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= RECENT_LIMIT {
            make_room(&mut recent);
        }
        let runs = matches!(view, View::Running);
        let schema = recent.get(job).is_some_and(|known| known.schema);
        recent.insert(job.to_owned(), Recent { api: &api.name, view, since: now_millis(), schema });
        drop(recent);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if runs {
            waiting.entry(job.to_owned()).or_default();
        } else if let Some(ended) = waiting.remove(job) {
            ended.notify_waiters();
        }
    }

    /// Waits until a job ends, at most `limit`. Returns at once for a job that does not run here.
    pub async fn ended(&self, job: &str, limit: Duration) {
        let notified = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(ended) = waiting.get(job) else { return };
            // Taken under the lock that the end takes too: from here on no end is missed.
            ended.clone().notified_owned()
        };
        // What happened is asked again by the caller.
        let _limited = tokio::time::timeout(limit, notified).await;
    }

    /// Where a job stands; `None` for an unknown one.
    pub async fn view(&self, app: &App, job: &str) -> ApiResult<Option<View>> {
        Ok(self.view_of(app, job).await?.map(|(_, view)| view))
    }

    /// Where a job stands, and the API that it is of; `None` for an unknown one.
    pub async fn view_of(&self, app: &App, job: &str) -> ApiResult<Option<(String, View)>> {
        let known = {
            let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.get(job).map(|job| (job.api.to_owned(), job.view.clone()))
        };
        if known.is_some() {
            return Ok(known);
        }
        let row = job::Entity::find_by_id(job).one(app.db.read()).await.or_internal()?;
        Ok(row.map(|row| {
            let view = match row.state.as_str() {
                SUCCEEDED => View::Succeeded(row.result.unwrap_or_else(|| "{}".to_owned()).into()),
                FAILED | STUCK => View::Failed(row.error.unwrap_or_else(|| "{}".to_owned()).into()),
                _ => View::Running,
            };
            (row.api, view)
        }))
    }

    /// Records the immediate success of a call that has nothing to do.
    pub fn settle(&self, job: &str, api: &'static Api, body: &Value) -> View {
        let view = View::Succeeded(body.to_string().into());
        self.put(job, api, view.clone());
        view
    }

    /// Notes that the client of a job wants to know the classes in its answer.
    pub fn want_schema(&self, job: &str) {
        if let Some(known) = self.recent.lock().unwrap_or_else(PoisonError::into_inner).get_mut(job) {
            known.schema = true;
        }
    }

    /// Whether the client of a job wants to know the classes in its answer.
    pub fn wants_schema(&self, job: &str) -> bool {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).get(job).is_some_and(|known| known.schema)
    }

    /// True while a job from before the start has its place in the queue of `key` and waits for the hosts.
    pub fn is_interrupted(&self, key: &str) -> bool {
        self.interrupted.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Records the immediate failure of a call that never became a job (bad arguments, no session): the client learns
    /// it when it polls. Nothing is written, so nobody can fill the database without a session.
    pub fn reject(&self, job: &str, api: &'static Api, error: &ApiError) -> View {
        let view = View::Failed(error_body(error).into());
        self.put(job, api, view.clone());
        view
    }

    /// Drops results from before a moment.
    fn forget(&self, before: i64) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, job| matches!(job.view, View::Running) || job.since >= before);
    }
}

/// Drops the older half of the results. What became a job is in the database too.
fn make_room(recent: &mut HashMap<String, Recent>) {
    let mut ended: Vec<i64> =
        recent.values().filter(|job| !matches!(job.view, View::Running)).map(|job| job.since).collect();
    let middle = ended.len() / 2;
    if middle == 0 {
        return;
    }
    let (_, since, _) = ended.select_nth_unstable(middle);
    let since = *since;
    let before = recent.len();
    recent.retain(|_, job| matches!(job.view, View::Running) || job.since > since);
    tracing::debug!(dropped = before - recent.len(), "results of earlier calls are dropped");
}

fn error_body(error: &ApiError) -> String {
    serde_json::to_string(&ErrorBody { error: error.clone() }).unwrap_or_else(|_| "{\"error\":{}}".to_owned())
}

/// Purpose under which the parameters of a job are sealed.
fn purpose(job: &str) -> String {
    format!("job:{job}")
}

/// Queues of a call: those of its parameters, for snapshots that of their volume, whose layers they are, and for cards
/// and CD drives that of their VM.
async fn keys(call: &Call) -> ApiResult<Vec<String>> {
    let mut keys = queue_keys(call.api, &call.params);
    let conn = call.app.db.read();
    for param in call.api.params.iter().filter(|param| param.location == "url") {
        let (Some(kind), Some(uuid)) = (param.resource_type.as_deref(), call.text(&param.name)) else { continue };
        let whole = match kind {
            "VolumeSnapshotVO" => {
                volume_snapshot::Entity::find_by_id(uuid).one(conn).await.or_internal()?.and_then(|row| row.volume_uuid)
            }
            "VmNicVO" => {
                vm_nic::Entity::find_by_id(uuid).one(conn).await.or_internal()?.and_then(|row| row.vm_instance_uuid)
            }
            "VmCdRomVO" => {
                vm_cd_rom::Entity::find_by_id(uuid).one(conn).await.or_internal()?.map(|row| row.vm_instance_uuid)
            }
            _ => None,
        };
        keys.extend(whole);
    }
    Ok(keys)
}

/// What a client asks for beside the call itself.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Where the result is posted.
    pub webhook: Option<String>,
    /// Milliseconds until the call has no time left; absent: what the API's contract says.
    pub timeout_millis: Option<i64>,
}

/// Writes the job down and queues it. When this returns, the change survives a crash.
pub async fn submit(call: Call, wishes: Wishes) -> ApiResult<()> {
    let app = call.app.clone();
    let Wishes { webhook, timeout_millis } = wishes;
    let contracted = i64::try_from(call.api.timeout_seconds()).unwrap_or(i64::MAX).saturating_mul(1000);
    let deadline = now_millis().saturating_add(timeout_millis.unwrap_or(contracted));
    let message = serde_json::to_string(&*call.params).or_internal()?;
    let row = job::ActiveModel {
        uuid: Set(call.job.clone()),
        api: Set(call.api.name.clone()),
        account_uuid: Set(Some(call.caller.account.clone())),
        session_ref: Set(call.caller.session.clone()),
        client_ip: Set(Some(call.caller.client_ip.clone())),
        state: Set(QUEUED.to_owned()),
        sealed_message: Set(app.sealer.seal(&purpose(&call.job), &message).or_internal()?),
        audit_message: Set(audit::masked(call.api, &call.params)),
        webhook: Set(webhook.clone()),
        progress: Set(0),
        created: Set(now_millis()),
        deadline: Set(Some(deadline)),
        ..Default::default()
    };
    let ticket = app.queues.join(keys(&call).await?);
    let tx = app.db.begin().await.or_internal()?;
    job::Entity::insert(row).exec_without_returning(&tx).await.or_internal()?;
    tx.commit().await.or_internal()?;
    app.jobs.put(&call.job, call.api, View::Running);
    app.deadlines.set(id_of(&call), deadline);
    tokio::spawn(run(call, ticket, webhook, None));
    Ok(())
}

/// Runs an API as the service itself and waits for its end. Timers and reconcilers use it, so that what they do is
/// queued, durable and audited like everybody's changes.
pub async fn call_as_system(app: &Arc<App>, api: &str, params: Value) -> ApiResult<()> {
    let id = mn_service_types::new_uuid();
    begin_as_system(app, api, params, &id).await?;
    loop {
        match app.jobs.view(app, &id).await? {
            Some(View::Running) => app.jobs.ended(&id, WAIT).await,
            Some(View::Failed(body)) => return Err(failure(&body)),
            Some(View::Succeeded(_)) | None => return Ok(()),
        }
    }
}

/// The error in the body of a job that failed.
pub fn failure(body: &str) -> ApiError {
    serde_json::from_str::<ErrorBody>(body).map_or_else(ApiError::internal, |body| body.error)
}

/// Runs an API as the service itself, as the job `id`.
pub async fn begin_as_system(app: &Arc<App>, api: &str, params: Value, id: &str) -> ApiResult<()> {
    let api = contract().api(api).ok_or_else(|| ApiError::internal(format!("no API {api}")))?;
    let Value::Object(fields) = params else { return Err(ApiError::internal("parameters must be an object")) };
    let params = mn_service_types::binding::bind_flat(api, &fields).map_err(ApiError::internal)?;
    let call = Call {
        app: app.clone(),
        api,
        job: id.to_owned(),
        caller: Arc::new(Caller::system()),
        params: Arc::new(params),
    };
    submit(call, Wishes::default()).await
}

/// How the work of a job ended.
enum Ended {
    Failed(ApiError),
    Stuck(ApiError),
    /// Nothing had to be done; the job still has to be ended.
    Done(Reply),
    /// A workflow succeeded; the job still has to be ended.
    Worked(Reply),
    /// Succeeded, and the transaction that ended the job is committed; this is the answer.
    Settled(String),
}

#[tracing::instrument(skip_all, fields(job = %call.job, api = %call.api.name))]
async fn run(call: Call, ticket: Ticket, webhook: Option<String>, resumed: Option<Running<StepError>>) {
    let id = id_of(&call);
    let in_time = tokio::select! {
        biased;
        () = ticket.turn() => true,
        // What has begun before a restart is at work already.
        () = call.app.deadlines.passed(id), if resumed.is_none() => false,
    };
    let started = now_millis();
    call.app.progress.begin(id, &call.api.message_class());
    let ended = match resumed {
        Some(running) => follow(&call, running).await,
        None if in_time => perform(&call, started).await,
        None => Ended::Failed(deadline::waited_too_long()),
    };
    call.app.deadlines.forget(id);
    let view = finish(&call, ended, started).await;
    call.app.progress.end(id, matches!(view, View::Succeeded(_)));
    drop(ticket);
    call.app.jobs.put(&call.job, call.api, view.clone());
    if let Some(url) = webhook {
        call.app.webhooks.post(url, &call.job, &view);
    }
}

fn id_of(call: &Call) -> Uuid {
    // Job uuids are checked where they come in.
    Uuid::try_parse(&call.job).unwrap_or_default()
}

async fn perform(call: &Call, started: i64) -> Ended {
    let Some(action) = call.app.apis.get(&call.api.name) else {
        return Ended::Failed(ApiError::new(
            ErrorCode::Unimplemented,
            format!("{} is not implemented yet", call.api.name),
        ));
    };
    let result = match action {
        Action::Record(handler) => {
            let change = call.app.write(|tx| async move {
                let reply = handler((call.clone(), tx.clone())).await?;
                succeed(call, &reply, &tx, started).await
            });
            change.await.map(Ended::Settled)
        }
        Action::Workflow { start, .. } => match start(call.clone()).await {
            Ok(Plan::Done(reply)) => Ok(Ended::Done(reply)),
            Ok(Plan::Run(running)) => Ok(follow(call, running).await),
            Err(error) => Err(error),
        },
        Action::Query(_) | Action::Sync(_) => Err(ApiError::internal("a synchronous API became a job")),
    };
    result.unwrap_or_else(Ended::Failed)
}

async fn follow(call: &Call, running: Running<StepError>) -> Ended {
    match running.await {
        Ok(Outcome::Succeeded { state }) => match call.app.apis.get(&call.api.name) {
            Some(Action::Workflow { finish, .. }) => match finish(state) {
                Ok(reply) => Ended::Worked(reply),
                Err(error) => Ended::Stuck(error),
            },
            _ => Ended::Stuck(ApiError::internal("the API of this workflow is gone")),
        },
        Ok(Outcome::Undone { step, error }) => {
            tracing::info!(step, error = %error.0, "undone");
            Ended::Failed(error.0)
        }
        Ok(Outcome::Stuck { step, error, undo_step, undo_error }) => {
            tracing::error!(step, error, undo_step, undo_error, "stuck: undoing failed, an operator has to look");
            Ended::Stuck(ApiError::new(
                ErrorCode::Operation,
                format!(
                    "step {step} failed: {error}; taking back {undo_step} failed too: {undo_error}. \
                     The steps before {undo_step} keep their effects; the job is kept as stuck"
                ),
            ))
        }
        Err(error) => {
            // The engine is shutting down: the job stays unfinished and the next start takes it up.
            tracing::info!(%error, "interrupted");
            std::future::pending().await
        }
    }
}

/// Ends the job in one transaction with its audit. That of a record has ended with the change itself.
async fn finish(call: &Call, ended: Ended, started: i64) -> View {
    let (state, error) = match ended {
        Ended::Settled(body) => return View::Succeeded(body.into()),
        Ended::Done(reply) => {
            match call.app.write(|tx| async move { succeed(call, &reply, &tx, started).await }).await {
                Ok(body) => return View::Succeeded(body.into()),
                Err(error) => (FAILED, error),
            }
        }
        Ended::Worked(reply) => match record(call, &reply, started).await {
            Ok(body) => return View::Succeeded(body.into()),
            // Not a failure: what was wanted is there, and nobody takes it back.
            Err(error) => {
                let done = format!("the work is done, but its end could not be written down: {}", error.details);
                (STUCK, ApiError::new(ErrorCode::Operation, done))
            }
        },
        Ended::Failed(error) => (FAILED, error),
        Ended::Stuck(error) => (STUCK, error),
    };
    let body = error_body(&error);
    // What the job noted for removal was to be removed by steps that it did not reach.
    call.app.sweep.notify_one();
    // A job that cannot even be ended is taken up again by the next start.
    if let Err(error) = fail(call, state, &error, &body, started).await {
        tracing::error!(%error, "the failure of a job could not be written down");
    }
    View::Failed(body.into())
}

/// How often the end of a workflow is written down before somebody has to look.
const ATTEMPTS: u32 = 5;

/// Writes down that a workflow has succeeded, again when the database does not take it.
async fn record(call: &Call, reply: &Reply, started: i64) -> ApiResult<String> {
    let mut attempt = 1;
    loop {
        match call.app.write(|tx| async move { succeed(call, reply, &tx, started).await }).await {
            Err(error) if attempt < ATTEMPTS => {
                tracing::error!(attempt, %error, "the end of a workflow could not be written down");
                tokio::time::sleep(Duration::from_secs(u64::from(attempt))).await;
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

/// Owner, tags and audit of what was done, and the end of the job; returns the answer to the client.
async fn succeed(call: &Call, reply: &Reply, tx: &Tx, started: i64) -> ApiResult<String> {
    if let Reply::Inventory(inventory, uuid) = reply {
        access::own_created(call, tx, inventory, uuid).await?;
        tags::store_given(call, tx, inventory, uuid).await?;
    }
    let body = Value::Object(render(call.api, reply, &**tx).await?).to_string();
    end_row(tx, call, SUCCEEDED, Some(&body), None).await?;
    audit::write(tx, call, started, reply_resource(reply), None).await?;
    Ok(body)
}

fn reply_resource(reply: &Reply) -> Option<(&str, &str)> {
    match reply {
        Reply::Inventory(inventory, uuid) => {
            let vo = contract().inventory(inventory).and_then(|i| i.vo.as_deref()).unwrap_or(inventory);
            Some((vo, uuid))
        }
        _ => None,
    }
}

async fn fail(call: &Call, state: &str, error: &ApiError, body: &str, started: i64) -> ApiResult<()> {
    let end = call.app.write(|tx| async move {
        end_row(&tx, call, state, None, Some(body)).await?;
        audit::write(&tx, call, started, None, Some(error)).await
    });
    end.await
}

async fn end_row(tx: &Tx, call: &Call, state: &str, result: Option<&str>, error: Option<&str>) -> ApiResult<()> {
    let row = job::ActiveModel {
        uuid: Set(call.job.clone()),
        state: Set(state.to_owned()),
        // The parameters are needed no longer; secrets in them go.
        sealed_message: Set(String::new()),
        finished: Set(Some(now_millis())),
        result: Set(result.map(str::to_owned)),
        error: Set(error.map(str::to_owned)),
        ..Default::default()
    };
    job::Entity::update(row).exec(&**tx).await.or_internal()?;
    if state != STUCK {
        // In the same transaction as the result: the workflow is remembered exactly as long as its job is open.
        saga_event::Entity::delete_many()
            .filter(saga_event::Column::SagaUuid.eq(&call.job))
            .exec(&**tx)
            .await
            .or_internal()?;
        saga::Entity::delete_by_id(&call.job).exec(&**tx).await.or_internal()?;
    }
    Ok(())
}

/// Success body of an API.
pub async fn render<C: ConnectionTrait>(api: &Api, reply: &Reply, conn: &C) -> ApiResult<Map<String, Value>> {
    let mut body = match reply {
        Reply::Empty => Map::new(),
        Reply::Fields(fields) => fields.clone(),
        Reply::Inventory(inventory, uuid) => {
            let found = mn_service_db::query::load(conn, inventory, uuid).await?;
            let found = found.ok_or_else(|| ApiError::not_found(inventory, uuid))?;
            let mut body = Map::from_iter([("inventory".to_owned(), found)]);
            // Parts that failed beside a success; here a part that fails fails the whole.
            if api.response_fields.contains_key("failures") {
                body.insert("failures".to_owned(), json!([]));
            }
            body
        }
    };
    if api.response_mode == "fieldsTo=all" {
        body.insert("success".to_owned(), json!(true));
    }
    Ok(body)
}

/// Drops results older than `rest/completedApi.expiredPeriod`. Called by a timer.
pub async fn forget_old(app: &App) -> ApiResult<u64> {
    let seconds = app.settings.integer("rest", "completedApi.expiredPeriod", 10_800);
    let before = now_millis() - seconds * 1000;
    let tx = app.db.begin().await.or_internal()?;
    let old = job::Entity::delete_many()
        .filter(job::Column::State.is_in([SUCCEEDED, FAILED]))
        .filter(job::Column::Created.lt(before))
        .exec(&tx)
        .await
        .or_internal()?;
    tx.commit().await.or_internal()?;
    app.jobs.forget(before);
    Ok(old.rows_affected)
}
