//! Hosts: adding, reconnecting, maintenance.

use serde_json::json;

use crate::{
    ground::{Ground, post, put},
    matrix::{Case, Subject},
};

async fn enabled(g: &Ground) {
    let host = &g.cloud.hosts[0];
    if g.word("HostVO", host, "state").await != "Enabled" {
        g.act(&format!("/hosts/{host}"), "changeHostState", json!({ "stateEvent": "enable" })).await;
        // A host that leaves maintenance is connected anew.
        g.cloud.hosts_connected().await;
    }
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            workflow: "host.add",
            what: "add",
            stays: None,
            prepare: |_| Box::pin(async { Subject::of([("host", mn_service_types::new_uuid())]) }),
            call: |g, s| {
                Box::pin(async {
                    let mut params = g.host_params(&g.cloud.cluster);
                    params["resourceUuid"] = json!(&s["host"]);
                    post("/hosts/kvm", params)
                })
            },
            done: |g, s| Box::pin(async { assert_eq!(g.word("HostVO", &s["host"], "status").await, "Connected") }),
            clear: |g, s| Box::pin(g.no("HostVO", "/hosts", &s["host"])),
        },
        Case {
            workflow: "host.add",
            what: "enrolled",
            stays: None,
            prepare: |_| Box::pin(async { Subject::of([("host", mn_service_types::new_uuid())]) }),
            call: |g, s| {
                Box::pin(async {
                    let mut params = g.host_params(&g.cloud.cluster);
                    params["resourceUuid"] = json!(&s["host"]);
                    for login in ["username", "password"] {
                        params.as_object_mut().unwrap().remove(login);
                    }
                    post("/extensions/enrolled-hosts", params)
                })
            },
            done: |g, s| {
                Box::pin(async {
                    assert_eq!(g.word("HostVO", &s["host"], "status").await, "Connected");
                    assert_eq!(g.word("HostVO", &s["host"], "username").await, "");
                })
            },
            clear: |g, s| Box::pin(g.no("HostVO", "/hosts", &s["host"])),
        },
        Case {
            workflow: "host.reconnect",
            what: "reconnect",
            stays: None,
            prepare: |g| Box::pin(async { Subject::of([("vm", g.vm("Running").await)]) }),
            call: |g, _| {
                Box::pin(async { put(format!("/hosts/{}", g.cloud.hosts[0]), "reconnectHost", json!({})) })
            },
            done: |g, s| Box::pin(async { assert_eq!(g.state_of(&s["vm"]).await, "Running") }),
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        },
        Case {
            workflow: "host.state",
            what: "maintain",
            stays: Some("stop-vms"),
            prepare: |g| Box::pin(async { Subject::of([("vm", g.vm("Running").await)]) }),
            call: |g, _| {
                Box::pin(async {
                    let params = json!({ "stateEvent": "maintain" });
                    put(format!("/hosts/{}", g.cloud.hosts[0]), "changeHostState", params)
                })
            },
            done: |g, s| {
                Box::pin(async {
                    assert_eq!(g.word("HostVO", &g.cloud.hosts[0], "state").await, "Maintenance");
                    assert_eq!(g.state_of(&s["vm"]).await, "Stopped");
                })
            },
            clear: |g, s| {
                Box::pin(async {
                    enabled(g).await;
                    g.no_vm(&s["vm"]).await;
                })
            },
        },
        Case {
            workflow: "host.state",
            what: "disable",
            stays: None,
            prepare: |_| Box::pin(async { Subject::of([]) }),
            call: |g, _| {
                Box::pin(async {
                    let params = json!({ "stateEvent": "disable" });
                    put(format!("/hosts/{}", g.cloud.hosts[0]), "changeHostState", params)
                })
            },
            done: |g, _| {
                Box::pin(async { assert_eq!(g.word("HostVO", &g.cloud.hosts[0], "state").await, "Disabled") })
            },
            clear: |g, _| Box::pin(enabled(g)),
        },
    ]
}
