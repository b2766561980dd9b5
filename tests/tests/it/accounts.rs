//! Accounts: what they may touch, sharing, quotas, giving away, deleting (PLAT-ACCT-*, PLAT-SHARE-*, PLAT-QUOTA-*).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use mn_service_types::ApiError;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use system_tests::{Client, Cloud, cloud::uuid};

/// A new account and a client logged in to it.
pub(crate) async fn tenant(cloud: &Cloud, name: &str) -> (String, Client) {
    let hash = hex::encode(Sha512::digest(b"secret"));
    let account = cloud.admin().create("/accounts", json!({ "name": name, "password": hash })).await.unwrap();
    let mut client = cloud.world().anonymous();
    client.log_in(name, "secret").await.unwrap().unwrap();
    (uuid(&account).unwrap(), client)
}

async fn share(cloud: &Cloud, action: &str, params: Value) {
    cloud.admin().action("/accounts/resources", action, params).await.unwrap().unwrap();
}

/// Everything that a VM needs, shared with everybody.
async fn share_all(cloud: &Cloud) {
    let all = json!([cloud.image, cloud.offering, cloud.l3]);
    share(cloud, "shareResource", json!({ "resourceUuids": all, "toPublic": true })).await;
}

async fn quota(cloud: &Cloud, account: &str, name: &str, value: i64) {
    let params = json!({ "identityUuid": account, "name": name, "value": value });
    let changed = cloud.admin().act("/accounts/quotas", "updateQuota", params).await.unwrap();
    assert_eq!((&changed["name"], &changed["value"]), (&json!(name), &json!(value)));
}

