//! Words of a query command: conditions and the arguments that shape the answer (PROTOCOL.md sections 8 and 14).

use mn_service_types::Api;

use crate::fields;

/// Arguments of every query beside its conditions, with what they take.
pub const ARGUMENTS: [(&str, &str); 11] = [
    ("limit", "whole number: most records to print (default 1000)"),
    ("start", "whole number: records to skip"),
    ("count", "true: only the number of matches"),
    ("replyWithCount", "true: the number of all matches beside the page"),
    ("sort", "field to order by; -field for descending"),
    ("sortBy", "field to order by"),
    ("sortDirection", "asc or desc, with sortBy"),
    ("field", "field to print"),
    ("fields", "fields to print, separated by commas"),
    ("groupBy", "field to group by"),
    ("filterName", "type:value of a named filter"),
];

/// Operators, longest first so that `!?=` is not read as `=`.
const OPERATORS: [&str; 10] = ["!?=", "!~=", "!=", ">=", "<=", "?=", "~=", "=", ">", "<"];

/// The order in which the server looks for operators anywhere in a condition (PROTOCOL.md section 8.2).
const SERVER_ORDER: [&str; 10] = ["!=", ">=", "<=", "!?=", "!~=", "~=", "?=", "=", ">", "<"];

/// The query string as decoded pairs, in the order typed; on failure, every problem.
pub fn parse(api: &Api, words: &[String]) -> Result<Vec<(String, String)>, Vec<String>> {
    let mut query = Query { api, pairs: Vec::new(), fields: Vec::new(), sort_by: None, descending: None };
    let mut problems = Vec::new();
    for word in words {
        if let Err(problem) = query.add(word) {
            problems.push(problem);
        }
    }
    query.finish(&mut problems);
    if problems.is_empty() { Ok(query.pairs) } else { Err(problems) }
}

/// Operators for the completion of a condition.
pub fn operators() -> impl Iterator<Item = &'static str> {
    OPERATORS.into_iter()
}

/// Name, operator and value of a condition; the name is what comes before the first character of an operator.
pub fn split_condition(word: &str) -> Option<(&str, &'static str, &str)> {
    let at = word.find(['!', '?', '~', '=', '<', '>'])?;
    let (name, rest) = word.split_at(at);
    let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator))?;
    Some((name.trim(), operator, &rest[operator.len()..]))
}

struct Query<'a> {
    api: &'a Api,
    pairs: Vec<(String, String)>,
    fields: Vec<String>,
    sort_by: Option<String>,
    descending: Option<bool>,
}

impl Query<'_> {
    fn add(&mut self, word: &str) -> Result<(), String> {
        let Some((name, operator, value)) = split_condition(word) else {
            return Err(format!("{word:?} is no condition; write name=value, name~=part, name>=value, name=null ..."));
        };
        if name.is_empty() {
            return Err(format!("{word:?} has no field name before {operator}"));
        }
        if operator == "=" && ARGUMENTS.iter().any(|(argument, _)| *argument == name) && !self.is_field(name) {
            return self.argument(name, value);
        }
        if let Some(inventory) = &self.api.inventory {
            fields::resolve(inventory, name).map_err(|problem| self.with_arguments(name, problem))?;
        }
        let condition = condition(name, operator, value)?;
        self.pairs.push(("q".to_owned(), condition));
        Ok(())
    }

    /// A resource may have a field called like an argument; the argument wins except where that field exists.
    fn is_field(&self, name: &str) -> bool {
        let inventory = self.api.inventory.as_deref();
        // `count`, `limit` and the like always steer: every published client reads them so.
        !matches!(name, "limit" | "start" | "count" | "fields" | "sort")
            && inventory.is_some_and(|inventory| fields::names(inventory).contains(name))
    }

    /// Arguments count among the near names of a misspelt field.
    fn with_arguments(&self, name: &str, problem: String) -> String {
        match crate::command::nearest(name, ARGUMENTS.iter().map(|(argument, _)| *argument)).first() {
            Some(near) if !problem.contains("near") => format!("{problem}; near it is {near}="),
            _ => problem,
        }
    }

    fn argument(&mut self, name: &str, value: &str) -> Result<(), String> {
        let value = value.trim();
        match name {
            "limit" | "start" => {
                if value.parse::<u32>().is_err() {
                    return Err(format!("{name} must be a whole number of at least 0, not {value:?}"));
                }
            }
            "count" | "replyWithCount" => {
                if !matches!(value.to_ascii_lowercase().as_str(), "true" | "false") {
                    return Err(format!("{name} must be true or false, not {value:?}"));
                }
            }
            "field" | "fields" => {
                self.fields.extend(value.split(',').map(|f| f.trim().to_owned()).filter(|f| !f.is_empty()));
                return Ok(());
            }
            "sortBy" => {
                self.sort_by = Some(value.to_owned());
                return Ok(());
            }
            "sortDirection" => {
                self.descending = Some(match value.to_ascii_lowercase().as_str() {
                    "asc" => false,
                    "desc" => true,
                    _ => return Err(format!("sortDirection must be one of asc, desc, not {value:?}")),
                });
                return Ok(());
            }
            _ => {}
        }
        if self.pairs.iter().any(|(key, _)| key == name) {
            return Err(format!("{name} is given more than once; it takes one value"));
        }
        self.pairs.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn finish(&mut self, problems: &mut Vec<String>) {
        match (self.sort_by.take(), self.descending) {
            (Some(field), descending) => {
                if self.pairs.iter().any(|(key, _)| key == "sort") {
                    problems.push("sort and sortBy say the same thing; give one of them".to_owned());
                }
                let sign = if descending == Some(true) { "-" } else { "" };
                self.pairs.push(("sort".to_owned(), format!("{sign}{field}")));
            }
            (None, Some(_)) => problems.push("sortDirection needs sortBy=<field>".to_owned()),
            (None, None) => {}
        }
        let known = self.api.inventory.as_deref();
        for field in &self.fields {
            if let Some(Err(problem)) = known.map(|inventory| fields::resolve(inventory, field)) {
                problems.push(problem);
            }
        }
        if !self.fields.is_empty() {
            self.pairs.push(("fields".to_owned(), self.fields.join(",")));
        }
    }
}

