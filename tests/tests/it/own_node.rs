//! The address of the management node: its operator chooses another management network on the node's console, and what
//! the cloud knows follows.

use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::{Json, Router, routing};
use node_control::{Client, Door, SUMMARY, agent, management::Summary};
use system_tests::{
    Cloud, eventually,
    world::{AGENT, Options},
};
use tokio::sync::watch;

/// What the agent of the node tells; here the test is the agent.
type Told = watch::Sender<agent::Summary>;

/// Opens the agent's door beside the service.
fn agent(cloud: &Cloud, host_uuid: &str) -> Result<Told> {
    let summary = agent::Summary {
        version: "0.1.0".to_owned(),
        host_uuid: Some(host_uuid.to_owned()),
        management_seen_ms: None,
        management_address: None,
        vms: Vec::new(),
    };
    let (told, answer) = watch::channel(summary);
    let door = Door::open(&cloud.world().data.path().join(AGENT))?;
    let router = Router::new().route(SUMMARY, routing::get(async move || Json(answer.borrow().clone())));
    tokio::spawn(door.serve(router, std::future::pending()));
    Ok(told)
}

/// The node is given an address; waits until the management node has it.
async fn moves(cloud: &Cloud, told: &Told, address: &str) -> Result<()> {
    let ip = address.parse()?;
    told.send_modify(|told| told.management_address = Some(ip));
    eventually(Duration::from_secs(30), || async {
        cloud.world().serving.app.nudge.notify_waiters();
        let node = cloud.admin().one("/management-nodes").await.map_err(|error| error.to_string())?;
        if node["hostName"] == address { Ok(()) } else { Err(format!("{node}")) }
    })
    .await;
    Ok(())
}

async fn management_ip(cloud: &Cloud, host: usize) -> Result<String> {
    let row = cloud.admin().one(&format!("/hosts/{}", cloud.hosts[host])).await?;
    Ok(row["managementIp"].as_str().context("a host without address")?.to_owned())
}

/// F-043, OS-TUI-080.
#[tokio::test]
async fn f_043_the_cloud_follows_the_management_network_of_its_node() {
    let cloud = Cloud::with(2, Options { as_on_a_node: true, ..Default::default() }).await.unwrap();
    let told = agent(&cloud, &cloud.hosts[0]).unwrap();

    // The node is the host with this address.
    moves(&cloud, &told, "10.0.0.1").await.unwrap();
    moves(&cloud, &told, "192.0.2.10").await.unwrap();
    assert_eq!(management_ip(&cloud, 0).await.unwrap(), "192.0.2.10");
    assert_eq!(management_ip(&cloud, 1).await.unwrap(), "10.0.0.2", "another host is where it was");
    let images = cloud.admin().one(&format!("/backup-storage/{}", cloud.backup_storage)).await.unwrap();
    assert_eq!(images["hostname"], "192.0.2.10", "the image server is known by the address of its host");
    let socket = cloud.world().serving.app.config.control_socket();
    let shown: Summary = Client::new(&socket).get(SUMMARY).await.unwrap();
    for door in [&shown.ui_address, &shown.api_address] {
        assert!(door.starts_with("https://192.0.2.10:"), "the console of the node shows the new address: {door}");
    }

    // A cable is pulled for a while: nothing is forgotten, and the next address is followed.
    told.send_modify(|told| told.management_address = None);
    let beats = async || cloud.admin().one("/management-nodes").await.unwrap()["heartBeat"].clone();
    let before = beats().await;
    eventually(Duration::from_secs(30), || async {
        cloud.world().serving.app.nudge.notify_waiters();
        if beats().await == before { Err("no beat yet".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(cloud.admin().one("/management-nodes").await.unwrap()["hostName"], "192.0.2.10");
    assert_eq!(management_ip(&cloud, 0).await.unwrap(), "192.0.2.10");
    moves(&cloud, &told, "192.0.2.11").await.unwrap();
    assert_eq!(management_ip(&cloud, 0).await.unwrap(), "192.0.2.11");

    // Two hosts cannot have one address: the record of the node follows, that of the host waits for its operator.
    moves(&cloud, &told, "10.0.0.2").await.unwrap();
    assert_eq!(management_ip(&cloud, 0).await.unwrap(), "192.0.2.11");

    // Somebody gave the host an address that the node has as well: that is for the operator to say.
    let update = serde_json::json!({ "managementIp": "127.0.0.1" });
    cloud.admin().act(&format!("/hosts/kvm/{}", cloud.hosts[0]), "updateKVMHost", update).await.unwrap();
    moves(&cloud, &told, "192.0.2.12").await.unwrap();
    assert_eq!(management_ip(&cloud, 0).await.unwrap(), "127.0.0.1");
}
