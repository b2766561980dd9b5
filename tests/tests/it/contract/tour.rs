//! A cloud in which every implemented API is called with success, in an order in which each finds what it needs.
//!
//! An API is added by calling it here, at a place where it can succeed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use mn_service_types::{Api, ApiKind, contract};
use reqwest::StatusCode;
use serde_json::{Value, json};
use system_tests::{Client, Cloud};

use super::{
    queries,
    request::{self, Params},
    shape,
};

/// The cloud and what was learned in it.
pub(super) struct Tour {
    /// The cloud.
    pub(super) cloud: Cloud,
    /// Administrator's client.
    pub(super) admin: Client,
    /// Parameters of the first success of every API.
    pub(super) done: BTreeMap<&'static str, Params>,
    /// What is wrong with the answers.
    pub(super) problems: Vec<String>,
}

/// An API of the contract.
pub(super) fn api(name: &str) -> Result<&'static Api> {
    contract().api(name).with_context(|| format!("{name} is not in the contract"))
}

impl Tour {
    /// A cloud that nobody has called yet, with two hosts.
    pub(super) async fn begin() -> Result<Self> {
        let cloud = Cloud::start(2).await?;
        let admin = cloud.admin().clone();
        Ok(Self { cloud, admin, done: BTreeMap::new(), problems: Vec::new() })
    }

    /// Calls an API, which must succeed, and holds its answer against the contract.
    pub(super) async fn call(&mut self, name: &str, params: Value) -> Result<Value> {
        let api = api(name)?;
        let Value::Object(params) = params else { bail!("{name}: {params} are no parameters") };
        let request = request::request(api, &params)?;
        let answer = request::send(&self.admin, &request).await?;
        if answer.status != StatusCode::OK {
            bail!("{name} {params:?}: HTTP {} {}", answer.status, answer.body);
        }
        if answer.polled != api.need_poll {
            self.problems.push(format!("{name}: answered {} a job", if answer.polled { "with" } else { "without" }));
        }
        self.problems.extend(shape::problems(api, &answer.body).into_iter().map(|p| format!("{name}: {p}")));
        self.done.entry(&api.name).or_insert(params);
        Ok(answer.body)
    }

    /// [`Tour::call`] of an API that answers a resource; its uuid.
    pub(super) async fn make(&mut self, name: &str, params: Value) -> Result<String> {
        let answer = self.call(name, params).await?;
        let uuid = answer["inventory"]["uuid"].as_str().with_context(|| format!("{name}: {answer}"))?;
        Ok(uuid.to_owned())
    }

    /// Calls every API in turn.
    pub(super) async fn go(&mut self) -> Result<()> {
        let (zone, cluster, host) = self.infrastructure().await?;
        let (ps, bs) = self.storage(&zone, &cluster).await?;
        let l2 = self.networks(&zone, &cluster).await?;
        self.offerings().await?;
        self.images().await?;
        let vm = self.vms().await?;
        self.volumes(&vm).await?;
        self.affinity(&vm).await?;
        self.tags(&zone).await?;
        self.management().await?;
        self.accounts().await?;
        self.queries().await?;
        self.problems.extend(queries::problems(self).await?);

        self.call("PreviewDeletion", json!({ "api": "DeleteZone", "uuid": zone })).await?;
        self.stuck_jobs().await?;
        for (api, uuid) in [("DeleteL2Network", &l2), ("DeleteHost", &host)] {
            self.call(api, json!({ "uuid": uuid, "deleteMode": "Enforcing" })).await?;
        }
        self.call("DetachPrimaryStorageFromCluster", json!({ "primaryStorageUuid": ps, "clusterUuid": cluster }))
            .await?;
        self.call("DeletePrimaryStorage", json!({ "uuid": ps })).await?;
        self.call("DetachBackupStorageFromZone", json!({ "backupStorageUuid": bs, "zoneUuid": zone })).await?;
        for (api, uuid) in [("DeleteBackupStorage", &bs), ("DeleteCluster", &cluster), ("DeleteZone", &zone)] {
            self.call(api, json!({ "uuid": uuid })).await?;
        }
        Ok(())
    }

