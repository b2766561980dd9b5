//! What the contract forbids is refused, by an error that names the parameter and the rule (PROTOCOL.md sections 3, 5, 6.5
//! and 9), and changes nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use mn_service_types::{Api, ApiKind, Param, contract, new_uuid, shape::Shape};
use reqwest::StatusCode;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use system_tests::Client;

use super::{
    implemented,
    request::{self, Answer, Params},
    tour::{Tour, api},
};

/// How a call with one thing wrong must end.
enum Refusal {
    /// HTTP 400, a text with this word.
    Malformed(String),
    /// The error of this code, with all these words.
    Error(&'static str, Vec<String>),
    /// Success: what is to be deleted is gone already (PROTOCOL.md section 10).
    Nothing,
}

struct Case {
    what: String,
    params: Params,
    refusal: Refusal,
}

/// Every call that did not end as it must.
pub(super) async fn problems(tour: &Tour) -> Result<Vec<String>> {
    let existing = existing(tour).await?;
    let before = census(tour).await?;
    let tenant = tenant(tour).await?;
    let nobody = tour.admin.with_session(&new_uuid());
    let anonymous = tour.cloud.world().anonymous();
    let mut found = Vec::new();
    for (name, given) in &tour.done {
        let api = api(name)?;
        let params = alive(api, given, &existing);
        if api.kind != ApiKind::Query {
            for case in cases(api, &params) {
                let answer = request::send(&tour.admin, &request::request(api, &case.params)?).await?;
                if let Some(problem) = case.refusal.differs(&answer) {
                    found.push(format!("{name} with {}: {problem}", case.what));
                }
            }
        }
        if api.need_session {
            let request = request::request(api, &params)?;
            let answer = request::send(&anonymous, &request).await?;
            if answer.status != StatusCode::BAD_REQUEST {
                found.push(format!("{name} without header: HTTP {} {}", answer.status, answer.body));
            }
            let mut callers = vec![("an unknown session", &nobody, "ID.1001")];
            if api.admin_only() {
                callers.push(("a tenant", &tenant, "ID.1002"));
            }
            for (who, client, code) in callers {
                let answer = request::send(client, &request).await?;
                match answer.failure() {
                    Ok((got, _)) if got == code && answer.polled == api.need_poll => {}
                    other => found.push(format!("{name} by {who}: {other:?}, polled: {}", answer.polled)),
                }
            }
        }
        found.extend(legacy(tour, api).await?.map(|problem| format!("{name} as a message: {problem}")));
    }
    let after = census(tour).await?;
    if before != after {
        found.push(format!("refused calls changed the cloud: {before:?} became {after:?}"));
    }
    Ok(found)
}

impl Refusal {
    fn differs(&self, answer: &Answer) -> Option<String> {
        let said = format!("HTTP {} {}", answer.status, answer.body);
        match self {
            Self::Nothing => (answer.status != StatusCode::OK).then(|| format!("{said} instead of success")),
            Self::Malformed(word) => {
                let good = answer.status == StatusCode::BAD_REQUEST && answer.body.to_string().contains(word);
                (!good).then(|| format!("{said} instead of HTTP 400 about {word}"))
            }
            Self::Error(code, words) => match answer.failure() {
                Ok((got, details)) if got == *code && words.iter().all(|word| details.contains(word)) => None,
                _ => Some(format!("{said} instead of {code} about {words:?}")),
            },
        }
    }
}

/// One living resource of every type.
async fn existing(tour: &Tour) -> Result<BTreeMap<&'static str, String>> {
    let db = tour.cloud.world().serving.app.db.read();
    let mut found = BTreeMap::new();
    for table in mn_service_db::tables().filter(|table| table.column("uuid").is_some()) {
        let sql = format!("SELECT uuid FROM {} ORDER BY uuid LIMIT 1", table.name);
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
        if let Some(row) = row {
            found.insert(table.name, row.try_get_by_index(0)?);
        }
    }
    Ok(found)
}

/// Parameters that name living resources wherever they name one.
fn alive(api: &Api, given: &Params, existing: &BTreeMap<&'static str, String>) -> Params {
    let mut params = given.clone();
    for (name, value) in &mut params {
        let table = api.param(name).and_then(|p| p.resource_type.as_deref()).and_then(mn_service_db::table_of);
        if let Some(uuid) = table.and_then(|table| existing.get(table.name)) {
            *value = if value.is_array() { json!([uuid]) } else { json!(uuid) };
        }
    }
    params
}

