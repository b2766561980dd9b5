//! Names that query conditions may use: fields of an inventory, nested names over its expansions (PROTOCOL.md
//! section 8.3), and the tag names that every resource has.

use std::collections::BTreeSet;

use mn_service_types::{Inventory, contract, shape::Shape};

/// Names that every query knows.
pub const TAG_NAMES: [&str; 3] = ["__systemTag__", "__userTag__", "__tagUuid__"];

/// What a condition's name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// A field, with its inventory and Java-like type.
    Field {
        /// Structure that has it.
        inventory: String,
        /// Last part of the name.
        field: String,
        /// Its type.
        ty: String,
    },
    /// A tag name, or a field of a structure that the contract does not describe: only the server can tell.
    Open,
}

/// The structure and those that specialise it: a condition on the type column makes their fields usable.
fn family(name: &str) -> Vec<(&'static str, &'static Inventory)> {
    let mut family: Vec<(&str, &Inventory)> = contract().inventories().filter(|(own, _)| *own == name).collect();
    let mut next = 0;
    while next < family.len() {
        let parent = family[next].0;
        for (child, inventory) in contract().inventories() {
            let descends = inventory.extends.as_deref() == Some(parent)
                || inventory.parents.iter().any(|p| p.inventory_class == parent);
            if descends && !family.iter().any(|(known, _)| *known == child) {
                family.push((child, inventory));
            }
        }
        next += 1;
    }
    family
}

/// The structure that nested name `name` of structure `inventory` leads to.
fn step(inventory: &str, name: &str) -> Option<String> {
    family(inventory).into_iter().find_map(|(_, data)| {
        let expanded = data.expanded.iter().find(|e| e.field == name).map(|e| e.inventory.clone());
        let joined = || data.queryable.get(name).filter(|j| j.value_column.is_none()).map(|j| j.inventory.clone());
        let listed = || match Shape::parse(data.fields.get(name)?) {
            Shape::List(inner) => match *inner {
                Shape::Structure(of) => Some(of),
                _ => None,
            },
            _ => None,
        };
        expanded.or_else(joined).or_else(listed)
    })
}

fn alias(inventory: &str, name: &str) -> Option<&'static str> {
    family(inventory).into_iter().find_map(|(_, data)| data.aliases.get(name).map(String::as_str))
}

/// What the dotted `name` means in queries of `inventory`; the error says which part is unknown and what is near it.
pub fn resolve(inventory: &str, name: &str) -> Result<Meaning, String> {
    if TAG_NAMES.contains(&name) || contract().inventory(inventory).is_none_or(|data| data.fields.is_empty()) {
        return Ok(Meaning::Open);
    }
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    if let Some(rest) = rest {
        if let Some(path) = alias(inventory, first) {
            return resolve(inventory, &format!("{path}.{rest}"));
        }
        let Some(next) = step(inventory, first) else {
            return Err(unknown(inventory, first, nested(inventory)));
        };
        return resolve(&next, rest);
    }
    for (owner, data) in family(inventory) {
        if let Some(ty) = data.fields.get(first) {
            return Ok(Meaning::Field { inventory: owner.to_owned(), field: first.to_owned(), ty: ty.clone() });
        }
        if data.queryable.contains_key(first) {
            return Ok(Meaning::Open);
        }
    }
    Err(unknown(inventory, first, names(inventory)))
}

fn unknown(inventory: &str, name: &str, known: BTreeSet<&'static str>) -> String {
    let near = crate::command::nearest(name, known.into_iter());
    let what = format!("{inventory} has no field {name}");
    if near.is_empty() { what } else { format!("{what}; near it are {}", near.join(", ")) }
}

/// Fields of a structure, its specialisations included.
pub fn names(inventory: &str) -> BTreeSet<&'static str> {
    family(inventory)
        .into_iter()
        .flat_map(|(_, data)| data.fields.keys().chain(data.queryable.keys()))
        .map(String::as_str)
        .collect()
}

