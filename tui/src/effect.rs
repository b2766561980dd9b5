//! What the console asks the node to do, and what comes back: plain data between the pure part and the rest.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;

use crate::secret::Secret;

/// A thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Look whether this is the password of root (OS-TUI-031).
    Authenticate(Secret),
    /// Read the node's network interfaces.
    LookAtNetwork,
    /// See what a change of the network would do.
    PlanNetwork(Edit),
    /// Change the network.
    ChangeNetwork(Edit),
    /// Keep the change that is in force.
    KeepNetwork,
    /// Take it back.
    RevertNetwork,
    /// Ask an address for answers (OS-TUI-065).
    TestNetwork(String),
    /// Give up what can be given up.
    Stop,
    /// Change the password of root (OS-TUI-051).
    ChangeRootPassword {
        /// The present one.
        old: Secret,
        /// The new one.
        new: Secret,
    },
    /// Change a password of the database server (OS-TUI-054).
    ChangeDatabasePassword {
        /// `root` or `zstack`.
        account: &'static str,
        /// The present one of `root`.
        root: Secret,
        /// The new one.
        new: Secret,
    },
    /// Change the password of the message bus (OS-TUI-057).
    ChangeBusPassword {
        /// The password of root on this node.
        root: Secret,
        /// The new one.
        new: Secret,
    },
    /// Read what the console proxy is reached by.
    LookAtConsoleProxy,
    /// Set it (OS-TUI-085).
    SetConsoleProxy {
        /// Address; none: that of the request.
        address: Option<IpAddr>,
        /// TCP port; none: it stays.
        port: Option<u16>,
    },
    /// Collect the logs of the whole cloud (OS-TUI-095).
    CollectLogs {
        /// From when on, as it was typed.
        since: String,
        /// A folder, on a stick for example, that gets a copy.
        copy: Option<PathBuf>,
    },
    /// Back the database up (OS-TUI-100).
    BackUp,
    /// Read which backups there are.
    LookAtBackups,
    /// Put a backup in place of the database.
    Restore(PathBuf),
    /// Join a cloud.
    JoinCloud {
        /// Its management service, as it was typed.
        address: String,
        /// One-time code.
        code: Secret,
    },
    /// OS-TUI-105.
    Service(ServiceAction),
    /// Put the service back as it was installed (OS-TUI-110).
    Reset {
        /// The database goes, too (OS-TUI-116).
        drop_database: bool,
    },
    /// OS-TUI-125.
    Power(PowerAction),
}

impl Effect {
    /// It changes something that is not asked about afterwards: there must have been an answer to a question.
    pub fn needs_an_answer(&self) -> bool {
        match self {
            Self::ChangeNetwork(_)
            | Self::ChangeRootPassword { .. }
            | Self::ChangeDatabasePassword { .. }
            | Self::ChangeBusPassword { .. }
            | Self::SetConsoleProxy { .. }
            | Self::Restore(_)
            | Self::JoinCloud { .. }
            | Self::Service(_)
            | Self::Reset { .. }
            | Self::Power(_) => true,
            Self::Authenticate(_)
            | Self::LookAtNetwork
            | Self::PlanNetwork(_)
            | Self::KeepNetwork
            | Self::RevertNetwork
            | Self::TestNetwork(_)
            | Self::Stop
            | Self::LookAtConsoleProxy
            | Self::CollectLogs { .. }
            | Self::BackUp
            | Self::LookAtBackups => false,
        }
    }
}

/// What is done to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceAction {
    /// OS-TUI-106.
    Start,
    /// OS-TUI-107.
    Stop,
    /// OS-TUI-108.
    Restart,
}

/// What is done to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerAction {
    /// OS-TUI-126.
    Reboot,
    /// OS-TUI-127.
    PowerOff,
}

/// A change of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A fixed address (OS-TUI-072).
    Address {
        /// Interface.
        link: String,
        /// Address and prefix length.
        address: IpNet,
        /// Router.
        gateway: IpAddr,
    },
    /// An address by DHCP.
    Dhcp(String),
    /// No address.
    Clear(String),
    /// New names of cards, all at once (OS-TUI-060).
    Rename(Vec<(String, String)>),
    /// A new bond.
    CreateBond {
        /// Name.
        name: String,
        /// Mode, by its number.
        mode: u8,
        /// Its cards.
        cards: Vec<String>,
    },
    /// Another mode or other cards for a bond.
    ChangeBond {
        /// Name.
        name: String,
        /// Mode, by its number.
        mode: u8,
        /// All its cards.
        cards: Vec<String>,
    },
    /// A bond goes; its cards stay.
    DeleteBond(String),
    /// A new VLAN interface.
    CreateVlan {
        /// What it is on.
        parent: String,
        /// Tag.
        id: u16,
    },
    /// A VLAN interface goes.
    DeleteVlan {
        /// What it is on.
        parent: String,
        /// Tag.
        id: u16,
    },
    /// A bridge over an interface, which takes over its addresses.
    Bridge(String),
    /// The interface that carries the management network (OS-TUI-080).
    Management(String),
}

/// A network interface, as lists and forms need it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// `nic`, `bond`, `vlan`, `bridge`, `vxlan`, or what the kernel calls it.
    pub kind: String,
    /// It is switched on.
    pub on: bool,
    /// It has a link.
    pub carrier: bool,
    /// It carries the management network.
    pub management: bool,
    /// A physical card, whose name can be changed.
    pub card: bool,
    /// Permanent hardware address of a card, else the present one.
    pub mac: String,
    /// Fixed and leased addresses.
    pub addresses: Vec<IpNet>,
    /// Bond or bridge that it belongs to.
    pub master: Option<String>,
    /// What it is on, and its tag: of a VLAN.
    pub vlan: Option<(String, u16)>,
    /// Mode and cards of a bond.
    pub bond: Option<(u8, Vec<String>)>,
}

/// What a change of the network would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    /// Steps, in words.
    pub steps: Vec<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// It touches the management network, and has to be confirmed once it is in force.
    pub touches_management: bool,
}

/// A backup of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// File.
    pub file: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// Why a password was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// It is not the one.
    Wrong,
    /// It could not be looked at.
    Unknown(String),
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Effect::Authenticate`].
    Authenticated(Result<(), Denied>),
    /// Of [`Effect::LookAtNetwork`].
    Network(Result<Vec<Interface>, String>),
    /// Of [`Effect::PlanNetwork`]; what is wrong with the change otherwise.
    Planned(Result<Planned, String>),
    /// Of [`Effect::LookAtConsoleProxy`].
    ConsoleProxy(Result<(Option<String>, u16), String>),
    /// Of [`Effect::LookAtBackups`].
    Backups(Result<Vec<Backup>, String>),
    /// It goes on.
    Progress {
        /// What happened.
        line: Option<String>,
        /// How far it is, in thousandths.
        done: Option<u16>,
    },
    /// A change of the network is in force for so many seconds.
    Trial(u64),
    /// It ended: what there is to say about it.
    Ended(Result<String, String>),
}
