//! Passwords: where they come from, and the form in which they travel (PROTOCOL.md section 3).

use mn_service_types::{Api, Param, binding::Params};
use serde_json::Value;
use sha2::{Digest, Sha512};

use crate::failure::Failure;

/// APIs whose passwords belong to accounts and users of the cloud: the server stores and compares SHA-512. Passwords
/// of hosts, directories and the like are used by the server in clear and go as they are.
const HASHED: [&str; 9] = [
    "LogInByAccount",
    "LogInByUser",
    "CreateAccount",
    "CreateUser",
    "UpdateAccount",
    "UpdateUser",
    "LoginIAM2VirtualID",
    "CreateIAM2VirtualID",
    "UpdateIAM2VirtualID",
];

/// Where a password may come from beside `password=`.
#[derive(Debug)]
pub enum Source<'a> {
    /// Nowhere.
    None,
    /// The first line of standard input, already read.
    Line(&'a str),
    /// The person at the terminal; the function asks with a prompt and does not echo.
    Ask(fn(&str) -> Result<String, Failure>),
}

/// The parameter that `--password-stdin` fills.
fn main_secret(api: &Api) -> Option<&Param> {
    api.param("password").or_else(|| {
        let mut secrets = api.params.iter().filter(|param| param.is_secret());
        secrets.next().filter(|_| secrets.next().is_none())
    })
}

/// Secrets that a person at the terminal is asked for: required ones left out, and any given empty.
pub fn wanted<'a>(api: &'a Api, params: &Params) -> Vec<&'a Param> {
    let secrets = api.params.iter().filter(|param| param.is_secret());
    secrets
        .filter(|param| match params.get(&param.name) {
            None => param.required,
            Some(value) => value.as_str() == Some(""),
        })
        .collect()
}

/// Fills in secrets that were not typed as `key=value`. With `check`, the other parameters are judged first, so
/// that nobody types a password for a call that cannot be sent.
pub fn fill(
    api: &Api,
    params: &mut Params,
    source: &Source<'_>,
    check: impl Fn(&Api, &Params) -> Vec<String>,
) -> Result<(), Failure> {
    match source {
        Source::None => {}
        Source::Line(line) => {
            let Some(param) = main_secret(api) else {
                let problem = format!("{} takes no password; run it without --password-stdin", api.name);
                return Err(Failure::Usage(vec![problem]));
            };
            if params.contains_key(&param.name) {
                let problem = format!("{} is given as {0}= and by --password-stdin; give one of them", param.name);
                return Err(Failure::Usage(vec![problem]));
            }
            params.insert(param.name.clone(), Value::String((*line).to_owned()));
        }
        Source::Ask(ask) => {
            let wanted = wanted(api, params);
            if wanted.is_empty() {
                return Ok(());
            }
            let mut rest = api.clone();
            rest.params.retain(|param| !wanted.iter().any(|secret| secret.name == param.name));
            let problems = check(&rest, params);
            if !problems.is_empty() {
                return Err(Failure::Usage(problems));
            }
            let is_login = api.name.to_ascii_lowercase().starts_with("login");
            for param in wanted {
                let secret = ask(&format!("{}: ", param.name))?;
                // A typing error in a new password would lock its owner out; in a login it only fails.
                if !is_login && ask(&format!("{} again: ", param.name))? != secret {
                    return Err(Failure::Usage(vec![format!(
                        "the two entries of {} differ; nothing was sent",
                        param.name
                    )]));
                }
                params.insert(param.name.clone(), Value::String(secret));
            }
        }
    }
    Ok(())
}

/// Replaces passwords by their hashes where the server wants hashes.
pub fn hash(api: &Api, params: &mut Params) {
    // A general login takes the account's hash, or the directory's clear text, by its type.
    let general = api.name == "LogIn" && params.get("loginType").and_then(Value::as_str) == Some("account");
    if !general && !HASHED.contains(&api.name.as_str()) {
        return;
    }
    for name in ["password", "oldPassword"] {
        if let Some(Value::String(clear)) = params.get_mut(name) {
            *clear = hex::encode(Sha512::digest(clear.as_bytes()));
        }
    }
}

