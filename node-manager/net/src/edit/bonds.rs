//! Bonds and their cards.

use std::collections::BTreeSet;

use super::{Editor, Result, problem};
use crate::{
    live::View,
    model::{Bond, BondOptions, Kind, Link},
};

impl Editor<'_> {
    /// Creates a bond without members (OS-SCR-040). Nothing changes when there is one with these options.
    ///
    /// # Errors
    /// When the name means something else.
    pub fn create_bond(&mut self, name: &str, options: BondOptions) -> Result<()> {
        if self.live.link(name).is_some() || self.network.links.contains_key(name) {
            let link = self.link(name)?;
            let unused = link.ip.is_empty();
            return match &mut link.kind {
                Kind::Bond(bond) if bond.options == options => Ok(()),
                // The driver makes one by itself when it is loaded.
                Kind::Bond(bond) if unused && bond.members.is_empty() => {
                    bond.options = options;
                    Ok(())
                }
                Kind::Bond(_) => {
                    Err(problem(name, "there is such a bond with other options", "delete it first: zs-bond-lacp -d"))
                }
                other => Err(problem(name, format!("there is a {} of that name", other.word()), "choose another name")),
            };
        }
        self.network.links.insert(name.to_owned(), Link::new(Kind::Bond(Bond { options, ..Bond::default() })));
        Ok(())
    }

    /// Deletes a bond; its cards stay, without addresses (OS-SCR-041).
    ///
    /// # Errors
    /// When there is none, or something is built on it.
    pub fn delete_bond(&mut self, name: &str) -> Result<()> {
        let link = self.link(name)?;
        if !matches!(link.kind, Kind::Bond(_)) {
            return Err(problem(name, format!("it is a {}, no bond", link.kind.word()), "name a bond"));
        }
        self.unused(name)?;
        self.network.links.remove(name);
        Ok(())
    }

    /// Adds a card to a bond (OS-SCR-050). Where the bond has no address it takes over the card's.
    ///
    /// # Errors
    /// When either is not what it should be, or both have addresses.
    pub fn attach(&mut self, bond: &str, card: &str) -> Result<()> {
        self.member(bond, card)?;
        if let Some(master) = self.network.master_of(card) {
            if master == bond {
                return Ok(());
            }
            let rule = format!("it belongs to {master} already");
            let way_out = match self.network.links.get(master).map(|link| &link.kind) {
                Some(Kind::Bond(_)) => format!("take it out first: zs-nic-to-bond -d {master} {card}"),
                _ => format!("remove {master} first (zs-network-setting --clear {master}), or name another NIC"),
            };
            return Err(problem(card, rule, way_out));
        }
        self.free(card)?;
        self.drop_idle_dhcp(bond, card)?;
        let moves = {
            let (of_bond, of_card) = (&self.network.links[bond].ip, &self.network.links[card].ip);
            if !of_bond.is_empty() && !of_card.is_empty() {
                let way_out = format!("take its address away first: zs-network-setting --clear {card}");
                return Err(problem(card, format!("it has addresses of its own, and so has {bond}"), way_out));
            }
            !of_card.is_empty()
        };
        let mac = self.mac(card);
        if moves {
            let ip = std::mem::take(&mut self.link(card)?.ip);
            self.link(bond)?.ip = ip;
            self.follow(card, bond);
            self.notes.push(format!("{bond} takes over the addresses of {card}"));
        }
        self.link(card)?.off = false;
        self.link(bond)?.off = false;
        let mtu = self.link(card)?.mtu.take();
        let link = self.link(bond)?;
        let Kind::Bond(document) = &mut link.kind else { return Ok(()) };
        if document.members.is_empty() {
            link.mtu = link.mtu.or(mtu);
        }
        document.mac = document.mac.or(mac);
        document.members.insert(card.to_owned());
        Ok(())
    }

    /// Makes a bond use one of its cards while that works.
    ///
    /// # Errors
    /// When it is none of its cards. Whether the bond's mode can do that is found when it is planned.
    pub fn prefer(&mut self, bond: &str, card: &str) -> Result<()> {
        self.member(bond, card)?;
        let Kind::Bond(document) = &mut self.link(bond)?.kind else { return Ok(()) };
        if !document.members.contains(card) {
            let rule = format!("it is no member of {bond}");
            return Err(problem(card, rule, format!("attach it first: zs-nic-to-bond -a {bond} {card}")));
        }
        document.primary = Some(card.to_owned());
        Ok(())
    }

    /// A card that asks for an address and gets none gives up when it joins a bond that has addresses.
    fn drop_idle_dhcp(&mut self, bond: &str, card: &str) -> Result<()> {
        let leased = self.live.holder(card).is_some_and(|index| self.live.addresses_of(index).any(|a| a.is_leased()));
        let has_addresses = !self.link(bond)?.ip.is_empty();
        let ip = &mut self.link(card)?.ip;
        if has_addresses && !leased && !ip.dhcp.is_off() && ip.addresses.is_empty() && ip.routes.is_empty() {
            *ip = Default::default();
            self.notes.push(format!("{card} asks for no address of its own any more"));
        }
        Ok(())
    }

    /// Takes a card out of a bond, whose addresses stay (OS-SCR-051).
    ///
    /// # Errors
    /// When it is no member, or the last one under the management network.
    pub fn detach(&mut self, bond: &str, card: &str) -> Result<()> {
        self.member(bond, card)?;
        self.live.ask(View::Guarded);
        let carries = self.carries_management(bond);
        let mac = self.mac(card);
        let Kind::Bond(document) = &mut self.link(bond)?.kind else { return Ok(()) };
        if !document.members.contains(card) {
            let members: Vec<&str> = document.members.iter().map(String::as_str).collect();
            let members = if members.is_empty() { "none".to_owned() } else { members.join(", ") };
            return Err(problem(card, format!("it is no member of {bond}"), format!("its members are: {members}")));
        }
        if document.members.len() == 1 && carries {
            let rule = format!("it is the last card of {bond}, which carries the management network");
            return Err(problem(card, rule, format!("add another first: zs-nic-to-bond -a {bond} NIC")));
        }
        document.members.remove(card);
        if document.primary.as_deref() == Some(card) {
            document.primary = None;
        }
        if document.mac.is_some() && document.mac == mac && !document.members.is_empty() {
            // Neighbours know the bond by it. Two stations with one address in a network would take each other's packets.
            self.link(card)?.off = true;
            self.notes.push(format!(
                "{bond} keeps the hardware address of {card}, so {card} is switched off until it is used"
            ));
        }
        Ok(())
    }

    /// The management network goes through a link.
    fn carries_management(&self, name: &str) -> bool {
        let mut open: Vec<&str> = self.network.management.as_deref().into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(link) = open.pop() {
            if link == name {
                return true;
            }
            if seen.insert(link) {
                open.extend(self.network.links.get(link).into_iter().flat_map(Link::needs));
            }
        }
        false
    }

    fn member(&mut self, bond: &str, card: &str) -> Result<()> {
        let mut problems = Vec::new();
        match self.link(bond) {
            Err(found) => problems.extend(found),
            Ok(Link { kind: Kind::Bond(_), .. }) => {}
            Ok(link) => problems.extend(problem(
                bond,
                format!("it is a {}, no bond", link.kind.word()),
                "create one first: zs-bond-lacp -c bond0",
            )),
        }
        match self.link(card) {
            Err(found) => problems.extend(found),
            Ok(Link { kind: Kind::Nic(_), .. }) => {}
            Ok(link) => problems.extend(problem(
                card,
                format!("it is a {}, and only NICs join bonds", link.kind.word()),
                "name a NIC",
            )),
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}
