//! How a workflow is written down: a list that a reviewer can read aloud.

use std::any::TypeId;
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fault::{Failure, StepFault, decode_reason};

/// The state of a workflow: saved after each step, handed to the next one.
pub trait State: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> State for T {}

/// The error type of workflows: saved when a step fails, handed out in [`crate::Outcome::Undone`].
///
/// `From<StepFault>` is how the engine reports, for example, a panic in the same type.
pub trait WorkflowError:
    Serialize + DeserializeOwned + Display + Clone + Send + Sync + From<StepFault> + 'static
{
}
impl<T: Serialize + DeserializeOwned + Display + Clone + Send + Sync + From<StepFault> + 'static> WorkflowError for T {}

pub(crate) type RunStep<C> = Arc<dyn Fn(Arc<C>, Value) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;
pub(crate) type RunUndo<C> = Arc<dyn Fn(Arc<C>, Value) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A step whose types are known to its closures only, so that all workflows fit one registry.
pub(crate) struct Step<C> {
    pub(crate) name: &'static str,
    pub(crate) run: RunStep<C>,
    pub(crate) undo: ErasedUndo<C>,
}

pub(crate) enum ErasedUndo<C> {
    With(RunUndo<C>),
    Nothing(&'static str),
}

impl<C> Clone for Step<C> {
    fn clone(&self) -> Self {
        Step { name: self.name, run: Arc::clone(&self.run), undo: self.undo.clone() }
    }
}

impl<C> Clone for ErasedUndo<C> {
    fn clone(&self) -> Self {
        match self {
            ErasedUndo::With(run) => ErasedUndo::With(Arc::clone(run)),
            ErasedUndo::Nothing(reason) => ErasedUndo::Nothing(reason),
        }
    }
}

/// What takes a step back. There is no default: a step without an undo says why.
pub struct Undo<C, S, E> {
    erased: ErasedUndo<C>,
    types: PhantomData<fn(S) -> E>,
}

impl<C, S, E> Undo<C, S, E>
where
    C: Send + Sync + 'static,
    S: State,
    E: WorkflowError,
{
    /// Takes the step back with `undo`.
    ///
    /// It is given the state after the step if the step completed and the state before the step if the step failed.
    /// It may run twice, may find nothing to take back, and parks the job as stuck if it returns an error.
    pub fn with<F, Fut>(undo: F) -> Self
    where
        F: Fn(Arc<C>, S) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        let undo = Arc::new(undo);
        let run: RunUndo<C> = Arc::new(move |context, saved| {
            let undo = Arc::clone(&undo);
            Box::pin(async move {
                let state = decode::<S>(saved).map_err(|fault| fault.to_string())?;
                undo(context, state).await.map_err(|error| error.to_string())
            })
        });
        Undo { erased: ErasedUndo::With(run), types: PhantomData }
    }

    /// The step leaves nothing behind that would have to be taken back, for this reason.
    ///
    /// An empty reason is refused by [`crate::Registry::register`].
    pub fn nothing(reason: &'static str) -> Self {
        Undo { erased: ErasedUndo::Nothing(reason), types: PhantomData }
    }
}

/// A named, versioned list of steps over a context `C`, a state `S` and an error `E`.
///
/// Once released, a version never changes its steps, their order or (incompatibly) its state type: jobs that were
/// begun under it may be waiting in the store. A change is a new version; the old one stays registered for as long
/// as jobs of it may exist.
pub struct Workflow<C, S, E> {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) steps: Vec<Step<C>>,
    types: PhantomData<fn(S) -> E>,
}

impl<C, S, E> Workflow<C, S, E>
where
    C: Send + Sync + 'static,
    S: State,
    E: WorkflowError,
{
    /// Begins the list, for example `Workflow::named("vm.create", 1)`.
    pub fn named(name: &'static str, version: u32) -> Self {
        Workflow { name, version, steps: Vec::new(), types: PhantomData }
    }

    /// Adds a step. See the crate documentation for the contract of `run`.
    #[must_use]
    pub fn step<F, Fut>(mut self, name: &'static str, run: F, undo: Undo<C, S, E>) -> Self
    where
        F: Fn(Arc<C>, S) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, E>> + Send + 'static,
    {
        let run = Arc::new(run);
        let run: RunStep<C> = Arc::new(move |context, saved| {
            let run = Arc::clone(&run);
            Box::pin(async move {
                let state = decode::<S>(saved).map_err(Failure::fault::<E>)?;
                let after = run(context, state).await.map_err(|error| Failure::of(&error))?;
                encode(&after).map_err(Failure::fault::<E>)
            })
        });
        self.steps.push(Step { name, run, undo: undo.erased });
        self
    }

    pub(crate) fn state_type(&self) -> (TypeId, &'static str) {
        (TypeId::of::<S>(), std::any::type_name::<S>())
    }
}

/// Once for each state, and not in each of its steps: there are more than a hundred.
#[inline(never)]
fn encode<S: State>(after: &S) -> Result<Value, StepFault> {
    serde_json::to_value(after).map_err(|error| StepFault::StateNotSaved { reason: error.to_string() })
}

/// As [`encode`].
#[inline(never)]
fn decode<S: State>(saved: Value) -> Result<S, StepFault> {
    serde_json::from_value(saved).map_err(|error| StepFault::StateNotRead { reason: decode_reason(&error) })
}
