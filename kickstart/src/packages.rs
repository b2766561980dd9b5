//! `%packages`: what is installed.

use std::collections::BTreeSet;

use crate::{
    declare::command,
    options::Rules,
    problem::Report,
    section::{first_word, write_header},
    version::{
        Support,
        Version::{self, Rhel8, Rhel9, Rhel10},
    },
    words,
};

command! {
    /// The first line of `%packages`.
    PackagesHeader: "%packages"; {
        /// Packages without their documentation.
        pub excludedocs: bool = flag("--excludedocs");
        /// What is in no repository is left out.
        pub ignoremissing: bool = flag("--ignoremissing");
        /// The default environment.
        pub default: bool = flag("--default");
        /// Not the group `base`.
        pub nobase: bool = flag("--nobase" in Support::ALWAYS.deprecated(Version::Rhel7).removed(Rhel8));
        /// Not the group `core`.
        pub nocore: bool = flag("--nocore");
        /// Packages of every architecture that the system can run.
        pub multilib: bool = flag("--multilib");
        /// Not what packages merely recommend.
        pub exclude_weakdeps: bool = flag(
            "--exclude-weakdeps" in Support::since(Rhel9), "--excludeWeakdeps" in Support::since(Rhel8).removed(Rhel10)
        );
        /// The languages that are installed.
        pub inst_langs: Option<String> = store(
            "--inst-langs" in Support::since(Rhel9), "--instLangs" in Support::ALWAYS.removed(Rhel10)
        );
        /// Seconds to wait for a repository.
        pub timeout: Option<i64> = store("--timeout");
        /// How often to ask a repository.
        pub retries: Option<i64> = store("--retries");
    }
}

impl Rules for PackagesHeader {
    fn rules(&self, _version: Version) -> Vec<String> {
        let mut broken = Vec::new();
        for (given, option) in [(self.nobase, "--nobase"), (self.nocore, "--nocore")] {
            if self.default && given {
                broken.push(format!("%packages can have one of --default and {option}: remove the other."));
            }
        }
        broken
    }
}

/// How much of a group is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupExtent {
    /// What it needs and what it has by default.
    #[default]
    Default,
    /// What it needs: `--nodefaults`.
    Mandatory,
    /// Everything: `--optional`.
    All,
}

/// A line of `%packages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageItem {
    /// `@^environment`; the last one counts.
    Environment(String),
    /// `-@^environment`: not this one.
    ExcludeEnvironment(String),
    /// `@group`, by its id, its name or `module:stream/profile`.
    Group {
        /// Which.
        name: String,
        /// How much of it.
        extent: GroupExtent,
    },
    /// `-@group`: not this group.
    ExcludeGroup(String),
    /// A package, or a pattern of names.
    Package(String),
    /// `-package`: not this one.
    ExcludePackage(String),
    /// `%include`: further lines from a file, which whoever reads files puts here.
    Include(String),
    /// `%ksappend`: further lines from a file or an address, in the same way.
    KsAppend(String),
}

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packages {
    /// Its options.
    pub header: PackagesHeader,
    /// Its lines in their order.
    pub items: Vec<PackageItem>,
}

/// What the lines of `%packages` come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The environment.
    pub environment: Option<String>,
    /// Groups with their extents, in the order of the file.
    pub groups: Vec<(String, GroupExtent)>,
    /// Groups that are left out.
    pub excluded_groups: Vec<String>,
    /// Packages.
    pub packages: BTreeSet<String>,
    /// Packages that are left out.
    pub excluded_packages: BTreeSet<String>,
}

impl Packages {
    /// What the lines come to: a later line overrules an earlier one. Included files are not looked at.
    pub fn selection(&self) -> Selection {
        let mut selection = Selection::default();
        for item in &self.items {
            match item {
                PackageItem::Environment(name) => selection.environment = Some(name.clone()),
                PackageItem::ExcludeEnvironment(name) => {
                    if selection.environment.as_ref() == Some(name) {
                        selection.environment = None;
                    } else {
                        let as_group = format!("^{name}");
                        selection.groups.retain(|(group, _)| *group != as_group);
                        selection.excluded_groups.push(as_group);
                    }
                }
                PackageItem::Group { name, extent } => {
                    if !selection.groups.iter().any(|(group, _)| group == name) {
                        selection.groups.push((name.clone(), *extent));
                    }
                }
                PackageItem::ExcludeGroup(name) => {
                    selection.groups.retain(|(group, _)| group != name);
                    selection.excluded_groups.push(name.clone());
                }
                PackageItem::Package(name) => {
                    selection.excluded_packages.remove(name);
                    selection.packages.insert(name.clone());
                }
                PackageItem::ExcludePackage(name) => {
                    selection.packages.remove(name);
                    selection.excluded_packages.insert(name.clone());
                }
                PackageItem::Include(_) | PackageItem::KsAppend(_) => {}
            }
        }
        selection
    }

    pub(crate) fn write_header(&self, version: Version, report: &mut Report) -> String {
        write_header(&self.header, version, report)
    }

