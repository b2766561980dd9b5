//! The resources of the cloud, one module each. `docs/adding-a-resource.md` shows how to add one.

use mn_service_workflow::{Registry, RegistryError};

use crate::{
    api::{Apis, StepError},
    app::App,
};

pub mod account;
pub mod account_removal;
pub mod affinity;
pub mod allocation;
pub mod audit;
pub mod backup_storage;
pub mod cluster;
pub mod console;
pub mod deletion;
pub mod enrolment;
pub mod global_config;
pub mod host;
pub mod host_networks;
pub mod image;
pub mod l2_network;
pub mod l3_network;
pub mod management_node;
pub mod offering;
pub mod preview;
pub mod primary_storage;
pub mod provisioning;
pub mod quota;
pub mod recycle_bin;
pub mod sharing;
pub mod snapshot;
mod stuck_job;
pub mod tag;
pub mod vm;
pub mod volume;
pub mod zone;

/// Behaviour of every implemented API.
pub fn apis() -> Apis {
    let mut apis = Apis::default();
    for register in [
        account::register,
        account_removal::register,
        affinity::register,
        audit::register,
        backup_storage::register,
        cluster::register,
        console::register,
        enrolment::register,
        global_config::register,
        host::register,
        image::register,
        l2_network::register,
        l3_network::register,
        management_node::register,
        offering::register,
        preview::register,
        primary_storage::register,
        quota::register,
        sharing::register,
        snapshot::register,
        stuck_job::register,
        tag::register,
        vm::register,
        volume::register,
        zone::register,
    ] {
        register(&mut apis);
    }
    apis
}

/// Every workflow.
pub fn workflows() -> Result<Registry<App, StepError>, RegistryError> {
    let mut registry = Registry::new();
    for register in [
        account_removal::workflows,
        backup_storage::workflows,
        deletion::workflows,
        host::workflows,
        image::workflows,
        l2_network::workflows,
        l3_network::workflows,
        primary_storage::workflows,
        snapshot::workflows,
        vm::workflows,
        volume::workflows,
    ] {
        register(&mut registry)?;
    }
    Ok(registry)
}
