//! Whether a server gave the addresses that were asked for (OS-NET-002).

use std::time::Duration;

use crate::{
    kernel::address::AddressFacts,
    live::Live,
    model::{Dhcp, Network},
    plan::Plan,
    step::Step,
};

/// How long a server has to answer.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked.
pub(super) const PACE: Duration = Duration::from_millis(300);

/// Links that begin to ask for addresses in a plan. (Such steps come last, when every link has its name.)
pub(super) fn asked(plan: &Plan) -> Vec<(&str, Dhcp)> {
    let steps = plan.steps.iter().filter_map(|step| match step {
        Step::Dhcp { link, dhcp } if !dhcp.is_off() => Some((link.as_str(), *dhcp)),
        _ => None,
    });
    steps.collect()
}

/// The addresses that a server gave for a time to the links of a document that ask for some.
pub fn leases<'a>(live: &Live, document: &'a Network) -> Vec<(&'a str, Vec<String>)> {
    let asking = document.links.iter().filter(|(_, link)| !link.ip.dhcp.is_off());
    asking.map(|(name, link)| (name.as_str(), given(live, name, link.ip.dhcp))).collect()
}

pub(super) fn given(live: &Live, name: &str, dhcp: Dhcp) -> Vec<String> {
    let wanted = |address: &&AddressFacts| address.is_leased() && dhcp.gives(address.address.addr().is_ipv4());
    let holder = live.holder(name).into_iter();
    holder.flat_map(|index| live.addresses_of(index)).filter(wanted).map(|a| a.address.to_string()).collect()
}
