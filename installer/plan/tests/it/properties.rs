//! What holds for every plan, whatever the machine and the answers are.

use std::{collections::BTreeSet, fs};

use installer_plan::{
    InstallPlan,
    answers::{Answers, Extent, Format, Layout, PartitionAnswers, TableKind, VolumeAnswers},
    facts::{Content, ContentKind, Disk, Facts, Firmware},
    manifest::{Manifest, Role},
    plan,
    size::{GIB, MIB, Size},
    storage::needed_by_root,
};
use proptest::prelude::*;

fn manifest() -> Manifest {
    Manifest::parse(&fs::read_to_string("cases/manifest.json").unwrap()).unwrap()
}

prop_compose! {
    fn disk(number: usize)(
        bytes in 1_u64..5_000_000_000_000,
        sector in prop_oneof![Just(512_u32), Just(4096)],
        medium in prop::bool::weighted(0.1),
        read_only in prop::bool::weighted(0.1),
        removable in prop::bool::weighted(0.1),
        used in prop::bool::weighted(0.1),
        group in prop::option::weighted(0.3, prop_oneof![Just("zstack"), Just("zstack2"), Just("other")]),
    ) -> Disk {
        let path = format!("/dev/sd{}", char::from(b"abcd"[number]));
        let contents = group.map(|group| Content {
            device: format!("{path}1"),
            bytes: 10 * GIB,
            kind: ContentKind::Lvm { group: Some(group.to_owned()) },
        });
        Disk {
            links: vec![], model: String::new(), serial: Some(format!("S{number}")), wwn: None, bytes,
            logical_sector: sector, physical_sector: sector, rotational: false, removable, read_only, medium,
            transport: None, table: None, contents: contents.into_iter().collect(),
            in_use: if used { vec!["/srv".to_owned()] } else { vec![] }, path,
        }
    }
}

fn facts() -> impl Strategy<Value = Facts> {
    let disks = (1_usize..=4).prop_flat_map(|count| (0..count).map(disk).collect::<Vec<_>>());
    (disks, any::<bool>()).prop_map(|(disks, uefi)| Facts {
        firmware: if uefi { Firmware::Uefi } else { Firmware::Bios },
        secure_boot: false,
        memory: 8 * GIB,
        processors: 2,
        processor: String::new(),
        virtualisation: true,
        serial: None,
        disks,
        nics: vec![],
        time_zones: vec![],
    })
}

fn selector() -> impl Strategy<Value = String> {
    let words =
        ["auto", "/dev/sda", "/dev/sdb", "serial:S0", "serial:S2", "size:largest", "size:smallest", "size:>=1 TB"];
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}

fn extent() -> impl Strategy<Value = Extent> {
    prop_oneof![Just(Extent::Rest), (1_u64..2_000_000_000_000).prop_map(|bytes| Extent::Of(Size(bytes)))]
}

fn mount() -> impl Strategy<Value = Option<String>> {
    let places = ["/", "/boot", "/boot/efi", "/var", "/srv/data", "/usr", "bad"];
    prop::option::of(prop::sample::select(places.to_vec()).prop_map(str::to_owned))
}

fn format() -> impl Strategy<Value = Format> {
    use Format::{BiosBoot, Ext4, Lvm, Swap, Vfat, Xfs};
    prop::sample::select(vec![Ext4, Xfs, Vfat, Swap, Lvm, BiosBoot])
}

/// Arbitrary parts, and half of the time those that make a list complete.
fn manual() -> impl Strategy<Value = (Vec<PartitionAnswers>, Vec<VolumeAnswers>)> {
    let part = (prop::option::of(selector()), format(), mount(), extent())
        .prop_map(|(device, format, mount, size)| PartitionAnswers { device, format, mount, size });
    let volume = (format(), mount(), extent(), 0..3_usize).prop_map(|(format, mount, size, number)| VolumeAnswers {
        name: format!("v{number}"),
        format,
        mount,
        size,
    });
    let lists = (prop::collection::vec(part, 0..3), prop::collection::vec(volume, 0..2), any::<bool>(), any::<bool>());
    lists.prop_map(|(mut parts, mut volumes, complete, uefi)| {
        if complete {
            let part = |format, mount: Option<&str>, size| PartitionAnswers {
                device: None,
                format,
                mount: mount.map(str::to_owned),
                size,
            };
            let gib = |n| Extent::Of(Size(n * GIB));
            parts.retain(|part| part.mount.is_none() && part.format == Format::Swap && part.size != Extent::Rest);
            volumes.clear();
            parts.push(part(Format::Ext4, Some("/boot"), gib(1)));
            if uefi {
                parts.push(part(Format::Vfat, Some("/boot/efi"), gib(1)));
            }
            parts.push(part(Format::Lvm, None, Extent::Rest));
            let mount = Some("/".to_owned());
            volumes.push(VolumeAnswers { name: "root".to_owned(), format: Format::Xfs, mount, size: Extent::Rest });
        }
        (parts, volumes)
    })
}

