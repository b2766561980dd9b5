//! What the commands do to a node, in the kernel and for the next boot.

use std::fs;

use crate::world::{Node, ip};

#[test]
fn os_scr_010_an_interface_gets_its_address_now_and_for_the_next_boot() {
    let node = Node::new();
    let done = node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    assert!(done.err.contains("give eth0 the address 192.0.2.10/24"), "{done:?}");
    insta::assert_snapshot!(node.summary());
    let files: Vec<String> = node.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(files, ["05-zs-eth0.network"]);
    let text = &node.files()[0].1;
    assert!(text.contains("Address=192.0.2.10/24") && text.contains("Gateway=192.0.2.1"), "{text}");

    let again = node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --json");
    assert_eq!(again.json()["state"], "unchanged");
    assert_eq!(again.json()["plan"].as_array().unwrap().len(), 0);

    // Another address takes its place; the management network is on it, so it waits.
    let done = node.ok("zs-network-setting -i eth0 192.0.2.11 255.255.255.0 192.0.2.1 --json");
    assert_eq!((&done.json()["state"], &done.json()["confirm_within_seconds"]), (&"waiting".into(), &90.into()));
    node.ok("zs-network-setting --confirm");
    assert!(ip("addr show eth0").contains("192.0.2.11/24") && !ip("addr show eth0").contains("192.0.2.10/"));
    assert!(!node.journal().exists());
}

