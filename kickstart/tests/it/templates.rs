//! Files for other systems (OS-BMB-041, OS-BMB-042), given to the programs and parsers that read them.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use kickstart::{
    Secret,
    provision::{Addressing, Bond, BondMode, Family, Machine, Nic, Template, TemplateError},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::oracle::Oracle;

const HASH: &str = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";

fn fixed(address: &str, gateway: Option<&str>) -> Addressing {
    Addressing::Static {
        address: address.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        nameservers: vec!["10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap()],
    }
}

fn nic(last: u8, addressing: Addressing) -> Nic {
    Nic { mac: format!("52:54:00:00:00:{last:02x}"), addressing }
}

fn plain() -> Machine {
    Machine {
        hostname: "web1.example.com".to_owned(),
        root_password_hash: Secret::from(HASH),
        ssh_keys: vec!["ssh-ed25519 AAAAC3Nz ops@example.com".to_owned()],
        disk: "/dev/sda".to_owned(),
        nics: vec![nic(1, Addressing::Dhcp)],
        bonds: Vec::new(),
        mirror_url: "http://mirror.example.com:8080/tree".to_owned(),
        callback_url: "https://cloud.example.com/done?id=1&x=2".to_owned(),
        timezone: "Asia/Shanghai".to_owned(),
    }
}

/// Static addresses, both kinds of bond, and keys whose comments try to break out.
fn full() -> Machine {
    let hostile = "ssh-rsa AAAAB3 it's \"<a>&amp;: {{ hostname }} $(reboot) `id` %end # \\";
    Machine {
        ssh_keys: vec!["ssh-ed25519 AAAAC3Nz".to_owned(), hostile.to_owned()],
        disk: "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4".to_owned(),
        nics: vec![
            nic(1, fixed("10.0.0.5/24", Some("10.0.0.1"))),
            nic(2, Addressing::None),
            nic(3, Addressing::None),
            nic(4, Addressing::None),
            nic(5, Addressing::None),
            nic(6, Addressing::None),
        ],
        bonds: vec![
            Bond {
                name: "bond0".to_owned(),
                mode: BondMode::Lacp,
                members: vec![nic(2, Addressing::None).mac, nic(3, Addressing::None).mac],
                addressing: fixed("10.1.0.5/16", None),
            },
            Bond {
                name: "bond1".to_owned(),
                mode: BondMode::ActiveBackup,
                members: vec![nic(4, Addressing::None).mac, nic(5, Addressing::None).mac],
                addressing: Addressing::Dhcp,
            },
        ],
        ..plain()
    }
}

fn rendered(family: Family, machine: &Machine) -> String {
    let template = Template::system(family).unwrap_or_else(|error| panic!("{error}"));
    template.render(machine).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn files_of_a_machine_with_everything() {
    for family in Family::ALL {
        let name = match family {
            Family::Rhel(version) => version.name().to_owned(),
            other => format!("{other:?}"),
        };
        insta::assert_snapshot!(name, rendered(family, &full()));
    }
}

#[test]
fn kickstarts_pass_ksvalidator() {
    let mut oracle = Oracle::start();
    for family in Family::ALL {
        let Family::Rhel(version) = family else { continue };
        for machine in [plain(), full()] {
            oracle.must_validate(version, &rendered(family, &machine));
        }
    }
}

/// The script that writes the bonds runs on a machine whose cards are folders.
#[test]
fn bonds_of_a_kickstart_are_made_of_the_names_of_their_cards() {
    let mut oracle = Oracle::start();
    let folder = tempfile::tempdir().unwrap();
    let cards = folder.path().join("net");
    for (name, last) in [("eno1", 1), ("ens3", 2), ("ens4", 3), ("enp5s0", 4), ("enp6s0", 5), ("eno9", 6)] {
        fs::create_dir_all(cards.join(name)).unwrap();
        fs::write(cards.join(name).join("address"), format!("52:54:00:00:00:{last:02x}\n")).unwrap();
    }
    let run = |text: &str| {
        let script = text.split("%pre").nth(1).unwrap().split_once('\n').unwrap().1.split("%end").next().unwrap();
        let answers = folder.path().join("bonds.ks");
        let output =
            Command::new("sh").args(["-c", script]).env("CARDS", &cards).env("ANSWERS", &answers).output().unwrap();
        (output, fs::read_to_string(answers).unwrap_or_default())
    };
    for family in Family::ALL {
        let Family::Rhel(version) = family else { continue };
        let (output, answers) = run(&rendered(family, &full()));
        assert!(output.status.success(), "{output:?}");
        oracle.must_validate(version, &answers);
        assert_eq!(
            answers,
            "network --device=bond0 --bondslaves=ens3,ens4 --bondopts=mode=802.3ad,miimon=100 --bootproto=static \
             --ip=10.1.0.5 --netmask=255.255.0.0 --nodefroute --nameserver=10.0.0.2,10.0.0.3 --onboot=yes --activate\n\
             network --device=bond1 --bondslaves=enp5s0,enp6s0 --bondopts=mode=active-backup,miimon=100 --bootproto=dhcp \
             --onboot=yes --activate\n"
        );
    }
    fs::remove_dir_all(cards.join("ens4")).unwrap();
    let (output, _) = run(&rendered(Family::ALL[0], &full()));
    assert!(!output.status.success(), "a card that is missing goes unnoticed");
    assert!(String::from_utf8_lossy(&output.stderr).contains("52:54:00:00:00:03"), "{output:?}");
}

/// What a shell makes of the words behind `printf '%s\n'` in a script.
fn printed_keys(script: &str) -> String {
    let lines: Vec<&str> = script.lines().filter(|line| line.trim_start().starts_with("printf ")).collect();
    let words: Vec<&str> = lines.iter().map(|line| line.split(" >> ").next().unwrap().trim()).collect();
    let output = Command::new("sh").args(["-c", &words.join("\n")]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn keys_reach_every_system_as_they_are() {
    let machine = full();
    let wanted: String = machine.ssh_keys.iter().map(|key| format!("{key}\n")).collect();
    for family in Family::ALL {
        let text = rendered(family, &machine);
        let keys = match family {
            Family::Rhel(_) | Family::Debian => printed_keys(&text),
            Family::Ubuntu => lines(&yaml(&text)["autoinstall"]["user-data"]["users"][0]["ssh_authorized_keys"]),
            Family::Suse => {
                let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
                let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
                let keys = document.descendants().filter(is_key);
                keys.map(|key| format!("{}\n", key.text().unwrap())).collect()
            }
        };
        assert_eq!(keys, wanted, "{family:?}");
    }
}

/// An entry of the list of keys of a profile.
fn is_key(node: &roxmltree::Node<'_, '_>) -> bool {
    node.has_tag_name((YAST, "listentry"))
        && node.parent().is_some_and(|list| list.has_tag_name((YAST, "authorized_keys")))
}

fn lines(list: &Value) -> String {
    list.as_array().unwrap().iter().map(|item| format!("{}\n", item.as_str().unwrap())).collect()
}

fn check_selections(text: &str) {
    let mut child = Command::new("debconf-set-selections")
        .arg("--checkonly")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("debconf-set-selections is there: it comes with the package debconf");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // It only warns of lines that it does not understand.
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn preseeds_pass_debconf_and_their_commands_a_shell() {
    for machine in [plain(), full()] {
        let text = rendered(Family::Debian, &machine);
        check_selections(&text);
        let joined = text.replace("\\\n", " ");
        let commands: Vec<&str> =
            joined.lines().filter_map(|line| line.split_once("_command string ")).map(|(_, command)| command).collect();
        assert_eq!(commands.len(), 2);
        for command in commands {
            let output = Command::new("sh").args(["-n", "-c", command]).output().unwrap();
            assert!(output.status.success(), "{output:?}\n{command}");
        }
    }
}

/// The command that Debian's installer runs at the end, with folders in the place of the new system.
#[test]
fn preseeds_leave_the_network_to_networkd() {
    let text = rendered(Family::Debian, &full());
    let target = tempfile::tempdir().unwrap();
    fs::create_dir_all(target.path().join("etc/network")).unwrap();
    fs::create_dir_all(target.path().join("root")).unwrap();
    let command = text.split("preseed/late_command string ").nth(1).unwrap().replace("\\\n", " ");
    let command = command.replace("/target", target.path().to_str().unwrap());
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("in_target() {{ :; }}; alias in-target=in_target\n{}", command.replace("in-target", "in_target")),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let file =
        |name: &str| fs::read_to_string(target.path().join("etc/systemd/network").join(name)).unwrap_or_default();
    assert_eq!(
        file("10-nic0.network"),
        "[Match]\nPermanentMACAddress=52:54:00:00:00:01\n[Network]\nAddress=10.0.0.5/24\nGateway=10.0.0.1\nDNS=10.0.0.2\nDNS=10.0.0.3\n"
    );
    assert_eq!(file("05-bond0.netdev"), "[NetDev]\nName=bond0\nKind=bond\n[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\n");
    assert_eq!(file("10-nic1.network"), "[Match]\nPermanentMACAddress=52:54:00:00:00:02\n[Network]\nBond=bond0\n");
    assert_eq!(file("20-bond1.network"), "[Match]\nName=bond1\n[Network]\nDHCP=ipv4\n");
    assert_eq!(file("10-nic5.network"), "", "a card without an address and a bond is left alone");
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The structure that the installer of Ubuntu documents, and the network of netplan.
#[test]
fn autoinstalls_have_the_structure_of_autoinstall() {
    let text = rendered(Family::Ubuntu, &full());
    assert!(text.starts_with("#cloud-config\n"), "cloud-init knows its files by their first line");
    let document = yaml(&text);
    let known = [
        "version",
        "early-commands",
        "locale",
        "keyboard",
        "timezone",
        "refresh-installer",
        "apt",
        "network",
        "storage",
        "ssh",
        "user-data",
        "late-commands",
        "shutdown",
    ];
    let autoinstall = document["autoinstall"].as_object().unwrap();
    assert!(autoinstall.keys().all(|key| known.contains(&key.as_str())), "{autoinstall:?}");
    assert_eq!(autoinstall["version"], 1);
    let user = &autoinstall["user-data"]["users"][0];
    assert_eq!((&user["name"], &user["hashed_passwd"]), (&json!("root"), &json!(HASH)));
    assert_eq!(autoinstall["storage"]["layout"]["match"]["path"], full().disk);
    let network = &autoinstall["network"];
    assert_eq!(
        network["ethernets"]["nic0"],
        json!({
            "match": {"macaddress": "52:54:00:00:00:01"},
            "dhcp4": false,
            "addresses": ["10.0.0.5/24"],
            "routes": [{"to": "default", "via": "10.0.0.1"}],
            "nameservers": {"addresses": ["10.0.0.2", "10.0.0.3"]},
        })
    );
    assert_eq!(network["bonds"]["bond0"]["interfaces"], json!(["nic1", "nic2"]));
    assert_eq!(network["bonds"]["bond0"]["parameters"]["mode"], "802.3ad");
    assert_eq!(network["bonds"]["bond1"]["dhcp4"], true);
    // Names of disks that the installer does not know become those it knows.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autoinstall.yaml");
    fs::write(&file, &text).unwrap();
    let command = autoinstall["early-commands"][0].as_str().unwrap();
    let command =
        command.replace("/autoinstall.yaml", file.to_str().unwrap()).replace("readlink -f", "echo /dev/sdx; :");
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    let changed = yaml(&fs::read_to_string(file).unwrap());
    assert_eq!(changed["autoinstall"]["storage"]["layout"]["match"]["path"], "/dev/sdx");
    let command = autoinstall["late-commands"][0].as_str().unwrap();
    assert_eq!(
        command,
        "curl -fsS --retry 5 --retry-delay 5 -X POST 'https://cloud.example.com/done?id=1&x=2' || true"
    );
}

const YAST: &str = "http://www.suse.com/1.0/yast2ns";
const CONFIG: &str = "http://www.suse.com/1.0/configns";

#[test]
fn profiles_are_xml_with_the_structure_of_autoyast() {
    for machine in [plain(), full()] {
        let text = rendered(Family::Suse, &machine);
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
        let profile = document.root_element();
        assert!(profile.has_tag_name((YAST, "profile")));
        let find = |path: &[&str]| {
            path.iter().try_fold(profile, |node, name| node.children().find(|child| child.has_tag_name((YAST, *name))))
        };
        let text_of = |path: &[&str]| find(path).and_then(|node| node.text()).unwrap_or_default().to_owned();
        assert_eq!(text_of(&["users", "user", "user_password"]), HASH);
        assert_eq!(text_of(&["partitioning", "drive", "device"]), machine.disk);
        assert_eq!(text_of(&["timezone", "timezone"]), "Asia/Shanghai");
        assert!(
            text_of(&["scripts", "chroot-scripts", "script", "source"])
                .contains("'https://cloud.example.com/done?id=1&x=2'")
        );
        for list in ["users", "partitioning"] {
            assert_eq!(find(&[list]).unwrap().attribute((CONFIG, "type")), Some("list"), "{list}");
        }
        let interfaces = find(&["networking", "interfaces"]).unwrap();
        let count = interfaces.children().filter(|node| node.has_tag_name((YAST, "interface"))).count();
        assert_eq!(count, machine.nics.len() + machine.bonds.len());
    }
}

fn refusal(family: Family, source: &str) -> String {
    let rendered = Template::custom(family, "mine", source).and_then(|template| template.render(&full()));
    rendered.map_err(|error| error.to_string()).unwrap_err()
}

/// OS-BMB-042: an operator's own template, and what he reads when it is wrong.
#[test]
fn own_templates_work_and_say_what_is_wrong_with_them() {
    let template = Template::custom(Family::Ubuntu, "mine", "a: {{ hostname }}\nb: {{ nics | length }}\n").unwrap();
    assert_eq!(yaml(&template.render(&full()).unwrap()), json!({"a": "web1.example.com", "b": 6}));

    let said = refusal(Family::Debian, "x\n{{ hostnam }} {{ nics[0].mac }} {{ colour }}\n");
    assert!(said.starts_with("template mine, line 2: there is no variable `colour`. there is no variable `hostnam`. Did you mean `hostname`?"), "{said}");
    let said = refusal(Family::Debian, "{% for nic in nics %}\n{{ nic.maac }}\n{% endfor %}");
    assert!(said.starts_with("template mine, line 2: there is no such variable in `nic.maac`"), "{said}");
    let said = refusal(Family::Suse, "<a>\n{% if hostname %}</a>");
    assert!(said.starts_with("template mine, line 2: "), "{said}");
    let said =
        refusal(Family::Suse, "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}");
    assert!(said.contains("takes too long"), "{said}");
    let said = refusal(Family::Debian, "{{ nics }}");
    assert!(said.contains("cannot be written"), "{said}");
    let said = refusal(Family::ALL[2], "part / --size=1\nautopart --tpye=lvm {{ hostname }}\n");
    assert!(said.contains("2:10: autopart has no option --tpye"), "{said}");
}

#[test]
fn a_machine_that_cannot_be_is_refused_with_everything_that_is_wrong() {
    let machine = Machine {
        hostname: "web_1".to_owned(),
        root_password_hash: Secret::from("hunter2"),
        ssh_keys: vec!["ssh-rsa AAAA\nreboot".to_owned()],
        disk: "sda; reboot".to_owned(),
        nics: vec![
            nic(1, fixed("10.0.0.0/24", Some("10.9.0.1"))),
            nic(1, fixed("10.0.0.0/24", Some("10.0.0.1"))),
            Nic { mac: "52-54-00-00-00-02".to_owned(), addressing: Addressing::Dhcp },
        ],
        bonds: vec![Bond {
            name: "bond 0".to_owned(),
            mode: BondMode::Lacp,
            members: vec![nic(9, Addressing::None).mac],
            addressing: Addressing::Dhcp,
        }],
        mirror_url: "ftp://mirror/".to_owned(),
        callback_url: "nonsense".to_owned(),
        timezone: "../../etc/shadow".to_owned(),
    };
    let error = Template::system(Family::Debian).unwrap().render(&machine).unwrap_err();
    assert!(matches!(error, TemplateError::Machine(_)));
    assert!(!error.to_string().contains("hunter2") && !format!("{machine:?}").contains("hunter2"));
    insta::assert_snapshot!(error);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stands in the comment of a key, it stays the comment of that key.
    #[test]
    fn no_value_breaks_out(comment in "[^\\p{Cc}\u{2028}\u{2029}]{1,40}", path in "[!-~]{0,30}") {
        let machine = Machine {
            ssh_keys: vec![format!("ssh-ed25519 AAAA {comment}")],
            callback_url: format!("https://cloud.example.com/{path}"),
            ..full()
        };
        let key = format!("{}\n", machine.ssh_keys[0]);
        for family in Family::ALL {
            let text = match Template::system(family).unwrap().render(&machine) {
                Ok(text) => text,
                Err(TemplateError::Template { message, .. }) => {
                    prop_assert!(message.contains("a value contains"), "{}", message);
                    continue;
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            match family {
                Family::Rhel(_) | Family::Debian => prop_assert_eq!(printed_keys(&text), key.as_str()),
                Family::Ubuntu => {
                    let users = &yaml(&text)["autoinstall"]["user-data"]["users"];
                    prop_assert_eq!(lines(&users[0]["ssh_authorized_keys"]), key.as_str());
                    prop_assert_eq!(users.as_array().map(Vec::len), Some(1));
                }
                Family::Suse => {
                    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
                    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
                    let keys: Vec<_> = document.descendants().filter(is_key).collect();
                    prop_assert_eq!(keys.len(), 1);
                    prop_assert_eq!(format!("{}\n", keys[0].text().unwrap_or_default()), key.as_str());
                }
            }
        }
    }
}