    /// The lines. Names that would read back as something else are reported.
    pub(crate) fn write_body(&self, report: &mut Report) -> String {
        let mut body = String::new();
        for item in &self.items {
            let line = match item {
                PackageItem::Environment(name) => format!("@^{name}"),
                PackageItem::ExcludeEnvironment(name) => format!("-@^{name}"),
                PackageItem::Group { name, extent: GroupExtent::Default } => format!("@{name}"),
                PackageItem::Group { name, extent: GroupExtent::Mandatory } => format!("@{name} --nodefaults"),
                PackageItem::Group { name, extent: GroupExtent::All } => format!("@{name} --optional"),
                PackageItem::ExcludeGroup(name) => format!("-@{name}"),
                PackageItem::Package(name) => name.clone(),
                PackageItem::ExcludePackage(name) => format!("-{name}"),
                PackageItem::Include(path) => format!("%include {}", words::quote(path)),
                PackageItem::KsAppend(path) => format!("%ksappend {path}"),
            };
            let mut read_back = Report::default();
            if line.contains(words::LINE_ENDS) || read(&line, &mut read_back).as_ref() != Some(item) {
                report.error(1, "%packages: a name has characters that would be read as something else: correct it.");
            }
            body.push_str(&line);
            body.push('\n');
        }
        body
    }
}

/// Reads a line without its end. `None` for one that says nothing or is wrong; the latter is reported.
pub(crate) fn read(line: &str, report: &mut Report) -> Option<PackageItem> {
    let column = line.chars().take_while(|character| character.is_whitespace()).count() + 1;
    let text = line.trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    if text.starts_with('%') {
        return include(text, column, report);
    }
    let text = text.split('#').next().unwrap_or_default().trim_end();
    let item = if let Some(name) = text.strip_prefix("-@^") {
        PackageItem::ExcludeEnvironment(name.to_owned())
    } else if let Some(name) = text.strip_prefix("@^") {
        PackageItem::Environment(name.to_owned())
    } else if let Some(name) = text.strip_prefix("-@") {
        PackageItem::ExcludeGroup(name.to_owned())
    } else if let Some(group) = text.strip_prefix('@') {
        return read_group(group, column, report);
    } else if let Some(name) = text.strip_prefix('-') {
        PackageItem::ExcludePackage(name.to_owned())
    } else {
        PackageItem::Package(text.to_owned())
    };
    let (name, is_package) = match &item {
        PackageItem::Package(name) | PackageItem::ExcludePackage(name) => (name, true),
        PackageItem::Environment(name) | PackageItem::ExcludeEnvironment(name) | PackageItem::ExcludeGroup(name) => {
            (name, false)
        }
        PackageItem::Group { name, .. } | PackageItem::Include(name) | PackageItem::KsAppend(name) => (name, false),
    };
    if name.is_empty() || name.trim() != name {
        report.error(column, "a name has to follow without a blank: write `-name`, `@group` or `@^environment`.");
        return None;
    }
    if is_package && name.contains(char::is_whitespace) {
        report.error(column, "each package needs a line of its own.");
        return None;
    }
    if name.split_whitespace().any(|word| word.starts_with("--")) {
        report.error(column, "only groups that are installed have options: remove them.");
        return None;
    }
    Some(item)
}

/// What a `%ksappend` line asks for: the text between its first two blanks, without regard to quotes.
pub(crate) fn appended(line: &str) -> Option<String> {
    line.trim().split(' ').nth(1).filter(|path| !path.is_empty()).map(str::to_owned)
}

fn include(text: &str, column: usize, report: &mut Report) -> Option<PackageItem> {
    if first_word(text) == Some("%ksappend") {
        let appended = appended(text).map(PackageItem::KsAppend);
        if appended.is_none() {
            report.error(column, "%ksappend needs the name of a file.");
        }
        return appended;
    }
    let words = match words::split(text, false) {
        Ok(split) => split.words,
        Err(broken) => {
            report.error(broken.column, broken.message);
            return None;
        }
    };
    match (words.first().map(|word| word.text.as_str()), words.get(1)) {
        (Some("%include"), Some(path)) if !path.text.is_empty() => Some(PackageItem::Include(path.text.clone())),
        (Some("%include"), _) => {
            report.error(column, "%include needs the name of a file.");
            None
        }
        _ => {
            report
                .error(column, "no package or group begins with %: remove this line, or close the section with %end.");
            None
        }
    }
}

/// Reads what follows the `@`: a name, which may contain blanks, and options.
fn read_group(text: &str, column: usize, report: &mut Report) -> Option<PackageItem> {
    let mut name: Vec<&str> = Vec::new();
    let mut extent = GroupExtent::Default;
    let mut both = false;
    for word in text.split_whitespace() {
        let asked = match word {
            "--nodefaults" => GroupExtent::Mandatory,
            "--optional" => GroupExtent::All,
            _ if word.starts_with("--") => {
                report.error(column, "a group has the options --nodefaults and --optional: write one of them out.");
                return None;
            }
            _ => {
                name.push(word);
                continue;
            }
        };
        both |= extent != GroupExtent::Default && extent != asked;
        extent = asked;
    }
    if both {
        report.error(column, "a group can have one of --nodefaults and --optional: remove the other.");
        return None;
    }
    if name.is_empty() || text.starts_with(char::is_whitespace) {
        report.error(column, "a name has to follow without a blank: write `@group`.");
        return None;
    }
    Some(PackageItem::Group { name: name.join(" "), extent })
}
