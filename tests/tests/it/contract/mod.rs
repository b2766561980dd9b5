//! Every implemented API is held against the contract data: what reaches it, what it refuses, what it answers.

mod queries;
mod refusals;
mod request;
mod shape;
mod tour;

use mn_service::resource;
use mn_service_types::{ApiKind, contract};

use tour::Tour;

/// Implemented APIs of one kind.
fn implemented(kind: ApiKind) -> Vec<&'static str> {
    let of_kind = |name: &&str| contract().api(name).is_some_and(|api| api.kind == kind);
    resource::apis().names().into_iter().filter(of_kind).collect()
}

/// The whole contract of every implemented API, over HTTP: a success with exactly the declared fields, and an error for
/// everything that the contract forbids.
#[tokio::test]
async fn every_implemented_api_keeps_its_contract() {
    let mut tour = Tour::begin().await.unwrap();
    tour.go().await.unwrap();
    let names = resource::apis().names();
    let published = names.iter().filter(|name| contract().api(name).is_some_and(|api| !api.extension)).count();
    println!("implemented {published} of {}", contract().published().count());

    let never: Vec<_> = names.iter().filter(|name| !tour.done.contains_key(**name)).collect();
    assert!(never.is_empty(), "give them a successful call in contract/tour.rs: {never:?}");

    let mut problems = std::mem::take(&mut tour.problems);
    problems.extend(refusals::problems(&tour).await.unwrap());
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_implemented_query_has_a_queryable_structure() {
    for name in resource::apis().names() {
        let api = contract().api(name).unwrap_or_else(|| panic!("{name} is not in the contract"));
        if api.kind == ApiKind::Query {
            let inventory = api.inventory.as_deref().unwrap_or_else(|| panic!("{name} names no structure"));
            assert!(mn_service_db::query::is_queryable(inventory), "{name}: {inventory} has no table");
        }
    }
}

#[test]
fn every_field_of_every_message_is_a_parameter_of_its_api() {
    let mut strangers = Vec::new();
    for (name, fields) in resource::apis().messages() {
        let api = contract().api(name).unwrap_or_else(|| panic!("{name} is not in the contract"));
        strangers
            .extend(fields.iter().filter(|field| api.param(field).is_none()).map(|field| format!("{name}.{field}")));
    }
    assert!(strangers.is_empty(), "not in the contract: {strangers:?}");
}

/// Existence and ownership are checked by the parameter's resource type; where the contract does not tell it,
/// `supplement.json` must.
#[test]
fn every_resource_in_a_path_has_a_type() {
    let mut untyped = Vec::new();
    for name in resource::apis().names() {
        let api = contract().api(name).unwrap_or_else(|| panic!("{name} is not in the contract"));
        // Where the message class is known, all that the server knew of its parameters is.
        let in_path = api.params.iter().filter(|p| api.message.is_none() && p.location == "url" && !api.extension);
        let uuids = in_path.filter(|param| param.name.to_ascii_lowercase().ends_with("uuid"));
        untyped.extend(uuids.filter(|p| p.resource_type.is_none()).map(|p| format!("{name}.{}", p.name)));
    }
    assert!(untyped.is_empty(), "add them to supplement.json: {untyped:?}");
}