/// How many of everything there are, as the API tells.
async fn census(tour: &Tour) -> Result<BTreeMap<&'static str, Value>> {
    let mut totals = BTreeMap::new();
    for name in implemented(ApiKind::Query) {
        let answer = tour.admin.get(&format!("{}?count=true", api(name)?.path)).await?;
        totals.insert(name, answer?["total"].clone());
    }
    // Made by the checks themselves; that somebody was denied something is an event.
    totals.retain(|name, _| !matches!(*name, "QueryAccount" | "QueryAudit" | "QueryQuota"));
    Ok(totals)
}

async fn tenant(tour: &Tour) -> Result<Client> {
    let password = "1".repeat(128);
    tour.admin.create("/accounts", json!({ "name": "stranger", "password": password })).await?;
    let body = json!({ "logInByAccount": { "accountName": "stranger", "password": password } });
    let (_, answer) = tour.admin.send(reqwest::Method::PUT, "/accounts/login", Some(body)).await?;
    Ok(tour.admin.with_session(answer["inventory"]["uuid"].as_str().context("no session")?))
}

/// The message API reaches the same API (PROTOCOL.md section 14): without parameters and session it says what is
/// missing, under the class of its own answer.
async fn legacy(tour: &Tour, api: &Api) -> Result<Option<String>> {
    let Some(class) = &api.message else { return Ok(None) };
    let url = format!("http://{}/zstack/api", tour.cloud.world().serving.address);
    let http = reqwest::Client::new();
    let session = json!({ "uuid": new_uuid() });
    let sent = http.post(&url).json(&json!({ class: { "session": session } })).send().await?;
    let text = sent.text().await?;
    let Ok(mut answer) = serde_json::from_str::<Value>(&text) else { return Ok(Some(text)) };
    while answer["state"] == "Processing" {
        let job = answer["uuid"].as_str().context("Processing without uuid")?;
        answer = http.get(format!("{url}/result/{job}")).send().await?.json().await?;
    }
    let result: Value = serde_json::from_str(answer["result"].as_str().context("no result")?)?;
    let reply = &result[&api.response_class];
    let needs = api.params.iter().any(|p| p.required && p.default.is_none());
    let good = match reply["error"]["code"].as_str() {
        Some("SYS.1007") => needs,
        Some("ID.1001") => api.need_session && !needs,
        None => reply["success"] == true && !api.need_session && !needs,
        Some(_) => false,
    };
    Ok((!good).then(|| result.to_string()))
}

/// Every way to get one parameter wrong that the contract forbids.
fn cases(api: &'static Api, params: &Params) -> Vec<Case> {
    let mut cases = Vec::new();
    for param in &api.params {
        let mut list = Cases { api, param, params, cases: &mut cases };
        list.missing();
        list.types();
        list.limits();
        list.resource();
    }
    cases
}

struct Cases<'a> {
    api: &'static Api,
    param: &'static Param,
    params: &'a Params,
    cases: &'a mut Vec<Case>,
}

