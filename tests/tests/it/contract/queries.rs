//! Every implemented query understands every field that its structure has (PROTOCOL.md section 8).

use anyhow::Result;
use mn_service_types::{Api, ApiKind, contract, is_uuid};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system_tests::Client;

use super::{
    implemented,
    request::{self, Params, escape},
    shape,
    tour::{Tour, api},
};

/// Everything in which a query does not do as section 8 says.
pub(super) async fn problems(tour: &Tour) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in implemented(ApiKind::Query) {
        let mut check = Check { api: api(name)?, client: &tour.admin, found: &mut found };
        check.fields().await?;
        check.pages().await?;
        check.by_path().await?;
        check.malformed().await?;
    }
    Ok(found)
}

struct Check<'a> {
    api: &'static Api,
    client: &'a Client,
    found: &'a mut Vec<String>,
}

impl Check<'_> {
    async fn get(&self, query: &str) -> Result<(StatusCode, Value)> {
        self.client.send(Method::GET, &format!("{}?{query}", self.api.path), None).await
    }

    fn note(&mut self, query: &str, what: impl std::fmt::Display) {
        self.found.push(format!("{} ?{query}: {what}", self.api.name));
    }

    /// Conditions, order and selection by every field.
    async fn fields(&mut self) -> Result<()> {
        let inventory = self.api.inventory.as_deref().and_then(|name| contract().inventory(name));
        let Some(inventory) = inventory else { return Ok(()) };
        for field in inventory.fields.keys().filter(|field| !inventory.hidden_from_sdk.contains(field)) {
            for query in
                [format!("q={field}%20not%20null"), format!("q={field}%20is%20null"), format!("fields={field}")]
            {
                let (status, answer) = self.get(&query).await?;
                if status != StatusCode::OK {
                    self.note(&query, format!("HTTP {status} {answer}"));
                    continue;
                }
                let rows = answer["inventories"].as_array().cloned().unwrap_or_default();
                let stranger = |row: &Value| row.as_object().is_some_and(|row| row.keys().any(|key| key != field));
                if query.starts_with("fields") && rows.iter().any(stranger) {
                    self.note(&query, "shows other fields too");
                }
            }
        }
        Ok(())
    }

    async fn pages(&mut self) -> Result<()> {
        let (_, all) = self.get("").await?;
        let rows = all["inventories"].as_array().cloned().unwrap_or_default();
        let (_, count) = self.get("count=true").await?;
        if count != json!({ "total": rows.len() }) {
            self.note("count=true", &count);
        }
        let (_, page) = self.get("limit=1&start=0&replyWithCount=true").await?;
        let shown = page["inventories"].as_array().map(Vec::len);
        if page["total"] != rows.len() || shown != Some(rows.len().min(1)) {
            self.note("limit=1&replyWithCount=true", &page);
        }
        for problem in shape::problems(self.api, &page) {
            self.note("limit=1&replyWithCount=true", problem);
        }
        if rows.len() > 1 {
            let (_, second) = self.get("limit=1&start=1").await?;
            if second["inventories"][0] == page["inventories"][0] {
                self.note("limit=1&start=1", "pages overlap");
            }
        }
        Ok(())
    }

    /// `/{uuid}`: the same row, or none with HTTP 200.
    async fn by_path(&mut self) -> Result<()> {
        let (_, all) = self.get("limit=1").await?;
        let row = all["inventories"][0].clone();
        for path in &self.api.optional_paths {
            let names = request::variables(path);
            let fields = self.api.inventory.as_deref().and_then(|name| contract().inventory(name)).map(|i| &i.fields);
            if fields.is_some_and(|fields| names.iter().any(|name| !fields.contains_key(*name))) {
                // A path by uuid to a structure without one: the contract's own slip.
                continue;
            }
            if names.iter().any(|name| row[*name].is_null()) {
                self.note(path, "the row lacks a variable of the path");
                continue;
            }
            let params: Params = names.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect();
            let request = request::request_at(self.api, path, &params)?;
            let (status, answer) = self.client.send(Method::GET, &request.path, None).await?;
            if status != StatusCode::OK || answer["inventories"] != json!([row]) {
                self.note(path, format!("HTTP {status} {answer} instead of {row}"));
            }
            let unknown = params.iter().map(|(name, value)| {
                let other =
                    if value.as_str().is_some_and(is_uuid) { json!(mn_service_types::new_uuid()) } else { json!("0") };
                (name.clone(), other)
            });
            let request = request::request_at(self.api, path, &unknown.collect())?;
            let (status, answer) = self.client.send(Method::GET, &request.path, None).await?;
            if status != StatusCode::OK || answer["inventories"] != json!([]) {
                self.note(path, format!("unknown: HTTP {status} {answer}"));
            }
        }
        Ok(())
    }

    async fn malformed(&mut self) -> Result<()> {
        for (query, status, word) in [
            ("limit=abc", 400, "limit"),
            ("start=-1", 400, "start"),
            ("q=name", 400, "operator"),
            ("q=noSuchField=1", 503, "noSuchField"),
            ("q=noSuchField.name=1", 503, "noSuchField"),
            ("sort=noSuchField", 503, "noSuchField"),
            ("fields=noSuchField", 503, "noSuchField"),
            (&format!("filterName={}", escape("a:b")), 503, "a:b"),
        ] {
            let (got, answer) = self.get(query).await?;
            if got.as_u16() != status || !answer.to_string().contains(word) {
                self.note(query, format!("HTTP {got} {answer}"));
            }
        }
        Ok(())
    }
}
