//! Configuration of the console: `/etc/zstack/tui.toml`, and what the services' own files say.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    perform::{Join, Paths},
    role::Role,
    words::Language,
};
use node_manager_net::change::places::Places;

/// What an operator may set. Defaults are those of the shipped file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the node is for; default: what is installed, see [`ROLES`].
    pub role: Option<Role>,
    /// Language at the start, on terminals that can show it.
    pub language: Language,
    /// A click chooses and the wheel scrolls, on terminals that report a mouse.
    pub mouse: bool,
    /// How long a change of the management network waits for its confirmation, in seconds: 5 to 3600.
    pub confirm_seconds: u64,
    /// How often the whole screen is drawn anew, in seconds, over messages of the kernel that may stand on it; 0: never.
    /// Lines below 38,400 bits per second are left alone.
    pub repaint_seconds: u64,
    /// Folders whose free space is shown (OS-TUI-012).
    pub folders: Vec<PathBuf>,
    /// The program that controls the service.
    pub zstack_ctl: PathBuf,
    /// The agent's program, with which the node joins a cloud.
    pub node_manager: PathBuf,
    /// Configuration of the management service, for its socket.
    pub management_config: PathBuf,
    /// Configuration of the agent, for its socket.
    pub agent_config: PathBuf,
    /// Name of the PAM service by which the password of root is looked at.
    pub pam_service: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: None,
            language: Language::English,
            mouse: false,
            confirm_seconds: 90,
            repaint_seconds: 60,
            folders: ["/", "/var/lib/zstack", "/var/log"].map(PathBuf::from).to_vec(),
            zstack_ctl: "/usr/bin/zstack-ctl".into(),
            node_manager: "/usr/bin/node-manager".into(),
            management_config: "/etc/zstack/mn-service.toml".into(),
            agent_config: "/etc/zstack/node-manager.toml".into(),
            pam_service: "zstack-tui".to_owned(),
        }
    }
}

/// Where the packages of roles leave their names (`zstack-manager`, `zstack-storage`, `zstack-compute`).
pub const ROLES: &str = "/usr/lib/zstack/roles";

/// What the packages of a node make of it. A management node can be a host, and a storage node is one.
fn installed(roles: &Path) -> Role {
    let known = [("management", Role::Management), ("storage", Role::Storage), ("compute", Role::Compute)];
    let found = known.into_iter().find(|(name, _)| roles.join(name).exists());
    found.map_or(Role::Management, |(_, role)| role)
}

/// Why the console cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file} cannot be read: {cause}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It says something that is not understood.
    #[error("{file}: {cause}")]
    Parse {
        /// The file.
        file: PathBuf,
        /// Where and why.
        cause: toml::de::Error,
    },
    /// Too short to look, or too long to wait.
    #[error("{file}: confirm_seconds is {seconds}, and must be from 5 to 3600")]
    Confirm {
        /// The file.
        file: PathBuf,
        /// What it says.
        seconds: u64,
    },
}

/// Seconds that somebody may have to look whether a node can still be reached.
const CONFIRM: std::ops::RangeInclusive<u64> = 5..=3600;

/// What is read of the services' own files.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    control_socket: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    certificate: Option<PathBuf>,
}

impl Service {
    /// A service that has no file, or a wrong one, is looked for where it is by default.
    fn read(file: &Path) -> Self {
        toml::from_str(&std::fs::read_to_string(file).unwrap_or_default()).unwrap_or_default()
    }
}

impl Config {
    /// Reads the file. Without one, everything has its default.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(ConfigError::Read { file: file.to_owned(), cause }),
        };
        let config: Self =
            toml::from_str(&text).map_err(|cause| ConfigError::Parse { file: file.to_owned(), cause })?;
        if !CONFIRM.contains(&config.confirm_seconds) {
            return Err(ConfigError::Confirm { file: file.to_owned(), seconds: config.confirm_seconds });
        }
        Ok(config)
    }

    /// What the node is for.
    pub fn role(&self) -> Role {
        self.role.unwrap_or_else(|| installed(Path::new(ROLES)))
    }

    /// Where things are.
    pub fn paths(&self) -> Paths {
        let socket = |file: &Path, folder: fn(&Service) -> Option<&PathBuf>, usual: &str| {
            let service = Service::read(file);
            let beside = folder(&service).map(|folder| folder.join(node_control::SOCKET));
            service.control_socket.clone().or(beside).unwrap_or_else(|| usual.into())
        };
        let agent = Service::read(&self.agent_config);
        let run = agent.run_dir.unwrap_or_else(|| "/run/zstack".into());
        Paths {
            join: Join {
                program: self.node_manager.clone(),
                config: self.agent_config.clone(),
                certificate: agent.certificate.unwrap_or_else(|| "/etc/zstack/tls/host.crt".into()),
                note: run.join(node_control::agent::JOIN_NOTE),
            },
            network: Places::of_environment(),
            ctl: (self.zstack_ctl.clone(), self.management_config.clone()),
            management: socket(
                &self.management_config,
                |service| service.data_dir.as_ref(),
                node_control::management::DEFAULT_SOCKET,
            ),
            agent: socket(&self.agent_config, |service| service.run_dir.as_ref(), node_control::agent::DEFAULT_SOCKET),
            confirm_seconds: self.confirm_seconds,
            folders: self.folders.clone(),
            pam: self.pam_service.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_has_the_defaults() {
        let shipped = include_str!("../../rpm-specs/etc/tui.toml");
        assert_eq!(toml::from_str::<Config>(shipped).unwrap(), Config::default());
    }

    #[test]
    fn a_node_is_what_its_packages_make_of_it() {
        let roles = tempfile::tempdir().unwrap();
        assert_eq!(installed(&roles.path().join("none")), Role::Management);
        for (name, role) in [("compute", Role::Compute), ("storage", Role::Storage), ("management", Role::Management)] {
            std::fs::write(roles.path().join(name), name).unwrap();
            assert_eq!(installed(roles.path()), role);
        }
        assert_eq!(Config { role: Some(Role::Storage), ..Config::default() }.role(), Role::Storage);
    }

    #[test]
    fn sockets_are_where_the_services_have_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let config = Config {
            management_config: file("mn", "data_dir = \"/srv/cloud\"\nlisten = \"0.0.0.0:8080\"\n"),
            agent_config: file("agent", "control_socket = \"/run/x.sock\"\nrun_dir = \"/run/y\"\n"),
            ..Config::default()
        };
        let paths = config.paths();
        assert_eq!(paths.management, Path::new("/srv/cloud/control.sock"));
        assert_eq!(paths.agent, Path::new("/run/x.sock"));
        let none = Config { agent_config: "/does/not/exist".into(), ..Config::default() };
        assert_eq!(none.paths().agent, Path::new(node_control::agent::DEFAULT_SOCKET));
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tui.toml");
        std::fs::write(&path, "role = \"expert\"\n").unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        assert!(error.contains("tui.toml") && error.contains("line 1"), "{error}");
        std::fs::write(&path, "confirm_seconds = 4\n").unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        assert!(error.contains("confirm_seconds is 4, and must be from 5 to 3600"), "{error}");
        assert_eq!(Config::read(&folder.path().join("none")).unwrap(), Config::default());
    }
}
