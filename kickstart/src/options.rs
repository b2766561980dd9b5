//! Options and arguments of a command, read as Python's `argparse` reads them, which pykickstart uses.
//!
//! An option is `--name=value`, `--name value`, or `--name` alone; a beginning of its name will do where only one option
//! begins so. Options and arguments come in any order. Options known in another version, or nowhere, are errors.

use crate::{
    problem::{Report, suggestion},
    version::{Standing, Support, Version},
    words::{Word, assignment, quote},
};

/// What follows the name of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Value,
    /// A value or nothing.
    Maybe,
}

/// How an option looks in the file.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The preferred name first.
    pub(crate) names: &'static [(&'static str, Support)],
    pub(crate) takes: Takes,
    pub(crate) required: bool,
}

impl Shape {
    fn names_in(&self, version: Version) -> impl Iterator<Item = &'static str> {
        self.names.iter().filter(move |(_, support)| support.is_read(version)).map(|(name, _)| *name)
    }
}

/// Sets a field to a value of the file, or says what the value should be.
type Put<T> = fn(&mut T, Option<&str>) -> Result<(), String>;

/// An option of the command `T`.
pub(crate) struct Opt<T> {
    pub(crate) shape: Shape,
    pub(crate) put: Put<T>,
    /// How often it has to be written, and with which values.
    pub(crate) get: fn(&T) -> Vec<Option<String>>,
}

/// How many words an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    One,
    Maybe,
    Many,
}

/// An argument of the command `T`.
pub(crate) struct Arg<T> {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    pub(crate) count: Count,
    pub(crate) put: fn(&mut T, &str) -> Result<(), String>,
    pub(crate) get: fn(&T) -> Vec<String>,
}

/// A command that consists of options and arguments.
pub(crate) trait Options: Sized + Default + 'static {
    /// The words that begin it, the preferred one first.
    const WORDS: &'static [&'static str];
    const SUPPORT: Support;

    fn options() -> Vec<&'static Opt<Self>>;
    fn arguments() -> Vec<&'static Arg<Self>>;

    /// Takes note of the word it was begun with.
    fn set_word(&mut self, word: &str);
    /// The word to begin it with.
    fn word(&self) -> &'static str;
}

/// What must hold between the values of a command.
pub(crate) trait Rules {
    /// Sentences about what does not hold in this version.
    fn rules(&self, version: Version) -> Vec<String>;
}

/// Declares that the options of these commands can be combined freely.
macro_rules! no_rules {
    ($($name:ty),+ $(,)?) => {
        $(impl $crate::options::Rules for $name {
            fn rules(&self, _version: $crate::version::Version) -> Vec<String> {
                Vec::new()
            }
        })+
    };
}
pub(crate) use no_rules;

/// How a word of the line is to be taken.
enum Token<'a> {
    Argument,
    Option {
        index: usize,
        name: &'static str,
        value: Option<&'a str>,
    },
    /// An option that is not one; said already.
    Unknown {
        has_value: bool,
    },
}

