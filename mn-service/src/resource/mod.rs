use crate::{
    api::{Apis, StepError},
    app::App,
};
use mn_service_workflow::{Registry, RegistryError};
pub mod account;
pub mod allocation;
pub mod backup_storage;
pub mod cluster;
pub mod deletion;
pub mod global_config;
pub mod image;
pub mod management_node;
pub mod offering;
pub mod primary_storage;
pub mod snapshot;
pub mod tag;
pub mod volume;
pub mod zone;
pub fn apis() -> Apis {
    let mut apis = Apis::default();
    for register in [
        account::register,
        backup_storage::register,
        cluster::register,
        global_config::register,
        image::register,
        management_node::register,
        offering::register,
        primary_storage::register,
        snapshot::register,
        tag::register,
        volume::register,
        zone::register,
    ] {
        register(&mut apis);
    }
    apis
}
pub fn workflows() -> Result<Registry<App, StepError>, RegistryError> {
    let mut registry = Registry::new();
    for register in [
        backup_storage::workflows,
        deletion::workflows,
        image::workflows,
        primary_storage::workflows,
        snapshot::workflows,
        volume::workflows,
    ] {
        register(&mut registry)?;
    }
    Ok(registry)
}
