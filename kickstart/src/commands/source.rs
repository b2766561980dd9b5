//! Where the installer and its packages come from.

use crate::{
    declare::command,
    options::{Rules, no_rules},
    value::{Given, Secret},
    version::{
        Support,
        Version::{self, Rhel8, Rhel9, Rhel10},
    },
};

command! {
    /// `install`: install, do not upgrade; the default of every version.
    Install: "install" in Support::ALWAYS.deprecated(Rhel8).removed(Rhel9); {
        /// The root file system of the installation to upgrade.
        pub root_device: Option<String> = store("--root-device");
    }
}

impl Rules for Install {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.root_device.as_deref() == Some("") {
            return vec!["install --root-device needs a device.".to_owned()];
        }
        Vec::new()
    }
}

command! {
    /// `url`: the tree to install from.
    Url: "url"; {
        /// The address of the tree.
        pub url: Option<String> = store("--url");
        /// The address of a list of mirrors of the tree.
        pub mirrorlist: Option<String> = store("--mirrorlist");
        /// The address of a metalink of the tree.
        pub metalink: Option<String> = store("--metalink" in Support::since(Rhel8));
        /// The proxy to fetch it through.
        pub proxy: Option<String> = store("--proxy");
        /// Certificates are not checked.
        pub noverifyssl: bool = flag("--noverifyssl");
        /// The certificate authority of the server.
        pub sslcacert: Option<String> = store("--sslcacert" in Support::since(Rhel8));
        /// The client's certificate.
        pub sslclientcert: Option<String> = store("--sslclientcert" in Support::since(Rhel8));
        /// The path of the client's key.
        pub sslclientkey: Option<String> = store("--sslclientkey" in Support::since(Rhel8));
    }
}

/// A sentence unless exactly one of three addresses is given.
fn one_address(command: &str, first: &str, given: [bool; 3], version: Version) -> Vec<String> {
    if given.iter().filter(|given| **given).count() == 1 {
        return Vec::new();
    }
    let names = if version >= Rhel8 {
        format!("{first}, --mirrorlist and --metalink")
    } else {
        format!("{first} and --mirrorlist")
    };
    vec![format!("{command} needs exactly one of {names}.")]
}

impl Rules for Url {
    fn rules(&self, version: Version) -> Vec<String> {
        one_address("url", "--url", [self.url.given(), self.mirrorlist.given(), self.metalink.given()], version)
    }
}

command! {
    /// `cdrom`: install from the first optical drive.
    Cdrom: "cdrom"; {}
}

command! {
    /// `nfs`: install from an NFS server.
    Nfs: "nfs"; {
        /// The server.
        pub server: String = required("--server");
        /// The directory with the tree.
        pub dir: String = required("--dir");
        /// Mount options.
        pub opts: Option<String> = store("--opts");
    }
}

command! {
    /// `harddrive`: install from a file system of the machine.
    Harddrive: "harddrive"; {
        /// The directory with the tree.
        pub dir: String = required("--dir");
        /// The partition.
        pub partition: Option<String> = store("--partition");
        /// The partition by the number the BIOS gives it.
        pub biospart: Option<String> = store("--biospart" in Support::ALWAYS.removed(Rhel9));
    }
}

impl Rules for Harddrive {
    fn rules(&self, version: Version) -> Vec<String> {
        if version >= Rhel9 {
            return match self.partition {
                Some(_) => Vec::new(),
                None => vec!["harddrive needs --partition.".to_owned()],
            };
        }
        match (&self.partition, &self.biospart) {
            (Some(_), None) | (None, Some(_)) => Vec::new(),
            _ => vec!["harddrive needs exactly one of --partition and --biospart.".to_owned()],
        }
    }
}

command! {
    /// `liveimg`: install from the image of a file system.
    Liveimg: "liveimg"; {
        /// The address of the image.
        pub url: String = required("--url");
        /// The proxy to fetch it through.
        pub proxy: Option<String> = store("--proxy");
        /// Certificates are not checked.
        pub noverifyssl: bool = flag("--noverifyssl");
        /// The SHA-256 of the image.
        pub checksum: Option<String> = store("--checksum");
    }
}

command! {
    /// `hmc`: install from the medium of a console of IBM Z.
    Hmc: "hmc"; {}
}

command! {
    /// `ostreesetup`: install a tree of OSTree.
    Ostreesetup: "ostreesetup"; {
        /// The operating system that the tree is of.
        pub osname: String = required("--osname");
        /// The name of the repository; that of the operating system where nothing is said.
        pub remote: Option<String> = store("--remote");
        /// The address of the repository.
        pub url: String = required("--url");
        /// The branch of the tree.
        pub reference: String = required("--ref");
        /// Signatures are not checked.
        pub nogpg: bool = flag("--nogpg");
    }
}

impl Rules for Ostreesetup {
    fn rules(&self, _version: Version) -> Vec<String> {
        if ["file:", "http:", "https:"].iter().any(|scheme| self.url.starts_with(scheme)) {
            return Vec::new();
        }
        vec!["ostreesetup --url needs an address that begins with file:, http: or https:.".to_owned()]
    }
}

command! {
    /// `ostreecontainer`: install a tree of OSTree from a container image.
    Ostreecontainer: "ostreecontainer" in Support::since(Rhel9); {
        /// The image.
        pub url: String = required("--url");
        /// The name of its state.
        pub stateroot: Option<String> = store("--stateroot");
        /// How it is fetched, such as `registry`.
        pub transport: Option<String> = store("--transport");
        /// The name of the repository; that of the state where nothing is said.
        pub remote: Option<String> = store("--remote");
        /// Signatures are not checked.
        pub no_signature_verification: bool = flag("--no-signature-verification");
    }
}

