//! Two computers become a cloud: a management node, and a compute node that was installed with a one-time code and joins
//! by itself; a VM starts there. Then the management node takes itself in over SSH. Their management network is a VLAN on a
//! bond (F-008, F-014, OS-NET-010, OS-NET-012).

use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use installer_plan::manifest::Role;
use serde_json::json;

use super::{
    BOOT, PASSWORD, key_pair,
    member::{self, Member},
    node::{Login, Node, administrator, check_node},
};
use crate::{
    api::text,
    cloud::{Cloud, Ground, Plan, Range},
    e2e::{
        cable::Cable,
        computer::{Firmware, Hardware},
        desk::Desk,
        wait::until,
    },
    guest::{self, Proof},
    program::Program,
    progress::Progress,
};

/// Where the guest's disk lies on the host that serves images.
const GUEST: &str = "/var/lib/zstack-offer/guest.qcow2";

/// What the answers say about a member: bond and VLAN for management, and a card of its own for whoever watches. There is no
/// switch between the two bonds, so they must agree on the cables that they use.
fn answers(role: Role, address: Ipv4Addr, public: &str, more: &str) -> impl FnOnce(&Hardware) -> String {
    let name = member::name(role, address.octets()[3]);
    move |hardware| {
        format!(
            "role = \"{role}\"\nhost_name = \"{name}\"\n[disk]\nerase = true\n[login]\npassword = \"{PASSWORD}\"\n\
         ssh_keys = [\"{public}\"]\n[network]\nmanagement = \"bond0.7\"\nnic = [{{ device = \"{}\", ip.dhcp = \"ipv4\" \
         }}]\nbond = [{{ mode = \"802.3ad\", members = [\"{}\", \"{}\"] }}]\nvlan = [{{ parent = \"bond0\", id = 7, ip.addresses = \
         [\"{address}/24\"] }}]\n{more}",
            hardware.mac(0),
            hardware.mac(1),
            hardware.mac(2),
        )
    }
}

/// Management and compute node join, and a VM reports from the new node.
pub(in crate::e2e) async fn join(desk: &Desk) -> Result<()> {
    let public = key_pair(desk).await?;
    let key = desk.folder().join("key");
    let cables = [0, 1].map(|number| Cable::new(desk.folder(), number));

    let [own, its] = [1, 2].map(|number| Ipv4Addr::new(192, 0, 2, number));
    let management = answers(Role::Management, own, &public, "");
    let management = Member::install(desk, Role::Management, 1, &cables, management).await?;
    let first = management.start().await?;
    let manager = management.node(&key);
    manager.is_up().await?;
    check_node(&manager, Role::Management, Firmware::Bios, "management1").await?;
    let api = administrator(management.ports[1]).await?;
    let plan = plan();
    let cloud = Cloud { api: &api, plan: &plan };
    let (zone, cluster) = cloud.cluster().await?;
    let code = api.create("/extensions/host-enrolment-codes", json!({ "clusterUuid": cluster })).await?;
    let told = format!("[join]\naddress = \"{}\"\ncode = \"{}\"\n", own, text(&code, "code")?);

    let compute = answers(Role::Compute, its, &public, &told);
    let compute = Member::install(desk, Role::Compute, 2, &cables, compute).await?;
    let second = compute.start().await?;
    let host = compute.node(&key);
    let grown = async {
        let uuid = until("the compute node has joined by itself", BOOT, async || {
            let found = api.query("/hosts", &["name=compute2".to_owned()]).await?;
            Ok(found.first().and_then(|host| host["uuid"].as_str().map(str::to_owned)))
        });
        let uuid = match uuid.await {
            Ok(uuid) => uuid,
            Err(error) => bail!("{error:#}\n{}\n{}", network(&manager).await?, network(&host).await?),
        };
        cloud.connected(&uuid, "compute2").await?;
        desk.note(format!("joined {:.0} s after its first start", second.seconds()));
        host.is_up().await?;
        let left = host.run("ls /etc/zstack; cat /etc/zstack/install.toml").await?;
        ensure!(!left.contains("join.toml") && !left.contains(text(&code, "code")?), "the code is left: {left}");
        bond(&host, its).await?;
        let ground = vm(desk, &cloud, &host, &zone, &cluster).await?;
        // The management node is a host of its own cloud, too, and what its packages brought stays.
        let params = json!({
            "name": "management1", "clusterUuid": cluster, "managementIp": own, "username": "root",
            "password": PASSWORD,
        });
        let own = api.create("/hosts/kvm", params).await?;
        cloud.connected(text(&own, "uuid")?, "management1").await?;
        let programs = manager.run("ls /usr/local/bin /etc/systemd/system").await?;
        ensure!(!programs.contains("node-manager"), "the package's agent was put aside: {programs}");
        desk.note("the management node was taken in over SSH".to_owned());
        own_vm(desk, &cloud, &manager, &ground, text(&own, "uuid")?).await?;
        logs(&manager, its).await?;
        desk.note("the logs of both nodes lie on the management node".to_owned());
        another_network(&manager, &cloud, text(&own, "uuid")?).await?;
        desk.note("the cloud followed the management node to another network".to_owned());
        Ok(())
    };
    let grown: Result<()> = grown.await;
    first.picture(&desk.picture("management")).await?;
    second.picture(&desk.picture("compute")).await?;
    grown
}

