//! What a configuration must keep to beyond the types of its keys, for those who change it.

use std::net::IpAddr;

use crate::{Config, Database, Tls};

/// Ports of the console proxy (OS-TUI-089).
const CONSOLE_PORTS: std::ops::RangeInclusive<u16> = 1024..=65535;

impl Config {
    /// Everything that is wrong with the values, each with its key. The service itself is more lenient: ports that are 0
    /// are chosen by the system.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !CONSOLE_PORTS.contains(&self.console_listen.port()) {
            problems.push(format!(
                "console_listen: port {} is not from {} to {}",
                self.console_listen.port(),
                CONSOLE_PORTS.start(),
                CONSOLE_PORTS.end()
            ));
        }
        if let Some(host) = self.console_host.as_deref().filter(|host| !is_host(host)) {
            problems.push(format!("console_host: {host:?} is neither an IP address nor a host name"));
        }
        if let Some(url) = &self.database.url {
            let scheme = url.split(':').next().unwrap_or_default();
            if !["sqlite", "mysql", "mariadb"].contains(&scheme) {
                problems.push(format!("database.url: {scheme:?} is no kind of database; write sqlite: or mysql:"));
            }
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            problems.push("tls.certificate, tls.key: one needs the other".to_owned());
        }
        let ports = [("listen", self.listen), ("ui_listen", self.ui_listen), ("console_listen", self.console_listen)];
        for (place, (key, address)) in ports.iter().enumerate() {
            let same = |other: &&(&str, std::net::SocketAddr)| other.1.port() == address.port() && address.port() != 0;
            if let Some((other, _)) = ports[..place].iter().find(same) {
                problems.push(format!("{key}: port {} is that of {other} already", address.port()));
            }
        }
        problems
    }

    /// A configuration in which every key has a value, so that its types can be read off.
    pub fn example() -> Self {
        let path = || Some("/path".into());
        Self {
            public_url: Some(String::new()),
            ui_dir: path(),
            console_host: Some(String::new()),
            control_socket: path(),
            agent_binary: path(),
            database: Database { url: Some(String::new()) },
            tls: Tls { certificate: path(), key: path() },
            simulator: Some(String::new()),
            ..Self::default()
        }
    }
}

/// An address, or a name as DNS has it (RFC 1123).
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    // Four numbers that are no address are a mistake and not a name.
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse::<IpAddr>().is_ok() || (!numeric && text.len() <= 253 && text.split('.').all(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OS-TUI-088, OS-TUI-089.
    #[test]
    fn os_tui_088_all_problems_are_named_with_their_keys() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
        let text = "console_listen = '0.0.0.0:1023'\nconsole_host = '1.2.3.400'\nui_listen = '0.0.0.0:8080'\n\
                    [database]\nurl = 'oracle://x'\n[tls]\nkey = '/k'";
        let problems = toml::from_str::<Config>(text).unwrap().problems();
        for (problem, key) in
            problems.iter().zip(["console_listen", "console_host", "database.url", "tls.certificate", "ui_listen"])
        {
            assert!(problem.starts_with(key), "{problem}");
        }
        assert_eq!(problems.len(), 5, "{problems:?}");
        for good in ["192.0.2.1", "2001:db8::1", "cloud.example.org", "node-1"] {
            assert!(is_host(good), "{good}");
        }
    }
}
