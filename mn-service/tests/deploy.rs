//! Deployment of agents over SSH, against a real OpenSSH server, sudo and libvirt, with the real agent.
//!
//! Needs root, and the packages openssh-server, sudo, libvirt-daemon-system, qemu-system-x86, qemu-utils and dnsmasq-base.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail; clippy allows it in test functions alone"
)]

mod machine;
#[path = "deploy/sessions.rs"]
mod sessions;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use machine::{Machine, PASSWORD, isolated};
use mn_service::{
    app::App,
    config::Config,
    deploy::{
        Deployer, Target,
        error::{DeployError, Problem},
        files,
        plan::Step,
        ssh::Login,
    },
    jobs, service,
};
use mn_service_types::new_uuid;
use serde_json::json;
use system_tests::program;

/// The real agent.
fn agent_binary() -> PathBuf {
    program("node-manager", &["node-manager"])
}

fn problem(result: Result<impl std::fmt::Debug, DeployError>) -> (Problem, String) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains("horse") && !format!("{error:?}").contains("horse"), "a password in an error: {text}");
    (*error.problem, text)
}

/// A management service over a data folder.
struct Cloud {
    app: Arc<App>,
    dir: tempfile::TempDir,
}

impl Cloud {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { data_dir: dir.path().join("data"), agent_binary: Some(agent_binary()), ..Config::default() };
        Self { app: service::open(config).await.unwrap(), dir }
    }

    async fn deploy(&self, host: &str, login: &Login) -> Result<Vec<Step>, DeployError> {
        self.deploy_with(&self.app.config, host, login).await
    }

    async fn deploy_with(&self, config: &Config, host: &str, login: &Login) -> Result<Vec<Step>, DeployError> {
        let deployer = Deployer { config, authority: &self.app.authority, agents: &self.app.agents };
        let port = self.app.agents.default_port();
        let target = Target { host, address: login.at.ip(), agent_port: port, login, others: &[] };
        let seen = Mutex::new(Vec::new());
        let outcome = deployer.deploy(target, |percent, _| seen.lock().unwrap().push(percent)).await?;
        let seen = seen.into_inner().unwrap();
        assert!(seen.is_sorted() && seen.last() <= Some(&100), "progress goes forward: {seen:?}");
        Ok(outcome.steps)
    }

    /// The instance of the agent that answers: another one after every restart.
    async fn instance(&self, host: &str, address: IpAddr) -> String {
        let port = self.app.agents.default_port();
        self.app.agents.at(host, &address.to_string(), port).unwrap().ping().await.unwrap().instance
    }
}

fn no_leftovers(machine: &Machine) {
    assert_eq!(machine.shell("ls -A /tmp; find /etc /usr/local/bin -name '*.new'"), "", "leftovers on the host");
}

#[test]
fn a_machine_becomes_a_host_and_stays_one() {
    isolated(|| async {
        let machine = Machine::boot("127.0.0.1").await;
        let cloud = Cloud::open().await;
        let (host, ip) = (new_uuid(), machine.at.ip());
        let login = machine.login("deputy", PASSWORD);
        use Step::*;

        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), [Hypervisor, Agent, Config, Enroll, Restart]);
        let first = cloud.instance(&host, ip).await;
        assert_eq!(machine.mode(files::KEY), 0o600);
        assert_eq!(machine.mode(files::AGENT), 0o755);
        assert_eq!(machine.shell(&format!("stat -c %U:%G {} {}", files::KEY, files::AGENT)), "root:root\nroot:root\n");
        no_leftovers(&machine);

        // Again: nothing happens.
        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), []);
        assert_eq!(cloud.instance(&host, ip).await, first, "the agent was not restarted");

        // An older agent on disk is replaced.
        machine.shell(&format!(
            "printf '#!/bin/sh\\necho node-manager 0.0.1\\n' >/tmp/old && chmod 755 /tmp/old && mv /tmp/old {}",
            files::AGENT
        ));
        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), [Agent, Restart]);
        assert_eq!(
            machine.shell(&format!("{} --version", files::AGENT)),
            concat!("node-manager ", env!("CARGO_PKG_VERSION"), "\n")
        );
        let second = cloud.instance(&host, ip).await;
        assert_ne!(first, second);

        // A deployment that was cut off before it restarted the agent is finished.
        machine.shell(&format!("touch {}", files::PENDING));
        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), [Restart]);
        assert!(!machine.path(files::PENDING).exists());
        assert_ne!(cloud.instance(&host, ip).await, second);

        // Configuration that somebody edited, and an agent that died.
        machine.shell(&format!("echo '# edited' >>{}", files::CONFIG));
        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), [], "a comment changes nothing");
        machine.shell(&format!("sed -i 's/^listen = .*/listen = \"127.0.0.9:7443\"/' {}", files::CONFIG));
        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), [Config, Restart]);
        machine.shell(&format!("kill -KILL $(cat {})", files::PID));
        let again = cloud.deploy(&host, &machine.login("keeper", PASSWORD)).await.unwrap();
        assert_eq!(again, [Enroll, Restart], "nobody answers, so the certificate is renewed too");
        cloud.instance(&host, ip).await;

        // Another cloud does not take it over.
        let other = Cloud::open().await;
        let (unfit, text) = problem(other.deploy(&new_uuid(), &login).await);
        assert!(matches!(unfit, Problem::Unfit(_)) && text.contains("another cloud"), "{text}");
        no_leftovers(&machine);
    });
}

