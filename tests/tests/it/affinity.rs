//! Affinity groups over simulated hosts (CS-AFG-*, CS-ALLOC-008).
#![expect(clippy::unwrap_used, reason = "the helpers are part of the tests")]

use std::collections::BTreeSet;

use anyhow::Result;
use mn_service_types::ApiError;
use node_manager_types::ErrorKind;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use system_tests::{Cloud, World, client::Outcome, cloud::uuid};

async fn group(cloud: &Cloud, policy: &str) -> String {
    let params = json!({ "name": "db", "policy": policy, "zoneUuid": cloud.zone });
    uuid(&cloud.admin().create("/affinity-groups", params).await.unwrap()).unwrap()
}

fn member(cloud: &Cloud, group: &str, name: &str) -> Value {
    json!({ "params": cloud.vm_params(name), "systemTags": [format!("affinityGroupUuid::{group}")] })
}

async fn create_member(cloud: &Cloud, group: &str, name: &str) -> Result<Value, ApiError> {
    let body = member(cloud, group, name);
    let answer = cloud.admin().call(Method::POST, "/vm-instances", Some(body)).await.unwrap()?;
    Ok(answer["inventory"].clone())
}

async fn on_host(cloud: &Cloud, host: usize, name: &str) -> String {
    let mut params = cloud.vm_params(name);
    params["hostUuid"] = json!(cloud.hosts[host]);
    let vm = cloud.admin().create("/vm-instances", params).await.unwrap();
    assert_eq!(vm["hostUuid"], cloud.hosts[host]);
    uuid(&vm).unwrap()
}

async fn add(cloud: &Cloud, group: &str, vm: &str) -> Outcome {
    let path = format!("/affinity-groups/{group}/vm-instances/{vm}");
    cloud.admin().call(Method::POST, &path, Some(json!({ "params": {} }))).await.unwrap()
}

async fn remove(cloud: &Cloud, group: &str, vm: &str) -> Outcome {
    let path = format!("/affinity-groups/{group}/vm-instances?uuid={vm}");
    cloud.admin().call(Method::DELETE, &path, None).await.unwrap()
}

async fn switch(cloud: &Cloud, group: &str, event: &str) {
    let params = json!({ "stateEvent": event });
    cloud.admin().act(&format!("/affinity-groups/{group}"), "changeAffinityGroupState", params).await.unwrap();
}

async fn power(cloud: &Cloud, vm: &str, action: &str) -> Outcome {
    cloud.admin().action(&format!("/vm-instances/{vm}"), action, json!({})).await.unwrap()
}

async fn count(cloud: &Cloud, path: &str) -> usize {
    cloud.admin().query(path).await.unwrap().len()
}

#[tokio::test]
async fn soft_members_prefer_hosts_without_members_cs_afg_003() {
    let cloud = Cloud::start(2).await.unwrap();
    let group = group(&cloud, "antiSoft").await;
    let first = on_host(&cloud, 0, "first").await;
    add(&cloud, &group, &first).await.unwrap();
    // The ordinary policy would take the host with fewer VMs, which is the first one's.
    on_host(&cloud, 1, "stranger-1").await;
    on_host(&cloud, 1, "stranger-2").await;
    let second = create_member(&cloud, &group, "second").await.unwrap();
    assert_eq!(second["hostUuid"], cloud.hosts[1]);
    // No host is left without a member: the ordinary policy decides.
    let third = create_member(&cloud, &group, "third").await.unwrap();
    assert_eq!((&third["state"], &third["hostUuid"]), (&json!("Running"), &json!(cloud.hosts[0])));
}

