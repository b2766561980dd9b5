//! How each structure of the contract is read from the tables; worked out once per program.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use mn_service_types::{
    Inventory,
    contract::{Joined, contract},
    shape::{Shape, is_primitive},
};

use crate::tables::{ALIASES, Column, ColumnKind, Table, table_of};

/// Structures that have a table, by name.
pub(super) fn plan(inventory: &str) -> Option<&'static Plan> {
    PLANS.get(inventory)
}

static PLANS: LazyLock<HashMap<&'static str, Plan>> = LazyLock::new(|| {
    let mut plans: HashMap<_, _> =
        contract().inventories().filter_map(|(name, inventory)| Some((name, Plan::of(name, inventory)?))).collect();
    // Rows of a superclass come back as what they are.
    for alias in ALIASES.iter().filter(|alias| alias.specific) {
        let base = plans.values().find(|plan| plan.marker.is_none() && plan.table.name == alias.table);
        if let Some(base) = base.map(|plan| plan.name)
            && let Some(base) = plans.get_mut(base)
        {
            base.children.push((alias.marker.1, alias.inventory));
        }
    }
    plans
});

/// A structure and its table.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) table: &'static Table,
    /// Rows of this structure have this value in this column; others belong to a sibling.
    pub(super) marker: Option<(&'static str, &'static str)>,
    /// Column that tells subclasses apart.
    pub(super) type_column: Option<Column>,
    /// Subclasses: value of the type column, structure.
    pub(super) children: Vec<(&'static str, &'static str)>,
    /// In the order of the contract.
    pub(super) fields: Vec<Field>,
    by_name: HashMap<&'static str, usize>,
    links: HashMap<&'static str, Link>,
    pub(super) aliases: &'static BTreeMap<String, String>,
}

/// A field of a structure.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Present even without value.
    pub(super) primitive: bool,
    /// Left out of replies.
    pub(super) hidden: bool,
    pub(super) source: Source,
}

/// Where a field comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// Column of the own table.
    Own(Column),
    /// Column of the row in another table that has the same key.
    Beside { own: &'static str, table: &'static Table, key: &'static str, column: Column },
    /// Column of any number of rows in another table: a list of values.
    Values { own: &'static str, table: &'static Table, key: &'static str, column: Column },
    /// Rows of another structure: a list.
    Many(Link),
    /// A row of another structure.
    One(Link),
    /// The table that would hold it does not exist: no value.
    Nowhere,
}

/// Way to rows of another structure: own column `own` equals column `key` over there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) own: &'static str,
    /// Structure reached; its plan is looked up when needed because links go in circles.
    pub(super) target: &'static str,
    pub(super) key: &'static str,
}

impl Plan {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.by_name.get(name).map(|index| &self.fields[*index])
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.get(name)
    }

    /// Every name that a condition may begin with.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        (self.fields.iter().map(|field| field.name))
            .chain(self.links.keys().copied())
            .chain(self.aliases.keys().map(String::as_str))
    }

    /// The subclass whose type column has `value`.
    pub(super) fn child(&self, value: &str) -> Option<&'static Plan> {
        self.children.iter().find(|(marker, _)| *marker == value).and_then(|(_, inventory)| plan(inventory))
    }

    fn of(name: &'static str, inventory: &'static Inventory) -> Option<Self> {
        let alias = ALIASES.iter().find(|alias| alias.inventory == name);
        let table = table_of(inventory.vo.as_deref()?)?;
        let mut links: HashMap<&'static str, Link> = HashMap::new();
        for nested in &inventory.expanded {
            links.insert(&nested.field, Link { own: &nested.foreign_key, target: &nested.inventory, key: &nested.key });
        }
        let fields: Vec<Field> = inventory
            .fields
            .iter()
            .map(|(field, ty)| {
                let shape = Shape::parse(ty);
                let source = source(table, inventory, field, &shape, &links);
                if let Source::Many(link) | Source::One(link) = source {
                    links.entry(field).or_insert(link);
                }
                let hidden = inventory.hidden_from_sdk.iter().any(|hidden| hidden == field);
                Field { name: field, shape, primitive: is_primitive(ty), hidden, source }
            })
            .collect();
        // A way that begins at a column that does not exist leads nowhere.
        links.retain(|_, link| table.column(link.own).is_some());
        Some(Self {
            name,
            class: &inventory.class,
            table,
            marker: alias.map(|alias| alias.marker),
            type_column: inventory.type_field.as_deref().and_then(|field| table.column(field)),
            children: Vec::new(),
            by_name: fields.iter().enumerate().map(|(index, field)| (field.name, index)).collect(),
            fields,
            links,
            aliases: &inventory.aliases,
        })
    }
}

