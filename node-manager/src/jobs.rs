//! The table of jobs: every change to a host is one (see [`node_manager_types::job`]).
//!
//! A job runs in a task of its own, after the jobs that were asked for earlier on the same things: operations name
//! what they touch as keys, and the jobs of a key run one after the other. When the deadline passes or the
//! caller cancels, the job fails at once in the eyes of the caller; work that must not be torn apart (a call into
//! libvirt) keeps its keys until it really ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use node_manager_types::{AgentError, ErrorKind, JobId, JobRequest, JobState, JobStatus, Operation, Progress};
use tokio::sync::{OwnedMutexGuard, watch};
use tracing::Instrument;

use crate::{Agent, drivers::Context, execute};

/// How long a finished job can be asked about.
const KEEP: Duration = Duration::from_secs(3600);
/// How many finished jobs are kept at most; the oldest go first.
const KEEP_COUNT: usize = 4096;
/// How many jobs may be unfinished at a time.
const RUNNING_COUNT: usize = 1024;
/// Longest answerable deadline; a caller that wants longer has not thought about it.
const LONGEST: u64 = 7 * 24 * 3600;

struct Job {
    operation: Operation,
    context: Context,
    progress: watch::Receiver<Progress>,
    outcome: watch::Sender<Option<Outcome>>,
}

#[derive(Clone)]
struct Outcome {
    at: Instant,
    result: Result<serde_json::Value, AgentError>,
}

/// Jobs of one agent.
#[derive(Default)]
pub struct Jobs {
    table: Mutex<HashMap<JobId, Arc<Job>>>,
    keys: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Jobs {
    /// Starts a job, or reports the one that has this id.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the id belongs to another operation, [`ErrorKind::Unavailable`] when too many jobs
    /// run, [`ErrorKind::Invalid`] for a deadline of zero.
    pub fn put(agent: &Arc<Agent>, id: JobId, request: JobRequest) -> Result<JobStatus, AgentError> {
        let JobRequest { operation, deadline_seconds } = request;
        let mut table = agent.jobs.table();
        if let Some(job) = table.get(&id) {
            return if job.operation == operation {
                Ok(job.status(id))
            } else {
                let message = format!(
                    "{id:?} is a {} with other contents; a job id names one request, choose a new one for {}",
                    job.operation.word(),
                    operation.word()
                );
                Err(AgentError::new(ErrorKind::Conflict, message))
            };
        }
        if deadline_seconds == 0 {
            return Err(AgentError::new(ErrorKind::Invalid, "deadline_seconds is 0; give the job at least a second"));
        }
        prune(&mut table);
        if table.values().filter(|job| job.outcome.borrow().is_none()).count() >= RUNNING_COUNT {
            let message = format!("{RUNNING_COUNT} jobs are unfinished on this host; try again when some have ended");
            return Err(AgentError::new(ErrorKind::Unavailable, message));
        }
        let (progress, watcher) = watch::channel(Progress { percent: 0, stage: "waiting".to_owned() });
        let context = Context::new(progress);
        let job = Arc::new(Job { operation, context, progress: watcher, outcome: watch::Sender::new(None) });
        table.insert(id, Arc::clone(&job));
        drop(table);

        let status = job.status(id);
        let span = tracing::info_span!("job", job = %id, operation = %job.operation.word());
        let limit = Duration::from_secs(deadline_seconds.min(LONGEST));
        let turn = agent.jobs.queue(execute::keys(&job.operation));
        tokio::spawn(supervise(Arc::clone(agent), job, turn, limit).instrument(span));
        Ok(status)
    }

    /// Reports a job, waiting up to `wait` for its end.
    pub async fn get(&self, id: JobId, wait: Duration) -> Option<JobStatus> {
        let job = self.table().get(&id).cloned()?;
        let mut outcome = job.outcome.subscribe();
        // Both a timeout and a closed channel mean the same here: report what is known.
        let _ = tokio::time::timeout(wait, outcome.wait_for(Option::is_some)).await;
        Some(job.status(id))
    }

    /// Cancels a job that is unfinished and reports it.
    pub async fn cancel(&self, id: JobId) -> Option<JobStatus> {
        let job = self.table().get(&id).cloned()?;
        job.context.cancel.cancel();
        self.get(id, Duration::from_secs(5)).await
    }

    /// Unfinished jobs, for metrics.
    pub fn running(&self) -> usize {
        self.table().values().filter(|job| job.outcome.borrow().is_none()).count()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Job>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in the queue of each key. The keys are sorted, so that two jobs never wait for each other.
    fn queue(&self, mut keys: Vec<String>) -> Turn {
        keys.sort();
        keys.dedup();
        let mut table = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() > 1024 {
            table.retain(|_, queue| queue.strong_count() > 0);
        }
        let queues = keys.into_iter().map(|key| {
            let known = table.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let queue = Arc::new(tokio::sync::Mutex::new(()));
                table.insert(key, Arc::downgrade(&queue));
                queue
            })
        });
        Turn(queues.collect())
    }
}

