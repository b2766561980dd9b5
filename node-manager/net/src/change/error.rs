//! Why a change did not happen.

use std::io;

use crate::{apply::ApplyError, kernel::KernelError, validate::Problem};

/// Why a change did not happen, or is not known to have happened.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What is wanted is wrong, or the node does not fit.
    #[error("{}", lines(.0))]
    Problems(Vec<Problem>),
    /// Somebody else is changing the network.
    #[error("another network command is at work, or the agent attaches a network; wait for its end and try again")]
    Busy,
    /// A change waits for its confirmation.
    #[error(
        "`{command}` waits for its confirmation for another {seconds} s; keep it with --confirm or take it back with --revert first"
    )]
    Waiting {
        /// What was changed.
        command: String,
        /// Time left.
        seconds: u64,
    },
    /// An earlier change had died; it was taken back now.
    #[error("`{command}` had been interrupted and was taken back just now; look at zs-show-network, then try again")]
    TakenBack {
        /// What had been changed.
        command: String,
    },
    /// There is nothing to confirm or take back.
    #[error("no change waits for a confirmation; without one within the time it has been taken back")]
    Nothing,
    /// It failed, and the node is as before.
    #[error("{0}\nEverything is as it was before.")]
    Failed(#[source] Box<ChangeError>),
    /// It failed, and so did the way back.
    #[error(
        "{cause}\nTaking it back failed as well: {undo}\nThe keeper goes on trying; `zs-network-setting --revert` tries at once, a reboot restores the old files."
    )]
    Stuck {
        /// The first failure.
        #[source]
        cause: Box<ChangeError>,
        /// The second.
        undo: Box<ChangeError>,
    },
    /// Applying failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The kernel could not be asked.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A file could not be read or written.
    #[error("{what}: {cause}")]
    File {
        /// What was tried.
        what: String,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },
    /// No server answered.
    #[error(
        "no server gave {link} an address by DHCP within {seconds} s; look at its cable and at the VLAN of the switch port, \
         give it a fixed address (zs-network-setting -i), or let it go on asking with --without-lease"
    )]
    NoLease {
        /// Who asked.
        link: String,
        /// For how long.
        seconds: u64,
    },
    /// The keeper could not be started.
    #[error("the process that would take the change back cannot be started ({0}); nothing was changed")]
    Keeper(io::Error),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(crate) fn file_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> ChangeError {
    let what = what.into();
    move |cause| ChangeError::File { what, cause }
}
