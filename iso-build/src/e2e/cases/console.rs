//! The text console on the screen of a machine, with its keyboard (OS-TUI, OS-CON).

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use super::network::has_address;
use crate::e2e::{image::PASSWORD, lab::Lab, machine::Machine, wait::until};

/// What the password becomes.
const NEW: &str = "Second_password.2";
/// The first entries of the system configuration (OS-TUI-042).
const ENTRIES: [&str; 4] = ["Change Passwords", "Rename NIC", "Test Network", "Configure Networks"];
/// How long anything may take under emulation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A machine with its screen.
struct Screen<'a> {
    lab: &'a Lab,
    machine: Arc<Machine>,
}

impl<'a> Screen<'a> {
    async fn boot(lab: &'a Lab, cards: usize) -> Result<Self> {
        let machine = lab.boot("node", &vec![None; cards]).await?;
        let screen = Self { lab, machine };
        screen.shows("NODE INFO").await?;
        Ok(screen)
    }

    /// What is on the first terminal.
    async fn text(&self) -> Result<String> {
        self.machine.ok("fold -b -w $(stty -F /dev/tty1 size | cut -d' ' -f2) /dev/vcs1 | tr -c '\\n -~' '.'").await
    }

    /// Waits until the screen has this.
    async fn shows(&self, wanted: &str) -> Result<()> {
        let mut last = String::new();
        let shown = until("the screen shows it", PATIENCE, async || {
            last = self.text().await?;
            Ok(last.contains(wanted).then_some(()))
        })
        .await;
        shown.with_context(|| format!("{wanted:?} did not come onto the screen:\n{last}"))
    }

    async fn press(&self, keys: &[&str]) -> Result<()> {
        self.machine.press(keys).await
    }

    async fn text_keys(&self, text: &str) -> Result<()> {
        for character in text.chars() {
            let key = match character {
                'a'..='z' | '0'..='9' => character.to_string(),
                'A'..='Z' => format!("shift-{}", character.to_ascii_lowercase()),
                '-' => "minus".to_owned(),
                '_' => "shift-minus".to_owned(),
                '.' => "dot".to_owned(),
                '/' => "slash".to_owned(),
                ' ' => "spc".to_owned(),
                other => bail!("no key for {other:?}"),
            };
            self.press(&[&key]).await?;
        }
        Ok(())
    }

    /// Types into the field with the cursor, a few keys at a time: a keyboard keeps no more, and a machine without hardware
    /// help is slower than it. `shown` is what the field has then, and so many fields with the whole of it.
    async fn fill(&self, text: &str, times: usize, shown: impl Fn(&str) -> String) -> Result<()> {
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]).skip(1);
        let mut typed = 0;
        for end in ends.filter(|end| end % 2 == 0 || *end == text.len()) {
            self.text_keys(&text[typed..end]).await?;
            let field = format!("[{}_", shown(&text[..end]));
            let times = if end == text.len() { times } else { 1 };
            until("the field shows it", PATIENCE, async || {
                Ok((self.text().await?.matches(&field).count() >= times).then_some(()))
            })
            .await
            .with_context(|| format!("{field:?}, {times} times"))?;
            typed = end;
        }
        Ok(())
    }

    async fn secret(&self, text: &str, times: usize) -> Result<()> {
        self.fill(text, times, |text| "*".repeat(text.len())).await
    }

    /// The same in a field that has something in it.
    async fn replace(&self, text: &str) -> Result<()> {
        self.press(&["ctrl-u"]).await?;
        self.fill(text, 1, str::to_owned).await
    }

    /// Through the password to the list of entries, and into one of them.
    async fn open(&self, password: &str, entry: &str) -> Result<()> {
        self.press(&["f2"]).await?;
        self.shows("Password of root on this node").await?;
        self.secret(password, 1).await?;
        self.press(&["ret"]).await?;
        self.shows("> Change Passwords").await?;
        let lines = ENTRIES.iter().position(|name| *name == entry).context("there is no such entry")?;
        for name in &ENTRIES[1..=lines] {
            self.press(&["down"]).await?;
            self.shows(&format!("> {name}")).await?;
        }
        self.press(&["ret"]).await
    }

    async fn picture(&self, name: &str) -> Result<()> {
        self.machine.screenshot(&self.lab.logs().join(name)).await
    }
}

