//! Web hooks and timeouts of calls (PROTOCOL.md sections 2 and 7).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use mn_service_types::new_uuid;
use reqwest::Method;
use serde_json::{Value, json};
use system_tests::{Client, Cloud, World, cloud::uuid, eventually, world::Options};
use tokio::net::TcpListener;

/// One request that the listener got.
#[derive(Debug, Clone, PartialEq)]
struct Received {
    job: String,
    success: String,
    body: Value,
}

/// A client's own little server.
#[derive(Clone, Default)]
struct Listener {
    received: Arc<Mutex<Vec<Received>>>,
    /// Answers to give before 200.
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
}

impl Listener {
    fn answering(answers: &[StatusCode]) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), ..Self::default() }
    }

    async fn at(&self, address: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/hook", axum::routing::post(receive)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until `count` requests came.
    async fn gets(&self, count: usize) -> Vec<Received> {
        eventually(Duration::from_secs(20), || async {
            let received = self.received();
            if received.len() >= count { Ok(received) } else { Err(received) }
        })
        .await
    }
}

async fn receive(State(listener): State<Listener>, headers: HeaderMap, body: String) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let body = serde_json::from_str(&body).unwrap_or(Value::Null);
    let received = Received { job: header("x-job-uuid"), success: header("x-job-success"), body };
    listener.received.lock().unwrap().push(received);
    listener.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK)
}

const ANY_PORT: &str = "127.0.0.1:0";

/// An asynchronous call with headers; the job's uuid.
async fn accepted(client: &Client, path: &str, params: Value, headers: &[(&str, &str)]) -> String {
    let job = new_uuid();
    let mut all = vec![("X-Job-UUID", job.as_str())];
    all.extend_from_slice(headers);
    let (status, answer) = client.send_with(Method::POST, path, Some(json!({ "params": params })), &all).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    job
}

#[tokio::test]
async fn a_hook_gets_what_polling_would_get_section_7() {
    let world = World::start().await.unwrap();
    let listener = Listener::default();
    let hook = format!("http://{}/hook", listener.at(ANY_PORT.parse().unwrap()).await);
    let headers = [("X-Web-Hook", hook.as_str())];

    let job = accepted(&world.admin, "/zones", json!({ "name": "z" }), &headers).await;
    let polled = world.admin.follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap();
    let received = listener.gets(1).await;
    assert_eq!(received, [Received { job, success: "true".to_owned(), body: polled }]);

    // A failure in the work itself, and one of the arguments, which never became work.
    let taken = json!({ "name": "admin", "password": "0".repeat(128) });
    for (path, params) in [("/accounts", taken), ("/clusters", json!({}))] {
        let before = listener.received().len();
        let job = accepted(&world.admin, path, params, &headers).await;
        let error = world.admin.follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap_err();
        let received = listener.gets(before + 1).await.pop().unwrap();
        assert_eq!((&received.job, received.success.as_str()), (&job, "false"));
        assert_eq!(received.body, json!({ "error": error }));
        assert_eq!(received.body.as_object().unwrap().len(), 1, "only the error");
    }

    // A delete of what is gone succeeds without work.
    let gone = format!("/zones/{}", new_uuid());
    let sent = world.admin.send_with(Method::DELETE, &gone, None, &headers).await.unwrap();
    assert_eq!(sent.0, 202);
    assert_eq!(listener.gets(4).await[3].body, json!({}));

    // Who has no session makes the service call nobody.
    let stranger = world.anonymous().with_session(&new_uuid());
    let job = accepted(&stranger, "/zones", json!({ "name": "y" }), &headers).await;
    assert_eq!(stranger.follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap_err().code, "ID.1001");
    let job = accepted(&world.admin, "/zones", json!({ "name": "x" }), &headers).await;
    assert_eq!(listener.gets(5).await[4].job, job, "nothing came between");
}

#[tokio::test]
async fn a_hook_that_fails_is_tried_again_until_it_takes_the_result_section_7() {
    let world = World::start().await.unwrap();
    let listener = Listener::answering(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FOUND]);
    let hook = format!("http://{}/hook", listener.at(ANY_PORT.parse().unwrap()).await);
    let job = accepted(&world.admin, "/zones", json!({ "name": "z" }), &[("X-Web-Hook", &hook)]).await;
    let received = listener.gets(3).await;
    assert!(received.iter().all(|one| one.job == job && *one == received[0]), "{received:?}");
    // And not again after that: the next thing that comes is the next job's.
    let next = accepted(&world.admin, "/zones", json!({ "name": "y" }), &[("X-Web-Hook", &hook)]).await;
    assert_eq!(listener.gets(4).await[3].job, next);
}

