//! The configuration and the passwords, changed with the real service (OPS-CTL-020 to OPS-CTL-031).

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use mn_service_types::ADMIN_ACCOUNT;
use node_control::{Client, SUMMARY, management::Summary};
use serde_json::json;

use crate::{Run, free_port, real::Machine};

/// OS-TUI-085 to OS-TUI-090.
#[tokio::test(flavor = "multi_thread")]
async fn os_tui_085_the_console_proxy_is_found_at_its_new_address_after_a_restart() {
    let machine = Machine::new("# mine\n");
    let port = free_port();
    let listen = format!("console_listen=127.0.0.1:{port}");
    let changed = machine.result(&["configure", "console_host=192.0.2.7", &listen, "--json"]);
    assert_eq!(changed["changed"], json!(["console_host", "console_listen"]));
    assert!(machine.run(&["save_config"]).expect(0).out.contains("is saved in"));
    let text = fs::read_to_string(machine.path("mn-service.toml")).unwrap();
    assert!(text.contains("# mine"), "{text}");
    let refused = machine.run(&["configure", "console_listen=127.0.0.1:80", "console_host=1.2.3.400"]).expect(1);
    assert!(refused.err.contains("1024") && refused.err.contains("1.2.3.400"), "{refused:?}");
    assert_eq!(fs::read_to_string(machine.path("mn-service.toml")).unwrap(), text, "nothing was changed");

    machine.run(&["start"]).expect(0);
    let told: Summary = Client::new(machine.data().join("control.sock")).get(SUMMARY).await.unwrap();
    assert_eq!((told.console_proxy.address.as_deref(), told.console_proxy.port), (Some("192.0.2.7"), port));
    machine.run(&["stop"]).expect(0);
}

/// OPS-CTL-030, OPS-PWD-003.
#[tokio::test(flavor = "multi_thread")]
async fn ops_ctl_030_a_forgotten_password_of_admin_is_reset() {
    let machine = Machine::new("");
    let down = machine.run(&["reset_password"]).expect(1);
    assert!(down.err.contains("does not run") && down.err.contains("zstack-ctl start"), "{down:?}");
    machine.run(&["start"]).expect(0);
    let admin = machine.admin().await;
    let forgotten = json!({ "updateAccount": { "password": "0".repeat(128) } });
    let path = format!("/accounts/{ADMIN_ACCOUNT}");
    admin.call(reqwest::Method::PUT, &path, Some(forgotten)).await.unwrap().unwrap();
    assert!(machine.run(&["reset_password"]).expect(0).out.contains("admin"));
    assert!(admin.query("/zones").await.is_err(), "his sessions have ended");
    assert_eq!(machine.zones().await, [""; 0], "and the first password opens a new one");
    machine.run(&["stop"]).expect(0);
}

fn change(machine: &Machine, user: &str, lines: &str) -> Run {
    let mut command = machine.command(&["change_mysql_password", "--user-name", user, "--passwords-from-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// OPS-CTL-031, OPS-PWD-002, OS-TUI-055, OS-TUI-056.
#[tokio::test(flavor = "multi_thread")]
async fn ops_ctl_031_the_password_changes_in_database_and_configuration_or_nowhere() {
    let server = private_mariadb::shared().unwrap();
    let url = server.create_database().unwrap();
    let (name, socket) = url.strip_prefix("mysql://root@localhost/").unwrap().split_once("?socket=").unwrap();
    let sql = format!("CREATE USER zstack@localhost IDENTIFIED BY 'old'; GRANT ALL ON {name}.* TO zstack@localhost");
    let made = Command::new("mariadb")
        .args(["--no-defaults", "--user=root", "--execute", &sql])
        .arg(format!("--socket={socket}"))
        .status()
        .unwrap();
    assert!(made.success());
    let machine = Machine::new(&format!("[database]\nurl = \"mysql://zstack:old@localhost/{name}?socket={socket}\"\n"));
    machine.run(&["start"]).expect(0);
    machine.make_zone("paris").await;
    let before = fs::read_to_string(machine.path("mn-service.toml")).unwrap();

    let refused = change(&machine, "zstack", "wrong\nnew\n").expect(1);
    assert!(refused.err.contains("Access denied") && refused.err.contains("nothing was changed"), "{refused:?}");
    assert!(change(&machine, "nobody", "\nnew\n").expect(1).err.contains("no user"));
    assert!(change(&machine, "zstack", "\n\n").expect(1).err.contains("empty"));
    assert_eq!(fs::read_to_string(machine.path("mn-service.toml")).unwrap(), before);

    let done = change(&machine, "zstack", "\nn'e\"w @\\1\n").expect(0);
    assert!(!done.out.contains("n'e") && !done.err.contains("n'e"), "{done:?}");
    assert_eq!(machine.zones().await, ["paris"], "the service was started again with the new password");
    let shown = machine.run(&["show_configuration"]).expect(0).out;
    assert!(shown.contains("mysql://zstack:********@localhost/"), "{shown}");
    machine.run(&["stop"]).expect(0);
    let again = machine.run(&["start"]).expect(0);
    assert!(again.out.contains("is ready"), "{again:?}");
    machine.run(&["stop"]).expect(0);
}
