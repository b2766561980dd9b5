//! Names over resources that the contract knows and this server has no table for. There are none of them, so nothing fits
//! a condition over them; but a name that the contract does not know either is a mistake, and is told.

use mn_service_types::{Inventory, contract, shape::Shape};

use super::suggest;

/// Names that every resource has.
const TAGS: &[&str] = &["__systemTag__", "__userTag__", "__tagUuid__"];

/// More names than any way through the contract has.
const DEEPEST: usize = 32;

/// Checks what follows a nested name that leads to `inventory`; the error names the part that does not exist.
pub(super) fn check(inventory: &str, path: &[&str]) -> Result<(), String> {
    walk(inventory, path, 0)
}

fn walk(inventory: &str, path: &[&str], depth: usize) -> Result<(), String> {
    let (Some((&first, rest)), Some(known)) = (path.split_first(), contract().inventory(inventory)) else {
        return Ok(());
    };
    if depth > DEEPEST {
        return Err(format!("more than {DEEPEST} names deep"));
    }
    if let Some(dotted) = known.aliases.get(first).filter(|_| !known.fields.contains_key(first)) {
        let dotted: Vec<&str> = dotted.split('.').chain(rest.iter().copied()).collect();
        return walk(inventory, &dotted, depth + 1);
    }
    match target(known, first) {
        Some(target) => walk(&target, rest, depth + 1),
        None if rest.is_empty() && (known.fields.contains_key(first) || TAGS.contains(&first)) => Ok(()),
        None => {
            let names = known.fields.keys().chain(known.aliases.keys()).chain(known.expanded.iter().map(|e| &e.field));
            let near = suggest::near(first, names.map(String::as_str));
            let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
            Err(format!("{inventory} has no field or nested name {first:?}{hint}"))
        }
    }
}

/// The structure that a nested name leads to.
fn target(known: &Inventory, name: &str) -> Option<String> {
    let expanded = known.expanded.iter().find(|nested| nested.field == name).map(|nested| nested.inventory.clone());
    let joined = || known.queryable.get(name).filter(|j| j.value_column.is_none()).map(|j| j.inventory.clone());
    let listed = || match Shape::parse(known.fields.get(name)?) {
        Shape::Structure(of) => Some(of),
        Shape::List(inner) => match *inner {
            Shape::Structure(of) => Some(of),
            _ => None,
        },
        _ => None,
    };
    expanded.or_else(joined).or_else(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_tells_right_names_from_wrong_ones() {
        for right in ["name", "guestIp", "vip.name", "vip.l3Network.name", "__userTag__"] {
            let path: Vec<&str> = right.split('.').collect();
            assert_eq!(check("EipInventory", &path), Ok(()), "{right}");
        }
        for (wrong, complaint) in [
            ("nmae", "EipInventory has no field or nested name \"nmae\"; did you mean name"),
            ("name.x", "EipInventory has no field or nested name \"name\""),
            ("vip.colour", "VipInventory has no field or nested name \"colour\""),
        ] {
            let path: Vec<&str> = wrong.split('.').collect();
            let error = check("EipInventory", &path).unwrap_err();
            assert!(error.starts_with(complaint), "{wrong}: {error}");
        }
    }
}
