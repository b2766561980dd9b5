//! The message API that the Python command line uses (PROTOCOL.md section 14).

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use mn_service_db::query::{Condition, Op, Query, Sort};
use mn_service_types::{
    Api, ApiError, ErrorCode, binding, contract,
    date::{now_millis, to_wire},
    error::{ApiResult, ErrorBody},
    new_uuid,
};
use serde_json::{Map, Value, json};

use super::{Origin, Server, base_url, caller_of, client_ip, json_response, nobody, query::viewer};
use crate::{
    api::{Action, Caller},
    app::OrInternal,
    door::Peer,
    jobs::{View, Wishes},
};

/// `POST /zstack/api/`.
pub(super) async fn call(
    State(server): State<Arc<Server>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refusal) = server.check_encrypted(peer, &headers) {
        return refusal.into_response();
    }
    let origin = Origin { ip: client_ip(&headers, peer.address), base: base_url(&server.app, &headers, peer) };
    match server.message(&origin, &body).await {
        Ok(answer) => json_response(StatusCode::OK, &answer),
        // Undecodable bodies are answered with 200 and a text.
        Err(text) => (StatusCode::OK, text).into_response(),
    }
}

/// `GET /zstack/api/result/{job}`.
pub(super) async fn result(State(server): State<Arc<Server>>, Path(job): Path<String>) -> Response {
    let found = match server.app.jobs.view_of(&server.app, &job).await {
        Ok(found) => found,
        Err(error) => return json_response(StatusCode::SERVICE_UNAVAILABLE, &ErrorBody { error }),
    };
    let Some((api, view)) = found.and_then(|(api, view)| Some((contract().api(&api)?, view))) else {
        return (StatusCode::NOT_FOUND, format!("no job {job}")).into_response();
    };
    let outcome = match &view {
        View::Running => {
            let answer = json!({ "uuid": job, "state": "Processing", "createdDate": to_wire(now_millis()) });
            return json_response(StatusCode::OK, &answer);
        }
        View::Succeeded(body) => serde_json::from_str::<Map<String, Value>>(body).map_err(ApiError::internal),
        View::Failed(body) => Err(serde_json::from_str::<ErrorBody>(body).map_or_else(ApiError::internal, |b| b.error)),
    };
    json_response(StatusCode::OK, &done(api, outcome))
}

fn done(api: &Api, outcome: ApiResult<Map<String, Value>>) -> Value {
    let fields = match outcome {
        Ok(mut body) => {
            body.insert("success".to_owned(), json!(true));
            body
        }
        Err(error) => Map::from_iter([("success".to_owned(), json!(false)), ("error".to_owned(), json!(error))]),
    };
    let result = Value::Object(Map::from_iter([(api.response_class.clone(), Value::Object(fields))])).to_string();
    let now = to_wire(now_millis());
    json!({ "state": "Done", "createdDate": now, "finishedDate": now, "result": result })
}

impl Server {
    async fn message(&self, origin: &Origin, body: &[u8]) -> Result<Value, String> {
        let message: Map<String, Value> =
            serde_json::from_slice(body).map_err(|e| format!("the body is not a JSON message: {e}"))?;
        let mut entries = message.into_iter();
        let (Some((class, Value::Object(fields))), None) = (entries.next(), entries.next()) else {
            return Err("the body must be one object keyed by the class name of a message".to_owned());
        };
        let simple = class.rsplit('.').next().unwrap_or_default();
        let name = simple.strip_prefix("API").and_then(|s| s.strip_suffix("Msg")).unwrap_or_default();
        let api = contract().api(name).ok_or_else(|| format!("unknown message {class}"))?;

        let token = fields.get("session").and_then(|s| s.get("uuid")).and_then(Value::as_str);
        let caller = if api.need_session { caller_of(&self.app, api, token, origin).await } else { Ok(nobody(origin)) };
        if let Some(Action::Query(inventory)) = self.app.apis.get(&api.name) {
            let outcome = match caller {
                Ok(caller) => self.legacy_query(inventory, &fields, &caller).await,
                Err(error) => Err(error),
            };
            return Ok(done(api, outcome));
        }
        let params = binding::bind_flat(api, &fields).map_err(|malformed| malformed.0)?;
        let job = new_uuid();
        if !api.need_poll {
            return Ok(done(api, self.answer(api, params, caller, &job).await));
        }
        let timeout_millis = fields.get("timeout").and_then(Value::as_i64).filter(|millis| *millis > 0);
        let wishes = Wishes { webhook: None, timeout_millis };
        match self.start(api, params, caller, &job, wishes).await {
            Ok(()) => Ok(json!({ "uuid": job, "state": "Processing", "createdDate": to_wire(now_millis()) })),
            Err(error) => Ok(done(api, Err(error))),
        }
    }

    async fn legacy_query(
        &self,
        inventory: &str,
        fields: &Map<String, Value>,
        caller: &Caller,
    ) -> ApiResult<Map<String, Value>> {
        let invalid = |text: String| ApiError::new(ErrorCode::InvalidArgument, text);
        let mut query = Query::new(inventory);
        query.viewer = viewer(caller);
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        for condition in fields.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            let part = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
            let op = operator(part("op")).ok_or_else(|| invalid(format!("unknown operator {:?}", part("op"))))?;
            query.conditions.push(Condition {
                name: part("name").trim().to_owned(),
                op,
                value: part("value").to_owned(),
            });
        }
        let number = |name: &str| {
            fields.get(name).filter(|v| !v.is_null()).map(|v| {
                v.as_u64()
                    .or_else(|| v.as_str()?.parse().ok())
                    .ok_or_else(|| invalid(format!("{name} must be an integer")))
            })
        };
        query.limit = number("limit").transpose()?.unwrap_or(query.limit);
        query.start = number("start").transpose()?.unwrap_or(0);
        let flag = |name: &str| {
            fields.get(name).is_some_and(|v| v == true || v.as_str().is_some_and(|s| s.eq_ignore_ascii_case("true")))
        };
        query.count = flag("count");
        query.reply_with_count = flag("replyWithCount");
        if let Some(by) = text("sortBy") {
            let descending = text("sortDirection").is_some_and(|d| d.eq_ignore_ascii_case("desc"));
            query.sort = Some(Sort { field: by.to_owned(), descending });
        }
        let selected = fields.get("fields").and_then(Value::as_array);
        query.fields = selected.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let body = mn_service_db::query::answer(&self.app.db, &query).await?;
        let mut body: Map<String, Value> = serde_json::from_slice(&body).or_internal()?;
        body.remove("schema");
        Ok(body)
    }
}

/// Operators as legacy messages write them.
fn operator(word: &str) -> Option<Op> {
    Some(match word.trim() {
        "=" => Op::Equal,
        "!=" => Op::NotEqual,
        ">" => Op::Greater,
        ">=" => Op::GreaterOrEqual,
        "<" => Op::Less,
        "<=" => Op::LessOrEqual,
        "in" => Op::In,
        "not in" => Op::NotIn,
        "like" => Op::Like,
        "not like" => Op::NotLike,
        "is null" => Op::IsNull,
        "is not null" | "not null" => Op::NotNull,
        _ => return None,
    })
}
