//! Virtual machines in libvirt.
//!
//! Domains are transient and named by the VM's id: a stopped VM leaves nothing behind, and any host may start it next.
//! QEMU runs as libvirt's own unprivileged user. Volume files belong to root with mode 0600; libvirt's dynamic ownership
//! hands a VM's files to that user when it starts, attaches or snapshots and takes them back afterwards, so a VM can open
//! its own volumes only. The directories above need `x` for everybody, which [`crate::storage`] provides.

#[cfg(feature = "libvirt")]
mod block;
#[cfg(feature = "libvirt")]
pub mod libvirt;
pub mod live;
#[cfg(feature = "libvirt")]
mod medium;
pub mod xml;
