//! Virtual machines over simulated hosts (CS-VM-*, CS-ALLOC-*, CS-HOST-*).

use std::time::Duration;

use node_manager_types::{ErrorKind, VmId};
use reqwest::Method;
use serde_json::json;
use system_tests::{
    Cloud,
    cloud::{MEMORY, uuid},
    eventually,
};

#[tokio::test]
async fn a_vm_lives_its_whole_life_cs_vm_021_to_030() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let before = cloud.figures().await.unwrap();

    let vm = cloud.create_vm("vm1").await.unwrap();
    let id = uuid(&vm).unwrap();
    let path = format!("/vm-instances/{id}");
    assert_eq!(vm["state"], "Running");
    assert_eq!(vm["hostUuid"], cloud.hosts[0]);
    assert_eq!(vm["vmNics"][0]["netmask"], "255.255.255.0");
    assert_eq!((&vm["allVolumes"][0]["type"], &vm["allVolumes"][0]["status"]), (&json!("Root"), &json!("Ready")));
    let on_host = || cloud.sim.state(cloud.host(0));
    let vm_id: VmId = id.parse().unwrap();
    let spec = on_host().vms[&vm_id].spec.clone().unwrap();
    assert_eq!((spec.cpus, spec.memory.as_bytes()), (1, MEMORY as u64));
    // The host answers DHCP with the very address that the API shows.
    let leases: Vec<_> = on_host().dhcp.values().flat_map(|d| d.leases.values().cloned()).collect();
    assert_eq!(leases.len(), 1);
    assert_eq!(vm["vmNics"][0]["ip"], leases[0].ip.to_string());
    assert_eq!(vm["vmNics"][0]["mac"], leases[0].mac);

    let act = |action: &'static str| {
        let (admin, path) = (admin.clone(), path.clone());
        async move { admin.act(&path, action, json!({})).await.unwrap() }
    };
    assert_eq!(act("pauseVmInstance").await["state"], "Paused");
    assert_eq!(act("resumeVmInstance").await["state"], "Running");
    assert_eq!(act("rebootVmInstance").await["state"], "Running");
    let stopped = act("stopVmInstance").await;
    assert_eq!((&stopped["state"], stopped.get("hostUuid")), (&json!("Stopped"), None));
    assert!(on_host().vms.is_empty());
    // CS-VM-040: it starts where it ran last, with the same address.
    let started = act("startVmInstance").await;
    assert_eq!((&started["state"], &started["hostUuid"]), (&json!("Running"), &json!(cloud.hosts[0])));
    assert_eq!(started["vmNics"][0]["ip"], vm["vmNics"][0]["ip"]);

    admin.delete(&path).await.unwrap();
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Destroyed");
    assert!(on_host().vms.is_empty());
    assert_eq!(act("recoverVmInstance").await["state"], "Stopped");
    admin.delete(&path).await.unwrap();
    admin.action(&path, "expungeVmInstance", json!({})).await.unwrap().unwrap();
    assert!(admin.query(&format!("/vm-instances?q=uuid={id}")).await.unwrap().is_empty());
    assert!(admin.query("/volumes").await.unwrap().is_empty());
    let mut after = cloud.figures().await.unwrap();
    // The image cache stays and counts (CS-IMG-075).
    after["storage"] = before["storage"].clone();
    assert_eq!(after, before, "processors, memory and addresses came back");
}

#[tokio::test]
async fn the_contract_says_what_is_possible_in_which_state_cs_vm_230() {
    let cloud = Cloud::start(1).await.unwrap();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    let refused = |action: &'static str| {
        let (admin, path) = (cloud.admin().clone(), path.clone());
        async move { admin.action(&path, action, json!({})).await.unwrap().unwrap_err() }
    };
    for action in ["resumeVmInstance", "recoverVmInstance", "expungeVmInstance"] {
        let error = refused(action).await;
        assert_eq!(error.code, "VM.1010", "{action}: {error}");
        assert!(error.details.contains("Running"), "{error}");
    }
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Running");
}