/// Makes a package unknown to dpkg, and puts an empty one of that name into a repository of the machine's own.
const MISSING_PACKAGE: &str = r#"
set -eu
cd /var/lib/dpkg
awk -v RS= -v ORS='\n\n' '!/^Package: dnsmasq-base\n/' status >status.new
mv status.new status
if grep -qx 'Package: dnsmasq-base' status; then exit 1; fi
mkdir -p /var/repo/tree/DEBIAN
printf 'Package: dnsmasq-base\nVersion: 99\nArchitecture: all\nMaintainer: test\nDescription: test\n' >/var/repo/tree/DEBIAN/control
dpkg-deb --build /var/repo/tree /var/repo/dnsmasq-base.deb
cd /var/repo
{ cat tree/DEBIAN/control
  echo "Filename: ./dnsmasq-base.deb"
  echo "Size: $(stat -c %s dnsmasq-base.deb)"
  echo "SHA256: $(sha256sum dnsmasq-base.deb | cut -d' ' -f1)"; } >Packages
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
"#;

#[test]
fn packages_that_are_missing_are_installed() {
    isolated(|| async {
        let machine = Machine::boot("127.0.0.1").await;
        let cloud = Cloud::open().await;
        let (host, login) = (new_uuid(), machine.login("deputy", PASSWORD));
        machine.shell(MISSING_PACKAGE);

        let (nowhere, text) = problem(cloud.deploy(&host, &login).await);
        assert!(matches!(nowhere, Problem::Command { .. }), "{text}");
        for word in ["installing dnsmasq-base", "exit status 100", "no installation candidate"] {
            assert!(text.contains(word), "{word}: {text}");
        }

        machine.shell("echo 'deb [trusted=yes] file:/var/repo ./' >/etc/apt/sources.list");
        use Step::*;
        let steps = cloud.deploy(&host, &login).await.unwrap();
        assert_eq!(steps, [Packages, Hypervisor, Agent, Config, Enroll, Restart]);
        assert_eq!(machine.shell("dpkg-query -W -f '${Version} ${db:Status-Status}' dnsmasq-base"), "99 installed");
        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), []);
        no_leftovers(&machine);
    });
}

/// A node that was installed from our medium: package of an older agent, and a repository of its own with the version in
/// `$1`, whose program is `$2`.
const PACKAGED_AGENT: &str = r#"
set -eu
mkdir /run/bin /run/bin/up /run/bin/work
mount -t overlay overlay -o lowerdir=/usr/bin,upperdir=/run/bin/up,workdir=/run/bin/work /usr/bin
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
package() {
    tree=/var/repo/$1
    mkdir -p $tree/DEBIAN $tree/usr/bin
    printf 'Package: zstack-node-manager\nVersion: %s\nArchitecture: all\nMaintainer: test\nDescription: test\n' "$1" >$tree/DEBIAN/control
    install -m 0755 "$2" $tree/usr/bin/node-manager
    dpkg-deb -Znone --build $tree /var/repo/$1.deb >/dev/null
}
printf '#!/bin/sh\necho node-manager 0.0.9\n' >/tmp/old
package 0.0.9-1 /tmp/old
package "$1" "$2"
dpkg -i /var/repo/0.0.9-1.deb >/dev/null
rm /tmp/old
cd /var/repo
{ cat "$1"/DEBIAN/control
  echo "Filename: ./$1.deb"
  echo "Size: $(stat -c %s "$1".deb)"
  echo "SHA256: $(sha256sum "$1".deb | cut -d' ' -f1)"; } >Packages
