//! Logging in, staying logged in between processes, and losing the login.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::{
    server::{HASH, Server},
    world::{World, finish},
};

/// OPS-CLI-004 and OPS-CLI-005.
#[test]
fn a_login_is_kept_for_later_processes_until_logout() {
    let world = World::new();
    let login = world.run(&["LogInByAccount", "accountName=admin", "password=password"]).expect(0).json();
    let session = login["inventory"]["uuid"].as_str().unwrap().to_owned();
    assert_eq!(login["success"], true);
    assert!(world.server.seen()[0].session.is_none(), "a login carries no session");

    world.run(&["QueryZone"]).expect(0);
    assert_eq!(world.server.seen()[0].session.as_deref(), Some(session.as_str()));

    world.run(&["logout"]).expect(0);
    let seen = world.server.seen();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].path.clone()),
        ("DELETE", format!("/zstack/v1/accounts/sessions/{session}"))
    );
    assert!(!world.session_text().contains(&session));

    let after = world.run(&["QueryZone"]).expect(3);
    assert!(after.err.contains("not logged in") && after.err.contains("LogInByAccount"), "{after:?}");
    assert!(world.server.seen().is_empty(), "nothing is sent without a login");
    // Logging out twice is no error.
    assert_eq!(world.run(&["LogOut"]).expect(0).json(), json!({"success": true}));
}

#[test]
fn passwords_travel_hashed_and_stay_nowhere() {
    let world = World::new();
    world.run(&["LogInByAccount", "accountName=admin", "password=password"]).expect(0);
    assert_eq!(world.server.seen()[0].body, json!({"logInByAccount": {"accountName": "admin", "password": HASH}}));
    let text = world.session_text();
    assert!(!text.contains("password") && !text.contains(&HASH[..16]), "{text}");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(world.session_file()), 0o600);
    assert_eq!(mode(world.home.path().join(".zstack/cli")), 0o700);
}

#[test]
fn a_password_may_come_from_standard_input() {
    let world = World::new();
    world.run_with(&["LogInByAccount", "accountName=admin", "--password-stdin"], "password\nrest").expect(0);
    assert_eq!(world.server.seen()[0].body["logInByAccount"]["password"], HASH);
    let empty = world.run_with(&["LogInByAccount", "accountName=admin", "--password-stdin"], "\n").expect(2);
    assert!(empty.err.contains("no password"), "{empty:?}");
    assert!(world.run_with(&["--password-stdin"], "x").expect(2).err.contains("needs a command"));
    // Without a terminal to ask at, the missing password is a usage error that says so.
    let missing = world.run(&["LogInByAccount", "accountName=admin"]).expect(2);
    assert!(missing.err.contains("parameter password is required"), "{missing:?}");
    assert!(world.server.seen().is_empty());
}

#[test]
fn a_wrong_password_is_an_api_failure_and_leaves_no_login() {
    let world = World::new();
    let run = world.run(&["LogInByAccount", "accountName=admin", "password=wrong"]).expect(1);
    assert_eq!(run.json()["success"], false);
    assert_eq!(run.json()["error"]["code"], "ID.1000");
    assert_eq!(run.err.lines().count(), 1, "{run:?}");
    assert!(run.err.contains("wrong account name or password") && !run.err.contains("=wrong"));
    assert_eq!(world.session_text(), "");
}

#[test]
fn an_expired_session_is_forgotten() {
    let world = World::logged_in();
    world.server.state().sessions.clear();
    let run = world.run(&["QueryZone"]).expect(3);
    assert_eq!(run.json()["error"]["details"], "Session expired");
    assert!(run.err.contains("has expired") && run.err.contains("LogInByAccount"), "{run:?}");
    assert_eq!(world.server.seen().len(), 1);
    world.run(&["QueryZone"]).expect(3);
    assert!(world.server.seen().is_empty(), "the forgotten session is not sent again");
}

/// Asynchronous APIs answer 202 first; the expired session shows in the job.
#[test]
fn a_session_that_expired_shows_in_the_job_of_a_change() {
    let world = World::logged_in();
    world.server.state().sessions.clear();
    world.run(&["CreateZone", "name=z"]).expect(3);
    assert!(world.run(&["QueryZone"]).expect(3).err.contains("not logged in"));
}

#[test]
fn each_server_has_its_own_login() {
    let world = World::logged_in();
    let other = Server::start();
    let run = world.run(&["QueryZone"]).expect(0);
    assert!(run.err.is_empty());
    let mut elsewhere = std::process::Command::new(env!("CARGO_BIN_EXE_zstack-cli"));
    let port = other.url.rsplit(':').next().unwrap();
    elsewhere.env("HOME", world.home.path()).env("ZS_SERVER_IP", "127.0.0.1").env("ZS_SERVER_PORT", port);
    let run = finish(elsewhere.arg("QueryZone"), "").expect(3);
    assert!(run.err.contains(&other.url), "the environment names the server: {run:?}");
}
