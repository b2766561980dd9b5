//! The interactive session.

use mn_service_types::contract;
use rustyline::{
    CompletionType, Config, Context, Editor, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::Validator,
};

use crate::{
    app::{App, Next, report},
    complete,
    failure::Failure,
    secret, terminal, words,
};

const PROMPT: &str = ">>> ";
const HISTORY_LINES: usize = 1000;

struct Tab<'a> {
    app: &'a App,
}

impl Completer for Tab<'_> {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let found = complete::offers(&line[..pos], &|inventory| self.app.records(inventory));
        let pairs = found.offers.into_iter().map(|o| Pair { display: o.shown, replacement: o.inserted }).collect();
        Ok((found.start, pairs))
    }
}

impl Hinter for Tab<'_> {
    type Hint = String;
}
impl Highlighter for Tab<'_> {}
impl Validator for Tab<'_> {}
impl Helper for Tab<'_> {}

/// Reads and runs commands until the person leaves.
pub fn run(app: &App) -> Result<(), Failure> {
    let history = app.store.history_file();
    let failed = |error: ReadlineError| Failure::Local(format!("the terminal cannot be used: {error}"));
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .completion_prompt_limit(200)
        .max_history_size(HISTORY_LINES)
        .map_err(failed)?
        .history_ignore_space(true)
        .auto_add_history(false)
        .build();
    let mut editor: Editor<Tab<'_>, FileHistory> = Editor::with_config(config).map_err(failed)?;
    editor.set_helper(Some(Tab { app }));
    match &history {
        // The first session has no history yet.
        Ok(path) if path.exists() => {
            if let Err(error) = editor.load_history(path) {
                report(&Failure::Local(format!("cannot read the history {}: {error}", path.display())));
            }
        }
        Ok(_) => {}
        Err(error) => report(&Failure::Local(format!("no history is kept: {error}"))),
    }
    crate::app::print(&format!(
        "zstack-cli {} on {}, {} commands. `help` explains, Tab completes, `exit` leaves.",
        env!("CARGO_PKG_VERSION"),
        app.client.server().name(),
        contract().apis().len()
    ));
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        // Pasted text comes as one piece.
        for line in line.lines() {
            if !secret::in_line(line) {
                remember(&mut editor, line, history.as_ref().ok());
            }
            let result = words::split(line)
                .map_err(|problem| Failure::Usage(vec![problem]))
                .and_then(|words| app.run(&words, &secret::Source::Ask(terminal::read_secret)));
            match result {
                Ok(Next::Go) => {}
                Ok(Next::Leave) => return Ok(()),
                Err(failure) => {
                    report(&failure);
                    break;
                }
            }
        }
    }
}

/// Adds a line to the history at once, so that a session that is killed loses nothing.
fn remember(editor: &mut Editor<Tab<'_>, FileHistory>, line: &str, file: Option<&std::path::PathBuf>) {
    if line.trim().is_empty() || !matches!(editor.add_history_entry(line), Ok(true)) {
        return;
    }
    if let Some(path) = file
        && let Err(error) = editor.append_history(path)
    {
        report(&Failure::Local(format!("cannot write the history {}: {error}", path.display())));
    }
}
