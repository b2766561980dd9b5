//! Windows over a screen.

use ratatui::{
    Frame,
    layout::{Position, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Clear, Paragraph},
};
use unicode_width::UnicodeWidthStr as _;

use super::{
    centred,
    field::{self, cut, wrapped},
    panel, places,
};
use crate::{
    app::{App, Window},
    window::{
        Notice, Tone, Trial, Work,
        confirm::{Answer, Question},
        form::{Form, Input},
        list::List,
    },
    words::{self, Word},
};

/// Columns of text in a window, at most.
const WIDEST: u16 = 96;

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, area: Rect, window: &Window) {
    match window {
        Window::Gate(_, form) | Window::Form(_, form) => draw_form(frame, app, area, form),
        Window::List(_, list) => draw_list(frame, app, area, list),
        Window::Ask(_, question) => draw_question(frame, app, area, question),
        Window::Work(work) => draw_work(frame, app, area, work),
        Window::Notice(notice) => draw_notice(frame, app, area, notice),
        Window::Trial(trial) => draw_trial(frame, app, area, *trial),
        Window::Wait(title) => {
            let inner = open(frame, app, area, *title, 1);
            frame.render_widget(Paragraph::new(app.say(words::CHECKING)), inner);
        }
    }
}

/// Width of text in a window.
fn width(area: Rect) -> u16 {
    area.width.saturating_sub(8).min(WIDEST)
}

/// An empty window in the middle, for so many lines.
fn open(frame: &mut Frame<'_>, app: &App, area: Rect, title: Word, lines: usize) -> Rect {
    let window = place(area, lines);
    frame.render_widget(Clear, window);
    frame.render_widget(panel(app, title), window);
    text(window)
}

/// Where a window for so many lines is.
fn place(area: Rect, lines: usize) -> Rect {
    let height = u16::try_from(lines).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    centred(area, width(area) + 4, height)
}

