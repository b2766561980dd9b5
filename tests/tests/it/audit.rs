//! The audit and its API (PLAT-AUDIT-001 to PLAT-AUDIT-003, F-423).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use std::time::Duration;

use mn_service_db::entity::audit;
use mn_service_types::{ADMIN_ACCOUNT, ApiError, date::now_millis, new_uuid};
use reqwest::Method;
use sea_orm::{ActiveValue::Set, EntityTrait};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use system_tests::{Client, Cloud, World, cloud::uuid, eventually};

/// Entries of one API, newest first.
async fn of(client: &Client, api: &str) -> Vec<Value> {
    client.query(&format!("/zwatch/audit-records?q=apiName={api}&sort=-id")).await.unwrap()
}

/// A logged-in tenant.
async fn tenant(world: &World) -> Client {
    let password = hex::encode(Sha512::digest(b"of the tenant"));
    world.admin.create("/accounts", json!({ "name": "tenant", "password": password })).await.unwrap();
    let mut tenant = world.anonymous();
    tenant.log_in("tenant", "of the tenant").await.unwrap().unwrap();
    tenant
}

#[tokio::test]
async fn an_entry_tells_who_what_when_where_how_long_and_how_it_ended_plat_audit_001() {
    let world = World::start().await.unwrap();
    // With the initial password nothing is done from elsewhere.
    let changed = json!({ "updateAccount": { "password": hex::encode(Sha512::digest(b"a better one")) } });
    let path = format!("/accounts/{ADMIN_ACCOUNT}");
    world.admin.call(Method::PUT, &path, Some(changed)).await.unwrap().unwrap();
    let (begin, job) = (now_millis(), new_uuid());
    let body = Some(json!({ "params": { "name": "east" } }));
    // Clients behind a proxy on this machine are known by their own address.
    let headers = [("X-Job-UUID", job.as_str()), ("X-Forwarded-For", "198.51.100.7")];
    world.admin.send_with(Method::POST, "/zones", body, &headers).await.unwrap();
    let zone = world.admin.follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap()["inventory"].clone();
    let entry = of(&world.admin, "CreateZone").await.pop().unwrap();
    assert_eq!((&entry["operator"], &entry["operatorAccountUuid"]), (&json!("admin"), &json!(ADMIN_ACCOUNT)));
    assert_eq!((&entry["clientIp"], &entry["requestUuid"]), (&json!("198.51.100.7"), &json!(job)));
    assert_eq!((&entry["resourceType"], &entry["resourceUuid"]), (&json!("ZoneVO"), &zone["uuid"]));
    assert_eq!((&entry["resourceName"], &entry["success"]), (&json!("east"), &json!(true)));
    let [start, end, duration] = ["startTime", "createTime", "duration"].map(|key| entry[key].as_i64().unwrap());
    assert!(begin <= start && start <= end && end <= now_millis() && end - start == duration, "{entry}");
    let request: Value = serde_json::from_str(entry["requestDump"].as_str().unwrap()).unwrap();
    assert_eq!(request["name"], "east");

    // What failed is told with its error; what only reads leaves nothing.
    let taken = json!({ "name": "admin", "password": "0".repeat(128) });
    let error = world.admin.create_fails("/accounts", taken).await.unwrap();
    let entry = of(&world.admin, "CreateAccount").await.pop().unwrap();
    assert_eq!(entry["success"], false);
    assert!(entry["error"].as_str().unwrap().contains(&error.details), "{entry}");
    assert!(of(&world.admin, "QueryZone").await.is_empty());
}

