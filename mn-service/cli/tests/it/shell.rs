//! The interactive session at a pseudo-terminal.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use nix::pty::{Winsize, openpty};

use crate::world::World;

/// A program at a terminal.
struct Terminal {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    text: String,
    /// Everything up to here has been looked at.
    at: usize,
}

impl Terminal {
    fn open(world: &World, arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = world.command();
        let child = command
            .args(arguments)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap();
        drop(command);
        let keys = File::from(pty.master);
        let mut screen = keys.try_clone().unwrap();
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal whose program has ended reads as an error.
            while let Ok(count) = screen.read(&mut bytes) {
                if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, shown, text: String::new(), at: 0 }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `wanted` is shown after what has been looked at, and returns what came before it.
    #[track_caller]
    fn sees(&mut self, wanted: &str) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = self.text[self.at..].find(wanted) {
                let before = self.text[self.at..self.at + found].to_owned();
                self.at += found + wanted.len();
                return before;
            }
            match self.shown.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) | Err(RecvTimeoutError::Disconnected) => {
                    panic!("{wanted:?} was not shown; the terminal shows:\n{}", &self.text[self.at..])
                }
            }
        }
    }

    /// Clears the line with Ctrl-C and waits for the next prompt.
    #[track_caller]
    fn clears(&mut self) -> String {
        self.press("\u{3}");
        // The end of bracketed paste is the end of the old line; what is drawn before it may be the old line again.
        let before = self.sees("\u{1b}[?2004l");
        self.sees(">>> ");
        before
    }

    #[track_caller]
    fn ends_with(mut self, code: i32) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            // Also keeps the screen from filling up.
            match self.shown.recv_timeout(Duration::from_millis(20)) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return assert_eq!(status.code(), Some(code), "{}", self.text);
            }
            assert!(Instant::now() < end, "the program does not end; the terminal shows:\n{}", &self.text[self.at..]);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended already, unless the test has failed.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn history(world: &World) -> String {
    std::fs::read_to_string(world.home.path().join(".zstack/cli/history")).unwrap_or_default()
}

/// OPS-CLI-001, OPS-CLI-009 to OPS-CLI-011.
#[test]
fn tab_lists_commands_then_parameters_then_values() {
    let world = World::logged_in();
    let mut terminal = Terminal::open(&world, &[]);
    terminal.sees(">>> ");
    terminal.press("vmwarecluster\t");
    // No command contains that; the line stays for correction.
    terminal.clears();

    terminal.press("l3networkfromvm\t\t");
    terminal.sees("DetachL3NetworkFromVm");
    terminal.clears();

    terminal.press("dnsto\t\t");
    terminal.sees("AddDnsToL3Network");
    terminal.clears();

    terminal.press("zonestate\t");
    terminal.sees("ChangeZoneState");
    terminal.press("\t\t");
    let listed = terminal.sees("userTags=");
    for parameter in ["stateEvent= (required)", "uuid= (required)", "systemTags="] {
        assert!(listed.contains(parameter), "{parameter} is missing in {listed}");
    }
    terminal.press("stateEvent=\t\t");
    terminal.sees("enable");
    terminal.sees("disable");
    terminal.clears();

    // Uuids come from the server.
    terminal.press("DeleteZone uuid=eas\t");
    terminal.sees(crate::server::EAST);
    terminal.clears();
    terminal.press("\u{4}");
    terminal.ends_with(0);
}

#[test]
fn a_keyword_lists_all_its_commands() {
    let world = World::new();
    let mut terminal = Terminal::open(&world, &[]);
    terminal.sees(">>> ");
    terminal.press("cluster\t\t");
    // The last of OPS-CLI-010; the list is in alphabetical order, column by column.
    let mut shown = terminal.sees("AttachL2NetworkToCluster");
    shown.push_str(&terminal.clears());
    for name in ["CreateCluster", "QueryVCenterCluster", "GetVmStartingCandidateClustersHosts", "UpdateCluster"] {
        assert!(shown.contains(name), "{name} is missing in {shown}");
    }
    terminal.press("exit\r");
    terminal.ends_with(0);
}