#[tokio::test]
async fn when_nothing_fits_every_host_says_why() {
    let cloud = Cloud::start(2).await.unwrap();
    let admin = cloud.admin();
    admin
        .act(&format!("/hosts/{}", cloud.hosts[1]), "changeHostState", json!({ "stateEvent": "disable" }))
        .await
        .unwrap();
    let mut params = cloud.vm_params("big");
    params["memorySize"] = json!(1_i64 << 50);
    params["cpuNum"] = json!(1);
    let before = cloud.figures().await.unwrap();
    let error = admin.create_fails("/vm-instances", params).await.unwrap();
    assert_eq!(error.code, "HOST_ALLOCATION.1000");
    assert!(error.details.contains("host-1: ") && error.details.contains("short of memory"), "{error}");
    assert!(error.details.contains("host-2: it is Disabled"), "{error}");
    let candidates = error.opaque.unwrap()["candidates"].as_array().unwrap().len();
    assert_eq!(candidates, 2);
    assert!(
        admin.query("/vm-instances").await.unwrap().is_empty() && admin.query("/volumes").await.unwrap().is_empty()
    );
    assert_eq!(cloud.figures().await.unwrap(), before);

    let wanted = format!("imageUuid={}&l3NetworkUuids={}&cpuNum=1&memorySize={MEMORY}", cloud.image, cloud.l3);
    let dry = admin.get(&format!("/vm-instances/candidate-destinations?{wanted}")).await.unwrap().unwrap();
    assert_eq!(dry["hosts"].as_array().unwrap().len(), 1);
    let explained = admin.query(&format!("/extensions/vm-placements?{wanted}")).await.unwrap();
    let [fits, refused] = &explained[..] else { panic!("{explained:?}") };
    assert_eq!((&fits["hostUuid"], &fits["fits"]), (&json!(cloud.hosts[0]), &json!(true)));
    assert_eq!((&fits["primaryStorageUuid"], &fits["reasons"]), (&json!(cloud.primary_storage), &json!([])));
    assert_eq!((&refused["hostName"], &refused["fits"]), (&json!("host-2"), &json!(false)));
    assert_eq!(refused["reasons"], json!(["it is Disabled"]));
    // The disks count as they do in a creation.
    let disk = json!({ "name": "huge", "diskSize": 1_i64 << 60 });
    let disk = uuid(&admin.create("/disk-offerings", disk).await.unwrap()).unwrap();
    let huge = format!("/extensions/vm-placements?{wanted}&dataDiskOfferingUuids={disk}");
    let explained = admin.query(&huge).await.unwrap();
    assert!(explained.iter().all(|host| host["fits"] == false), "{explained:?}");
    assert!(explained[0]["reasons"][0].as_str().unwrap().contains("no usable primary storage"), "{explained:?}");
}

#[tokio::test]
async fn a_failure_at_any_step_on_the_host_leaves_nothing() {
    let cloud = Cloud::start(1).await.unwrap();
    // The image is cached once, so that its room does not count as a leftover.
    let first = uuid(&cloud.create_vm("first").await.unwrap()).unwrap();
    let before = cloud.figures().await.unwrap();
    for op in ["CreateVolume", "EnsureBridge", "ApplyDhcp", "StartVm"] {
        cloud.sim.fail_next(cloud.host(0), op, ErrorKind::Host, "the test says no");
        let error = cloud.admin().create_fails("/vm-instances", cloud.vm_params("doomed")).await.unwrap();
        assert!(error.details.contains("the test says no"), "{op}: {error}");
        assert!(!error.details.contains("taking back"), "{op}: {error}");
        assert_eq!(cloud.figures().await.unwrap(), before, "{op}");
        let left = cloud.admin().query("/vm-instances").await.unwrap();
        assert_eq!(left.len(), 1, "{op}: {left:?}");
        assert_eq!(cloud.admin().query("/volumes").await.unwrap().len(), 1, "{op}");
        assert_eq!(cloud.admin().query("/vm-instances/nics").await.unwrap().len(), 1, "{op}");
        let host = cloud.sim.state(cloud.host(0));
        assert_eq!(host.vms.keys().map(ToString::to_string).collect::<Vec<_>>(), std::slice::from_ref(&first), "{op}");
        assert_eq!(host.dhcp.values().map(|d| d.leases.len()).sum::<usize>(), 1, "{op}");
    }
}