/// Reads the words behind the command `called`.
pub(crate) fn read<T: Options>(target: &mut T, called: &str, words: &[Word], version: Version, report: &mut Report) {
    let options = T::options();
    let shapes: Vec<&Shape> = options.iter().map(|option| &option.shape).collect();
    let tokens = classify(called, &shapes, words, version, report);
    let mut seen = vec![false; options.len()];
    // Arguments in the order of the line, each with the number of the run of arguments that it stands in.
    let mut arguments: Vec<(usize, &Word)> = Vec::new();
    let mut run = 0;
    // The word behind an option that nobody knows may be its value.
    let mut may_be_a_value = false;
    let mut at = 0;
    while let (Some(word), Some(token)) = (words.get(at), tokens.get(at)) {
        at += 1;
        match token {
            Token::Argument if may_be_a_value => may_be_a_value = false,
            Token::Argument => arguments.push((run, word)),
            Token::Unknown { has_value } => {
                run += 1;
                may_be_a_value = !has_value;
            }
            Token::Option { index, name, value } => {
                run += 1;
                may_be_a_value = false;
                let Some(option) = options.get(*index) else { continue };
                if let Some(seen) = seen.get_mut(*index) {
                    *seen = true;
                }
                let takes = option.shape.takes;
                let next = || match (tokens.get(at), words.get(at)) {
                    (Some(Token::Argument), Some(next)) => Some(next.text.as_str()),
                    _ => None,
                };
                let value = match (takes, value) {
                    (Takes::Nothing, Some(_)) => {
                        report.error(word.column, format!("{name} takes no value: remove `=` and what follows."));
                        continue;
                    }
                    (Takes::Nothing, None) => None,
                    (_, Some(value)) => Some(*value),
                    (_, None) => {
                        let next = next();
                        at += usize::from(next.is_some());
                        next
                    }
                };
                if takes == Takes::Value && value.is_none() {
                    report.error(word.column, format!("{name} needs a value: write {name}=VALUE."));
                    continue;
                }
                if let Err(wrong) = (option.put)(target, value) {
                    report.error(word.column, format!("{name} {wrong}."));
                }
            }
        }
    }
    place::<T>(target, called, &arguments, report);
    for (option, seen) in options.iter().zip(seen) {
        if option.shape.required && !seen {
            let name = option.shape.names_in(version).next().unwrap_or_default();
            report.error(1, format!("{called} needs {name}: add {name}=VALUE."));
        }
    }
}

/// Tells options from arguments.
fn classify<'a>(
    called: &str,
    shapes: &[&Shape],
    words: &'a [Word],
    version: Version,
    report: &mut Report,
) -> Vec<Token<'a>> {
    words
        .iter()
        .map(|word| {
            let text = word.text.as_str();
            if !text.starts_with('-') || text.len() == 1 {
                return Token::Argument;
            }
            if text == "--" {
                report.error(
                    word.column,
                    "a lone -- is not supported: remove it, and write values that begin with a dash as --option=VALUE.",
                );
                return Token::Unknown { has_value: true };
            }
            let (typed, value) = match text.split_once('=') {
                Some((typed, value)) => (typed, Some(value)),
                None => (text, None),
            };
            let known = || {
                shapes
                    .iter()
                    .enumerate()
                    .flat_map(|(index, shape)| shape.names_in(version).map(move |name| (index, name)))
            };
            let found: Vec<(usize, &'static str)> = match known().find(|(_, name)| *name == typed) {
                Some(exact) => vec![exact],
                None if typed.starts_with("--") => known().filter(|(_, name)| name.starts_with(typed)).collect(),
                None => Vec::new(),
            };
            match found.as_slice() {
                [(index, name)] => {
                    let names = shapes.get(*index).map(|shape| shape.names).unwrap_or_default();
                    let support = names.iter().find(|(known, _)| known == name).map(|(_, support)| support);
                    if let Some(next) = support.and_then(|support| support.leaves_with(version)) {
                        report.warning(
                            word.column,
                            format!("{name} goes away with {next}: see what takes its place there."),
                        );
                    }
                    if let Some(Standing::Deprecated(since)) = support.map(|support| support.standing(version)) {
                        report.warning(
                            word.column,
                            format!("{name} has no effect since {since} and may become an error: remove it."),
                        );
                    }
                    Token::Option { index: *index, name, value }
                }
                // What a person means by a negative number, or by several words in quotes, is a value.
                [] if is_negative_number(text) || text.contains(' ') => Token::Argument,
                [] => {
                    report.error(word.column, unknown(called, typed, shapes, version));
                    Token::Unknown { has_value: value.is_some() }
                }
                several => {
                    let names: Vec<_> = several.iter().map(|(_, name)| *name).collect();
                    report.error(word.column, format!("{typed} can be {}: write it out.", names.join(" or ")));
                    Token::Unknown { has_value: value.is_some() }
                }
            }
        })
        .collect()
}

fn is_negative_number(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('-') else { return false };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole) && is_digits(fraction) && !fraction.is_empty() && (!whole.is_empty() || digits.contains('.'))
}

