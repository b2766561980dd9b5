//! Everything a host can be asked to do. All operations are idempotent: done twice, they end as done once.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    ByteSize, HostId, ImageId, L2Id, L3Id, SnapshotId, VmId, VolumeId,
    image::{Access, ImageFacts, ImageFormat, ImageServer, ImageSource},
    network::{BridgeSpec, DhcpLease, DhcpListing, DhcpNetwork, VxlanSpec},
    snapshot::SnapshotFacts,
    storage::{Capacity, StorageRoot, VolumeFacts},
    vm::{DiskSpec, NicSpec, StopMode, VmSpec, VmState},
};

/// An operation with a typed answer.
pub trait Run: Into<Operation> + Send {
    /// What success returns.
    type Reply: Serialize + DeserializeOwned + Send;
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident -> $reply:ty { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
            impl Run for $name {
                type Reply = $reply;
            }
            impl From<$name> for Operation {
                fn from(operation: $name) -> Self {
                    Self::$name(operation)
                }
            }
        )*

        /// Any operation, as it travels.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "do", rename_all = "snake_case")]
        pub enum Operation { $($(#[$doc])* $name($name),)* }

        impl Operation {
            /// Name of the type, for logs and metrics, for example `StartVm`.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            /// Word of the operation as it stands in `do` and in [`crate::JobStatus`], for example `start_vm`.
            pub fn word(&self) -> String {
                let mut word = String::new();
                for letter in self.name().chars() {
                    if letter.is_ascii_uppercase() && !word.is_empty() {
                        word.push('_');
                    }
                    word.push(letter.to_ascii_lowercase());
                }
                word
            }
        }
    };
}

operations! {
    /// Checks that the named interfaces exist (NET-L2-031, NET-L2-033); the reply lists those that are missing.
    CheckInterfaces -> Vec<String> {
        /// Kernel names.
        names: Vec<String>,
    }
    /// Makes the bridge exist, up, with its uplink.
    EnsureBridge -> () {
        /// The bridge.
        bridge: BridgeSpec,
    }
    /// Makes the bridge exist, up, with tunnels to the other hosts (NET-VX-021). Peers that are not named are forgotten.
    EnsureVxlan -> () {
        /// The bridge and its tunnels.
        vxlan: VxlanSpec,
    }
    /// Finds the host's address in a network, which is its end of the tunnels of a pool (NET-VX-010); not found when
    /// there is none (NET-VX-021, NET-VX-023).
    FindTunnelEnd -> std::net::IpAddr {
        /// The network; host bits may be set, as in `10.0.0.1/8`.
        cidr: String,
    }
    /// Removes the bridge if this agent made it; anything else on the host is left alone.
    RemoveBridge -> () {
        /// The network.
        l2: L2Id,
        /// Bridge name.
        bridge: String,
    }
    /// Makes the DHCP server of the network run with these leases added and removed.
    ApplyDhcp -> () {
        /// The network.
        network: DhcpNetwork,
        /// Leases to add or change.
        upsert: Vec<DhcpLease>,
        /// Hardware addresses to forget.
        remove: Vec<String>,
    }
    /// The networks that this host has a DHCP server for, with the hardware addresses they answer.
    ListDhcp -> Vec<DhcpListing> {}
    /// Stops the network's DHCP server and removes its namespace (NET-L3-048).
    RemoveDhcp -> () {
        /// The network.
        l3: L3Id,
    }

    /// Starts the VM; succeeds at once when it already runs.
    StartVm -> () {
        /// What to start.
        vm: VmSpec,
    }
    /// Stops the VM; succeeds when it is not there.
    StopVm -> () {
        /// The VM.
        vm: VmId,
        /// How.
        mode: StopMode,
    }
    /// Stops the VM's processors; memory stays.
    PauseVm -> VmState {
        /// The VM.
        vm: VmId,
    }
    /// Continues a paused VM.
    ResumeVm -> VmState {
        /// The VM.
        vm: VmId,
    }
    /// Plugs a disk into a running VM.
    AttachDisk -> () {
        /// The VM.
        vm: VmId,
        /// The disk.
        disk: DiskSpec,
    }
    /// Unplugs a disk and waits until the guest let go of it.
    DetachDisk -> () {
        /// The VM.
        vm: VmId,
        /// The volume.
        volume: VolumeId,
    }
    /// Plugs a network card into a running VM.
    AttachNic -> () {
        /// The VM.
        vm: VmId,
        /// The card.
        nic: NicSpec,
    }
    /// Unplugs a network card.
    DetachNic -> () {
        /// The VM.
        vm: VmId,
        /// Its hardware address.
        mac: String,
    }

    /// Changes the medium in a CD drive of a running VM, or takes it out.
    ChangeMedium -> () {
        /// The VM.
        vm: VmId,
        /// Position of the drive.
        index: u32,
        /// Absolute path of the ISO; absent empties the drive.
        path: Option<String>,
    }

    /// Claims the directory for this storage (creating it) and reports its room. Refuses system directories
    /// (CS-PSL-002) and a directory that another storage has claimed.
    InitStorage -> Capacity {
        /// The root.
        root: StorageRoot,
    }
    /// Reports the room of a claimed root.
    MeasureStorage -> Capacity {
        /// The root.
        root: StorageRoot,
    }
    /// Finds those of the named files that are not there (CS-IMG-070).
    FindMissing -> Vec<String> {
        /// The root.
        root: StorageRoot,
        /// Absolute paths.
        paths: Vec<String>,
    }
    /// Creates a qcow2 volume, empty or on top of a cached image.
    CreateVolume -> VolumeFacts {
        /// The root.
        root: StorageRoot,
        /// The volume.
        volume: VolumeId,
        /// Absolute path to create.
        path: String,
        /// Virtual size.
        size: ByteSize,
        /// Image below it.
        backing: Option<String>,
    }
    /// Removes a volume file; succeeds when it is gone.
    DeleteVolume -> () {
        /// The root.
        root: StorageRoot,
        /// Absolute path.
        path: String,
    }
    /// Grows a volume, in the running VM when one is named.
    ResizeVolume -> VolumeFacts {
        /// The root.
        root: StorageRoot,
        /// The volume.
        volume: VolumeId,
        /// Absolute path of the active layer.
        path: String,
        /// New virtual size; never smaller than now.
        size: ByteSize,
        /// VM that has it open.
        vm: Option<VmId>,
    }
    /// Reports a volume's sizes.
    StatVolume -> VolumeFacts {
        /// The root.
        root: StorageRoot,
        /// Absolute path of the active layer.
        path: String,
    }
    /// Freezes the volume's active layer and goes on in a new one.
    TakeSnapshot -> SnapshotFacts {
        /// The root.
        root: StorageRoot,
        /// The volume.
        volume: VolumeId,
        /// The snapshot.
        snapshot: SnapshotId,
        /// Absolute path of the active layer, which becomes the snapshot.
        path: String,
        /// Absolute path of the new active layer.
        new_path: String,
        /// VM that has it open.
        vm: Option<VmId>,
    }
    /// Starts a new active layer on top of a snapshot; the old active layer is left for the caller to delete.
    RevertSnapshot -> VolumeFacts {
        /// The root.
        root: StorageRoot,
        /// Absolute path of the snapshot.
        snapshot_path: String,
        /// Absolute path of the new active layer.
        new_path: String,
    }
    /// Rebases a layer so that it no longer needs the layers between it and `new_base`.
    MergeSnapshot -> VolumeFacts {
        /// The root.
        root: StorageRoot,
        /// The volume, when `path` is its active layer.
        volume: Option<VolumeId>,
        /// Absolute path of the layer to rebase.
        path: String,
        /// Layer it shall sit on; absent makes it stand alone.
        new_base: Option<String>,
        /// VM that has it open.
        vm: Option<VmId>,
    }
    /// Copies a volume or snapshot chain into one self-contained volume.
    CopyVolume -> VolumeFacts {
        /// The root.
        root: StorageRoot,
        /// Absolute path to read.
        from: String,
        /// Absolute path to create.
        to: String,
    }

    /// Announces that another host will fetch or send this file; without it that host's certificate opens nothing.
    /// Forgotten when the agent ends. Zero seconds take it back.
    AllowTransfer -> () {
        /// The other host.
        peer: HostId,
        /// The root.
        root: StorageRoot,
        /// Absolute path of the file.
        path: String,
        /// What it may do with it.
        access: Access,
        /// For how long.
        seconds: u64,
    }
    /// Fetches an image from an image server into the cache of a root; does nothing when it is there and intact.
    FetchImage -> ImageFacts {
        /// The root that caches.
        root: StorageRoot,
        /// The image.
        image: ImageId,
        /// Where it is.
        server: ImageServer,
        /// Absolute path on the server.
        remote_path: String,
        /// Absolute path in the cache.
        path: String,
        /// What it must hash to.
        sha256: String,
    }
    /// Copies a volume (its whole chain, flattened, as qcow2) to an image server.
    StoreImage -> ImageFacts {
        /// The root that holds the volume.
        root: StorageRoot,
        /// Absolute path of the layer to read.
        volume_path: String,
        /// The new image.
        image: ImageId,
        /// Where it goes.
        server: ImageServer,
        /// Absolute path on the server.
        remote_path: String,
    }
    /// Brings a new image into an image server. Nothing is left behind when it fails.
    AddImage -> ImageFacts {
        /// The server's root.
        root: StorageRoot,
        /// The image.
        image: ImageId,
        /// Where it comes from.
        source: ImageSource,
        /// Format the user claims; absent means detect.
        format: Option<ImageFormat>,
        /// Absolute path to create.
        path: String,
    }
    /// Removes an image or cache file; succeeds when it is gone.
    DeleteImage -> () {
        /// The root.
        root: StorageRoot,
        /// Absolute path.
        path: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_travel_tagged_by_what_they_do() {
        let operation = Operation::from(RemoveDhcp { l3: L3Id::random() });
        let json = serde_json::to_value(&operation).unwrap();
        assert_eq!(json["do"], "remove_dhcp");
        assert_eq!(operation.word(), "remove_dhcp");
        assert_eq!(serde_json::from_value::<Operation>(json).unwrap(), operation);
    }
}
