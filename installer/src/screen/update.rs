//! What happens to the state of the screens: a pure function of the state and an event.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use installer_plan::{
    answers::{self, Answers, End},
    facts::NicFacts,
};
use node_manager_net::model::Network;
use zstack_tui::{
    look::Look,
    window::{form::Pressed, list::moved},
    words::Language,
};

use super::{
    app::{App, Failure, Page, Progress, Section, Summary, agreed},
    sections, words,
};
use crate::events;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A key.
    Key(KeyEvent),
    /// Text that came at once.
    Paste(String),
    /// Some seconds passed.
    Tick,
    /// The cards were looked at.
    Nics(Vec<NicFacts>),
    /// The installation said something.
    Install(events::Event),
    /// Whether everybody who sees this terminal has glyphs for Chinese, where there were some at first.
    Glyphs(bool),
}

/// A thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Erase the disks and install. Only the summary asks for it, and only when its phrase was typed.
    Install(Box<Answers>),
    /// Go on at the step that failed.
    Retry,
    /// Look at the cards.
    LookAtNics,
    /// Let the running system use this network, to see whether it works (OS-NET-002).
    TryNetwork(Box<Network>),
    /// Start a shell, and come back when it ends.
    Shell,
    /// End, and do what was answered.
    End(End),
}

/// Carries an event out.
pub fn update(app: &mut App, event: Event) -> Vec<Effect> {
    match event {
        Event::Key(key) => self::key(app, key),
        Event::Paste(text) => {
            match &mut app.page {
                Page::Form(_, form) => form.paste(&text),
                Page::Summary(summary) => summary.typed.extend(text.chars().filter(|c| !c.is_control())),
                _ => {}
            }
            Vec::new()
        }
        Event::Tick if matches!(app.page, Page::Form(Section::Network, _)) => vec![Effect::LookAtNics],
        Event::Tick => Vec::new(),
        Event::Nics(nics) => {
            app.facts.nics = nics;
            let intro = sections::intro(app, Section::Network);
            if let Page::Form(Section::Network, form) = &mut app.page {
                form.intro = intro;
            }
            Vec::new()
        }
        Event::Glyphs(all) => {
            glyphs(app, all);
            Vec::new()
        }
        Event::Install(event) => {
            installing(app, event);
            match app.page {
                Page::Done(_) if app.unattended && app.answers.end != End::Wait => vec![Effect::End(app.answers.end)],
                _ => Vec::new(),
            }
        }
    }
}

/// A form that is open keeps its language until it is closed: what was typed in it is worth more.
fn glyphs(app: &mut App, all: bool) {
    app.look = match (app.look, all) {
        (Look::Plain, _) => Look::Plain,
        (_, true) => Look::Full,
        (_, false) => Look::Console,
    };
    if !all && app.language != Language::English {
        app.language = Language::English;
        app.forms.clear();
    }
}

fn key(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    if key.code == KeyCode::Char('l') && key.modifiers.contains(KeyModifiers::CONTROL) {
        app.redraw = true;
        return Vec::new();
    }
    if key.code == KeyCode::F(3) && app.look.chinese() && matches!(app.page, Page::Main { .. }) {
        app.language = match app.language {
            Language::English => Language::Chinese,
            Language::Chinese => Language::English,
        };
        app.forms.clear();
        return Vec::new();
    }
    match &mut app.page {
        Page::Main { .. } => on_main(app, key),
        Page::Form(..) => in_form(app, key),
        Page::Summary(_) => on_summary(app, key),
        Page::Running(progress) => {
            scroll(progress, key.code);
            Vec::new()
        }
        Page::Failed { .. } => on_failure(app, key),
        Page::Done(_) if key.code == KeyCode::Enter => vec![Effect::End(app.answers.end)],
        Page::Done(progress) => {
            scroll(progress, key.code);
            Vec::new()
        }
    }
}

/// Moves over the log.
fn scroll(progress: &mut Progress, code: KeyCode) {
    const PAGE: usize = 10;
    let last = progress.lines.len().saturating_sub(1);
    progress.scrolled = match code {
        KeyCode::PageUp => (progress.scrolled + PAGE).min(last),
        KeyCode::Up => (progress.scrolled + 1).min(last),
        KeyCode::PageDown => progress.scrolled.saturating_sub(PAGE),
        KeyCode::Down => progress.scrolled.saturating_sub(1),
        KeyCode::End => 0,
        _ => return,
    };
}

fn on_main(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    let Page::Main { at, said } = &mut app.page else { return Vec::new() };
    *said = None;
    let at = match key.code {
        KeyCode::F(9) => return vec![Effect::Shell],
        KeyCode::Enter => *at,
        code => {
            moved(at, Section::ALL.len() + 1, code);
            return Vec::new();
        }
    };
    if let Some(section) = Section::ALL.get(at) {
        let form = sections::form(app, *section);
        app.page = Page::Form(*section, Box::new(form));
        return if *section == Section::Network { vec![Effect::LookAtNics] } else { Vec::new() };
    }
    app.page = match app.draft(&app.answers) {
        Ok(plan) => Page::Summary(Box::new(Summary { plan, typed: String::new(), scrolled: 0, wrong: false })),
        Err(_) => Page::Main { at, said: Some(words::OPEN_QUESTIONS) },
    };
    Vec::new()
}

