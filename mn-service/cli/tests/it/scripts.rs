//! Commands from standard input.

use crate::world::World;

const SCRIPT: &str = "\
# a comment, then an empty line

LogInByAccount accountName=admin password=password
CreateZone name=\"two words\" description='it is \"so\"'
CreateZone name=broken
QueryZone fields=uuid
CreateZone nmae=x
LogOut
";

fn paths(world: &World) -> Vec<String> {
    let polls = |path: &String| !path.contains("api-jobs");
    world.server.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).filter(polls).collect()
}

#[test]
fn a_script_stops_at_its_first_failure() {
    let world = World::new();
    let run = world.run_with(&[], SCRIPT).expect(1);
    assert_eq!(paths(&world).len(), 3, "login and two zones");
    assert!(run.err.contains("no room") && run.err.contains("stopped at line 5"), "{run:?}");
    let results: Vec<serde_json::Value> =
        serde_json::Deserializer::from_str(&run.out).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(results.len(), 3, "a stream of JSON documents");
    assert_eq!(results[1]["inventory"]["name"], "two words");
    assert_eq!(results[2]["success"], false);
}

#[test]
fn a_script_goes_on_when_told_and_keeps_the_first_exit_code() {
    let world = World::new();
    let run = world.run_with(&["-k"], SCRIPT).expect(1);
    let paths = paths(&world);
    assert_eq!(paths.len(), 5, "{paths:?}");
    assert!(paths[3].contains("fields=uuid") && paths[4].starts_with("DELETE"), "{paths:?}");
    assert!(run.err.contains("no parameter nmae"), "{run:?}");
}

#[test]
fn a_script_that_works_exits_with_zero_and_may_leave_early() {
    let world = World::new();
    world.run_with(&[], "LogInByAccount accountName=admin password=password\nexit\nCreateZone name=x").expect(0);
    assert_eq!(paths(&world).len(), 1);
    world.run_with(&[], "").expect(0);
}

#[test]
fn a_quote_left_open_is_a_usage_error() {
    let world = World::new();
    let run = world.run_with(&[], "CreateZone name='x").expect(2);
    assert!(run.err.contains("quote '"), "{run:?}");
}
