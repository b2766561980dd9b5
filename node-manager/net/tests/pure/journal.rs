//! The way back, on a disk that lies.

use std::fs;

use node_manager_net::change::{journal::Journal, places::Places, recover};
use proptest::{collection::vec, prelude::*};

/// A journal as a change writes it.
const GOOD: &str = r#"{
  "id": "12-34", "boot": "another", "command": "zs-vlan -c eth0 10", "phase": { "is": "waiting", "until_ms": 90000 },
  "old": { "links": {} }, "new": { "links": {} }, "before": { "links": {}, "management": null },
  "files": { "05-zs-eth0.network": "[Match]\nName=eth0\n" }
}"#;

fn places() -> (tempfile::TempDir, Places) {
    let root = tempfile::tempdir().unwrap();
    let places = Places::below(root.path());
    fs::create_dir_all(places.journal().parent().unwrap()).unwrap();
    (root, places)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Read, and gone back from at the next boot: what says nothing is put aside under a name that tells, so that the next
/// change can begin.
fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (_root, places) = places();
    fs::write(places.journal(), bytes).unwrap();
    let read = Journal::read(&places);
    prop_assert!(read.is_ok(), "{:?}", read);
    let aside = places.journal().with_extension("unreadable");
    if read.unwrap_or_default().is_none() {
        prop_assert_eq!(fs::read(aside).unwrap(), bytes);
    } else {
        prop_assert!(!aside.exists());
    }
    let back = runtime().block_on(recover(&places));
    prop_assert!(back.is_ok(), "{:?}", back);
    prop_assert!(!places.journal().exists());
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_no_journal_and_no_panic(bytes in vec(any::<u8>(), 0..200)) {
        survives(&bytes)?;
    }

    #[test]
    fn a_journal_with_wrong_bytes_is_understood_or_put_aside(
        at in 0..GOOD.len(), byte in any::<u8>(), cut in 0..GOOD.len(), how in 0..3_u8,
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        match how {
            0 => bytes[at] = byte,
            1 => bytes.truncate(cut),
            _ => bytes.insert(at, byte),
        }
        survives(&bytes)?;
    }
}

#[test]
fn a_journal_restores_only_files_of_ours_in_their_folder() {
    let (root, places) = places();
    for name in ["../../../../escaped.network", "/escaped.network", "20-other.network", "05-zs-../x.network"] {
        fs::write(places.journal(), GOOD.replace("05-zs-eth0.network", name)).unwrap();
        assert_eq!(runtime().block_on(recover(&places)).unwrap(), None, "{name}");
        assert!(places.journal().with_extension("unreadable").exists() && !places.store().folder().exists());
        assert!(!root.path().join("escaped.network").exists());
    }
    fs::write(places.journal(), GOOD).unwrap();
    assert_eq!(runtime().block_on(recover(&places)).unwrap().as_deref(), Some("zs-vlan -c eth0 10"));
    assert!(places.store().folder().join("05-zs-eth0.network").exists());
}