    /// A job of the tour that is made stuck by hand: how one gets there is shown by the crash tests.
    async fn stuck_jobs(&mut self) -> Result<()> {
        use mn_service_db::entity::job;
        use sea_orm::{ActiveValue::Set, EntityTrait as _, QueryOrder as _};
        let app = &self.cloud.world().serving.app;
        let last =
            job::Entity::find().order_by_desc(job::Column::Created).one(app.db.read()).await?.context("no job")?;
        let uuid = last.uuid.clone();
        app.write(|tx| async move {
            let stuck = job::ActiveModel { uuid: Set(last.uuid), state: Set("stuck".to_owned()), ..Default::default() };
            job::Entity::update(stuck).exec(&*tx).await.map_err(mn_service_types::ApiError::internal)?;
            Ok(())
        })
        .await?;
        self.call("GetStuckJobs", json!({})).await?;
        self.call("DismissStuckJob", json!({ "uuid": uuid })).await?;
        Ok(())
    }

    async fn infrastructure(&mut self) -> Result<(String, String, String)> {
        let zone = self.make("CreateZone", json!({ "name": "second", "description": "of the tour" })).await?;
        self.call("UpdateZone", json!({ "uuid": zone, "name": "renamed" })).await?;
        let cluster = json!({ "zoneUuid": zone, "name": "second", "hypervisorType": "KVM" });
        let cluster = self.make("CreateCluster", cluster).await?;
        self.call("UpdateCluster", json!({ "uuid": cluster, "description": "of the tour" })).await?;
        let host = json!({
            "name": "third", "managementIp": "10.9.0.1", "username": "root", "password": "secret", "clusterUuid": cluster,
        });
        let host = self.make("AddKVMHost", host).await?;
        self.call("UpdateHost", json!({ "uuid": host, "name": "host-3" })).await?;
        self.call("UpdateKVMHost", json!({ "uuid": host, "username": "root", "password": "other" })).await?;
        self.call("ReconnectHost", json!({ "uuid": host })).await?;
        for (api, uuid) in [("ChangeZoneState", &zone), ("ChangeClusterState", &cluster), ("ChangeHostState", &host)] {
            for event in ["disable", "enable"] {
                self.call(api, json!({ "uuid": uuid, "stateEvent": event })).await?;
            }
        }
        self.call("GetCpuMemoryCapacity", json!({ "zoneUuids": [zone] })).await?;
        self.call("GetHostAllocatorStrategies", json!({})).await?;
        let code = self.make("CreateHostEnrolmentCode", json!({ "clusterUuid": cluster })).await?;
        self.call("GetHostEnrolmentCodes", json!({})).await?;
        self.call("DeleteHostEnrolmentCode", json!({ "uuid": code })).await?;
        let joined = json!({
            "resourceUuid": mn_service_types::new_uuid(), "name": "joined", "managementIp": "10.9.0.2",
            "clusterUuid": cluster, "agentPort": 7443,
        });
        let joined = self.make("AddEnrolledHost", joined).await?;
        self.call("DeleteHost", json!({ "uuid": joined, "deleteMode": "Enforcing" })).await?;
        Ok((zone, cluster, host))
    }

    async fn storage(&mut self, zone: &str, cluster: &str) -> Result<(String, String)> {
        let ps = json!({ "name": "second", "url": "/other_ps", "zoneUuid": zone });
        let ps = self.make("AddLocalPrimaryStorage", ps).await?;
        self.call("AttachPrimaryStorageToCluster", json!({ "primaryStorageUuid": ps, "clusterUuid": cluster })).await?;
        self.call("UpdatePrimaryStorage", json!({ "uuid": ps, "name": "renamed" })).await?;
        self.call("ReconnectPrimaryStorage", json!({ "uuid": ps })).await?;
        self.call("GetPrimaryStorageCapacity", json!({ "all": true })).await?;
        self.call("GetLocalStorageHostDiskCapacity", json!({ "primaryStorageUuid": ps })).await?;
        let bs = json!({
            "name": "second", "hostname": "10.9.0.1", "username": "root", "password": "secret", "url": "/other_bs",
        });
        let bs = self.make("AddImageStoreBackupStorage", bs).await?;
        self.call("AttachBackupStorageToZone", json!({ "backupStorageUuid": bs, "zoneUuid": zone })).await?;
        self.call("UpdateBackupStorage", json!({ "uuid": bs, "name": "renamed" })).await?;
        self.call("UpdateImageStoreBackupStorage", json!({ "uuid": bs, "username": "root" })).await?;
        self.call("ReconnectBackupStorage", json!({ "uuid": bs })).await?;
        self.call("ReconnectImageStoreBackupStorage", json!({ "uuid": bs })).await?;
        self.call("GetBackupStorageCapacity", json!({ "backupStorageUuids": [bs] })).await?;
        for (api, uuid) in [("ChangePrimaryStorageState", &ps), ("ChangeBackupStorageState", &bs)] {
            for event in ["disable", "enable"] {
                self.call(api, json!({ "uuid": uuid, "stateEvent": event })).await?;
            }
        }
        Ok((ps, bs))
    }