/// OS-TUI-030 to 033, 051 to 053, OS-CON-001, 002.
pub(crate) async fn passwords(lab: &Lab) -> Result<()> {
    let screen = Screen::boot(lab, 1).await?;
    screen.shows("TIME INFO").await?;
    screen.picture("main.png").await?;
    screen.press(&["f12"]).await?;
    screen.shows("Password of root").await?;
    screen.secret("not-the-password", 1).await?;
    screen.press(&["ret"]).await?;
    screen.shows("Wrong password. Nothing was done.").await?;
    screen.press(&["esc"]).await?;
    screen.shows("F2 System configuration").await?;

    screen.open(PASSWORD, "Change Passwords").await?;
    screen.shows("Present password").await?;
    screen.secret(PASSWORD, 1).await?;
    for times in [1, 2] {
        screen.press(&["tab"]).await?;
        screen.secret(NEW, times).await?;
    }
    screen.picture("password.png").await?;
    screen.press(&["ret"]).await?;
    screen.shows("Press Y to do this").await?;
    screen.press(&["y"]).await?;
    screen.shows("The password of root was changed.").await?;

    // It logs in on the terminal beside, and the old one does not.
    screen.press(&["ctrl-alt-f2"]).await?;
    ensure!(!login(&screen, PASSWORD, 1).await?, "the old password still logs in");
    // Keys that the slow machine loses cannot be seen here: what is typed unseen gets another chance.
    let mut inside = false;
    for attempt in 2..=4 {
        inside = inside || login(&screen, NEW, attempt).await?;
    }
    ensure!(inside, "the new password does not log in");
    screen.text_keys("touch /tmp/logged-in").await?;
    screen.press(&["ret"]).await?;
    until("the login did something", PATIENCE, async || {
        Ok((screen.machine.run("test -e /tmp/logged-in").await?.code == 0).then_some(()))
    })
    .await?;
    screen.press(&["ctrl-alt-f1"]).await?;
    screen.shows("The password of root was changed.").await?;

    // A console that dies comes back by itself, locked.
    screen.machine.ok("kill -9 $(pidof zstack-tui)").await?;
    screen.shows("F2 System configuration").await?;
    let dumps = screen.machine.ok("cat /proc/$(pidof zstack-tui)/limits | grep -i 'core file size'").await?;
    ensure!(dumps.split_whitespace().any(|word| word == "0"), "core dumps are possible: {dumps}");
    Ok(())
}

/// Logs in on the second terminal, as the attempt with this number there. Returns whether a shell came.
async fn login(screen: &Screen<'_>, password: &str, attempt: usize) -> Result<bool> {
    screen.text_keys("root").await?;
    screen.press(&["ret"]).await?;
    tty2(screen, |text| (text.matches("Password:").count() >= attempt).then_some(())).await?;
    screen.text_keys(password).await?;
    screen.press(&["ret"]).await?;
    tty2(screen, |text| {
        let refused = text.matches("Login incorrect").count() >= attempt;
        if text.contains('#') { Some(true) } else { refused.then_some(false) }
    })
    .await
}

/// Waits until something can be told from the second terminal.
async fn tty2<T>(screen: &Screen<'_>, seen: impl Fn(&str) -> Option<T>) -> Result<T> {
    until("the second terminal says it", PATIENCE, async || {
        Ok(seen(&screen.machine.ok("tr -c ' -~' '.' </dev/vcs2").await?))
    })
    .await
}

