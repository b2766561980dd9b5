//! DHCP of one L3 network on this host (NET-DHCP-001): a namespace with one end of a cable into the bridge, and in it
//! dnsmasq(8), which knows the guests of this host and answers nobody else.
//!
//! Every host has the same server address (NET-DHCP-010). The cable's end and the uplink are isolated ports of the
//! bridge: guests reach both, but the servers of different hosts never meet on the wire, and one host's server never
//! hears another host's guests.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use hostcmd::Cmd;
use node_manager_types::{
    AgentError, ErrorKind, L3Id,
    network::{DhcpLease, DhcpListing, DhcpNetwork},
};
use serde::{Deserialize, Serialize};

use super::{
    MARK,
    kernel::{Kernel, net},
    namespace::Namespace,
    process::Service,
};
use crate::{
    drivers::Result,
    files::{blocking, command_error, eventually, io_error, write_atomically},
    metadata,
    vm::xml::{interface_name, mac},
};

/// Name of our end of the cable inside the namespace.
const INSIDE: &str = "dhcp0";
/// Where guests look for metadata (the link-local address EC2 made common).
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Directories and programs of this host's DHCP.
#[derive(Debug, Clone)]
pub struct Places {
    /// Configuration, leases, metadata.
    pub data: PathBuf,
    /// Pid files.
    pub run: PathBuf,
    /// The agent's binary, which is the metadata server too.
    pub program: PathBuf,
}

/// What is remembered about a network, so that leases can be added one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Remembered {
    network: DhcpNetwork,
    leases: Vec<DhcpLease>,
}

/// Everything that belongs to one network.
struct Site {
    l3: L3Id,
    namespace: Namespace,
    /// dnsmasq's directory; readable by its unprivileged user.
    dhcp: PathBuf,
    /// Ours alone: user data often holds passwords.
    metadata: PathBuf,
    dnsmasq: Service,
    server: Service,
    /// Host end of the cable, and the name of the other end on its way.
    outside: String,
    on_the_way: String,
}

impl Places {
    fn site(&self, l3: L3Id) -> Site {
        let id = l3.to_string();
        let dhcp = self.data.join("dnsmasq").join(&id);
        let metadata = self.data.join("metadata").join(&id);
        Site {
            l3,
            namespace: Namespace::named(format!("zs-{}", &id[..12])),
            dnsmasq: Service {
                pid_file: self.run.join(format!("dnsmasq-{id}.pid")),
                word: dhcp.join("dnsmasq.conf").display().to_string(),
            },
            server: Service {
                pid_file: self.run.join(format!("metadata-{id}.pid")),
                word: metadata.display().to_string(),
            },
            dhcp,
            metadata,
            outside: format!("zsd{}", &id[..12]),
            on_the_way: format!("zsp{}", &id[..12]),
        }
    }

