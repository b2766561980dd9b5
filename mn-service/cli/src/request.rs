//! From a command with its parameters to the HTTP request of PROTOCOL.md section 5.

use std::collections::BTreeSet;

use mn_service_types::{Api, binding::Params};
use serde_json::{Map, Value};

/// An HTTP request below `/zstack/v1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: reqwest::Method,
    /// Path with escaped variables, and query string.
    pub path: String,
    /// JSON body of POST and PUT.
    pub body: Option<Value>,
}

impl Request {
    /// The request of a command that is no query; on failure, every problem.
    pub fn call(api: &Api, params: &Params) -> Result<Self, Vec<String>> {
        let (path, used) = choose_path(api, params)?;
        let method: reqwest::Method =
            api.method.parse().map_err(|_| vec![format!("{}: {} is no HTTP method", api.name, api.method)])?;
        let rest = || params.iter().filter(|(name, _)| !used.contains(name.as_str()));
        if matches!(api.method.as_str(), "POST" | "PUT") {
            return Ok(Self { method, path, body: Some(body(api, rest())) });
        }
        let mut pairs = Vec::new();
        for (name, value) in rest() {
            append(&mut pairs, name, value);
        }
        Ok(Self { method, path: with_query(path, &pairs), body: None })
    }

    /// The request of a query command.
    pub fn query(api: &Api, pairs: &[(String, String)]) -> Self {
        Self { method: reqwest::Method::GET, path: with_query(api.path.clone(), pairs), body: None }
    }
}

/// The main path, or the first optional one, whose variables are all given; with the names it uses up.
fn choose_path<'a>(api: &'a Api, params: &Params) -> Result<(String, BTreeSet<&'a str>), Vec<String>> {
    // Some APIs of the contract have only optional paths; their main path is the word `null`.
    let paths = || api.paths().filter(|path| path.starts_with('/'));
    let fits = |path: &&str| variables(path).iter().all(|name| params.contains_key(*name));
    let Some(path) = paths().find(fits) else {
        let shortest = paths().min_by_key(|path| variables(path).len()).unwrap_or_default();
        return Err(variables(shortest)
            .into_iter()
            .filter(|name| !params.contains_key(*name))
            .map(|name| format!("parameter {name} is required: it is part of the path {shortest}"))
            .collect());
    };
    let (mut filled, mut problems) = (String::new(), Vec::new());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let mut text_of = segment.to_owned();
        for name in variables(segment) {
            let given = params.get(name).map(text).unwrap_or_default();
            text_of = text_of.replace(&format!("{{{name}}}"), &escape(&given, ""));
            // An empty segment vanishes and dots climb: the request would reach another path.
            if matches!(given.as_str(), "" | "." | "..") {
                problems.push(format!("parameter {name} must not be empty, \".\" or \"..\": it is part of the path"));
            }
        }
        filled.push('/');
        filled.push_str(&text_of);
    }
    if problems.is_empty() { Ok((filled, variables(path).into_iter().collect())) } else { Err(problems) }
}

/// Names between braces.
fn variables(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

fn body<'p>(api: &Api, params: impl Iterator<Item = (&'p String, &'p Value)>) -> Value {
    let (mut inner, mut outer) = (Map::new(), Map::new());
    for (name, value) in params {
        // Tags stand beside the wrapped object, as the published clients send them.
        let target = if matches!(name.as_str(), "systemTags" | "userTags") { &mut outer } else { &mut inner };
        target.insert(name.clone(), value.clone());
    }
    match &api.body_key {
        Some(key) => {
            let mut body = Map::from_iter([(key.clone(), Value::Object(inner))]);
            body.extend(outer);
            Value::Object(body)
        }
        None => {
            inner.extend(outer);
            Value::Object(inner)
        }
    }
}

