//! The steps of an installation: their order, what they are called, and how long they take compared with each other.

use std::fmt;

use serde::{Serialize, Serializer};

use super::InstallPlan;
use crate::{size::MIB, text, text::Text};

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which it is.
    pub id: StepId,
    /// Its share of the work; about seconds on a slow disk.
    pub weight: u64,
}

/// Names of the steps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepId {
    /// The medium is what its manifest says. Nothing has been changed before this has succeeded.
    Verify,
    /// Volume groups and arrays on the disks are stopped, and what an earlier attempt left is unmounted.
    Release,
    /// Signatures are removed from the disks.
    Wipe,
    /// New tables.
    Partition,
    /// The volume group and its volumes.
    Volumes,
    /// File systems and swap space.
    Format,
    /// The new system is put together below one folder.
    Mount,
    /// A layer is unpacked.
    Unpack(String),
    /// The package repository is copied.
    Repository,
    /// Names, time, languages, mount table.
    System,
    /// The network's files.
    Network,
    /// Password and keys.
    Login,
    /// The boot loader.
    Boot,
    /// Everything is written out and unmounted, and the log is in the new system.
    Finish,
}

impl StepId {
    /// What it does, for people.
    pub fn about(&self) -> Text {
        match self {
            Self::Verify => text!("verify the medium", "校验安装介质"),
            Self::Release => text!("stop what uses the disks", "停用占用磁盘的内容"),
            Self::Wipe => text!("remove old signatures", "清除旧的签名"),
            Self::Partition => text!("write partition tables", "写入分区表"),
            Self::Volumes => text!("create volumes", "创建逻辑卷"),
            Self::Format => text!("create file systems", "创建文件系统"),
            Self::Mount => text!("mount file systems", "挂载文件系统"),
            Self::Unpack(layer) => text!("unpack {layer}", "解包 {layer}"),
            Self::Repository => text!("copy the package repository", "复制软件包仓库"),
            Self::System => text!("set up the system", "设置系统"),
            Self::Network => text!("set up the network", "设置网络"),
            Self::Login => text!("set up logins", "设置登录"),
            Self::Boot => text!("install the boot loader", "安装引导程序"),
            Self::Finish => text!("write everything out", "写入全部数据"),
        }
    }

    /// Disks are as before until a step says true.
    pub fn destroys(&self) -> bool {
        !matches!(self, Self::Verify | Self::Release)
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Verify => "verify",
            Self::Release => "release",
            Self::Wipe => "wipe",
            Self::Partition => "partition",
            Self::Volumes => "volumes",
            Self::Format => "format",
            Self::Mount => "mount",
            Self::Unpack(layer) => return write!(f, "unpack-{layer}"),
            Self::Repository => "repository",
            Self::System => "system",
            Self::Network => "network",
            Self::Login => "login",
            Self::Boot => "boot",
            Self::Finish => "finish",
        };
        f.write_str(word)
    }
}

impl Serialize for StepId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Bytes per second of a slow medium, of unpacking, of copying.
const READ: u64 = 100 * MIB;
const UNPACK: u64 = 50 * MIB;
const COPY: u64 = 80 * MIB;

pub(super) fn steps(plan: &InstallPlan) -> Vec<Step> {
    let packed: u64 = plan.layers.iter().map(|layer| layer.bytes).sum();
    let mut steps = Vec::new();
    let mut add = |id, seconds: u64| steps.push(Step { id, weight: seconds.max(1) });
    add(StepId::Verify, (packed + plan.repository.bytes) / READ);
    add(StepId::Release, 1);
    add(StepId::Wipe, 1);
    add(StepId::Partition, 1);
    if plan.storage.group.is_some() {
        add(StepId::Volumes, 1);
    }
    add(StepId::Format, 2);
    add(StepId::Mount, 1);
    for layer in &plan.layers {
        add(StepId::Unpack(layer.name.clone()), layer.unpacked_bytes / UNPACK);
    }
    add(StepId::Repository, plan.repository.bytes / COPY);
    add(StepId::System, 1);
    add(StepId::Network, 1);
    add(StepId::Login, 1);
    add(StepId::Boot, 4);
    add(StepId::Finish, 2 + packed / READ);
    steps
}
