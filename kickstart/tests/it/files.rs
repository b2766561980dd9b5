//! Whole files: sections against pykickstart, reading what was written, and bytes that are no kickstart at all.

use kickstart::{
    Addon, Autopart, Body, Clearpart, Ending, Finish, GroupExtent, Item, Kickstart, Lang, MountPoint, Network,
    PackageItem, Packages, PackagesHeader, Part, Script, ScriptHeader, ScriptKind, Section, Version, parse,
    parse_bytes,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

use crate::oracle::Oracle;

/// Pieces of files: right ones, and such that are nearly right.
const PIECES: [&str; 46] = [
    "lang en_US.UTF-8\n",
    "timezone --utc Asia/Shanghai\n",
    "# comment\n",
    "\n",
    "  \t\n",
    "skipx\r\n",
    "autopart --type=lvm\n",
    "part / --size=1000\n",
    "clearpart --all # all of it\n",
    "reboot\n",
    "network --device=eth0\n",
    "network --device=eth1\n",
    "user --name=a\n",
    "zerombr\n",
    "%include /tmp/x\n",
    "%include\n",
    "%ksappend http://a/b\n",
    "rootpw --lock\n",
    "%packages\n@core\nvim\n-nano\n%end\n",
    "%packages --ignoremissing --excludedocs\n@^minimal-environment\n@Server with GUI --optional # x\n-@x\n  tmux  \n%end\n",
    "%packages --timeout=5 --inst-langs=en\n%include /tmp/p\n@a --nodefaults\n@a --optional\n%end\n",
    "%packages --instLangs=de --excludeWeakdeps\nvim\n-vim\n-@^e\n%end\n",
    "%packages --exclude-weakdeps\n-emacs\nemacs\n@g\n-@g\n%end\n",
    "%packages --nobase\na\n%end\n",
    "%packages --default --nocore\n%end\n",
    "%packages\n@a --nodefaults --optional\n%end\n",
    "%packages\n@^a\n@^b\n-@^b\nlib*\n%end\n",
    "%packages\n",
    "%pre\necho a\n%end\n",
    "%post --nochroot --log=/root/x\n  cp a b\n#x\n\n %end\n",
    "%post --interpreter=/usr/bin/python3 --erroronfail\nprint('%s' % 1)\n%s\n%end # done\n",
    "%pre --nochroot\nx\n%end\n",
    "%pre-install --logfile \"/tmp/a b\"\nx\r\ny\n%end\n",
    "%onerror\nx\n%end\n",
    "%traceback\nx\n%end\n",
    "%post\n%end\n",
    "%pre\n%packages\n%end\n",
    "%post\n%include /tmp/x\n%end\n",
    "%post\n%include\n%end\n",
    "%post --nonsense\nx\n%end\n",
    "%addon com_redhat_kdump --enable --reserve-mb='auto'\nx = y\n%end\n",
    "%anaconda\npwpolicy root\n%end\n",
    "%certificate --filename=a.pem --dir=/etc\n-----BEGIN\n%end\n",
    "%certificate --filename=a.pem --type anchor\nx\n\n%end\n",
    "%certificate --filename=a.pem\nx\n%end\n",
    "%nonsense\nx\n%end\n",
];

/// The sections of ours, in the terms of pykickstart.
fn ours(kickstart: &Kickstart) -> Value {
    // pykickstart was told not to read included files, and drops those lines.
    let body = |body: &Body| {
        let lines = body.as_str().split_inclusive('\n').filter(|line| !line.starts_with("%include "));
        lines.collect::<String>()
    };
    let (mut scripts, mut certificates) = (Vec::new(), Vec::new());
    let mut packages = Packages::default();
    for section in kickstart.sections() {
        match section {
            Section::Script(script) if body(&script.body).trim().is_empty() => {}
            Section::Script(script) => scripts.push(json!({
                "type": ScriptKind::ALL.iter().position(|kind| *kind == script.header.kind),
                "interp": script.header.interpreter.as_deref().unwrap_or("/bin/sh"),
                "log": script.header.log,
                "fail": script.header.erroronfail,
                "chroot": script.header.kind == ScriptKind::Post && !script.header.nochroot,
                "body": body(&script.body),
            })),
            Section::Certificate(certificate) => certificates.push(json!({
                "cert": certificate.body.as_str().strip_suffix('\n'),
                "filename": certificate.header.filename,
                "dir": certificate.header.dir,
                "type": certificate.header.kind,
            })),
            // A later section adds its lines, and its options replace the earlier ones.
            Section::Packages(more) => {
                let kept = packages.header.inst_langs.take();
                packages.header = more.header.clone();
                packages.header.inst_langs = more.header.inst_langs.clone().or(kept);
                packages.items.extend(more.items.iter().cloned());
            }
            _ => {}
        }
    }
    let selection = packages.selection();
    let extent = |extent: &GroupExtent| match extent {
        GroupExtent::Mandatory => 0,
        GroupExtent::Default => 1,
        GroupExtent::All => 2,
    };
    json!({
        "accepted": true,
        "scripts": scripts,
        "certificates": certificates,
        "packages": {
            "environment": selection.environment,
            "groups": selection.groups.iter().map(|(name, how)| json!([name, extent(how)])).collect::<Vec<_>>(),
            "excluded_groups": selection.excluded_groups,
            "packages": selection.packages,
            "excluded": selection.excluded_packages,
            "excludedocs": packages.header.excludedocs,
            "timeout": packages.header.timeout,
            "inst_langs": packages.header.inst_langs,
            "weak": packages.header.exclude_weakdeps,
        },
    })
}

/// pykickstart numbers the kinds of scripts in another order.
fn theirs(mut answer: Value) -> Value {
    const KINDS: [usize; 5] = [0, 2, 4, 1, 3];
    for script in answer["scripts"].as_array_mut().into_iter().flatten() {
        let number = script["type"].as_u64().unwrap() as usize;
        script["type"] = json!(KINDS[number]);
    }
    answer
}

#[test]
fn files_mean_what_they_mean_in_pykickstart() {
    let mut oracle = Oracle::start();
    let mut rng = StdRng::seed_from_u64(7);
    let mut cases: Vec<(Version, String)> = Vec::new();
    for version in Version::ALL {
        cases.extend(PIECES.iter().map(|piece| (version, (*piece).to_owned())));
        for _ in 0..60 {
            let count = rng.random_range(1..6);
            cases.push((version, (0..count).map(|_| *PIECES.choose(&mut rng).unwrap()).collect()));
        }
    }
    let question =
        |ask: &str, version: Version, text: &str| json!({"ask": ask, "version": version.name(), "text": text});
    let questions: Vec<Value> = cases.iter().map(|(version, text)| question("file", *version, text)).collect();
    let mut right = Vec::new();
    for ((version, text), answer) in cases.iter().zip(oracle.ask(&questions)) {
        match parse(text, *version) {
            Ok(parsed) => {
                assert_eq!(
                    answer["accepted"], true,
                    "{version}: refused by pykickstart alone: {}\n{text}",
                    answer["error"]
                );
                assert_eq!(ours(&parsed.kickstart), theirs(answer.clone()), "{version}\n{text}");
                let written = match parsed.kickstart.render(*version) {
                    Ok(written) => written,
                    // The validator takes warnings for errors, so they are not written.
                    Err(problems) => {
                        assert!(!parsed.warnings.is_empty(), "{version}: read, but not written: {problems}\n{text}");
                        continue;
                    }
                };
                assert_eq!(parse(&written, *version).unwrap().kickstart, parsed.kickstart, "{text}\n{written}");
                right.push((*version, written, answer));
            }
            Err(problems) => assert_eq!(answer["accepted"], false, "{version}: refused here alone: {problems}\n{text}"),
        }
    }
    assert!(right.len() > 150, "only {} files were right", right.len());
    let again: Vec<Value> = right.iter().map(|(version, text, _)| question("file", *version, text)).collect();
    for ((version, text, before), after) in right.iter().zip(oracle.ask(&again)) {
        assert_eq!(*before, after, "{version}\n{text}");
    }
    // The validator would fetch what %ksappend names.
    right.retain(|(_, text, _)| !text.contains("%ksappend"));
    let validations: Vec<Value> = right.iter().map(|(version, text, _)| question("validate", *version, text)).collect();
    for ((version, text, _), answer) in right.iter().zip(oracle.ask(&validations)) {
        assert_eq!(answer["accepted"], true, "ksvalidator -v {version}: {}\n{text}", answer["error"]);
    }
}

/// pykickstart fetches what these lines name before it reads the file; here they are left to the caller.
#[test]
fn files_that_are_appended_are_items_within_packages_too() {
    let text = "%ksappend http://a/b.ks\n%packages\n%ksappend payload/a.ks\n%include /tmp/p\nvim\n%end\n";
    let kickstart = parse(text, Version::Rhel9).unwrap().kickstart;
    let packages = vec![
        PackageItem::KsAppend("payload/a.ks".to_owned()),
        PackageItem::Include("/tmp/p".to_owned()),
        PackageItem::Package("vim".to_owned()),
    ];
    let section = Section::Packages(Packages { header: PackagesHeader::default(), items: packages });
    assert_eq!(kickstart.items, [Item::KsAppend("http://a/b.ks".to_owned()), Item::Section(section)]);
    assert_eq!(parse(&kickstart.render(Version::Rhel9).unwrap(), Version::Rhel9).unwrap().kickstart, kickstart);
    let said = parse("%packages\n%ksappend\n%end\n%ksappend\n", Version::Rhel9).unwrap_err().to_string();
    assert_eq!(said, "2:1: %ksappend needs the name of a file.\n4:1: %ksappend needs the name of a file.");
}

/// Texts of all kinds, and some that mean something in a file.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[a-z0-9./-]{0,12}",
        2 => any::<String>(),
        1 => select(vec!["%end", "#", "a,b", " x", "it's", "\"", "\\", "--x", "a\nb", "@x", "%include"]).prop_map(str::to_owned),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    let packages = prop_oneof![
        text().prop_map(PackageItem::Environment),
        text().prop_map(PackageItem::ExcludeEnvironment),
        (text(), select(vec![GroupExtent::Default, GroupExtent::Mandatory, GroupExtent::All]))
            .prop_map(|(name, extent)| PackageItem::Group { name, extent }),
        text().prop_map(PackageItem::ExcludeGroup),
        text().prop_map(PackageItem::Package),
        text().prop_map(PackageItem::ExcludePackage),
        text().prop_map(PackageItem::Include),
        text().prop_map(PackageItem::KsAppend),
    ];
    prop_oneof![
        (text(), vec(text(), 0..3)).prop_map(|(lang, addsupport)| Lang { lang, addsupport }.into()),
        (option::of(text()), option::of(text()), any::<bool>()).prop_map(|(device, hostname, noipv6)| {
            Network { device, hostname, noipv6, ..Network::default() }.into()
        }),
        vec(text(), 0..3).prop_map(|drives| Clearpart { drives, ..Clearpart::default() }.into()),
        text().prop_map(|path| Part { mountpoint: MountPoint::new(&path), size: Some(1), ..Part::default() }.into()),
        Just(Autopart::default().into()),
        select(Ending::ALL.to_vec()).prop_map(|ending| Finish { ending, ..Finish::default() }.into()),
        text().prop_map(Item::Include),
        text().prop_map(Item::KsAppend),
        (select(ScriptKind::ALL.to_vec()), option::of(text()), any::<bool>(), text()).prop_map(
            |(kind, log, nochroot, body)| {
                let header = ScriptHeader { kind, log, nochroot, ..ScriptHeader::default() };
                Item::Section(Section::Script(Script { header, body: Body::new(body) }))
            }
        ),
        (vec(text(), 0..3), text())
            .prop_map(|(arguments, body)| Item::Section(Section::Addon(Addon { arguments, body: Body::new(body) }))),
        vec(packages, 0..4)
            .prop_map(|items| Item::Section(Section::Packages(Packages { header: PackagesHeader::default(), items }))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_can_be_written_is_read_as_the_same(items in vec(item(), 0..4), version in select(Version::ALL.to_vec())) {
        let kickstart = Kickstart { items };
        if let Ok(text) = kickstart.render(version) {
            prop_assert_eq!(parse(&text, version).map(|parsed| parsed.kickstart), Ok(kickstart));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), version in select(Version::ALL.to_vec())) {
        let _ = parse_bytes(&bytes, version);
    }

    #[test]
    fn any_pieces_are_read_or_refused(
        pieces in vec(prop_oneof![select(PIECES.to_vec()).prop_map(str::to_owned), any::<String>(), text()], 0..8),
        version in select(Version::ALL.to_vec()),
    ) {
        if let Err(problems) = parse(&pieces.concat(), version) {
            prop_assert!(problems.iter().all(|problem| problem.line > 0 && problem.column > 0));
        }
    }
}
