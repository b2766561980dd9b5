//! The simulator through the real client: what a host does, what faults do, and that thousands are cheap.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use std::time::{Duration, Instant};

use node_manager_client::{Client, ClientError};
use node_manager_sim::{Options, Sim, SimHandle};
use node_manager_types::{
    ByteSize, ErrorKind, HostId, ImageId, JobId, L2Id, NicId, SnapshotId, StorageId, VmId, VolumeId,
    image::{Access, ImageServer, ImageSource},
    network::BridgeSpec,
    operation::{
        AddImage, AllowTransfer, AttachDisk, CreateVolume, DeleteVolume, EnsureBridge, FetchImage, InitStorage,
        MeasureStorage, PauseVm, RemoveBridge, ResumeVm, StartVm, StatVolume, StopVm, TakeSnapshot,
    },
    storage::StorageRoot,
    vm::{BootDevice, CacheMode, CpuMode, DiskBus, DiskSpec, Firmware, NicSpec, StopMode, VmSpec, VmState},
};
use tokio::io::AsyncReadExt as _;

const LIMIT: Duration = Duration::from_secs(20);

async fn sim() -> SimHandle {
    Sim::start(Options { memory: ByteSize::gib(4), disk: ByteSize::gib(10), ..Options::default() }).await.unwrap()
}

fn client(sim: &SimHandle, host: HostId) -> Client {
    Client::simulated(&sim.host_url(host)).unwrap()
}

fn kind(error: &ClientError) -> Option<ErrorKind> {
    error.kind()
}

async fn root(client: &Client, path: &str) -> StorageRoot {
    let root = StorageRoot { id: StorageId::random(), path: path.to_owned() };
    client.run(JobId::random(), InitStorage { root: root.clone() }, LIMIT).await.unwrap();
    root
}

async fn vm(client: &Client, root: &StorageRoot) -> VmSpec {
    let volume = VolumeId::random();
    let path = format!("{}/{volume}.qcow2", root.path);
    let create = CreateVolume { root: root.clone(), volume, path: path.clone(), size: ByteSize::gib(1), backing: None };
    client.run(JobId::random(), create, LIMIT).await.unwrap();
    VmSpec {
        id: VmId::random(),
        name: "vm".to_owned(),
        cpus: 1,
        memory: ByteSize::gib(3),
        firmware: Firmware::Bios,
        cpu_mode: CpuMode::None,
        boot_order: vec![BootDevice::Disk],
        disks: vec![DiskSpec { volume, path, bus: DiskBus::Virtio, index: 0, cache: CacheMode::None }],
        cdroms: Vec::new(),
        nics: Vec::new(),
        video: "vga".to_owned(),
        console_password: None,
    }
}

#[tokio::test]
async fn a_host_does_what_is_possible_and_refuses_the_rest() {
    let sim = sim().await;
    let host = HostId::random();
    let client = client(&sim, host);
    assert_eq!(client.host().await.unwrap().memory, ByteSize::gib(4));
    let root = root(&client, "/zstack_ps").await;
    let mut one = vm(&client, &root).await;
    one.nics.push(NicSpec {
        id: NicId::random(),
        mac: "fa:16:3e:00:00:01".to_owned(),
        bridge: "br_eth0".to_owned(),
        device: "vnic1.0".to_owned(),
        model: "virtio".to_owned(),
        index: 0,
    });
    let start = |vm: &VmSpec| client.run(JobId::random(), StartVm { vm: vm.clone() }, LIMIT);
    assert_eq!(kind(&start(&one).await.unwrap_err()), Some(ErrorKind::Hypervisor), "the bridge is missing");
    let l2 = L2Id::random();
    let bridge = BridgeSpec { l2, bridge: "br_eth0".to_owned(), uplink: "eth0".to_owned(), vlan: None };
    client.run(JobId::random(), EnsureBridge { bridge }, LIMIT).await.unwrap();
    start(&one).await.unwrap();
    start(&one).await.expect("started twice is started once");
    let two = vm(&client, &root).await;
    let error = start(&two).await.unwrap_err();
    assert!(error.to_string().contains("guest memory"), "two VMs of 3 GiB do not fit into 4 GiB: {error}");
    let gone =
        VmSpec { disks: vec![DiskSpec { path: "/zstack_ps/none".to_owned(), ..two.disks[0].clone() }], ..two.clone() };
    assert_eq!(kind(&start(&gone).await.unwrap_err()), Some(ErrorKind::NotFound));
    let unplug = RemoveBridge { l2, bridge: "br_eth0".to_owned() };
    assert_eq!(kind(&client.run(JobId::random(), unplug, LIMIT).await.unwrap_err()), Some(ErrorKind::Conflict));

    assert_eq!(client.run(JobId::random(), PauseVm { vm: one.id }, LIMIT).await.unwrap(), VmState::Paused);
    assert_eq!(client.ping().await.unwrap().vms[0].state, VmState::Paused);
    assert_eq!(client.run(JobId::random(), ResumeVm { vm: one.id }, LIMIT).await.unwrap(), VmState::Running);
    assert!(client.serial(one.id, 4096).await.unwrap().contains(&one.id.to_string()));
    let mut hello = [0; 4];
    client.console(one.id).await.unwrap().read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"RFB ");

    let disk = &one.disks[0];
    let new_path = format!("{}/layer.qcow2", root.path);
    let snap = TakeSnapshot {
        root: root.clone(),
        volume: disk.volume,
        snapshot: SnapshotId::random(),
        path: disk.path.clone(),
        new_path: new_path.clone(),
        vm: Some(one.id),
    };
    client.run(JobId::random(), snap, LIMIT).await.unwrap();
    assert_eq!(sim.state(host).vms[&one.id].spec.as_ref().unwrap().disks[0].path, new_path);
    client.run(JobId::random(), StopVm { vm: one.id, mode: StopMode::PowerOff }, LIMIT).await.unwrap();
    assert!(client.ping().await.unwrap().vms.is_empty());
    assert!(client.metrics().await.unwrap().contains("zstack_host_memory_bytes 4294967296"));
}

