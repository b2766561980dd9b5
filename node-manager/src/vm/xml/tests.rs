use node_manager_types::{ByteSize, vm::Password};

use super::*;

fn host(kvm: bool) -> HostTraits {
    HostTraits { kvm, architecture: "x86_64".to_owned(), serial_dir: "/var/lib/zstack/serial".to_owned() }
}

fn disk(index: u32, bus: DiskBus) -> DiskSpec {
    let volume = format!("{index:032x}").parse().unwrap();
    DiskSpec { volume, path: format!("/zstack_ps/v{index}.qcow2"), bus, index, cache: CacheMode::None }
}

fn spec() -> VmSpec {
    VmSpec {
        id: "36c27e8ff05c4780bf6d2fa65700f22e".parse().unwrap(),
        name: "web <1> & 'friends'".to_owned(),
        cpus: 2,
        memory: ByteSize::gib(1),
        firmware: Firmware::Bios,
        cpu_mode: CpuMode::None,
        boot_order: vec![BootDevice::Cdrom, BootDevice::Disk, BootDevice::Network],
        disks: vec![disk(0, DiskBus::Virtio), disk(1, DiskBus::VirtioScsi)],
        cdroms: vec![
            CdromSpec { index: 0, path: None },
            CdromSpec { index: 1, path: Some("/zstack_bs/a.iso".to_owned()) },
        ],
        nics: vec![NicSpec {
            id: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(),
            mac: "fa:16:3e:00:00:01".to_owned(),
            bridge: "br_eth0".to_owned(),
            device: "vnic7.0".to_owned(),
            model: "virtio".to_owned(),
            index: 0,
        }],
        video: "cirrus".to_owned(),
        console_password: None,
    }
}

#[test]
fn a_vm_with_kvm() {
    insta::assert_snapshot!(domain(&spec(), &host(true)).unwrap());
}

#[test]
fn cs_vm_012_uefi_without_kvm_and_with_a_password() {
    let mut vm = spec();
    vm.firmware = Firmware::Uefi;
    vm.console_password = Some(Password("a'b<c>defgh".to_owned()));
    vm.disks.truncate(1);
    vm.cdroms.clear();
    vm.nics.clear();
    insta::assert_snapshot!(domain(&vm, &host(false)).unwrap());
}

#[test]
fn cs_set_008_cpu_modes_need_kvm() {
    for (mode, with_kvm) in [
        (CpuMode::None, "<cpu>"),
        (CpuMode::HostModel, "<cpu mode='host-model'>"),
        (CpuMode::HostPassthrough, "<cpu mode='host-passthrough'>"),
    ] {
        let vm = VmSpec { cpu_mode: mode, ..spec() };
        assert!(domain(&vm, &host(true)).unwrap().contains(with_kvm), "{mode:?}");
        let emulated = domain(&vm, &host(false)).unwrap();
        assert!(emulated.contains("<domain type='qemu'>") && emulated.contains("<cpu mode='maximum'>"), "{mode:?}");
    }
}

#[test]
fn boot_order_counts_only_what_is_there() {
    let mut vm = spec();
    vm.cdroms[1].path = None;
    vm.boot_order = vec![BootDevice::Cdrom, BootDevice::Network, BootDevice::Disk, BootDevice::Disk];
    let xml = domain(&vm, &host(true)).unwrap();
    let nic = xml.find("<interface").unwrap();
    assert!(xml[nic..].contains("<boot order='1'/>") && xml[..nic].contains("<boot order='2'/>"), "{xml}");
    assert!(!xml.contains("order='3'"));
}

#[test]
fn cd_drives_make_room_for_ide_disks() {
    let mut vm = spec();
    vm.disks = (0..4).map(|index| disk(index, DiskBus::Ide)).collect();
    let xml = domain(&vm, &host(true)).unwrap();
    assert!(xml.contains("<target dev='hdd' bus='ide'/>") && xml.contains("<target dev='sdz' bus='sata'/>"), "{xml}");
    vm.disks.push(disk(4, DiskBus::Ide));
    let error = domain(&vm, &host(true)).unwrap_err();
    assert!(error.message.contains("that bus has 4"), "{error}");
}

#[test]
fn what_xml_or_linux_cannot_take_is_refused_by_name() {
    type Spoil = fn(&mut VmSpec);
    let cases: [(&str, Spoil); 7] = [
        ("control character", |vm| vm.name = "a\u{0}b".to_owned()),
        ("hardware address", |vm| vm.nics[0].mac = "fa:16:3e:00:00:0g".to_owned()),
        ("interface name", |vm| vm.nics[0].device = "a-name-that-is-too-long".to_owned()),
        ("interface name", |vm| vm.nics[0].bridge = "br'/><x".to_owned()),
        ("video model", |vm| vm.video = "vga'/>".to_owned()),
        ("at least one processor", |vm| vm.cpus = 0),
        ("two disks", |vm| vm.disks = vec![disk(0, DiskBus::Virtio), disk(0, DiskBus::Virtio)]),
    ];
    for (expected, spoil) in cases {
        let mut vm = spec();
        spoil(&mut vm);
        let error = domain(&vm, &host(true)).unwrap_err();
        assert!(error.kind == ErrorKind::Invalid && error.message.contains(expected), "{error} lacks {expected}");
    }
}