    async fn networks(&mut self, zone: &str, cluster: &str) -> Result<String> {
        self.call("GetL2NetworkTypes", json!({})).await?;
        self.call("GetL3NetworkTypes", json!({})).await?;
        self.call("GetNetworkServiceTypes", json!({})).await?;
        let l2 = json!({ "name": "second", "zoneUuid": zone, "physicalInterface": "eth1" });
        let l2 = self.make("CreateL2NoVlanNetwork", l2).await?;
        let vlan = json!({ "name": "vlan", "zoneUuid": zone, "physicalInterface": "eth2", "vlan": 7 });
        self.make("CreateL2VlanNetwork", vlan).await?;
        self.call("UpdateL2Network", json!({ "uuid": l2, "name": "renamed" })).await?;
        let both = json!({ "l2NetworkUuid": l2, "clusterUuid": cluster });
        self.call("AttachL2NetworkToCluster", both.clone()).await?;
        let l3 = json!({ "name": "second", "l2NetworkUuid": l2, "category": "Private" });
        let l3 = self.make("CreateL3Network", l3).await?;
        self.call("UpdateL3Network", json!({ "uuid": l3, "name": "renamed" })).await?;
        for event in ["disable", "enable"] {
            self.call("ChangeL3NetworkState", json!({ "uuid": l3, "stateEvent": event })).await?;
        }
        let range = json!({
            "l3NetworkUuid": l3, "name": "range", "startIp": "10.2.0.10", "endIp": "10.2.0.20",
            "netmask": "255.255.255.0", "gateway": "10.2.0.1",
        });
        let range = self.make("AddIpRange", range).await?;
        self.call("UpdateIpRange", json!({ "uuid": range, "name": "renamed" })).await?;
        let kept = json!({ "l3NetworkUuid": l3, "startIp": "10.2.0.15", "endIp": "10.2.0.16" });
        let kept = self.make("AddReservedIpRange", kept).await?;
        self.call("DeleteReservedIpRange", json!({ "uuid": kept })).await?;
        self.call("AddDnsToL3Network", json!({ "l3NetworkUuid": l3, "dns": "9.9.9.9" })).await?;
        self.call("RemoveDnsFromL3Network", json!({ "l3NetworkUuid": l3, "dns": "9.9.9.9" })).await?;
        let flat = self.admin.one("/network-services/providers?q=type=Flat").await?;
        let flat = flat["uuid"].as_str().context("uuid")?.to_owned();
        let services = json!({ "l3NetworkUuid": l3, "networkServices": { flat: ["DHCP"] } });
        self.call("AttachNetworkServiceToL3Network", services.clone()).await?;
        self.call("GetL3NetworkDhcpIpAddress", json!({ "l3NetworkUuid": self.cloud.l3 })).await?;
        self.call("SetL3NetworkMtu", json!({ "l3NetworkUuid": l3, "mtu": 1400 })).await?;
        self.call("GetL3NetworkMtu", json!({ "l3NetworkUuid": l3 })).await?;
        self.call("GetFreeIp", json!({ "l3NetworkUuid": l3, "limit": 3 })).await?;
        self.call("GetIpAddressCapacity", json!({ "l3NetworkUuids": [l3] })).await?;
        self.call("CheckIpAvailability", json!({ "l3NetworkUuid": l3, "ip": "10.2.0.11" })).await?;
        self.call("DetachNetworkServiceFromL3Network", services).await?;
        let route = json!({ "l3NetworkUuid": l3, "prefix": "192.168.7.0/24", "nexthop": "10.2.0.7" });
        self.call("AddHostRouteToL3Network", route).await?;
        let route = json!({ "l3NetworkUuid": l3, "prefix": "192.168.7.0/24" });
        self.call("RemoveHostRouteFromL3Network", route).await?;
        self.call("DeleteIpRange", json!({ "uuid": range })).await?;
        let cidr = json!({ "l3NetworkUuid": l3, "name": "cidr", "networkCidr": "10.3.0.0/24" });
        self.call("AddIpRangeByNetworkCidr", cidr).await?;
        self.call("DeleteL3Network", json!({ "uuid": l3 })).await?;
        self.call("DetachL2NetworkFromCluster", both).await?;
        Ok(l2)
    }

