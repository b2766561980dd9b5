//! The plan as people read it before they agree, a line each.

use std::fmt;

use super::InstallPlan;
use crate::{
    answers::{End, Format, Language, TableKind},
    facts::Firmware,
    size::Size,
    text,
    text::Text,
};

/// What a line is about, for whoever gives it a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// What is destroyed.
    Destroys,
    /// What is unusual and still possible.
    Warns,
    /// Everything else.
    Tells,
}

impl fmt::Display for InstallPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown(Language::English).into_iter().try_for_each(|(_, line)| writeln!(f, "{line}"))
    }
}

/// Lines as they are added.
type Lines = Vec<(Weight, Text)>;

fn tell(lines: &mut Lines, text: Text) {
    lines.push((Weight::Tells, text));
}

impl InstallPlan {
    /// Every line in a language.
    pub fn shown(&self, language: Language) -> Vec<(Weight, String)> {
        let mut lines = Lines::new();
        tell(&mut lines, text!("{}, {} node", "{}，{} 节点", self.product, self.role));
        self.erased(&mut lines);
        for warning in &self.warnings {
            let line = |language| warning.of(language).to_owned();
            let text =
                Text::new(format!("note: {}", line(Language::English)), format!("注意：{}", line(Language::Chinese)));
            lines.push((Weight::Warns, text));
        }
        self.tables(&mut lines);
        self.settings(&mut lines);
        self.net(&mut lines);
        let firmware = match self.boot.firmware {
            Firmware::Bios => "BIOS",
            Firmware::Uefi => "UEFI",
        };
        let arguments = self.boot.arguments.join(" ");
        tell(
            &mut lines,
            text!("boot: {firmware}, kernel arguments {arguments}", "启动：{firmware}，内核参数 {arguments}"),
        );
        if let Some(join) = &self.join {
            let address = &join.address;
            tell(
                &mut lines,
                if join.code {
                    text!(
                        "joins the cloud of {address} by itself, with a one-time code",
                        "凭一次性代码自行加入 {address} 的云平台"
                    )
                } else {
                    text!("joins the cloud of {address}", "加入 {address} 的云平台")
                },
            );
        }
        let steps: Vec<String> = self.steps().iter().map(|step| step.id.to_string()).collect();
        let steps = steps.join(", ");
        tell(&mut lines, text!("steps: {steps}", "步骤：{steps}"));
        let end = match self.end {
            End::Reboot => text!("then: reboot", "然后：重启"),
            End::Poweroff => text!("then: power off", "然后：关机"),
            End::Wait => text!("then: wait", "然后：等待"),
        };
        tell(&mut lines, end);
        lines.into_iter().map(|(weight, text)| (weight, text.of(language).to_owned())).collect()
    }

    fn erased(&self, lines: &mut Lines) {
        for erased in &self.erases {
            let words = [Some(erased.model.as_str()), erased.serial.as_deref()];
            let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
            let named = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
            let (disk, size) = (&erased.disk, Size(erased.bytes));
            lines.push((Weight::Destroys, text!("ERASES {disk}{named}, {size}", "清除 {disk}{named}，{size}")));
            for lost in &erased.lost {
                let line = |language| lost.of(language).to_owned();
                let text = Text::new(
                    format!("  lost: {}", line(Language::English)),
                    format!("  丢失：{}", line(Language::Chinese)),
                );
                lines.push((Weight::Destroys, text));
            }
            if erased.lost.is_empty() {
                tell(lines, text!("  nothing was found on it", "  其上没有发现数据"));
            }
        }
    }

    fn tables(&self, lines: &mut Lines) {
        for table in &self.storage.tables {
            let kind = match table.kind {
                TableKind::Gpt => "GPT",
                TableKind::Mbr => "MBR",
            };
            let disk = &table.disk;
            tell(lines, text!("disk {disk} ({kind})", "磁盘 {disk} ({kind})"));
            for part in &table.partitions {
                let (number, at) = (part.number, part.mount.as_deref().unwrap_or("-"));
                let (word, size, start) = (part.format.word(), Size(part.bytes), Size(part.start));
                tell(
                    lines,
                    text!(
                        "  {number} {word:<9} {at:<10} {size} from {start}",
                        "  {number} {word:<9} {at:<10} {size}，起始于 {start}"
                    ),
                );
            }
        }
        if let Some(group) = &self.storage.group {
            let (name, members, size) = (&group.name, group.members.join(" "), Size(group.bytes));
            tell(lines, text!("volume group {name} on {members}, {size}", "卷组 {name}，位于 {members}，{size}"));
            for volume in &group.volumes {
                let at = volume.mount.as_deref().unwrap_or("-");
                let line = format!("  {:<6} {:<5} {at:<10} {}", volume.name, volume.format.word(), Size(volume.bytes));
                tell(lines, line.into());
            }
            let free = Size(group.free());
            tell(lines, text!("  free for snapshots: {free}", "  为快照保留：{free}"));
        }
        let swap = self.storage.file_systems().iter().any(|fs| fs.format == Format::Swap);
        if !swap {
            tell(lines, text!("no swap space", "没有交换空间"));
        }
    }

    fn settings(&self, lines: &mut Lines) {
        let system = &self.system;
        let (name, zone) = (&system.host_name, &system.time_zone);
        tell(lines, text!("system: host name {name}, time zone {zone}", "系统：主机名 {name}，时区 {zone}"));
        if !system.ntp.is_empty() {
            let servers = system.ntp.join(", ");
            tell(lines, text!("  time servers: {servers}", "  时间服务器：{servers}"));
        }
        let (language, keyboard) = (system.language.word(), &system.keyboard);
        tell(lines, text!("  language {language}, keyboard {keyboard}", "  语言 {language}，键盘 {keyboard}"));
        let keys = self.login.ssh_keys.len();
        tell(
            lines,
            if self.login.password {
                text!("  root: a password, SSH keys: {keys}", "  root：有密码，SSH 公钥：{keys}")
            } else {
                text!("  root: no password, SSH keys: {keys}", "  root：没有密码，SSH 公钥：{keys}")
            },
        );
    }

    fn net(&self, lines: &mut Lines) {
        tell(
            lines,
            match &self.network.management {
                Some(name) => text!("network: management on {name}", "网络：管理网络在 {name} 上"),
                None => text!("network: none yet", "网络：暂无"),
            },
        );
        for (name, link) in &self.network.links {
            let needs: Vec<&str> = link.needs().collect();
            let needs = needs.join(" ");
            let mut words: Vec<Text> = vec![link.kind.word().into()];
            if !needs.is_empty() {
                words.push(text!("on {needs}", "位于 {needs}"));
            }
            if !link.ip.dhcp.is_off() {
                words.push("DHCP".into());
            }
            words.extend(link.ip.addresses.iter().map(|address| address.to_string().into()));
            let routers = link.ip.routes.iter().filter_map(|route| route.via);
            words.extend(routers.map(|via| text!("router {via}", "网关 {via}")));
            words.extend(link.ip.dns.iter().map(|dns| format!("DNS {dns}").into()));
            let joined =
                |language, between: &str| words.iter().map(|word| word.of(language)).collect::<Vec<_>>().join(between);
            let (english, chinese) = (joined(Language::English, ", "), joined(Language::Chinese, "，"));
            tell(lines, Text::new(format!("  {name}: {english}"), format!("  {name}：{chinese}")));
        }
    }
}
