//! The workflows an engine knows.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;

use steno::{Action, ActionRegistry, Dag, DagBuilder, Node, SagaDag, SagaName};

use crate::action::{FINISH, Finish, Saga, StepAction};
use crate::fault::{Failure, StepFault};
use crate::workflow::{ErasedUndo, State, Step, Workflow, WorkflowError};

/// The workflows an engine knows, by name and version.
pub struct Registry<C, E> {
    definitions: BTreeMap<(String, u32), Arc<Definition<C>>>,
    errors: PhantomData<fn() -> E>,
}

/// Why a workflow was refused. All of these are mistakes in a program, found when it starts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// This name and version are taken.
    #[error("workflow {workflow} version {version} is registered twice")]
    Duplicate { workflow: String, version: u32 },
    /// There is nothing to do.
    #[error("workflow {workflow} version {version} has no steps")]
    NoSteps { workflow: String, version: u32 },
    /// Versions are stored as positive 32-bit integers.
    #[error("workflow {workflow}: version {version} is outside 1-2147483647")]
    Version { workflow: String, version: u32 },
    /// Names appear in logs, databases and on the wire.
    #[error("workflow {workflow}: {name:?} is not a name; use lower-case letters, digits, '.', '-' and '_'")]
    Name { workflow: String, name: String },
    /// Two steps share a name.
    #[error("workflow {workflow} version {version} has two steps called {step}")]
    DuplicateStep { workflow: String, version: u32, step: String },
    /// A step has no undo and does not say why.
    #[error("workflow {workflow} version {version}: step {step} has no undo and gives no reason for it")]
    NoReason { workflow: String, version: u32, step: String },
    /// Steno refused the list of steps.
    #[error("workflow {workflow} version {version}: {reason}")]
    Graph { workflow: String, version: u32, reason: String },
}

/// A workflow as a reader sees it: for progress displays, golden tables and tests against forgetting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowInfo {
    pub name: &'static str,
    pub version: u32,
    pub steps: Vec<StepInfo>,
}

/// A step as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    pub name: &'static str,
    /// Why the step needs no undo; `None` if it has one.
    pub no_undo_because: Option<&'static str>,
}

impl<C, E> Default for Registry<C, E> {
    fn default() -> Self {
        Registry { definitions: BTreeMap::new(), errors: PhantomData }
    }
}

impl<C: Send + Sync + 'static, E: WorkflowError> Registry<C, E> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a workflow.
    ///
    /// # Errors
    ///
    /// Refuses a second workflow of the same name and version, and any workflow that is not written down properly.
    pub fn register<S: State>(&mut self, workflow: Workflow<C, S, E>) -> Result<(), RegistryError> {
        let state = workflow.state_type();
        self.add(workflow.name, workflow.version, workflow.steps, state)
    }

    /// The same for workflows of every state, and so compiled once.
    fn add(
        &mut self,
        name: &'static str,
        version: u32,
        steps: Vec<Step<C>>,
        state: (TypeId, &'static str),
    ) -> Result<(), RegistryError> {
        let key = (name.to_owned(), version);
        if self.definitions.contains_key(&key) {
            return Err(RegistryError::Duplicate { workflow: key.0, version: key.1 });
        }
        let definition = Definition::of::<E>(name, version, steps, state)?;
        self.definitions.insert(key, Arc::new(definition));
        Ok(())
    }

    /// What is registered, ordered by name and version.
    pub fn workflows(&self) -> Vec<WorkflowInfo> {
        self.definitions.values().map(|definition| definition.info()).collect()
    }

    pub(crate) fn find(&self, name: &str, version: u32) -> Option<Arc<Definition<C>>> {
        self.definitions.get(&(name.to_owned(), version)).cloned()
    }

    pub(crate) fn latest(&self, name: &str) -> Option<Arc<Definition<C>>> {
        let versions = (name.to_owned(), 0)..=(name.to_owned(), u32::MAX);
        self.definitions.range(versions).next_back().map(|(_, definition)| Arc::clone(definition))
    }

    /// Replaces the steps of the latest version of `name`; its graph stays as it is.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn alter(&mut self, name: &str, alter: impl FnOnce(&mut Definition<C>)) -> bool {
        let Some(latest) = self.latest(name) else {
            return false;
        };
        let mut altered = Definition::clone(&latest);
        alter(&mut altered);
        self.definitions.insert((altered.name.to_owned(), altered.version), Arc::new(altered));
        true
    }
}

