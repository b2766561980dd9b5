//! Files: written and read without loss, and whatever stands in them.

use node_manager_net::{
    files::{Files, parse, render, store::Store},
    model::{Dhcp, Kind, Network},
};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::arbitrary::network;

/// Lines that mean something, and some that do not.
fn line() -> impl Strategy<Value = String> {
    let sections = vec![
        "[Match]",
        "[Link]",
        "[Network]",
        "[NetDev]",
        "[Bond]",
        "[VLAN]",
        "[Bridge]",
        "[VXLAN]",
        "[Route]",
        "[Address]",
        "[BridgeFDB]",
        "[X-ZStack]",
        "[DHCPv4]",
        "[",
        "[]",
    ];
    let keys = vec![
        "Name",
        "Kind",
        "MACAddress",
        "PermanentMACAddress",
        "MTUBytes",
        "Mode",
        "MIIMonitorSec",
        "Id",
        "VNI",
        "Local",
        "DestinationPort",
        "Bond",
        "Bridge",
        "VLAN",
        "PrimarySlave",
        "DHCP",
        "Address",
        "Gateway",
        "DNS",
        "Domains",
        "Destination",
        "Metric",
        "STP",
        "Management",
        "TransmitHashPolicy",
        "LACPTransmitRate",
        "UpDelaySec",
    ];
    let values = vec![
        "eth0",
        "eth1",
        "bond0",
        "br0",
        "eth0.10",
        "vlan",
        "bond",
        "bridge",
        "vxlan",
        "vx7",
        "802.3ad",
        "5",
        "10",
        "4095",
        "7",
        "yes",
        "no",
        "ipv4",
        "100ms",
        "1s",
        "1.5",
        "9000",
        "9K",
        "192.0.2.1",
        "192.0.2.1/24",
        "2001:db8::1/64",
        "0.0.0.0/0",
        "::/0",
        "52:54:00:00:00:01",
        "52:54:00:00:00:02",
        "00:00:00:00:00:00",
        "",
        "layer3+4",
        "fast",
        "cloud.example",
        "_dhcp4",
        "*",
        "a b",
        "\\",
    ];
    prop_oneof![
        3 => select(sections).prop_map(str::to_owned),
        8 => (select(keys), select(values)).prop_map(|(key, value)| format!("{key}={value}")),
        1 => "\\PC{0,30}",
    ]
}

/// What an editor, a broken disk or somebody malicious leaves in a file: lines that mean something among others that do
/// not, ended in any way, with bytes that are no text.
fn dirt() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => line().prop_map(String::into_bytes),
        1 => (line(), any::<u8>(), 0..40_usize).prop_map(|(line, byte, at)| {
            let mut bytes = line.into_bytes();
            bytes.insert(at.min(bytes.len()), byte);
            bytes
        }),
        1 => vec(any::<u8>(), 0..30),
    ];
    let end = select(vec!["\n", "\r\n", "\r", "\0", "\\\n", "\n#\n"]);
    vec((piece, end), 0..20).prop_map(|pieces| {
        pieces
            .into_iter()
            .flat_map(|(mut piece, end)| {
                piece.extend_from_slice(end.as_bytes());
                piece
            })
            .collect()
    })
}

fn some_files() -> impl Strategy<Value = Files> {
    let endings = vec![".network", ".netdev", ".link"];
    let heads = vec![
        "",
        "[NetDev]\nName=bond0\nKind=bond\n",
        "[NetDev]\nName=eth0.10\nKind=vlan\n[VLAN]\nId=10\n",
        "[NetDev]\nName=br0\nKind=bridge\n",
        "[NetDev]\nName=vx7\nKind=vxlan\n[VXLAN]\nVNI=7\nLocal=192.0.2.1\n",
        "[Match]\nName=eth0\n",
        "[Match]\nName=bond0\n[Network]\n",
        "[Match]\nPermanentMACAddress=52:54:00:00:00:01\n[Link]\nName=eth0\n",
    ];
    let file =
        (0..99_u8, select(endings), select(heads), vec(line(), 0..12)).prop_map(|(number, ending, head, lines)| {
            (format!("{number:02}-x{ending}"), format!("{head}{}", lines.join("\n")))
        });
    vec(file, 0..8).prop_map(|files| files.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_network_survives_its_files(network in network()) {
        let files = render(&network);
        let parsed = parse(&files);
        prop_assert_eq!(&parsed.network, &network);
        prop_assert!(parsed.notes.is_empty(), "{:?}", parsed.notes);
        prop_assert_eq!(render(&parsed.network), files);
    }

    #[test]
    fn whatever_bytes_a_file_has_it_is_read_or_named(bytes in dirt(), ending in select(vec!["network", "netdev", "link"])) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        let name = format!("05-zs-x.{ending}");
        std::fs::create_dir_all(store.folder()).unwrap();
        std::fs::write(store.folder().join(&name), &bytes).unwrap();
        let read = parse(&store.ours().unwrap());
        let no_text = bytes.contains(&0) || std::str::from_utf8(&bytes).is_err();
        prop_assert!(!no_text || read.notes.iter().any(|note| note.to_string().contains("no text")), "{:?}", read.notes);
        prop_assert!(read.notes.iter().all(|note| note.file == name));
        // What was understood means the same when it is written anew, and holds no surprise any more.
        let again = parse(&render(&read.network));
        prop_assert_eq!(&again.network, &read.network);
        prop_assert!(again.notes.is_empty(), "{:?}", again.notes);
    }

    #[test]
    fn whatever_stands_in_files_is_read_once_and_for_all(files in some_files()) {
        let read = parse(&files).network;
        let again = parse(&render(&read));
        prop_assert_eq!(&again.network, &read);
        prop_assert!(again.notes.is_empty(), "{:?}", again.notes);
    }
}

