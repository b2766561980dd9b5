//! Bridges, DHCP and metadata in a network namespace of the test (NET-L2, NET-DHCP, NET-UD).

use std::{fs, net::Ipv4Addr, process::Command, time::Duration};

use node_manager_types::{
    ErrorKind, L2Id, L3Id, VmId,
    network::{BridgeSpec, DhcpLease, DhcpNetwork, Metadata},
    operation::{ApplyDhcp, CheckInterfaces, EnsureBridge, RemoveBridge, RemoveDhcp},
};

use crate::world::{AgentProcess, KillAtEnd, World, eventually, isolated, run};

fn bridge(l2: L2Id, bridge: &str, uplink: &str) -> EnsureBridge {
    EnsureBridge { bridge: BridgeSpec { l2, bridge: bridge.to_owned(), uplink: uplink.to_owned(), vlan: None } }
}

fn ip(arguments: &str) -> String {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn net_l2_017_bridges_are_made_kept_and_removed_with_the_addresses_of_their_uplink() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        ip("link add up0 type veth peer name peer0");
        ip("link set peer0 up");
        ip("link set up0 up");
        ip("addr add 192.0.2.5/24 dev up0");
        ip("route add 198.51.100.0/24 via 192.0.2.1 dev up0");
        let l2 = L2Id::random();
        let missing = agent.run(CheckInterfaces { names: vec!["up0".to_owned(), "up9".to_owned()] }).await.unwrap();
        assert_eq!(missing, ["up9"]);

        for _ in 0..2 {
            agent.run(bridge(l2, "br_up0", "up0")).await.unwrap();
        }
        let port = ip("-d link show up0");
        assert!(port.contains("master br_up0") && port.contains("isolated on"), "{port}");
        let shown = ip("-d addr show br_up0");
        assert!(
            shown.contains("192.0.2.5/24") && shown.contains(&format!("zstack:{l2}:up0")) && shown.contains(",UP"),
            "{shown}"
        );
        assert!(!ip("addr show up0").contains("192.0.2.5"));
        let routes = ip("route");
        assert!(routes.contains("198.51.100.0/24 via 192.0.2.1 dev br_up0"), "{routes}");

        let error = agent.run(bridge(L2Id::random(), "br_other", "up0")).await.unwrap_err();
        assert!(error.kind == ErrorKind::Conflict && error.message.contains("br_up0"), "{error}");
        let error = agent.run(bridge(L2Id::random(), "br_up0", "peer0")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        let error = agent.run(bridge(l2, "br_x", "up9")).await.unwrap_err();
        assert!(error.kind == ErrorKind::NotFound && error.message.contains("up9"), "{error}");

        // Somebody else's network does not take it away, its own does.
        agent.run(RemoveBridge { l2: L2Id::random(), bridge: "br_up0".to_owned() }).await.unwrap();
        assert!(ip("link show br_up0").contains("br_up0"));
        for _ in 0..2 {
            agent.run(RemoveBridge { l2, bridge: "br_up0".to_owned() }).await.unwrap();
        }
        assert!(ip("addr show up0").contains("192.0.2.5/24"));
        assert!(ip("route").contains("198.51.100.0/24 via 192.0.2.1 dev up0"));
        assert!(!Command::new("ip").args(["link", "show", "br_up0"]).output().unwrap().status.success());
    });
}

