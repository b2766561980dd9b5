//! Files that a deployment puts on a host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use node_manager_types::AGENT_PORT;
use sha2::{Digest, Sha256};

/// DNS names of hosts end with it.
pub const HOST_SUFFIX: &str = ".host.zstack.internal";
/// The agent's program.
pub const AGENT: &str = "/usr/local/bin/node-manager";
/// Package of the agent, where packages bring it.
pub const PACKAGE: &str = "zstack-node-manager";
/// The agent's program where the package puts it.
pub const PACKAGED: &str = "/usr/bin/node-manager";
/// Its configuration.
pub const CONFIG: &str = "/etc/zstack/node-manager.toml";
/// Its unit.
pub const UNIT: &str = "/etc/systemd/system/node-manager.service";
/// The internal authority's certificate.
pub const CA: &str = "/etc/zstack/tls/ca.crt";
/// The host's certificate.
pub const CERTIFICATE: &str = "/etc/zstack/tls/host.crt";
/// The host's key.
pub const KEY: &str = "/etc/zstack/tls/host.key";
/// There while the agent that runs is not the one on disk: a deployment that is cut off is finished by the next one.
pub const PENDING: &str = "/etc/zstack/agent-restart-pending";
/// Process id of the agent where there is no systemd.
pub const PID: &str = "/run/zstack/node-manager.pid";
/// Log of the agent where there is no systemd.
pub const LOG: &str = "/var/log/zstack/node-manager.log";

/// Units and configurations that deployments wrote begin with it.
pub const MARK: &str = "# Written by the management service";

/// Unit of the agent.
pub const UNIT_TEXT: &str = "\
# Written by the management service; changes are lost when the agent is deployed again.
[Unit]
Description=Agent of a virtualisation host
Wants=network-online.target
After=network-online.target libvirtd.service libvirtd.socket virtqemud.socket

[Service]
ExecStart=/usr/local/bin/node-manager --config /etc/zstack/node-manager.toml
Restart=always
RestartSec=2
# DHCP and metadata servers of networks outlive the agent, like VMs.
KillMode=process

[Install]
WantedBy=multi-user.target
";

/// Configuration of the agent of a host with this management address; the rest are the agent's defaults.
pub fn config(address: IpAddr, port: u16) -> String {
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    format!(
        "# Written by the management service; changes are lost when the agent is deployed again.\n\
         listen = \"{}\"\ncertificate = \"{CERTIFICATE}\"\nkey = \"{KEY}\"\nca = \"{CA}\"\n",
        SocketAddr::new(any, port)
    )
}

/// Whether the configuration `found` on a host says what `wanted` says. Values count, not bytes: a package ships the file
/// with comments and an operator adds keys. A key that is not there has the agent's default.
pub fn says(found: &str, wanted: &str) -> bool {
    let (Ok(found), Ok(wanted)) = (found.parse::<toml::Table>(), wanted.parse::<toml::Table>()) else { return false };
    let defaults = config(IpAddr::V4(Ipv4Addr::UNSPECIFIED), AGENT_PORT).parse::<toml::Table>().unwrap_or_default();
    wanted.iter().all(|(key, value)| found.get(key).or_else(|| defaults.get(key)) == Some(value))
}

/// `wanted`, and below it what else `found` says.
pub fn merged(found: Option<&str>, wanted: &str) -> String {
    let table = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
    let decided = table(wanted);
    let mut kept = table(found.unwrap_or_default());
    kept.retain(|key, _| !decided.contains_key(key));
    format!("{wanted}{kept}")
}

/// SHA-256 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_the_agent_would_read() {
        let table: toml::Table = config("2001:db8::1".parse().unwrap(), 7000).parse().unwrap();
        assert_eq!(table["listen"].as_str(), Some("[::]:7000"));
        let shipped: toml::Table = include_str!("../../../rpm-specs/etc/node-manager.toml").parse().unwrap();
        for key in ["certificate", "key", "ca"] {
            assert_eq!(table[key], shipped[key], "{key} is where the agent looks for it anyway");
        }
        assert!(table.keys().all(|key| shipped.contains_key(key)));
    }

    #[test]
    fn a_configuration_is_compared_by_its_values() {
        let any = "192.0.2.1".parse().unwrap();
        let wanted = config(any, AGENT_PORT);
        assert!(says(include_str!("../../../rpm-specs/etc/node-manager.toml"), &wanted), "what the package ships");
        assert!(says("", &wanted), "the defaults are what is wanted");
        assert!(says(&format!("{wanted}libvirt_uri = \"test:///default\""), &wanted));
        assert!(!says("", &config(any, 7000)) && !says("listen = ", &wanted));
        assert!(!says("key = \"/elsewhere\"", &wanted));
        let merged = merged(Some("listen = \"[::]:1\"\nlibvirt_uri = \"test:///default\" # mine"), &wanted);
        let table: toml::Table = merged.parse().unwrap();
        assert_eq!(table["libvirt_uri"].as_str(), Some("test:///default"), "an operator's key stays");
        assert!(says(&merged, &wanted) && UNIT_TEXT.starts_with(MARK) && wanted.starts_with(MARK));
    }

    #[test]
    fn hosts_are_named_as_the_authority_names_them() {
        assert_eq!(crate::ca::host_name("abc"), format!("abc{HOST_SUFFIX}"));
    }
}
