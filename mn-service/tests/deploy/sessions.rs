//! Sessions: logging in, running commands, becoming root, sending files.

use std::{
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use mn_service::deploy::{
    command::Password,
    error::{DeployError, Problem},
    ssh::{Login, Session},
    trust::{self, Trust},
};

use crate::{
    machine::{Machine, PASSWORD, isolated},
    problem,
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn open(machine: &Machine, trust: &Trust, user: &str, password: &str) -> Result<Session, DeployError> {
    Session::open(machine.login(user, password), trust).await
}

#[test]
fn logins_by_password_and_key() {
    isolated(|| async {
        let machine = Machine::boot("127.0.0.1").await;
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open(dir.path()).unwrap();

        let session = open(&machine, &trust, "root", PASSWORD).await.unwrap();
        let output = session.run("whoami", &["whoami"], PATIENCE).await.unwrap();
        assert_eq!((output.stdout.as_str(), output.status), ("root\n", 0));
        session.close().await;

        let (problem_, text) = problem(open(&machine, &trust, "root", "wrong horse").await);
        assert!(matches!(problem_, Problem::Login { password: true, .. }), "{text}");
        let public = trust::public_line(&trust.key_pair().unwrap()).unwrap();
        for word in ["127.0.0.1", "SSH port 22", "user root", "password", public.as_str()] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let (problem_, text) = problem(open(&machine, &trust, "guest", "").await);
        assert!(matches!(problem_, Problem::Login { password: false, .. }), "{text}");

        machine.authorize("guest", &public);
        let session = open(&machine, &trust, "guest", "").await.unwrap();
        assert_eq!(session.run("whoami", &["whoami"], PATIENCE).await.unwrap().stdout, "guest\n");
        let session = open(&machine, &trust, "guest", "wrong horse").await;
        assert!(session.is_ok(), "the key gets in where the password does not");
    });
}

#[test]
fn ports_that_are_closed_or_speak_something_else() {
    isolated(|| async {
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open(dir.path()).unwrap();
        let at: SocketAddr = "127.0.0.1:2222".parse().unwrap();
        let login = Login { at, user: "root".to_owned(), password: Password::new(PASSWORD) };
        let (closed, text) = problem(Session::open(login.clone(), &trust).await);
        assert!(matches!(closed, Problem::Unreachable(_)) && text.contains("port 2222"), "{text}");

        let listener = tokio::net::TcpListener::bind(at).await.unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        });
        let (other, text) = problem(Session::open(login, &trust).await);
        assert!(matches!(other, Problem::Negotiation(_)), "{text}");
    });
}

#[test]
fn a_changed_host_key_is_refused_until_it_is_accepted() {
    isolated(|| async {
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open(dir.path()).unwrap();
        let machine = Machine::boot("127.0.0.1").await;
        open(&machine, &trust, "root", PASSWORD).await.unwrap();
        open(&machine, &trust, "root", PASSWORD).await.unwrap();
        let before = std::fs::read_to_string(trust.known_hosts()).unwrap();
        assert_eq!(before.lines().count(), 1, "{before}");
        drop(machine);

        let machine = Machine::boot("127.0.0.1").await;
        let (changed, text) = problem(open(&machine, &trust, "root", PASSWORD).await);
        assert!(matches!(changed, Problem::HostKeyChanged { .. }), "{text}");
        assert_eq!(std::fs::read_to_string(trust.known_hosts()).unwrap(), before, "the new key is not noted");
        // The way out, as the error says it.
        let (_, command) = text.split_once("ssh-keygen -R ").unwrap();
        let out = Command::new("sh").arg("-c").arg(format!("ssh-keygen -R {command}")).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        open(&machine, &trust, "root", PASSWORD).await.unwrap();
    });
}

