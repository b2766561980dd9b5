//! How an API gets its behaviour. A resource module registers handlers here; everything around them (binding,
//! checks, access, queueing, jobs, tags, audit, the shape of the answer) follows from the contract.
//!
//! A change is one of two kinds:
//! * a *record* touches only the database: it runs in one transaction that also ends its job, so a crash leaves
//!   either all of it or nothing;
//! * a *workflow* touches hosts: it is a saga whose steps are durable and undone on failure.

use std::{collections::HashMap, future::Future, sync::Arc};

use futures::future::BoxFuture;
use mn_service_types::{
    Api, ApiError, ApiKind, ErrorCode,
    binding::Params,
    contract,
    error::ApiResult,
    message::{self, Message, Tags},
};
use mn_service_workflow::{Running, State, StepFault};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    app::{App, Tx},
    deadline,
    preview::Preview,
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Account uuid.
    pub account: String,
    /// User uuid; the account's own where nobody else is.
    pub user: String,
    /// Start of the session token's hash, for the audit; never the token.
    pub session: Option<String>,
    /// Address the call came from.
    pub client_ip: String,
    /// The admin account.
    pub admin: bool,
    /// Base URL by which the call reached the service, as far as that is known.
    pub base: Option<String>,
}

impl Caller {
    /// The service itself: timers and reconcilers.
    pub fn system() -> Self {
        let admin = mn_service_types::ADMIN_ACCOUNT.to_owned();
        Self {
            account: admin.clone(),
            user: admin,
            session: None,
            client_ip: "system".to_owned(),
            admin: true,
            base: None,
        }
    }
}

/// One call of an API.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service.
    pub app: Arc<App>,
    /// The API.
    pub api: &'static Api,
    /// Job uuid, which is also the API id.
    pub job: String,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// Bound and checked parameters.
    pub params: Arc<Params>,
}

impl Call {
    /// The parameters as their type.
    pub fn message<M: Message>(&self) -> ApiResult<M> {
        M::deserialize(&*self.params)
            .map_err(|e| ApiError::new(ErrorCode::InvalidArgument, format!("parameters of {}: {e}", self.api.name)))
    }

    /// Tags given with the call.
    pub fn tags(&self) -> Tags {
        Tags::deserialize(&*self.params).unwrap_or_default()
    }

    /// Text parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name).and_then(Value::as_str)
    }

    /// Uuid for the resource that this call creates: the caller's choice or a fresh one.
    pub fn new_resource_uuid(&self) -> String {
        self.text("resourceUuid").map_or_else(mn_service_types::new_uuid, str::to_owned)
    }
}

/// What a successful change answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `{}`.
    Empty,
    /// `{"inventory": …}`: the structure of that name with that uuid, read after the change.
    Inventory(&'static str, String),
    /// These top-level keys.
    Fields(Map<String, Value>),
}

/// Why a step of a workflow failed; the error that the client will see.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[serde(transparent)]
#[error(transparent)]
pub struct StepError(pub ApiError);

impl From<ApiError> for StepError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<StepFault> for StepError {
    fn from(fault: StepFault) -> Self {
        Self(match fault {
            StepFault::TimedOut => deadline::ran_too_long(),
            fault => ApiError::internal(fault),
        })
    }
}

/// Result of a workflow step.
pub type StepResult<S> = Result<S, StepError>;

/// What a workflow's preparation decided.
#[derive(Debug)]
pub enum Plan<S> {
    /// There is nothing to do.
    Done(Reply),
    /// Run the workflow from this state.
    Run(S),
}

type Handler<A, T> = Arc<dyn Fn(A) -> BoxFuture<'static, ApiResult<T>> + Send + Sync>;

/// Behaviour of one API.
#[derive(Clone)]
pub enum Action {
    /// Lists an inventory.
    Query(&'static str),
    /// Answers at once.
    Sync(Handler<Call, Map<String, Value>>),
    /// Changes the database in one transaction.
    Record(Handler<(Call, Tx), Reply>),
    /// Runs a workflow.
    Workflow {
        /// Checks the call and, unless there is nothing to do, starts the workflow under the job's uuid.
        start: Handler<Call, Plan<Running<StepError>>>,
        /// Answer after success, from the last state.
        finish: Arc<dyn Fn(Value) -> ApiResult<Reply> + Send + Sync>,
    },
}

/// Tells what a delete API would do.
pub struct Previewer {
    /// Type of the resource that the API deletes.
    pub vo: &'static str,
    look: Handler<Call, Preview>,
}

impl Previewer {
    /// What `call`, which is one of the delete API, would do. Changes nothing.
    pub async fn look(&self, call: Call) -> ApiResult<Preview> {
        (self.look)(call).await
    }
}

impl std::fmt::Debug for Previewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Previewer").field("vo", &self.vo).finish_non_exhaustive()
    }
}

/// All APIs that have a behaviour.
#[derive(Default)]
pub struct Apis {
    actions: HashMap<&'static str, Action>,
    previews: HashMap<&'static str, Previewer>,
    messages: Vec<(&'static str, Vec<&'static str>)>,
}

impl std::fmt::Debug for Apis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Apis").field("count", &self.actions.len()).finish()
    }
}

impl Apis {
    /// The behaviour of an API.
    pub fn get(&self, name: &str) -> Option<&Action> {
        self.actions.get(name)
    }

