//! From operation to driver: the one place that knows which driver does what.

use node_manager_types::{AgentError, ErrorKind, Operation, snapshot::SnapshotFacts};
use serde::Serialize;
use serde_json::Value;

use crate::drivers::{Context, Drivers, Result};

/// What an operation touches; operations with a common key run one after the other.
///
/// Live merges hold their layer but not the VM, because they may take hours and the VM must stay stoppable meanwhile.
pub(crate) fn keys(operation: &Operation) -> Vec<String> {
    fn vm(id: &impl std::fmt::Display) -> String {
        format!("vm:{id}")
    }
    fn file(path: &str) -> String {
        format!("file:{path}")
    }
    match operation {
        Operation::CheckInterfaces(_)
        | Operation::FindTunnelEnd(_)
        | Operation::ListDhcp(_)
        | Operation::AllowTransfer(_)
        | Operation::FindMissing(_)
        | Operation::MeasureStorage(_) => Vec::new(),
        // Uplinks are shared between bridges (one untagged, many tagged), so all bridges change one after the other.
        Operation::EnsureBridge(_) | Operation::EnsureVxlan(_) | Operation::RemoveBridge(_) => {
            vec!["bridges".to_owned()]
        }
        Operation::ApplyDhcp(op) => vec![format!("l3:{}", op.network.l3)],
        Operation::RemoveDhcp(op) => vec![format!("l3:{}", op.l3)],
        Operation::StartVm(op) => vec![vm(&op.vm.id)],
        Operation::StopVm(op) => vec![vm(&op.vm)],
        Operation::PauseVm(op) => vec![vm(&op.vm)],
        Operation::ResumeVm(op) => vec![vm(&op.vm)],
        Operation::AttachDisk(op) => vec![vm(&op.vm)],
        Operation::DetachDisk(op) => vec![vm(&op.vm)],
        Operation::AttachNic(op) => vec![vm(&op.vm)],
        Operation::DetachNic(op) => vec![vm(&op.vm)],
        Operation::ChangeMedium(op) => vec![vm(&op.vm)],
        Operation::InitStorage(op) => vec![file(&op.root.path)],
        Operation::CreateVolume(op) => vec![file(&op.path)],
        Operation::DeleteVolume(op) => vec![file(&op.path)],
        Operation::ResizeVolume(op) => op.vm.iter().map(vm).chain([file(&op.path)]).collect(),
        Operation::StatVolume(_) => Vec::new(),
        Operation::TakeSnapshot(op) => op.vm.iter().map(vm).chain([file(&op.path), file(&op.new_path)]).collect(),
        Operation::RevertSnapshot(op) => vec![file(&op.new_path)],
        Operation::MergeSnapshot(op) => vec![file(&op.path)],
        Operation::CopyVolume(op) => vec![file(&op.to)],
        Operation::FetchImage(op) => vec![file(&op.path)],
        Operation::StoreImage(op) => vec![file(&op.remote_path)],
        Operation::AddImage(op) => vec![file(&op.path)],
        Operation::DeleteImage(op) => vec![file(&op.path)],
    }
}

/// True where the work may be dropped in the middle: programs are killed and temporary files removed. Work inside
/// libvirt and the kernel ends by itself and looks at [`Context::cancel`] where it waits.
pub(crate) fn may_be_dropped(operation: &Operation) -> bool {
    match operation {
        Operation::CheckInterfaces(_)
        | Operation::FindTunnelEnd(_)
        | Operation::InitStorage(_)
        | Operation::ListDhcp(_)
        | Operation::MeasureStorage(_)
        | Operation::FindMissing(_)
        | Operation::CreateVolume(_)
        | Operation::DeleteVolume(_)
        | Operation::StatVolume(_)
        | Operation::RevertSnapshot(_)
        | Operation::CopyVolume(_)
        | Operation::AllowTransfer(_)
        | Operation::FetchImage(_)
        | Operation::StoreImage(_)
        | Operation::AddImage(_)
        | Operation::DeleteImage(_) => true,
        Operation::EnsureBridge(_)
        | Operation::EnsureVxlan(_)
        | Operation::RemoveBridge(_)
        | Operation::ApplyDhcp(_)
        | Operation::RemoveDhcp(_)
        | Operation::StartVm(_)
        | Operation::StopVm(_)
        | Operation::PauseVm(_)
        | Operation::ResumeVm(_)
        | Operation::AttachDisk(_)
        | Operation::DetachDisk(_)
        | Operation::AttachNic(_)
        | Operation::DetachNic(_)
        | Operation::ChangeMedium(_)
        | Operation::ResizeVolume(_)
        | Operation::TakeSnapshot(_)
        | Operation::MergeSnapshot(_) => false,
    }
}

