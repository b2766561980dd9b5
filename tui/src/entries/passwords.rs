//! `Change Passwords` (OS-TUI-050 to 059).

use crate::{
    app::{App, Choice, Purpose, Window},
    effect::Effect,
    role::Role,
    window::{
        Notice, Tone,
        confirm::Question,
        form::{Field, Form},
        list::List,
    },
    words::{self, Word},
};

/// Actions, with what each is for.
const ACTIONS: [(Word, Purpose); 4] = [
    (words::ROOT_PASSWORD, Purpose::RootPassword),
    (words::DATABASE_ROOT_PASSWORD, Purpose::DatabasePassword("root")),
    (words::DATABASE_ZSTACK_PASSWORD, Purpose::DatabasePassword("zstack")),
    (words::BUS_PASSWORD, Purpose::BusPassword),
];

pub(super) fn open(app: &mut App) -> Vec<Effect> {
    if app.role != Role::Management {
        return form(app, Purpose::RootPassword);
    }
    let items = ACTIONS.iter().map(|(word, _)| app.say(*word).to_owned()).collect();
    super::again(app, Choice::Passwords, List::new(words::CHANGE_PASSWORDS, Vec::new(), items));
    Vec::new()
}

pub(super) fn chosen(app: &mut App, list: List, at: usize) -> Vec<Effect> {
    let nothing = |app: &mut App, title, text| {
        super::again(app, Choice::Passwords, list);
        let text = app.say(text).to_owned();
        app.windows.push(Window::Notice(Notice::new(title, Tone::Notice, &text)));
        Vec::new()
    };
    match ACTIONS.get(at) {
        Some((title, Purpose::BusPassword)) if !app.facts.message_bus => nothing(app, *title, words::NO_BUS),
        Some((title, Purpose::DatabasePassword(_)))
            if app.facts.service.seen().is_some_and(|service| !service.database_server) =>
        {
            nothing(app, *title, words::NO_DATABASE_SERVER)
        }
        Some((_, purpose)) => form(app, purpose.clone()),
        None => Vec::new(),
    }
}

fn title(purpose: &Purpose) -> Word {
    ACTIONS.iter().find(|(_, other)| other == purpose).map_or(words::CHANGE_PASSWORDS, |(title, _)| *title)
}

fn form(app: &mut App, purpose: Purpose) -> Vec<Effect> {
    let old = match purpose {
        Purpose::RootPassword => words::OLD_PASSWORD,
        Purpose::BusPassword => words::ROOT_NOW,
        _ => words::DATABASE_ROOT_NOW,
    };
    let fields = vec![
        Field::secret("old", app.say(old)),
        Field::secret("new", app.say(words::NEW_PASSWORD)),
        Field::secret("again", app.say(words::NEW_PASSWORD_AGAIN)),
    ];
    let form = Form::new(title(&purpose), Vec::new(), fields);
    app.windows.push(Window::Form(purpose, form));
    Vec::new()
}

pub(super) fn submitted(app: &mut App, purpose: Purpose, form: Form) -> Vec<Effect> {
    let mut problems = Vec::new();
    for key in ["old", "new"] {
        if form.value(key).is_empty() {
            problems.push((key, app.say(words::EMPTY).to_owned()));
        }
    }
    let differs = form.value("again") != form.value("new");
    if differs {
        problems.push(("again", app.say(words::PASSWORDS_DIFFER).to_owned()));
    }
    if !form.value("new").is_empty() && form.value("new") == form.value("old") && purpose == Purpose::RootPassword {
        problems.push(("new", app.say(words::PASSWORD_UNCHANGED).to_owned()));
    }
    if !problems.is_empty() {
        return super::refuse(app, purpose, form, problems);
    }
    let (old, new, title) = (form.secret("old"), form.secret("new"), form.title);
    let (effect, text) = match purpose {
        Purpose::DatabasePassword(account) => (
            Effect::ChangeDatabasePassword { account, root: old, new },
            app.fill(words::ASK_DATABASE_PASSWORD, &[account]),
        ),
        Purpose::BusPassword => {
            (Effect::ChangeBusPassword { root: old, new }, app.say(words::ASK_BUS_PASSWORD).to_owned())
        }
        _ => (Effect::ChangeRootPassword { old, new }, app.say(words::ASK_ROOT_PASSWORD).to_owned()),
    };
    // What was typed is in the effect alone from now on.
    drop(form);
    app.windows.push(Window::Ask(effect, Question::key(title, vec![text])));
    Vec::new()
}
