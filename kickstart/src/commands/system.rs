//! How the installer runs and ends, and the services of the system.

use crate::{
    declare::command,
    options::{Rules, no_rules},
    value::{Given, Secret, choices},
    version::{
        Support,
        Version::{self, Rhel8, Rhel9, Rhel10},
    },
};

command! {
    /// `services`: units that are enabled or disabled beyond the defaults.
    Services: "services"; {
        /// Units to disable; done first.
        pub disabled: Vec<String> = comma("--disabled");
        /// Units to enable.
        pub enabled: Vec<String> = comma("--enabled");
    }
}

impl Rules for Services {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.disabled.is_empty() && self.enabled.is_empty() {
            return vec!["services needs --enabled or --disabled with the names of units.".to_owned()];
        }
        Vec::new()
    }
}

choices! {
    /// Whether the system asks questions when it first starts.
    FirstbootMode {
        /// It asks.
        Enabled = "enabled",
        /// It does not.
        Disabled = "disabled",
        /// It asks everything again.
        Reconfig = "reconfig",
    }
}

command! {
    /// `firstboot`: whether the system asks questions when it first starts.
    Firstboot: "firstboot"; {
        /// The mode.
        pub mode: Option<FirstbootMode> = choice(
            ["--enabled", "--enable"] => FirstbootMode::Enabled,
            ["--disabled", "--disable"] => FirstbootMode::Disabled,
            ["--reconfig"] => FirstbootMode::Reconfig,
        );
    }
}

command! {
    /// `skipx`: no graphical system.
    Skipx: "skipx"; {}
}

command! {
    /// `xconfig`: the graphical system.
    Xconfig: "xconfig"; {
        /// The desktop.
        pub defaultdesktop: Option<String> = store("--defaultdesktop");
        /// It starts with the system.
        pub startxonboot: bool = flag("--startxonboot");
    }
}

choices! {
    /// How the installer shows itself.
    #[derive(Default)]
    Display {
        /// With a mouse.
        #[default]
        Graphical = "graphical",
        /// With text that asks.
        Text = "text",
        /// With text that asks nothing and stops at what is missing.
        Cmdline = "cmdline",
    }
}

command! {
    /// `graphical`, `text` and `cmdline`: how the installer shows itself.
    DisplayMode: "graphical" | "text" | "cmdline"; {
        /// Which of the three.
        pub display: Display = word();
        /// It stops where it would ask.
        pub non_interactive: bool = flag("--non-interactive" in Support::since(Rhel8));
    }
}

impl Rules for DisplayMode {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.display == Display::Cmdline && self.non_interactive {
            return vec!["cmdline never asks: remove --non-interactive.".to_owned()];
        }
        Vec::new()
    }
}

command! {
    /// `vnc`: the installer shows itself over the network.
    Vnc: "vnc" in Support::ALWAYS.deprecated(Rhel10); {
        /// The password for connecting.
        pub password: Option<Secret> = store("--password");
        /// A viewer that listens there is connected to.
        pub host: Option<String> = store("--host");
        /// Its port.
        pub port: Option<String> = store("--port");
    }
}

command! {
    /// `rdp`: the installer shows itself over the network by RDP.
    Rdp: "rdp" in Support::since(Rhel10); {
        /// The user for connecting.
        pub username: Option<String> = store("--username");
        /// The password for connecting.
        pub password: Option<Secret> = store("--password");
    }
}

choices! {
    /// What happens when the installation is done.
    #[derive(Default)]
    Ending {
        /// It starts the new system.
        Reboot = "reboot",
        /// It switches the machine off.
        Poweroff = "poweroff",
        /// It switches the machine off.
        Shutdown = "shutdown",
        /// It waits for a key.
        #[default]
        Halt = "halt",
    }
}

command! {
    /// `reboot`, `poweroff`, `shutdown` and `halt`: what happens when the installation is done.
    Finish: "reboot" | "poweroff" | "shutdown" | "halt"; {
        /// Which of the four.
        pub ending: Ending = word();
        /// The medium is ejected.
        pub eject: bool = flag("--eject");
        /// The new system starts without the firmware.
        pub kexec: bool = flag("--kexec" in Support::since(Rhel8));
    }
}

command! {
    /// `eula`: the licence is accepted.
    Eula: "eula"; {
        /// It is; nothing else can be said.
        pub agreed: bool = flag("--agreed", "--agree", "--accepted", "--accept");
    }
}

impl Rules for Eula {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.agreed { Vec::new() } else { vec!["eula needs --agreed.".to_owned()] }
    }
}

command! {
    /// `rescue`: a shell instead of an installation.
    Rescue: "rescue"; {
        /// The system that is there is not mounted.
        pub nomount: bool = flag("--nomount");
        /// It is mounted so that nothing can be written.
        pub romount: bool = flag("--romount");
    }
}

impl Rules for Rescue {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.nomount && self.romount {
            return vec!["rescue can have one of --nomount and --romount: remove the other.".to_owned()];
        }
        Vec::new()
    }
}

choices! {
    /// What is worth a line in the log.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// What happens.
        Info = "info",
        /// What looks wrong.
        Warning = "warning",
        /// What went wrong.
        Error = "error",
        /// What ended it.
        Critical = "critical",
    }
}

command! {
    /// `logging`: where the installer's log goes.
    Logging: "logging"; {
        /// A syslog server.
        pub host: Option<String> = store("--host");
        /// Its port.
        pub port: Option<String> = store("--port");
        /// What is worth a line.
        pub level: Option<LogLevel> = store("--level" in Support::ALWAYS.deprecated(Rhel9).removed(Rhel10));
    }
}

impl Rules for Logging {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.port.given() && !self.host.given() {
            return vec!["logging --port needs --host: name the syslog server.".to_owned()];
        }
        Vec::new()
    }
}

command! {
    /// `syspurpose`: what the system is for, in the terms of a subscription.
    Syspurpose: "syspurpose" in Support::since(Rhel8); {
        /// Its role.
        pub role: Option<String> = store("--role");
        /// Its service level.
        pub sla: Option<String> = store("--sla");
        /// Its usage.
        pub usage: Option<String> = store("--usage");
        /// Further products.
        pub addons: Vec<String> = append("--addon");
    }
}

command! {
    /// `unsupported_hardware`: no question about hardware that is not supported.
    UnsupportedHardware: "unsupported_hardware" in Support::ALWAYS.removed(Rhel8); {}
}

no_rules!(Firstboot, Skipx, Xconfig, Vnc, Rdp, Finish, Syspurpose, UnsupportedHardware);
