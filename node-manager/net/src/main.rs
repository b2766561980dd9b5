//! The node's network commands: one program under six names (OS-SCR).

mod commands;

use std::{ffi::OsString, process::ExitCode};

use commands::{Applet, run};

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = |argument: &OsString| {
        let path = std::path::Path::new(argument);
        path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
    };
    // Under its own name the program takes the command's as first argument.
    let applet = match arguments.first().map(name).as_deref().and_then(Applet::of_name) {
        Some(applet) => Some(applet),
        None => {
            arguments.drain(..arguments.len().min(1));
            arguments.first().and_then(|name| Applet::of_name(name.to_str()?))
        }
    };
    let Some(applet) = applet else {
        eprintln!("usage: zs-network COMMAND ..., where COMMAND is one of {}", Applet::names().join(", "));
        return ExitCode::from(commands::USAGE);
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(applet, arguments)),
        Err(error) => {
            eprintln!("{}: cannot start: {error}", applet.name());
            ExitCode::FAILURE
        }
    }
}
