//! `key=value` words of a command that is no query, converted to the types the contract declares.

use mn_service_types::{
    Api, Param,
    binding::{self, Params},
    shape::Shape,
};
use serde_json::{Map, Value};

/// Reads the words; on failure, every problem.
pub fn parse(api: &Api, words: &[String]) -> Result<Params, Vec<String>> {
    let mut raw = Map::new();
    let mut problems = Vec::new();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            problems.push(format!("{word:?} is not of the form key=value"));
            continue;
        };
        if let Err(problem) = add(api, &mut raw, key, value) {
            problems.push(problem);
        }
    }
    let mut params = Params::new();
    for (name, value) in raw {
        // One at a time, so that every value that does not convert is reported and no default is filled in.
        match binding::bind_flat(api, &Map::from_iter([(name.clone(), value)])) {
            Ok(mut bound) => params.extend(bound.remove(&name).map(|value| (name, value))),
            Err(malformed) => problems.push(hide(api, &name, malformed.0)),
        }
    }
    if problems.is_empty() { Ok(params) } else { Err(problems) }
}

/// A conversion error quotes the value; a secret must not be quoted.
fn hide(api: &Api, name: &str, problem: String) -> String {
    match api.param(name) {
        Some(param) if param.is_secret() => format!("parameter {name} must be {}", type_name(param)),
        _ => problem,
    }
}

/// All limits of the contract, with the words and ranges that a missing parameter may have.
pub fn check(api: &Api, params: &Params) -> Vec<String> {
    let mut problems = binding::check(api, params);
    for problem in &mut problems {
        let missing = api.params.iter().find(|param| *problem == format!("parameter {} is required", param.name));
        if let Some(param) = missing {
            *problem = format!("{problem}: {}", describe(param));
        }
    }
    problems
}

/// `one of enable, disable`, `whole number from 1 to 65535`, `text of at most 255 characters`.
pub fn describe(param: &Param) -> String {
    let mut text = match &param.valid_values {
        Some(words) => format!("one of {}", words.join(", ")),
        None => type_name(param),
    };
    if let Some([low, high]) = &param.number_range {
        text.push_str(&format!(" from {low} to {high}"));
    }
    match (param.min_length, param.max_length) {
        (Some(low), Some(high)) => text.push_str(&format!(" of {low} to {high} characters")),
        (Some(low), None) => text.push_str(&format!(" of at least {low} characters")),
        (None, Some(high)) => text.push_str(&format!(" of at most {high} characters")),
        (None, None) => {}
    }
    if let Some(kind) = param.resource_type.as_deref() {
        text.push_str(&format!(", uuid of a {}", kind.strip_suffix("VO").unwrap_or(kind)));
    }
    if let Some(pattern) = &param.valid_regex {
        text.push_str(&format!(", matching {pattern}"));
    }
    if param.nonempty {
        text.push_str(", at least one element");
    }
    text
}

fn type_name(param: &Param) -> String {
    let one = |shape: &Shape| match shape {
        Shape::Text => "text".to_owned(),
        Shape::Integer => "whole number".to_owned(),
        Shape::Float => "number".to_owned(),
        Shape::Boolean => "true or false".to_owned(),
        Shape::Timestamp => "date".to_owned(),
        Shape::Map => "JSON object, or name.key=value".to_owned(),
        Shape::Structure(name) => format!("JSON object ({name})"),
        Shape::List(_) => "JSON array".to_owned(),
        Shape::Any => "text or JSON".to_owned(),
    };
    match Shape::parse(&param.ty) {
        Shape::List(inner) => match *inner {
            Shape::Text | Shape::Integer | Shape::Any => "list, separated by commas".to_owned(),
            other => format!("list of {}", one(&other)),
        },
        shape => one(&shape),
    }
}