fn main(section: Section) -> Page {
    let at = Section::ALL.iter().position(|other| *other == section).unwrap_or_default();
    Page::Main { at, said: None }
}

fn in_form(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    let Page::Form(section, form) = &mut app.page else { return Vec::new() };
    let section = *section;
    if key.code == KeyCode::Esc {
        app.page = main(section);
        return Vec::new();
    }
    if key.code == KeyCode::F(5) && section == Section::Network {
        return try_network(app);
    }
    if form.key(key) == Pressed::Inside {
        return Vec::new();
    }
    let form = form.clone();
    match sections::accept(app, section, &form) {
        Ok(()) => {
            let mut next = main(section);
            if let Page::Main { at, .. } = &mut next {
                *at += 1;
            }
            app.page = next;
        }
        Err(wrong) => {
            if let Page::Form(_, form) = &mut app.page {
                form.refuse(wrong);
            }
        }
    }
    Vec::new()
}

fn try_network(app: &mut App) -> Vec<Effect> {
    let Page::Form(section, form) = &app.page else { return Vec::new() };
    let wanted = sections::answered(app, *section, form).and_then(|answers| {
        // Of the plan only the network counts here; its problems are those of these fields.
        let mut asked = answers.clone();
        asked.network.management = None;
        match app.draft(&asked) {
            Ok(plan) => Ok(Some(plan.network)),
            Err(problems) => {
                let own: Vec<_> = problems.iter().filter(|p| p.key.starts_with("network")).collect();
                let wrong: Vec<_> = own.iter().map(|p| ("nics", p.advice(app.plan_language()))).collect();
                if wrong.is_empty() { Ok(None) } else { Err(wrong) }
            }
        }
    });
    let said = match &wanted {
        Ok(Some(_)) => words::TRYING,
        _ => words::OPEN_QUESTIONS,
    };
    let said = app.say(said).to_owned();
    let Page::Form(_, form) = &mut app.page else { return Vec::new() };
    form.problem = Some(said);
    match wanted {
        Ok(Some(network)) => vec![Effect::TryNetwork(Box::new(network)), Effect::LookAtNics],
        Ok(None) => Vec::new(),
        Err(wrong) => {
            form.refuse(wrong);
            Vec::new()
        }
    }
}

fn on_summary(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    let Page::Summary(summary) = &mut app.page else { return Vec::new() };
    let lines = summary.plan.shown(answers::Language::English).len();
    match key.code {
        KeyCode::Esc => app.page = Page::Main { at: Section::ALL.len(), said: None },
        KeyCode::PageUp | KeyCode::PageDown | KeyCode::Up | KeyCode::Down | KeyCode::Home | KeyCode::End => {
            moved(&mut summary.scrolled, lines, key.code);
        }
        KeyCode::Backspace => {
            summary.typed.pop();
        }
        KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => summary.typed.clear(),
        KeyCode::Char(character) if !key.modifiers.contains(KeyModifiers::CONTROL) => {
            summary.wrong = false;
            summary.typed.push(character);
        }
        KeyCode::Enter if summary.typed.trim() == summary.phrase() => {
            app.page = Page::Running(Progress::default());
            return vec![Effect::Install(Box::new(agreed(&app.answers)))];
        }
        KeyCode::Enter => {
            summary.wrong = true;
            summary.typed.clear();
        }
        _ => {}
    }
    Vec::new()
}

/// What can be done after a failure.
pub(super) const WAYS_OUT: [words::Word; 4] = [words::RETRY, words::BACK, words::SHELL, words::REBOOT];

fn on_failure(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    let Page::Failed { progress, at, .. } = &mut app.page else { return Vec::new() };
    match (key.code, *at) {
        (KeyCode::PageUp | KeyCode::PageDown, _) => scroll(progress, key.code),
        (KeyCode::Enter, 0) => {
            let progress = std::mem::take(progress);
            app.page = Page::Running(progress);
            return vec![Effect::Retry];
        }
        (KeyCode::Enter, 1) => {
            // From here on a person answers, and the summary asks.
            app.unattended = false;
            app.page = Page::Main { at: Section::ALL.len(), said: None };
        }
        (KeyCode::Enter, 2) => return vec![Effect::Shell],
        (KeyCode::Enter, _) => return vec![Effect::End(End::Reboot)],
        (code, _) => {
            moved(at, WAYS_OUT.len(), code);
        }
    }
    Vec::new()
}

fn installing(app: &mut App, event: events::Event) {
    let Page::Running(progress) = &mut app.page else { return };
    match event {
        events::Event::Started { .. } | events::Event::Ended { .. } => {}
        events::Event::Step { about, number, of, .. } => {
            progress.about = about;
            progress.step = (number, of);
        }
        events::Event::Progress { percent, step_percent, rate } => {
            (progress.percent, progress.step_percent, progress.rate) = (percent, step_percent, rate);
        }
        events::Event::Log { line } => progress.log(line),
        events::Event::Done { .. } => {
            progress.percent = 100.0;
            app.page = Page::Done(std::mem::take(progress));
        }
        events::Event::Failed { step, cause, log, changed } => {
            let progress = std::mem::take(progress);
            app.page = Page::Failed { progress, failure: Failure { step, cause, log, changed }, at: 0 };
        }
    }
}
