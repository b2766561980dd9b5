//! One command, one process: requests, results, failures, exit codes.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{server::EAST, world::World};

/// OPS-CLI-006.
#[test]
fn results_are_ordered_json_with_four_blanks() {
    let world = World::logged_in();
    let run = world.run(&["QueryZone", "limit=2", "field=uuid"]).expect(0);
    assert_eq!(
        run.out,
        format!(
            "{{\n    \"inventories\": [\n        {{\n            \"uuid\": \"{EAST}\"\n        }},\n        {{\n            \"uuid\": \"1f3b6a0c5c6147d1b3a6c1d2e3f40506\"\n        }}\n    ],\n    \"success\": true\n}}\n"
        )
    );
    assert_eq!(run.err, "");
}

#[test]
fn a_query_is_sent_as_the_protocol_has_it() {
    let world = World::logged_in();
    let words =
        ["queryzone", "name~=z", "state=Enabled", "limit=20", "start=0", "replyWithCount=true", "sort=-createDate"];
    world.run(&words).expect(0);
    let seen = world.server.seen();
    assert_eq!(
        seen[0].path,
        "/zstack/v1/zones?q=name~=%25z%25&q=state=Enabled&limit=20&start=0&replyWithCount=true&sort=-createDate"
    );
    assert_eq!(seen[0].job, None, "reads make no job");
}

#[test]
fn tables_show_the_fields_asked_for() {
    let world = World::logged_in();
    let run = world.run(&["QueryZone", "fields=name,uuid", "-o", "table"]).expect(0);
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines[0], "name  uuid");
    assert!(lines[1].starts_with("East  9b26"), "{run:?}");
}

/// The job lives at an address that cannot be reached from here: the poll goes to the server that was named.
#[test]
fn a_change_is_followed_to_its_end() {
    let world = World::logged_in();
    let run = world.run(&["CreateZone", "name=zone1", "description=a b", "--timeout", "900"]).expect(0);
    assert_eq!(
        run.json(),
        json!({"inventory": {"uuid": EAST, "name": "zone1", "state": "Enabled", "isDefault": false}, "success": true})
    );
    let seen = world.server.seen();
    assert_eq!(seen[0].body, json!({"params": {"name": "zone1", "description": "a b"}}));
    assert_eq!(seen[0].timeout.as_deref(), Some("900"));
    let job = seen[0].job.as_deref().unwrap();
    assert_eq!(seen.len(), 3, "one call and two polls: {seen:?}");
    assert!(seen[1..].iter().all(|poll| poll.path == format!("/zstack/v1/api-jobs/{job}") && poll.session.is_none()));
    // No terminal, no progress line.
    assert_eq!(run.err, "");
}

#[test]
fn an_empty_result_is_a_success() {
    let world = World::logged_in();
    let run = world.run(&["DeleteZone", &format!("uuid={EAST}"), "deleteMode=Enforcing"]).expect(0);
    assert_eq!(run.out, "{\n    \"success\": true\n}\n");
    assert_eq!(world.server.seen()[0].path, format!("/zstack/v1/zones/{EAST}?deleteMode=Enforcing"));
}

/// OPS-CLI-060.
#[test]
fn a_failed_job_prints_the_event_envelope() {
    let world = World::logged_in();
    let run = world.run(&["CreateZone", "name=broken"]).expect(1);
    let result = run.json();
    assert_eq!(result["success"], false);
    assert_eq!(result["apiId"], world.server.seen()[0].job.clone().unwrap());
    assert_eq!(result["type"]["_name"], "key.event.API.API_EVENT");
    assert_eq!(result["error"]["cause"]["code"], "SYS.1016");
    assert_eq!(run.err, "zstack-cli: SYS.1006: it failed: no room: SYS.1016: disk full: 0 bytes\n");
}

#[test]
fn a_server_that_restarts_does_not_lose_the_job() {
    let world = World::logged_in();
    world.run(&["CreateZone", "name=restart"]).expect(0);
}

#[test]
fn text_answers_are_reported_with_their_text() {
    let world = World::logged_in();
    let run = world.run(&["GetAccountQuotaUsage", "uuid=x"]).expect(1);
    assert_eq!(run.json()["error"]["details"], "limit must be an integer");
    assert!(run.err.contains("HTTP 400"), "{run:?}");
}

#[test]
fn every_usage_problem_is_reported_at_once_and_nothing_is_sent() {
    let world = World::logged_in();
    let run = world.run(&["ChangeZoneState", "uid=x", "stateEvent=Enable", "stray"]).expect(2);
    for part in ["no parameter uid", "near it are uuid", "parameter uuid is required", "\"stray\""] {
        assert!(run.err.contains(part), "{part:?} is missing in {}", run.err);
    }
    let run = world.run(&["ChangeZoneState", &format!("uuid={EAST}"), "stateEvent=Enable"]).expect(2);
    assert!(run.err.contains("one of enable, disable"), "{run:?}");
    let run = world.run(&["CreateZoen", "name=x"]).expect(2);
    assert!(run.err.contains("CreateZone"), "{run:?}");
    assert!(run.out.is_empty());
    world.run(&["QueryZone", "--nonsense"]).expect(2);
    assert!(world.server.seen().is_empty());
}

#[test]
fn an_unreachable_server_is_named() {
    let mut world = World::logged_in();
    let free = private_port::loopback().unwrap();
    world.server.url = format!("http://{free}");
    let run = world.run(&["GetVersion"]).expect(3);
    assert!(run.err.contains(&format!("cannot reach the server at http://{free}")), "{run:?}");
    assert!(run.err.contains("refused") && run.out.is_empty(), "{run:?}");
}

#[test]
fn ctrl_c_leaves_the_job_and_says_how_to_find_it() {
    let world = World::logged_in();
    let mut command = world.command();
    let command = command.args(["CreateZone", "name=endless"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    // Once it polls, it waits.
    while !world.server.state().seen.iter().any(|seen| seen.path.contains("api-jobs")) {
        assert!(Instant::now() < end, "the job was never polled");
        std::thread::yield_now();
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let job = world.server.seen()[0].job.clone().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains(&format!("GetTaskProgress apiId={job}")), "{err}");
}

#[test]
fn help_and_version_need_no_server() {
    let mut world = World::new();
    world.server.url = "http://127.0.0.1:1".to_owned();
    assert!(world.run(&["help", "createzone"]).expect(0).out.contains("POST /zstack/v1/zones"));
    assert!(world.run(&["--help"]).expect(0).out.contains("Exit codes"));
    assert!(world.run(&["--version"]).expect(0).out.starts_with("zstack-cli "));
}