/// Where the text of a window is.
fn text(window: Rect) -> Rect {
    let inner = places::inside(window);
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

/// Where the lines of a list are that can be seen, and which is the first of them.
pub(super) fn items(area: Rect, list: &List) -> (Rect, usize) {
    let head = intro(&list.intro, width(area)).len();
    let inner = text(place(area, head + list.items.len().max(1)));
    let room = usize::from(inner.height).saturating_sub(head).max(1);
    let above = u16::try_from(head).unwrap_or(u16::MAX).min(inner.height);
    let lines = Rect { y: inner.y + above, height: inner.height - above, ..inner };
    (lines, (list.at + 1).saturating_sub(room))
}

/// Lines of an introduction, and one that is empty after them.
fn intro(text: &[String], width: u16) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> =
        text.iter().flat_map(|text| wrapped(text, usize::from(width))).map(Line::from).collect();
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

fn draw_form(frame: &mut Frame<'_>, app: &App, area: Rect, form: &Form) {
    let width = width(area);
    let mut lines = intro(&form.intro, width);
    let label = form.fields.iter().map(|field| field.label.width()).max().unwrap_or(0).min(30);
    // Line on which the field with the cursor is, and its column there.
    let mut cursor = (lines.len(), 0);
    for (at, field) in form.fields.iter().enumerate() {
        if at == form.at {
            cursor.0 = lines.len();
        }
        let (text, column) = field::lines(app.look, field, at == form.at, label, usize::from(width));
        if at == form.at {
            cursor.1 = column;
        }
        lines.extend(text);
        if let Some(problem) = &field.problem {
            let text = wrapped(&format!("! {problem}"), usize::from(width).saturating_sub(label + 3));
            lines.extend(
                text.into_iter().map(|text| Line::styled(format!("{}{text}", " ".repeat(label + 3)), app.look.bad())),
            );
        }
    }
    if let Some(problem) = &form.problem {
        lines.push(Line::default());
        let text = wrapped(&format!("! {problem}"), usize::from(width));
        lines.extend(text.into_iter().map(|text| Line::styled(text, app.look.bad())));
    }
    let inner = open(frame, app, area, form.title, lines.len());
    // The field with the cursor, and what is wrong with it, stay in sight.
    let height = usize::from(inner.height);
    let top = (cursor.0 + 4).min(lines.len()).saturating_sub(height).min(cursor.0);
    frame.render_widget(Paragraph::new(lines).scroll((u16::try_from(top).unwrap_or(0), 0)), inner);
    let typed = form.fields.get(form.at).is_some_and(|field| matches!(field.input, Input::Text | Input::Secret));
    if typed {
        let x = inner.x + u16::try_from(cursor.1).unwrap_or(0).min(inner.width.saturating_sub(1));
        let y = inner.y + u16::try_from(cursor.0 - top).unwrap_or(0);
        frame.set_cursor_position(Position { x, y });
    }
}

fn draw_list(frame: &mut Frame<'_>, app: &App, area: Rect, list: &List) {
    let width = width(area);
    let head = intro(&list.intro, width);
    let inner = open(frame, app, area, list.title, head.len() + list.items.len().max(1));
    let (_, top) = items(area, list);
    let room = usize::from(inner.height).saturating_sub(head.len()).max(1);
    let mut lines = head;
    for (at, item) in list.items.iter().enumerate().skip(top).take(room) {
        let selected = at == list.at;
        let text = cut(item, usize::from(inner.width).saturating_sub(2));
        let rest = usize::from(inner.width).saturating_sub(text.width() + 2);
        let mark = if selected { '>' } else { ' ' };
        let style = if selected { app.look.selected() } else { Style::new() };
        lines.push(Line::styled(format!("{mark} {text}{}", " ".repeat(rest)), style));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Lines of text from the first that is scrolled to, in so many lines.
fn scrolled(text: &[String], top: usize, width: u16, room: usize) -> Vec<Line<'static>> {
    let lines: Vec<String> = text.iter().flat_map(|text| wrapped(text, usize::from(width))).collect();
    let top = top.min(lines.len().saturating_sub(room));
    lines.into_iter().skip(top).take(room).map(Line::from).collect()
}

/// Lines that a text needs.
fn height(text: &[String], width: u16) -> usize {
    text.iter().map(|text| wrapped(text, usize::from(width)).len()).sum()
}

fn draw_question(frame: &mut Frame<'_>, app: &App, area: Rect, question: &Question) {
    let width = width(area);
    let mut foot = vec![Line::default()];
    let mut cursor = None;
    match &question.answer {
        Answer::Key => foot.push(Line::styled(app.say(words::PRESS_KEY), app.look.care())),
        Answer::Phrase { wanted, typed } => {
            foot.push(Line::from(vec![
                Span::raw(format!("{}: ", app.say(words::TYPE_PHRASE))),
                Span::styled((*wanted).to_owned(), app.look.care()),
            ]));
            foot.push(Line::from(format!("> {typed}")));
            cursor = Some(typed.width() + 2);
        }
    }
    let mut head = Vec::new();
    if question.danger {
        head.push(Line::styled(app.say(words::WARNING), app.look.bad()));
    }
    let inner = open(frame, app, area, question.title, head.len() + height(&question.text, width) + foot.len());
    let room = usize::from(inner.height).saturating_sub(head.len() + foot.len());
    let mut lines = head;
    lines.extend(scrolled(&question.text, question.top, width, room));
    lines.extend(foot);
    let last = lines.len().saturating_sub(1);
    frame.render_widget(Paragraph::new(lines), inner);
    if let Some(column) = cursor {
        let (x, y) = (u16::try_from(column).unwrap_or(0), u16::try_from(last).unwrap_or(0));
        frame.set_cursor_position(Position { x: inner.x + x.min(inner.width), y: inner.y + y });
    }
}

fn draw_notice(frame: &mut Frame<'_>, app: &App, area: Rect, notice: &Notice) {
    let width = width(area);
    let head = match notice.tone {
        Tone::Success => Some(Line::styled(app.say(words::SUCCESS), app.look.good().add_modifier(Modifier::BOLD))),
        Tone::Error => Some(Line::styled(app.say(words::ERROR), app.look.bad())),
        Tone::Notice => None,
    };
    let mut lines: Vec<Line<'_>> = head.into_iter().collect();
    let inner = open(frame, app, area, notice.title, lines.len() + height(&notice.text, width));
    let room = usize::from(inner.height).saturating_sub(lines.len());
    lines.extend(scrolled(&notice.text, notice.top, width, room));
    frame.render_widget(Paragraph::new(lines), inner);
}

fn draw_work(frame: &mut Frame<'_>, app: &App, area: Rect, work: &Work) {
    let width = usize::from(width(area));
    let seconds = app.now_ms.saturating_sub(work.since_ms) / 1000;
    let inner = open(frame, app, area, work.title, 14);
    let bar = match work.done {
        None => format!("{} {}", app.say(words::CHECKING), app.fill(words::SECONDS, &[&seconds.to_string()])),
        Some(done) => {
            let room = width.saturating_sub(16);
            let full = room * usize::from(done.min(1000)) / 1000;
            let percent = done.min(1000) / 10;
            format!("[{}{}] {percent:>3} % {seconds} s", "#".repeat(full), "-".repeat(room - full))
        }
    };
    let mut lines = vec![Line::from(bar), Line::default()];
    let room = usize::from(inner.height).saturating_sub(lines.len());
    let text: Vec<String> = work.lines.iter().flat_map(|line| wrapped(line, width)).collect();
    lines.extend(text.iter().skip(text.len().saturating_sub(room)).cloned().map(Line::from));
    frame.render_widget(Paragraph::new(lines), inner);
}

fn draw_trial(frame: &mut Frame<'_>, app: &App, area: Rect, trial: Trial) {
    let seconds = trial.until_ms.saturating_sub(app.now_ms).div_ceil(1000);
    let mut lines = intro(&[app.say(words::TRIAL).to_owned()], width(area));
    lines.push(Line::styled(app.fill(words::SECONDS, &[&seconds.to_string()]), app.look.care()));
    lines.push(Line::default());
    lines.push(Line::from(app.say(words::TRIAL_HELP)));
    let inner = open(frame, app, area, trial.title, lines.len());
    frame.render_widget(Paragraph::new(lines), inner);
}
