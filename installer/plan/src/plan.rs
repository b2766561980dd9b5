//! The plan: everything that will be done to a machine, decided before anything is done.

use std::net::{IpAddr, SocketAddr};

use node_manager_net::{files, model::Network};
use node_manager_types::enrolment::{Code, CodeError};
use serde::Serialize;

use crate::{
    answers::{Answers, End, JoinAnswers, Language},
    facts::{Facts, Firmware},
    manifest::{Layer, Manifest, Repository, Role},
    network::network,
    problem::Problem,
    size::{GIB, MIB, Size},
    storage::{Erased, Storage, needed_by_root, storage},
    system::{Login, System, is_domain, login, system},
    text,
    text::Text,
};

mod show;
mod step;

pub use show::Weight;
pub use step::{Step, StepId};

/// Everything that will be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstallPlan {
    /// Name and version of the product.
    pub product: String,
    /// What the node is for.
    pub role: Role,
    /// Disks that are erased, and what is lost.
    pub erases: Vec<Erased>,
    /// What is unusual and still possible, a line each.
    pub warnings: Vec<Text>,
    /// Partitions, volumes, file systems.
    pub storage: Storage,
    /// Names and time.
    pub system: System,
    /// The wanted network.
    pub network: Network,
    /// How people get in.
    pub login: Login,
    /// How the system is started.
    pub boot: Boot,
    /// What is unpacked, the lowest first.
    pub layers: Vec<Layer>,
    /// The offline package repository.
    pub repository: Repository,
    /// The cloud to join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// What happens at the end.
    pub end: End,
}

/// The cloud that the node joins; without the code itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Join {
    /// Address of the management service.
    pub address: String,
    /// The node has a one-time code and joins by itself.
    pub code: bool,
}

/// How the installed system is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// By which firmware.
    pub firmware: Firmware,
    /// Arguments of the kernel.
    pub arguments: Vec<String>,
    /// Serial console that the boot menu appears on too, such as `ttyS0,115200`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

impl InstallPlan {
    /// The steps in their order.
    pub fn steps(&self) -> Vec<Step> {
        step::steps(self)
    }

    /// The files of the wanted network, by name; they belong into `/etc/systemd/network`.
    pub fn network_files(&self) -> files::Files {
        files::render(&self.network)
    }
}

/// Makes a plan. The same input always gives the same plan.
///
/// # Errors
/// Everything that is wrong with the answers for this machine and this medium, each under its key.
pub fn plan(answers: &Answers, facts: &Facts, manifest: &Manifest) -> Result<InstallPlan, Vec<Problem>> {
    let mut problems = Vec::new();
    let layers = layers(answers.role, manifest, &mut problems);
    // Without a role the rest is checked as for the one that needs least.
    let role = answers.role.unwrap_or(Role::Expert);
    let needed = needed_by_root(manifest, &layers.iter().collect::<Vec<_>>(), role);
    let divided = storage(answers, facts, needed, &mut problems);
    let (network, network_warnings) = network(&answers.network, facts, &mut problems);
    let system = system(answers, role, facts, &mut problems);
    let login = login(&answers.login, &mut problems);
    let join = answers.join.as_ref().map(|answers| join(answers, role, &mut problems));
    problems.sort();
    problems.dedup();
    let (Some((storage, erases)), true) = (divided, problems.is_empty()) else { return Err(problems) };
    let mut warnings = warnings(role, facts);
    warnings.extend(network_warnings);
    warnings.extend(
        erases
            .iter()
            .flat_map(|erased| &erased.breaks)
            .map(|line| Text::new(format!("this breaks {line}"), format!("这会破坏{}", line.of(Language::Chinese)))),
    );
    Ok(InstallPlan {
        product: format!("{} {}", manifest.product, manifest.version),
        role,
        erases,
        warnings,
        storage,
        system,
        network,
        login,
        boot: boot(facts),
        layers,
        repository: manifest.repository.clone(),
        join,
        end: answers.end,
    })
}

/// The disks that would be erased as the answers are so far, whatever else is still open or wrong; none while those about
/// disks are.
pub fn erased_by(answers: &Answers, facts: &Facts, manifest: &Manifest) -> Vec<String> {
    let layers = layers(answers.role, manifest, &mut Vec::new());
    let role = answers.role.unwrap_or(Role::Expert);
    let needed = needed_by_root(manifest, &layers.iter().collect::<Vec<_>>(), role);
    let divided = storage(answers, facts, needed, &mut Vec::new());
    divided.map(|(_, erases)| erases.into_iter().map(|erased| erased.disk).collect()).unwrap_or_default()
}

