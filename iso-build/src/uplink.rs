//! The network of the demonstration cloud: a veth pair of our own takes the place of a physical NIC. The agent's bridge
//! gets one end; the other end carries the gateway address, so this machine reaches the guests. No interface, address,
//! route or firewall rule that was here before is touched.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{cloud::Range, program::Program};

/// The pair, named after the state folder so that several clouds fit on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uplink {
    /// End that the cloud uses like a physical NIC.
    pub(crate) name: String,
    /// End that stays with this machine.
    peer: String,
}

impl Uplink {
    /// The pair that belongs to a state folder.
    pub(crate) fn of(state: &std::path::Path) -> Self {
        let tag = hex::encode(&Sha256::digest(state.as_os_str().as_encoded_bytes())[..3]);
        Self { name: format!("zsu{tag}"), peer: format!("zsg{tag}") }
    }

    /// Creates the pair with the gateway address of `subnet`; what is there already stays.
    pub(crate) async fn ensure(&self, subnet: Ipv4Net) -> Result<()> {
        if link(&self.name).await?.is_none() {
            let pair = ["link", "add", &self.name, "type", "veth", "peer", "name", &self.peer];
            ip(&pair).await.context("the veth pair for the cloud's network cannot be made")?;
        }
        let address = format!("{}/{}", range(subnet)?.gateway, subnet.prefix_len());
        ip(&["address", "replace", &address, "dev", &self.peer]).await?;
        for end in [&self.name, &self.peer] {
            ip(&["link", "set", end, "up"]).await?;
        }
        Ok(())
    }

    /// Removes the pair and what the agent of this cloud left on the bridge it made for it: namespaces with their
    /// processes, and the bridge. Normally the agent has removed these already; this is for agents that died.
    pub(crate) async fn remove(&self) -> Result<()> {
        let Some(uplink) = link(&self.name).await? else { return Ok(()) };
        // Nobody but this cloud's agent puts our uplink into a bridge, so that bridge and its ports are its work.
        let bridge = uplink["master"].as_str().map(str::to_owned);
        if let Some(bridge) = &bridge {
            for namespace in namespaces_on(bridge).await? {
                for pid in ip(&["netns", "pids", &namespace]).await?.split_whitespace() {
                    crate::services::Process::of(&namespace, pid.parse()?)?.end().await?;
                }
                ip(&["netns", "delete", &namespace]).await?;
            }
        }
        ip(&["link", "delete", &self.name]).await?;
        if let Some(bridge) = bridge
            && link(&bridge).await?.is_some()
        {
            ip(&["link", "delete", &bridge, "type", "bridge"]).await?;
        }
        Ok(())
    }
}

/// Addresses of a cloud in this network: the first is the gateway, the next few stay free for services.
pub(crate) fn range(subnet: Ipv4Net) -> Result<Range> {
    let base = u32::from(subnet.network());
    if subnet.prefix_len() > 24 {
        bail!("{subnet} is too small for the cloud; a /24 is needed");
    }
    let at = |offset: u32| Ipv4Addr::from(base + offset);
    Ok(Range { start: at(10), end: at(200), netmask: subnet.netmask(), gateway: at(1) })
}

/// A network that no address or route of this machine overlaps.
pub(crate) async fn free_subnet() -> Result<Ipv4Net> {
    let routes = ip(&["-j", "-4", "route", "show", "table", "all"]).await?;
    let used = used(&serde_json::from_str(&routes).context("ip printed no JSON")?);
    candidates()
        .find(|candidate| used.iter().all(|net| !net.contains(candidate) && !candidate.contains(net)))
        .context("every private network is in use on this machine; free one of 10.213.0.0/16 for the cloud's guests")
}

/// Networks nobody is likely to use, from several private blocks: a VPN often claims one of them as a whole.
fn candidates() -> impl Iterator<Item = Ipv4Net> {
    let blocks = [(10, 213), (172, 29), (192, 168), (198, 19)];
    blocks.into_iter().flat_map(|(a, b)| {
        // From the middle of the block: the lower ends of 192.168 are taken by home routers.
        (100..200).map(move |c| Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), 24))
    })
}

/// Destinations of all routes but the default one; local and broadcast routes name every address there is.
fn used(routes: &Value) -> Vec<Ipv4Net> {
    let destination = |route: &Value| {
        let text = route["dst"].as_str()?.to_owned();
        text.parse().ok().or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))
    };
    let default = |net: &Ipv4Net| net.prefix_len() == 0;
    routes.as_array().into_iter().flatten().filter_map(destination).filter(|net| !default(net)).collect()
}

/// The first IPv4 resolver of this machine that others can reach.
pub(crate) fn resolver(resolv_conf: &str) -> Option<Ipv4Addr> {
    let servers = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|server| server.trim().parse().ok()).find(|server: &Ipv4Addr| !server.is_loopback())
}

async fn ip(arguments: &[&str]) -> Result<String> {
    Program::new("ip").args(arguments).stdout().await
}

async fn link(name: &str) -> Result<Option<Value>> {
    let ended = Program::new("ip").args(["-j", "link", "show", "dev", name]).ended().await?;
    if !ended.success && ended.stderr.contains("does not exist") {
        return Ok(None);
    }
    let found: Vec<Value> = serde_json::from_str(&ended.stdout()?).context("ip printed no JSON")?;
    Ok(found.into_iter().next())
}

