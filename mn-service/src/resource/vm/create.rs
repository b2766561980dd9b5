//! Creating a VM (CS-VM-003..014): the workflow `vm.create`.

use std::sync::Arc;

use mn_service_db::entity::{counter, disk_offering, instance_offering, vm_cd_rom, vm_instance, vm_nic, volume};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult, new_uuid};
use mn_service_workflow::{Undo, Workflow};
use node_manager_types::operation::{StartVm, StopVm};
use node_manager_types::vm::StopMode;
use sea_orm::{
    ActiveValue::Set,
    ConnectionTrait, EntityTrait,
    prelude::*,
    sea_query::{ExprTrait, OnConflict},
};
use serde::{Deserialize, Serialize};

use super::{
    LEASES,
    nic::{self, NewNic, Receiver},
    placement::{self, Placement, Wanted},
    settings, spec,
};
use crate::{
    access, agents,
    api::{Call, Plan, StepError, StepResult},
    app::{App, OrInternal, Tx},
    cascade,
    resource::{
        affinity, deletion, image, l3_network, primary_storage,
        quota::{self, Counted},
        volume as volumes,
    },
    tags,
};

mn_service_types::messages! {
    CreateVmInstance {
        name: String, description: Option<String>, instance_offering_uuid: Option<String>, cpu_num: Option<i32>, memory_size: Option<i64>,
        reserved_memory_size: Option<i64>, image_uuid: Option<String>, l3_network_uuids: Option<Vec<String>>, r#type: Option<String>,
        root_disk_offering_uuid: Option<String>, root_disk_size: Option<i64>, data_disk_sizes: Option<Vec<i64>>,
        data_disk_offering_uuids: Option<Vec<String>>, zone_uuid: Option<String>, cluster_uuid: Option<String>, host_uuid: Option<String>,
        primary_storage_uuid_for_root_volume: Option<String>, default_l3_network_uuid: Option<String>, strategy: Option<String>,
        platform: Option<String>, guest_os_type: Option<String>, architecture: Option<String>, system_tags: Option<Vec<String>>,
    }
}

/// A volume to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NewVolume {
    uuid: String,
    name: String,
    /// Bytes.
    pub(super) size: i64,
    offering: Option<String>,
}

/// State of a creation. All ids are chosen before the first step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CreateVm {
    job: String,
    pub(super) uuid: String,
    account: String,
    name: String,
    description: Option<String>,
    kind: String,
    offering: Option<String>,
    cpu: i32,
    memory: i64,
    reserved_memory: Option<i64>,
    image: String,
    is_iso: bool,
    platform: String,
    architecture: String,
    guest_os: Option<String>,
    strategy: Option<String>,
    default_l3: Option<String>,
    root: NewVolume,
    data: Vec<NewVolume>,
    nics: Vec<NewNic>,
    cdrom: String,
    system_tags: Vec<String>,
    wanted: Wanted,
    start: bool,
    placement: Option<Placement>,
}

