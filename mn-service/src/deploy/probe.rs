//! What the host is: one read-only script, and the reading of its answer.

use std::collections::{BTreeMap, BTreeSet};

use x509_parser::{
    extensions::GeneralName,
    pem::Pem,
    prelude::{FromDer, X509Certificate},
};

use super::{
    error::{DeployError, Problem},
    files,
    ssh::{QUICK, Session},
};

/// Prints `@key value` lines. Changes nothing, needs no root, and works in any POSIX shell. Arguments: packages.
const SCRIPT: &str = r#"
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
alive() { [ -n "$1" ] && [ -d "/proc/$1" ] && ! grep -q '^State:.*Z' "/proc/$1/status"; }
echo "@arch $(uname -m)"
sed 's/^/@os /' /etc/os-release 2>/dev/null
df -Pk /usr /var /tmp 2>/dev/null | sed '1d;s/^/@disk /'
grep -qwE 'vmx|svm' /proc/cpuinfo && echo "@virtualization yes"
for tool in apt-get dpkg-query dnf rpm; do command -v $tool >/dev/null && echo "@tool $tool"; done
command -v dpkg-query >/dev/null && dpkg-query -W -f '@package ${Package} ${db:Status-Status}\n' "$@" 2>/dev/null
command -v rpm >/dev/null && rpm -q --qf '@package %{NAME} installed\n' "$@" 2>/dev/null | grep '^@'
if [ -d /run/systemd/system ]; then
    echo "@systemd yes"
    systemctl is-active --quiet node-manager.service && echo "@running agent"
    for unit in libvirtd.service libvirtd.socket virtqemud.service virtqemud.socket; do
        systemctl is-active --quiet $unit && echo "@running hypervisor"
    done
else
    alive "$(cat /run/zstack/node-manager.pid 2>/dev/null)" && echo "@running agent"
    alive "$(cat /run/libvirtd.pid 2>/dev/null)" && echo "@running hypervisor"
fi
unit=/etc/systemd/system/node-manager.service
systemctl is-enabled --quiet node-manager.service 2>/dev/null && echo "@enabled agent"
head -n 1 $unit 2>/dev/null | grep -q '^# Written by the management service' && echo "@ours $unit"
if [ -x /usr/bin/node-manager ]; then
    timeout 10 /usr/bin/node-manager --version 2>/dev/null </dev/null | head -n 1 | sed 's/^/@packaged /'
    command -v apt-cache >/dev/null && apt-cache madison zstack-node-manager 2>/dev/null |
        while IFS='|' read -r name version rest; do echo "@offered $version"; done
fi
agent=/usr/local/bin/node-manager
[ -x $agent ] && timeout 10 $agent --version 2>/dev/null </dev/null | head -n 1 | sed 's/^/@agent /'
for file in $agent $unit; do
    [ -r $file ] && sha256sum $file 2>/dev/null | sed 's/^/@sha256 /'
done
# An empty line behind it: an editor may have left out the last line break.
[ -r /etc/zstack/node-manager.toml ] && echo "@config" && sed 's/^/@config /' /etc/zstack/node-manager.toml && echo
[ -e /etc/zstack/agent-restart-pending ] && echo "@pending yes"
sed 's/^/@ca /' /etc/zstack/tls/ca.crt 2>/dev/null
sed 's/^/@cert /' /etc/zstack/tls/host.crt 2>/dev/null
echo "@end"
"#;

/// `/etc/os-release`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Os {
    /// `ID`.
    pub id: String,
    /// `ID_LIKE`.
    pub like: Vec<String>,
    /// `VERSION_ID`.
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
}

