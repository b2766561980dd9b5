//! Whether the node's bonds are as the product needs them (OS-NET-015).

use crate::{kernel::link::LinkFacts, live::Live, state::Device, validate::Problem};

/// What keeps bonds from being ready: each is on, has NICs that are all on, and an address, its own or one of what stands
/// on it. Bonds of which the driver has made one too many (no NICs, off) are no business of anybody.
pub fn bonds(live: &Live) -> Vec<Problem> {
    let mut problems = Vec::new();
    for bond in live.links().values().filter(|link| matches!(link.device, Some(Device::Bond { .. }))) {
        let name = &bond.name;
        let members: Vec<&LinkFacts> =
            live.links().values().filter(|link| link.master == Some(bond.index) && link.device.is_some()).collect();
        if members.is_empty() && !bond.is_up() {
            continue;
        }
        let mut say = |rule: String, way_out: String| {
            problems.push(Problem {
                subject: name.clone(),
                rule: format!("{rule} (OS-NET-015)").into(),
                way_out: way_out.into(),
            });
        };
        if members.is_empty() {
            say("it has no NICs".to_owned(), format!("attach some: zs-nic-to-bond -a {name} NIC"));
        }
        if !bond.is_up() {
            say("it is switched off".to_owned(), format!("switch it on: ip link set {name} up"));
        }
        for member in members.iter().filter(|member| !member.is_up()) {
            let way_out = format!("switch it on: ip link set {} up", member.name);
            say(format!("its NIC {} is switched off", member.name), way_out);
        }
        if !has_address(live, bond) {
            let way_out =
                format!("give it one: zs-network-setting -i {name} ADDRESS NETMASK GATEWAY, or --dhcp {name}");
            say("it has no address".to_owned(), way_out);
        }
    }
    problems
}

/// The link, a bridge that it is in, or a VLAN on one of these has an address. (Links do not stand on each other in
/// circles, and no deeper than the kernel's eight.)
fn has_address(live: &Live, link: &LinkFacts) -> bool {
    let own = live.addresses_of(link.index).any(|address| address.is_fixed() || address.is_leased());
    let above = |other: &&LinkFacts| other.stands_on(link.index) || link.master == Some(other.index);
    own || live.links().values().filter(above).any(|other| has_address(live, other))
}
