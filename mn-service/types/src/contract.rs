//! The contract files, parsed once, completed by our supplement and indexed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    extension::Extension,
    supplement::{Given, Supplement},
};

static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::parse);

/// The wire contract.
pub fn contract() -> &'static Contract {
    &CONTRACT
}

/// All contract files.
#[derive(Debug)]
pub struct Contract {
    apis: Vec<Api>,
    by_name: HashMap<String, usize>,
    inventories: BTreeMap<String, Inventory>,
    enums: HashMap<String, EnumData>,
    allowed: HashMap<String, HashMap<String, Vec<String>>>,
    errors: HashMap<String, ErrorMeaning>,
    /// Global settings (`global-config.json`).
    pub global_configs: Vec<GlobalConfig>,
    /// System tag patterns (`system-tags.json`).
    pub system_tags: Vec<SystemTagPattern>,
}

/// What an API does to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiKind {
    /// Lists inventories by conditions.
    Query,
    /// Answers at once.
    Sync,
    /// Makes a resource.
    Create,
    /// Removes a resource.
    Delete,
    /// Any other change.
    Async,
}

/// Who may call an API before policies are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rbac {
    /// The admin account alone.
    AdminOnly,
    /// Accounts whose role allows it.
    Normal,
}

/// One API (`apis.json`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Api {
    /// For example `CreateZone`.
    pub name: String,
    /// Class name of the message, where known; see [`Api::message_class`].
    pub message: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Path below `/zstack/v1`.
    pub path: String,
    /// Further paths with the same meaning.
    #[serde(default)]
    pub optional_paths: Vec<String>,
    /// Key that selects this API in the body of a PUT on a shared path.
    pub action: Option<String>,
    /// Key that wraps the parameters in the body.
    pub body_key: Option<String>,
    /// What it does.
    pub kind: ApiKind,
    /// Needs a session.
    pub need_session: bool,
    /// Answers 202 and a job.
    pub need_poll: bool,
    /// Class name of the answer.
    pub response_class: String,
    /// How the answer becomes JSON: `allTo=inventory`, `fieldsTo=all`, `empty`, `sdk`.
    pub response_mode: String,
    /// Top-level keys of a success body and their types.
    pub response_fields: BTreeMap<String, String>,
    /// Inventory of a query.
    pub inventory: Option<String>,
    /// Resource type whose system tags may be given.
    pub tag_resource_type: Option<String>,
    /// Seconds until the API times out; absent means [`Api::DEFAULT_TIMEOUT_SECONDS`].
    pub default_timeout_sec: Option<u64>,
    /// Who may call.
    pub rbac: Option<Rbac>,
    /// May run as a long job.
    #[serde(default)]
    pub long_job: bool,
    /// Ours and not the published contract's (`extension.json`).
    #[serde(skip)]
    pub extension: bool,
    /// Parameters.
    pub params: Vec<Param>,
}

impl Api {
    /// PROTOCOL.md section 7.
    pub const DEFAULT_TIMEOUT_SECONDS: u64 = 1800;

    /// Seconds until the API times out.
    pub fn timeout_seconds(&self) -> u64 {
        self.default_timeout_sec.unwrap_or(Self::DEFAULT_TIMEOUT_SECONDS)
    }

    /// Simple class name of the message: `APICreateZoneMsg`.
    pub fn message_class(&self) -> String {
        format!("API{}Msg", self.name)
    }

    /// Only the admin account may call.
    pub fn admin_only(&self) -> bool {
        // APIs known from the SDK alone carry no access rule; the safe reading is "administrator".
        !matches!(self.rbac, Some(Rbac::Normal)) && !matches!(self.kind, ApiKind::Query)
    }

    /// All paths, the main one first.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.path.as_str()).chain(self.optional_paths.iter().map(String::as_str))
    }

    /// The parameter called `name`.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }
}

/// One parameter of an API.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Param {
    /// JSON key.
    pub name: String,
    /// Java-like type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Must be given.
    pub required: bool,
    /// `url`, `query`, `body`, `body|url` or `query|url`.
    pub location: String,
    /// Exact words allowed.
    pub valid_values: Option<Vec<String>>,
    /// Pattern of the whole text (Java syntax).
    pub valid_regex: Option<String>,
    /// Inclusive bounds.
    pub number_range: Option<[serde_json::Number; 2]>,
    /// Longest text in characters.
    pub max_length: Option<usize>,
    /// Shortest text in characters.
    pub min_length: Option<usize>,
    /// A list must have an element.
    pub nonempty: bool,
    /// `false`: neither an empty text nor one in a list.
    pub empty_string: Option<bool>,
    /// Value names an existing resource of this type.
    pub resource_type: Option<String>,
    /// Caller must own it or have it shared.
    pub check_account: bool,
    /// The call is about it: only its owner may, not those it is shared with.
    pub operation_target: bool,
    /// A delete of something unknown succeeds.
    pub success_if_not_existing: bool,
    /// Never logged, never audited in clear.
    pub sensitive: bool,
    /// Keep surrounding blanks.
    pub no_trim: bool,
    /// Value when not given.
    pub default: Option<Value>,
}

