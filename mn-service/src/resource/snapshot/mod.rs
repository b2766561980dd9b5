//! Snapshots (CS-SNAP-*): frozen layers of volumes.
use crate::{
    api::{Apis, StepError},
    app::App,
};
use mn_service_workflow::{Registry, RegistryError};
pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryVolumeSnapshot");
}
pub(super) fn workflows(_registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    Ok(())
}