#[tokio::test]
async fn images_travel_and_room_runs_out() {
    let sim = sim().await;
    let (server, host) = (HostId::random(), HostId::random());
    let (server_client, host_client) = (client(&sim, server), client(&sim, host));
    let (bs, ps) = (root(&server_client, "/zstack_bs").await, root(&host_client, "/zstack_ps").await);
    let source = ImageSource::Http { url: "http://images.example/a.qcow2".to_owned() };
    let add = AddImage {
        root: bs.clone(),
        image: ImageId::random(),
        source,
        format: None,
        path: "/zstack_bs/a.qcow2".to_owned(),
    };
    let image = server_client.run(JobId::random(), add, LIMIT).await.unwrap();
    let fetch = |path: String| FetchImage {
        root: ps.clone(),
        image: ImageId::random(),
        server: ImageServer { url: sim.host_url(server), host: None, root: bs.clone() },
        remote_path: image.path.clone(),
        path,
        sha256: image.sha256.clone(),
    };
    let error = host_client.run(JobId::random(), fetch("/zstack_ps/0".to_owned()), LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("has not announced"), "{error}");
    let allow =
        AllowTransfer { peer: host, root: bs.clone(), path: image.path.clone(), access: Access::Read, seconds: 60 };
    server_client.run(JobId::random(), allow, LIMIT).await.unwrap();
    for number in 0..10 {
        host_client.run(JobId::random(), fetch(format!("/zstack_ps/{number}")), LIMIT).await.unwrap();
    }
    let error = host_client.run(JobId::random(), fetch("/zstack_ps/10".to_owned()), LIMIT).await.unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::NoSpace), "10 images of 1 GiB fill 10 GiB");
    let left = host_client.run(JobId::random(), MeasureStorage { root: ps.clone() }, LIMIT).await.unwrap();
    assert_eq!(left.available, ByteSize::bytes(0));
    // Files of one host are not files of another, except in shared directories.
    let stat = StatVolume { root: ps.clone(), path: "/zstack_ps/0".to_owned() };
    assert_eq!(kind(&server_client.run(JobId::random(), stat, LIMIT).await.unwrap_err()), Some(ErrorKind::Conflict));
    let nfs = root(&host_client, "/nfs/a").await;
    let disk = vm(&host_client, &nfs).await.disks.remove(0);
    server_client.run(JobId::random(), StatVolume { root: nfs, path: disk.path }, LIMIT).await.unwrap();
}