pub(super) async fn prepare(call: Call, msg: CreateVmInstance) -> ApiResult<Plan<CreateVm>> {
    let app = call.app.clone();
    let conn = app.db.read();
    let given = |text: Option<String>| text.filter(|t| !t.is_empty());
    let mut problems = Vec::new();

    // Clients send zeroes for "as the offering says".
    let offering = match given(msg.instance_offering_uuid) {
        Some(uuid) => instance_offering::Entity::find_by_id(uuid).one(conn).await.or_internal()?,
        None => None,
    };
    let cpu = msg.cpu_num.filter(|n| *n > 0).or(offering.as_ref().map(|o| o.cpu_num)).unwrap_or(0);
    let memory = msg.memory_size.filter(|n| *n > 0).or(offering.as_ref().map(|o| o.memory_size)).unwrap_or(0);
    if cpu < 1 || memory < 1 {
        problems.push("give instanceOfferingUuid, or cpuNum and memorySize".to_owned());
    }
    if offering.as_ref().is_some_and(|o| o.state != "Enabled") {
        problems
            .push("instanceOfferingUuid: the instance offering is Disabled; enable it or choose another".to_owned());
    }
    let Some(image_uuid) = given(msg.image_uuid) else {
        problems.push("parameter imageUuid is required".to_owned());
        return Err(ApiError::invalid(&problems));
    };
    let found = image::load(conn, &image_uuid).await?;
    // CS-VM-009.
    if found.state != "Enabled" || found.status != "Ready" {
        problems.push(format!(
            "imageUuid: image {} is {} and {}; only Enabled and Ready images start VMs",
            found.name, found.state, found.status
        ));
    }
    let is_iso = found.media_type == "ISO";
    let root_size = root_size(conn, &msg.root_disk_offering_uuid, msg.root_disk_size).await?;
    if is_iso && root_size.is_none() {
        // CS-VM-007.
        problems.push("an ISO needs rootDiskOfferingUuid or rootDiskSize for the new root volume".to_owned());
    }
    if !is_iso && root_size.as_ref().is_some_and(|(size, _)| *size < found.size) {
        problems.push(format!("rootDiskSize must be at least the image's size of {} bytes", found.size));
    }
    let l3s = msg.l3_network_uuids.unwrap_or_default();
    if l3s.is_empty() {
        // CS-VM-003.
        problems.push("parameter l3NetworkUuids must name at least one L3 network".to_owned());
    }
    if let Err(error) = l3_network::check_usable(conn, &l3s).await {
        problems.extend(error.details.lines().map(str::to_owned));
    }
    let default_l3 = given(msg.default_l3_network_uuid).or_else(|| l3s.first().cloned());
    if default_l3.as_ref().is_some_and(|l3| !l3s.contains(l3)) {
        problems.push("defaultL3NetworkUuid must be one of l3NetworkUuids".to_owned());
    }
    let system_tags = msg.system_tags.unwrap_or_default();
    let hostname = spec::tag_value(&system_tags, "hostname").and_then(super::hostname_problem);
    problems.extend(hostname.map(|problem| format!("systemTags: {problem}")));
    let nics = new_nics(conn, &l3s, &system_tags, &mut problems).await?;
    let data = data_volumes(conn, &msg.name, msg.data_disk_offering_uuids, msg.data_disk_sizes, &mut problems).await?;
    let zone = given(msg.zone_uuid);
    let group = affinity::named(conn, &call.caller, &system_tags, zone.as_deref(), &mut problems).await?;
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }

    let uuid = call.new_resource_uuid();
    // The state of a workflow is stored: no secret may be in it.
    let system_tags = sealed_tags(&app, &uuid, system_tags)?;
    let (size, root_offering) = root_size.unwrap_or((found.size, None));
    let disk = size + data.iter().map(|volume| volume.size).sum::<i64>();
    Ok(Plan::Run(CreateVm {
        job: call.job.clone(),
        account: call.caller.account.clone(),
        root: NewVolume { uuid: new_uuid(), name: format!("ROOT-for-{}", msg.name), size, offering: root_offering },
        name: msg.name,
        description: msg.description,
        kind: msg.r#type.unwrap_or_else(|| "UserVm".to_owned()),
        offering: offering.as_ref().map(|o| o.uuid.clone()),
        cpu,
        memory,
        reserved_memory: msg.reserved_memory_size,
        platform: msg.platform.or_else(|| found.platform.clone()).unwrap_or_else(|| "Linux".to_owned()),
        architecture: msg.architecture.or_else(|| found.architecture.clone()).unwrap_or_else(|| "x86_64".to_owned()),
        guest_os: msg.guest_os_type.or_else(|| found.guest_os_type.clone()),
        strategy: offering.and_then(|o| o.allocator_strategy).or_else(|| Some(placement::LEAST_VM.to_owned())),
        wanted: Wanted {
            cpu: i64::from(cpu),
            memory,
            l3s,
            backup_storage: super::image_server(conn, &image_uuid).await?,
            zone: zone.or_else(|| group.as_ref()?.zone_uuid.clone()),
            cluster: given(msg.cluster_uuid),
            host: given(msg.host_uuid),
            primary_storage: given(msg.primary_storage_uuid_for_root_volume),
            disk,
            affinity_group: group.map(|group| group.uuid),
        },
        image: image_uuid,
        is_iso,
        default_l3,
        data,
        nics,
        cdrom: new_uuid(),
        system_tags,
        start: msg.strategy.as_deref().unwrap_or("InstantStart") == "InstantStart",
        placement: None,
        uuid,
    }))
}

fn sealed_tags(app: &App, vm: &str, given: Vec<String>) -> ApiResult<Vec<String>> {
    let seal = |tag: String| match tags::parse("consolePassword::{password}", &tag) {
        Some(password) => settings::sealed_password(app, vm, &password.concat()),
        None => Ok(tag),
    };
    given.into_iter().map(seal).collect()
}

