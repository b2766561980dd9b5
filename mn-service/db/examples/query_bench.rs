//! How fast the query engine reads: `cargo run --release -p mn-service-db --example query_bench [vms]`.
//!
//! Prints one JSON object. SQLite, one file, 10,000 virtual machines with a card, an address and a volume each.

use std::time::{Duration, Instant};

use mn_service_db::{
    Db, DbError,
    entity::{
        l2_network, l2_network::Entity as L2Network, l3_network, l3_network::Entity as L3Network, used_ip,
        used_ip::Entity as UsedIp, vm_instance, vm_instance::Entity as VmInstance, vm_nic, vm_nic::Entity as VmNic,
        volume, volume::Entity as Volume, zone, zone::Entity as Zone,
    },
    query::{Op, Query, Sort, answer, load},
};
use mn_service_types::{ApiError, date::now_millis};
use sea_orm::{EntityTrait, Set};
use serde_json::json;
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long each measurement runs.
const SPAN: Duration = Duration::from_secs(3);
/// Callers at the same time.
const CALLERS: u64 = 8;
/// Rows of one INSERT.
const CHUNK: u64 = 500;

/// What every machine in an answer has.
const NAME: &[u8] = b"\"name\":\"vm-";

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Work {
    LoadZone,
    LoadVm,
    QueryVmByUuid,
    QueryVmByAddress,
    List100,
    List100Names,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let vms: u64 = std::env::args().nth(1).map_or(Ok(10_000), |text| text.parse())?;
    let db = Db::temporary().await?;
    fill(&db, vms).await?;
    let lists = rate(&db, vms, Work::List100).await?;
    println!(
        "{}",
        json!({
            "vms": vms,
            "callers": CALLERS,
            "load_zone_per_second": rate(&db, vms, Work::LoadZone).await?,
            "load_vm_per_second": rate(&db, vms, Work::LoadVm).await?,
            "query_vm_by_uuid_per_second": rate(&db, vms, Work::QueryVmByUuid).await?,
            "query_vm_by_nic_address_per_second": rate(&db, vms, Work::QueryVmByAddress).await?,
            "list_of_100_vms_per_second": lists,
            "vms_listed_per_second": lists * 100,
            "list_of_100_vm_names_per_second": rate(&db, vms, Work::List100Names).await?,
        })
    );
    Ok(())
}

/// Calls per second.
async fn rate(db: &Db, vms: u64, work: Work) -> Result<u64, Failure> {
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let db = db.clone();
        callers.spawn(async move {
            let (mut done, mut row) = (0_u64, caller * 7919);
            while begun.elapsed() < SPAN {
                row = (row + 104_729) % vms;
                let found = perform(&db, work, row, vms).await?;
                assert!(found > 0, "{work:?} found nothing");
                done += 1;
            }
            Ok::<_, ApiError>(done)
        });
    }
    let mut done = 0;
    while let Some(calls) = callers.join_next().await {
        done += calls??;
    }
    Ok(done * 1000 / u64::try_from(begun.elapsed().as_millis())?.max(1))
}

/// Number of structures found.
async fn perform(db: &Db, work: Work, row: u64, vms: u64) -> Result<usize, ApiError> {
    let query = Query::new("VmInstanceInventory");
    let query = match work {
        Work::LoadZone => return Ok(load(db.read(), "ZoneInventory", &uuid(0, 0)).await?.iter().len()),
        Work::LoadVm => return Ok(load(db.read(), "VmInstanceInventory", &uuid(1, row)).await?.iter().len()),
        Work::QueryVmByUuid => query.with("uuid", Op::Equal, uuid(1, row)),
        Work::QueryVmByAddress => query.with("vmNics.ip", Op::Equal, address(row)),
        Work::List100 | Work::List100Names => Query {
            limit: 100,
            start: row % vms.saturating_sub(100).max(1),
            sort: Some(Sort::parse("-createDate")),
            fields: if matches!(work, Work::List100) { vec![] } else { vec!["uuid".into(), "name".into()] },
            ..query
        },
    };
    let text = answer(db, &query).await?;
    // Counted in the text: parsing it would cost more than the query.
    Ok(text.windows(NAME.len()).filter(|part| *part == NAME).count())
}