impl Param {
    /// Carries a secret; names that say so count even where the contract has no mark.
    pub fn is_secret(&self) -> bool {
        self.sensitive || self.name.to_ascii_lowercase().contains("password")
    }
}

/// One structure on the wire (`inventories.json`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Class name, for the `schema` of replies.
    pub class: String,
    /// Structure it specialises.
    pub extends: Option<String>,
    /// JSON field to Java-like type.
    pub fields: BTreeMap<String, String>,
    /// Fields that the SDKs do not know; query replies leave them out.
    #[serde(default)]
    pub hidden_from_sdk: Vec<String>,
    /// Resource type, which is also the name of our table.
    pub vo: Option<String>,
    /// Nested names of the query language.
    #[serde(default)]
    pub expanded: Vec<Expanded>,
    /// Shortcuts for nested names.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// Column that tells subclasses apart.
    pub type_field: Option<String>,
    /// Superclasses and the value of their type column.
    #[serde(default)]
    pub parents: Vec<Parent>,
    /// Fields that live in another table.
    #[serde(default)]
    pub queryable: BTreeMap<String, Joined>,
}

/// `{field, inventory, foreignKey, key}` of PROTOCOL.md section 8.3.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expanded {
    /// Nested name.
    pub field: String,
    /// Structure reached.
    pub inventory: String,
    /// Own column.
    pub foreign_key: String,
    /// Column over there.
    pub key: String,
}

/// Superclass of a structure.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parent {
    /// Superclass.
    pub inventory_class: String,
    /// Value of its type column.
    #[serde(rename = "type")]
    pub type_value: String,
}

/// A field that lives in another table.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// Structure that holds it.
    pub inventory: String,
    /// Column over there that equals our uuid.
    pub join_column: String,
    /// Column with the value; absent: whole structures.
    pub value_column: Option<String>,
}

/// A global setting.
#[derive(Debug, Clone, Deserialize)]
pub struct GlobalConfig {
    /// First half of its name.
    pub category: String,
    /// Second half.
    pub name: String,
    /// Default, as text.
    #[serde(default, deserialize_with = "text")]
    pub default: String,
    /// `Boolean`, `Integer`, `Long`, `Double`, `String`.
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Rules of its value.
    #[serde(default)]
    pub validation: ConfigRules,
}

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Option::<Value>::deserialize(deserializer)? {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    })
}

/// Rules of a global setting's value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigRules {
    /// Strictly greater than.
    pub number_greater_than: Option<f64>,
    /// Strictly less than.
    pub number_less_than: Option<f64>,
    /// Inclusive range.
    pub in_number_range: Option<Vec<f64>>,
    /// Words allowed.
    pub valid_values: Option<Vec<String>>,
}

/// A system tag pattern.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemTagPattern {
    /// For example `staticIp::{l3NetworkUuid}::{staticIp}`.
    pub pattern: String,
    /// Resource type it belongs to.
    pub resource_type: Option<String>,
    /// `Ephemeral*`: steers the call and is not stored.
    pub kind: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct EnumData {
    #[serde(default)]
    pub(crate) values: Vec<String>,
    #[serde(default)]
    pub(crate) transitions: HashMap<String, HashMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize)]
struct ErrorMeaning {
    code: String,
    meaning: String,
}

impl Contract {
    #[expect(clippy::expect_used, reason = "the files are part of the program; a test parses them")]
    fn parse() -> Self {
        #[derive(Deserialize)]
        struct Enums {
            enums: HashMap<String, EnumData>,
            #[serde(rename = "allowedMessages")]
            allowed_messages: HashMap<String, Value>,
        }
        #[derive(Deserialize)]
        struct Errors {
            enums: HashMap<String, ErrorEnum>,
        }
        #[derive(Deserialize)]
        struct ErrorEnum {
            codes: Vec<ErrorMeaning>,
        }

        let mut apis: Vec<Api> = serde_json::from_str(include_str!("../contract/apis.json")).expect("apis.json");
        let mut inventories =
            serde_json::from_str(include_str!("../contract/inventories.json")).expect("inventories.json");
        let mut enums: Enums = serde_json::from_str(include_str!("../contract/enums.json")).expect("enums.json");
        let errors: Errors = serde_json::from_str(include_str!("../contract/errors.json")).expect("errors.json");
        let allowed = enums
            .allowed_messages
            .into_iter()
            .filter_map(|(table, rows)| Some((table, serde_json::from_value(rows).ok()?)))
            .collect();
        let mut system_tags =
            serde_json::from_str(include_str!("../contract/system-tags.json")).expect("system-tags.json");
        let supplement: Supplement =
            serde_json::from_str(include_str!("../contract/supplement.json")).expect("supplement.json");
        let mut global_configs: Vec<GlobalConfig> =
            serde_json::from_str(include_str!("../contract/global-config.json")).expect("global-config.json");
        let given = Given {
            apis: &mut apis,
            inventories: &mut inventories,
            enums: &mut enums.enums,
            system_tags: &mut system_tags,
            global_configs: &mut global_configs,
        };
        supplement.merge(given).expect("supplement.json");
        let extension: Extension =
            serde_json::from_str(include_str!("../contract/extension.json")).expect("extension.json");
        extension.merge(&mut apis, &mut inventories, &mut enums.enums).expect("extension.json");
        Self {
            by_name: apis.iter().enumerate().map(|(index, api)| (api.name.clone(), index)).collect(),
            apis,
            inventories,
            enums: enums.enums,
            allowed,
            errors: errors.enums.into_values().flat_map(|e| e.codes).map(|e| (e.code.clone(), e)).collect(),
            global_configs,
            system_tags,
        }
    }

