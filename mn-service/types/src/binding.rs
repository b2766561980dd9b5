//! From an HTTP request to the parameters of an API, and the checks the contract declares (PROTOCOL.md sections 5
//! and 6.5 step 1). Whether referenced resources exist is asked of the database by the caller.

use std::{
    collections::HashMap,
    sync::{LazyLock, RwLock},
};

use serde_json::{Map, Number, Value};

use crate::{Api, Param, shape::Shape};

/// Parameters of a call by name, converted to their declared types.
pub type Params = Map<String, Value>;

/// The request cannot be read at all: HTTP 400, text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Where a request carries parameters.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// Variables of the path.
    pub path: &'a [(String, String)],
    /// Decoded query string, in order.
    pub query: &'a [(String, String)],
    /// Parsed JSON body.
    pub body: Option<&'a Value>,
}

/// Collects and converts the parameters of `api`; unknown ones are ignored, JSON null counts as not given.
pub fn bind(api: &Api, sources: &Sources<'_>) -> Result<Params, Malformed> {
    let mut params = Params::new();
    let wrapped = sources.body.and_then(|body| api.body_key.as_deref().and_then(|key| body.get(key)));
    for param in &api.params {
        let shape = Shape::parse(&param.ty);
        let mut value = None;
        if param.location.contains("query") && matches!(api.method.as_str(), "GET" | "DELETE") {
            value = from_query(param, &shape, sources.query)?;
        }
        // Tags may stand beside the wrapped object; the top level wins.
        let top = matches!(param.name.as_str(), "systemTags" | "userTags")
            .then(|| sources.body.and_then(|body| body.get(&param.name)))
            .flatten()
            .filter(|v| !v.is_null());
        if let Some(found) = top.or_else(|| wrapped.and_then(|w| w.get(&param.name))).filter(|v| !v.is_null()) {
            value = Some(convert(param, &shape, found)?);
        }
        if let Some((_, text)) = sources.path.iter().find(|(name, _)| *name == param.name) {
            value = Some(convert(param, &shape, &Value::String(text.clone()))?);
        }
        // The Go client sends `deleteMode=` for "the default".
        if param.default.is_some() && value.as_ref().is_some_and(|v| v.as_str() == Some("")) {
            value = None;
        }
        if let Some(value) = value.or_else(|| param.default.clone()) {
            params.insert(param.name.clone(), value);
        }
    }
    Ok(params)
}

/// Converts parameters that arrive as one flat object (legacy message API, long jobs, command line).
pub fn bind_flat(api: &Api, fields: &Map<String, Value>) -> Result<Params, Malformed> {
    let mut params = Params::new();
    for param in &api.params {
        let given = fields.get(&param.name).filter(|v| !v.is_null());
        let value = given.map(|v| convert(param, &Shape::parse(&param.ty), v)).transpose()?;
        if let Some(value) = value.or_else(|| param.default.clone()) {
            params.insert(param.name.clone(), value);
        }
    }
    Ok(params)
}

fn from_query(param: &Param, shape: &Shape, query: &[(String, String)]) -> Result<Option<Value>, Malformed> {
    let name = param.name.as_str();
    match shape {
        Shape::List(inner) => {
            let mut found: Vec<(usize, &str)> = Vec::new();
            for (key, value) in query {
                if key == name {
                    found.push((found.len(), value));
                } else if let Some(index) = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) {
                    let index = index
                        .parse()
                        .map_err(|_| Malformed(format!("{key}: the part after the dot must be a list index")))?;
                    found.push((index, value));
                }
            }
            found.sort_by_key(|(index, _)| *index);
            if found.is_empty() {
                return Ok(None);
            }
            let items = found.iter().map(|(_, text)| convert(param, inner, &Value::String((*text).to_owned())));
            Ok(Some(Value::Array(items.collect::<Result<_, _>>()?)))
        }
        Shape::Map => {
            let mut map = Map::new();
            for (key, value) in query {
                let Some(entry) = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else { continue };
                match map.get_mut(entry) {
                    None => {
                        map.insert(entry.to_owned(), Value::String(value.clone()));
                    }
                    Some(Value::Array(list)) => list.push(Value::String(value.clone())),
                    Some(single) => *single = Value::Array(vec![single.take(), Value::String(value.clone())]),
                }
            }
            Ok((!map.is_empty()).then_some(Value::Object(map)))
        }
        _ => {
            let mut given = query.iter().filter(|(key, _)| key == name);
            let Some((_, first)) = given.next() else { return Ok(None) };
            if given.next().is_some() {
                return Err(Malformed(format!("parameter {name} is given more than once; it takes one value")));
            }
            convert(param, shape, &Value::String(first.clone())).map(Some)
        }
    }
}

