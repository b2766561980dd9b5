//! Commands from standard input, one a line.

use std::io::BufRead;

use crate::{
    app::{App, Next, report},
    failure::Failure,
    secret, words,
};

/// Runs every line; stops at the first failure unless told to keep going. Returns the exit code: that of the first
/// failure.
pub fn run(app: &App, input: impl BufRead, keep_going: bool) -> u8 {
    let mut code = 0;
    for (number, line) in input.lines().enumerate() {
        let result = line
            .map_err(|error| Failure::Local(format!("cannot read standard input: {error}")))
            .and_then(|line| command(app, &line));
        match result {
            Ok(Next::Go) => {}
            Ok(Next::Leave) => break,
            Err(failure) => {
                report(&failure);
                code = if code == 0 { failure.exit_code() } else { code };
                // Ctrl-C is meant for the script, not for one of its lines; input that broke stays broken.
                let ends = matches!(failure, Failure::Interrupted(_)) || matches!(failure, Failure::Local(_));
                if ends || !keep_going {
                    let _closed = std::io::Write::write_fmt(
                        &mut std::io::stderr(),
                        format_args!("zstack-cli: stopped at line {} of the input\n", number + 1),
                    );
                    break;
                }
            }
        }
    }
    code
}

fn command(app: &App, line: &str) -> Result<Next, Failure> {
    if line.trim_start().starts_with('#') {
        return Ok(Next::Go);
    }
    let words = words::split(line).map_err(|problem| Failure::Usage(vec![problem]))?;
    app.run(&words, &secret::Source::None)
}
