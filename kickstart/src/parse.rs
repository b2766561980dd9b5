//! Reading a file: lines, commands, sections.

use crate::{
    commands, consistency,
    document::{Item, Kickstart},
    packages::{self, Packages},
    problem::{Problem, Problems, Report},
    section::{self, Body, OPENINGS, check_include, first_word},
    version::Version,
    words::{self, Word},
};

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What it says.
    pub kickstart: Kickstart,
    /// The line of each item, counted from 1.
    pub lines: Vec<usize>,
    /// What works but does less than it seems to.
    pub warnings: Vec<Problem>,
}

/// A line that is a command or begins a section.
pub(crate) struct Line<'a> {
    text: &'a str,
    first: Word,
    words: Vec<Word>,
}

impl<'a> Line<'a> {
    /// The line without its end.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The word it begins with.
    pub(crate) fn word(&self) -> &str {
        &self.first.text
    }

    /// Where that word begins, in characters from 1.
    pub(crate) fn column(&self) -> usize {
        self.first.column
    }

    /// The words behind the first.
    pub(crate) fn words(&self) -> &[Word] {
        &self.words
    }

    /// What follows the first word, quotes and comments included.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.trim_start().split_once(char::is_whitespace).map(|(_, rest)| rest.trim()).unwrap_or_default()
    }
}

/// Reads a file that must be UTF-8, which [`parse`] gets as text.
///
/// # Errors
/// As [`parse`], and where the bytes are not UTF-8.
pub fn parse_bytes(bytes: &[u8], version: Version) -> Result<Parsed, Problems> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, version),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let good = String::from_utf8_lossy(good);
            let mut report = Report::default();
            report.line = section::lines(&good).count().max(1);
            if good.ends_with(words::LINE_ENDS) {
                report.line += 1;
            }
            let column = good.chars().rev().take_while(|character| !words::LINE_ENDS.contains(character)).count() + 1;
            report.error(column, "this is not UTF-8: save the file as UTF-8.");
            report.into_result().map(|warnings| Parsed { kickstart: Kickstart::default(), lines: Vec::new(), warnings })
        }
    }
}

/// Reads a file as the installer of that version does. `%include` and `%ksappend` become items: no file is read here.
///
/// # Errors
/// Everything that is wrong, with its place and the way out.
pub fn parse(text: &str, version: Version) -> Result<Parsed, Problems> {
    let mut reader = Reader { report: Report::default(), version, items: Vec::new(), lines: Vec::new() };
    let all: Vec<(usize, &str)> = section::placed_lines(text).collect();
    let mut at = 0;
    while let Some((_, line)) = all.get(at) {
        at += 1;
        reader.report.line = at;
        if let Some(opened) = reader.line(line) {
            at = reader.section(opened, text, &all, at);
        }
    }
    consistency::check(&reader.items, &reader.lines, &mut reader.report);
    let Reader { report, items, lines, .. } = reader;
    report.into_result().map(|warnings| Parsed { kickstart: Kickstart { items }, lines, warnings })
}

struct Reader {
    report: Report,
    version: Version,
    items: Vec<Item>,
    lines: Vec<usize>,
}

impl Reader {
    fn push(&mut self, line: usize, item: Item) {
        self.items.push(item);
        self.lines.push(line);
    }

    /// Reads a line outside of sections. If it begins a section, that is returned.
    fn line(&mut self, text: &str) -> Option<section::Opened> {
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            return None;
        }
        let split = match words::split(text, true) {
            Ok(split) => split,
            Err(broken) => {
                self.report.error(broken.column, broken.message);
                return None;
            }
        };
        if let Some(column) = split.cut {
            self.report.warning(
                column,
                "this # begins a comment and cuts the word before it off: quote a value that contains #.",
            );
        }
        let mut words = split.words.into_iter();
        let first = words.next()?;
        let line = Line { text, first, words: words.collect() };
        let at = self.report.line;
        match line.word() {
            "%include" => match line.words().first() {
                Some(path) if !path.text.is_empty() => self.push(at, Item::Include(path.text.clone())),
                _ => self.report.error(line.column(), "%include needs the name of a file."),
            },
            "%ksappend" => match packages::appended(text) {
                Some(path) => self.push(at, Item::KsAppend(path)),
                None => self.report.error(line.column(), "%ksappend needs the name of a file."),
            },
            word if word.starts_with('%') => {
                return section::open(&line, self.version, &mut self.report).or_else(|| {
                    // What follows an unknown opening is its body and no command.
                    (line.word() != "%end").then(|| section::Opened::Addon(Vec::new()))
                });
            }
            _ => {
                if let Some(command) = commands::read(&line, self.version, &mut self.report) {
                    self.push(at, Item::Command(command));
                }
            }
        }
        None
    }

    /// Reads the lines of a section up to its `%end`, and returns the number of lines that are read by then.
    fn section(&mut self, opened: section::Opened, text: &str, all: &[(usize, &str)], opening: usize) -> usize {
        let mut at = opening;
        let mut ended = false;
        while let Some((_, line)) = all.get(at) {
            let word = first_word(line).unwrap_or_default();
            if word == "%end" || OPENINGS.contains(&word) {
                ended = word == "%end";
                break;
            }
            at += 1;
        }
        if !ended {
            self.report.error(1, "this section is not closed: end it with a line `%end`.");
        }
        let within = all.get(opening..at).unwrap_or_default();
        let place = |line: usize| all.get(line).map_or(text.len(), |(place, _)| *place);
        let body = Body::new(text.get(place(opening)..place(at)).unwrap_or_default());
        let is_packages = matches!(opened, section::Opened::Packages(_));
        if !is_packages {
            for ((_, line), number) in within.iter().zip(opening + 1..) {
                self.report.line = number;
                check_include(line, 1, &mut self.report);
            }
        }
        self.report.line = opening;
        if matches!(opened, section::Opened::Certificate(_)) && body.as_str().trim().is_empty() {
            self.report.error(1, section::EMPTY_CERTIFICATE);
        }
        let report = &mut self.report;
        let section = section::close(opened, body, |header| {
            let mut items = Vec::new();
            for ((_, line), number) in within.iter().zip(opening + 1..) {
                report.line = number;
                items.extend(packages::read(line, report));
            }
            Packages { header, items }
        });
        self.push(opening, Item::Section(section));
        at + usize::from(ended)
    }
}
