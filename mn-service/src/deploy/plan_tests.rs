//! Plans for machines of all kinds.

use std::collections::BTreeSet;

use super::*;

const HOST: &str = "36c27e8ff05c4780bf6d2fa65700f22e";

const CONFIG: &str = "listen = \"0.0.0.0:7443\"\n";

fn agent() -> Package {
    Package { path: "/opt/node-manager".into(), size: 20 * MIB, sha256: "new".to_owned(), architecture: "x86_64" }
}

fn os(id: &str, version: &str, like: &str) -> Os {
    let like = like.split_whitespace().map(str::to_owned).collect();
    Os { id: id.to_owned(), like, version: version.to_owned(), name: format!("{id} {version}") }
}

/// A fresh Debian 13 with systemd.
fn fresh() -> Facts {
    Facts {
        architecture: "x86_64".to_owned(),
        os: os("debian", "13", ""),
        free: [("/".to_owned(), 10 << 30)].into(),
        virtualization: true,
        tools: ["apt-get", "dpkg-query"].map(str::to_owned).into(),
        systemd: true,
        ..Facts::default()
    }
}

fn wanted<'a>(agent: &'a Package, others: &'a [String]) -> Wanted<'a> {
    Wanted { host: HOST, agent, config: CONFIG, ca: "CA", answers: false, allow_emulation: false, others }
}

/// The machine after its plan was carried out.
fn deployed(agent: &Package) -> Facts {
    let digest = |text: &str| files::digest(text.as_bytes());
    Facts {
        installed: Manager::Apt.packages("x86_64").iter().map(|name| (*name).to_owned()).collect(),
        agent_running: true,
        hypervisor_running: true,
        agent_version: Some("0.1.0".to_owned()),
        digests: [(files::AGENT.to_owned(), agent.sha256.clone()), (files::UNIT.to_owned(), digest(files::UNIT_TEXT))]
            .into(),
        agent_enabled: true,
        own_unit: true,
        config: Some(CONFIG.to_owned()),
        ca: Some("CA\n".to_owned()),
        enrolled_as: Some(HOST.to_owned()),
        ..fresh()
    }
}

#[test]
fn a_fresh_machine_gets_everything_in_order() {
    let plan = plan(&fresh(), wanted(&agent(), &[])).unwrap();
    use Step::*;
    assert_eq!(plan.steps, [Packages, Hypervisor, Agent, Config, Enroll, Unit, Restart]);
    assert_eq!(plan.missing, ["libvirt-daemon-system", "qemu-system-x86", "qemu-utils", "dnsmasq-base"]);
    assert_eq!((plan.manager, plan.warnings.len()), (Manager::Apt, 0));
}

#[test]
fn a_deployed_machine_needs_nothing() {
    let agent = agent();
    let again = plan(&deployed(&agent), Wanted { answers: true, ..wanted(&agent, &[]) }).unwrap();
    assert_eq!(again.steps, []);
}

#[test]
fn only_what_differs_is_done() {
    let agent = agent();
    let answering = Wanted { answers: true, ..wanted(&agent, &[]) };
    let steps = |change: fn(&mut Facts)| {
        let mut facts = deployed(&agent);
        change(&mut facts);
        plan(&facts, answering).unwrap().steps
    };
    use Step::*;
    assert_eq!(steps(|f| drop(f.digests.insert(files::AGENT.to_owned(), "old".to_owned()))), [Agent, Restart]);
    assert_eq!(steps(|f| f.config = None), [Config, Restart]);
    assert_eq!(steps(|f| f.config = Some("listen = \"0.0.0.0:1\"".to_owned())), [Config, Restart]);
    assert_eq!(steps(|f| f.config = Some(format!("# mine\n{CONFIG}run_dir = \"/run/x\""))), []);
    assert_eq!(steps(|f| drop(f.digests.remove(files::UNIT))), [Unit, Restart]);
    assert_eq!(steps(|f| f.agent_running = false), [Restart]);
    assert_eq!(steps(|f| f.restart_pending = true), [Restart]);
    assert_eq!(steps(|f| f.hypervisor_running = false), [Hypervisor]);
    assert_eq!(
        steps(|f| {
            f.installed.remove("qemu-utils");
        }),
        [Packages, Hypervisor]
    );
    assert_eq!(steps(|f| f.enrolled_as = Some("another".to_owned())), [Enroll, Restart]);
    let silent = plan(&deployed(&agent), wanted(&agent, &[])).unwrap();
    assert_eq!(silent.steps, [Enroll, Restart], "a running agent that does not answer gets a new certificate");
}

