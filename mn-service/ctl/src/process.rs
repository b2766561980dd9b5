//! Which process is the management service, found in `/proc`. A PID alone proves nothing: it may be left over, or
//! belong to another program by now.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// File name of the program we control.
pub const PROGRAM: &str = "mn-service";

/// A running process. PID and start time together never mean another process later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    started: u64,
}

/// What a PID file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PidFile {
    /// There is none.
    Absent,
    /// The service runs.
    Ours(Process),
    /// The process has ended.
    Gone(i32),
    /// The PID belongs to another program.
    Foreign {
        /// Process id.
        pid: i32,
        /// Name of that program.
        name: String,
    },
    /// Not readable, or no PID.
    Damaged(String),
}

impl PidFile {
    /// Reads `path` and looks at the process.
    pub fn read(path: &Path) -> Self {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::Absent,
            Err(error) => return Self::Damaged(error.to_string()),
        };
        match text.trim().parse() {
            Ok(pid) if pid > 0 => Self::of(pid),
            _ => Self::Damaged(format!("it holds {:?} and not a PID", text.chars().take(40).collect::<String>())),
        }
    }

    /// Looks at the process `pid`.
    pub fn of(pid: i32) -> Self {
        match Process::find(pid) {
            None => Self::Gone(pid),
            Some(process) => {
                let names = program_names(pid);
                if names.iter().any(|name| name == PROGRAM) {
                    Self::Ours(process)
                } else {
                    Self::Foreign { pid, name: names.into_iter().next().unwrap_or_else(|| "?".to_owned()) }
                }
            }
        }
    }

    /// The service's process.
    pub fn ours(&self) -> Option<Process> {
        match self {
            Self::Ours(process) => Some(*process),
            _ => None,
        }
    }
}

impl Process {
    fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        // A zombie has ended; only its parent has not looked yet.
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, started })
    }

    /// True while this very process runs.
    pub fn is_alive(&self) -> bool {
        Self::find(self.pid) == Some(*self)
    }

    /// True when it listens on TCP `port`; nothing when we may not look.
    pub fn listens_on(&self, port: u16) -> Option<bool> {
        let sockets = listening(&PathBuf::from(format!("/proc/{}/net", self.pid)), port)?;
        holds(self.pid, &sockets)
    }
}

/// State and start time of a line of `/proc/PID/stat`. The name in parentheses may hold blanks and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

/// File names of the executable and of the program as it was called.
fn program_names(pid: i32) -> Vec<String> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok().and_then(|path| name(&path));
    // An upgrade replaces the file under a running service.
    let executable = executable.map(|name| name.trim_end_matches(" (deleted)").to_owned());
    let called = fs::read(format!("/proc/{pid}/cmdline")).ok().and_then(|line| {
        let first = line.split(|byte| *byte == 0).next()?;
        name(Path::new(&*String::from_utf8_lossy(first)))
    });
    executable.into_iter().chain(called).collect()
}

/// The process that listens on TCP `port`, as far as we may look.
pub fn listener(port: u16) -> Option<i32> {
    let sockets = listening(Path::new("/proc/net"), port)?;
    let entries = fs::read_dir("/proc").ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.into_iter().find(|pid| holds(*pid, &sockets) == Some(true))
}

/// Inodes of the sockets that listen on `port`.
fn listening(net: &Path, port: u16) -> Option<BTreeSet<String>> {
    let tables: Vec<String> = ["tcp", "tcp6"].iter().filter_map(|t| fs::read_to_string(net.join(t)).ok()).collect();
    (!tables.is_empty()).then(|| tables.iter().flat_map(|table| parse_sockets(table, port)).collect())
}

fn parse_sockets(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[1].ends_with(&wanted) && row[3] == LISTEN)
        .map(|row| row[9].to_owned())
        .collect()
}

fn holds(pid: i32, sockets: &BTreeSet<String>) -> Option<bool> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(|target| {
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        inode.is_some_and(|inode| sockets.contains(inode))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_and_parentheses_do_not_confuse_the_reader() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(parse_stat(stat), Some(('S', 777)));
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }

    #[test]
    fn listening_sockets_are_told_from_connected_ones() {
        let table = "  sl  local_address rem_address   st tx rx tr tm->when retrnsmt   uid  timeout inode\n\
            0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 111 1\n\
            1: 0100007F:1F90 0100007F:AAAA 01 00000000:00000000 00:00000000 00000000 0 0 222 1\n\
            2: 00000000:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 333 1\n";
        assert_eq!(parse_sockets(table, 8080), ["111"]);
        assert_eq!(parse_sockets(table, 5000), ["333"]);
    }

    #[test]
    fn this_test_is_a_process_that_is_not_the_service() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(PidFile::of(own), PidFile::Foreign { pid, .. } if pid == own));
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(port), Some(own));
        assert_eq!(Process::find(own).unwrap().listens_on(port), Some(true));
        drop(socket);
        assert_eq!(Process::find(own).unwrap().listens_on(port), Some(false));
    }

    #[test]
    fn a_process_that_ended_is_gone_even_before_it_is_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process::find(pid).unwrap();
        assert!(process.is_alive());
        child.kill().unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while process.is_alive() {
            assert!(std::time::Instant::now() < end, "a killed process still counts as alive");
            std::thread::yield_now();
        }
        assert_eq!(PidFile::of(pid), PidFile::Gone(pid));
        child.wait().unwrap();
    }

    #[test]
    fn a_damaged_file_says_what_it_holds() {
        let file = std::env::temp_dir().join(format!("zstack-ctl-pid-{}", std::process::id()));
        std::fs::write(&file, "-1\n").unwrap();
        let read = PidFile::read(&file);
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(read, PidFile::Damaged(text) if text.contains("-1")));
        assert_eq!(PidFile::read(&file), PidFile::Absent);
    }
}