/// Lists repeat their key, maps become `name.key`.
fn append(pairs: &mut Vec<(String, String)>, name: &str, value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| pairs.push((name.to_owned(), text(item)))),
        Value::Object(map) => map.iter().for_each(|(key, value)| append(pairs, &format!("{name}.{key}"), value)),
        scalar => pairs.push((name.to_owned(), text(scalar))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn with_query(mut path: String, pairs: &[(String, String)]) -> String {
    for (index, (key, value)) in pairs.iter().enumerate() {
        path.push(if index == 0 { '?' } else { '&' });
        path.push_str(&escape(key, ""));
        path.push('=');
        path.push_str(&escape(value, "=,:/*()"));
    }
    path
}

/// Percent-escapes all but letters, digits, `-._~` and `also`. A blank becomes `%20`, which every server reads the
/// same way in paths and in query strings.
pub fn escape(text: &str, also: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.as_bytes().contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// A request without parameters, for calls the program makes on its own.
pub fn get(path: impl Into<String>) -> Request {
    Request { method: reqwest::Method::GET, path: path.into(), body: None }
}

#[cfg(test)]
mod tests {
    use mn_service_types::contract;
    use serde_json::json;

    use super::*;
    use crate::{arguments, query, words};

    fn built(line: &str) -> Result<(String, String, Value), Vec<String>> {
        let words = words::split(line).unwrap();
        let api = contract().api(&words[0]).unwrap();
        let request = match api.kind {
            mn_service_types::ApiKind::Query => Request::query(api, &query::parse(api, &words[1..])?),
            _ => Request::call(api, &arguments::parse(api, &words[1..])?)?,
        };
        Ok((request.method.to_string(), request.path, request.body.unwrap_or(Value::Null)))
    }

    const ZONE: &str = "9b26312501614ec0b6dc731e6977dfb2";

    // The worked examples of PROTOCOL.md section 16.

    #[test]
    fn query_zones() {
        let (method, path, body) =
            built("QueryZone name~=z state=Enabled limit=20 start=0 replyWithCount=true sort=-createDate").unwrap();
        assert_eq!(method, "GET");
        assert_eq!(
            path,
            "/zones?q=name~=%25z%25&q=state=Enabled&limit=20&start=0&replyWithCount=true&sort=-createDate"
        );
        assert_eq!(body, Value::Null);
    }

    #[test]
    fn create_zone() {
        let (method, path, body) = built("CreateZone name=zone1 description=first systemTags= userTags=").unwrap();
        assert_eq!((method.as_str(), path.as_str()), ("POST", "/zones"));
        assert_eq!(
            body,
            json!({"params": {"name": "zone1", "description": "first"}, "systemTags": [], "userTags": []})
        );
    }

    #[test]
    fn create_vm() {
        let (_, path, body) = built(
            "CreateVmInstance name=vm1 instanceOfferingUuid=66a3a0e5d1a94b7d8a3b6c1f7d2e0a11 \
             imageUuid=7c5f8c0e2b1a4f0f9f0d6b1e3c2a4d55 l3NetworkUuids=0d9e1f2a3b4c4d5e8f60718293a4b5c6 \
             dataDiskOfferingUuids= strategy=InstantStart systemTags=hostname::vm1,bootMode::Legacy",
        )
        .unwrap();
        assert_eq!(path, "/vm-instances");
        assert_eq!(
            body,
            json!({"params": {"name": "vm1", "instanceOfferingUuid": "66a3a0e5d1a94b7d8a3b6c1f7d2e0a11",
              "imageUuid": "7c5f8c0e2b1a4f0f9f0d6b1e3c2a4d55", "l3NetworkUuids": ["0d9e1f2a3b4c4d5e8f60718293a4b5c6"],
              "dataDiskOfferingUuids": [], "strategy": "InstantStart"},
              "systemTags": ["hostname::vm1", "bootMode::Legacy"]})
        );
    }

    #[test]
    fn stop_vm() {
        let (method, path, body) = built(&format!("StopVmInstance uuid={ZONE} type=grace")).unwrap();
        assert_eq!((method.as_str(), path), ("PUT", format!("/vm-instances/{ZONE}/actions")));
        assert_eq!(body, json!({"stopVmInstance": {"type": "grace"}}));
        assert_eq!(built(&format!("StartVmInstance uuid={ZONE}")).unwrap().2, json!({"startVmInstance": {}}));
    }

    #[test]
    fn delete_zone() {
        let (method, path, body) = built(&format!("DeleteZone uuid={ZONE} deleteMode=Permissive")).unwrap();
        assert_eq!((method.as_str(), path), ("DELETE", format!("/zones/{ZONE}?deleteMode=Permissive")));
        assert_eq!(body, Value::Null);
    }

    #[test]
    fn log_in() {
        let (method, path, body) = built("LogInByAccount accountName=admin password=x").unwrap();
        assert_eq!((method.as_str(), path.as_str()), ("PUT", "/accounts/login"));
        assert_eq!(body, json!({"logInByAccount": {"accountName": "admin", "password": "x"}}));
    }

    // Paths.

    #[test]
    fn path_variables_are_escaped_and_leave_the_body() {
        let (_, path, body) = built("UpdateGlobalConfig category=identity name='a b/c?d' value=1").unwrap();
        assert_eq!(path, "/global-configurations/identity/a%20b%2Fc%3Fd/actions");
        assert_eq!(body, json!({"updateGlobalConfig": {"value": "1"}}));
    }

    #[test]
    fn a_path_variable_that_would_change_the_path_is_refused() {
        for bad in ["", ".", ".."] {
            let problems = built(&format!("DeleteZone uuid={bad}")).unwrap_err();
            assert!(problems[0].contains("part of the path"), "{problems:?}");
        }
    }

    #[test]
    fn extensions_are_called_like_any_other() {
        let (_, path, _) = built(&format!("PreviewDeletion api=DeleteZone uuid={ZONE} deleteMode=Enforcing")).unwrap();
        assert_eq!(path, format!("/extensions/deletion-previews/DeleteZone/{ZONE}?deleteMode=Enforcing"));
    }

    #[test]
    fn an_optional_variable_of_the_only_path_is_asked_for() {
        assert!(built("GetTaskProgress all=true").unwrap_err()[0].contains("apiId is required"));
    }

    #[test]
    fn optional_paths_are_used_when_their_variables_are_given() {
        assert_eq!(built("GetFreeIp limit=3").unwrap().1, "/l3-networks/ip/free?limit=3");
        let (_, path, _) = built(&format!("GetFreeIp l3NetworkUuid={ZONE}")).unwrap();
        // Both forms are the same call: the parameter may stand in the path or in the query string.
        assert_eq!(path, format!("/l3-networks/ip/free?l3NetworkUuid={ZONE}"));
    }

    #[test]
    fn lists_and_maps_of_a_query_string() {
        let (_, path, _) = built("LogOut sessionUuid=s clientInfo.ip=1.2.3.4 systemTags=a,b").unwrap();
        let (path, pairs) = path.split_once('?').unwrap();
        assert_eq!(path, "/accounts/sessions/s");
        let mut pairs: Vec<&str> = pairs.split('&').collect();
        pairs.sort_unstable();
        assert_eq!(pairs, ["clientInfo.ip=1.2.3.4", "systemTags=a", "systemTags=b"]);
    }

    /// What we build, the server's own binding reads back, for every API of the contract.
    #[test]
    fn every_api_reads_back_what_was_sent() {
        use mn_service_types::{binding, shape::Shape};
        for api in contract().apis().iter().filter(|api| api.kind != mn_service_types::ApiKind::Query) {
            let mut params = Params::new();
            for param in &api.params {
                let sample = match Shape::parse(&param.ty) {
                    Shape::Integer => json!(7),
                    Shape::Float => json!(1.5),
                    Shape::Boolean => json!(true),
                    Shape::Map => json!({"k": "v"}),
                    Shape::Structure(_) => json!({"name": "v"}),
                    Shape::List(inner) => match *inner {
                        Shape::Integer => json!([1, 2]),
                        Shape::Map | Shape::Structure(_) => continue,
                        _ => json!(["a b", "c"]),
                    },
                    _ => json!("a/b =&+%ü"),
                };
                params.insert(param.name.clone(), sample);
            }
            // APIs with several paths cannot carry all of their path-only variables in one of them.
            let Ok(request) = Request::call(api, &params) else { panic!("{}: no path", api.name) };
            if api.body_key.is_none() && request.body.is_some() {
                continue;
            }
            let url = reqwest::Url::parse(&format!("http://h{}", request.path)).unwrap();
            let segments: Vec<&str> = url.path_segments().unwrap().collect();
            let pattern = api
                .paths()
                .find(|p| p.starts_with('/') && matches_pattern(p, &segments))
                .unwrap_or_else(|| panic!("{}: {} fits no path", api.name, request.path));
            let path: Vec<(String, String)> = pattern
                .split('/')
                .filter(|s| !s.is_empty())
                .zip(&segments)
                .filter_map(|(p, s)| {
                    let (before, rest) = p.split_once('{')?;
                    Some((rest.trim_end_matches('}').to_owned(), unescape(&s[before.len()..])))
                })
                .collect();
            let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            let sources = binding::Sources { path: &path, query: &query, body: request.body.as_ref() };
            let bound = binding::bind(api, &sources).unwrap_or_else(|e| panic!("{}: {e}", api.name));
            for (name, sent) in &params {
                assert_eq!(bound.get(name), Some(sent), "{}: {name} via {}", api.name, request.path);
            }
        }
    }

    fn matches_pattern(pattern: &str, segments: &[&str]) -> bool {
        let parts: Vec<&str> = pattern.split('/').filter(|s| !s.is_empty()).collect();
        let fits = |part: &str, segment: &str| match part.split_once('{') {
            Some((before, _)) => segment.starts_with(before),
            None => part == segment,
        };
        parts.len() == segments.len() && parts.iter().zip(segments).all(|(part, segment)| fits(part, segment))
    }

    fn unescape(text: &str) -> String {
        let url = reqwest::Url::parse(&format!("http://h/?x={}", text.replace('+', "%2B"))).unwrap();
        url.query_pairs().next().unwrap().1.into_owned()
    }
}
