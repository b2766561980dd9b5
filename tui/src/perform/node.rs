//! Looks at the node: what the main screen shows.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::{DateTime, Local};
use node_control::{Client, agent, management};
use node_manager_net::change::places::Places;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::{Join, Paths, network};
use crate::{
    effect::Interface,
    facts::{
        AgentFacts, CloudFacts, DiskFacts, Facts, MemoryFacts, NicFacts, Reading, ServiceFacts, TimeFacts, VmFacts,
    },
    role::Role,
};

/// A look may take this part of the time until the next: the console idles below one hundredth of a processor.
const IDLE_PART: u32 = 200;
/// How often the services are asked, in looks at everything else.
const SERVICES_EVERY: u64 = 3;

/// What controls RabbitMQ.
const MESSAGE_BUS: &str = "rabbitmqctl";

/// Two numbers of each interface, by its name: what comes in and what goes out.
type Counters = BTreeMap<String, (u64, u64)>;

/// Looks at the node again and again.
pub struct Observer {
    role: Role,
    places: Places,
    folders: Vec<PathBuf>,
    management: Client,
    agent: Client,
    join: Join,
    /// Without it there is no use of processors and memory to be seen.
    system: Option<System>,
    looks: u64,
    /// Bytes in and out of each interface, and when they were read.
    traffic: Option<(Instant, Counters)>,
    nics: Reading<Vec<Interface>>,
    /// When the interfaces are looked at again.
    nics_due: Option<Instant>,
    facts: Facts,
}

/// Whether there is a program of this name to be run.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

impl Observer {
    /// Looks at a node of that kind.
    pub fn new(role: Role, paths: &Paths) -> Self {
        let patience = Duration::from_secs(2);
        let wanted = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        Self {
            role,
            places: paths.network.clone(),
            folders: paths.folders.clone(),
            management: Client::new(&paths.management).with_patience(patience),
            agent: Client::new(&paths.agent).with_patience(patience),
            join: paths.join.clone(),
            system: System::new_with_specifics(wanted).ok(),
            looks: 0,
            traffic: None,
            nics: Reading::Unknown,
            nics_due: None,
            facts: Facts {
                host: System::host_name().unwrap_or_default(),
                message_bus: has(MESSAGE_BUS),
                ..Facts::default()
            },
        }
    }

    /// What the node is like now. The services are not waited for the first time: there is a screen at once.
    pub async fn look(&mut self) -> Facts {
        self.facts.time = time();
        self.look_at_system();
        self.facts.disks = self.folders.iter().map(disk).collect();
        self.look_at_nics().await;
        if self.looks > 0 && self.looks % SERVICES_EVERY == 1 {
            self.look_at_services().await;
        }
        self.looks += 1;
        self.facts.clone()
    }

    fn look_at_system(&mut self) {
        let Some(system) = &mut self.system else { return };
        system.refresh_cpu_usage();
        system.refresh_memory();
        self.facts.processors = system.cpus().len();
        // The share is that since the look before.
        self.facts.processor = (self.looks > 0).then(|| f64::from(system.global_cpu_usage()) / 100.0);
        self.facts.memory = Some(MemoryFacts { used: system.used_memory(), total: system.total_memory() });
    }

    async fn look_at_nics(&mut self) {
        let now = Instant::now();
        if self.nics_due.is_none_or(|due| now >= due) {
            self.nics = match network::interfaces(&self.places).await {
                Ok(interfaces) => Reading::Seen(interfaces),
                Err(why) => Reading::Missing(why),
            };
            self.nics_due = Some(Instant::now() + now.elapsed() * IDLE_PART);
        }
        let counters = counters();
        let rates = self.rates(now, &counters);
        self.facts.nics = match &self.nics {
            Reading::Unknown => Reading::Unknown,
            Reading::Missing(why) => Reading::Missing(why.clone()),
            Reading::Seen(interfaces) => Reading::Seen(
                interfaces
                    .iter()
                    .map(|interface| NicFacts {
                        name: interface.name.clone(),
                        kind: interface.kind.clone(),
                        up: interface.on && interface.carrier,
                        management: interface.management,
                        addresses: interface.addresses.iter().map(ToString::to_string).collect(),
                        traffic: rates.get(&interface.name).copied(),
                    })
                    .collect(),
            ),
        };
        self.traffic = Some((now, counters));
    }

    fn rates(&self, now: Instant, counters: &Counters) -> Counters {
        let Some((then, before)) = &self.traffic else { return Counters::new() };
        let passed = u64::try_from(now.duration_since(*then).as_millis()).unwrap_or(u64::MAX).max(1);
        // A counter that went back belongs to another interface of the same name.
        let rate = |new: u64, old: u64| new.saturating_sub(old).saturating_mul(1000) / passed;
        let known = counters.iter().filter_map(|(name, new)| Some((name, new, before.get(name)?)));
        known.map(|(name, new, old)| (name.clone(), (rate(new.0, old.0), rate(new.1, old.1)))).collect()
    }