/// A sentence about an option that the command does not have in this version.
fn unknown(called: &str, typed: &str, shapes: &[&Shape], version: Version) -> String {
    let elsewhere = shapes.iter().flat_map(|shape| shape.names).find(|(name, _)| *name == typed);
    match elsewhere.map(|(_, support)| support.standing(version)) {
        Some(Standing::Later(since)) => {
            format!("{called} has {typed} since {since}, not yet in {version}: remove it or use the newer version.")
        }
        Some(Standing::Removed(since)) => format!("{called} has no {typed} since {since}: remove it."),
        _ => {
            let known = shapes.iter().flat_map(|shape| shape.names_in(version));
            format!("{called} has no option {typed}.{}", suggestion(typed, known))
        }
    }
}

/// Gives the arguments of the line to those of the command.
fn place<T: Options>(target: &mut T, called: &str, found: &[(usize, &Word)], report: &mut Report) {
    let mut rest = found;
    for argument in T::arguments() {
        let taken = match argument.count {
            Count::One | Count::Maybe => rest.len().min(1),
            Count::Many => rest.len(),
        };
        let (mine, others) = rest.split_at(taken);
        rest = others;
        if mine.is_empty() && argument.count == Count::One {
            report.error(1, format!("{called} needs {}.", argument.name));
        }
        if let Some((first, _)) = mine.first()
            && let Some((_, word)) = mine.iter().find(|(run, _)| run != first)
        {
            // pykickstart forgets some of them without a word.
            report.error(word.column, format!("an option stands between {}: write them together.", argument.name));
        }
        for (_, word) in mine {
            if let Err(wrong) = (argument.put)(target, &word.text) {
                report.error(word.column, format!("{} {wrong}.", argument.name));
            }
        }
    }
    if let Some((_, word)) = rest.first() {
        let allowed = T::arguments().iter().map(|argument| argument.name).collect::<Vec<_>>().join(" and ");
        let allowed = if allowed.is_empty() { "no arguments".to_owned() } else { format!("only {allowed}") };
        report.error(
            word.column,
            format!("{called} takes {allowed}: remove this word, or quote a value that contains blanks."),
        );
    }
}

/// The line of the command without a line end. What the version cannot say is reported, and left out.
pub(crate) fn write<T: Options>(source: &T, version: Version, report: &mut Report) -> String {
    let called = source.word();
    let mut line = called.to_owned();
    let mut add = |text: String| {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&text);
    };
    let mut arguments = Vec::new();
    for argument in T::arguments() {
        let values = (argument.get)(source);
        if values.is_empty() && argument.count == Count::One {
            report.error(1, format!("{called} needs {}.", argument.name));
        }
        for value in values {
            if value.starts_with('-') && value.len() > 1 && !is_negative_number(&value) {
                report.error(1, format!("{called}: {} cannot begin with a dash.", argument.name));
            }
            arguments.push(quote(&value));
        }
    }
    for option in T::options() {
        let shape = &option.shape;
        let values = (option.get)(source);
        let name = shape.names_in(version).next();
        match (name, shape.names.first()) {
            (None, Some((typed, _))) if !values.is_empty() => {
                report.error(1, unknown(called, typed, &[shape], version));
            }
            (Some(name), _) if shape.required && values.is_empty() => {
                report.error(1, format!("{called} needs {name}."));
            }
            (Some(name), _) => {
                for value in values {
                    match value {
                        Some(value) => add(assignment(name, &value)),
                        None => add(name.to_owned()),
                    }
                }
            }
            (None, _) => {}
        }
    }
    // Behind the options, so that an option that may have a value does not swallow one. An option alone at the end of
    // the line would: `mount` has one, and its arguments stand first.
    let ends_open = T::options().iter().any(|option| option.shape.takes == Takes::Maybe);
    if ends_open {
        let options = line.split_off(called.len());
        line.push(' ');
        line.push_str(&arguments.join(" "));
        line.push_str(&options);
    } else {
        for argument in arguments {
            line.push(' ');
            line.push_str(&argument);
        }
    }
    line
}