/// Nested names of a structure: what may be followed by a dot.
pub fn nested(inventory: &str) -> BTreeSet<&'static str> {
    family(inventory)
        .into_iter()
        .flat_map(|(_, data)| data.expanded.iter().map(|e| &e.field).chain(data.aliases.keys()))
        .map(String::as_str)
        .collect()
}

/// The structure reached by a dotted prefix such as `vmNics.l3Network`.
pub fn reached(inventory: &str, path: &str) -> Option<String> {
    let mut at = inventory.to_owned();
    for part in path.split('.') {
        let full = alias(&at, part).map_or_else(|| part.to_owned(), str::to_owned);
        for name in full.split('.') {
            at = step(&at, name)?;
        }
    }
    Some(at)
}

/// The structure whose uuid a field holds: `zoneUuid` of a VM holds that of a zone, `uuid` its own.
pub fn refers_to(inventory: &str, field: &str) -> Option<String> {
    if field == "uuid" {
        return Some(inventory.to_owned());
    }
    let data = contract().inventory(inventory)?;
    data.expanded.iter().find(|e| e.foreign_key == field && e.key == "uuid").map(|e| e.inventory.clone())
}

/// Words that a field can hold: those of its enum, by declared type or by the contract's habit of naming
/// (`state` of `VmInstanceVO` holds a `VmInstanceState`).
pub fn words(inventory: &str, field: &str, ty: &str) -> Vec<&'static str> {
    if Shape::parse(ty) == Shape::Boolean {
        return vec!["false", "true"];
    }
    let declared = contract().enum_values(ty);
    let by_name = || {
        let vo = contract().inventory(inventory)?.vo.as_deref()?;
        let (first, rest) = field.split_at_checked(1)?;
        let name = format!("{}{}{rest}", vo.strip_suffix("VO")?, first.to_ascii_uppercase());
        Some(contract().enum_values(&name))
    };
    let found = if declared.is_empty() { by_name().unwrap_or_default() } else { declared };
    found.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_names_resolve_over_expansions_and_aliases() {
        let field = |meaning| match meaning {
            Ok(Meaning::Field { inventory, field, .. }) => format!("{inventory}.{field}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(field(resolve("VmInstanceInventory", "vmNics.l3Network.name")), "L3NetworkInventory.name");
        assert_eq!(field(resolve("VmInstanceInventory", "zone.name")), "ZoneInventory.name");
        assert!(field(resolve("ZoneInventory", "backupStorage.name")).ends_with(".name"));
        assert_eq!(resolve("VmInstanceInventory", "__systemTag__"), Ok(Meaning::Open));
    }

    #[test]
    fn fields_of_specialisations_are_usable() {
        assert!(matches!(resolve("HostInventory", "sshPort"), Ok(Meaning::Field { ty, .. }) if ty == "Integer"));
    }

    #[test]
    fn an_unknown_field_is_answered_with_near_ones() {
        let error = resolve("ZoneInventory", "stat").unwrap_err();
        assert!(error.contains("ZoneInventory has no field stat") && error.contains("state"), "{error}");
        assert!(resolve("VmInstanceInventory", "vmnic.ip").unwrap_err().contains("vmNics"));
    }

    #[test]
    fn words_come_from_the_enum_that_the_name_points_to() {
        assert!(words("VmInstanceInventory", "state", "String").contains(&"Running"));
        assert_eq!(words("ZoneInventory", "isDefault", "boolean"), ["false", "true"]);
        assert!(words("ZoneInventory", "name", "String").is_empty());
    }

    #[test]
    fn uuid_fields_know_what_they_point_to() {
        assert_eq!(refers_to("VmInstanceInventory", "zoneUuid").as_deref(), Some("ZoneInventory"));
        assert_eq!(refers_to("VmInstanceInventory", "uuid").as_deref(), Some("VmInstanceInventory"));
        assert_eq!(refers_to("VmInstanceInventory", "name"), None);
    }
}