/// What the host is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `uname -m`.
    pub architecture: String,
    /// Operating system.
    pub os: Os,
    /// Free bytes by mount point, of what `/usr`, `/var` and `/tmp` are on.
    pub free: BTreeMap<String, u64>,
    /// `vmx` or `svm` in `/proc/cpuinfo`.
    pub virtualization: bool,
    /// Package tools.
    pub tools: BTreeSet<String>,
    /// Installed ones of the packages that were asked for.
    pub installed: BTreeSet<String>,
    /// systemd is the init system.
    pub systemd: bool,
    /// The agent runs.
    pub agent_running: bool,
    /// A deployment was cut off before it restarted the agent.
    pub restart_pending: bool,
    /// libvirt runs.
    pub hypervisor_running: bool,
    /// The agent's unit starts at boot.
    pub agent_enabled: bool,
    /// Version of the agent that a deployment put there.
    pub agent_version: Option<String>,
    /// Version of the program where the agent's package puts it.
    pub packaged: Option<String>,
    /// Versions of the agent's package in the repositories of the host, as its package manager writes them.
    pub offered: Vec<String>,
    /// The unit in `/etc/systemd/system` is one that a deployment wrote.
    pub own_unit: bool,
    /// Text of the agent's configuration.
    pub config: Option<String>,
    /// SHA-256 of files of ours, by path.
    pub digests: BTreeMap<String, String>,
    /// Authority that the host trusts (PEM).
    pub ca: Option<String>,
    /// Host that it has a certificate for.
    pub enrolled_as: Option<String>,
}

/// Asks the host.
pub async fn ask(session: &Session, packages: &[&str]) -> Result<Facts, DeployError> {
    let what = "looking at the host";
    let argv = [&["sh", "-c", SCRIPT, "sh"], packages].concat();
    let output = session.run(what, &argv, QUICK).await?;
    let output = session.succeeded(what, output)?;
    read(&output.stdout).ok_or_else(|| {
        let problem = Problem::Command {
            what: what.to_owned(),
            status: "its answer is incomplete".to_owned(),
            said: output.said(),
        };
        session.login().fail(problem)
    })
}

/// Reads the answer of the script; nothing when it is incomplete.
fn read(text: &str) -> Option<Facts> {
    let mut facts = Facts::default();
    let (mut ca, mut cert, mut complete) = (String::new(), String::new(), false);
    for line in text.lines() {
        // Login scripts may print what they like between our lines.
        let Some(line) = line.strip_prefix('@') else { continue };
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "arch" => facts.architecture = value.to_owned(),
            "os" => os_line(&mut facts.os, value),
            "disk" => {
                let fields: Vec<&str> = value.split_whitespace().collect();
                if let [_, _, _, free, _, mount, ..] = fields[..]
                    && let Ok(free) = free.parse::<u64>()
                {
                    facts.free.insert(mount.to_owned(), free.saturating_mul(1024));
                }
            }
            "virtualization" => facts.virtualization = true,
            "tool" => drop(facts.tools.insert(value.to_owned())),
            "package" => {
                if let Some(name) = value.strip_suffix(" installed") {
                    facts.installed.insert(name.to_owned());
                }
            }
            "systemd" => facts.systemd = true,
            "running" if value == "agent" => facts.agent_running = true,
            "running" => facts.hypervisor_running = true,
            "pending" => facts.restart_pending = true,
            "enabled" => facts.agent_enabled = true,
            "ours" => facts.own_unit = true,
            "agent" => facts.agent_version = version(value),
            "packaged" => facts.packaged = version(value),
            "offered" => facts.offered.push(value.trim().to_owned()),
            "config" => facts.config.get_or_insert_default().extend([value, "\n"]),
            "sha256" => {
                if let Some((digest, path)) = value.split_once("  ") {
                    facts.digests.insert(path.to_owned(), digest.to_owned());
                }
            }
            "ca" => ca.extend([value, "\n"]),
            "cert" => cert.extend([value, "\n"]),
            "end" => complete = true,
            _ => {}
        }
    }
    facts.ca = Some(ca).filter(|text| !text.trim().is_empty());
    facts.enrolled_as = named(&cert);
    (complete && !facts.architecture.is_empty()).then_some(facts)
}

