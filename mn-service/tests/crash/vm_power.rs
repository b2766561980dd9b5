//! Starting, stopping, rebooting, pausing and resuming VMs.

use serde_json::json;

use crate::{
    ground::put,
    matrix::{Case, Subject},
};

macro_rules! power {
    ($workflow:literal, $before:literal, $action:literal, $after:literal, stays: $stays:expr) => {
        Case {
            workflow: $workflow,
            what: $action,
            stays: $stays,
            prepare: |g| Box::pin(async { Subject::of([("vm", g.vm($before).await)]) }),
            call: |_, s| Box::pin(async move { put(format!("/vm-instances/{}", &s["vm"]), $action, json!({})) }),
            done: |g, s| Box::pin(async move { assert_eq!(g.state_of(&s["vm"]).await, $after) }),
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        }
    };
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        power!("vm.start", "Stopped", "startVmInstance", "Running", stays: None),
        power!("vm.stop", "Running", "stopVmInstance", "Stopped", stays: Some("stop")),
        power!("vm.reboot", "Running", "rebootVmInstance", "Running", stays: Some("stop")),
        power!("vm.pause", "Running", "pauseVmInstance", "Paused", stays: None),
        power!("vm.resume", "Paused", "resumeVmInstance", "Running", stays: None),
    ]
}