fn add(api: &Api, raw: &mut Map<String, Value>, key: &str, value: &str) -> Result<(), String> {
    if let Some((map, entry)) = key.split_once('.')
        && api.param(map).is_some_and(|param| Shape::parse(&param.ty) == Shape::Map)
    {
        if let Value::Object(object) = raw.entry(map).or_insert_with(|| Value::Object(Map::new())) {
            object.insert(entry.to_owned(), Value::String(value.to_owned()));
        }
        return Ok(());
    }
    let Some(param) = api.param(key) else {
        // `name!=x` and the like are conditions of queries.
        if key.ends_with(['!', '~', '?', '<', '>']) {
            return Err(format!("{key}= is a query condition; {} takes key=value", api.name));
        }
        let near = crate::command::nearest(key, api.params.iter().map(|param| param.name.as_str()));
        return Err(match near.as_slice() {
            [] => format!("{} has no parameter {key}; see: help {0}", api.name),
            near => format!("{} has no parameter {key}; near it are {}", api.name, near.join(", ")),
        });
    };
    match Shape::parse(&param.ty) {
        Shape::List(_) => {
            let items = list_items(key, value)?;
            if let Value::Array(all) = raw.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
                all.extend(items);
            }
        }
        shape => {
            let converted = match shape {
                Shape::Map | Shape::Structure(_) => Some(read_json(key, value)?),
                Shape::Any if value.starts_with(['{', '[']) => Some(read_json(key, value)?),
                _ => None,
            };
            if raw.insert(key.to_owned(), converted.unwrap_or_else(|| value.into())).is_some() {
                return Err(format!("parameter {key} is given more than once; it takes one value"));
            }
        }
    }
    Ok(())
}

/// `a,b`, `["a","b"]`, or one JSON object of a list of objects.
fn list_items(key: &str, value: &str) -> Result<Vec<Value>, String> {
    match value.trim_start().chars().next() {
        None => Ok(Vec::new()),
        Some('[') => match read_json(key, value)? {
            Value::Array(items) => Ok(items),
            other => Ok(vec![other]),
        },
        Some('{') => Ok(vec![read_json(key, value)?]),
        Some(_) => Ok(value.split(',').map(|item| item.trim().into()).collect()),
    }
}

fn read_json(key: &str, value: &str) -> Result<Value, String> {
    serde_json::from_str(value)
        .map_err(|error| format!("parameter {key} takes JSON such as {key}={{\"name\":\"value\"}}: {error}"))
}

#[cfg(test)]
mod tests {
    use mn_service_types::contract;
    use serde_json::json;

    use super::*;