#[test]
fn os_scr_011_a_bridge_takes_over_the_address_and_gives_it_back() {
    let node = Node::new();
    node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    let plan = node.ok("zs-network-setting -b eth0 192.0.2.10 255.255.255.0 192.0.2.1 --dry-run");
    insta::assert_snapshot!(plan.out);
    assert!(!ip("link").contains("br_eth0"), "a dry run changes nothing");

    node.ok("zs-network-setting -b eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    insta::assert_snapshot!(node.summary());
    assert!(ip("link show br_eth0").contains("52:54:00:00:00:00"), "neighbours notice nothing");
    assert_eq!(node.ok("zs-show-network --json").json()["management"], "br_eth0");
    // The same once more, on the bridge this time.
    node.ok("zs-network-setting -b eth0 192.0.2.12 255.255.255.0 192.0.2.1 --confirm");
    assert!(ip("addr show br_eth0").contains("192.0.2.12/24"));

    let refused = node.zs("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1");
    assert!(refused.code == 2 && refused.err.contains("configure br_eth0 instead"), "{refused:?}");
}

#[test]
fn what_others_set_stays() {
    let node = Node::new();
    node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    // A virtual address of a daemon, a route by hand, and a bridge of somebody else.
    ip("addr add 192.0.2.200/32 dev eth0");
    ip("route add 198.51.100.0/24 via 192.0.2.7");
    ip("link add other type bridge");
    ip("addr add 203.0.113.1/24 dev other");
    fs::write(node.path("etc/systemd/network/50-other.network"), "[Match]\nName=other\n").unwrap();
    node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.2 --confirm");
    node.ok("zs-network-setting -i eth1 192.0.3.10 255.255.255.0 192.0.3.1 --confirm");
    insta::assert_snapshot!(node.summary());
    assert_eq!(node.files().len(), 3);
}

#[test]
fn os_scr_030_names_that_cannot_be_given_are_refused() {
    let node = Node::new();
    node.ok("zs-network-setting -b eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    for (words, reason) in [
        // Cables to namespaces have none; cards do, and are renamed in the guest tests.
        ("zs-change-nic -c eth0 em01", "no permanent hardware address"),
        ("zs-change-nic -c eth9 em09", "there is no such interface"),
        ("zs-change-nic -c br_eth0 em09", "only NICs are renamed"),
    ] {
        let refused = node.zs(words);
        assert!(refused.code == 2 && refused.err.contains(reason), "{words}: {refused:?}");
    }
}

#[test]
fn a_link_that_is_known_by_its_number_is_renamed_in_place() {
    let node = Node::new();
    let file = node.path("wanted.toml");
    let text =
        "[links.vx7]\nkind.vxlan = { vni = 7, local = '192.0.2.10' }\n[links.br7]\nkind.bridge = { ports = ['vx7'] }\n";
    fs::write(&file, text).unwrap();
    let apply = format!("zs-network-setting --apply {}", file.display());
    node.ok(&apply);
    let index = |name: &str| ip(&format!("link show {name}")).split(':').next().unwrap().to_owned();
    let before = index("vx7");
    fs::write(&file, text.replace("vx7", "overlay")).unwrap();
    insta::assert_snapshot!(node.ok(&format!("{apply} --dry-run")).out);
    node.ok(&apply);
    assert!(index("overlay") == before && ip("link show overlay").contains("master br7"));
}

#[test]
fn os_scr_020_040_vlans_and_bonds_work_or_the_missing_module_is_named() {
    let node = Node::new();
    let before = node.summary();
    for (words, word, module) in
        [("zs-vlan -c eth1 10", "eth1.10", "8021q"), ("zs-bond-lacp -c bond0", "bond0", "bonding")]
    {
        let done = node.zs(words);
        if done.code == 0 {
            assert!(ip("link").contains(word));
            assert_eq!(node.zs(&words.replace("-c", "-d")).code, 0);
        } else {
            assert!(
                done.err.contains(&format!("modprobe {module}")) && done.err.contains("as it was before"),
                "{done:?}"
            );
        }
        assert_eq!(node.summary(), before);
        assert_eq!(node.files().iter().filter(|(name, _)| name.contains(word)).count(), 0);
        assert!(!node.journal().exists());
    }
    for (words, reason) in [
        ("zs-vlan -c eth1 4095", "no number from 1 to 4094"),
        ("zs-vlan -d eth1 7", "there is no such interface"),
        ("zs-nic-to-bond -a bond0 eth7", "eth7: there is no such interface"),
        ("zs-bond-lacp -d eth0", "no bond"),
    ] {
        let refused = node.zs(words);
        assert!(refused.code == 2 && refused.err.contains(reason), "{words}: {refused:?}");
    }
}

#[test]
fn a_whole_network_is_put_in_force_and_replaced() {
    let node = Node::new();
    let file = node.path("wanted.toml");
    fs::write(
        &file,
        r#"
management = "br0"
[links.eth0]
kind.nic = {}
mtu = 1600
[links.br0]
kind.bridge = { ports = ["eth0"] }
mtu = 1500
ip = { addresses = ["192.0.2.10/24", "2001:db8::10/64"], routes = [{ to = "0.0.0.0/0", via = "192.0.2.1" }, { to = "::/0", via = "2001:db8::1" }, { to = "198.51.100.0/24", via = "192.0.2.7", metric = 50 }] }
[links.vx77]
kind.vxlan = { vni = 77, local = "192.0.2.10", peers = ["192.0.2.11", "192.0.2.12"] }
[links.br_vx77]
kind.bridge = { ports = ["vx77"] }
"#,
    )
    .unwrap();
    let plan = format!("zs-network-setting --apply {} --dry-run", file.display());
    let apply = format!("zs-network-setting --apply {} --confirm", file.display());
    node.ok(&apply);
    insta::assert_snapshot!(node.summary());
    let peers = |name: &str| {
        let out = std::process::Command::new("bridge").args(["fdb", "show", "dev", name]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines()
            .filter(|line| line.starts_with("00:00:00:00:00:00"))
            .filter_map(|l| l.split(' ').nth(2).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(peers("vx77"), ["192.0.2.11", "192.0.2.12"]);
    assert!(
        ip("-d link show vx77").contains("vxlan id 77 local 192.0.2.10")
            && ip("-d link show vx77").contains("dstport 4789")
    );

    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(r#""192.0.2.11", "#, "").replace("1600", "1500")).unwrap();
    insta::assert_snapshot!(node.ok(&plan).out);
    node.ok(&apply);
    assert_eq!(peers("vx77"), ["192.0.2.12"]);

    // Nothing is left of what nobody wants any more.
    fs::write(&file, "").unwrap();
    node.ok(&apply);
    assert!(node.files().is_empty() && !ip("link").contains("br0") && !ip("link").contains("vx77"));

    fs::write(&file, "[links.eth0]\nkind.nic = {}\nmtu = 10\n[links.eth1]\nkind.nic = {}\nip = { adresses = [] }\n")
        .unwrap();
    let refused = node.zs(&apply);
    assert!(refused.code == 2 && refused.err.contains("adresses"), "{refused:?}");
}

#[test]
fn a_file_that_would_win_over_ours_is_named() {
    let node = Node::new();
    fs::create_dir_all(node.path("etc/systemd/network")).unwrap();
    fs::write(node.path("etc/systemd/network/00-mine.network"), "[Match]\nName=eth0\n[Network]\nDHCP=yes\n").unwrap();
    let refused = node.zs("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --json");
    assert!(refused.code == 2 && refused.err.contains("00-mine.network"), "{refused:?}");
    assert_eq!(refused.json()["problems"][0]["subject"], "links.eth0");
    let refused = node.zs("zs-network-setting --dhcp eth1");
    assert!(refused.code == 2 && refused.err.contains("systemctl enable --now systemd-networkd"), "{refused:?}");
}

#[test]
fn what_somebody_wrote_into_a_file_of_ours_is_not_lost_in_silence() {
    let node = Node::new();
    node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    let file = node.path("etc/systemd/network/05-zs-eth0.network");
    let edited = fs::read_to_string(&file).unwrap().replace("[Network]\n", "[Network]\nNTP=192.0.2.123\n");
    fs::write(&file, &edited).unwrap();
    // A change of something else leaves the file alone, and has nothing to say.
    let done = node.ok("zs-network-setting -i eth1 192.0.3.10 255.255.255.0 192.0.3.1 --confirm");
    assert!(!done.err.contains("NTP") && fs::read_to_string(&file).unwrap() == edited, "{done:?}");
    let planned = node.ok("zs-network-setting -i eth0 192.0.2.11 255.255.255.0 192.0.2.1 --dry-run --json");
    let said = "05-zs-eth0.network: NTP= in [Network] is not managed, and goes";
    assert!(planned.err.contains(said) && planned.json()["notes"].to_string().contains(said), "{planned:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), edited);
}

#[test]
fn bridges_of_the_cloud_are_one_with_their_interface() {
    let node = Node::new();
    node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    // What the agent does for an L2 network: a bridge with our mark takes the addresses over.
    ip("link add br_eth0 type bridge");
    ip("link set br_eth0 alias zstack:0123456789abcdef0123456789abcdef:eth0 up");
    ip("link set eth0 master br_eth0");
    ip("addr del 192.0.2.10/24 dev eth0");
    ip("addr add 192.0.2.10/24 dev br_eth0");
    ip("route replace default via 192.0.2.1 dev br_eth0 proto static");
    let again = node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --json");
    assert_eq!(again.json()["state"], "unchanged");
    node.ok("zs-network-setting -i eth0 192.0.2.11 255.255.255.0 192.0.2.1 --confirm");
    insta::assert_snapshot!(node.summary());
    for words in [
        "zs-network-setting -b eth0 192.0.2.10 255.255.255.0 192.0.2.1",
        "zs-network-setting -b eth0.7 192.0.2.10 255.255.255.0 192.0.2.1",
    ] {
        let refused = node.zs(words);
        assert!(
            refused.code == 2 && (refused.err.contains("br_eth0") || words.contains("eth0.7")),
            "{words}: {refused:?}"
        );
    }
}

#[test]
fn what_dhcp_gave_is_guarded_kept_first_and_taken_over() {
    let node = Node::new();
    // As a DHCP client leaves it: an address for a time, and the default route with the metric of networkd.
    ip("addr add 192.0.2.10/24 dev eth0 valid_lft 3600 preferred_lft 3600");
    ip("route add default via 192.0.2.1 dev eth0 proto dhcp metric 1024");
    let done = node.ok("zs-network-setting -i eth1 192.0.3.10 255.255.255.0 192.0.3.1 --json");
    assert_eq!((&done.json()["state"], &done.json()["touches_management"]), (&"confirmed".into(), &false.into()));
    assert!(ip("route").contains("default via 192.0.3.1 dev eth1 proto static metric 1100"), "{}", ip("route"));

    // The same address for good: the node is reached through it, so somebody must confirm.
    let done = node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --json");
    assert_eq!(done.json()["state"], "waiting");
    node.ok("zs-network-setting --confirm");
    let shown = ip("addr show eth0");
    assert!(shown.contains("192.0.2.10/24") && !shown.contains("3600sec"), "{shown}");
    assert!(!shown.contains("dynamic"), "the lease cannot run out any more: {shown}");
    assert!(node.files()[0].1.contains("DHCP=no") && node.files()[0].1.contains("Address=192.0.2.10/24"));
    assert_eq!(node.ok("zs-show-network --json").json()["management"], "eth0");
}

#[test]
fn the_first_bridge_on_a_fresh_node_takes_the_default_route_and_the_management_role() {
    let node = Node::new();
    ip("addr add 192.0.2.10/24 dev eth0");
    ip("route add default via 192.0.2.1 dev eth0");
    let done = node.ok("zs-network-setting -b eth0 192.0.2.10 255.255.255.0 192.0.2.1 --json");
    assert_eq!(done.json()["state"], "waiting");
    node.ok("zs-network-setting --confirm");
    assert!(ip("route").contains("default via 192.0.2.1 dev br_eth0 proto static \n"), "{}", ip("route"));
    assert_eq!(node.ok("zs-show-network --json").json()["management"], "br_eth0");
}

#[test]
fn spanning_tree_is_switched_on_and_off_again() {
    let node = Node::new();
    let file = node.path("wanted.toml");
    for stp in [false, true, false] {
        fs::write(&file, format!("[links.br9]\nkind.bridge = {{ stp = {stp} }}\n")).unwrap();
        node.ok(&format!("zs-network-setting --apply {} --confirm", file.display()));
        let shown = ip("-d link show br9");
        // Without the protocol nobody needs to wait before frames pass.
        let wanted = if stp { "forward_delay 1500 " } else { "forward_delay 0 " };
        assert!(shown.contains(wanted) && shown.contains(&format!("stp_state {} ", u8::from(stp))), "{shown}");
    }
}