/// The text of parameter `q`.
fn condition(name: &str, operator: &'static str, value: &str) -> Result<String, String> {
    match (operator, value) {
        ("=", "null") => return Ok(format!("{name} is null")),
        ("!=", "null") => return Ok(format!("{name} not null")),
        _ => {}
    }
    let wrap = matches!(operator, "~=" | "!~=") && !value.contains(['%', '_']);
    let text = if wrap { format!("{name}{operator}%{value}%") } else { format!("{name}{operator}{value}") };
    // The server takes the first operator of its list that occurs anywhere, even inside the value.
    match SERVER_ORDER.iter().find(|candidate| text.contains(**candidate)) {
        Some(read) if *read != operator => Err(format!(
            "the server would read {read} inside the value of {name} as the operator; write {name}~= with _ in the place of each of its characters"
        )),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use mn_service_types::contract;

    use super::*;

    fn pairs(name: &str, words: &[&str]) -> Result<Vec<(String, String)>, Vec<String>> {
        parse(contract().api(name).unwrap(), &words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    fn conditions(words: &[&str]) -> Vec<String> {
        pairs("QueryVmInstance", words).unwrap().into_iter().map(|(_, v)| v).collect()
    }

    #[test]
    fn every_operator_has_its_form_on_the_wire() {
        assert_eq!(
            conditions(&[
                "name=a",
                "name!=a",
                "cpuNum>=2",
                "cpuNum<=4",
                "cpuNum>1",
                "cpuNum<8",
                "state?=Running,Stopped",
                "state!?=Running",
                "name~=a",
                "name!~=a",
                "hostUuid=null",
                "hostUuid!=null",
            ]),
            [
                "name=a",
                "name!=a",
                "cpuNum>=2",
                "cpuNum<=4",
                "cpuNum>1",
                "cpuNum<8",
                "state?=Running,Stopped",
                "state!?=Running",
                "name~=%a%",
                "name!~=%a%",
                "hostUuid is null",
                "hostUuid not null",
            ]
        );
    }

    #[test]
    fn a_pattern_with_wildcards_is_left_alone() {
        assert_eq!(conditions(&["name~=a%", "name!~=_b"]), ["name~=a%", "name!~=_b"]);
    }

    #[test]
    fn values_keep_later_operators_and_earlier_ones_are_refused() {
        assert_eq!(conditions(&["description=a=b>c"]), ["description=a=b>c"]);
        let problems = pairs("QueryVmInstance", &["description=a!=b"]).unwrap_err();
        assert!(problems[0].contains("!=") && problems[0].contains("description~="), "{problems:?}");
    }

    #[test]
    fn the_worked_example_of_the_manual() {
        let found = pairs("QueryVmInstance", &["state=Running", "name~=test", "limit=3", "field=uuid"]).unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, [("q", "state=Running"), ("q", "name~=%test%"), ("limit", "3"), ("fields", "uuid")]);
    }

    #[test]
    fn sorting_is_one_parameter_however_it_is_asked() {
        let sort = |words: &[&str]| pairs("QueryZone", words).unwrap().remove(0).1;
        assert_eq!(sort(&["sortBy=name", "sortDirection=desc"]), "-name");
        assert_eq!(sort(&["sortBy=name"]), "name");
        assert_eq!(sort(&["sort=-createDate"]), "-createDate");
        assert!(pairs("QueryZone", &["sortDirection=asc"]).unwrap_err()[0].contains("sortBy"));
        assert!(pairs("QueryZone", &["sort=name", "sortBy=name"]).is_err());
    }

    #[test]
    fn every_problem_of_a_query_is_reported() {
        let problems = pairs("QueryZone", &["limit=abc", "count=1", "stat=x", "stray", "fields=nam"]).unwrap_err();
        assert_eq!(problems.len(), 5, "{problems:?}");
    }

    #[test]
    fn settings_and_tags_are_queried_by_their_own_fields() {
        assert_eq!(pairs("QueryGlobalConfig", &["name~=session"]).unwrap()[0].1, "name~=%session%");
        assert_eq!(pairs("QuerySystemTag", &["resourceType=L3NetworkVO"]).unwrap()[0].1, "resourceType=L3NetworkVO");
        assert_eq!(pairs("QueryZone", &["__systemTag__~=a"]).unwrap()[0].1, "__systemTag__~=%a%");
    }
}
