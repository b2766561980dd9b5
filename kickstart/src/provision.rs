//! Unattended installs of other systems on bare metal (OS-BMB-041): one file for each machine, made from a template.
//!
//! Templates are written in the language of Jinja. Those of the system are in the folder `templates/` beside this
//! crate; operators write their own (OS-BMB-042) with the same variables. Values are quoted for the syntax of the
//! file by themselves: no host name, key or address can break out of the place it stands in.

mod escape;
mod machine;
mod template;

pub use self::{
    machine::{Addressing, Bond, BondMode, InvalidMachine, Machine, Nic},
    template::{Family, Template, TemplateError},
};
