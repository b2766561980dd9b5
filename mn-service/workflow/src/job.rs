//! One job while this process drives it: calling its steps and undos, or declining to.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::Value;
use tracing::{Instrument, Span, error, info_span, warn};
use uuid::Uuid;

use crate::action::Steps;
use crate::fault::{Failure, StepFault, panic_message};
use crate::observer::{Boundary, Observer, Phase};
use crate::registry::Definition;
use crate::store::Store;
use crate::switch::Switch;
use crate::workflow::ErasedUndo;

pub(crate) struct Job<C> {
    pub(crate) id: Uuid,
    pub(crate) definition: Arc<Definition<C>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) switch: Switch,
    pub(crate) span: Span,
    /// Sequence number of the next event. Only the job's journal touches it, one event at a time.
    pub(crate) next_event: AtomicU32,
    context: Arc<C>,
    observer: Arc<dyn Observer>,
    /// Set once something was left out because of the switch. From then on the job does and records nothing: steno
    /// runs through the rest of the saga like through an empty shell, and its verdict is thrown away. The log ends
    /// where it would have ended had the process died, and a restart goes on from there.
    interrupted: AtomicBool,
}

impl<C> fmt::Debug for Job<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id).field("workflow", &self.definition.name).finish_non_exhaustive()
    }
}

impl<C: Send + Sync + 'static> Job<C> {
    pub(crate) fn new(
        id: Uuid,
        definition: Arc<Definition<C>>,
        context: Arc<C>,
        store: Arc<dyn Store>,
        observer: Arc<dyn Observer>,
        switch: Switch,
        next_event: u32,
    ) -> Self {
        let span = info_span!("job", job = %id, workflow = definition.name, version = definition.version);
        Job {
            id,
            definition,
            store,
            switch,
            span,
            next_event: AtomicU32::new(next_event),
            context,
            observer,
            interrupted: AtomicBool::new(false),
        }
    }

    /// Whether anything was left out so far.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
    }

    /// Asked before every step and undo: a stopping engine begins none.
    fn may_begin(&self) -> bool {
        if !self.switch.is_running() {
            self.interrupt();
        }
        !self.was_interrupted()
    }

    /// The work's result, or `None` and the end of the job if the engine is abandoned first.
    pub(crate) async fn unless_abandoned<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            result = work => Some(result),
            () = self.switch.abandoned() => {
                self.interrupt();
                None
            }
        }
    }

    fn is_over(&self) -> bool {
        self.observed(false, |observer| observer.is_over(self.id))
    }

    pub(crate) fn notify(&self, index: usize, phase: Phase) {
        let at = self.boundary(index, phase);
        self.observed((), |observer| observer.boundary(at));
    }

    /// [`Job::notify`], then asks whether the job may go on as if nothing were wrong.
    fn ask(&self, index: usize, phase: Phase) -> Result<(), String> {
        self.notify(index, phase);
        let at = self.boundary(index, phase);
        self.observed(Ok(()), |observer| observer.permit(at))
    }

    fn boundary(&self, index: usize, phase: Phase) -> Boundary {
        let steps = &self.definition.steps;
        Boundary {
            workflow: self.definition.name,
            id: self.id,
            step: steps[index].name,
            index,
            total: steps.len(),
            phase,
        }
    }

    /// What the observer says, or `otherwise` when it panics: that would unwind through steno and leave the job hanging,
    /// which progress is not worth.
    fn observed<T>(&self, otherwise: T, call: impl FnOnce(&dyn Observer) -> T) -> T {
        std::panic::catch_unwind(AssertUnwindSafe(|| call(self.observer.as_ref()))).unwrap_or_else(|panic| {
            let error = panic_message(panic.as_ref());
            self.span.in_scope(|| error!(%error, "the observer of workflows panicked"));
            otherwise
        })
    }

    fn refused(&self, reason: String) -> Failure {
        (self.definition.fault)(StepFault::Refused { reason })
    }
}

#[async_trait]
impl<C: Send + Sync + 'static> Steps for Job<C> {
    fn is_interrupted(&self) -> bool {
        if self.switch.is_abandoned() {
            self.interrupt();
        }
        self.was_interrupted()
    }

    async fn run_step(&self, index: usize, input: Value) -> Option<Result<Value, Failure>> {
        if !self.may_begin() {
            return None;
        }
        if self.is_over() {
            self.span.in_scope(|| warn!(step = self.definition.steps[index].name, "out of time"));
            return Some(Err((self.definition.fault)(StepFault::TimedOut)));
        }
        let permit = self.ask(index, Phase::BeforeStep);
        if self.is_interrupted() {
            return None;
        }
        let step = &self.definition.steps[index];
        let span = info_span!(parent: &self.span, "step", step = step.name);
        let mut result = match permit {
            Err(reason) => Err(self.refused(reason)),
            Ok(()) => {
                // The inner block is needed: calling the closure may already panic.
                let work =
                    AssertUnwindSafe(async { (step.run)(Arc::clone(&self.context), input).await }).catch_unwind();
                let result = self.unless_abandoned(work.instrument(span.clone())).await?;
                result.unwrap_or_else(|panic| Err((self.definition.fault)(StepFault::panicked(panic.as_ref()))))
            }
        };
        if let Err(reason) = self.ask(index, Phase::AfterStep) {
            result = Err(self.refused(reason));
        }
        if let Err(failure) = &result {
            span.in_scope(|| warn!(error = %failure.message, "step failed"));
        }
        if self.is_interrupted() { None } else { Some(result) }
    }

    async fn run_undo(&self, index: usize, state: Value) -> Result<(), String> {
        let step = &self.definition.steps[index];
        if !self.may_begin() {
            return Ok(());
        }
        let ErasedUndo::With(undo) = &step.undo else {
            return Ok(());
        };
        let permit = self.ask(index, Phase::BeforeUndo);
        if self.is_interrupted() {
            return Ok(());
        }
        let span = info_span!(parent: &self.span, "undo", step = step.name);
        let result = match permit {
            Err(reason) => Err(reason),
            Ok(()) => {
                let work = AssertUnwindSafe(async { undo(Arc::clone(&self.context), state).await }).catch_unwind();
                let Some(result) = self.unless_abandoned(work.instrument(span.clone())).await else {
                    return Ok(());
                };
                result.unwrap_or_else(|panic| Err(format!("the undo panicked: {}", panic_message(panic.as_ref()))))
            }
        };
        if let Err(error) = &result {
            span.in_scope(|| error!(%error, "undo failed"));
        }
        self.notify(index, Phase::AfterUndo);
        result
    }
}