"#;

#[test]
fn an_agent_that_a_package_brought_stays_the_packages() {
    isolated(|| async {
        let machine = Machine::boot("127.0.0.1").await;
        let cloud = Cloud::open().await;
        let (host, login) = (new_uuid(), machine.login("deputy", PASSWORD));
        let version = concat!(env!("CARGO_PKG_VERSION"), "-1");
        machine.shell(&format!("set -- {version} {}\n{PACKAGED_AGENT}", agent_binary().display()));
        use Step::*;

        // The repository has the wanted version once the node knows of it; before, ours is put beside the package's.
        let beside = cloud.deploy(&host, &login).await.unwrap();
        assert_eq!(beside, [Hypervisor, Agent, Config, Enroll, Restart]);
        let first = cloud.instance(&host, machine.at.ip()).await;
        machine.shell("echo 'deb [trusted=yes] file:/var/repo ./' >/etc/apt/sources.list && apt-get -q update");
        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), [Upgrade, Unshadow, Restart]);
        assert_ne!(cloud.instance(&host, machine.at.ip()).await, first);
        assert!(!machine.path(files::AGENT).exists() && !machine.path(files::UNIT).exists());
        assert_eq!(machine.shell("dpkg-query -W -f '${Version}' zstack-node-manager"), version);
        let running = machine.shell(&format!("readlink /proc/$(cat {})/exe", files::PID));
        assert_eq!(running.trim(), files::PACKAGED);
        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), [], "and again nothing is to be done");

        // A node from a later medium takes the version of its management node.
        machine.shell(
            "printf '#!/bin/sh\\necho node-manager 99.0.0\\n' >/tmp/new && cd /var/repo && mkdir -p 99-1/usr/bin &&\n\
             cp -r 0.0.9-1/DEBIAN 99-1/ && sed -i 's/0.0.9-1/99-1/' 99-1/DEBIAN/control &&\n\
             install -m 0755 /tmp/new 99-1/usr/bin/node-manager && rm /tmp/new &&\n\
             dpkg-deb --build 99-1 99-1.deb >/dev/null && dpkg -i 99-1.deb >/dev/null",
        );
        assert_eq!(cloud.deploy(&host, &login).await.unwrap(), [Upgrade, Restart]);
        assert_eq!(machine.shell("dpkg-query -W -f '${Version}' zstack-node-manager"), version);

        // A host that is new to the cloud gets a certificate, and its configuration is not written.
        machine.shell(&format!("kill -KILL $(cat {}); rm -r /etc/zstack/tls", files::PID));
        machine.shell(&format!("printf '# an operator was here\\n' >{}", files::CONFIG));
        assert_eq!(cloud.deploy(&new_uuid(), &login).await.unwrap(), [Enroll, Restart]);
        assert_eq!(machine.read(files::CONFIG), "# an operator was here\n");
        no_leftovers(&machine);
    });
}

