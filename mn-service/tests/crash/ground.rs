//! A cloud under the real program, with everything that cases need to prepare and to clear away.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use mn_service_types::new_uuid;
use node_manager_sim::{Options as SimOptions, Sim};
use reqwest::Method;
use serde_json::{Value, json};
use system_tests::{Client, Cloud, client::Outcome, cloud::uuid, eventually};

use crate::{
    picture::{Picture, Reader, Tables, disagreements, picture, text},
    program::{Place, Program},
};

/// Bytes of a GiB.
pub(crate) const GIB: i64 = 1 << 30;

/// A change of the API.
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Option<Value>,
}

impl Call {
    /// The same with a system tag.
    pub(crate) fn tagged(mut self, tag: &str) -> Self {
        if let Some(body) = &mut self.body {
            body["systemTags"] = json!([tag]);
        }
        self
    }
}

/// `POST` with parameters.
pub(crate) fn post(path: impl Into<String>, params: Value) -> Call {
    Call { method: Method::POST, path: path.into(), body: Some(json!({ "params": params })) }
}

/// `PUT …/actions`.
pub(crate) fn put(path: impl AsRef<str>, action: &str, params: Value) -> Call {
    let path = format!("{}/actions", path.as_ref());
    Call { method: Method::PUT, path, body: Some(json!({ action: params })) }
}

/// `DELETE`.
pub(crate) fn delete(path: impl Into<String>) -> Call {
    Call { method: Method::DELETE, path: path.into(), body: None }
}

/// The cloud.
pub(crate) struct Ground {
    /// What it consists of.
    pub(crate) cloud: Cloud,
    /// Where the program lives.
    pub(crate) place: Place,
    /// An ISO that the host has in its cache.
    pub(crate) iso: String,
    program: Option<Program>,
    tables: Reader,
    names: AtomicU32,
}

impl Ground {
    /// A cloud of one host, with image and ISO in its cache, so that figures compare.
    pub(crate) async fn new() -> Self {
        let sim = Sim::start(SimOptions::default()).await.unwrap();
        let place = Place::new(&sim.url).await;
        let program = place.start().await;
        let cloud = Cloud::remote(&place.base, sim, 1).await.unwrap();
        let tables = Reader::open(&place.database).await;
        let (iso, names) = (String::new(), AtomicU32::new(0));
        let mut ground = Self { cloud, place, iso, program: Some(program), tables, names };
        let mut params = ground.image_params();
        params["format"] = json!("iso");
        params["mediaType"] = json!("ISO");
        ground.iso = ground.make("/images", params).await;
        let warm = ground.vm("Running").await;
        ground.insert_iso(&warm).await;
        ground.no_vm(&warm).await;
        ground
    }

    /// Administrator's client.
    pub(crate) fn admin(&self) -> &Client {
        self.cloud.admin()
    }

