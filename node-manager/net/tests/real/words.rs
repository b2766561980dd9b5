//! What people type: options that are repeated, and options that contradict each other.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::world::{Node, ip};

#[test]
fn os_scr_010_every_address_of_one_command_is_set() {
    let node = Node::new();
    node.ok(
        "zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 -i eth1 192.0.3.10 255.255.255.0 192.0.3.1 --confirm",
    );
    assert!(ip("addr show eth0").contains("192.0.2.10/24") && ip("addr show eth1").contains("192.0.3.10/24"));
    node.ok(
        "zs-network-setting -b eth0 192.0.2.10 255.255.255.0 192.0.2.1 -b eth1 192.0.3.10 255.255.255.0 192.0.3.1 --confirm",
    );
    assert!(ip("addr show br_eth0").contains("192.0.2.10/24") && ip("addr show br_eth1").contains("192.0.3.10/24"));
}

/// The kernel at hand may have neither VLANs nor bonds; the plan tells what was understood.
#[test]
fn os_scr_020_030_050_every_pair_of_a_repeated_option_counts() {
    let node = Node::new();
    let plan = node.ok("zs-vlan -c eth1 10 -c eth1 11 --dry-run").out;
    assert!(plan.contains("create VLAN eth1.10") && plan.contains("create VLAN eth1.11"), "{plan}");
    // A bond as the files know it.
    let bond = "[NetDev]\nName=bond0\nKind=bond\n[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\n";
    node.network_file("etc", "05-zs-bond0.netdev", bond);
    let plan = node.ok("zs-nic-to-bond -a bond0 eth0 -a bond0 eth1 --dry-run").out;
    assert!(plan.contains("put eth0 into bond0") && plan.contains("put eth1 into bond0"), "{plan}");
    fs::remove_dir_all(node.path("etc/systemd/network")).unwrap();
    for (words, both) in [
        ("zs-vlan -d eth1 10 -d eth1 11", ["eth1.10"; 2]),
        ("zs-nic-to-bond -a bond0 eth8 -a bond0 eth9", ["eth8: there is no such interface"; 2]),
        ("zs-nic-to-bond -d bond0 eth8 -d bond0 eth9", ["eth8: there is no such interface"; 2]),
        ("zs-change-nic -c eth8 em08 -c eth9 em09", ["eth8: there is no such interface"; 2]),
        ("zs-bond-lacp -c bond0 -c bond1", ["cannot be used multiple times"; 2]),
        ("zs-network-setting --dhcp eth0 --dhcp eth1", ["cannot be used multiple times"; 2]),
    ] {
        let refused = node.zs(words);
        assert!(refused.code == 2 && both.iter().all(|part| refused.err.contains(part)), "{words}: {refused:?}");
    }
}

#[test]
fn a_dry_run_confirms_nothing_and_a_revert_does_nothing_else() {
    let node = Node::new();
    node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1");
    let waiting = fs::read(node.journal()).unwrap();
    for words in [
        "zs-network-setting --dry-run --confirm",
        "zs-vlan -c eth1 10 --revert",
        "zs-change-nic -c eth0 em0 --revert",
        "zs-bond-lacp -d bond0 --revert",
        "zs-nic-to-bond -a bond0 eth0 --revert",
        "zs-network-setting --clear eth1 --revert",
        "zs-network-setting --confirm --revert",
    ] {
        let refused = node.zs(words);
        assert!(refused.code == 2 && refused.err.contains("cannot be used with"), "{words}: {refused:?}");
        assert_eq!(fs::read(node.journal()).unwrap(), waiting, "{words}");
    }
    node.ok("zs-network-setting --revert");
}

#[test]
fn locks_are_root_s_alone() {
    let node = Node::new();
    let locks = ["network.lock", "network-keeper.lock"].map(|name| node.path("run/zstack").join(name));
    fs::create_dir_all(node.path("run/zstack")).unwrap();
    for mode in [None, Some(0o644), Some(0o666)] {
        for lock in locks.iter().filter(|_| mode.is_some()) {
            fs::write(lock, "").unwrap();
            fs::set_permissions(lock, fs::Permissions::from_mode(mode.unwrap_or_default())).unwrap();
        }
        node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
        node.ok("zs-network-setting -i eth0 192.0.2.11 255.255.255.0 192.0.2.1 --confirm");
        for lock in &locks {
            let mode = fs::metadata(lock).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", lock.display());
        }
    }
}

#[test]
fn names_that_linux_does_not_take_are_refused_with_the_rule() {
    let node = Node::new();
    let refused = node.zs("zs-bond-lacp -c a-very-long-name");
    assert!(refused.code == 2 && refused.err.contains("has 16 bytes, and Linux takes 15 at most"), "{refused:?}");
    let refused = node.zs("zs-network-setting -i a-very-long-name 192.0.2.10 255.255.255.0 192.0.2.1");
    assert!(refused.code == 2 && refused.err.contains("there is no such interface"), "{refused:?}");
}
