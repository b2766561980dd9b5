//! A preview tells what the delete then does (CS-DEL-030 to CS-DEL-043).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use std::collections::{BTreeMap, BTreeSet};

use mn_service_types::{ApiError, contract};
use reqwest::Method;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use system_tests::{Cloud, cloud::uuid};

/// Resources by type, each with its columns that name another.
type Census = BTreeMap<&'static str, BTreeMap<String, BTreeMap<&'static str, Option<String>>>>;

/// Tables of notes about resources, which nobody deletes by themselves.
const NOTES: &[&str] = &["HostCapacityVO", "PrimaryStorageCapacityVO", "SystemTagVO", "UserTagVO"];

/// Every resource in the database.
async fn census(cloud: &Cloud) -> Census {
    let db = cloud.world().serving.app.db.read();
    let mut census = Census::new();
    for table in mn_service_db::tables() {
        let resource = table.name.ends_with("VO") && table.column("uuid").is_some_and(|uuid| !uuid.nullable);
        if !resource || NOTES.contains(&table.name) {
            continue;
        }
        let references: Vec<&str> = table
            .columns()
            .map(|column| column.name)
            .filter(|name| name.ends_with("Uuid") || *name == "state")
            .collect();
        let columns = ["uuid"].into_iter().chain(references.iter().copied()).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {columns} FROM {}", table.name);
        let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
        let by_uuid = rows.into_iter().map(|row| {
            let values = references.iter().enumerate().map(|(i, name)| (*name, row.try_get_by_index(i + 1).unwrap()));
            (row.try_get_by_index(0).unwrap(), values.collect())
        });
        census.insert(table.name, by_uuid.collect());
    }
    census
}

async fn preview(cloud: &Cloud, api: &str, uuid: &str, mode: &str) -> Value {
    let path = format!("/extensions/deletion-previews/{api}/{uuid}?deleteMode={mode}");
    cloud.admin().get(&path).await.unwrap().unwrap()["inventory"].clone()
}

async fn delete(cloud: &Cloud, api: &str, uuid: &str, mode: &str) -> Result<(), ApiError> {
    let api = contract().api(api).unwrap();
    let variable = api.path.split(['{', '}']).nth(1).unwrap();
    let path = api.path.replace(&format!("{{{variable}}}"), uuid);
    let answer = match api.method.as_str() {
        "DELETE" => cloud.admin().call(Method::DELETE, &format!("{path}?deleteMode={mode}"), None).await,
        _ => cloud.admin().call(Method::PUT, &path, Some(json!({ api.action.as_deref().unwrap(): {} }))).await,
    };
    answer.unwrap().map(|_| ())
}

