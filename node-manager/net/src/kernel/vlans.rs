//! The kernel's own list of VLANs, a line for each: the only short answer to who has which tag on what.

use std::{collections::BTreeMap, io};

/// Parent and tag of every VLAN interface in the namespace of this thread, by name.
///
/// # Errors
/// Those of the file system. A kernel without VLANs has none.
pub fn vlans() -> io::Result<BTreeMap<String, (String, u16)>> {
    match std::fs::read_to_string("/proc/thread-self/net/vlan/config") {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        text => Ok(list(&text?)),
    }
}

/// Lines such as `eth0.10 | 10 | eth0`, after two of headings, which have fewer columns or no number.
fn list(text: &str) -> BTreeMap<String, (String, u16)> {
    let line = |line: &str| {
        let mut words = line.split('|').map(str::trim);
        let (name, id, parent) = (words.next()?, words.next()?, words.next()?);
        Some((name.to_owned(), (parent.to_owned(), id.parse().ok()?)))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_without_its_headings() {
        let text = "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n\
                    eth0.10        | 10  | eth0\nstorage        | 4094  | bond0\n";
        let found = list(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found["storage"], ("bond0".to_owned(), 4094));
    }
}
