//! The commands.

mod accounts;
mod attached;
mod disks;
mod filesystems;
mod language;
mod lvm;
mod network;
mod source;
mod system;

pub use self::{
    accounts::*, attached::*, disks::*, filesystems::*, language::*, lvm::*, network::*, source::*, system::*,
};
use crate::{
    directive::Directive,
    parse::Line,
    problem::{Report, suggestion},
    value::Secret,
    version::{Standing, Support, Version},
    words,
};

/// Commands of kickstart that are not read here: nearly all are gone from the versions that are, or do nothing there.
const OTHERS: [&str; 14] = [
    "autostep",
    "device",
    "deviceprobe",
    "dmraid",
    "interactive",
    "key",
    "langsupport",
    "method",
    "monitor",
    "mouse",
    "multipath",
    "nvdimm",
    "stratisfs",
    "upgrade",
];

/// A command that the version reads and does nothing with: its options are not looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Ignored {
    /// The word it begins with.
    pub word: String,
    /// The rest of its line, which can contain a password as well.
    pub arguments: Secret,
}

macro_rules! commands {
    ($($name:ident,)+) => {
        /// A command with its options.
        ///
        /// Serialised, it is the object of its options; secrets are left out of it.
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        #[serde(untagged)]
        #[non_exhaustive]
        #[allow(clippy::large_enum_variant, reason = "files have some dozen commands, and boxes would cost every user")]
        pub enum Command {
            $(#[doc = concat!("[`", stringify!($name), "`].")]
            $name($name),)+
            /// One that this version reads and does nothing with.
            Ignored(Ignored),
        }

        $(impl From<$name> for Command {
            fn from(command: $name) -> Self {
                Self::$name(command)
            }
        })+

        /// Every command: the words that begin it and the versions that know it.
        pub fn catalogue() -> Vec<(&'static [&'static str], Support)> {
            vec![$((<$name as Directive>::WORDS, <$name as Directive>::SUPPORT)),+]
        }

        fn read_known(line: &Line<'_>, version: Version, report: &mut Report) -> Option<Command> {
            let word = line.word();
            $(if <$name as Directive>::WORDS.contains(&word) {
                let errors = report.errors();
                let command = <$name as Directive>::read(line, version, report);
                if report.errors() == errors {
                    for sentence in Directive::rules(&command, version) {
                        report.error(line.column(), sentence);
                    }
                }
                return (report.errors() == errors).then_some(Command::$name(command));
            })+
            None
        }

        /// One of every command, with these values.
        #[cfg(test)]
        pub(crate) fn assemble_all(word: usize, values: &[(usize, String)]) -> Vec<Command> {
            vec![$(Command::$name(<$name as Directive>::assemble(word, values))),+]
        }

        impl Command {
            /// The word it begins with.
            pub fn word(&self) -> &str {
                match self {
                    $(Self::$name(_) => <$name as Directive>::WORDS[0],)+
                    Self::Ignored(ignored) => &ignored.word,
                }
            }

            fn write_known(&self, version: Version, report: &mut Report) -> String {
                match self {
                    $(Self::$name(command) => {
                        for sentence in Directive::rules(command, version) {
                            report.error(1, sentence);
                        }
                        Directive::write(command, version, report)
                    })+
                    Self::Ignored(ignored) => {
                        let arguments = ignored.arguments.expose();
                        if words::split(arguments, true).is_err() || arguments.trim() != arguments {
                            report.error(1, format!("{}: its options cannot be written on a line.", ignored.word));
                        }
                        format!("{} {arguments}", ignored.word).trim_end().to_owned()
                    }
                }
            }
        }
    };
}

commands! {
    Lang, Keyboard, Timezone, Timesource,
    Network, Firewall,
    Rootpw, User, Sshkey, Sshpw, Group, Authconfig, Authselect, Realm, Selinux,
    Install, Url, Cdrom, Nfs, Harddrive, Liveimg, Hmc, Ostreesetup, Ostreecontainer, Bootc, Repo, Module, Driverdisk, Updates, Mediacheck, Rhsm,
    Services, Firstboot, Skipx, Xconfig, DisplayMode, Vnc, Rdp, Finish, Eula, Rescue, Logging, Syspurpose,
    UnsupportedHardware,
    Iscsiname, Iscsi, Fcoe, Zfcp,
    Bootloader, Zerombr, Clearpart, Ignoredisk, Autopart, Reqpart, Zipl,
    Part, Raid, Volgroup, Logvol, Btrfs, Mount, Snapshot,
}

