//! What Tab offers (OPS-CLI-009 to OPS-CLI-011): commands by keyword, parameters of a command, values of a parameter.

use mn_service_types::{Api, ApiKind, Param, contract, shape::Shape};

use crate::{
    command, fields,
    query::{self, ARGUMENTS},
    words::{self, Word},
};

/// One offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// As listed.
    pub shown: String,
    /// As inserted.
    pub inserted: String,
}

/// Offers for the part of a line before the cursor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offers {
    /// Byte from which on the line is replaced.
    pub start: usize,
    /// In the order listed.
    pub offers: Vec<Offer>,
}

/// Uuid and name of the records of a structure.
pub type Records<'a> = &'a dyn Fn(&str) -> Vec<(String, Option<String>)>;

const OWN_WORDS: [&str; 3] = ["exit", "help", "quit"];

fn offer(text: impl Into<String>) -> Offer {
    let text = text.into();
    Offer { shown: text.clone(), inserted: text }
}

/// What may stand at the end of `line`.
pub fn offers(line: &str, records: Records<'_>) -> Offers {
    let scan = words::scan(line);
    let (done, partial) = match scan.words.split_last() {
        Some((last, rest)) if !scan.ended => (rest, last.clone()),
        _ => (scan.words.as_slice(), Word { start: line.len(), text: String::new() }),
    };
    let Some(first) = done.first() else {
        return at_command(line, &partial);
    };
    if matches!(first.text.to_ascii_lowercase().as_str(), "help" | "?") {
        return Offers { start: partial.start, offers: commands(&partial.text) };
    }
    let Some(api) = command::find(&first.text) else { return Offers::default() };
    // Offsets inside a quoted word do not match those of its text.
    if line[partial.start..] != partial.text {
        return Offers::default();
    }
    let given: Vec<&str> = done[1..].iter().map(|word| name_of(&word.text)).collect();
    match api.kind {
        ApiKind::Query => in_query(api, &partial, records),
        _ => in_call(api, &partial, &given, records),
    }
}

fn name_of(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

fn at_command(line: &str, partial: &Word) -> Offers {
    if let Some(api) = command::find(&partial.text) {
        // A complete command: its parameters, with the blank that must stand between.
        let mut offers = match api.kind {
            ApiKind::Query => conditions(api, ""),
            _ => parameters(api, "", &[]),
        };
        for offer in &mut offers {
            offer.inserted.insert(0, ' ');
        }
        return Offers { start: line.len(), offers };
    }
    let own = OWN_WORDS.iter().filter(|word| !partial.text.is_empty() && word.starts_with(&partial.text));
    let offers = own.map(|word| offer(*word)).chain(commands(&partial.text)).collect();
    Offers { start: partial.start, offers }
}

fn commands(keyword: &str) -> Vec<Offer> {
    command::containing(keyword).into_iter().map(offer).collect()
}

/// Names that start with `typed`, else those that contain it, ignoring case.
fn matching<'n>(names: Vec<&'n str>, typed: &str) -> Vec<&'n str> {
    let typed = typed.to_ascii_lowercase();
    let starting: Vec<&str> = names.iter().copied().filter(|n| n.to_ascii_lowercase().starts_with(&typed)).collect();
    if starting.is_empty() {
        names.into_iter().filter(|n| n.to_ascii_lowercase().contains(&typed)).collect()
    } else {
        starting
    }
}

/// Parameters not given yet, the required ones marked and first.
fn parameters(api: &Api, typed: &str, given: &[&str]) -> Vec<Offer> {
    let mut open: Vec<&Param> = api
        .params
        .iter()
        .filter(|param| !given.contains(&param.name.as_str()) || matches!(Shape::parse(&param.ty), Shape::List(_)))
        .collect();
    open.sort_by(|a, b| b.required.cmp(&a.required).then(a.name.cmp(&b.name)));
    let names = matching(open.iter().map(|param| param.name.as_str()).collect(), typed);
    open.iter()
        .filter(|param| names.contains(&param.name.as_str()))
        .map(|param| {
            let inserted = format!("{}=", param.name);
            let mark = if param.required { " (required)" } else { "" };
            Offer { shown: format!("{inserted}{mark}"), inserted }
        })
        .collect()
}