    /// Makes the server run with these leases.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for addresses outside the network, [`ErrorKind::NotFound`] without the bridge,
    /// [`ErrorKind::Host`] when the kernel or dnsmasq refuses.
    pub async fn apply(&self, network: &DhcpNetwork, upsert: &[DhcpLease], forget: &[String]) -> Result<()> {
        check(network, upsert)?;
        let site = self.site(network.l3);
        let (run, dhcp, private) = (self.run.clone(), site.dhcp.clone(), site.metadata.clone());
        blocking(move || {
            let make = |path: &Path, mode| fs::DirBuilder::new().recursive(true).mode(mode).create(path);
            let made = make(&run, 0o755).and_then(|()| make(&dhcp, 0o755)).and_then(|()| make(&private, 0o700));
            made.map_err(|e| {
                io_error(format_args!("cannot make the directories of a DHCP server below {}", dhcp.display()), &e)
            })
        })
        .await?;
        let before = site.remembered();
        let known = before.as_ref().map(|r| r.leases.clone()).unwrap_or_default();
        let leases = merge(known, upsert, forget)?;
        // dnsmasq keeps an address for the card that had it until it forgets the lease.
        let freed: Vec<&DhcpLease> = before
            .iter()
            .flat_map(|r| &r.leases)
            .filter(|old| !leases.iter().any(|new| new.mac == old.mac && new.ip == old.ip))
            .collect();

        site.plug(network).await?;
        let config = config(network, &site.dhcp, &site.dnsmasq.pid_file);
        let hosts = hosts(&leases);
        let is = |name: &str, text: &String| fs::read_to_string(site.dhcp.join(name)).ok().as_ref() == Some(text);
        let changed = !is("dnsmasq.conf", &config) || !is("hosts", &hosts);
        if changed {
            // Stopped first: a crash between the files and the restart must not leave a server that looks up to date.
            // Restarted for every change, not signalled: dnsmasq 2.90 dies of the SIGHUP that rereads the hosts file when
            // it has handed out a lease. A restart takes milliseconds, and clients ask again.
            site.dnsmasq.stop().await?;
        }
        site.write("dnsmasq.conf", &config)?;
        site.write("hosts", &hosts)?;
        let stored = serde_json::to_vec(&Remembered { network: network.clone(), leases: leases.clone() })
            .map_err(|e| AgentError::new(ErrorKind::Host, format!("leases cannot be written: {e}")))?;
        write_atomically(&site.metadata.join(metadata::STATE), &stored, 0o600)
            .map_err(|e| io_error("cannot remember the leases", &e))?;
        metadata::store(&site.metadata, if network.metadata { &leases } else { &[] })?;

        if changed || !site.dnsmasq.runs_in(&site.namespace) {
            site.dnsmasq.stop().await?;
            site.forget(&freed)?;
            site.start_dnsmasq().await?;
        }
        if !network.metadata {
            site.server.stop().await?;
        } else if !site.server.runs_in(&site.namespace) {
            site.server.stop().await?;
            site.start_metadata(&self.program).await?;
        }
        Ok(())
    }

