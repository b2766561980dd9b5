//! Random networks of cards, bonds, VLANs and bridges on a real kernel, beside systemd-networkd: a change that is taken
//! back leaves what was there before it, one that is kept leaves what was wanted, and a command that looks at a part of
//! the node decides as if it had looked at everything.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::network::{change, zs};
use crate::e2e::{lab::Lab, machine::Machine};

/// How many changes are made and taken back, unless `ZS_ROUNDS` says otherwise.
const ROUNDS: usize = 3;
/// How many single commands follow each of them.
const COMMANDS: usize = 3;
const CARDS: usize = 5;

/// Numbers that look random and follow from the first one (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The remainder is below the limit.
        ((self.0 >> 33) % limit as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// Random changes, taken back and kept.
pub(crate) async fn changes(lab: &Lab) -> Result<()> {
    let given = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let seed = given("ZS_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    let rounds = given("ZS_ROUNDS").and_then(|rounds| usize::try_from(rounds).ok()).unwrap_or(ROUNDS);
    lab.note(format!("ZS_SEED={seed} makes the same changes again"));
    let mut dice = Dice(seed);
    let node = lab.boot("node", &[None; CARDS]).await?;
    let (mut reverted, mut near) = (0, 0);
    for round in 0..rounds {
        let (first, second) = (document(&mut dice, &node), document(&mut dice, &node));
        let texts = format!("round {round} of ZS_SEED={seed}, from\n{first}\nto\n{second}");
        node.write("/root/one.toml", first.as_bytes()).await?;
        node.write("/root/two.toml", second.as_bytes()).await?;
        reverted += usize::from(back(&node).await.with_context(|| texts.clone())?);
        for _ in 0..COMMANDS {
            let command = command(&mut dice, &node).await?;
            near += usize::from(same(&node, &command).await.with_context(|| format!("{command} after {texts}"))?);
        }
    }
    let commands = rounds * COMMANDS;
    lab.note(format!("{reverted} of {rounds} changes taken back, {near} of {commands} commands looked at a part only"));
    ensure!(reverted * 2 > rounds, "only {reverted} of {rounds} changes touched what the node is reached by");
    ensure!(near * 4 > commands, "only {near} of {commands} commands looked at a part only");
    Ok(())
}

/// Puts the first document in force and then the second, and takes that back where that is still possible.
async fn back(node: &Machine) -> Result<bool> {
    zs(node, "zs-network-setting --apply /root/one.toml --confirm").await?;
    as_wanted(node, "one").await?;
    let before = picture(node).await?;
    let changed = zs(node, "zs-network-setting --apply /root/two.toml").await?;
    as_wanted_or_waiting(node, "two", &changed).await?;
    if changed["state"] != "waiting" {
        return Ok(false);
    }
    ensure!(picture(node).await? != before, "nothing was changed");
    zs(node, "zs-network-setting --revert").await?;
    let after = picture(node).await?;
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).cloned().collect()
    };
    let (gone, new) = (only(&before, &after), only(&after, &before));
    ensure!(gone.is_empty() && new.is_empty(), "gone: {gone:#?}\nnew: {new:#?}");
    // The same once more, and kept.
    change(node, "zs-network-setting --apply /root/two.toml").await?;
    as_wanted(node, "two").await?;
    Ok(true)
}

/// Kernel and files are as a document says: there is nothing left to do.
async fn as_wanted(node: &Machine, name: &str) -> Result<()> {
    let left = zs(node, &format!("zs-network-setting --apply /root/{name}.toml --dry-run")).await?;
    ensure!(left["changed"] == false && left["files"] == serde_json::json!([]), "left: {left:#}");
    Ok(())
}

async fn as_wanted_or_waiting(node: &Machine, name: &str, changed: &Value) -> Result<()> {
    if changed["state"] == "waiting" { Ok(()) } else { as_wanted(node, name).await }
}

/// Makes one change with a command, after it has decided what to do with a part of the node in view and with everything.
/// Returns whether the part was enough.
async fn same(node: &Machine, command: &str) -> Result<bool> {
    let script =
        format!("{command} --dry-run --json 2>/dev/null; {command} --dry-run --json --whole 2>/dev/null; true");
    let said = node.ok(&script).await?;
    let mut both: Vec<Value> =
        said.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(both.len() == 2, "two answers are expected: {said}");
    let views: Vec<Value> = both.iter_mut().map(|one| one["looked_at"].take()).collect();
    both.iter_mut().for_each(|one| drop(one["command"].take()));
    ensure!(both[0] == both[1], "a part of the node decides\n{:#}\nand everything\n{:#}", both[0], both[1]);
    if both[0]["state"] != "planned" {
        return Ok(false);
    }
    ensure!(views[1] == "everything", "the second looked at {}", views[1]);
    zs(node, &format!("{command} --confirm")).await?;
    let again = zs(node, &format!("{command} --dry-run --whole")).await?;
    ensure!(again["changed"] == false && again["files"] == serde_json::json!([]), "left: {again:#}");
    Ok(views[0] == "part")
}

/// A command about one of the links that are there.
async fn command(dice: &mut Dice, node: &Machine) -> Result<String> {
    let shown = zs(node, "zs-show-network").await?;
    let all = shown["interfaces"].as_array().into_iter().flatten();
    let names: Vec<&str> =
        all.filter_map(|link| link["name"].as_str()).filter(|name| !["lo", "bond0"].contains(name)).collect();
    ensure!(!names.is_empty(), "there is no interface");
    let link = dice.of(&names);
    let (net, host) = (100 + dice.below(100), 2 + dice.below(5));
    let address = format!("{link} 10.{net}.0.{host} 255.255.255.0 10.{net}.0.1");
    Ok(match dice.below(5) {
        0 => format!("zs-network-setting -i {address}"),
        1 => format!("zs-network-setting -b {address}"),
        2 => format!("zs-bond-lacp -c bond{} --mode active-backup", 5 + dice.below(3)),
        _ => format!("zs-vlan -c {link} {}", 100 + dice.below(20)),
    })
}

