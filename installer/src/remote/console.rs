//! What stands on the terminal of the machine while the screen is elsewhere: how to reach it, and who has.

use std::net::IpAddr;

use installer_plan::answers::End;
use ratatui::{
    Frame as Canvas,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};
use unicode_width::UnicodeWidthStr as _;
use zeroize::Zeroizing;
use zstack_tui::{
    draw::field::{cut, wrapped},
    look::Look,
    words::Language,
};

use super::{
    frame::Frame,
    redirect::{bracketed, suffix},
    stage::{Door, Mode, Person},
};
use crate::screen::words::{self, Word};

/// Smallest terminal.
const SMALLEST: (u16, u16) = (80, 24);
/// Addresses, and people, that are named; more of them are counted.
const NAMED: usize = 3;
/// Columns of what stands before a value.
const LABEL: usize = 20;

/// Everything that is told.
pub struct Console {
    /// Language of this terminal.
    pub language: Language,
    /// What it can show.
    pub look: Look,
    /// Name and version of the product.
    pub product: String,
    /// Where the machine is reached.
    pub addresses: Vec<IpAddr>,
    /// Port for browsers.
    pub web: u16,
    /// Port for viewers, and whether they need no encryption; or why there is none.
    pub vnc: Result<(u16, bool), String>,
    /// The password, whole and as VNC wants it.
    pub password: (Zeroizing<String>, Zeroizing<String>),
    /// How often it was replaced because too many were wrong.
    pub replaced: u32,
    /// Of the certificate.
    pub fingerprint: String,
    /// Who is here.
    pub people: Vec<Person>,
    /// Where the screen is.
    pub mode: Mode,
}

impl Console {
    fn say(&self, word: Word) -> &'static str {
        word.of(self.language)
    }

    fn fill(&self, word: Word, values: &[&str]) -> String {
        word.fill(self.language, values)
    }
}

/// Draws it.
pub fn draw(canvas: &mut Canvas<'_>, console: &Console) {
    let area = canvas.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        canvas.render_widget(Paragraph::new(console.say(words::TOO_SMALL)), area);
        return;
    }
    let rows = [Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)];
    let [header, body, help] = Layout::vertical(rows).areas(area);
    let title = format!(" {} - {}", console.product, console.say(words::INSTALLER));
    canvas.render_widget(Paragraph::new(title).style(console.look.selected()), header);
    let title = Span::styled(format!(" {} ", console.say(words::REMOTE)), console.look.title());
    let block = Block::new().borders(Borders::ALL).border_set(console.look.border()).title(title);
    let inner = block.inner(body);
    canvas.render_widget(block, body);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    canvas.render_widget(Paragraph::new(lines(console, usize::from(inner.width))), inner);
    let said = if console.look.chinese() { words::REMOTE_HELP } else { words::REMOTE_HELP_ENGLISH };
    canvas.render_widget(Paragraph::new(format!(" {}", console.say(said))).style(console.look.selected()), help);
}

