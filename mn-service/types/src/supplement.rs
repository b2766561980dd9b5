//! Facts that we add to the contract (`contract/supplement.json`), each with its reason.
//!
//! Most of the 1,901 APIs are known from the SDK alone: their paths, parameters and fields are certain, and what the
//! server knew beside (tables, nested names, what a uuid refers to, who may call) is missing. It is filled in here, so
//! that everything driven by the contract serves these APIs too. A supplement fills gaps: what the contract states
//! cannot be said again or otherwise, and what it does not know cannot be named.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::contract::{Api, EnumData, Expanded, GlobalConfig, Inventory, Joined, Rbac, SystemTagPattern};

/// `supplement.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Supplement {
    inventories: BTreeMap<String, InventoryFacts>,
    apis: BTreeMap<String, ApiFacts>,
    enums: BTreeMap<String, EnumFacts>,
    system_tags: Vec<TagFacts>,
    global_configs: Vec<ConfigFacts>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InventoryFacts {
    reason: String,
    vo: Option<String>,
    type_field: Option<String>,
    #[serde(default)]
    expanded: Vec<Expanded>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    queryable: BTreeMap<String, Joined>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApiFacts {
    reason: String,
    rbac: Option<Rbac>,
    inventory: Option<String>,
    tag_resource_type: Option<String>,
    #[serde(default)]
    params: BTreeMap<String, ParamFacts>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ParamFacts {
    resource_type: String,
    #[serde(default)]
    check_account: bool,
    #[serde(default)]
    success_if_not_existing: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnumFacts {
    reason: String,
    values: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TagFacts {
    reason: String,
    pattern: String,
    resource_type: String,
    kind: String,
}

#[derive(Debug, Deserialize)]
struct ConfigFacts {
    reason: String,
    #[serde(flatten)]
    config: GlobalConfig,
}

/// The parts of the contract that a supplement reaches.
pub(crate) struct Given<'c> {
    pub(crate) apis: &'c mut [Api],
    pub(crate) inventories: &'c mut BTreeMap<String, Inventory>,
    pub(crate) enums: &'c mut HashMap<String, EnumData>,
    pub(crate) system_tags: &'c mut Vec<SystemTagPattern>,
    pub(crate) global_configs: &'c mut Vec<GlobalConfig>,
}

impl Supplement {
    /// Adds the facts to what is given. `Err` names the first one that does not fit.
    pub(crate) fn merge(self, mut given: Given<'_>) -> Result<(), String> {
        let structures: Vec<String> = self.inventories.keys().cloned().collect();
        for (name, facts) in self.inventories {
            reasoned(&name, &facts.reason)?;
            add_inventory(given.inventories, &name, facts)?;
        }
        for (name, facts) in self.apis {
            reasoned(&name, &facts.reason)?;
            add_api(&mut given, &name, facts)?;
        }
        for (name, facts) in self.enums {
            reasoned(&name, &facts.reason)?;
            if given.enums.contains_key(&name) {
                return Err(stated(&name, "its values"));
            }
            given.enums.insert(name, EnumData { values: facts.values, ..EnumData::default() });
        }
        for facts in self.system_tags {
            reasoned(&facts.pattern, &facts.reason)?;
            known_type(given.inventories, &facts.pattern, &facts.resource_type)?;
            let TagFacts { pattern, resource_type, kind, .. } = facts;
            let same =
                |tag: &SystemTagPattern| tag.pattern == pattern && tag.resource_type.as_ref() == Some(&resource_type);
            if given.system_tags.iter().any(same) {
                return Err(stated(&pattern, "its kind"));
            }
            given.system_tags.push(SystemTagPattern { pattern, resource_type: Some(resource_type), kind });
        }
        for ConfigFacts { reason, config } in self.global_configs {
            let name = format!("{}/{}", config.category, config.name);
            reasoned(&name, &reason)?;
            if given.global_configs.iter().any(|known| known.category == config.category && known.name == config.name) {
                return Err(stated(&name, "this setting"));
            }
            given.global_configs.push(config);
        }
        check_ways(given.inventories, &structures)
    }
}

fn reasoned(name: &str, reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() { Err(format!("{name}: give the reason")) } else { Ok(()) }
}

fn stated(name: &str, what: &str) -> String {
    format!("{name}: the contract states {what} already; a supplement fills gaps")
}

/// Puts a fact where nothing is given.
fn fill<T>(place: &mut Option<T>, fact: Option<T>, name: &str, what: &str) -> Result<(), String> {
    match (&place, fact) {
        (_, None) => Ok(()),
        (None, fact) => {
            *place = fact;
            Ok(())
        }
        (Some(_), Some(_)) => Err(stated(name, what)),
    }
}

fn add_inventory(
    inventories: &mut BTreeMap<String, Inventory>,
    name: &str,
    facts: InventoryFacts,
) -> Result<(), String> {
    let given = inventories.get_mut(name).ok_or_else(|| format!("{name}: the contract has no such structure"))?;
    fill(&mut given.vo, facts.vo, name, "vo")?;
    if let Some(field) = facts.type_field.as_ref().filter(|field| !given.fields.contains_key(*field)) {
        return Err(format!("{name}.typeField: there is no field {field}"));
    }
    fill(&mut given.type_field, facts.type_field, name, "typeField")?;
    for nested in facts.expanded {
        if given.expanded.iter().any(|known| known.field == nested.field) {
            return Err(stated(name, &format!("the nested name {}", nested.field)));
        }
        given.expanded.push(nested);
    }
    for (alias, target) in facts.aliases {
        if given.aliases.contains_key(&alias) {
            return Err(stated(name, &format!("the alias {alias}")));
        }
        let begin = target.split('.').next().unwrap_or_default();
        if !given.expanded.iter().any(|nested| nested.field == begin) {
            return Err(format!("{name}: the alias {alias} begins with {begin}, which is no nested name"));
        }
        given.aliases.insert(alias, target);
    }
    for (field, joined) in facts.queryable {
        if !given.fields.contains_key(&field) {
            return Err(format!("{name}.queryable: there is no field {field}"));
        }
        if given.queryable.contains_key(&field) {
            return Err(stated(name, &format!("where {field} is kept")));
        }
        given.queryable.insert(field, joined);
    }
    Ok(())
}

fn add_api(given: &mut Given<'_>, name: &str, facts: ApiFacts) -> Result<(), String> {
    for vo in facts.tag_resource_type.iter().chain(facts.params.values().map(|param| &param.resource_type)) {
        known_type(given.inventories, name, vo)?;
    }
    let api = given.apis.iter_mut().find(|api| api.name == name);
    let api = api.ok_or_else(|| format!("{name}: the contract has no such API"))?;
    if let Some(inventory) = facts.inventory.as_ref().filter(|inventory| !given.inventories.contains_key(*inventory)) {
        return Err(format!("{name}: there is no structure {inventory}"));
    }
    fill(&mut api.inventory, facts.inventory, name, "inventory")?;
    fill(&mut api.rbac, facts.rbac, name, "rbac")?;
    fill(&mut api.tag_resource_type, facts.tag_resource_type, name, "tagResourceType")?;
    for (param, facts) in facts.params {
        let place = api.params.iter_mut().find(|known| known.name == param);
        let place = place.ok_or_else(|| format!("{name}: there is no parameter {param}"))?;
        fill(&mut place.resource_type, Some(facts.resource_type), &format!("{name}.{param}"), "resourceType")?;
        place.check_account |= facts.check_account;
        place.success_if_not_existing |= facts.success_if_not_existing;
    }
    Ok(())
}

fn known_type(inventories: &BTreeMap<String, Inventory>, name: &str, vo: &str) -> Result<(), String> {
    let known = inventories.values().any(|inventory| inventory.vo.as_deref() == Some(vo));
    if known { Ok(()) } else { Err(format!("{name}: no structure has the resource type {vo}")) }
}

/// Every way from one structure to another begins and ends at a field.
fn check_ways(inventories: &BTreeMap<String, Inventory>, structures: &[String]) -> Result<(), String> {
    let has = |inventory: &str, field: &str| {
        let target = inventories.get(inventory);
        target.is_some_and(|target| target.fields.contains_key(field))
    };
    for (name, inventory) in structures.iter().filter_map(|name| inventories.get_key_value(name)) {
        for nested in &inventory.expanded {
            if !has(name, &nested.foreign_key) || !has(&nested.inventory, &nested.key) {
                return Err(format!("{name}.{}: leads from or to a field that does not exist", nested.field));
            }
        }
        for (field, joined) in &inventory.queryable {
            if !has(&joined.inventory, &joined.join_column) {
                return Err(format!("{name}.{field}: {} has no field {}", joined.inventory, joined.join_column));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::contract;

    /// Merges `supplement` into a small contract.
    fn merged(supplement: Value) -> Result<(BTreeMap<String, Inventory>, Vec<Api>), String> {
        let mut inventories: BTreeMap<String, Inventory> = serde_json::from_value(json!({
            "ZoneInventory": { "class": "z", "vo": "ZoneVO", "fields": { "uuid": "String", "name": "String" } },
            "GroupInventory": { "class": "g", "fields": { "uuid": "String", "zoneUuid": "String", "usages": "List" } },
        }))
        .unwrap();
        let mut apis: Vec<Api> = ["CreateZone", "CreateAffinityGroup"]
            .map(|name| contract().apis().iter().find(|api| api.name == name).unwrap().clone())
            .to_vec();
        apis[1].params.iter_mut().for_each(|param| param.resource_type = None);
        apis[1].rbac = None;
        let mut enums = HashMap::from([("ZoneState".to_owned(), EnumData::default())]);
        let mut system_tags = Vec::new();
        let mut global_configs: Vec<GlobalConfig> =
            serde_json::from_value(json!([{ "category": "vm", "name": "numa", "type": "Boolean" }])).unwrap();
        let supplement: Supplement = serde_json::from_value(supplement).map_err(|error| error.to_string())?;
        supplement.merge(Given {
            apis: &mut apis,
            inventories: &mut inventories,
            enums: &mut enums,
            system_tags: &mut system_tags,
            global_configs: &mut global_configs,
        })?;
        Ok((inventories, apis))
    }

    #[test]
    fn gaps_are_filled() {
        let zone = json!({ "field": "zone", "inventory": "ZoneInventory", "foreignKey": "zoneUuid", "key": "uuid" });
        let (inventories, apis) = merged(json!({
            "inventories": { "GroupInventory": { "reason": "r", "vo": "GroupVO", "expanded": [zone] } },
            "apis": { "CreateAffinityGroup": {
                "reason": "r", "rbac": "normal", "tagResourceType": "GroupVO",
                "params": { "zoneUuid": { "resourceType": "ZoneVO" } },
            } },
        }))
        .unwrap();
        assert_eq!(inventories["GroupInventory"].vo.as_deref(), Some("GroupVO"));
        assert_eq!(inventories["GroupInventory"].expanded[0].field, "zone");
        assert_eq!(apis[1].param("zoneUuid").unwrap().resource_type.as_deref(), Some("ZoneVO"));
        assert!(!apis[1].admin_only());
    }

    #[test]
    fn what_is_unknown_stated_or_without_reason_is_refused_by_name() {
        let nested = |field: &str, inventory: &str, key: &str| json!({ "field": field, "inventory": inventory, "foreignKey": "zoneUuid", "key": key });
        for (wrong, complaint) in [
            (
                json!({ "inventories": { "NoInventory": { "reason": "r" } } }),
                "NoInventory: the contract has no such structure",
            ),
            (json!({ "inventories": { "GroupInventory": { "reason": " " } } }), "GroupInventory: give the reason"),
            (json!({ "inventories": { "GroupInventory": {} } }), "missing field `reason`"),
            (json!({ "inventories": { "GroupInventory": { "reason": "r", "fields": {} } } }), "unknown field `fields`"),
            (
                json!({ "inventories": { "ZoneInventory": { "reason": "r", "vo": "OtherVO" } } }),
                "ZoneInventory: the contract states vo",
            ),
            (
                json!({ "inventories": { "GroupInventory": { "reason": "r", "typeField": "kind" } } }),
                "there is no field kind",
            ),
            (
                json!({ "inventories": { "GroupInventory": { "reason": "r", "expanded": [nested("zone", "ZonInventory", "uuid")] } } }),
                "GroupInventory.zone: leads",
            ),
            (
                json!({ "inventories": { "GroupInventory": { "reason": "r", "expanded": [nested("zone", "ZoneInventory", "id")] } } }),
                "GroupInventory.zone: leads",
            ),
            (
                json!({ "inventories": { "GroupInventory": { "reason": "r", "aliases": { "vm": "usage.vm" } } } }),
                "begins with usage",
            ),
            (
                json!({ "inventories": { "GroupInventory": { "reason": "r", "queryable": { "usages": { "inventory": "ZoneInventory", "joinColumn": "group" } } } } }),
                "has no field group",
            ),
            (json!({ "apis": { "CreateNothing": { "reason": "r" } } }), "CreateNothing: the contract has no such API"),
            (
                json!({ "apis": { "CreateZone": { "reason": "r", "rbac": "normal" } } }),
                "CreateZone: the contract states rbac",
            ),
            (
                json!({ "apis": { "CreateAffinityGroup": { "reason": "r", "params": { "zone": { "resourceType": "ZoneVO" } } } } }),
                "there is no parameter zone",
            ),
            (
                json!({ "apis": { "CreateAffinityGroup": { "reason": "r", "params": { "zoneUuid": { "resourceType": "ZonVO" } } } } }),
                "resource type ZonVO",
            ),
            (
                json!({ "apis": { "CreateAffinityGroup": { "reason": "r", "inventory": "NoInventory" } } }),
                "there is no structure NoInventory",
            ),
            (
                json!({ "enums": { "ZoneState": { "reason": "r", "values": ["On"] } } }),
                "ZoneState: the contract states",
            ),
            (
                json!({ "systemTags": [{ "reason": "r", "pattern": "a::{b}", "resourceType": "NoVO", "kind": "PatternedSystemTag" }] }),
                "resource type NoVO",
            ),
            (
                json!({ "globalConfigs": [{ "reason": "r", "category": "vm", "name": "numa" }] }),
                "vm/numa: the contract states",
            ),
            (json!({ "globalConfigs": [{ "reason": "", "category": "a", "name": "b" }] }), "a/b: give the reason"),
        ] {
            let found = merged(wrong.clone()).expect_err(&wrong.to_string());
            assert!(found.contains(complaint), "{found} instead of {complaint}");
        }
    }
}
