//! Durable linear workflows: lists of steps that survive the death of the process.
//!
//! A [`Workflow`] is a named, versioned list of steps. Each step is a plain `async fn` from state to state, each has
//! an [`Undo`] or a stated reason why it needs none. The [`Engine`] runs a workflow as a steno saga: what happened is
//! written to a [`Store`] before anything that depends on it happens, so that after a crash [`Engine::resume`] goes on
//! where the log ends. This crate knows no domain and no tables; `mn-service` brings both.
//!
//! # The contract between the engine and a step
//!
//! * **Twice.** The process may die between doing and recording. Every step and every undo may therefore run again,
//!   with the same input, after it already ran in part or in full. It must then leave the world as one run would.
//!   An undo must also succeed when there is nothing (left) to undo.
//! * **State.** A step's output is saved before the next step begins and is the next step's input. Nothing else
//!   travels between steps. Choose ids in the first step: once they are saved, every later step and undo knows the
//!   names of what it makes or removes, however little of the step was done.
//! * **Failure.** A step that returns an error may have failed half-way, so its *own* undo runs first, then the undos
//!   of the completed steps in reverse order. That the step failed is durable before its undo begins: a step that
//!   returned an error is not tried again by a restart once the error was recorded.
//! * **What an undo is given.** The state saved after its step if the step completed; the state saved before its step
//!   (the step's input) if the step failed, because no later state exists.
//! * **Failed undo.** Unwinding stops at once and the outcome is [`Outcome::Stuck`], never [`Outcome::Undone`]: the
//!   steps before it keep their effects and a person has to look. Undos should retry what may pass by itself.
//! * **Time.** A job that the observer calls over begins no further step and is undone. A step under way is never
//!   abandoned for it, and undos take the time they need.
//! * **Panic.** A panic in a step or undo is a failure of it ([`StepFault::Panicked`]), not of the process.
//! * **Blocking.** A step must not block its thread; a step that never returns holds its job for ever. Deadlines
//!   belong to the step.
//!
//! # What is promised about secrets
//!
//! States are written to the store and handed to steps, and appear nowhere else: not in logs, not in `Debug` output of
//! this crate's types, not in the reasons of [`Outcome::Stuck`]. Error texts (`Display` of `E`) are logged.

mod action;
mod active;
mod drive;
mod engine;
mod fault;
mod job;
mod journal;
mod memory;
mod observer;
mod outcome;
mod registry;
mod store;
mod switch;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
#[cfg(test)]
mod tests;
mod workflow;

pub use engine::{Engine, EngineError, Resumed, Running};
pub use fault::StepFault;
pub use memory::MemoryStore;
pub use observer::{Boundary, Observer, Phase, Unobserved};
pub use outcome::Outcome;
pub use registry::{Registry, RegistryError, StepInfo, WorkflowInfo};
pub use store::{Event, EventKind, JobState, Record, Store, StoreError, UnknownEventKind};
pub use workflow::{State, Undo, Workflow, WorkflowError};
