//! The `schema` of an answer (PROTOCOL.md section 6.3): where in it which class is. Query replies carry it always and
//! write it with their rows; here it is made for all others, on request.

use std::{
    collections::{HashMap, VecDeque},
    sync::OnceLock,
};

use mn_service_types::{Api, Inventory, contract};
use serde_json::{Map, Value};

/// The classes in a success body of `api`, outer paths first.
pub(super) fn of(api: &Api, body: &Map<String, Value>) -> Map<String, Value> {
    let mut schema = Map::new();
    let mut open: VecDeque<(String, &str, &Value)> = api
        .response_fields
        .iter()
        .filter_map(|(name, ty)| Some((name.clone(), ty.as_str(), body.get(name)?)))
        .collect();
    while let Some((path, ty, value)) = open.pop_front() {
        let within = |kind: &str| ty.strip_prefix(kind)?.strip_suffix('>').map(str::trim);
        if let (Some(element), Value::Array(items)) = (within("List<").or_else(|| within("Set<")), value) {
            open.extend(items.iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), element, item)));
        } else if let Value::Object(fields) = value
            && let Some(inventory) = structure(ty, value)
        {
            schema.insert(path.clone(), Value::String(inventory.class.clone()));
            open.extend(
                inventory
                    .fields
                    .iter()
                    .filter_map(|(name, ty)| Some((format!("{path}.{name}"), ty.as_str(), fields.get(name)?))),
            );
        }
    }
    schema
}

/// The structure that a value of declared type `name` has: the type, or what its type field says of it.
fn structure(name: &str, value: &Value) -> Option<&'static Inventory> {
    let declared = contract().inventory(name)?;
    let marked = declared.type_field.as_deref().and_then(|field| value.get(field)?.as_str());
    Some(marked.and_then(|mark| special(name, mark)).unwrap_or(declared))
}

/// The subclass of a structure that a value of its type field stands for.
fn special(name: &str, mark: &str) -> Option<&'static Inventory> {
    type Special = HashMap<(&'static str, &'static str), &'static Inventory>;
    static SPECIAL: OnceLock<Special> = OnceLock::new();
    let all = SPECIAL.get_or_init(|| {
        let all = contract().inventories();
        all.flat_map(|(_, inventory)| {
            inventory
                .parents
                .iter()
                .map(move |parent| ((parent.inventory_class.as_str(), parent.type_value.as_str()), inventory))
        })
        .collect()
    });
    all.get(&(name, mark)).copied()
}
