//! What stands in for the management service. `World` runs this test program under the name `mn-service`.
//!
//! Behaviours: `works`; `slow` (not ready for the first questions); `deaf` (accepts connections, never answers);
//! `dies` (ends with a message); `stubborn` (ignores SIGTERM).

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    http::StatusCode,
    routing::{get, put},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

static ASKED: AtomicUsize = AtomicUsize::new(0);

#[test]
#[ignore = "not a test: the service that the other tests start"]
fn acts() {
    // Someone who runs all ignored tests does not want a service.
    if std::env::var_os("BEHAVIOUR").is_none() {
        return;
    }
    let env = |name: &str| std::env::var(name).unwrap();
    let (data, behaviour) = (PathBuf::from(env("DATA")), env("BEHAVIOUR"));
    let port = |name: &str| env(name).parse::<u16>().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(serve(&data, &behaviour, port("API"), port("UI")));
    // Not back to the harness, which would print a verdict.
    std::process::exit(0);
}

async fn serve(data: &Path, behaviour: &str, api: u16, ui: u16) {
    if behaviour == "dies" {
        println!("the database is on fire");
        std::process::exit(7);
    }
    std::fs::write(data.join("mn-service.pid"), std::process::id().to_string()).unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", api)).await.unwrap();
    if behaviour == "deaf" {
        // The kernel accepts connections for it; nobody ever reads them.
        terminate.recv().await;
        return;
    }
    let pages = TcpListener::bind(("127.0.0.1", ui)).await.unwrap();
    tokio::spawn(async { axum::serve(pages, Router::new().route("/", get(async || "<html>"))).await });
    let (slow, notes) = (behaviour == "slow", data.join("asked"));
    let ready = async move || {
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        std::fs::write(&notes, "x".repeat(asked + 1)).unwrap();
        match slow && asked < 4 {
            true => (StatusCode::SERVICE_UNAVAILABLE, r#"{"error":{"code":"SYS.1000"}}"#),
            false => (StatusCode::OK, "{}"),
        }
    };
    let version = async || r#"{"version":"9.8.7","success":true}"#;
    let router = Router::new()
        .route("/zstack/v1/management-nodes/ready", get(ready))
        .route("/zstack/v1/management-nodes/actions", put(version));
    tokio::spawn(async { axum::serve(listener, router).await });
    loop {
        terminate.recv().await;
        if behaviour != "stubborn" {
            return;
        }
    }
}