#[tokio::test]
async fn hard_members_never_share_a_host_and_the_refusal_says_why_cs_afg_004() {
    let cloud = Cloud::start(2).await.unwrap();
    let group = group(&cloud, "antiHard").await;
    let first = create_member(&cloud, &group, "first").await.unwrap();
    let second = create_member(&cloud, &group, "second").await.unwrap();
    assert_ne!(first["hostUuid"], second["hostUuid"]);

    let before = cloud.figures().await.unwrap();
    let error = create_member(&cloud, &group, "third").await.unwrap_err();
    assert_eq!(error.code, "HOST_ALLOCATION.1000");
    for host in ["host-1", "host-2"] {
        let reason = format!("{host}: a member of affinity group db is there");
        assert!(error.details.contains(&reason), "{error}");
    }
    assert_eq!(cloud.figures().await.unwrap(), before);
    assert_eq!(count(&cloud, "/vm-instances").await, 2);

    // A member at rest holds its host: local storage lets it start nowhere else.
    power(&cloud, &uuid(&first).unwrap(), "stopVmInstance").await.unwrap();
    create_member(&cloud, &group, "third").await.unwrap_err();

    let wanted = format!("imageUuid={}&l3NetworkUuids={}&systemTags=affinityGroupUuid::{group}", cloud.image, cloud.l3);
    let dry = format!("/vm-instances/candidate-destinations?{wanted}");
    assert_eq!(cloud.admin().get(&dry).await.unwrap().unwrap()["hosts"], json!([]));
    let explained = cloud.admin().query(&format!("/extensions/vm-placements?{wanted}")).await.unwrap();
    assert_eq!(explained[0]["reasons"], json!(["a member of affinity group db is there"]));

    // A disabled group has no say.
    switch(&cloud, &group, "disable").await;
    let third = create_member(&cloud, &group, "third").await.unwrap();
    assert_eq!(third["state"], "Running");
}