/// The version in what the agent says of itself.
fn version(said: &str) -> Option<String> {
    said.strip_prefix("node-manager ").map(|version| version.trim().to_owned())
}

fn os_line(os: &mut Os, line: &str) {
    let Some((key, value)) = line.split_once('=') else { return };
    let value = value.trim().trim_matches(['"', '\'']).to_owned();
    match key {
        "ID" => os.id = value,
        "ID_LIKE" => os.like = value.split_whitespace().map(str::to_owned).collect(),
        "VERSION_ID" => os.version = value,
        "PRETTY_NAME" => os.name = value,
        _ => {}
    }
}

/// The host that a certificate names.
fn named(pem: &str) -> Option<String> {
    let pem = Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_suffix(files::HOST_SUFFIX).map(str::to_owned),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Authority;

    #[test]
    fn this_machine_answers() {
        let out =
            std::process::Command::new("sh").args(["-c", SCRIPT, "sh", "dpkg", "no-such-package"]).output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
        let facts = read(&String::from_utf8(out.stdout).unwrap()).unwrap();
        assert_eq!(facts.architecture, std::env::consts::ARCH);
        assert_eq!(facts.os.id, "debian");
        assert!(!facts.free.is_empty() && facts.free.values().all(|free| *free > 0), "{facts:?}");
        assert!(facts.tools.contains("apt-get"));
        assert_eq!(facts.installed, BTreeSet::from(["dpkg".to_owned()]));
    }

    #[test]
    fn an_answer_is_read_among_noise() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let uuid = mn_service_types::new_uuid();
        let identity = authority.issue_host(&uuid, None).unwrap();
        let marked = |mark: &str, pem: &str| pem.lines().map(|line| format!("@{mark} {line}\n")).collect::<String>();
        let text = format!(
            "Welcome!\n@arch x86_64\n@os ID=\"rocky\"\n@os VERSION_ID=\"9.4\"\n@os ID_LIKE=\"rhel centos fedora\"\n\
             @disk /dev/vda1 100 50 50 50% /\n@package qemu-kvm installed\n@package dnsmasq not-installed\n\
             @agent node-manager 0.0.9\n@running agent\n@enabled agent\n@packaged node-manager 0.1.0\n\
             @offered  0.1.0-1 \n@config\n@config # mine\n@config listen = \"[::]:1\"\n\
             @ours /etc/systemd/system/node-manager.service\n@sha256 abc  /usr/local/bin/node-manager\n{}{}@end\n",
            marked("ca", &identity.ca_pem),
            marked("cert", &identity.cert_pem)
        );
        let facts = read(&text).unwrap();
        assert_eq!((facts.os.id.as_str(), facts.os.version.as_str()), ("rocky", "9.4"));
        assert_eq!(facts.free, BTreeMap::from([("/".to_owned(), 51200)]));
        assert_eq!(facts.installed, BTreeSet::from(["qemu-kvm".to_owned()]));
        assert_eq!(facts.agent_version.as_deref(), Some("0.0.9"));
        assert_eq!((facts.packaged.as_deref(), facts.offered.as_slice()), (Some("0.1.0"), &["0.1.0-1".to_owned()][..]));
        assert_eq!(facts.config.as_deref(), Some("\n# mine\nlisten = \"[::]:1\"\n"));
        assert!(facts.agent_enabled && facts.own_unit);
        assert!(facts.agent_running && !facts.hypervisor_running && !facts.systemd && !facts.virtualization);
        assert_eq!(facts.digests["/usr/local/bin/node-manager"], "abc");
        assert_eq!(facts.enrolled_as, Some(uuid));
        assert_eq!(facts.ca.as_deref().map(str::trim), Some(identity.ca_pem.trim()));
        assert_eq!(read(text.trim_end_matches("@end\n")), None, "an answer that was cut off is none");
    }
}
