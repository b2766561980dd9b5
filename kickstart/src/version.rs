//! Versions of the language, and since when and until when each of them knows a word.

use std::{fmt, str::FromStr};

/// A version of the kickstart language: what the installer of that release of RHEL, and of the systems rebuilt from it,
/// understands. Their order is the order of release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// RHEL 7, CentOS 7.
    Rhel7,
    /// RHEL, Rocky Linux and AlmaLinux 8.
    Rhel8,
    /// RHEL, Rocky Linux and AlmaLinux 9, CentOS Stream 9.
    Rhel9,
    /// RHEL, Rocky Linux and AlmaLinux 10, CentOS Stream 10.
    Rhel10,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 4] = [Self::Rhel7, Self::Rhel8, Self::Rhel9, Self::Rhel10];

    /// Its name as pykickstart spells it, such as `RHEL9`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rhel7 => "RHEL7",
            Self::Rhel8 => "RHEL8",
            Self::Rhel9 => "RHEL9",
            Self::Rhel10 => "RHEL10",
        }
    }

    /// The version that a file claims for itself in its first `#version=` line, which is where pykickstart looks.
    /// `None` without such a line, and for a version that is not one of ours.
    pub fn declared(text: &str) -> Option<Self> {
        text.lines().find_map(|line| line.strip_prefix("#version=")).and_then(|name| name.trim_end().parse().ok())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not that of a [`Version`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVersion(String);

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a version of kickstart that is known here: write RHEL7, RHEL8, RHEL9 or RHEL10", self.0)
    }
}

impl std::error::Error for UnknownVersion {}

impl FromStr for Version {
    type Err = UnknownVersion;

    /// Reads a name without regard to case.
    fn from_str(name: &str) -> Result<Self, UnknownVersion> {
        let found = Self::ALL.into_iter().find(|version| version.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| UnknownVersion(name.to_owned()))
    }
}

/// In which versions a command or an option exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    since: Version,
    deprecated: Option<Version>,
    removed: Option<Version>,
}

/// What a version makes of a command or an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It comes with this later version.
    Later(Version),
    /// It works.
    Current,
    /// It is read and has no effect, since this version.
    Deprecated(Version),
    /// It is an error, since this version.
    Removed(Version),
}

impl Support {
    /// In every version.
    pub(crate) const ALWAYS: Self = Self::since(Version::Rhel7);

    pub(crate) const fn since(since: Version) -> Self {
        Self { since, deprecated: None, removed: None }
    }

    pub(crate) const fn deprecated(self, version: Version) -> Self {
        Self { deprecated: Some(version), ..self }
    }

    pub(crate) const fn removed(self, version: Version) -> Self {
        Self { removed: Some(version), ..self }
    }

    /// What `version` makes of it.
    pub fn standing(self, version: Version) -> Standing {
        match (self.deprecated, self.removed) {
            _ if version < self.since => Standing::Later(self.since),
            (_, Some(removed)) if version >= removed => Standing::Removed(removed),
            (Some(deprecated), _) if version >= deprecated => Standing::Deprecated(deprecated),
            _ => Standing::Current,
        }
    }

    /// The next version, where it works in this one and is gone in that. Only of RHEL 10 does pykickstart tell before.
    pub(crate) fn leaves_with(self, version: Version) -> Option<Version> {
        let is_last = version == Version::Rhel9 && self.standing(version) == Standing::Current;
        self.removed.filter(|removed| is_last && *removed == Version::Rhel10)
    }

    /// True where it may be written, whether or not it has an effect.
    pub(crate) fn is_read(self, version: Version) -> bool {
        matches!(self.standing(version), Standing::Current | Standing::Deprecated(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_version_in_a_comment() {
        assert_eq!(Version::declared("# x\n#version=RHEL9\nlang C\n"), Some(Version::Rhel9));
        assert_eq!(Version::declared("#version=rhel10 \r\n"), Some(Version::Rhel10));
        assert_eq!(Version::declared("#version=F40\n"), None);
        assert_eq!(Version::declared("lang C\n"), None);
    }

    #[test]
    fn standing_follows_the_releases() {
        let support = Support::since(Version::Rhel8).deprecated(Version::Rhel9).removed(Version::Rhel10);
        let standings = Version::ALL.map(|version| support.standing(version));
        assert_eq!(
            standings,
            [
                Standing::Later(Version::Rhel8),
                Standing::Current,
                Standing::Deprecated(Version::Rhel9),
                Standing::Removed(Version::Rhel10)
            ]
        );
    }

    #[test]
    fn an_unknown_version_is_answered_with_those_there_are() {
        let error = "F40".parse::<Version>().unwrap_err().to_string();
        assert!(error.contains("`F40`") && error.contains("RHEL10"), "{error}");
    }
}