fn source(
    table: &'static Table,
    inventory: &'static Inventory,
    name: &'static str,
    shape: &Shape,
    links: &HashMap<&'static str, Link>,
) -> Source {
    if let Some(joined) = inventory.queryable.get(name) {
        return elsewhere(joined, shape).unwrap_or(Source::Nowhere);
    }
    if let Some(column) = table.column(name) {
        return Source::Own(column);
    }
    let (inner, many) = match shape {
        Shape::List(inner) => (inner.as_ref(), true),
        other => (other, false),
    };
    let Shape::Structure(target) = inner else { return Source::Nowhere };
    // `usedIps` of a card is reached by the nested name `usedIp`.
    let singular = name.strip_suffix('s').unwrap_or(name);
    let link = links.get(name).or_else(|| links.get(singular)).filter(|link| link.target == target);
    let link = match link {
        Some(link) => *link,
        // Any structure may list its system tags.
        None if target == "SystemTagInventory" => {
            Link { own: "uuid", target: "SystemTagInventory", key: "resourceUuid" }
        }
        None => return Source::Nowhere,
    };
    if plan_exists(link.target) && table.column(link.own).is_some() {
        if many { Source::Many(link) } else { Source::One(link) }
    } else {
        Source::Nowhere
    }
}

fn elsewhere(joined: &'static Joined, shape: &Shape) -> Option<Source> {
    let target = contract().inventory(&joined.inventory)?;
    let table = table_of(target.vo.as_deref()?)?;
    let key = table.column(&joined.join_column)?;
    Some(match (&joined.value_column, shape) {
        (None, _) => Source::Many(Link { own: "uuid", target: &joined.inventory, key: key.name }),
        (Some(value), Shape::List(_)) => {
            Source::Values { own: "uuid", table, key: key.name, column: table.column(value)? }
        }
        // A join must not multiply rows: only a row that shares our key is beside us.
        (Some(value), _) if table.key() == [key] => {
            Source::Beside { own: "uuid", table, key: key.name, column: table.column(value)? }
        }
        _ => return None,
    })
}

/// True when `inventory` has a table. (Its plan may be under construction.)
fn plan_exists(inventory: &str) -> bool {
    contract().inventory(inventory).and_then(|target| target.vo.as_deref()).and_then(table_of).is_some()
}

impl Field {
    /// Kind of the column behind a scalar field.
    pub(super) fn is_moment(&self) -> bool {
        self.shape == Shape::Timestamp
    }

    /// A list or map kept as JSON text in a column of our own table.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.shape, Shape::List(_) | Shape::Map)
            && matches!(self.source, Source::Own(Column { kind: ColumnKind::Text, .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields of the contract that our tables do not hold, each for a reason. A new table that lacks a column fails
    /// here.
    const NOWHERE: &[(&str, &str)] = &[
        ("UsedIpInventory", "ipInBinary"), // the same as `ip`, as bytes; not on the wire of the SDKs
        ("VolumeSnapshotInventory", "groupUuid"), // snapshot groups have no table
        ("VolumeSnapshotTreeInventory", "tree"), // computed from the snapshots by the caller
    ];

    #[test]
    fn every_field_of_the_contract_has_a_place() {
        let mut missing: Vec<_> = PLANS
            .values()
            .flat_map(|plan| plan.fields.iter().map(move |field| (plan.name, field)))
            .filter(|(_, field)| matches!(field.source, Source::Nowhere))
            .map(|(plan, field)| (plan, field.name))
            .collect();
        missing.sort_unstable();
        assert_eq!(missing, NOWHERE);
    }

    #[test]
    fn every_way_to_an_existing_table_ends_at_a_column() {
        for plan in PLANS.values() {
            for (name, link) in &plan.links {
                let Some(target) = super::plan(link.target) else { continue };
                assert!(
                    target.table.column(link.key).is_some(),
                    "{}.{name} -> {}.{}",
                    plan.name,
                    link.target,
                    link.key
                );
            }
        }
    }

    #[test]
    fn lists_can_be_grouped_and_read_as_text() {
        for plan in PLANS.values() {
            for field in &plan.fields {
                match field.source {
                    Source::Values { column, .. } => assert_ne!(column.kind, ColumnKind::Integer, "{}", field.name),
                    Source::Many(link) | Source::One(link) => {
                        let key = super::plan(link.target).and_then(|target| target.field(link.key));
                        let key = key.unwrap_or_else(|| panic!("{} by {}", link.target, link.key));
                        assert!(!key.hidden && matches!(key.source, Source::Own(_)), "{}.{}", plan.name, field.name);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn hosts_and_networks_know_their_subclasses() {
        let host = plan("HostInventory").unwrap();
        assert_eq!(host.child("KVM").map(|plan| plan.name), Some("KVMHostInventory"));
        assert_eq!(plan("BackupStorageInventory").unwrap().children.len(), 2);
        assert!(plan("IpRangeInventory").unwrap().children.is_empty());
    }
}
