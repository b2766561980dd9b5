//! What there is: every row of every table and everything on every host, to be compared with what there was; and
//! whether the tables and the hosts tell the same story.

use std::collections::{BTreeMap, BTreeSet};

use node_manager_sim::SimHandle;
use node_manager_types::{HostId, vm::VmState};
use sea_orm::{Database, DatabaseConnection, DbBackend, FromQueryResult, Statement};
use serde_json::Value;

/// Tables that are history, not state.
const HISTORY: [&str; 7] =
    ["job", "AuditsVO", "session", "counter", "seaql_migrations", "sqlite_sequence", "ManagementNodeVO"];

/// The tables as they stand.
pub(crate) struct Tables {
    rows: BTreeMap<String, Vec<Value>>,
}

/// Everything, comparable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    lines: BTreeSet<String>,
}

impl Picture {
    /// What came (`+`) and what went (`-`) since `before`.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        let gone = before.lines.difference(&self.lines).map(|line| format!("- {line}"));
        let new = self.lines.difference(&before.lines).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }
}

/// A program's database, opened beside it for reading.
pub(crate) struct Reader {
    db: DatabaseConnection,
    /// One statement that reads everything.
    all: String,
    tables: Vec<String>,
}

#[derive(FromQueryResult)]
struct Name {
    name: String,
}

#[derive(FromQueryResult)]
struct Row {
    name: String,
    fields: String,
}

async fn select<R: FromQueryResult>(db: &DatabaseConnection, sql: &str) -> Vec<R> {
    R::find_by_statement(Statement::from_string(db.get_database_backend(), sql)).all(db).await.unwrap()
}

impl Reader {
    /// Opens the database and learns its tables.
    pub(crate) async fn open(url: &str) -> Self {
        let db = Database::connect(url).await.unwrap();
        let (all, columns_of, quote): (_, fn(&str) -> String, _) = match db.get_database_backend() {
            DbBackend::Sqlite => (
                "SELECT name FROM sqlite_master WHERE type = 'table'",
                |table| format!("SELECT name FROM pragma_table_info('{table}')"),
                '"',
            ),
            _ => (
                "SELECT CAST(table_name AS CHAR) AS name FROM information_schema.tables WHERE table_schema = database()",
                |table| {
                    format!(
                        "SELECT CAST(column_name AS CHAR) AS name FROM information_schema.columns \
                         WHERE table_schema = database() AND table_name = '{table}'"
                    )
                },
                '`',
            ),
        };
        let mut parts = Vec::new();
        let mut tables = Vec::new();
        for Name { name } in select::<Name>(&db, all).await {
            let columns = select::<Name>(&db, &columns_of(&name)).await;
            let fields: Vec<String> =
                columns.iter().map(|Name { name }| format!("'{name}', {quote}{name}{quote}")).collect();
            let fields = fields.join(", ");
            parts.push(format!("SELECT '{name}' AS name, json_object({fields}) AS fields FROM {quote}{name}{quote}"));
            tables.push(name);
        }
        Self { db, all: parts.join(" UNION ALL "), tables }
    }

    /// The tables as they stand, all at one moment.
    pub(crate) async fn read(&self) -> Tables {
        let mut rows: BTreeMap<String, Vec<Value>> =
            self.tables.iter().map(|name| (name.clone(), Vec::new())).collect();
        for Row { name, fields } in select::<Row>(&self.db, &self.all).await {
            rows.entry(name).or_default().push(serde_json::from_str(&fields).unwrap());
        }
        Tables { rows }
    }
}

impl Tables {
    /// Rows of a table.
    pub(crate) fn of(&self, table: &str) -> &[Value] {
        self.rows.get(table).map_or_else(|| panic!("there is no table {table}"), Vec::as_slice)
    }

    /// Rows of a table in which `column` is `value`.
    pub(crate) fn with<'a>(&'a self, table: &str, column: &'a str, value: &'a str) -> impl Iterator<Item = &'a Value> {
        self.of(table).iter().filter(move |row| text(row, column) == value)
    }
}

/// A text column; empty for NULL.
pub(crate) fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_default()
}

/// Columns that tell when, or what a timer measured last.
fn is_volatile(table: &str, column: &str) -> bool {
    column.ends_with("Date")
        || column.contains("hysical")
        || (table == "BackupStorageVO" && column.ends_with("Capacity"))
}

