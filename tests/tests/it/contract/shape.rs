//! Answers held against what the contract declares of them (PROTOCOL.md section 6).

use mn_service_types::{Api, ApiKind, Inventory, contract, date, is_uuid};
use serde_json::Value;

/// Everything in a success body that the contract does not allow, and everything that it promises and is not there.
pub(super) fn problems(api: &Api, body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let Some(fields) = body.as_object() else { return vec![format!("the body is {body} and no object")] };
    let query = api.kind == ApiKind::Query;
    for (key, value) in fields {
        match api.response_fields.get(key) {
            _ if key == "error" => found.push("error: is part of a success".to_owned()),
            // A list without element type is one of the query's structure.
            Some(ty) if query && key == "inventories" && ty == "List" => {
                let element = api.inventory.as_deref().unwrap_or("Object");
                fits(&format!("List<{element}>"), value, key, query, &mut found);
            }
            Some(ty) => fits(ty, value, key, query, &mut found),
            None if key == "schema" && query => fits("Map<String, String>", value, key, query, &mut found),
            None => found.push(format!("{key}: the contract knows no such field")),
        }
    }
    for key in always(api) {
        if !fields.contains_key(&key) {
            found.push(format!("{key}: is missing"));
        }
    }
    found
}

/// Top-level keys of every success body.
fn always(api: &Api) -> Vec<String> {
    let declared = |key: &str| api.response_fields.contains_key(key);
    match api.response_mode.as_str() {
        "empty" => Vec::new(),
        "fieldsTo=all" => {
            let mut keys: Vec<String> =
                api.response_fields.iter().filter(|(_, ty)| primitive(ty)).map(|(key, _)| key.clone()).collect();
            keys.extend(["inventory", "inventories"].into_iter().filter(|k| declared(k)).map(str::to_owned).take(1));
            keys
        }
        "sdk" => ["inventory", "inventories"].into_iter().filter(|k| declared(k)).map(str::to_owned).collect(),
        mode => {
            let names = mode.split_once('=').map_or("", |(_, names)| names);
            // `fieldsTo=valid=validSession`: wire name first.
            names.split(',').map(|name| name.split('=').next().unwrap_or(name).to_owned()).collect()
        }
    }
}

fn primitive(ty: &str) -> bool {
    matches!(ty, "int" | "long" | "boolean" | "double" | "float" | "short")
}

fn fits(ty: &str, value: &Value, at: &str, query: bool, found: &mut Vec<String>) {
    let inner = |prefix: &str| ty.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>')).map(str::trim);
    let mut expect = |good: bool, what: &str| {
        if !good {
            found.push(format!("{at}: {value} is no {what}"));
        }
    };
    if value.is_null() {
        return expect(false, "value; nulls are left out");
    }
    match ty {
        "String" => expect(value.is_string(), "text"),
        "int" | "Integer" | "short" | "Short" => {
            expect(value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()), "32-bit number");
        }
        "long" | "Long" => expect(value.is_i64(), "64-bit number"),
        "double" | "Double" | "float" | "Float" => expect(value.is_number(), "number"),
        "boolean" | "Boolean" => expect(value.is_boolean(), "boolean"),
        "Timestamp" | "Date" => {
            // Reading and writing again shows padding, another month name, a missing comma.
            let same = value.as_str().is_some_and(|t| date::from_text(t).is_some_and(|m| date::to_wire(m) == t));
            expect(same, "date such as `Apr 30, 2014 6:11:47 PM`");
        }
        "Object" => {}
        "List" | "Set" => expect(value.is_array(), "list"),
        "Map" | "LinkedHashMap" => expect(value.is_object(), "map"),
        _ => {
            if let Some(element) = inner("List<").or_else(|| inner("Set<")) {
                let Some(items) = value.as_array() else { return expect(false, "list") };
                for (index, item) in items.iter().enumerate() {
                    fits(element, item, &format!("{at}[{index}]"), query, found);
                }
            } else if let Some(element) = inner("Map<").and_then(|both| both.split_once(',')) {
                let Some(entries) = value.as_object() else { return expect(false, "map") };
                for (key, item) in entries {
                    fits(element.1.trim(), item, &format!("{at}.{key}"), query, found);
                }
            } else if contract().inventory(ty).is_some() {
                structure(ty, value, at, query, found);
            } else if contract().enum_values(ty).is_empty() {
                found.push(format!("{at}: the contract does not describe its type {ty}"));
            } else {
                expect(word(ty, value), &format!("{ty} ({})", contract().enum_values(ty).join(", ")));
            }
        }
    }
}

fn word(name: &str, value: &Value) -> bool {
    value.as_str().is_some_and(|word| contract().enum_values(name).iter().any(|known| known == word))
}