    /// A number that nothing else has.
    pub(crate) fn number(&self) -> u32 {
        self.names.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes the call and waits for its end.
    pub(crate) async fn call(&self, call: Call) -> Outcome {
        self.admin().call(call.method, &call.path, call.body).await.unwrap()
    }

    /// Makes the call and waits for its end; its job with the outcome.
    pub(crate) async fn call_as_job(&self, call: Call) -> (String, Outcome) {
        let job = new_uuid();
        let sent = self.admin().send_with(call.method, &call.path, call.body, &[("X-Job-UUID", &job)]).await.unwrap();
        assert_eq!(sent.0.as_u16(), 202, "{}", sent.1);
        let outcome = self.admin().follow(&format!("/api-jobs/{job}")).await.unwrap();
        (job, outcome)
    }

    /// Makes the call, during which the program dies; its job.
    pub(crate) async fn send_and_die(&mut self, call: Call, case: &str) -> String {
        let job = new_uuid();
        let sent = self.admin().send_with(call.method, &call.path, call.body, &[("X-Job-UUID", &job)]).await;
        // The program may die before it answers.
        if let Ok((status, answer)) = sent {
            assert_eq!(status.as_u16(), 202, "{case}: {answer}");
        }
        let mut doomed = self.program.take().unwrap();
        eventually(Duration::from_secs(30), || {
            let ended = doomed.ended();
            async move { ended.ok_or_else(|| format!("{case}: the program did not reach the crash point")) }
        })
        .await;
        self.place.disarm();
        job
    }

    /// Makes the call, during which the program dies, starts it again and waits for the end of the job.
    pub(crate) async fn call_through_death(&mut self, call: Call, case: &str) -> Outcome {
        let job = self.send_and_die(call, case).await;
        self.start().await;
        self.admin().follow(&format!("/api-jobs/{job}")).await.unwrap()
    }

    /// Kills the program.
    pub(crate) fn kill(&mut self) {
        self.program = None;
    }

    /// Starts the program again and waits until the hosts are believed.
    pub(crate) async fn start(&mut self) {
        self.start_without_hosts().await;
        self.cloud.hosts_connected().await;
    }

    /// Starts the program again.
    pub(crate) async fn start_without_hosts(&mut self) {
        self.program = Some(self.place.start().await);
    }

    /// The tables as they stand.
    pub(crate) async fn tables(&self) -> Tables {
        self.tables.read().await
    }

    /// Everything as it stands.
    pub(crate) async fn picture(&self) -> Picture {
        picture(&self.tables().await, &self.cloud.sim)
    }

    /// Waits until tables and hosts tell the same story and nothing is left to do.
    pub(crate) async fn agrees(&self, case: &str) {
        eventually(Duration::from_secs(40), || async {
            let found = disagreements(&self.tables().await, &self.cloud.sim);
            if found.is_empty() { Ok(()) } else { Err(format!("{case}:\n{}\n{}", found.join("\n"), self.place.tail())) }
        })
        .await;
    }

    /// Rows of `table` in which `column` is `value`.
    pub(crate) async fn rows(&self, table: &str, column: &str, value: &str) -> Vec<Value> {
        self.tables().await.with(table, column, value).cloned().collect()
    }

    /// A text of a row that must be there.
    pub(crate) async fn word(&self, table: &str, id: &str, column: &str) -> String {
        let rows = self.rows(table, "uuid", id).await;
        assert_eq!(rows.len(), 1, "{table} {id}");
        text(&rows[0], column).to_owned()
    }

    /// Creates something; its uuid.
    pub(crate) async fn make(&self, path: &str, params: Value) -> String {
        uuid(&self.admin().create(path, params).await.unwrap()).unwrap()
    }

    /// An action that must succeed.
    pub(crate) async fn act(&self, path: &str, action: &str, params: Value) {
        self.admin().action(path, action, params).await.unwrap().unwrap();
    }

    /// Deletes something, if it is there.
    pub(crate) async fn no(&self, table: &str, path: &str, id: &str) {
        if !self.rows(table, "uuid", id).await.is_empty() {
            self.admin().delete(&format!("{path}/{id}?deleteMode=Enforcing")).await.unwrap();
        }
    }

    /// A VM in that state.
    pub(crate) async fn vm(&self, state: &str) -> String {
        let id = uuid(&self.cloud.create_vm("subject").await.unwrap()).unwrap();
        let path = format!("/vm-instances/{id}");
        match state {
            "Paused" => self.act(&path, "pauseVmInstance", json!({})).await,
            "Stopped" => self.act(&path, "stopVmInstance", json!({ "type": "cold" })).await,
            "Destroyed" => self.admin().delete(&path).await.unwrap(),
            _ => {}
        }
        id
    }

    /// Puts the ISO into a running VM.
    pub(crate) async fn insert_iso(&self, vm: &str) {
        self.admin().create(&format!("/vm-instances/{vm}/iso/{}", self.iso), json!({})).await.unwrap();
    }

    /// State of a VM; empty when there is none.
    pub(crate) async fn state_of(&self, vm: &str) -> String {
        let rows = self.rows("VmInstanceVO", "uuid", vm).await;
        rows.first().map(|row| text(row, "state").to_owned()).unwrap_or_default()
    }

    /// Removes a VM and everything of it, if it is there.
    pub(crate) async fn no_vm(&self, id: &str) {
        let path = format!("/vm-instances/{id}");
        let state = self.state_of(id).await;
        if !state.is_empty() {
            if state != "Destroyed" {
                self.admin().delete(&path).await.unwrap();
            }
            self.act(&path, "expungeVmInstance", json!({})).await;
        }
    }

    /// Root volume of a VM.
    pub(crate) async fn root(&self, vm: &str) -> String {
        self.word("VmInstanceVO", vm, "rootVolumeUuid").await
    }

    /// A data volume of 1 GiB that has its file on the host.
    pub(crate) async fn volume(&self) -> String {
        let tag = format!("localStorage::hostUuid::{}", self.cloud.hosts[0]);
        let params = json!({
            "name": "data", "diskSize": GIB, "primaryStorageUuid": self.cloud.primary_storage,
        });
        let body = json!({ "params": params, "systemTags": [tag] });
        let answer = self.admin().call(Method::POST, "/volumes/data", Some(body)).await.unwrap().unwrap();
        uuid(&answer["inventory"]).unwrap()
    }

    /// Removes a data volume, if it is there.
    pub(crate) async fn no_volume(&self, id: &str) {
        let path = format!("/volumes/{id}");
        for row in self.rows("VolumeVO", "uuid", id).await {
            if text(&row, "status") != "Deleted" {
                self.admin().delete(&path).await.unwrap();
            }
        }
        if !self.rows("VolumeVO", "uuid", id).await.is_empty() {
            self.act(&path, "expungeDataVolume", json!({})).await;
        }
    }

    /// Attaches a volume to a VM.
    pub(crate) async fn attach(&self, volume: &str, vm: &str) {
        self.admin().create(&format!("/volumes/{volume}/vm-instances/{vm}"), json!({})).await.unwrap();
    }

    /// A snapshot of a volume.
    pub(crate) async fn snapshot(&self, volume: &str) -> String {
        self.make(&format!("/volumes/{volume}/volume-snapshots"), json!({ "name": "snapshot" })).await
    }

    /// Parameters of an image.
    pub(crate) fn image_params(&self) -> Value {
        json!({
            "name": "image", "url": "http://images.example/other.qcow2", "format": "qcow2",
            "mediaType": "RootVolumeTemplate", "platform": "Linux", "backupStorageUuids": [self.cloud.backup_storage],
        })
    }

    /// An image.
    pub(crate) async fn image(&self) -> String {
        self.make("/images", self.image_params()).await
    }

    /// Removes an image, if it is there.
    pub(crate) async fn no_image(&self, id: &str) {
        let path = format!("/images/{id}");
        for row in self.rows("ImageVO", "uuid", id).await {
            if text(&row, "status") != "Deleted" {
                self.admin().delete(&path).await.unwrap();
            }
            self.act(&path, "expungeImage", json!({})).await;
        }
    }

    /// An L2 network of a VLAN of its own, in no cluster.
    pub(crate) async fn l2(&self, zone: &str) -> String {
        let vlan = self.number() % 4000 + 2;
        let params = json!({ "name": "l2", "zoneUuid": zone, "physicalInterface": "eth0", "vlan": vlan });
        self.make("/l2-networks/vlan", params).await
    }

    /// Attaches an L2 network to a cluster.
    pub(crate) async fn attach_l2(&self, l2: &str, cluster: &str) {
        self.admin().create(&format!("/l2-networks/{l2}/clusters/{cluster}"), json!({})).await.unwrap();
    }

    /// An L3 network with addresses and DHCP.
    pub(crate) async fn l3(&self, l2: &str) -> String {
        let l3 = self.make("/l3-networks", json!({ "name": "l3", "l2NetworkUuid": l2, "category": "Private" })).await;
        let range = json!({
            "name": "range", "startIp": "10.9.0.10", "endIp": "10.9.0.200", "netmask": "255.255.255.0",
            "gateway": "10.9.0.1",
        });
        self.make(&format!("/l3-networks/{l3}/ip-ranges"), range).await;
        let flat = uuid(&self.admin().one("/network-services/providers?q=type=Flat").await.unwrap()).unwrap();
        let services = json!({ "networkServices": { flat: ["DHCP", "Userdata"] } });
        self.admin().create(&format!("/l3-networks/{l3}/network-services"), services).await.unwrap();
        l3
    }

    /// A running VM on these networks.
    pub(crate) async fn vm_on(&self, l3s: &[&str]) -> String {
        let mut params = self.cloud.vm_params("guest");
        params["l3NetworkUuids"] = json!(l3s);
        params["defaultL3NetworkUuid"] = json!(l3s[0]);
        self.make("/vm-instances", params).await
    }

    /// Parameters of a host with an address of its own.
    pub(crate) fn host_params(&self, cluster: &str) -> Value {
        let number = self.number();
        json!({
            "name": format!("host-{number}"), "managementIp": format!("10.7.{}.{}", number / 250, number % 250 + 1),
            "clusterUuid": cluster, "username": "root", "password": "secret",
        })
    }

    /// A host in a cluster.
    pub(crate) async fn host(&self, cluster: &str) -> String {
        self.make("/hosts/kvm", self.host_params(cluster)).await
    }

    /// A zone.
    pub(crate) async fn zone(&self) -> String {
        self.make("/zones", json!({ "name": "other" })).await
    }

    /// A cluster in a zone.
    pub(crate) async fn cluster(&self, zone: &str) -> String {
        self.make("/clusters", json!({ "name": "other", "zoneUuid": zone, "hypervisorType": "KVM" })).await
    }

    /// A primary storage in a zone, attached to no cluster.
    pub(crate) async fn storage(&self, zone: &str) -> String {
        let url = format!("/storage_{}", self.number());
        self.make("/primary-storage/local-storage", json!({ "name": "other", "url": url, "zoneUuid": zone })).await
    }

    /// Attaches a primary storage to a cluster.
    pub(crate) async fn attach_storage(&self, storage: &str, cluster: &str) {
        self.admin().create(&format!("/clusters/{cluster}/primary-storage/{storage}"), json!({})).await.unwrap();
    }

    /// Parameters of an image server on a host.
    pub(crate) async fn server_params(&self, host: &str) -> Value {
        let address = self.word("HostVO", host, "managementIp").await;
        let url = format!("/images_{}", self.number());
        json!({ "name": "other", "hostname": address, "username": "root", "password": "secret", "url": url })
    }
}
