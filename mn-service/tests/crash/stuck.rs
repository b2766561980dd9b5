//! Where a person has to look, and what does not keep the others waiting.

use serde_json::json;

use crate::{
    ground::{Ground, post, put},
    picture::text,
};

/// A failed undo ends the job visibly, with both errors and its log; a restart does not begin it again.
#[tokio::test]
async fn a_failed_undo_is_a_visible_stuck_job() {
    let mut ground = Ground::new().await;
    ground
        .place
        .arm(&["fail vm.create/start/BeforeStep".to_owned(), "fail vm.create/create-volumes/BeforeUndo".to_owned()]);
    let (job, outcome) = ground.call_as_job(post("/vm-instances", ground.cloud.vm_params("subject"))).await;
    ground.place.disarm();
    let error = outcome.unwrap_err();
    for part in ["step start failed", "taking back create-volumes failed too", "kept as stuck"] {
        assert!(error.details.contains(part), "{part:?} is missing in {error}");
    }
    let stuck = async |ground: &Ground| {
        let tables = ground.tables().await;
        let state: Vec<String> = tables.with("job", "uuid", &job).map(|row| text(row, "state").to_owned()).collect();
        assert_eq!(state, ["stuck"]);
        assert_eq!(tables.with("saga", "uuid", &job).count(), 1, "the log stays for a person");
        // What the undo did not reach is still there to be seen: the rows and the file, but no VM and no lease.
        assert_eq!((tables.of("VmInstanceVO").len(), ground.cloud.volume_files(0)), (1, 1));
        assert!(ground.cloud.sim.state(ground.cloud.host(0)).vms.is_empty());
        let audited = tables.with("AuditsVO", "requestUuid", &job).any(|row| row["success"] == 0);
        assert!(audited, "the audit tells that it failed");
    };
    stuck(&ground).await;

    ground.kill();
    ground.start().await;
    let again = ground.admin().follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap_err();
    assert_eq!(again.details, error.details);
    stuck(&ground).await;

    // Who has looked says so; what the job left is not touched.
    let shown = ground.admin().one("/extensions/stuck-jobs").await.unwrap();
    assert_eq!((&shown["uuid"], &shown["apiName"]), (&json!(job), &json!("CreateVmInstance")));
    assert_eq!(shown["details"], json!(error.details));
    ground.admin().delete(&format!("/extensions/stuck-jobs/{job}")).await.unwrap();
    assert!(ground.admin().query("/extensions/stuck-jobs").await.unwrap().is_empty());
    let tables = ground.tables().await;
    let state: Vec<String> = tables.with("job", "uuid", &job).map(|row| text(row, "state").to_owned()).collect();
    assert_eq!(state, ["failed"]);
    assert_eq!(tables.with("saga", "uuid", &job).count() + tables.with("saga_event", "saga_uuid", &job).count(), 0);
    assert_eq!((tables.of("VmInstanceVO").len(), ground.cloud.volume_files(0)), (1, 1));
}

/// Jobs that a crash interrupted go on although one host does not answer.
#[tokio::test]
async fn a_host_that_is_gone_does_not_keep_interrupted_jobs_waiting() {
    let mut ground = Ground::new().await;
    let gone = ground.host(&ground.cloud.cluster).await;
    let vm = ground.cloud.vm_params("subject");
    let vm = ground.make("/vm-instances", with(vm, "hostUuid", &ground.cloud.hosts[0])).await;
    ground.cloud.sim.silent(gone.parse().unwrap(), std::time::Duration::from_secs(600));
    ground.place.arm(&["crash vm.pause/pause/BeforeStep".to_owned()]);
    let call = put(format!("/vm-instances/{vm}"), "pauseVmInstance", json!({}));
    let job = ground.send_and_die(call, "a pause").await;
    ground.start_without_hosts().await;
    ground.admin().follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap();
    assert_eq!(ground.state_of(&vm).await, "Paused");
    // The service has not even given up on the other one.
    assert_eq!(ground.word("HostVO", &gone, "status").await, "Connecting");
}

fn with(mut params: serde_json::Value, name: &str, value: &str) -> serde_json::Value {
    params[name] = json!(value);
    params
}