#[test]
fn files_of_others_are_understood() {
    let files: Files = [
        ("10-uplink.netdev", "[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\nMode=802.3ad\nMIIMonitorSec=1s\nLACPTransmitRate=fast\nAdSelect=bandwidth\n"),
        ("20-cards.network", "[Match]\nName=en*\n\n[Network]\nBond=bond0\n"),
        ("21-card.network", "[Match]\nName=eno1\n\n[Network]\nBond=bond0\nPrimarySlave=yes\n"),
        ("30-uplink.network", "[Match]\nName=bond0\n\n[Network]\nDHCP=yes\nVLAN=storage\nDNS=192.0.2.53 2001:db8::53\n\n[DHCPv4]\nUseDNS=no\n"),
        ("40-storage.netdev", "[NetDev]\nName=storage\nKind=vlan\nMTUBytes=9000\n\n[VLAN]\nId=20\n"),
        ("40-storage.network", "[Match]\nName=storage\n\n[Address]\nAddress=198.51.100.7/24\n\n[Route]\nGateway=198.51.100.1\nMetric=50\n"),
        ("50-lost.netdev", "[NetDev]\nName=lost\nKind=vlan\n\n[VLAN]\nId=21\n"),
        ("60-tunnel.netdev", "[NetDev]\nName=wg0\nKind=wireguard\n"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into();
    let parsed = parse(&files);
    let Kind::Bond(bond) = &parsed.network.links["bond0"].kind else { panic!() };
    assert_eq!((bond.options.miimon, bond.options.mode.number()), (1000, 4));
    assert_eq!(bond.members, ["eno1".to_owned()].into());
    assert_eq!(bond.primary.as_deref(), Some("eno1"));
    assert_eq!((parsed.network.links["bond0"].ip.dhcp, parsed.network.links["bond0"].ip.dns.len()), (Dhcp::Both, 2));
    assert_eq!(parsed.network.links["storage"].mtu, Some(9000));
    assert_eq!(parsed.network.links["storage"].ip.gateway(true).unwrap().to_string(), "198.51.100.1");
    assert!(!parsed.network.links.contains_key("lost"));
    let notes: Vec<String> = parsed.notes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(notes.join("\n"));
}

#[test]
fn os_scr_022_files_are_the_ones_networkd_reads() {
    let network: Network = toml::from_str(
        r#"
management = "br_eth0_10"
[links.em1]
kind.nic = { mac = "52:54:00:00:00:01" }
[links.em2]
kind.nic = { mac = "52:54:00:00:00:02" }
[links.bond0]
kind.bond = { mode = "802.3ad", xmit_hash_policy = "layer2+3", members = ["em1", "em2"], mac = "52:54:00:00:00:01" }
mtu = 9000
[links."bond0.10"]
kind.vlan = { parent = "bond0", id = 10 }
mtu = 1500
[links.br_eth0_10]
kind.bridge = { ports = ["bond0.10"], mac = "52:54:00:00:00:01" }
ip = { addresses = ["192.0.2.10/24"], routes = [{ to = "0.0.0.0/0", via = "192.0.2.1" }], dns = ["192.0.2.53"] }
[links.vx7]
kind.vxlan = { vni = 7, local = "192.0.2.10", peers = ["192.0.2.11"] }
"#,
    )
    .unwrap();
    assert_eq!(node_manager_net::validate::validate(&network), []);
    let all: Vec<String> = render(&network).iter().map(|(name, text)| format!("== {name}\n{text}")).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn net_vx_002_a_vxlan_is_as_large_as_fits_into_what_it_runs_over() {
    for (local, mtu, fits) in [
        ("192.0.2.10/24", "", 1450),
        ("192.0.2.10/24", "mtu = 9000", 8950),
        ("2001:db8::10/64", "", 1430),
        ("2001:db8::10/64", "mtu = 9000", 8930),
    ] {
        let end = local.split('/').next().unwrap();
        let text = format!(
            "[links.eth0]\nkind.nic = {{}}\n{mtu}\nip = {{ addresses = ['{local}'] }}\n\
             [links.vx7]\nkind.vxlan = {{ vni = 7, local = '{end}' }}\n[links.br7]\nkind.bridge = {{ ports = ['vx7'] }}\n"
        );
        let mut network: Network = toml::from_str(&text).unwrap();
        let files = render(&network);
        assert_eq!((network.mtu("vx7"), network.mtu("br7")), (fits, fits));
        assert!(files["05-zs-vx7.network"].contains(&format!("MTUBytes={fits}\n")), "{}", files["05-zs-vx7.network"]);
        assert!(!files["05-zs-br7.network"].contains("MTUBytes"));
        // It stays derived: where the card grows, so does the tunnel.
        let read = parse(&files).network;
        assert_eq!(read, network);
        network.links.get_mut("eth0").unwrap().mtu = Some(2000);
        assert_eq!(network.mtu("vx7"), 2000 - (if end.contains(':') { 70 } else { 50 }));
        // What an operator wrote is taken as it is.
        network.links.get_mut("vx7").unwrap().mtu = Some(1400);
        assert_eq!(parse(&render(&network)).network, network);
    }
}
