//! VXLAN between two machines, with unicast head-end replication.

use anyhow::{Result, ensure};

use super::network::{change, reaches};
use crate::e2e::{lab::Lab, machine::Machine};

/// Both ends carry a network of their own over the other's address, with the largest packets that fit.
pub(crate) async fn vxlan(lab: &Lab) -> Result<()> {
    let cable = lab.cable();
    let (left, right) = lab.pair(["left", "right"], std::slice::from_ref(&cable)).await?;
    tokio::try_join!(end(&left, 1, 2), end(&right, 2, 1))?;
    reaches(&left, "10.50.0.2").await?;
    reaches(&right, "10.50.0.1").await?;
    // 50 bytes of every packet belong to the tunnel.
    fits(&left).await?;
    let learned = left.ok("bridge fdb show dev vx50").await?;
    ensure!(learned.contains("00:00:00:00:00:00 dst 10.9.0.2"), "unknown addresses are sent to the peer: {learned}");
    left.reboot().await?;
    reaches(&left, "10.50.0.2").await?;
    reaches(&right, "10.50.0.1").await?;
    fits(&left).await
}

/// Nobody wrote a size down; the tunnel has the one that fits, and packets of it pass.
async fn fits(left: &Machine) -> Result<()> {
    let sizes = left.ok("cat /sys/class/net/vx50/mtu /sys/class/net/br50/mtu").await?;
    ensure!(sizes == "1450\n1450", "the sizes of vx50 and br50 are {sizes}");
    let largest = left.run("ping -c 2 -W 2 -s 1422 10.50.0.2").await?;
    ensure!(largest.code == 0, "a packet of the tunnel's mtu does not pass");
    Ok(())
}

async fn end(machine: &Machine, own: u8, other: u8) -> Result<()> {
    let wanted = format!(
        "[links.ens16]\n\
         kind.nic = {{ mac = \"{}\" }}\n\
         ip = {{ addresses = [\"10.9.0.{own}/24\"] }}\n\
         [links.vx50]\n\
         kind.vxlan = {{ vni = 50, local = \"10.9.0.{own}\", peers = [\"10.9.0.{other}\"] }}\n\
         [links.br50]\n\
         kind.bridge = {{ ports = [\"vx50\"] }}\n\
         ip = {{ addresses = [\"10.50.0.{own}/24\"] }}\n",
        machine.mac(0)
    );
    machine.write("/root/wanted.toml", wanted.as_bytes()).await?;
    change(machine, "zs-network-setting --apply /root/wanted.toml").await
}
