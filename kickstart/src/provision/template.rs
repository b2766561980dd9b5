//! Templates, of the system and of operators.

use std::fmt;

use minijinja::{
    Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{ValueKind, merge_maps},
};

use super::{
    escape::{Syntax, escape, shell},
    machine::{InvalidMachine, Machine},
};
use crate::{Version, parse, problem::suggestion};

/// What may be asked of a template before it is stopped: a thousand times what the largest of ours needs.
const FUEL: u64 = 1_000_000;

/// Variables that a template has.
const VARIABLES: [&str; 13] = [
    "bonds",
    "callback_url",
    "disk",
    "disk_name",
    "hostname",
    "mirror",
    "mirror_url",
    "nameservers",
    "nics",
    "root_password_hash",
    "ssh_keys",
    "timezone",
    "version",
];

/// Systems that are installed in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// RHEL and what is rebuilt from it, by kickstart.
    Rhel(Version),
    /// Debian 12 and 13, by preseed.
    Debian,
    /// Ubuntu 22.04 and later, by autoinstall, in the user data of cloud-init.
    Ubuntu,
    /// SUSE Linux Enterprise 15 and openSUSE Leap 15, by AutoYaST.
    Suse,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 7] = [
        Self::Rhel(Version::Rhel7),
        Self::Rhel(Version::Rhel8),
        Self::Rhel(Version::Rhel9),
        Self::Rhel(Version::Rhel10),
        Self::Debian,
        Self::Ubuntu,
        Self::Suse,
    ];

    fn syntax(self) -> Syntax {
        match self {
            Self::Rhel(_) => Syntax::Kickstart,
            Self::Debian => Syntax::Preseed,
            Self::Ubuntu => Syntax::Yaml,
            Self::Suse => Syntax::Xml,
        }
    }
}

