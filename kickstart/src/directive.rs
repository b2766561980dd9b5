//! What every command can do: be read from a line and be written as one.

use crate::{
    options::{self, Options, Rules},
    parse::Line,
    problem::Report,
    version::{Support, Version},
};

/// A command of the file.
pub(crate) trait Directive: Sized {
    /// The words that begin it, the preferred one first.
    const WORDS: &'static [&'static str];
    const SUPPORT: Support;

    /// Reads it. What is wrong is reported, and the result is then of no use.
    fn read(line: &Line<'_>, version: Version, report: &mut Report) -> Self;

    /// The line without its end. What the version cannot say is reported.
    fn write(&self, version: Version, report: &mut Report) -> String;

    /// Sentences about values that cannot stand together.
    fn rules(&self, version: Version) -> Vec<String>;

    /// A command with arbitrary values: each pair is a value and the option or argument that gets it.
    #[cfg(test)]
    fn assemble(word: usize, values: &[(usize, String)]) -> Self;
}

impl<T: Options + Rules> Directive for T {
    const WORDS: &'static [&'static str] = <T as Options>::WORDS;
    const SUPPORT: Support = <T as Options>::SUPPORT;

    fn read(line: &Line<'_>, version: Version, report: &mut Report) -> Self {
        let mut command = T::default();
        command.set_word(line.word());
        options::read(&mut command, line.word(), line.words(), version, report);
        command
    }

    fn write(&self, version: Version, report: &mut Report) -> String {
        options::write(self, version, report)
    }

    fn rules(&self, version: Version) -> Vec<String> {
        Rules::rules(self, version)
    }

    #[cfg(test)]
    fn assemble(word: usize, values: &[(usize, String)]) -> Self {
        let mut command = T::default();
        command.set_word(<T as Options>::WORDS[word % <T as Options>::WORDS.len()]);
        let (options, arguments) = (T::options(), T::arguments());
        for argument in &arguments {
            let _ = (argument.put)(&mut command, "/x/y");
        }
        for (which, value) in values {
            // Values that an option refuses are left out.
            let _ = match which % (options.len() + arguments.len()).max(1) {
                at if at < options.len() => (options[at].put)(&mut command, Some(value)),
                at if at < options.len() + arguments.len() => (arguments[at - options.len()].put)(&mut command, value),
                _ => Ok(()),
            };
        }
        command
    }
}
