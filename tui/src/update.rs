//! What happens to the state of the console: a pure function of the state and an event.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Position, Rect, Size};

use crate::{
    app::{App, Behind, Screen, Window},
    effect::{Denied, Effect, Outcome},
    entries,
    facts::Facts,
    window::{
        Notice, Tone, Trial, Work,
        form::{Field, Form, Pressed},
        list::moved,
    },
    words::{self, Language},
};

/// Without a key for so long the privileged session ends: whoever comes next has not typed the password.
const IDLE_MS: u64 = 10 * 60 * 1000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Time passed; the clock stands here.
    Tick(u64),
    /// A key.
    Key(KeyEvent),
    /// The mouse, on a screen of this size.
    Mouse(Mouse, Size),
    /// Text that came at once.
    Paste(String),
    /// The node was looked at.
    Facts(Box<Facts>),
    /// Something came of the effect with this number.
    Outcome(u64, Outcome),
}

/// What a mouse does that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mouse {
    /// A click at a place.
    Click(Position),
    /// The wheel, away from the hand.
    Up,
    /// The wheel, towards the hand.
    Down,
}

/// Carries an event out. The effects get the number [`App::latest`].
pub fn update(app: &mut App, event: Event) -> Vec<Effect> {
    match event {
        Event::Tick(now) => tick(app, now),
        Event::Key(key) => {
            app.touched_ms = app.now_ms;
            self::key(app, key)
        }
        Event::Mouse(mouse, size) => {
            app.touched_ms = app.now_ms;
            self::mouse(app, mouse, size)
        }
        Event::Paste(text) => {
            app.touched_ms = app.now_ms;
            if let Some(Window::Form(_, form) | Window::Gate(_, form)) = app.windows.last_mut() {
                form.paste(&text);
            }
            Vec::new()
        }
        Event::Facts(facts) => {
            app.history.add(&facts);
            app.facts = *facts;
            Vec::new()
        }
        Event::Outcome(number, outcome) if number == app.latest => self::outcome(app, outcome),
        // Of something that nobody waits for any more.
        Event::Outcome(..) => Vec::new(),
    }
}

fn tick(app: &mut App, now: u64) -> Vec<Effect> {
    app.now_ms = now;
    let busy = app.windows.iter().any(|window| matches!(window, Window::Work(_) | Window::Trial(_)));
    if busy {
        app.touched_ms = now;
    } else if app.screen != Screen::Main && now.saturating_sub(app.touched_ms) >= IDLE_MS {
        leave(app);
    }
    if let Some(Window::Trial(trial)) = app.top()
        && now >= trial.until_ms
    {
        let title = trial.title;
        app.windows.clear();
        let text = app.say(words::TRIAL_OVER).to_owned();
        app.windows.push(Window::Notice(Notice::new(title, Tone::Error, &text)));
    }
    Vec::new()
}

/// To the main screen: the privileged session is over (OS-TUI-033). There is none but that of the other screens.
fn leave(app: &mut App) {
    app.screen = Screen::Main;
    app.windows.clear();
}

fn key(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    if key.code == KeyCode::Char('l') && key.modifiers.contains(KeyModifiers::CONTROL) {
        app.redraw = true;
        return Vec::new();
    }
    if key.code == KeyCode::F(3) && app.look.chinese() {
        app.language = match app.language {
            Language::English => Language::Chinese,
            Language::Chinese => Language::English,
        };
        return Vec::new();
    }
    match app.windows.pop() {
        Some(window) => in_window(app, window, key),
        None => on_screen(app, key),
    }
}

/// A click chooses what lies under it, the wheel moves a cursor or a text. Neither is ever an answer to a question: that
/// takes a key.
fn mouse(app: &mut App, mouse: Mouse, size: Size) -> Vec<Effect> {
    let code = match mouse {
        Mouse::Up => KeyCode::Up,
        Mouse::Down => KeyCode::Down,
        Mouse::Click(place) => {
            let area = Rect::from((Position::ORIGIN, size));
            let Some(at) = crate::draw::places::pointed_at(app, area, place) else { return Vec::new() };
            match (app.windows.last_mut(), &mut app.screen) {
                (Some(Window::List(_, list)), _) => list.at = at,
                (None, Screen::Configuration(cursor) | Screen::Power(cursor)) => *cursor = at,
                _ => return Vec::new(),
            }
            return key(app, KeyEvent::from(KeyCode::Enter));
        }
    };
    match app.top() {
        None | Some(Window::List(..) | Window::Notice(_) | Window::Ask(..)) => key(app, KeyEvent::from(code)),
        Some(Window::Gate(..) | Window::Form(..) | Window::Work(_) | Window::Trial(_) | Window::Wait(_)) => Vec::new(),
    }
}

