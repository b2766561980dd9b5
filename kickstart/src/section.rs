//! Sections: scripts, certificates, packages, and what is handed to add-ons.

use crate::{
    declare::command,
    options::{self, Options, Rules},
    packages::{Packages, PackagesHeader},
    parse::Line,
    problem::{Report, suggestion},
    value::{Given, choices},
    version::{Version, Version::Rhel9},
    words::{self, quote},
};

/// The lines of a section as they were written, line ends included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body(String);

impl Body {
    /// The text, with a line end where the last line has none.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if !text.is_empty() && !text.ends_with(words::LINE_ENDS) {
            text.push('\n');
        }
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The files that `%include` lines ask for. Whoever reads files puts their text in the place of these lines.
    pub fn includes(&self) -> Vec<String> {
        let lines = lines(&self.0).map(str::trim).filter(|line| first_word(line) == Some("%include"));
        lines
            .filter_map(|line| words::split(line, false).ok()?.words.into_iter().nth(1))
            .map(|word| word.text)
            .collect()
    }
}

/// The lines of a text where Python ends them, without their ends.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    placed_lines(text).map(|(_, line)| line)
}

/// The same with the byte at which each begins.
pub(crate) fn placed_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let place = text.len() - rest.len();
        let end = rest.find(words::LINE_ENDS).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = match after.strip_prefix("\r\n") {
            Some(after) => after,
            None => after.char_indices().nth(1).map(|(at, _)| after.split_at(at).1).unwrap_or_default(),
        };
        Some((place, line))
    })
}

/// The first word of a line, quotes and all.
pub(crate) fn first_word(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}

/// Words that begin a section.
pub(crate) const OPENINGS: [&str; 9] =
    ["%pre", "%pre-install", "%post", "%onerror", "%traceback", "%packages", "%certificate", "%addon", "%anaconda"];

choices! {
    /// When a script runs.
    #[derive(Default)]
    ScriptKind {
        /// Before the installation, when the file was read.
        #[default]
        Pre = "%pre",
        /// When the file systems are there.
        PreInstall = "%pre-install",
        /// When the system is installed.
        Post = "%post",
        /// When it goes wrong.
        OnError = "%onerror",
        /// When the installer crashes.
        Traceback = "%traceback",
    }
}

command! {
    /// The first line of a script.
    ScriptHeader: "%pre" | "%pre-install" | "%post" | "%onerror" | "%traceback"; {
        /// When it runs.
        pub kind: ScriptKind = word();
        /// The program that runs it; `/bin/sh` where nothing is said.
        pub interpreter: Option<String> = store("--interpreter");
        /// It runs outside of the installed system; for `%post` alone, which runs inside.
        pub nochroot: bool = flag("--nochroot");
        /// A file for its output.
        pub log: Option<String> = store("--log", "--logfile");
        /// The installation ends if it fails.
        pub erroronfail: bool = flag("--erroronfail");
    }
}

impl Rules for ScriptHeader {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.nochroot && self.kind != ScriptKind::Post {
            return vec![format!("{} always runs outside of the new system: remove --nochroot.", self.kind.word())];
        }
        Vec::new()
    }
}

command! {
    /// The first line of a certificate.
    CertificateHeader: "%certificate"; {
        /// The name of the file it is written to.
        pub filename: String = required("--filename");
        /// The directory of that file.
        pub dir: Option<String> = store("--dir");
        /// What it is: `anchor` for a certificate authority that the system trusts.
        pub kind: Option<String> = store("--type");
    }
}

impl Rules for CertificateHeader {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.dir.given() || self.kind.given() {
            return Vec::new();
        }
        vec!["%certificate needs --dir or --type.".to_owned()]
    }
}

/// A script.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// When and how it runs.
    pub header: ScriptHeader,
    /// What it does.
    pub body: Body,
}

/// A certificate for the installer and the system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificate {
    /// Where it goes.
    pub header: CertificateHeader,
    /// The certificate in PEM.
    pub body: Body,
}

/// A section for an add-on of the installer, which is not looked into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addon {
    /// The name of the add-on and its options.
    pub arguments: Vec<String>,
    /// Its lines.
    pub body: Body,
}

/// A part of the file that goes on until `%end`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Section {
    /// `%packages`: what is installed.
    Packages(Packages),
    /// `%pre`, `%pre-install`, `%post`, `%onerror` and `%traceback`.
    Script(Script),
    /// `%certificate`.
    Certificate(Certificate),
    /// `%addon`.
    Addon(Addon),
    /// `%anaconda`, which only RHEL 7 and 8 take note of.
    Anaconda(Addon),
}

/// What is known of a section when its first line was read.
pub(crate) enum Opened {
    Packages(PackagesHeader),
    Script(ScriptHeader),
    Certificate(CertificateHeader),
    Addon(Vec<String>),
    Anaconda(Vec<String>),
}