/// Places in the queues of a job's keys.
struct Turn(Vec<Arc<tokio::sync::Mutex<()>>>);

impl Turn {
    async fn wait(self) -> Vec<OwnedMutexGuard<()>> {
        let mut held = Vec::with_capacity(self.0.len());
        for queue in self.0 {
            held.push(queue.lock_owned().await);
        }
        held
    }
}

impl Job {
    fn status(&self, id: JobId) -> JobStatus {
        let state = match &*self.outcome.borrow() {
            None => JobState::Running { progress: self.progress.borrow().clone() },
            Some(Outcome { result: Ok(result), .. }) => JobState::Succeeded { result: result.clone() },
            Some(Outcome { result: Err(error), .. }) => JobState::Failed { error: error.clone() },
        };
        JobStatus { id, operation: self.operation.word(), state }
    }
}

/// Waits for the end of the work, the deadline or the cancellation, whichever comes first.
async fn supervise(agent: Arc<Agent>, job: Arc<Job>, turn: Turn, limit: Duration) {
    let started = Instant::now();
    let word = job.operation.word();
    let mut work = tokio::spawn(work(agent, Arc::clone(&job), turn).in_current_span());
    let result = tokio::select! {
        done = &mut work => done.unwrap_or_else(|panic| {
            tracing::error!(%panic, "the job broke");
            Err(AgentError::new(ErrorKind::Host, format!("{word} broke inside the agent")).with_evidence(panic.to_string()))
        }),
        () = job.context.cancel.cancelled() => Err(AgentError::new(ErrorKind::Cancelled, format!("{word} was cancelled"))),
        () = tokio::time::sleep(limit) => {
            let message = format!("{word} did not end within its deadline of {} s", limit.as_secs());
            Err(AgentError::new(ErrorKind::Timeout, message))
        }
    };
    // Work that cannot be torn apart goes on by itself; its waits end when they see this.
    job.context.cancel.cancel();
    match &result {
        Ok(_) => tracing::info!(seconds = started.elapsed().as_secs_f64(), "done"),
        Err(error) => tracing::warn!(kind = ?error.kind, evidence = error.evidence, "failed: {error}"),
    }
    job.outcome.send_replace(Some(Outcome { at: Instant::now(), result }));
}

async fn work(agent: Arc<Agent>, job: Arc<Job>, turn: Turn) -> Result<serde_json::Value, AgentError> {
    let ended = || AgentError::new(ErrorKind::Cancelled, "the job ended before it began");
    let held = tokio::select! {
        biased;
        () = job.context.cancel.cancelled() => return Err(ended()),
        held = turn.wait() => held,
    };
    job.context.progress(0, "working");
    let running = execute::execute(&agent.drivers, &job.operation, &job.context);
    let result = if execute::may_be_dropped(&job.operation) {
        tokio::select! {
            () = job.context.cancel.cancelled() => Err(ended()),
            result = running => result,
        }
    } else {
        running.await
    };
    drop(held);
    result
}

fn prune(table: &mut HashMap<JobId, Arc<Job>>) {
    let finished = |job: &Job| job.outcome.borrow().as_ref().map(|outcome| outcome.at);
    table.retain(|_, job| finished(job).is_none_or(|at| at.elapsed() < KEEP));
    let mut ended: Vec<(Instant, JobId)> = table.iter().filter_map(|(id, job)| Some((finished(job)?, *id))).collect();
    if ended.len() > KEEP_COUNT {
        ended.sort();
        for (_, id) in &ended[..ended.len() - KEEP_COUNT] {
            table.remove(id);
        }
    }
}
