//! `collect_log` with the real service and without it (OPS-CTL-043).

use std::fs;

use crate::real::{Machine, output};

#[tokio::test(flavor = "multi_thread")]
async fn ops_ctl_043_logs_are_collected_with_the_service_and_without_it() {
    let machine = Machine::new("");
    machine.run(&["start"]).expect(0);
    let to = machine.path("copies");
    let arguments = ["collect_log", "--since=2h", "--to", to.to_str().unwrap(), "--publish=60", "--json"];
    let whole = machine.result(&arguments);
    assert_eq!(whole["scope"], "cloud");
    let node = whole["nodes"][0]["name"].as_str().unwrap();
    assert!(to.join("index.txt").is_file() && to.join(format!("{node}.tar.gz")).is_file(), "{whole}");
    assert!(whole["publication"]["url"].as_str().unwrap().starts_with("https://"), "{whole}");
    // The service runs without systemd here, so its log is a file.
    let folder = std::path::Path::new(whole["directory"].as_str().unwrap()).join(node);
    let log = fs::read_to_string(folder.join("log/mn-service.log")).unwrap();
    assert!(log.contains("serving"), "{log}");

    machine.run(&["stop"]).expect(0);
    let own = machine.run(&["collect_log"]).expect(0);
    assert!(own.err.contains("only the logs of this node"), "{own:?}");
    assert!(own.out.starts_with("Collect log successful! You can check the files at "), "{own:?}");
    assert_eq!(machine.result(&["collect_log", "--json"])["scope"], "node");
    let wrong = machine.run(&["collect_log", "--since", "yesterday"]).expect(2);
    assert!(wrong.err.contains("24h"), "{wrong:?}");
    let wrong = machine.run(&["collect_log", "--since=1h", "--until=2h"]).expect(1);
    assert!(wrong.err.contains("not before"), "{wrong:?}");
}

/// OS-TUI-095: a stick that is full is named, with what can be done, and has nothing half on it. (A file system as sticks
/// have it is written to on a whole machine: `cargo xtask e2e node-console`.)
#[test]
fn ops_ctl_043_a_stick_without_room_is_named_and_nothing_half_stays_on_it() {
    private_host::isolated(async || {
        let machine = Machine::new("");
        std::fs::create_dir(machine.data()).unwrap();
        let log = "not easily packed: "
            .bytes()
            .chain((0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()));
        std::fs::write(machine.data().join("mn-service.log"), log.collect::<Vec<u8>>()).unwrap();
        let stick = machine.path("stick");
        fs::create_dir(&stick).unwrap();
        let mut mount = std::process::Command::new("mount");
        output(mount.args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&stick)).expect(0);
        let failed = machine.run(&["collect_log", "--to", stick.to_str().unwrap()]).expect(1);
        assert!(failed.err.contains("No space left") && failed.err.contains("make room on the disk of"), "{failed:?}");
        let left: Vec<_> = fs::read_dir(&stick).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".tar.gz")), "{left:?}");
    });
}
