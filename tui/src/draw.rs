//! How the state of the console looks: a pure function of the state.

pub mod field;
mod panels;
pub(crate) mod places;
mod windows;

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};
use unicode_width::UnicodeWidthStr as _;

use self::field::cut;
use crate::{
    app::{App, Screen, Window},
    entries,
    look::Look,
    window::form::Input,
    words::{self, Word},
};

/// Smallest terminal.
pub const SMALLEST: (u16, u16) = (80, 24);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        frame.render_widget(Paragraph::new(app.say(words::TOO_SMALL)), area);
        return;
    }
    let [header, body, help] = places::parts(area);
    draw_header(frame, app, header);
    match app.screen {
        Screen::Main => panels::draw(frame, app, body),
        Screen::Configuration(at) => draw_configuration(frame, app, body, at),
        Screen::Power(at) => draw_power(frame, app, body, at),
    }
    for window in &app.windows {
        windows::draw(frame, app, body, window);
    }
    frame.render_widget(Paragraph::new(self::help(app)).style(app.look.selected()), help);
}

fn draw_header(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let left = format!(" ZStack - {}", app.say(app.role.label()));
    let right = format!("{}  {} ", app.facts.host, app.facts.time.now);
    let gap = usize::from(area.width).saturating_sub(left.width() + right.width());
    let line = format!("{left}{}{right}", " ".repeat(gap));
    frame.render_widget(Paragraph::new(line).style(app.look.selected()), area);
}

/// What the keys do here.
fn help(app: &App) -> String {
    let word = match (app.top(), app.screen) {
        (Some(window), _) => window_help(window),
        (None, Screen::Main) if app.look == Look::Plain => words::PLAIN_HELP,
        (None, Screen::Main) => words::MAIN_HELP,
        (None, Screen::Configuration(_)) => words::CONFIGURATION_HELP,
        (None, Screen::Power(_)) => words::POWER_HELP,
    };
    let mut text = format!(" {}", app.say(word));
    if app.look.chinese() && app.windows.is_empty() {
        text = format!("{text}   {}", app.say(words::CHINESE_HELP));
    }
    text
}

fn window_help(window: &Window) -> Word {
    use crate::{app::Choice, window::confirm::Answer};
    match window {
        Window::Gate(..) => words::FORM_HELP,
        Window::Form(_, form) => match form.fields.get(form.at).map(|field| &field.input) {
            Some(Input::Choice(_)) => words::CHOICE_HELP,
            Some(Input::Many(_)) => words::MANY_HELP,
            _ => words::FORM_HELP,
        },
        Window::List(Choice::Networks { .. }, _) => words::NETWORKS_HELP,
        Window::List(..) => words::LIST_HELP,
        Window::Ask(_, question) => match question.answer {
            Answer::Key => words::KEY_HELP,
            Answer::Phrase { .. } => words::PHRASE_HELP,
        },
        Window::Work(work) if work.stoppable => words::STOPPABLE_HELP,
        Window::Work(_) => words::WORK_HELP,
        Window::Notice(_) => words::NOTICE_HELP,
        Window::Trial(_) => words::TRIAL_HELP,
        Window::Wait(_) => words::WAIT_HELP,
    }
}

/// OS-TUI-040: a vertical list of buttons.
fn draw_configuration(frame: &mut Frame<'_>, app: &App, area: Rect, at: usize) {
    let entries = app.entries();
    frame.render_widget(panel(app, words::CONFIGURATION), area);
    let [list, hint] = places::configuration(app, area);
    let lines = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| button(app, app.say(entry.label()), index == at, usize::from(places::ENTRY)));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), list);
    if let Some(entry) = entries.get(at) {
        frame.render_widget(Paragraph::new(app.say(entry.hint())).centered(), hint);
    }
}

/// OS-TUI-125.
fn draw_power(frame: &mut Frame<'_>, app: &App, area: Rect, at: usize) {
    frame.render_widget(panel(app, words::POWER), area);
    let buttons = entries::POWER.iter().enumerate();
    let lines = buttons.map(|(index, (word, ..))| button(app, app.say(*word), index == at, usize::from(places::POWER)));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), places::power(area));
}

/// A button; the one under the cursor is marked by more than its colour.
fn button<'a>(app: &App, text: &str, selected: bool, width: usize) -> Line<'a> {
    let mark = if selected { '>' } else { ' ' };
    let rest = width.saturating_sub(text.width() + 4);
    let line = format!("{mark} {text}{} {}", " ".repeat(rest), if selected { '<' } else { ' ' });
    Line::from(Span::styled(line, if selected { app.look.selected() } else { Style::new() }))
}

/// A frame with a title.
fn panel<'a>(app: &App, title: Word) -> Block<'a> {
    let title = Span::styled(format!(" {} ", app.say(title)), app.look.title());
    Block::new().borders(Borders::ALL).border_set(app.look.border()).title(title)
}

/// A part in the middle of an area.
fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

/// A size, in the unit that keeps it short.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut whole = size;
    let mut rest = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        rest = whole % 1024;
        whole /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 || whole >= 10 { format!("{whole} {name}") } else { format!("{whole}.{} {name}", rest * 10 / 1024) }
}

/// A span of time.
pub(crate) fn span(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_short() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (200 << 20, "200 MiB"),
            (5_u64 << 40, "5.0 TiB"),
            (u64::MAX, "16383 PiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        let span = |seconds| span(std::time::Duration::from_secs(seconds));
        assert_eq!([span(59), span(61), span(7260), span(90_000)], ["59 s", "1 min", "2 h 1 min", "1 d 1 h"]);
    }
}
