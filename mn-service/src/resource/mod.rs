use crate::{
    api::{Apis, StepError},
    app::App,
};
use mn_service_workflow::{Registry, RegistryError};
pub mod account;
pub mod allocation;
pub mod cluster;
pub mod deletion;
pub mod global_config;
pub mod host_networks;
pub mod l2_network;
pub mod l3_network;
pub mod management_node;
pub mod offering;
pub mod tag;
pub mod zone;
pub fn apis() -> Apis {
    let mut apis = Apis::default();
    for register in [
        account::register,
        cluster::register,
        global_config::register,
        l2_network::register,
        l3_network::register,
        management_node::register,
        offering::register,
        tag::register,
        zone::register,
    ] {
        register(&mut apis);
    }
    apis
}
pub fn workflows() -> Result<Registry<App, StepError>, RegistryError> {
    let mut registry = Registry::new();
    deletion::workflows(&mut registry)?;
    l2_network::workflows(&mut registry)?;
    l3_network::workflows(&mut registry)?;
    Ok(registry)
}
