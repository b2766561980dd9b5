//! The crash matrix: for every workflow of the registry, the real program is killed at every boundary of every step and
//! of every undo, restarted, and must end the job as if nothing had happened or as if it had never begun. Afterwards
//! tables, VMs, files, bridges, leases and capacities are as wanted or as before, row by row, and nothing is left over.
//!
//! The program kills itself (see `mn_service::faults`) without running any destructor, which is what `kill -9` and a
//! power cut do to it. Every group of workflows is a test with a cloud of its own, so that they run side by side.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test program: a panic is its report")]

mod agents;
mod ground;
mod matrix;
mod picture;
mod program;
mod stuck;

macro_rules! groups {
    ($($group:ident)*) => {
        $(mod $group;)*

        mod every_boundary_is_survived {
            $(
                #[tokio::test]
                async fn $group() {
                    crate::matrix::run(crate::$group::cases()).await;
                }
            )*
        }

        /// Every case of every group.
        fn all() -> Vec<matrix::Case> {
            let mut all = Vec::new();
            $(all.extend($group::cases());)*
            all
        }
    };
}

groups! { vm_life vm_power vm_changes volumes snapshots images hosts networks deletions withdrawals }

#[test]
fn every_workflow_of_the_registry_is_in_the_matrix() {
    let registry = mn_service::resource::workflows().unwrap();
    let covered: Vec<&str> = all().iter().map(|case| case.workflow).collect();
    let forgotten: Vec<&str> =
        registry.workflows().iter().map(|info| info.name).filter(|name| !covered.contains(name)).collect();
    assert!(forgotten.is_empty(), "give these workflows a case in a group: {forgotten:?}");
}
