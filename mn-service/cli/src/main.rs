//! The program `zstack-cli`.

use clap::Parser;

fn main() -> std::process::ExitCode {
    zstack_cli::run(&zstack_cli::options::Options::parse()).into()
}
