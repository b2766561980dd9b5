//! Virtual machines in a libvirtd of the test, emulated (CS-VM).

use std::{fs, time::Duration};

use node_manager_types::{
    ByteSize, ErrorKind, NicId, SnapshotId, VmId, VolumeId,
    operation::{
        AttachDisk, AttachNic, ChangeMedium, CreateVolume, DetachDisk, MergeSnapshot, PauseVm, ResizeVolume, ResumeVm,
        StartVm, StopVm, TakeSnapshot,
    },
    storage::StorageRoot,
    vm::{
        BootDevice, CacheMode, CdromSpec, CpuMode, DiskBus, DiskSpec, Firmware, NicSpec, Password, StopMode, VmSpec,
        VmState,
    },
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{AgentProcess, Libvirtd, World, eventually, isolated, run};

/// A boot sector that writes to the first serial port and stops: `mov dx,0x3f8; mov si,text; lodsb; out dx,al; ...`.
fn boot_sector(text: &[u8]) -> Vec<u8> {
    let mut sector = vec![
        0xfa, // cli
        0x31, 0xc0, 0x8e, 0xd8, // xor ax,ax; mov ds,ax
        0xba, 0xf8, 0x03, // mov dx,0x3f8
        0xbe, 0x14, 0x7c, // mov si,0x7c14
        0xac, // next: lodsb
        0x84, 0xc0, // test al,al
        0x74, 0x03, // jz stop
        0xee, // out dx,al
        0xeb, 0xf8, // jmp next
        0xf4, // stop: hlt
    ];
    assert_eq!(sector.len(), 0x14);
    sector.extend(text);
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

async fn volume(agent: &AgentProcess, root: &StorageRoot, name: &str, index: u32) -> DiskSpec {
    let disk = DiskSpec {
        volume: VolumeId::random(),
        path: format!("{}/{name}.qcow2", root.path),
        bus: DiskBus::Virtio,
        index,
        cache: CacheMode::Writeback,
    };
    let create = CreateVolume {
        root: root.clone(),
        volume: disk.volume,
        path: disk.path.clone(),
        size: ByteSize::mib(64),
        backing: None,
    };
    agent.run(create).await.unwrap();
    disk
}

pub(crate) fn spec(disks: Vec<DiskSpec>) -> VmSpec {
    VmSpec {
        id: VmId::random(),
        name: "a <test> & 'vm'".to_owned(),
        cpus: 1,
        memory: ByteSize::mib(64),
        firmware: Firmware::Bios,
        cpu_mode: CpuMode::None,
        boot_order: vec![BootDevice::Disk],
        disks,
        cdroms: Vec::new(),
        nics: Vec::new(),
        video: "vga".to_owned(),
        console_password: None,
    }
}

async fn state(agent: &AgentProcess, vm: VmId) -> Option<VmState> {
    agent.client.ping().await.unwrap().vms.iter().find(|status| status.id == vm).map(|status| status.state)
}

async fn serial(agent: &AgentProcess, vm: VmId, text: &str) {
    eventually(Duration::from_secs(90), || async {
        let log = agent.client.serial(vm, 4096).await.map_err(|e| e.to_string())?;
        if log.contains(text) { Ok(()) } else { Err(format!("serial log is {log:?}")) }
    })
    .await;
}

#[test]
fn cs_vm_020_a_vm_lives_pauses_survives_the_agent_and_dies() {
    isolated(|| async {
        let world = World::new();
        let mut libvirtd = Libvirtd::start(world.dir.path()).await;
        let agent = world.agent().await;
        let facts = agent.client.host().await.unwrap();
        assert!(
            facts.libvirt_version.split('.').count() == 3 && facts.qemu_version.split('.').count() == 3,
            "{facts:?}"
        );

        let root = world.root(&agent, "ps").await;
        let disk = volume(&agent, &root, "root", 0).await;
        let boot = world.path("boot");
        fs::write(&boot, boot_sector(b"hello from the guest\r\n")).unwrap();
        let copy = format!("write -s {} 0 512", boot.display());
        run("qemu-io", &["-f", "qcow2", "-c", &copy, &disk.path]);
        let vm = spec(vec![disk.clone()]);
        for _ in 0..2 {
            agent.run(StartVm { vm: vm.clone() }).await.unwrap();
        }
        assert_eq!(state(&agent, vm.id).await, Some(VmState::Running));
        serial(&agent, vm.id, "hello from the guest").await;
        let mode = fs::metadata(agent.home.join("data/serial")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o700);
        let listed = run("virsh", &["-q", "-c", "qemu:///system", "dumpxml", &vm.id.to_string()]);
        assert!(listed.contains("urn:zstack:vm:1") && !listed.contains("0.0.0.0"), "{listed}");

        for _ in 0..2 {
            assert_eq!(agent.run(PauseVm { vm: vm.id }).await.unwrap(), VmState::Paused);
        }
        assert_eq!(state(&agent, vm.id).await, Some(VmState::Paused));
        for _ in 0..2 {
            assert_eq!(agent.run(ResumeVm { vm: vm.id }).await.unwrap(), VmState::Running);
        }
        let metrics = agent.client.metrics().await.unwrap();
        assert!(metrics.contains(&format!("zstack_vm_memory_bytes{{vm=\"{}\"}} 67108864", vm.id)), "{metrics}");

        let (id, _) = agent.stop().await;
        let agent = world.agent_of(id, &[]).await;
        assert_eq!(state(&agent, vm.id).await, Some(VmState::Running), "a restarted agent knows its VMs");
        libvirtd.restart().await;
        eventually(Duration::from_secs(30), || async {
            let vms = agent.client.ping().await.map_err(|e| e.to_string())?.vms;
            if vms.iter().any(|status| status.id == vm.id && status.state == VmState::Running) {
                Ok(())
            } else {
                Err(format!("{vms:?}"))
            }
        })
        .await;

        // CS-VM-055: a guest that does not hear the power button is killed after the given time.
        agent.run(StopVm { vm: vm.id, mode: StopMode::Graceful { seconds: 1 } }).await.unwrap();
        assert_eq!(state(&agent, vm.id).await, None);
        for _ in 0..2 {
            agent
                .run(StopVm { vm: vm.id, mode: StopMode::PowerOff })
                .await
                .expect("stopping what is not there succeeds");
        }
        assert_eq!(agent.run(PauseVm { vm: vm.id }).await.unwrap_err().kind, ErrorKind::NotFound);
        // The files are root's again, and the VM starts once more.
        agent.run(StartVm { vm: vm.clone() }).await.unwrap();
        agent.run(StopVm { vm: vm.id, mode: StopMode::PowerOff }).await.unwrap();

        // CS-VM-049
        fs::remove_file(&disk.path).unwrap();
        let error = agent.run(StartVm { vm }).await.unwrap_err();
        assert!(error.kind == ErrorKind::NotFound && error.message.contains(&disk.path), "{error}");
    });
}

#[test]
fn cs_snap_003_disks_change_below_a_running_vm() {
    isolated(|| async {
        let world = World::new();
        let _libvirtd = Libvirtd::start(world.dir.path()).await;
        let agent = world.agent().await;
        let root = world.root(&agent, "ps").await;
        let (disk, data) = (volume(&agent, &root, "root", 0).await, volume(&agent, &root, "data", 1).await);
        let vm = spec(vec![disk.clone()]);
        agent.run(StartVm { vm: vm.clone() }).await.unwrap();
        let shown = || run("virsh", &["-q", "-c", "qemu:///system", "dumpxml", &vm.id.to_string()]);

        for _ in 0..2 {
            agent.run(AttachDisk { vm: vm.id, disk: data.clone() }).await.unwrap();
        }
        assert!(shown().contains(&data.path));
        for size in [ByteSize::mib(96), ByteSize::mib(96)] {
            let resize = ResizeVolume {
                root: root.clone(),
                volume: data.volume,
                path: data.path.clone(),
                size,
                vm: Some(vm.id),
            };
            assert_eq!(agent.run(resize).await.unwrap().size, size);
        }
        let offline = ResizeVolume {
            root: root.clone(),
            volume: data.volume,
            path: data.path.clone(),
            size: ByteSize::mib(128),
            vm: None,
        };
        assert_eq!(agent.run(offline).await.unwrap_err().kind, ErrorKind::Conflict, "QEMU holds the file");

        let layer = |name: &str| format!("{}/{name}.qcow2", root.path);
        let snap = |path: &str, new_path: &str| TakeSnapshot {
            root: root.clone(),
            volume: disk.volume,
            snapshot: SnapshotId::random(),
            path: path.to_owned(),
            new_path: new_path.to_owned(),
            vm: Some(vm.id),
        };
        for _ in 0..2 {
            agent.run(snap(&disk.path, &layer("one"))).await.unwrap();
        }
        agent.run(snap(&layer("one"), &layer("two"))).await.unwrap();
        assert!(shown().contains(&format!("<source file='{}'", layer("two"))), "{}", shown());

        let merge = |path: &str, new_base: Option<String>| MergeSnapshot {
            root: root.clone(),
            volume: Some(disk.volume),
            path: path.to_owned(),
            new_base,
            vm: Some(vm.id),
        };
        let error = agent.run(merge(&layer("one"), None)).await.unwrap_err();
        assert!(error.kind == ErrorKind::Conflict && error.message.contains("below the active layer"), "{error}");
        for _ in 0..2 {
            agent.run(merge(&layer("two"), Some(disk.path.clone()))).await.unwrap();
        }
        assert!(!shown().contains(&layer("one")), "{}", shown());
        for _ in 0..2 {
            agent.run(merge(&layer("two"), None)).await.unwrap();
        }
        assert!(!shown().contains(&disk.path), "{}", shown());

        // Nothing runs in the guest that could let go; the job must end and say so when it is told to.
        let error = agent
            .client
            .run(
                node_manager_types::JobId::random(),
                DetachDisk { vm: vm.id, volume: data.volume },
                Duration::from_secs(8),
            )
            .await
            .unwrap_err();
        assert!(
            error.kind() == Some(ErrorKind::Timeout)
                || matches!(error, node_manager_client::ClientError::Timeout { .. }),
            "{error}"
        );
        agent
            .run(DetachDisk { vm: vm.id, volume: VolumeId::random() })
            .await
            .expect("a disk that is not there is detached");
        agent.run(StopVm { vm: vm.id, mode: StopMode::PowerOff }).await.unwrap();
    });
}

#[test]
fn cs_vm_212_the_console_is_local_and_asks_for_its_password() {
    isolated(|| async {
        let world = World::new();
        let _libvirtd = Libvirtd::start(world.dir.path()).await;
        let agent = world.agent().await;
        let root = world.root(&agent, "ps").await;
        run("ip", &["link", "add", "br_a", "type", "bridge"]);
        let disk = volume(&agent, &root, "root", 0).await;
        let mut vm = spec(vec![disk]);
        vm.console_password = Some(Password("longer than eight".to_owned()));
        let nic = |number: u8| NicSpec {
            id: NicId::random(),
            mac: format!("fa:16:3e:00:01:{number:02x}"),
            bridge: "br_a".to_owned(),
            device: format!("vnic7.{number}"),
            model: "virtio".to_owned(),
            index: number.into(),
        };
        vm.nics.push(nic(0));
        agent.run(StartVm { vm: vm.clone() }).await.unwrap();
        for _ in 0..2 {
            agent.run(AttachNic { vm: vm.id, nic: nic(1) }).await.unwrap();
        }
        let links = run("ip", &["-o", "link", "show", "master", "br_a"]);
        assert!(links.contains("vnic7.0") && links.contains("vnic7.1"), "{links}");
        let none = NicSpec { bridge: "br_none".to_owned(), ..nic(2) };
        assert_eq!(agent.run(AttachNic { vm: vm.id, nic: none }).await.unwrap_err().kind, ErrorKind::Hypervisor);

        let mut console = agent.client.console(vm.id).await.unwrap();
        let mut hello = [0; 12];
        console.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"RFB 003.008\n");
        console.write_all(b"RFB 003.008\n").await.unwrap();
        let mut kinds = [0; 2];
        console.read_exact(&mut kinds).await.unwrap();
        assert_eq!(kinds, [1, 2], "one security type: VNC authentication (RFC 6143 section 7.1.2)");
        let listening = run("cat", &["/proc/net/tcp"]);
        assert!(!listening.contains(":170C "), "a VNC server listens on TCP port 5900: {listening}");
        let error = agent.client.console(VmId::random()).await.unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::NotFound), "{error}");
        agent.run(StopVm { vm: vm.id, mode: StopMode::PowerOff }).await.unwrap();
    });
}