#[tokio::test]
async fn a_result_that_was_not_delivered_is_delivered_after_a_restart() {
    let world = World::start().await.unwrap();
    // A port where nobody listens yet.
    let address = TcpListener::bind(ANY_PORT).await.unwrap().local_addr().unwrap();
    let hook = format!("http://{address}/hook");
    let job = accepted(&world.admin, "/zones", json!({ "name": "z" }), &[("X-Web-Hook", &hook)]).await;
    let polled = world.admin.follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap();
    let data = world.stop().await;
    let listener = Listener::default();
    listener.at(address).await;
    let world = World::over(data, Options::default()).await.unwrap();
    let received = listener.gets(1).await;
    assert_eq!(received, [Received { job, success: "true".to_owned(), body: polled }]);
    // Delivered is delivered: another start tells nobody again.
    eventually(Duration::from_secs(10), || async {
        use mn_service_db::entity::job::{Column, Entity};
        use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
        let open = Entity::find().filter(Column::Webhook.is_not_null()).all(world.serving.app.db.read()).await.unwrap();
        if open.is_empty() { Ok(()) } else { Err(open.len()) }
    })
    .await;
    let world = world.restart(Options::default()).await.unwrap();
    let next = accepted(&world.admin, "/zones", json!({ "name": "y" }), &[("X-Web-Hook", &hook)]).await;
    assert_eq!(listener.gets(2).await[1].job, next);
}

#[tokio::test]
async fn headers_that_mean_nothing_are_refused() {
    let world = World::start().await.unwrap();
    for (header, value) in [
        ("X-Web-Hook", "not a url"),
        ("X-Web-Hook", "file:///etc/passwd"),
        ("X-API-Timeout", "soon"),
        ("X-API-Timeout", "0"),
        ("X-API-Timeout", "-5"),
        ("X-API-Timeout", "9223372036854775807"),
    ] {
        let body = Some(json!({ "params": { "name": "z" } }));
        let (status, text) = world.admin.send_with(Method::POST, "/zones", body, &[(header, value)]).await.unwrap();
        assert!(status == 400 && text.to_string().contains(header), "{header}: {value}: {status} {text}");
    }
    assert!(world.admin.query("/zones").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_call_over_its_time_is_taken_back_section_7() {
    let cloud = Cloud::start(1).await.unwrap();
    // The image is cached once, so that its room does not count as a leftover.
    cloud.create_vm("first").await.unwrap();
    let before = cloud.figures().await.unwrap();
    cloud.sim.hold(cloud.host(0), "CreateVolume");
    let body = Some(json!({ "params": cloud.vm_params("slow") }));
    let job = new_uuid();
    let headers = [("X-Job-UUID", job.as_str()), ("X-API-Timeout", "1")];
    let (_, answer) = cloud.admin().send_with(Method::POST, "/vm-instances", body, &headers).await.unwrap();
    assert_eq!(answer["apiTimeout"], 1000, "milliseconds");
    // Its second began before it was acknowledged. However far it came in it, it does not get past the held step.
    tokio::time::sleep(Duration::from_secs(1)).await;
    cloud.sim.release(cloud.host(0), "CreateVolume");
    let error = cloud.admin().follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap_err();
    assert_eq!(error.code, "SYS.1001", "{error}");
    assert!(error.details.contains("taken back") && error.details.contains("X-API-Timeout"), "{error}");
    assert_eq!(cloud.figures().await.unwrap(), before);
    assert_eq!(cloud.admin().query("/vm-instances").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_whose_time_passes_in_the_queue_does_nothing_section_7() {
    let cloud = Cloud::start(1).await.unwrap();
    let vm = uuid(&cloud.create_vm("vm").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{vm}/actions");
    cloud.sim.hold(cloud.host(0), "StopVm");
    let slow =
        async { cloud.admin().act(&format!("/vm-instances/{vm}"), "rebootVmInstance", json!({})).await.unwrap() };
    let late = async {
        eventually(Duration::from_secs(10), || async {
            if cloud.sim.held(cloud.host(0), "StopVm") > 0 { Ok(()) } else { Err("not yet") }
        })
        .await;
        let job = new_uuid();
        let headers = [("X-Job-UUID", job.as_str()), ("X-API-Timeout", "1")];
        let body = Some(json!({ "stopVmInstance": {} }));
        cloud.admin().send_with(Method::PUT, &path, body, &headers).await.unwrap();
        let error = cloud.admin().follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap_err();
        assert_eq!(error.code, "SYS.1001", "{error}");
        assert!(error.details.contains("nothing was done"), "{error}");
        cloud.sim.release(cloud.host(0), "StopVm");
    };
    let (rebooted, ()) = tokio::join!(slow, late);
    assert_eq!(rebooted["state"], "Running");
}
