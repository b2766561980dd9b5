//! Parameters as the audit keeps them: every secret replaced.

use mn_service_types::{Api, Param, binding::Params};
use serde_json::{Map, Value};

const MASK: &str = "******";

/// Parts of names that tell of secrets, in lower case.
const TELLING: &[&str] = &["password", "secret", "userdata", "token", "privatekey"];

/// Parameters as text with every secret replaced: by the contract's marks, by names that tell of secrets, in system tags
/// that carry some (`consolePassword::...`, `userdata::...`), and credentials inside URLs.
pub fn masked(api: &Api, params: &Params) -> String {
    // A setting's secret is in its value, and what it is in its name.
    let telling_name = params.get("name").and_then(Value::as_str).filter(|_| params.contains_key("category"));
    let shown: Map<String, Value> = params
        .iter()
        .map(|(name, value)| {
            let secret = api.param(name).is_none_or(Param::is_secret) || tells(name);
            let setting = name == "value" && telling_name.is_some_and(tells);
            (name.clone(), if secret || setting { MASK.into() } else { inside(value) })
        })
        .collect();
    Value::Object(shown).to_string()
}

fn tells(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TELLING.iter().any(|part| name.contains(part))
}

fn inside(value: &Value) -> Value {
    match value {
        Value::String(text) => tag(text).unwrap_or_else(|| url(text)).into(),
        Value::Array(items) => items.iter().map(inside).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields.map(|(name, value)| (name.clone(), if tells(name) { MASK.into() } else { inside(value) })).collect()
        }
        other => other.clone(),
    }
}

/// `consolePassword::x` without its value.
fn tag(text: &str) -> Option<String> {
    let (name, _) = text.split_once("::")?;
    tells(name).then(|| format!("{name}::{MASK}"))
}

/// `http://user:password@host` without its credentials.
fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((credentials, _)) => format!("{scheme}://{MASK}{}", &rest[credentials.len()..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use mn_service_types::contract;

    use super::*;

    #[test]
    fn secrets_never_reach_the_audit() {
        for (api, params) in [
            ("AddKVMHost", json!({ "name": "kept", "username": "root", "password": "s3cret" })),
            ("AddImage", json!({ "name": "kept", "url": "https://joe:s3cret@images.example/a.qcow2?x=1" })),
            (
                "CreateVmInstance",
                json!({ "name": "kept", "systemTags": ["hostname::web", "userdata::s3cret", "consolePassword::s3cret"] }),
            ),
            ("CreateZone", json!({ "name": "kept", "description": "from https://joe:s3cret@images.example/a" })),
            ("CreateSystemTag", json!({ "resourceType": "kept", "tag": "consolePassword::s3cret" })),
            ("UpdateGlobalConfig", json!({ "category": "kept", "name": "vrouter.password", "value": "s3cret" })),
            ("LogInByAccount", json!({ "accountName": "kept", "clientInfo": { "accessToken": "s3cret" } })),
        ] {
            let text = masked(contract().api(api).unwrap(), params.as_object().unwrap());
            assert!(text.contains("kept") && !text.contains("s3cret") && text.contains(MASK), "{api}: {text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let vm = json!({ "description": "https://images.example/a@b.qcow2", "systemTags": ["hostname::web"] });
        let text = masked(contract().api("CreateVmInstance").unwrap(), vm.as_object().unwrap());
        assert_eq!(text, vm.to_string());
        let setting = json!({ "category": "host", "name": "ping.interval", "value": "30" });
        let text = masked(contract().api("UpdateGlobalConfig").unwrap(), setting.as_object().unwrap());
        assert!(text.contains("\"30\""), "{text}");
    }
}
