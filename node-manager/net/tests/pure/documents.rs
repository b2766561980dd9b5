//! Documents: how they are written, and what is said about wrong ones.

use node_manager_net::{files::render, model::Network, state::State, validate::validate};
use proptest::prelude::*;

use crate::arbitrary::network;

proptest! {
    #[test]
    fn documents_are_written_and_read_without_loss(network in network()) {
        let text = toml::to_string(&network).unwrap();
        prop_assert_eq!(&toml::from_str::<Network>(&text).unwrap(), &network, "{}", text);
        let json = serde_json::to_string(&network).unwrap();
        prop_assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), network);
    }

    #[test]
    fn any_document_is_judged_without_a_panic(text in "\\PC{0,200}", name in "\\PC{0,20}", id in any::<u16>(), mtu in any::<u32>()) {
        let _ = toml::from_str::<Network>(&text);
        let mut network = Network::default();
        let document = serde_json::json!({"links": {
            name.clone(): {"kind": {"vlan": {"parent": name.clone(), "id": id}}, "mtu": mtu},
            "br": {"kind": {"bridge": {"ports": [name.clone(), "br", text]}}}
        }});
        if let Ok(read) = serde_json::from_value(document) {
            network = read;
        }
        prop_assert!(!validate(&network).is_empty());
        network.rename("br", &name);
        let _ = node_manager_net::plan::plan(&(&Network::default()).into(), &(&network).into());
        let _ = node_manager_net::plan::plan(&(&network).into(), &(&Network::default()).into());
    }
}

#[test]
fn typing_errors_in_documents_are_named() {
    let wrong = |text: &str| toml::from_str::<Network>(text).unwrap_err().to_string();
    assert!(wrong("managment = 'eth0'").contains("managment"));
    assert!(wrong("[links.eth0]\nkind.nic = {}\nmtux = 3").contains("mtux"));
    assert!(wrong("[links.bond0]\nkind.bond = { mode = '802.3ad', mebers = [] }").contains("mebers"));
    assert!(wrong("[links.bond0]\nkind.bond = { mode = 'lacp' }").contains("802.3ad"));
    assert!(wrong("[links.eth0]\nkind.nic = { mac = '52:54' }").contains("52:54:00:12:34:56"));
}

#[test]
fn everything_wrong_is_said_at_once_with_rule_and_way_out() {
    let text = r#"
management = "em1"
[links.em1]
kind.nic = { mac = "52:54:00:00:00:01" }
ip = { addresses = ["192.0.2.0/24"] }
[links.em2]
kind.nic = { mac = "52:54:00:00:00:01" }
mtu = 1400
ip = { addresses = ["192.0.2.20/24"], routes = [{ to = "0.0.0.0/0", via = "198.51.100.1" }] }
[links.a-name-that-is-too-long]
kind.nic = {}
[links.lo]
kind.nic = {}
[links.bond0]
kind.bond = { mode = "balance-rr", members = ["em1", "em9", "tagged"], primary = "em3", updelay = 150, lacp_rate = "fast" }
[links.bond1]
kind.bond = { mode = "802.3ad", miimon = 0, members = ["em1"] }
[links.tagged]
kind.vlan = { parent = "em2", id = 4095 }
mtu = 9000
[links.again]
kind.vlan = { parent = "em2", id = 4095 }
ip = { addresses = ["192.0.2.20/16", "127.0.0.1/8"], routes = [{ to = "0.0.0.0/0", via = "192.0.2.20" }, { to = "10.1.2.3/8" }] }
[links.inner]
kind.vlan = { parent = "outer", id = 1 }
[links.outer]
kind.vlan = { parent = "inner", id = 1 }
[links.br0]
kind.bridge = { ports = ["br1"], mac = "01:00:5e:00:00:01" }
[links.br1]
kind.bridge = {}
[links.vx]
kind.vxlan = { vni = 16777216, local = "192.0.2.20", peers = ["2001:db8::1", "192.0.2.20"] }
"#;
    let network: Network = toml::from_str(text).unwrap();
    let problems: Vec<String> = validate(&network).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(problems.join("\n"));
}

#[test]
fn a_route_through_the_network_that_dhcp_gives_is_networkd_s_to_set() {
    let text = |route: &str| {
        format!(
            "[links.eth0]\nkind.nic = {{}}\nip = {{ dhcp = 'ipv4', routes = [{{ to = '198.51.100.0/24', via = '{route}' }}] }}\n"
        )
    };
    let network: Network = toml::from_str(&text("192.0.2.1")).unwrap();
    assert_eq!(validate(&network), []);
    // Before there is an address the kernel would refuse it; networkd sets it when the address comes.
    assert!(State::from(&network).links["eth0"].routes.is_empty());
    assert!(render(&network)["05-zs-eth0.network"].contains("[Route]\nDestination=198.51.100.0/24\nGateway=192.0.2.1"));
    let other: Network = toml::from_str(&text("2001:db8::1")).unwrap();
    assert!(validate(&other)[0].rule.english().contains("different families"), "{:?}", validate(&other));
}

#[test]
fn os_tui_076_no_router_has_the_address_of_a_network_or_of_everybody_in_it() {
    for (via, reason) in [("192.0.2.0", "is the network itself"), ("192.0.2.255", "is the broadcast address")] {
        let text = format!(
            "[links.eth0]\nkind.nic = {{}}\nip = {{ addresses = ['192.0.2.10/24'], routes = [{{ to = '0.0.0.0/0', via = '{via}' }}] }}\n"
        );
        let problems = validate(&toml::from_str(&text).unwrap());
        assert!(problems.len() == 1 && problems[0].rule.english().contains(reason), "{problems:?}");
    }
}