#[test]
fn foreign_bridges_are_used_as_they_are_and_vlans_need_the_kernel() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        ip("link add mine type bridge");
        let l2 = L2Id::random();
        agent.run(bridge(l2, "mine", "mine")).await.unwrap();
        agent.run(RemoveBridge { l2, bridge: "mine".to_owned() }).await.unwrap();
        assert!(ip("link show mine").contains(",UP"), "a bridge of the operator stays");

        ip("link add up0 type veth peer name peer0");
        let tagged = |vlan| EnsureBridge {
            bridge: BridgeSpec { l2, bridge: "br_v".to_owned(), uplink: "up0".to_owned(), vlan: Some(vlan) },
        };
        assert_eq!(agent.run(tagged(4095)).await.unwrap_err().kind, ErrorKind::Invalid);
        match agent.run(tagged(7)).await {
            Ok(()) => {
                assert!(ip("-d link show up0.7").contains("master br_v"));
                agent.run(RemoveBridge { l2, bridge: "br_v".to_owned() }).await.unwrap();
                assert!(!Command::new("ip").args(["link", "show", "up0.7"]).output().unwrap().status.success());
            }
            // The development kernel: the error must name what is missing.
            Err(error) => assert!(error.kind == ErrorKind::Host && error.message.contains("8021q"), "{error}"),
        }
    });
}

/// A guest: a namespace with a card in the bridge.
struct Guest {
    name: String,
    mac: String,
}

impl Guest {
    fn plug(number: u8, bridge: &str) -> Self {
        let guest = Self { name: format!("guest{number}"), mac: format!("fa:16:3e:00:00:{number:02x}") };
        let (name, mac) = (&guest.name, &guest.mac);
        ip(&format!("netns add {name}"));
        ip(&format!("link add g{number} type veth peer name eth0 netns {name}"));
        ip(&format!("link set g{number} master {bridge} up"));
        ip(&format!("-n {name} link set eth0 address {mac} up"));
        ip(&format!("-n {name} link set lo up"));
        guest
    }

    fn inside(&self, program: &[&str]) -> (bool, String) {
        let out = Command::new("ip").args(["netns", "exec", &self.name]).args(program).output().unwrap();
        (
            out.status.success(),
            String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
        )
    }

    /// What busybox's DHCP client was given: `key=value` lines.
    fn dhcp(&self, world: &World, seconds: u8) -> Option<String> {
        use std::os::unix::fs::PermissionsExt as _;
        let (script, out) = (world.path("udhcpc"), world.path(&format!("lease-{}", self.name)));
        let text = "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr flush dev $interface scope global\nip addr add $ip/$mask dev $interface\n\
             set -- $staticroutes\nwhile [ -n \"$2\" ]; do ip route replace $1 via $2; shift 2; done\nenv > $LEASE\n";
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let _ = fs::remove_file(&out);
        let (lease, script) = (format!("LEASE={}", out.display()), script.display().to_string());
        let tries = seconds.to_string();
        let options =
            ["-O", "staticroutes", "-O", "mtu", "-O", "dns", "-O", "router", "-O", "domain", "-O", "hostname"];
        let command = [
            &[
                "env",
                lease.as_str(),
                "busybox",
                "udhcpc",
                "-f",
                "-q",
                "-n",
                "-i",
                "eth0",
                "-t",
                &tries,
                "-T",
                "1",
                "-s",
                &script,
            ][..],
            &options[..],
        ]
        .concat();
        let (ok, text) = self.inside(&command);
        assert!(ok || text.contains("no lease"), "{text}");
        eprintln!("udhcpc in {}: {text}", self.name);
        fs::read_to_string(out).ok()
    }

