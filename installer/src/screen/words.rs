//! What the screens say, in English and Chinese, side by side.

pub use zstack_tui::words::Word;

macro_rules! words {
    ($($name:ident: $english:literal, $chinese:literal;)*) => {
        $(pub(crate) const $name: Word = Word::new($english, $chinese);)*
        #[cfg(test)]
        const ALL: &[(&str, Word)] = &[$((stringify!($name), $name)),*];
    };
}

words! {
    INSTALLER: "Installation", "安装";
    MAIN_HELP: "Up/Down choose  Enter open  F3 language  F9 shell", "上下键选择  回车打开  F3 语言  F9 命令行";
    FORM_HELP: "Tab/arrows next field  Left/Right/Space choose  Enter accept  Esc back",
        "Tab/方向键 下一项  左右键/空格 选择  回车 确定  Esc 返回";
    NETWORK_HELP: "Tab next field  Space choose  F5 try it now  Enter accept  Esc back",
        "Tab 下一项  空格 选择  F5 立即试用  回车 确定  Esc 返回";
    SUMMARY_HELP: "PgUp/PgDn read  type what is asked for, then Enter  Esc back",
        "PgUp/PgDn 翻页  输入要求的内容后按回车  Esc 返回";
    RUNNING_HELP: "PgUp/PgDn read the log", "PgUp/PgDn 查看日志";
    FAILED_HELP: "Up/Down choose  Enter do it", "上下键选择  回车执行";
    DONE_HELP: "Enter restart", "回车重启";
    TOO_SMALL: "This terminal is too small: 80x24 is needed.", "终端太小：需要 80x24。";

    LANGUAGE: "LANGUAGE & KEYBOARD", "语言与键盘";
    SOFTWARE: "SOFTWARE SELECTION", "软件选择";
    DESTINATION: "INSTALLATION DESTINATION", "安装位置";
    NETWORK: "NETWORK & HOST NAME", "网络与主机名";
    TIME: "DATE & TIME", "日期与时间";
    ROOT: "ROOT PASSWORD", "ROOT 密码";
    BEGIN: "Begin Installation", "开始安装";
    SUMMARY: "SUMMARY", "摘要";
    RUNNING: "INSTALLING", "正在安装";
    ANSWERS: "the answers", "应答";
    FAILED: "THE INSTALLATION FAILED", "安装失败";
    DONE: "INSTALLED", "安装完成";

    F_LANGUAGE: "Language", "语言";
    F_KEYBOARD: "Keyboard", "键盘";
    F_ROLE: "Role", "角色";
    F_JOIN: "Joins the cloud of", "加入云平台（地址）";
    F_CODE: "One-time code", "一次性代码";
    F_DISK: "Disk", "磁盘";
    F_LAYOUT: "Layout", "分区方式";
    F_TABLE: "Partition table", "分区表";
    F_FORMAT: "File system of /", "根文件系统";
    F_SNAPSHOTS: "Kept for snapshots %", "快照预留 %";
    F_BOOT: "Guided: /boot", "引导式: /boot";
    F_EFI: "Guided: /boot/efi", "引导式: /boot/efi";
    F_SWAP: "Guided: swap", "引导式: swap";
    F_ROOT: "Guided: /", "引导式: /";
    F_PARTITIONS: "Manual: partitions", "手动: 分区";
    F_VOLUMES: "Manual: volumes", "手动: 逻辑卷";
    F_HOST: "Host name", "主机名";
    F_METHOD: "Addresses", "地址";
    F_NICS: "NICs", "网卡";
    F_MODE: "Bond of several", "绑定模式";
    F_VLAN: "VLAN (none: empty)", "VLAN（空为无）";
    F_ADDRESS: "Address/prefix", "地址/前缀";
    F_GATEWAY: "Gateway", "网关";
    F_DNS: "DNS servers", "DNS 服务器";
    F_ZONE: "Time zone", "时区";
    F_NTP: "Time servers", "时间服务器";
    F_PASSWORD: "Password", "密码";
    F_AGAIN: "Again", "确认密码";
    F_KEY: "SSH key", "SSH 公钥";

    SOFTWARE_INTRO: "Management: database, message bus, web UI; runs VMs too. Compute: runs VMs. Storage: compute with shared disks (OCFS2). Expert: a base system with a login. The first node is a management node. A compute or storage node joins its cloud by itself with a code (web UI, Hosts, Add by code); it can also be added later.",
        "管理节点：数据库、消息总线、Web 界面，也可运行云主机。计算节点：运行云主机。存储节点：计算节点加共享磁盘 (OCFS2)。专家模式：仅基本系统。首个节点应为管理节点。计算与存储节点可凭一次性代码（Web 界面：物理机，凭代码添加）自动加入云平台，也可稍后添加。";
    NEEDS_CLOUD: "write the address of the management node that made the code", "请输入生成该代码的管理节点地址";
    DESTINATION_INTRO: "Automatic is recommended. Legacy BIOS with an MBR cannot use disks over 2 TiB; GPT can. Manual: `ext4 /boot 1GiB; lvm rest` and `root ext4 / rest; swap swap 8GiB`.",
        "建议使用自动分区。传统 BIOS 加 MBR 不能使用超过 2 TiB 的磁盘，GPT 可以。手动示例：`ext4 /boot 1GiB; lvm rest` 与 `root ext4 / rest; swap swap 8GiB`。";
    NETWORK_INTRO: "The chosen NICs carry the management network; several become a bond.",
        "所选网卡承载管理网络；选择多个时组成绑定。";
    ROOT_INTRO: "A password, an SSH key, or both are needed to log in as root.", "以 root 登录需要密码或 SSH 公钥。";

    AUTOMATIC: "automatic", "自动";
    GUIDED: "guided", "引导式";
    MANUAL: "manual", "手动";
    DHCP: "DHCP", "DHCP";
    STATIC: "static", "静态";
    NO_NETWORK: "none", "无";
    LINK: "link", "已连接";
    NO_LINK: "NO LINK", "未连接";
    TRYING: "The network is being tried; addresses appear above when they come.", "正在试用网络；地址获取后显示在上方。";
    NOT_SET: "not set", "未设置";
    SET: "set", "已设置";
    CHOOSE_ROLE: "choose what this node is for", "请选择本节点的用途";
    NEEDS_LOGIN: "nobody could log in; set a password or an SSH key", "无法登录本节点；请设置密码或 SSH 公钥";
    OPEN_QUESTIONS: "There are open questions above.", "上面还有未完成的项目。";
    WRONG_PHRASE: "That is not what was asked for.", "输入内容不符。";
    PHRASE: "Everything on these disks will be lost. To agree, type: {}", "以上磁盘的全部数据将丢失。如同意，请输入：{}";
    NO_DISKS: "no disk can be used", "没有可用的磁盘";
    NOT_SAME: "the two are not the same", "两次输入不一致";
    NOT_NUMBER: "{} is no number", "{} 不是数字";
    NOT_UNDERSTOOD: "{} is not understood", "无法识别 {}";
    CHOOSE_NIC: "choose a NIC, or no network", "请选择网卡，或选择无网络";
    NEEDS_ADDRESS: "a static network needs an address", "静态网络需要地址";
    LOG_AT: "The log is {}", "日志位于 {}";
    CHANGED: "The disk is not usable as it is now.", "磁盘目前不可用。";
    UNCHANGED: "Nothing was changed on the disks.", "磁盘未被修改。";
    RETRY: "Try again from this step", "从此步骤重试";
    BACK: "Back to the main screen", "返回主界面";
    SHELL: "Shell", "命令行";
    REBOOT: "Reboot", "重启";
    FINISHED: "The node is installed. Take the medium out when the machine restarts.", "节点已安装。机器重启时请取出安装介质。";
    REHEARSAL: "This is a rehearsal with the facts of another machine: nothing is installed.",
        "这是用另一台机器的信息进行的演练：不会安装任何内容。";

    REMOTE: "REMOTE INSTALLATION", "远程安装";
    REMOTE_HELP: "F3 language  F10 go on here", "F3 语言  F10 在此继续";
    REMOTE_HELP_ENGLISH: "F10 go on here", "F10 在此继续";
    REMOTE_LOCAL_HELP: "F10 back to the network", "F10 交还网络";
    REMOTE_BROWSER: "Browser", "浏览器";
    REMOTE_VNC: "VNC viewer", "VNC 客户端";
    REMOTE_NO_ADDRESS: "no address yet", "尚无地址";
    REMOTE_ADVICE: "Connect a cable to a network with DHCP; or press F10 and set an address under NETWORK & HOST NAME with F5.",
        "请接入有 DHCP 的网络；或按 F10，在“网络与主机名”中填写地址并按 F5。";
    REMOTE_PASSWORD: "One-time password", "一次性密码";
    REMOTE_FIRST: "VNC viewers: the first 8 characters, {}", "VNC 客户端：前 8 个字符 {}";
    REMOTE_TLS: "VeNCrypt with X.509 (TigerVNC has it)", "VeNCrypt 加 X.509（如 TigerVNC）";
    REMOTE_PLAIN: "VeNCrypt; also in the clear: passwords can be read",
        "VeNCrypt；也允许明文：密码可能被窃听";
    REMOTE_NO_VNC: "not offered: {}", "不可用：{}";
    REMOTE_CERTIFICATE: "SHA-256 of the certificate, to be compared with what the viewer shows:",
        "证书的 SHA-256，请与浏览器或客户端显示的比对：";
    REMOTE_PEOPLE: "Connected", "已连接";
    REMOTE_NOBODY: "nobody", "无";
    REMOTE_FROM: "{} from {}", "{}，来自 {}";
    REMOTE_MORE: "and {} more", "另有 {} 个";
    REMOTE_REPLACED: "Ten wrong passwords: there is a new one ({} times so far).",
        "密码错误达十次：已更换新密码（共 {} 次）。";
    REMOTE_ONCE: "It is good for one login; then there is a new one here.", "只能登录一次，之后此处显示新密码。";
    REMOTE_RESTARTS: "The machine restarts now. Take the medium out.", "机器正在重启，请取出安装介质。";
    REMOTE_SWITCHES_OFF: "The machine switches itself off now.", "机器正在关机。";
    REMOTE_WAITS: "The installation is over; the machine waits.", "安装已结束，机器在等待。";
}

#[cfg(test)]
mod tests {
    use zstack_tui::words::Language;

    use super::*;

    #[test]
    fn every_text_is_there_in_both_languages_with_the_same_places() {
        for (name, word) in ALL {
            let texts = [Language::English, Language::Chinese].map(|language| word.of(language));
            assert!(texts.iter().all(|text| !text.is_empty()), "{name}");
            assert_eq!(texts[0].matches("{}").count(), texts[1].matches("{}").count(), "{name}");
        }
    }
}