#[test]
fn what_cannot_become_a_host_says_why() {
    isolated(|| async {
        let machine = Machine::boot("127.0.0.1").await;
        let cloud = Cloud::open().await;
        let (host, root) = (new_uuid(), machine.login("root", PASSWORD));

        let (sudo, text) = problem(cloud.deploy(&host, &machine.login("guest", PASSWORD)).await);
        assert!(matches!(sudo, Problem::Sudo(_)), "{text}");

        // A program of the right kind that is no agent does not replace anything.
        let config = Config { agent_binary: Some("/bin/true".into()), ..cloud.app.config.clone() };
        let (wrong, text) = problem(cloud.deploy_with(&config, &host, &root).await);
        assert!(matches!(wrong, Problem::Command { .. }) && text.contains("trying the new agent"), "{text}");
        assert!(!machine.path(files::AGENT).exists());
        no_leftovers(&machine);
        let config = Config { agent_binary: Some(cloud.dir.path().join("none")), ..cloud.app.config.clone() };
        let (missing, text) = problem(cloud.deploy_with(&config, &host, &root).await);
        assert!(matches!(missing, Problem::Here(_)) && text.contains("agent_binary"), "{text}");

        // The port of the agent is taken: it ends, and its log says so.
        let taken = tokio::net::TcpListener::bind(("0.0.0.0", cloud.app.agents.default_port())).await.unwrap();
        let (ended, text) = problem(cloud.deploy(&host, &root).await);
        assert!(matches!(ended, Problem::NotStarted { .. }) && text.contains("cannot listen"), "{text}");
        drop(taken);

        machine.shell("sed -i 's/^ID=.*/ID=ubuntu/; s/^PRETTY_NAME=.*/PRETTY_NAME=\"Ubuntu 24.04\"/' /etc/os-release");
        machine.shell("mount -t tmpfs -o size=1m,mode=1777 tmpfs /tmp");
        let (unfit, text) = problem(cloud.deploy(&host, &root).await);
        assert!(matches!(unfit, Problem::Unfit(_)), "{text}");
        for word in ["Ubuntu 24.04", "Debian 12 or 13", "/tmp has 1 MiB free"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    });
}

#[test]
fn hosts_are_added_and_reconnected_through_the_api() {
    isolated(|| async {
        let machine = Machine::boot("127.0.0.1").await;
        let cloud = Cloud::open().await;
        let app = &cloud.app;
        let [zone, cluster, host] = [(); 3].map(|()| new_uuid());
        jobs::call_as_system(app, "CreateZone", json!({ "name": "z", "resourceUuid": zone })).await.unwrap();
        let make = json!({ "name": "c", "zoneUuid": zone, "hypervisorType": "KVM", "resourceUuid": cluster });
        jobs::call_as_system(app, "CreateCluster", make).await.unwrap();
        let add = |password: &str| {
            let body = json!({
                "name": "h", "clusterUuid": cluster, "managementIp": "127.0.0.1", "username": "deputy",
                "password": password, "sshPort": 22, "resourceUuid": host,
            });
            jobs::call_as_system(app, "AddKVMHost", body)
        };

        let error = add("wrong horse").await.unwrap_err();
        let first = error.cause.as_deref().unwrap();
        let second = first.cause.as_deref().unwrap();
        assert_eq!([&error.code, &first.code, &second.code], ["HOST.1000", "HOST.1003", "SYS.1006"]);
        for word in ["127.0.0.1", "port 22", "user deputy", "password"] {
            assert!(second.details.contains(word), "{word}: {}", second.details);
        }
        assert!(!serde_json::to_string(&error).unwrap().contains("horse"));
        assert!(!machine.path("/etc/zstack").exists(), "a refused login changes nothing");

        add(PASSWORD).await.unwrap();
        let before = cloud.instance(&host, machine.at.ip()).await;

        // Our version answers: no SSH is needed to reconnect.
        let update = json!({ "uuid": host, "password": "wrong horse" });
        jobs::call_as_system(app, "UpdateKVMHost", update).await.unwrap();
        jobs::call_as_system(app, "ReconnectHost", json!({ "uuid": host })).await.unwrap();
        assert_eq!(cloud.instance(&host, machine.at.ip()).await, before);

        // The agent is gone: with a wrong password that is an error, with the right one it comes back.
        machine.shell(&format!("kill -KILL $(cat {})", files::PID));
        let error = jobs::call_as_system(app, "ReconnectHost", json!({ "uuid": host })).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.cause.unwrap().code.as_str()), ("HOST.1002", "HOST.1003"));
        let update = json!({ "uuid": host, "password": PASSWORD });
        jobs::call_as_system(app, "UpdateKVMHost", update).await.unwrap();
        jobs::call_as_system(app, "ReconnectHost", json!({ "uuid": host })).await.unwrap();
        let second = cloud.instance(&host, machine.at.ip()).await;
        assert_ne!(second, before);

        // Without a password: by the management node's key, which is there from the start.
        let public = std::fs::read_to_string(cloud.dir.path().join("data/ssh/id_ed25519.pub")).unwrap();
        machine.authorize("keeper", public.trim());
        machine.shell(&format!("kill -KILL $(cat {})", files::PID));
        let update = json!({ "uuid": host, "username": "keeper", "password": "" });
        jobs::call_as_system(app, "UpdateKVMHost", update).await.unwrap();
        jobs::call_as_system(app, "ReconnectHost", json!({ "uuid": host })).await.unwrap();
        assert_ne!(cloud.instance(&host, machine.at.ip()).await, second);
    });
}
