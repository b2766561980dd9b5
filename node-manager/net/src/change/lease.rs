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
/// How long the second family has to come, where both are asked for and one is there: networks have one alone as often.
const SECOND: Duration = Duration::from_secs(8);
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

/// Families that links began to ask for and have no address of while they have one of the other, in words.
pub fn late(live: &Live, plan: &Plan) -> Vec<String> {
    let missing = |(link, dhcp): (&str, Dhcp)| {
        let given = given(live, link, dhcp);
        let family = lacks(&given, dhcp).filter(|_| !given.is_empty())?;
        Some(format!("{link} has no {family} address by DHCP so far; systemd-networkd goes on asking"))
    };
    asked(plan).into_iter().filter_map(missing).collect()
}

/// A family that was asked for and not given.
fn lacks(given: &[String], dhcp: Dhcp) -> Option<&'static str> {
    let has = |v4: bool| given.iter().any(|address| address.contains(':') != v4);
    let families = [(true, "IPv4"), (false, "IPv6")];
    families.into_iter().find(|(v4, _)| dhcp.gives(*v4) && !has(*v4)).map(|(_, family)| family)
}

/// What the addresses of a link that asks say after some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It has what it asked for, or as much as there is.
    Enough,
    /// More may come.
    Wait,
    /// Nobody answers.
    Nothing,
}

/// Judges them.
pub(super) fn judged(given: &[String], dhcp: Dhcp, waited: Duration) -> Judged {
    match given.is_empty() {
        false if lacks(given, dhcp).is_none() || waited >= SECOND => Judged::Enough,
        true if waited >= PATIENCE => Judged::Nothing,
        _ => Judged::Wait,
    }
}

pub(super) fn given(live: &Live, name: &str, dhcp: Dhcp) -> Vec<String> {
    let wanted = |address: &&AddressFacts| address.is_leased() && dhcp.gives(address.address.addr().is_ipv4());
    let holder = live.holder(name).into_iter();
    holder.flat_map(|index| live.addresses_of(index)).filter(wanted).map(|a| a.address.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_waited_for_and_one_is_enough_after_a_while() {
        let [v4, v6] = ["10.9.0.107/24".to_owned(), "2001:db8:5::7/64".to_owned()];
        let after = |seconds, given: &[String], dhcp| judged(given, dhcp, Duration::from_secs(seconds));
        assert_eq!(after(0, &[v4.clone(), v6.clone()], Dhcp::Both), Judged::Enough);
        assert_eq!(after(0, std::slice::from_ref(&v4), Dhcp::Ipv4), Judged::Enough);
        assert_eq!(after(7, std::slice::from_ref(&v4), Dhcp::Both), Judged::Wait);
        assert_eq!(after(8, &[v6], Dhcp::Both), Judged::Enough);
        assert_eq!(after(29, &[], Dhcp::Both), Judged::Wait);
        assert_eq!(after(30, &[], Dhcp::Ipv6), Judged::Nothing);
    }
}
