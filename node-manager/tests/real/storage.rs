//! Volumes and snapshots with the real qemu-img (CS-PSL, CS-SNAP).

use std::{fs, path::Path};

use node_manager_types::{
    ByteSize, ErrorKind, SnapshotId, StorageId, VolumeId,
    operation::{
        CopyVolume, CreateVolume, DeleteVolume, FindMissing, InitStorage, MeasureStorage, MergeSnapshot, ResizeVolume,
        RevertSnapshot, StatVolume, TakeSnapshot,
    },
    storage::StorageRoot,
};

use crate::world::{World, isolated, run};

fn write(path: &str, pattern: &str, offset: &str) {
    run("qemu-io", &["-f", "qcow2", "-c", &format!("write -P {pattern} {offset} 64k"), path]);
}

fn reads(path: &str, pattern: &str, offset: &str) -> bool {
    let command = format!("read -P {pattern} {offset} 64k");
    let out =
        std::process::Command::new("qemu-io").args(["-r", "-U", "-f", "qcow2", "-c", &command, path]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("read 65536/65536"), "{path}: {text}{}", String::from_utf8_lossy(&out.stderr));
    !text.contains("verification failed")
}

#[test]
fn cs_psl_002_roots_are_claimed_once_and_never_system_directories() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let root = world.root(&agent, "ps").await;
        let capacity = agent.run(MeasureStorage { root: root.clone() }).await.unwrap();
        assert!(capacity.total >= capacity.available && capacity.available > ByteSize::mib(1));
        let stranger = StorageRoot { id: StorageId::random(), path: root.path.clone() };
        let error = agent.run(InitStorage { root: stranger }).await.unwrap_err();
        assert!(error.kind == ErrorKind::Conflict && error.message.contains(&root.id.to_string()), "{error}");
        let error = agent
            .run(InitStorage { root: StorageRoot { path: "/usr/bin".to_owned(), ..root.clone() } })
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        fs::remove_file(Path::new(&root.path).join(".zstack-storage")).unwrap();
        let error = agent.run(MeasureStorage { root }).await.unwrap_err();
        assert!(error.kind == ErrorKind::Conflict && error.message.contains("mount"), "{error}");
    });
}

#[test]
fn volumes_are_created_once_grow_and_go() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let root = world.root(&agent, "ps").await;
        let (volume, path) = (VolumeId::random(), format!("{}/volumes/a.qcow2", root.path));
        let create = |size| CreateVolume { root: root.clone(), volume, path: path.clone(), size, backing: None };
        let facts = agent.run(create(ByteSize::gib(10))).await.unwrap();
        assert_eq!(facts.size, ByteSize::gib(10));
        assert!(facts.actual_size < ByteSize::mib(1), "nothing is preallocated");
        agent.run(create(ByteSize::gib(10))).await.expect("asked twice is asked once");
        assert_eq!(agent.run(create(ByteSize::gib(20))).await.unwrap_err().kind, ErrorKind::Conflict);

        let resize = |size| ResizeVolume { root: root.clone(), volume, path: path.clone(), size, vm: None };
        assert_eq!(agent.run(resize(ByteSize::gib(20))).await.unwrap().size, ByteSize::gib(20));
        assert_eq!(agent.run(resize(ByteSize::gib(20))).await.unwrap().size, ByteSize::gib(20));
        let error = agent.run(resize(ByteSize::gib(5))).await.unwrap_err();
        assert!(error.kind == ErrorKind::Invalid && error.message.contains("grows only"), "{error}");
        agent.run(create(ByteSize::gib(10))).await.expect("a grown volume is still this volume");

        let escape = format!("{}/../outside.qcow2", root.path);
        let error = agent.run(CreateVolume { path: escape, ..create(ByteSize::gib(1)) }).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);

        for _ in 0..2 {
            agent
                .run(DeleteVolume { root: root.clone(), path: path.clone() })
                .await
                .expect("deleting what is gone succeeds");
        }
        assert!(!Path::new(&path).exists());
        let error = agent.run(StatVolume { root: root.clone(), path }).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    });
}