    fn fetch(&self, path: &str) -> Option<String> {
        let url = format!("http://169.254.169.254{path}");
        let (ok, text) = self.inside(&["curl", "-sf", "--max-time", "5", &url]);
        ok.then_some(text)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn lease(guest: &Guest, last: u8, default_route: bool) -> DhcpLease {
    let vm = VmId::random();
    let metadata = Metadata {
        instance: vm,
        hostname: format!("vm-{last}"),
        user_data: None,
        ssh_keys: vec![format!("ssh-ed25519 KEY{last} a")],
    };
    DhcpLease {
        mac: guest.mac.clone(),
        ip: Ipv4Addr::new(192, 0, 2, last),
        hostname: Some(format!("192-0-2-{last}")),
        default_route,
        vm,
        metadata: Some(metadata),
    }
}

fn apply(network: &DhcpNetwork, upsert: Vec<DhcpLease>, remove: Vec<String>) -> ApplyDhcp {
    ApplyDhcp { network: network.clone(), upsert, remove }
}

fn value<'a>(lease: &'a str, key: &str) -> Option<&'a str> {
    lease.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

fn pid_file(agent: &AgentProcess, service: &str, l3: L3Id) -> std::path::PathBuf {
    agent.home.join("run").join(format!("{service}-{l3}.pid"))
}

#[test]
fn net_dhcp_001_guests_get_exactly_their_lease_and_their_metadata() {
    isolated(|| async {
        let world = World::new();
        let kill = KillAtEnd::new();
        let agent = world.agent().await;
        ip("link add br_a type bridge");
        ip("link set br_a up");
        let network = DhcpNetwork {
            l3: L3Id::random(),
            bridge: "br_a".to_owned(),
            server: Ipv4Addr::new(192, 0, 2, 2),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
            dns: vec![Ipv4Addr::new(198, 51, 100, 53)],
            domain: Some("cloud.example".to_owned()),
            mtu: 1450,
            metadata: true,
            routes: Vec::new(),
        };
        let (one, two, stranger) = (Guest::plug(1, "br_a"), Guest::plug(2, "br_a"), Guest::plug(3, "br_a"));
        let (first, second) = (lease(&one, 11, true), lease(&two, 12, false));
        agent.run(apply(&network, vec![first.clone()], Vec::new())).await.unwrap();
        kill.pid_file(&pid_file(&agent, "dnsmasq", network.l3));
        let metadata = kill.pid_file(&pid_file(&agent, "metadata", network.l3));

        let diagnosis = |agent: &AgentProcess| {
            let file = |name: &str| {
                fs::read_to_string(agent.home.join("data/dnsmasq").join(network.l3.to_string()).join(name))
            };
            format!(
                "no lease; hosts {:?}, leases {:?}, dnsmasq says {:?}",
                file("hosts"),
                file("leases"),
                file("dnsmasq.log")
            )
        };
        let got = one.dhcp(&world, 10).unwrap_or_else(|| panic!("{}", diagnosis(&agent)));
        assert_eq!(value(&got, "ip"), Some("192.0.2.11"), "{got}");
        assert_eq!(value(&got, "mask"), Some("24"));
        assert_eq!(value(&got, "router"), Some("192.0.2.1"));
        assert_eq!(value(&got, "dns"), Some("198.51.100.53"));
        assert_eq!(value(&got, "mtu"), Some("1450"));
        assert_eq!(value(&got, "domain"), Some("cloud.example"));
        assert_eq!(value(&got, "hostname"), Some("192-0-2-11"));
        assert_eq!(value(&got, "serverid"), Some("192.0.2.2"));
        let routes = value(&got, "staticroutes").unwrap();
        assert!(routes.contains("169.254.169.254/32 192.0.2.2") && routes.contains("0.0.0.0/0 192.0.2.1"), "{routes}");

        // The second card is told no default route and no resolvers.
        agent.run(apply(&network, vec![second.clone()], Vec::new())).await.unwrap();
        let dnsmasq = kill.pid_file(&pid_file(&agent, "dnsmasq", network.l3));
        let got = two.dhcp(&world, 10).unwrap_or_else(|| panic!("{}", diagnosis(&agent)));
        assert_eq!(value(&got, "ip"), Some("192.0.2.12"));
        assert_eq!((value(&got, "router"), value(&got, "dns")), (None, None), "{got}");
        assert_eq!(value(&got, "staticroutes"), Some("169.254.169.254/32 192.0.2.2"));
        assert_eq!(stranger.dhcp(&world, 3), None, "unknown guests are not answered");

        // NET-UD-001: each guest by its address, and nobody else's.
        let meta = first.metadata.clone().unwrap();
        assert_eq!(one.fetch("/latest/meta-data/instance-id"), Some(meta.instance.to_string()));
        assert_eq!(one.fetch("/2009-04-04/meta-data/local-ipv4").as_deref(), Some("192.0.2.11"));
        assert_eq!(one.fetch("/latest/meta-data/public-keys/0/openssh-key").as_deref(), Some("ssh-ed25519 KEY11 a"));
        assert_eq!(two.fetch("/latest/meta-data/local-hostname").as_deref(), Some("vm-12"));
        assert_eq!(one.fetch("/latest/user-data"), None);
        let with_data = DhcpLease {
            metadata: Some(Metadata { user_data: Some("#cloud-config\n".to_owned()), ..meta }),
            ..first.clone()
        };
        agent.run(apply(&network, vec![with_data], Vec::new())).await.unwrap();
        assert_eq!(one.fetch("/latest/user-data").as_deref(), Some("#cloud-config\n"));

        // Services outlive the agent, and the next agent finds them.
        let (id, _) = agent.stop().await;
        assert_eq!(one.fetch("/latest/meta-data/hostname").as_deref(), Some("vm-11"));
        let agent = world.agent_of(id, &[]).await;
        agent.run(apply(&network, vec![second.clone()], Vec::new())).await.unwrap();
        assert_eq!(kill.pid_file(&pid_file(&agent, "dnsmasq", network.l3)), dnsmasq);
        assert_eq!(kill.pid_file(&pid_file(&agent, "metadata", network.l3)), metadata);
        assert_eq!(value(&one.dhcp(&world, 10).unwrap(), "ip"), Some("192.0.2.11"), "leases are remembered");

        // An address that one guest gave up goes to another at once.
        let moved = DhcpLease { mac: stranger.mac.clone(), ..first };
        agent.run(apply(&network, vec![moved], vec![one.mac.clone()])).await.unwrap();
        kill.pid_file(&pid_file(&agent, "dnsmasq", network.l3));
        assert_eq!(
            value(&stranger.dhcp(&world, 10).unwrap_or_else(|| panic!("{}", diagnosis(&agent))), "ip"),
            Some("192.0.2.11")
        );
        assert_eq!(one.dhcp(&world, 3), None);

        // Killed services come back.
        let old = kill.pid_file(&pid_file(&agent, "dnsmasq", network.l3));
        run("kill", &["-9", &old.to_string()]);
        agent.run(apply(&network, Vec::new(), Vec::new())).await.unwrap();
        assert_ne!(kill.pid_file(&pid_file(&agent, "dnsmasq", network.l3)), old);
        assert_eq!(
            value(&two.dhcp(&world, 10).unwrap_or_else(|| panic!("{}", diagnosis(&agent))), "ip"),
            Some("192.0.2.12")
        );

        // NET-L3-048: nothing stays.
        let pids = ["dnsmasq", "metadata"].map(|service| kill.pid_file(&pid_file(&agent, service, network.l3)));
        for _ in 0..2 {
            agent.run(RemoveDhcp { l3: network.l3 }).await.unwrap();
        }
        eventually(Duration::from_secs(10), || async {
            let alive = pids
                .iter()
                .filter(|pid| !fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty())
                .count();
            if alive == 0 { Ok(()) } else { Err(format!("{alive} services still run")) }
        })
        .await;
        assert!(!ip("netns").contains("zs-") && !ip("link").contains("zsd"), "namespace and cable are gone");
        assert!(!agent.home.join("data/dnsmasq").join(network.l3.to_string()).exists());
        assert!(!agent.home.join("data/metadata").join(network.l3.to_string()).exists());
    });
}

#[test]
fn dhcp_without_its_bridge_is_refused() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let network = DhcpNetwork {
            l3: L3Id::random(),
            bridge: "br_none".to_owned(),
            server: Ipv4Addr::new(192, 0, 2, 2),
            prefix: 24,
            gateway: None,
            dns: Vec::new(),
            domain: None,
            mtu: 1500,
            metadata: false,
            routes: Vec::new(),
        };
        let error = agent.run(apply(&network, Vec::new(), Vec::new())).await.unwrap_err();
        assert!(error.kind == ErrorKind::NotFound && error.message.contains("br_none"), "{error}");
    });
}
