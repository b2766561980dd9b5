//! Audit: who called what, when, from where, how long, with which result (PLAT-AUDIT-001, PLAT-AUDIT-003).

use mn_service_db::entity::audit;
use mn_service_types::{Api, ApiError, binding::Params, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, EntityTrait};
use serde_json::{Map, Value};

use crate::{
    api::Call,
    app::{OrInternal, Tx},
};

const MASK: &str = "******";

/// System tags whose value is a secret.
const SECRET_TAGS: &[&str] = &["consolePassword::", "rootPassword::"];

fn without_secret_tags(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_secret_tags).collect(),
        Value::String(text) => match SECRET_TAGS.iter().find(|tag| text.starts_with(**tag)) {
            Some(tag) => Value::String(format!("{tag}{MASK}")),
            None => value.clone(),
        },
        _ => value.clone(),
    }
}

/// Parameters as text with every secret replaced.
pub fn masked(api: &Api, params: &Params) -> String {
    let shown: Map<String, Value> = params
        .iter()
        .map(|(name, value)| {
            let secret = api.param(name).is_none_or(|param| param.is_secret());
            let shown = if secret { Value::String(MASK.to_owned()) } else { without_secret_tags(value) };
            (name.clone(), shown)
        })
        .collect();
    Value::Object(shown).to_string()
}

/// The resource a call is about: the first uuid of its path that has a resource type.
fn subject(call: &Call) -> (Option<String>, Option<String>) {
    let param = call.api.params.iter().find(|p| p.location == "url" && p.resource_type.is_some());
    match param {
        Some(param) => (param.resource_type.clone(), call.text(&param.name).map(str::to_owned)),
        None => (None, None),
    }
}

/// Writes the audit entry of a change that ended, in the transaction that ends it.
pub async fn write(
    tx: &Tx,
    call: &Call,
    started: i64,
    created: Option<(&str, &str)>,
    error: Option<&ApiError>,
) -> ApiResult<()> {
    let (resource_type, resource_uuid) = match created {
        Some((vo, uuid)) => (Some(vo.to_owned()), Some(uuid.to_owned())),
        None => subject(call),
    };
    let row = audit::ActiveModel {
        job_uuid: Set(Some(call.job.clone())),
        api: Set(call.api.name.clone()),
        account_uuid: Set(call.caller.account.clone()),
        session_ref: Set(call.caller.session.clone()),
        client_ip: Set(Some(call.caller.client_ip.clone())),
        resource_type: Set(resource_type),
        resource_uuid: Set(resource_uuid),
        request: Set(masked(call.api, &call.params)),
        success: Set(Some(error.is_none())),
        error: Set(error.map(|e| e.to_string())),
        started: Set(started),
        duration_ms: Set(Some(now_millis() - started)),
        ..Default::default()
    };
    audit::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use mn_service_types::contract;

    use super::*;

    #[test]
    fn secrets_never_reach_the_audit() {
        let api = contract().api("AddKVMHost").unwrap();
        let params = json!({"name": "h1", "username": "root", "password": "s3cret"});
        let text = masked(api, params.as_object().unwrap());
        assert!(text.contains("h1") && text.contains("root") && !text.contains("s3cret"), "{text}");
        let api = contract().api("CreateVmInstance").unwrap();
        let params = json!({"name": "vm1", "systemTags": ["hostname::web", "consolePassword::s3cret"]});
        let text = masked(api, params.as_object().unwrap());
        assert!(text.contains("hostname::web") && !text.contains("s3cret"), "{text}");
    }
}