/// Reads the first line of a section. `None` if no section begins so; that is reported.
pub(crate) fn open(line: &Line<'_>, version: Version, report: &mut Report) -> Option<Opened> {
    let arguments = || line.words().iter().map(|word| word.text.clone()).collect();
    match line.word() {
        "%packages" => Some(Opened::Packages(header(line, version, report))),
        "%certificate" => Some(Opened::Certificate(header(line, version, report))),
        "%addon" => Some(Opened::Addon(arguments())),
        "%anaconda" => Some(Opened::Anaconda(arguments())),
        word if ScriptHeader::WORDS.contains(&word) => {
            if word == "%traceback" && version >= Rhel9 {
                report.warning(line.column(), "%traceback may become an error: use %onerror.");
            }
            Some(Opened::Script(header(line, version, report)))
        }
        "%end" => {
            report.error(line.column(), "no section is open here: remove %end.");
            None
        }
        word => {
            let hint = suggestion(word, OPENINGS.into_iter());
            report.error(line.column(), format!("{word} begins no section that is known here.{hint}"));
            None
        }
    }
}

fn header<T: Options + Rules>(line: &Line<'_>, version: Version, report: &mut Report) -> T {
    let mut header = T::default();
    header.set_word(line.word());
    let errors = report.errors();
    options::read(&mut header, line.word(), line.words(), version, report);
    if report.errors() == errors {
        for sentence in header.rules(version) {
            report.error(line.column(), sentence);
        }
    }
    header
}

/// The lines of a section that was opened.
pub(crate) fn close(opened: Opened, body: Body, packages: impl FnOnce(PackagesHeader) -> Packages) -> Section {
    match opened {
        Opened::Packages(header) => Section::Packages(packages(header)),
        Opened::Script(header) => Section::Script(Script { header, body }),
        Opened::Certificate(header) => Section::Certificate(Certificate { header, body }),
        Opened::Addon(arguments) => Section::Addon(Addon { arguments, body }),
        Opened::Anaconda(arguments) => Section::Anaconda(Addon { arguments, body }),
    }
}

impl Section {
    /// The section with its `%end`. What cannot be said is reported.
    pub(crate) fn write(&self, version: Version, report: &mut Report) -> String {
        let (first, body) = match self {
            Self::Packages(packages) => (packages.write_header(version, report), packages.write_body(report)),
            Self::Script(script) => (write_header(&script.header, version, report), script.body.0.clone()),
            Self::Certificate(certificate) => {
                if certificate.body.0.trim().is_empty() {
                    report.error(1, EMPTY_CERTIFICATE);
                }
                (write_header(&certificate.header, version, report), certificate.body.0.clone())
            }
            Self::Addon(addon) => (addon_header("%addon", addon), addon.body.0.clone()),
            Self::Anaconda(addon) => (addon_header("%anaconda", addon), addon.body.0.clone()),
        };
        if first.contains(words::LINE_ENDS) {
            report.error(1, "the first line of a section cannot contain a line break: remove it from its values.");
        }
        for line in lines(&body) {
            let word = first_word(line).unwrap_or_default();
            if word == "%end" || OPENINGS.contains(&word) {
                report.error(
                    1,
                    format!("a line of the section begins with {word}, which would end it: write it otherwise."),
                );
            }
            check_include(line, 1, report);
        }
        format!("{first}\n{body}%end\n")
    }
}

/// What is wrong with a certificate section without a certificate.
pub(crate) const EMPTY_CERTIFICATE: &str = "%certificate has no certificate: put it between this line and %end.";

/// Reports an `%include` in a section that does not say which file.
pub(crate) fn check_include(line: &str, column: usize, report: &mut Report) {
    if first_word(line) != Some("%include") {
        return;
    }
    match words::split(line, false) {
        Ok(split) if split.words.get(1).is_some_and(|word| !word.text.is_empty()) => {}
        Ok(_) => report.error(column, "%include needs the name of a file."),
        Err(broken) => report.error(broken.column, broken.message),
    }
}

pub(crate) fn write_header<T: Options + Rules>(header: &T, version: Version, report: &mut Report) -> String {
    for sentence in header.rules(version) {
        report.error(1, sentence);
    }
    options::write(header, version, report)
}

fn addon_header(word: &str, addon: &Addon) -> String {
    let words = addon.arguments.iter().map(|argument| quote(argument));
    std::iter::once(word.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_python_ends_them() {
        let found: Vec<_> = lines("a\r\nb\rc\u{2028}\n d").collect();
        assert_eq!(found, ["a", "b", "c", "", " d"]);
        assert_eq!(lines("a\n\n").collect::<Vec<_>>(), ["a", ""]);
    }

    #[test]
    fn a_body_names_the_files_it_includes() {
        let body = Body::new("echo\n  %include \"/tmp/a b\"\n%includes\n%include");
        assert_eq!(body.includes(), ["/tmp/a b"]);
        assert!(body.as_str().ends_with('\n'));
    }
}