/// A node that was installed from the medium: package and shipped configuration, and no certificate.
fn installed(version: &str) -> Facts {
    let mut facts = Facts {
        digests: [].into(),
        packaged: Some(version.to_owned()),
        agent_running: false,
        own_unit: false,
        config: Some(include_str!("../../../rpm-specs/etc/node-manager.toml").to_owned()),
        ca: None,
        enrolled_as: None,
        ..deployed(&agent())
    };
    facts.installed.insert(files::PACKAGE.to_owned());
    facts
}

#[test]
fn the_package_of_our_version_is_the_agent() {
    let agent = agent();
    let other = plan(&installed(VERSION), wanted(&agent, &[])).unwrap();
    use Step::*;
    assert_eq!((other.steps.as_slice(), other.source.program()), (&[Enroll, Restart][..], files::PACKAGED));
    assert_eq!(other.warnings, [""; 0]);
    let facts = Facts { agent_enabled: false, ..installed(VERSION) };
    assert_eq!(plan(&facts, wanted(&agent, &[])).unwrap().steps, [Enroll, Unit, Restart]);
    let ours = |facts: Facts| Facts {
        agent_running: true,
        ca: Some("CA".to_owned()),
        enrolled_as: Some(HOST.to_owned()),
        ..facts
    };
    let answering = Wanted { answers: true, ..wanted(&agent, &[]) };
    assert_eq!(plan(&ours(installed(VERSION)), answering).unwrap().steps, [], "and it stays");

    // What a deployment put there before goes: it would win over the package for ever.
    let mut facts = ours(installed(VERSION));
    facts.digests = deployed(&agent).digests;
    facts.own_unit = true;
    assert_eq!(plan(&facts, answering).unwrap().steps, [Unshadow, Unit, Restart]);
    facts.digests.remove(files::UNIT);
    assert_eq!(plan(&facts, answering).unwrap().steps, [Unshadow, Restart], "the end of one that was cut off");
    facts.digests = deployed(&agent).digests;
    facts.own_unit = false;
    let kept = plan(&facts, answering).unwrap();
    assert_eq!(kept.steps, [], "an operator's own unit stays");
    assert!(kept.warnings[0].contains(files::UNIT), "{:?}", kept.warnings);
}

#[test]
fn a_package_of_another_version_is_replaced_by_its_package_manager_where_that_can() {
    let agent = agent();
    use Step::*;
    let offering = |versions: &[&str]| Facts {
        offered: versions.iter().map(|version| (*version).to_owned()).collect(),
        ..installed("0.0.9")
    };
    let newer = format!("{VERSION}-1");
    let upgraded = plan(&offering(&["0.0.9-1", &newer]), wanted(&agent, &[])).unwrap();
    assert_eq!(upgraded.steps, [Upgrade, Enroll, Restart]);
    assert_eq!(upgraded.source, Source::Repository(newer.clone()));
    assert!(upgraded.warnings[0].contains("0.0.9") && upgraded.warnings[0].contains(&newer), "{:?}", upgraded.warnings);
    let similar = format!("{VERSION}1-1");
    for versions in [&["0.0.9-1"][..], &[&similar], &[]] {
        let beside = plan(&offering(versions), wanted(&agent, &[])).unwrap();
        assert_eq!((beside.steps.as_slice(), &beside.source), (&[Agent, Enroll, Unit, Restart][..], &Source::Upload));
        assert!(beside.warnings[0].contains("no repository") && beside.warnings[0].contains("/usr/local/bin"));
    }
    // A program that no package owns says nothing about packages.
    let mut facts = offering(&[&newer]);
    facts.installed.remove(files::PACKAGE);
    assert_eq!(plan(&facts, wanted(&agent, &[])).unwrap().source, Source::Upload);
}

