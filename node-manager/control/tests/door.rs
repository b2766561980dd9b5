//! A service and those who ask it, as processes of their own: this very test program under other users.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop loudly")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use axum::{Json, Router, http::StatusCode, routing};
use node_control::{Client, ControlError, Door, DoorError, Refusal};
use serde_json::{Value, json};

/// `nobody`, on every system.
const ANOTHER_USER: &str = "65534";

/// A service process; killed with its test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A folder that other users reach, with this program in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut install = Command::new("install");
        let done = install.args(["-m", "755"]).arg(std::env::current_exe().unwrap()).arg(place.program()).status();
        assert!(done.unwrap().success());
        place
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("program")
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("control.sock")
    }

    fn role(&self, role: &str) -> Command {
        let mut command = Command::new(self.program());
        command.args(["--exact", "--ignored", "--nocapture", role]).env("SOCKET", self.socket()).stdin(Stdio::null());
        command
    }

    /// Starts a service and waits for its word that it listens.
    fn serve(&self) -> Service {
        let mut child = self.role("serves").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.any(|line| line.unwrap().contains("listening"));
        let service = Service(child);
        assert!(listening, "the service ended early");
        service
    }

    /// Asks as another user, and returns what that one saw.
    fn asked_by_another(&self) -> String {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", ANOTHER_USER, "--regid", ANOTHER_USER, "--clear-groups", "--"]).arg(self.program());
        command.args(["--exact", "--ignored", "--nocapture", "asks"]).env("SOCKET", self.socket());
        let Output { stdout, stderr, .. } = command.stdin(Stdio::null()).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }
}

fn in_runtime<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
#[ignore = "not a test: the service that the other tests start"]
fn serves() {
    let Some(socket) = std::env::var_os("SOCKET") else { return };
    in_runtime(async {
        let door = Door::open(Path::new(&socket)).unwrap();
        println!("\nlistening");
        let refuse = async || Refusal::new(StatusCode::CONFLICT, "the cloud is being upgraded");
        let router = Router::new()
            .route("/summary", routing::get(async || Json(json!({"process": std::process::id()}))))
            .route("/echo", routing::post(async |body: Json<Value>| body))
            .route("/thing", routing::delete(refuse))
            .route("/slow", routing::get(std::future::pending::<&str>));
        door.serve(router, std::future::pending()).await.unwrap();
    });
}

#[test]
#[ignore = "not a test: somebody who asks the service"]
fn asks() {
    let Some(socket) = std::env::var_os("SOCKET") else { return };
    println!("\nsaw: {:?}", in_runtime(Client::new(socket).get::<Value>("/summary")));
}

fn ask(socket: &Path) -> Result<Value, ControlError> {
    in_runtime(Client::new(socket).get("/summary"))
}

#[test]
fn root_is_answered_and_another_user_is_not() {
    let place = Place::new();
    let service = place.serve();
    let pid = service.0.id();
    assert_eq!(ask(&place.socket()).unwrap(), json!({"process": pid}));
    assert_eq!(fs::metadata(place.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    let seen = place.asked_by_another();
    assert!(seen.contains("saw: Err(Denied"), "{seen}");
    // The kernel's word counts, not the file's mode alone: somebody may open that.
    fs::set_permissions(place.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let seen = place.asked_by_another();
    assert!(seen.contains("saw: Err(Denied"), "{seen}");
}

#[test]
fn answers_refusals_and_silence_are_told_apart() {
    let place = Place::new();
    let _service = place.serve();
    in_runtime(async {
        let client = Client::new(place.socket());
        let echo: Value = client.post("/echo", &json!({"seconds": 3})).await.unwrap();
        assert_eq!(echo, json!({"seconds": 3}));
        let refused = client.delete::<Value>("/thing").await.unwrap_err();
        assert!(matches!(refused, ControlError::Refused { status: 409, .. }), "{refused:?}");
        assert_eq!(refused.to_string(), "the cloud is being upgraded");
        let unknown = client.get::<Value>("/nothing").await.unwrap_err();
        assert!(unknown.to_string().contains("/nothing"), "{unknown}");
        let patience = Duration::from_millis(50);
        let silent = client.clone().with_patience(patience).get::<Value>("/slow").await.unwrap_err();
        assert!(matches!(silent, ControlError::Silent { .. }), "{silent:?}");
        let wrong = client.get::<Vec<String>>("/summary").await.unwrap_err();
        assert!(matches!(wrong, ControlError::Broken { .. }), "{wrong:?}");
    });
}

#[test]
fn a_service_that_is_down_is_reported_as_that_and_started_again_over_its_old_socket() {
    let place = Place::new();
    assert!(matches!(ask(&place.socket()), Err(ControlError::NotRunning { .. })), "never started");
    drop(place.serve());
    assert!(place.socket().exists(), "a killed service leaves its socket");
    let down = ask(&place.socket()).unwrap_err();
    assert!(matches!(down, ControlError::NotRunning { .. }), "{down:?}");
    let again = place.serve();
    assert_eq!(ask(&place.socket()).unwrap(), json!({"process": again.0.id()}));
}

#[test]
fn a_second_service_does_not_steal_the_socket() {
    let place = Place::new();
    let first = place.serve();
    let mut second = Service(place.role("serves").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let words = std::io::read_to_string(second.0.stderr.take().unwrap()).unwrap();
    assert!(!second.0.wait().unwrap().success() && words.contains("InUse"), "{words}");
    assert_eq!(ask(&place.socket()).unwrap(), json!({"process": first.0.id()}));
    // Even when somebody has removed the lock of the first.
    fs::remove_file(place.0.path().join("control.sock.lock")).unwrap();
    let refused = in_runtime(async { Door::open(&place.socket()) }).unwrap_err();
    assert!(matches!(refused, DoorError::InUse { .. }), "{refused:?}");
    assert_eq!(ask(&place.socket()).unwrap(), json!({"process": first.0.id()}));
}

#[test]
fn what_is_no_socket_stays_and_long_paths_are_refused_with_their_key() {
    let place = Place::new();
    fs::write(place.socket(), "a letter").unwrap();
    let refused = in_runtime(async { Door::open(&place.socket()) }).unwrap_err().to_string();
    assert!(refused.contains("is not a socket") && refused.contains("control_socket"), "{refused}");
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "a letter");
    let long = place.0.path().join("x".repeat(120));
    let refused = in_runtime(async { Door::open(&long) }).unwrap_err().to_string();
    assert!(refused.contains("too long") && refused.contains("control_socket"), "{refused}");
}

#[test]
fn a_service_that_ends_takes_its_socket_along() {
    let place = Place::new();
    in_runtime(async {
        let door = Door::open(&place.socket()).unwrap();
        door.serve(Router::new(), std::future::ready(())).await.unwrap();
    });
    assert!(!place.socket().exists());
}

/// OS-TUI-010: a console asks every second, for months.
#[test]
fn asking_is_cheap() {
    let place = Place::new();
    let _service = place.serve();
    in_runtime(async {
        let client = Client::new(place.socket());
        let begun = Instant::now();
        for _ in 0..200 {
            let _answer: Value = client.get("/summary").await.unwrap();
        }
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        println!("200 questions took {:?}; {open} descriptors are open", begun.elapsed());
        assert!(open < 100, "connections are left open: {open}");
    });
}
