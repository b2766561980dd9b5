//! The sections' forms: what they show of the answers, and what is made of them.

use installer_plan::{
    answers::{
        Answers, BondAnswers, Extent, Format, IpAnswers, JoinAnswers, Language, Layout, NetworkAnswers, NicAnswers,
        PartitionAnswers, RootFormat, TableKind, VlanAnswers, VolumeAnswers,
    },
    facts::Facts,
    manifest::Role,
    select,
    size::Size,
};
use node_manager_net::model::{BondMode, Dhcp};
use zstack_tui::{
    window::form::{Field, Form, Input},
    words::Word,
};

use super::{
    app::{App, Section},
    words,
};

/// What is wrong with fields, by their keys.
type Wrong = Vec<(&'static str, String)>;

/// The form of a section: as it was accepted, or new.
pub(super) fn form(app: &App, section: Section) -> Form {
    if let Some(form) = app.forms.get(&section) {
        let mut form = form.clone();
        form.intro = intro(app, section);
        return form;
    }
    Form::new(section.title(), intro(app, section), fields(app, section))
}

/// What stands above the fields.
pub(super) fn intro(app: &App, section: Section) -> Vec<String> {
    let say = |word: Word| vec![app.say(word).to_owned()];
    match section {
        Section::Software => say(words::SOFTWARE_INTRO),
        Section::Destination => say(words::DESTINATION_INTRO),
        Section::Root => say(words::ROOT_INTRO),
        Section::Network => {
            let cards = app.facts.nics.iter().map(|nic| {
                let mac = nic.mac.map_or("-".to_owned(), |mac| mac.to_string());
                let driver = nic.driver.as_deref().unwrap_or("-");
                let link = app.say(if nic.carrier { words::LINK } else { words::NO_LINK });
                let speed = nic.speed.map(|speed| format!(" {speed} Mbit/s")).unwrap_or_default();
                format!("{}  {mac}  {driver}  {link}{speed}  {}", nic.name, nic.addresses.join(" "))
                    .trim_end()
                    .to_owned()
            });
            say(words::NETWORK_INTRO).into_iter().chain(cards).collect()
        }
        Section::Language | Section::Time => Vec::new(),
    }
}

fn fields(app: &App, section: Section) -> Vec<Field> {
    let answers = &app.answers;
    let text = |key, word: Word, text: &str| Field::text(key, app.say(word), text);
    let choice =
        |key, word: Word, options: Vec<String>, chosen: &str| Field::choice(key, app.say(word), options, chosen);
    let said = |words: &[Word]| words.iter().map(|word| app.say(*word).to_owned()).collect::<Vec<_>>();
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    match section {
        Section::Language => vec![
            choice("language", words::F_LANGUAGE, named(&["English (en_US)", "中文 (zh_CN)"]), ""),
            text("keyboard", words::F_KEYBOARD, answers.keyboard.as_deref().unwrap_or("us")),
        ],
        Section::Software => {
            let roles = app.manifest.roles.iter().map(|entry| entry.role.to_string()).collect();
            let join = answers.join.as_ref();
            vec![
                choice("role", words::F_ROLE, roles, answers.role.map_or("", Role::word)),
                text("join", words::F_JOIN, join.map_or("", |join| join.address.as_str())),
                text("code", words::F_CODE, join.and_then(|join| join.code.as_deref()).unwrap_or_default()),
            ]
        }
        Section::Destination => {
            let disks = disks(&app.facts);
            let chosen = disks.iter().find(|line| path_of(line) == answers.disk.device).cloned().unwrap_or_default();
            let disks = if disks.is_empty() { said(&[words::NO_DISKS]) } else { disks };
            vec![
                choice("device", words::F_DISK, disks, &chosen),
                choice("layout", words::F_LAYOUT, said(&[words::AUTOMATIC, words::GUIDED, words::MANUAL]), ""),
                choice("table", words::F_TABLE, named(&["gpt", "mbr"]), "gpt"),
                choice("format", words::F_FORMAT, named(&["ext4", "xfs"]), "ext4"),
                text("snapshots", words::F_SNAPSHOTS, &answers.disk.snapshots.to_string()),
                text("boot", words::F_BOOT, ""),
                text("efi", words::F_EFI, ""),
                text("swap", words::F_SWAP, ""),
                text("root", words::F_ROOT, ""),
                text("partitions", words::F_PARTITIONS, ""),
                text("volumes", words::F_VOLUMES, ""),
            ]
        }
        Section::Network => {
            let first = app.facts.nics.iter().find(|nic| nic.carrier).or(app.facts.nics.first());
            let taken = |name: &str| first.is_some_and(|nic| nic.name == name);
            let nics = app.facts.nics.iter().map(|nic| (nic.name.clone(), taken(&nic.name))).collect();
            let modes = BondMode::ALL.iter().map(|mode| mode.word().to_owned()).collect();
            vec![
                text("host_name", words::F_HOST, answers.host_name.as_deref().unwrap_or_default()),
                choice("method", words::F_METHOD, said(&[words::DHCP, words::STATIC, words::NO_NETWORK]), ""),
                Field::many("nics", app.say(words::F_NICS), nics),
                choice("mode", words::F_MODE, modes, BondMode::default().word()),
                text("vlan", words::F_VLAN, ""),
                text("address", words::F_ADDRESS, ""),
                text("gateway", words::F_GATEWAY, ""),
                text("dns", words::F_DNS, ""),
            ]
        }
        Section::Time => vec![
            text("zone", words::F_ZONE, &answers.time.zone),
            text("ntp", words::F_NTP, &answers.time.ntp.join(" ")),
        ],
        Section::Root => vec![
            Field::secret("password", app.say(words::F_PASSWORD)),
            Field::secret("again", app.say(words::F_AGAIN)),
            text("key", words::F_KEY, ""),
        ],
    }
}

/// A line for each disk that can be named.
fn disks(facts: &Facts) -> Vec<String> {
    let usable = facts.disks.iter().filter(|disk| select::obstacle(disk).is_none());
    usable
        .map(|disk| {
            let serial = disk.serial.as_deref().unwrap_or_default();
            format!("{}  {}  {} {serial}", disk.path, Size(disk.bytes), disk.model).trim_end().to_owned()
        })
        .collect()
}

fn path_of(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// Which of its options a choice has.
fn chosen(form: &Form, key: &str) -> usize {
    form.fields.iter().find(|field| field.key == key).map_or(0, |field| match field.input {
        Input::Choice(_) => field.cursor(),
        _ => 0,
    })
}

/// Takes a form over into the answers; they stay as they are when something is wrong.
pub(super) fn accept(app: &mut App, section: Section, form: &Form) -> Result<(), Wrong> {
    let answers = answered(app, section, form)?;
    if let Err(problems) = app.draft(&answers) {
        let own = problems.iter().filter(|problem| Section::of_key(&problem.key) == section);
        let wrong: Wrong = own.map(|p| (field_of(&p.key), p.advice(app.plan_language()))).collect();
        if !wrong.is_empty() {
            return Err(wrong);
        }
    }
    app.speak(answers.language);
    app.answers = answers;
    let mut kept = form.clone();
    kept.at = 0;
    if section == Section::Root {
        // What was typed stays in the answers alone.
        kept.fields = fields(app, section);
    }
    app.forms.insert(section, kept);
    Ok(())
}

/// The answers with what a form says.
pub(super) fn answered(app: &App, section: Section, form: &Form) -> Result<Answers, Wrong> {
    let mut answers = app.answers.clone();
    let text = |key: &str| form.value(key).trim();
    match section {
        Section::Language => {
            answers.language = if chosen(form, "language") == 1 { Language::Chinese } else { Language::English };
            answers.keyboard = Some(text("keyboard").to_owned());
        }
        Section::Software => {
            answers.role = Role::ALL.into_iter().find(|role| role.word() == text("role"));
            let code = Some(text("code").to_owned()).filter(|code| !code.is_empty());
            if code.is_some() && text("join").is_empty() {
                return Err(vec![("join", app.say(words::NEEDS_CLOUD).to_owned())]);
            }
            answers.join = (!text("join").is_empty()).then(|| JoinAnswers { address: text("join").to_owned(), code });
        }
        Section::Destination => destination(app, form, &mut answers)?,
        Section::Network => {
            answers.host_name = Some(text("host_name").to_owned()).filter(|name| !name.is_empty());
            answers.network = network(app, form)?;
        }
        Section::Time => {
            answers.time.zone = text("zone").to_owned();
            answers.time.ntp = listed(text("ntp"));
        }
        Section::Root => {
            if form.value("password") != form.value("again") {
                return Err(vec![("again", app.say(words::NOT_SAME).to_owned())]);
            }
            // A form that is opened again is empty, and accepting it takes nothing away.
            if !form.value("password").is_empty() {
                answers.login.password = Some(form.value("password").to_owned());
            }
            if !text("key").is_empty() {
                answers.login.ssh_keys = vec![text("key").to_owned()];
            }
        }
    }
    Ok(answers)
}

fn destination(app: &App, form: &Form, answers: &mut Answers) -> Result<(), Wrong> {
    let mut wrong = Wrong::new();
    let text = |key: &str| form.value(key).trim();
    let mut size = |key: &'static str| match text(key) {
        "" => None,
        typed => match typed.parse::<Size>() {
            Ok(size) => Some(size),
            Err(cause) => {
                wrong.push((key, cause.to_string()));
                None
            }
        },
    };
    let sizes = [size("boot"), size("efi"), size("swap"), size("root")];
    let disk = &mut answers.disk;
    let device = path_of(text("device"));
    if device.starts_with('/') {
        disk.device = device.to_owned();
    }
    disk.layout = [Layout::Auto, Layout::Guided, Layout::Manual][chosen(form, "layout").min(2)];
    disk.table = if text("table") == "mbr" { TableKind::Mbr } else { TableKind::Gpt };
    disk.root_format = if text("format") == "xfs" { RootFormat::Xfs } else { RootFormat::Ext4 };
    [disk.boot, disk.efi, disk.swap, disk.root] = if disk.layout == Layout::Guided { sizes } else { [None; 4] };
    (disk.partition, disk.volume) = (Vec::new(), Vec::new());
    let not_understood = |part: &str| words::NOT_UNDERSTOOD.fill(app.language, &[part]);
    match text("snapshots").parse() {
        Ok(share) => disk.snapshots = share,
        Err(_) => wrong.push(("snapshots", words::NOT_NUMBER.fill(app.language, &[text("snapshots")]))),
    }
    if disk.layout == Layout::Manual {
        for part in parts(text("partitions")) {
            match partition(part) {
                Some(partition) => disk.partition.push(partition),
                None => wrong.push(("partitions", not_understood(part))),
            }
        }
        for part in parts(text("volumes")) {
            match volume(part) {
                Some(volume) => disk.volume.push(volume),
                None => wrong.push(("volumes", not_understood(part))),
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty())
}

/// `FORMAT [MOUNT] SIZE`.
fn partition(text: &str) -> Option<PartitionAnswers> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (format, rest) = words.split_first()?;
    let (format, (mount, size)) = (self::format(format)?, mount_and_size(rest)?);
    Some(PartitionAnswers { device: None, format, mount, size })
}

/// `NAME FORMAT [MOUNT] SIZE`.
fn volume(text: &str) -> Option<VolumeAnswers> {
    let (name, rest) = text.split_once(' ')?;
    let PartitionAnswers { format, mount, size, .. } = partition(rest)?;
    Some(VolumeAnswers { name: name.to_owned(), format, mount, size })
}

fn format(word: &str) -> Option<Format> {
    use Format::{BiosBoot, Ext4, Lvm, Swap, Vfat, Xfs};
    [Ext4, Xfs, Vfat, Swap, Lvm, BiosBoot].into_iter().find(|format| format.word() == word)
}

fn mount_and_size(words: &[&str]) -> Option<(Option<String>, Extent)> {
    let (mount, size) = match words.first() {
        Some(first) if first.starts_with('/') => (Some((*first).to_owned()), &words[1..]),
        _ => (None, words),
    };
    let size = match size {
        [] => return None,
        ["rest"] => Extent::Rest,
        size => Extent::Of(size.concat().parse().ok()?),
    };
    Some((mount, size))
}

fn listed(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The network that the form describes.
pub(super) fn network(app: &App, form: &Form) -> Result<NetworkAnswers, Wrong> {
    let mut wrong = Wrong::new();
    let method = chosen(form, "method");
    if method == 2 {
        return Ok(NetworkAnswers { none: true, ..NetworkAnswers::default() });
    }
    let mut ip = IpAnswers::default();
    let text = |key: &str| form.value(key).trim();
    if method == 0 {
        ip.dhcp = Dhcp::Ipv4;
    } else {
        ip.addresses = read(form, "address", &mut wrong);
        ip.gateways = read(form, "gateway", &mut wrong);
        ip.dns = read(form, "dns", &mut wrong);
        if text("address").is_empty() {
            wrong.push(("address", app.say(words::NEEDS_ADDRESS).to_owned()));
        }
    }
    let tag: Option<u16> = match text("vlan") {
        "" => None,
        typed => {
            let tag = typed.parse().ok();
            if tag.is_none() {
                wrong.push(("vlan", words::NOT_NUMBER.fill(app.language, &[typed])));
            }
            tag
        }
    };
    let nics = form.chosen("nics");
    if nics.is_empty() {
        wrong.push(("nics", app.say(words::CHOOSE_NIC).to_owned()));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let below = if tag.is_some() { IpAnswers::default() } else { ip.clone() };
    let mut network = NetworkAnswers::default();
    let parent = match &nics[..] {
        [nic] => {
            if tag.is_none() {
                network.nic.push(NicAnswers { device: nic.clone(), ip: below, mtu: None });
            }
            nic.clone()
        }
        _ => {
            let name = "bond0".to_owned();
            let mode = BondMode::of_word(text("mode")).unwrap_or_default();
            let bond = BondAnswers {
                name: name.clone(),
                members: nics,
                mode,
                xmit_hash_policy: None,
                lacp_rate: None,
                primary: None,
                ip: below,
                mtu: None,
            };
            network.bond.push(bond);
            name
        }
    };
    network.vlan.extend(tag.map(|id| VlanAnswers { parent, id, ip, mtu: None }));
    Ok(network)
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(form: &Form, key: &'static str, wrong: &mut Wrong) -> Vec<T> {
    let mut all = Vec::new();
    for word in listed(form.value(key)) {
        match word.parse() {
            Ok(value) => all.push(value),
            Err(cause) => wrong.push((key, format!("{word}: {cause}"))),
        }
    }
    all
}

/// The field that shows what is wrong with an answer.
fn field_of(key: &str) -> &'static str {
    let has = |part: &str| key.contains(part);
    match Section::of_key(key) {
        Section::Language => "keyboard",
        Section::Software => match key {
            "join.code" => "code",
            _ if key.starts_with("join") => "join",
            _ => "role",
        },
        Section::Destination => match key {
            _ if has("partition") => "partitions",
            _ if has("volume") => "volumes",
            "disk.table" => "table",
            "disk.boot" => "boot",
            "disk.efi" => "efi",
            "disk.swap" => "swap",
            "disk.root" => "root",
            "disk.snapshots" => "snapshots",
            _ => "device",
        },
        Section::Network => match key {
            "host_name" => "host_name",
            _ if has("gateways") => "gateway",
            _ if has("dns") => "dns",
            _ if has(".ip") => "address",
            _ if has("vlan") => "vlan",
            _ if has("mode") => "mode",
            _ => "nics",
        },
        Section::Time => {
            if has("ntp") {
                "ntp"
            } else {
                "zone"
            }
        }
        Section::Root => {
            if has("ssh_keys") {
                "key"
            } else {
                "password"
            }
        }
    }
}
