//! The service: everything that handlers, workflows and timers share.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use mn_service_db::{Db, DbError, Txn};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::Engine;

use crate::{
    agents::Agents,
    api::{Apis, StepError},
    ca::Authority,
    config::Config,
    console::Consoles,
    deadline::Deadlines,
    initial_password::Initial,
    jobs::Jobs,
    own_node::OwnNode,
    password::Passwords,
    progress::ProgressBoard,
    publication::Publications,
    queue::Queues,
    resource::enrolment::Enrolments,
    secret::Sealer,
    session::Sessions,
    settings::Settings,
    webhook::Webhooks,
};

/// A write transaction that a handler and its helpers share; the job commits it when the handler succeeded. A handler
/// that keeps it beyond its return has its work rolled back.
pub type Tx = Arc<Txn>;

/// The service.
pub struct App {
    /// Configuration file.
    pub config: Config,
    /// Database.
    pub db: Db,
    /// Global settings.
    pub settings: Settings,
    /// Sessions.
    pub sessions: Sessions,
    /// Password hashing.
    pub passwords: Passwords,
    /// Whether the administrator's first password may still stand.
    pub initial_password: Initial,
    /// Implemented APIs.
    pub apis: Apis,
    /// Per-resource queues.
    pub queues: Queues,
    /// Jobs and their results.
    pub jobs: Jobs,
    /// When running jobs have no time left.
    pub deadlines: Arc<Deadlines>,
    /// Results that clients wait for.
    pub webhooks: Webhooks,
    /// How far running jobs are.
    pub progress: Arc<ProgressBoard>,
    /// Agents on hosts.
    pub agents: Agents,
    /// Certificate authority.
    pub authority: Authority,
    /// Secrets at rest.
    pub sealer: Sealer,
    /// Links for downloads.
    pub publications: Publications,
    /// Console tokens.
    pub consoles: Consoles,
    /// Nodes that join by a code.
    pub enrolments: Enrolments,
    /// Whether every host was asked after the start; interrupted jobs wait for it.
    pub hosts_asked: tokio::sync::watch::Sender<Asked>,
    /// Wakes every timer: what they wait for may be due under changed settings.
    pub nudge: tokio::sync::Notify,
    /// Wakes the collector of garbage: something may be removed that could not be, or that nobody else removes.
    pub sweep: tokio::sync::Notify,
    /// The node that it runs on.
    pub own_node: OwnNode,
    /// This management node.
    pub node_uuid: String,
    engine: OnceLock<Engine<App, StepError>>,
}

/// How far the service is with asking its hosts after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// It does not serve yet.
    NotYet,
    /// They are asked now.
    Now,
    /// Every one has answered or was given up.
    All,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("node", &self.node_uuid).finish_non_exhaustive()
    }
}

/// The parts that [`App::new`] puts together.
#[expect(missing_docs, reason = "the fields are those of App")]
pub struct Parts {
    pub config: Config,
    pub db: Db,
    pub settings: Settings,
    pub sessions: Sessions,
    pub passwords: Passwords,
    pub apis: Apis,
    pub agents: Agents,
    pub authority: Authority,
    pub sealer: Sealer,
    pub node_uuid: String,
}

impl App {
    /// Puts the service together; the workflow engine follows because it points back at it.
    pub fn new(parts: Parts) -> Self {
        let Parts { config, db, settings, sessions, passwords, apis, agents, authority, sealer, node_uuid } = parts;
        let publications = Publications::open(&config.data_dir);
        Self {
            config,
            db,
            settings,
            sessions,
            passwords,
            initial_password: Initial::default(),
            apis,
            queues: Queues::default(),
            jobs: Jobs::default(),
            deadlines: Arc::default(),
            webhooks: Webhooks::default(),
            progress: Arc::default(),
            agents,
            authority,
            sealer,
            publications,
            consoles: Consoles::default(),
            enrolments: Enrolments::default(),
            hosts_asked: tokio::sync::watch::Sender::new(Asked::NotYet),
            nudge: tokio::sync::Notify::new(),
            sweep: tokio::sync::Notify::new(),
            own_node: OwnNode::default(),
            node_uuid,
            engine: OnceLock::new(),
        }
    }

    /// Gives the service its engine; a second call changes nothing.
    pub fn set_engine(&self, engine: Engine<App, StepError>) {
        if self.engine.set(engine).is_err() {
            tracing::warn!("the workflow engine was set twice");
        }
    }

    /// The workflow engine.
    pub fn engine(&self) -> ApiResult<&Engine<App, StepError>> {
        self.engine.get().ok_or_else(|| ApiError::new(ErrorCode::Internal, "the service is still starting; try again"))
    }

    /// Runs `work` in a write transaction and commits it when it succeeds. On MariaDB it may run more than once: see
    /// [`Db::write`].
    pub async fn write<T, Fut>(&self, work: impl FnOnce(Tx) -> Fut + Clone) -> ApiResult<T>
    where
        Fut: Future<Output = ApiResult<T>>,
    {
        self.db.write(|txn| work(Arc::new(txn))).await
    }

    /// Length of a session's life, in seconds.
    pub fn session_seconds(&self) -> i64 {
        self.settings.integer("identity", "session.timeout", 7200)
    }

    /// Patience with hosts for operations that are neither quick nor transfers.
    pub fn host_patience(&self) -> Duration {
        Duration::from_secs(300)
    }
}

/// Turns failures that no client can act on into `SYS.1000`, with the chain in the log.
pub trait OrInternal<T> {
    /// The value, or `SYS.1000`.
    fn or_internal(self) -> ApiResult<T>;
}

macro_rules! internal {
    ($($error:ty),*) => {$(
        impl<T> OrInternal<T> for Result<T, $error> {
            #[track_caller]
            fn or_internal(self) -> ApiResult<T> {
                /// One for every kind of value.
                #[cold]
                fn noted(error: $error, at: &std::panic::Location<'_>) -> ApiError {
                    tracing::error!(%error, %at, "internal error");
                    ApiError::internal(error)
                }
                let at = std::panic::Location::caller();
                self.map_err(|error| noted(error, at))
            }
        }
    )*};
}
internal!(
    sea_orm::DbErr,
    DbError,
    serde_json::Error,
    crate::secret::SecretError,
    crate::ca::CaError,
    argon2::password_hash::Error
);