    async fn look_at_services(&mut self) {
        if self.role == Role::Management {
            let summary = self.management.get::<management::Summary>(node_control::SUMMARY).await;
            self.facts.service = match summary {
                Ok(summary) => Reading::Seen(service(summary)),
                Err(error) => Reading::Missing(error.to_string()),
            };
        } else {
            self.facts.cloud = Reading::Seen(cloud(&self.join));
            let summary = self.agent.get::<agent::Summary>(node_control::SUMMARY).await;
            self.facts.agent = match summary {
                Ok(summary) => Reading::Seen(agent_facts(summary)),
                Err(error) => Reading::Missing(error.to_string()),
            };
        }
    }
}

fn cloud(join: &Join) -> CloudFacts {
    let note = std::fs::read(&join.note).ok().and_then(|text| serde_json::from_slice::<agent::JoinNote>(&text).ok());
    CloudFacts { enrolled: join.certificate.exists(), joining: note.map(|note| (note.service, note.error)) }
}

/// Bytes in and out of every interface, as the kernel counts them: one file for all, where `/sys` has several for each.
fn counters() -> Counters {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    parse_counters(&text)
}

fn parse_counters(text: &str) -> Counters {
    let line = |line: &str| {
        let (name, values) = line.split_once(':')?;
        let mut values = values.split_ascii_whitespace().map(str::parse::<u64>);
        let (inward, outward) = (values.next()?.ok()?, values.nth(7)?.ok()?);
        Some((name.trim().to_owned(), (inward, outward)))
    };
    text.lines().filter_map(line).collect()
}

fn time() -> TimeFacts {
    const FORM: &str = "%Y-%m-%d %H:%M:%S";
    let load = System::load_average().map_or([0.0; 3], |load| [load.one, load.five, load.fifteen]);
    let started = System::boot_time().ok().and_then(|time| DateTime::from_timestamp(i64::try_from(time).ok()?, 0));
    let started = started.map(|time| time.with_timezone(&Local).format(FORM).to_string());
    TimeFacts {
        started: started.unwrap_or_default(),
        now: Local::now().format(FORM).to_string(),
        uptime: Duration::from_secs(System::uptime().unwrap_or(0)),
        load,
    }
}

fn disk(folder: &PathBuf) -> DiskFacts {
    let space = match nix::sys::statvfs::statvfs(folder) {
        Ok(space) => {
            let block = space.fragment_size();
            Reading::Seen((space.blocks_available().saturating_mul(block), space.blocks().saturating_mul(block)))
        }
        Err(error) => Reading::Missing(error.desc().to_owned()),
    };
    DiskFacts { folder: folder.display().to_string(), space }
}

fn service(summary: management::Summary) -> ServiceFacts {
    ServiceFacts {
        version: summary.version,
        web_address: summary.ui_address,
        licence: summary.licence,
        database_server: summary.database != "sqlite",
        hosts: [summary.hosts.total, summary.hosts.enabled, summary.hosts.connected],
        vms: [summary.vms.total, summary.vms.running, summary.vms.stopped],
        console_proxy: (summary.console_proxy.address, summary.console_proxy.port),
    }
}

fn agent_facts(summary: agent::Summary) -> AgentFacts {
    let seen = summary.management_seen_ms.map(|then| {
        let ago = Local::now().timestamp_millis().saturating_sub(then);
        Duration::from_millis(u64::try_from(ago).unwrap_or(0))
    });
    let vm = |vm: agent::Vm| VmFacts {
        uuid: vm.uuid,
        name: vm.name,
        cpus: vm.cpus,
        memory: vm.memory_bytes,
        state: vm.state,
    };
    AgentFacts {
        version: summary.version,
        host: summary.host_uuid,
        management_seen: seen,
        vms: summary.vms.into_iter().map(vm).collect(),
    }
}

/// What browsers reach consoles by (OS-TUI-086).
pub(super) async fn console_proxy(socket: &std::path::Path) -> Result<(Option<String>, u16), String> {
    let summary: management::Summary =
        Client::new(socket).get(node_control::SUMMARY).await.map_err(|error| error.to_string())?;
    Ok((summary.console_proxy.address, summary.console_proxy.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_the_kernel_are_read_by_name() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes\n\
                    \x20   lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  eth0:7 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\nbad: x\n";
        let counters = parse_counters(text);
        assert_eq!(counters.get("eth0"), Some(&(7, 9)));
        assert_eq!(counters.len(), 2);
    }

    #[test]
    fn a_folder_has_free_space_or_a_reason() {
        assert!(matches!(disk(&"/".into()).space, Reading::Seen((free, whole)) if free <= whole && whole > 0));
        assert!(matches!(disk(&"/does/not/exist".into()).space, Reading::Missing(_)));
    }
}