#[test]
fn commands_say_how_they_ended_and_words_stay_words() {
    isolated(|| async {
        let machine = Machine::boot("127.0.0.1").await;
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open(dir.path()).unwrap();
        let session = open(&machine, &trust, "guest", PASSWORD).await.unwrap();
        let hostile = ["a b", "$(id)", "it's", "\"x\"", "`id`", "; exit 3", "", "*", "ä\nö"];
        let argv = [&["printf", "%s|"], &hostile[..]].concat();
        let output = session.run("printf", &argv, PATIENCE).await.unwrap();
        assert_eq!(output.stdout, hostile.map(|word| format!("{word}|")).concat());

        let failed = session.run("sh", &["sh", "-c", "echo out; echo err >&2; exit 7"], PATIENCE).await.unwrap();
        assert_eq!((failed.status, failed.stdout.as_str(), failed.stderr.as_str()), (7, "out\n", "err\n"));
        // With exec there is no shell left to translate the signal.
        let killed = session.run("sh", &["exec", "sh", "-c", "kill -KILL $$"], PATIENCE).await.unwrap();
        assert!(!killed.success() && killed.ended.contains("KILL"), "{killed:?}");
        let long = session.run("seq", &["seq", "1000000"], PATIENCE).await.unwrap();
        assert!(long.cut && long.stdout.len() == 256 * 1024 && long.stdout.ends_with("1000000\n"));

        let begin = Instant::now();
        let late = session.run("sleeping", &["sleep", "60"], Duration::from_secs(1)).await;
        assert!(matches!(problem(late).0, Problem::Timeout { .. }) && begin.elapsed() < PATIENCE);
        let after = session.run("true", &["true"], PATIENCE).await.unwrap();
        assert!(after.success(), "the session outlives a command that was given up");
    });
}

#[test]
fn becoming_root() {
    isolated(|| async {
        let machine = Machine::boot("127.0.0.1").await;
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open(dir.path()).unwrap();
        for user in ["root", "deputy", "keeper"] {
            let mut session = open(&machine, &trust, user, PASSWORD).await.unwrap();
            session.become_root().await.unwrap_or_else(|error| panic!("{error}"));
            // Twice: sudo may remember the first one, and must not hand the password to the second.
            for _ in 0..2 {
                let script = "id -u; cat; tr '\\0' ' ' </proc/self/cmdline; ps -eo args 2>/dev/null || true";
                let output = session.run_as_root("id", &["sh", "-c", script], PATIENCE).await.unwrap();
                assert!(output.success() && output.stdout.starts_with("0\n"), "{user}: {output:?}");
                assert!(!output.stdout.contains("horse"), "{user}: the program or the process list sees the password");
            }
        }
        let mut session = open(&machine, &trust, "guest", PASSWORD).await.unwrap();
        let (refused, text) = problem(session.become_root().await);
        assert!(matches!(refused, Problem::Sudo(_)) && text.contains("user guest"), "{text}");
    });
}

#[test]
fn uploads_are_complete_private_and_replace() {
    isolated(|| async {
        let machine = Machine::boot("127.0.0.1").await;
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open(dir.path()).unwrap();
        let session = open(&machine, &trust, "guest", PASSWORD).await.unwrap();
        let big: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).take(5_000_001).collect();
        session.upload(&big[..], "/tmp/a file", 0o600).await.unwrap();
        assert!(std::fs::read(machine.path("/tmp/a file")).unwrap() == big);
        assert_eq!(machine.mode("/tmp/a file"), 0o600);
        session.upload(&b"short"[..], "/tmp/a file", 0o755).await.unwrap();
        assert_eq!((machine.read("/tmp/a file").as_str(), machine.mode("/tmp/a file")), ("short", 0o755));

        let (denied, text) = problem(session.upload(&b"x"[..], "/etc/passwd", 0o644).await);
        assert!(matches!(denied, Problem::Upload { .. }) && text.contains("/etc/passwd"), "{text}");
        // A full disk: neither the file nor a part of it stays.
        machine.shell("mkdir /tmp/small && mount -t tmpfs -o size=1m,mode=0777 tmpfs /tmp/small");
        let (full, text) = problem(session.upload(&big[..], "/tmp/small/big", 0o600).await);
        assert!(matches!(full, Problem::Upload { .. }), "{text}");
        assert_eq!(machine.shell("ls -A /tmp/small"), "");
    });
}
