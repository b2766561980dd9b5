//! `zstack-cli`: every API of the management service as a command, one-shot, scripted or interactive.
//!
//! Commands, parameters, checks, help and completion come from the contract (`mn-service-types`), so an API that the
//! server learns is a command here without a line of code.

pub mod app;
pub mod arguments;
pub mod client;
pub mod command;
pub mod complete;
pub mod failure;
pub mod fields;
pub mod help;
pub mod job;
pub mod options;
pub mod output;
pub mod progress;
pub mod query;
pub mod request;
pub mod script;
pub mod secret;
pub mod server;
pub mod session;
pub mod shell;
pub mod terminal;
pub mod words;

use std::{
    io::{self, BufRead, IsTerminal},
    path::Path,
};

use app::App;
use failure::Failure;
use options::Options;

/// Runs the program and returns its exit code.
pub fn run(options: &Options) -> u8 {
    let result = prepare(options).and_then(|app| {
        if !options.words.is_empty() {
            return one(&app, options).map(|()| 0);
        }
        if io::stdin().is_terminal() {
            return shell::run(&app).map(|()| 0);
        }
        Ok(script::run(&app, io::stdin().lock(), options.keep_going))
    });
    match result {
        Ok(code) => code,
        Err(failure) => {
            app::report(&failure);
            failure.exit_code()
        }
    }
}

fn prepare(options: &Options) -> Result<App, Failure> {
    if options.password_stdin && options.words.is_empty() {
        let problem = "--password-stdin needs a command: commands and password cannot both come from standard input";
        return Err(Failure::Usage(vec![problem.to_owned()]));
    }
    let server = options.server(|name| std::env::var(name).ok()).map_err(|problem| Failure::Usage(vec![problem]))?;
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| Failure::Local("HOME is not set, so no login can be kept; set it".to_owned()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Local(format!("cannot set up input and output: {error}")))?;
    Ok(App {
        client: client::Client::new(server, options.ca.as_deref(), options.timeout)?,
        store: session::Store::under(Path::new(&home)),
        format: options.output,
        runtime,
    })
}

/// Runs the command of the command line.
fn one(app: &App, options: &Options) -> Result<(), Failure> {
    let mut line = String::new();
    let source = if options.password_stdin {
        let read = io::stdin().lock().read_line(&mut line);
        read.map_err(|error| Failure::Local(format!("cannot read the password: {error}")))?;
        let password = line.trim_end_matches(['\n', '\r']);
        if password.is_empty() {
            return Err(Failure::Usage(vec!["the first line of standard input holds no password".to_owned()]));
        }
        secret::Source::Line(password)
    } else if terminal::is_interactive() {
        secret::Source::Ask(terminal::read_secret)
    } else {
        secret::Source::None
    };
    app.run(&options.words, &source).map(|_| ())
}