/// Host name and link of the management network as the answers have them so far, whatever else is still open or wrong.
pub fn reached_as(answers: &Answers, facts: &Facts) -> (Option<String>, Option<String>) {
    let (network, _) = network(&answers.network, facts, &mut Vec::new());
    // A name is proposed once the role, which it begins with, is known.
    let proposed = answers.role.map(|role| system(answers, role, facts, &mut Vec::new()).host_name);
    (answers.host_name.clone().or(proposed), network.management)
}

/// Checks the cloud to join; problems go to the list.
fn join(answers: &JoinAnswers, role: Role, problems: &mut Vec<Problem>) -> Join {
    if !matches!(role, Role::Compute | Role::Storage) {
        let rule = text!("a node with the role {role} joins no cloud", "角色为 {role} 的节点不加入云平台");
        problems.push(Problem::new(
            "join",
            rule,
            text!("leave it out, or choose the role compute or storage", "请去掉此项，或选择角色 compute 或 storage"),
        ));
    }
    if !is_service(&answers.address) {
        let rule = text!("{:?} is neither an address nor a name", "{:?} 既不是地址也不是名称", answers.address);
        problems.push(Problem::new(
            "join.address",
            rule,
            text!(
                "write 192.0.2.1, cloud.example.org or [2001:db8::1]:8080",
                "请写成 192.0.2.1、cloud.example.org 或 [2001:db8::1]:8080"
            ),
        ));
    }
    if let Some(Err(error)) = answers.code.as_ref().map(|code| code.parse::<Code>()) {
        let chinese = match error {
            CodeError::Length(long) => format!("代码有 20 个字符，四个一组，而此处有 {long} 个"),
            CodeError::Character(strange) => format!("代码中没有 {strange:?}；代码由数字和 U 以外的字母组成"),
        };
        let way_out = text!(
            "write the code as the management service showed it, or leave it out and add the node later",
            "请按管理服务显示的内容输入代码，或留空并在以后添加该节点"
        );
        problems.push(Problem::new("join.code", Text::new(error.to_string(), chinese), way_out));
    }
    Join { address: answers.address.clone(), code: answers.code.is_some() }
}

/// An address or a name, with a port or without.
fn is_service(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    is_domain(name) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn layers(role: Option<Role>, manifest: &Manifest, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let offered: Vec<&str> = manifest.roles.iter().map(|entry| entry.role.word()).collect();
    let way_out = text!("choose one of {}", "请选择其中之一：{}", offered.join(", "));
    let Some(role) = role else {
        problems.push(Problem::new("role", text!("every node has a role", "每个节点都要有一个角色"), way_out));
        return Vec::new();
    };
    match manifest.layers_of(role) {
        Some(layers) => layers.into_iter().cloned().collect(),
        None => {
            problems.push(Problem::new(
                "role",
                text!("this medium does not install the role {role}", "此安装介质不包含角色 {role}"),
                way_out,
            ));
            Vec::new()
        }
    }
}

fn boot(facts: &Facts) -> Boot {
    let mut arguments = vec!["console=tty0".to_owned()];
    // The last one is where the system speaks first.
    arguments.extend(facts.serial.iter().map(|serial| format!("console={serial}")));
    Boot { firmware: facts.firmware, arguments, serial: facts.serial.clone() }
}

fn warnings(role: Role, facts: &Facts) -> Vec<Text> {
    let mut warnings = Vec::new();
    // 8 GB are sold as 8 GiB, of which the firmware keeps some.
    let least = if role == Role::Management { 8 * GIB - 512 * MIB } else { 2 * GIB - 256 * MIB };
    if facts.memory < least {
        warnings.push(text!(
            "this machine has {} of memory, which is little (F-025)",
            "本机内存只有 {}，偏少 (F-025)",
            Size(facts.memory)
        ));
    }
    if !facts.virtualisation && role != Role::Expert {
        let what = text!(
            "this machine cannot run VMs in hardware: switch VT-x or AMD-V on in its firmware (F-026)",
            "本机不能用硬件运行虚拟机：请在固件中开启 VT-x 或 AMD-V (F-026)"
        );
        warnings.push(what);
    }
    warnings
}