/// True when a typed line carries a secret and must not be kept.
pub fn in_line(line: &str) -> bool {
    let words = crate::words::scan(line).words;
    let api = words.first().and_then(|word| crate::command::find(&word.text));
    words.iter().skip(1).any(|word| {
        let Some((key, _)) = word.text.split_once('=') else { return false };
        key.to_ascii_lowercase().contains("password")
            || api.and_then(|api| api.param(key)).is_some_and(Param::is_secret)
    }) || line.to_ascii_lowercase().contains("password=")
}

#[cfg(test)]
mod tests {
    use mn_service_types::contract;
    use serde_json::{Map, json};

    use super::*;
    use crate::arguments;

    fn api(name: &str) -> &'static Api {
        contract().api(name).unwrap()
    }

    fn params(value: Value) -> Params {
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    #[test]
    fn account_passwords_are_hashed_and_host_passwords_are_not() {
        let hashed = |name: &str, given: Value| {
            let mut params = params(given);
            hash(api(name), &mut params);
            params["password"].as_str().unwrap().to_owned()
        };
        // The worked example of PROTOCOL.md section 16.
        let known = "b109f3bbbc244eb82441917ed06d618b9008dd09b3befd1b5e07394c706a8bb980b1d7785e5976ec049b46df5f1326af5a2ea6d103fd07c95385ffab0cacbc86";
        for name in HASHED {
            assert_eq!(hashed(name, json!({"password": "password"})), known, "{name}");
        }
        assert_eq!(hashed("AddKVMHost", json!({"password": "password"})), "password");
        assert_eq!(hashed("LogIn", json!({"password": "password", "loginType": "account"})), known);
        assert_eq!(hashed("LogIn", json!({"password": "password", "loginType": "ldap"})), "password");
    }

    #[test]
    fn every_hashed_api_is_in_the_contract_with_a_password() {
        for name in HASHED {
            assert!(api(name).param("password").is_some(), "{name}");
        }
    }

    #[test]
    fn a_line_from_standard_input_fills_the_password() {
        let mut given = params(json!({"accountName": "admin"}));
        fill(api("LogInByAccount"), &mut given, &Source::Line("p w"), arguments::check).unwrap();
        assert_eq!(given["password"], "p w");
        assert!(fill(api("LogInByAccount"), &mut given, &Source::Line("x"), arguments::check).is_err());
        assert!(fill(api("CreateZone"), &mut Params::new(), &Source::Line("x"), arguments::check).is_err());
    }

    #[test]
    fn a_person_is_asked_only_when_the_rest_is_right() {
        fn never(_: &str) -> Result<String, Failure> {
            panic!("asked although another parameter is missing")
        }
        let error = fill(api("LogInByAccount"), &mut Params::new(), &Source::Ask(never), arguments::check).unwrap_err();
        assert!(error.to_string().contains("accountName is required"), "{error}");
        assert!(!error.to_string().contains("password"), "{error}");

        fn once(_: &str) -> Result<String, Failure> {
            Ok("typed".to_owned())
        }
        let mut given = params(json!({"accountName": "admin"}));
        fill(api("LogInByAccount"), &mut given, &Source::Ask(once), arguments::check).unwrap();
        assert_eq!(given["password"], "typed");
    }

    #[test]
    fn a_new_password_is_asked_twice_and_must_agree() {
        fn differs(prompt: &str) -> Result<String, Failure> {
            Ok(prompt.to_owned())
        }
        let mut given = params(json!({"uuid": mn_service_types::ADMIN_ACCOUNT, "password": ""}));
        let error = fill(api("UpdateAccount"), &mut given, &Source::Ask(differs), arguments::check).unwrap_err();
        assert!(error.to_string().contains("differ"), "{error}");
    }

    #[test]
    fn lines_with_secrets_are_recognised() {
        assert!(in_line("LogInByAccount accountName=admin password=x"));
        assert!(in_line("SetVmConsolePassword uuid=u consolePassword='x"));
        assert!(in_line("typo PASSWORD=x"));
        assert!(!in_line("QueryZone name=password"));
    }
}
