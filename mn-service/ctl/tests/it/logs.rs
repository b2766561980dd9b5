//! `collect_log` with the real service and without it (OPS-CTL-043).

use std::fs;

use crate::real::Machine;

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
