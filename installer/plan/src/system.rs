//! Names, time and logins of the installed system.

use kickstart::crypt::is_hash;
use serde::Serialize;

use crate::{
    answers::{Answers, Language, LoginAnswers},
    facts::Facts,
    manifest::Role,
    problem::Problem,
    text,
    text::Text,
};

/// Settings of the installed system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct System {
    /// Host name.
    pub host_name: String,
    /// Time zone.
    pub time_zone: String,
    /// Time servers.
    pub ntp: Vec<String>,
    /// Language of the console.
    pub language: Language,
    /// Keyboard layout.
    pub keyboard: String,
}

/// How people get in; without the secrets themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Login {
    /// Root has a password.
    pub password: bool,
    /// SSH keys of root.
    pub ssh_keys: Vec<String>,
}

const LONGEST_LABEL: usize = 63;
const LONGEST_HOST_NAME: usize = 64;

/// Checks the settings; problems go to the list. `management` is the card under the management network.
pub(crate) fn system(answers: &Answers, role: Role, facts: &Facts, problems: &mut Vec<Problem>) -> System {
    let host_name = answers.host_name.clone().unwrap_or_else(|| default_host_name(role, facts));
    if let Err((rule, way_out)) = check_host_name(&host_name, role) {
        problems.push(Problem::new("host_name", rule, way_out));
    }
    let zone = &answers.time.zone;
    let known = facts.time_zones.is_empty() || facts.time_zones.iter().any(|known| known == zone);
    if !known || !is_zone(zone) {
        let way_out = text!(
            "write it as Asia/Shanghai; timedatectl list-timezones shows all",
            "请写成 Asia/Shanghai 的形式；timedatectl list-timezones 列出全部时区"
        );
        problems.push(Problem::new("time.zone", text!("there is no time zone {zone:?}", "没有时区 {zone:?}"), way_out));
    }
    for (at, server) in answers.time.ntp.iter().enumerate() {
        if server.parse::<std::net::IpAddr>().is_err() && !is_domain(server) {
            let rule = text!("{server:?} is neither a host name nor an address", "{server:?} 既不是主机名也不是地址");
            problems.push(Problem::new(
                format!("time.ntp[{at}]"),
                rule,
                text!("write pool.ntp.org or 192.0.2.1", "请写成 pool.ntp.org 或 192.0.2.1"),
            ));
        }
    }
    let keyboard = answers.keyboard.clone().unwrap_or_else(|| "us".to_owned());
    if !(2..=20).contains(&keyboard.len()) || !keyboard.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
        let rule = text!("{keyboard:?} is no keyboard layout", "{keyboard:?} 不是键盘布局");
        problems.push(Problem::new(
            "keyboard",
            rule,
            text!("write us, de, fr, cn or another layout of X", "请写 us、de、fr、cn 或 X 的其他布局"),
        ));
    }
    System { host_name, time_zone: zone.clone(), ntp: answers.time.ntp.clone(), language: answers.language, keyboard }
}

/// Checks the ways to log in.
pub(crate) fn login(answers: &LoginAnswers, problems: &mut Vec<Problem>) -> Login {
    if answers.password.is_some() && answers.password_hash.is_some() {
        let rule = text!("a password and a hash are given", "同时给出了密码和散列");
        problems.push(Problem::new("login.password_hash", rule, text!("leave out one of the two", "请去掉其中一个")));
    }
    if answers.password.as_deref().is_some_and(|password| password.is_empty() || password.contains(['\n', '\0'])) {
        let rule =
            text!("it is empty or has characters that no terminal can type", "密码为空，或含有终端无法输入的字符");
        problems.push(Problem::new("login.password", rule, text!("choose another password", "请换一个密码")));
    }
    if answers.password_hash.as_deref().is_some_and(|hash| !is_hash(hash)) {
        let rule = text!(
            "this is no whole hash of crypt(5): a character may be lost",
            "这不是完整的 crypt(5) 散列：可能缺了字符"
        );
        problems.push(Problem::new(
            "login.password_hash",
            rule,
            text!(
                "make one with `mkpasswd -m sha-512` or `openssl passwd -6`",
                "用 `mkpasswd -m sha-512` 或 `openssl passwd -6` 生成"
            ),
        ));
    }
    for (at, key) in answers.ssh_keys.iter().enumerate() {
        if !is_ssh_key(key) {
            let rule = text!("this is no public SSH key", "这不是 SSH 公钥");
            let way_out = text!(
                "write the line of a .pub file, such as `ssh-ed25519 AAAA... name`",
                "请写入 .pub 文件中的一行，例如 `ssh-ed25519 AAAA... name`"
            );
            problems.push(Problem::new(format!("login.ssh_keys[{at}]"), rule, way_out));
        }
    }
    let password = answers.password.is_some() || answers.password_hash.is_some();
    if !password && answers.ssh_keys.is_empty() {
        let rule = text!("nobody could log in to the node (F-016)", "没有人能登录该节点 (F-016)");
        problems.push(Problem::new(
            "login",
            rule,
            text!(
                "give login.password, login.password_hash or login.ssh_keys",
                "请给出 login.password、login.password_hash 或 login.ssh_keys"
            ),
        ));
    }
    Login { password, ssh_keys: answers.ssh_keys.clone() }
}

fn default_host_name(role: Role, facts: &Facts) -> String {
    match facts.nics.iter().find_map(|nic| nic.mac) {
        Some(mac) => {
            let [.., d, e, f] = mac.0;
            format!("{role}-{d:02x}{e:02x}{f:02x}")
        }
        None => role.to_string(),
    }
}

/// Whether a host name can be used for a role.
///
/// # Errors
/// The rule that it breaks and the way out.
pub fn check_host_name(name: &str, role: Role) -> Result<(), (Text, Text)> {
    if role == Role::Management && name.contains('.') {
        let rule = text!(
            "{name:?} has a dot, and the message bus takes what is before it (OS-SYS-006)",
            "{name:?} 含有点号，而消息队列只取点号之前的部分 (OS-SYS-006)"
        );
        return Err((rule, text!("write {:?}", "请写成 {:?}", name.replace('.', "-"))));
    }
    if !is_domain(name) || name.len() > LONGEST_HOST_NAME {
        let rule = text!("{name:?} is no host name", "{name:?} 不是主机名");
        return Err((
            rule,
            text!("use letters, digits and '-', 63 characters at most", "请使用字母、数字和 '-'，最多 63 个字符"),
        ));
    }
    if name == "localhost" || name.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err((
            text!("{name:?} has a meaning of its own", "{name:?} 有特殊含义"),
            text!("choose another name", "请换一个名称"),
        ));
    }
    Ok(())
}

pub(crate) fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn is_zone(zone: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b));
    zone.split('/').all(part)
}

fn is_ssh_key(key: &str) -> bool {
    let mut words = key.split(' ');
    let kind = words.next().unwrap_or_default();
    let known = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-"];
    let body = words.next().unwrap_or_default();
    known.iter().any(|prefix| kind.starts_with(prefix))
        && body.starts_with("AAAA")
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        && !key.contains(|c: char| c.is_control())
}
