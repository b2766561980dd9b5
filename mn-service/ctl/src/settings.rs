//! Showing and changing `mn-service.toml` (OPS-CTL-020 to OPS-CTL-022). What is changed is checked by the service's own
//! type; comments and everything else in the file stay.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use mn_service_config::Config;
use serde_json::{Value, json};
use toml_edit::{DocumentMut, Item};

use crate::failure::{AtPath as _, Failure};

/// Shown instead of passwords.
const MASK: &str = "********";

/// The configuration in force for the next start; what to print.
pub fn show(file: &Path) -> Result<(Value, Vec<String>), Failure> {
    let mut config = parse(file, &read(file)?)?;
    config.database.url = config.database.url.as_deref().map(masked);
    let values = serde_json::to_value(&config).map_err(|error| Failure::new(error.to_string()))?;
    let mut lines = vec![format!("# {}", file.display())];
    for (key, value) in values.as_object().into_iter().flatten() {
        match value {
            Value::Object(table) => {
                lines.extend(table.iter().map(|(inner, value)| line(&format!("{key}.{inner}"), value)));
            }
            value => lines.push(line(key, value)),
        }
    }
    Ok((json!({"file": file, "values": values}), lines))
}

fn line(key: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("{key} ="),
        Value::String(text) => format!("{key} = {text}"),
        other => format!("{key} = {other}"),
    }
}

/// A database's URL without its password.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@').map(|(user, host)| (user.split_once(':'), host)) {
        Some((Some((user, _)), host)) => format!("{scheme}://{user}:{MASK}@{host}"),
        _ => url.to_owned(),
    }
}

/// The changes as they were given, or with `-` those on standard input.
pub fn given(changes: &[String]) -> Vec<String> {
    if changes != ["-"] {
        return changes.to_vec();
    }
    io::stdin().lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()).collect()
}

/// Changes keys: `key=value`, and `key=` for the default. All of them, or none.
pub fn configure(file: &Path, changes: &[String]) -> Result<(Value, Vec<String>), Failure> {
    let text = changed(file, &read(file)?, changes)?;
    write(file, &text)?;
    let keys: Vec<&str> = changes.iter().filter_map(|change| Some(change.split_once('=')?.0.trim())).collect();
    let lines = vec![format!("{} changed: {}; restart_node takes it into use", file.display(), keys.join(", "))];
    Ok((json!({"file": file, "changed": keys}), lines))
}

/// `save_config`: changes are in the file already; this says whether a service would start with it.
pub fn save(file: &Path) -> Result<(Value, Vec<String>), Failure> {
    let problems = parse(file, &read(file)?)?.problems();
    if !problems.is_empty() {
        return Err(Failure::all(&format!("{} cannot be used", file.display()), &problems));
    }
    Ok((json!({"file": file}), vec![format!("the configuration is saved in {}", file.display())]))
}

fn read(file: &Path) -> Result<String, Failure> {
    match fs::read_to_string(file) {
        // The service takes its defaults then.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.at("read", file),
    }
}

fn parse(file: &Path, text: &str) -> Result<Config, Failure> {
    toml::from_str(text).map_err(|error| Failure::new(format!("{}: {error}", file.display())))
}

/// The text of the file with the changes.
pub(crate) fn changed(file: &Path, text: &str, changes: &[String]) -> Result<String, Failure> {
    let mut document: DocumentMut =
        text.parse().map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let example = toml::Table::try_from(Config::example()).map_err(|error| Failure::new(error.to_string()))?;
    let mut problems = Vec::new();
    for change in changes {
        let Some((key, value)) = change.split_once('=') else {
            problems.push(format!("{change:?} is not key=value"));
            continue;
        };
        let key = key.trim();
        match typed(&example, key, value.trim()) {
            Ok(value) => put(&mut document, key, value),
            Err(problem) => problems.push(problem),
        }
    }
    let text = document.to_string();
    if problems.is_empty() {
        problems = parse(file, &text)?.problems();
    }
    if problems.is_empty() {
        return Ok(text);
    }
    Err(Failure::all("nothing was changed", &problems).hint("show_configuration lists all keys with their values"))
}

