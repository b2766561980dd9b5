//! The wanted network as files of systemd-networkd (systemd.link(5), systemd.netdev(5), systemd.network(5)).
//!
//! One link is one to three files: `.link` names a card by its permanent address, `.netdev` describes what the kernel
//! shall make, `.network` says what belongs where and the addresses. Ours begin with [`OURS`] and come before what
//! distributions and other tools write, so that they win.

use std::collections::BTreeMap;

mod ini;
mod parse;
mod render;
mod rivals;
pub mod store;

pub(crate) use parse::parse_part;
pub use parse::{Note, Parsed, parse};
pub use render::render;
pub(crate) use rivals::{Rivals, rivals};

/// Beginning of the names of our files. networkd takes the first file that matches; installers begin with 10.
pub const OURS: &str = "05-zs-";

/// Contents by file name.
pub type Files = BTreeMap<String, String>;

/// Section that networkd skips, for what only we need to know (systemd.syntax(7): sections that begin with `X-`).
const OWN_SECTION: &str = "X-ZStack";