impl Cases<'_> {
    fn add(&mut self, what: &str, value: Option<Value>, refusal: Refusal) {
        let mut params = self.params.clone();
        match value {
            Some(value) => params.insert(self.param.name.clone(), value),
            None => params.remove(&self.param.name),
        };
        self.cases.push(Case { what: format!("{what} {}", self.param.name), params, refusal });
    }

    fn in_path(&self) -> bool {
        self.param.location == "url"
    }

    /// Sent as JSON, where types show.
    fn in_body(&self) -> bool {
        !self.in_path() && !matches!(self.api.method.as_str(), "GET" | "DELETE")
    }

    fn invalid(&self, rule: &[String]) -> Refusal {
        let mut words = vec![self.param.name.clone()];
        words.extend_from_slice(rule);
        Refusal::Error("SYS.1007", words)
    }

    fn missing(&mut self) {
        if self.param.required && self.param.default.is_none() && !self.in_path() {
            let refusal = self.invalid(&["required".to_owned()]);
            self.add("no", None, refusal);
        }
    }

    fn types(&mut self) {
        let wrong: Vec<Value> = match Shape::parse(&self.param.ty) {
            _ if self.in_path() => Vec::new(),
            Shape::Integer => vec![json!("abc"), json!("1.5"), json!("99999999999999999999")],
            Shape::Float => vec![json!("abc")],
            Shape::Boolean => vec![json!("maybe"), json!("1")],
            Shape::Text if self.in_body() => vec![json!({ "a": 1 }), json!([1])],
            Shape::List(_) if self.in_body() => vec![json!("abc"), json!({})],
            Shape::Map | Shape::Structure(_) if self.in_body() => vec![json!("abc"), json!([])],
            _ => Vec::new(),
        };
        for value in wrong {
            let refusal = Refusal::Malformed(self.param.name.clone());
            self.add(&format!("{value} as"), Some(value), refusal);
        }
    }

    /// A value of the parameter's type that carries `text`.
    fn carrying(&self, text: &str) -> Option<Value> {
        match Shape::parse(&self.param.ty) {
            Shape::Text => Some(json!(text)),
            Shape::List(inner) if *inner == Shape::Text => Some(json!([text])),
            _ => None,
        }
    }

    fn limits(&mut self) {
        let param = self.param;
        if let Some(words) = &param.valid_values {
            let wrong = match Shape::parse(&param.ty) {
                Shape::Integer => Some(json!(5)),
                _ => self.carrying("no-such-word"),
            };
            let refusal = self.invalid(words);
            self.add("an unknown word as", wrong, refusal);
        }
        if let Some([low, high]) = &param.number_range {
            let (low, high) = (low.as_i64().unwrap_or(i64::MIN), high.as_i64().unwrap_or(i64::MAX));
            for outside in [low.checked_sub(1), high.checked_add(1)].into_iter().flatten() {
                let refusal = self.invalid(&[low.to_string(), high.to_string()]);
                self.add(&format!("{outside} as"), Some(json!(outside)), refusal);
            }
        }
        if let Some(most) = param.max_length {
            let (value, refusal) = (self.carrying(&"a".repeat(most + 1)), self.invalid(&[most.to_string()]));
            self.add("a too long", value, refusal);
        }
        if let Some(least) = param.min_length.filter(|least| *least > 1) {
            let (value, refusal) = (self.carrying(&"a".repeat(least - 1)), self.invalid(&[least.to_string()]));
            self.add("a too short", value, refusal);
        }
        if let Some(pattern) = param.valid_regex.as_deref().filter(|_| !self.in_path()) {
            let whole = fancy_regex::Regex::new(&format!(r"\A(?:{pattern})\z"));
            let misfit = ["<>", "no such thing!", "\u{7}x"]
                .into_iter()
                .find(|text| whole.as_ref().is_ok_and(|whole| matches!(whole.is_match(text), Ok(false))));
            if let Some(misfit) = misfit {
                let (value, refusal) = (self.carrying(misfit), self.invalid(&[pattern.to_owned()]));
                self.add(&format!("{misfit:?} as"), value, refusal);
            }
        }
        // The contract says it of some texts, too, where it means nothing.
        if param.nonempty && self.in_body() && matches!(Shape::parse(&param.ty), Shape::List(_)) {
            let refusal = self.invalid(&["at least one".to_owned()]);
            self.add("an empty", Some(json!([])), refusal);
        }
        if param.empty_string == Some(false) && param.default.is_none() && !self.in_path() {
            let (value, refusal) = (self.carrying(""), self.invalid(&["empty".to_owned()]));
            self.add("an empty text as", value, refusal);
        }
        if param.name == "resourceUuid" && self.api.kind == ApiKind::Create {
            let refusal = self.invalid(&["UUIDv4".to_owned()]);
            self.add("1234 as", Some(json!("1234")), refusal);
        }
    }

    /// PROTOCOL.md section 10: a delete of what is gone succeeds, everything else names what is not there.
    fn resource(&mut self) {
        let Some(vo) = self.param.resource_type.as_deref().filter(|vo| mn_service_db::table_of(vo).is_some()) else {
            return;
        };
        let unknown = new_uuid();
        let missing =
            |uuid: &str| Refusal::Error("SYS.1003", vec![self.param.name.clone(), vo.to_owned(), uuid.to_owned()]);
        let (malformed, gone) = (missing("nonsense"), missing(&unknown));
        let gone = if self.param.success_if_not_existing { Refusal::Nothing } else { gone };
        let (unknown, nonsense) = (self.carrying(&unknown), self.carrying("nonsense"));
        self.add("an unknown", unknown, gone);
        self.add("nonsense as", nonsense, malformed);
    }
}

#[test]
fn every_rule_of_a_parameter_makes_a_case() {
    let of = |name: &str, param: &str| -> Vec<String> {
        let params = json!({ "name": "x" }).as_object().cloned().unwrap_or_default();
        let all = cases(contract().api(name).unwrap(), &params);
        all.into_iter().map(|case| case.what).filter(|what| what.ends_with(&format!(" {param}"))).collect()
    };
    assert_eq!(of("CreateInstanceOffering", "cpuNum").len(), 1 + 3 + 2);
    assert_eq!(of("ChangeZoneState", "stateEvent").len(), 1 + 2 + 1);
    assert_eq!(of("DeleteZone", "uuid").len(), 2);
}
