//! What programs of the management node learn from the service's control socket.

use node_control::{
    Client, ControlError, SUMMARY,
    management::{Hosts, Summary, Vms},
};
use serde_json::json;
use system_tests::{Cloud, World, cloud::uuid, world::Options};

/// OS-TUI-010, OS-TUI-014, OS-TUI-015, OS-TUI-086.
#[tokio::test]
async fn os_tui_010_the_node_learns_the_state_of_its_cloud() {
    let cloud = Cloud::start(3).await.unwrap();
    let socket = cloud.world().serving.app.config.control_socket();
    let client = Client::new(&socket);
    let (one, _two) = (cloud.create_vm("one").await.unwrap(), cloud.create_vm("two").await.unwrap());
    let path = format!("/vm-instances/{}", uuid(&one).unwrap());
    cloud.admin().act(&path, "stopVmInstance", json!({ "type": "cold" })).await.unwrap();
    let disabled = json!({ "stateEvent": "disable" });
    cloud.admin().act(&format!("/hosts/{}", cloud.hosts[0]), "changeHostState", disabled).await.unwrap();

    let told: Summary = client.get(SUMMARY).await.unwrap();
    assert_eq!(told.hosts, Hosts { total: 3, enabled: 2, connected: 3 });
    assert_eq!(told.vms, Vms { total: 2, running: 1, stopped: 1 });
    assert_eq!(told.ui_address, format!("https://{}", cloud.world().serving.ui_address));
    assert_eq!(told.api_address, format!("https://{}", cloud.world().serving.address));
    assert_eq!((told.console_proxy.address, told.console_proxy.port > 0), (None, true));
    assert_eq!(told.licence, "Unlimited");
    assert!(["sqlite", "mariadb"].contains(&told.database.as_str()), "{}", told.database);

    cloud.admin().delete(&path).await.unwrap();
    let told: Summary = client.get(SUMMARY).await.unwrap();
    assert_eq!(told.vms, Vms { total: 1, running: 1, stopped: 0 }, "what is in the recycle bin does not count");
}

#[tokio::test]
async fn the_socket_comes_and_goes_with_the_service() {
    let world = World::start().await.unwrap();
    let socket = world.serving.app.config.control_socket();
    let first: Summary = Client::new(&socket).get(SUMMARY).await.unwrap();
    let data = world.stop().await;
    let down = Client::new(&socket).get::<Summary>(SUMMARY).await.unwrap_err();
    assert!(matches!(down, ControlError::NotRunning { .. }), "{down:?}");
    let _world = World::over(data, Options::default()).await.unwrap();
    let second: Summary = Client::new(&socket).get(SUMMARY).await.unwrap();
    assert!(second.started_ms > first.started_ms, "it was started again");
}