    /// Names of all implemented APIs.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.actions.keys().copied().collect();
        names.sort_unstable();
        names
    }

    /// Name and parameter names of every typed message, for the contract test.
    pub fn messages(&self) -> &[(&'static str, Vec<&'static str>)] {
        &self.messages
    }

    /// What tells the effects of a delete API.
    pub fn previewer(&self, name: &str) -> Option<&Previewer> {
        self.previews.get(name)
    }

    /// Names of the delete APIs whose effects can be told.
    pub fn previewed(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.previews.keys().copied().collect();
        names.sort_unstable();
        names
    }

    /// Lets `look` tell what the delete API `name` would do to a resource of type `vo`.
    pub fn preview<F, Fut>(&mut self, name: &'static str, vo: &'static str, look: F)
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ApiResult<Preview>> + Send + 'static,
    {
        self.previews.insert(name, Previewer { vo, look: Arc::new(move |call| Box::pin(look(call))) });
    }

    fn note_message<M: Message>(&mut self) {
        self.messages.push((M::API, message::fields::<M>()));
    }

    fn add(&mut self, name: &'static str, action: Action) {
        let known = contract().api(name).map(|api| (api.kind, api.need_poll));
        let fits = match (&action, known) {
            (_, None) => false,
            (Action::Query(_), Some((kind, _))) => kind == ApiKind::Query,
            (Action::Sync(_), Some((_, polled))) => !polled,
            (Action::Record(_) | Action::Workflow { .. }, Some((_, polled))) => polled,
        };
        assert!(fits, "{name}: not in the contract, or of another kind than its handler");
        assert!(self.actions.insert(name, action).is_none(), "{name}: registered twice");
    }

    /// A query API; structure, table and nested names come from the contract.
    pub fn query(&mut self, name: &'static str) {
        let inventory = contract().api(name).and_then(|api| api.inventory.as_deref());
        let Some(inventory) = inventory else { panic!("{name}: the contract names no inventory; use query_of") };
        self.add(name, Action::Query(inventory));
    }

    /// A query API whose structure the contract does not name.
    pub fn query_of(&mut self, name: &'static str, inventory: &'static str) {
        self.add(name, Action::Query(inventory));
    }

    /// An API that answers at once.
    pub fn sync<M, F, Fut>(&mut self, handler: F)
    where
        M: Message,
        F: Fn(Call, M) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ApiResult<Map<String, Value>>> + Send + 'static,
    {
        self.note_message::<M>();
        let handler = Arc::new(handler);
        self.add(
            M::API,
            Action::Sync(Arc::new(move |call: Call| {
                let handler = handler.clone();
                Box::pin(async move {
                    let message = call.message::<M>()?;
                    handler(call, message).await
                })
            })),
        );
    }

    /// A change of the database alone. The handler runs inside the transaction that also ends the job.
    pub fn record<M, F, Fut>(&mut self, handler: F)
    where
        M: Message,
        F: Fn(Call, Tx, M) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ApiResult<Reply>> + Send + 'static,
    {
        self.note_message::<M>();
        let handler = Arc::new(handler);
        self.record_raw(M::API, move |call, tx| {
            let handler = handler.clone();
            async move {
                let message = call.message::<M>()?;
                handler(call, tx, message).await
            }
        });
    }

    /// Like [`Apis::record`] for handlers that read the bound parameters themselves.
    pub fn record_raw<F, Fut>(&mut self, name: &'static str, handler: F)
    where
        F: Fn(Call, Tx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ApiResult<Reply>> + Send + 'static,
    {
        self.add(name, Action::Record(Arc::new(move |(call, tx)| Box::pin(handler(call, tx)))));
    }

    /// A change that reaches hosts, as the workflow `workflow` with state `S`.
    pub fn workflow<M, S, F, Fut>(&mut self, workflow: &'static str, prepare: F, finish: fn(&S) -> Reply)
    where
        M: Message,
        S: State,
        F: Fn(Call, M) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ApiResult<Plan<S>>> + Send + 'static,
    {
        self.note_message::<M>();
        let prepare = Arc::new(prepare);
        let typed = move |call: Call| {
            let prepare = prepare.clone();
            async move {
                let message = call.message::<M>()?;
                prepare(call, message).await
            }
        };
        self.workflow_raw(workflow, M::API, typed, finish);
    }

    /// Like [`Apis::workflow`] for preparations that read the bound parameters themselves.
    pub fn workflow_raw<S, F, Fut>(
        &mut self,
        workflow: &'static str,
        name: &'static str,
        prepare: F,
        finish: fn(&S) -> Reply,
    ) where
        S: State,
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ApiResult<Plan<S>>> + Send + 'static,
    {
        let prepare = Arc::new(prepare);
        let start = move |call: Call| -> BoxFuture<'static, ApiResult<Plan<Running<StepError>>>> {
            let prepare = prepare.clone();
            Box::pin(async move {
                Ok(match prepare(call.clone()).await? {
                    Plan::Done(reply) => Plan::Done(reply),
                    Plan::Run(state) => {
                        let id = Uuid::try_parse(&call.job).map_err(ApiError::internal)?;
                        let running = call.app.engine()?.start(id, workflow, &state).await;
                        Plan::Run(running.map_err(ApiError::internal)?)
                    }
                })
            })
        };
        let finish = move |state: Value| {
            let state: S = serde_json::from_value(state).map_err(ApiError::internal)?;
            Ok(finish(&state))
        };
        self.add(name, Action::Workflow { start: Arc::new(start), finish: Arc::new(finish) });
    }
}

/// Resources whose changes a call must not overtake: every uuid in its path, and the uuid it creates.
pub fn queue_keys(api: &Api, params: &Params) -> Vec<String> {
    let in_path = api.params.iter().filter(|p| p.location == "url" || p.name == "resourceUuid" || p.name == "uuid");
    in_path.filter_map(|p| params.get(&p.name)?.as_str()).map(str::to_owned).collect()
}
