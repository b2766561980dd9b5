//! Network connections and the firewall.

use crate::{
    declare::command,
    options::{Rules, no_rules},
    value::{FirewallPort, Given, Secret, TeamSlave, choices},
    version::{
        Support,
        Version::{self, Rhel7, Rhel8, Rhel9, Rhel10},
    },
};

choices! {
    /// How an interface gets its IPv4 address.
    BootProto {
        /// From a DHCP server.
        Dhcp = "dhcp",
        /// From a BOOTP server.
        Bootp = "bootp",
        /// From the file.
        Static = "static",
        /// From a person who is asked.
        Query = "query",
        /// From the firmware's iSCSI boot table.
        Ibft = "ibft",
    }
}

choices! {
    /// What a connection is bound to.
    BindTo {
        /// The MAC address of the device.
        Mac = "mac",
    }
}

command! {
    /// `network`: a connection, the name of the machine, or both.
    Network: "network"; {
        /// How the IPv4 address is obtained; DHCP where nothing is said.
        pub bootproto: Option<BootProto> = store("--bootproto");
        /// The interface: a name, a MAC address, `link` for the first with a carrier, or `bootif`.
        pub device: Option<String> = store("--device");
        /// The IPv4 address.
        pub ip: Option<String> = store("--ip");
        /// The IPv4 netmask.
        pub netmask: Option<String> = store("--netmask");
        /// The IPv4 gateway.
        pub gateway: Option<String> = store("--gateway");
        /// Addresses of name servers, separated by commas.
        pub nameserver: Option<String> = store("--nameserver");
        /// No name servers.
        pub nodns: bool = flag("--nodns");
        /// The name of the machine.
        pub hostname: Option<String> = store("--hostname");
        /// Whether it is brought up when the system starts.
        pub onboot: Option<bool> = store("--onboot");
        /// Whether it is brought up in the installer.
        pub activate: Option<bool> = choice(["--activate"] => true, ["--no-activate"] => false);
        /// It gets no default route.
        pub nodefroute: bool = flag("--nodefroute");
        /// No IPv4.
        pub noipv4: bool = flag("--noipv4");
        /// No IPv6.
        pub noipv6: bool = flag("--noipv6");
        /// An IPv6 address with prefix length, `auto` or `dhcp`.
        pub ipv6: Option<String> = store("--ipv6");
        /// The IPv6 gateway.
        pub ipv6gateway: Option<String> = store("--ipv6gateway");
        /// The largest packet in bytes.
        pub mtu: Option<String> = store("--mtu");
        /// Members of the bond that `device` names, separated by commas.
        pub bondslaves: Option<String> = store("--bondslaves");
        /// Options of that bond, such as `mode=active-backup,miimon=100`.
        pub bondopts: Option<String> = store("--bondopts");
        /// Members of the bridge that `device` names, separated by commas.
        pub bridgeslaves: Option<String> = store("--bridgeslaves");
        /// Options of that bridge, such as `stp=no`.
        pub bridgeopts: Option<String> = store("--bridgeopts");
        /// Members of the team that `device` names.
        pub teamslaves: Option<Vec<TeamSlave>> = store("--teamslaves" in Support::ALWAYS.deprecated(Rhel10));
        /// The configuration of that team in JSON.
        pub teamconfig: Option<String> = store("--teamconfig" in Support::ALWAYS.deprecated(Rhel10));
        /// The VLAN on top of `device`.
        pub vlanid: Option<String> = store("--vlanid");
        /// The name of that VLAN interface.
        pub interfacename: Option<String> = store("--interfacename");
        /// What the connection is bound to, instead of the name of the interface.
        pub bindto: Option<BindTo> = store("--bindto");
        /// Domains to search for names, over IPv4.
        pub ipv4_dns_search: Option<String> = store("--ipv4-dns-search" in Support::since(Rhel9));
        /// Domains to search for names, over IPv6.
        pub ipv6_dns_search: Option<String> = store("--ipv6-dns-search" in Support::since(Rhel9));
        /// Name servers from DHCP are not used.
        pub ipv4_ignore_auto_dns: bool = flag("--ipv4-ignore-auto-dns" in Support::since(Rhel9));
        /// Name servers from DHCPv6 and router advertisements are not used.
        pub ipv6_ignore_auto_dns: bool = flag("--ipv6-ignore-auto-dns" in Support::since(Rhel9));
        /// The DHCP class sent.
        pub dhcpclass: Option<String> = store("--dhcpclass");
        /// Options for `ethtool`.
        pub ethtool: Option<String> = store("--ethtool");
        /// The wireless network.
        pub essid: Option<String> = store("--essid");
        /// Its WEP key.
        pub wepkey: Option<Secret> = store("--wepkey");
        /// Its WPA passphrase.
        pub wpakey: Option<Secret> = store("--wpakey");
        /// Not the device that the installer was fetched over.
        pub notksdevice: bool = flag("--notksdevice");
    }
}