fn in_call(api: &Api, partial: &Word, given: &[&str], records: Records<'_>) -> Offers {
    let Some((name, value)) = partial.text.split_once('=') else {
        return Offers { start: partial.start, offers: parameters(api, &partial.text, given) };
    };
    let Some(param) = api.param(name) else { return Offers::default() };
    let shape = Shape::parse(&param.ty);
    let of_value = partial.start + name.len() + 1;
    // In a list, the part after the last comma is what is being typed.
    let (start, typed) = match (&shape, value.rfind(',')) {
        (Shape::List(_), Some(comma)) => (of_value + comma + 1, &value[comma + 1..]),
        _ => (of_value, value),
    };
    let fixed: Vec<&str> = match (&param.valid_values, &shape) {
        (Some(words), _) => words.iter().map(String::as_str).collect(),
        (None, Shape::Boolean) => vec!["false", "true"],
        (None, _) => contract().enum_values(&param.ty).iter().map(String::as_str).collect(),
    };
    if !fixed.is_empty() {
        return Offers { start, offers: matching(fixed, typed).into_iter().map(offer).collect() };
    }
    let inventory = param.resource_type.as_deref().and_then(|vo| contract().inventory_of(vo));
    Offers { start, offers: inventory.map_or_else(Vec::new, |(name, _)| uuids(records(name), typed)) }
}

/// Records whose uuid starts with, or whose name contains, what was typed.
fn uuids(records: Vec<(String, Option<String>)>, typed: &str) -> Vec<Offer> {
    let lower = typed.to_ascii_lowercase();
    let fits = |uuid: &str, name: Option<&str>| {
        uuid.starts_with(&lower) || name.is_some_and(|name| name.to_lowercase().contains(&lower))
    };
    records
        .into_iter()
        .filter(|(uuid, name)| fits(uuid, name.as_deref()))
        .map(|(uuid, name)| Offer {
            shown: name.map_or_else(|| uuid.clone(), |name| format!("{uuid} ({name})")),
            inserted: uuid,
        })
        .collect()
}

/// Fields, nested names and arguments of a query that continue `typed`.
fn conditions(api: &Api, typed: &str) -> Vec<Offer> {
    let Some(root) = api.inventory.as_deref() else {
        return matching(ARGUMENTS.iter().map(|(name, _)| *name).collect(), typed)
            .into_iter()
            .map(|name| offer(format!("{name}=")))
            .collect();
    };
    let (path, last) = typed.rsplit_once('.').map_or((None, typed), |(path, last)| (Some(path), last));
    let inventory = match path {
        None => Some(root.to_owned()),
        Some(path) => fields::reached(root, path),
    };
    let Some(inventory) = inventory else { return Vec::new() };
    let names = fields::names(&inventory);
    // A complete field name goes on with an operator.
    if names.contains(last) {
        return query::operators().map(|operator| offer(format!("{typed}{operator}"))).collect();
    }
    let mut all: Vec<String> = names.into_iter().map(str::to_owned).collect();
    all.extend(fields::nested(&inventory).into_iter().map(|name| format!("{name}.")));
    if path.is_none() {
        all.extend(ARGUMENTS.iter().map(|(name, _)| format!("{name}=")));
        all.extend(fields::TAG_NAMES.map(str::to_owned));
    }
    all.sort_unstable();
    all.dedup();
    let prefix = path.map_or_else(String::new, |path| format!("{path}."));
    matching(all.iter().map(String::as_str).collect(), last)
        .into_iter()
        .map(|name| Offer { shown: name.to_owned(), inserted: format!("{prefix}{name}") })
        .collect()
}