#[test]
fn cs_vm_180_a_cd_drive_takes_and_gives_back_an_iso_while_the_vm_runs() {
    isolated(|| async {
        let world = World::new();
        let _libvirtd = Libvirtd::start(world.dir.path()).await;
        let agent = world.agent().await;
        let root = world.root(&agent, "ps").await;
        let disk = volume(&agent, &root, "root", 0).await;
        let isos = ["first", "second"].map(|name| {
            let path = format!("{}/{name}.iso", root.path);
            fs::write(&path, vec![0; 64 << 10]).unwrap();
            path
        });
        let mut vm = spec(vec![disk]);
        vm.boot_order = vec![BootDevice::Cdrom, BootDevice::Disk];
        vm.cdroms = vec![CdromSpec { index: 0, path: Some(isos[0].clone()) }, CdromSpec { index: 1, path: None }];
        agent.run(StartVm { vm: vm.clone() }).await.unwrap();
        let inside = || {
            let xml = run("virsh", &["-q", "-c", "qemu:///system", "dumpxml", &vm.id.to_string()]);
            isos.iter().filter(|iso| xml.contains(iso.as_str())).cloned().collect::<Vec<_>>()
        };
        let change = |index, path: Option<&String>| ChangeMedium { vm: vm.id, index, path: path.cloned() };
        for _ in 0..2 {
            agent.run(change(1, Some(&isos[1]))).await.unwrap();
        }
        assert_eq!(inside(), isos);
        for _ in 0..2 {
            agent.run(change(0, None)).await.unwrap();
        }
        assert_eq!(inside(), isos[1..]);
        agent.run(change(0, Some(&isos[0]))).await.unwrap();
        let missing = format!("{}/missing.iso", root.path);
        let error = agent.run(change(0, Some(&missing))).await.unwrap_err();
        assert!(error.to_string().contains("is not there"), "{error}");
        let error = agent.run(change(2, None)).await.unwrap_err();
        assert!(error.to_string().contains("without CD drive 2"), "{error}");
        assert_eq!(inside(), isos);
        // The guest resets the drives of its second channel (SRST) while a tray is open, which closes it: libvirt hears
        // of the opening alone, and leaves it out from then on.
        let name = vm.id.to_string();
        let virsh = |arguments: &[&str]| run("virsh", &[&["-q", "-c", "qemu:///system"], arguments].concat());
        let open = r#"{"execute": "blockdev-open-tray", "arguments": {"id": "ua-cdrom-0", "force": true}}"#;
        virsh(&["qemu-monitor-command", &name, open]);
        for control in ["o/b 0x376 4", "o/b 0x376 0"] {
            virsh(&["qemu-monitor-command", &name, "--hmp", control]);
        }
        eventually(Duration::from_secs(20), || async {
            let drives = virsh(&["qemu-monitor-command", &name, r#"{"execute": "query-block"}"#]);
            if drives.contains(r#""tray_open":true"#) { Err(drives) } else { Ok(()) }
        })
        .await;
        assert!(virsh(&["dumpxml", &name]).contains("tray='open'"), "libvirt knows that the tray is closed");
        agent.run(change(0, None)).await.unwrap();
        assert_eq!(inside(), isos[1..]);
        agent.run(StopVm { vm: vm.id, mode: StopMode::PowerOff }).await.unwrap();
    });
}
