//! What a program of the host, such as its text console, learns from the agent's control socket.

use std::{fs, path::Path, time::Duration};

use futures::TryStreamExt as _;
use node_control::{Client, ControlError, SUMMARY, agent::Summary};
use node_manager_client::Pool;
use node_manager_types::{
    HostId, L2Id,
    host::LogQuery,
    host_name,
    network::BridgeSpec,
    operation::{EnsureBridge, StartVm, StopVm},
    vm::StopMode,
};

use crate::{
    vms::spec,
    world::{AgentProcess, Libvirtd, World, isolated, run},
};

async fn summary(agent: &AgentProcess) -> Result<Summary, ControlError> {
    Client::new(agent.home.join("run/control.sock")).get(SUMMARY).await
}

/// OPS-LOG-006, OPS-LOG-007, OPS-LOG-015, OPS-LOG-023.
#[test]
fn ops_log_023_management_gets_the_logs_of_a_host_and_other_hosts_do_not() {
    isolated(|| async {
        let world = World::new();
        nix::mount::mount(Some("logs"), "/var/log", Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
        let agent = world.agent().await;
        for (file, text) in [
            (Path::new("/var/log/libvirt/qemu/vm.log").to_owned(), "qemu began"),
            (Path::new("/var/log/zstack/agent.log").to_owned(), "agent began"),
            (Path::new("/var/log/zstack/host.key").to_owned(), "geheim"),
            (Path::new("/var/log/other.log").to_owned(), "not ours"),
            (agent.home.join("data/dnsmasq/l3/leases"), "a lease"),
        ] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let pieces: Vec<_> = agent.client.logs(&LogQuery::default()).await.unwrap().try_collect().await.unwrap();
        let folder = node_logs::Folder::create(&world.path("published")).unwrap();
        fs::write(folder.archive("host"), pieces.concat()).unwrap();
        folder.unpack("host").unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join("host").join(name));
        assert_eq!(read("log/libvirt/qemu/vm.log").unwrap(), "qemu began");
        assert_eq!(read("log/zstack/agent.log").unwrap(), "agent began");
        assert_eq!(read("dnsmasq/l3/leases").unwrap(), "a lease");
        assert!(read("addresses.txt").unwrap().contains("LOOPBACK"));
        assert!(read("left-out.txt").unwrap().contains("host.key"));
        assert!(read("log/zstack/host.key").is_err() && read("log/other.log").is_err());

        let other = Pool::new(&world.authority.issue(&host_name(HostId::random()))).unwrap();
        let refused = other.host(agent.id, agent.address).logs(&LogQuery::default()).await.map(drop).unwrap_err();
        assert!(refused.to_string().contains("may not use"), "{refused}");
    });
}

/// F-043: the management service asks its own node.
#[test]
fn f_043_the_agent_tells_the_address_of_the_management_network() {
    isolated(|| async {
        let ip = |arguments: &str| run("ip", &arguments.split_whitespace().collect::<Vec<_>>());
        let world = World::new();
        let _libvirtd = Libvirtd::start(world.dir.path()).await;
        let agent = world.agent().await;
        assert_eq!(summary(&agent).await.unwrap().management_address, None, "there is only the loopback");
        for (card, address) in [("up0", "192.0.2.5/24"), ("up1", "198.51.100.5/24")] {
            ip(&format!("link add {card} type veth peer name {card}p"));
            ip(&format!("addr add {address} dev {card}"));
            ip(&format!("link set {card} up"));
            ip(&format!("link set {card}p up"));
        }
        ip("route add default via 198.51.100.1 dev up1");
        let told = summary(&agent).await.unwrap().management_address;
        assert_eq!(told, Some("198.51.100.5".parse().unwrap()), "the way out, as nobody chose");
        // A network of the cloud over that card takes its address.
        let bridge = BridgeSpec { l2: L2Id::random(), bridge: "br_up1".into(), uplink: "up1".into(), vlan: None };
        agent.run(EnsureBridge { bridge }).await.unwrap();
        assert!(run("ip", &["addr", "show", "br_up1"]).contains("198.51.100.5"));
        assert_eq!(summary(&agent).await.unwrap().management_address, told);
    });
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
