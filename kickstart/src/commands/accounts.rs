//! Accounts, keys, authentication and SELinux.

use crate::{
    declare::command,
    directive::Directive,
    options::{Rules, no_rules},
    parse::Line,
    problem::Report,
    value::{Scalar, Secret, choices},
    version::{
        Standing, Support,
        Version::{self, Rhel8, Rhel9, Rhel10},
    },
    words::{self, quote},
};

command! {
    /// `rootpw`: the password of root.
    Rootpw: "rootpw"; {
        /// The password, or its hash with `iscrypted`. It may be left out with `lock`.
        pub password: Option<Secret> = argument("a password");
        /// Whether `password` is a hash; it is not where nothing is said.
        pub iscrypted: Option<bool> = choice(["--iscrypted"] => true, ["--plaintext"] => false);
        /// Nobody can log in as root with a password.
        pub lock: bool = flag("--lock");
        /// Root may log in over SSH with a password.
        pub allow_ssh: bool = flag("--allow-ssh" in Support::since(Rhel9));
    }
}

impl Rules for Rootpw {
    fn rules(&self, _version: Version) -> Vec<String> {
        let has_password = self.password.as_ref().is_some_and(|password| !password.expose().is_empty());
        if has_password || self.lock {
            return Vec::new();
        }
        vec!["rootpw needs a password or --lock.".to_owned()]
    }
}

command! {
    /// `user`: an account.
    User: "user"; {
        /// Its name.
        pub name: String = required("--name");
        /// Groups beside its own; `name(gid)` makes one with a number.
        pub groups: Vec<String> = comma("--groups");
        /// Its home; `/home/<name>` where nothing is said.
        pub homedir: Option<String> = store("--homedir");
        /// Its password, or the hash of it with `iscrypted`. Nobody can log in without one.
        pub password: Option<Secret> = store("--password");
        /// Whether `password` is a hash; it is not where nothing is said.
        pub iscrypted: Option<bool> = choice(["--iscrypted"] => true, ["--plaintext"] => false);
        /// Nobody can log in with a password.
        pub lock: bool = flag("--lock");
        /// Its shell.
        pub shell: Option<String> = store("--shell");
        /// Its number.
        pub uid: Option<i64> = store("--uid");
        /// The number of its own group.
        pub gid: Option<i64> = store("--gid");
        /// Who it is.
        pub gecos: Option<String> = store("--gecos");
    }
}

command! {
    /// `sshkey`: a public key that may log in to an account.
    Sshkey: "sshkey" in Support::since(Rhel8); {
        /// The account.
        pub username: String = required("--username");
        /// The key, in the format of `authorized_keys`.
        pub key: String = argument("a public key in quotes");
    }
}

command! {
    /// `sshpw`: an account of the installer itself, for logging in over SSH while it runs.
    Sshpw: "sshpw"; {
        /// Its name.
        pub username: String = required("--username");
        /// Its password, hash, or public key. Several words are one password with blanks.
        pub password: Vec<Secret> = argument("a password");
        /// Whether `password` is a hash; it is not where nothing is said.
        pub iscrypted: Option<bool> = choice(["--iscrypted"] => true, ["--plaintext"] => false);
        /// `password` is a public key.
        pub sshkey: bool = flag("--sshkey" in Support::since(Rhel8));
        /// Nobody can log in with a password.
        pub lock: bool = flag("--lock");
    }
}

impl Rules for Sshpw {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.password.is_empty() { vec!["sshpw needs a password.".to_owned()] } else { Vec::new() }
    }
}

command! {
    /// `group`: a group of accounts.
    Group: "group"; {
        /// Its name.
        pub name: String = required("--name");
        /// Its number.
        pub gid: Option<i64> = store("--gid");
    }
}

choices! {
    /// What SELinux does.
    SelinuxMode {
        /// Nothing.
        Disabled = "disabled",
        /// Forbids.
        Enforcing = "enforcing",
        /// Complains.
        Permissive = "permissive",
    }
}

command! {
    /// `selinux`: what SELinux does; it is enforcing where nothing is said.
    Selinux: "selinux"; {
        /// The mode.
        pub mode: Option<SelinuxMode> = choice(
            ["--disabled"] => SelinuxMode::Disabled,
            ["--enforcing"] => SelinuxMode::Enforcing,
            ["--permissive"] => SelinuxMode::Permissive,
        );
    }
}

no_rules!(User, Sshkey, Group, Selinux);

/// `auth` and `authconfig`: options for the program `authconfig`, which are not looked into.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Authconfig {
    /// The rest of the line as it was written. It can contain a password: `--winbindjoin=user%password`.
    pub arguments: Secret,
}

/// `authselect`: options for the program `authselect`, which are not looked into.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Authselect {
    /// The rest of the line as it was written.
    pub arguments: String,
}

macro_rules! passed_on {
    ($name:ident, $words:expr, $support:expr) => {
        impl Directive for $name {
            const WORDS: &'static [&'static str] = $words;
            const SUPPORT: Support = $support;

            fn read(line: &Line<'_>, version: Version, report: &mut Report) -> Self {
                warn_of_successor::<Self>(line.word(), version, report);
                Self { arguments: line.rest().into() }
            }

            fn write(&self, _version: Version, report: &mut Report) -> String {
                let text = self.arguments.write();
                let text = text.as_str();
                if let Err(broken) = words::split(text, true) {
                    report.error(1, broken.message);
                }
                let shown = format!("{} {text}", Self::WORDS[0]);
                if text != text.trim() || text.starts_with('#') {
                    report.error(1, format!("{}: its options cannot begin or end with blanks.", Self::WORDS[0]));
                }
                shown.trim_end().to_owned()
            }

            fn rules(&self, _version: Version) -> Vec<String> {
                Vec::new()
            }

            #[cfg(test)]
            fn assemble(_word: usize, values: &[(usize, String)]) -> Self {
                Self { arguments: values.iter().map(|(_, value)| value.as_str()).collect::<String>().into() }
            }
        }
    };
}