/// The value of a key in its type; nothing to take the key out.
fn typed(example: &toml::Table, key: &str, text: &str) -> Result<Option<toml_edit::Value>, String> {
    let known = match key.split_once('.') {
        Some((table, inner)) => example.get(table).and_then(|table| table.get(inner)),
        None => example.get(key),
    };
    let Some(known) = known.filter(|known| !known.is_table()) else {
        return Err(format!("{key}: there is no such key"));
    };
    if text.is_empty() {
        return Ok(None);
    }
    let value: toml_edit::Value = match known {
        toml::Value::Boolean(_) => {
            text.parse::<bool>().map_err(|_| format!("{key}: {text:?} is neither true nor false"))?.into()
        }
        toml::Value::Integer(_) => text.parse::<i64>().map_err(|_| format!("{key}: {text:?} is no number"))?.into(),
        _ => text.into(),
    };
    // By itself, so that each wrong value is named.
    let mut alone = DocumentMut::new();
    put(&mut alone, key, Some(value.clone()));
    match toml::from_str::<Config>(&alone.to_string()) {
        Ok(_) => Ok(Some(value)),
        Err(error) => Err(format!("{key}: {}", error.message())),
    }
}

fn put(document: &mut DocumentMut, key: &str, value: Option<toml_edit::Value>) {
    let (table, key) = match key.split_once('.') {
        Some((table, inner)) => {
            let table = document.entry(table).or_insert(Item::Table(toml_edit::Table::new()));
            (table.as_table_like_mut(), inner)
        }
        None => (Some(document.as_table_mut() as &mut dyn toml_edit::TableLike), key),
    };
    let Some(table) = table else { return };
    match (value, table.get_mut(key).and_then(Item::as_value_mut)) {
        (Some(value), Some(old)) => {
            // What stands beside the old value, such as a comment, stays.
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        (Some(value), None) => drop(table.insert(key, Item::Value(value))),
        (None, _) => drop(table.remove(key)),
    }
}

/// Replaces the file at once, with the rights that it had. A file with a password is its owner's alone.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    // Behind a link the file itself is replaced, and not the link.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let mut mode = fs::metadata(&file).map_or(0o600, |found| found.permissions().mode() & 0o777);
    let secret =
        toml::from_str::<Config>(text).is_ok_and(|config| config.database.url.is_some_and(|url| url != masked(&url)));
    if secret {
        mode &= 0o700;
    }
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let mut open =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh).at("write", &fresh)?;
    open.write_all(text.as_bytes()).and_then(|()| open.sync_all()).at("write", &fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(mode)).at("protect", &fresh)?;
    fs::rename(&fresh, &file).at("replace", &file)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "# ours\nlisten = \"0.0.0.0:8080\" # the API\n\n[database]\nurl = \"mysql://zstack:geheim@db/zstack\"\n";

    fn change(changes: &[&str]) -> Result<String, Failure> {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        changed(Path::new("mn-service.toml"), FILE, &changes)
    }

    /// OPS-CTL-021, OS-TUI-085.
    #[test]
    fn ops_ctl_021_keys_change_and_comments_stay() {
        let text = change(&[
            "console_host=192.0.2.7",
            "console_listen=0.0.0.0:4901",
            "listen=127.0.0.1:8081",
            "plain_http=false",
        ])
        .unwrap();
        assert!(text.starts_with("# ours\nlisten = \"127.0.0.1:8081\" # the API\n"), "{text}");
        let config: Config = toml::from_str(&text).unwrap();
        assert_eq!((config.console_listen.port(), config.console_host.as_deref()), (4901, Some("192.0.2.7")));
        assert!(!config.plain_http && config.database.url.is_some());
        let without = change(&["database.url="]).unwrap();
        assert_eq!(toml::from_str::<Config>(&without).unwrap().database.url, None);
    }

    #[test]
    fn ops_ctl_021_all_problems_are_told_at_once_and_nothing_changes() {
        let failure =
            change(&["colour=red", "listen=here", "agent_port=many", "nonsense", "plain_http=maybe"]).unwrap_err();
        for key in ["colour", "listen", "agent_port", "nonsense", "plain_http"] {
            assert!(failure.message.contains(key), "{failure}");
        }
        let failure = change(&["console_listen=0.0.0.0:80", "console_host=1.2.3.400"]).unwrap_err();
        assert!(
            failure.message.contains("1024") && failure.message.contains("1.2.3.400"),
            "OS-TUI-088, 089: {failure}"
        );
    }

    /// OPS-CTL-020.
    #[test]
    fn ops_ctl_020_passwords_are_masked_and_files_with_them_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mn-service.toml");
        fs::write(&file, "listen = \"0.0.0.0:8080\"\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        configure(&file, &["allow_emulation=false".to_owned()]).unwrap();
        assert_eq!(mode(), 0o644);
        configure(&file, &["database.url=mysql://zstack:ge@heim@db/zstack".to_owned()]).unwrap();
        assert_eq!(mode(), 0o600);
        let (value, lines) = show(&file).unwrap();
        let shown = format!("{value}{lines:?}");
        assert!(!shown.contains("heim") && shown.contains("mysql://zstack:********@db/zstack"), "{shown}");
        assert!(lines.contains(&"allow_emulation = false".to_owned()), "{lines:?}");
    }
}
