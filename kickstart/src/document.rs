//! A whole file.

use crate::{
    commands::Command,
    consistency,
    parse::parse,
    problem::{Problems, Report, Severity},
    section::Section,
    version::Version,
    words,
};

/// A part of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "nearly all items are commands")]
pub enum Item {
    /// A command.
    Command(Command),
    /// A section.
    Section(Section),
    /// `%include`: a file of the installer that stands in this place. Who reads files resolves it.
    Include(String),
    /// `%ksappend`: a file or address that stands in this place. Who reads files resolves it.
    KsAppend(String),
}

impl<T: Into<Command>> From<T> for Item {
    fn from(command: T) -> Self {
        Self::Command(command.into())
    }
}

/// What a file says, in its order. Comments are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kickstart {
    /// Its parts.
    pub items: Vec<Item>,
}

impl Kickstart {
    /// The commands in their order.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.items.iter().filter_map(|item| match item {
            Item::Command(command) => Some(command),
            _ => None,
        })
    }

    /// The sections in their order.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.items.iter().filter_map(|item| match item {
            Item::Section(section) => Some(section),
            _ => None,
        })
    }

    /// The file for that version, each command in its one spelling, with a first line that names the version.
    ///
    /// # Errors
    /// Everything that the version cannot say, or reads without effect: what is written has no warnings. The line of a
    /// problem is the place of the item, counted from 1.
    pub fn render(&self, version: Version) -> Result<String, Problems> {
        let mut report = Report::default();
        let mut text = format!("#version={version}\n");
        let places: Vec<usize> = (1..=self.items.len()).collect();
        for (item, place) in self.items.iter().zip(&places) {
            report.line = *place;
            match item {
                Item::Command(command) => {
                    text.push_str(&command.write(version, &mut report));
                    text.push('\n');
                }
                Item::Section(section) => {
                    text.push('\n');
                    text.push_str(&section.write(version, &mut report));
                }
                Item::Include(path) => text.push_str(&format!("%include {}\n", words::quote(path))),
                Item::KsAppend(path) => text.push_str(&format!("%ksappend {path}\n")),
            }
        }
        consistency::check(&self.items, &places, &mut report);
        if report.errors() == 0 {
            self.check_read_back(&text, version, &mut report);
        }
        report.into_result().map(|_| text)
    }

    /// Reports items that the text does not say: a name with a comma in a list of names, for example.
    fn check_read_back(&self, text: &str, version: Version, report: &mut Report) {
        match parse(text, version) {
            Ok(parsed) if parsed.kickstart == *self => {
                for warning in parsed.warnings {
                    report.line = parsed.lines.iter().filter(|line| **line <= warning.line).count();
                    report.error(1, warning.message);
                }
            }
            Ok(parsed) => {
                let read = parsed.kickstart.items.iter().map(Some).chain(std::iter::repeat(None));
                for ((item, read), place) in self.items.iter().zip(read).zip(1..) {
                    if read != Some(item) {
                        report.line = place;
                        report.error(
                            1,
                            "a value has characters that would be read as something else, such as a comma or blanks in \
                             a list, or a path that is not in its shortest form: correct it.",
                        );
                    }
                }
            }
            Err(problems) => {
                for problem in problems.iter().filter(|problem| problem.severity == Severity::Error) {
                    report.line = self.items.len();
                    report.error(1, format!("the file could not be read back: {}", problem.message));
                }
            }
        }
    }
}
