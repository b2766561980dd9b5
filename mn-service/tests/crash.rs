//! The crash matrix: the real program is killed at every boundary of every step, restarted, and must end the job as if
//! nothing had happened or as if it had never begun; hosts, capacities and tables agree afterwards.
//!
//! The program kills itself (`ZSTACK_CRASH_AT=workflow/step/phase`, see `progress.rs`) without running any destructor,
//! which is what `kill -9` and a power cut do to it.

#![allow(clippy::unwrap_used, reason = "a test program: a panic is its report")]

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use mn_service_types::new_uuid;
use node_manager_sim::{Options as SimOptions, Sim};
use reqwest::Method;
use serde_json::{Value, json};
use system_tests::{Client, Cloud, cloud::uuid, eventually};

/// Sides of a step at which the program dies: before it, between doing and recording, after recording.
const PHASES: [&str; 3] = ["BeforeStep", "AfterStep", "Recorded"];

/// The program, killed when the test ends.
struct Program {
    child: Child,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be gone already; that is what this test is about.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

struct Place {
    config: PathBuf,
    log: PathBuf,
    base: String,
    _data: tempfile::TempDir,
}

impl Place {
    fn new(simulator: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (api, console) = (port(), port());
        let config = data.path().join("mn-service.toml");
        let text = format!(
            "listen = \"{api}\"\nui_listen = \"127.0.0.1:0\"\nconsole_listen = \"{console}\"\ndata_dir = \"{}\"\nsimulator = \"{simulator}\"\n",
            data.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        Self { config, log: data.path().join("log"), base: format!("http://{api}"), _data: data }
    }

    async fn start(&self, crash_at: Option<&str>) -> Program {
        let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mn-service"));
        command.arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(point) = crash_at {
            command.env("ZSTACK_CRASH_AT", point);
        }
        let mut program = Program { child: command.spawn().unwrap() };
        let client = Client::new(&self.base);
        let outcome = eventually(Duration::from_secs(30), || {
            let exited = program.child.try_wait().unwrap();
            let client = client.clone();
            async move {
                if let Some(status) = exited {
                    // The crash point may lie in work that is taken up at the start.
                    return Ok(Err(status));
                }
                match client.send(Method::GET, "/management-nodes/ready", None).await {
                    Ok((status, _)) if status.is_success() => Ok(Ok(())),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
        if let Err(status) = outcome {
            assert!(crash_at.is_some(), "the program ended with {status}: {}", self.tail());
        }
        program
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Sends an asynchronous call under a known job uuid. The program may die before it answers.
async fn send(client: &Client, job: &str, method: Method, path: &str, body: Option<Value>) {
    let sent = client.send_with(method, path, body, &[("X-Job-UUID", job)]).await;
    if let Ok((status, answer)) = sent {
        assert_eq!(status.as_u16(), 202, "{path}: {answer}");
    }
}

/// A change under test: what is called, and what is right afterwards.
struct Change {
    workflow: &'static str,
    /// State the VM must be in before; `None`: there must be no VM.
    before: Option<&'static str>,
    /// State after success; `None`: gone.
    after: Option<&'static str>,
    method: Method,
    /// Action key, or empty for DELETE and POST.
    action: &'static str,
}

fn changes() -> Vec<Change> {
    let put =
        |workflow, before, after, action| Change { workflow, before: Some(before), after, method: Method::PUT, action };
    vec![
        Change { workflow: "vm.create", before: None, after: Some("Running"), method: Method::POST, action: "" },
        put("vm.pause", "Running", Some("Paused"), "pauseVmInstance"),
        put("vm.resume", "Paused", Some("Running"), "resumeVmInstance"),
        put("vm.reboot", "Running", Some("Running"), "rebootVmInstance"),
        put("vm.stop", "Running", Some("Stopped"), "stopVmInstance"),
        put("vm.start", "Stopped", Some("Running"), "startVmInstance"),
        Change {
            workflow: "vm.destroy",
            before: Some("Running"),
            after: Some("Destroyed"),
            method: Method::DELETE,
            action: "",
        },
        put("vm.destroy", "Destroyed", None, "expungeVmInstance"),
    ]
}

fn steps_of(workflow: &str) -> Vec<&'static str> {
    let registry = mn_service::resource::workflows().unwrap();
    let info = registry.workflows().into_iter().find(|info| info.name == workflow).unwrap();
    info.steps.iter().map(|step| step.name).collect()
}

/// Brings a VM into a state by ordinary calls; returns its uuid.
async fn reach(cloud: &Cloud, wanted: &str) -> String {
    let id = uuid(&cloud.create_vm("subject").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    let act = |action: &'static str| {
        let (admin, path) = (cloud.admin().clone(), path.clone());
        async move { admin.act(&path, action, json!({})).await.unwrap() }
    };
    match wanted {
        "Paused" => _ = act("pauseVmInstance").await,
        "Stopped" => _ = act("stopVmInstance").await,
        "Destroyed" => cloud.admin().delete(&path).await.unwrap(),
        _ => {}
    }
    id
}

/// Removes the VM and everything of it.
async fn clear(cloud: &Cloud, id: &str) {
    let path = format!("/vm-instances/{id}");
    let Ok(vm) = cloud.vm(id).await else { return };
    if vm["state"] != "Destroyed" {
        cloud.admin().delete(&path).await.unwrap();
    }
    cloud.admin().action(&path, "expungeVmInstance", json!({})).await.unwrap().unwrap();
}

/// The host runs exactly what the database says.
async fn assert_agreement(cloud: &Cloud, case: &str) {
    let rows = cloud.admin().query("/vm-instances").await.unwrap();
    let mut expected: Vec<String> = rows
        .iter()
        .filter(|vm| matches!(vm["state"].as_str(), Some("Running" | "Paused")))
        .map(|vm| uuid(vm).unwrap())
        .collect();
    expected.sort();
    let host = cloud.sim.state(cloud.host(0));
    let mut actual: Vec<String> = host.vms.keys().map(ToString::to_string).collect();
    actual.sort();
    assert_eq!(actual, expected, "{case}: VMs on the host");
    let files = cloud.volume_files(0);
    let volumes = cloud.admin().query("/volumes").await.unwrap().len();
    assert_eq!(files, volumes, "{case}: volume files on the host");
}

#[tokio::test]
async fn every_vm_workflow_survives_a_kill_at_every_boundary() {
    let sim = Sim::start(SimOptions::default()).await.unwrap();
    let place = Place::new(&sim.url);
    let mut program = place.start(None).await;
    let mut cloud = Cloud::remote(&place.base, sim, 1).await.unwrap();
    // The image is cached once, so that the figures compare.
    let warm = reach(&cloud, "Running").await;
    clear(&cloud, &warm).await;
    let clean = cloud.figures().await.unwrap();

    let mut cases = 0;
    for change in changes() {
        for step in steps_of(change.workflow) {
            for phase in PHASES {
                let case = format!("{}/{step}/{phase} ({})", change.workflow, change.action);
                let mut id = match change.before {
                    Some(state) => reach(&cloud, state).await,
                    None => String::new(),
                };
                drop(program);

                let mut doomed = place.start(Some(&format!("{}/{step}/{phase}", change.workflow))).await;
                cloud.log_in_again().await.unwrap();
                let job = new_uuid();
                let admin = cloud.admin().clone();
                if change.before.is_none() {
                    id = new_uuid();
                    let mut params = cloud.vm_params("subject");
                    params["resourceUuid"] = json!(id);
                    send(&admin, &job, Method::POST, "/vm-instances", Some(json!({ "params": params }))).await;
                } else if change.method == Method::DELETE {
                    send(&admin, &job, Method::DELETE, &format!("/vm-instances/{id}"), None).await;
                } else {
                    let path = format!("/vm-instances/{id}/actions");
                    send(&admin, &job, Method::PUT, &path, Some(json!({ change.action: {} }))).await;
                }
                eventually(Duration::from_secs(30), || {
                    let ended = doomed.child.try_wait().unwrap();
                    let case = &case;
                    async move { ended.ok_or_else(|| format!("{case}: the program did not reach the crash point")) }
                })
                .await;
                drop(doomed);

                program = place.start(None).await;
                cloud.log_in_again().await.unwrap();
                let outcome = cloud.admin().follow(&format!("/api-jobs/{job}")).await.unwrap();
                assert!(outcome.is_ok(), "{case}: {outcome:?}\n{}", place.tail());
                let found = cloud.admin().query(&format!("/vm-instances?q=uuid={id}")).await.unwrap();
                let state = found.first().and_then(|vm| vm["state"].as_str());
                assert_eq!(state, change.after, "{case}");
                assert_agreement(&cloud, &case).await;
                clear(&cloud, &id).await;
                assert_eq!(cloud.figures().await.unwrap(), clean, "{case}: capacities and addresses");
                assert_agreement(&cloud, &case).await;
                cases += 1;
            }
        }
    }
    println!("{cases} crashes survived");
    assert!(cases >= 80, "the matrix is complete");
}
