//! The files for our roles (OS-MODE-001, OS-INST-010).

use kickstart::{
    Autopart, AutopartType, BootProto, ClearKind, Clearpart, Command, Role, Rootpw, Timezone, Version, parse,
};

use crate::oracle::Oracle;

#[test]
fn role_files_are_right_and_name_their_role() {
    let mut oracle = Oracle::start();
    for role in Role::ALL {
        let version = Version::declared(role.file()).expect("a role file names its version");
        oracle.must_validate(version, role.file());
        let parsed = parse(role.file(), version).unwrap_or_else(|problems| panic!("{role:?}: {problems}"));
        assert_eq!(parsed.warnings, [], "{role:?}");
        assert_eq!(Role::of(&parsed.kickstart), Some(role));
        oracle.must_validate(version, &parsed.kickstart.render(version).unwrap());
    }
}

/// OS-DISK-001, OS-NET-002, OS-INST-010: automatic partitions, DHCP, the presets of the screens.
#[test]
fn role_files_have_the_defaults_of_an_attended_installation() {
    for role in Role::ALL {
        let kickstart = parse(role.file(), Version::Rhel9).unwrap().kickstart;
        let has = |wanted: &dyn Fn(&Command) -> bool| assert!(kickstart.commands().any(wanted), "{role:?}");
        has(&|command| matches!(command, Command::Lang(lang) if lang.lang == "en_US.UTF-8"));
        has(&|command| matches!(command, Command::Keyboard(keyboard) if keyboard.vckeymap.as_deref() == Some("us")));
        has(
            &|command| matches!(command, Command::Timezone(Timezone { timezone: Some(zone), utc: true, .. }) if zone == "Asia/Shanghai"),
        );
        has(&|command| matches!(command, Command::Network(network) if network.bootproto == Some(BootProto::Dhcp)));
        has(&|command| matches!(command, Command::Autopart(Autopart { kind: Some(AutopartType::Lvm), .. })));
    }
}

/// A file that is used as it is shipped opens no account and loses no data.
#[test]
fn role_files_are_harmless_until_they_are_completed() {
    for role in Role::ALL {
        let kickstart = parse(role.file(), Version::Rhel9).unwrap().kickstart;
        for command in kickstart.commands() {
            match command {
                Command::Rootpw(rootpw) => assert_eq!(*rootpw, Rootpw { lock: true, ..Rootpw::default() }),
                Command::Clearpart(Clearpart { kind, .. }) => assert_eq!(*kind, Some(ClearKind::None)),
                Command::User(_) | Command::Sshpw(_) | Command::Vnc(_) => panic!("{role:?} opens an account"),
                _ => {}
            }
        }
    }
}

#[test]
fn a_file_without_one_of_our_environments_has_no_role() {
    let of = |text: &str| Role::of(&parse(text, Version::Rhel9).unwrap().kickstart);
    assert_eq!(of("%packages\n@^minimal-environment\n%end\n"), None);
    assert_eq!(of("skipx\n"), None);
    assert_eq!(of("%packages\n@^zstack-expert\n@^zstack-compute\n%end\n"), Some(Role::Compute));
}
