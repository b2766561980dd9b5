//! Language, keyboard and time.

use crate::{
    declare::command,
    options::{Rules, no_rules},
    value::Given,
    version::{
        Support,
        Version::{self, Rhel9, Rhel10},
    },
};

command! {
    /// `lang`: the language of the installer and of the system.
    Lang: "lang"; {
        /// A locale such as `en_US.UTF-8`.
        pub lang: String = argument("a language such as en_US.UTF-8");
        /// Further locales to install.
        pub addsupport: Vec<String> = comma("--addsupport");
    }
}

command! {
    /// `keyboard`: its layouts.
    Keyboard: "keyboard"; {
        /// A layout or a console keymap; the older way to say it.
        pub keyboard: Option<String> = argument("a keyboard such as us");
        /// The keymap of the console.
        pub vckeymap: Option<String> = store("--vckeymap");
        /// Layouts of the graphical system, such as `us` or `cz (qwerty)`.
        pub xlayouts: Vec<String> = comma("--xlayouts");
        /// X options that switch between the layouts.
        pub switch: Vec<String> = comma("--switch");
    }
}

impl Rules for Keyboard {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.keyboard.is_none() && !self.vckeymap.given() && self.xlayouts.is_empty() {
            return vec!["keyboard needs --vckeymap, --xlayouts or the name of a keyboard.".to_owned()];
        }
        Vec::new()
    }
}

command! {
    /// `timezone`: the time zone and, before RHEL 10, the source of time.
    Timezone: "timezone"; {
        /// A zone such as `Asia/Shanghai`.
        pub timezone: Option<String> = argument("a time zone such as Asia/Shanghai");
        /// The hardware clock runs in UTC.
        pub utc: bool = flag("--utc", "--isUtc" in Support::ALWAYS.removed(Rhel10));
        /// No time synchronisation.
        pub nontp: bool = flag("--nontp" in Support::ALWAYS.removed(Rhel10));
        /// Servers of the time.
        pub ntpservers: Vec<String> = comma("--ntpservers" in Support::ALWAYS.removed(Rhel10));
    }
}

impl Rules for Timezone {
    fn rules(&self, _version: Version) -> Vec<String> {
        let mut broken = Vec::new();
        if *self == Self::default() {
            broken.push("timezone needs a time zone such as Asia/Shanghai, or an option.".to_owned());
        }
        if self.nontp && !self.ntpservers.is_empty() {
            broken.push("timezone cannot have both --nontp and --ntpservers: remove one of them.".to_owned());
        }
        broken
    }
}

command! {
    /// `timesource`: where the time comes from.
    Timesource: "timesource" in Support::since(Rhel9); {
        /// An NTP server.
        pub ntp_server: Option<String> = store("--ntp-server");
        /// A pool of NTP servers.
        pub ntp_pool: Option<String> = store("--ntp-pool");
        /// No time synchronisation.
        pub ntp_disable: bool = flag("--ntp-disable");
        /// With network time security.
        pub nts: bool = flag("--nts");
    }
}

impl Rules for Timesource {
    fn rules(&self, _version: Version) -> Vec<String> {
        match [self.ntp_server.given(), self.ntp_pool.given(), self.ntp_disable].iter().filter(|given| **given).count()
        {
            1 => Vec::new(),
            _ => vec!["timesource needs exactly one of --ntp-server, --ntp-pool and --ntp-disable.".to_owned()],
        }
    }
}

no_rules!(Lang);
