//! Runs one command: looks it up, checks it, calls the server, keeps or forgets the login, prints the result.

use std::{io::Write, time::Duration};

use mn_service_types::{Api, ApiKind, contract, is_uuid, new_uuid};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    arguments, client,
    client::Client,
    command,
    failure::Failure,
    help,
    output::{self, Format},
    query,
    request::{self, Request},
    secret,
    session::{Session, Store},
};

/// How long completion may hold up a person who presses Tab.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);
const LOOKUP_RECORDS: usize = 200;

/// Everything a command needs.
pub struct App {
    /// The server.
    pub client: Client,
    /// Kept logins.
    pub store: Store,
    /// Form of results.
    pub format: Format,
    /// Drives the connection.
    pub runtime: Runtime,
}

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Goes on.
    Go,
    /// Leaves: `exit` or `quit`.
    Leave,
}

/// A call that is ready to be sent.
struct Call {
    request: Request,
    /// Fields that a query asked for.
    fields: Vec<String>,
    /// The session that a logout ends.
    ends: Option<String>,
}

impl App {
    /// Runs the command in `words` and prints its result.
    pub fn run(&self, words: &[String], secrets: &secret::Source<'_>) -> Result<Next, Failure> {
        let Some((name, arguments)) = words.split_first() else { return Ok(Next::Go) };
        match name.to_ascii_lowercase().as_str() {
            "exit" | "quit" => return Ok(Next::Leave),
            "help" | "?" => {
                print(&help::text(arguments)?);
                return Ok(Next::Go);
            }
            _ => {}
        }
        let api = command::find_or_suggest(name)?;
        let session = self.store.get(self.server()).map_err(Failure::Local)?.map(|session| session.uuid);
        let Some(call) = self.prepare(api, arguments, secrets, session.as_deref())? else {
            print(&output::json(&output::success(Value::Null, false)));
            return Ok(Next::Go);
        };
        if api.need_session && session.is_none() {
            return Err(Failure::NotLoggedIn { server: self.server().to_owned() });
        }
        let answer = self.call(api, &call.request, session.as_deref());
        if let (Err(Failure::SessionExpired { .. }), Some(session)) = (&answer, &session) {
            self.store.forget(self.server(), session).map_err(Failure::Local)?;
        }
        let answer = answer?;
        let kept = self.keep(api, &answer, call.ends.as_deref());
        self.show(api, answer, &call.fields);
        kept.map(|()| Next::Go)
    }

    /// Uuid and name of the records of a structure, for completion; nothing when the server does not say in time.
    pub fn records(&self, inventory: &str) -> Vec<(String, Option<String>)> {
        let Ok(Some(session)) = self.store.get(self.server()) else { return Vec::new() };
        let apis = contract().apis().iter().filter(|api| api.kind == ApiKind::Query);
        let Some(api) = apis.filter(|api| api.inventory.as_deref() == Some(inventory)).min_by_key(|api| api.name.len())
        else {
            return Vec::new();
        };
        let ask = request::get(format!("{}?limit={LOOKUP_RECORDS}", api.path));
        let asked =
            async { tokio::time::timeout(LOOKUP_LIMIT, self.client.send(&ask, Some(&session.uuid), None)).await };
        let Ok(Ok(answer)) = self.runtime.block_on(asked) else { return Vec::new() };
        let Ok(reply) = client::read(&answer) else { return Vec::new() };
        let text = |record: &Value, key: &str| record[key].as_str().map(str::to_owned);
        let records = reply["inventories"].as_array().into_iter().flatten();
        records.filter_map(|record| Some((text(record, "uuid")?, text(record, "name")))).collect()
    }

    fn server(&self) -> &str {
        self.client.server().name()
    }