fn on_screen(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    match (app.screen, key.code) {
        // Serial terminals may lack the function keys.
        (Screen::Main, KeyCode::F(2) | KeyCode::Char('s')) => return gate(app, Behind::Configuration),
        (Screen::Main, KeyCode::F(12) | KeyCode::Char('p')) => return gate(app, Behind::Power),
        (Screen::Main, code) => {
            let lines = app.facts.nics.seen().map_or(0, Vec::len);
            let vms = app.facts.agent.seen().map_or(0, |agent| agent.vms.len());
            moved(&mut app.scrolled, lines.max(vms), code);
        }
        (Screen::Configuration(_), KeyCode::F(2) | KeyCode::Char('q'))
        | (Screen::Power(_), KeyCode::Esc | KeyCode::F(2 | 12) | KeyCode::Char('q')) => leave(app),
        (Screen::Configuration(at), KeyCode::Enter) => {
            if let Some(entry) = app.entries().get(at) {
                return entries::open(app, *entry);
            }
        }
        (Screen::Configuration(mut at), code) => {
            moved(&mut at, app.entries().len(), code);
            app.screen = Screen::Configuration(at);
        }
        (Screen::Power(at), KeyCode::Enter) => entries::power(app, at),
        (Screen::Power(mut at), code) => {
            let code = match code {
                KeyCode::Left => KeyCode::Up,
                KeyCode::Right => KeyCode::Down,
                code => code,
            };
            moved(&mut at, entries::POWER.len(), code);
            app.screen = Screen::Power(at);
        }
    }
    Vec::new()
}

fn gate(app: &mut App, behind: Behind) -> Vec<Effect> {
    if let Some(seconds) = app.attempts.wait(app.now_ms) {
        let text = app.fill(words::LOCKED, &[&seconds.to_string()]);
        app.windows.push(Window::Notice(Notice::new(words::SYSTEM_PASSWORD, Tone::Error, &text)));
        return Vec::new();
    }
    let field = Field::secret("password", app.say(words::PASSWORD));
    let intro = vec![app.say(words::GATE_INTRO).to_owned()];
    app.windows.push(Window::Gate(behind, Form::new(words::SYSTEM_PASSWORD, intro, vec![field])));
    Vec::new()
}

/// A key in the window on top, which has been taken off and is put back where it stays.
fn in_window(app: &mut App, mut window: Window, key: KeyEvent) -> Vec<Effect> {
    match &mut window {
        Window::Work(work) => {
            let stops = work.stoppable && key.code == KeyCode::Esc;
            if stops {
                app.windows.clear();
                app.latest += 1;
                return vec![Effect::Stop];
            }
        }
        Window::Trial(trial) => return in_trial(app, *trial, key),
        // What is looked up may be given up, as everything else, but a password that is being looked at has its answer.
        Window::Wait(_) if key.code == KeyCode::Esc && app.screen != Screen::Main => {
            app.windows.clear();
            app.latest += 1;
            return Vec::new();
        }
        Window::Wait(_) => {}
        // OS-TUI-034, OS-CNF-008.
        _ if key.code == KeyCode::Esc => {
            app.windows.clear();
            return Vec::new();
        }
        Window::Gate(behind, form) => {
            if form.key(key) == Pressed::Submitted {
                let password = form.secret("password");
                let behind = *behind;
                app.windows.clear();
                app.windows.push(Window::Wait(words::SYSTEM_PASSWORD));
                app.screen = Screen::Main;
                app.behind = Some(behind);
                return start(app, Effect::Authenticate(password));
            }
        }
        Window::Form(purpose, form) => {
            if form.key(key) == Pressed::Submitted {
                return entries::submitted(
                    app,
                    purpose.clone(),
                    std::mem::replace(form, Form::new(form.title, Vec::new(), Vec::new())),
                );
            }
        }
        Window::List(_, list) => {
            if let Some(at) = list.key(key) {
                return entries::chosen(app, window, at);
            }
            return entries::pressed(app, window, key);
        }
        Window::Ask(effect, question) => {
            if question.pressed(key) {
                let (effect, title) = (effect.clone(), question.title);
                app.windows.clear();
                return work(app, title, effect);
            }
        }
        Window::Notice(notice) => {
            if !moved(&mut notice.top, notice.text.len(), key.code) {
                // Whatever lies below is there again: a form whose values were refused.
                return Vec::new();
            }
        }
    }
    app.windows.push(window);
    Vec::new()
}