/// What tells why two nodes do not reach each other.
async fn network(node: &Node<'_>) -> Result<String> {
    Ok(node.try_run("cat /proc/net/bonding/bond0; ip -br address; ip neighbour").await?.stdout)
}

/// OS-NET-010, OS-NET-012: after the first boot the network is as the answers said, and both cables are used.
async fn bond(host: &Node<'_>, address: Ipv4Addr) -> Result<()> {
    let bond = network(host).await?;
    ensure!(bond.matches("Slave Interface").count() == 2 && bond.contains("Number of ports: 2"), "OS-NET-010: {bond}");
    ensure!(bond.contains(&format!("{}/24", address)), "OS-NET-012: {bond}");
    Ok(())
}

/// F-045: the management node collects the logs of the whole cloud.
async fn logs(manager: &Node<'_>, address: Ipv4Addr) -> Result<()> {
    let collected = manager.run("zstack-ctl collect_log --to /root/logs && ls /root/logs").await?;
    ensure!(collected.contains("management1") && collected.contains("compute2"), "F-045: {collected}");
    let look = "cat /root/logs/*compute2*.tar.gz | tar -xzO --wildcards '*addresses.txt' && tar -tzf /root/logs/*compute2*.tar.gz";
    let inside = manager.run(look).await?;
    ensure!(inside.contains(&format!("{}/24", address)), "these are no logs of the other node: {inside}");
    ensure!(inside.contains("journal"), "F-045: the journal of the other node is missing: {inside}");
    Ok(())
}

/// F-043: another network becomes the management network, and the cloud knows the node by its address there.
async fn another_network(manager: &Node<'_>, cloud: &Cloud<'_>, host: &str) -> Result<()> {
    let (link, address) = ("bond0.8", "192.0.3.1");
    let change = format!(
        "zs-vlan -c bond0 8 --confirm && zs-network-setting -i {link} {address} 255.255.255.0 192.0.3.254 --confirm && \
         zs-network-setting --management {link} --confirm"
    );
    manager.run(&change).await?;
    until("the management node is known by its new address", BOOT, async || {
        let nodes = cloud.api.query("/management-nodes", &[]).await?;
        Ok(nodes.first().filter(|node| node["hostName"] == address).map(drop))
    })
    .await?;
    let rows = cloud.api.query("/hosts", &[format!("uuid={host}")]).await?;
    ensure!(rows.first().is_some_and(|row| row["managementIp"] == address), "F-043: {rows:?}");
    cloud.connected(host, "management1").await
}

