//! Doing the steps of a plan on a host.

use std::time::Duration;

use tokio::{fs::File, io::AsyncRead};

use super::{
    error::{DeployError, Problem, tail},
    files,
    package::{Package, VERSION},
    plan::{Manager, Plan, Source, Step},
    probe::Facts,
    ssh::{QUICK, Session},
};
use crate::ca::Identity;

/// Packages come over the network and are unpacked on slow disks.
const PACKAGES: Duration = Duration::from_secs(1800);
/// Starting services.
const SERVICES: Duration = Duration::from_secs(180);
/// Characters of a log in an error.
const LOG_TAIL: usize = 1500;

/// A private folder of the login. Leftovers of deployments that were cut off go first.
const STAGE: &str = "find /tmp -maxdepth 1 -user \"$(id -u)\" -name 'zstack-deploy.*' -mmin +60 -exec rm -rf {} + ; \
                     exec mktemp -d /tmp/zstack-deploy.XXXXXXXXXX";

/// Starts libvirt where there is no systemd.
const LIBVIRT: &str = r#"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
for daemon in virtlogd libvirtd; do
    pid=$(cat /run/$daemon.pid 2>/dev/null)
    [ -n "$pid" ] && [ -d "/proc/$pid" ] || "$daemon" -d || exit 1
done
"#;

/// Restarts the agent where there is no systemd. Arguments: program, configuration, PID file, log.
const DETACHED: &str = r#"
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
alive() { [ -d "/proc/$1" ] && ! grep -q '^State:.*Z' "/proc/$1/status"; }
mkdir -p "${3%/*}" "${4%/*}" || exit 1
pid=$(cat "$3" 2>/dev/null)
# A number alone may be somebody else's by now.
if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = node-manager ]; then
    kill "$pid"
    tries=0
    while alive "$pid" && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
    ! alive "$pid" || kill -KILL "$pid"
fi
setsid sh -c 'echo $$ >"$3" && exec "$1" --config "$2"' sh "$1" "$2" "$3" </dev/null >>"$4" 2>&1 &
"#;

/// Another package job may hold the lock: unattended upgrades run when a machine boots.
const APT: &[&str] =
    &["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=600"];
/// What an operator wrote into a configuration file stays.
const APT_INSTALL: &[&str] =
    &["install", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "--"];

/// A deployment under way.
pub(super) struct Work<'a> {
    pub(super) session: &'a Session,
    pub(super) facts: &'a Facts,
    pub(super) plan: &'a Plan,
    pub(super) package: &'a Package,
    /// Certificate for the host, issued when the plan enrols it.
    pub(super) identity: Option<Identity>,
}