    async fn offerings(&mut self) -> Result<()> {
        let instance = json!({ "name": "small", "cpuNum": 1, "memorySize": 64 << 20 });
        let instance = self.make("CreateInstanceOffering", instance).await?;
        let disk = self.make("CreateDiskOffering", json!({ "name": "disk", "diskSize": 1 << 30 })).await?;
        for (kind, uuid) in [("InstanceOffering", &instance), ("DiskOffering", &disk)] {
            self.call(&format!("Update{kind}"), json!({ "uuid": uuid, "name": "renamed" })).await?;
            for event in ["disable", "enable"] {
                self.call(&format!("Change{kind}State"), json!({ "uuid": uuid, "stateEvent": event })).await?;
            }
            self.call(&format!("Delete{kind}"), json!({ "uuid": uuid })).await?;
        }
        // For the query.
        self.make("CreateDiskOffering", json!({ "name": "kept", "diskSize": 1 << 30 })).await?;
        Ok(())
    }

    async fn images(&mut self) -> Result<()> {
        let servers = json!([self.cloud.backup_storage]);
        let image = json!({
            "name": "second", "url": "http://images.example/second.qcow2", "format": "qcow2", "platform": "Linux",
            "mediaType": "RootVolumeTemplate", "backupStorageUuids": servers,
        });
        let image = self.make("AddImage", image).await?;
        self.call("UpdateImage", json!({ "uuid": image, "name": "renamed" })).await?;
        for event in ["disable", "enable"] {
            self.call("ChangeImageState", json!({ "uuid": image, "stateEvent": event })).await?;
        }
        self.call("SetImageBootMode", json!({ "uuid": image, "bootMode": "Legacy" })).await?;
        self.call("DeleteImage", json!({ "uuid": image })).await?;
        self.call("RecoverImage", json!({ "imageUuid": image })).await?;
        self.call("DeleteImage", json!({ "uuid": image })).await?;
        self.call("ExpungeImage", json!({ "imageUuid": image })).await?;
        let upload = json!({
            "name": "upload", "url": "upload://file.qcow2", "format": "qcow2", "platform": "Linux",
            "mediaType": "RootVolumeTemplate", "backupStorageUuids": servers,
        });
        let upload = self.make("AddImage", upload).await?;
        self.call("GetUploadImageJobDetails", json!({ "imageId": upload })).await?;
        Ok(())
    }

    async fn vms(&mut self) -> Result<String> {
        let mut wanted = self.cloud.vm_params("tour");
        let candidates = json!({ "imageUuid": self.cloud.image, "l3NetworkUuids": [self.cloud.l3], "cpuNum": 1 });
        self.call("GetCandidateZonesClustersHostsForCreatingVm", candidates.clone()).await?;
        self.call("ExplainVmPlacement", candidates).await?;
        let vm = self.make("CreateVmInstance", wanted.clone()).await?;
        let on = json!({ "uuid": vm });
        self.call("GetVmCapabilities", on.clone()).await?;
        self.call("RequestConsoleAccess", json!({ "vmInstanceUuid": vm })).await?;
        self.call("GetVmConsoleAddress", on.clone()).await?;
        self.vm_settings(&vm).await?;
        self.vm_parts(&vm).await?;
        for api in ["PauseVmInstance", "ResumeVmInstance", "RebootVmInstance", "StopVmInstance"] {
            self.call(api, on.clone()).await?;
        }
        self.call("UpdateVmInstance", json!({ "uuid": vm, "name": "renamed" })).await?;
        self.stopped_vm(&vm).await?;
        let root = self.admin.one(&format!("/volumes?q=vmInstanceUuid={vm}&q=type=Root")).await?;
        let template = json!({
            "name": "template", "rootVolumeUuid": root["uuid"], "backupStorageUuids": [self.cloud.backup_storage],
        });
        self.make("CreateRootVolumeTemplateFromRootVolume", template).await?;
        let snapshot = json!({ "volumeUuid": root["uuid"], "name": "of the root volume" });
        let snapshot = self.make("CreateVolumeSnapshot", snapshot).await?;
        let template = json!({
            "name": "template", "snapshotUuid": snapshot, "backupStorageUuids": [self.cloud.backup_storage],
        });
        self.make("CreateRootVolumeTemplateFromVolumeSnapshot", template).await?;
        self.call("DeleteVolumeSnapshot", json!({ "uuid": snapshot })).await?;
        let size = root["size"].as_i64().context("size")? + (1 << 30);
        self.call("ResizeRootVolume", json!({ "uuid": root["uuid"], "size": size })).await?;
        self.call("StartVmInstance", on.clone()).await?;
        wanted["name"] = json!("doomed");
        let doomed = json!({ "uuid": self.make("CreateVmInstance", wanted).await? });
        for api in ["DestroyVmInstance", "RecoverVmInstance", "DestroyVmInstance", "ExpungeVmInstance"] {
            self.call(api, doomed.clone()).await?;
        }
        Ok(vm)
    }

