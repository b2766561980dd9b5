//! Every command, line by line, against pykickstart: accepted by both or refused by both, with the same values, and
//! what is written says the same as what was read.

use kickstart::{Command, Version, parse};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};

use crate::oracle::Oracle;

/// Lines for each command and version.
const LINES: usize = 60;

/// Commands of pykickstart that the crate does not read, and says so.
const NOT_OURS: [&str; 8] = ["autostep", "device", "deviceprobe", "dmraid", "method", "multipath", "nvdimm", "upgrade"];

/// A line and what each side makes of it.
struct Case {
    version: Version,
    word: String,
    text: String,
    actions: Vec<Value>,
}

fn quoted(rng: &mut StdRng, text: &str) -> String {
    match rng.random_range(0..3) {
        0 if !text.contains('\'') => format!("'{text}'"),
        1 if !text.is_empty() && !text.ends_with(' ') => text
            .chars()
            .map(|c| if c.is_alphanumeric() || "-=/,.:".contains(c) { c.to_string() } else { format!("\\{c}") })
            .collect(),
        _ => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// A value that the option takes, most of the time.
fn value(rng: &mut StdRng, action: &Value) -> String {
    let pick = |rng: &mut StdRng, all: &[&str]| (*all.choose(rng).unwrap()).to_owned();
    if let Some(choices) = action["choices"].as_array() {
        let word = choices.choose(rng).and_then(Value::as_str).unwrap_or_default().to_owned();
        return if rng.random_ratio(1, 10) { format!("{word}x") } else { word };
    }
    let texts = [
        "abc",
        "sda",
        "a b",
        "x=y",
        "it's",
        "say \"hi\"",
        "a\\b",
        "#hash",
        "",
        "-5",
        "ünï",
        "$HOME",
        "/mnt//a/../b",
        "md0",
        "vg/lv",
        "xfs",
        "btrfs",
        "mode=4,miimon=100",
        "none",
        "swap",
    ];
    match (action["type"].as_str(), action["dest"].as_str()) {
        (_, Some("percent" | "reserved_percent")) => pick(rng, &["0", "1", "50", "99", "100", "101", "-1"]),
        // Without servers it says nothing, which the crate refuses.
        (_, Some("ntpservers")) => pick(rng, &["a", "a,b", "a, b,,"]),
        // RHEL 9 ignores whatever stands here, and the crate still refuses what never was a level.
        (_, Some("level")) if action["type"].is_null() => pick(rng, &["debug", "info", "critical"]),
        (Some("int"), _) => pick(rng, &["0", "1", "50", "4096", "-1", "+7", "1_000", " 9 ", "many", "", "1.5"]),
        (Some("ksboolean"), _) => pick(rng, &["yes", "no", "on", "OFF", "true", "0", "maybe"]),
        (Some("commaSplit"), _) => pick(rng, &["a", "a,b", " a , b,,c", "", "sda,sdb", "a b,c"]),
        (Some("_type_cb"), _) => pick(rng, &["lvm", "LVM", "plain", "partition", "thinp", "btrfs", "zfs"]),
        (Some("_level_cb" | "level_cb"), _) => pick(rng, &["0", "1", "RAID5", "raid6", "Raid10", "single", "4", "7"]),
        (Some("_when_cb"), _) => pick(rng, &["post-install", "PRE-install", "later"]),
        (Some("firewall_port_cb"), _) => pick(rng, &["22", "53:udp", "80,443:tcp", "1234:udp, 99"]),
        (Some("_teamslaves_cb"), _) => pick(rng, &["em1", "em1,em2", "em1'{\"prio\": 1}',em2", "em1,em2'{}'"]),
        (Some("part_cb"), _) => pick(rng, &["/dev/sda1", "sda1", "LABEL=x"]),
        (Some("mountpoint"), _) => pick(rng, &["/", "/boot", "swap", "pv.01", "/a/../b/", "//x", "none", "btrfs.1"]),
        (_, Some("when")) => pick(rng, &["post-install", "x"]),
        (_, Some("interfacename")) => pick(rng, &["vlan10", "ens3.20", "vlan5000", "vlanx", "vlan.3", "br", "a.b", ""]),
        (_, Some("bridgeopts")) => pick(rng, &["stp=no", "a=1,b=2", "a", "a=1,", "a=b=c"]),
        (_, Some("bindto")) => pick(rng, &["mac", "name"]),
        (_, Some("cache_mode")) => pick(rng, &["writeback", "writethrough", "x"]),
        (_, Some("url")) => pick(rng, &["http://a/b", "https://a/b?c=d&e", "file:/x", "ftp://a", "", "nothing"]),
        (_, Some("origin")) => pick(rng, &["vg/lv", "vg", "a/b/c", "/x"]),
        _ => pick(rng, &texts),
    }
}

fn option(rng: &mut StdRng, action: &Value) -> String {
    let names: Vec<&str> = action["names"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let mut name = (*names.choose(rng).unwrap()).to_owned();
    if rng.random_ratio(1, 12) && names.len() == 1 && name.len() > 5 {
        name.truncate(rng.random_range(4..=name.len()));
    }
    match action["nargs"].as_str() {
        Some("0") if rng.random_ratio(1, 25) => format!("{name}=yes"),
        Some("0") => name,
        Some("?") if rng.random() => name,
        _ if rng.random_ratio(1, 40) => name,
        _ => {
            let value = value(rng, action);
            let separator = if rng.random_ratio(1, 5) { " " } else { "=" };
            if value.is_empty() && separator == "=" {
                format!("{name}=")
            } else {
                format!("{name}{separator}{}", quoted(rng, &value))
            }
        }
    }
}

/// A line made of what pykickstart itself says the command takes: what the crate forgot is noticed.
fn line(rng: &mut StdRng, word: &str, actions: &[Value]) -> String {
    let (positional, options): (Vec<&Value>, Vec<&Value>) =
        actions.iter().partition(|action| action["names"].as_array().is_none_or(Vec::is_empty));
    let mut parts: Vec<String> = Vec::new();
    for action in &options {
        let wanted = action["required"] == true && rng.random_ratio(19, 20);
        let few = (3.0 / options.len() as f64).min(0.5);
        if wanted || rng.random_bool(few) {
            parts.push(option(rng, action));
            if action["list"] == true && rng.random_ratio(1, 3) {
                parts.push(option(rng, action));
            }
        }
    }
    use rand::seq::SliceRandom;
    parts.shuffle(rng);
    let mut arguments: Vec<String> = Vec::new();
    for action in &positional {
        let count = match action["nargs"].as_str() {
            Some("*") => rng.random_range(0..3),
            Some("?") => rng.random_range(0..2),
            _ => usize::from(rng.random_ratio(19, 20)),
        };
        for _ in 0..count {
            let value = value(rng, action);
            arguments.push(quoted(rng, &value));
        }
    }
    if word == "btrfs" {
        arguments = vec!["/data".to_owned(), "btrfs.01".to_owned()];
    }
    if rng.random_ratio(1, 40) {
        arguments.push("extra".to_owned());
    }
    // Together: pykickstart forgets words of a list that an option cuts in two, and the crate refuses that.
    let at = rng.random_range(0..=parts.len());
    let arguments = arguments.join(" ");
    if !arguments.is_empty() {
        parts.insert(at, arguments);
    }
    // pykickstart takes what is no option of volgroup for one of its members.
    if word != "volgroup" && rng.random_ratio(1, 30) {
        parts.push(if rng.random() { "--nonsense".to_owned() } else { "--nonsense=1".to_owned() });
    }
    if rng.random_ratio(1, 30) {
        parts.push("# a comment".to_owned());
    }
    format!("{word} {}", parts.join(" ")).trim_end().to_owned()
}

/// What an option of ours is called by pykickstart, where that is not the name of the option.
fn field_option(word: &str, field: &str) -> Option<String> {
    match (word, field) {
        // Chosen by options of several names: compared by what is written.
        ("clearpart" | "firstboot" | "selinux" | "zipl", "kind" | "mode" | "secure_boot") => None,
        ("autopart", "kind") => Some("--type".to_owned()),
        ("rhsm", "activation_keys") => Some("--activation-key".to_owned()),
        ("ostreesetup", "reference") => Some("--ref".to_owned()),
        ("syspurpose", "addons") => Some("--addon".to_owned()),
        _ => Some(format!("--{}", field.replace('_', "-"))),
    }
}

/// Compares the fields of ours with the attributes of theirs, by the destinations that pykickstart declares.
fn differences(case: &Case, ours: &Map<String, Value>, theirs: &Value, fresh: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (field, value) in ours {
        let Some(name) = field_option(&case.word, field) else { continue };
        let Some(action) = case.actions.iter().find(|action| {
            action["names"].as_array().is_some_and(|names| names.iter().any(|known| *known == name.as_str()))
        }) else {
            continue;
        };
        let dest = action["dest"].as_str().unwrap();
        let attribute = &theirs[dest];
        let untouched = if action["default"].is_null() { &fresh[dest] } else { &action["default"] };
        let expected = match (case.word.as_str(), field.as_str(), value) {
            _ if *value == "(secret)" || (value.is_array() && value[0] == "(secret)") => continue,
            // Spelled as numbers or in capitals there.
            ("autopart", "kind", _) | ("snapshot", "when", _) => continue,
            ("raid", "level", Value::String(level)) => Value::String(level.to_uppercase()),
            ("raid", "device", Value::String(device)) if case.version < Version::Rhel10 => {
                Value::String(device.strip_prefix("md").unwrap_or(device).to_owned())
            }
            ("network", "teamslaves", Value::Array(slaves)) => {
                slaves.iter().map(|slave| json!([slave["device"], slave["config"]])).collect()
            }
            // Consequences that pykickstart draws by itself.
            ("network", "bootproto", _) if ours["noipv4"] == true && case.version >= Version::Rhel8 => json!(""),
            ("mount", "reformat", Value::Null) => continue,
            ("mount", "reformat", Value::String(name)) if !name.is_empty() => json!(true),
            ("btrfs" | "logvol" | "raid" | "volgroup", "useexisting", _) if ours["noformat"] == true => json!(true),
            ("btrfs", "noformat", _) if ours["useexisting"] == true => json!(false),
            ("ostreesetup", "remote", _) if !value.is_string() || *value == "" => ours["osname"].clone(),
            ("ostreecontainer", "remote", _) if !value.is_string() || *value == "" => continue,
            ("bootc", "target_imgref", _) if !value.is_string() || *value == "" => ours["source_imgref"].clone(),
            ("bootloader", "iscrypted" | "password", _) if !ours["md5pass"].is_null() => continue,
            ("ignoredisk", "drives", _) if ours["interactive"] == true => continue,
            (_, _, Value::Bool(true)) if action["nargs"] == "0" => action["const"].clone(),
            (_, _, Value::Null) | (_, _, Value::Bool(false)) => {
                if *attribute == json!(false) {
                    json!(false)
                } else {
                    untouched.clone()
                }
            }
            (_, _, Value::Array(list)) if list.is_empty() => {
                if *attribute == json!([]) || attribute.is_null() {
                    continue;
                } else {
                    untouched.clone()
                }
            }
            _ => value.clone(),
        };
        if *attribute != expected {
            found.push(format!("{field}: {expected} here, {attribute} in pykickstart"));
        }
    }
    found
}

#[test]
fn commands_mean_what_they_mean_in_pykickstart() {
    let mut oracle = Oracle::start();
    let mut rng = StdRng::seed_from_u64(3_782_026);
    let mut cases = Vec::new();
    for version in Version::ALL {
        let described = oracle.ask(&[json!({"ask": "describe", "version": version.name()})]).remove(0);
        for (word, command) in described["commands"].as_object().unwrap() {
            if NOT_OURS.contains(&word.as_str()) {
                let problems = parse(word, version).unwrap_err().to_string();
                assert!(problems.contains(word.as_str()), "{problems}");
                continue;
            }
            let actions = command["actions"].as_array().unwrap().clone();
            // Commands that have no parser hand their line on.
            let lines: Vec<String> = match word.as_str() {
                "auth" | "authconfig" | "authselect" => {
                    ["", "--enableshadow --passalgo=sha512", "select 'sssd x' # why", "a \"b"]
                        .map(|rest| format!("{word} {rest}"))
                        .to_vec()
                }
                "realm" => [
                    "join a.b",
                    "join --client-software=sssd a",
                    "join --computer-ou=x --no-password a",
                    "leave a",
                    "join",
                    "join --one-time-pass=x a",
                    "join a b",
                    "join a # b",
                    "join --no a",
                    "join --nonsense a",
                    "join -- a",
                ]
                .map(|rest| format!("realm {rest}"))
                .to_vec(),
                _ => (0..LINES).map(|_| line(&mut rng, word, &actions)).collect(),
            };
            for text in lines {
                let text = text.trim_end().to_owned();
                cases.push(Case { version, word: word.clone(), text, actions: actions.clone() });
            }
        }
    }
    let question = |case: &Case, text: &str| json!({"ask": "line", "version": case.version.name(), "word": case.word, "text": text});
    let questions: Vec<Value> = cases.iter().map(|case| question(case, &case.text)).collect();
    let theirs = oracle.ask(&questions);

    let mut wrong = Vec::new();
    let mut accepted = std::collections::BTreeMap::<String, usize>::new();
    let mut written: Vec<(&Case, &Value, String)> = Vec::new();
    for (case, theirs) in cases.iter().zip(&theirs) {
        let mut complain = |what: String| wrong.push(format!("{} {}\n    {what}", case.version, case.text));
        let ours = parse(&case.text, case.version);
        match (&ours, theirs["accepted"] == true) {
            (Ok(parsed), true) => {
                *accepted.entry(case.word.clone()).or_default() += 1;
                let command = parsed.kickstart.commands().next().unwrap();
                let warned = !parsed.warnings.is_empty();
                // pykickstart does not recognise what goes away in RHEL 10 when it is abbreviated.
                let abbreviated =
                    parsed.warnings.iter().all(|warning| warning.message.contains("goes away with RHEL10"));
                if warned && !abbreviated && theirs["deprecation"] != true {
                    complain(format!("a warning here alone: {:?}", parsed.warnings));
                }
                if !warned && theirs["deprecation"] == true {
                    complain("a warning in pykickstart alone".to_owned());
                }
                if let (Value::Object(fields), Some(_)) =
                    (serde_json::to_value(command).unwrap(), theirs.get("attributes"))
                    && !matches!(command, Command::Ignored(_))
                {
                    for difference in differences(case, &fields, &theirs["attributes"], &theirs["fresh"]) {
                        complain(difference);
                    }
                }
                match (parsed.kickstart.render(case.version), parsed.warnings.is_empty()) {
                    (Ok(text), true) => {
                        written.push((case, theirs, text.lines().nth(1).unwrap_or_default().to_owned()));
                    }
                    // One spelling is written, which may be newer than the one that was warned of.
                    (Ok(_), false) if abbreviated => {}
                    (Ok(text), false) => complain(format!("written, though it has a warning: {text}")),
                    (Err(problems), true) => complain(format!("read, but not written: {problems}")),
                    (Err(_), false) => {}
                }
            }
            (Err(_), false) => {}
            (Ok(_), false) => complain(format!("refused by pykickstart alone: {}", theirs["error"])),
            (Err(problems), true) => complain(format!("refused here alone: {problems}")),
        }
    }
    let questions: Vec<Value> = written.iter().map(|(case, _, text)| question(case, text)).collect();
    for ((case, before, text), after) in written.iter().zip(oracle.ask(&questions)) {
        let same = match case.word.as_str() {
            // It keeps the words as well, abbreviated or not.
            "realm" => before["attributes"]["join_realm"] == after["attributes"]["join_realm"],
            _ => before["attributes"] == after["attributes"],
        };
        if !same {
            wrong.push(format!(
                "{} {}\n    written as {text}\n    {} became {}",
                case.version, case.text, before["attributes"], after["attributes"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} lines differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // A test whose lines are all refused would show nothing.
    let words: std::collections::BTreeSet<&String> = cases.iter().map(|case| &case.word).collect();
    for word in words {
        assert!(
            accepted.get(word).is_some_and(|count| *count >= 3),
            "hardly a line with {word} is right: {accepted:?}"
        );
    }
    assert!(written.len() > 2500, "only {} lines were right", written.len());
}
