//! Creating, destroying and expunging VMs.

use serde_json::json;

use crate::{
    ground::{GIB, delete, post, put},
    matrix::{Case, Subject},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            workflow: "vm.create",
            what: "create",
            stays: None,
            prepare: |_| Box::pin(async { Subject::of([("vm", mn_service_types::new_uuid())]) }),
            call: |g, s| {
                Box::pin(async move {
                    let mut params = g.cloud.vm_params("subject");
                    params["resourceUuid"] = json!(&s["vm"]);
                    params["dataDiskSizes"] = json!([GIB]);
                    post("/vm-instances", params)
                })
            },
            done: |g, s| Box::pin(async move { assert_eq!(g.state_of(&s["vm"]).await, "Running") }),
            clear: |g, s| {
                Box::pin(async move {
                    let volumes = g.rows("VolumeVO", "vmInstanceUuid", &s["vm"]).await;
                    g.no_vm(&s["vm"]).await;
                    for volume in volumes.iter().filter(|volume| volume["type"] == "Data") {
                        g.no_volume(volume["uuid"].as_str().unwrap()).await;
                    }
                })
            },
        },
        Case {
            workflow: "vm.destroy",
            what: "destroy",
            stays: Some("stop"),
            prepare: |g| Box::pin(async { Subject::of([("vm", g.vm("Running").await)]) }),
            call: |_, s| Box::pin(async move { delete(format!("/vm-instances/{}", &s["vm"])) }),
            done: |g, s| Box::pin(async move { assert_eq!(g.state_of(&s["vm"]).await, "Destroyed") }),
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        },
        Case {
            workflow: "vm.destroy",
            what: "expunge",
            stays: None,
            prepare: |g| Box::pin(async { Subject::of([("vm", g.vm("Destroyed").await)]) }),
            call: |_, s| {
                Box::pin(async move { put(format!("/vm-instances/{}", &s["vm"]), "expungeVmInstance", json!({})) })
            },
            done: |g, s| Box::pin(async move { assert_eq!(g.state_of(&s["vm"]).await, "") }),
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        },
    ]
}
