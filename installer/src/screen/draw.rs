//! How the screens look: a pure function of the state.

use installer_plan::{
    answers::Answers,
    plan::{Weight, erased_by, reached_as},
    problem::Problem,
    size::Size,
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Position, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph, Wrap},
};
use unicode_width::UnicodeWidthStr as _;
use zstack_tui::{
    draw::field::{self, cut, wrapped},
    window::form::{Form, Input},
};

use super::{
    app::{App, Failure, Page, Progress, Section, Summary, agreed},
    update::WAYS_OUT,
    words::{self, Word},
};

/// Smallest terminal.
const SMALLEST: (u16, u16) = (80, 24);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        frame.render_widget(Paragraph::new(app.say(words::TOO_SMALL)), area);
        return;
    }
    let rows = [Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)];
    let [header, body, help] = Layout::vertical(rows).areas(area);
    let title = format!(" {} {} - {}", app.manifest.product, app.manifest.version, app.say(words::INSTALLER));
    frame.render_widget(Paragraph::new(title).style(app.look.selected()), header);
    let (title, said) = match &app.page {
        Page::Main { .. } => (words::INSTALLER, words::MAIN_HELP),
        Page::Form(Section::Network, _) => (words::NETWORK, words::NETWORK_HELP),
        Page::Form(section, _) => (section.title(), words::FORM_HELP),
        Page::Summary(_) => (words::SUMMARY, words::SUMMARY_HELP),
        Page::Running(_) => (words::RUNNING, words::RUNNING_HELP),
        Page::Failed { .. } => (words::FAILED, words::FAILED_HELP),
        Page::Done(_) => (words::DONE, words::DONE_HELP),
    };
    let title = Span::styled(format!(" {} ", app.say(title)), app.look.title());
    let block = Block::new().borders(Borders::ALL).border_set(app.look.border()).title(title);
    let inner = block.inner(body);
    frame.render_widget(block, body);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    match &app.page {
        Page::Main { at, said } => draw_main(frame, app, inner, *at, *said),
        Page::Form(_, form) => draw_form(frame, app, inner, form),
        Page::Summary(summary) => draw_summary(frame, app, inner, summary),
        Page::Running(progress) => draw_progress(frame, app, inner, progress, &[]),
        Page::Failed { progress, failure, at } => draw_failure(frame, app, inner, progress, failure, *at),
        Page::Done(progress) => {
            let text = vec![Line::styled(app.say(words::FINISHED), app.look.good())];
            draw_progress(frame, app, inner, progress, &text);
        }
    }
    frame.render_widget(Paragraph::new(format!(" {}", app.say(said))).style(app.look.selected()), help);
}

fn width(area: Rect) -> usize {
    usize::from(area.width)
}