/// A registered workflow: its steps and the graph steno runs.
pub(crate) struct Definition<C> {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) steps: Vec<Step<C>>,
    pub(crate) state: TypeId,
    pub(crate) state_name: &'static str,
    /// Expresses an engine's fault in the workflow's error type.
    pub(crate) fault: fn(StepFault) -> Failure,
    pub(crate) dag: Dag,
    pub(crate) actions: Arc<ActionRegistry<Saga>>,
}

impl<C> Clone for Definition<C> {
    fn clone(&self) -> Self {
        Definition {
            name: self.name,
            version: self.version,
            steps: self.steps.clone(),
            state: self.state,
            state_name: self.state_name,
            fault: self.fault,
            dag: self.dag.clone(),
            actions: Arc::clone(&self.actions),
        }
    }
}

impl<C: Send + Sync + 'static> Definition<C> {
    fn of<E: WorkflowError>(
        name: &'static str,
        version: u32,
        steps: Vec<Step<C>>,
        (state, state_name): (TypeId, &'static str),
    ) -> Result<Self, RegistryError> {
        check(name, version, &steps)?;
        let graph_error = |reason: String| RegistryError::Graph { workflow: name.to_owned(), version, reason };

        let mut actions = ActionRegistry::new();
        let mut builder = DagBuilder::new(SagaName::new(name));
        let mut append = |action: Arc<dyn Action<Saga>>, node: &'static str| {
            builder.append(Node::action(node, node, action.as_ref()));
            actions.register(action);
        };
        let mut previous = None;
        for (index, step) in steps.iter().enumerate() {
            append(Arc::new(StepAction { index, name: step.name, previous }), step.name);
            previous = Some(step.name);
        }
        if let Some(last) = previous {
            append(Arc::new(Finish { last }), FINISH);
        }
        let dag = builder.build().map_err(|error| graph_error(error.to_string()))?;

        // The journal relies on it: the node of a step has the step's index as its number.
        let nodes = nodes(&SagaDag::new(dag.clone(), serde_json::Value::Null));
        let wanted = steps.iter().map(|step| step.name).chain([FINISH]).map(str::to_owned).enumerate();
        if !nodes.into_iter().eq(wanted) {
            return Err(graph_error("steno numbers the steps in another order".to_owned()));
        }
        let fault = Failure::fault::<E>;
        Ok(Definition { name, version, steps, state, state_name, fault, dag, actions: Arc::new(actions) })
    }

    /// Whether `dag`, as stored with a job, has exactly our steps.
    pub(crate) fn has_shape_of(&self, dag: &SagaDag) -> bool {
        nodes(dag) == nodes(&SagaDag::new(self.dag.clone(), serde_json::Value::Null))
    }

    fn info(&self) -> WorkflowInfo {
        let step = |step: &Step<C>| StepInfo {
            name: step.name,
            no_undo_because: match step.undo {
                ErasedUndo::With(_) => None,
                ErasedUndo::Nothing(reason) => Some(reason),
            },
        };
        WorkflowInfo { name: self.name, version: self.version, steps: self.steps.iter().map(step).collect() }
    }
}

/// Numbers and names of a graph's nodes.
pub(crate) fn nodes(dag: &SagaDag) -> Vec<(usize, String)> {
    dag.get_nodes().map(|node| (node.index().index(), node.name().as_ref().to_owned())).collect()
}

fn check<C>(name: &str, version: u32, steps: &[Step<C>]) -> Result<(), RegistryError> {
    let workflow = || name.to_owned();
    let is_name = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_'))
    };
    if version == 0 || i32::try_from(version).is_err() {
        return Err(RegistryError::Version { workflow: workflow(), version });
    }
    if steps.is_empty() {
        return Err(RegistryError::NoSteps { workflow: workflow(), version });
    }
    for text in std::iter::once(name).chain(steps.iter().map(|step| step.name)) {
        if !is_name(text) {
            return Err(RegistryError::Name { workflow: workflow(), name: text.to_owned() });
        }
    }
    let mut seen = BTreeSet::new();
    for step in steps {
        if !seen.insert(step.name) {
            return Err(RegistryError::DuplicateStep { workflow: workflow(), version, step: step.name.to_owned() });
        }
        if matches!(step.undo, ErasedUndo::Nothing(reason) if reason.trim().is_empty()) {
            return Err(RegistryError::NoReason { workflow: workflow(), version, step: step.name.to_owned() });
        }
    }
    Ok(())
}