impl Rules for Network {
    fn rules(&self, version: Version) -> Vec<String> {
        let mut broken = Vec::new();
        if version == Rhel7
            && let Some(name) = &self.interfacename
        {
            broken.extend(interface_name(name));
        }
        if let Some(options) = self.bridgeopts.as_deref().filter(|options| !options.is_empty()) {
            if !self.bridgeslaves.given() {
                broken.push("network --bridgeopts needs --bridgeslaves: name the members of the bridge.".to_owned());
            }
            let is_pair = |option: &str| {
                option.split_once('=').is_some_and(|(_, value)| !value.is_empty() && !value.contains('='))
            };
            if !options.split(',').all(is_pair) {
                broken.push("network --bridgeopts needs key=value pairs separated by commas.".to_owned());
            }
        }
        if self.bindto == Some(BindTo::Mac) && self.vlanid.given() && !self.bondopts.given() {
            broken.push("network --bindto=mac cannot bind a VLAN: remove --bindto.".to_owned());
        }
        let of_a_device = [
            ("--ipv4-dns-search", self.ipv4_dns_search.given()),
            ("--ipv6-dns-search", self.ipv6_dns_search.given()),
            ("--ipv4-ignore-auto-dns", self.ipv4_ignore_auto_dns),
            ("--ipv6-ignore-auto-dns", self.ipv6_ignore_auto_dns),
        ];
        for (option, given) in of_a_device {
            if given && !self.device.given() {
                broken.push(format!("network {option} needs --device: name the interface."));
            }
        }
        for slave in self.teamslaves.iter().flatten() {
            let breaks_out = |text: &str| text.contains('\'');
            if slave.device.is_empty()
                || slave.device.contains(',')
                || breaks_out(&slave.device)
                || breaks_out(&slave.config)
            {
                broken.push("network --teamslaves: names cannot have commas, and nothing single quotes.".to_owned());
            }
        }
        broken
    }
}

/// What RHEL 7 asks of the name of a VLAN interface: a number from 0 to 4095 behind a dot or behind `vlan`.
fn interface_name(name: &str) -> Option<String> {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let way_out = "write a name such as ens7.171 or vlan171";
    let mut id = None;
    if let Some((prefix, after)) = name.split_once('.') {
        if prefix == "vlan" {
            return Some(format!("network --interfacename: `vlan.` is not a prefix: {way_out}."));
        }
        match number(after) {
            Some(number) => id = Some(number),
            None => return Some(format!("network --interfacename needs a VLAN id behind the dot: {way_out}.")),
        }
    }
    if let Some(after) = name.strip_prefix("vlan") {
        match number(after) {
            Some(number) => id = Some(number),
            None => return Some(format!("network --interfacename needs a VLAN id behind `vlan`: {way_out}.")),
        }
    }
    id.filter(|id| !(0..=4095).contains(id))
        .map(|id| format!("network --interfacename: the VLAN id {id} is not between 0 and 4095."))
}

command! {
    /// `firewall`: what may come in.
    Firewall: "firewall"; {
        /// Whether there is one; there is where nothing is said.
        pub enabled: Option<bool> = choice(
            ["--enabled", "--enable"] => true,
            ["--disabled", "--disable"] => false,
        );
        /// Open ports.
        pub port: Vec<FirewallPort> = extend("--port");
        /// Interfaces that may do everything.
        pub trust: Vec<String> = append("--trust");
        /// Open services, by their names in firewalld.
        pub service: Vec<String> = services(
            "--service", "--ftp" => "ftp", "--http" => "http", "--smtp" => "smtp", "--ssh" => "ssh"
        );
        /// Services that are open by default and shall not be.
        pub remove_service: Vec<String> = extend("--remove-service");
        /// Everything stays as the system ships it.
        pub use_system_defaults: bool = flag("--use-system-defaults" in Support::since(Rhel8));
    }
}

no_rules!(Firewall);