#[test]
fn commands_run_and_failures_do_not_end_the_session() {
    let world = World::logged_in();
    let mut terminal = Terminal::open(&world, &[]);
    terminal.sees(">>> ");
    terminal.press("QueryZone fields=uuid\r");
    terminal.sees("\"success\": true");
    terminal.sees(">>> ");
    terminal.press("Frobnicate\r");
    terminal.sees("there is no command Frobnicate");
    terminal.sees(">>> ");
    terminal.press("CreateZone name=broken\r");
    terminal.sees("SYS.1016");
    terminal.sees(">>> ");
    terminal.press("help CreateZone\r");
    terminal.sees("POST /zstack/v1/zones");
    terminal.sees(">>> ");
    terminal.press("quit\r");
    terminal.ends_with(0);
    assert!(history(&world).contains("QueryZone fields=uuid\n"), "{}", history(&world));
}

/// Pasted lines run one after the other; keys typed while a command runs are not lost.
#[test]
fn pasted_lines_and_keys_typed_ahead_are_commands() {
    let world = World::logged_in();
    let mut terminal = Terminal::open(&world, &[]);
    terminal.sees(">>> ");
    terminal.press("\u{1b}[200~QueryZone limit=1\nQueryZone limit=2\u{1b}[201~\r");
    terminal.sees("\"success\": true");
    terminal.sees("\"success\": true");
    terminal.sees(">>> ");
    terminal.press("QueryZone limit=3\rQueryZone limit=4\rexit\r");
    terminal.ends_with(0);
    let limits: Vec<String> =
        world.server.seen().iter().map(|seen| seen.path.rsplit('=').next().unwrap().to_owned()).collect();
    assert_eq!(limits, ["1", "2", "3", "4"]);
}

/// Progress is for people: it needs a terminal, and says what the server says.
#[test]
fn a_job_shows_what_it_is_doing() {
    let world = World::logged_in();
    let mut terminal = Terminal::open(&world, &["CreateZone", "name=slow"]);
    terminal.sees("CreateZone");
    terminal.sees("zone: digging foundations");
    terminal.sees("\"success\": true");
    terminal.ends_with(0);
}

#[test]
fn a_password_is_asked_for_without_echo_and_kept_out_of_the_history() {
    let world = World::new();
    let mut terminal = Terminal::open(&world, &[]);
    terminal.sees(">>> ");
    terminal.press("LogInByAccount accountName=admin\r");
    terminal.sees("password: ");
    terminal.press("passwort\u{7f}d\r");
    let shown = terminal.sees("\"success\": true");
    assert!(!shown.contains("passwor"), "the password was shown: {shown}");
    terminal.sees(">>> ");
    terminal.press("LogInByAccount accountName=admin password=password\r");
    terminal.sees("\"success\": true");
    terminal.sees(">>> ");
    // Neither the file nor the arrow keys bring it back.
    terminal.press("\u{1b}[A");
    terminal.sees("LogInByAccount accountName=admin");
    assert!(!terminal.clears().contains("password="));
    terminal.press("\u{4}");
    terminal.ends_with(0);
    assert_eq!(history(&world).lines().filter(|line| line.contains("LogInByAccount")).count(), 1);
    assert!(!history(&world).contains("password"), "{}", history(&world));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(world.home.path().join(".zstack/cli/history")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn giving_up_at_the_password_sends_nothing_and_leaves_the_terminal_echoing() {
    let world = World::new();
    let mut terminal = Terminal::open(&world, &["LogInByAccount", "accountName=admin"]);
    terminal.sees("password: ");
    terminal.press("secr\u{3}");
    terminal.sees("given up");
    let modes = nix::sys::termios::tcgetattr(&terminal.keys).unwrap();
    assert!(modes.local_flags.contains(nix::sys::termios::LocalFlags::ECHO));
    terminal.ends_with(130);
    assert!(world.server.seen().is_empty());
}
