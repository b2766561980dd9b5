//! What is to be done, or everything that stands in the way.

use std::{cmp::Ordering, fmt, path::PathBuf};

use super::{
    Options, folder,
    machine::{DATA, Machine, Package},
};

/// The system that the packages are for.
const SYSTEM: (&str, &str, &str) = ("debian", "13", "amd64");
/// The package whose presence makes a management node.
const SERVICE: &str = "zstack-mn-service";
/// What a management node has of ours.
const MANAGEMENT: [&str; 9] = [
    "zstack-base",
    "zstack-cli",
    "zstack-compute",
    "zstack-ctl",
    "zstack-manager",
    SERVICE,
    "zstack-network",
    "zstack-node-manager",
    "zstack-tui",
];

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing: this version is there.
    Current(String),
    /// There is no management service, or an attempt was cut off.
    Install { version: String, files: Vec<PathBuf> },
    /// There is an older one.
    Upgrade { version: String, files: Vec<PathBuf> },
    /// What is there is dropped; with what is to be installed before.
    Anew { version: String, files: Vec<PathBuf> },
}

/// Something in the way, and the way out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    what: String,
    way_out: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.way_out)
    }
}

/// A number of problems, in words.
pub(super) fn count(problems: usize) -> String {
    if problems == 1 { "something is".to_owned() } else { format!("{problems} things are") }
}