async fn fill(db: &Db, vms: u64) -> Result<(), DbError> {
    let now = now_millis();
    db.write(|txn| async move {
        let row = zone::ActiveModel {
            uuid: Set(uuid(0, 0)),
            name: Set("zone".into()),
            state: Set("Enabled".into()),
            r#type: Set("zstack".into()),
            is_default: Set(true),
            create_date: Set(now),
            last_op_date: Set(now),
            ..Default::default()
        };
        Zone::insert(row).exec(&txn).await?;
        let row = l2_network::ActiveModel {
            uuid: Set(uuid(5, 0)),
            zone_uuid: Set(uuid(0, 0)),
            name: Set("l2".into()),
            r#type: Set("L2NoVlanNetwork".into()),
            create_date: Set(now),
            last_op_date: Set(now),
            ..Default::default()
        };
        L2Network::insert(row).exec(&txn).await?;
        let row = l3_network::ActiveModel {
            uuid: Set(uuid(6, 0)),
            zone_uuid: Set(uuid(0, 0)),
            l2_network_uuid: Set(uuid(5, 0)),
            name: Set("l3".into()),
            r#type: Set("L3BasicNetwork".into()),
            state: Set("Enabled".into()),
            system: Set(false),
            category: Set("Private".into()),
            ip_version: Set(4),
            enable_ipam: Set(true),
            create_date: Set(now),
            last_op_date: Set(now),
            ..Default::default()
        };
        L3Network::insert(row).exec(&txn).await?;
        for first in (0..vms).step_by(usize::try_from(CHUNK).unwrap_or(1)) {
            let rows = || first..(first + CHUNK).min(vms);
            VmInstance::insert_many(rows().map(|row| machine(row, now))).exec(&txn).await?;
            VmNic::insert_many(rows().map(|row| card(row, now))).exec(&txn).await?;
            UsedIp::insert_many(rows().map(|row| used(row, now))).exec(&txn).await?;
            Volume::insert_many(rows().map(|row| disk(row, now))).exec(&txn).await?;
        }
        Ok(())
    })
    .await
}

fn machine(row: u64, now: i64) -> vm_instance::ActiveModel {
    vm_instance::ActiveModel {
        uuid: Set(uuid(1, row)),
        name: Set(format!("vm-{row}")),
        description: Set(Some("a machine among many".into())),
        zone_uuid: Set(Some(uuid(0, 0))),
        root_volume_uuid: Set(Some(uuid(4, row))),
        default_l3_network_uuid: Set(Some(uuid(6, 0))),
        platform: Set(Some("Linux".into())),
        architecture: Set(Some("x86_64".into())),
        r#type: Set("UserVm".into()),
        hypervisor_type: Set(Some("KVM".into())),
        memory_size: Set(1 << 30),
        cpu_num: Set(2),
        cpu_speed: Set(0),
        state: Set("Running".into()),
        internal_id: Set(row.cast_signed()),
        create_date: Set(now + row.cast_signed()),
        last_op_date: Set(now),
        ..Default::default()
    }
}

fn card(row: u64, now: i64) -> vm_nic::ActiveModel {
    vm_nic::ActiveModel {
        uuid: Set(uuid(2, row)),
        vm_instance_uuid: Set(Some(uuid(1, row))),
        l3_network_uuid: Set(Some(uuid(6, 0))),
        ip: Set(Some(address(row))),
        mac: Set(format!("fa:{row:010x}")),
        netmask: Set(Some("255.0.0.0".into())),
        gateway: Set(Some("10.255.255.254".into())),
        device_id: Set(0),
        r#type: Set("VNIC".into()),
        state: Set("enable".into()),
        create_date: Set(now),
        last_op_date: Set(now),
        ..Default::default()
    }
}

fn used(row: u64, now: i64) -> used_ip::ActiveModel {
    used_ip::ActiveModel {
        uuid: Set(uuid(3, row)),
        l3_network_uuid: Set(uuid(6, 0)),
        ip_version: Set(4),
        ip: Set(address(row)),
        ip_in_long: Set(row.cast_signed()),
        vm_nic_uuid: Set(Some(uuid(2, row))),
        create_date: Set(now),
        last_op_date: Set(now),
        ..Default::default()
    }
}

fn disk(row: u64, now: i64) -> volume::ActiveModel {
    volume::ActiveModel {
        uuid: Set(uuid(4, row)),
        name: Set(format!("ROOT-for-vm-{row}")),
        vm_instance_uuid: Set(Some(uuid(1, row))),
        r#type: Set("Root".into()),
        size: Set(8 << 30),
        device_id: Set(Some(0)),
        state: Set("Enabled".into()),
        status: Set("Ready".into()),
        is_shareable: Set(false),
        create_date: Set(now),
        last_op_date: Set(now),
        ..Default::default()
    }
}

fn uuid(kind: u64, number: u64) -> String {
    format!("{kind:016x}{number:016x}")
}

fn address(number: u64) -> String {
    format!("10.{}.{}.{}", number >> 16, (number >> 8) & 0xff, number & 0xff)
}
