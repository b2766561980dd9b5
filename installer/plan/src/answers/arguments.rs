//! Answers on the kernel's command line: `zstack.role=compute zstack.disk=/dev/sda zstack.erase=yes`.

use crate::{problem::Problem, text, text::Text};

/// An answer that kernel arguments can give.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    /// Its name behind `zstack.`.
    pub name: &'static str,
    /// Key in `answers.toml`; elements of lists are numbered.
    pub key: &'static str,
    /// How its text is understood.
    pub form: Form,
}

/// Forms of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it stands.
    Text,
    /// `yes`, `no`, `true`, `false`, `1`, `0`.
    Flag,
    /// A number.
    Number,
    /// Several texts with commas between them.
    List,
}

const fn argument(name: &'static str, key: &'static str, form: Form) -> Argument {
    Argument { name, key, form }
}

/// All of them. A single card, bond or VLAN can be described; more than that needs a file.
pub const KNOWN: [Argument; 35] = [
    argument("role", "role", Form::Text),
    argument("language", "language", Form::Text),
    argument("keyboard", "keyboard", Form::Text),
    argument("hostname", "host_name", Form::Text),
    argument("end", "end", Form::Text),
    argument("disk", "disk.device", Form::Text),
    argument("erase", "disk.erase", Form::Flag),
    argument("layout", "disk.layout", Form::Text),
    argument("table", "disk.table", Form::Text),
    argument("root_format", "disk.root_format", Form::Text),
    argument("boot", "disk.boot", Form::Text),
    argument("efi", "disk.efi", Form::Text),
    argument("swap", "disk.swap", Form::Text),
    argument("root", "disk.root", Form::Text),
    argument("snapshots", "disk.snapshots", Form::Number),
    argument("management", "network.management", Form::Text),
    argument("network_none", "network.none", Form::Flag),
    argument("nic", "network.nic.0.device", Form::Text),
    argument("dhcp", "network.nic.0.ip.dhcp", Form::Text),
    argument("address", "network.nic.0.ip.addresses", Form::List),
    argument("gateway", "network.nic.0.ip.gateways", Form::List),
    argument("dns", "network.nic.0.ip.dns", Form::List),
    argument("bond", "network.bond.0.members", Form::List),
    argument("bond_mode", "network.bond.0.mode", Form::Text),
    argument("vlan", "network.vlan.0.id", Form::Number),
    argument("vlan_parent", "network.vlan.0.parent", Form::Text),
    argument("timezone", "time.zone", Form::Text),
    argument("ntp", "time.ntp", Form::List),
    argument("password_hash", "login.password_hash", Form::Text),
    argument("ssh_key", "login.ssh_keys.0", Form::Text),
    argument("join", "join.address", Form::Text),
    argument("join_code", "join.code", Form::Text),
    argument("bond_dhcp", "network.bond.0.ip.dhcp", Form::Text),
    argument("bond_address", "network.bond.0.ip.addresses", Form::List),
    argument("bond_gateway", "network.bond.0.ip.gateways", Form::List),
];

/// Names behind `zstack.` that are not answers but say where those are.
const SOURCES: [&str; 1] = ["answers"];

