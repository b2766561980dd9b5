//! The entries of the system configuration: their windows, their rules, and what they ask the node to do.

mod cloud;
mod networks;
mod passwords;
mod services;

use crossterm::event::KeyEvent;

use crate::{
    app::{App, Choice, Purpose, Window},
    effect::{Edit, Effect, Outcome, PowerAction},
    role::Entry,
    update::start,
    window::{Notice, Tone, confirm::Question, form::Form, list::List},
    words::{self, Word},
};

/// Buttons of the power screen (OS-TUI-125), with the phrase that confirms each.
pub const POWER: [(Word, PowerAction, &str); 2] =
    [(words::REBOOT, PowerAction::Reboot, "REBOOT"), (words::POWER_OFF, PowerAction::PowerOff, "POWEROFF")];

/// Opens an entry.
pub(crate) fn open(app: &mut App, entry: Entry) -> Vec<Effect> {
    match entry {
        Entry::ChangePasswords => passwords::open(app),
        Entry::RenameNic => look(app, words::RENAME_NIC, Effect::LookAtNetwork),
        Entry::ConfigureNetworks => look(app, words::CONFIGURE_NETWORKS, Effect::LookAtNetwork),
        Entry::ManagementNetwork => look(app, words::SET_MANAGEMENT_NETWORK, Effect::LookAtNetwork),
        Entry::TestNetwork => networks::open_test(app),
        Entry::ConsoleProxy => look(app, words::CONFIGURE_CONSOLE_PROXY, Effect::LookAtConsoleProxy),
        Entry::CollectLogs => services::open_logs(app),
        Entry::BackupDatabase => look(app, words::BACKUP_DATABASE, Effect::LookAtBackups),
        Entry::JoinCloud => cloud::open(app),
        Entry::Service => services::open_actions(app),
        Entry::Reset => services::open_reset(app, false),
        Entry::ResetAndDrop => services::open_reset(app, true),
        Entry::TerminalInfo => {
            let text = app.say(words::TERMINAL_TEXT).to_owned();
            app.windows.push(Window::Notice(Notice::new(words::TERMINAL_INFO, Tone::Notice, &text)));
            Vec::new()
        }
    }
}

/// A button of the power screen.
pub(crate) fn power(app: &mut App, at: usize) {
    if let Some((title, action, phrase)) = POWER.get(at) {
        let warning = match action {
            PowerAction::Reboot => words::REBOOT_WARNING,
            PowerAction::PowerOff => words::POWER_OFF_WARNING,
        };
        let text = vec![app.say(warning).to_owned()];
        app.windows.push(Window::Ask(Effect::Power(*action), Question::phrase(*title, text, phrase)));
    }
}

/// Looks something up before a window can be opened.
fn look(app: &mut App, title: Word, effect: Effect) -> Vec<Effect> {
    app.windows.push(Window::Wait(title));
    start(app, effect)
}

/// What was looked up for the window with this title.
pub(crate) fn looked(app: &mut App, title: Word, outcome: Outcome) -> Vec<Effect> {
    match outcome {
        Outcome::Network(Ok(interfaces)) => networks::open(app, title, interfaces),
        Outcome::Planned(Ok(planned)) => networks::ask(app, planned),
        Outcome::ConsoleProxy(Ok((address, port))) => services::open_proxy(app, address, port),
        Outcome::Backups(Ok(backups)) => services::open_backups(app, &backups),
        Outcome::Network(Err(why))
        | Outcome::Planned(Err(why))
        | Outcome::ConsoleProxy(Err(why))
        | Outcome::Backups(Err(why)) => {
            app.windows.push(Window::Notice(Notice::new(title, Tone::Error, &why)));
        }
        Outcome::Authenticated(_) | Outcome::Progress { .. } | Outcome::Trial(_) | Outcome::Ended(_) => {}
    }
    Vec::new()
}

/// A form was submitted: it stays while it is wrong, and below the plan of a change.
pub(crate) fn submitted(app: &mut App, purpose: Purpose, form: Form) -> Vec<Effect> {
    match purpose {
        Purpose::RootPassword | Purpose::DatabasePassword(_) | Purpose::BusPassword => {
            passwords::submitted(app, purpose, form)
        }
        Purpose::JoinCloud => cloud::submitted(app, purpose, form),
        Purpose::ConsoleProxy(..) | Purpose::CollectLogs => services::submitted(app, purpose, form),
        Purpose::RenameNics(_)
        | Purpose::TestNetwork
        | Purpose::Address(_)
        | Purpose::NewBond
        | Purpose::Bond(_)
        | Purpose::NewVlan(_) => networks::submitted(app, purpose, form),
    }
}

/// A line of a list was chosen.
pub(crate) fn chosen(app: &mut App, window: Window, at: usize) -> Vec<Effect> {
    let Window::List(choice, list) = window else { return Vec::new() };
    match choice {
        Choice::Passwords => passwords::chosen(app, list, at),
        Choice::Networks { .. } | Choice::Management(_) => networks::chosen(app, choice, list, at),
        Choice::Backups(_) | Choice::Service => services::chosen(app, choice, list, at),
    }
}

/// Another key in a list.
pub(crate) fn pressed(app: &mut App, window: Window, key: KeyEvent) -> Vec<Effect> {
    match window {
        Window::List(Choice::Networks { interfaces, all }, list) => networks::pressed(app, interfaces, all, list, key),
        window => {
            app.windows.push(window);
            Vec::new()
        }
    }
}

/// Shows a list again.
fn again(app: &mut App, choice: Choice, list: List) {
    app.windows.push(Window::List(choice, list));
}

/// Shows what is wrong with a form.
fn refuse(app: &mut App, purpose: Purpose, mut form: Form, problems: Vec<(&'static str, String)>) -> Vec<Effect> {
    form.refuse(problems);
    app.windows.push(Window::Form(purpose, form));
    Vec::new()
}

/// Sees what a change of the network would do, over the window that wants it.
fn plan(app: &mut App, title: Word, edit: Edit) -> Vec<Effect> {
    app.planning = Some((title, edit.clone()));
    look(app, title, Effect::PlanNetwork(edit))
}
