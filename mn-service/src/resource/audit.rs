//! The audit as an API (PLAT-AUDIT-001 to PLAT-AUDIT-003). Administrators see every entry, other accounts their own.

use mn_service_db::query::{Condition, Op, Query, Sort};
use mn_service_types::{ApiError, error::ApiResult};
use serde_json::{Map, Value, json};

use crate::api::{Apis, Call};

mn_service_types::messages! {
    GetAuditData { start_time: Option<i64>, end_time: Option<i64>, limit: Option<u64>, conditions: Option<Vec<Value>>, audit_type: Option<String> }
}

/// APIs whose entries are of type `Login`; all others are of type `Resource`.
const LOGINS: &str = "LogInByAccount,LogOut";

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryAudit");
    apis.sync(data);
}

/// Moments before this are seconds: what clients of metrics send. As milliseconds it would be a day in 1973.
const FIRST_MILLIS: i64 = 100_000_000_000;

fn millis(moment: i64) -> String {
    let millis = if moment < FIRST_MILLIS { moment.saturating_mul(1000) } else { moment };
    millis.to_string()
}

/// The newest entries first.
async fn data(call: Call, msg: GetAuditData) -> ApiResult<Map<String, Value>> {
    let mut query = Query::new("AuditsInventory");
    query.sort = Some(Sort { field: "id".to_owned(), descending: true });
    query.limit = msg.limit.unwrap_or(query.limit);
    let mut problems = Vec::new();
    for condition in msg.conditions.unwrap_or_default() {
        match condition.as_str().map(Condition::parse) {
            Some(Ok(condition)) => query.conditions.push(condition),
            Some(Err(error)) => problems.push(format!("conditions: {error}")),
            None => problems.push(format!("conditions: {condition} must be a text such as \"apiName=CreateZone\"")),
        }
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    let between = [(msg.start_time, Op::GreaterOrEqual), (msg.end_time, Op::LessOrEqual)];
    for (moment, op) in between.into_iter().filter_map(|(moment, op)| Some((moment?, op))) {
        query.conditions.push(Condition::new("startTime", op, millis(moment)));
    }
    match msg.audit_type.as_deref() {
        Some("Login") => query.conditions.push(Condition::new("apiName", Op::In, LOGINS)),
        Some(_) => query.conditions.push(Condition::new("apiName", Op::NotIn, LOGINS)),
        None => {}
    }
    let page = mn_service_db::query::run(call.app.db.read(), &query).await?;
    let audits: Vec<Value> = page.inventories.into_iter().map(in_old_form).collect();
    Ok(Map::from_iter([("audits".to_owned(), Value::Array(audits))]))
}

/// `AuditsInventory` as `AuditDataV2`.
fn in_old_form(entry: Value) -> Value {
    let Value::Object(mut entry) = entry else { return entry };
    for own in ["startTime", "signedText", "resourceName"] {
        entry.remove(own);
    }
    if let Some(time) = entry.remove("createTime") {
        entry.insert("time".to_owned(), time);
    }
    if let Some(success) = entry.get_mut("success") {
        *success = json!(success.to_string());
    }
    Value::Object(entry)
}
