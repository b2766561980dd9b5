//! Steps done in the kernel.

use std::{collections::BTreeMap, time::Duration};

use nix::errno::Errno;

use crate::{
    kernel::{Kernel, KernelError, Result, address, device, link::LinkFacts},
    live::{Live, Sight},
    model::Network,
    plan::{Plan, plan},
    state::State,
    step::Step,
};

/// A plan could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The kernel refused a step.
    #[error("could not {step}: {hint}")]
    Step {
        /// The step.
        step: Box<Step>,
        /// Why, and what to do.
        hint: String,
        /// The kernel's answer.
        #[source]
        cause: KernelError,
    },
    /// The kernel took every step, and has not what was wanted.
    #[error("the kernel took every step, and still these are left:\n{0}")]
    Unsettled(Plan),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] KernelError),
    /// Whoever watches wants to stop.
    #[error("stopped")]
    Stopped,
}

/// Told before each step; an answer of `false` stops.
pub trait Watch {
    /// `step` is about to be done; it is the `done`th of `all`.
    fn before(&mut self, step: &Step, done: usize, all: usize) -> bool;
}

/// How often the difference to what is wanted is looked for: steps have side effects that only the kernel knows.
const ROUNDS: usize = 4;
/// How long a step waits that could not be done for a reason that passes.
const PAUSE: Duration = Duration::from_millis(300);

/// Brings the node to the new document, and makes sure by reading it back. `sight` must have every link of both documents.
///
/// # Errors
/// [`ApplyError`]; the node then is somewhere between.
pub async fn apply(
    kernel: &Kernel,
    sight: &Sight,
    old: &Network,
    new: &Network,
    watch: &mut dyn Watch,
) -> std::result::Result<(), ApplyError> {
    settle(kernel, sight, |live| live.state(old, new), &State::from(new), watch).await
}

/// Brings the node back to a state that was read before the change from `old` to `new`.
///
/// # Errors
/// [`ApplyError`]; the node then is somewhere between.
pub async fn restore(
    kernel: &Kernel,
    sight: &Sight,
    old: &Network,
    new: &Network,
    before: &State,
    watch: &mut dyn Watch,
) -> std::result::Result<(), ApplyError> {
    settle(kernel, sight, |live| live.state(old, new), before, watch).await
}

async fn settle(
    kernel: &Kernel,
    sight: &Sight,
    look: impl Fn(&Live) -> State,
    wanted: &State,
    watch: &mut dyn Watch,
) -> std::result::Result<(), ApplyError> {
    let mut left = Plan::default();
    'rounds: for round in 0..ROUNDS {
        let live = sight.look(kernel).await?;
        let mut present = look(&live);
        // The kernel knows nothing of these; the files that follow do.
        present.management.clone_from(&wanted.management);
        for (name, link) in &mut present.links {
            if let Some(wanted) = wanted.links.get(name) {
                (link.dhcp, link.dns, link.domains) = (wanted.dhcp, wanted.dns.clone(), wanted.domains.clone());
            }
        }
        left = plan(&present, wanted);
        left.steps.retain(is_kernels);
        if left.is_empty() {
            return Ok(());
        }
        let mut hand = Hand { kernel, live: &live, indexes: BTreeMap::new() };
        let all = left.steps.len();
        for (done, step) in left.steps.iter().enumerate() {
            // Later rounds mend what the first one broke in passing; they are not news.
            if round == 0 && !watch.before(step, done + 1, all) {
                return Err(ApplyError::Stopped);
            }
            match hand.step(step).await {
                // networkd knows nothing of the change yet, and may have taken for a moment what the step needs.
                Err(cause) if round + 1 < ROUNDS && is_passing(step, &cause) => {
                    tracing::debug!(%step, %cause, "looking at the node again");
                    tokio::time::sleep(PAUSE).await;
                    continue 'rounds;
                }
                answer => answer.map_err(|cause| explain(step, cause))?,
            }
        }
    }
    Err(ApplyError::Unsettled(left))
}

/// A router that is in a network of the link, as every wanted one is, cannot be reached only while the link loses its
/// address or comes up.
fn is_passing(step: &Step, cause: &KernelError) -> bool {
    let unreachable = [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::ENETDOWN];
    matches!(step, Step::SetRoute { .. }) && cause.errno().is_some_and(|errno| unreachable.contains(&errno))
}

/// The kernel has a part in the step.
fn is_kernels(step: &Step) -> bool {
    !matches!(
        step,
        Step::Adopt { .. } | Step::Release { .. } | Step::Dhcp { .. } | Step::Resolver { .. } | Step::Management { .. }
    )
}

fn explain(step: &Step, cause: KernelError) -> ApplyError {
    let hint = match (cause.errno(), step) {
        (Some(Errno::EOPNOTSUPP), Step::Create { device, .. }) => {
            let module = device.module();
            format!("this kernel has no support for it; load the module {module} (modprobe {module})")
        }
        (Some(Errno::EPERM | Errno::EACCES), _) => "this needs root; run the command with sudo".to_owned(),
        (Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH), Step::SetRoute { .. }) => {
            "the router cannot be reached directly; check address, netmask and gateway".to_owned()
        }
        (Some(Errno::EINVAL | Errno::ERANGE), Step::SetMtu { .. } | Step::Create { .. }) => {
            "the driver does not take this value; the mtu may be larger than the card allows".to_owned()
        }
        (Some(Errno::EBUSY), _) => "it is in use by another program".to_owned(),
        _ => cause.cause.to_string(),
    };
    ApplyError::Step { step: Box::new(step.clone()), hint, cause }
}

struct Hand<'a> {
    kernel: &'a Kernel,
    live: &'a Live,
    /// Links that were made or got another name since `live` was read.
    indexes: BTreeMap<String, u32>,
}

