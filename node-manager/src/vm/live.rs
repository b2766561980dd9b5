//! What libvirt says about a running VM: the parts of its live XML we act upon.

use node_manager_types::{AgentError, ErrorKind, VolumeId};
use roxmltree::{Document, Node};

use super::xml::{NAMESPACE, disk_alias, drive_alias};
use crate::drivers::Result;

/// A disk of a running VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveDisk {
    /// Guest device name, by which libvirt addresses the disk.
    pub target: String,
    /// Bus.
    pub bus: String,
    /// Active layer; an empty CD drive has none.
    pub file: Option<String>,
    /// Layers below it, top first.
    pub backing: Vec<String>,
    alias: Option<String>,
}

/// A card of a running VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveNic {
    /// Hardware address.
    pub mac: String,
    /// Host-side interface.
    pub device: Option<String>,
}

/// A running VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// True when this product started it.
    pub ours: bool,
    /// Disks and CD drives.
    pub disks: Vec<LiveDisk>,
    /// Cards.
    pub nics: Vec<LiveNic>,
    /// Unix socket of its VNC server.
    pub vnc_socket: Option<String>,
}

impl Live {
    /// Reads live XML.
    ///
    /// # Errors
    /// [`ErrorKind::Hypervisor`] when it is no XML.
    pub fn parse(xml: &str) -> Result<Self> {
        let document = Document::parse(xml).map_err(|cause| {
            AgentError::new(ErrorKind::Hypervisor, "libvirt described a VM in malformed XML")
                .with_evidence(cause.to_string())
        })?;
        let all = |name: &'static str| document.descendants().filter(move |node| node.has_tag_name(name));
        Ok(Self {
            ours: document.descendants().any(|node| node.has_tag_name((NAMESPACE, "vm"))),
            disks: all("disk").filter_map(disk).collect(),
            nics: all("interface").filter_map(nic).collect(),
            vnc_socket: all("graphics")
                .filter(|node| node.attribute("type") == Some("vnc"))
                .find_map(|node| child(node, "listen")?.attribute("socket").map(str::to_owned)),
        })
    }

    /// The disk of a volume.
    pub fn volume(&self, volume: VolumeId) -> Option<&LiveDisk> {
        let alias = disk_alias(volume);
        self.disks.iter().find(|disk| disk.alias.as_ref() == Some(&alias))
    }

    /// The CD drive at this position.
    pub fn drive(&self, index: u32) -> Option<&LiveDisk> {
        let alias = drive_alias(index);
        self.disks.iter().find(|disk| disk.alias.as_ref() == Some(&alias))
    }

    /// The disk whose active layer is this file.
    pub fn file(&self, path: &str) -> Option<&LiveDisk> {
        self.disks.iter().find(|disk| disk.file.as_deref() == Some(path))
    }

    /// The card with this address.
    pub fn nic(&self, mac: &str) -> Option<&LiveNic> {
        self.nics.iter().find(|nic| nic.mac.eq_ignore_ascii_case(mac))
    }
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn attribute(node: Node<'_, '_>, element: &str, name: &str) -> Option<String> {
    child(node, element)?.attribute(name).map(str::to_owned)
}

fn disk(node: Node<'_, '_>) -> Option<LiveDisk> {
    let mut backing = Vec::new();
    let mut below = child(node, "backingStore");
    while let Some(layer) = below {
        backing.extend(attribute(layer, "source", "file"));
        below = child(layer, "backingStore");
    }
    Some(LiveDisk {
        target: attribute(node, "target", "dev")?,
        bus: attribute(node, "target", "bus").unwrap_or_default(),
        file: attribute(node, "source", "file"),
        backing,
        alias: attribute(node, "alias", "name"),
    })
}

fn nic(node: Node<'_, '_>) -> Option<LiveNic> {
    Some(LiveNic { mac: attribute(node, "mac", "address")?, device: attribute(node, "target", "dev") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_xml_tells_disks_cards_and_console() {
        let volume: VolumeId = "00000000000000000000000000000001".parse().unwrap();
        let xml =
            "<domain type='qemu' id='1'><metadata><zs:vm xmlns:zs='urn:zstack:vm:1' name='a'/></metadata><devices>
            <disk type='file' device='disk'><source file='/a/top' index='3'/>
              <backingStore type='file' index='2'><format type='qcow2'/><source file='/a/mid'/>
                <backingStore type='file'><source file='/a/base'/><backingStore/></backingStore></backingStore>
              <target dev='vda' bus='virtio'/><alias name='ua-volume-00000000000000000000000000000001'/></disk>
            <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><alias name='ua-cdrom-1'/></disk>
            <interface type='bridge'><mac address='fa:16:3e:00:00:01'/><target dev='vnic1.0'/></interface>
            <graphics type='vnc' socket='/run/x/vnc.sock'><listen type='socket' socket='/run/x/vnc.sock'/></graphics>
            </devices></domain>";
        let live = Live::parse(xml).unwrap();
        assert!(live.ours);
        assert_eq!(live.volume(volume).unwrap().backing, ["/a/mid", "/a/base"]);
        assert_eq!(live.file("/a/top").unwrap().target, "vda");
        assert_eq!(live.disks[1].file, None);
        assert_eq!(live.drive(1).unwrap().target, "hdc");
        assert_eq!(live.drive(0), None);
        assert_eq!(live.nic("FA:16:3E:00:00:01").unwrap().device.as_deref(), Some("vnic1.0"));
        assert_eq!(live.vnc_socket.as_deref(), Some("/run/x/vnc.sock"));
        assert!(!Live::parse("<domain/>").unwrap().ours);
        assert_eq!(Live::parse("<domain").unwrap_err().kind, ErrorKind::Hypervisor);
    }
}
