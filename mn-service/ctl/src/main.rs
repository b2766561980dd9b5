//! The program `zstack-ctl`.

use clap::Parser;

fn main() -> std::process::ExitCode {
    zstack_ctl::run(&zstack_ctl::options::Options::parse()).into()
}