impl Hand<'_> {
    async fn index(&self, name: &str) -> Result<u32> {
        if let Some(index) = self.indexes.get(name) {
            return Ok(*index);
        }
        let missing = || KernelError {
            what: format!("there is no {name}"),
            cause: std::io::Error::from_raw_os_error(Errno::ENODEV as i32),
        };
        self.live.link(name).map(|link| link.index).ok_or_else(missing)
    }

    /// Index of the interface that has the addresses of a link.
    async fn holder(&self, name: &str) -> Result<u32> {
        let index = self.index(name).await?;
        // By the name that it had when it was read.
        Ok(self.live.name(index).and_then(|name| self.live.cloud_bridge(name)).map_or(index, |bridge| bridge.index))
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        let kernel = self.kernel;
        let what = step.to_string();
        match step {
            Step::Rename { link, to } => {
                let index = self.index(link).await?;
                rename(kernel, index, to, &what).await?;
                self.indexes.insert(to.clone(), index);
            }
            Step::Create { link, device: wanted, mac, mtu } => {
                let parent = match wanted {
                    crate::state::Device::Vlan { parent, .. } => self.index(parent).await?,
                    _ => 0,
                };
                let Some(message) = device::creation(link, wanted, parent, *mac, *mtu) else { return Ok(()) };
                kernel.add_link(message, link).await?;
                let made = kernel.link(link).await?.map(|link| link.index);
                self.indexes.extend(made.map(|index| (link.clone(), index)));
            }
            Step::Delete { link } => kernel.delete_link(self.index(link).await?, link).await?,
            Step::SetBond { link, options } => {
                let message = device::bond_change(self.index(link).await?, link, options);
                kernel.change_device(message, &what).await?;
            }
            Step::SetPrimary { link, primary } => {
                let primary = match primary {
                    Some(primary) => self.index(primary).await?,
                    None => 0,
                };
                let message = device::primary_change(self.index(link).await?, link, primary);
                kernel.change_device(message, &what).await?;
            }
            Step::SetStp { link, stp } => {
                for message in device::stp_change(self.index(link).await?, link, *stp) {
                    kernel.change_device(message, &what).await?;
                }
            }
            Step::SetMac { link, mac } => {
                kernel.change(self.index(link).await?, &what, |l| l.address(mac.0.to_vec())).await?;
            }
            Step::SetMtu { link, mtu } => kernel.change(self.index(link).await?, &what, |l| l.mtu(*mtu)).await?,
            Step::Up { link } => kernel.change(self.index(link).await?, &what, |l| l.up()).await?,
            Step::Down { link } => kernel.change(self.index(link).await?, &what, |l| l.down()).await?,
            Step::Join { link, master } => {
                let master = self.index(master).await?;
                kernel.change(self.index(link).await?, &what, |l| l.controller(master)).await?;
            }
            Step::Leave { link, .. } => {
                kernel.change(self.index(link).await?, &what, |l| l.nocontroller()).await?;
            }
            Step::AddAddress { link, address } => kernel.add_address(self.holder(link).await?, *address).await?,
            Step::RemoveAddress { link, address } => kernel.delete_address(self.holder(link).await?, *address).await?,
            Step::SetRoute { link, route } => {
                kernel.set_route(address::message(route, self.holder(link).await?)).await?;
            }
            Step::RemoveRoute { link, route } => {
                let holder = self.holder(link).await?;
                // As it is, whoever set it.
                for message in kernel.routes(Some(holder)).await? {
                    if address::is_configured(&message) && address::route(&message) == *route {
                        kernel.delete_route(message).await?;
                    }
                }
            }
            Step::AddPeer { link, peer } => kernel.add_peer(self.index(link).await?, *peer).await?,
            Step::RemovePeer { link, peer } => kernel.delete_peer(self.index(link).await?, *peer).await?,
            Step::Adopt { .. }
            | Step::Release { .. }
            | Step::Dhcp { .. }
            | Step::Resolver { .. }
            | Step::Management { .. } => {}
        }
        Ok(())
    }
}

/// Gives an interface another name. Kernels before 6.2 do that only while it is off: then it is switched off for a
/// moment, and gets back what it loses by that.
async fn rename(kernel: &Kernel, index: u32, to: &str, what: &str) -> Result<()> {
    // udev may have given the name to the card as an alternative one.
    kernel.free_alternative(to).await?;
    match kernel.change(index, what, |link| link.name(to)).await {
        Err(error) if error.errno() == Some(Errno::EBUSY) => {}
        answer => return answer,
    }
    // VLANs on it go down with it.
    let mut affected: Vec<u32> = vec![index];
    affected.extend(
        kernel
            .links()
            .await?
            .iter()
            .filter(|l| l.parent == Some(index) && l.kind.as_deref() == Some("vlan"))
            .map(|l| l.index),
    );
    let mut lost = Vec::new();
    for index in &affected {
        let v6 = kernel.addresses(Some(*index)).await?;
        let v6: Vec<_> =
            v6.into_iter().filter(|a| a.is_fixed() && a.address.addr().is_ipv6()).map(|a| a.address).collect();
        let up = kernel.link_at(*index).await?.is_some_and(|link: LinkFacts| link.is_up());
        lost.push((*index, up, v6, kernel.all_routes(*index).await?));
    }
    kernel.change(index, what, |link| link.down()).await?;
    let answer = kernel.change(index, what, |link| link.name(to)).await;
    for (index, up, addresses, routes) in lost {
        if !up {
            continue;
        }
        kernel.change(index, what, |link| link.up()).await?;
        for address in addresses {
            kernel.add_address(index, address).await?;
        }
        for route in routes {
            kernel.set_route(address::moved(route, index)).await?;
        }
    }
    answer
}
