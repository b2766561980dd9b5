//! Zones through the REST API (CS-ZONE-*).

use reqwest::Method;
use serde_json::json;
use system_tests::{Cloud, World, cloud::uuid};

#[tokio::test]
async fn a_zone_is_created_listed_changed_and_deleted() {
    let world = World::start().await.unwrap();
    let zone = world.admin.create("/zones", json!({ "name": "zone1", "description": "first" })).await.unwrap();
    assert_eq!(zone["state"], "Enabled");
    assert_eq!(zone["isDefault"], false);
    let path = format!("/zones/{}", zone["uuid"].as_str().unwrap());

    let found = world.admin.one("/zones?q=name~=%25one%25&q=state=Enabled").await.unwrap();
    assert_eq!(found, zone);

    let renamed = world.admin.act(&path, "updateZone", json!({ "name": "zone2" })).await.unwrap();
    assert_eq!((&renamed["name"], &renamed["description"]), (&json!("zone2"), &json!("first")));

    world.admin.delete(&path).await.unwrap();
    assert!(world.admin.query("/zones").await.unwrap().is_empty());
    // PROTOCOL.md section 10: deleting what is gone succeeds.
    world.admin.delete(&path).await.unwrap();
}

#[tokio::test]
async fn disabling_a_zone_disables_its_clusters_cs_zone_006() {
    let world = World::start().await.unwrap();
    let zone = world.admin.create("/zones", json!({ "name": "z" })).await.unwrap();
    let uuid = zone["uuid"].as_str().unwrap();
    world.admin.create("/clusters", json!({ "name": "c", "zoneUuid": uuid, "hypervisorType": "KVM" })).await.unwrap();
    let changed = world
        .admin
        .act(&format!("/zones/{uuid}"), "changeZoneState", json!({ "stateEvent": "disable" }))
        .await
        .unwrap();
    assert_eq!(changed["state"], "Disabled");
    assert_eq!(world.admin.one("/clusters").await.unwrap()["state"], "Disabled");
    // Nested names reach from the cluster to its zone (PROTOCOL.md section 8.3).
    assert_eq!(world.admin.query("/clusters?q=zone.name=z").await.unwrap().len(), 1);
    assert_eq!(world.admin.query("/clusters?q=zone.name=y").await.unwrap().len(), 0);
}

#[tokio::test]
async fn deleting_a_zone_deletes_its_clusters_cs_del_030() {
    let world = World::start().await.unwrap();
    let zone = world.admin.create("/zones", json!({ "name": "z" })).await.unwrap();
    let uuid = zone["uuid"].as_str().unwrap();
    world.admin.create("/clusters", json!({ "name": "c", "zoneUuid": uuid, "hypervisorType": "KVM" })).await.unwrap();
    world.admin.delete(&format!("/zones/{uuid}")).await.unwrap();
    assert!(world.admin.query("/clusters").await.unwrap().is_empty());
}

#[tokio::test]
async fn all_problems_of_a_call_are_reported_at_once_and_nothing_is_made() {
    let world = World::start().await.unwrap();
    let error = world.admin.create_fails("/clusters", json!({ "name": "x".repeat(256) })).await.unwrap();
    assert_eq!(error.code, "SYS.1007");
    for part in ["name", "zoneUuid", "hypervisorType"] {
        assert!(error.details.contains(part), "{part} is missing in: {}", error.details);
    }
    let unknown = "ffffffffffff4fffbfffffffffffffff";
    let error = world
        .admin
        .create_fails("/clusters", json!({ "name": "c", "hypervisorType": "KVM", "zoneUuid": unknown }))
        .await
        .unwrap();
    assert_eq!(error.code, "SYS.1003");
    assert!(error.details.contains("zoneUuid") && error.details.contains(unknown), "{error}");
    assert!(world.admin.query("/clusters").await.unwrap().is_empty());
}

#[tokio::test]
async fn tags_given_with_a_create_are_stored_with_it() {
    let world = World::start().await.unwrap();
    let body = json!({ "params": { "name": "z" }, "userTags": ["blue"] });
    let answer = world.admin.call(Method::POST, "/zones", Some(body)).await.unwrap().unwrap();
    let uuid = answer["inventory"]["uuid"].as_str().unwrap();
    let tag = world.admin.one("/user-tags?q=tag=blue").await.unwrap();
    assert_eq!(tag["resourceUuid"], uuid);
    assert_eq!(world.admin.query("/zones?q=__userTag__=blue").await.unwrap().len(), 1);
    world.admin.delete(&format!("/zones/{uuid}")).await.unwrap();
    assert!(world.admin.query("/user-tags").await.unwrap().is_empty(), "tags go with their resource");
}

#[tokio::test]
async fn wrong_tags_are_refused_before_anything_is_made_section_10() {
    let cloud = Cloud::start(1).await.unwrap();
    let disk =
        uuid(&cloud.admin().create("/disk-offerings", json!({ "name": "d", "diskSize": 1 << 20 })).await.unwrap());
    let disk = disk.unwrap();
    let before = cloud.volume_files(0);
    let body = json!({
        "params": { "name": "v", "diskOfferingUuid": disk },
        "systemTags": ["nonsense::1"], "userTags": ["blue", "blue"],
    });
    let error = cloud.admin().call(Method::POST, "/volumes/data", Some(body)).await.unwrap().unwrap_err();
    assert_eq!(error.code, "SYS.1007");
    for part in ["nonsense::1", "\"blue\" is given twice"] {
        assert!(error.details.contains(part), "{part} is missing in: {}", error.details);
    }
    assert!(cloud.admin().query("/volumes?q=type=Data").await.unwrap().is_empty());
    assert_eq!(cloud.volume_files(0), before);
    let body = json!({
        "params": {
            "name": "h9", "managementIp": "10.200.0.99", "username": "root", "password": "p", "clusterUuid": cloud.cluster,
        },
        "systemTags": ["x::1"],
    });
    let error = cloud.admin().call(Method::POST, "/hosts/kvm", Some(body)).await.unwrap().unwrap_err();
    assert!(error.details.contains("x::1"), "{error}");
    assert_eq!(cloud.admin().query("/hosts").await.unwrap().len(), 1);
}
