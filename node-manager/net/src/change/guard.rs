//! What a person must not be cut off from: a change that touches it waits for a confirmation.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    files::{OURS, store},
    live::{Live, View},
    model::{Link, Network},
    plan::Plan,
    step::Step,
};

/// Variable in which sshd says who is connected to which address of this node.
const CONNECTION: &str = "SSH_CONNECTION";
/// How many processes lie between a login and this one at most.
const GENERATIONS: usize = 32;

/// Whether a change (of what is `managed`, in documents from old to new) touches the links under the management network,
/// or under the login that it was typed in. Without a mark the management network is taken to be where the default routes
/// lead; without those it may be on any link that has an address.
///
/// A file that is written for such a link for the first time counts: from then on networkd does as it says, and not as
/// another file said.
pub(super) fn touches(
    live: &Live,
    managed: &Network,
    documents: [&Network; 2],
    plan: &Plan,
    files: &[store::Change],
    login: Option<IpAddr>,
) -> bool {
    let fresh = files.iter().filter_map(|change| match change {
        store::Change::Write(file, _) => file.strip_prefix(OURS)?.strip_suffix(".network"),
        store::Change::Remove(_) => None,
    });
    let fresh = fresh.filter(|link| !managed.links.contains_key(*link));
    let touched: BTreeSet<&str> = plan.steps.iter().filter_map(Step::link).chain(fresh).collect();
    if touched.iter().all(|link| is_aside(live, documents, link)) {
        return false;
    }
    live.ask(View::Guarded);
    let needed = needed(live, documents, login);
    touched.into_iter().any(|link| needed.contains(link))
}

/// A link that is made and nothing else is made of or part of: nobody sits behind it, whoever they are.
fn is_aside(live: &Live, [old, new]: [&Network; 2], name: &str) -> bool {
    let alone = |link: &Link| {
        link.members().next().is_none() && new.master_of(name).is_none() && new.vlans_on(name).next().is_none()
    };
    let made = live.link(name).is_none() && !old.links.contains_key(name);
    made && new.management.as_deref() != Some(name) && new.links.get(name).is_some_and(alone)
}

/// Links that somebody may sit behind, and what those are built on or belong to.
fn needed(live: &Live, documents: [&Network; 2], login: Option<IpAddr>) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    for network in documents {
        let mut open: Vec<&str> = login.and_then(|ip| live.link_with(ip)).into_iter().collect();
        match network.management.as_deref() {
            Some(marked) => open.push(marked),
            None => {
                let likely: Vec<&str> = [true, false].into_iter().filter_map(|v4| live.default_link(v4)).collect();
                let any = likely.is_empty();
                open.extend(likely);
                open.extend(live.addressed().filter(|_| any));
            }
        }
        while let Some(name) = open.pop() {
            if needed.insert(name.to_owned()) {
                open.extend(network.links.get(name).into_iter().flat_map(|link| link.needs()));
                open.extend(network.master_of(name));
            }
        }
    }
    needed
}

/// This node's address in the remote login in which the command was typed, if it was one. sudo and the like do not hand
/// the variable on, so the processes above this one are asked, too.
pub(super) fn login() -> Option<IpAddr> {
    if let Some(words) = std::env::var_os(CONNECTION) {
        return local(&words.to_string_lossy());
    }
    let mut process = std::process::id().to_string();
    for _ in 0..GENERATIONS {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name of the program is in parentheses and may contain anything.
        process = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned();
        let environment = std::fs::read(format!("/proc/{process}/environ")).ok()?;
        let prefix = format!("{CONNECTION}=");
        let mut all = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        if let Some(words) = all.find_map(|entry| entry.strip_prefix(&prefix).map(str::to_owned)) {
            return local(&words);
        }
    }
    None
}

/// The third of its words: client, client's port, server, server's port.
fn local(words: &str) -> Option<IpAddr> {
    let address = words.split(' ').nth(2)?;
    address.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_s_address_is_the_third_word() {
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        assert_eq!(local("203.0.113.9 50000 192.0.2.10 22"), ip("192.0.2.10"));
        assert_eq!(local("fe80::2%eth0 50000 fe80::1%eth0 22"), ip("fe80::1"));
        assert_eq!((local("UNKNOWN"), local("a b c d")), (None, None));
    }
}
