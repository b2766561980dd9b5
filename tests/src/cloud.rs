//! A cloud that is ready for VMs: zone, cluster, simulated hosts, storage, image server, image, networks, offering.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use node_manager_sim::{Options as SimOptions, Sim, SimHandle};
use node_manager_types::HostId;
use serde_json::{Value, json};

use crate::{Client, World, eventually, world::Options};

/// A [`World`] with simulated hosts and everything a VM needs.
pub struct Cloud {
    /// The service, where it runs inside this test.
    world: Option<World>,
    /// Administrator's client.
    admin: Client,
    /// The hosts.
    pub sim: SimHandle,
    /// Zone uuid.
    pub zone: String,
    /// Cluster uuid.
    pub cluster: String,
    /// Host uuids.
    pub hosts: Vec<String>,
    /// Primary storage uuid.
    pub primary_storage: String,
    /// Image server uuid.
    pub backup_storage: String,
    /// Image uuid.
    pub image: String,
    /// L2 network uuid.
    pub l2: String,
    /// L3 network uuid; addresses 10.1.0.10 to 10.1.0.200.
    pub l3: String,
    /// Instance offering uuid: 1 processor, 128 MiB.
    pub offering: String,
}

/// Uuid of an inventory.
pub fn uuid(inventory: &Value) -> Result<String> {
    Ok(inventory["uuid"].as_str().context("an inventory without uuid")?.to_owned())
}

/// Memory of the offering.
pub const MEMORY: i64 = 128 << 20;

impl Cloud {
    /// A cloud with `hosts` hosts.
    pub async fn start(hosts: usize) -> Result<Self> {
        Self::with(hosts, Options::default()).await
    }

    /// A cloud with `hosts` hosts over a service with these options.
    pub async fn with(hosts: usize, options: Options) -> Result<Self> {
        let sim = Sim::start(SimOptions::default()).await?;
        let options = Options { simulator: Some(sim.url.clone()), ..options };
        let world = World::with(options).await?;
        let admin = world.admin.clone();
        Self::furnish(Some(world), admin, sim, hosts).await
    }

    /// A cloud with `hosts` hosts and the built web UI.
    pub async fn with_ui(hosts: usize) -> Result<Self> {
        let sim = Sim::start(SimOptions::default()).await?;
        let ui_dir = Some(crate::browser::ui_dir()?);
        let world = World::with(Options { simulator: Some(sim.url.clone()), ui_dir, ..Default::default() }).await?;
        let admin = world.admin.clone();
        Self::furnish(Some(world), admin, sim, hosts).await
    }

    /// A cloud behind a service that runs elsewhere.
    pub async fn remote(base: &str, sim: SimHandle, hosts: usize) -> Result<Self> {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut admin = Client::new(base);
        admin.log_in("admin", "password").await?.map_err(|e| anyhow!("{e}"))?;
        Self::furnish(None, admin, sim, hosts).await
    }

    /// Administrator's client.
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// The service, which must run inside this test.
    pub fn world(&self) -> &World {
        self.world.as_ref().unwrap_or_else(|| panic!("the service of this cloud is a program of its own"))
    }

    /// Waits until every host is believed, which after a start is once it was asked.
    pub async fn hosts_connected(&self) {
        eventually(Duration::from_secs(30), || async {
            let hosts = self.admin.query("/hosts?q=status!=Connected").await.map_err(|e| e.to_string())?;
            if hosts.is_empty() { Ok(()) } else { Err(format!("{} hosts are not connected", hosts.len())) }
        })
        .await;
    }

    /// Volume files that a host holds below the primary storage.
    pub fn volume_files(&self, host: usize) -> usize {
        self.sim.files(self.host(host)).keys().filter(|path| path.starts_with("/zstack_ps/volumes/")).count()
    }

