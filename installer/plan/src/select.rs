//! Which disk an answer means, and whether it can be used.

use crate::{
    answers::Language,
    facts::{Disk, Facts},
    size::Size,
    text,
    text::Text,
};

/// Why nothing was selected: the rule and the way out.
pub(crate) type Refusal = (Text, Text);

/// What makes a disk unusable, whoever names it.
pub fn obstacle(disk: &Disk) -> Option<Text> {
    if disk.medium {
        return Some(text!("the installer was started from it", "安装程序从它启动"));
    }
    if disk.read_only {
        return Some(text!("it takes no writes", "它是只读的"));
    }
    if !disk.in_use.is_empty() {
        return Some(text!("it is in use: {}", "它正在使用中：{}", disk.in_use.join(", ")));
    }
    if disk.is_path_of_multipath() {
        return Some(text!(
            "it is one of several paths to a disk of a storage array (multipath)",
            "它是通往存储阵列磁盘的多条路径之一 (multipath)"
        ));
    }
    None
}

/// Why a disk is not taken by itself.
fn obstacle_for_auto(disk: &Disk, smallest: u64) -> Option<Text> {
    if let Some(reason) = obstacle(disk) {
        return Some(reason);
    }
    if disk.removable || disk.transport.as_deref() == Some("usb") {
        return Some(text!("it can be pulled out", "它可以被拔出"));
    }
    (disk.bytes < smallest)
        .then(|| text!("it has {}, and {} are needed", "它有 {}，而需要 {}", Size(disk.bytes), Size(smallest)))
}

/// Every disk that could be taken without being named, in the order of the facts.
pub fn usable(facts: &Facts, smallest: u64) -> Vec<&Disk> {
    facts.disks.iter().filter(|disk| obstacle_for_auto(disk, smallest).is_none()).collect()
}

/// The disk that an answer means. `smallest` is how many bytes it must have at least.
pub(crate) fn select<'a>(answer: &str, facts: &'a Facts, smallest: u64) -> Result<&'a Disk, Refusal> {
    let disk = find(answer, facts, smallest)?;
    if let Some(reason) = obstacle(disk) {
        let rule = Text::new(
            format!("{} cannot be used: {reason}", disk.path),
            format!("{} 不能使用：{}", disk.path, reason.of(Language::Chinese)),
        );
        return Err((rule, other_disk(facts, smallest)));
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
                    text!("{answer} is a partition, and a whole disk is needed", "{answer} 是分区，而需要整个磁盘"),
                    text!("write {}", "请写 {}", disk.path),
                )),
                None => Err((text!("there is no disk {answer}", "没有磁盘 {answer}"), other_disk(facts, smallest))),
            }
        }
        _ => {
            let paths = paths(&found);
            let rule = text!("{answer} means {} disks: {paths}", "{answer} 对应 {} 块磁盘：{paths}", found.len());
            Err((rule, text!("name one by its path", "请用路径指明其中一块")))
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
            let reasons = |language| {
                let disks = facts.disks.iter();
                let reasons = disks.filter_map(|disk| Some((&disk.path, obstacle_for_auto(disk, smallest)?)));
                let reasons: Vec<String> =
                    reasons.map(|(path, reason)| format!("{path} ({})", reason.of(language))).collect();
                reasons.join(", ")
            };
            let rule = if facts.disks.is_empty() {
                text!("no disk can be used: none was found", "没有可用的磁盘：没有找到磁盘")
            } else {
                Text::new(
                    format!("no disk can be used: {}", reasons(Language::English)),
                    format!("没有可用的磁盘：{}", reasons(Language::Chinese)),
                )
            };
            let way_out = text!(
                "connect a disk of {} or more, or name one",
                "请接上不小于 {} 的磁盘，或指明一块",
                Size(smallest)
            );
            Err((rule, way_out))
        }
        _ => Err((
            text!("{} disks can be used: {}", "有 {} 块磁盘可用：{}", usable.len(), described(&usable)),
            text!("name one, or write size:largest or size:smallest", "请指明一块，或写 size:largest 或 size:smallest"),
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
        [] => {
            Err((text!("no usable disk is size:{rule}", "没有可用磁盘符合 size:{rule}"), other_disk(facts, smallest)))
        }
        _ => Err((
            text!(
                "size:{rule} fits {} disks: {}",
                "有 {} 块磁盘符合 size:{rule}：{}",
                matching.len(),
                described(&matching)
            ),
            text!("name one by path, serial: or wwn:", "请用路径、serial: 或 wwn: 指明其中一块"),
        )),
    }
}

fn extreme<'a>(disks: &[&'a Disk], bytes: Option<u64>) -> Vec<&'a Disk> {
    disks.iter().filter(|disk| Some(disk.bytes) == bytes).copied().collect()
}

fn wrong_rule(cause: &dyn std::fmt::Display) -> Refusal {
    (
        cause.to_string().into(),
        text!(
            "write size:largest, size:smallest, size:>=200 GB or size:<=1 TiB",
            "请写 size:largest、size:smallest、size:>=200 GB 或 size:<=1 TiB"
        ),
    )
}

fn other_disk(facts: &Facts, smallest: u64) -> Text {
    let usable = usable(facts, smallest);
    match usable.is_empty() {
        true => text!("connect a disk of {} or more", "请接上不小于 {} 的磁盘", Size(smallest)),
        false => text!("disks that can be used: {}", "可用的磁盘：{}", described(&usable)),
    }
}

fn described(disks: &[&Disk]) -> String {
    disks.iter().map(|disk| format!("{} ({})", disk.path, Size(disk.bytes))).collect::<Vec<_>>().join(", ")
}

fn paths(disks: &[&Disk]) -> String {
    disks.iter().map(|disk| disk.path.as_str()).collect::<Vec<_>>().join(", ")
}