/// Size of the root volume where the call names one, and the offering that says so.
pub(super) async fn root_size<C: ConnectionTrait>(
    conn: &C,
    offering: &Option<String>,
    size: Option<i64>,
) -> ApiResult<Option<(i64, Option<String>)>> {
    if let Some(size) = size.filter(|size| *size > 0) {
        return Ok(Some((size, None)));
    }
    let Some(uuid) = offering.as_deref().filter(|uuid| !uuid.is_empty()) else { return Ok(None) };
    let row = disk_offering::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    Ok(row.map(|row| (row.disk_size, Some(row.uuid))))
}

/// Data volumes that the call asks for.
pub(super) async fn data_volumes<C: ConnectionTrait>(
    conn: &C,
    vm_name: &str,
    offerings: Option<Vec<String>>,
    sizes: Option<Vec<i64>>,
    problems: &mut Vec<String>,
) -> ApiResult<Vec<NewVolume>> {
    let mut wanted = Vec::new();
    for uuid in offerings.unwrap_or_default() {
        match disk_offering::Entity::find_by_id(&uuid).one(conn).await.or_internal()? {
            Some(row) if row.state == "Enabled" => wanted.push((row.disk_size, Some(row.uuid))),
            Some(row) => problems.push(format!("dataDiskOfferingUuids: disk offering {} is {}", row.name, row.state)),
            None => problems.push(format!("dataDiskOfferingUuids: there is no disk offering {uuid}")),
        }
    }
    for size in sizes.unwrap_or_default() {
        if size > 0 {
            wanted.push((size, None))
        } else {
            problems.push(format!("dataDiskSizes must be positive, not {size}"))
        }
    }
    let volumes = wanted.into_iter().enumerate().map(|(index, (size, offering))| NewVolume {
        uuid: new_uuid(),
        name: format!("DATA-for-{vm_name}-{}", index + 1),
        size,
        offering,
    });
    Ok(volumes.collect())
}

async fn new_nics<C: ConnectionTrait>(
    conn: &C,
    l3s: &[String],
    system_tags: &[String],
    problems: &mut Vec<String>,
) -> ApiResult<Vec<NewNic>> {
    let of_l3 = |prefix: &str, l3: &str| {
        let wanted = format!("{prefix}::{l3}::");
        system_tags.iter().find_map(|tag| tag.strip_prefix(wanted.as_str()).map(str::to_owned))
    };
    let mut nics: Vec<NewNic> = Vec::new();
    for l3 in l3s {
        let wanted_ip = match of_l3("staticIp", l3).map(|text| nic::parse_ip("systemTags: staticIp", &text)) {
            Some(Ok(ip)) => Some(ip),
            Some(Err(problem)) => {
                problems.push(problem);
                None
            }
            None => None,
        };
        let wanted_mac = of_l3("customMac", l3).map(|mac| mac.to_ascii_lowercase());
        if let Some(mac) = &wanted_mac {
            let twice = nics.iter().any(|other| other.wanted_mac.as_ref() == Some(mac));
            let problem = match twice {
                true => Some(format!("{mac} is asked for twice")),
                false => nic::mac_problem(conn, mac, None).await?,
            };
            problems.extend(problem.map(|problem| format!("systemTags: customMac {problem}")));
        }
        nics.push(NewNic {
            uuid: new_uuid(),
            used_ip: new_uuid(),
            l3: l3.clone(),
            wanted_ip,
            wanted_mac,
            driver: None,
        });
    }
    Ok(nics)
}

pub(super) fn workflow() -> Workflow<App, CreateVm, StepError> {
    Workflow::named("vm.create", 1)
        .step("reserve", reserve, Undo::with(forget))
        .step(
            "fetch-image",
            fetch_image,
            Undo::nothing("the image cache is shared and its collector removes what nobody uses"),
        )
        .step("create-volumes", create_volumes, Undo::with(delete_volumes))
        .step("prepare-network", prepare_network, Undo::nothing(LEASES))
        .step("start", start, Undo::with(stop))
        .step("note", note, Undo::nothing("it is the last step and one transaction"))
}