#[test]
fn a_machine_without_systemd_gets_no_unit() {
    let facts = Facts { systemd: false, ..fresh() };
    let plan = plan(&facts, wanted(&agent(), &[])).unwrap();
    assert!(!plan.steps.contains(&Step::Unit) && plan.steps.ends_with(&[Step::Restart]));
}

#[test]
fn supported_systems() {
    for (id, version, like, manager) in [
        ("debian", "12", "", Some(Manager::Apt)),
        ("debian", "13", "", Some(Manager::Apt)),
        ("debian", "11", "", None),
        ("debian", "", "", None),
        ("ubuntu", "24.04", "debian", None),
        ("rhel", "9.4", "fedora", Some(Manager::Dnf)),
        ("rocky", "10.0", "rhel centos fedora", Some(Manager::Dnf)),
        ("almalinux", "8.9", "rhel centos fedora", None),
        ("fedora", "42", "", None),
    ] {
        assert_eq!(Manager::of(&os(id, version, like)), manager, "{id} {version}");
    }
    let facts = Facts { os: os("rocky", "9.4", "rhel"), tools: ["dnf", "rpm"].map(str::to_owned).into(), ..fresh() };
    let plan = plan(&facts, wanted(&agent(), &[])).unwrap();
    assert_eq!(plan.missing, ["libvirt-daemon-kvm", "qemu-kvm", "qemu-img", "dnsmasq"]);
}

#[test]
fn everything_that_is_missing_is_said_at_once() {
    let facts = Facts {
        architecture: "riscv64".to_owned(),
        os: os("ubuntu", "22.04", "debian"),
        free: [("/var".to_owned(), MIB)].into(),
        ..fresh()
    };
    let problems = plan(&facts, wanted(&agent(), &[])).unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
    let text = problems.join("\n");
    for word in ["Debian 12 or 13", "ubuntu 22.04", "riscv64", "/opt/node-manager", "/var has 1 MiB"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let bare = Facts { tools: BTreeSet::new(), ..fresh() };
    assert_eq!(plan(&bare, wanted(&agent(), &[])).unwrap_err(), ["apt-get is missing", "dpkg-query is missing"]);
}

#[test]
fn cs_host_005_virtualization() {
    let facts = Facts { virtualization: false, ..fresh() };
    assert_eq!(plan(&facts, wanted(&agent(), &[])).unwrap_err(), [NO_VIRTUALIZATION]);
    let plan = plan(&facts, Wanted { allow_emulation: true, ..wanted(&agent(), &[]) }).unwrap();
    assert!(plan.warnings[0].starts_with(NO_VIRTUALIZATION), "{:?}", plan.warnings);
    assert_eq!(
        NO_VIRTUALIZATION,
        "cannot find either 'vmx' or 'svm' in /proc/cpuinfo, please make sure you have enabled virtualization in your BIOS setting"
    );
}

#[test]
fn room_is_asked_for_what_is_to_come() {
    let agent = agent();
    let answering = Wanted { answers: true, ..wanted(&agent, &[]) };
    let mut facts = Facts { free: [("/".to_owned(), 80 * MIB)].into(), ..deployed(&agent) };
    assert_eq!(plan(&facts, answering).unwrap().steps, []);
    facts.digests.clear();
    assert_eq!(plan(&facts, answering).unwrap_err(), ["/ has 80 MiB free of the 104 MiB it needs"]);
}

#[test]
fn a_machine_of_somebody_else_is_left_alone() {
    let agent = agent();
    let facts = Facts { ca: Some("another".to_owned()), ..deployed(&agent) };
    assert!(plan(&facts, wanted(&agent, &[])).unwrap_err()[0].contains("another cloud"));
    let facts = Facts { enrolled_as: Some("other".to_owned()), ..deployed(&agent) };
    let others = ["other".to_owned()];
    assert!(plan(&facts, wanted(&agent, &others)).unwrap_err()[0].contains("host other"));
    let gone = plan(&facts, wanted(&agent, &[])).unwrap();
    assert_eq!(gone.steps, [Step::Enroll, Step::Restart], "a host that was deleted is taken over");
}