/// Takes the picture.
pub(crate) fn picture(tables: &Tables, sim: &SimHandle) -> Picture {
    let mut lines = BTreeSet::new();
    for (name, rows) in tables.rows.iter().filter(|(name, _)| !HISTORY.contains(&name.as_str())) {
        for row in rows {
            let mut row = row.clone();
            if let Some(fields) = row.as_object_mut() {
                // Numbers that the database gave by itself say nothing.
                fields.retain(|column, value| column != "id" && !value.is_null() && !is_volatile(name, column));
            }
            lines.insert(format!("{name} {row}"));
        }
    }
    for host in hosts(tables) {
        let state = sim.state(host);
        let at = |what: &str| format!("host {host} {what}");
        for (id, vm) in state.vms {
            lines.insert(format!("{} {id} {:?} {:?}", at("VM"), vm.state, vm.spec));
        }
        lines.extend(state.bridges.values().map(|bridge| format!("{} {bridge:?}", at("bridge"))));
        lines.extend(state.dhcp.values().map(|dhcp| format!("{} {dhcp:?}", at("DHCP"))));
        lines.extend(sim.files(host).iter().map(|(path, size)| format!("{} {path} of {size}", at("file"))));
    }
    Picture { lines }
}

fn hosts(tables: &Tables) -> Vec<HostId> {
    tables.of("HostVO").iter().map(|row| text(row, "uuid").parse().unwrap()).collect()
}

/// Compares two sets and names the difference.
fn compare(found: &mut Vec<String>, what: &str, actual: BTreeSet<String>, wanted: BTreeSet<String>) {
    found.extend(actual.difference(&wanted).map(|extra| format!("{what}: {extra} should not be there")));
    found.extend(wanted.difference(&actual).map(|lost| format!("{what}: {lost} is missing")));
}

/// Everything in which tables and hosts, or tables among themselves, do not agree.
pub(crate) fn disagreements(tables: &Tables, sim: &SimHandle) -> Vec<String> {
    let mut found = Vec::new();
    settled(tables, &mut found);
    claims(tables, &mut found);
    addresses(tables, &mut found);
    for host in tables.of("HostVO") {
        if text(host, "status") == "Connected" {
            vms_of(tables, sim, host, &mut found);
            files_of(tables, sim, host, &mut found);
            networks_of(tables, sim, host, &mut found);
        }
    }
    found
}

/// Nothing is half done and nothing is left to do.
fn settled(tables: &Tables, found: &mut Vec<String>) {
    for job in tables.of("job").iter().filter(|job| matches!(text(job, "state"), "queued" | "running")) {
        found.push(format!("job {} {} is {}", text(job, "uuid"), text(job, "api"), text(job, "state")));
    }
    for table in ["saga", "saga_event", "garbage"] {
        found.extend(tables.of(table).iter().map(|row| format!("{table}: {row}")));
    }
    for (table, column) in [
        ("VmInstanceVO", "state"),
        ("VolumeVO", "status"),
        ("VolumeSnapshotVO", "status"),
        ("VolumeSnapshotTreeVO", "status"),
        ("ImageVO", "status"),
        ("ImageBackupStorageRefVO", "status"),
        ("ImageCacheVO", "state"),
        ("HostVO", "state"),
        ("HostVO", "status"),
        ("PrimaryStorageVO", "status"),
        ("BackupStorageVO", "status"),
    ] {
        for row in tables.of(table) {
            let word = text(row, column);
            if word.to_lowercase().ends_with("ing") && word != "Running" || word == "PreMaintenance" {
                found.push(format!("{table} {} is still {word}", text(row, "uuid")));
            }
        }
    }
}

fn number(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("{column} of {row} is no number"))
}