#[tokio::test]
async fn entries_are_found_by_resource_operator_api_and_time_plat_audit_003() {
    let world = World::start().await.unwrap();
    let admin = &world.admin;
    let zone = uuid(&admin.create("/zones", json!({ "name": "a" })).await.unwrap()).unwrap();
    admin.act(&format!("/zones/{zone}"), "updateZone", json!({ "name": "b" })).await.unwrap();
    let middle = now_millis() + 1;
    while now_millis() <= middle {
        tokio::task::yield_now().await;
    }
    admin.delete(&format!("/zones/{zone}")).await.unwrap();

    let find = async |query: &str| -> Vec<String> {
        let found = admin.query(&format!("/zwatch/audit-records?sort=id&{query}")).await.unwrap();
        found.iter().map(|entry| entry["apiName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(find(&format!("q=resourceUuid={zone}")).await, ["CreateZone", "UpdateZone", "DeleteZone"]);
    assert_eq!(find("q=resourceType=ZoneVO&q=apiName~=Update%25").await, ["UpdateZone"]);
    assert_eq!(find(&format!("q=resourceUuid={zone}&q=startTime<{middle}")).await, ["CreateZone", "UpdateZone"]);
    assert_eq!(find(&format!("q=startTime>={middle}")).await, ["DeleteZone"]);
    assert_eq!(find("q=operator=nobody").await, [""; 0]);

    // The older API: the newest first, by time and conditions.
    let data = async |query: &str| -> Vec<Value> {
        let answer = admin.get(&format!("/zwatch/audits?{query}")).await.unwrap().unwrap();
        answer["audits"].as_array().unwrap().clone()
    };
    let newest = data("limit=1").await;
    assert_eq!((&newest[0]["apiName"], &newest[0]["success"]), (&json!("DeleteZone"), &json!("true")));
    assert!(newest[0]["time"].as_i64().unwrap() >= middle, "{newest:?}");
    assert_eq!(data(&format!("endTime={middle}&auditType=Resource")).await.len(), 2);
    assert_eq!(data(&format!("startTime={}", middle / 1000 + 3600)).await.len(), 0, "seconds are understood");
    assert_eq!(data(&format!("conditions=resourceUuid={zone}&conditions=apiName!=DeleteZone")).await.len(), 2);
    let logins = data("auditType=Login").await;
    assert!(logins.iter().all(|entry| entry["apiName"] == "LogInByAccount") && !logins.is_empty(), "{logins:?}");
    let error = admin.get("/zwatch/audits?conditions=nonsense").await.unwrap().unwrap_err();
    assert!(error.code == "SYS.1007" && error.details.contains("nonsense"), "{error}");
}

#[tokio::test]
async fn logins_and_denials_are_events_and_tenants_see_their_own() {
    let world = World::start().await.unwrap();
    let mut tenant = tenant(&world).await;
    let denied = tenant.create_fails("/zones", json!({ "name": "z" })).await.unwrap();
    assert_eq!(denied.code, "ID.1002");
    let error = world.anonymous().log_in("tenant", "wrong").await.unwrap().unwrap_err();
    assert_eq!(error.code, "ID.1000");
    tenant.log_in("tenant", "of the tenant").await.unwrap().unwrap();
    let token = tenant.session().unwrap().to_owned();

    let seen = tenant.query("/zwatch/audit-records?sort=id").await.unwrap();
    let told: Vec<_> = seen.iter().map(|e| (e["apiName"].as_str().unwrap(), e["success"].as_bool().unwrap())).collect();
    assert_eq!(
        told,
        [("LogInByAccount", true), ("CreateZone", false), ("LogInByAccount", false), ("LogInByAccount", true)]
    );
    assert!(seen.iter().all(|entry| entry["operator"] == "tenant"), "{seen:?}");

    let path = format!("/accounts/sessions/{token}");
    world.anonymous().send(Method::DELETE, &path, None).await.unwrap();
    world.anonymous().send(Method::DELETE, &path, None).await.unwrap();
    let entries = of(&world.admin, "LogOut").await;
    assert_eq!(entries.len(), 1, "the end of a session that nobody has is no event");
    assert_eq!(entries[0]["operator"], "tenant");
    let everything = Value::Array(world.admin.query("/zwatch/audit-records").await.unwrap()).to_string();
    assert!(!everything.contains(&token), "a token is a secret");
}

#[tokio::test]
async fn secrets_are_in_no_entry() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let mut params = cloud.vm_params("vm");
    params["systemTags"] = json!(["consolePassword::s3cret", "userdata::s3cret"]);
    admin.create("/vm-instances", params).await.unwrap();
    let setting = json!({ "value": "s3cret" });
    admin.act("/global-configurations/virtualRouter/vrouter.password", "updateGlobalConfig", setting).await.unwrap();
    let image = json!({
        "name": "private", "url": "http://joe:s3cret@images.example/a.qcow2", "format": "qcow2", "platform": "Linux",
        "mediaType": "RootVolumeTemplate", "backupStorageUuids": [cloud.backup_storage],
    });
    admin.create("/images", image).await.unwrap();
    let host = json!({
        "name": "h", "managementIp": "10.0.0.99", "clusterUuid": cloud.cluster, "username": "root", "password": "s3cret",
    });
    admin.create("/hosts/kvm", host).await.unwrap();
    admin.create("/accounts", json!({ "name": "a", "password": format!("s3cret{}", "0".repeat(122)) })).await.unwrap();
    let entries = admin.query("/zwatch/audit-records").await.unwrap();
    assert!(entries.len() > 15, "{}", entries.len());
    for entry in entries {
        assert!(!entry.to_string().contains("s3cret"), "{entry}");
    }
}

#[tokio::test]
async fn entries_go_when_they_are_older_than_the_setting_says() {
    let world = World::start().await.unwrap();
    let keep = async |days: &str| {
        let path = "/global-configurations/audit/retention.days";
        world.admin.act(path, "updateGlobalConfig", json!({ "value": days })).await.unwrap();
    };
    keep("0").await;
    for name in ["old", "young"] {
        world.admin.create("/zones", json!({ "name": name })).await.unwrap();
    }
    let old = of(&world.admin, "CreateZone").await.pop().unwrap()["id"].as_i64().unwrap();
    let moved =
        audit::ActiveModel { id: Set(old), start_time: Set(now_millis() - 31 * 86_400_000), ..Default::default() };
    let app = &world.serving.app;
    app.write(|tx| async move { audit::Entity::update(moved).exec(&*tx).await.map_err(ApiError::internal) })
        .await
        .unwrap();
    mn_service::audit::forget_old(app).await.unwrap();
    assert_eq!(of(&world.admin, "CreateZone").await.len(), 2, "0 keeps them for ever");
    // The change of the setting is enough.
    keep("30").await;
    eventually(Duration::from_secs(20), || async {
        let left = of(&world.admin, "CreateZone").await;
        let names: Vec<_> = left.iter().map(|entry| entry["resourceName"].clone()).collect();
        if names == [json!("young")] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
}
