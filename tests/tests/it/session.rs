//! Sessions (PROTOCOL.md section 3, OPS-LGN-004 to OPS-LGN-007, PLAT-SESS-001 to PLAT-SESS-003).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use std::time::Duration;

use mn_service_types::{ADMIN_ACCOUNT, new_uuid};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use system_tests::{Client, World, eventually};

fn hash(password: &str) -> String {
    hex::encode(Sha512::digest(password.as_bytes()))
}

async fn set(world: &World, name: &str, value: &str) {
    let path = format!("/global-configurations/identity/{name}");
    world.admin.act(&path, "updateGlobalConfig", json!({ "value": value })).await.unwrap();
}

async fn account(world: &World, name: &str) -> String {
    let params = json!({ "name": name, "password": hash(name) });
    world.admin.create("/accounts", params).await.unwrap()["uuid"].as_str().unwrap().to_owned()
}

async fn log_in(world: &World, name: &str) -> Client {
    let mut client = world.anonymous();
    client.log_in(name, name).await.unwrap().unwrap();
    client
}

async fn is_valid(world: &World, token: &str) -> bool {
    let answer = world.anonymous().get(&format!("/accounts/sessions/{token}/valid")).await.unwrap().unwrap();
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    answer["valid"].as_bool().unwrap()
}

#[tokio::test]
async fn an_idle_session_expires_and_use_keeps_it_ops_lgn_004_005() {
    let world = World::start().await.unwrap();
    account(&world, "idle").await;
    account(&world, "busy").await;
    // Live at once, for sessions that are open too: each call sets the end anew.
    set(&world, "session.timeout", "4").await;
    let begun = std::time::Instant::now();
    let (idle, busy) = (log_in(&world, "idle").await, log_in(&world, "busy").await);
    let token = idle.session().unwrap().to_owned();
    eventually(Duration::from_secs(10), || async {
        // Asking whether a session is valid does not prolong it; using one does.
        busy.query("/zones").await.map_err(|e| e.to_string())?;
        if is_valid(&world, &token).await { Err("still valid".to_owned()) } else { Ok(()) }
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(is_valid(&world, busy.session().unwrap()).await);
    let error = idle.get("/zones").await.unwrap().unwrap_err();
    assert!(error.code == "ID.1001" && error.details.contains("Session expired"), "{error}");
    let error = idle.create_fails("/zones", json!({ "name": "z" })).await.unwrap();
    assert!(error.code == "ID.1001" && error.details.contains("Session expired"), "{error}");
}

#[tokio::test]
async fn one_session_too_many_is_refused_until_another_ends_ops_lgn_007() {
    let world = World::start().await.unwrap();
    account(&world, "one").await;
    account(&world, "other").await;
    set(&world, "session.maxConcurrent", "2").await;
    let first = log_in(&world, "one").await;
    let _second = log_in(&world, "one").await;
    let error = world.anonymous().log_in("one", "one").await.unwrap().unwrap_err();
    assert_eq!(error.code, "ID.1006");
    assert!(error.details.contains("session.maxConcurrent"), "{error}");
    // The limit is each account's own.
    log_in(&world, "other").await;
    let path = format!("/accounts/sessions/{}", first.session().unwrap());
    world.anonymous().send(Method::DELETE, &path, None).await.unwrap();
    log_in(&world, "one").await;
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_of_its_account() {
    let world = World::start().await.unwrap();
    let uuid = account(&world, "one").await;
    let (changer, thief) = (log_in(&world, "one").await, log_in(&world, "one").await);
    let path = format!("/accounts/{uuid}");
    let change =
        async |params: Value| changer.call(Method::PUT, &path, Some(json!({ "updateAccount": params }))).await.unwrap();
    let error = change(json!({ "password": hash("new"), "oldPassword": hash("guess") })).await.unwrap_err();
    assert!(error.details.contains("oldPassword"), "{error}");
    assert!(is_valid(&world, thief.session().unwrap()).await);
    change(json!({ "password": hash("new"), "oldPassword": hash("one") })).await.unwrap();
    assert!(!is_valid(&world, thief.session().unwrap()).await);
    assert!(is_valid(&world, changer.session().unwrap()).await);
    assert!(is_valid(&world, world.admin.session().unwrap()).await, "other accounts go on");
    assert_eq!(world.anonymous().log_in("one", "one").await.unwrap().unwrap_err().code, "ID.1000");
    world.anonymous().log_in("one", "new").await.unwrap().unwrap();

    // Not by a restart either.
    let (thief, changer) = (thief.session().unwrap().to_owned(), changer.session().unwrap().to_owned());
    let data = world.stop().await;
    let world = World::over(data, system_tests::world::Options::default()).await.unwrap();
    assert!(!is_valid(&world, &thief).await && is_valid(&world, &changer).await);

    // A name is one account's.
    let path = format!("/accounts/{uuid}");
    let rename = Some(json!({ "updateAccount": { "name": "admin" } }));
    let error = world.admin.call(Method::PUT, &path, rename).await.unwrap().unwrap_err();
    assert!(error.code == "SYS.1007" && error.details.contains("admin"), "{error}");
}

#[tokio::test]
async fn logout_and_validation_need_no_header_section_3() {
    let world = World::start().await.unwrap();
    assert!(!is_valid(&world, &new_uuid()).await);
    let unknown = format!("/accounts/sessions/{}", new_uuid());
    let (status, answer) = world.anonymous().send(Method::DELETE, &unknown, None).await.unwrap();
    assert_eq!((status, answer), (StatusCode::OK, json!({})));
    // The header is not looked at where none is needed.
    let nobody = world.anonymous().with_session("nonsense");
    assert_eq!(nobody.send(Method::DELETE, &unknown, None).await.unwrap().0, StatusCode::OK);

    let renewed = format!("/accounts/sessions/{}/renew", world.admin.session().unwrap());
    let body = Some(json!({ "renewSession": {} }));
    let answer = world.admin.call(Method::PUT, &renewed, body).await.unwrap().unwrap();
    assert_eq!(answer["inventory"]["accountUuid"], ADMIN_ACCOUNT);
}

#[tokio::test]
async fn other_schemes_are_malformed_section_3() {
    let world = World::start().await.unwrap();
    for value in ["Basic YWRtaW46cGFzc3dvcmQ=", "ZStack id:signature", "nonsense", "OAuth"] {
        let (status, text) =
            world.anonymous().send_with(Method::GET, "/zones", None, &[("Authorization", value)]).await.unwrap();
        // An empty token is a session that does not exist.
        let wanted = if value == "OAuth" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
        assert_eq!(status, wanted, "{value}: {text}");
        assert!(!text.to_string().contains("YWRtaW"), "credentials are not repeated: {text}");
    }
}
