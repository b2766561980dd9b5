//! The installer program where it cannot install (F-020, OS-BIN-011): what a refusal leaves behind is its log.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::World;

#[test]
fn f_019_a_machine_without_packages_is_refused_and_nothing_is_changed() {
    let world = World::new("works");
    let (log, packages) = (world.path("log"), world.path("packages"));
    fs::create_dir(&packages).unwrap();
    let words = ["install", "-E", "-i", "203.0.113.200", "-r", "/proc", "--log"];
    let words = words.into_iter().chain([log.to_str().unwrap(), "--packages", packages.to_str().unwrap()]);
    let refused = world.run(&Vec::from_iter(words)).expect(1);
    for wanted in
        ["Fail Reason", "nothing was changed", "packages has no zstack-base", "203.0.113.200", "/proc is not empty"]
    {
        assert!(refused.err.contains(wanted), "{wanted}: {refused:?}");
    }
    assert!(refused.err.contains(&format!("details: {}", log.display())), "{refused:?}");
    assert!(fs::read_to_string(&log).unwrap().contains("203.0.113.200"));
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);

    // A damaged package is named before anything else is looked at.
    fs::write(packages.join("zstack-ctl_1_amd64.deb"), "cut").unwrap();
    let words = ["install", "--log", log.to_str().unwrap(), "--packages", packages.to_str().unwrap()];
    let refused = world.run(&words).expect(1);
    assert!(refused.err.contains("zstack-ctl_1_amd64.deb is no package, or damaged"), "{refused:?}");
    let both = world.run(&["install", "-u", "-D"]).expect(2);
    assert!(both.err.contains("cannot be used with"), "{both:?}");
}