fn lines(console: &Console, width: usize) -> Vec<Line<'static>> {
    let look = console.look;
    let row = |label: &str, value: String, style: Style| {
        let pad = " ".repeat(LABEL.saturating_sub(label.width()));
        Line::from(vec![Span::raw(format!("{label}{pad}")), Span::styled(value, style)])
    };
    let mut lines = Vec::new();
    if let Mode::Ended(end) = console.mode {
        let word = match end {
            End::Reboot => words::REMOTE_RESTARTS,
            End::Poweroff => words::REMOTE_SWITCHES_OFF,
            End::Wait => words::REMOTE_WAITS,
        };
        lines.extend([Line::styled(console.say(word), look.good()), Line::default()]);
    }
    let none = || vec![console.say(words::REMOTE_NO_ADDRESS).to_owned()];
    let each = |say: &dyn Fn(String) -> String| {
        let all: Vec<String> = console.addresses.iter().take(NAMED).map(|one| say(bracketed(*one))).collect();
        if all.is_empty() { none() } else { all }
    };
    let style = if console.addresses.is_empty() { look.care() } else { look.title() };
    let mut label = console.say(words::REMOTE_BROWSER);
    for place in each(&|address| format!("https://{address}{}/", suffix(console.web))) {
        lines.push(row(std::mem::take(&mut label), place, style));
    }
    label = console.say(words::REMOTE_VNC);
    match &console.vnc {
        Ok((port, plain)) => {
            for place in each(&|address| format!("{address}:{port}")) {
                lines.push(row(std::mem::take(&mut label), place, style));
            }
            let (word, style) =
                if *plain { (words::REMOTE_PLAIN, look.care()) } else { (words::REMOTE_TLS, Style::new()) };
            lines.push(row("", cut(console.say(word), width.saturating_sub(LABEL)), style));
        }
        Err(cause) => {
            let text = console.fill(words::REMOTE_NO_VNC, &[cause]);
            for text in wrapped(&text, width.saturating_sub(LABEL)) {
                lines.push(row(std::mem::take(&mut label), text, look.care()));
            }
        }
    }
    if console.addresses.is_empty() {
        lines.extend(wrapped(console.say(words::REMOTE_ADVICE), width).into_iter().map(Line::from));
    }
    lines.push(Line::default());
    let (password, first) = &console.password;
    lines.push(row(
        console.say(words::REMOTE_PASSWORD),
        password.to_string(),
        look.good().add_modifier(Modifier::BOLD),
    ));
    lines.push(row("", console.say(words::REMOTE_ONCE).to_owned(), Style::new()));
    if console.vnc.is_ok() {
        lines.push(row("", console.fill(words::REMOTE_FIRST, &[first]), Style::new()));
    }
    if console.replaced > 0 {
        lines.push(Line::styled(console.fill(words::REMOTE_REPLACED, &[&console.replaced.to_string()]), look.bad()));
    }
    lines.push(Line::default());
    lines.push(Line::from(console.say(words::REMOTE_CERTIFICATE)));
    // Two lines of 16 bytes each.
    for half in console.fingerprint.as_bytes().chunks(48) {
        lines.push(Line::from(format!("  {}", String::from_utf8_lossy(half).trim_end_matches(':'))));
    }
    lines.push(Line::default());
    lines.extend(people(console).into_iter().enumerate().map(|(number, text)| {
        row(if number == 0 { console.say(words::REMOTE_PEOPLE) } else { "" }, text, Style::new())
    }));
    lines
}

fn people(console: &Console) -> Vec<String> {
    let mut named: Vec<String> = console
        .people
        .iter()
        .take(NAMED)
        .map(|person| {
            let door = match person.door {
                Door::Browser => words::REMOTE_BROWSER,
                Door::Vnc => words::REMOTE_VNC,
            };
            console.fill(words::REMOTE_FROM, &[console.say(door), &person.from.to_string()])
        })
        .collect();
    let more = console.people.len().saturating_sub(NAMED);
    if more > 0 {
        named.push(console.fill(words::REMOTE_MORE, &[&more.to_string()]));
    }
    if named.is_empty() { vec![console.say(words::REMOTE_NOBODY).to_owned()] } else { named }
}

/// Draws the screen itself, for who has taken it over, and under it how to give it back where there is room.
pub fn draw_screen(canvas: &mut Canvas<'_>, console: &Console, frame: &Frame) {
    let area = canvas.area();
    for row in 0..frame.rows.min(area.height) {
        let line: Vec<Span<'_>> = frame
            .row(row)
            .iter()
            .filter(|cell| cell.width > 0)
            .map(|cell| {
                let mut style = Style::new().fg(colour(cell.fg)).bg(colour(cell.bg));
                for (is, modifier) in [
                    (cell.bold, Modifier::BOLD),
                    (cell.underline, Modifier::UNDERLINED),
                    (cell.inverse, Modifier::REVERSED),
                ] {
                    style = if is { style.add_modifier(modifier) } else { style };
                }
                Span::styled(cell.character.to_string(), style)
            })
            .collect();
        canvas.render_widget(Line::from(line), Rect { y: area.y + row, height: 1, ..area });
    }
    if let Some((column, row)) = frame.cursor.filter(|(column, row)| *column < area.width && *row < area.height) {
        canvas.set_cursor_position((area.x + column, area.y + row));
    }
    if frame.rows < area.height {
        let text = format!(" {}", console.say(words::REMOTE_LOCAL_HELP));
        let last = Rect { y: area.bottom().saturating_sub(1), height: 1, ..area };
        canvas.render_widget(Paragraph::new(text).style(console.look.selected()), last);
    }
}