async fn refused(client: &Client, method: Method, path: &str, body: Option<Value>) -> ApiError {
    match client.call(method, path, body).await.unwrap() {
        Ok(answer) => panic!("{path} succeeded: {answer}"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn what_is_shared_is_used_and_not_changed_plat_share_001_to_004_cs_img_061() {
    let cloud = Cloud::start(1).await.unwrap();
    let (one, first) = tenant(&cloud, "one").await;
    let (two, second) = tenant(&cloud, "two").await;
    let params = cloud.vm_params("vm1");
    let error = first.create_fails("/vm-instances", params.clone()).await.unwrap();
    assert_eq!(error.code, "ID.1002", "{error}");
    assert!(first.query("/images").await.unwrap().is_empty());

    let error = cloud
        .admin()
        .action("/accounts/resources", "shareResource", json!({ "resourceUuids": [cloud.image, cloud.zone] }))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.details.contains("accountUuids") && error.details.contains("belongs to no account"), "{error}");
    share_all(&cloud).await;
    share(&cloud, "shareResource", json!({ "resourceUuids": [cloud.image], "accountUuids": [one] })).await;
    let vm = uuid(&first.create("/vm-instances", params.clone()).await.unwrap()).unwrap();
    uuid(&second.create("/vm-instances", params.clone()).await.unwrap()).unwrap();
    // Used and seen, not changed or deleted.
    let image = format!("/images/{}", cloud.image);
    assert_eq!(first.query("/images").await.unwrap().len(), 1);
    let error = refused(&first, Method::DELETE, &image, None).await;
    assert!(error.details.contains("is shared with this account"), "{error}");
    let update = json!({ "updateImage": { "name": "mine" } });
    refused(&first, Method::PUT, &format!("{image}/actions"), Some(update)).await;
    let tag = json!({ "resourceType": "ImageVO", "resourceUuid": cloud.image, "tag": "bootMode::UEFI" });
    first.create_fails("/system-tags", tag).await.unwrap();

    // PLAT-SHARE-004: the individual share outlives the global one.
    share(&cloud, "revokeResourceSharing", json!({ "resourceUuids": [cloud.image], "toPublic": true })).await;
    assert_eq!(first.query("/images").await.unwrap().len(), 1);
    assert!(second.query("/images").await.unwrap().is_empty());
    share(&cloud, "revokeResourceSharing", json!({ "resourceUuids": [cloud.image], "accountUuids": [one] })).await;
    assert!(first.query("/images").await.unwrap().is_empty());
    share(&cloud, "shareResource", json!({ "resourceUuids": [cloud.image], "accountUuids": [one, two] })).await;
    share(&cloud, "revokeResourceSharing", json!({ "resourceUuids": [cloud.image], "all": true })).await;
    assert!(first.query("/images").await.unwrap().is_empty() && second.query("/images").await.unwrap().is_empty());
    // The VM that was made meanwhile goes on, and is not shared itself.
    assert_eq!(first.one("/vm-instances").await.unwrap()["state"], "Running");
    let params = json!({ "resourceUuids": [vm], "toPublic": true });
    let error = cloud.admin().action("/accounts/resources", "shareResource", params).await.unwrap().unwrap_err();
    assert!(error.details.contains("is not shared; images, offerings and networks are"), "{error}");
}

#[tokio::test]
async fn an_account_touches_nothing_of_another_one() {
    let cloud = Cloud::start(1).await.unwrap();
    share_all(&cloud).await;
    let (_, owner) = tenant(&cloud, "owner").await;
    let (_, stranger) = tenant(&cloud, "stranger").await;
    let vm = owner.create("/vm-instances", cloud.vm_params("vm1")).await.unwrap();
    let (id, nic) = (uuid(&vm).unwrap(), uuid(&vm["vmNics"][0]).unwrap());
    let volume =
        uuid(&owner.create("/volumes/data", json!({ "name": "d", "diskSize": 1 << 20 })).await.unwrap()).unwrap();
    let root = vm["rootVolumeUuid"].as_str().unwrap();
    let snapshot = owner.create(&format!("/volumes/{root}/volume-snapshots"), json!({ "name": "s" })).await.unwrap();
    let snapshot = uuid(&snapshot).unwrap();
    let path = format!("/vm-instances/{id}");
    for path in [
        path.clone(),
        format!("/vm-instances/nics/{nic}"),
        format!("/volumes/{volume}"),
        format!("/volume-snapshots/{snapshot}"),
        format!("{path}/console-password"),
        format!("{path}/hostnames"),
        format!("{path}/iso"),
    ] {
        let error = refused(&stranger, Method::DELETE, &path, None).await;
        assert_eq!(error.code, "ID.1002", "{path}: {error}");
    }
    for (action, params) in [
        ("stopVmInstance", json!({})),
        ("setVmHostname", json!({ "hostname": "x" })),
        ("setVmBootOrder", json!({ "bootOrder": ["CdRom"] })),
        ("reimageVmInstance", json!({})),
        ("setVmStaticIp", json!({ "l3NetworkUuid": cloud.l3, "ip": "10.1.0.50" })),
    ] {
        let error = stranger.action(&path, action, params).await.unwrap().unwrap_err();
        assert_eq!(error.code, "ID.1002", "{action}: {error}");
    }
    for read in ["hostnames", "ssh-keys", "boot-orders", "data-volume-candidates", "capabilities", "console-addresses"]
    {
        assert!(stranger.get(&format!("{path}/{read}")).await.unwrap().is_err(), "{read}");
    }
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Running");
    assert!(stranger.query("/vm-instances").await.unwrap().is_empty());
    assert!(stranger.query("/vm-instances/nics").await.unwrap().is_empty());
}

#[tokio::test]
async fn quotas_hold_and_name_what_is_short_plat_quota_001_010_to_018() {
    let cloud = Cloud::start(1).await.unwrap();
    share_all(&cloud).await;
    let (account, client) = tenant(&cloud, "tenant").await;
    // PLAT-ACCT-030: a new account has the defaults.
    let rows = client.query("/accounts/quotas").await.unwrap();
    let vms = rows.iter().find(|row| row["name"] == "vm.num").unwrap();
    assert_eq!((&vms["value"], &vms["identityUuid"]), (&json!(20), &json!(account)));
    for (name, value) in [
        ("vm.num", 1),
        ("vm.totalNum", 2),
        ("vm.cpuNum", 1),
        ("volume.data.num", 1),
        ("l3.num", 0),
        ("snapshot.volume.num", 1),
    ] {
        quota(&cloud, &account, name, value).await;
    }
    let vm = client.create("/vm-instances", cloud.vm_params("vm1")).await.unwrap();
    let path = format!("/vm-instances/{}", uuid(&vm).unwrap());
    let before = cloud.figures().await.unwrap();
    let error = client.create_fails("/vm-instances", cloud.vm_params("vm2")).await.unwrap();
    assert_eq!(error.code, "ID.1003");
    for part in ["quota vm.num", "quota vm.cpuNum", "1 are in use and 1 more", "UpdateQuota"] {
        assert!(error.details.contains(part), "{part}: {error}");
    }
    assert!(!error.details.contains("vm.totalNum"), "{error}");
    assert_eq!(cloud.figures().await.unwrap(), before);
    // Made without being started it fits; then it may not start beside the first.
    let mut params = cloud.vm_params("vm2");
    params["strategy"] = json!("CreateStopped");
    let second =
        format!("/vm-instances/{}", uuid(&client.create("/vm-instances", params.clone()).await.unwrap()).unwrap());
    let error = client.action(&second, "startVmInstance", json!({})).await.unwrap().unwrap_err();
    assert_eq!(error.code, "ID.1003", "{error}");
    client.act(&path, "stopVmInstance", json!({})).await.unwrap();
    client.act(&second, "startVmInstance", json!({})).await.unwrap();
    params["name"] = json!("vm3");
    let error = client.create_fails("/vm-instances", params).await.unwrap();
    assert!(error.details.contains("vm.totalNum"), "{error}");

    let disk = json!({ "name": "d", "diskSize": 1 << 20 });
    client.create("/volumes/data", disk.clone()).await.unwrap();
    assert!(client.create_fails("/volumes/data", disk.clone()).await.unwrap().details.contains("volume.data.num"));
    let root = vm["rootVolumeUuid"].as_str().unwrap();
    let snapshots = format!("/volumes/{root}/volume-snapshots");
    client.create(&snapshots, json!({ "name": "s" })).await.unwrap();
    let error = client.create_fails(&snapshots, json!({ "name": "s" })).await.unwrap();
    assert!(error.details.contains("snapshot.volume.num"), "{error}");
    let size = vm["allVolumes"][0]["size"].as_i64().unwrap();
    quota(&cloud, &account, "volume.capacity", 2 * size + (1 << 20)).await;
    let grow = json!({ "size": size + 1 });
    let error = client.action(&format!("/volumes/resize/{root}"), "resizeRootVolume", grow).await.unwrap().unwrap_err();
    assert!(error.details.contains("volume.capacity"), "{error}");

    let usage = client.get(&format!("/accounts/quota/{account}/usages")).await.unwrap().unwrap();
    let of = |name: &str| usage["usages"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap();
    assert_eq!((&of("vm.num")["used"], &of("vm.totalNum")["used"]), (&json!(1), &json!(2)));
    assert_eq!(
        (&of("volume.capacity")["used"], &of("volume.data.num")["total"]),
        (&json!(2 * size + (1 << 20)), &json!(1))
    );
    let (other, _) = tenant(&cloud, "other").await;
    assert!(client.get(&format!("/accounts/quota/{other}/usages")).await.unwrap().is_err());
    // The administrator has no quotas.
    cloud.create_vm("admins").await.unwrap();
    let params = json!({ "identityUuid": account, "name": "vm.number", "value": 1 });
    let error = cloud.admin().action("/accounts/quotas", "updateQuota", params).await.unwrap().unwrap_err();
    assert!(error.details.contains("there is no quota \"vm.number\""), "{error}");
}

#[tokio::test]
async fn two_calls_at_once_do_not_both_get_the_last_of_a_quota() {
    let cloud = Cloud::start(2).await.unwrap();
    share_all(&cloud).await;
    let (account, client) = tenant(&cloud, "tenant").await;
    quota(&cloud, &account, "vm.num", 2).await;
    let calls = (0..5).map(|index| {
        let (client, params) = (client.clone(), cloud.vm_params(&format!("vm{index}")));
        tokio::spawn(async move { client.create("/vm-instances", params).await })
    });
    let mut made = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert!(error.to_string().contains("vm.num"), "{error}"),
        }
    }
    assert_eq!((made, client.query("/vm-instances").await.unwrap().len()), (2, 2));
}

#[tokio::test]
async fn a_vm_changes_its_owner_with_all_its_parts_cs_vm_143() {
    let cloud = Cloud::start(1).await.unwrap();
    share_all(&cloud).await;
    let (_, first) = tenant(&cloud, "first").await;
    let (two, second) = tenant(&cloud, "second").await;
    let vm = first.create("/vm-instances", cloud.vm_params("vm1")).await.unwrap();
    let (id, root) = (uuid(&vm).unwrap(), vm["rootVolumeUuid"].as_str().unwrap().to_owned());
    first.create(&format!("/volumes/{root}/volume-snapshots"), json!({ "name": "s" })).await.unwrap();
    let path = format!("/account/{two}/resources");
    quota(&cloud, &two, "vm.num", 0).await;
    let error = cloud.admin().create_fails(&path, json!({ "resourceUuid": id })).await.unwrap();
    assert!(error.details.contains("quota vm.num"), "{error}");
    quota(&cloud, &two, "vm.num", 1).await;
    let error = cloud.admin().create_fails(&path, json!({ "resourceUuid": root })).await.unwrap();
    assert!(error.details.contains("goes with its VM"), "{error}");
    let changed = cloud.admin().create(&path, json!({ "resourceUuid": id })).await.unwrap();
    assert_eq!((&changed["accountUuid"], &changed["resourceUuid"]), (&json!(two), &json!(id)));
    for query in ["/vm-instances", "/vm-instances/nics", "/volumes", "/volume-snapshots"] {
        assert!(first.query(query).await.unwrap().is_empty(), "{query}");
        assert_eq!(second.query(query).await.unwrap().len(), 1, "{query}");
    }
    second.act(&format!("/vm-instances/{id}"), "rebootVmInstance", json!({})).await.unwrap();
    let who = cloud.admin().get(&format!("/resources/accounts?resourceUuids={id}")).await.unwrap().unwrap();
    assert_eq!(who["inventories"][&id]["name"], "second");
}

#[tokio::test]
async fn a_deleted_account_takes_everything_with_it_cs_del_040_plat_acct_032() {
    let cloud = Cloud::start(1).await.unwrap();
    share_all(&cloud).await;
    let admin = cloud.admin();
    // The image is cached once, so that its room does not count as a leftover.
    cloud.create_vm("admins").await.unwrap();
    let before = (cloud.figures().await.unwrap(), cloud.volume_files(0));
    let (account, client) = tenant(&cloud, "tenant").await;
    let vm = client.create("/vm-instances", cloud.vm_params("vm1")).await.unwrap();
    let root = vm["rootVolumeUuid"].as_str().unwrap();
    client.create(&format!("/volumes/{root}/volume-snapshots"), json!({ "name": "s" })).await.unwrap();
    let tag = format!("localStorage::hostUuid::{}", cloud.hosts[0]);
    let disk = json!({ "name": "d", "diskSize": 1 << 20, "systemTags": [tag] });
    let volume = uuid(&client.create("/volumes/data", disk).await.unwrap()).unwrap();
    client.create(&format!("/volumes/{volume}/vm-instances/{}", uuid(&vm).unwrap()), json!({})).await.unwrap();
    let image = json!({
        "name": "own", "url": "http://images.example/own.qcow2", "format": "qcow2", "mediaType": "RootVolumeTemplate",
        "backupStorageUuids": [cloud.backup_storage],
    });
    client.create("/images", image).await.unwrap();
    client.create("/affinity-groups", json!({ "name": "g", "policy": "antiSoft" })).await.unwrap();

    refused(&client, Method::DELETE, &format!("/accounts/{account}"), None).await;
    let admins = admin.one("/accounts?q=name=admin").await.unwrap();
    let error = refused(admin, Method::DELETE, &format!("/accounts/{}", uuid(&admins).unwrap()), None).await;
    assert!(error.details.contains("admin account cannot be deleted"), "{error}");
    admin.delete(&format!("/accounts/{account}")).await.unwrap();
    assert!(admin.query("/accounts?q=name=tenant").await.unwrap().is_empty());
    assert!(client.get("/vm-instances").await.unwrap_or_else(|_| Ok(Value::Null)).is_err(), "its sessions are closed");
    assert_eq!((cloud.figures().await.unwrap(), cloud.volume_files(0)), before);
    for (path, left) in
        [("/vm-instances", 1), ("/volumes", 1), ("/images", 1), ("/affinity-groups", 0), ("/volume-snapshots", 0)]
    {
        assert_eq!(admin.query(path).await.unwrap().len(), left, "{path}");
    }
    assert!(admin.query(&format!("/accounts/quotas?q=identityUuid={account}")).await.unwrap().is_empty());
}
