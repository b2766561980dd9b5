//! Nodes that join with a one-time code (docs/decisions/0015-enrolment.md): a real service and the real programs of the
//! node over loopback, with attackers in between.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

mod node;
mod relay;

use std::time::Duration;

use mn_service_db::entity::enrolment_code;
use mn_service_types::date::now_millis;
use reqwest::{Method, StatusCode};
use sea_orm::{ActiveValue::Set, EntityTrait as _};
use serde_json::{Value, json};
use system_tests::{World, cloud::uuid, eventually, world::Options};

use node::Node;
use relay::{Relay, Trick};

/// A cluster in a fresh zone.
async fn cluster(world: &World) -> String {
    let zone = uuid(&world.admin.create("/zones", json!({ "name": "zone" })).await.unwrap()).unwrap();
    let cluster = json!({ "name": "cluster", "zoneUuid": zone, "hypervisorType": "KVM" });
    uuid(&world.admin.create("/clusters", cluster).await.unwrap()).unwrap()
}

const CODES: &str = "/extensions/host-enrolment-codes";

/// A new code: its uuid and the code.
async fn code(world: &World, cluster: &str, uses: i32) -> (String, String) {
    let params = json!({ "params": { "clusterUuid": cluster, "uses": uses } });
    let made = world.admin.call(Method::POST, CODES, Some(params)).await.unwrap().unwrap();
    let code = made["inventory"]["code"].as_str().unwrap().to_owned();
    (uuid(&made["inventory"]).unwrap(), code)
}

async fn change(world: &World, row: enrolment_code::ActiveModel) {
    let changed = world.serving.app.write(|tx| {
        let row = row.clone();
        async move {
            enrolment_code::Entity::update(row).exec(&*tx).await.map_err(mn_service_types::ApiError::internal)?;
            Ok(())
        }
    });
    changed.await.unwrap();
}

async fn hosts(world: &World) -> Vec<Value> {
    world.admin.query("/hosts").await.unwrap()
}

