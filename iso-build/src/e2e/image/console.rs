//! What a machine with the text console has beyond others: the console on its screen, PAM, and a login beside it.

use anyhow::Result;

use super::{Extra, product};
use crate::progress::Progress;

/// Password of root at every boot.
pub(in crate::e2e) const PASSWORD: &str = "first-password";
/// The line of `/etc/shadow` with it: `openssl passwd -6 -salt zstack.e2e`.
const SHADOW: &str = "root:$6$zstack.e2e$RiGpTXkoXCOw7RQV1ERujxcM0DW7C.ukPpljC.lg3fQTH4ZRaN6LwXoVDP5xRU40uAyavEql0hrneA4dtX8oB1:19000:0:99999:7:::\n";

/// Builds the console.
pub(in crate::e2e) async fn console(progress: &Progress) -> Result<Extra> {
    let built = product::cargo(vec![["zstack-tui", "--bin", "zstack-tui"]], progress).await?;
    let pam = include_str!("../../../../rpm-specs/pam/zstack-tui");
    // Cases do not wait for as long as people.
    let config = "role = \"compute\"\nconfirm_seconds = 15\nfolders = [\"/\", \"/var/lib/zstack\"]\n";
    let text = |path, text: &str| (path, text.to_owned());
    Ok(Extra {
        built: vec![(built.join("zstack-tui"), "usr/bin/zstack-tui".to_owned())],
        packaged: vec![
            ("libpam-modules", "lib/x86_64-linux-gnu/security/pam_unix.so"),
            ("login", "bin/login"),
            ("iputils-ping", "bin/ping"),
        ],
        texts: vec![
            text("etc/shadow", SHADOW),
            text("etc/login.defs", ""),
            text("etc/pam.d/zstack-tui", pam),
            ("etc/pam.d/login", format!("{pam}session required pam_unix.so\n")),
            text("etc/pam.d/other", pam),
            text("etc/zstack/tui.toml", config),
            text("etc/systemd/system/login@.service", include_str!("../../../e2e/login.service")),
            text(
                "usr/lib/systemd/system/zstack-tui@.service",
                include_str!("../../../../rpm-specs/units/zstack-tui@.service"),
            ),
        ],
        links: vec![
            (
                "etc/systemd/system/multi-user.target.wants/zstack-tui@tty1.service",
                "/usr/lib/systemd/system/zstack-tui@.service",
            ),
            ("etc/systemd/system/multi-user.target.wants/login@tty2.service", "/etc/systemd/system/login@.service"),
        ],
        memory: 64,
        ..Extra::default()
    })
}