/// Rows, addresses, host capacity and storage room: one transaction, so nobody ever sees half of it.
async fn reserve(app: Arc<App>, mut state: CreateVm) -> StepResult<CreateVm> {
    let service = app.clone();
    let placement = app
        .write({
            let state = state.clone();
            move |tx| async move {
                affinity::enter(&tx, state.wanted.affinity_group.as_deref()).await?;
                if let Some(row) = vm_instance::Entity::find_by_id(&state.uuid).one(&*tx).await.or_internal()? {
                    return recorded(&tx, &row, &state).await;
                }
                quota::demand(&service, &tx, &state.account, &demands(&state), "").await?;
                let internal_id = next_internal_id(&tx).await?;
                let placement = placement::reserve(&service, &tx, &state.uuid, &state.wanted).await?;
                insert_rows(&service, &tx, &state, &placement, internal_id).await?;
                Ok(placement)
            }
        })
        .await?;
    state.placement = Some(placement);
    Ok(state)
}

/// What the new VM counts in its account's quotas.
fn demands(state: &CreateVm) -> Vec<(Counted, i64)> {
    let mut demands = vec![
        (Counted::Vms, 1),
        (Counted::DataVolumes, i64::try_from(state.data.len()).unwrap_or(i64::MAX)),
        (Counted::VolumeBytes, state.wanted.disk),
    ];
    if state.start {
        demands.extend(super::running_demands(state.cpu, state.memory));
    }
    demands
}

/// The placement that a run before a crash chose.
async fn recorded(tx: &Tx, row: &vm_instance::Model, state: &CreateVm) -> ApiResult<Placement> {
    let root = volume::Entity::find_by_id(&state.root.uuid).one(&**tx).await.or_internal()?;
    let part = |value: Option<String>| value.ok_or_else(|| ApiError::internal("a VM under creation has no place"));
    Ok(Placement {
        zone: part(row.zone_uuid.clone())?,
        cluster: part(row.cluster_uuid.clone())?,
        host: part(row.host_uuid.clone())?,
        primary_storage: part(root.and_then(|root| root.primary_storage_uuid))?,
    })
}

/// The next number of a VM. Whoever has taken one keeps the others waiting until the transaction ends, so that on
/// MariaDB as on SQLite every placement sees the ones before it.
async fn next_internal_id(tx: &Tx) -> ApiResult<i64> {
    const NAME: &str = "vm.internalId";
    use counter::Column;
    let first = counter::ActiveModel { name: Set(NAME.to_owned()), value: Set(1) };
    let or_next = OnConflict::column(Column::Name).value(Column::Value, Expr::col(Column::Value).add(1)).to_owned();
    counter::Entity::insert(first).on_conflict(or_next).exec_without_returning(&**tx).await.or_internal()?;
    let row = counter::Entity::find_by_id(NAME).one(&**tx).await.or_internal()?;
    row.map(|row| row.value).ok_or_else(|| ApiError::internal("the VM counter is gone"))
}