#[test]
fn cs_snap_005_snapshots_freeze_revert_and_merge() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let root = world.root(&agent, "ps").await;
        let volume = VolumeId::random();
        let file = |name: &str| format!("{}/{name}.qcow2", root.path);
        let (base, one, two, reverted, copy) = (file("base"), file("one"), file("two"), file("reverted"), file("copy"));
        let size = ByteSize::mib(64);
        agent.run(CreateVolume { root: root.clone(), volume, path: base.clone(), size, backing: None }).await.unwrap();
        write(&base, "0x11", "0");
        let snap = |path: &str, new_path: &str| TakeSnapshot {
            root: root.clone(),
            volume,
            snapshot: SnapshotId::random(),
            path: path.to_owned(),
            new_path: new_path.to_owned(),
            vm: None,
        };
        for _ in 0..2 {
            let facts = agent.run(snap(&base, &one)).await.unwrap();
            assert_eq!((facts.snapshot_path.as_str(), facts.volume_path.as_str()), (base.as_str(), one.as_str()));
            assert!(facts.snapshot_size >= ByteSize::bytes(65536));
        }
        write(&one, "0x22", "0");
        agent.run(snap(&one, &two)).await.unwrap();
        write(&two, "0x33", "1M");
        let error = agent.run(snap(&base, &two)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");

        let revert = RevertSnapshot { root: root.clone(), snapshot_path: base.clone(), new_path: reverted.clone() };
        assert_eq!(agent.run(revert).await.unwrap().size, size);
        assert!(reads(&reverted, "0x11", "0") && !reads(&reverted, "0x22", "0"));

        let copied = agent.run(CopyVolume { root: root.clone(), from: two.clone(), to: copy.clone() }).await.unwrap();
        assert_eq!(copied.size, size);

        // `two` no longer needs `one`, then no longer anything.
        let merge = |new_base: Option<&str>| MergeSnapshot {
            root: root.clone(),
            volume: Some(volume),
            path: two.clone(),
            new_base: new_base.map(str::to_owned),
            vm: None,
        };
        let error = agent.run(merge(Some(&reverted))).await.unwrap_err();
        assert!(error.kind == ErrorKind::Conflict && error.message.contains("not below"), "{error}");
        for _ in 0..2 {
            agent.run(merge(Some(&base))).await.unwrap();
        }
        agent.run(DeleteVolume { root: root.clone(), path: one }).await.unwrap();
        assert!(reads(&two, "0x22", "0") && reads(&two, "0x33", "1M"));
        for _ in 0..2 {
            agent.run(merge(None)).await.unwrap();
        }
        agent.run(DeleteVolume { root: root.clone(), path: reverted }).await.unwrap();
        agent.run(DeleteVolume { root: root.clone(), path: base }).await.unwrap();
        for whole in [&two, &copy] {
            assert!(reads(whole, "0x22", "0") && reads(whole, "0x33", "1M"), "{whole}");
        }
    });
}

#[test]
fn files_that_are_gone_are_found_and_a_root_that_is_not_there_is_no_root_without_files() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let root = world.root(&agent, "ps").await;
        let path = |name: &str| format!("{}/{name}", root.path);
        fs::write(path("here.img"), "x").unwrap();
        let paths = vec![path("here.img"), path("gone.img"), path("no/folder/gone.img")];
        let find = FindMissing { root: root.clone(), paths: paths.clone() };
        assert_eq!(agent.run(find.clone()).await.unwrap(), paths[1..]);
        // A file system that is not mounted has lost nothing.
        fs::remove_file(path(".zstack-storage")).unwrap();
        assert_eq!(agent.run(find).await.unwrap_err().kind, ErrorKind::Conflict);
    });
}

#[test]
fn a_full_disk_is_told_apart_and_leaves_nothing() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let small = world.path("small");
        fs::create_dir(&small).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=2m", "none", small.to_str().unwrap()]);
        let root = world.root(&agent, "small").await;
        let path = format!("{}/a.qcow2", root.path);
        let volume = VolumeId::random();
        let create =
            CreateVolume { root: root.clone(), volume, path: path.clone(), size: ByteSize::gib(1), backing: None };
        agent.run(create).await.unwrap();
        write(&path, "0x11", "0");
        fs::write(small.join("ballast"), vec![1; 1_500_000]).unwrap();
        let error = agent
            .run(CopyVolume { root: root.clone(), from: path, to: format!("{}/b.qcow2", root.path) })
            .await
            .unwrap_err();
        assert!(error.kind == ErrorKind::NoSpace && error.message.contains("needs"), "{error}");
        assert!(!Path::new(&format!("{}/b.qcow2", root.path)).exists());
        let scratch = small.join(".zstack-tmp").join(agent.id.to_string());
        assert_eq!(fs::read_dir(scratch).map_or(0, Iterator::count), 0, "nothing is left behind");
        run("umount", &["-l", small.to_str().unwrap()]);
    });
}