    /// The networks that are served here and the cards they know. A network whose file cannot be read is listed without
    /// cards.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] when the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<DhcpListing>> {
        let places = self.clone();
        blocking(move || {
            let directory = places.data.join("metadata");
            let entries = match fs::read_dir(&directory) {
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries.map_err(|e| io_error(format_args!("cannot list {}", directory.display()), &e))?,
            };
            let l3s = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            let listing = |l3: L3Id| {
                let leases = places.site(l3).remembered().map(|remembered| remembered.leases).unwrap_or_default();
                DhcpListing { l3, macs: leases.into_iter().map(|lease| lease.mac).collect() }
            };
            Ok(l3s.map(listing).collect())
        })
        .await
    }

    /// Stops the server and removes everything of the network (NET-L3-048).
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn remove(&self, l3: L3Id) -> Result<()> {
        let site = self.site(l3);
        site.dnsmasq.stop().await?;
        site.server.stop().await?;
        let kernel = Kernel::open()?;
        for name in [&site.outside, &site.on_the_way] {
            if let Some(link) = kernel.link(name).await? {
                kernel.delete(&link).await?;
            }
        }
        site.namespace.remove().await?;
        blocking(move || {
            for directory in [&site.dhcp, &site.metadata] {
                match fs::remove_dir_all(directory) {
                    Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                        return Err(io_error(format_args!("cannot remove {}", directory.display()), &cause));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

impl Site {
    fn remembered(&self) -> Option<Remembered> {
        serde_json::from_slice(&fs::read(self.metadata.join(metadata::STATE)).ok()?).ok()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dhcp.join(name);
        write_atomically(&path, text.as_bytes(), 0o644)
            .map_err(|e| io_error(format_args!("cannot write {}", path.display()), &e))
    }

    /// Makes namespace, cable and addresses exist.
    async fn plug(&self, network: &DhcpNetwork) -> Result<()> {
        let kernel = Kernel::open()?;
        let bridge = kernel.existing(&network.bridge).await?;
        if bridge.kind.as_deref() != Some("bridge") {
            return Err(AgentError::new(
                ErrorKind::Conflict,
                format!("{} is no bridge; DHCP plugs into a bridge", network.bridge),
            ));
        }
        self.namespace.ensure().await?;
        let has_inside = self.namespace.inside(|| async { Ok(Kernel::open()?.link(INSIDE).await?.is_some()) }).await?;
        if !has_inside {
            // A cable that was cut short by a killed agent, or whose namespace is gone.
            for name in [&self.outside, &self.on_the_way] {
                if let Some(half) = kernel.link(name).await? {
                    kernel.delete(&half).await?;
                }
            }
            kernel.add_veth(&self.outside, &self.on_the_way).await?;
            let peer = kernel.existing(&self.on_the_way).await?;
            let file = self.namespace.file()?;
            kernel.give(peer.index, file.as_fd()).await?;
        }
        let mark = format!("{MARK}dhcp:{}", self.l3);
        let outside = kernel.existing(&self.outside).await?;
        let (index, mtu) = (bridge.index, u32::from(network.mtu));
        kernel
            .change(outside.index, "cannot plug the DHCP server into the bridge", |link| {
                link.alias(mark).mtu(mtu).controller(index).up()
            })
            .await?;
        kernel.isolate(outside.index, true).await?;

        let (server, metadata, peer) =
            (net(IpAddr::V4(network.server), network.prefix)?, network.metadata, self.on_the_way.clone());
        let link_local = net(IpAddr::V4(METADATA), 32)?;
        self.namespace
            .inside(move || async move {
                let kernel = Kernel::open()?;
                let lo = kernel.existing("lo").await?;
                kernel.change(lo.index, "cannot switch lo on", |link| link.up()).await?;
                let link = match kernel.link(INSIDE).await? {
                    Some(link) => link,
                    None => {
                        let link = kernel.existing(&peer).await?;
                        kernel.change(link.index, "cannot rename the DHCP interface", |link| link.name(INSIDE)).await?;
                        link
                    }
                };
                kernel.change(link.index, "cannot switch the DHCP interface on", |link| link.mtu(mtu).up()).await?;
                let wanted: Vec<_> = [Some(server), metadata.then_some(link_local)].into_iter().flatten().collect();
                for old in kernel.addresses(link.index).await? {
                    if old.addr().is_ipv4() && !wanted.contains(&old) {
                        kernel.delete_address(link.index, old).await?;
                    }
                }
                for address in wanted {
                    kernel.add_address(link.index, address).await?;
                }
                Ok(())
            })
            .await
    }

    /// Strikes leases out of dnsmasq's own memory. Lines: expiry, hardware address, address, name, client id.
    fn forget(&self, freed: &[&DhcpLease]) -> Result<()> {
        let path = self.dhcp.join("leases");
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        let gone = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            freed.iter().any(|old| {
                words.get(1) == Some(&old.mac.as_str()) || words.get(2) == Some(&old.ip.to_string().as_str())
            })
        };
        let kept: String = text.lines().filter(|line| !gone(line)).map(|line| format!("{line}\n")).collect();
        // In place: dnsmasq's user owns the file.
        fs::write(&path, kept).map_err(|e| io_error(format_args!("cannot write {}", path.display()), &e))
    }

    async fn start_dnsmasq(&self) -> Result<()> {
        reachable(&self.dhcp)?;
        let config = self.dhcp.join("dnsmasq.conf");
        self.namespace
            .inside(move || async move {
                let cmd = Cmd::new("dnsmasq").arg(format!("--conf-file={}", config.display()));
                cmd.run().await.map(drop).map_err(|e| command_error("dnsmasq does not start", ErrorKind::Host, &e))
            })
            .await?;
        self.wait(&self.dnsmasq, "dnsmasq").await
    }

    async fn start_metadata(&self, program: &Path) -> Result<()> {
        let (program, dir, pid) = (program.to_owned(), self.metadata.clone(), self.server.pid_file.clone());
        self.namespace
            .inside(move || async move {
                let cmd = Cmd::new(program).arg("metadata-server").arg("--dir").arg(dir).arg("--pid-file").arg(pid);
                cmd.run()
                    .await
                    .map(drop)
                    .map_err(|e| command_error("the metadata server does not start", ErrorKind::Host, &e))
            })
            .await?;
        self.wait(&self.server, "the metadata server").await
    }

    async fn wait(&self, service: &Service, name: &str) -> Result<()> {
        let runs = eventually(Duration::from_secs(10), || async { Ok(service.runs_in(&self.namespace).then_some(())) })
            .await?;
        let message = || {
            format!("{name} of {:?} started and ended again; see {}", self.l3, self.dhcp.join("dnsmasq.log").display())
        };
        runs.ok_or_else(|| AgentError::new(ErrorKind::Host, message()))
    }
}

/// dnsmasq becomes a user of its own before it reads who gets which address; where it cannot, it starts all the same and
/// answers nobody.
fn reachable(directory: &Path) -> Result<()> {
    for folder in directory.ancestors() {
        let mode =
            fs::metadata(folder).map_err(|e| io_error(format_args!("cannot look at {}", folder.display()), &e))?;
        if mode.permissions().mode() & 0o001 == 0 {
            let text = format!(
                "dnsmasq's user cannot reach {}: {} lets nobody pass; chmod o+x {}",
                directory.display(),
                folder.display(),
                folder.display()
            );
            return Err(AgentError::new(ErrorKind::Host, text));
        }
    }
    Ok(())
}

/// Refuses what dnsmasq would misread or could never serve.
fn check(network: &DhcpNetwork, leases: &[DhcpLease]) -> Result<()> {
    let invalid = |text: String| Err(AgentError::new(ErrorKind::Invalid, text));
    interface_name(&network.bridge)?;
    let range = net(IpAddr::V4(network.server), network.prefix)?;
    if !(1..=30).contains(&network.prefix) {
        return invalid(format!("{range} has no room for a DHCP server and guests"));
    }
    if let Some(domain) = &network.domain
        && !host_name(domain, true)
    {
        return invalid(format!("{domain:?} is no DNS domain"));
    }
    if !(576..=65535).contains(&network.mtu) {
        return invalid(format!("MTU {} is outside 576-65535", network.mtu));
    }
    for route in &network.routes {
        let target = net(IpAddr::V4(route.network), route.prefix)?;
        if target.trunc() != target || !range.contains(&IpAddr::V4(route.via)) {
            return invalid(format!("{target} via {} is no route that guests of {} can use", route.via, range.trunc()));
        }
    }
    for lease in leases {
        mac(&lease.mac)?;
        if !range.contains(&IpAddr::V4(lease.ip)) || lease.ip == network.server {
            return invalid(format!("{} is not a guest address of {}", lease.ip, range.trunc()));
        }
        if let Some(name) = &lease.hostname
            && !host_name(name, false)
        {
            return invalid(format!("{name:?} is no host name; letters, digits and hyphens"));
        }
    }
    Ok(())
}

fn host_name(text: &str, dots: bool) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
    };
    text.len() <= 253 && if dots { text.split('.').all(label) } else { label(text) }
}

/// The leases from now on. An address belongs to one card.
fn merge(known: Vec<DhcpLease>, upsert: &[DhcpLease], forget: &[String]) -> Result<Vec<DhcpLease>> {
    let stays = |old: &DhcpLease| {
        !forget.contains(&old.mac) && !upsert.iter().any(|new| new.mac == old.mac || new.ip == old.ip)
    };
    let mut leases: Vec<DhcpLease> = known.into_iter().filter(stays).collect();
    for new in upsert {
        if let Some(other) = leases.iter().find(|other| other.ip == new.ip || other.mac == new.mac) {
            let text = format!(
                "{} and {} both ask for {} or share a card; an address belongs to one card",
                other.mac, new.mac, new.ip
            );
            return Err(AgentError::new(ErrorKind::Invalid, text));
        }
        leases.push(new.clone());
    }
    leases.sort_by_key(|lease| lease.ip);
    Ok(leases)
}

/// dnsmasq's configuration (dnsmasq(8)).
fn config(network: &DhcpNetwork, directory: &Path, pid_file: &Path) -> String {
    let range = ipnet::Ipv4Net::new(network.server, network.prefix).map(|net| (net.network(), net.netmask()));
    let (first, mask) = range.unwrap_or((network.server, Ipv4Addr::BROADCAST));
    let list = |ips: &[Ipv4Addr]| ips.iter().map(|ip| format!(",{ip}")).collect::<String>();
    let mut lines = vec![
        "# Written by node-manager; changes are lost.".to_owned(),
        // Guests are told the network's resolvers; this server resolves nothing, for nobody.
        "port=0".to_owned(),
        "no-resolv".to_owned(),
        "no-hosts".to_owned(),
        format!("interface={INSIDE}"),
        "except-interface=lo".to_owned(),
        "bind-interfaces".to_owned(),
        // `static`: only cards in the hosts file are answered.
        format!("dhcp-range={first},static,{mask},24h"),
        "dhcp-authoritative".to_owned(),
        // The address was assigned by management; probing it only delays the guest.
        "no-ping".to_owned(),
        "dhcp-no-override".to_owned(),
        format!("dhcp-hostsfile={}", directory.join("hosts").display()),
        format!("dhcp-leasefile={}", directory.join("leases").display()),
        format!("log-facility={}", directory.join("dnsmasq.log").display()),
        format!("pid-file={}", pid_file.display()),
        format!("dhcp-option=option:mtu,{}", network.mtu),
    ];
    lines.extend(network.domain.as_ref().map(|domain| format!("dhcp-option=option:domain-name,{domain}")));
    // An option without a value is not sent; otherwise dnsmasq offers itself as router and resolver.
    match network.gateway {
        Some(gateway) => lines.push(format!("dhcp-option=tag:default,option:router,{gateway}")),
        None => lines.push("dhcp-option=tag:default,option:router".to_owned()),
    }
    lines.push("dhcp-option=tag:!default,option:router".to_owned());
    lines.push(format!("dhcp-option=tag:default,option:dns-server{}", list(&network.dns)));
    lines.push("dhcp-option=tag:!default,option:dns-server".to_owned());
    let mut routes: Vec<String> =
        network.routes.iter().map(|route| format!("{}/{},{}", route.network, route.prefix, route.via)).collect();
    if network.metadata {
        routes.insert(0, format!("{METADATA}/32,{}", network.server));
    }
    if !routes.is_empty() {
        let routes = routes.join(",");
        // A client that gets this option ignores the router option (RFC 3442), so the default route stands here too.
        let default = network.gateway.map(|gateway| format!(",0.0.0.0/0,{gateway}")).unwrap_or_default();
        lines.push(format!("dhcp-option=tag:default,option:classless-static-route,{routes}{default}"));
        lines.push(format!("dhcp-option=tag:!default,option:classless-static-route,{routes}"));
    }
    lines.join("\n") + "\n"
}

/// One line per guest. `id:*`: firmware and operating system of one card present different client ids.
fn hosts(leases: &[DhcpLease]) -> String {
    let line = |lease: &DhcpLease| {
        let tag = if lease.default_route { ",set:default" } else { "" };
        let name = lease.hostname.as_ref().map(|name| format!(",{name}")).unwrap_or_default();
        format!("{},id:*{tag},{}{name}\n", lease.mac, lease.ip)
    };
    leases.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use node_manager_types::{VmId, network::HostRoute};

    use super::*;

    fn network() -> DhcpNetwork {
        DhcpNetwork {
            l3: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            bridge: "br_eth0".to_owned(),
            server: Ipv4Addr::new(192, 0, 2, 2),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
            dns: vec![Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)],
            domain: Some("cloud.example".to_owned()),
            mtu: 1450,
            metadata: true,
            routes: Vec::new(),
        }
    }

    fn lease(last: u8, default_route: bool) -> DhcpLease {
        DhcpLease {
            mac: format!("fa:16:3e:00:00:{last:02x}"),
            ip: Ipv4Addr::new(192, 0, 2, last),
            hostname: Some(format!("192-0-2-{last}")),
            default_route,
            vm: VmId::random(),
            metadata: None,
        }
    }

    #[test]
    fn configuration_of_a_network() {
        let directory = Path::new("/var/lib/zstack/dnsmasq/x");
        insta::assert_snapshot!(config(&network(), directory, Path::new("/run/zstack/x.pid")));
    }

    #[test]
    fn a_network_without_gateway_and_resolvers_offers_none() {
        let network = DhcpNetwork { gateway: None, dns: Vec::new(), domain: None, metadata: false, ..network() };
        let text = config(&network, Path::new("/d"), Path::new("/p"));
        assert!(text.contains("\ndhcp-option=tag:default,option:router\n"), "{text}");
        assert!(text.contains("\ndhcp-option=tag:default,option:dns-server\n"), "{text}");
        assert!(!text.contains("classless") && !text.contains("domain-name"), "{text}");
    }

    #[test]
    fn routes_stand_beside_the_default_route_for_whoever_has_one() {
        let route = HostRoute { network: Ipv4Addr::new(198, 51, 100, 0), prefix: 24, via: Ipv4Addr::new(192, 0, 2, 7) };
        let network = DhcpNetwork { metadata: false, routes: vec![route], ..network() };
        let text = config(&network, Path::new("/d"), Path::new("/p"));
        let option = |tag: &str, rest: &str| {
            format!("dhcp-option=tag:{tag},option:classless-static-route,198.51.100.0/24,192.0.2.7{rest}\n")
        };
        assert!(text.contains(&option("default", ",0.0.0.0/0,192.0.2.1")), "{text}");
        assert!(text.contains(&option("!default", "")), "{text}");
    }

    #[test]
    fn guests_are_listed_with_tag_and_name() {
        let leases = [lease(10, true), DhcpLease { hostname: None, ..lease(11, false) }];
        assert_eq!(
            hosts(&leases),
            "fa:16:3e:00:00:0a,id:*,set:default,192.0.2.10,192-0-2-10\nfa:16:3e:00:00:0b,id:*,192.0.2.11\n"
        );
    }

    #[test]
    fn leases_merge_by_card_and_address() {
        let (a, b) = (lease(10, true), lease(11, true));
        let known = vec![a.clone(), b.clone()];
        let moved = DhcpLease { mac: lease(12, true).mac, ..a.clone() };
        assert_eq!(merge(known.clone(), std::slice::from_ref(&moved), &[]).unwrap(), [moved.clone(), b.clone()]);
        assert_eq!(merge(known.clone(), &[], std::slice::from_ref(&a.mac)).unwrap(), std::slice::from_ref(&b));
        let error = merge(Vec::new(), &[a, moved], &[]).unwrap_err();
        assert!(error.message.contains("belongs to one card"), "{error}");
    }

    #[test]
    fn impossible_networks_and_guests_are_refused() {
        let good = network();
        let astray = HostRoute { network: Ipv4Addr::new(10, 0, 0, 0), prefix: 8, via: Ipv4Addr::new(198, 51, 100, 1) };
        let cases = [
            (DhcpNetwork { prefix: 31, ..good.clone() }, lease(10, true), "no room"),
            (DhcpNetwork { mtu: 100, ..good.clone() }, lease(10, true), "MTU"),
            (DhcpNetwork { routes: vec![astray], ..good.clone() }, lease(10, true), "is no route"),
            (DhcpNetwork { domain: Some("a\nb".to_owned()), ..good.clone() }, lease(10, true), "DNS domain"),
            (good.clone(), DhcpLease { ip: Ipv4Addr::new(198, 51, 100, 9), ..lease(10, true) }, "not a guest address"),
            (good.clone(), DhcpLease { ip: good.server, ..lease(10, true) }, "not a guest address"),
            (good.clone(), DhcpLease { hostname: Some("a,b".to_owned()), ..lease(10, true) }, "no host name"),
            (good.clone(), DhcpLease { mac: "FA:16:3E:00:00:01".to_owned(), ..lease(10, true) }, "hardware address"),
        ];
        for (network, lease, expected) in cases {
            let error = check(&network, &[lease]).unwrap_err();
            assert!(error.kind == ErrorKind::Invalid && error.message.contains(expected), "{error} lacks {expected}");
        }
        check(&good, &[lease(10, true)]).unwrap();
    }

    /// F-023: a folder above that the management service had closed.
    #[test]
    fn a_server_that_could_read_nothing_is_not_started() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("dnsmasq/network");
        fs::create_dir_all(&directory).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let error = reachable(&directory).unwrap_err().to_string();
        assert!(error.contains(&format!("chmod o+x {}", home.path().display())), "{error}");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o711)).unwrap();
        reachable(&directory).unwrap();
    }
}
