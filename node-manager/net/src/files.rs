//! The wanted network as files of systemd-networkd (systemd.link(5), systemd.netdev(5), systemd.network(5)).
//!
//! One link is one to three files: `.link` names a card by its permanent address, `.netdev` describes what the kernel
//! shall make, `.network` says what belongs where and the addresses. Ours begin with [`OURS`] and come before what
//! distributions and other tools write, so that they win.

use std::collections::BTreeMap;

mod ini;
mod parse;
mod render;
mod rivals;
pub mod store;

pub(crate) use parse::parse_part;
pub use parse::{Note, Parsed, parse};
pub use render::render;
pub(crate) use rivals::{Rivals, rivals};

/// Beginning of the names of our files. networkd takes the first file that matches; installers begin with 10.
pub const OURS: &str = "05-zs-";

/// Contents by file name.
pub type Files = BTreeMap<String, String>;

/// Section that networkd skips, for what only we need to know (systemd.syntax(7): sections that begin with `X-`).
const OWN_SECTION: &str = "X-ZStack";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Bridge, Kind, Link, Network, Nic, Vlan};

    #[test]
    fn some_files_are_written_as_they_are_among_all() {
        let mut network = Network::default();
        network.links.insert("eth0".to_owned(), Link::new(Kind::Nic(Nic::default())));
        for id in [10, 20, 30] {
            let kind = Kind::Vlan(Vlan { parent: "eth0".to_owned(), id });
            network.links.insert(format!("eth0.{id}"), Link::new(kind));
        }
        let kind = Kind::Bridge(Bridge { ports: ["eth0.20".to_owned()].into(), ..Bridge::default() });
        network.links.insert("br20".to_owned(), Link::new(kind));
        let all = render(&network);
        let of = |links: &[&str]| -> Files {
            let is_of = |file: &String| links.iter().any(|link| file.starts_with(&format!("{OURS}{link}.n")));
            all.iter().filter(|(file, _)| is_of(file)).map(|(file, text)| (file.clone(), text.clone())).collect()
        };
        let elsewhere = |links: &[&str]| -> BTreeSet<String> { links.iter().map(|link| (*link).to_owned()).collect() };

        let some = of(&["eth0", "eth0.20", "br20"]);
        let part = parse_part(&some, &elsewhere(&["eth0.10", "eth0.30"])).unwrap();
        assert_eq!((part.network.links.len(), part.notes.len()), (3, 0));
        assert_eq!(part.network.vlans_on("eth0").collect::<Vec<_>>(), ["eth0.20", "eth0.10", "eth0.30"]);
        assert_eq!(render(&part.network), some);
        // Whoever needs a link that is not in view does not stand for itself.
        assert_eq!(parse_part(&of(&["eth0.20"]), &elsewhere(&["eth0", "eth0.10", "eth0.30", "br20"])), None);
        assert_eq!(parse_part(&of(&["eth0"]), &BTreeSet::new()), None, "no file describes its VLANs");
    }
}
