//! APIs that are ours and not the published contract's (`contract/extension.json`). They are described by the same data and
//! served by the same code, below a path of their own, so that neither a present nor a later API of the contract can
//! mean something else by it.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::contract::{Api, EnumData, Inventory};

/// Path below `/zstack/v1` of everything that is ours.
pub const PREFIX: &str = "/extensions/";

/// Class names of ours begin so.
const CLASSES: &str = "extension.";

/// `extension.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Extension {
    apis: Vec<Added>,
    inventories: BTreeMap<String, Inventory>,
    enums: HashMap<String, EnumData>,
}

#[derive(Debug, Deserialize)]
struct Added {
    /// Why the contract does not do.
    reason: String,
    #[serde(flatten)]
    api: Api,
}

impl Extension {
    /// Adds ours to what is given. `Err` names the first thing that the contract could be confused with.
    pub(crate) fn merge(
        self,
        apis: &mut Vec<Api>,
        inventories: &mut BTreeMap<String, Inventory>,
        enums: &mut HashMap<String, EnumData>,
    ) -> Result<(), String> {
        for Added { reason, mut api } in self.apis {
            let name = &api.name;
            if reason.trim().is_empty() {
                return Err(format!("{name}: give the reason"));
            }
            if apis.iter().any(|known| known.name == *name) {
                return Err(format!("{name}: the contract has an API of that name"));
            }
            if !api.paths().all(|path| path.starts_with(PREFIX)) {
                return Err(format!("{name}: its paths must begin with {PREFIX}"));
            }
            if !api.response_class.starts_with(CLASSES) {
                return Err(format!("{name}: its class must begin with {CLASSES}"));
            }
            api.extension = true;
            apis.push(api);
        }
        for (name, inventory) in self.inventories {
            if !inventory.class.starts_with(CLASSES) {
                return Err(format!("{name}: its class must begin with {CLASSES}"));
            }
            if inventories.insert(name.clone(), inventory).is_some() {
                return Err(format!("{name}: the contract has a structure of that name"));
            }
        }
        for (name, values) in self.enums {
            if enums.insert(name.clone(), values).is_some() {
                return Err(format!("{name}: the contract has an enum of that name"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::contract;

    fn merged(api: &Value) -> Result<Vec<Api>, String> {
        let mut apis = vec![contract().api("CreateZone").unwrap().clone()];
        let extension: Extension = serde_json::from_value(json!({ "apis": [api] })).map_err(|e| e.to_string())?;
        extension.merge(&mut apis, &mut BTreeMap::new(), &mut HashMap::new())?;
        Ok(apis)
    }

    #[test]
    fn ours_cannot_be_confused_with_the_contract() {
        let ours = json!({
            "name": "Look", "reason": "r", "method": "GET", "path": "/extensions/looks", "kind": "sync",
            "needSession": true, "needPoll": false, "responseClass": "extension.LookReply", "responseMode": "empty",
            "responseFields": {}, "params": [],
        });
        assert!(merged(&ours).unwrap()[1].extension);
        for (key, value, complaint) in [
            ("reason", " ", "give the reason"),
            ("name", "CreateZone", "the contract has an API"),
            ("path", "/zones/looks", "must begin with /extensions/"),
            ("responseClass", "org.zstack.LookReply", "must begin with extension."),
        ] {
            let mut wrong = ours.clone();
            wrong[key] = json!(value);
            let error = merged(&wrong).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn the_published_contract_has_none_of_ours() {
        assert!(contract().published().all(|api| !api.extension && !api.path.starts_with(PREFIX)));
        assert!(contract().apis().iter().any(|api| api.extension));
    }
}
