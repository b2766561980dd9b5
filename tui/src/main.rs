//! The program `zstack-tui`.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use clap::Parser;
use node_manager_net::change::{keeper, places::Places};
use zstack_tui::{config::Config, run, terminal};

/// The node's text console. It takes the terminal that it is started on.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Configuration of the console
    #[arg(long, value_name = "FILE", default_value = "/etc/zstack/tui.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().map(PathBuf::from).and_then(|path| Some(path.file_name()?.to_owned()));
    // A change of the network starts its keeper as this program under another name.
    if name.is_some_and(|name| name == "zs-network") && words.next().is_some_and(|word| word == keeper::APPLET) {
        let id = words.next().unwrap_or_default().to_string_lossy().into_owned();
        return on_one_thread(async move { keeper::keep(&Places::of_environment(), &id).await });
    }
    let options = Options::parse();
    harden();
    if !std::io::stderr().is_terminal() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let config = match Config::read(&options.config) {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    // The words of a panic would be lost on the other screen of the terminal.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        terminal::close();
        hook(panic);
    }));
    on_one_thread(run::run(&config))
}

/// Passwords are typed here: what this process has in memory is nobody else's, also when it crashes.
fn harden() {
    let done = nix::sys::prctl::set_dumpable(false)
        .and_then(|()| nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0));
    if let Err(error) = done {
        eprintln!("zstack-tui: core dumps cannot be switched off: {error}");
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
}

fn on_one_thread<E: std::fmt::Display>(work: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(work);
    // Something that blocks a thread does not keep the program.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("zstack-tui: {error}");
    ExitCode::FAILURE
}