fn in_trial(app: &mut App, trial: Trial, key: KeyEvent) -> Vec<Effect> {
    match key.code {
        KeyCode::Char('y' | 'Y') => work(app, trial.title, Effect::KeepNetwork),
        KeyCode::Esc | KeyCode::Char('n' | 'N') => work(app, trial.title, Effect::RevertNetwork),
        _ => {
            app.windows.push(Window::Trial(trial));
            Vec::new()
        }
    }
}

/// Gives an effect the number by which what comes of it is known.
pub(crate) fn start(app: &mut App, effect: Effect) -> Vec<Effect> {
    app.latest += 1;
    vec![effect]
}

/// Begins something that takes its time.
pub(crate) fn work(app: &mut App, title: crate::words::Word, effect: Effect) -> Vec<Effect> {
    let stoppable = matches!(effect, Effect::TestNetwork(_) | Effect::CollectLogs { .. });
    app.windows.push(Window::Work(Work::new(title, stoppable, app.now_ms)));
    start(app, effect)
}

fn outcome(app: &mut App, outcome: Outcome) -> Vec<Effect> {
    match outcome {
        Outcome::Authenticated(result) => {
            authenticated(app, result);
            Vec::new()
        }
        Outcome::Progress { line, done } => {
            if let Some(Window::Work(work)) = app.windows.last_mut() {
                line.into_iter().for_each(|line| work.say(line));
                work.done = done.or(work.done);
            }
            Vec::new()
        }
        Outcome::Trial(seconds) => {
            if let Some(Window::Work(work)) = app.windows.pop() {
                let until_ms = app.now_ms + seconds * 1000;
                app.windows.push(Window::Trial(Trial { title: work.title, until_ms }));
            }
            Vec::new()
        }
        Outcome::Ended(result) => {
            ended(app, result);
            Vec::new()
        }
        Outcome::Network(_) | Outcome::Planned(_) | Outcome::ConsoleProxy(_) | Outcome::Backups(_) => {
            let Some(Window::Wait(title)) = app.windows.pop() else { return Vec::new() };
            entries::looked(app, title, outcome)
        }
    }
}

fn authenticated(app: &mut App, result: Result<(), Denied>) {
    app.windows.clear();
    let (Some(behind), true) = (app.behind.take(), app.screen == Screen::Main) else { return };
    match result {
        Ok(()) => {
            app.attempts.right();
            app.screen = match behind {
                Behind::Configuration => Screen::Configuration(0),
                Behind::Power => Screen::Power(0),
            };
        }
        Err(denied) => {
            let text = match denied {
                Denied::Wrong => {
                    app.attempts.wrong(app.now_ms);
                    let wait = app.attempts.wait(app.now_ms);
                    let wait = wait.map(|seconds| app.fill(words::LOCKED, &[&seconds.to_string()]));
                    format!("{}\n{}", app.say(words::WRONG_PASSWORD), wait.unwrap_or_default())
                }
                Denied::Unknown(why) => why,
            };
            app.windows.push(Window::Notice(Notice::new(words::SYSTEM_PASSWORD, Tone::Error, &text)));
        }
    }
}

/// Something is through: what was said meanwhile can be read above the result.
fn ended(app: &mut App, result: Result<String, String>) {
    let Some(Window::Work(work)) = app.windows.pop() else { return };
    let (tone, text) = match result {
        Ok(text) => (Tone::Success, text),
        Err(text) => (Tone::Error, text),
    };
    app.windows.clear();
    app.windows.push(Window::Notice(Notice::new(work.title, tone, &text)));
}