    /// What is set by a call, asked for by another, and taken back.
    async fn vm_settings(&mut self, vm: &str) -> Result<()> {
        let on = json!({ "uuid": vm });
        self.call("SetVmHostname", json!({ "uuid": vm, "hostname": "tour" })).await?;
        self.call("SetVmSshKey", json!({ "uuid": vm, "SshKey": "ssh-ed25519 AAAA tour" })).await?;
        self.call("SetVmConsolePassword", json!({ "uuid": vm, "consolePassword": "secret" })).await?;
        self.call("SetVmBootOrder", json!({ "uuid": vm, "bootOrder": ["HardDisk", "CdRom"] })).await?;
        self.call("SetVmBootMode", json!({ "uuid": vm, "bootMode": "Legacy" })).await?;
        for api in [
            "GetVmHostname",
            "GetVmSshKey",
            "GetVmConsolePassword",
            "GetVmBootOrder",
            "DeleteVmHostname",
            "DeleteVmSshKey",
            "DeleteVmConsolePassword",
            "DeleteVmBootMode",
        ] {
            self.call(api, on.clone()).await?;
        }
        Ok(())
    }

    /// What is plugged into a VM that runs.
    async fn vm_parts(&mut self, vm: &str) -> Result<()> {
        let l3 = json!({ "name": "extra", "l2NetworkUuid": self.cloud.l2, "category": "Private" });
        let l3 = self.make("CreateL3Network", l3).await?;
        let range = json!({
            "l3NetworkUuid": l3, "name": "range", "startIp": "10.4.0.10", "endIp": "10.4.0.20",
            "netmask": "255.255.255.0", "gateway": "10.4.0.1",
        });
        self.make("AddIpRange", range).await?;
        let on = json!({ "vmInstanceUuid": vm });
        self.call("GetVmAttachableL3Network", on.clone()).await?;
        self.call("AttachL3NetworkToVm", json!({ "vmInstanceUuid": vm, "l3NetworkUuid": l3 })).await?;
        let nic = self.admin.one(&format!("/vm-instances/nics?q=l3NetworkUuid={l3}")).await?;
        let nic = json!({ "vmNicUuid": nic["uuid"] });
        self.call("GetCandidateL3NetworksForChangeVmNicNetwork", nic.clone()).await?;
        self.call("DetachL3NetworkFromVm", nic).await?;
        self.call("GetVmAttachableDataVolume", on.clone()).await?;

        let iso = json!({
            "name": "medium", "url": "http://images.example/medium.iso", "format": "iso", "mediaType": "ISO",
            "backupStorageUuids": [self.cloud.backup_storage],
        });
        let iso = self.make("AddImage", iso).await?;
        self.call("GetCandidateIsoForAttachingVm", on.clone()).await?;
        self.call("GetCandidateVmForAttachingIso", json!({ "isoUuid": iso })).await?;
        self.call("AttachIsoToVmInstance", json!({ "vmInstanceUuid": vm, "isoUuid": iso })).await?;
        self.call("DetachIsoFromVmInstance", on).await?;
        Ok(())
    }

