//! Kickstart files, as they become answers and plans.

use installer_plan::{
    answers::{Answers, Layout},
    facts::Facts,
    manifest::{Manifest, Role},
    plan,
};
use zstack_installer::kickstart::answers;

fn facts() -> Facts {
    serde_json::from_str(include_str!("../facts.json")).unwrap()
}

fn read(text: &str) -> Answers {
    answers(text, &facts()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn refused(text: &str) -> String {
    let problems = answers(text, &facts()).unwrap_err();
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// OS-MODE-001: the files that we ship mean what they say, and destroy nothing until somebody completes them.
#[test]
fn the_files_of_our_roles_are_answers() {
    let roles = [
        (kickstart::Role::Management, Role::Management),
        (kickstart::Role::Compute, Role::Compute),
        (kickstart::Role::Storage, Role::Storage),
        (kickstart::Role::Expert, Role::Expert),
    ];
    for (file, role) in roles {
        let answers = read(file.file());
        assert_eq!(answers.role, Some(role));
        assert_eq!(answers.time.zone, "Asia/Shanghai");
        assert_eq!((answers.disk.device.as_str(), answers.disk.layout), ("auto", Layout::Auto));
        assert_eq!(answers.network.nic[0].device, "eth0", "the first with a link");
        let manifest = Manifest::parse(include_str!("../../plan/cases/manifest.json")).unwrap();
        if manifest.layers_of(role).is_some() {
            let problems = plan(&answers, &facts(), &manifest).unwrap_err();
            let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
            assert_eq!(keys, ["disk.device", "login"], "a disk that is not empty, and no password: {problems:?}");
        }
    }
}

/// Issue 5: the same installation, whoever asks for it.
#[test]
fn a_whole_file_is_a_plan() {
    let text = "lang zh_CN.UTF-8\nkeyboard --vckeymap=us --xlayouts=de\ntimezone Europe/Berlin --utc\ntimesource --ntp-server=ntp.example\n\
         rootpw --iscrypted $6$salt$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nsshkey --username=root \"ssh-ed25519 AAAAC3Nz admin\"\n\
         network --device=bond0 --bondslaves=eth0,eth1 --bondopts=mode=802.3ad,miimon=100,xmit_hash_policy=layer2+3 --vlanid=100 \
         --bootproto=static --ip=192.0.2.10 --netmask=255.255.255.0 --gateway=192.0.2.1 --nameserver=192.0.2.53,192.0.2.54 --hostname=c1\n\
         ignoredisk --only-use=sda\nclearpart --all --initlabel\n\
         part /boot --size=1024 --fstype=ext4\npart pv.01 --size=1 --grow\nvolgroup vg pv.01 --reserved-percent=20\n\
         logvol / --vgname=vg --name=root --size=1 --grow --fstype=xfs\nlogvol swap --vgname=vg --name=swap --size=4096\n\
         poweroff\n#zstack-join=192.0.2.9 abcd-efgh-jkmn-pqrs-tvwx\n%packages\n@^zstack-compute\n%end\n";
    let answers = read(text);
    let manifest = Manifest::parse(include_str!("../../plan/cases/manifest.json")).unwrap();
    let plan = plan(&answers, &facts(), &manifest).unwrap();
    insta::assert_snapshot!("kickstart_plan", plan.to_string());
}

#[test]
fn nothing_on_a_named_disk_is_destroyed_without_clearpart_all() {
    let text = |clear: &str| format!("{clear}\nautopart\nrootpw x\n%packages\n@^zstack-expert\n%end\n");
    assert!(!read(&text("ignoredisk --only-use=sda\nclearpart --none")).disk.erase);
    let answers = read(&text("clearpart --all --drives=sda"));
    assert_eq!((answers.disk.device.as_str(), answers.disk.erase), ("/dev/sda", true));
}

/// What cannot be done is not left out.
#[test]
fn what_is_not_done_here_is_refused_with_its_line() {
    let text = "lang de_DE\nuser --name=bob\nnetwork --device=eth0 --bridgeslaves=eth1 --bridgeopts=stp=no\nclearpart --linux\n\
         part / --fstype=ext4 --size=100 --encrypted --passphrase=secret\nraid / --device=md0 --level=RAID1 raid.01 raid.02\n\
         %packages\nvim\n%end\n%post\ntrue\n%end\n";
    let said = refused(text);
    assert!(!said.contains("secret"), "{said}");
    for (line, word) in [
        ("%packages", "no role"),
        ("line 1", "de_DE"),
        ("line 2", "no account but root"),
        ("line 3", "of network"),
        ("line 4", "whole or not at all"),
        ("line 5", "of part"),
        ("line 6", "raid is not done"),
        ("line 7", "packages"),
        ("line 10", "scripts are not run"),
    ] {
        assert!(said.lines().any(|text| text.starts_with(line) && text.contains(word)), "{line} {word}:\n{said}");
    }
    assert!(refused("lnag x\n").starts_with("line 1: `lnag` is not a command"));
}
