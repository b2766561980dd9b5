//! What a program of the host, such as its text console, learns from the agent's control socket.

use std::time::Duration;

use node_control::{Client, ControlError, SUMMARY, agent::Summary};
use node_manager_types::{
    operation::{StartVm, StopVm},
    vm::StopMode,
};

use crate::{
    vms::spec,
    world::{AgentProcess, Libvirtd, World, isolated},
};

async fn summary(agent: &AgentProcess) -> Result<Summary, ControlError> {
    Client::new(agent.home.join("run/control.sock")).get(SUMMARY).await
}

/// OS-TUI-020.
#[test]
fn os_tui_020_the_agent_tells_its_host_what_runs_and_when_management_called() {
    isolated(|| async {
        let world = World::new();
        let _libvirtd = Libvirtd::start(world.dir.path()).await;
        let agent = world.agent().await;
        let vm = spec(Vec::new());
        let id = vm.id;
        agent.run(StartVm { vm }).await.unwrap();
        let told = summary(&agent).await.unwrap();
        assert_eq!(told.host_uuid, Some(agent.id.to_string()));
        let [shown] = told.vms.as_slice() else { panic!("{told:?}") };
        assert_eq!((shown.uuid.as_str(), shown.cpus, shown.memory_bytes), (id.to_string().as_str(), 1, 64 << 20));
        assert_eq!(shown.state, "running");

        let before = told.management_seen_ms.expect("management has called");
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(summary(&agent).await.unwrap().management_seen_ms, Some(before), "asking here is not calling");
        agent.client.ping().await.unwrap();
        assert!(summary(&agent).await.unwrap().management_seen_ms > Some(before));

        agent.run(StopVm { vm: id, mode: StopMode::PowerOff }).await.unwrap();
        assert_eq!(summary(&agent).await.unwrap().vms, []);
        let (_, home) = agent.stop().await;
        let down = Client::new(home.join("run/control.sock")).get::<Summary>(SUMMARY).await.unwrap_err();
        assert!(matches!(down, ControlError::NotRunning { .. }), "{down:?}");
    });
}
