//! A server that plays the protocol: logins, zones, jobs. It notes every request.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State as Shared},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// SHA-512 of `password`.
pub(crate) const HASH: &str = "b109f3bbbc244eb82441917ed06d618b9008dd09b3befd1b5e07394c706a8bb980b1d7785e5976ec049b46df5f1326af5a2ea6d103fd07c95385ffab0cacbc86";
pub(crate) const EAST: &str = "9b26312501614ec0b6dc731e6977dfb2";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With query string, as sent.
    pub(crate) path: String,
    pub(crate) session: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) body: Value,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) seen: Vec<Seen>,
    pub(crate) sessions: HashSet<String>,
    /// Answers that a job still has to give.
    jobs: HashMap<String, Vec<(u16, Value)>>,
}

pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (bound, address) = std::sync::mpsc::channel();
        let router = router(state.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let address: SocketAddr = address.recv().unwrap();
        Self { url: format!("http://{address}"), state, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Requests that arrived since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) fn router(state: Arc<Mutex<State>>) -> Router {
    Router::new().fallback(handle).with_state(state)
}

async fn handle(Shared(state): Shared<Arc<Mutex<State>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let bytes = to_bytes(Body::new(body), 1 << 20).await.unwrap();
    let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().unwrap().to_string(),
        session: header("authorization").and_then(|value| value.strip_prefix("OAuth ").map(str::to_owned)),
        job: header("x-job-uuid"),
        timeout: header("x-api-timeout"),
        body,
    };
    let mut state = state.lock().unwrap();
    let (status, answer) = state.answer(&parts.method, parts.uri.path(), &seen);
    state.seen.push(seen);
    let text = match answer {
        Value::String(text) => text,
        other => other.to_string(),
    };
    (StatusCode::from_u16(status).unwrap(), text).into_response()
}

fn error(code: &str, details: &str) -> Value {
    json!({"error": {"code": code, "description": "it failed", "details": details}})
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, seen: &Seen) -> (u16, Value) {
        let Some(path) = path.strip_prefix("/zstack/v1/") else { return (404, json!("no such API")) };
        let parts: Vec<&str> = path.split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("PUT", ["accounts", "login"]) => self.log_in(&seen.body["logInByAccount"]),
            ("DELETE", ["accounts", "sessions", session]) => {
                self.sessions.remove(*session);
                (200, json!({}))
            }
            ("GET", ["api-jobs", job]) => self.poll(job),
            ("GET", ["task-progresses", job]) => {
                assert!(self.jobs.contains_key(*job), "progress was asked of an unknown job");
                (200, json!({"inventories": [{"time": 1, "taskName": "zone", "content": "digging foundations"}]}))
            }
            ("GET", ["zones"]) => match self.allowed(seen) {
                false => (503, error("ID.1001", "Session expired")),
                true => (200, zones(&seen.path)),
            },
            ("POST", ["zones"]) => self.create(seen),
            ("DELETE", ["zones", _]) => self.accept(seen, vec![(200, json!({}))]),
            ("GET", ["accounts", "quota", ..]) => (400, json!("limit must be an integer")),
            _ => (404, json!("no such API")),
        }
    }

    fn allowed(&self, seen: &Seen) -> bool {
        seen.session.as_ref().is_some_and(|session| self.sessions.contains(session))
    }

    fn log_in(&mut self, given: &Value) -> (u16, Value) {
        if given["accountName"] != "admin" || given["password"] != HASH {
            return (503, error("ID.1000", "wrong account name or password"));
        }
        let session = mn_service_types::new_uuid();
        self.sessions.insert(session.clone());
        let account = mn_service_types::ADMIN_ACCOUNT;
        (200, json!({"inventory": {"uuid": session, "accountUuid": account, "userUuid": account}}))
    }

    /// The outcome follows from the name of the zone.
    fn create(&mut self, seen: &Seen) -> (u16, Value) {
        let name = seen.body["params"]["name"].as_str().unwrap();
        let zone = json!({"inventory": {"uuid": EAST, "name": name, "state": "Enabled", "isDefault": false}});
        // Most recent last: answers are taken from the end.
        let answers = if !self.allowed(seen) {
            vec![(503, error("ID.1001", "Session expired"))]
        } else if name == "broken" {
            let mut failure = error("SYS.1006", "no room");
            failure["error"]["cause"] = json!({"code": "SYS.1016", "description": "disk full", "details": "0 bytes"});
            vec![(503, failure)]
        } else if name == "endless" {
            vec![(202, json!({})); 10_000]
        } else if name == "restart" {
            vec![(200, zone), (202, json!({})), (502, json!("bad gateway")), (502, json!("bad gateway"))]
        } else if name == "slow" {
            let mut answers = vec![(200, zone)];
            answers.extend(vec![(202, json!({})); 8]);
            answers
        } else {
            vec![(200, zone), (202, json!({}))]
        };
        self.accept(seen, answers)
    }

    fn accept(&mut self, seen: &Seen, answers: Vec<(u16, Value)>) -> (u16, Value) {
        let job = seen.job.clone().expect("a change must carry X-Job-UUID");
        assert!(mn_service_types::is_uuid(&job), "{job}");
        assert!(self.jobs.insert(job.clone(), answers).is_none(), "job uuid used twice");
        // An address by which nobody can be reached from here.
        let location = format!("http://192.0.2.7:8080/zstack/v1/api-jobs/{job}");
        (202, json!({"location": location, "apiTimeout": 1_800_000}))
    }

    fn poll(&mut self, job: &str) -> (u16, Value) {
        match self.jobs.get_mut(job) {
            None => (404, json!("no such job")),
            Some(answers) => answers.pop().expect("polled after the end"),
        }
    }
}

fn zones(path: &str) -> Value {
    let only_uuid = path.contains("fields=uuid");
    let zone = |uuid: &str, name: &str| match only_uuid {
        true => json!({"uuid": uuid}),
        false => json!({"uuid": uuid, "name": name, "state": "Enabled", "type": "zstack"}),
    };
    json!({
        "inventories": [zone(EAST, "East"), zone("1f3b6a0c5c6147d1b3a6c1d2e3f40506", "机房")],
        "schema": {"inventories[0]": "org.zstack.header.zone.ZoneInventory"},
    })
}
