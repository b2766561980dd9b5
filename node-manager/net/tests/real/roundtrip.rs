//! Random networks on the real kernel: a change that is taken back leaves what was there before it.
//!
//! With the kinds of links that every kernel at hand has: cards, bridges and tunnels.

use std::{fmt::Write as _, fs};

use serde_json::Value;

use crate::world::{Node, ip};

/// How many changes are made and taken back.
const ROUNDS: usize = 12;

/// Numbers that look random and follow from the first one (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// A document over four cards.
fn document(dice: &mut Dice) -> String {
    let mut text = String::new();
    let mut free: Vec<String> = (0..4).map(|card| format!("eth{card}")).collect();
    for card in &free {
        write!(text, "[links.{card}]\nkind.nic = {{}}\n").unwrap();
    }
    for vni in 1..=dice.below(3) {
        let (local, peer) = (dice.below(2), dice.below(4));
        let peers = if peer > 0 { format!("'203.0.113.2{peer}', '203.0.113.30'") } else { String::new() };
        let kind = format!("vni = {vni}, local = '203.0.113.{local}', peers = [{peers}]");
        write!(text, "[links.vx{vni}]\nkind.vxlan = {{ {kind} }}\nmtu = 1400\n").unwrap();
        free.push(format!("vx{vni}"));
    }
    let mut tops = Vec::new();
    for bridge in 0..dice.below(3) {
        let mut ports = Vec::new();
        for _ in 0..dice.below(3) {
            let port = free.swap_remove(dice.below(free.len()));
            ports.push(format!("'{port}'"));
        }
        let (stp, ports) = (dice.one_in(3), ports.join(", "));
        write!(text, "[links.br{bridge}]\nkind.bridge = {{ ports = [{ports}], stp = {stp} }}\n").unwrap();
        tops.push(format!("br{bridge}"));
    }
    tops.extend(free);
    for net in 0..1 + dice.below(4) {
        if tops.is_empty() {
            break;
        }
        let link = tops.swap_remove(dice.below(tops.len()));
        let host = 10 + dice.below(3);
        let mut addresses = format!("'192.0.{net}.{host}/24'");
        let mut routes = String::new();
        if dice.one_in(2) {
            write!(addresses, ", '2001:db8:{net}::{host}/64'").unwrap();
            write!(routes, "{{ to = '2001:db8:f{net}::/48', via = '2001:db8:{net}::1' }}, ").unwrap();
        }
        match dice.below(3) {
            0 => write!(routes, "{{ to = '0.0.0.0/0', via = '192.0.{net}.1', metric = {net} }}").unwrap(),
            1 => write!(routes, "{{ to = '198.51.{net}.0/24', via = '192.0.{net}.1' }}").unwrap(),
            _ => {}
        }
        write!(text, "[links.{link}.ip]\naddresses = [{addresses}]\nroutes = [{routes}]\n").unwrap();
    }
    text
}

/// Everything of the kernel that a document can say, and the files.
fn picture(node: &Node) -> Vec<String> {
    let links: Value = serde_json::from_str(&ip("-j -d addr")).unwrap();
    let mut lines: Vec<String> = Vec::new();
    for link in links.as_array().unwrap() {
        let (name, data) = (link["ifname"].as_str().unwrap(), &link["linkinfo"]["info_data"]);
        let up = link["flags"].as_array().unwrap().iter().any(|flag| flag == "UP");
        let options = ["stp_state", "id", "local", "port", "group"].map(|key| data[key].to_string()).join(" ");
        let master = &link["master"];
        // A tunnel, or a bridge without ports, that is made anew gets a new address of the kernel's choice.
        let ports = links.as_array().unwrap().iter().filter(|port| port["master"] == name).count();
        let random = match link["linkinfo"]["info_kind"].as_str() {
            Some("vxlan") => true,
            Some("bridge") => ports == 0,
            _ => false,
        };
        let mac = if random { &Value::Null } else { &link["address"] };
        lines.push(format!("{name} up {up} mtu {} master {master} {mac} {options}", link["mtu"]));
        for address in link["addr_info"].as_array().unwrap().iter().filter(|address| address["scope"] == "global") {
            lines.push(format!("{name} has {} {}", address["local"], address["prefixlen"]));
        }
    }
    let fdb = std::process::Command::new("bridge").args(["fdb", "show"]).output().unwrap();
    let peers = String::from_utf8_lossy(&fdb.stdout).into_owned();
    lines.extend(peers.lines().filter(|line| line.contains(" dst ")).map(str::to_owned));
    for routes in [ip("route"), ip("-6 route")] {
        let own = routes.lines().filter(|line| !line.contains("fe80::") && !line.contains("ff00::"));
        lines.extend(own.map(|line| words(&line.replace("linkdown", ""))));
    }
    lines.sort();
    lines.extend(node.files().into_iter().map(|(name, text)| format!("{name}:\n{text}")));
    lines
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_random_change_that_is_taken_back_leaves_links_addresses_routes_and_files_as_they_were() {
    let seed = std::env::var("ZS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    println!("ZS_SEED={seed} makes the same changes again");
    let mut dice = Dice(seed);
    let node = Node::new();
    for card in 2..4 {
        ip(&format!("link add eth{card} type veth peer name switch{card}"));
        ip(&format!("link set switch{card} up"));
    }
    let mut reverted = 0;
    for round in 0..ROUNDS {
        let (first, second) = (document(&mut dice), document(&mut dice));
        let (one, two) = (node.path("one.toml"), node.path("two.toml"));
        fs::write(&one, &first).unwrap();
        fs::write(&two, &second).unwrap();
        node.ok(&format!("zs-network-setting --apply {} --confirm", one.display()));
        let before = picture(&node);
        let changed = node.ok(&format!("zs-network-setting --apply {} --json", two.display()));
        if changed.json()["state"] != "waiting" {
            continue;
        }
        assert_ne!(picture(&node), before, "round {round}: nothing was changed");
        node.ok("zs-network-setting --revert");
        let after = picture(&node);
        let only = |one: &[String], other: &[String]| -> Vec<String> {
            one.iter().filter(|line| !other.contains(line)).cloned().collect()
        };
        let (gone, new) = (only(&before, &after), only(&after, &before));
        assert_eq!((gone, new), (vec![], vec![]), "round {round}, from\n{first}\nto\n{second}");
        reverted += 1;
    }
    assert!(reverted > ROUNDS / 2, "only {reverted} of {ROUNDS} changes touched what a node is reached by");
}