/// A document over all cards: bonds of some, VLANs on what is free, bridges over what is free then, addresses on tops.
fn document(dice: &mut Dice, node: &Machine) -> String {
    let (mut links, mut ips) = (String::new(), String::new());
    let mut free = Vec::new();
    for card in 0..CARDS {
        let name = if dice.one_in(3) { format!("em{card}") } else { format!("ens{}", 16 + card) };
        // Writing to a string cannot fail.
        let _ = write!(links, "[links.{name}]\nkind.nic = {{ mac = '{}' }}\n", node.mac(card));
        free.push(name);
    }
    let mut bonds = Vec::new();
    for bond in 1..=dice.below(3) {
        let members: Vec<String> = (0..1 + dice.below(2)).map(|_| free.swap_remove(dice.below(free.len()))).collect();
        let mode = dice.of(&["balance-rr", "active-backup", "802.3ad", "balance-xor", "balance-tlb"]);
        let primary = match mode {
            "active-backup" if dice.one_in(2) => format!(", primary = '{}'", members[0]),
            _ => String::new(),
        };
        let mtu = if dice.one_in(3) { "mtu = 9000\n" } else { "" };
        let members = quoted(&members);
        let _ = write!(
            links,
            "[links.bond{bond}]\n{mtu}kind.bond = {{ mode = '{mode}', members = [{members}]{primary} }}\n"
        );
        bonds.push(format!("bond{bond}"));
    }
    // Only cards join bonds.
    free.extend(bonds);
    let mut vlans = Vec::new();
    for number in 0..dice.below(4) {
        let (parent, id) = (free[dice.below(free.len())].clone(), [10, 20, 30, 4094][number]);
        let name = if dice.one_in(3) { format!("lan{number}") } else { format!("{parent}.{id}") };
        let _ = write!(links, "[links.'{name}']\nkind.vlan = {{ parent = '{parent}', id = {id} }}\n");
        vlans.push(name);
    }
    free.extend(vlans);
    let mut tops = Vec::new();
    for bridge in 0..dice.below(3) {
        let ports: Vec<String> = (0..dice.below(3)).map(|_| free.swap_remove(dice.below(free.len()))).collect();
        let (stp, ports) = (dice.one_in(4), quoted(&ports));
        let _ = write!(links, "[links.br{bridge}]\nkind.bridge = {{ ports = [{ports}], stp = {stp} }}\n");
        tops.push(format!("br{bridge}"));
    }
    tops.extend(free);
    let mut management = None;
    for net in 0..1 + dice.below(4) {
        if tops.is_empty() {
            break;
        }
        let (link, host) = (tops.swap_remove(dice.below(tops.len())), 10 + dice.below(3));
        let mut addresses = format!("'192.0.{net}.{host}/24'");
        let mut routes = String::new();
        if dice.one_in(2) {
            let _ = write!(addresses, ", '2001:db8:{net}::{host}/64'");
            let _ = write!(routes, "{{ to = '2001:db8:f{net}::/48', via = '2001:db8:{net}::1' }}, ");
        }
        match dice.below(3) {
            0 => drop(write!(routes, "{{ to = '0.0.0.0/0', via = '192.0.{net}.1', metric = {net} }}")),
            1 => drop(write!(routes, "{{ to = '198.51.{net}.0/24', via = '192.0.{net}.1' }}")),
            _ => {}
        }
        let _ = write!(ips, "[links.'{link}'.ip]\naddresses = [{addresses}]\nroutes = [{routes}]\n");
        management.get_or_insert(link);
    }
    format!("management = '{}'\n{links}{ips}", management.unwrap_or_default())
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

/// Everything of the kernel that a document can say, and the files.
async fn picture(node: &Machine) -> Result<Vec<String>> {
    let said =
        node.ok("ip -j -d addr; echo; ip route; ip -6 route; cd /etc/systemd/network; grep -r . . | sort").await?;
    let (links, rest) = said.split_once('\n').context("ip said one line")?;
    let links: Vec<Value> = serde_json::from_str(links)?;
    let mut lines: Vec<String> = Vec::new();
    for link in &links {
        let (name, data) = (link["ifname"].as_str().unwrap_or_default(), &link["linkinfo"]["info_data"]);
        let up = link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
        let kept = ["stp_state", "id", "mode", "miimon", "primary", "xmit_hash_policy", "ad_lacp_rate"];
        let options = kept.map(|key| data[key].to_string()).join(" ");
        // A bridge without ports that is made anew gets a new address of the kernel's choice.
        let ports = links.iter().filter(|port| port["master"] == name).count();
        let random = link["linkinfo"]["info_kind"] == "bridge" && ports == 0;
        let mac = if random { &Value::Null } else { &link["address"] };
        let (mtu, master) = (&link["mtu"], &link["master"]);
        lines.push(format!("{name} up {up} mtu {mtu} master {master} {mac} on {} {options}", link["link"]));
        for address in link["addr_info"].as_array().into_iter().flatten().filter(|one| one["scope"] == "global") {
            lines.push(format!("{name} has {} {}", address["local"], address["prefixlen"]));
        }
    }
    let own = rest.lines().filter(|line| !line.contains("fe80::") && !line.contains("ff00::"));
    lines.extend(own.map(|line| line.replace("linkdown", "").split_whitespace().collect::<Vec<_>>().join(" ")));
    lines.sort();
    Ok(lines)
}