/// Lines that are left for the screen on a terminal of so many.
pub fn rows_for_screen(rows: u16) -> u16 {
    if rows > SMALLEST.1 { rows - 1 } else { rows }
}

fn colour(colour: vt100::Color) -> Color {
    match colour {
        vt100::Color::Default => Color::Reset,
        // By name where there is one: terminals with eight colours know those alone.
        vt100::Color::Idx(number) => match number {
            0 => Color::Black,
            1 => Color::Red,
            2 => Color::Green,
            3 => Color::Yellow,
            4 => Color::Blue,
            5 => Color::Magenta,
            6 => Color::Cyan,
            7 => Color::Gray,
            number => Color::Indexed(number),
        },
        vt100::Color::Rgb(red, green, blue) => Color::Rgb(red, green, blue),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn console(language: Language) -> Console {
        let text = |text: &str| Zeroizing::new(text.to_owned());
        Console {
            language,
            look: Look::Full,
            product: "ZStack 0.1.0".to_owned(),
            addresses: vec!["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            web: 443,
            vnc: Ok((5900, false)),
            password: (text("abcd-efgh-jkmn"), text("abcdefgh")),
            replaced: 0,
            fingerprint: (0..32).map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"),
            people: vec![Person { door: Door::Browser, from: "192.0.2.7".parse().unwrap() }],
            mode: Mode::Remote,
        }
    }

    fn drawn(draw: impl FnOnce(&mut Canvas<'_>)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(draw).unwrap();
        terminal.backend().to_string()
    }

    /// F-005: addresses, the password, the fingerprint, who is here, the key to go on.
    #[test]
    fn the_console_says_how_the_machine_is_reached() {
        for (name, language) in [("console_english", Language::English), ("console_chinese", Language::Chinese)] {
            insta::assert_snapshot!(name, drawn(|canvas| draw(canvas, &console(language))));
        }
    }

    #[test]
    fn without_an_address_it_says_what_to_do_and_what_else_is_amiss() {
        let mut console = console(Language::English);
        console.addresses.clear();
        console.people = (0..6).map(|n| Person { door: Door::Vnc, from: [192, 0, 2, n].into() }).collect();
        console.replaced = 2;
        console.vnc = Ok((5901, true));
        console.look = Look::Plain;
        console.mode = Mode::Ended(End::Reboot);
        let drawn = drawn(|canvas| draw(canvas, &console));
        assert!(drawn.is_ascii(), "{drawn}");
        insta::assert_snapshot!("console_in_trouble", drawn);
    }

    #[test]
    fn without_a_font_viewers_are_told_of_the_browser_alone() {
        let mut console = console(Language::English);
        console.vnc = Err("there is no font of the console; install the package console-setup-linux".to_owned());
        console.web = 8443;
        let drawn = drawn(|canvas| draw(canvas, &console));
        assert!(drawn.contains("https://[2001:db8::10]:8443/") && drawn.contains("not offered: there is no font"));
        assert!(!drawn.contains("first 8"), "{drawn}");
    }

    /// F10: the screen itself, and how to give it back.
    #[test]
    fn taken_over_the_screen_is_drawn_as_it_is() {
        let mut parser = vt100::Parser::new(NonZero::new(23).unwrap(), NonZero::new(80).unwrap(), 0);
        parser.process("one\r\n\u{1b}[7mtwo\u{1b}[0m 中文".as_bytes());
        let frame = Frame::of(parser.screen());
        let drawn = drawn(|canvas| draw_screen(canvas, &console(Language::English), &frame));
        assert!(drawn.contains("one") && drawn.contains("two 中文") && drawn.contains("F10 back"), "{drawn}");
        assert_eq!((rows_for_screen(24), rows_for_screen(25), rows_for_screen(50)), (24, 24, 49));
    }
}