/// Why a file could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// The template itself is wrong, or needs what it does not get.
    Template {
        /// The name of the template.
        name: String,
        /// The line, counted from 1, where one is to blame.
        line: Option<usize>,
        /// A sentence.
        message: String,
    },
    /// The machine is not one.
    Machine(InvalidMachine),
    /// The template makes a file that its installer would refuse; each sentence has its line in that file.
    Result {
        /// The name of the template.
        name: String,
        /// What is wrong with the file.
        problems: crate::Problems,
    },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template { name, line: Some(line), message } => write!(f, "template {name}, line {line}: {message}"),
            Self::Template { name, line: None, message } => write!(f, "template {name}: {message}"),
            Self::Machine(invalid) => invalid.fmt(f),
            Self::Result { name, problems } => {
                write!(f, "template {name} makes a file that its installer would refuse:\n{problems}")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

/// A template that was checked.
#[derive(Debug)]
pub struct Template {
    family: Family,
    name: String,
    environment: Environment<'static>,
}

impl Template {
    /// The template of the system for a family.
    ///
    /// # Errors
    /// None that a release of this crate has: its tests use every one.
    pub fn system(family: Family) -> Result<Self, TemplateError> {
        let (name, source) = match family {
            Family::Rhel(_) => ("rhel.ks", include_str!("../../templates/rhel.ks")),
            Family::Debian => ("debian.preseed", include_str!("../../templates/debian.preseed")),
            Family::Ubuntu => ("ubuntu.user-data", include_str!("../../templates/ubuntu.user-data")),
            Family::Suse => ("suse.xml", include_str!("../../templates/suse.xml")),
        };
        Self::custom(family, name, source)
    }

    /// A template that an operator wrote (OS-BMB-042).
    ///
    /// # Errors
    /// If it is no template, or asks for variables that there are not: all of them are named.
    pub fn custom(family: Family, name: &str, source: &str) -> Result<Self, TemplateError> {
        let mut environment = environment(family.syntax()).map_err(|error| explain(name, source, &error))?;
        environment
            .add_template_owned(name.to_owned(), source.to_owned())
            .map_err(|error| explain(name, source, &error))?;
        let template = environment.get_template(name).map_err(|error| explain(name, source, &error))?;
        let globals: Vec<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
        let mut unknown: Vec<String> = template
            .undeclared_variables(false)
            .into_iter()
            .filter(|variable| !VARIABLES.contains(&variable.as_str()) && !globals.contains(variable))
            .collect();
        unknown.sort();
        if !unknown.is_empty() {
            let named = unknown.iter().map(|variable| {
                format!("there is no variable `{variable}`.{}", suggestion(variable, VARIABLES.into_iter()))
            });
            let named: Vec<String> = named.collect();
            let message = format!("{} The variables are {}.", named.join(" "), VARIABLES.join(", "));
            let line = unknown.first().and_then(|variable| line_with(source, variable));
            return Err(TemplateError::Template { name: name.to_owned(), line, message });
        }
        Ok(Self { family, name: name.to_owned(), environment })
    }

    /// The file for a machine.
    ///
    /// # Errors
    /// If the machine is not right, a value cannot be written in this syntax, the template asks for what an object does
    /// not have, or the file is a kickstart that its installer would refuse.
    pub fn render(&self, machine: &Machine) -> Result<String, TemplateError> {
        machine.check().map_err(TemplateError::Machine)?;
        let failed = |error: &Error| {
            let source = self.environment.get_template(&self.name).map(|template| template.source().to_owned());
            explain(&self.name, &source.unwrap_or_default(), error)
        };
        let template = self.environment.get_template(&self.name).map_err(|error| failed(&error))?;
        let version = match self.family {
            Family::Rhel(Version::Rhel7) => 7,
            Family::Rhel(Version::Rhel8) => 8,
            Family::Rhel(Version::Rhel9) => 9,
            Family::Rhel(Version::Rhel10) => 10,
            _ => 0,
        };
        let variables = merge_maps([machine.variables(), minijinja::context! { version => version }]);
        let text = template.render(variables).map_err(|error| failed(&error))?;
        if let Family::Rhel(version) = self.family {
            parse(&text, version).map_err(|problems| TemplateError::Result { name: self.name.clone(), problems })?;
        }
        Ok(text)
    }
}

/// The language of templates, with values quoted for the syntax.
fn environment(syntax: Syntax) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(move |output, state, value| format(syntax, output, state, value));
    environment.add_filter("shell", |text: String| shell(&text).map_err(cannot_contain));
    Ok(environment)
}

fn cannot_contain(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a value contains {what}, which cannot stand here"))
}

fn format(syntax: Syntax, output: &mut Output<'_>, _state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::String if value.is_safe() => value.to_string(),
        ValueKind::String => escape(syntax, &value.to_string()).map_err(cannot_contain)?,
        ValueKind::Number | ValueKind::Bool => value.to_string(),
        ValueKind::None if syntax == Syntax::Yaml => "null".to_owned(),
        ValueKind::Seq if syntax == Syntax::Yaml => {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                items.push(escape(syntax, &item.to_string()).map_err(cannot_contain)?);
            }
            format!("[{}]", items.join(", "))
        }
        kind => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("a {kind} cannot be written: write its parts, and test with `if` what may be none"),
            ));
        }
    };
    output.write_str(&text).map_err(Error::from)
}

/// The first line that contains the name as a word.
fn line_with(source: &str, name: &str) -> Option<usize> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    source
        .lines()
        .position(|line| line.split(|character| !is_part(character)).any(|word| word == name))
        .map(|at| at + 1)
}

/// What went wrong, with the piece of the template that did.
fn explain(name: &str, source: &str, error: &Error) -> TemplateError {
    let detail = error.detail().map(str::to_owned);
    let what = match error.kind() {
        ErrorKind::UndefinedError => "there is no such variable".to_owned(),
        ErrorKind::OutOfFuel => "it takes too long: a loop goes round too often".to_owned(),
        _ => detail.unwrap_or_else(|| error.kind().to_string()),
    };
    let piece =
        error.range().and_then(|range| source.get(range)).map(|piece| format!(" in `{piece}`")).unwrap_or_default();
    TemplateError::Template { name: name.to_owned(), line: error.line(), message: format!("{what}{piece}.") }
}
