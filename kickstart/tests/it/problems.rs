//! What a person reads who made a mistake.

use kickstart::{
    Bootloader, Clearpart, Command, Item, Kickstart, Rootpw, Secret, Timesource, User, Version, parse, parse_bytes,
};

fn problems(text: &str, version: Version) -> String {
    parse(text, version).map(|parsed| format!("{:?}", parsed.warnings)).unwrap_or_else(|problems| problems.to_string())
}

#[test]
fn everything_wrong_with_a_file_is_said_at_once_with_its_place_and_the_way_out() {
    let text = "lnag en_US.UTF-8\n\
                keyboard --vckeymap=us\n\
                network --bootproto=dhpc --devcie=eth0 --onboot=perhaps\n\
                \ttimezone \"Asia/Shanghai --utc\n\
                part / --size=big --bootonce\n\
                raid /data --device=md0\n\
                user --uid=5\n\
                network --ip\n\
                autopart\n\
                part / --fstype=xfs\n\
                part / --fstype=xfs\n\
                %packges\nvim\n%end\n\
                %post\necho\n";
    insta::assert_snapshot!(problems(text, Version::Rhel9));
}

#[test]
fn versions_differ_and_say_so() {
    let text = "install\nauthconfig --enableshadow\nsshkey --username=root \"ssh-ed25519 AAAA\"\nbtrfs / sda1\n\
                timezone --isUtc --ntpservers=a Asia/Shanghai\nvnc --password=x\ntimesource --ntp-server=a\nmultipath --name=a\n\
                ignoredisk --interactive\nnetwork --device=t --teamslaves=a\nlogging --level=info\n%packages --nobase\n%end\n\
                %traceback\n%end\n";
    let said: Vec<String> =
        Version::ALL.iter().map(|version| format!("{version}\n{}", problems(text, *version))).collect();
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn secrets_are_in_no_message_and_in_no_debug_output() {
    let text = "rootpw hunter2 hunter2\nuser --name=a --password=hunter2 --pasword=hunter2\nuser --name=b --uid=1 --passwrd hunter2\n\
                sshpw --username=a --lck hunter2\nhunter2\nbootloader --password=hunter2 --md5pas\npart / --passphrase=hunter2 --size\n\
                rhsm --organization=1 --activation-key=hunter2 --activation-key=\nvnc --password hunter2 hunter2\n\
                realm join --one-time-password=hunter2 a b hunter2\n\"hunter2\n";
    for version in Version::ALL {
        let said = problems(text, version);
        assert!(!said.contains("hunter2"), "{said}");
    }
    let ignored = parse("vnc --password=hunter2\n", Version::Rhel10).unwrap();
    let handed_on = parse("authconfig --winbindjoin=a%hunter2\n", Version::Rhel7).unwrap();
    assert!(!format!("{ignored:?}{handed_on:?}").contains("hunter2"));
    let parsed = parse("rootpw hunter2\nuser --name=a --password=hunter2\n", Version::Rhel9).unwrap();
    assert!(!format!("{parsed:?}").contains("hunter2"));
    let commands: Vec<&Command> = parsed.kickstart.commands().collect();
    assert!(!serde_json::to_string(&commands).unwrap().contains("hunter2"));
    assert!(
        matches!(commands[0], Command::Rootpw(Rootpw { password: Some(secret), .. }) if secret.expose() == "hunter2")
    );
}

#[test]
fn a_hash_that_cuts_a_value_is_a_warning() {
    let parsed = parse("rootpw abc#def\n", Version::Rhel9).unwrap();
    assert_eq!(parsed.warnings.len(), 1);
    assert!(
        parsed.warnings[0].to_string().starts_with("1:11: warning: this # begins a comment"),
        "{}",
        parsed.warnings[0]
    );
}

#[test]
fn bytes_that_are_not_text_are_refused_where_they_stand() {
    let said = parse_bytes(b"lang C\nuser --name=\xff\n", Version::Rhel9).unwrap_err().to_string();
    assert_eq!(said, "2:13: this is not UTF-8: save the file as UTF-8.");
}

#[test]
fn what_a_version_cannot_say_is_not_written() {
    let kickstart = Kickstart {
        items: vec![
            Timesource { ntp_server: Some("ntp".to_owned()), ..Timesource::default() }.into(),
            Bootloader { sdboot: true, append: Some("quiet\nrootpw x".to_owned()), ..Bootloader::default() }.into(),
            Rootpw { password: Some(Secret::from("--lock")), ..Rootpw::default() }.into(),
            User::default().into(),
        ],
    };
    insta::assert_snapshot!(kickstart.render(Version::Rhel8).unwrap_err());
    // A list cannot contain a name with a comma: it would come back as two.
    let item: Item = Clearpart { drives: vec!["a,b".to_owned()], ..Clearpart::default() }.into();
    let refused = Kickstart { items: vec![item] }.render(Version::Rhel9).unwrap_err().to_string();
    assert!(refused.starts_with("1:1: a value has characters that would be read as something else"), "{refused}");
}
