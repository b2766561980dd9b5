//! How much of the published contract this version implements; the list is what the handlers registered.

use mn_service_types::{Api, ApiKind, contract};
use serde::Serialize;

use crate::api::Apis;

/// APIs that are implemented, and how many there are.
#[derive(Debug, Serialize)]
pub struct Coverage {
    /// Implemented APIs of the published contract.
    pub implemented: usize,
    /// APIs of the published contract.
    pub known: usize,
    /// Implemented APIs of our own (`docs/extensions.md`).
    pub extensions: usize,
    /// Every API, by name.
    pub apis: Vec<Entry>,
}

/// One API.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// For example `CreateZone`.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Path below `/zstack/v1`.
    pub path: &'static str,
    /// Query, sync, create, delete or async.
    pub kind: String,
    /// This version answers it.
    pub implemented: bool,
    /// Ours and not the published contract's.
    pub extension: bool,
}

impl Coverage {
    /// Holds `apis` against the contract.
    pub fn of(apis: &Apis) -> Self {
        let mut entries: Vec<Entry> = contract().apis().iter().map(|api| Entry::of(api, apis)).collect();
        entries.sort_by_key(|entry| entry.name);
        let count = |wanted: &dyn Fn(&Entry) -> bool| entries.iter().filter(|entry| wanted(entry)).count();
        Self {
            implemented: count(&|entry| entry.implemented && !entry.extension),
            known: count(&|entry| !entry.extension),
            extensions: count(&|entry| entry.implemented && entry.extension),
            apis: entries,
        }
    }
}

impl Entry {
    fn of(api: &'static Api, apis: &Apis) -> Self {
        let kind = match api.kind {
            ApiKind::Query => "query",
            ApiKind::Sync => "sync",
            ApiKind::Create => "create",
            ApiKind::Delete => "delete",
            ApiKind::Async => "async",
        };
        Self {
            name: &api.name,
            method: &api.method,
            // Some have their optional paths only.
            path: api.paths().find(|path| path.starts_with('/')).unwrap_or(&api.path),
            kind: kind.to_owned(),
            implemented: apis.get(&api.name).is_some(),
            extension: api.extension,
        }
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for entry in self.apis.iter().filter(|entry| entry.implemented) {
            let ours = if entry.extension { "  (extension)" } else { "" };
            writeln!(f, "{:<48} {:<6} {}{ours}", entry.name, entry.method, entry.path)?;
        }
        write!(f, "implemented {} of {}, and {} extensions", self.implemented, self.known, self.extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_is_counted() {
        let apis = crate::resource::apis();
        let coverage = Coverage::of(&apis);
        assert_eq!(coverage.implemented + coverage.extensions, apis.names().len());
        assert_eq!(coverage.known, 1901);
        let text = coverage.to_string();
        assert_eq!(text.lines().count(), apis.names().len() + 1);
        assert!(text.contains("CreateZone ") && !text.contains("CreateEip "), "{text}");
        let empty = Coverage::of(&Apis::default());
        assert_eq!((empty.implemented, empty.apis.len()), (0, coverage.apis.len()));
    }
}