/// What holds capacity exists, and what is left follows from it.
fn claims(tables: &Tables, found: &mut Vec<String>) {
    let on_hosts = |vm: &&Value| !text(vm, "hostUuid").is_empty();
    let running = tables.of("VmInstanceVO").iter().filter(on_hosts).map(|vm| text(vm, "uuid").to_owned()).collect();
    let holding = tables.of("host_allocation").iter().map(|row| text(row, "vm_uuid").to_owned()).collect();
    compare(found, "processors and memory held by VM", holding, running);
    for capacity in tables.of("HostCapacityVO") {
        let uuid = text(capacity, "uuid");
        let held: i64 = tables.with("host_allocation", "host_uuid", uuid).map(|row| number(row, "memory")).sum();
        if number(capacity, "availableMemory") != number(capacity, "totalMemory") - held {
            found.push(format!("host {uuid} has {capacity}, and VMs hold {held}"));
        }
    }
    let placed = tables.of("VolumeVO").iter().filter(|volume| !text(volume, "primaryStorageUuid").is_empty());
    let mut holders: BTreeSet<String> = placed.map(|volume| text(volume, "uuid").to_owned()).collect();
    holders.extend(tables.of("VolumeSnapshotVO").iter().map(|row| text(row, "uuid").to_owned()));
    holders.extend(tables.of("ImageCacheVO").iter().filter_map(|row| {
        let (_, host) = text(row, "installUrl").split_once(";hostUuid://")?;
        Some(format!("{}@{host}", text(row, "imageUuid")))
    }));
    let claimed = tables.of("storage_allocation").iter().map(|row| text(row, "resource_uuid").to_owned()).collect();
    compare(found, "room on storage held by", claimed, holders);
    for share in tables.of("LocalStorageHostRefVO") {
        let (storage, host) = (text(share, "primaryStorageUuid"), text(share, "hostUuid"));
        let of_share = tables.with("storage_allocation", "primary_storage_uuid", storage);
        let held: i64 = of_share.filter(|row| text(row, "host_uuid") == host).map(|row| number(row, "size")).sum();
        if number(share, "availableCapacity") != number(share, "totalCapacity") - held {
            found.push(format!("share {share} does not fit the {held} bytes that are held"));
        }
    }
}

/// Addresses and the NICs that use them name each other.
fn addresses(tables: &Tables, found: &mut Vec<String>) {
    let used = |row: &&Value| !text(row, "vmNicUuid").is_empty();
    let held = tables.of("UsedIpVO").iter().filter(used);
    let held = held.map(|row| format!("{} by {}", text(row, "uuid"), text(row, "vmNicUuid"))).collect();
    let addressed = |row: &&Value| !text(row, "usedIpUuid").is_empty();
    let wanted = tables.of("VmNicVO").iter().filter(addressed);
    let wanted = wanted.map(|row| format!("{} by {}", text(row, "usedIpUuid"), text(row, "uuid"))).collect();
    compare(found, "address", held, wanted);
}

/// A host runs exactly the VMs that are noted there, with their disks and NICs.
fn vms_of(tables: &Tables, sim: &SimHandle, host: &Value, found: &mut Vec<String>) {
    let host = text(host, "uuid");
    let mut wanted = BTreeSet::new();
    for vm in tables.with("VmInstanceVO", "hostUuid", host) {
        let uuid = text(vm, "uuid");
        wanted.insert(format!("{uuid} {}", text(vm, "state")));
        wanted.extend(
            tables
                .with("VolumeVO", "vmInstanceUuid", uuid)
                .map(|volume| format!("{uuid} disk {}", text(volume, "installPath"))),
        );
        wanted.extend(
            tables
                .with("VmNicVO", "vmInstanceUuid", uuid)
                .map(|nic| format!("{uuid} NIC {}", text(nic, "mac").to_lowercase())),
        );
        let drives = tables.with("VmCdRomVO", "vmInstanceUuid", uuid);
        wanted.extend(
            drives
                .map(|drive| text(drive, "isoInstallPath"))
                .filter(|iso| !iso.is_empty())
                .map(|iso| format!("{uuid} ISO {iso}")),
        );
    }
    let mut actual = BTreeSet::new();
    for (uuid, vm) in sim.state(host.parse().unwrap()).vms {
        let word = match vm.state {
            VmState::Running | VmState::ShuttingDown => "Running",
            VmState::Paused => "Paused",
            VmState::Crashed => "Crashed",
        };
        actual.insert(format!("{uuid} {word}"));
        let spec = vm.spec.unwrap_or_else(|| panic!("VM {uuid} was started by nobody"));
        actual.extend(spec.disks.iter().map(|disk| format!("{uuid} disk {}", disk.path)));
        actual.extend(spec.cdroms.iter().filter_map(|drive| Some(format!("{uuid} ISO {}", drive.path.as_ref()?))));
        actual.extend(spec.nics.iter().map(|nic| format!("{uuid} NIC {}", nic.mac.to_lowercase())));
    }
    compare(found, &format!("VM on host {host}"), actual, wanted);
}

