//! Starting, resuming and stopping jobs.

use std::any::TypeId;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde_json::Value;
use steno::SagaDag;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::active::{Active, Claim};
use crate::drive::{Course, drive, last_step};
use crate::job::Job;
use crate::journal::History;
use crate::observer::Observer;
use crate::outcome::Outcome;
use crate::registry::{Definition, Registry};
use crate::store::{Event, JobState, Record, Store, StoreError};
use crate::switch::Switch;
use crate::workflow::{State, WorkflowError};

/// Runs workflows. Clones are handles to the same engine.
///
/// Dropping an engine does not stop its jobs; [`Engine::shutdown`] does.
pub struct Engine<C, E> {
    inner: Arc<Inner<C, E>>,
}

struct Inner<C, E> {
    store: Arc<dyn Store>,
    context: Arc<C>,
    registry: Registry<C, E>,
    observer: Arc<dyn Observer>,
    active: Active,
    switch: Switch,
}

impl<C, E> Clone for Engine<C, E> {
    fn clone(&self) -> Self {
        Engine { inner: Arc::clone(&self.inner) }
    }
}

/// Why an engine did not run a job, or cannot say how it ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No version of this workflow is registered.
    #[error("there is no workflow {workflow}")]
    UnknownWorkflow { workflow: String },
    /// The initial state is not of the workflow's state type.
    #[error("workflow {workflow} works on {expected}, not on {found}")]
    WrongState { workflow: String, expected: &'static str, found: &'static str },
    /// The initial state cannot be saved.
    #[error("the initial state of workflow {workflow} cannot be saved")]
    InitialState {
        workflow: String,
        #[source]
        cause: serde_json::Error,
    },
    /// The store already has a job of this id, or this engine is running one. Only `resume` goes on with it.
    #[error("job {id} already exists")]
    AlreadyExists { id: Uuid },
    /// The store failed. If this was the creation of a job, the job may exist nevertheless.
    #[error("could not {action}")]
    Store {
        action: &'static str,
        #[source]
        cause: StoreError,
    },
    /// The engine is shutting down and starts nothing.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// The engine was shut down before the job came to rest; the next start resumes it.
    #[error("job {id} was interrupted by a shutdown; it continues at the next start")]
    Interrupted { id: Uuid },
    /// The job's task died of a defect in the engine. Nothing was lost; the next start resumes the job.
    #[error("the task of job {id} died; the job continues at the next start")]
    Crashed { id: Uuid },
    /// The job has not come to rest, so its log is still needed.
    #[error("job {id} is still running")]
    StillRunning { id: Uuid },
}

/// A job under way. Resolves to its outcome; dropping it does not stop the job.
///
/// Resolves to an error only if the job is not at rest: [`EngineError::Interrupted`] or [`EngineError::Crashed`].
#[must_use = "the outcome of a job has to be noted before the job is forgotten"]
#[derive(Debug)]
pub struct Running<E> {
    id: Uuid,
    task: JoinHandle<Result<Outcome<E>, EngineError>>,
}

impl<E> Running<E> {
    /// The job.
    pub fn id(&self) -> Uuid {
        self.id
    }
}

impl<E> Future for Running<E> {
    type Output = Result<Outcome<E>, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = ready!(Pin::new(&mut self.task).poll(context));
        Poll::Ready(joined.unwrap_or_else(|cause| {
            let id = self.id;
            error!(job = %id, error = %cause, "the task of a job died");
            Err(EngineError::Crashed { id })
        }))
    }
}

/// A job from before the restart, under way again.
#[derive(Debug)]
pub struct Resumed<E> {
    pub id: Uuid,
    pub workflow: String,
    pub version: u32,
    pub running: Running<E>,
}