passed_on!(Authconfig, &["authconfig", "auth"], Support::ALWAYS.removed(Rhel10));
passed_on!(Authselect, &["authselect"], Support::since(Rhel8));

/// `authconfig` works in RHEL 8 and 9, which tell everybody to write `authselect` instead.
fn warn_of_successor<T: Directive>(called: &str, version: Version, report: &mut Report) {
    if T::SUPPORT.standing(Rhel10) == Standing::Removed(Rhel10) && version >= Rhel8 {
        report.warning(1, format!("{called} goes away with RHEL10: use authselect."));
    }
}

/// `realm join`: the directory domain that the system joins.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Realm {
    /// The domain.
    pub realm: String,
    /// The client to use, such as `sssd`.
    pub client_software: Option<String>,
    /// The kind of server, such as `active-directory`.
    pub server_software: Option<String>,
    /// The program that joins, such as `adcli`.
    pub membership_software: Option<String>,
    /// The password for joining.
    pub one_time_password: Option<Secret>,
    /// Join without a password.
    pub no_password: bool,
    /// The organisational unit of the computer's account.
    pub computer_ou: Option<String>,
}

/// Long options of `realm join`, and whether they have a value.
const REALM_OPTIONS: [(&str, bool); 6] = [
    ("--client-software", true),
    ("--server-software", true),
    ("--membership-software", true),
    ("--one-time-password", true),
    ("--no-password", false),
    ("--computer-ou", true),
];

impl Realm {
    fn set(&mut self, option: &str, value: &str) {
        let value = || Some(value.to_owned());
        match option {
            "--client-software" => self.client_software = value(),
            "--server-software" => self.server_software = value(),
            "--membership-software" => self.membership_software = value(),
            "--one-time-password" => self.one_time_password = value().map(Secret::from),
            "--computer-ou" => self.computer_ou = value(),
            _ => self.no_password = true,
        }
    }
}

impl Directive for Realm {
    const WORDS: &'static [&'static str] = &["realm"];
    const SUPPORT: Support = Support::ALWAYS;

    /// Options stand before the realm, as `getopt` wants them; a `#` is no comment here.
    fn read(line: &Line<'_>, _version: Version, report: &mut Report) -> Self {
        let mut realm = Self::default();
        let words = match words::split(line.text(), false) {
            Ok(split) => split.words,
            Err(broken) => {
                report.error(broken.column, broken.message);
                return realm;
            }
        };
        let mut words = words.iter().skip(1);
        if words.next().is_none_or(|word| word.text != "join") {
            report.error(1, "realm can do one thing: write realm join DOMAIN.");
            return realm;
        }
        let mut domain = None;
        while let Some(word) = words.next() {
            if !word.text.starts_with("--") || word.text == "--" {
                domain = if word.text == "--" { words.next() } else { Some(word) };
                break;
            }
            let (typed, value) = match word.text.split_once('=') {
                Some((typed, value)) => (typed, Some(value)),
                None => (word.text.as_str(), None),
            };
            let exact = REALM_OPTIONS.iter().filter(|(name, _)| *name == typed);
            let found: Vec<_> = match exact.clone().next() {
                Some(_) => exact.collect(),
                None => REALM_OPTIONS.iter().filter(|(name, _)| name.starts_with(typed)).collect(),
            };
            match (found.as_slice(), value) {
                ([(name, true)], Some(value)) => realm.set(name, value),
                ([(name, true)], None) => match words.next() {
                    Some(value) => realm.set(name, &value.text),
                    None => report.error(word.column, format!("{name} needs a value: write {name}=VALUE.")),
                },
                ([(name, false)], None) => realm.set(name, ""),
                ([(name, false)], Some(_)) => report.error(word.column, format!("{name} takes no value.")),
                ([], _) => report.error(word.column, format!("realm join has no option {typed}.")),
                _ => report.error(word.column, format!("{typed} can be several options: write it out.")),
            }
        }
        match domain {
            Some(domain) => realm.realm = domain.text.clone(),
            None => report.error(1, "realm join needs the domain at the end."),
        }
        if let Some(extra) = words.next() {
            report.error(extra.column, "realm join takes one domain, at the end of the line: remove this word.");
        }
        realm
    }

    fn write(&self, _version: Version, report: &mut Report) -> String {
        let mut line = "realm join".to_owned();
        let secret = self.one_time_password.as_ref().map(|password| password.expose().to_owned());
        let values = [
            ("--client-software", &self.client_software),
            ("--server-software", &self.server_software),
            ("--membership-software", &self.membership_software),
            ("--one-time-password", &secret),
            ("--computer-ou", &self.computer_ou),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                line.push(' ');
                line.push_str(&words::assignment(name, value));
            }
        }
        if self.no_password {
            line.push_str(" --no-password");
        }
        if self.realm.is_empty() || self.realm.starts_with('-') {
            report.error(1, "realm join needs a domain, which cannot begin with a dash.");
        }
        line.push(' ');
        line.push_str(&quote(&self.realm));
        line
    }

    fn rules(&self, _version: Version) -> Vec<String> {
        Vec::new()
    }

    #[cfg(test)]
    fn assemble(_word: usize, values: &[(usize, String)]) -> Self {
        let mut realm = Self::default();
        for (which, value) in values {
            match REALM_OPTIONS.get(which % (REALM_OPTIONS.len() + 1)) {
                Some((option, _)) => realm.set(option, value),
                None => realm.realm.clone_from(value),
            }
        }
        realm
    }
}
