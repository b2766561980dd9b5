//! A site: the real management service and the real agent as programs of their own, a libvirtd of the test's own, and a
//! network nobody else is on. Everything lives in the namespaces that the test entered.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use mn_service_types::new_uuid;
use private_host::{Libvirtd, run};
use reqwest::Method;
use serde_json::{Value, json};
use system_tests::{Client, cloud::uuid, eventually, program};

/// Interface of the site that the L2 network uses.
pub(crate) const UPLINK: &str = "up0";
const BRIDGE: &str = "br_up0";
/// Size of the image server's disk: full soon.
const SERVER_DISK_MIB: u64 = 24;

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may be gone already; some tests are about that.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Ends the network services that an agent leaves running on purpose.
struct NetworkServices(PathBuf);

impl Drop for NetworkServices {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let pid = fs::read_to_string(entry.path()).ok().and_then(|text| text.trim().parse().ok());
            if let (Some("pid"), Some(pid)) = (entry.path().extension().and_then(|e| e.to_str()), pid) {
                let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
            }
        }
    }
}

/// The image server's disk; a folder with something mounted in it cannot be removed.
struct ServerDisk(PathBuf);

impl ServerDisk {
    fn mount(at: PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        let size = format!("size={SERVER_DISK_MIB}m,mode=0711");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", at.to_str().unwrap()]);
        Self(at)
    }
}

impl Drop for ServerDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking(), "the image server's disk stays");
    }
}

/// The site. Fields are dropped in this order: programs before what they stand on.
pub(crate) struct Site {
    pub(crate) client: Client,
    mn: Option<Program>,
    agent: Option<Program>,
    pub(crate) libvirtd: Libvirtd,
    _services: NetworkServices,
    _server_disk: ServerDisk,
    dir: tempfile::TempDir,
    node_manager: PathBuf,
    api: SocketAddr,
    agent_at: SocketAddr,
    pub(crate) host: String,
    pub(crate) zone: String,
    pub(crate) cluster: String,
    pub(crate) primary_storage: String,
    pub(crate) backup_storage: String,
    pub(crate) image: String,
    pub(crate) l2: String,
    pub(crate) l3: String,
    pub(crate) offering: String,
}

impl Site {
    /// A site with one host, local storage, an image server on a small disk, one image, networks and an offering.
    pub(crate) async fn open() -> Self {
        // Slow; before anything else waits for it.
        let node_manager = program("node-manager", &["node-manager"]);
        // Images are refused from hidden folders (`image/download.localPath.blacklist`), the usual kind of temporary ones.
        let dir = tempfile::Builder::new().prefix("site-").tempdir().unwrap();
        // QEMU and dnsmasq run as other users and must get through.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        for (link, up) in [(UPLINK, "far0"), ("far0", UPLINK)] {
            if link == UPLINK {
                run("ip", &["link", "add", UPLINK, "type", "veth", "peer", "name", up]);
            }
            run("ip", &["link", "set", link, "up"]);
        }
        let server_disk = ServerDisk::mount(dir.path().join("server"));
        fs::create_dir(dir.path().join("run")).unwrap();
        let libvirtd = Libvirtd::start(dir.path()).await;

        let (api, console, agent_at) = [(); 3].map(|()| private_port::loopback().unwrap()).into();
        let data = dir.path().join("mn");
        let config = format!(
            "listen = \"{api}\"\nui_listen = \"127.0.0.1:0\"\nconsole_listen = \"{console}\"\ndata_dir = \"{}\"\nagent_port = {}\nallow_emulation = true\n",
            data.display(),
            agent_at.port()
        );
        fs::write(dir.path().join("mn-service.toml"), config).unwrap();
        let mut site = Self {
            client: Client::new(&format!("http://{api}")),
            mn: None,
            agent: None,
            libvirtd,
            _services: NetworkServices(dir.path().join("run")),
            _server_disk: server_disk,
            dir,
            node_manager,
            api,
            agent_at,
            host: new_uuid(),
            zone: String::new(),
            cluster: String::new(),
            primary_storage: String::new(),
            backup_storage: String::new(),
            image: String::new(),
            l2: String::new(),
            l3: String::new(),
            offering: String::new(),
        };
        site.start_management(None).await;
        site.enrol();
        site.start_agent().await;
        site.furnish().await;
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log_file(&self, name: &str) -> fs::File {
        fs::File::options().create(true).append(true).open(self.path(name)).unwrap()
    }