#[tokio::test]
async fn members_created_at_once_do_not_meet_on_a_host() {
    let cloud = Cloud::start(3).await.unwrap();
    let group = group(&cloud, "antiHard").await;
    let calls = (0..6).map(|index| {
        let (admin, body) = (cloud.admin().clone(), member(&cloud, &group, &format!("vm-{index}")));
        tokio::spawn(async move { admin.call(Method::POST, "/vm-instances", Some(body)).await })
    });
    let (mut hosts, mut refused) = (BTreeSet::new(), 0);
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap().unwrap() {
            Ok(answer) => {
                let host = answer["inventory"]["hostUuid"].as_str().unwrap().to_owned();
                assert!(hosts.insert(host), "two members on one host");
            }
            Err(error) => {
                assert!(error.details.contains("a member of affinity group db is there"), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((hosts.len(), refused), (3, 3));
    assert_eq!(cloud.admin().one("/affinity-groups").await.unwrap()["usages"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_stopped_member_starts_only_where_no_other_one_runs() {
    let cloud = Cloud::start(1).await.unwrap();
    let group = group(&cloud, "antiHard").await;
    switch(&cloud, &group, "disable").await;
    let (a, b) = (on_host(&cloud, 0, "a").await, on_host(&cloud, 0, "b").await);
    add(&cloud, &group, &a).await.unwrap();
    add(&cloud, &group, &b).await.unwrap();
    power(&cloud, &b, "stopVmInstance").await.unwrap();
    switch(&cloud, &group, "enable").await;

    let before = cloud.figures().await.unwrap();
    let error = power(&cloud, &b, "startVmInstance").await.unwrap_err();
    assert!(error.details.contains("host-1: a member of affinity group db is there"), "{error}");
    assert_eq!(cloud.vm(&b).await.unwrap()["state"], "Stopped");
    assert_eq!(cloud.figures().await.unwrap(), before);

    power(&cloud, &a, "stopVmInstance").await.unwrap();
    assert_eq!(power(&cloud, &b, "startVmInstance").await.unwrap()["inventory"]["state"], "Running");
    power(&cloud, &a, "startVmInstance").await.unwrap_err();
}

#[tokio::test]
async fn vms_are_added_and_removed_and_a_hard_group_refuses_neighbours() {
    let cloud = Cloud::start(2).await.unwrap();
    let group = group(&cloud, "antiHard").await;
    let (a, b, c) = (on_host(&cloud, 0, "a").await, on_host(&cloud, 0, "b").await, on_host(&cloud, 1, "c").await);
    let candidates = async || {
        let path = format!("/VM/attachingGroup?affinityGroupUuid={group}");
        let vms = cloud.admin().query(&path).await.unwrap();
        vms.iter().map(|vm| vm["name"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(candidates().await, BTreeSet::from(["a", "b", "c"].map(str::to_owned)));

    let answer = add(&cloud, &group, &a).await.unwrap();
    assert_eq!(answer["inventory"]["usages"][0]["resourceUuid"], a);
    assert_eq!(candidates().await, BTreeSet::from(["c".to_owned()]));
    let tags = format!("/system-tags?q=resourceUuid={a}&q=tag=affinityGroupUuid::{group}");
    assert_eq!(count(&cloud, &tags).await, 1, "clients read the group of a VM from its tag");

    let error = add(&cloud, &group, &b).await.unwrap_err();
    assert!(
        error.details.contains("VM b") && error.details.contains("a member of affinity group db is there"),
        "{error}"
    );
    // Stopped, it still has its disks there.
    power(&cloud, &b, "stopVmInstance").await.unwrap();
    add(&cloud, &group, &b).await.unwrap_err();
    let error = add(&cloud, &group, &a).await.unwrap_err();
    assert!(error.details.contains("already"), "{error}");
    let error = remove(&cloud, &group, &c).await.unwrap_err();
    assert!(error.details.contains("is not in affinity group"), "{error}");
    let unknown = "ffffffffffff4fffbfffffffffffffff";
    assert_eq!(add(&cloud, &group, unknown).await.unwrap_err().code, "SYS.1003");

    let answer = remove(&cloud, &group, &a).await.unwrap();
    assert_eq!(answer["inventory"]["usages"], json!([]));
    assert_eq!(count(&cloud, &tags).await, 0);
    add(&cloud, &group, &b).await.unwrap();
}

#[tokio::test]
async fn groups_and_members_are_queried_by_nested_names_and_go_with_what_they_hang_on() {
    let cloud = Cloud::start(2).await.unwrap();
    let admin = cloud.admin();
    let group = group(&cloud, "antiSoft").await;
    let other = uuid(&admin.create("/affinity-groups", json!({ "name": "web" })).await.unwrap()).unwrap();
    let vm = uuid(&create_member(&cloud, &group, "first").await.unwrap()).unwrap();
    for condition in [
        format!("usage.resourceUuid={vm}"),
        format!("usages.resourceUuid={vm}"),
        "usage.vmInstance.name=first".to_owned(),
        format!("vmInstance.hostUuid={}", cloud.vm(&vm).await.unwrap()["hostUuid"].as_str().unwrap()),
        "zone.name=zone".to_owned(),
        "policy=antisoft&q=name=db".to_owned(),
    ] {
        let found = admin.one(&format!("/affinity-groups?q={condition}")).await.unwrap();
        assert_eq!(found["uuid"], group, "{condition}");
    }
    assert_eq!(count(&cloud, "/affinity-groups?q=vmInstance.name=second").await, 0);
    let shown = admin.one(&format!("/affinity-groups/{group}")).await.unwrap();
    assert_eq!(
        (&shown["policy"], &shown["type"], &shown["state"]),
        (&json!("antiSoft"), &json!("host"), &json!("Enabled"))
    );
    assert_eq!(shown["usages"][0]["resourceType"], "VmInstanceVO");
    let renamed =
        admin.act(&format!("/affinity-groups/{group}"), "updateAffinityGroup", json!({ "name": "db2" })).await;
    assert_eq!(renamed.unwrap()["name"], "db2");

    // The VM takes its membership with it, …
    admin.delete(&format!("/vm-instances/{vm}")).await.unwrap();
    power(&cloud, &vm, "expungeVmInstance").await.unwrap();
    assert_eq!(admin.one(&format!("/affinity-groups/{group}")).await.unwrap()["usages"], json!([]));
    // … the group leaves its VMs alone, …
    let vm = uuid(&create_member(&cloud, &group, "second").await.unwrap()).unwrap();
    admin.delete(&format!("/affinity-groups/{group}")).await.unwrap();
    assert_eq!(cloud.vm(&vm).await.unwrap()["state"], "Running");
    assert_eq!(count(&cloud, &format!("/system-tags?q=tag=affinityGroupUuid::{group}")).await, 0);
    admin.delete(&format!("/affinity-groups/{group}")).await.unwrap();
    // … and the zone takes its groups, not those of no zone.
    self::group(&cloud, "antiHard").await;
    for host in &cloud.hosts {
        admin.act(&format!("/hosts/{host}"), "changeHostState", json!({ "stateEvent": "maintain" })).await.unwrap();
    }
    let zone = format!("/zones/{}?deleteMode=Enforcing", cloud.zone);
    admin.call(Method::DELETE, &zone, None).await.unwrap().unwrap();
    assert_eq!(admin.one("/affinity-groups").await.unwrap()["uuid"], other);
}

#[tokio::test]
async fn a_member_that_could_not_be_created_leaves_no_membership() {
    let cloud = Cloud::start(1).await.unwrap();
    let group = group(&cloud, "antiHard").await;
    cloud.sim.fail_next(cloud.host(0), "StartVm", ErrorKind::Host, "the test says no");
    let error = create_member(&cloud, &group, "doomed").await.unwrap_err();
    assert!(error.details.contains("the test says no"), "{error}");
    assert_eq!(cloud.admin().one("/affinity-groups").await.unwrap()["usages"], json!([]));
    create_member(&cloud, &group, "second").await.unwrap();
}

#[tokio::test]
async fn what_a_new_member_names_must_be_a_group_and_tags_are_not_set_by_hand() {
    let cloud = Cloud::start(1).await.unwrap();
    let unknown = "ffffffffffff4fffbfffffffffffffff";
    let error = create_member(&cloud, unknown, "vm").await.unwrap_err();
    assert!(error.details.contains(&format!("there is no affinity group {unknown}")), "{error}");
    assert_eq!(count(&cloud, "/vm-instances").await, 0);

    let group = group(&cloud, "antiSoft").await;
    let vm = uuid(&cloud.create_vm("vm").await.unwrap()).unwrap();
    let tag =
        json!({ "resourceType": "VmInstanceVO", "resourceUuid": vm, "tag": format!("affinityGroupUuid::{group}") });
    let error = cloud.admin().create_fails("/system-tags", tag).await.unwrap();
    assert!(error.details.contains("AddVmToAffinityGroup"), "{error}");
    add(&cloud, &group, &vm).await.unwrap();
    let tag = uuid(&cloud.admin().one(&format!("/system-tags?q=tag=affinityGroupUuid::{group}")).await.unwrap());
    let path = format!("/tags/{}", tag.unwrap());
    let error = cloud.admin().call(Method::DELETE, &path, None).await.unwrap().unwrap_err();
    assert!(error.details.contains("belongs to its resource"), "{error}");
}

#[tokio::test]
async fn a_group_belongs_to_the_account_that_made_it() {
    let world = World::start().await.unwrap();
    let hash = hex::encode(Sha512::digest(b"secret"));
    world.admin.create("/accounts", json!({ "name": "tenant", "password": hash })).await.unwrap();
    let mut tenant = world.anonymous();
    tenant.log_in("tenant", "secret").await.unwrap().unwrap();
    let mine = uuid(&tenant.create("/affinity-groups", json!({ "name": "mine" })).await.unwrap()).unwrap();
    let theirs = uuid(&world.admin.create("/affinity-groups", json!({ "name": "theirs" })).await.unwrap()).unwrap();

    assert_eq!(tenant.one("/affinity-groups").await.unwrap()["uuid"], mine);
    assert_eq!(world.admin.query("/affinity-groups").await.unwrap().len(), 2);
    let error = tenant.call(Method::DELETE, &format!("/affinity-groups/{theirs}"), None).await.unwrap().unwrap_err();
    assert_eq!(error.code, "ID.1002");
    tenant.delete(&format!("/affinity-groups/{mine}")).await.unwrap();
    assert_eq!(world.admin.one("/affinity-groups").await.unwrap()["uuid"], theirs);
}