/// OS-INST-010: the sections, what each says now, and the button.
fn draw_main(frame: &mut Frame<'_>, app: &App, area: Rect, at: usize, said: Option<Word>) {
    let problems = app.draft(&app.answers).err().unwrap_or_default();
    let mut lines = Vec::new();
    for (number, section) in Section::ALL.into_iter().enumerate() {
        let own: Vec<&Problem> = problems.iter().filter(|problem| Section::of_key(&problem.key) == section).collect();
        let selected = number == at;
        let mark = if selected { '>' } else { ' ' };
        let state = if own.is_empty() { ("[ok]", app.look.good()) } else { ("[!!]", app.look.care()) };
        let title = app.say(section.title());
        let pad = " ".repeat(28_usize.saturating_sub(title.width()));
        let style = if selected { app.look.selected() } else { Style::new() };
        lines.push(Line::from(vec![
            Span::styled(format!("{mark} {title}{pad}"), style),
            Span::raw(" "),
            Span::styled(state.0, state.1),
            Span::raw(format!(" {}", cut(&brief(app, &app.answers, section), width(area).saturating_sub(36)))),
        ]));
        let text = own.first().map(|problem| open_question(app, section, problem)).unwrap_or_default();
        let text = wrapped(&text, width(area).saturating_sub(6));
        let more = if own.len() > 1 || text.len() > 1 { " ..." } else { "" };
        lines.push(Line::styled(format!("      {}{more}", text.first().map_or("", String::as_str)), app.look.care()));
    }
    let selected = at == Section::ALL.len();
    let (mark, style) = if selected { ('>', app.look.selected()) } else { (' ', Style::new()) };
    lines.push(Line::default());
    lines.push(Line::from(Span::styled(format!("{mark} [ {} ]", app.say(words::BEGIN)), style)));
    if let Some(said) = said {
        lines.push(Line::styled(app.say(said), app.look.bad()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// What is open in a section. A question that nobody has answered yet is no mistake, and is put as one to a person.
fn open_question(app: &App, section: Section, problem: &Problem) -> String {
    let login = &app.answers.login;
    match section {
        Section::Software if app.answers.role.is_none() => app.say(words::CHOOSE_ROLE).to_owned(),
        Section::Root if login.password.is_none() && login.password_hash.is_none() && login.ssh_keys.is_empty() => {
            app.say(words::NEEDS_LOGIN).to_owned()
        }
        _ => problem.advice(app.plan_language()),
    }
}

/// What a section says now, in a few words.
fn brief(app: &App, answers: &Answers, section: Section) -> String {
    match section {
        Section::Language => {
            format!("{}, {}", answers.language.word(), answers.keyboard.as_deref().unwrap_or("us"))
        }
        Section::Software => answers.role.map_or_else(|| app.say(words::NOT_SET).to_owned(), |role| role.to_string()),
        Section::Destination => {
            let erased = erased_by(&agreed(answers), &app.facts, &app.manifest);
            let sized = |path: String| match app.facts.disk(&path) {
                Some(disk) => format!("{path} ({})", Size(disk.bytes)),
                None => path,
            };
            let disks: Vec<String> = erased.into_iter().map(sized).collect();
            if disks.is_empty() { app.say(words::NOT_SET).to_owned() } else { disks.join(", ") }
        }
        Section::Network => {
            let (host_name, management) = reached_as(answers, &app.facts);
            let management = management.unwrap_or_else(|| app.say(words::NO_NETWORK).to_owned());
            host_name.map_or_else(|| management.clone(), |name| format!("{name}, {management}"))
        }
        Section::Time => answers.time.zone.clone(),
        Section::Root => {
            let set = answers.login.password.is_some() || !answers.login.ssh_keys.is_empty();
            app.say(if set { words::SET } else { words::NOT_SET }).to_owned()
        }
    }
}

fn draw_form(frame: &mut Frame<'_>, app: &App, area: Rect, form: &Form) {
    let width = width(area);
    let mut lines: Vec<Line<'static>> =
        form.intro.iter().flat_map(|text| wrapped(text, width)).map(Line::from).collect();
    lines.push(Line::default());
    let label = form.fields.iter().map(|field| field.label.width()).max().unwrap_or(0).min(30);
    let mut cursor = (0, 0);
    for (at, field) in form.fields.iter().enumerate() {
        let selected = at == form.at;
        if selected {
            cursor.0 = lines.len();
        }
        let (text, column) = field::lines(app.look, field, selected, label, width);
        lines.extend(text);
        if selected {
            cursor.1 = column;
        }
        if let Some(problem) = &field.problem {
            let text = wrapped(&format!("! {problem}"), width.saturating_sub(label + 3));
            let indent = " ".repeat(label + 3);
            lines.extend(text.into_iter().map(|text| Line::styled(format!("{indent}{text}"), app.look.bad())));
        }
    }
    if let Some(problem) = &form.problem {
        lines.push(Line::default());
        lines.extend(wrapped(problem, width).into_iter().map(|text| Line::styled(text, app.look.care())));
    }
    // The field with the cursor, and what is wrong with it, stay in sight.
    let height = usize::from(area.height);
    let top = (cursor.0 + 4).min(lines.len()).saturating_sub(height).min(cursor.0);
    frame.render_widget(Paragraph::new(lines).scroll((u16::try_from(top).unwrap_or(0), 0)), area);
    let typed = form.fields.get(form.at).is_some_and(|field| matches!(field.input, Input::Text | Input::Secret));
    if typed {
        let x = area.x + u16::try_from(cursor.1).unwrap_or(0).min(area.width.saturating_sub(1));
        frame.set_cursor_position(Position { x, y: area.y + u16::try_from(cursor.0 - top).unwrap_or(0) });
    }
}

/// Names every disk that is erased, and what is lost on it.
fn draw_summary(frame: &mut Frame<'_>, app: &App, area: Rect, summary: &Summary) {
    let [text, _, ask, typed] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1), Constraint::Length(1)])
            .areas(area);
    let plan = summary.plan.shown(app.plan_language()).into_iter().skip(summary.scrolled);
    let lines: Vec<Line<'_>> = plan
        .map(|(weight, line)| {
            let style = match weight {
                Weight::Destroys => app.look.bad(),
                Weight::Warns => app.look.care(),
                Weight::Tells => Style::new(),
            };
            Line::styled(line, style)
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), text);
    let phrase = words::PHRASE.fill(app.language, &[&summary.phrase()]);
    frame.render_widget(Paragraph::new(phrase).style(app.look.bad()), ask);
    let wrong = if summary.wrong { app.say(words::WRONG_PHRASE) } else { "" };
    let shown = cut(&summary.typed, 30);
    let rest = "_".repeat(30_usize.saturating_sub(shown.width()));
    frame.render_widget(Paragraph::new(format!("[{shown}{rest}] {wrong}")), typed);
    let x = typed.x + 1 + u16::try_from(shown.width()).unwrap_or(0);
    frame.set_cursor_position(Position { x, y: typed.y });
}

/// Step, percentage, rate and log; above them what is to be said first.
fn draw_progress(frame: &mut Frame<'_>, app: &App, area: Rect, progress: &Progress, said: &[Line<'_>]) {
    let height = u16::try_from(said.len()).unwrap_or(0);
    let rows = [
        Constraint::Length(height),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
    ];
    let [top, step, gauge, _, log] = Layout::vertical(rows).areas(area);
    frame.render_widget(Paragraph::new(said.to_vec()), top);
    let (number, of) = progress.step;
    let rate = progress.rate.map(|rate| format!("  {}/s", Size(rate))).unwrap_or_default();
    let text =
        format!("[{number}/{of}] {}  {:.0} %{rate}", progress.about.of(app.plan_language()), progress.step_percent);
    frame.render_widget(Paragraph::new(text), step);
    let bars = app.look.bars();
    let room = width(area).saturating_sub(8);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the width of a terminal")]
    #[expect(clippy::cast_precision_loss, reason = "the width of a terminal")]
    let full = ((progress.percent.clamp(0.0, 100.0) / 100.0) * room as f64) as usize;
    let bar = format!("[{}{}] {:>3.0} %", bars.full.repeat(full), " ".repeat(room - full), progress.percent);
    frame.render_widget(Paragraph::new(bar).style(app.look.good()), gauge);
    let seen = usize::from(log.height);
    let end = progress.lines.len().saturating_sub(progress.scrolled);
    let lines = progress.lines.iter().take(end).skip(end.saturating_sub(seen));
    let lines: Vec<Line<'_>> = lines.map(|line| Line::from(cut(line, width(log)))).collect();
    frame.render_widget(Paragraph::new(lines), log);
}

fn draw_failure(frame: &mut Frame<'_>, app: &App, area: Rect, progress: &Progress, failure: &Failure, at: usize) {
    let cause = format!("{}: {}", failure.step, failure.cause);
    let mut said: Vec<Line<'_>> = cause
        .lines()
        .flat_map(|line| wrapped(line, width(area)))
        // What can be done stays in sight.
        .take(usize::from(area.height).saturating_sub(11))
        .map(|text| Line::styled(text, app.look.bad()))
        .collect();
    let state = app.say(if failure.changed { words::CHANGED } else { words::UNCHANGED });
    said.push(Line::from(state));
    said.push(Line::from(words::LOG_AT.fill(app.language, &[&failure.log])));
    said.push(Line::default());
    for (number, word) in WAYS_OUT.into_iter().enumerate() {
        let (mark, style) = if number == at { ('>', app.look.selected()) } else { (' ', Style::new()) };
        said.push(Line::from(Span::styled(format!("{mark} {}", app.say(word)), style)));
    }
    said.push(Line::default());
    draw_progress(frame, app, area, progress, &said);
}