#[tokio::test]
async fn a_node_joins_and_its_code_is_seen_nowhere() {
    let log = node::log();
    let world = World::start().await.unwrap();
    let cluster = cluster(&world).await;
    let (code_uuid, code) = code(&world, &cluster, 1).await;
    let secret = &code[5..];

    let node = Node::new("127.0.0.2");
    let agent = node.agent_once_enrolled();
    let joined = node.join(world.serving.address, &code).await;
    assert!(joined.code == Some(0) && joined.words().contains("is connected"), "{joined:?}");
    let [host] = <[Value; 1]>::try_from(hosts(&world).await).unwrap();
    assert_eq!((&host["status"], &host["managementIp"]), (&json!("Connected"), &json!("127.0.0.2")));
    assert_eq!((&host["clusterUuid"], &host["username"]), (&json!(cluster), &Value::Null), "no SSH is needed");
    let hostname = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert_eq!(host["name"], json!(hostname));
    assert_eq!((node.mode("host.key"), node.mode("host.crt"), node.mode("ca.crt")), (0o600, 0o644, 0o644));

    // Again: the same host, and nothing is used up by it.
    let again = node.join(world.serving.address, &code).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(hosts(&world).await.len(), 1);
    let listed = world.admin.get(CODES).await.unwrap().unwrap()["inventories"][0].clone();
    assert_eq!((&listed["state"], &listed["used"]), (&json!("UsedUp"), &json!(1)), "{listed}");
    assert_eq!((&listed["hostUuids"], &listed["code"]), (&json!([host["uuid"]]), &Value::Null), "shown once");

    // To the text console it says the same in JSON, and keeps the code no longer than it is of use.
    let told = node.join_for_console(world.serving.address, &code).await;
    let last: Value = serde_json::from_str(told.words().lines().last().unwrap()).unwrap();
    assert_eq!((told.code, &last["result"]["host"]), (Some(0), &host["name"]), "{told:?}");
    assert!(!node.answers().exists());

    // It was for one node.
    let second = Node::new("127.0.0.3");
    let refused = second.join(world.serving.address, &code).await;
    assert!(refused.code == Some(3) && refused.words().contains("is used up"), "{refused:?}");
    assert!(refused.words().contains("CreateHostEnrolmentCode"), "the way out: {refused:?}");
    assert_eq!((hosts(&world).await.len(), second.has("host.crt")), (1, false));
    let told = second.join_for_console(world.serving.address, &code).await;
    let last: Value = serde_json::from_str(told.words().lines().last().unwrap()).unwrap();
    assert!(last["error"]["message"].as_str().unwrap().contains("is used up"), "{told:?}");
    assert!(!second.answers().exists(), "a code that was refused for good is not kept");

    // The code was in no argument, and is in no log, audit entry or table.
    assert!(!joined.saw_in_arguments(secret));
    assert!(!joined.words().contains(secret) && !agent.log().contains(secret));
    assert!(log.text().contains("an enrolment code was made"), "the log of the service is looked at");
    assert!(!log.text().contains(secret));
    let audit = world.admin.query("/zwatch/audit-records?sort=id").await.unwrap();
    let apis: Vec<&str> = audit.iter().map(|entry| entry["apiName"].as_str().unwrap()).collect();
    assert!(apis.contains(&"CreateHostEnrolmentCode") && apis.contains(&"AddEnrolledHost"), "{apis:?}");
    assert!(!Value::Array(audit).to_string().contains(secret));
    let row = enrolment_code::Entity::find_by_id(&code_uuid).one(world.serving.app.db.read()).await.unwrap().unwrap();
    let key = code.parse::<node_manager_types::enrolment::Code>().unwrap().key().to_hex();
    assert!(!format!("{row:?}").contains(secret) && !row.sealed_key.contains(&key), "what checks proofs is sealed");
    for entry in std::fs::read_dir(world.data.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        let kept = [secret.as_bytes(), key.as_bytes()].iter().any(|s| bytes.windows(s.len()).any(|w| w == *s));
        assert!(!kept, "{}", entry.path().display());
    }
}

#[tokio::test]
async fn codes_that_are_wrong_old_withdrawn_or_burned_open_nothing() {
    let world = World::start().await.unwrap();
    let cluster = cluster(&world).await;
    let (code_uuid, code) = code(&world, &cluster, 5).await;
    let node = Node::new("127.0.0.4");
    let limits = &world.serving.app.enrolments.limits;
    let refused = async |typed: &str, word: &str| {
        let refused = node.join(world.serving.address, typed).await;
        assert!(refused.words().contains(word) && !refused.words().contains(&code[5..]), "{word}: {refused:?}");
        assert!(!node.has("host.crt"));
        refused.code
    };
    let wrong = format!("{}-0000-0000-0000-0000", &code[..4]);
    assert_eq!(refused(&wrong, "the code is wrong").await, Some(3));
    assert_eq!(refused(&code, "the next one is heard in").await, Some(1), "who guesses waits, and may try again");
    limits.clear();
    assert_eq!(refused("not a code", "five groups of four").await, Some(3));
    let first = if code.starts_with('Z') { "Y" } else { "Z" };
    assert_eq!(refused(&format!("{first}{}", &code[1..]), "no enrolment code begins like this").await, Some(3));
    limits.clear();

    change(
        &world,
        enrolment_code::ActiveModel {
            uuid: Set(code_uuid.clone()),
            expires: Set(now_millis() - 1),
            ..Default::default()
        },
    )
    .await;
    assert_eq!(refused(&code, "ended at").await, Some(3));
    change(
        &world,
        enrolment_code::ActiveModel {
            uuid: Set(code_uuid.clone()),
            expires: Set(now_millis() + 60_000),
            failures: Set(9),
            ..Default::default()
        },
    )
    .await;
    assert_eq!(refused(&wrong, "is void").await, Some(3));
    limits.clear();
    assert_eq!(refused(&code, "is void").await, Some(3), "the right code comes too late");
    let listed = world.admin.get(CODES).await.unwrap().unwrap()["inventories"][0].clone();
    assert_eq!(listed["state"], "Burned");

    // At a terminal it is typed unseen.
    let typed = "ZZZZ-1111-2222-3333-4444";
    let (address, screen) = (world.serving.address, Node::new("127.0.0.12"));
    let screen = tokio::task::spawn_blocking(move || screen.typed(address, typed)).await.unwrap();
    assert!(screen.contains("no enrolment code begins like this") && !screen.contains("1111"), "{screen}");
    limits.clear();

    let (other, code) = self::code(&world, &cluster, 1).await;
    world.admin.delete(&format!("{CODES}/{other}")).await.unwrap();
    let withdrawn = node.join(world.serving.address, &code).await;
    assert!(withdrawn.code == Some(3) && withdrawn.words().contains("withdrawn"), "{withdrawn:?}");
    assert_eq!(hosts(&world).await.len(), 0);
    let error = world.admin.call(Method::DELETE, &format!("{CODES}/{other}"), None).await.unwrap().unwrap_err();
    assert!(error.details.contains("GetHostEnrolmentCodes"), "{error}");
}