command! {
    /// `bootc`: install a bootable container image.
    Bootc: "bootc" in Support::since(Rhel10); {
        /// The image.
        pub source_imgref: String = required("--source-imgref");
        /// The image that updates come from; the same where nothing is said.
        pub target_imgref: Option<String> = store("--target-imgref");
        /// The name of its state.
        pub stateroot: Option<String> = store("--stateroot");
    }
}

command! {
    /// `repo`: a further repository of packages.
    Repo: "repo"; {
        /// Its name.
        pub name: String = required("--name");
        /// Its address.
        pub baseurl: Option<String> = store("--baseurl");
        /// The address of a list of its mirrors.
        pub mirrorlist: Option<String> = store("--mirrorlist");
        /// The address of its metalink.
        pub metalink: Option<String> = store("--metalink" in Support::since(Rhel8));
        /// What it costs to fetch from it, compared with others.
        pub cost: Option<i64> = store("--cost");
        /// Packages that are not taken from it.
        pub excludepkgs: Vec<String> = comma("--excludepkgs");
        /// The only packages that are taken from it.
        pub includepkgs: Vec<String> = comma("--includepkgs");
        /// Its groups are not used.
        pub ignoregroups: Option<bool> = store("--ignoregroups" in Support::ALWAYS.deprecated(Rhel9).removed(Rhel10));
        /// The proxy to fetch it through.
        pub proxy: Option<String> = store("--proxy");
        /// Certificates are not checked.
        pub noverifyssl: bool = flag("--noverifyssl");
        /// The installed system keeps it.
        pub install: bool = flag("--install");
        /// The certificate authority of the server.
        pub sslcacert: Option<String> = store("--sslcacert" in Support::since(Rhel8));
        /// The client's certificate.
        pub sslclientcert: Option<String> = store("--sslclientcert" in Support::since(Rhel8));
        /// The path of the client's key.
        pub sslclientkey: Option<String> = store("--sslclientkey" in Support::since(Rhel8));
    }
}

impl Rules for Repo {
    fn rules(&self, _version: Version) -> Vec<String> {
        // None at all is right too: the installer knows repositories by name.
        let given = [self.baseurl.given(), self.mirrorlist.given(), self.metalink.given()];
        if given.iter().filter(|given| **given).count() > 1 {
            return vec!["repo can have one of --baseurl, --mirrorlist and --metalink: remove the others.".to_owned()];
        }
        Vec::new()
    }
}

command! {
    /// `module`: a module stream to enable or disable.
    Module: "module" in Support::since(Rhel8).deprecated(Rhel10); {
        /// The module.
        pub name: String = required("--name");
        /// Its stream.
        pub stream: Option<String> = store("--stream");
        /// Disable it.
        pub disable: bool = flag("--disable");
    }
}

command! {
    /// `driverdisk`: further drivers for the installer.
    Driverdisk: "driverdisk"; {
        /// A partition that holds them.
        pub partition: Option<String> = argument("a partition");
        /// The address they are fetched from.
        pub source: Option<String> = store("--source");
        /// A partition by the number the BIOS gives it.
        pub biospart: Option<String> = store("--biospart");
    }
}

impl Rules for Driverdisk {
    fn rules(&self, _version: Version) -> Vec<String> {
        let given = [self.partition.is_some(), self.source.given(), self.biospart.given()];
        if given.iter().filter(|given| **given).count() == 1 {
            return Vec::new();
        }
        vec!["driverdisk needs exactly one of a partition, --source and --biospart.".to_owned()]
    }
}

command! {
    /// `updates`: an image with corrections of the installer.
    Updates: "updates"; {
        /// Its address; a floppy disk where RHEL 7 and 8 find nothing.
        pub url: Option<String> = argument("an address");
    }
}

impl Rules for Updates {
    fn rules(&self, version: Version) -> Vec<String> {
        if self.url.is_none() && version >= Rhel9 {
            return vec!["updates needs the address of the image.".to_owned()];
        }
        Vec::new()
    }
}

command! {
    /// `mediacheck`: check the medium before installing from it.
    Mediacheck: "mediacheck"; {}
}

command! {
    /// `rhsm`: registration with Red Hat.
    Rhsm: "rhsm" in Support::since(Rhel8); {
        /// The organisation.
        pub organization: String = required("--organization");
        /// Activation keys, at least one.
        pub activation_keys: Vec<Secret> = append("--activation-key");
        /// Connect to Insights.
        pub connect_to_insights: bool = flag("--connect-to-insights");
        /// The proxy.
        pub proxy: Option<String> = store("--proxy");
        /// The subscription server.
        pub server_hostname: Option<String> = store("--server-hostname");
        /// The server of packages.
        pub rhsm_baseurl: Option<String> = store("--rhsm-baseurl");
        /// The registry of flatpaks.
        pub flatpak_registry_url: Option<String> = store("--flatpak-registry-url" in Support::since(Rhel10));
    }
}

impl Rules for Rhsm {
    fn rules(&self, _version: Version) -> Vec<String> {
        if self.activation_keys.is_empty() || self.activation_keys.iter().any(|key| key.expose().is_empty()) {
            return vec!["rhsm needs --activation-key, and no key can be empty.".to_owned()];
        }
        Vec::new()
    }
}

no_rules!(Cdrom, Nfs, Liveimg, Hmc, Ostreecontainer, Bootc, Module, Mediacheck);