/// The most special structure that `value` says it is: a KVM host where a host is declared.
fn special<'n>(name: &'n str, value: &Value) -> &'n str
where
    'static: 'n,
{
    let field = contract().inventory(name).and_then(|i| i.type_field.as_deref()).unwrap_or("type");
    let by_type = contract().inventories().find(|(child, inventory)| {
        let said = inventory.parents.iter().any(|p| p.inventory_class == name && value[field] == p.type_value.as_str());
        // Structures known from the SDK alone carry no types; their names do.
        let named = inventory.parents.is_empty()
            && inventory.extends.as_deref() == Some(name)
            && child.strip_suffix("Inventory") == value[field].as_str();
        *child != name && (said || named)
    });
    by_type.map_or(name, |(child, _)| child)
}

fn structure(declared: &str, value: &Value, at: &str, query: bool, found: &mut Vec<String>) {
    let Some(fields) = value.as_object() else { return found.push(format!("{at}: {value} is no {declared}")) };
    let name = special(declared, value);
    let Some(inventory) = contract().inventory(name) else { return };
    for (key, item) in fields {
        let path = format!("{at}.{key}");
        let Some(ty) = inventory.fields.get(key) else {
            found.push(format!("{path}: {name} has no such field"));
            continue;
        };
        if query && inventory.hidden_from_sdk.contains(key) {
            found.push(format!("{path}: is hidden in queries"));
        }
        fits(ty, item, &path, query, found);
        let names_a_resource = ty == "String" && (key == "uuid" || key.ends_with("Uuid"));
        if names_a_resource && !item.as_str().is_some_and(is_uuid) {
            found.push(format!("{path}: {item} is no uuid"));
        }
        if let Some(name) = state_enum(inventory, key)
            && !word(&name, item)
        {
            found.push(format!("{path}: {item} is none of {}", contract().enum_values(&name).join(", ")));
        }
    }
    for (key, ty) in &inventory.fields {
        let hidden = inventory.hidden_from_sdk.contains(key);
        let column = inventory.vo.as_deref().and_then(mn_service_db::table_of).and_then(|table| table.column(key));
        let promised = primitive(ty) || column.is_some_and(|column| !column.nullable);
        if promised && !hidden && !fields.contains_key(key) {
            found.push(format!("{at}.{key}: {name} always has it and it is missing"));
        }
    }
}

/// States and statuses are texts on the wire; their words are those of an enum named after the resource.
fn state_enum(inventory: &Inventory, key: &str) -> Option<String> {
    let suffix = match key {
        "state" => "State",
        "status" => "Status",
        _ => return None,
    };
    let parent = inventory.extends.as_deref().and_then(|parent| contract().inventory(parent));
    let types = [Some(inventory), parent].into_iter().flatten().filter_map(|i| i.vo.as_deref()?.strip_suffix("VO"));
    types.map(|ty| format!("{ty}{suffix}")).find(|name| !contract().enum_values(name).is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(name: &str, body: &Value) -> Vec<String> {
        problems(contract().api(name).unwrap(), body)
    }

    #[test]
    fn a_wrong_answer_is_seen() {
        let zone = json!({
            "uuid": "36c27e8ff05c4780bf6d2fa65700f22e", "name": "z", "state": "Enabled", "type": "zstack", "isDefault": false,
            "createDate": "Nov 20, 2025 9:12:01 AM", "lastOpDate": "Nov 20, 2025 9:12:01 AM",
        });
        assert_eq!(of("CreateZone", &json!({ "inventory": zone })), [""; 0]);
        let spoilt = [
            ("uuid", json!("x")),
            ("name", json!(1)),
            ("state", json!("enabled")),
            ("isDefault", json!("false")),
            ("createDate", json!("2025-11-20 09:12:01")),
            ("createDate", json!("Nov 20, 2025 09:12:01 AM")),
            ("description", json!(null)),
            ("colour", json!("red")),
        ];
        for (key, value) in spoilt {
            let mut zone = zone.clone();
            zone[key] = value;
            let found = of("CreateZone", &json!({ "inventory": zone }));
            assert!(found.len() == 1 && found[0].contains(&format!("inventory.{key}:")), "{key}: {found:?}");
        }
        assert_eq!(of("CreateZone", &json!({})), ["inventory: is missing"]);
        assert_eq!(of("DeleteZone", &json!({ "x": 1 })).len(), 1);
        let mut short = zone.clone();
        short.as_object_mut().unwrap().remove("type");
        assert_eq!(of("QueryZone", &json!({ "inventories": [short] })).len(), 1);
    }
}