fn convert(param: &Param, shape: &Shape, value: &Value) -> Result<Value, Malformed> {
    let wrong = |expected: &str| Malformed(format!("parameter {} must be {expected}, not {value}", param.name));
    match shape {
        Shape::Text | Shape::Timestamp => match value {
            Value::String(text) if param.no_trim => Ok(Value::String(text.clone())),
            Value::String(text) => Ok(Value::String(text.trim().to_owned())),
            Value::Number(number) => Ok(Value::String(number.to_string())),
            Value::Bool(flag) => Ok(Value::String(flag.to_string())),
            _ => Err(wrong("a text")),
        },
        Shape::Integer => {
            let number = match value {
                Value::Number(number) => whole(number),
                Value::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            number.map(Value::from).ok_or_else(|| wrong("a whole number of at most 64 bits"))
        }
        Shape::Float => {
            let number = match value {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            number.and_then(Number::from_f64).map(Value::Number).ok_or_else(|| wrong("a number"))
        }
        Shape::Boolean => match value {
            Value::Bool(flag) => Ok(Value::Bool(*flag)),
            Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            _ => Err(wrong("true or false")),
        },
        Shape::List(inner) => match value {
            Value::Array(items) => {
                Ok(Value::Array(items.iter().map(|item| convert(param, inner, item)).collect::<Result<_, _>>()?))
            }
            _ => Err(wrong("a list")),
        },
        Shape::Map | Shape::Structure(_) => match value {
            Value::Object(_) => Ok(value.clone()),
            _ => Err(wrong("an object")),
        },
        Shape::Any => Ok(value.clone()),
    }
}

fn whole(number: &Number) -> Option<i64> {
    // `1.0` is what some clients make of 1.
    number.as_i64().or_else(|| number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64))
}

/// Checks the declared limits; returns every problem, each naming its parameter.
pub fn check(api: &Api, params: &Params) -> Vec<String> {
    let mut problems = Vec::new();
    for param in &api.params {
        match params.get(&param.name) {
            None if param.required => problems.push(format!("parameter {} is required", param.name)),
            None => {}
            Some(value) => check_value(param, value, &mut problems),
        }
    }
    let uuid = params.get("resourceUuid").and_then(Value::as_str);
    if let Some(uuid) = uuid.filter(|uuid| !is_v4(uuid)) {
        problems.push(format!("parameter resourceUuid must be a UUIDv4 as 32 lower-case hex characters, not {uuid:?}"));
    }
    problems
}

fn is_v4(text: &str) -> bool {
    crate::is_uuid(text)
        && matches!(text.as_bytes()[12], b'1'..=b'5')
        && matches!(text.as_bytes()[16], b'8' | b'9' | b'a' | b'b')
}

fn check_value(param: &Param, value: &Value, problems: &mut Vec<String>) {
    let name = &param.name;
    match value {
        Value::String(text) => check_text(param, text, problems),
        Value::Array(items) => {
            if param.nonempty && items.is_empty() {
                problems.push(format!("parameter {name} must have at least one element"));
            }
            for item in items {
                if let Value::String(text) = item {
                    check_text(param, text, problems);
                }
            }
        }
        Value::Number(number) => {
            if let (Some([low, high]), Some(given)) = (&param.number_range, number.as_i64()) {
                let inside =
                    low.as_i64().is_none_or(|low| given >= low) && high.as_i64().is_none_or(|high| given <= high);
                if !inside {
                    problems.push(format!("parameter {name} must be from {low} to {high}, not {given}"));
                }
            }
            // `ipVersion` is a number whose words are "4" and "6".
            if let Some(words) = &param.valid_values
                && !words.iter().any(|word| *word == number.to_string())
            {
                problems.push(format!("parameter {name} must be one of {}, not {number}", words.join(", ")));
            }
        }
        _ => {}
    }
}

fn check_text(param: &Param, text: &str, problems: &mut Vec<String>) {
    let name = &param.name;
    let shown =
        if param.is_secret() { "***".to_owned() } else { format!("{:?}", text.chars().take(80).collect::<String>()) };
    let length = text.chars().count();
    if param.empty_string == Some(false) && text.is_empty() {
        problems.push(format!("parameter {name} must not be empty"));
    }
    if let Some(limit) = param.max_length.filter(|limit| length > *limit) {
        problems.push(format!("parameter {name} has {length} characters; at most {limit} are allowed"));
    }
    if let Some(limit) = param.min_length.filter(|limit| length < *limit) {
        problems.push(format!("parameter {name} has {length} characters; at least {limit} are needed"));
    }
    if let Some(words) = &param.valid_values
        && !words.iter().any(|word| word == text)
    {
        problems.push(format!("parameter {name} must be one of {}, not {shown}", words.join(", ")));
    }
    if let Some(pattern) = &param.valid_regex
        && !matches(pattern, text)
    {
        problems.push(format!("parameter {name} must match {pattern}, which {shown} does not"));
    }
}

/// Whole-text match of a Java pattern; each pattern is compiled once.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<RwLock<HashMap<String, Option<fancy_regex::Regex>>>> = LazyLock::new(Default::default);
    let test = |regex: &Option<fancy_regex::Regex>| regex.as_ref().is_none_or(|r| r.is_match(text).unwrap_or(false));
    if let Some(regex) = COMPILED.read().unwrap_or_else(|e| e.into_inner()).get(pattern) {
        return test(regex);
    }
    let regex = fancy_regex::Regex::new(&format!(r"\A(?:{pattern})\z")).ok();
    let verdict = test(&regex);
    COMPILED.write().unwrap_or_else(|e| e.into_inner()).insert(pattern.to_owned(), regex);
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::contract;

    fn api(name: &str) -> &'static Api {
        contract().api(name).unwrap()
    }

    fn bound(name: &str, path: &[(&str, &str)], query: &[(&str, &str)], body: Value) -> Result<Params, Malformed> {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        bind(api(name), &Sources { path: &own(path), query: &own(query), body: Some(&body) })
    }

    #[test]
    fn texts_are_trimmed_and_numbers_convert_both_ways() {
        let params = bound("CreateVmInstance", &[], &[], json!({"params": {"name": " vm ", "cpuNum": "2"}})).unwrap();
        assert_eq!(params["name"], "vm");
        assert_eq!(params["cpuNum"], 2);
        assert_eq!(params["strategy"], "InstantStart", "defaults of the contract are filled in");
    }

    #[test]
    fn fractions_and_wrong_booleans_are_malformed() {
        let error = bound("CreateVmInstance", &[], &[], json!({"params": {"cpuNum": 1.5}})).unwrap_err();
        assert!(error.0.contains("cpuNum") && error.0.contains("whole number"), "{error}");
        assert!(bound("CreateZone", &[], &[], json!({"params": {"isDefault": "yes"}})).is_err());
        assert_eq!(bound("CreateZone", &[], &[], json!({"params": {"isDefault": "TRUE"}})).unwrap()["isDefault"], true);
    }

    #[test]
    fn path_variables_override_the_body() {
        let params =
            bound("ChangeZoneState", &[("uuid", "a")], &[], json!({"changeZoneState": {"uuid": "b"}})).unwrap();
        assert_eq!(params["uuid"], "a");
    }

    #[test]
    fn tags_at_the_top_level_win() {
        let body = json!({"params": {"name": "z", "systemTags": ["in"]}, "systemTags": ["out"]});
        assert_eq!(bound("CreateZone", &[], &[], body).unwrap()["systemTags"], json!(["out"]));
    }

    #[test]
    fn query_lists_repeat_or_carry_indexes_and_scalars_may_not_repeat() {
        let get = |query| bound("DeleteZone", &[("uuid", "x")], query, Value::Null);
        assert_eq!(get(&[("systemTags", "a"), ("systemTags", "b")]).unwrap()["systemTags"], json!(["a", "b"]));
        assert_eq!(get(&[("systemTags.1", "b"), ("systemTags.0", "a")]).unwrap()["systemTags"], json!(["a", "b"]));
        assert!(get(&[("deleteMode", "Enforcing"), ("deleteMode", "Permissive")]).is_err());
        assert_eq!(get(&[("deleteMode", "")]).unwrap()["deleteMode"], "Permissive");
    }

    #[test]
    fn all_problems_are_reported_at_once_by_name() {
        let params = bound("ChangeZoneState", &[], &[], json!({"changeZoneState": {"stateEvent": "Enable"}})).unwrap();
        let problems = check(api("ChangeZoneState"), &params);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("uuid") && problems[1].contains("enable, disable"));
    }

    #[test]
    fn names_follow_the_contract_pattern() {
        let check_name = |name: &str| {
            check(api("CreateZone"), &bound("CreateZone", &[], &[], json!({"params": {"name": name}})).unwrap())
        };
        assert!(check_name("机房 1 (east)").is_empty());
        assert_eq!(check_name("bad<name>").len(), 1);
        assert!(check_name(&"x".repeat(256))[0].contains("at most 255"));
    }

    #[test]
    fn resource_uuids_must_be_version_4_hex() {
        let problems = |uuid: &str| {
            check(
                api("CreateZone"),
                &bound("CreateZone", &[], &[], json!({"params": {"name": "z", "resourceUuid": uuid}})).unwrap(),
            )
        };
        assert!(problems(&crate::new_uuid()).is_empty());
        assert_eq!(problems("1234").len(), 1);
    }

    #[test]
    fn every_pattern_of_the_contract_compiles() {
        for param in contract().apis().iter().flat_map(|api| &api.params) {
            if let Some(pattern) = &param.valid_regex {
                fancy_regex::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            }
        }
    }
}
