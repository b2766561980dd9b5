//! What the console says, in English and Chinese, side by side.

use serde::Deserialize;

/// A language of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Simplified Chinese. Only on terminals that have its glyphs.
    Chinese,
}

/// A text in every language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    english: &'static str,
    chinese: &'static str,
}

impl Word {
    /// A text in English and in Chinese.
    pub const fn new(english: &'static str, chinese: &'static str) -> Self {
        Self { english, chinese }
    }

    /// In a language.
    pub fn of(self, language: Language) -> &'static str {
        match language {
            Language::English => self.english,
            Language::Chinese => self.chinese,
        }
    }

    /// In a language, with values in the places of `{}`.
    pub fn fill(self, language: Language, values: &[&str]) -> String {
        let mut parts = self.of(language).split("{}");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (at, part) in parts.enumerate() {
            text.push_str(values.get(at).copied().unwrap_or_default());
            text.push_str(part);
        }
        text
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident: $english:literal, $chinese:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $name: Word = Word { english: $english, chinese: $chinese };
        )*
        #[cfg(test)]
        const ALL: &[(&str, Word)] = &[$((stringify!($name), $name)),*];
    };
}

words! {
    MANAGEMENT_NODE: "Management Node", "管理节点";
    COMPUTE_NODE: "Compute Node", "计算节点";
    STORAGE_NODE: "Storage Node", "存储节点";

    // Panels of the main screen (OS-TUI-010 to 022).
    NODE_INFO: "NODE INFO", "节点信息";
    TIME_INFO: "TIME INFO", "时间信息";
    DISK_INFO: "DISK INFO", "磁盘信息";
    NIC_INFO: "NIC INFO", "网卡信息";
    HOST_INFO: "HOST INFO", "物理机信息";
    VM_INFO: "VM INFO", "云主机信息";
    VM_LIST: "VM_INFO", "云主机列表";
    CPU_USAGE: "CPU USAGE", "CPU 使用率";
    MEM_USAGE: "MEM USAGE", "内存使用率";
    NET_USAGE: "NET USAGE", "网络流量";
    MANAGEMENT_SERVICE: "MN service", "管理服务";
    WEB_UI: "Web UI", "Web 界面";
    VERSION: "Version", "版本";
    UI_ADDRESS: "UI address", "界面地址";
    LICENCE: "Licence", "许可证";
    RUNNING: "running", "运行中";
    NOT_RUNNING: "NOT running", "未运行";
    UNKNOWN: "...", "...";
    AGENT: "Agent", "节点代理";
    HOST_UUID: "Host UUID", "物理机 UUID";
    WITHOUT_ADDRESS: "no address yet: F2", "尚无地址：F2";
    NOT_IN_A_CLOUD: "not in a cloud yet", "尚未加入云";
    MANAGEMENT_SEEN: "MN", "管理节点";
    SEEN_AGO: "called {} ago", "{} 前联系过";
    NEVER_SEEN: "has not called yet", "尚未联系";
    STARTED: "Started", "启动时间";
    NOW: "Now", "当前时间";
    UPTIME: "Uptime", "运行时长";
    LOAD: "Load average", "平均负载";
    FREE_OF: "{} free of {}", "可用 {} / {}";
    TOTAL: "Total", "总数";
    ENABLED: "Enabled", "已启用";
    CONNECTED: "Connected", "已连接";
    VMS_RUNNING: "Running", "运行中";
    VMS_STOPPED: "Stopped", "已停止";
    UP: "UP", "UP";
    DOWN: "DOWN", "DOWN";
    NO_LINK: "NO LINK", "无链路";
    CPUS: "CPUs", "CPU";
    MEMORY: "Memory", "内存";
    STATE: "State", "状态";
    NAME: "Name", "名称";
    NO_VMS: "no virtual machine runs here", "本机没有云主机";
    MORE: "{} more: arrow keys", "还有 {} 项：方向键";
    OF_MEMORY: "{} of {}", "{}，共 {}";
    OF_CPUS: "{} of {} CPUs", "{}，共 {} 个 CPU";

    // Help lines.
    MAIN_HELP: "F2 System configuration   F12 Reboot/Power off", "F2 系统配置   F12 重启/关机";
    PLAIN_HELP: "F2 or s: System configuration   F12 or p: Reboot/Power off", "F2 或 s：系统配置   F12 或 p：重启/关机";
    CHINESE_HELP: "F3 中文", "F3 English";
    CONFIGURATION_HELP: "Up/Down or k/j: move   Enter: open   F2: leave", "上/下 或 k/j：移动   Enter：打开   F2：退出";
    POWER_HELP: "Up/Down: move   Enter: choose   ESC: leave", "上/下：移动   Enter：选择   ESC：退出";
    FORM_HELP: "Tab: next field   Enter: submit   ESC: close", "Tab：下一项   Enter：提交   ESC：关闭";
    CHOICE_HELP: "Left/Right: choose   Tab: next field   Enter: submit   ESC: close", "左/右：选择   Tab：下一项   Enter：提交   ESC：关闭";
    MANY_HELP: "Left/Right: move   Space: mark   Tab: next field   Enter: submit   ESC: close", "左/右：移动   空格：勾选   Tab：下一项   Enter：提交   ESC：关闭";
    LIST_HELP: "Up/Down: move   Enter: choose   ESC: close", "上/下：移动   Enter：选择   ESC：关闭";
    NETWORKS_HELP: "Enter address  h DHCP  b new bond  m members  v VLAN  r bridge  d delete  a all  ESC", "Enter 地址  h DHCP  b 新建聚合  m 成员  v VLAN  r 网桥  d 删除  a 全部  ESC";
    KEY_HELP: "Y: do it   ESC: do not   Up/Down: read on", "Y：执行   ESC：取消   上/下：滚动";
    PHRASE_HELP: "Type the phrase, then Enter   ESC: do not", "输入短语后按 Enter   ESC：取消";
    WORK_HELP: "This goes on to its end; please wait", "操作进行中，请等待完成";
    STOPPABLE_HELP: "ESC: stop", "ESC：停止";
    NOTICE_HELP: "Enter: back   ESC: close   Up/Down: read on", "Enter：返回   ESC：关闭   上/下：滚动";
    TRIAL_HELP: "Y: keep it   N or ESC: take it back now", "Y：保留   N 或 ESC：立即恢复";
    WAIT_HELP: "Please wait   ESC: close", "请稍候   ESC：关闭";

    // The gate.
    SYSTEM_PASSWORD: "System password", "系统密码";
    GATE_INTRO: "Password of root on this node:", "请输入本节点 root 密码：";
    PASSWORD: "Password", "密码";
    WRONG_PASSWORD: "Wrong password. Nothing was done.", "密码错误，操作已取消。";
    LOCKED: "Too many wrong passwords. Try again in {} s.", "密码错误次数过多，请 {} 秒后再试。";
    CHECKING: "Please wait ...", "请稍候 ...";

    // System configuration.
    CONFIGURATION: "System Configuration", "系统配置";
    CHANGE_PASSWORDS: "Change Passwords", "修改密码";
    CHANGE_PASSWORDS_HINT: "Passwords of root, of the database, of the message bus", "root 密码、数据库密码、消息总线密码";
    RENAME_NIC: "Rename NIC", "重命名网卡";
    RENAME_NIC_HINT: "Names of network cards, for good", "永久修改网卡名称";
    TEST_NETWORK: "Test Network", "测试网络";
    TEST_NETWORK_HINT: "Gateway, name lookup, and answers of an address", "网关、域名解析与连通性";
    CONFIGURE_NETWORKS: "Configure Networks", "配置网络";
    CONFIGURE_NETWORKS_HINT: "Addresses, bonds, VLANs, bridges", "地址、聚合、VLAN、网桥";
    SET_MANAGEMENT_NETWORK: "Set Management Network", "设置管理网络";
    SET_MANAGEMENT_NETWORK_HINT: "Which interface carries the management network", "选择承载管理网络的接口";
    CONFIGURE_CONSOLE_PROXY: "Configure Console Proxy", "配置控制台代理";
    CONFIGURE_CONSOLE_PROXY_HINT: "Address and port by which browsers reach consoles", "浏览器访问控制台的地址与端口";
    COLLECT_LOGS: "Collect Logs", "收集日志";
    COLLECT_LOGS_HINT: "Logs of the whole cloud, for download", "收集整个云的日志并提供下载";
    BACKUP_DATABASE: "Backup Database", "备份数据库";
    BACKUP_DATABASE_HINT: "Back up, list, restore", "备份、列表、恢复";
    SERVICE: "Start/Stop/Restart ZStack Service", "启动/停止/重启 ZStack 服务";
    SERVICE_HINT: "VMs go on running meanwhile", "期间云主机继续运行";
    JOIN_CLOUD: "Join a Cloud", "加入云";
    JOIN_CLOUD_HINT: "With the address of the management node and a one-time code", "使用管理节点地址和一次性代码加入";
    TERMINAL_INFO: "Terminal Info", "终端信息";
    TERMINAL_INFO_HINT: "Keys that lead to a shell and to zstack-cli", "切换到命令行与 zstack-cli 的按键";
    TERMINAL_TEXT: "Ctrl+Alt+F1   this console, from anywhere\nCtrl+Alt+F2   a terminal for shell commands\nCtrl+Alt+F3   zstack-cli\n\nWARNING: commands in a terminal act on this node at once. Used carelessly they can damage the system and disturb the services of the cloud.", "Ctrl+Alt+F1   随时返回本界面\nCtrl+Alt+F2   命令行终端\nCtrl+Alt+F3   zstack-cli\n\n警告：终端中的命令会立即在本节点生效，\n使用不当可能损坏系统并影响云服务。";

    // Passwords.
    ROOT_PASSWORD: "System password of root", "系统 root 密码";
    DATABASE_ROOT_PASSWORD: "MySQL password of root", "MySQL root 密码";
    DATABASE_ZSTACK_PASSWORD: "MySQL password of zstack", "MySQL zstack 密码";
    BUS_PASSWORD: "RabbitMQ password of zstack", "RabbitMQ zstack 密码";
    NO_BUS: "This node uses no RabbitMQ: messages stay inside the management service. There is no such password.", "本节点不使用 RabbitMQ：消息在管理服务内部传递，没有此密码。";
    ROOT_NOW: "System password of root", "系统 root 密码";
    ASK_BUS_PASSWORD: "Change RabbitMQ's password of zstack, in the server and in this node's file of passwords?", "确定修改 RabbitMQ 账户 zstack 的密码（服务器与本节点密码文件同时修改）？";
    OLD_PASSWORD: "Present password", "当前密码";
    DATABASE_ROOT_NOW: "Password of MySQL's root", "MySQL root 当前密码";
    NEW_PASSWORD: "New password", "新密码";
    NEW_PASSWORD_AGAIN: "New password again", "再次输入新密码";
    EMPTY: "is empty", "不能为空";
    PASSWORDS_DIFFER: "differs from the new password", "与新密码不一致";
    PASSWORD_UNCHANGED: "is the present one; choose another", "与当前密码相同，请另选";
    ASK_ROOT_PASSWORD: "Change the password of root on this node?", "确定修改本节点的 root 密码？";
    ASK_DATABASE_PASSWORD: "Change MySQL's password of {}, in the database and in our configuration? The service is restarted, which takes a while.", "确定修改 MySQL 账户 {} 的密码（数据库与配置同时修改）？服务将重启，需要一些时间。";
    NO_DATABASE_SERVER: "The database of this node is a file that root alone can read. It has no passwords.", "本节点的数据库是仅 root 可读的文件，没有密码。";

    // Network.
    RENAME_INTRO: "A name belongs to the card's hardware address and stays after a reboot.", "名称与网卡硬件地址绑定，重启后仍然有效。";
    NO_CARDS: "This node has no network card whose name can be changed.", "本节点没有可重命名的网卡。";
    NO_ADDRESSES: "No interface has an address. Give one to an interface first: Configure Networks.", "没有接口配置了地址，请先在“配置网络”中设置。";
    BELONGS_TO: "in {}", "属于 {}";
    NO_CHANGE: "nothing was changed", "没有任何修改";
    NAME_TWICE: "{} is there twice", "{} 重复";
    TEST_INTRO: "The default tests access to the internet; an internal address tests the internal network.", "默认地址用于测试外网，可改为内网地址测试内网。";
    TEST_ADDRESS: "Address or name", "地址或域名";
    NO_TARGET: "write an IP address or a host name", "请输入 IP 地址或主机名";
    NETWORKS_INTRO: "Changing the interface with (MN) changes the management network. With a bond, configure the bond alone.", "修改带 (MN) 的接口会改变管理网络。聚合网卡只需配置聚合口。";
    ADDRESS_INTRO: "Address of {}", "{} 的地址";
    MANAGEMENT_WARNING: "This interface carries the management network: changing it takes long and needs care.", "该接口承载管理网络：修改耗时较长，请谨慎操作。";
    MANAGEMENT_INTRO: "Which interface carries the management network? Changing it takes long and needs care.", "选择承载管理网络的接口。修改耗时较长，请谨慎操作。";
    IP_ADDRESS: "IP address", "IP 地址";
    NETMASK: "Netmask", "子网掩码";
    GATEWAY: "Gateway", "网关";
    NEW_BOND: "New bond", "新建聚合";
    CHANGE_BOND: "Change bond", "修改聚合";
    BOND_NAME: "Name", "名称";
    BOND_MODE: "Mode", "模式";
    BOND_CARDS: "NICs", "网卡";
    BOND_INTRO: "For mode 4 the ports of the switch form a port group (LACP).", "模式 4 需要在交换机上配置端口组 (LACP)。";
    NEW_VLAN: "New VLAN", "新建 VLAN";
    VLAN_ID: "VLAN ID", "VLAN ID";
    VLAN_INTRO: "VLAN interface on {}", "在 {} 上新建 VLAN 接口";
    NO_VLAN_ID: "write a number from 1 to 4094", "请输入 1 到 4094 的数字";
    NOTHING_TO_DO: "Nothing to do: the network is like that already.", "无需修改：网络已是该状态。";
    PLAN: "This will be done:", "将执行以下操作：";
    MANAGEMENT_TRIAL: "This touches the management network. The change is taken back by itself unless you keep it within {} s.", "此操作影响管理网络：{} 秒内未确认将自动恢复。";
    TRIAL: "The change is in force. Can this node still be reached? Without an answer the old network comes back in", "修改已生效。请确认本节点仍可访问，否则旧配置将在以下时间后恢复：";
    TRIAL_OVER: "Nobody kept the change: the old network is back.", "未确认修改：已恢复原网络配置。";
    SECONDS: "{} s", "{} 秒";

    // Services.
    PROXY_INTRO: "One of the two may stay empty: what is set now stays.", "两项可留空其一，留空表示保持现有设置。";
    PROXY_ADDRESS: "Proxy IP", "代理 IP";
    PROXY_PORT: "Proxy port", "代理端口";
    PROXY_EMPTY: "address and port are both empty", "地址和端口不能同时为空";
    NO_ADDRESS: "is no IP address", "不是合法的 IP 地址";
    NO_PORT: "write a number from 1024 to 65535", "请输入 1024 到 65535 的数字";
    ASK_PROXY: "Set the console proxy? The service is restarted, which takes a while; open consoles are closed.", "确定修改控制台代理？服务将重启，需要一些时间，已打开的控制台会关闭。";
    LOGS_INTRO: "Logs of every node of the cloud, published for a browser.", "收集云中所有节点的日志，通过浏览器查看和下载。";
    LOGS_SINCE: "Since (24h, 7d, 2026-01-31)", "起始 (24h, 7d, 2026-01-31)";
    LOGS_COPY: "Copy to folder (USB stick)", "复制到目录（U 盘）";
    NO_TIME: "write a span (30m, 24h, 7d) or a day", "请输入时长 (30m, 24h, 7d) 或日期";
    NO_FOLDER: "write a folder from / on, or nothing", "请输入以 / 开头的目录或留空";
    JOIN_INTRO: "Web UI, Hosts, Add by code: it shows the code once. Or add this node there by its address.", "“物理机”页的“代码加入”会显示一次代码；也可在那里按地址添加本节点。";
    JOIN_ADDRESS: "Management node", "管理节点地址";
    JOIN_CODE: "Code", "一次性代码";
    NO_SERVICE: "write an address or a name, with a port or without", "请输入地址或名称，可带端口";
    NO_CODE: "a code has 20 characters in groups of four, without U", "代码为 20 个字符，四个一组，不含 U";
    ASK_JOIN: "Join the cloud of {}? It may start virtual machines here from then on.", "加入 {} 的云？之后该云可在本机运行云主机。";
    JOIN_PANEL: "Join", "加入";
    JOIN_BY_CODE: "F2, Join a Cloud", "F2，加入云";
    ADD_PANEL: "or add it", "或添加";
    ADD_BY_ADDRESS: "{} over SSH", "{}（SSH）";
    NO_OWN_ADDRESS: "no address yet", "尚无地址";
    JOINING: "asking {}", "正在联系 {}";
    JOIN_FAILED: "{}: no success", "{}：未成功";
    NO_CLOUD: "This node is in no cloud yet. There are two ways:", "本节点尚未加入云，可通过以下方式加入：";
    NO_CLOUD_CODE: "- web UI, Hosts, Add by code; then here F2, Join a Cloud", "- Web 界面“物理机”页的“代码加入”，然后在此按 F2，选择“加入云”";
    NO_CLOUD_SSH: "- web UI, Hosts, Add host: address {}, root and its password", "- Web 界面“物理机”页的“添加”：地址 {}，root 及其密码";
    BACKUP_INTRO: "A backup holds the keys of the cloud: keep it as safe as this machine.", "备份包含云的密钥，请妥善保管。";
    BACK_UP_NOW: "Back up now", "立即备份";
    RESTORE: "Restore database", "恢复数据库";
    RESTORE_LINE: "Restore {} ({})", "恢复 {}（{}）";
    RESTORE_TEXT: "Put {} in place of the database. The service is stopped; the present database is backed up first.", "使用 {} 替换当前数据库。服务将停止，当前数据库会先备份。";
    START: "Start", "启动";
    START_TEXT: "Start the management service and the web interface.", "启动管理服务与 Web 界面。";
    STOP: "Stop", "停止";
    STOP_TEXT: "Stop the management service and the web interface. Nobody can manage the cloud until it is started again; virtual machines go on running.", "停止管理服务与 Web 界面。再次启动前无法管理云，云主机继续运行。";
    RESTART: "Restart", "重启";
    RESTART_TEXT: "Restart the management service and the web interface. Virtual machines go on running.", "重启管理服务与 Web 界面，云主机继续运行。";

    RESET: "Reset ZStack Service", "重置 ZStack 服务";
    RESET_HINT: "DANGEROUS: reinstall the service, keep the database", "危险：重新安装服务，保留数据库";
    RESET_AND_DROP: "Reset ZStack Service&Drop Database", "重置 ZStack 服务并删除数据库";
    RESET_AND_DROP_HINT: "DANGEROUS: reinstall the service, lose the database", "危险：重新安装服务，删除数据库";
    EXTREMELY_DANGEROUS: "This is extremely dangerous. Use it with care.", "此操作极其危险，请谨慎使用。";
    RESET_TEXT: "The management service is reinstalled from this node's own packages, and its configuration becomes that of a new node. The database and the keys of the cloud are kept, and backed up first. Nobody can manage the cloud meanwhile; virtual machines go on running.", "将使用本节点自带的软件包重新安装管理服务，配置恢复为出厂设置。云的数据库和密钥会保留，并先行备份。期间无法管理云，云主机继续运行。";
    RESET_AND_DROP_TEXT: "The management service is reinstalled from this node's own packages, and its DATABASE IS DROPPED: the cloud forgets its hosts, virtual machines, users and everything else, and begins anew with new keys and the first password of admin. A backup is made first.", "将使用本节点自带的软件包重新安装管理服务，并且删除数据库：物理机、云主机、用户等所有记录都会丢失，云将以新的密钥和 admin 初始密码重新开始。操作前会先备份。";

    // Power.
    POWER: "Reboot/Power off", "重启/关机";
    REBOOT: "Reboot", "重启";
    POWER_OFF: "Poweroff", "关机";
    REBOOT_WARNING: "Reboot this node. Virtual machines on it are stopped.", "重启本节点，其上的云主机将停止。";
    POWER_OFF_WARNING: "Power this node off. Virtual machines on it are stopped.", "关闭本节点，其上的云主机将停止。";

    // Windows.
    TYPE_PHRASE: "To confirm, type", "请输入以下短语确认";
    PRESS_KEY: "Press Y to do this, ESC to leave it", "按 Y 执行，按 ESC 取消";
    WARNING: "WARNING", "警告";
    SUCCESS: "OK", "成功";
    ERROR: "ERROR", "错误";
    TOO_SMALL: "This terminal is too small: 80x24 is needed", "终端过小：至少需要 80x24";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_in_both_languages_with_the_same_places_for_values() {
        for (name, word) in ALL {
            assert!(!word.english.is_empty() && !word.chinese.is_empty(), "{name}");
            let places = |text: &str| text.matches("{}").count();
            assert_eq!(places(word.english), places(word.chinese), "{name}");
        }
    }

    #[test]
    fn english_can_be_shown_by_any_terminal() {
        // But for the hint that leads to Chinese, which only those get that can show it.
        for (name, word) in ALL.iter().filter(|(name, _)| *name != "CHINESE_HELP") {
            assert!(word.english.is_ascii(), "{name}");
        }
    }

    #[test]
    fn values_stand_in_their_places() {
        assert_eq!(FREE_OF.fill(Language::English, &["1 GiB", "2 GiB"]), "1 GiB free of 2 GiB");
        assert_eq!(FREE_OF.fill(Language::English, &["1 GiB"]), "1 GiB free of ");
    }
}
