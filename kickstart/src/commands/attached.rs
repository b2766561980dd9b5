//! Disks that are reached over a network or a channel.

use crate::{
    declare::command,
    options::{Rules, no_rules},
    value::{Given, Secret},
    version::Version::{self, Rhel9},
};

command! {
    /// `iscsiname`: the name of the machine as an iSCSI initiator.
    Iscsiname: "iscsiname"; {
        /// The name, such as `iqn.2024-01.com.example:web1`.
        pub iqn: String = argument("the name of the initiator");
    }
}

command! {
    /// `iscsi`: an iSCSI target.
    Iscsi: "iscsi"; {
        /// The address of its portal.
        pub ipaddr: String = required("--ipaddr");
        /// The port of its portal.
        pub port: Option<i64> = store("--port");
        /// Its name; all that the portal offers where nothing is said.
        pub target: Option<String> = store("--target");
        /// The interface it is reached over.
        pub iface: Option<String> = store("--iface");
        /// The user that it asks for.
        pub user: Option<String> = store("--user");
        /// The password of that user.
        pub password: Option<Secret> = store("--password");
        /// The user that it shows itself as.
        pub reverse_user: Option<String> = store("--reverse-user");
        /// The password of that user.
        pub reverse_password: Option<Secret> = store("--reverse-password");
    }
}

command! {
    /// `fcoe`: a card that speaks Fibre Channel over Ethernet.
    Fcoe: "fcoe"; {
        /// The card.
        pub nic: String = required("--nic");
        /// With data center bridging.
        pub dcb: bool = flag("--dcb");
        /// The VLAN is found out.
        pub autovlan: bool = flag("--autovlan");
    }
}

command! {
    /// `zfcp`: a Fibre Channel disk of IBM Z.
    Zfcp: "zfcp"; {
        /// The number of the device.
        pub devnum: String = required("--devnum");
        /// The port; found out since RHEL 9 where nothing is said.
        pub wwpn: Option<String> = store("--wwpn");
        /// The logical unit; found out since RHEL 9 where nothing is said.
        pub fcplun: Option<String> = store("--fcplun");
    }
}

impl Rules for Zfcp {
    fn rules(&self, version: Version) -> Vec<String> {
        if version < Rhel9 {
            return match (&self.wwpn, &self.fcplun) {
                (Some(_), Some(_)) => Vec::new(),
                _ => vec!["zfcp needs --wwpn and --fcplun.".to_owned()],
            };
        }
        if !self.devnum.is_empty() && self.wwpn.given() == self.fcplun.given() {
            return Vec::new();
        }
        vec!["zfcp needs --devnum, and either both of --wwpn and --fcplun or none.".to_owned()]
    }
}

no_rules!(Iscsiname, Iscsi, Fcoe);