    /// Checks everything that can be checked here. Nothing means that nothing has to be sent.
    fn prepare(
        &self,
        api: &Api,
        words: &[String],
        secrets: &secret::Source<'_>,
        session: Option<&str>,
    ) -> Result<Option<Call>, Failure> {
        if api.kind == ApiKind::Query {
            let pairs = query::parse(api, words).map_err(Failure::Usage)?;
            let fields = pairs.iter().filter(|(key, _)| key == "fields");
            let fields = fields.flat_map(|(_, value)| value.split(',').map(str::to_owned)).collect();
            return Ok(Some(Call { request: Request::query(api, &pairs), fields, ends: None }));
        }
        let mut params = arguments::parse(api, words).map_err(|problems| self.with_missing(api, words, problems))?;
        let mut ends = None;
        if api.name == "LogOut" {
            if !params.contains_key("sessionUuid") {
                // Who is not logged in is logged out already.
                let Some(session) = session else { return Ok(None) };
                params.insert("sessionUuid".to_owned(), json!(session));
            }
            ends = params["sessionUuid"].as_str().map(str::to_owned);
        }
        secret::fill(api, &mut params, secrets, arguments::check)?;
        let problems = arguments::check(api, &params);
        if !problems.is_empty() {
            return Err(Failure::Usage(problems));
        }
        secret::hash(api, &mut params);
        let request = Request::call(api, &params).map_err(Failure::Usage)?;
        Ok(Some(Call { request, fields: Vec::new(), ends }))
    }

    /// Adds what is missing to what is wrong, so that one look at the message is enough.
    fn with_missing(&self, api: &Api, words: &[String], mut problems: Vec<String>) -> Failure {
        let given = |name: &str| words.iter().any(|word| word.split_once('=').is_some_and(|(key, _)| key == name));
        let missing = api.params.iter().filter(|param| param.required && !given(&param.name));
        problems.extend(
            missing.map(|param| format!("parameter {} is required: {}", param.name, arguments::describe(param))),
        );
        Failure::Usage(problems)
    }

    fn call(&self, api: &Api, request: &Request, session: Option<&str>) -> Result<Value, Failure> {
        let job = new_uuid();
        let session = session.filter(|_| api.need_session);
        self.runtime.block_on(async {
            tokio::select! {
                answer = self.client.call(api, request, session, &job) => answer,
                _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted(match api.need_poll {
                    false => "given up".to_owned(),
                    true => format!(
                        "given up waiting; once accepted, the job goes on without us, ask with: GetTaskProgress apiId={job}"
                    ),
                })),
            }
        })
    }

    /// Keeps a fresh login, forgets an ended one.
    fn keep(&self, api: &Api, answer: &Value, ends: Option<&str>) -> Result<(), Failure> {
        if let Some(session) = ends {
            return self.store.forget(self.server(), session).map_err(Failure::Local);
        }
        let is_login = api.response_fields.get("inventory").is_some_and(|ty| ty == "SessionInventory")
            && api.name.to_ascii_lowercase().starts_with("login");
        let inventory = &answer["inventory"];
        let Some(uuid) = inventory["uuid"].as_str().filter(|uuid| is_login && is_uuid(uuid)) else { return Ok(()) };
        let text = |key: &str| inventory[key].as_str().map(str::to_owned);
        let session = Session { uuid: uuid.to_owned(), account_uuid: text("accountUuid"), user_uuid: text("userUuid") };
        self.store
            .put(self.server(), session)
            .map_err(|error| Failure::Local(format!("logged in, but the login cannot be kept: {error}")))
    }

    fn show(&self, api: &Api, answer: Value, fields: &[String]) {
        let result = output::success(answer, api.response_fields.contains_key("schema"));
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let table = if self.format == Format::Table { output::table(&result, &fields) } else { None };
        print(&table.unwrap_or_else(|| output::json(&result)));
    }
}

/// Prints a failure: the error object, where there is one, on standard output, and one sentence on standard error.
pub fn report(failure: &Failure) {
    if let Some(document) = failure.document() {
        print(&output::json(&document));
    }
    // Standard error that is closed leaves nobody to tell.
    let _closed = writeln!(std::io::stderr(), "zstack-cli: {failure}");
}

/// Prints a line on standard output. A reader that has seen enough (`| head`) is no failure of the command.
pub fn print(text: &str) {
    let mut stdout = std::io::stdout();
    let _closed = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