/// Uuids with this effect, by type.
fn with_effect(preview: &Value, effect: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in preview["effects"].as_array().unwrap().iter().filter(|item| item["effect"] == effect) {
        let (vo, uuid) = (item["resourceType"].as_str().unwrap(), item["resourceUuid"].as_str().unwrap());
        assert!(item["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{item}");
        found.entry(vo.to_owned()).or_default().insert(uuid.to_owned());
    }
    found
}

/// Previews, deletes, and holds the one against the other.
async fn look_and_leap(cloud: &Cloud, api: &str, uuid: &str, mode: &str) {
    let before = census(cloud).await;
    let running: Vec<String> = running_on_hosts(cloud);
    let told = preview(cloud, api, uuid, mode).await;
    assert_eq!(census(cloud).await, before, "a preview of {api} changes nothing");
    let outcome = delete(cloud, api, uuid, mode).await;
    let after = census(cloud).await;
    let refusals = told["refusals"].as_array().unwrap();
    if let Err(error) = outcome {
        assert!(refusals.iter().any(|r| error.details.contains(r.as_str().unwrap())), "{api}: {error}; told {told}");
        assert_eq!(after, before, "{api} was refused and changed something");
        return;
    }
    assert!(refusals.is_empty(), "{api} was not refused, and the preview said {refusals:?}");

    let mut gone: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (table, rows) in &before {
        let left: BTreeSet<String> = rows.keys().filter(|uuid| !after[table].contains_key(*uuid)).cloned().collect();
        if !left.is_empty() {
            gone.insert((*table).to_owned(), left);
        }
    }
    assert_eq!(with_effect(&told, "Delete"), gone, "{api} {mode}");

    let stopped: BTreeSet<String> = running.into_iter().filter(|vm| !running_on_hosts(cloud).contains(vm)).collect();
    let stops = with_effect(&told, "Stop").remove("VmInstanceVO").unwrap_or_default();
    assert_eq!(stops, stopped, "{api} {mode}");

    for item in told["effects"].as_array().unwrap() {
        let (vo, uuid) = (item["resourceType"].as_str().unwrap(), item["resourceUuid"].as_str().unwrap());
        match item["effect"].as_str().unwrap() {
            "Detach" if after[vo].contains_key(uuid) => {
                let field = item["field"].as_str().unwrap();
                assert!(before[vo][uuid][field].is_some() && after[vo][uuid][field].is_none(), "{api}: {item}");
            }
            "Recycle" => assert!(after[vo].contains_key(uuid), "{api}: {item}"),
            _ => {}
        }
    }
    // And nothing loses a reference that the preview did not tell of: stopping clears `hostUuid`.
    for (table, rows) in &after {
        for (uuid, columns) in rows {
            let Some(was) = before[table].get(uuid) else { continue };
            for (column, value) in columns.iter().filter(|(column, value)| value.is_none() && was[*column].is_some()) {
                let told = told["effects"].as_array().unwrap().iter().any(|item| {
                    item["resourceUuid"] == *uuid && (item["field"] == *column || item["effect"] == "Stop")
                });
                assert!(told, "{api}: {table} {uuid} lost {column} ({value:?}) untold");
            }
        }
    }
    let counted: BTreeMap<String, BTreeMap<String, usize>> = serde_json::from_value(told["counts"].clone()).unwrap();
    let deletes = with_effect(&told, "Delete").into_iter().map(|(vo, uuids)| (vo, uuids.len())).collect();
    assert_eq!(counted.get("Delete").cloned().unwrap_or_default(), deletes, "{api}");
}

fn running_on_hosts(cloud: &Cloud) -> Vec<String> {
    let hosts = cloud.sim.hosts();
    hosts
        .into_iter()
        .flat_map(|host| cloud.sim.state(host).vms.keys().map(ToString::to_string).collect::<Vec<_>>())
        .collect()
}

/// A cloud with two hosts, two running VMs and one at rest, data volumes, snapshots in a row and an affinity group.
async fn furnished() -> Cloud {
    let cloud = Cloud::start(2).await.unwrap();
    let admin = cloud.admin();
    let group = json!({ "name": "apart", "policy": "antiSoft", "zoneUuid": cloud.zone });
    let group = uuid(&admin.create("/affinity-groups", group).await.unwrap()).unwrap();
    let gold =
        uuid(&admin.create("/disk-offerings", json!({ "name": "gold", "diskSize": 1 << 30 })).await.unwrap()).unwrap();
    for (index, name) in ["one", "two", "resting"].into_iter().enumerate() {
        let mut params = cloud.vm_params(name);
        params["hostUuid"] = json!(cloud.hosts[index % 2]);
        let vm = uuid(&admin.create("/vm-instances", params).await.unwrap()).unwrap();
        let data = json!({ "name": format!("data-{name}"), "diskOfferingUuid": gold });
        let data = uuid(&admin.create("/volumes/data", data).await.unwrap()).unwrap();
        admin.create(&format!("/volumes/{data}/vm-instances/{vm}"), json!({})).await.unwrap();
        for snapshot in ["first", "second", "third"] {
            let path = format!("/volumes/{data}/volume-snapshots");
            admin.create(&path, json!({ "name": format!("{snapshot}-{name}") })).await.unwrap();
        }
        if name == "one" {
            admin.create(&format!("/affinity-groups/{group}/vm-instances/{vm}"), json!({})).await.unwrap();
        }
        if name == "resting" {
            admin.act(&format!("/vm-instances/{vm}"), "stopVmInstance", json!({})).await.unwrap();
        }
    }
    cloud
}

async fn find(cloud: &Cloud, path: &str) -> String {
    uuid(&cloud.admin().one(path).await.unwrap()).unwrap()
}

#[tokio::test]
async fn every_preview_equals_its_delete_from_the_leaves_to_the_root() {
    let cloud = furnished().await;
    for (api, path) in [
        ("DeleteVolumeSnapshot", "/volume-snapshots?q=name=second-one"),
        ("DeleteVolumeSnapshot", "/volume-snapshots?q=name=first-one"),
        ("ExpungeDataVolume", "/volumes?q=name=data-one"),
        ("DeleteDataVolume", "/volumes?q=name=data-one"),
        ("DeleteDataVolume", "/volumes?q=name=data-one"),
        ("ExpungeDataVolume", "/volumes?q=name=data-one"),
        ("DeleteDataVolume", "/volumes?q=type=Root&q=vmInstance.name=one"),
        ("ExpungeVmInstance", "/vm-instances?q=name=one"),
        ("DestroyVmInstance", "/vm-instances?q=name=one"),
        ("DestroyVmInstance", "/vm-instances?q=name=one"),
        ("ExpungeVmInstance", "/vm-instances?q=name=one"),
        ("DeleteAffinityGroup", "/affinity-groups"),
        ("DeleteDiskOffering", "/disk-offerings"),
        ("DeleteInstanceOffering", "/instance-offerings"),
        ("ExpungeImage", "/images"),
        ("DeleteImage", "/images"),
        ("ExpungeImage", "/images"),
        ("DeleteIpRange", "/l3-networks/ip-ranges"),
        ("DeleteL3Network", "/l3-networks"),
        ("DeleteHost", "/hosts?q=name=host-2"),
        ("DeletePrimaryStorage", "/primary-storage"),
        ("DeleteBackupStorage", "/backup-storage"),
        ("DeleteCluster", "/clusters"),
        ("DeleteL2Network", "/l2-networks"),
        ("DeleteZone", "/zones"),
    ] {
        look_and_leap(&cloud, api, &find(&cloud, path).await, "Permissive").await;
    }
}

#[tokio::test]
async fn every_preview_equals_its_delete_at_the_root_of_a_full_cloud() {
    for (api, path) in [
        ("DeleteZone", "/zones"),
        ("DeleteCluster", "/clusters"),
        ("DeleteHost", "/hosts?q=name=host-1"),
        ("DeleteL2Network", "/l2-networks"),
        ("DeleteL3Network", "/l3-networks"),
        ("DeleteIpRange", "/l3-networks/ip-ranges"),
        ("DeleteBackupStorage", "/backup-storage"),
    ] {
        let cloud = furnished().await;
        look_and_leap(&cloud, api, &find(&cloud, path).await, "Enforcing").await;
    }
}

#[tokio::test]
async fn a_preview_names_things_and_reasons_and_is_refused_like_the_delete() {
    let cloud = Cloud::start(1).await.unwrap();
    let vm = cloud.create_vm("web").await.unwrap();
    let told = preview(&cloud, "DeleteHost", &cloud.hosts[0], "Permissive").await;
    assert_eq!((&told["resourceType"], &told["resourceName"]), (&json!("HostVO"), &json!("host-1")));
    assert!(told["refusals"][0].as_str().unwrap().contains("put it into maintenance first"), "{told}");
    let stop = &told["effects"][0];
    assert_eq!(
        (&stop["effect"], &stop["resourceName"], &stop["hostUuid"]),
        (&json!("Stop"), &json!("web"), &vm["hostUuid"])
    );
    let volume = told["effects"].as_array().unwrap().iter().find(|item| item["resourceType"] == "VolumeVO").unwrap();
    let reason = format!("Host host-1 ({}) goes", cloud.hosts[0]);
    assert_eq!((&volume["resourceName"], &volume["reason"]), (&json!("ROOT-for-web"), &json!(reason)));
    assert_eq!(told["counts"]["Delete"]["VmInstanceVO"], 1);

    let fails = async |api: &str, uuid: &str| {
        let path = format!("/extensions/deletion-previews/{api}/{uuid}");
        cloud.admin().get(&path).await.unwrap().unwrap_err()
    };
    let error = fails("CreateZone", &cloud.zone).await;
    assert!(error.code == "SYS.1007" && error.details.contains("DeleteZone"), "{error}");
    let unknown = mn_service_types::new_uuid();
    let error = fails("DeleteZone", &unknown).await;
    assert!(error.code == "SYS.1003" && error.details.contains(&unknown), "{error}");
    assert_eq!(fails("DeleteZone", &cloud.hosts[0]).await.code, "SYS.1003");

    // Who may not delete may not look.
    let password = "0".repeat(128);
    cloud.admin().create("/accounts", json!({ "name": "tenant", "password": password })).await.unwrap();
    let body = json!({ "logInByAccount": { "accountName": "tenant", "password": password } });
    let (_, session) = cloud.admin().send(Method::PUT, "/accounts/login", Some(body)).await.unwrap();
    let tenant = cloud.admin().with_session(session["inventory"]["uuid"].as_str().unwrap());
    for (api, uuid) in [("DeleteZone", cloud.zone.as_str()), ("DestroyVmInstance", vm["uuid"].as_str().unwrap())] {
        let path = format!("/extensions/deletion-previews/{api}/{uuid}");
        assert_eq!(tenant.get(&path).await.unwrap().unwrap_err().code, "ID.1002", "{api}");
    }
}
