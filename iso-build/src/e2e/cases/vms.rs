//! VMs on networks of the cloud on two hosts (NET-L2-002, NET-VX-001): they reach those of their own network, and nobody
//! else, over one trunk.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{
    cloud::RESTART,
    network::{change, reaches},
};
use crate::e2e::{lab::Lab, machine::Machine, wait::until};

const MARK: &str = "zstack:0123456789abcdef0123456789abcde";

/// A VM on each network on each of two hosts, all with addresses of one subnet, so that whatever leaks is answered: before
/// and after the agent and networkd start anew, and when one network is detached from one host.
pub(crate) async fn apart(lab: &Lab) -> Result<()> {
    let cable = lab.cable();
    let (left, right) = lab.pair(["left", "right"], std::slice::from_ref(&cable)).await?;
    for (host, own, other) in [(&left, 1, 2), (&right, 2, 1)] {
        change(host, &format!("zs-network-setting -i ens16 10.9.0.{own} 255.255.255.0 10.9.0.{other}")).await?;
        attach(host, own, other).await?;
        for network in 1..=3 {
            vm(host, network, own).await?;
        }
    }
    reaches(&left, "10.9.0.2").await?;
    own_networks_only(&left, 2, "11 22 33").await?;
    own_networks_only(&right, 1, "11 22 33").await?;

    // The host reconnects, and networkd is updated.
    attach(&left, 1, 2).await?;
    left.ok(RESTART).await?;
    own_networks_only(&left, 2, "11 22 33").await?;

    left.ok(&format!("/usr/lib/e2e/attach remove {MARK}1 {}", BRIDGES[0])).await?;
    own_networks_only(&left, 2, "22 33").await?;
    left.ok(&format!("/usr/lib/e2e/attach remove {MARK}3 {}", BRIDGES[2])).await?;
    own_networks_only(&right, 1, "22").await
}

/// Two tags of the trunk, and a tunnel.
const BRIDGES: [&str; 3] = ["br_ens16_2016", "br_ens16_2017", "br_vx77"];

/// What the agent does when a host connects.
async fn attach(host: &Machine, own: u8, other: u8) -> Result<()> {
    let attach = "/usr/lib/e2e/attach";
    let [first, second, third] = BRIDGES;
    host.ok(&format!(
        "{attach} ensure {MARK}1 {first} ens16 2016 && {attach} ensure {MARK}2 {second} ens16 2017 &&\n\
         {attach} ensure-vxlan {MARK}3 {third} 77 10.9.0.{own} 10.9.0.{other}"
    ))
    .await?;
    Ok(())
}

/// A VM is a namespace with one card, whose other end is plugged into the bridge as a tap would be.
async fn vm(host: &Machine, network: usize, own: u8) -> Result<()> {
    let bridge = BRIDGES.get(network - 1).context("a VM without a network")?;
    host.ok(&format!(
        "ip netns add vm{network} && ip link add tap{network} type veth peer name eth0 netns vm{network} &&\n\
         ip link set tap{network} master {bridge} up && ip -n vm{network} link set eth0 up &&\n\
         ip -n vm{network} addr add 10.20.0.{network}{own}/24 dev eth0"
    ))
    .await?;
    Ok(())
}

/// Every VM of this host calls every VM of the other; `expected` are the pairs of networks that answer.
async fn own_networks_only(host: &Machine, other: u8, expected: &str) -> Result<()> {
    let script = format!(
        "for from in 1 2 3; do\n\
             ip -n vm$from neigh flush all\n\
             for to in 1 2 3; do\n\
                 (ip netns exec vm$from ping -c 2 -i 0.5 -W 2 10.20.0.${{to}}{other} >/dev/null && echo $from$to) &\n\
             done\n\
         done\n\
         wait"
    );
    let pairs = async || {
        let said = host.ok(&format!("{{ {script}; }} | sort")).await?;
        Ok::<_, anyhow::Error>(said.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let what = format!("VMs of {} reach {expected}", host.name());
    until(&what, Duration::from_secs(60), async || Ok((pairs().await? == expected).then_some(()))).await?;
    let again = pairs().await?;
    ensure!(again == expected, "VMs of {} reach {again} and should reach {expected}", host.name());
    Ok(())
}