pub(super) fn judge(options: &Options, machine: &Machine) -> Result<Work, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut problem = |what: String, way_out: &str| problems.push(Problem { what, way_out: way_out.to_owned() });
    if !machine.root {
        problem("please use sudo or root user".to_owned(), "sudo bash FILE");
    }
    let (name, id, version) = &machine.system;
    if (id.as_str(), version.as_str(), machine.architecture.as_str()) != SYSTEM {
        let what = "The Operating System version is not suitable for zstack-enterprise installation.";
        let (name, architecture) = (if name.is_empty() { "unknown" } else { name }, &machine.architecture);
        problem(
            format!("{what} It is {name} ({architecture}), and must be Debian 13 (amd64)"),
            "install the node from the newest medium",
        );
    }
    let service = machine.offered.iter().find(|package| package.name == SERVICE);
    let missing: Vec<&str> =
        MANAGEMENT.into_iter().filter(|name| !machine.offered.iter().any(|package| package.name == *name)).collect();
    if !missing.is_empty() {
        let what = format!("{} has no {}", options.packages.display(), missing.join(", "));
        problem(what, "use a whole installer program, or a node that has the packages of its medium");
    }
    let newer = |package: &&Package| package.against == Some(Ordering::Less);
    for package in machine.offered.iter().filter(newer) {
        let own = machine.installed.get(&package.name).map_or("", String::as_str);
        let Package { name, version, .. } = package;
        problem(
            format!("{name} {own} is installed, and this is the older {version}"),
            "use the newest installer program",
        );
    }
    let installed = machine.installed.get(SERVICE);
    match (installed, options.upgrade) {
        (None, true) => {
            problem("there is no management service to upgrade".to_owned(), "leave -u out, and it is installed");
        }
        (Some(own), false) if !machine.unfinished && !options.anew => problem(
            format!("ZStack {own} is existing"),
            "to upgrade it, use -u; to begin anew, -D; or remove it before: apt-get purge zstack-mn-service",
        ),
        (Some(own), false) if options.anew && service.is_some_and(|service| service.version != *own) => {
            problem(format!("ZStack {own} is existing, and this is another version"), "upgrade first, with -u");
        }
        (None, false) if !options.anew && !machine.unfinished && !machine.remains.is_empty() => {
            let remains: Vec<String> = machine.remains.iter().map(|path| path.display().to_string()).collect();
            problem(
                format!("{} is existing, of an earlier installation", remains.join(", ")),
                "to drop it and begin anew, use -D; to go on with it, apt-get install zstack-manager",
            );
        }
        _ => {}
    }
    let addresses = || {
        let own: Vec<String> = machine.addresses.iter().map(|(link, own)| format!("{own} ({link})")).collect();
        own.join(", ")
    };
    match options.address {
        _ if machine.addresses.is_empty() => problem(
            "this node has no address that others can reach".to_owned(),
            "configure its network (zs-network-setting, or F2 on its console), then run this again",
        ),
        Some(address) if machine.link_of(address).is_none() => {
            problem(format!("this node does not have the address {address}"), &format!("name one of {}", addresses()));
        }
        _ => {}
    }
    if let Some(folder) = &options.folder {
        let shown = folder.display();
        if !folder.is_absolute() {
            problem(format!("-r {shown} is no path from the root on"), "write it from / on");
        } else if !folder::is_plain(folder) {
            problem(format!("-r {shown} has letters that fstab cannot have"), "name a folder without spaces, # and \\");
        } else if folder.starts_with(DATA) {
            problem(format!("-r {shown} lies in {DATA}, which it would take the place of"), "name another folder");
        } else if !machine.unfinished && std::fs::read_dir(folder).is_ok_and(|mut all| all.next().is_some()) {
            problem(format!("-r {shown} is not empty"), "name a folder that is empty or not there");
        }
        if (machine.data_used || installed.is_some()) && !machine.unfinished {
            problem(format!("{DATA} has data already, which -r does not move"), "leave -r out");
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let version = service.map(|service| service.version.clone()).unwrap_or_default();
    let files = |wanted: &dyn Fn(&Package) -> bool| -> Vec<PathBuf> {
        machine.offered.iter().filter(|package| wanted(package)).map(|package| package.file.clone()).collect()
    };
    let has = |package: &Package| machine.installed.contains_key(&package.name);
    let all = || files(&|package| MANAGEMENT.contains(&package.name.as_str()) || has(package));
    let newer = machine.offered.iter().any(|package| package.against == Some(Ordering::Greater));
    Ok(match installed {
        Some(_) if options.upgrade && newer => Work::Upgrade { version, files: files(&has) },
        Some(_) if options.upgrade && !machine.unfinished => Work::Current(version),
        Some(_) if options.anew && !machine.unfinished => Work::Anew { version, files: Vec::new() },
        _ if options.anew && !machine.remains.is_empty() => Work::Anew { version, files: all() },
        _ => Work::Install { version, files: all() },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    fn asked(words: &[&str]) -> Options {
        Program::parse_from(["installer"].iter().chain(words)).options
    }

    /// An expert node with the packages of version 2.
    fn expert() -> Machine {
        let package = |name: &str, against| Package {
            name: name.to_owned(),
            version: "2".to_owned(),
            file: PathBuf::from(format!("/packages/{name}.deb")),
            against,
        };
        let installed = ["zstack-base", "zstack-network"];
        let against = |name: &str| installed.contains(&name).then_some(Ordering::Equal);
        Machine {
            root: true,
            system: ("Debian GNU/Linux 13 (trixie)".to_owned(), "debian".to_owned(), "13".to_owned()),
            architecture: "amd64".to_owned(),
            offered: MANAGEMENT
                .into_iter()
                .chain(["zstack-storage"])
                .map(|name| package(name, against(name)))
                .collect(),
            installed: installed.map(|name| (name.to_owned(), "2".to_owned())).into(),
            addresses: vec![("eth0".to_owned(), "192.0.2.7".parse().unwrap())],
            ..Machine::default()
        }
    }

    /// A management node of a version.
    fn manager(version: &str, against: Ordering) -> Machine {
        let mut machine = expert();
        machine.installed = MANAGEMENT.map(|name| (name.to_owned(), version.to_owned())).into();
        for package in machine.offered.iter_mut().filter(|package| package.name != "zstack-storage") {
            package.against = Some(against);
        }
        machine.data_used = true;
        machine.remains = vec![PathBuf::from("/etc/zstack/mn-service.toml")];
        machine
    }

    fn refusals(words: &[&str], machine: &Machine) -> Vec<String> {
        judge(&asked(words), machine).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn f_019_an_expert_node_gets_what_a_management_node_has() {
        for words in [&[] as &[&str], &["-E"], &["-D"], &["-i", "192.0.2.7"], &["-r", "/home/zstack-there-is-none"]] {
            let Ok(Work::Install { version, files }) = judge(&asked(words), &expert()) else { panic!("{words:?}") };
            assert_eq!((version.as_str(), files.len()), ("2", MANAGEMENT.len()));
        }
        // A storage node keeps its packages of the same version.
        let mut storage = expert();
        storage.installed.insert("zstack-storage".to_owned(), "1".to_owned());
        let Ok(Work::Install { files, .. }) = judge(&asked(&[]), &storage) else { panic!() };
        assert!(files.contains(&PathBuf::from("/packages/zstack-storage.deb")));
    }

    /// OS-BIN-010, OPS-INS-003.
    #[test]
    fn f_020_an_installation_that_is_there_is_refused_with_the_ways_out() {
        let refused = refusals(&[], &manager("1", Ordering::Greater));
        assert!(refused.len() == 1 && refused[0].starts_with("ZStack 1 is existing"), "{refused:?}");
        assert!(["-u", "-D", "apt-get purge"].iter().all(|way| refused[0].contains(way)), "{refused:?}");
        let left = Machine { remains: vec![PathBuf::from("/var/lib/mysql/zstack")], ..expert() };
        let refused = refusals(&["-E"], &left);
        assert!(refused[0].contains("/var/lib/mysql/zstack is existing") && refused[0].contains("-D"), "{refused:?}");
        assert!(matches!(judge(&asked(&["-D"]), &left), Ok(Work::Anew { files, .. }) if files.len() == 9));
        // What was cut off goes on.
        let cut = Machine { unfinished: true, ..manager("2", Ordering::Equal) };
        assert!(matches!(judge(&asked(&[]), &cut), Ok(Work::Install { .. })));
        assert!(matches!(judge(&asked(&["-u"]), &cut), Ok(Work::Install { .. })));
        assert!(matches!(judge(&asked(&["-D"]), &cut), Ok(Work::Anew { files, .. }) if files.len() == 9));
    }

    #[test]
    fn f_019_an_upgrade_takes_what_is_installed_to_a_newer_version_and_never_to_an_older_one() {
        let Ok(Work::Upgrade { version, files }) = judge(&asked(&["-u"]), &manager("1", Ordering::Greater)) else {
            panic!()
        };
        assert_eq!((version.as_str(), files.len()), ("2", MANAGEMENT.len()));
        assert_eq!(judge(&asked(&["-u"]), &manager("2", Ordering::Equal)), Ok(Work::Current("2".to_owned())));
        let refused = refusals(&["-u"], &manager("3", Ordering::Less));
        assert!(refused.len() == MANAGEMENT.len() && refused[0].contains("3 is installed"), "{refused:?}");
        assert!(refusals(&["-u"], &expert())[0].contains("leave -u out"));
    }

    #[test]
    fn f_019_beginning_anew_drops_what_is_there_of_the_same_version() {
        let same = manager("2", Ordering::Equal);
        assert_eq!(judge(&asked(&["-D"]), &same), Ok(Work::Anew { version: "2".to_owned(), files: Vec::new() }));
        assert!(refusals(&["-D"], &manager("1", Ordering::Greater))[0].contains("upgrade first, with -u"));
    }

    /// OS-BIN-013, OS-BIN-014, OPS-INS-001, OPS-INS-005.
    #[test]
    fn everything_in_the_way_is_named_at_once() {
        let stock = Machine {
            system: ("CentOS Linux 7".to_owned(), "centos".to_owned(), "7".to_owned()),
            architecture: String::new(),
            offered: Vec::new(),
            installed: BTreeMap::new(),
            root: false,
            ..expert()
        };
        let refused = refusals(&["-i", "198.51.100.1", "-r", "srv", "--packages", "/none"], &stock);
        let wanted = [
            "please use sudo or root user",
            "not suitable for zstack-enterprise installation. It is CentOS Linux 7",
            "/none has no zstack-base",
            "does not have the address 198.51.100.1; name one of 192.0.2.7 (eth0)",
            "-r srv is no path from the root",
        ];
        assert_eq!(refused.len(), wanted.len(), "{refused:#?}");
        assert!(refused.iter().zip(wanted).all(|(refused, wanted)| refused.contains(wanted)), "{refused:#?}");
        let alone = Machine { addresses: Vec::new(), data_used: true, ..expert() };
        let refused = refusals(&["-r", "/var/lib/zstack/a"], &alone);
        assert!(refused[0].contains("no address") && refused[1].contains("lies in"), "{refused:#?}");
        assert!(refused[2].contains("data already"), "{refused:#?}");
    }
}