/// Named namespaces that have an interface on the bridge.
async fn namespaces_on(bridge: &str) -> Result<Vec<String>> {
    let ports = ip(&["-j", "link", "show", "master", bridge]).await?;
    let ports: Vec<Value> = parse_list(&ports)?;
    let names: Vec<Value> = parse_list(&ip(&["-j", "netns", "list-id"]).await?)?;
    Ok(namespace_names(&ports, &names))
}

/// `ip -j` prints nothing at all for an empty list.
fn parse_list(text: &str) -> Result<Vec<Value>> {
    if text.trim().is_empty() { Ok(Vec::new()) } else { serde_json::from_str(text).context("ip printed no JSON") }
}

fn namespace_names(ports: &[Value], names: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for id in ports.iter().filter_map(|port| port["link_netnsid"].as_i64()) {
        let name =
            names.iter().find(|entry| entry["nsid"].as_i64() == Some(id)).and_then(|entry| entry["name"].as_str());
        if let Some(name) = name.filter(|name| !found.iter().any(|known| known == name)) {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_network_that_overlaps_any_route_is_passed_over() {
        let routes = json!([
            {"dst": "default", "gateway": "192.0.2.1"},
            {"type": "local", "dst": "127.0.0.0/8"},
            {"dst": "10.0.0.0/8", "dev": "vpn0"},
            {"dst": "172.29.100.7", "dev": "eth0"},
        ]);
        let used = used(&routes);
        assert_eq!(used.len(), 3);
        let free =
            candidates().find(|candidate| used.iter().all(|net| !net.contains(candidate) && !candidate.contains(net)));
        assert_eq!(free, Some("172.29.101.0/24".parse().unwrap()));
    }

    #[test]
    fn gateway_and_guests_share_the_network() {
        let range = range("10.213.100.0/24".parse().unwrap()).unwrap();
        assert_eq!(range.gateway, Ipv4Addr::new(10, 213, 100, 1));
        assert_eq!((range.start, range.end), (Ipv4Addr::new(10, 213, 100, 10), Ipv4Addr::new(10, 213, 100, 200)));
        assert_eq!(range.netmask, Ipv4Addr::new(255, 255, 255, 0));
        assert!(super::range("10.0.0.0/28".parse().unwrap()).is_err());
    }

    #[test]
    fn interface_names_fit_the_kernel_and_differ_by_folder() {
        let (one, two) = (Uplink::of("/var/lib/a".as_ref()), Uplink::of("/var/lib/b".as_ref()));
        assert_ne!(one, two);
        assert_eq!(one, Uplink::of("/var/lib/a".as_ref()));
        // The agent puts a prefix of up to six characters before it for its bridge.
        assert_eq!((one.name.len(), one.peer.len()), (9, 9));
    }

    #[test]
    fn namespaces_are_found_by_the_ports_of_the_bridge() {
        let ports = [json!({"ifname": "zsu1"}), json!({"ifname": "d1", "link_netnsid": 3}), json!({"link_netnsid": 3})];
        let names = [json!({"nsid": 1, "name": "other"}), json!({"nsid": 3, "name": "dhcp-1"})];
        assert_eq!(namespace_names(&ports, &names), ["dhcp-1"]);
    }

    #[test]
    fn loopback_resolvers_are_of_no_use_to_guests() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver fd00::1\nnameserver 192.0.2.53\n";
        assert_eq!(resolver(text), Some(Ipv4Addr::new(192, 0, 2, 53)));
        assert_eq!(resolver("nameserver ::1\n"), None);
    }

    #[tokio::test]
    async fn the_pair_comes_and_goes_with_whatever_was_put_on_its_bridge() {
        assert!(nix::unistd::geteuid().is_root(), "this test makes interfaces: run it as root");
        let folder = tempfile::tempdir().unwrap();
        let uplink = Uplink::of(folder.path());
        let (bridge, namespace) = (format!("br_{}", uplink.name), format!("ns-{}", uplink.name));
        let before = ip(&["-j", "-4", "route", "show", "table", "all"]).await.unwrap();
        let subnet = free_subnet().await.unwrap();
        uplink.ensure(subnet).await.unwrap();
        uplink.ensure(subnet).await.unwrap();
        assert_ne!(free_subnet().await.unwrap(), subnet, "a network in use is not offered twice");

        // What an agent does with it.
        for words in [
            format!("link add {bridge} type bridge"),
            format!("link set {} master {bridge}", uplink.name),
            format!("netns add {namespace}"),
            format!("link add v-{} type veth peer name in0 netns {namespace}", uplink.name),
            format!("link set v-{} master {bridge}", uplink.name),
        ] {
            ip(&words.split(' ').collect::<Vec<_>>()).await.unwrap();
        }
        uplink.remove().await.unwrap();
        for gone in [&uplink.name, &uplink.peer, &bridge, &format!("v-{}", uplink.name)] {
            assert!(link(gone).await.unwrap().is_none(), "{gone} is still there");
        }
        assert!(!ip(&["netns", "list"]).await.unwrap().contains(&namespace));
        assert_eq!(ip(&["-j", "-4", "route", "show", "table", "all"]).await.unwrap(), before);
        uplink.remove().await.unwrap();
    }
}
