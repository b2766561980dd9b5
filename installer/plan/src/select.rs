//! Which disk an answer means, and whether it can be used.

use crate::{
    facts::{Disk, Facts},
    size::Size,
};

/// Why nothing was selected: the rule and the way out.
pub(crate) type Refusal = (String, String);

/// What makes a disk unusable, whoever names it.
pub fn obstacle(disk: &Disk) -> Option<String> {
    if disk.medium {
        return Some("the installer was started from it".to_owned());
    }
    if disk.read_only {
        return Some("it takes no writes".to_owned());
    }
    if !disk.in_use.is_empty() {
        return Some(format!("it is in use: {}", disk.in_use.join(", ")));
    }
    if disk.is_path_of_multipath() {
        return Some("it is one of several paths to a disk of a storage array (multipath)".to_owned());
    }
    None
}

/// Why a disk is not taken by itself.
fn obstacle_for_auto(disk: &Disk, smallest: u64) -> Option<String> {
    if let Some(reason) = obstacle(disk) {
        return Some(reason);
    }
    if disk.removable || disk.transport.as_deref() == Some("usb") {
        return Some("it can be pulled out".to_owned());
    }
    (disk.bytes < smallest).then(|| format!("it has {}, and {} are needed", Size(disk.bytes), Size(smallest)))
}

/// Every disk that could be taken without being named, in the order of the facts.
pub fn usable(facts: &Facts, smallest: u64) -> Vec<&Disk> {
    facts.disks.iter().filter(|disk| obstacle_for_auto(disk, smallest).is_none()).collect()
}

/// The disk that an answer means. `smallest` is how many bytes it must have at least.
pub(crate) fn select<'a>(answer: &str, facts: &'a Facts, smallest: u64) -> Result<&'a Disk, Refusal> {
    let disk = find(answer, facts, smallest)?;
    if let Some(reason) = obstacle(disk) {
        return Err((format!("{} cannot be used: {reason}", disk.path), other_disk(facts, smallest)));
    }
    Ok(disk)
}

fn find<'a>(answer: &str, facts: &'a Facts, smallest: u64) -> Result<&'a Disk, Refusal> {
    if answer == "auto" {
        return auto(facts, smallest);
    }
    if let Some(rule) = answer.strip_prefix("size:") {
        return by_size(rule, facts, smallest);
    }
    let wanted = |disk: &&Disk| match answer.split_once(':') {
        Some(("serial", serial)) => disk.serial.as_deref() == Some(serial),
        Some(("wwn", wwn)) => disk.wwn.as_deref().is_some_and(|own| same_wwn(own, wwn)),
        _ => disk.path == answer || disk.links.iter().any(|link| link == answer),
    };
    let found: Vec<&Disk> = facts.disks.iter().filter(wanted).collect();
    match found[..] {
        [disk] => Ok(disk),
        [] => {
            let partition = facts.disks.iter().find(|disk| disk.contents.iter().any(|part| part.device == answer));
            match partition {
                Some(disk) => Err((
                    format!("{answer} is a partition, and a whole disk is needed"),
                    format!("write {}", disk.path),
                )),
                None => Err((format!("there is no disk {answer}"), other_disk(facts, smallest))),
            }
        }
        _ => {
            let paths = paths(&found);
            Err((format!("{answer} means {} disks: {paths}", found.len()), "name one by its path".to_owned()))
        }
    }
}

/// People write them with and without `0x`.
fn same_wwn(left: &str, right: &str) -> bool {
    let bare = |text: &str| text.trim_start_matches("0x").trim_start_matches("naa.").to_ascii_lowercase();
    bare(left) == bare(right)
}

fn auto(facts: &Facts, smallest: u64) -> Result<&Disk, Refusal> {
    let usable = usable(facts, smallest);
    match usable[..] {
        [disk] => Ok(disk),
        [] => {
            let reasons: Vec<String> = facts
                .disks
                .iter()
                .filter_map(|disk| Some(format!("{} ({})", disk.path, obstacle_for_auto(disk, smallest)?)))
                .collect();
            let seen = if reasons.is_empty() { "none was found".to_owned() } else { reasons.join(", ") };
            let way_out = format!("connect a disk of {} or more, or name one", Size(smallest));
            Err((format!("no disk can be used: {seen}"), way_out))
        }
        _ => Err((
            format!("{} disks can be used: {}", usable.len(), described(&usable)),
            "name one, or write size:largest or size:smallest".to_owned(),
        )),
    }
}

fn by_size<'a>(rule: &str, facts: &'a Facts, smallest: u64) -> Result<&'a Disk, Refusal> {
    let usable = usable(facts, smallest);
    let limit = |text: &str| text.trim().parse::<Size>().map(|size| size.0).map_err(|cause| wrong_rule(&cause));
    let matching: Vec<&Disk> = match rule {
        "largest" => extreme(&usable, usable.iter().map(|disk| disk.bytes).max()),
        "smallest" => extreme(&usable, usable.iter().map(|disk| disk.bytes).min()),
        _ => {
            if let Some(text) = rule.strip_prefix(">=") {
                let limit = limit(text)?;
                usable.into_iter().filter(|disk| disk.bytes >= limit).collect()
            } else if let Some(text) = rule.strip_prefix("<=") {
                let limit = limit(text)?;
                usable.into_iter().filter(|disk| disk.bytes <= limit).collect()
            } else {
                return Err(wrong_rule(&format!("{rule:?} is no rule about sizes")));
            }
        }
    };
    match matching[..] {
        [disk] => Ok(disk),
        [] => Err((format!("no usable disk is size:{rule}"), other_disk(facts, smallest))),
        _ => Err((
            format!("size:{rule} fits {} disks: {}", matching.len(), described(&matching)),
            "name one by path, serial: or wwn:".to_owned(),
        )),
    }
}

fn extreme<'a>(disks: &[&'a Disk], bytes: Option<u64>) -> Vec<&'a Disk> {
    disks.iter().filter(|disk| Some(disk.bytes) == bytes).copied().collect()
}

fn wrong_rule(cause: &dyn std::fmt::Display) -> Refusal {
    (cause.to_string(), "write size:largest, size:smallest, size:>=200 GB or size:<=1 TiB".to_owned())
}

fn other_disk(facts: &Facts, smallest: u64) -> String {
    let usable = usable(facts, smallest);
    match usable.is_empty() {
        true => format!("connect a disk of {} or more", Size(smallest)),
        false => format!("disks that can be used: {}", described(&usable)),
    }
}

fn described(disks: &[&Disk]) -> String {
    disks.iter().map(|disk| format!("{} ({})", disk.path, Size(disk.bytes))).collect::<Vec<_>>().join(", ")
}

fn paths(disks: &[&Disk]) -> String {
    disks.iter().map(|disk| disk.path.as_str()).collect::<Vec<_>>().join(", ")
}