    /// Every API, ours included.
    pub fn apis(&self) -> &[Api] {
        &self.apis
    }

    /// The APIs of the published contract.
    pub fn published(&self) -> impl Iterator<Item = &Api> {
        self.apis.iter().filter(|api| !api.extension)
    }

    /// The API called `name`, for example `CreateZone`.
    pub fn api(&self, name: &str) -> Option<&Api> {
        self.by_name.get(name).map(|index| &self.apis[*index])
    }

    /// The structure called `name`, for example `ZoneInventory`.
    pub fn inventory(&self, name: &str) -> Option<&Inventory> {
        self.inventories.get(name)
    }

    /// Every structure.
    pub fn inventories(&self) -> impl Iterator<Item = (&str, &Inventory)> {
        self.inventories.iter().map(|(name, inventory)| (name.as_str(), inventory))
    }

    /// Structure whose resource type (table) is `vo`; the most general one where several share it.
    pub fn inventory_of(&self, vo: &str) -> Option<(&str, &Inventory)> {
        self.inventories().find(|(_, inventory)| inventory.vo.as_deref() == Some(vo))
    }

    /// Values of an enum.
    pub fn enum_values(&self, name: &str) -> &[String] {
        self.enums.get(name).map_or(&[], |e| &e.values)
    }

    /// The state that `event` leads to from `state`, where the contract's state machine allows it.
    pub fn transition(&self, enum_name: &str, state: &str, event: &str) -> Option<&str> {
        self.enums.get(enum_name)?.transitions.get(state)?.get(event).map(String::as_str)
    }

    /// True when the contract allows message `class` on a VM in `state`.
    pub fn vm_allows(&self, state: &str, class: &str) -> bool {
        self.allowed
            .get("AbstractVmInstance.allowedOperations")
            .and_then(|table| table.get(state))
            .is_some_and(|messages| messages.iter().any(|message| message == class))
    }

    /// VM states in which the contract allows message `class`.
    pub fn vm_states_for(&self, class: &str) -> Vec<&str> {
        let Some(table) = self.allowed.get("AbstractVmInstance.allowedOperations") else { return Vec::new() };
        let mut states: Vec<&str> = table
            .iter()
            .filter(|(_, messages)| messages.iter().any(|m| m == class))
            .map(|(state, _)| state.as_str())
            .collect();
        states.sort_unstable();
        states
    }

    /// Short meaning of an error code.
    pub fn error_meaning(&self, code: &str) -> Option<&str> {
        self.errors.get(code).map(|e| e.meaning.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_files_parse_and_are_whole() {
        let contract = contract();
        assert_eq!(contract.published().count(), 1901);
        assert_eq!(contract.api("CreateZone").unwrap().body_key.as_deref(), Some("params"));
        assert_eq!(contract.inventory("VmInstanceInventory").unwrap().vo.as_deref(), Some("VmInstanceVO"));
        assert!(contract.global_configs.len() > 300 && contract.system_tags.len() > 200);
    }

    #[test]
    fn the_supplement_completes_what_the_sdk_alone_does_not_tell() {
        let group = contract().inventory("AffinityGroupInventory").unwrap();
        assert_eq!(group.vo.as_deref(), Some("AffinityGroupVO"));
        let api = contract().api("AddVmToAffinityGroup").unwrap();
        assert_eq!(api.param("uuid").unwrap().resource_type.as_deref(), Some("VmInstanceVO"));
        assert_eq!(contract().enum_values("AffinityGroupState"), ["Enabled", "Disabled"]);
    }

    #[test]
    fn state_machines_come_from_the_contract() {
        assert_eq!(contract().transition("ZoneState", "Enabled", "disable"), Some("Disabled"));
        assert_eq!(contract().transition("VmInstanceState", "Destroyed", "starting"), None);
        assert!(contract().vm_allows("Stopped", "APIStartVmInstanceMsg"));
        assert!(!contract().vm_allows("Destroyed", "APIStopVmInstanceMsg"));
    }
}
