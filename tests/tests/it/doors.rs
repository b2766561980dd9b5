//! Who gets in and how: TLS beside plain HTTP, the password that every new cloud starts with, and consoles
//! (PROTOCOL.md sections 1, 3 and 12, PLAT-LOGIN-001, CS-VM-210 to CS-VM-213).

use anyhow::{Context as _, Result};
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, header},
};
use mn_service::door::Peer;
use reqwest::{Method, StatusCode, tls::Certificate};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use system_tests::{Client, Cloud, World, cloud::uuid};
use tower::ServiceExt as _;

/// Somewhere else: what a proxy on this machine says of a client.
const ELSEWHERE: [(&str, &str); 1] = [("x-forwarded-for", "198.51.100.7")];

#[tokio::test]
async fn each_door_speaks_tls_and_plain_http_on_one_port() -> Result<()> {
    let world = World::start().await?;
    let ca = std::fs::read(world.data.path().join("ca/ca.pem"))?;
    let trusting = || reqwest::Client::builder().tls_certs_only([Certificate::from_pem(&ca)?]).build();
    let http = trusting()?;
    for address in [world.serving.address, world.serving.ui_address] {
        // Both names are in the certificate, and it is verified.
        for name in ["127.0.0.1", "localhost"] {
            let url = format!("https://{name}:{}/zstack/v1/zones", address.port());
            let answer =
                http.get(&url).header("Authorization", format!("OAuth {}", world.admin.session().context("in")?));
            assert_eq!(answer.send().await?.status(), StatusCode::OK, "{url}");
        }
        assert_eq!(reqwest::get(format!("http://{address}/zstack/v1/zones")).await?.status(), StatusCode::BAD_REQUEST);
    }
    // Jobs of an encrypted call are polled encrypted (section 6.2).
    let url = format!("https://localhost:{}/zstack/v1/zones", world.serving.address.port());
    let call = http.post(url).header("Authorization", format!("OAuth {}", world.admin.session().context("in")?));
    let answer: Value = call.json(&json!({ "params": { "name": "z" } })).send().await?.json().await?;
    let location = answer["location"].as_str().context("no location")?;
    assert!(location.starts_with("https://localhost:"), "{location}");
    // Somebody who does not know the authority is not talked into it.
    assert!(reqwest::get(format!("https://{}/", world.serving.address)).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_client_that_says_nothing_or_breaks_off_keeps_nobody_waiting() -> Result<()> {
    let world = World::start().await?;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(tokio::net::TcpStream::connect(world.serving.address).await?);
    }
    for bytes in [&[0x16_u8, 3, 1][..], b"\x16\x03\x01\x00\x05hello", b"nonsense\r\n\r\n"] {
        use tokio::io::AsyncWriteExt as _;
        let mut broken = tokio::net::TcpStream::connect(world.serving.address).await?;
        broken.write_all(bytes).await?;
        idle.push(broken);
    }
    assert!(world.admin.query("/zones").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn browsers_elsewhere_are_led_to_the_encrypted_side() -> Result<()> {
    let world = World::start().await?;
    let ui = mn_service::ui::router(&world.serving.app);
    let ask = |tls: bool, method: &str, path: &str| {
        let peer = Peer { address: ([198, 51, 100, 7], 4000).into(), tls, certificate: Default::default() };
        let request = Request::builder().method(method).uri(path).header(header::HOST, "cloud.example.org:5000");
        let mut request = request.body(Body::empty())?;
        request.extensions_mut().insert(ConnectInfo(peer));
        anyhow::Ok(ui.clone().oneshot(request))
    };
    for (method, path) in [("GET", "/vms?page=2"), ("PUT", "/zstack/v1/accounts/login")] {
        let answer = ask(false, method, path)?.await?;
        assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT, "{method} {path}");
        assert_eq!(answer.headers()[header::LOCATION], format!("https://cloud.example.org:5000{path}").as_str());
    }
    let answer = ask(true, "GET", "/zstack/v1/zones")?.await?;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "encrypted, and without a session");
    Ok(())
}

#[tokio::test]
async fn until_the_initial_password_is_changed_others_can_only_change_it_plat_login_001() -> Result<()> {
    let world = World::start().await?;
    let admin = &world.admin;
    let elsewhere = async |method, path: &str, body| admin.send_with(method, path, body, &ELSEWHERE).await;
    let (status, answer) = elsewhere(Method::GET, "/zones", None).await?;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("ID.1002")), "{answer}");
    assert!(answer["error"]["details"].as_str().context("details")?.contains("UpdateAccount"), "{answer}");
    let (_, answer) = elsewhere(Method::POST, "/zones", Some(json!({ "params": { "name": "z" } }))).await?;
    let job = answer["location"].as_str().and_then(|l| l.split_once("/zstack/v1")).context("no location")?.1.to_owned();
    assert_eq!(admin.follow(&job).await?.unwrap_err().code, "ID.1002");
    assert!(admin.query("/zones").await?.is_empty(), "this machine's own programs go on, and nothing was made");
    // The same password again is no change.
    let path = format!("/accounts/{}", mn_service_types::ADMIN_ACCOUNT);
    let body = |password: &str| Some(json!({ "updateAccount": { "password": hex::encode(Sha512::digest(password)) } }));
    let same = admin.call(Method::PUT, &path, body("password")).await?.unwrap_err();
    assert!(same.details.contains("choose another one"), "{same}");
    let (status, answer) = elsewhere(Method::PUT, &path, body("a better one")).await?;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let job = answer["location"].as_str().and_then(|l| l.split_once("/zstack/v1")).context("no location")?.1.to_owned();
    admin.follow(&job).await?.map_err(|error| anyhow::anyhow!("{error}"))?;
    let (status, answer) = elsewhere(Method::GET, "/zones", None).await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    Ok(())
}