    /// What changes while a VM is stopped.
    async fn stopped_vm(&mut self, vm: &str) -> Result<()> {
        let on = json!({ "vmInstanceUuid": vm });
        let l3 = self.cloud.l3.clone();
        self.call("GetVmStartingCandidateClustersHosts", json!({ "uuid": vm })).await?;
        let ip = json!({ "vmInstanceUuid": vm, "l3NetworkUuid": l3, "ip": "10.1.0.150" });
        self.call("SetVmStaticIp", ip).await?;
        self.call("DeleteVmStaticIp", json!({ "vmInstanceUuid": vm, "l3NetworkUuid": l3 })).await?;
        let nic = self.admin.one(&format!("/vm-instances/nics?q=vmInstanceUuid={vm}")).await?;
        let nic = nic["uuid"].as_str().context("uuid")?;
        self.call("UpdateVmNicMac", json!({ "vmNicUuid": nic, "mac": "fa:16:3e:00:00:77" })).await?;
        let driver = json!({ "vmInstanceUuid": vm, "vmNicUuid": nic, "driverType": "e1000" });
        self.call("UpdateVmNicDriver", driver).await?;
        let offering = json!({ "vmInstanceUuid": vm, "instanceOfferingUuid": self.cloud.offering });
        self.call("ChangeInstanceOffering", offering).await?;
        let drive = self.make("CreateVmCdRom", json!({ "vmInstanceUuid": vm, "name": "second" })).await?;
        self.call("UpdateVmCdRom", json!({ "uuid": drive, "name": "renamed" })).await?;
        self.call("SetVmInstanceDefaultCdRom", json!({ "uuid": drive, "vmInstanceUuid": vm })).await?;
        self.call("DeleteVmCdRom", json!({ "uuid": drive })).await?;
        self.call("ReimageVmInstance", on).await?;
        Ok(())
    }

    async fn volumes(&mut self, vm: &str) -> Result<()> {
        self.call("GetVolumeFormat", json!({})).await?;
        let data = self.make("CreateDataVolume", json!({ "name": "data", "diskSize": 1 << 30 })).await?;
        let on = json!({ "uuid": data });
        self.call("GetDataVolumeAttachableVm", json!({ "volumeUuid": data })).await?;
        self.call("AttachDataVolumeToVm", json!({ "volumeUuid": data, "vmInstanceUuid": vm })).await?;
        self.call("UpdateVolume", json!({ "uuid": data, "name": "renamed" })).await?;
        for event in ["disable", "enable"] {
            self.call("ChangeVolumeState", json!({ "uuid": data, "stateEvent": event })).await?;
        }
        self.call("ResizeDataVolume", json!({ "uuid": data, "size": 2_i64 << 30 })).await?;
        self.call("SyncVolumeSize", on.clone()).await?;
        let servers = json!([self.cloud.backup_storage]);
        let template = json!({ "name": "data", "volumeUuid": data, "backupStorageUuids": servers });
        let template = self.make("CreateDataVolumeTemplateFromVolume", template).await?;
        let made = json!({
            "name": "made", "imageUuid": template, "primaryStorageUuid": self.cloud.primary_storage,
            "hostUuid": self.cloud.hosts[0],
        });
        self.make("CreateDataVolumeFromVolumeTemplate", made).await?;
        let snapshot = self.make("CreateVolumeSnapshot", json!({ "volumeUuid": data, "name": "first" })).await?;
        self.call("UpdateVolumeSnapshot", json!({ "uuid": snapshot, "name": "renamed" })).await?;
        let template = json!({ "name": "data", "snapshotUuid": snapshot, "backupStorageUuids": servers });
        self.make("CreateDataVolumeTemplateFromVolumeSnapshot", template).await?;
        let copy = json!({ "name": "copy", "volumeSnapshotUuid": snapshot });
        self.make("CreateDataVolumeFromVolumeSnapshot", copy).await?;
        self.call("DetachDataVolumeFromVm", json!({ "uuid": data, "vmUuid": vm })).await?;
        self.call("RevertVolumeFromSnapshot", json!({ "uuid": snapshot })).await?;
        self.call("DeleteVolumeSnapshot", json!({ "uuid": snapshot })).await?;
        for api in ["DeleteDataVolume", "RecoverDataVolume", "DeleteDataVolume", "ExpungeDataVolume"] {
            self.call(api, on.clone()).await?;
        }
        // For the queries.
        let kept = self.make("CreateDataVolume", json!({ "name": "kept", "diskSize": 1 << 30 })).await?;
        self.call("AttachDataVolumeToVm", json!({ "volumeUuid": kept, "vmInstanceUuid": vm })).await?;
        self.make("CreateVolumeSnapshot", json!({ "volumeUuid": kept, "name": "kept" })).await?;
        Ok(())
    }