prop_compose! {
    fn answers()(
        role in prop::sample::select(vec![Role::Management, Role::Compute, Role::Expert]),
        device in selector(),
        erase in prop::bool::weighted(0.9),
        layout in prop::sample::select(vec![Layout::Auto, Layout::Guided, Layout::Manual]),
        table in prop::sample::select(vec![TableKind::Gpt, TableKind::Gpt, TableKind::Mbr]),
        snapshots in 0_u8..60,
        sizes in prop::collection::vec(prop::option::weighted(0.3, 0_u64..200_000_000_000), 4),
        lists in manual(),
    ) -> Answers {
        let mut answers = Answers { role: Some(role), ..Answers::default() };
        answers.login.password = Some("secret".to_owned());
        let disk = &mut answers.disk;
        (disk.device, disk.erase, disk.layout, disk.table, disk.snapshots) = (device, erase, layout, table, snapshots);
        if layout == Layout::Guided {
            let size = |at: usize| sizes[at].map(Size);
            (disk.boot, disk.efi, disk.swap, disk.root) = (size(0), size(1), size(2), size(3));
        }
        if layout == Layout::Manual {
            (disk.partition, disk.volume) = lists;
        }
        answers
    }
}

/// Every device file that the plan writes to belongs to a disk that its summary names.
fn check(plan: &InstallPlan, facts: &Facts, answers: &Answers) {
    assert!(answers.disk.erase, "nothing is erased without consent");
    let named: BTreeSet<&str> = plan.erases.iter().map(|erased| erased.disk.as_str()).collect();
    let touched: BTreeSet<&str> = plan.storage.disks().collect();
    assert_eq!(named, touched);
    let summary = plan.to_string();
    for path in &touched {
        assert!(summary.contains(&format!("ERASES {path}")), "{summary}");
        let disk = facts.disk(path).unwrap();
        assert!(!disk.medium && !disk.read_only && disk.in_use.is_empty(), "{path} must never be taken");
        assert!(answers.disk.device != "auto" || disk.is_blank());
    }
    for fs in plan.storage.file_systems() {
        let inside = |path: &&str| fs.device.starts_with(*path);
        let volume = plan.storage.group.as_ref().is_some_and(|g| fs.device.starts_with(&format!("/dev/{}/", g.name)));
        assert!(volume || touched.iter().any(inside), "{}", fs.device);
    }
    for table in &plan.storage.tables {
        let mut end = MIB;
        for (number, part) in (1..).zip(&table.partitions) {
            assert_eq!(part.number, number);
            assert!(part.start >= end && part.bytes > 0, "{table:?}");
            assert!(part.start % MIB == 0 && part.bytes % MIB == 0, "{table:?}");
            end = part.start + part.bytes;
        }
        assert!(end + MIB <= table.bytes, "room for the second table at the end: {table:?}");
        assert!(
            table.kind == TableKind::Gpt
                || (table.bytes <= u64::from(table.sector) << 32 && table.partitions.len() <= 4)
        );
    }
    if let Some(group) = &plan.storage.group {
        let parts = plan.storage.tables.iter().flat_map(|table| &table.partitions);
        let room: u64 = parts.filter(|part| part.format == Format::Lvm).map(|part| part.bytes).sum();
        let used: u64 = group.volumes.iter().map(|volume| volume.bytes).sum();
        assert!(used <= group.bytes && group.bytes <= room, "{group:?}");
        assert!(group.volumes.iter().all(|volume| volume.bytes > 0 && volume.bytes % (4 * MIB) == 0), "{group:?}");
        assert!(
            answers.disk.layout == Layout::Manual
                || group.free() >= group.bytes / 100 * u64::from(answers.disk.snapshots)
        );
        let stays = facts.disks.iter().filter(|disk| !touched.contains(disk.path.as_str()));
        assert!(!stays.flat_map(Disk::groups).any(|name| name == group.name), "two groups of one name");
    }
    let manifest = manifest();
    let layers = manifest.layers_of(plan.role).unwrap();
    let root = plan.storage.file_systems().into_iter().find(|fs| fs.mount.as_deref() == Some("/")).unwrap();
    assert!(root.bytes >= needed_by_root(&manifest, &layers, plan.role));
    let mounts: Vec<String> = plan.storage.file_systems().into_iter().filter_map(|fs| fs.mount).collect();
    for (at, mount) in mounts.iter().enumerate() {
        let above = |other: &String| other != mount && mount.starts_with(&format!("{}/", other.trim_end_matches('/')));
        assert!(!mounts[at..].iter().any(above), "{mounts:?} is no order to mount in");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_touches_what_it_names_and_everything_fits(facts in facts(), answers in answers()) {
        let outcome = plan(&answers, &facts, &manifest());
        prop_assert_eq!(&outcome, &plan(&answers, &facts, &manifest()), "the same input, the same plan");
        match outcome {
            Ok(plan) => check(&plan, &facts, &answers),
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }
}

/// The property above must not hold because nothing is ever planned.
#[test]
fn many_arbitrary_answers_can_be_planned() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut planned = [0; 3];
    for _ in 0..2000 {
        let (facts, answers) = (facts(), answers()).new_tree(&mut runner).unwrap().current();
        if plan(&answers, &facts, &manifest()).is_ok() {
            planned[answers.disk.layout as usize] += 1;
        }
    }
    assert!(planned.iter().all(|count| *count > 50), "automatic, guided, manual: {planned:?}");
}