/// The standing of a command in a version; `None` for words that begin no command.
fn standing(word: &str, version: Version) -> Option<Standing> {
    let mut known = catalogue().into_iter();
    known.find(|(words, _)| words.contains(&word)).map(|(_, support)| support.standing(version))
}

/// Reads a command. `None` if it is not one, or not a right one: then it is reported what is wrong.
pub(crate) fn read(line: &Line<'_>, version: Version, report: &mut Report) -> Option<Command> {
    let (word, column) = (line.word(), line.column());
    match standing(word, version) {
        Some(Standing::Current) => read_known(line, version, report),
        Some(Standing::Deprecated(since)) => {
            report.warning(column, format!("{word} has no effect since {since} and may become an error: remove it."));
            Some(Command::Ignored(Ignored { word: word.to_owned(), arguments: line.rest().into() }))
        }
        other => {
            report.error(column, unavailable(word, other, version));
            None
        }
    }
}

/// Why a version does not have a command.
fn unavailable(word: &str, standing: Option<Standing>, version: Version) -> String {
    match standing {
        Some(Standing::Later(since)) => {
            format!("{word} came with {since}; {version} does not have it: remove it or use the newer version.")
        }
        Some(Standing::Removed(since)) => format!("{word} was removed in {since}: remove it."),
        _ if OTHERS.contains(&word) => {
            format!("{word} is a command of kickstart that is not supported here: remove it.")
        }
        _ => {
            let catalogue = catalogue();
            let readable = catalogue.iter().filter(|(_, support)| support.is_read(version));
            let known = readable.flat_map(|(words, _)| words.iter().copied());
            // A word can be anything, also a secret on a line of its own: only what looks like a command is repeated.
            let is_command = word.len() <= 20 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let shown =
                if is_command { format!("`{word}` is not a command") } else { "this is not a command".to_owned() };
            format!("{shown}.{}", suggestion(word, known))
        }
    }
}

impl Command {
    /// The line without its end. What the version cannot say is reported.
    pub(crate) fn write(&self, version: Version, report: &mut Report) -> String {
        let word = self.word();
        let written = match (self, standing(word, version)) {
            (Self::Ignored(_), Some(Standing::Deprecated(_))) | (_, Some(Standing::Current)) => {
                if matches!(self, Self::Ignored(_)) && standing(word, version) == Some(Standing::Current) {
                    report.error(1, format!("{word} has an effect in {version}: say what it shall be."));
                }
                self.write_known(version, report)
            }
            (_, Some(Standing::Deprecated(since))) => {
                report.error(1, format!("{word} has no effect since {since}: remove it."));
                String::new()
            }
            (_, other) => {
                report.error(1, unavailable(word, other, version));
                String::new()
            }
        };
        if written.contains(words::LINE_ENDS) {
            report.error(1, format!("{word}: a value contains a line break, which a command cannot: remove it."));
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{Item, Kickstart, parse};

    /// Texts that options like, and texts that nobody likes.
    fn value() -> impl Strategy<Value = String> {
        let usual = [
            "1",
            "42",
            "raid1",
            "lvm",
            "mac",
            "static",
            "post-install",
            "writeback",
            "a,b",
            "x:udp",
            "/boot",
            "vg/lv",
            "yes",
            "pv.01",
            "-5",
            "--lock",
            "it's",
            "a\"b",
            "a b",
            "",
            "#",
            "%",
            "mode=4",
        ];
        prop_oneof![3 => select(usual.to_vec()).prop_map(str::to_owned), 1 => any::<String>(), 1 => "\\PC{0,12}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn what_was_written_is_read_as_the_same(
            word in 0..4_usize,
            values in vec((0..64_usize, value()), 0..10),
            version in select(Version::ALL.to_vec()),
        ) {
            for command in assemble_all(word, &values) {
                let kickstart = Kickstart { items: vec![Item::Command(command)] };
                if let Ok(text) = kickstart.render(version) {
                    let parsed = parse(&text, version);
                    prop_assert_eq!(parsed.map(|parsed| parsed.kickstart).map_err(|p| p.to_string()), Ok(kickstart), "{}", text);
                }
            }
        }
    }

    #[test]
    fn most_commands_can_be_assembled_and_written() {
        let written = assemble_all(0, &[]).into_iter().filter(|command| {
            let kickstart = Kickstart { items: vec![Item::Command(command.clone())] };
            Version::ALL.iter().any(|version| kickstart.render(*version).is_ok())
        });
        assert!(written.count() > 25);
    }
}
