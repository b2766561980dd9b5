//! Kickstart files as answers (`inst.ks=`).
//!
//! What cannot be done here is refused and never left out silently: somebody wrote it because he wants it. What concerns
//! the installer of another system alone (how it shows itself, where it finds packages) has no meaning here.

use installer_plan::{
    answers::{
        Answers, End, Extent, Format, JoinAnswers, Language, Layout, PartitionAnswers, RootFormat, VolumeAnswers,
    },
    facts::Facts,
    manifest,
    problem::Problem,
    size::{MIB, Size},
    text::Text,
};
use kickstart::{
    Autopart, AutopartType, Bootloader, ClearKind, Clearpart, Command, Ending, Ignoredisk, Item, Logvol, Part, Role,
    Rootpw, Section, Severity, Sshkey, Timesource, Timezone, Version, Volgroup,
};

mod network;

/// Comment that names a management node to join, and perhaps a one-time code behind it: kickstart has no command for it.
const JOIN: &str = "#zstack-join=";

/// Reads a file for this machine.
///
/// # Errors
/// Everything that is wrong with it, or cannot be done; keys are lines.
pub fn answers(text: &str, facts: &Facts) -> Result<Answers, Vec<Problem>> {
    let parsed = kickstart::parse(text, Version::Rhel9).map_err(|problems| {
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
        let way_out = "correct the file, and check it with ksvalidator -v RHEL9";
        errors.map(|p| Problem::new(format!("line {}", p.line), p.message.clone(), way_out)).collect::<Vec<_>>()
    })?;
    let mut read =
        Reading { facts, answers: Answers::default(), problems: Vec::new(), line: 0, erase: Erase::default() };
    match Role::of(&parsed.kickstart) {
        Some(role) => read.answers.role = Some(role_of(role)),
        None => {
            let way_out = "add `@^zstack-compute` or another role to %packages";
            read.problems.push(Problem::new("%packages", "no role is named (OS-MODE-001)", way_out));
        }
    }
    for (item, line) in parsed.kickstart.items.iter().zip(&parsed.lines) {
        read.line = *line;
        read.item(item);
    }
    read.disks();
    if let Some(said) = text.lines().find_map(|line| line.trim().strip_prefix(JOIN)) {
        match said.split_whitespace().collect::<Vec<_>>()[..] {
            [address] => read.answers.join = Some(JoinAnswers { address: address.to_owned(), code: None }),
            [address, code] => {
                read.answers.join = Some(JoinAnswers { address: address.to_owned(), code: Some(code.to_owned()) });
            }
            _ => {
                let way_out = "write 192.0.2.1, and the one-time code behind it if the node shall join by itself";
                read.problems.push(Problem::new(JOIN, "an address stands here, and perhaps a code", way_out));
            }
        }
    }
    if read.problems.is_empty() { Ok(read.answers) } else { Err(read.problems) }
}

fn role_of(role: Role) -> manifest::Role {
    match role {
        Role::Management => manifest::Role::Management,
        Role::Compute => manifest::Role::Compute,
        Role::Storage => manifest::Role::Storage,
        Role::Expert => manifest::Role::Expert,
    }
}

/// What the file says about what may be destroyed.
#[derive(Default)]
struct Erase {
    /// `clearpart --all`.
    all: bool,
    /// Disks that are named: `--only-use`, `--drives`.
    named: Vec<String>,
}

struct Reading<'a> {
    facts: &'a Facts,
    answers: Answers,
    problems: Vec<Problem>,
    line: usize,
    erase: Erase,
}

const REMOVE: &str = "remove it, or do it after the installation";