fn in_query(api: &Api, partial: &Word, records: Records<'_>) -> Offers {
    let Some((name, operator, value)) = query::split_condition(&partial.text) else {
        return Offers { start: partial.start, offers: conditions(api, &partial.text) };
    };
    let Some(root) = api.inventory.as_deref() else { return Offers::default() };
    let comma = value.rfind(',').map_or(0, |comma| comma + 1);
    let (start, typed) = (partial.start + name.len() + operator.len() + comma, &value[comma..]);
    let list = |names: Vec<&str>| matching(names, typed).into_iter().map(offer).collect::<Vec<_>>();
    let offers = match name {
        "field" | "fields" | "sortBy" | "groupBy" | "sort" => list(fields::names(root).into_iter().collect()),
        "sortDirection" => list(vec!["asc", "desc"]),
        "count" | "replyWithCount" => list(vec!["false", "true"]),
        _ => match fields::resolve(root, name) {
            Ok(fields::Meaning::Field { inventory, field, ty }) => {
                let words = fields::words(&inventory, &field, &ty);
                match fields::refers_to(&inventory, &field) {
                    Some(other) if words.is_empty() => uuids(records(&other), typed),
                    _ => list(words),
                }
            }
            _ => Vec::new(),
        },
    };
    Offers { start, offers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Vec<(String, Option<String>)> {
        Vec::new()
    }

    fn shown(line: &str) -> Vec<String> {
        offers(line, &none).offers.into_iter().map(|offer| offer.shown).collect()
    }

    #[test]
    fn a_keyword_lists_the_commands_that_contain_it() {
        let found = shown("snap");
        assert!(found.len() > 5 && found.iter().all(|name| name.to_ascii_lowercase().contains("snap")), "{found:?}");
        assert!(shown("cluster").contains(&"GetVmStartingCandidateClustersHosts".to_owned()));
        assert_eq!(shown("exi")[0], "exit");
        assert_eq!(shown("help createzon"), ["CreateZone"]);
    }

    #[test]
    fn a_complete_command_lists_its_parameters_with_the_required_ones_marked() {
        let found = offers("CreateZone", &none);
        assert_eq!(found.start, "CreateZone".len());
        assert_eq!(found.offers[0], Offer { shown: "name= (required)".into(), inserted: " name=".into() });
        assert!(found.offers.iter().any(|offer| offer.shown == "description="));
        assert_eq!(shown("CreateZone ")[0], "name= (required)");
    }

    #[test]
    fn given_parameters_are_not_offered_again_but_lists_are() {
        let found = shown("CreateZone name=x systemTags=a ");
        assert!(!found.iter().any(|name| name.starts_with("name=")), "{found:?}");
        assert!(found.contains(&"systemTags=".to_owned()));
    }

    #[test]
    fn values_are_offered_from_words_and_types() {
        assert_eq!(shown("ChangeZoneState stateEvent="), ["enable", "disable"]);
        assert_eq!(shown("ChangeZoneState stateEvent=di"), ["disable"]);
        assert_eq!(shown("CreateZone isDefault=t"), ["true"]);
        assert_eq!(offers("ChangeZoneState stateEvent=di", &none).start, "ChangeZoneState stateEvent=".len());
    }

    #[test]
    fn uuids_are_looked_up_by_uuid_or_name() {
        let records = |inventory: &str| {
            assert_eq!(inventory, "ZoneInventory");
            vec![("ab12".to_owned(), Some("East".to_owned())), ("cd34".to_owned(), Some("West".to_owned()))]
        };
        let found = offers("DeleteZone uuid=eas", &records);
        assert_eq!(found.offers, [Offer { shown: "ab12 (East)".into(), inserted: "ab12".into() }]);
        assert_eq!(offers("QueryVmInstance zoneUuid?=ab12,c", &records).offers[0].inserted, "cd34");
        assert_eq!(offers("QueryZone uuid=", &records).offers.len(), 2);
    }

    #[test]
    fn queries_offer_fields_operators_and_words() {
        let fields = shown("QueryVmInstance ");
        for name in ["state", "zone.", "limit=", "__systemTag__", "cpuNum"] {
            assert!(fields.contains(&name.to_owned()), "{name} is missing in {fields:?}");
        }
        assert!(shown("QueryVmInstance state").contains(&"state?=".to_owned()));
        assert!(shown("QueryVmInstance state=Run").contains(&"Running".to_owned()));
        assert!(offers("QueryVmInstance vmNics.l3", &none).offers.iter().any(|o| o.inserted == "vmNics.l3Network."));
        assert_eq!(shown("QueryZone fields=uuid,na"), ["name"]);
        assert_eq!(shown("QueryZone sortDirection=d"), ["desc"]);
    }

    #[test]
    fn nothing_is_offered_where_nothing_is_known() {
        assert!(shown("Frobnicate na").is_empty());
        assert!(shown("CreateZone frob=").is_empty());
        assert!(shown("CreateZone 'nam").is_empty());
    }
}
