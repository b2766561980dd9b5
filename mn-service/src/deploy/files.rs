//! Files that a deployment puts on a host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sha2::{Digest, Sha256};

/// DNS names of hosts end with it.
pub const HOST_SUFFIX: &str = ".host.zstack.internal";
/// The agent's program.
pub const AGENT: &str = "/usr/local/bin/node-manager";
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
    fn hosts_are_named_as_the_authority_names_them() {
        assert_eq!(crate::ca::host_name("abc"), format!("abc{HOST_SUFFIX}"));
    }
}
