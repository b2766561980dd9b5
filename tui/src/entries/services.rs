//! Entries about the service, its console proxy, its logs and its database (OS-TUI-085 to 117).

use std::{net::IpAddr, path::PathBuf};

use crate::{
    app::{App, Choice, Purpose, Window},
    effect::{Backup, Effect, ServiceAction},
    update::work,
    window::{
        confirm::Question,
        form::{Field, Form},
        list::List,
    },
    words::{self, Word},
};

/// What can be done to the service, with the phrase that confirms each (OS-TUI-106 to 108).
const ACTIONS: [(Word, Word, ServiceAction, &str); 3] = [
    (words::START, words::START_TEXT, ServiceAction::Start, "start zstack"),
    (words::STOP, words::STOP_TEXT, ServiceAction::Stop, "stop zstack"),
    (words::RESTART, words::RESTART_TEXT, ServiceAction::Restart, "restart zstack"),
];

/// TCP ports that a proxy may have (OS-TUI-089).
const PORTS: std::ops::RangeInclusive<u16> = 1024..=65535;

pub(super) fn open_actions(app: &mut App) -> Vec<Effect> {
    let items = ACTIONS.iter().map(|(label, ..)| app.say(*label).to_owned()).collect();
    super::again(app, Choice::Service, List::new(words::SERVICE, Vec::new(), items));
    Vec::new()
}

/// The question is the first window: there is nothing to choose (OS-TUI-111, OS-TUI-117).
pub(super) fn open_reset(app: &mut App, drop_database: bool) -> Vec<Effect> {
    let (title, text, phrase) = if drop_database {
        (words::RESET_AND_DROP, words::RESET_AND_DROP_TEXT, "reset zstack drop database")
    } else {
        (words::RESET, words::RESET_TEXT, "reset zstack")
    };
    let text = [words::EXTREMELY_DANGEROUS, text].map(|text| app.say(text).to_owned()).to_vec();
    app.windows.push(Window::Ask(Effect::Reset { drop_database }, Question::phrase(title, text, phrase)));
    Vec::new()
}

pub(super) fn open_proxy(app: &mut App, address: Option<String>, port: u16) {
    let fields = vec![
        Field::text("address", app.say(words::PROXY_ADDRESS), address.as_deref().unwrap_or("")),
        Field::text("port", app.say(words::PROXY_PORT), &port.to_string()),
    ];
    let intro = vec![app.say(words::PROXY_INTRO).to_owned()];
    let form = Form::new(words::CONFIGURE_CONSOLE_PROXY, intro, fields);
    app.windows.push(Window::Form(Purpose::ConsoleProxy(address, port), form));
}

pub(super) fn open_logs(app: &mut App) -> Vec<Effect> {
    let fields = vec![
        Field::text("since", app.say(words::LOGS_SINCE), "24h"),
        Field::text("copy", app.say(words::LOGS_COPY), ""),
    ];
    let intro = vec![app.say(words::LOGS_INTRO).to_owned()];
    app.windows.push(Window::Form(Purpose::CollectLogs, Form::new(words::COLLECT_LOGS, intro, fields)));
    Vec::new()
}

pub(super) fn open_backups(app: &mut App, backups: &[Backup]) {
    let line = |backup: &Backup| {
        let name = backup.file.file_name().unwrap_or_default().to_string_lossy();
        app.fill(words::RESTORE_LINE, &[&name, &crate::draw::bytes(backup.size)])
    };
    let items = std::iter::once(app.say(words::BACK_UP_NOW).to_owned()).chain(backups.iter().map(line)).collect();
    let files = backups.iter().map(|backup| backup.file.clone()).collect();
    let intro = vec![app.say(words::BACKUP_INTRO).to_owned()];
    super::again(app, Choice::Backups(files), List::new(words::BACKUP_DATABASE, intro, items));
}

pub(super) fn chosen(app: &mut App, choice: Choice, list: List, at: usize) -> Vec<Effect> {
    let Choice::Backups(files) = &choice else {
        if let Some((_, text, action, phrase)) = ACTIONS.get(at) {
            let text = vec![app.say(*text).to_owned()];
            super::again(app, choice, list);
            let question = Question::phrase(words::SERVICE, text, phrase);
            app.windows.push(Window::Ask(Effect::Service(*action), question));
        }
        return Vec::new();
    };
    let Some(file) = at.checked_sub(1).and_then(|at| files.get(at)) else {
        return work(app, list.title, Effect::BackUp);
    };
    let text = vec![app.fill(words::RESTORE_TEXT, &[&file.display().to_string()])];
    let question = Question::phrase(words::RESTORE, text, "restore database");
    let effect = Effect::Restore(file.clone());
    super::again(app, choice, list);
    app.windows.push(Window::Ask(effect, question));
    Vec::new()
}

pub(super) fn submitted(app: &mut App, purpose: Purpose, form: Form) -> Vec<Effect> {
    if matches!(purpose, Purpose::ConsoleProxy(..)) {
        return proxy(app, purpose, form);
    }
    let mut problems = Vec::new();
    let since = form.value("since").trim().to_owned();
    if !is_time(&since) {
        problems.push(("since", app.say(words::NO_TIME).to_owned()));
    }
    let copy = form.value("copy").trim();
    let copy = (!copy.is_empty()).then(|| PathBuf::from(copy));
    if copy.as_ref().is_some_and(|folder| !folder.is_absolute()) {
        problems.push(("copy", app.say(words::NO_FOLDER).to_owned()));
    }
    if !problems.is_empty() {
        return super::refuse(app, purpose, form, problems);
    }
    work(app, form.title, Effect::CollectLogs { since, copy })
}

/// So many minutes, hours or days (`30m`, `24h`, `7d`), or a day with or without a time.
fn is_time(text: &str) -> bool {
    let number = text.strip_suffix(['m', 'h', 'd']);
    number.is_some_and(|number| number.parse::<u16>().is_ok_and(|number| number > 0))
        || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
        || chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").is_ok()
}

fn proxy(app: &mut App, purpose: Purpose, form: Form) -> Vec<Effect> {
    let (address, port) = (form.value("address").trim(), form.value("port").trim());
    let mut problems = Vec::new();
    if address.is_empty() && port.is_empty() {
        let text = app.say(words::PROXY_EMPTY).to_owned();
        problems.extend([("address", text.clone()), ("port", text)]);
        return super::refuse(app, purpose, form, problems);
    }
    let ip = match address {
        "" => None,
        text => {
            text.parse::<IpAddr>().map_err(|_| problems.push(("address", app.say(words::NO_ADDRESS).to_owned()))).ok()
        }
    };
    let number = match port {
        "" => None,
        text => {
            let number = text.parse::<u16>().ok().filter(|port| PORTS.contains(port));
            if number.is_none() {
                problems.push(("port", app.say(words::NO_PORT).to_owned()));
            }
            number
        }
    };
    if !problems.is_empty() {
        return super::refuse(app, purpose, form, problems);
    }
    let question = Question::key(form.title, vec![app.say(words::ASK_PROXY).to_owned()]);
    app.windows.push(Window::Form(purpose, form));
    app.windows.push(Window::Ask(Effect::SetConsoleProxy { address: ip, port: number }, question));
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spans_days_or_moments() {
        for text in ["30m", "24h", "7d", "2026-01-31", "2026-01-31 12:00"] {
            assert!(is_time(text), "{text:?}");
        }
        for text in ["", "0h", "h", "-1d", "yesterday", "2026-13-01", "24 h", "99999999m", "2026-01-31 25:00"] {
            assert!(!is_time(text), "{text:?}");
        }
    }
}