    async fn affinity(&mut self, vm: &str) -> Result<()> {
        let group = json!({ "name": "apart", "policy": "antiSoft", "zoneUuid": self.cloud.zone });
        let group = self.make("CreateAffinityGroup", group).await?;
        self.call("UpdateAffinityGroup", json!({ "uuid": group, "name": "renamed" })).await?;
        for event in ["disable", "enable"] {
            self.call("ChangeAffinityGroupState", json!({ "uuid": group, "stateEvent": event })).await?;
        }
        self.call("GetCandidateVMForAttachingAffinityGroup", json!({ "affinityGroupUuid": group })).await?;
        let both = json!({ "affinityGroupUuid": group, "uuid": vm });
        self.call("AddVmToAffinityGroup", both.clone()).await?;
        self.call("QueryAffinityGroup", json!({})).await?;
        self.call("RemoveVmFromAffinityGroup", both).await?;
        self.call("DeleteAffinityGroup", json!({ "uuid": group })).await?;
        self.make("CreateAffinityGroup", json!({ "name": "kept" })).await?;
        Ok(())
    }

    async fn tags(&mut self, zone: &str) -> Result<()> {
        let user = json!({ "resourceType": "ZoneVO", "resourceUuid": zone, "tag": "blue" });
        let user = self.make("CreateUserTag", user).await?;
        self.call("DeleteTag", json!({ "uuid": user })).await?;
        self.make("CreateUserTag", json!({ "resourceType": "ZoneVO", "resourceUuid": zone, "tag": "kept" })).await?;
        let host = self.cloud.hosts[0].clone();
        let system = json!({ "resourceType": "HostVO", "resourceUuid": host, "tag": "reservedMemory::1G" });
        let system = self.make("CreateSystemTag", system).await?;
        self.call("UpdateSystemTag", json!({ "uuid": system, "tag": "reservedMemory::2G" })).await?;
        Ok(())
    }

    async fn management(&mut self) -> Result<()> {
        for name in ["GetVersion", "GetCurrentTime", "IsReadyToGo"] {
            self.call(name, json!({})).await?;
        }
        self.call("GetAuditData", json!({ "limit": 10, "auditType": "Resource" })).await?;
        self.call("GetTaskProgress", json!({ "apiId": mn_service_types::new_uuid() })).await?;
        let setting = json!({ "category": "host", "name": "ping.interval", "value": "30" });
        self.call("UpdateGlobalConfig", setting).await?;
        self.call("ResetGlobalConfig", json!({})).await?;
        Ok(())
    }

    async fn accounts(&mut self) -> Result<()> {
        let password = "0".repeat(128);
        let account = json!({ "name": "tenant", "password": password });
        let account = self.make("CreateAccount", account).await?;
        self.call("UpdateAccount", json!({ "uuid": account, "description": "of the tour" })).await?;
        let quota = json!({ "identityUuid": account, "name": "vm.num", "value": 5 });
        self.call("UpdateQuota", quota).await?;
        self.call("GetAccountQuotaUsage", json!({ "uuid": account })).await?;
        let image = json!([self.cloud.image]);
        let shared = json!({ "resourceUuids": image, "accountUuids": [account] });
        self.call("ShareResource", shared).await?;
        self.call("RevokeResourceSharing", json!({ "resourceUuids": image, "all": true })).await?;
        self.call("GetResourceAccount", json!({ "resourceUuids": image })).await?;
        let given = self.make("CreateDiskOffering", json!({ "name": "given", "diskSize": 1 << 30 })).await?;
        self.call("ChangeResourceOwner", json!({ "accountUuid": account, "resourceUuid": given })).await?;
        let doomed = self.make("CreateAccount", json!({ "name": "doomed", "password": password })).await?;
        self.call("DeleteAccount", json!({ "uuid": doomed })).await?;
        let session = self.make("LogInByAccount", json!({ "accountName": "tenant", "password": password })).await?;
        self.call("ValidateSession", json!({ "sessionUuid": session })).await?;
        self.call("RenewSession", json!({ "sessionUuid": session, "duration": 3600 })).await?;
        self.call("LogOut", json!({ "sessionUuid": session })).await?;
        Ok(())
    }

    /// Every query, each of which must find something: an empty list would show no field.
    async fn queries(&mut self) -> Result<()> {
        for name in super::implemented(ApiKind::Query) {
            let answer = self.call(name, json!({})).await?;
            if answer["inventories"].as_array().is_none_or(Vec::is_empty) {
                self.problems.push(format!("{name}: found nothing; let the tour make one"));
            }
        }
        Ok(())
    }
}