/// How the console proxy answers who shows a token.
async fn knock(console: &Value) -> Result<(StatusCode, String)> {
    let text = |name: &str| console[name].as_str().context("an inventory without that");
    let url = format!("http://{}:{}/?token={}", text("hostname")?, console["port"], text("token")?);
    let request = reqwest::Client::new()
        .get(url)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = request.send().await?;
    let status = answer.status();
    let text = if status == StatusCode::SWITCHING_PROTOCOLS { String::new() } else { answer.text().await? };
    Ok((status, text))
}

#[tokio::test]
async fn a_console_is_its_sessions_alone_and_ends_with_it_section_12() -> Result<()> {
    let cloud = Cloud::start(1).await?;
    let vm = uuid(&cloud.create_vm("vm1").await?)?;
    let open = async |client: &Client| client.create("/consoles", json!({ "vmInstanceUuid": vm })).await;
    let console = open(cloud.admin()).await?;
    // Where the caller reached the API he reaches the proxy, whatever address it listens on.
    assert_eq!(console["hostname"], "127.0.0.1");
    assert_eq!(open(cloud.admin()).await?["token"], console["token"], "reused while it lives");
    let mut second = cloud.world().anonymous();
    second.log_in("admin", "password").await?.map_err(|error| anyhow::anyhow!("{error}"))?;
    let other = open(&second).await?;
    assert_ne!(other["token"], console["token"], "each session has its own");
    for console in [&console, &other] {
        assert_eq!(knock(console).await?.0, StatusCode::SWITCHING_PROTOCOLS);
    }
    second.delete(&format!("/accounts/sessions/{}", second.session().context("in")?)).await?;
    let (status, text) = knock(&other).await?;
    assert!(status == StatusCode::FORBIDDEN && text.contains("session"), "{status} {text}");
    cloud.admin().act(&format!("/vm-instances/{vm}"), "stopVmInstance", json!({})).await?;
    let (status, text) = knock(&console).await?;
    assert!(status == StatusCode::FORBIDDEN && text.contains("no longer runs"), "{status} {text}");
    Ok(())
}

#[tokio::test]
async fn a_console_ends_when_the_vm_is_shared_no_more() -> Result<()> {
    let cloud = Cloud::start(1).await?;
    let vm = uuid(&cloud.create_vm("vm1").await?)?;
    let password = hex::encode(Sha512::digest("tenant password"));
    let tenant = uuid(&cloud.admin().create("/accounts", json!({ "name": "tenant", "password": password })).await?)?;
    let change = || json!({ "resourceUuid": vm });
    let give = async |owner: &str| cloud.admin().create(&format!("/account/{owner}/resources"), change()).await;
    give(&tenant).await?;
    let mut client = cloud.world().anonymous();
    client.log_in("tenant", "tenant password").await?.map_err(|error| anyhow::anyhow!("{error}"))?;
    let console = client.create("/consoles", json!({ "vmInstanceUuid": vm })).await?;
    assert_eq!(knock(&console).await?.0, StatusCode::SWITCHING_PROTOCOLS);
    give(mn_service_types::ADMIN_ACCOUNT).await?;
    let (status, text) = knock(&console).await?;
    assert!(status == StatusCode::FORBIDDEN && text.contains("account"), "{status} {text}");
    Ok(())
}
