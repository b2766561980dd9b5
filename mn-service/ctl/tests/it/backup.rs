//! Backups and restores (OPS-BAK, OPS-CTL-040 to OPS-CTL-042) of the real service.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use system_tests::eventually;

use crate::real::{Machine, output};

const RESTORED: &str = "the management node has been stopped\nStarting recover data ...\n\
                        Recover data successfully! You can start node by: zstack-ctl start\n";

fn backups(machine: &Machine) -> Vec<String> {
    let entries = fs::read_dir(machine.data().join("mysql-backup")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(|name| name != ".lock").collect();
    names.sort();
    names
}

fn dump(machine: &Machine) -> PathBuf {
    let run = machine.run(&["dump_mysql"]).expect(0);
    let file = run.out.trim().strip_prefix("Backup mysql successful! You can check the file at ").unwrap().to_owned();
    PathBuf::from(file)
}

fn restore(machine: &Machine, file: &Path) -> crate::Run {
    machine.run(&["restore_mysql", "-f", file.to_str().unwrap()])
}

/// OPS-BAK-009: from one machine to another, and what was on the other is not lost.
async fn moves(old: Machine, new: Machine) {
    old.run(&["start"]).expect(0);
    old.make_zone("paris").await;
    let file = dump(&old);
    assert_eq!(old.zones().await, ["paris"], "the service goes on");
    let name = file.file_name().unwrap().to_str().unwrap();
    let shape = name.strip_prefix("zstack-backup-db-").and_then(|name| name.strip_suffix(".gz")).unwrap();
    assert!(chrono::NaiveDateTime::parse_from_str(shape, "%Y-%m-%d_%H-%M-%S").is_ok(), "OPS-BAK-004: {name}");
    assert_eq!(file.parent().unwrap(), old.data().join("mysql-backup"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let mut check = Command::new("sha256sum");
    check.current_dir(file.parent().unwrap()).arg("-c").arg(format!("{name}.sha256"));
    assert_eq!(output(&mut check).expect(0).out, format!("{name}: OK\n"));
    assert_eq!(backups(&old), [name.to_owned(), format!("{name}.sha256")], "nothing else is left");

    new.run(&["start"]).expect(0);
    new.make_zone("tokyo").await;
    let run = restore(&new, &file).expect(0);
    assert_eq!(run.out, RESTORED, "OPS-CTL-042");
    assert_eq!(new.run(&["status"]).expect(3).line("MN status"), "Stopped", "OPS-CTL-042");
    new.run(&["start"]).expect(0);
    assert_eq!(new.zones().await, ["paris"]);
    for key in ["secret.key", "ca/ca.pem", "ca/ca.key", "ssh/id_ed25519"] {
        assert_eq!(new.read(key), old.read(key), "{key} goes with the database");
        assert_eq!(mode(&new.data().join(key)), 0o600, "{key}");
    }
    let before = run.err.split("is kept in ").nth(1).unwrap().trim();
    restore(&new, Path::new(before)).expect(0);
    new.run(&["start"]).expect(0);
    assert_eq!(new.zones().await, ["tokyo"], "the state before is back");
    let left: Vec<_> = fs::read_dir(new.data()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("restore")), "{left:?}");
    new.run(&["stop"]).expect(0);
    old.run(&["stop"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_bak_009_a_cloud_moves_to_another_machine() {
    moves(Machine::new(""), Machine::new("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_bak_009_a_cloud_on_mariadb_moves_to_another_machine() {
    moves(Machine::with_mariadb(), Machine::with_mariadb()).await;
}

/// OPS-BAK-002, and what a program reads.
#[tokio::test(flavor = "multi_thread")]
async fn ops_bak_002_programs_follow_a_backup_and_old_ones_go() {
    let machine = Machine::new("");
    let none = machine.events(&["dump_mysql", "--json"]);
    assert!(none[0]["error"]["message"].as_str().unwrap().contains("data directory"), "{none:?}");
    machine.run(&["start"]).expect(0);
    let first = dump(&machine);
    let events = machine.events(&["dump_mysql", "--keep-amount", "2", "--json"]);
    let (last, before) = events.split_last().unwrap();
    let steps: Vec<f64> = before.iter().map(|event| event["progress"].as_f64().unwrap()).collect();
    assert!(!steps.is_empty() && steps.is_sorted() && steps.iter().all(|step| (0.0..=1.0).contains(step)), "{steps:?}");
    assert!(before.iter().all(|event| event["message"].is_string()));
    assert_eq!(last["result"]["removed"], serde_json::json!([]));
    let third = machine.result(&["dump_mysql", "--keep-amount=2", "--json"]);
    assert_eq!(third["removed"], serde_json::json!([first]));
    let listed = machine.result(&["list_backups", "--json"]);
    let [newest, _] = listed["backups"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!((&newest["file"], &newest["bytes"]), (&third["file"], &third["bytes"]));
    assert_eq!((&newest["database"], newest["created_ms"].as_u64().is_some()), (&"sqlite".into(), true));
    let linked = machine.result(&["dump_mysql", "--publish=60", "--json"]);
    let url = linked["publication"]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("https://127.0.0.1:{}/download/", machine.ui)), "{linked}");
    assert!(machine.run(&["dump_mysql", "--keep-amount", "0"]).expect(2).err.contains("keep-amount"));
    machine.run(&["stop"]).expect(0);
}

/// Unpacks a backup, lets `change` do something to its parts, and packs it again with true checksums of members.
fn changed(file: &Path, into: &Path, change: impl FnOnce(&Path, &mut Value)) -> PathBuf {
    let parts = into.join("parts");
    fs::create_dir(&parts).unwrap();
    let tar = |arguments: &[&str]| output(Command::new("tar").current_dir(&parts).args(arguments)).expect(0);
    let names = tar(&["xvzf", file.to_str().unwrap()]).out;
    let mut manifest: Value = serde_json::from_slice(&fs::read(parts.join("manifest.json")).unwrap()).unwrap();
    change(&parts, &mut manifest);
    for member in manifest["members"].as_array_mut().unwrap() {
        let path = parts.join(member["name"].as_str().unwrap());
        let sum = output(Command::new("sha256sum").arg(&path)).expect(0).out;
        member["sha256"] = sum.split(' ').next().unwrap().into();
        member["bytes"] = fs::metadata(&path).unwrap().len().into();
    }
    fs::write(parts.join("manifest.json"), manifest.to_string()).unwrap();
    let packed = into.join("changed.gz");
    let mut arguments = vec!["czf", packed.to_str().unwrap()];
    arguments.extend(names.lines());
    tar(&arguments);
    packed
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_ctl_041_what_cannot_be_restored_is_refused_before_anything_is_touched() {
    let machine = Machine::new("");
    machine.run(&["start"]).expect(0);
    let file = dump(&machine);
    let folder = tempfile::tempdir().unwrap();
    let newer = changed(&file, folder.path(), |parts, manifest| {
        manifest["migrations"].as_array_mut().unwrap().push("m9999_future".into());
        fs::write(parts.join("database.sqlite"), "this is no database").unwrap();
    });
    let refused = restore(&machine, &newer).expect(1);
    assert!(refused.err.contains("m9999_future") && refused.err.contains("upgrade first"), "{refused:?}");
    assert!(refused.err.contains("database is damaged"), "all problems at once: {refused:?}");

    let cut = folder.path().join("cut.gz");
    let whole = fs::read(&file).unwrap();
    fs::write(&cut, &whole[..whole.len() - 7]).unwrap();
    assert!(restore(&machine, &cut).expect(1).err.contains("nothing was changed"));
    fs::copy(&file, &cut).unwrap();
    fs::write(folder.path().join("cut.gz.sha256"), format!("{}  cut.gz", "0".repeat(64))).unwrap();
    assert!(restore(&machine, &cut).expect(1).err.contains("SHA-256"));
    let words = folder.path().join("words");
    fs::write(&words, "not a backup").unwrap();
    let arguments = ["restore_mysql", &format!("--from-file={}", words.display()), "--json"];
    let events = machine.events(&arguments);
    let error = &events.last().unwrap()["error"];
    assert!(error["message"].as_str().unwrap().contains("words") && error["hint"].is_string(), "{error}");

    let other = Machine::with_mariadb();
    fs::create_dir(other.data()).unwrap();
    let refused = restore(&other, &file).expect(1);
    assert!(refused.err.contains("sqlite") && refused.err.contains("[database]"), "{refused:?}");
    assert_eq!(machine.zones().await, [""; 0], "the service was not stopped");
    machine.run(&["stop"]).expect(0);
}

/// A restore that is killed in the middle leaves this: a file that says so, and a mixture.
#[tokio::test(flavor = "multi_thread")]
async fn ops_ctl_041_an_interrupted_restore_is_never_served_and_can_be_repeated() {
    let machine = Machine::new("");
    machine.run(&["start"]).expect(0);
    machine.make_zone("paris").await;
    let file = dump(&machine);
    machine.make_zone("rome").await;
    machine.run(&["stop"]).expect(0);
    let marker = machine.data().join("restore-unfinished");
    fs::write(&marker, serde_json::json!({"file": file, "before": null}).to_string()).unwrap();
    fs::remove_file(machine.data().join("secret.key")).unwrap();
    fs::create_dir(machine.data().join(".restore-killed")).unwrap();

    let refused = machine.run(&["start"]).expect(1);
    assert!(refused.err.contains("interrupted") && refused.err.contains("restore_mysql"), "{refused:?}");
    assert_eq!(restore(&machine, &file).expect(0).out, RESTORED);
    assert!(!marker.exists() && !machine.data().join(".restore-killed").exists());
    machine.run(&["start"]).expect(0);
    assert_eq!(machine.zones().await, ["paris"]);
    machine.run(&["stop"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_ctl_041_a_database_that_refuses_the_backup_gets_its_old_state_back() {
    let machine = Machine::with_mariadb();
    machine.run(&["start"]).expect(0);
    machine.make_zone("paris").await;
    let folder = tempfile::tempdir().unwrap();
    let broken = changed(&dump(&machine), folder.path(), |parts, _| {
        let path = parts.join("database.sql");
        let text = fs::read_to_string(&path).unwrap();
        let half = text.find("-- Table structure for table `ZoneVO`").unwrap();
        fs::write(&path, format!("{}\nTHIS IS NO STATEMENT;\n", &text[..half])).unwrap();
    });
    let refused = restore(&machine, &broken).expect(1);
    assert!(refused.err.contains("the state of before is back"), "{refused:?}");
    machine.run(&["start"]).expect(0);
    assert_eq!(machine.zones().await, ["paris"]);
    machine.run(&["stop"]).expect(0);
}

/// A disk that is full, and a power cut.
#[tokio::test(flavor = "multi_thread")]
async fn ops_bak_004_no_half_backup_has_a_name_and_old_ones_stay() {
    let machine = Machine::new("");
    machine.run(&["start"]).expect(0);
    machine.run(&["stop"]).expect(0);
    let unlinked = machine.run(&["dump_mysql", "--publish"]).expect(0);
    assert!(unlinked.out.contains("successful") && unlinked.out.contains("needs the running service"), "{unlinked:?}");
    let before = backups(&machine);
    let folder = machine.data().join("mysql-backup");
    let full = "mount -t tmpfs -o size=128k,mode=700 none \"$1\" && echo old > \"$1/old\" && shift && \"$@\"; code=$?; \
                ls -A \"$0\"; exit $code";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", full]).arg(&folder).arg(&folder);
    command.arg(machine.path("zstack-ctl")).args(["dump_mysql", "--keep-amount=1", "--config"]);
    let run = output(command.arg(machine.path("mn-service.toml"))).expect(1);
    assert!(run.err.contains("full") && run.err.contains("room"), "{run:?}");
    assert_eq!(run.out, ".lock\nold\n", "nothing is left on the full disk");
    assert_eq!(backups(&machine), before);

    // Rows enough that it can be killed in the middle.
    let db = rusqlite::Connection::open(machine.data().join("mn.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE big (text TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000)
         INSERT INTO big SELECT hex(randomblob(100)) FROM n;",
    )
    .unwrap();
    let mut child = machine.command(&["dump_mysql"]).spawn().unwrap();
    eventually(Duration::from_secs(20), || async {
        let works = backups(&machine).iter().any(|name| name.starts_with(".work-"));
        works.then_some(()).ok_or("not begun")
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    let named: Vec<String> = backups(&machine).into_iter().filter(|name| !name.starts_with(".work-")).collect();
    assert_eq!(named, before);
    db.execute_batch("DROP TABLE big; VACUUM").unwrap();
    dump(&machine);
    assert_eq!(backups(&machine).len(), before.len() + 2, "what the killed one left is gone");
}