impl Work<'_> {
    /// Does everything; `starting` hears of each step with its number.
    pub(super) async fn run(&self, starting: impl Fn(usize, Step)) -> Result<(), DeployError> {
        if self.plan.steps.contains(&Step::Restart) {
            let mark = ["install", "-D", "-m", "0644", "--", "/dev/null", files::PENDING];
            self.session.must("noting that the agent must be restarted", &mark, QUICK).await?;
        }
        let staging = self.stage().await?;
        let mut result = Ok(());
        for (number, step) in self.plan.steps.iter().enumerate() {
            starting(number, *step);
            result = self.step(*step, &staging).await;
            if result.is_err() {
                break;
            }
        }
        // It holds a private key when something failed.
        let removed = self.session.run("removing the staging folder", &["rm", "-rf", "--", &staging], QUICK).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "the staging folder of a deployment stays until the next one");
        }
        result
    }

    async fn stage(&self) -> Result<String, DeployError> {
        let what = "making a staging folder";
        let output = self.session.run(what, &["sh", "-c", STAGE], QUICK).await?;
        let output = self.session.succeeded(what, output)?;
        let path = output.stdout.lines().last().unwrap_or_default().trim().to_owned();
        // What comes back is deleted later.
        let name = path.strip_prefix("/tmp/zstack-deploy.").unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let (status, said) = ("it answered something else".to_owned(), output.said());
            return Err(self.session.login().fail(Problem::Command { what: what.to_owned(), status, said }));
        }
        Ok(path)
    }

    async fn step(&self, step: Step, staging: &str) -> Result<(), DeployError> {
        match step {
            Step::Packages => self.packages().await,
            Step::Hypervisor => self.hypervisor().await,
            Step::Agent => self.agent(staging).await,
            Step::Upgrade => self.upgrade().await,
            Step::Unshadow => self.unshadow().await,
            Step::Config => self.file(staging, files::CONFIG, &self.plan.config, 0o644).await,
            Step::Enroll => self.enroll(staging).await,
            Step::Unit => self.unit(staging).await,
            Step::Restart => self.restart().await,
        }
    }

    async fn packages(&self) -> Result<(), DeployError> {
        let what = format!("installing {}", self.plan.missing.join(", "));
        match self.plan.manager {
            Manager::Apt => {
                let update = [APT, &["update"]].concat();
                self.session.must("refreshing the list of packages", &update, PACKAGES).await?;
                let install = [APT, APT_INSTALL, &self.plan.missing].concat();
                self.session.must(&what, &install, PACKAGES).await?;
            }
            Manager::Dnf => {
                let install =
                    [&["env", "LC_ALL=C", "dnf", "-y", "-q", "install", "--"], &self.plan.missing[..]].concat();
                self.session.must(&what, &install, PACKAGES).await?;
            }
        }
        Ok(())
    }

    async fn hypervisor(&self) -> Result<(), DeployError> {
        let what = "starting libvirt";
        let unit = match self.plan.manager {
            Manager::Apt => "libvirtd.service",
            Manager::Dnf => "virtqemud.socket",
        };
        let argv: &[&str] =
            if self.facts.systemd { &["systemctl", "enable", "--now", unit] } else { &["sh", "-c", LIBVIRT] };
        self.session.must(what, argv, SERVICES).await.map(drop)
    }

    /// Installs the program beside the old one, tries it there, and only then replaces the old one.
    async fn agent(&self, staging: &str) -> Result<(), DeployError> {
        let path = &self.package.path;
        let file = File::open(path).await.map_err(|error| {
            self.session
                .login()
                .fail(Problem::Here(format!("the agent program {} cannot be read: {error}", path.display())))
        })?;
        let (new, what) = (format!("{}.new", files::AGENT), "trying the new agent");
        self.place(staging, file, &new, 0o755).await?;
        let tried = self.session.run_as_root(what, &[&new, "--version"], QUICK).await?;
        let version = tried.stdout.trim().strip_prefix("node-manager ").map(str::to_owned);
        if !tried.success() || version.as_deref() != Some(VERSION) {
            self.session.must("removing a program that does not work", &["rm", "-f", "--", &new], QUICK).await?;
            let status = match version {
                Some(version) => {
                    format!("{} is version {version}, this management service needs {VERSION}", path.display())
                }
                None => tried.ended.clone(),
            };
            return Err(self.session.login().fail(Problem::Command {
                what: what.to_owned(),
                status,
                said: tried.said(),
            }));
        }
        self.session.must("replacing the agent", &["mv", "-f", "-T", "--", &new, files::AGENT], QUICK).await.map(drop)
    }

    /// The version was offered by the repositories as the host knows them, so their lists are not fetched again: the
    /// host's own repository needs no network.
    async fn upgrade(&self) -> Result<(), DeployError> {
        let Source::Repository(version) = &self.plan.source else { return Ok(()) };
        let package = format!("{}={version}", files::PACKAGE);
        // A node may have been installed from a later medium than its management node.
        let install = [APT, &["--allow-downgrades"], APT_INSTALL, &[&package]].concat();
        self.session.must(&format!("installing {package}"), &install, PACKAGES).await.map(drop)
    }

    /// The unit first: it alone leads to the program.
    async fn unshadow(&self) -> Result<(), DeployError> {
        let remove = ["rm", "-f", "--", files::UNIT, files::AGENT];
        self.session.must("removing the agent of earlier deployments", &remove, QUICK).await.map(drop)
    }

    async fn enroll(&self, staging: &str) -> Result<(), DeployError> {
        let Some(identity) = &self.identity else {
            return Err(self.session.login().fail(Problem::Here("no certificate was issued for the host".to_owned())));
        };
        self.file(staging, files::CA, &identity.ca_pem, 0o644).await?;
        self.file(staging, files::KEY, &identity.key_pem, 0o600).await?;
        self.file(staging, files::CERTIFICATE, &identity.cert_pem, 0o644).await
    }

    async fn unit(&self, staging: &str) -> Result<(), DeployError> {
        if self.plan.source == Source::Upload {
            self.file(staging, files::UNIT, files::UNIT_TEXT, 0o644).await?;
        }
        self.session.must("reloading systemd", &["systemctl", "daemon-reload"], SERVICES).await?;
        self.session
            .must("enabling the agent", &["systemctl", "enable", "node-manager.service"], SERVICES)
            .await
            .map(drop)
    }

    async fn restart(&self) -> Result<(), DeployError> {
        let detached = ["sh", "-c", DETACHED, "sh", self.plan.source.program(), files::CONFIG, files::PID, files::LOG];
        let argv: &[&str] =
            if self.facts.systemd { &["systemctl", "restart", "node-manager.service"] } else { &detached };
        self.session.must("starting the agent", argv, SERVICES).await?;
        self.session
            .must("noting that the agent was restarted", &["rm", "-f", "--", files::PENDING], QUICK)
            .await
            .map(drop)
    }

    /// Puts a text where only root may write; complete or not at all.
    async fn file(&self, staging: &str, path: &str, text: &str, mode: u32) -> Result<(), DeployError> {
        let new = format!("{path}.new");
        self.place(staging, text.as_bytes(), &new, mode).await?;
        self.session.must(&format!("writing {path}"), &["mv", "-f", "-T", "--", &new, path], QUICK).await.map(drop)
    }

    /// The login uploads to its own folder, root installs from there. `install` makes a new file in the target folder,
    /// so that it gets the folder's security label and not that of `/tmp`.
    async fn place(
        &self,
        staging: &str,
        data: impl AsyncRead + Send + Unpin,
        path: &str,
        mode: u32,
    ) -> Result<(), DeployError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let staged = format!("{staging}/{name}");
        self.session.upload(data, &staged, mode & 0o700).await?;
        let mode = format!("{mode:04o}");
        let install = ["install", "-D", "-o", "root", "-g", "root", "-m", &mode, "--", &staged, path];
        self.session.must(&format!("writing {path}"), &install, SERVICES).await.map(drop)
    }
}

/// The end of the agent's log; nothing must depend on it.
pub(super) async fn log(session: &Session, systemd: bool) -> String {
    let journal = ["journalctl", "-u", "node-manager.service", "-n", "20", "-o", "cat", "--no-pager"];
    let argv: &[&str] = if systemd { &journal } else { &["tail", "-n", "20", "--", files::LOG] };
    match session.run_as_root("reading the agent's log", argv, QUICK).await {
        Ok(output) if output.success() => tail(&output.stdout, LOG_TAIL),
        Ok(output) => format!("(unreadable: {})", output.said()),
        Err(error) => format!("(unreadable: {})", error.problem),
    }
}
