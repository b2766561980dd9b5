//! The kernel's network tables in the agent's words: what `node_manager_net` knows, with errors that travel.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use ipnet::IpNet;
use node_manager_net::kernel::{Kernel as Tables, KernelError, link::LinkFacts};
use node_manager_types::{AgentError, ErrorKind};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, packet_route::address::AddressScope};

use crate::drivers::Result;

/// A connection to the kernel, open as long as the value lives.
pub struct Kernel(Tables);

/// The kernel's answer as it travels.
pub(super) fn failed(error: &KernelError) -> AgentError {
    AgentError::new(ErrorKind::Host, error.to_string()).with_evidence(format!("{error:?}"))
}

impl Kernel {
    /// Connects to the namespace of this thread.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] when there is no netlink.
    pub fn open() -> Result<Self> {
        Tables::open().map(Self).map_err(|e| failed(&e))
    }

    /// The tables themselves.
    pub(super) fn tables(&self) -> &Tables {
        &self.0
    }

    /// Every interface.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn links(&self) -> Result<Vec<LinkFacts>> {
        self.0.links().await.map_err(|e| failed(&e))
    }

    /// An interface by name.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn link(&self, name: &str) -> Result<Option<LinkFacts>> {
        self.0.link(name).await.map_err(|e| failed(&e))
    }

    /// An interface that must exist.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn existing(&self, name: &str) -> Result<LinkFacts> {
        let missing = || AgentError::new(ErrorKind::NotFound, format!("this host has no interface {name}"));
        self.link(name).await?.ok_or_else(missing)
    }

    /// Makes a cable with two ends.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        self.0.add_link(LinkVeth::new(name, peer).build(), name).await.map_err(|e| failed(&e))
    }

    /// Changes an interface.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn change(
        &self,
        index: u32,
        what: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<()> {
        self.0.change(index, what, change).await.map_err(|e| failed(&e))
    }

    /// Moves an interface into a namespace.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn give(&self, index: u32, namespace: BorrowedFd<'_>) -> Result<()> {
        let fd = namespace.as_raw_fd();
        self.change(index, "cannot move an interface into its namespace", |link| link.setns_by_fd(fd)).await
    }

    /// Forbids (or allows) a bridge port to exchange frames with the bridge's other isolated ports.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn isolate(&self, index: u32, isolated: bool) -> Result<()> {
        self.0.isolate(index, isolated).await.map_err(|e| failed(&e))
    }

    /// Removes an interface.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn delete(&self, link: &LinkFacts) -> Result<()> {
        self.0.delete_link(link.index, &link.name).await.map_err(|e| failed(&e))
    }

    /// Addresses of an interface that reach beyond it.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>> {
        let addresses = self.0.addresses(Some(index)).await.map_err(|e| failed(&e))?;
        let reach_beyond = addresses.iter().filter(|address| address.scope != AddressScope::Link);
        Ok(reach_beyond.map(|address| address.address).collect())
    }

    /// Gives an interface an address; nothing to do when it has it.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<()> {
        self.0.add_address(index, address).await.map_err(|e| failed(&e))
    }

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn delete_address(&self, index: u32, address: IpNet) -> Result<()> {
        self.0.delete_address(index, address).await.map_err(|e| failed(&e))
    }
}

/// An address with the prefix of its network.
///
/// # Errors
/// [`ErrorKind::Invalid`] for an impossible prefix.
pub fn net(address: IpAddr, prefix: u8) -> Result<IpNet> {
    IpNet::new(address, prefix)
        .map_err(|_| AgentError::new(ErrorKind::Invalid, format!("{address}/{prefix} is no network")))
}