/// What the cloud is made of.
fn plan() -> Plan {
    Plan {
        host: new_uuid(),
        password: PASSWORD.to_owned(),
        vm: new_uuid(),
        host_address: "192.0.2.2".to_owned(),
        volumes: "/zstack_ps".into(),
        images: "/zstack_bs".into(),
        guest: GUEST.into(),
        uplink: "bond0".to_owned(),
        range: Range {
            start: Ipv4Addr::new(198, 51, 100, 10),
            end: Ipv4Addr::new(198, 51, 100, 99),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: Ipv4Addr::new(198, 51, 100, 1),
        },
        dns: None,
    }
}

/// A VM starts on the host and says so on its serial console.
async fn vm(desk: &Desk, cloud: &Cloud<'_>, host: &Node<'_>, zone: &str, cluster: &str) -> Result<Ground> {
    let image = guest::image(&Progress::new()).await?;
    host.run(&format!("mkdir -p {}", parent(GUEST))).await?;
    copy(host, &image, GUEST).await?;
    let ground = cloud.ground(zone, cluster).await?;
    let (vm, _) = cloud.vm(&ground, async |_| ()).await?;
    let proof = proof(host, &vm.uuid).await?;
    ensure!(proof.addresses().contains(&vm.ip.as_str()), "the guest runs without its address: {}", proof.line);
    ensure!(cloud.look(&vm.uuid).await?.state == "Running", "the VM does not run");
    desk.note(format!("a VM runs on {} and says: {}", vm.host, proof.line));
    Ok(ground)
}

/// F-023: the management node runs a VM as well; its image comes from the other node.
async fn own_vm(desk: &Desk, cloud: &Cloud<'_>, manager: &Node<'_>, ground: &Ground, host: &str) -> Result<()> {
    let params = json!({
        "name": "vm2", "zoneUuid": ground.zone, "imageUuid": ground.image, "instanceOfferingUuid": ground.offering,
        "l3NetworkUuids": [ground.l3], "hostUuid": host, "strategy": "InstantStart",
    });
    let vm = cloud.api.create("/vm-instances", params).await?;
    ensure!(vm["hostUuid"] == host && vm["state"] == "Running", "F-023: {vm}");
    let proof = proof(manager, text(&vm, "uuid")?).await?;
    let nics = vm["vmNics"].as_array().map_or(&[][..], Vec::as_slice);
    let given: Vec<&str> = nics.iter().filter_map(|nic| nic["ip"].as_str()).collect();
    if proof.addresses() != given {
        let evidence = "tail -n 40 /var/lib/zstack/dnsmasq/*/dnsmasq.log; ip -br address; bridge link; \
                        for space in $(ip netns list | cut -d' ' -f1); do ip netns exec $space ip -br address; done; \
                        journalctl -u node-manager -n 40 --no-pager";
        let evidence = manager.try_run(evidence).await?.stdout;
        bail!("F-023: the VM on the management node has not its address {given:?}: {}\n{evidence}", proof.line);
    }
    desk.note(format!("a VM runs on the management node and says: {}", proof.line));
    Ok(())
}

/// What a VM says on its serial console.
async fn proof(host: &Node<'_>, vm: &str) -> Result<Proof> {
    let console = format!("cat $(find /var/lib -name '{vm}.log' -path '*serial*') 2>/dev/null");
    until("the guest reports", BOOT, async || Ok(Proof::find(&host.try_run(&console).await?.stdout))).await
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(folder, _)| folder)
}

fn new_uuid() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

async fn copy(node: &Node<'_>, file: &std::path::Path, to: &str) -> Result<()> {
    let Login::Key(key) = node.login else { anyhow::bail!("files are copied with a key") };
    let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
    let scp = options.into_iter().fold(Program::new("scp").arg("-i").arg(key), |scp, option| scp.args(["-o", option]));
    scp.args(["-P", &node.port.to_string()]).arg(file).arg(format!("root@127.0.0.1:{to}")).stdout().await?;
    Ok(())
}