/// Puts the answers of a kernel command line into a table of keys, over what is there. Returns whether there were any.
/// Words may be quoted as the kernel understands it: `zstack.ssh_key="ssh-ed25519 AAAA admin"`.
///
/// # Errors
/// Every argument that begins with `zstack.` and is not known, or whose value cannot be read.
pub fn arguments(line: &str, table: &mut toml::Table) -> Result<bool, Vec<Problem>> {
    let (mut problems, mut found) = (Vec::new(), false);
    for word in words(line) {
        let Some((name, value)) =
            word.strip_prefix("zstack.").map(|word| word.split_once('=').unwrap_or((word, "yes")))
        else {
            continue;
        };
        if SOURCES.contains(&name) {
            continue;
        }
        let typed = format!("zstack.{name}");
        let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
            let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
            let rule = text!("there is no such kernel argument", "没有这个内核参数");
            problems.push(Problem::new(
                typed,
                rule,
                text!("known are zstack. with {}", "已知的是 zstack. 加上 {}", names.join(", ")),
            ));
            continue;
        };
        found = true;
        match read(known.form, value) {
            Ok(value) => put(table, known.key, value),
            Err(rule) => problems.push(Problem::new(
                typed,
                rule,
                text!("correct it on the kernel command line", "请在内核命令行中更正"),
            )),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// The words of a command line; a word may have a part in double quotes.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn read(form: Form, text: &str) -> Result<toml::Value, Text> {
    match form {
        Form::Text => Ok(toml::Value::String(text.to_owned())),
        Form::List => {
            let parts = text.split(',').filter(|part| !part.is_empty());
            Ok(toml::Value::Array(parts.map(|part| toml::Value::String(part.to_owned())).collect()))
        }
        Form::Number => {
            text.parse().map(toml::Value::Integer).map_err(|_| text!("{text:?} is no number", "{text:?} 不是数字"))
        }
        Form::Flag => match text {
            "yes" | "true" | "1" => Ok(toml::Value::Boolean(true)),
            "no" | "false" | "0" => Ok(toml::Value::Boolean(false)),
            _ => Err(text!("{text:?} is neither yes nor no", "{text:?} 既不是 yes 也不是 no")),
        },
    }
}

/// Sets a key; tables and lists on the way are made, and replaced where something else is in their place.
fn put(table: &mut toml::Table, key: &str, value: toml::Value) {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let Some(rest) = rest else {
        table.insert(first.to_owned(), value);
        return;
    };
    if let Some(element) = rest.strip_prefix('0') {
        let entry = table.entry(first).or_insert_with(|| toml::Value::Array(Vec::new()));
        if !entry.is_array() {
            *entry = toml::Value::Array(Vec::new());
        }
        let toml::Value::Array(list) = entry else { return };
        let Some(below) = element.strip_prefix('.') else {
            match list.first_mut() {
                Some(old) => *old = value,
                None => list.push(value),
            }
            return;
        };
        if !list.first().is_some_and(toml::Value::is_table) {
            list.insert(0, toml::Value::Table(toml::Table::new()));
        }
        if let Some(toml::Value::Table(inner)) = list.first_mut() {
            put(inner, below, value);
        }
        return;
    }
    let entry = table.entry(first).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if !entry.is_table() {
        *entry = toml::Value::Table(toml::Table::new());
    }
    if let toml::Value::Table(inner) = entry {
        put(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{answers::Answers, manifest::Role};

    fn read(line: &str) -> Result<Answers, Vec<Problem>> {
        let mut table = toml::Table::new();
        arguments(line, &mut table)?;
        Answers::of_table(table)
    }

    #[test]
    fn single_answers_stand_on_the_kernel_command_line() {
        let answers = read(
            "BOOT_IMAGE=/vmlinuz quiet zstack.role=compute zstack.disk=/dev/vda zstack.erase=yes zstack.nic=eth0 \
             zstack.address=192.0.2.7/24,2001:db8::7/64 zstack.gateway=192.0.2.1 zstack.ntp=a.example,b.example \
             zstack.ssh_key=\"ssh-ed25519 AAAA admin\" zstack.snapshots=20 zstack.join=192.0.2.1 zstack.join_code=ABCD zstack.answers=/a.toml",
        )
        .unwrap();
        assert_eq!(answers.role, Some(Role::Compute));
        assert_eq!((answers.disk.device.as_str(), answers.disk.erase, answers.disk.snapshots), ("/dev/vda", true, 20));
        assert_eq!(answers.network.nic[0].ip.addresses.len(), 2);
        assert_eq!(answers.login.ssh_keys, ["ssh-ed25519 AAAA admin"]);
        assert_eq!(answers.time.ntp, ["a.example", "b.example"]);
        let join = answers.join.unwrap();
        assert_eq!((join.address.as_str(), join.code.as_deref()), ("192.0.2.1", Some("ABCD")));
    }

    #[test]
    fn arguments_win_over_a_file() {
        let mut table = Answers::table("role = \"expert\"\n[disk]\ndevice = \"auto\"\nerase = true\n").unwrap();
        assert!(arguments("zstack.disk=/dev/sdb", &mut table).unwrap());
        let answers = Answers::of_table(table).unwrap();
        assert_eq!((answers.disk.device.as_str(), answers.disk.erase), ("/dev/sdb", true));
        assert!(!arguments("root=/dev/sda1 ro", &mut toml::Table::new()).unwrap());
    }

    #[test]
    fn what_is_mistyped_is_named_and_nothing_is_guessed() {
        let problems = read("zstack.rolle=compute zstack.erase=perhaps zstack.vlan=x").unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["zstack.rolle", "zstack.erase", "zstack.vlan"]);
    }

    #[test]
    fn every_argument_has_a_key_that_exists() {
        for known in KNOWN {
            let mut table = toml::Table::new();
            put(&mut table, known.key, toml::Value::Datetime("1979-05-27".parse().unwrap()));
            let problems = Answers::of_table(table).err().unwrap_or_default();
            assert!(
                !problems.iter().any(|p| p.rule.english().contains("unknown field")),
                "{}: {problems:?}",
                known.name
            );
        }
    }
}