#[tokio::test]
async fn faults_come_on_demand() {
    let sim = sim().await;
    let host = HostId::random();
    let client = client(&sim, host);
    let root = root(&client, "/zstack_ps").await;
    let spec = vm(&client, &root).await;
    sim.fail_next(host, "start_vm", ErrorKind::NoSpace, "on purpose");
    let error = client.run(JobId::random(), StartVm { vm: spec.clone() }, LIMIT).await.unwrap_err();
    assert_eq!((kind(&error), error.to_string().as_str()), (Some(ErrorKind::NoSpace), "on purpose"));

    sim.hold(host, "StartVm");
    let (job, held, start) = (JobId::random(), client.clone(), StartVm { vm: spec.clone() });
    let operation = start.clone();
    let running = tokio::spawn(async move { held.run(job, operation, LIMIT).await });
    let until = Instant::now() + LIMIT;
    while sim.held(host, "start_vm") == 0 {
        assert!(Instant::now() < until, "the operation never reached the driver");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(client.ping().await.unwrap().vms.is_empty(), "other requests are answered meanwhile");
    // The agent restarts: the job is unknown, and the client asks anew.
    sim.restart_agent(host);
    sim.release(host, "start_vm");
    running.await.unwrap().unwrap();
    assert_eq!(client.ping().await.unwrap().vms.len(), 1);

    assert!(sim.kill_vm(host, spec.id) && !sim.kill_vm(host, spec.id));
    assert!(client.ping().await.unwrap().vms.is_empty());
    let stranger = VmId::random();
    sim.add_vm(host, stranger);
    let before = client.ping().await.unwrap();
    assert_eq!(before.vms[0].id, stranger);
    sim.reboot(host);
    let after = client.ping().await.unwrap();
    assert!(after.vms.is_empty() && after.boot != before.boot && after.instance != before.instance);

    sim.silent(host, Duration::from_secs(600));
    let silent = tokio::time::timeout(Duration::from_millis(300), client.ping()).await;
    assert!(silent.is_err(), "a silent host answered {silent:?}");
    sim.silent(host, Duration::ZERO);
    client.ping().await.unwrap();
}

#[tokio::test]
async fn thousands_of_hosts_are_cheap() {
    let sim = sim().await;
    let first = client(&sim, HostId::random());
    let started = Instant::now();
    let hosts: Vec<HostId> = (0..3000).map(|_| HostId::random()).collect();
    for chunk in hosts.chunks(100) {
        let pings = chunk.iter().map(|host| {
            let client = first.simulated_beside(&sim.host_url(*host));
            async move { client.ping().await.unwrap() }
        });
        futures::future::join_all(pings).await;
    }
    assert_eq!(sim.hosts().len(), 3000);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[tokio::test]
async fn only_loopback_is_served() {
    let refused = Sim::start(Options { listen: "0.0.0.0:0".parse().unwrap(), ..Options::default() }).await;
    assert!(refused.is_err_and(|e| e.to_string().contains("loopback")));
}

#[tokio::test]
async fn an_agent_that_is_killed_at_work_has_not_done_it_and_does_it_when_asked_again() {
    let sim = sim().await;
    let host = HostId::random();
    let client = client(&sim, host);
    let root = root(&client, "/ps").await;
    let spec = vm(&client, &root).await;
    sim.hold(host, "start_vm");
    let job = JobId::random();
    let started = tokio::spawn({
        let (client, spec) = (client.clone(), spec.clone());
        async move { client.run(job, StartVm { vm: spec }, LIMIT).await }
    });
    while sim.held(host, "start_vm") == 0 {
        tokio::task::yield_now().await;
    }
    sim.restart_agent(host);
    while sim.held(host, "start_vm") < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(sim.state(host).vms.is_empty());
    sim.release(host, "start_vm");
    started.await.unwrap().unwrap();
    assert!(sim.state(host).vms.contains_key(&spec.id));
}

#[tokio::test]
async fn a_disk_that_one_vm_has_open_is_no_other_vms_disk() {
    let sim = sim().await;
    let client = client(&sim, HostId::random());
    let root = root(&client, "/ps").await;
    let mut one = vm(&client, &root).await;
    one.memory = ByteSize::gib(1);
    let mut other = vm(&client, &root).await;
    other.memory = ByteSize::gib(1);
    client.run(JobId::random(), StartVm { vm: one.clone() }, LIMIT).await.unwrap();
    let disk = DiskSpec { index: 1, ..one.disks[0].clone() };
    let mut greedy = other.clone();
    greedy.disks.push(disk.clone());
    let refused = client.run(JobId::random(), StartVm { vm: greedy }, LIMIT).await.unwrap_err();
    assert!(refused.to_string().contains("has it open"), "{refused}");
    client.run(JobId::random(), StartVm { vm: other.clone() }, LIMIT).await.unwrap();
    let refused = client.run(JobId::random(), AttachDisk { vm: other.id, disk }, LIMIT).await.unwrap_err();
    assert!(refused.to_string().contains("has it open"), "{refused}");
}

#[tokio::test]
async fn a_layer_that_lost_the_file_below_it_is_named() {
    let sim = sim().await;
    let host = HostId::random();
    let client = client(&sim, host);
    let root = root(&client, "/ps").await;
    let spec = vm(&client, &root).await;
    let (path, new_path) = (spec.disks[0].path.clone(), format!("{}/new.qcow2", root.path));
    let take = TakeSnapshot {
        root: root.clone(),
        volume: spec.disks[0].volume,
        snapshot: SnapshotId::random(),
        path: path.clone(),
        new_path: new_path.clone(),
        vm: None,
    };
    client.run(JobId::random(), take, LIMIT).await.unwrap();
    assert_eq!(sim.broken_layers(host), []);
    client.run(JobId::random(), DeleteVolume { root, path: path.clone() }, LIMIT).await.unwrap();
    assert_eq!(sim.broken_layers(host), [(new_path, path)]);
}