/// OS-TUI-060 to 062, 070 to 077, and a change that nobody keeps.
pub(crate) async fn networks(lab: &Lab) -> Result<()> {
    let screen = Screen::boot(lab, 3).await?;
    let node = screen.machine.clone();
    node.ok("ip link set ens16 up; ip link set ens17 up; ip link set ens18 up").await?;
    screen.shows("ens18").await?;

    screen.open(PASSWORD, "Rename NIC").await?;
    screen.shows("stays after a reboot").await?;
    screen.replace("lan0").await?;
    screen.press(&["ret"]).await?;
    screen.shows("Press Y to do this").await?;
    screen.picture("plan.png").await?;
    screen.press(&["y"]).await?;
    screen.shows("stays after a reboot.").await?;
    ensure!(node.nic(0).await? == "lan0", "the card is called {}", node.nic(0).await?);
    // OS-TUI-125, 126: any other phrase does nothing.
    screen.press(&["esc"]).await?;
    screen.shows("Up/Down or k/j").await?;
    screen.press(&["f2"]).await?;
    screen.shows("F2 System configuration").await?;
    screen.press(&["f12"]).await?;
    screen.shows("Password of root on this node").await?;
    screen.secret(PASSWORD, 1).await?;
    screen.press(&["ret"]).await?;
    screen.shows("> Reboot").await?;
    screen.press(&["ret"]).await?;
    screen.shows("To confirm, type: REBOOT").await?;
    for (keys, typed) in [("RE", "> RE"), ("BO", "> REBO"), ("OT", "> REBOOT")] {
        screen.press(&["ret"]).await?;
        screen.text_keys(keys).await?;
        screen.shows(typed).await?;
    }
    screen.press(&["ret"]).await?;
    node.comes_back().await?;
    ensure!(node.nic(0).await? == "lan0", "after a reboot the card is called {}", node.nic(0).await?);
    screen.shows("lan0").await?;

    // A bond of the two other cards, with an address.
    node.ok("ip link set ens17 up; ip link set ens18 up").await?;
    screen.shows("ens18").await?;
    screen.open(PASSWORD, "Configure Networks").await?;
    screen.shows("Configure Networks").await?;
    screen.shows("Enter address").await?;
    screen.press(&["b"]).await?;
    screen.shows("New bond").await?;
    for (keys, shown) in [
        (["tab", "right"], "< 5 balance-tlb >"),
        (["right", "right"], "< 0 balance-rr >"),
        (["right", "tab"], "< 1 active-backup >"),
        (["right", "spc"], "[x] ens17"),
        (["right", "spc"], "[x] ens18"),
    ] {
        screen.press(&keys).await?;
        screen.shows(shown).await?;
    }
    screen.picture("bond.png").await?;
    screen.press(&["ret"]).await?;
    screen.shows("Press Y to do this").await?;
    screen.press(&["y"]).await?;
    screen.shows("stays after a reboot.").await?;
    let cards = node.ok("cat /sys/class/net/bond0/bonding/slaves /sys/class/net/bond0/bonding/mode").await?;
    ensure!(cards.contains("ens17 ens18") && cards.contains("active-backup"), "the bond is {cards}");
    address(&screen, "10.9.0.1", "10.9.0.254").await?;
    // It is the first address of the node, and so carries its management network.
    screen.shows("Y: keep it").await?;
    screen.press(&["y"]).await?;
    screen.shows("kept.").await?;
    has_address(&node, "bond0", "10.9.0.1/24").await?;

    // Another one, which nobody keeps.
    address(&screen, "10.9.0.2", "10.9.0.254").await?;
    screen.shows("Y: keep it").await?;
    screen.picture("trial.png").await?;
    has_address(&node, "bond0", "10.9.0.2/24").await?;
    screen.shows("the old network is back").await?;
    has_address(&node, "bond0", "10.9.0.1/24").await
}

/// Gives the bond an address, from the result of what was done before.
async fn address(screen: &Screen<'_>, ip: &str, gateway: &str) -> Result<()> {
    screen.press(&["esc"]).await?;
    screen.shows("Up/Down or k/j").await?;
    screen.press(&["ret"]).await?;
    screen.shows("Enter address").await?;
    screen.press(&["end"]).await?;
    screen.press(&["ret"]).await?;
    screen.shows("Address of bond0").await?;
    for text in [ip, "255.255.255.0", gateway] {
        screen.replace(text).await?;
        screen.press(&["tab"]).await?;
    }
    screen.press(&["ret"]).await?;
    screen.shows("Press Y to do this").await?;
    screen.press(&["y"]).await
}