async fn insert_rows(app: &App, tx: &Tx, state: &CreateVm, placement: &Placement, internal_id: i64) -> ApiResult<()> {
    let now = now_millis();
    let row = vm_instance::ActiveModel {
        uuid: Set(state.uuid.clone()),
        name: Set(state.name.clone()),
        description: Set(state.description.clone()),
        zone_uuid: Set(Some(placement.zone.clone())),
        cluster_uuid: Set(Some(placement.cluster.clone())),
        host_uuid: Set(Some(placement.host.clone())),
        last_host_uuid: Set(None),
        image_uuid: Set(Some(state.image.clone())),
        instance_offering_uuid: Set(state.offering.clone()),
        root_volume_uuid: Set(Some(state.root.uuid.clone())),
        platform: Set(Some(state.platform.clone())),
        architecture: Set(Some(state.architecture.clone())),
        default_l3_network_uuid: Set(state.default_l3.clone()),
        r#type: Set(state.kind.clone()),
        hypervisor_type: Set(Some("KVM".to_owned())),
        memory_size: Set(state.memory),
        reserved_memory_size: Set(state.reserved_memory),
        cpu_num: Set(state.cpu),
        cpu_speed: Set(0),
        allocator_strategy: Set(state.strategy.clone()),
        state: Set("Starting".to_owned()),
        internal_id: Set(internal_id),
        guest_os_type: Set(state.guest_os.clone()),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    vm_instance::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    let place = primary_storage::place(&**tx, &placement.primary_storage, &placement.host).await?;
    let kinds = std::iter::once("Root").chain(std::iter::repeat("Data"));
    for ((index, new), kind) in std::iter::once(&state.root).chain(&state.data).enumerate().zip(kinds) {
        volumes::reserve(app, tx, &new.uuid, &place, new.size).await?;
        let row = volume::ActiveModel {
            uuid: Set(new.uuid.clone()),
            name: Set(new.name.clone()),
            primary_storage_uuid: Set(Some(placement.primary_storage.clone())),
            vm_instance_uuid: Set(Some(state.uuid.clone())),
            disk_offering_uuid: Set(new.offering.clone()),
            root_image_uuid: Set((kind == "Root").then(|| state.image.clone())),
            install_path: Set(Some(volumes::path(&place.root.path, &new.uuid))),
            r#type: Set(kind.to_owned()),
            format: Set(Some("qcow2".to_owned())),
            size: Set(new.size),
            actual_size: Set(Some(0)),
            device_id: Set(Some(i32::try_from(index).unwrap_or(0))),
            state: Set("Enabled".to_owned()),
            status: Set("Creating".to_owned()),
            is_shareable: Set(false),
            create_date: Set(now),
            last_op_date: Set(now),
            ..Default::default()
        };
        volume::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
        volumes::note_place(tx, "VolumeVO", &new.uuid, &place, new.size).await?;
        access::own(tx, &state.account, "VolumeVO", &new.uuid).await?;
    }
    for (index, nic) in state.nics.iter().enumerate() {
        let receiver = Receiver { account: &state.account, vm: &state.uuid, internal_id, platform: &state.platform };
        nic::insert(tx, receiver, nic, i32::try_from(index).unwrap_or(0)).await?;
    }
    if !state.system_tags.iter().any(|tag| tag == "createWithoutCdRom::true") {
        let drive = vm_cd_rom::ActiveModel {
            uuid: Set(state.cdrom.clone()),
            vm_instance_uuid: Set(state.uuid.clone()),
            device_id: Set(0),
            iso_uuid: Set(state.is_iso.then(|| state.image.clone())),
            name: Set(format!("vm-{}-cdRom", state.uuid)),
            create_date: Set(now),
            last_op_date: Set(now),
            ..Default::default()
        };
        vm_cd_rom::Entity::insert(drive).exec_without_returning(&**tx).await.or_internal()?;
    }
    if let Some(group) = &state.wanted.affinity_group {
        affinity::join(tx, group, &state.uuid).await?;
    }
    // The host needs them (host name, user data) before the call ends.
    for tag in &state.system_tags {
        if tags::match_system("VmInstanceVO", tag).is_some_and(|m| !m.ephemeral) {
            tags::add_system(&**tx, "VmInstanceVO", &state.uuid, tag, false).await?;
        }
    }
    // CS-VM-012: the firmware is that of the image unless the call says otherwise.
    if spec::tag_value(&state.system_tags, "bootMode").is_none() {
        let of_image = tags::system_of(&**tx, &state.image).await?;
        if let Some(mode) = spec::tag_value(&of_image, "bootMode") {
            tags::add_system(&**tx, "VmInstanceVO", &state.uuid, &format!("bootMode::{mode}"), false).await?;
        }
    }
    access::own(tx, &state.account, "VmInstanceVO", &state.uuid).await
}

/// Takes everything back that `reserve` wrote.
async fn forget(app: Arc<App>, state: CreateVm) -> StepResult<()> {
    super::leave_network(&app, &state.uuid).await?;
    app.write(|tx| async move {
        let mut deletion = cascade::plan(&*tx, "VmInstanceVO", std::slice::from_ref(&state.uuid)).await?;
        let data = state.data.iter().map(|volume| volume.uuid.clone()).collect::<Vec<_>>();
        // Data volumes of a VM that never was go with it.
        let volumes = cascade::plan(&*tx, "VolumeVO", &data).await?;
        deletion.merge(volumes);
        deletion.stops.clear();
        deletion::remove(&tx, &deletion).await
    })
    .await?;
    Ok(())
}

async fn placed(app: &App, state: &CreateVm) -> ApiResult<(Placement, primary_storage::Place)> {
    let placement = state.placement.clone().ok_or_else(|| ApiError::internal("a VM under creation has no place"))?;
    let place = primary_storage::place(app.db.read(), &placement.primary_storage, &placement.host).await?;
    Ok((placement, place))
}

async fn fetch_image(app: Arc<App>, state: CreateVm) -> StepResult<CreateVm> {
    let (_, place) = placed(&app, &state).await?;
    let cached = image::ensure_cached(&app, &state.job, &place, &state.image).await?;
    if state.is_iso {
        let (uuid, path) = (state.cdrom.clone(), cached.path);
        app.write(|tx| async move {
            let drive =
                vm_cd_rom::ActiveModel { uuid: Set(uuid), iso_install_path: Set(Some(path)), ..Default::default() };
            vm_cd_rom::Entity::update(drive).exec(&*tx).await.or_internal()?;
            Ok(())
        })
        .await?;
    }
    Ok(state)
}

async fn create_volumes(app: Arc<App>, state: CreateVm) -> StepResult<CreateVm> {
    let (_, place) = placed(&app, &state).await?;
    let backing = match state.is_iso {
        true => None,
        false => Some(image::ensure_cached(&app, &state.job, &place, &state.image).await?.path),
    };
    let root =
        volumes::create_on(&app, &state.job, &place, &state.root.uuid, state.root.size, backing.as_deref()).await?;
    let mut made = vec![(state.root.uuid.clone(), root)];
    for data in &state.data {
        made.push((
            data.uuid.clone(),
            volumes::create_on(&app, &state.job, &place, &data.uuid, data.size, None).await?,
        ));
    }
    app.write(|tx| async move {
        for (uuid, facts) in made {
            let row = volume::ActiveModel {
                uuid: Set(uuid),
                install_path: Set(Some(facts.path)),
                actual_size: Set(i64::try_from(facts.actual_size.as_bytes()).ok()),
                status: Set("Ready".to_owned()),
                ..Default::default()
            };
            volume::Entity::update(row).exec(&*tx).await.or_internal()?;
        }
        Ok(())
    })
    .await?;
    Ok(state)
}

async fn delete_volumes(app: Arc<App>, state: CreateVm) -> StepResult<()> {
    let (_, place) = placed(&app, &state).await?;
    for volume in std::iter::once(&state.root).chain(&state.data) {
        volumes::delete_on(&app, &state.job, &place, &volumes::path(&place.root.path, &volume.uuid)).await?;
    }
    Ok(())
}

async fn rows(app: &App, state: &CreateVm) -> ApiResult<(vm_instance::Model, Vec<vm_nic::Model>)> {
    let vm = super::find(app.db.read(), &state.uuid).await?;
    let nics = spec::nics(app.db.read(), &state.uuid).await?;
    Ok((vm, nics))
}

async fn prepare_network(app: Arc<App>, state: CreateVm) -> StepResult<CreateVm> {
    if state.start {
        let (placement, _) = placed(&app, &state).await?;
        let (vm, nics) = rows(&app, &state).await?;
        super::join_network(&app, &state.job, &placement.host, &vm, &nics).await?;
    }
    Ok(state)
}

async fn start(app: Arc<App>, state: CreateVm) -> StepResult<CreateVm> {
    if state.start {
        let (placement, _) = placed(&app, &state).await?;
        let vm = super::find(app.db.read(), &state.uuid).await?;
        let start = StartVm { vm: spec::of(&app, app.db.read(), &vm).await? };
        let agent = app.agents.of(app.db.read(), &placement.host).await?;
        agents::run(&agent, &state.job, "start", start, app.host_patience()).await.map_err(|e| {
            agents::failure(
                ErrorCode::HypervisorStart,
                format!("VM {} could not be started", state.name),
                &placement.host,
                &e,
            )
        })?;
    }
    Ok(state)
}

async fn stop(app: Arc<App>, state: CreateVm) -> StepResult<()> {
    if state.start {
        let (placement, _) = placed(&app, &state).await?;
        let agent = app.agents.of(app.db.read(), &placement.host).await?;
        let stop = StopVm { vm: agents::id(&state.uuid)?, mode: StopMode::PowerOff };
        agents::run(&agent, &state.job, "undo-start", stop, app.host_patience()).await.map_err(|e| {
            agents::failure(
                ErrorCode::HypervisorStop,
                format!("VM {} could not be stopped", state.name),
                &placement.host,
                &e,
            )
        })?;
    }
    Ok(())
}

async fn note(app: Arc<App>, state: CreateVm) -> StepResult<CreateVm> {
    let uuid = state.uuid.clone();
    let started = state.start;
    app.write(|tx| async move {
        if started {
            super::mark_running(&tx, &uuid).await
        } else {
            crate::resource::allocation::mark_stopped(&tx, &[uuid]).await
        }
    })
    .await?;
    Ok(state)
}
