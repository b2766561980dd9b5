//! The command `network`.

use installer_plan::answers::{BondAnswers, IpAnswers, NicAnswers, VlanAnswers};
use ipnet::IpNet;
use kickstart::{BootProto, Network};
use node_manager_net::model::{BondMode, Dhcp, XmitHash};

use super::Reading;

impl Reading<'_> {
    pub(super) fn network(&mut self, network: &Network) {
        if let Some(name) = network.hostname.as_ref().filter(|name| !name.is_empty()) {
            self.answers.host_name = Some(name.clone());
        }
        let done = Network {
            bootproto: network.bootproto.filter(|p| matches!(p, BootProto::Dhcp | BootProto::Static)),
            device: network.device.clone(),
            ip: network.ip.clone(),
            netmask: network.netmask.clone(),
            gateway: network.gateway.clone(),
            nameserver: network.nameserver.clone(),
            hostname: network.hostname.clone(),
            onboot: network.onboot.filter(|onboot| *onboot),
            activate: network.activate,
            noipv4: network.noipv4,
            noipv6: network.noipv6,
            ipv6: network.ipv6.clone(),
            ipv6gateway: network.ipv6gateway.clone(),
            mtu: network.mtu.clone(),
            bondslaves: network.bondslaves.clone(),
            bondopts: network.bondopts.clone(),
            vlanid: network.vlanid.clone(),
            ..Network::default()
        };
        let options = "addresses, routers, name servers, --mtu, bonds and VLANs";
        self.only(network, &done, "network", options);
        let only_name = Network { hostname: network.hostname.clone(), ..Network::default() };
        if *network == only_name {
            return;
        }
        let Some(ip) = self.ip(network) else { return };
        let mtu = match network.mtu.as_deref().map(str::parse::<u32>) {
            None => None,
            Some(Ok(mtu)) => Some(mtu),
            Some(Err(_)) => return self.refuse("--mtu is no number", "write --mtu=1500"),
        };
        self.link(network, ip, mtu);
    }

    fn link(&mut self, network: &Network, ip: IpAnswers, mtu: Option<u32>) {
        let tag = match network.vlanid.as_deref().map(str::parse::<u16>) {
            None => None,
            Some(Ok(tag)) => Some(tag),
            Some(Err(_)) => return self.refuse("--vlanid is no number", "write 1 to 4094"),
        };
        let below = if tag.is_some() { IpAnswers::default() } else { ip.clone() };
        let name = match network.bondslaves.as_deref() {
            Some(members) => {
                let name = network.device.clone().unwrap_or_else(|| "bond0".to_owned());
                let members = members.split(',').map(|member| member.trim().to_owned()).collect();
                let Some(bond) = self.bond(&name, members, network.bondopts.as_deref(), below, mtu) else { return };
                self.answers.network.bond.push(bond);
                name
            }
            None => {
                let Some(name) = self.card(network.device.as_deref()) else { return };
                if tag.is_none() {
                    self.answers.network.nic.push(NicAnswers { device: name.clone(), ip: below, mtu });
                }
                name
            }
        };
        self.answers.network.vlan.extend(tag.map(|id| VlanAnswers { parent: name, id, ip, mtu: None }));
    }

    /// The card that a file means: a name, an address, or the first with a link.
    fn card(&mut self, device: Option<&str>) -> Option<String> {
        if let Some(name) = device.filter(|name| !matches!(*name, "link" | "bootif" | "")) {
            return Some(name.to_owned());
        }
        let first = self.facts.nics.iter().find(|nic| nic.carrier).or(self.facts.nics.first());
        if first.is_none() {
            self.refuse("this machine has no network card", "remove the line");
        }
        first.map(|nic| nic.name.clone())
    }

    fn bond(
        &mut self,
        name: &str,
        members: Vec<String>,
        options: Option<&str>,
        ip: IpAnswers,
        mtu: Option<u32>,
    ) -> Option<BondAnswers> {
        let mut bond = BondAnswers {
            name: name.to_owned(),
            members,
            mode: BondMode::default(),
            xmit_hash_policy: None,
            lacp_rate: None,
            primary: None,
            ip,
            mtu,
        };
        for option in options.unwrap_or_default().split([',', ';']).filter(|option| !option.is_empty()) {
            let known = match option.split_once('=') {
                Some(("mode", mode)) => BondMode::of_word(mode).map(|mode| bond.mode = mode),
                Some(("miimon", "100")) => Some(()),
                Some(("primary", primary)) => {
                    bond.primary = Some(primary.to_owned());
                    Some(())
                }
                Some(("xmit_hash_policy", policy)) => {
                    read_word::<XmitHash>(policy).map(|policy| bond.xmit_hash_policy = Some(policy))
                }
                Some(("lacp_rate", rate)) => read_word(rate).map(|rate| bond.lacp_rate = Some(rate)),
                _ => None,
            };
            if known.is_none() {
                self.refuse(
                    format!("the option {option} of a bond is not known"),
                    "mode, primary, xmit_hash_policy, lacp_rate and miimon=100 are",
                );
                return None;
            }
        }
        Some(bond)
    }

    fn ip(&mut self, network: &Network) -> Option<IpAnswers> {
        let before = self.problems.len();
        let mut ip = IpAnswers::default();
        let fixed = network.bootproto == Some(BootProto::Static) || network.ip.is_some();
        let v4 = !network.noipv4 && !fixed;
        let v6 = matches!(network.ipv6.as_deref(), Some("auto" | "dhcp")) && !network.noipv6;
        ip.dhcp = match (v4, v6) {
            (true, true) => Dhcp::Both,
            (true, false) => Dhcp::Ipv4,
            (false, true) => Dhcp::Ipv6,
            (false, false) => Dhcp::Off,
        };
        if let Some(address) = network.ip.as_deref().filter(|address| *address != "dhcp") {
            let mask = network.netmask.as_deref().unwrap_or_default();
            let prefix = mask.parse().ok().and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok());
            match (address.parse(), prefix) {
                (Ok(address), Some(prefix)) => ip.addresses.extend(IpNet::new(address, prefix)),
                _ => self.refuse(
                    "the address or its netmask cannot be read",
                    "write --ip=192.0.2.10 --netmask=255.255.255.0",
                ),
            }
        }
        if let Some(address) = network.ipv6.as_deref().filter(|address| !matches!(*address, "auto" | "dhcp" | "ignore"))
        {
            match address.parse() {
                Ok(address) => ip.addresses.push(address),
                Err(_) => self.refuse("the IPv6 address cannot be read", "write --ipv6=2001:db8::10/64"),
            }
        }
        let listed = |text: &Option<String>| {
            let words = text.iter().flat_map(|text| text.split(','));
            words.map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect::<Vec<_>>()
        };
        let routers = [listed(&network.gateway), listed(&network.ipv6gateway)].concat();
        for (word, router) in
            routers.iter().map(|word| (word, true)).chain(listed(&network.nameserver).iter().map(|word| (word, false)))
        {
            match word.parse() {
                Ok(address) if router => ip.gateways.push(address),
                Ok(address) => ip.dns.push(address),
                Err(_) => self.refuse(format!("{word} is no address"), "write 192.0.2.1"),
            }
        }
        (self.problems.len() == before).then_some(ip)
    }
}

/// A word as the network library's own document spells it.
fn read_word<T: serde::de::DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}
