//! The protocol itself: sessions, jobs, errors, the legacy message API (PROTOCOL.md).

use reqwest::{Method, StatusCode};
use serde_json::json;
use system_tests::{Client, World, world::Options};

#[tokio::test]
async fn login_follows_section_3() {
    let world = World::start().await.unwrap();
    let mut client = world.anonymous();
    let error = client.log_in("admin", "wrong").await.unwrap().unwrap_err();
    assert_eq!(error.code, "ID.1000");
    let same = client.log_in("nobody", "wrong").await.unwrap().unwrap_err();
    assert_eq!(same.details, error.details, "nobody learns which accounts exist");
    let session = client.log_in("admin", "password").await.unwrap().unwrap();
    assert_eq!(session["inventory"]["accountUuid"], mn_service_types::ADMIN_ACCOUNT);
    let token = client.session().unwrap().to_owned();
    let valid = client.get(&format!("/accounts/sessions/{token}/valid")).await.unwrap().unwrap();
    assert_eq!(valid["valid"], true);

    let (status, _) = client.send(Method::DELETE, &format!("/accounts/sessions/{token}"), None).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let error = client.get("/zones").await.unwrap().unwrap_err();
    assert_eq!(error.code, "ID.1001");
    assert!(error.details.contains("Session expired"));
}

#[tokio::test]
async fn requests_without_session_are_refused_as_section_3_says() {
    let world = World::start().await.unwrap();
    let (status, _) = world.anonymous().send(Method::GET, "/zones", None).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // An asynchronous call is accepted first and fails in its job; nothing is made.
    let stranger = world.anonymous().with_session("00000000000040008000000000000000");
    let error = stranger.create_fails("/zones", json!({ "name": "z" })).await.unwrap();
    assert_eq!(error.code, "ID.1001");
    assert!(world.admin.query("/zones").await.unwrap().is_empty());
}

#[tokio::test]
async fn unknown_paths_jobs_and_methods_have_their_status() {
    let world = World::start().await.unwrap();
    let status = |method, path: &'static str, body| {
        let admin = world.admin.clone();
        async move { admin.send(method, path, body).await.unwrap().0 }
    };
    assert_eq!(status(Method::GET, "/no-such-thing", None).await, StatusCode::NOT_FOUND);
    assert_eq!(status(Method::GET, "/api-jobs/ffffffffffff4fffbfffffffffffffff", None).await, StatusCode::NOT_FOUND);
    assert_eq!(status(Method::PUT, "/zones/x/actions", Some(json!({ "nonsense": {} }))).await, StatusCode::BAD_REQUEST);
    assert_eq!(status(Method::GET, "/zones?limit=abc", None).await, StatusCode::BAD_REQUEST);
    assert_eq!(status(Method::PATCH, "/zones", None).await, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_client_chooses_the_job_uuid_once() {
    let world = World::start().await.unwrap();
    let job = mn_service_types::new_uuid();
    let create = |uuid: String, name: &'static str| {
        let admin = world.admin.clone();
        async move {
            admin
                .send_with(
                    Method::POST,
                    "/zones",
                    Some(json!({ "params": { "name": name } })),
                    &[("X-Job-UUID", &uuid)],
                )
                .await
                .unwrap()
        }
    };
    let (status, answer) = create(job.clone(), "a").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(answer["location"].as_str().unwrap().ends_with(&format!("/zstack/v1/api-jobs/{job}")));
    assert_eq!(answer["apiTimeout"], 1_800_000);
    world.admin.follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap();
    assert_eq!(create(job, "b").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(create("short".to_owned(), "c").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.admin.query("/zones").await.unwrap().len(), 1);
}

#[tokio::test]
async fn results_and_sessions_survive_a_restart() {
    let world = World::start().await.unwrap();
    let job = mn_service_types::new_uuid();
    let body = Some(json!({ "params": { "name": "kept" } }));
    world.admin.send_with(Method::POST, "/zones", body, &[("X-Job-UUID", &job)]).await.unwrap();
    let path = format!("/api-jobs/{job}");
    let before = world.admin.follow(&path).await.unwrap().unwrap();
    let token = world.admin.session().unwrap().to_owned();
    let world = world.restart(Options::default()).await.unwrap();
    let old = Client::new(&format!("http://{}", world.serving.address)).with_session(&token);
    assert_eq!(old.follow(&path).await.unwrap().unwrap(), before);
    assert_eq!(old.one("/zones").await.unwrap()["name"], "kept");
}

#[tokio::test]
async fn queries_page_count_and_carry_a_schema_as_section_8_says() {
    let world = World::start().await.unwrap();
    for name in ["a", "b", "c"] {
        world.admin.create("/zones", json!({ "name": name })).await.unwrap();
    }
    let page = world
        .admin
        .get("/zones?limit=2&start=1&sort=-name&replyWithCount=true&fields=name,uuid")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page["total"], 3);
    let names: Vec<_> = page["inventories"].as_array().unwrap().iter().map(|z| z["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["b", "a"]);
    assert!(page["inventories"][0].get("state").is_none(), "only the fields asked for");
    assert_eq!(page["schema"]["inventories[0]"], "org.zstack.header.zone.ZoneInventory");
    let count = world.admin.get("/zones?count=true").await.unwrap().unwrap();
    assert_eq!(count, json!({ "total": 3 }));
    let error = world.admin.get("/zones?q=colour=red").await.unwrap().unwrap_err();
    assert!(error.details.contains("colour"), "{error}");
}

#[tokio::test]
async fn unimplemented_apis_say_so() {
    let world = World::start().await.unwrap();
    let error = world.admin.get("/captcha/refresh?uuid=x").await.unwrap().unwrap_err();
    assert_eq!(error.code, "SYS.1014");
}

#[tokio::test]
async fn the_legacy_message_api_works_as_section_14_says() {
    let world = World::start().await.unwrap();
    let http = reqwest::Client::new();
    let base = format!("http://{}/zstack/api", world.serving.address);
    let session = json!({ "uuid": world.admin.session().unwrap() });
    let message = json!({ "org.zstack.header.zone.APICreateZoneMsg": { "name": "old", "session": session } });
    let answer: serde_json::Value =
        http.post(format!("{base}/")).json(&message).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["state"], "Processing");
    let job = answer["uuid"].as_str().unwrap().to_owned();
    let done = system_tests::eventually(std::time::Duration::from_secs(10), || {
        let request = http.get(format!("{base}/result/{job}"));
        async move {
            let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
            if answer["state"] == "Done" { Ok(answer) } else { Err(answer) }
        }
    })
    .await;
    let result: serde_json::Value = serde_json::from_str(done["result"].as_str().unwrap()).unwrap();
    let event = &result["org.zstack.header.zone.APICreateZoneEvent"];
    assert_eq!((&event["success"], &event["inventory"]["name"]), (&json!(true), &json!("old")));

    let query = json!({ "org.zstack.header.zone.APIQueryZoneMsg": {
        "conditions": [{ "name": "name", "op": "=", "value": "old" }], "session": session } });
    let answer: serde_json::Value = http.post(&base).json(&query).send().await.unwrap().json().await.unwrap();
    let result: serde_json::Value = serde_json::from_str(answer["result"].as_str().unwrap()).unwrap();
    assert_eq!(result["org.zstack.header.zone.APIQueryZoneReply"]["inventories"].as_array().unwrap().len(), 1);
}