#[tokio::test]
async fn a_vm_that_dies_on_its_host_is_seen_cs_set_026() {
    let cloud = Cloud::start(1).await.unwrap();
    cloud.fast_pings().await;
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    assert!(cloud.sim.kill_vm(cloud.host(0), id.parse().unwrap()));
    let vm = cloud.vm_becomes(&id, "Stopped").await;
    assert!(vm.get("hostUuid").is_none());
    cloud.admin().act(&format!("/vm-instances/{id}"), "startVmInstance", json!({})).await.unwrap();
}

#[tokio::test]
async fn a_silent_host_disconnects_and_its_vms_become_unknown_cs_host_022() {
    let cloud = Cloud::start(1).await.unwrap();
    cloud.fast_pings().await;
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    cloud.sim.silent(cloud.host(0), Duration::from_secs(9));
    cloud.vm_becomes(&id, "Unknown").await;
    assert_eq!(cloud.admin().one("/hosts").await.unwrap()["status"], "Disconnected");
    cloud.vm_becomes(&id, "Running").await;
    assert_eq!(cloud.admin().one("/hosts").await.unwrap()["status"], "Connected");
}

#[tokio::test]
async fn an_unknown_vm_on_a_host_is_reported_and_left_alone() {
    let cloud = Cloud::start(1).await.unwrap();
    cloud.fast_pings().await;
    let stranger = VmId::random();
    cloud.sim.add_vm(cloud.host(0), stranger);
    let app = &cloud.world().serving.app;
    eventually(Duration::from_secs(10), || async {
        use mn_service_db::entity::audit;
        use sea_orm::EntityTrait;
        let rows = audit::Entity::find().all(app.db.read()).await.unwrap();
        let found = rows
            .into_iter()
            .any(|row| row.api_name == "UnknownVmOnHost" && row.request_dump.contains(&stranger.to_string()));
        if found { Ok(()) } else { Err("not reported") }
    })
    .await;
    assert!(cloud.sim.state(cloud.host(0)).vms.contains_key(&stranger));
}

#[tokio::test]
async fn maintenance_stops_the_vms_and_deletion_needs_it_cs_host_024_030() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let path = format!("/hosts/{}", cloud.hosts[0]);
    let error = admin.call(Method::DELETE, &path, None).await.unwrap().unwrap_err();
    assert!(error.details.contains("maintenance"), "{error}");
    let host = admin.act(&path, "changeHostState", json!({ "stateEvent": "maintain" })).await.unwrap();
    assert_eq!(host["state"], "Maintenance");
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Stopped");
    let error = admin.action(&format!("/vm-instances/{id}"), "startVmInstance", json!({})).await.unwrap().unwrap_err();
    assert!(error.details.contains("it is Maintenance"), "{error}");
    admin.delete(&path).await.unwrap();
    // CS-HOST-031: on local storage the VMs go with their host.
    assert!(admin.query("/vm-instances").await.unwrap().is_empty());
}

#[tokio::test]
async fn many_vms_at_once_share_hosts_without_double_booking() {
    let cloud = Cloud::start(3).await.unwrap();
    let calls = (0..12).map(|index| {
        let (admin, params) = (cloud.admin().clone(), cloud.vm_params(&format!("vm-{index}")));
        tokio::spawn(async move { admin.create("/vm-instances", params).await })
    });
    let mut addresses = std::collections::BTreeSet::new();
    for call in calls.collect::<Vec<_>>() {
        let vm = call.await.unwrap().unwrap();
        assert_eq!(vm["state"], "Running");
        assert!(addresses.insert(vm["vmNics"][0]["ip"].as_str().unwrap().to_owned()), "an address twice");
    }
    for index in 0..3 {
        assert_eq!(cloud.sim.state(cloud.host(index)).vms.len(), 4, "fewest VMs first spreads evenly");
    }
}