    /// The end of a program's log.
    pub(crate) fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Starts the management service, which kills itself at `crash_at`, and logs in. A service that dies at its start
    /// because the crash point lies in work it takes up again is not waited for.
    pub(crate) async fn start_management(&mut self, crash_at: Option<&str>) {
        // The old one first: two services over one database are no case of this test.
        self.mn = None;
        let mut command = Command::new(env!("CARGO_BIN_EXE_mn-service"));
        command.arg("--config").arg(self.path("mn-service.toml")).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(self.log_file("mn.log"));
        if let Some(point) = crash_at {
            let faults = self.path("faults");
            fs::write(&faults, format!("crash {point}\n")).unwrap();
            command.env(mn_service::faults::VARIABLE, faults);
        }
        let mut program = Program(command.spawn().unwrap());
        let client = Client::new(&format!("http://{}", self.api));
        let client = eventually(Duration::from_secs(30), || {
            let ended = program.0.try_wait().unwrap();
            let mut client = client.clone();
            async move {
                if let Some(status) = ended {
                    return Ok(Err(status));
                }
                match client.log_in("admin", "password").await {
                    Ok(Ok(_)) => Ok(Ok(client)),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
        match client {
            Ok(client) => self.client = client,
            Err(status) => assert!(crash_at.is_some(), "mn-service ended with {status}: {}", self.log("mn.log")),
        }
        self.mn = Some(program);
    }

    /// Waits until the management service has died by itself.
    pub(crate) async fn management_dies(&mut self, case: &str) {
        let program = &mut self.mn.as_mut().unwrap().0;
        eventually(Duration::from_secs(60), || {
            let ended = program.try_wait().unwrap();
            async move { ended.ok_or_else(|| format!("{case}: the crash point was not reached")) }
        })
        .await;
    }

    fn enrol(&self) {
        let (config, tls) = (self.path("mn-service.toml"), self.path("tls"));
        run(
            env!("CARGO_BIN_EXE_mn-service"),
            &[
                "--config",
                config.to_str().unwrap(),
                "issue-host-certificate",
                "--host-uuid",
                &self.host,
                "--address",
                "127.0.0.1",
                "--out",
                tls.to_str().unwrap(),
            ],
        );
    }

    /// Starts the agent; one that still runs is killed, as `kill -9` does.
    pub(crate) async fn start_agent(&mut self) {
        self.agent = None;
        let tls = self.path("tls");
        let mut command = Command::new(&self.node_manager);
        command
            .args(["--config", "/dev/null", "--image-stall-seconds=2", "--listen", &self.agent_at.to_string()])
            .arg("--ca")
            .arg(tls.join("ca.pem"))
            .arg("--certificate")
            .arg(tls.join("cert.pem"))
            .arg("--key")
            .arg(tls.join("key.pem"))
            .arg("--data-dir")
            .arg(self.path("node"))
            .arg("--run-dir")
            .arg(self.path("run"))
            .stdin(Stdio::null())
            .stderr(self.log_file("agent.log"));
        self.agent = Some(Program(command.spawn().unwrap()));
        let address = self.agent_at;
        eventually(Duration::from_secs(30), || async move {
            tokio::net::TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Kills the agent and leaves it dead.
    pub(crate) fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// Waits until the host has this status.
    pub(crate) async fn host_becomes(&self, status: &str) {
        eventually(Duration::from_secs(60), || async {
            let host = self.client.one(&format!("/hosts/{}", self.host)).await.map_err(|e| e.to_string())?;
            if host["status"] == status { Ok(()) } else { Err(format!("the host is {}", host["status"])) }
        })
        .await;
    }

    async fn furnish(&mut self) {
        let admin = self.client.clone();
        let make = async |path: &str, params: Value| uuid(&admin.create(path, params).await.unwrap()).unwrap();
        self.zone = make("/zones", json!({ "name": "zone" })).await;
        let cluster = json!({ "name": "cluster", "zoneUuid": self.zone, "hypervisorType": "KVM" });
        self.cluster = make("/clusters", cluster).await;
        let host = json!({
            "resourceUuid": self.host, "name": "host", "managementIp": "127.0.0.1", "clusterUuid": self.cluster,
            "username": "root", "password": new_uuid(),
        });
        make("/hosts/kvm", host).await;
        let ps = json!({ "name": "local", "url": self.path("ps"), "zoneUuid": self.zone });
        self.primary_storage = make("/primary-storage/local-storage", ps).await;
        admin
            .create(&format!("/clusters/{}/primary-storage/{}", self.cluster, self.primary_storage), json!({}))
            .await
            .unwrap();
        let bs = json!({ "name": "images", "hostname": "127.0.0.1", "username": "root", "password": new_uuid(),
            "url": self.path("server/bs") });
        self.backup_storage = make("/backup-storage/image-store", bs).await;
        admin.create(&format!("/zones/{}/backup-storage/{}", self.zone, self.backup_storage), json!({})).await.unwrap();
        let source = self.path("empty.qcow2");
        run("qemu-img", &["create", "-q", "-f", "qcow2", source.to_str().unwrap(), "16M"]);
        self.image = make("/images", self.image_params("empty", &format!("file://{}", source.display()))).await;
        let l2 = json!({ "name": "l2", "zoneUuid": self.zone, "physicalInterface": UPLINK });
        self.l2 = make("/l2-networks/no-vlan", l2).await;
        admin.create(&format!("/l2-networks/{}/clusters/{}", self.l2, self.cluster), json!({})).await.unwrap();
        let l3 = json!({ "name": "l3", "l2NetworkUuid": self.l2, "category": "Private" });
        self.l3 = make("/l3-networks", l3).await;
        let range = json!({ "name": "range", "startIp": "10.1.0.10", "endIp": "10.1.0.20", "netmask": "255.255.255.0",
            "gateway": "10.1.0.1" });
        admin.create(&format!("/l3-networks/{}/ip-ranges", self.l3), range).await.unwrap();
        let flat = uuid(&admin.one("/network-services/providers?q=type=Flat").await.unwrap()).unwrap();
        let services = json!({ "networkServices": { flat: ["DHCP", "Userdata"] } });
        admin.create(&format!("/l3-networks/{}/network-services", self.l3), services).await.unwrap();
        self.offering =
            make("/instance-offerings", json!({ "name": "tiny", "cpuNum": 1, "memorySize": 64 << 20 })).await;
    }

    /// Parameters of an image from `url`.
    pub(crate) fn image_params(&self, name: &str, url: &str) -> Value {
        json!({ "name": name, "url": url, "format": "qcow2", "mediaType": "RootVolumeTemplate", "platform": "Linux",
            "backupStorageUuids": [self.backup_storage] })
    }

    /// Parameters of a VM with a uuid of the caller's.
    pub(crate) fn vm_params(&self, uuid: &str) -> Value {
        json!({ "resourceUuid": uuid, "name": "subject", "instanceOfferingUuid": self.offering, "imageUuid": self.image,
            "l3NetworkUuids": [self.l3] })
    }

    /// Sends an asynchronous call under a known job uuid; the service may die before it answers.
    pub(crate) async fn send(&self, job: &str, method: Method, path: &str, body: Option<Value>) {
        if let Ok((status, answer)) = self.client.send_with(method, path, body, &[("X-Job-UUID", job)]).await {
            assert_eq!(status.as_u16(), 202, "{path}: {answer}");
        }
    }

    /// Everything of the host that VMs leave traces in must be what the database says.
    pub(crate) async fn assert_agreement(&self, case: &str) {
        let vms = self.client.query("/vm-instances").await.unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let running: Vec<&Value> =
            vms.iter().filter(|vm| matches!(vm["state"].as_str(), Some("Running" | "Paused"))).collect();
        let mut expected: Vec<String> = running.iter().map(|vm| text(&vm["uuid"])).collect();
        expected.sort();
        assert_eq!(self.libvirtd.domains(), expected, "{case}: VMs in libvirt");

        let volumes = self.client.query("/volumes").await.unwrap();
        let mut expected: Vec<String> = volumes.iter().map(|volume| text(&volume["installPath"])).collect();
        expected.sort();
        assert_eq!(files(&self.path("ps/volumes")), expected, "{case}: volume files");

        let macs = |vms: &[&Value]| {
            let cards = vms.iter().flat_map(|vm| vm["vmNics"].as_array().into_iter().flatten());
            let mut macs: Vec<String> = cards.map(|nic| text(&nic["mac"])).collect();
            macs.sort();
            macs
        };
        let leases = self.leases();
        let (needed, known) = (macs(&running), macs(&vms.iter().collect::<Vec<_>>()));
        assert!(needed.iter().all(|mac| leases.contains(mac)), "{case}: {leases:?} lacks one of {needed:?}");
        assert!(leases.iter().all(|mac| known.contains(mac)), "{case}: a lease of nobody: {leases:?}, cards {known:?}");
        assert_eq!(taps(), running.len(), "{case}: network cards of VMs");
        assert!(Path::new("/sys/class/net").join(BRIDGE).exists(), "{case}: the bridge of the attached network");
    }

    /// Hardware addresses that the DHCP service of the site answers.
    fn leases(&self) -> Vec<String> {
        let hosts = fs::read_dir(self.path("node/dnsmasq")).into_iter().flatten().flatten();
        let text: String = hosts.filter_map(|entry| fs::read_to_string(entry.path().join("hosts")).ok()).collect();
        let mut macs: Vec<String> = text.lines().filter_map(|line| line.split(',').next()).map(str::to_owned).collect();
        macs.sort();
        macs
    }

    /// Figures that must come back after whatever was done is undone.
    pub(crate) async fn figures(&self) -> Value {
        let admin = &self.client;
        let hosts = admin.query("/hosts?fields=uuid,availableCpuCapacity,availableMemoryCapacity").await.unwrap();
        let storage = admin.one(&format!("/primary-storage?q=uuid={}", self.primary_storage)).await.unwrap();
        let used = admin.query(&format!("/l3-networks/ip-address?q=l3NetworkUuid={}", self.l3)).await.unwrap();
        json!({ "hosts": hosts, "storage": storage["availableCapacity"],
            "addresses": used.iter().filter(|address| address["vmNicUuid"].is_string()).count() })
    }
}

/// Regular files below a folder, in order.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found.sort();
    found
}

fn taps() -> usize {
    run("ip", &["-o", "link", "show", "type", "tun"]).lines().count()
}
