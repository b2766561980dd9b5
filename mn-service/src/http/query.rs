//! The query API: parameters to a query, a page to an answer (PROTOCOL.md section 8).

use axum::{http::StatusCode, response::Response};
use mn_service_db::query::{Condition, Op, Query, Sort, Viewer};
use mn_service_types::{ApiError, ErrorCode};

use super::{Refusal, Server, bad_request, json_text};
use crate::api::Caller;

impl Server {
    /// Answers a query API.
    pub(super) async fn query(
        &self,
        inventory: &str,
        vars: &[(String, String)],
        pairs: &[(String, String)],
        caller: &Caller,
    ) -> Result<Response, Refusal> {
        let mut query = Query::new(inventory);
        query.viewer = viewer(caller);
        if vars.is_empty() {
            read_query(&mut query, pairs)?;
        } else {
            // One resource by its path: other parameters are ignored (PROTOCOL.md section 8).
            for (name, value) in vars {
                query.conditions.push(Condition::new(name, Op::Equal, value));
            }
        }
        let body = mn_service_db::query::answer(&self.app.db, &query).await?;
        Ok(json_text(StatusCode::OK, body))
    }
}

/// Whose resources a query may show.
pub(crate) fn viewer(caller: &Caller) -> Viewer {
    if caller.admin { Viewer::Admin } else { Viewer::Account(caller.account.clone()) }
}

fn read_query(query: &mut Query, pairs: &[(String, String)]) -> Result<(), Refusal> {
    let number = |name: &str, value: &str| {
        value.trim().parse::<u64>().map_err(|_| bad_request(format!("{name} must be an integer")))
    };
    for (name, value) in pairs {
        match name.as_str() {
            "q" => query.conditions.push(Condition::parse(value).map_err(|e| bad_request(e.to_string()))?),
            "limit" => query.limit = number(name, value)?,
            "start" => query.start = number(name, value)?,
            "count" => query.count = value.eq_ignore_ascii_case("true"),
            "replyWithCount" => query.reply_with_count = value.eq_ignore_ascii_case("true"),
            "sort" => query.sort = Some(Sort::parse(value)),
            "fields" => {
                query.fields = value.split(',').map(|f| f.trim().to_owned()).filter(|f| !f.is_empty()).collect()
            }
            "groupBy" => query.group_by = Some(value.clone()),
            "filterName" => {
                return Err(
                    ApiError::new(ErrorCode::InvalidArgument, format!("there is no named filter {value:?}")).into()
                );
            }
            _ => {}
        }
    }
    Ok(())
}
