//! The kickstart language: reading and writing answers for unattended installs of RHEL and its relatives, and unattended
//! installs of other systems from templates.
//!
//! A file is read for a [`Version`], and everything that is wrong with it is said at once:
//!
//! ```
//! use kickstart::{Version, parse};
//!
//! let problems = parse("lnag en_US.UTF-8\ntimezone Asia/Shanghai --ut\nnetwork --devcie=eth0\n", Version::Rhel9).unwrap_err();
//! assert_eq!(
//!     problems.to_string(),
//!     "1:1: `lnag` is not a command. Did you mean `lang`?\n\
//!      3:9: network has no option --devcie. Did you mean `--device`?"
//! );
//! ```
//!
//! The truth about the language is pykickstart: the tests compare this crate with it.

mod bind;
mod commands;
mod consistency;
pub mod crypt;
mod declare;
mod directive;
mod document;
mod options;
mod packages;
mod parse;
mod problem;
pub mod provision;
mod roles;
mod section;
mod value;
mod version;
mod words;

pub use self::{
    commands::*,
    document::{Item, Kickstart},
    packages::{GroupExtent, PackageItem, Packages, PackagesHeader, Selection},
    parse::{Parsed, parse, parse_bytes},
    problem::{Problem, Problems, Severity},
    roles::Role,
    section::{Addon, Body, Certificate, CertificateHeader, Script, ScriptHeader, ScriptKind, Section},
    value::{Device, FirewallPort, MountPoint, Secret, TeamSlave},
    version::{Standing, Support, UnknownVersion, Version},
};