    fn parsed(name: &str, words: &[&str]) -> Result<Params, Vec<String>> {
        parse(contract().api(name).unwrap(), &words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_become_their_declared_types_and_defaults_stay_with_the_server() {
        let words = ["name=vm 1", "cpuNum=2", "memorySize=1073741824", "l3NetworkUuids=a,b", "l3NetworkUuids=c"];
        assert_eq!(
            Value::Object(parsed("CreateVmInstance", &words).unwrap()),
            json!({"name": "vm 1", "cpuNum": 2, "memorySize": 1073741824_i64, "l3NetworkUuids": ["a", "b", "c"]})
        );
        assert_eq!(parsed("CreateZone", &["isDefault=TRUE"]).unwrap()["isDefault"], true);
    }

    #[test]
    fn values_keep_equals_signs_and_tags_keep_colons() {
        let params = parsed("CreateZone", &["description=a=b", "systemTags=host::x::1"]).unwrap();
        assert_eq!(params["description"], "a=b");
        assert_eq!(params["systemTags"], json!(["host::x::1"]));
        assert_eq!(parsed("CreateZone", &["systemTags="]).unwrap()["systemTags"], json!([]));
    }

    #[test]
    fn objects_and_maps_are_json_or_dotted() {
        let json_form = parsed("LogInByAccount", &[r#"clientInfo={"ip":"1.2.3.4"}"#]).unwrap();
        let dotted = parsed("LogInByAccount", &["clientInfo.ip=1.2.3.4"]).unwrap();
        assert_eq!(json_form, dotted);
        let tags = parsed("CreateZone", &[r#"systemTags=["a,b","c"]"#]).unwrap();
        assert_eq!(tags["systemTags"], json!(["a,b", "c"]), "JSON carries commas");
        assert!(parsed("LogInByAccount", &["clientInfo=x"]).unwrap_err()[0].contains("JSON"));
    }

    #[test]
    fn a_text_that_looks_like_json_stays_a_text() {
        let params = parsed("SubmitLongJob", &[r#"jobData={"name":"i"}"#]).unwrap();
        assert_eq!(params["jobData"], r#"{"name":"i"}"#);
    }

    #[test]
    fn every_problem_is_reported() {
        let problems = parsed("CreateZone", &["nmae=x", "isDefault=maybe", "stray", "description=a", "description=b"]);
        let problems = problems.unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        let all = problems.join("\n");
        for part in ["no parameter nmae", "name", "\"stray\"", "description is given more than once", "isDefault must"]
        {
            assert!(all.contains(part), "{part} is missing in {all}");
        }
    }

    #[test]
    fn a_missing_parameter_is_reported_with_its_words() {
        let api = contract().api("ChangeZoneState").unwrap();
        let problems = check(api, &Params::new());
        assert_eq!(problems.len(), 2);
        assert!(problems.iter().any(|p| p.contains("stateEvent is required: one of enable, disable")), "{problems:?}");
    }

    #[test]
    fn descriptions_name_ranges_lengths_and_resources() {
        let describe = |api: &str, param: &str| describe(contract().api(api).unwrap().param(param).unwrap());
        assert!(describe("AddKVMHost", "sshPort").contains("whole number from 1 to 65535"));
        assert!(describe("DeleteZone", "uuid").contains("uuid of a Zone"));
        assert!(describe("CreateZone", "description").contains("at most 2048 characters"));
    }

    /// OPS-CLI-030 to OPS-CLI-048: the commands the manual's procedures rely on are accepted as printed there.
    #[test]
    fn commands_of_the_manual_are_accepted() {
        let uuid = "36c27e8ff05c4780bf6d2fa65700f22e";
        for line in [
            "UpdateAccount uuid=U password=new",
            "UpdateKvmHost uuid=U managementIp=10.0.0.1",
            "UpdateKVMHost uuid=U password=new",
            "ReconnectHost uuid=U",
            "UpdateSftpBackupStorage uuid=U hostname=10.0.0.1",
            "UpdateGlobalConfig category=identity name=\"session.maxConcurrent\" value=1000",
            "CreateVip l3NetworkUuid=U name=vip requiredIp=10.0.0.9",
            "ChangeInstanceOffering instanceOfferingUuid=U vmInstanceUuid=U",
            "StopVmInstance uuid=U",
            "StartVmInstance uuid=U",
            "CreateSystemTag resourceType=VmInstanceVO resourceUuid=U tag=windows::virtioVolume",
            "AttachIsoToVmInstance isoUuid=U vmInstanceUuid=U",
            "SetVmBootOrder bootOrder=CdRom uuid=U",
            "SetVmStaticIp ip=10.0.0.2 l3NetworkUuid=U vmInstanceUuid=U",
            "CreateVmInstance name=ceph instanceOfferingUuid=U l3NetworkUuids=U imageUuid=U systemTags=staticIp::U::10.0.0.2",
            "LocalStorageMigrateVolume destHostUuid=U volumeUuid=U",
            "SyncVolumeSize uuid=U",
            "CheckIpAvailability ip=10.0.0.3 l3NetworkUuid=U",
            "GetFreeIp l3NetworkUuid=U",
            "LogInByAccount accountName=admin password=password",
            "LogOut sessionUuid=U",
        ] {
            let words = crate::words::split(line).unwrap();
            let words: Vec<String> = words.iter().map(|w| w.replace("=U", &format!("={uuid}"))).collect();
            let api = crate::command::find(&words[0]).unwrap_or_else(|| panic!("{line}: unknown command"));
            let params = parse(api, &words[1..]).unwrap_or_else(|p| panic!("{line}: {p:?}"));
            assert_eq!(check(api, &params), Vec::<String>::new(), "{line}");
            crate::request::Request::call(api, &params).unwrap_or_else(|p| panic!("{line}: {p:?}"));
        }
    }
}
