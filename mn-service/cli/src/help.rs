//! Help generated from the contract.

use mn_service_types::{Api, ApiKind, Param};

use crate::{arguments, command, failure::Failure, fields, query};

const GENERAL: &str = "\
Type a command with its arguments:
    LogInByAccount accountName=admin           (asks for the password)
    QueryVmInstance state=Running name~=web limit=3 fields=uuid,name
    CreateZone name=zone1
    LogOut
Conditions of Query commands: = != > >= < <=   ~= (contains) !~=   ?=a,b (one of) !?=   =null !=null
Lists are separated by commas, objects are JSON, quotes protect blanks.

Tab Tab after part of a name lists the commands that contain it, after a command its parameters,
after key= the values it takes.

    help <Command>     what a command does and takes
    help <part>        commands whose name contains the part:
                       zone cluster host vm primarystorage image L2 L3 backupstorage volume offering ...
                       add reconnect start stop destroy delete create get set update attach detach ...
    exit, quit         leave (also Ctrl-D); Ctrl-C clears the line";

/// Answers `help` with the words after it.
pub fn text(words: &[String]) -> Result<String, Failure> {
    let Some(word) = words.first() else { return Ok(GENERAL.to_owned()) };
    if let Some(api) = command::find(word) {
        return Ok(of(api));
    }
    let found = command::containing(word);
    if found.is_empty() {
        return command::find_or_suggest(word).map(of);
    }
    Ok(found.join("\n"))
}

/// Help of one command.
pub fn of(api: &Api) -> String {
    let mut text = format!("{}\n    {} /zstack/v1{}", api.name, api.method, shown_path(api));
    let mut facts = vec![match api.kind {
        ApiKind::Query => "lists records",
        ApiKind::Sync => "answers at once",
        ApiKind::Create => "creates a resource",
        ApiKind::Delete => "deletes a resource",
        ApiKind::Async => "changes something",
    }];
    if api.need_poll {
        facts.push("runs as a job that is waited for");
    }
    if !api.need_session {
        facts.push("needs no login");
    } else if api.admin_only() {
        facts.push("for the admin account");
    }
    if api.long_job {
        facts.push("may be submitted as a long job");
    }
    text.push_str(&format!("\n    {}\n", facts.join("; ")));
    match api.kind {
        ApiKind::Query => query_parameters(api, &mut text),
        _ => parameters(api, &mut text),
    }
    if !api.response_fields.is_empty() {
        text.push_str("\nAnswer:\n");
        for (name, ty) in &api.response_fields {
            text.push_str(&format!("    {name}: {ty}\n"));
        }
    }
    text.trim_end().to_owned()
}

fn shown_path(api: &Api) -> &str {
    api.paths().find(|path| path.starts_with('/')).unwrap_or(&api.path)
}

/// Required ones first, each with what it takes.
fn parameters(api: &Api, text: &mut String) {
    let mut params: Vec<&Param> = api.params.iter().collect();
    params.sort_by_key(|param| !param.required);
    let width = params.iter().map(|param| param.name.len()).max().unwrap_or(0);
    text.push_str("\nParameters (* must be given):\n");
    for param in params {
        let mark = if param.required { '*' } else { ' ' };
        text.push_str(&format!("  {mark} {:width$}  {}", param.name, arguments::describe(param)));
        if let Some(default) = &param.default {
            text.push_str(&format!(
                ", default {}",
                default.as_str().map_or_else(|| default.to_string(), str::to_owned)
            ));
        }
        text.push('\n');
    }
}

fn query_parameters(api: &Api, text: &mut String) {
    text.push_str("\nArguments:\n");
    for (name, what) in query::ARGUMENTS {
        text.push_str(&format!("    {name:14}  {what}\n"));
    }
    let Some(inventory) = api.inventory.as_deref() else { return };
    let names = fields::names(inventory);
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    text.push_str("\nFields for conditions:\n");
    for name in names {
        let Ok(fields::Meaning::Field { inventory, field, ty }) = fields::resolve(inventory, name) else {
            text.push_str(&format!("    {name}\n"));
            continue;
        };
        let words = fields::words(&inventory, &field, &ty);
        let words = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
        text.push_str(&format!("    {name:width$}  {ty}{words}\n"));
    }
    let nested = fields::nested(inventory);
    if !nested.is_empty() {
        let nested: Vec<String> = nested.into_iter().map(|name| format!("{name}.*")).collect();
        text.push_str(&format!("\nConditions on related resources:\n    {}\n", nested.join("  ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(word: &str) -> String {
        text(&[word.to_owned()]).unwrap()
    }

    #[test]
    fn help_of_a_command_shows_everything_the_contract_knows() {
        let text = help("addkvmhost");
        for part in [
            "AddKVMHost\n    POST /zstack/v1/hosts/kvm",
            "runs as a job",
            "for the admin account",
            "* clusterUuid",
            "uuid of a Cluster",
            "  sshPort",
            "from 1 to 65535",
            "inventory: HostInventory",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(help("ChangeZoneState").contains("one of enable, disable"));
        assert!(help("DeleteZone").contains("default Permissive"));
    }

    #[test]
    fn help_of_a_query_shows_fields_words_and_relations() {
        let text = help("QueryVmInstance");
        for part in ["limit", "groupBy", "cpuNum", "Running", "zone.*", "vmNics.*", "needs"] {
            assert_eq!(text.contains(part), part != "needs", "{part:?} in\n{text}");
        }
    }

    #[test]
    fn help_of_a_part_lists_commands_and_of_nonsense_suggests() {
        assert!(help("snap").lines().any(|line| line == "CreateVolumeSnapshot"));
        assert!(text(&["CreateZoen".to_owned()]).unwrap_err().to_string().contains("CreateZone"));
        assert!(text(&[]).unwrap().contains("LogInByAccount"));
    }
}
