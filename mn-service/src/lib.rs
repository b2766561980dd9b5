//! The management service: REST API, jobs, workflows, scheduling.
//!
//! A request takes this way: [`http`] binds, authenticates and checks it by the contract; synchronous calls answer at
//! once; changes become a job ([`jobs`]), wait in the queue of their resource ([`queue`]) and run as a transaction or a
//! workflow that a module of [`resource`] registered through [`api`].

pub mod access;
pub mod agents;
pub mod api;
pub mod app;
pub mod audit;
pub mod ca;
pub mod cascade;
pub mod change;
pub mod console;
pub mod control;
pub mod coverage;
pub mod deadline;
pub mod deploy;
pub mod door;
pub mod faults;
pub mod garbage;
pub mod http;
pub mod initial_password;
pub mod jobs;
pub mod own_node;
pub mod password;
pub mod preview;
pub mod progress;
pub mod publication;
pub mod queue;
pub mod resource;
pub mod saga_store;
pub mod secret;
pub mod service;
pub mod session;
pub mod settings;
pub mod tags;
pub mod timers;
pub mod ui;
pub mod webhook;

pub use mn_service_config as config;
