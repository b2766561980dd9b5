//! The measurements: a cloud over simulated hosts is made and filled through the public API, then asked.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    Options,
    database::Kind,
    load::{self, Figures, Until},
    subject::{Programs, Subject},
};
use crate::{
    api::{Client, text},
    progress::Progress,
};

/// How many VMs are created at the same time to fill the cloud.
const FILLING: u32 = 50;
/// How many while creation is measured.
const CREATING: u32 = 10;
/// Pause between two questions about a job.
const POLL: Duration = Duration::from_millis(2);
/// Rows of a listed page.
const PAGE: usize = 100;

/// A measurement and the processor time the service spent on one success of it.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Measured {
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// Milliseconds of processor time.
    pub(super) cpu_ms: f64,
}

/// Everything measured on one database.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) kind: Kind,
    pub(super) hosts: u32,
    pub(super) vms: u32,
    pub(super) clients: u32,
    pub(super) seconds: u64,
    pub(super) start_time: Duration,
    pub(super) results: BTreeMap<&'static str, Measured>,
    /// Most memory of the service once the cloud was full.
    pub(super) memory_filled: u64,
    /// Most memory of the service in the whole run.
    pub(super) memory_peak: u64,
}

/// Measures on one database.
pub(super) async fn one(options: &Options, programs: &Programs, kind: Kind, progress: &Progress) -> Result<Run> {
    let subject =
        progress.phase("start", format!("starting on {}", kind.word()), Subject::start(programs, kind)).await?;
    let outcome = measure(options, &subject, kind, progress).await;
    let outcome = outcome.with_context(|| subject.log_end());
    // A measurement that failed still ends what it started.
    let ended = subject.end().await;
    let run = outcome?;
    ended?;
    Ok(run)
}

async fn measure(options: &Options, subject: &Subject, kind: Kind, progress: &Progress) -> Result<Run> {
    let admin = Client::log_in(&subject.url, "admin", "password").await?.impatient(POLL);
    // Every login of the measurement opens a session.
    let limit = json!({"value": "1000000"});
    admin.act("/global-configurations/identity/session.maxConcurrent/actions", "updateGlobalConfig", limit).await?;
    let ground = progress.phase("ground", format!("{} hosts", options.hosts), ground(&admin, options.hosts)).await?;
    let mut bench = Bench { subject, progress, results: BTreeMap::new() };

    let params = Arc::new(ground);
    let create = {
        let admin = admin.clone();
        move |prefix: &'static str| {
            let (admin, params) = (admin.clone(), params.clone());
            move |number: u64| {
                let (admin, mut params) = (admin.clone(), Value::clone(&params));
                params["name"] = json!(format!("{prefix}-{number:06}"));
                async move { running(&admin.create("/vm-instances", params).await?) }
            }
        }
    };
    bench.run("vm_create_50_in_flight", FILLING, Until::Rounds(options.vms.into()), create("vm")).await?;
    let memory_filled = subject.peak_memory()?;
    let uuids = full(&admin, options.vms).await?;

    let time = Until::Elapsed(Duration::from_secs(options.seconds));
    let clients = options.clients;
    let client = admin.clone();
    bench
        .run("vm_get", clients, time, move |number| {
            let (client, uuid) = (client.clone(), uuids[number as usize % uuids.len()].clone());
            async move {
                let answer = client.read(&format!("/vm-instances/{uuid}")).await?;
                if answer.contains(&uuid) { Ok(()) } else { bail!("VM {uuid} is not in the answer: {answer}") }
            }
        })
        .await?;
    let page = PAGE.min(options.vms as usize);
    bench.run("vm_list_100", clients, time, lists(&admin, format!("limit={PAGE}"), page)).await?;
    let by_pattern = format!("q=name~=vm-%25&limit={PAGE}");
    bench.run("vm_list_100_by_name", clients, time, lists(&admin, by_pattern, page)).await?;
    let (client, vms) = (admin.clone(), u64::from(options.vms));
    bench
        .run("vm_by_name", clients, time, move |number| {
            let client = client.clone();
            let name = format!("vm-{:06}", number % vms);
            async move { listed(&client, &format!("q=name={name}"), 1).await }
        })
        .await?;
    let all = options.vms as usize;
    bench.run("vm_list_all", 1, time, lists(&admin, format!("limit={all}"), all)).await?;
    let client = admin.clone();
    bench
        .run("zone_create_delete", clients, time, move |number| {
            let client = client.clone();
            async move {
                let zone = client.create("/zones", json!({"name": format!("zone-{number}")})).await?;
                client.delete(&format!("/zones/{}", text(&zone, "uuid")?)).await
            }
        })
        .await?;
    let client = admin.clone();
    bench
        .run("log_in", clients, time, move |_| {
            let client = client.clone();
            async move { client.again("admin", "password").await.map(drop) }
        })
        .await?;
    bench.run("vm_create_10_in_flight", CREATING, time, create("ten")).await?;
    bench.run("vm_create_alone", 1, time, create("one")).await?;
    Ok(Run {
        kind,
        hosts: options.hosts,
        vms: options.vms,
        clients,
        seconds: options.seconds,
        start_time: subject.start_time,
        results: bench.results,
        memory_filled,
        memory_peak: subject.peak_memory()?,
    })
}

struct Bench<'a> {
    subject: &'a Subject,
    progress: &'a Progress,
    results: BTreeMap<&'static str, Measured>,
}

