//! Two computers become a cloud: a management node, and a compute node that it takes in, on which a VM starts. Their
//! management network is a VLAN on a bond (F-014, OS-NET-010, OS-NET-012).

use std::{net::Ipv4Addr, path::PathBuf};

use anyhow::{Context, Result, ensure};
use installer_plan::manifest::Role;

use super::{
    BOOT, DISK, PASSWORD, key_pair, menu, nat,
    node::{Login, Node, administrator, check_node},
    watched,
};
use crate::{
    cloud::{Cloud, Plan, Range},
    e2e::{
        cable::Cable,
        computer::{self, Computer, Firmware, Hardware, Medium, Nic},
        desk::Desk,
        wait::until,
    },
    guest::{self, Proof},
    program::Program,
    progress::Progress,
};

/// Where a file of the guest lies on the management node.
const GUEST: &str = "/var/lib/zstack-offer/guest.qcow2";

/// One of the two.
struct Member {
    hardware: Hardware,
    /// Ports of this machine that lead to its SSH server and its API.
    ports: Vec<u16>,
    folder: PathBuf,
    address: Ipv4Addr,
}

/// What the answers say about a member: bond and VLAN for management, and a card of its own for whoever watches.
fn answers(role: Role, hardware: &Hardware, address: Ipv4Addr, public: &str) -> String {
    format!(
        "role = \"{role}\"\nhost_name = \"{role}1\"\n[disk]\nerase = true\n[login]\npassword = \"{PASSWORD}\"\n\
         ssh_keys = [\"{public}\"]\n[network]\nmanagement = \"bond0.7\"\nnic = [{{ device = \"{}\", ip.dhcp = \"ipv4\" \
         }}]\nbond = [{{ members = [\"{}\", \"{}\"] }}]\nvlan = [{{ parent = \"bond0\", id = 7, ip.addresses = \
         [\"{address}/24\"] }}]\n",
        hardware.mac(0),
        hardware.mac(1),
        hardware.mac(2),
    )
}

async fn installed(desk: &Desk, role: Role, number: u8, cables: &[Cable; 2], public: &str) -> Result<Member> {
    let folder = desk.folder().join(role.word());
    std::fs::create_dir(&folder)?;
    let disk = folder.join("disk.qcow2");
    computer::disk(&disk, DISK).await?;
    let (own, ports) = nat(&[22, 8080])?;
    let nics = vec![own, Nic::Cable(cables[0].plug()?), Nic::Cable(cables[1].plug()?)];
    let memory_mib = if role == Role::Management { 4096 } else { 3072 };
    let mut hardware =
        Hardware { number, firmware: Firmware::Bios, memory_mib, disks: vec![disk], readonly: Vec::new(), nics };
    let address = Ipv4Addr::new(192, 0, 2, number);
    let labelled = folder.join("answers.img");
    let text = answers(role, &hardware, address, public);
    computer::labelled(&labelled, "OEMDRV", &[("answers.toml", text.as_bytes())]).await?;
    hardware.readonly = vec![labelled];
    let computer = Computer::start(&hardware, Medium::Cd(desk.medium()), &folder).await?;
    computer.choose(menu::INSTALL).await?;
    let seconds = watched(desk, &computer, &format!("install-{role}")).await?;
    desk.note(format!("{role} installed after {seconds:.0} s"));
    hardware.readonly.clear();
    Ok(Member { hardware, ports, folder, address })
}

/// Management and compute node join, and a VM reports from the new node.
pub(in crate::e2e) async fn join(desk: &Desk) -> Result<()> {
    let public = key_pair(desk).await?;
    let cables = [0, 1].map(|number| Cable::new(desk.folder(), number));
    let management = installed(desk, Role::Management, 1, &cables, &public).await?;
    let compute = installed(desk, Role::Compute, 2, &cables, &public).await?;
    let first = Computer::start(&management.hardware, Medium::None, &management.folder).await?;
    let second = Computer::start(&compute.hardware, Medium::None, &compute.folder).await?;
    let done = cloud(desk, &management, &compute).await;
    first.picture(&desk.picture("management")).await?;
    second.picture(&desk.picture("compute")).await?;
    done
}

async fn cloud(desk: &Desk, management: &Member, compute: &Member) -> Result<()> {
    let key = desk.folder().join("key");
    let node = |member: &Member| Node { login: Login::Key(&key), port: member.ports[0] };
    let (manager, host) = (node(management), node(compute));
    for (node, role) in [(&manager, Role::Management), (&host, Role::Compute)] {
        node.is_up().await?;
        check_node(node, role, Firmware::Bios, &format!("{role}1")).await?;
    }
    let bond = host.run("cat /proc/net/bonding/bond0; ip -br address show bond0.7").await?;
    ensure!(bond.matches("Slave Interface").count() == 2, "OS-NET-010: {bond}");
    ensure!(bond.contains(&format!("{}/24", compute.address)), "OS-NET-012: {bond}");
    manager.run(&format!("ping -c 3 -w 30 {}", compute.address)).await?;
    let api = administrator(management.ports[1]).await?;

    manager.run(&format!("mkdir -p {}", parent(GUEST))).await?;
    let image = guest::image(&Progress::new()).await?;
    copy(&manager, &image, GUEST).await?;
    let plan = Plan {
        host: new_uuid(),
        password: PASSWORD.to_owned(),
        vm: new_uuid(),
        host_address: compute.address.to_string(),
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
    };
    // The image server's agent is the host's own, so the file is offered there.
    host.run(&format!("mkdir -p {}", parent(GUEST))).await?;
    copy(&host, &image, GUEST).await?;
    let cloud = Cloud { api: &api, plan: &plan };
    let (zone, cluster) = cloud.hosts().await.context("the compute node is not taken in")?;
    desk.note("the compute node was taken in over SSH".to_owned());
    let agent = host.run("systemctl show -p FragmentPath,ExecStart node-manager; ls /usr/local/bin").await?;
    ensure!(!agent.contains("/usr/local/bin/node-manager"), "the package's agent was put aside: {agent}");
    let ground = cloud.ground(&zone, &cluster).await?;
    let (vm, _) = cloud.vm(&ground, async |_| ()).await?;
    let console = format!("cat $(find /var/lib -name '{}.log' -path '*serial*') 2>/dev/null", vm.uuid);
    let proof = until("the guest reports", BOOT, async || Ok(Proof::find(&host.try_run(&console).await?.stdout)));
    let proof = proof.await?;
    ensure!(proof.addresses().contains(&vm.ip.as_str()), "the guest runs without its address: {}", proof.line);
    ensure!(cloud.look(&vm.uuid).await?.state == "Running", "the VM does not run");
    desk.note(format!("a VM runs on {} and says: {}", vm.host, proof.line));
    Ok(())
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