impl<C: Send + Sync + 'static, E: WorkflowError> Engine<C, E> {
    /// An engine that remembers in `store` and hands `context` to every step. Runs nothing until asked.
    pub fn new(
        store: Arc<dyn Store>,
        context: Arc<C>,
        registry: Registry<C, E>,
        observer: Arc<dyn Observer>,
    ) -> Engine<C, E> {
        let (active, switch) = (Active::new(), Switch::new());
        Engine { inner: Arc::new(Inner { store, context, registry, observer, active, switch }) }
    }

    /// What this engine can run.
    pub fn registry(&self) -> &Registry<C, E> {
        &self.inner.registry
    }

    /// Creates job `id` of the latest version of `workflow` and drives it. Returns once the job is durable; from then
    /// on it goes on by itself, whether or not anybody waits for it.
    ///
    /// # Errors
    ///
    /// See [`EngineError`]. After [`EngineError::Store`] the job may or may not exist; `resume` will tell.
    pub async fn start<S: State>(&self, id: Uuid, workflow: &str, initial: &S) -> Result<Running<E>, EngineError> {
        let state = (TypeId::of::<S>(), std::any::type_name::<S>());
        self.begin(id, workflow, state, serde_json::to_value(initial)).await
    }

    /// The same for jobs of every state, and so compiled once.
    async fn begin(
        &self,
        id: Uuid,
        workflow: &str,
        (state, found): (TypeId, &'static str),
        initial: serde_json::Result<Value>,
    ) -> Result<Running<E>, EngineError> {
        let name = || workflow.to_owned();
        let definition =
            self.inner.registry.latest(workflow).ok_or_else(|| EngineError::UnknownWorkflow { workflow: name() })?;
        if definition.state != state {
            return Err(EngineError::WrongState { workflow: name(), expected: definition.state_name, found });
        }
        let unsaved = |cause| EngineError::InitialState { workflow: name(), cause };
        let params = initial.map_err(unsaved)?;
        let dag = Arc::new(SagaDag::new(definition.dag.clone(), params));
        let text = serde_json::to_string(dag.as_ref()).map_err(unsaved)?;
        let record = Record { id, workflow: name(), version: definition.version, dag: text, state: JobState::Running };
        self.create(definition, dag, record).await
    }

    /// Makes a job durable and drives it.
    async fn create(
        &self,
        definition: Arc<Definition<C>>,
        dag: Arc<SagaDag>,
        record: Record,
    ) -> Result<Running<E>, EngineError> {
        let id = record.id;

        // First claim, then look at the switch: a shutdown that we do not see yet sees our claim.
        let claim = self.inner.active.claim(id).ok_or(EngineError::AlreadyExists { id })?;
        if !self.inner.switch.is_running() {
            return Err(EngineError::ShuttingDown);
        }
        let job = self.job(id, definition, 0);
        let (created_sender, created) = oneshot::channel();
        // In a task of its own, so that a caller who gives up cannot leave a job behind that exists and stands still.
        let task = tokio::spawn(async move {
            let result = match job.unless_abandoned(job.store.create(record)).await {
                Some(result) => result.map_err(|cause| match cause {
                    StoreError::Duplicate { id } => EngineError::AlreadyExists { id },
                    cause => EngineError::Store { action: "create the job", cause },
                }),
                None => Err(EngineError::ShuttingDown),
            };
            // Of a job that was not created nothing is left by the time the caller learns of it; he may try again.
            let claim = result.is_ok().then_some(claim);
            // Nobody may be listening any more, which changes nothing.
            let _ = created_sender.send(result);
            match claim {
                Some(_claim) => drive(job, Course::New(dag)).await,
                None => Err(EngineError::Interrupted { id }),
            }
        });
        created.await.unwrap_or(Err(EngineError::Crashed { id }))?;
        Ok(Running { id, task })
    }

    /// [`Engine::start`], then waits for the outcome.
    ///
    /// # Errors
    ///
    /// Those of `start`, and those of [`Running`].
    pub async fn run<S: State>(&self, id: Uuid, workflow: &str, initial: &S) -> Result<Outcome<E>, EngineError> {
        self.start(id, workflow, initial).await?.await
    }

    /// Goes on with every job in the store that this engine is not driving already. Called once after a restart;
    /// new jobs may be started before, during and after it.
    ///
    /// A job that cannot be continued (its version is not registered, its steps were changed, its log is damaged)
    /// resolves to [`Outcome::Stuck`] with the reason and does not hinder the others. Nothing of it is changed in the
    /// store: do not forget it, and a build that knows it will go on with it.
    ///
    /// # Errors
    ///
    /// [`EngineError::Store`] if the jobs cannot be read, [`EngineError::ShuttingDown`].
    pub async fn resume(&self) -> Result<Vec<Resumed<E>>, EngineError> {
        let _reading = self.inner.active.reading();
        let unfinished = self.inner.store.unfinished().await;
        let unfinished =
            unfinished.map_err(|cause| EngineError::Store { action: "read the unfinished jobs", cause })?;
        let mut resumed = Vec::new();
        for (record, events) in unfinished {
            let Some(claim) = self.inner.active.claim(record.id) else {
                continue;
            };
            if !self.inner.switch.is_running() {
                return Err(EngineError::ShuttingDown);
            }
            let (id, workflow, version) = (record.id, record.workflow.clone(), record.version);
            let task = self.take_up(claim, record, events);
            resumed.push(Resumed { id, workflow, version, running: Running { id, task } });
        }
        if !resumed.is_empty() {
            info!(jobs = resumed.len(), "jobs from before the restart are resumed");
        }
        Ok(resumed)
    }

    fn take_up(&self, claim: Claim, record: Record, events: Vec<Event>) -> JoinHandle<Result<Outcome<E>, EngineError>> {
        let Record { id, workflow, version, .. } = &record;
        let stuck = |dag: Option<&SagaDag>, reason: String| {
            let step = dag.and_then(|dag| last_step(dag, &events)).unwrap_or_default();
            error!(job = %id, %workflow, version, %step, %reason, "a job cannot be resumed");
            Outcome::not_run(step, reason)
        };
        let prepared = (|| {
            let dag: SagaDag = serde_json::from_str(&record.dag)
                .map_err(|_| stuck(None, "the stored steps and initial state of the job cannot be read".to_owned()))?;
            let definition = self.inner.registry.find(workflow, *version).ok_or_else(|| {
                let reason = format!("workflow {workflow} version {version} is not known to this build");
                stuck(Some(&dag), reason)
            })?;
            if !definition.has_shape_of(&dag) {
                let reason =
                    format!("workflow {workflow} version {version} has other steps in this build than in the job");
                return Err(stuck(Some(&dag), reason));
            }
            let history = History::read(*id, definition.steps.len(), &events)
                .map_err(|bad| stuck(Some(&dag), bad.to_string()))?;
            // Steno takes the graph as the JSON we read it from; if that parsed above, it parses here.
            let graph: Value = serde_json::from_str(&record.dag).unwrap_or_default();
            let step = last_step(&dag, &events).unwrap_or_default();
            let outline = format!("{events:?}");
            let job = self.job(*id, definition, history.next_event);
            Ok((job, Course::Old { graph, history, step, outline }))
        })();
        tokio::spawn(async move {
            let _claim = claim;
            match prepared {
                Ok((job, course)) => drive(job, course).await,
                Err(stuck) => Ok(stuck),
            }
        })
    }

    /// Deletes the log of a job at rest. To be called after its outcome was recorded elsewhere, durably; for a job that
    /// is stuck, only after a person has settled it, because its log says what is left to settle.
    ///
    /// # Errors
    ///
    /// [`EngineError::StillRunning`] if this engine is driving it, [`EngineError::Store`].
    pub async fn forget(&self, id: Uuid) -> Result<(), EngineError> {
        let _claim = self.inner.active.claim_at_rest(id).ok_or(EngineError::StillRunning { id })?;
        self.inner.store.forget(id).await.map_err(|cause| EngineError::Store { action: "forget the job", cause })
    }

    /// Stops: begins no step, no undo and no job from now on, and waits for the steps under way.
    ///
    /// Those that end within `grace` are recorded. The others are dropped where they wait, without a record, exactly
    /// as if the process had died; the contract that every step may run twice makes that safe. Every job not at rest
    /// resolves to [`EngineError::Interrupted`] and is resumed by the next start. Returns when no job of this engine
    /// does or records anything any more (a step that blocks its thread delays this).
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.switch.stop();
        if tokio::time::timeout(grace, self.inner.active.idle()).await.is_err() {
            warn!(?grace, "steps under way are abandoned; the next start runs them again");
            self.inner.switch.abandon();
            self.inner.active.idle().await;
        }
    }

    /// For the testkit, which abandons an engine as if the process had died.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn switch(&self) -> Switch {
        self.inner.switch.clone()
    }

    fn job(&self, id: Uuid, definition: Arc<Definition<C>>, next_event: u32) -> Arc<Job<C>> {
        let Inner { store, context, observer, switch, .. } = self.inner.as_ref();
        let (context, store, observer) = (Arc::clone(context), Arc::clone(store), Arc::clone(observer));
        Arc::new(Job::new(id, definition, context, store, observer, switch.clone(), next_event))
    }
}