impl Bench<'_> {
    async fn run<F, Fut>(&mut self, name: &'static str, clients: u32, until: Until, round: F) -> Result<()>
    where
        F: Fn(u64) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send,
    {
        let before = self.subject.processor_time()?;
        let work = async { Ok(load::make(clients, until, round).await) };
        let figures = self.progress.phase(name, name, work).await?;
        let spent = self.subject.processor_time()?.saturating_sub(before);
        let cpu_ms = spent.as_secs_f64() * 1000.0 / figures.count.max(1) as f64;
        let measured = Measured { figures, cpu_ms: (cpu_ms * 100.0).round() / 100.0 };
        self.results.insert(name, measured);
        Ok(())
    }
}

type Round = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A round that lists VMs, and must find that many.
fn lists(client: &Client, query: String, expected: usize) -> impl Fn(u64) -> Round + Send + Sync + 'static {
    let client = client.clone();
    move |_| {
        let (client, query) = (client.clone(), query.clone());
        Box::pin(async move { listed(&client, &query, expected).await })
    }
}

async fn listed(client: &Client, query: &str, expected: usize) -> Result<()> {
    let answer = client.read(&format!("/vm-instances?{query}")).await?;
    // Counted in the text: parsing it would take processor time from the service.
    match answer.matches("\"memorySize\":").count() {
        found if found == expected => Ok(()),
        found => bail!("{found} VMs listed instead of {expected}"),
    }
}

fn running(vm: &Value) -> Result<()> {
    match text(vm, "state")? {
        "Running" => Ok(()),
        other => bail!("VM {} is {other}", vm["uuid"]),
    }
}

/// Uuids of all VMs; there must be `count`, and all must run.
async fn full(admin: &Client, count: u32) -> Result<Vec<String>> {
    let limit = "limit=1000000&fields=uuid,state";
    let answer: Value = serde_json::from_str(&admin.read(&format!("/vm-instances?q=state=Running&{limit}")).await?)?;
    let found = answer["inventories"].as_array().context("no inventories")?;
    if found.len() != count as usize {
        bail!("{} VMs run instead of {count}", found.len());
    }
    found.iter().map(|vm| Ok(text(vm, "uuid")?.to_owned())).collect()
}

/// Everything that a VM needs; returns the parameters of one, all but its name.
async fn ground(admin: &Client, hosts: u32) -> Result<Value> {
    let create = async |path: &str, params: Value| -> Result<String> {
        Ok(text(&admin.create(path, params).await?, "uuid")?.to_owned())
    };
    let zone = create("/zones", json!({"name": "zone"})).await?;
    let cluster = json!({"name": "cluster", "zoneUuid": zone, "hypervisorType": "KVM"});
    let cluster = create("/clusters", cluster).await?;
    let (client, of) = (admin.clone(), cluster.clone());
    let added = load::make(8, Until::Rounds(hosts.into()), move |number| {
        let (client, of) = (client.clone(), of.clone());
        async move {
            let address = format!("10.200.{}.{}", number / 250, number % 250 + 1);
            let host = json!({
                "name": format!("host-{number}"), "managementIp": address, "clusterUuid": of,
                "username": "root", "password": "secret",
            });
            client.create("/hosts/kvm", host).await.map(drop)
        }
    })
    .await;
    if let Some(error) = added.first_error {
        bail!("{} hosts could not be added: {error}", added.errors);
    }
    let storage = json!({"name": "local", "url": "/zstack_ps", "zoneUuid": zone});
    let storage = create("/primary-storage/local-storage", storage).await?;
    admin.create(&format!("/clusters/{cluster}/primary-storage/{storage}"), json!({})).await?;
    let server = json!({
        "name": "images", "hostname": "10.200.0.1", "username": "root", "password": "secret", "url": "/zstack_bs",
    });
    let server = create("/backup-storage/image-store", server).await?;
    admin.create(&format!("/zones/{zone}/backup-storage/{server}"), json!({})).await?;
    let image = json!({
        "name": "tiny", "url": "http://images.example/tiny.qcow2", "format": "qcow2", "platform": "Linux",
        "mediaType": "RootVolumeTemplate", "backupStorageUuids": [server],
    });
    let image = create("/images", image).await?;
    let l2 = json!({"name": "l2", "zoneUuid": zone, "physicalInterface": "eth0"});
    let l2 = create("/l2-networks/no-vlan", l2).await?;
    admin.create(&format!("/l2-networks/{l2}/clusters/{cluster}"), json!({})).await?;
    let l3 = create("/l3-networks", json!({"name": "l3", "l2NetworkUuid": l2, "category": "Private"})).await?;
    let range = json!({
        "name": "range", "startIp": "10.1.0.10", "endIp": "10.1.255.250", "netmask": "255.255.0.0",
        "gateway": "10.1.0.1",
    });
    admin.create(&format!("/l3-networks/{l3}/ip-ranges"), range).await?;
    let providers = admin.query("/network-services/providers", &["type=Flat".to_owned()]).await?;
    let flat = text(providers.first().context("there is no Flat network service provider")?, "uuid")?;
    let services = json!({"networkServices": {flat: ["DHCP", "Userdata"]}});
    admin.create(&format!("/l3-networks/{l3}/network-services"), services).await?;
    let offering = json!({"name": "tiny", "cpuNum": 1, "memorySize": 128 << 20});
    let offering = create("/instance-offerings", offering).await?;
    Ok(json!({"instanceOfferingUuid": offering, "imageUuid": image, "l3NetworkUuids": [l3]}))
}