impl Reading<'_> {
    fn refuse(&mut self, rule: impl Into<Text>, way_out: impl Into<Text>) {
        self.problems.push(Problem::new(format!("line {}", self.line), rule, way_out));
    }

    /// A command has options beyond those that are done here.
    fn only<T: PartialEq>(&mut self, said: &T, done: &T, word: &str, options: &str) {
        if said != done {
            self.refuse(format!("of {word} this installer does {options} alone"), "remove the other options");
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Command(command) => self.command(command),
            Item::Section(Section::Packages(packages)) => {
                let chosen = packages.selection();
                if !chosen.packages.is_empty() || !chosen.groups.is_empty() {
                    self.refuse("a role brings its packages, and others are not installed", REMOVE);
                }
            }
            Item::Section(Section::Script(_)) => self.refuse("scripts are not run", REMOVE),
            Item::Section(_) => self.refuse("this section has no meaning here", REMOVE),
            Item::Include(_) | Item::KsAppend(_) => {
                self.refuse("other files are not read in", "write it into this file")
            }
            _ => self.refuse("this is not known", REMOVE),
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Lang(lang) => match lang.lang.split(['.', '@']).next().unwrap_or_default() {
                "en_US" | "C" => self.answers.language = Language::English,
                "zh_CN" => self.answers.language = Language::Chinese,
                other => self.refuse(format!("the console does not speak {other}"), "write en_US.UTF-8 or zh_CN.UTF-8"),
            },
            Command::Keyboard(keyboard) => {
                let layout = keyboard.xlayouts.first().or(keyboard.vckeymap.as_ref()).or(keyboard.keyboard.as_ref());
                self.answers.keyboard = layout.cloned();
            }
            Command::Timezone(zone) => self.zone(zone),
            Command::Timesource(Timesource { ntp_server, ntp_pool, .. }) => {
                self.answers.time.ntp.extend(ntp_server.iter().chain(ntp_pool).cloned());
            }
            Command::Rootpw(root) => self.root(root),
            Command::Sshkey(Sshkey { username, key }) if username == "root" => {
                self.answers.login.ssh_keys.push(key.clone());
            }
            Command::Sshkey(_) | Command::User(_) | Command::Group(_) => {
                self.refuse("the node has no account but root", REMOVE);
            }
            Command::Network(network) => self.network(network),
            Command::Ignoredisk(disks) => self.ignored(disks),
            Command::Clearpart(clear) => self.cleared(clear),
            Command::Autopart(auto) => self.automatic(auto),
            Command::Part(part) => self.part(part),
            Command::Volgroup(group) => self.group(group),
            Command::Logvol(volume) => self.volume(volume),
            Command::Bootloader(loader) => {
                let done = Bootloader {
                    location: loader.location,
                    timeout: loader.timeout,
                    append: loader.append.clone().filter(String::is_empty),
                    ..Bootloader::default()
                };
                self.only(loader, &done, "bootloader", "--location and --timeout");
            }
            Command::Finish(finish) => {
                self.answers.end = match finish.ending {
                    Ending::Reboot => End::Reboot,
                    Ending::Poweroff | Ending::Shutdown => End::Poweroff,
                    Ending::Halt => End::Wait,
                };
            }
            // They are about the other installer, or come to what is done anyway.
            Command::DisplayMode(_)
            | Command::Zerombr(_)
            | Command::Firstboot(_)
            | Command::Skipx(_)
            | Command::Eula(_)
            | Command::Cdrom(_)
            | Command::Selinux(_)
            | Command::Ignored(_) => {}
            other => self.refuse(format!("{} is not done by this installer", other.word()), REMOVE),
        }
    }

    fn zone(&mut self, zone: &Timezone) {
        if let Some(name) = &zone.timezone {
            self.answers.time.zone.clone_from(name);
        }
        self.answers.time.ntp.extend(zone.ntpservers.iter().cloned());
    }

    fn root(&mut self, root: &Rootpw) {
        let Some(password) = root.password.as_ref().map(|password| password.expose().to_owned()) else { return };
        if root.lock {
            return;
        }
        match root.iscrypted {
            Some(true) => self.answers.login.password_hash = Some(password),
            _ => self.answers.login.password = Some(password),
        }
    }

    fn ignored(&mut self, disks: &Ignoredisk) {
        match &disks.only_use[..] {
            [disk] => self.erase.named.push(device(disk)),
            [] => self.refuse("which disks stay is not asked here", "name the one to use: ignoredisk --only-use=sda"),
            _ => self.erase.named.extend(disks.only_use.iter().map(|disk| device(disk))),
        }
    }

    fn cleared(&mut self, clear: &Clearpart) {
        if !clear.list.is_empty() || clear.kind == Some(ClearKind::Linux) {
            self.refuse("disks are erased whole or not at all", "write clearpart --all --drives=sda");
        }
        self.erase.all |= clear.kind == Some(ClearKind::All);
        self.erase.named.extend(clear.drives.iter().map(|disk| device(disk)));
    }

    /// A disk is named by `--only-use`, `--drives` or `--ondisk`. What is on it is destroyed if `clearpart --all` says so;
    /// without that, only a disk on which nothing is.
    fn disks(&mut self) {
        let mut named = std::mem::take(&mut self.erase.named);
        named.sort();
        named.dedup();
        let of_parts = self.answers.disk.partition.iter().filter_map(|part| part.device.clone());
        let of_parts: Vec<String> = of_parts.collect();
        if let [disk] = &named[..] {
            self.answers.disk.device.clone_from(disk);
        } else if let (true, Some(first)) = (named.is_empty(), of_parts.first()) {
            self.answers.disk.device.clone_from(first);
        } else if named.len() > 1 && of_parts.is_empty() {
            let rule = format!("{} are named, and one is installed on", named.join(" and "));
            self.problems.push(Problem::new("ignoredisk", rule, "name one disk, or write part with --ondisk"));
        }
        let used = of_parts.iter().chain([&self.answers.disk.device]);
        let blank = used.filter_map(|path| self.facts.disk(path)).all(|disk| disk.is_blank());
        self.answers.disk.erase = self.erase.all || blank;
    }

    fn automatic(&mut self, auto: &Autopart) {
        let done = Autopart {
            kind: auto.kind.filter(|kind| *kind == AutopartType::Lvm),
            fstype: auto.fstype.clone(),
            nohome: auto.nohome,
            noswap: auto.noswap,
            ..Autopart::default()
        };
        self.only(auto, &done, "autopart", "--type=lvm, --fstype, --nohome and --noswap");
        match auto.fstype.as_deref() {
            None | Some("ext4") => {}
            Some("xfs") => self.answers.disk.root_format = RootFormat::Xfs,
            Some(other) => self.refuse(format!("/ cannot be {other}"), "write --fstype=ext4 or xfs"),
        }
        if auto.noswap {
            self.answers.disk.layout = Layout::Guided;
            self.answers.disk.swap = Some(Size(0));
        }
    }

    fn part(&mut self, part: &Part) {
        let done = Part {
            mountpoint: part.mountpoint.clone(),
            size: part.size,
            grow: part.grow,
            fstype: part.fstype.clone(),
            ondisk: part.ondisk.clone(),
            asprimary: part.asprimary,
            ..Part::default()
        };
        self.only(part, &done, "part", "--size, --grow, --fstype and --ondisk");
        self.answers.disk.layout = Layout::Manual;
        let place = part.mountpoint.as_str();
        let (format, mount) = match place {
            "swap" => (Some(Format::Swap), None),
            "biosboot" => (Some(Format::BiosBoot), None),
            _ if place.starts_with("pv.") => (Some(Format::Lvm), None),
            "/boot/efi" => (Some(Format::Vfat), Some(place.to_owned())),
            _ if place.starts_with('/') => (file_system(part.fstype.as_deref()), Some(place.to_owned())),
            _ => (None, None),
        };
        let Some(format) = format else {
            self.refuse(format!("{place} cannot be made as it is asked for"), "use ext4, xfs, swap, pv.01 or biosboot");
            return;
        };
        if let Some(size) = self.extent(part.size, part.grow) {
            let device = part.ondisk.as_deref().map(device);
            self.answers.disk.partition.push(PartitionAnswers { device, format, mount, size });
        }
    }

    fn extent(&mut self, size: Option<i64>, grow: bool) -> Option<Extent> {
        if grow {
            return Some(Extent::Rest);
        }
        let bytes = size.and_then(|mib| u64::try_from(mib).ok()?.checked_mul(MIB));
        if bytes.is_none() {
            self.refuse("it has no size", "write --size= with MiB, or --grow");
        }
        bytes.map(|bytes| Extent::Of(Size(bytes)))
    }

    fn group(&mut self, group: &Volgroup) {
        let done = Volgroup {
            name: group.name.clone(),
            members: group.members.clone(),
            pesize: group.pesize.filter(|size| *size == 4096),
            reserved_percent: group.reserved_percent,
            ..Volgroup::default()
        };
        self.only(group, &done, "volgroup", "--reserved-percent");
        self.answers.disk.snapshots =
            group.reserved_percent.and_then(|percent| u8::try_from(percent).ok()).unwrap_or_default();
    }

    fn volume(&mut self, volume: &Logvol) {
        let done = Logvol {
            mountpoint: volume.mountpoint.clone(),
            name: volume.name.clone(),
            vgname: volume.vgname.clone(),
            size: volume.size,
            grow: volume.grow,
            fstype: volume.fstype.clone(),
            ..Logvol::default()
        };
        self.only(volume, &done, "logvol", "--name, --vgname, --size, --grow and --fstype");
        let place = volume.mountpoint.as_str();
        let (format, mount) = match place {
            "swap" => (Some(Format::Swap), None),
            _ => (file_system(volume.fstype.as_deref()), Some(place.to_owned())),
        };
        let Some(format) = format else {
            self.refuse(format!("{place} cannot be made as it is asked for"), "use ext4 or xfs");
            return;
        };
        if let Some(size) = self.extent(volume.size, volume.grow) {
            self.answers.disk.volume.push(VolumeAnswers { name: volume.name.clone(), format, mount, size });
        }
    }
}

fn device(name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("/dev/{name}") }
}

fn file_system(name: Option<&str>) -> Option<Format> {
    match name {
        None | Some("ext4") => Some(Format::Ext4),
        Some("xfs") => Some(Format::Xfs),
        Some("vfat" | "efi") => Some(Format::Vfat),
        _ => None,
    }
}