/// Does the operation and returns its reply as it travels.
pub(crate) async fn execute(drivers: &Drivers, operation: &Operation, context: &Context) -> Result<Value> {
    let Drivers { vm, storage, network, .. } = drivers;
    match operation {
        Operation::CheckInterfaces(op) => reply(network.missing_interfaces(&op.names).await?),
        Operation::EnsureBridge(op) => reply(network.ensure_bridge(&op.bridge).await?),
        Operation::EnsureVxlan(op) => reply(network.ensure_vxlan(&op.vxlan).await?),
        Operation::FindTunnelEnd(op) => reply(network.tunnel_end(&op.cidr).await?),
        Operation::RemoveBridge(op) => reply(network.remove_bridge(op.l2, &op.bridge).await?),
        Operation::ApplyDhcp(op) => reply(network.apply_dhcp(&op.network, &op.upsert, &op.remove).await?),
        Operation::ListDhcp(_) => reply(network.list_dhcp().await?),
        Operation::RemoveDhcp(op) => reply(network.remove_dhcp(op.l3).await?),

        Operation::StartVm(op) => reply(vm.start(&op.vm).await?),
        Operation::StopVm(op) => reply(vm.stop(op.vm, op.mode, context).await?),
        Operation::PauseVm(op) => reply(vm.pause(op.vm).await?),
        Operation::ResumeVm(op) => reply(vm.resume(op.vm).await?),
        Operation::AttachDisk(op) => reply(vm.attach_disk(op.vm, &op.disk).await?),
        Operation::DetachDisk(op) => reply(vm.detach_disk(op.vm, op.volume, context).await?),
        Operation::AttachNic(op) => reply(vm.attach_nic(op.vm, &op.nic).await?),
        Operation::DetachNic(op) => reply(vm.detach_nic(op.vm, &op.mac, context).await?),

        Operation::ChangeMedium(op) => reply(vm.change_medium(op.vm, op.index, op.path.as_deref()).await?),

        Operation::InitStorage(op) => reply(storage.init(&op.root).await?),
        Operation::MeasureStorage(op) => reply(storage.measure(&op.root).await?),
        Operation::FindMissing(op) => reply(storage.missing(&op.root, &op.paths).await?),
        Operation::CreateVolume(op) => {
            reply(storage.create_volume(&op.root, &op.path, op.size, op.backing.as_deref()).await?)
        }
        Operation::DeleteVolume(op) => reply(storage.delete(&op.root, &op.path).await?),
        Operation::ResizeVolume(op) => {
            let now = storage.stat_volume(&op.root, &op.path).await?;
            if op.size < now.size {
                let message = format!("{} holds {}; a volume grows only, {} is smaller", op.path, now.size, op.size);
                return Err(AgentError::new(ErrorKind::Invalid, message));
            }
            // A VM that ended in the meantime left the volume to the offline way.
            if let Some(id) = op.vm
                && vm.resize_disk(id, &op.path, op.size).await?
            {
                return reply(storage.stat_volume(&op.root, &op.path).await?);
            }
            reply(storage.resize_volume(&op.root, &op.path, op.size).await?)
        }
        Operation::StatVolume(op) => reply(storage.stat_volume(&op.root, &op.path).await?),
        Operation::TakeSnapshot(op) => {
            let frozen = storage.stat_volume(&op.root, &op.path).await?;
            storage.create_layer(&op.root, &op.path, &op.new_path).await?;
            if let Some(id) = op.vm {
                vm.switch_layer(id, &op.path, &op.new_path).await?;
            }
            let snapshot_size =
                storage.stat_volume(&op.root, &op.path).await.map_or(frozen.actual_size, |f| f.actual_size);
            reply(SnapshotFacts { snapshot_path: op.path.clone(), snapshot_size, volume_path: op.new_path.clone() })
        }
        Operation::RevertSnapshot(op) => reply(storage.create_layer(&op.root, &op.snapshot_path, &op.new_path).await?),
        Operation::MergeSnapshot(op) => {
            if let Some(id) = op.vm
                && vm.pull_layer(id, &op.path, op.new_base.as_deref(), context).await?
            {
                return reply(storage.stat_volume(&op.root, &op.path).await?);
            }
            reply(storage.rebase(&op.root, &op.path, op.new_base.as_deref()).await?)
        }
        Operation::CopyVolume(op) => reply(storage.copy_volume(&op.root, &op.from, &op.to).await?),

        Operation::AllowTransfer(op) => reply(storage.allow_transfer(op).await?),
        Operation::FetchImage(op) => {
            reply(storage.fetch_image(&op.root, &op.server, &op.remote_path, &op.path, &op.sha256, context).await?)
        }
        Operation::StoreImage(op) => {
            reply(storage.store_image(&op.root, &op.volume_path, &op.server, &op.remote_path, context).await?)
        }
        Operation::AddImage(op) => reply(storage.add_image(&op.root, &op.source, op.format, &op.path, context).await?),
        Operation::DeleteImage(op) => reply(storage.delete(&op.root, &op.path).await?),
    }
}

fn reply(value: impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|cause| {
        AgentError::new(ErrorKind::Host, "the reply cannot be written as JSON").with_evidence(cause.to_string())
    })
}
