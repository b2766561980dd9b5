//! Every implemented API is held against the contract data.

use mn_service::resource;
use mn_service_types::{ApiKind, contract};

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
        let in_path = api.params.iter().filter(|p| api.message.is_none() && p.location == "url");
        let uuids = in_path.filter(|param| param.name.to_ascii_lowercase().ends_with("uuid"));
        untyped.extend(uuids.filter(|p| p.resource_type.is_none()).map(|p| format!("{name}.{}", p.name)));
    }
    assert!(untyped.is_empty(), "add them to supplement.json: {untyped:?}");
}

#[test]
fn coverage_is_counted() {
    let apis = resource::apis();
    let implemented = apis.names().len();
    println!("{implemented} of {} APIs are implemented", contract().apis().len());
    assert!(implemented > 20);
}