    async fn furnish(world: Option<World>, owned: Client, sim: SimHandle, count: usize) -> Result<Self> {
        let admin = &owned;
        let zone = uuid(&admin.create("/zones", json!({ "name": "zone" })).await?)?;
        let cluster = json!({ "name": "cluster", "zoneUuid": zone, "hypervisorType": "KVM" });
        let cluster = uuid(&admin.create("/clusters", cluster).await?)?;
        let mut hosts = Vec::new();
        for index in 0..count {
            let host = json!({
                "name": format!("host-{}", index + 1), "managementIp": format!("10.0.{}.{}", index / 250, index % 250 + 1),
                "clusterUuid": cluster, "username": "root", "password": "secret",
            });
            hosts.push(uuid(&admin.create("/hosts/kvm", host).await?)?);
        }
        let storage = json!({ "name": "local", "url": "/zstack_ps", "zoneUuid": zone });
        let primary_storage = uuid(&admin.create("/primary-storage/local-storage", storage).await?)?;
        admin.create(&format!("/clusters/{cluster}/primary-storage/{primary_storage}"), json!({})).await?;
        let server = json!({ "name": "images", "hostname": "10.0.0.1", "username": "root", "password": "secret", "url": "/zstack_bs" });
        let backup_storage = uuid(&admin.create("/backup-storage/image-store", server).await?)?;
        admin.create(&format!("/zones/{zone}/backup-storage/{backup_storage}"), json!({})).await?;
        let image = json!({
            "name": "tiny", "url": "http://images.example/tiny.qcow2", "format": "qcow2", "mediaType": "RootVolumeTemplate",
            "platform": "Linux", "backupStorageUuids": [backup_storage],
        });
        let image = uuid(&admin.create("/images", image).await?)?;
        let l2 = json!({ "name": "l2", "zoneUuid": zone, "physicalInterface": "eth0" });
        let l2 = uuid(&admin.create("/l2-networks/no-vlan", l2).await?)?;
        admin.create(&format!("/l2-networks/{l2}/clusters/{cluster}"), json!({})).await?;
        let l3 = uuid(
            &admin
                .create(
                    "/l3-networks",
                    // The DHCP server has a fixed address, so that it never sits on one that a test asks for.
                    json!({
                        "name": "l3", "l2NetworkUuid": l2, "category": "Private",
                        "systemTags": ["flatNetwork::DhcpServer::10.1.0.200::ipUuid::null"],
                    }),
                )
                .await?,
        )?;
        let range = json!({ "name": "range", "startIp": "10.1.0.10", "endIp": "10.1.0.200", "netmask": "255.255.255.0", "gateway": "10.1.0.1" });
        admin.create(&format!("/l3-networks/{l3}/ip-ranges"), range).await?;
        let flat = admin.one("/network-services/providers?q=type=Flat").await?;
        let services = json!({ "networkServices": { uuid(&flat)?: ["DHCP", "Userdata"] } });
        admin.create(&format!("/l3-networks/{l3}/network-services"), services).await?;
        let offering = json!({ "name": "tiny", "cpuNum": 1, "memorySize": MEMORY });
        let offering = uuid(&admin.create("/instance-offerings", offering).await?)?;
        Ok(Self {
            world,
            admin: owned.clone(),
            sim,
            zone,
            cluster,
            hosts,
            primary_storage,
            backup_storage,
            image,
            l2,
            l3,
            offering,
        })
    }

    /// Parameters of a VM.
    pub fn vm_params(&self, name: &str) -> Value {
        json!({ "name": name, "instanceOfferingUuid": self.offering, "imageUuid": self.image, "l3NetworkUuids": [self.l3] })
    }

    /// A running VM.
    pub async fn create_vm(&self, name: &str) -> Result<Value> {
        self.admin.create("/vm-instances", self.vm_params(name)).await
    }

    /// The VM as the API shows it.
    pub async fn vm(&self, uuid: &str) -> Result<Value> {
        self.admin.one(&format!("/vm-instances/{uuid}")).await
    }

    /// Waits until the VM is in `state`.
    pub async fn vm_becomes(&self, uuid: &str, state: &str) -> Value {
        eventually(Duration::from_secs(20), || async {
            let vm = self.vm(uuid).await.map_err(|e| e.to_string())?;
            if vm["state"] == state { Ok(vm) } else { Err(format!("VM is {}", vm["state"])) }
        })
        .await
    }

    /// Typed id of host `index`, for the simulator's controls.
    pub fn host(&self, index: usize) -> HostId {
        // The API made it, so it is well-formed.
        self.hosts[index].parse().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Capacity figures that must come back after whatever was done is undone.
    pub async fn figures(&self) -> Result<Value> {
        let hosts =
            self.admin.query("/hosts?sort=uuid&fields=uuid,availableCpuCapacity,availableMemoryCapacity").await?;
        let storage = self.admin.one(&format!("/primary-storage?q=uuid={}", self.primary_storage)).await?;
        let addresses = self.admin.query(&format!("/l3-networks/ip-address?q=l3NetworkUuid={}", self.l3)).await?;
        Ok(json!({
            "hosts": hosts,
            "storage": storage["availableCapacity"],
            "addresses": addresses.iter().filter(|a| a["vmNicUuid"].is_string()).count(),
        }))
    }
}

impl Cloud {
    /// Makes the host reconciler look every two seconds and give up after one silent ping.
    pub async fn fast_pings(&self) {
        let set = async |name: &str, value: &str| {
            let path = format!("/global-configurations/host/{name}");
            self.admin.act(&path, "updateGlobalConfig", json!({ "value": value })).await
        };
        for (name, value) in [("ping.interval", "2"), ("ping.timeout", "2"), ("ping.maxFailure", "1")] {
            if let Err(error) = set(name, value).await {
                panic!("{name}: {error}");
            }
        }
    }
}