/// A host holds exactly the files of the volumes, snapshots, cached images and images that are noted there.
fn files_of(tables: &Tables, sim: &SimHandle, host: &Value, found: &mut Vec<String>) {
    let host = text(host, "uuid");
    let mut wanted = BTreeSet::new();
    for place in tables.with("LocalStorageResourceRefVO", "hostUuid", host) {
        let uuid = text(place, "resourceUuid");
        wanted.extend(tables.with("VolumeVO", "uuid", uuid).map(|row| text(row, "installPath").to_owned()));
        let snapshots = tables.with("VolumeSnapshotVO", "uuid", uuid);
        wanted.extend(snapshots.map(|row| text(row, "primaryStorageInstallPath").to_owned()));
    }
    for cached in tables.of("ImageCacheVO") {
        if let Some((path, at)) = text(cached, "installUrl").split_once(";hostUuid://")
            && at == host
        {
            wanted.insert(path.trim_start_matches("file://").to_owned());
        }
    }
    // Of a storage that is deleted the data stays (CS-DEL-043), and of one that is detached it waits.
    let mut roots: Vec<&str> = Vec::new();
    for server in tables.with("BackupStorageVO", "hostUuid", host) {
        let path = |copy: &Value| {
            let image = text(copy, "imageUuid");
            format!("{}/images/{image}/{image}.img", text(server, "url"))
        };
        wanted.extend(tables.with("ImageBackupStorageRefVO", "backupStorageUuid", text(server, "uuid")).map(path));
        roots.push(text(server, "url"));
    }
    for share in tables.with("LocalStorageHostRefVO", "hostUuid", host) {
        let storage = tables.with("PrimaryStorageVO", "uuid", text(share, "primaryStorageUuid"));
        roots.extend(storage.map(|storage| text(storage, "url")));
    }
    let ours = |path: &String| roots.iter().any(|root| path.starts_with(&format!("{root}/")));
    wanted.retain(ours);
    let actual = sim.files(host.parse().unwrap()).into_keys().filter(ours).collect();
    compare(found, &format!("file on host {host}"), actual, wanted);
    for (layer, below) in sim.broken_layers(host.parse().unwrap()) {
        found.push(format!("layer {layer} on host {host} has lost {below} below it"));
    }
}

/// A host has the bridges of its cluster's networks, and leases of the VMs that it runs.
fn networks_of(tables: &Tables, sim: &SimHandle, host: &Value, found: &mut Vec<String>) {
    let (uuid, cluster) = (text(host, "uuid"), text(host, "clusterUuid"));
    let state = sim.state(uuid.parse().unwrap());
    let l2s: Vec<&str> =
        tables.with("L2NetworkClusterRefVO", "clusterUuid", cluster).map(|row| text(row, "l2NetworkUuid")).collect();
    let bridges = l2s.iter().flat_map(|l2| tables.with("L2NetworkVO", "uuid", l2));
    let bridges = bridges.map(|row| text(row, "bridge").to_owned()).collect();
    compare(found, &format!("bridge on host {uuid}"), state.bridges.into_keys().collect(), bridges);

    let served = |l3: &str| {
        tables
            .with("NetworkServiceL3NetworkRefVO", "l3NetworkUuid", l3)
            .any(|row| text(row, "networkServiceType") == "DHCP")
    };
    let mut wanted = BTreeSet::new();
    for vm in tables.with("VmInstanceVO", "hostUuid", uuid) {
        let nics = tables.with("VmNicVO", "vmInstanceUuid", text(vm, "uuid"));
        let leased = nics.filter(|nic| !text(nic, "ip").is_empty() && served(text(nic, "l3NetworkUuid")));
        wanted.extend(leased.map(|nic| {
            format!("{} {} {}", text(nic, "l3NetworkUuid"), text(nic, "mac").to_lowercase(), text(nic, "ip"))
        }));
    }
    let mut actual = BTreeSet::new();
    for (l3, dhcp) in state.dhcp {
        let l3 = l3.to_string();
        let known = tables.with("L3NetworkVO", "uuid", &l3).any(|row| l2s.contains(&text(row, "l2NetworkUuid")));
        if !known || !served(&l3) {
            found.push(format!("DHCP server on host {uuid}: L3 network {l3} has none there"));
        }
        actual.extend(dhcp.leases.values().map(|lease| format!("{l3} {} {}", lease.mac, lease.ip)));
    }
    compare(found, &format!("lease on host {uuid}"), actual, wanted);
}