#[tokio::test]
async fn who_stands_in_between_is_refused_by_both_sides() {
    let world = World::start().await.unwrap();
    let cluster = cluster(&world).await;
    let (_, code) = code(&world, &cluster, 1).await;
    let node = Node::new("127.0.0.5");
    for (trick, word, exit) in [
        (Trick::Forward, "ends the encryption", 3),
        (Trick::Claim, "the code is wrong", 3),
        (Trick::Answer, "not from a management service that knows this code", 3),
    ] {
        let relay = Relay::start(world.serving.address, trick).await;
        let refused = node.join(relay.address, &code).await;
        assert!(refused.code == Some(exit) && refused.words().contains(word), "{trick:?}: {refused:?}");
        assert!(relay.seen().contains("POST /zstack/enrolment"), "{trick:?}: the relay was in between");
        assert!(!relay.seen().contains(&code[5..]), "the code does not cross the wire");
        assert!(!node.has("host.crt") && !node.has("ca.crt"), "{trick:?}: nothing was taken over");
        world.serving.app.enrolments.limits.clear();
    }
    assert_eq!(hosts(&world).await.len(), 0);

    // Without encryption nothing is heard, not even on this machine.
    let (status, told) = {
        let url = format!("http://{}/zstack/enrolment", world.serving.address);
        let answer =
            reqwest::Client::new().post(url).json(&json!({ "message": "", "proof": "" })).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    assert!(status == StatusCode::FORBIDDEN && told.contains("TLS only"), "{status} {told}");

    // Whoever answers there without being a management service.
    let silent = Relay::start(world.serving.address, Trick::Plain).await;
    let refused = node.join(silent.address, &code).await;
    assert!(refused.code == Some(1) && refused.words().contains("does not speak TLS"), "{refused:?}");
    drop(silent);
    let agent = node.agent_once_enrolled();
    let joined = node.join(world.serving.address, &code).await;
    assert_eq!(joined.code, Some(0), "the code is still good: {joined:?} {}", agent.log());
}

#[tokio::test]
async fn a_join_that_was_cut_off_is_finished_by_the_next_one() {
    let world = World::start().await.unwrap();
    let cluster = cluster(&world).await;
    let (_, code) = code(&world, &cluster, 1).await;
    let node = Node::new("127.0.0.6");
    let used = async || world.admin.get(CODES).await.unwrap().unwrap()["inventories"][0]["used"].clone();

    // Power is lost at all kinds of moments.
    for milliseconds in [0, 5, 10, 15, 20, 30, 50, 80, 130, 210] {
        let mut cut = node.begin(world.serving.address, &code).await;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        cut.kill().await;
    }
    // No agent runs, so the service waits for it when the node loses power.
    let mut cut = node.begin(world.serving.address, &code).await;
    eventually(Duration::from_secs(30), || async {
        if node.has("host.crt") { Ok(()) } else { Err("not certified".to_owned()) }
    })
    .await;
    cut.kill().await;
    let first = node.host();
    assert_eq!(used().await, json!(1));

    // What was not yet on the disk is gone; the key was there before anybody heard of it.
    node.remove("host.crt");
    let mut cut = node.begin(world.serving.address, &code).await;
    eventually(Duration::from_secs(30), || async {
        if node.has("host.crt") { Ok(()) } else { Err("not certified".to_owned()) }
    })
    .await;
    cut.kill().await;
    assert_eq!(node.host(), first, "the same host");
    // The management node loses power, too.
    let world = world.restart(Options::default()).await.unwrap();
    let used = async || world.admin.get(CODES).await.unwrap().unwrap()["inventories"][0]["used"].clone();
    // Even without its key it is the same machine, until it has joined.
    for name in ["host.crt", "ca.crt", "host.key"] {
        node.remove(name);
    }
    let agent = node.agent_once_enrolled();
    let joined = node.join(world.serving.address, &code).await;
    assert_eq!(joined.code, Some(0), "{joined:?} {}", agent.log());
    assert_eq!(node.host(), first);
    let [host] = <[Value; 1]>::try_from(hosts(&world).await).unwrap();
    assert_eq!((&host["uuid"], &host["status"], used().await), (&json!(first), &json!("Connected"), json!(1)));
}

#[tokio::test]
async fn a_node_that_was_installed_with_a_code_joins_as_soon_as_its_cloud_is_there() {
    let world = World::start().await.unwrap();
    let cluster = cluster(&world).await;
    let (_, code) = code(&world, &cluster, 1).await;
    let node = Node::new("127.0.0.10");
    // Nobody is at this address yet; later a router leads to the service.
    let address = private_port::loopback().unwrap();
    node.installed_for(address, &code);
    let agent = node.agent_once_enrolled();
    let joining = node.begin_by_itself();
    let note = eventually(Duration::from_secs(30), || async {
        node.note().filter(|note| note.error.is_some()).ok_or("the console is not told what it waits for".to_owned())
    })
    .await;
    let why = note.error.unwrap();
    assert!(note.service == address.to_string() && why.contains("cannot be reached"), "{why}");
    let router = relay::router(address, world.serving.address).await;
    let joined = joining.end().await;
    assert_eq!(joined.code, Some(0), "{joined:?} {}", agent.log());
    assert!(joined.words().contains("trying again in 5 s") && !joined.words().contains(&code[5..]), "{joined:?}");
    assert!(!joined.saw_in_arguments(&code[5..]));
    assert!(!node.answers().exists() && node.note().is_none(), "the code has done its work and is gone");
    assert_eq!(hosts(&world).await[0]["status"], "Connected");

    // What somebody has to change first is not tried again.
    let late = Node::new("127.0.0.11");
    late.installed_for(address, &code);
    let refused = late.begin_by_itself().end().await;
    assert!(refused.code == Some(3) && refused.words().contains("is used up"), "{refused:?}");
    assert!(late.note().unwrap().error.unwrap().contains("is used up"));
    router.abort();
}

#[tokio::test]
async fn a_node_has_one_cloud_and_a_cloud_each_node_once() {
    let (world, other) = (World::start().await.unwrap(), World::start().await.unwrap());
    let (home, away) = (cluster(&world).await, cluster(&other).await);
    let (_, code) = code(&world, &home, 5).await;
    let node = Node::new("127.0.0.7");
    let agent = node.agent_once_enrolled();
    assert_eq!(node.join(world.serving.address, &code).await.code, Some(0), "{}", agent.log());
    let before = node.read("host.crt");

    let (_, foreign) = self::code(&other, &away, 1).await;
    let refused = node.join(other.serving.address, &foreign).await;
    assert!(refused.code == Some(3) && refused.words().contains("belongs to another cloud"), "{refused:?}");
    assert!(refused.words().contains("remove /etc/zstack/tls"), "the way out: {refused:?}");
    assert_eq!(node.read("host.crt"), before, "and it stays what it is");

    // The same address, and the same machine with another key.
    let twin = Node::new("127.0.0.7");
    let refused = twin.join(world.serving.address, &code).await;
    assert!(refused.words().contains("has the management address 127.0.0.7 already"), "{refused:?}");
    let copy = Node::new("127.0.0.8").with_machine_of(&node);
    let refused = copy.join(world.serving.address, &code).await;
    assert!(refused.words().contains("systemd-machine-id-setup"), "{refused:?}");
    assert_eq!(hosts(&world).await.len(), 1);

    // A second node of the same name is told apart, and one that was removed comes back as a new host.
    let second = Node::new("127.0.0.9");
    let second_agent = second.agent_once_enrolled();
    assert_eq!(second.join(world.serving.address, &code).await.code, Some(0), "{}", second_agent.log());
    let names: Vec<Value> = hosts(&world).await.iter().map(|host| host["name"].clone()).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
    let gone = second.host();
    world.admin.delete(&format!("/hosts/{gone}?deleteMode=Enforcing")).await.unwrap();
    drop(second_agent);
    let again = second.begin(world.serving.address, &code).await;
    eventually(Duration::from_secs(30), || async {
        if second.host() == gone { Err("still the host that was removed".to_owned()) } else { Ok(()) }
    })
    .await;
    let third_agent = second.agent_once_enrolled();
    let again = again.end().await;
    assert_eq!(again.code, Some(0), "{again:?} {}", third_agent.log());
    assert_eq!(hosts(&world).await.len(), 2);
}

#[tokio::test]
async fn codes_are_the_administrators_and_live_as_long_as_he_says() {
    let world = World::start().await.unwrap();
    let cluster = cluster(&world).await;
    let create = async |params: Value| world.admin.call(Method::POST, CODES, Some(json!({ "params": params }))).await;
    let made = create(json!({ "clusterUuid": cluster })).await.unwrap().unwrap()["inventory"].clone();
    assert_eq!((&made["state"], &made["uses"], &made["used"]), (&json!("Open"), &json!(1), &json!(0)));
    let row = enrolment_code::Entity::find_by_id(uuid(&made).unwrap());
    let row = row.one(world.serving.app.db.read()).await.unwrap().unwrap();
    assert_eq!(row.expires - row.created, 3_600_000, "an hour");
    for (wrong, name) in [
        (json!({ "clusterUuid": cluster, "lifetimeSeconds": 2_592_001 }), "lifetimeSeconds"),
        (json!({ "clusterUuid": cluster, "lifetimeSeconds": 59 }), "lifetimeSeconds"),
        (json!({ "clusterUuid": cluster, "uses": 1001 }), "uses"),
        (json!({ "clusterUuid": "0".repeat(32) }), "0000"),
        (json!({}), "clusterUuid"),
    ] {
        let error = create(wrong).await.unwrap().unwrap_err();
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    use sha2::{Digest as _, Sha512};
    let password = hex::encode(Sha512::digest(b"of the tenant"));
    world.admin.create("/accounts", json!({ "name": "tenant", "password": password })).await.unwrap();
    let mut tenant = world.anonymous();
    tenant.log_in("tenant", "of the tenant").await.unwrap().unwrap();
    let body = json!({ "params": { "clusterUuid": cluster } });
    assert_eq!(tenant.call(Method::POST, CODES, Some(body)).await.unwrap().unwrap_err().code, "ID.1002");
    assert_eq!(tenant.get(CODES).await.unwrap().unwrap_err().code, "ID.1002");

    // A cluster that goes takes its codes along.
    world.admin.delete(&format!("/clusters/{cluster}")).await.unwrap();
    assert_eq!(world.admin.get(CODES).await.unwrap().unwrap()["inventories"], json!([]));
}
