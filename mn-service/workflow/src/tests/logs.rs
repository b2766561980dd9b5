//! What is logged, and what never is.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::bank::{Bank, Mishap, Order, SECRET, engine, id};
use crate::MemoryStore;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that is logged, at every level, while a job becomes stuck and is resumed.
fn log_of_a_stuck_job() -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        // One thread: the subscriber is that of this thread alone.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            let bank = Bank::new().with("do machine", Mishap::Fails).with("undo volume", Mishap::Fails);
            engine(&bank, &store).run(id(7), "machine.create", &Order::new("a")).await.unwrap();
            let again = engine(&bank, &store).resume().await.unwrap().remove(0);
            again.running.await.unwrap();
        });
    });
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn failures_are_logged_once_in_their_spans_and_states_never() {
    let log = log_of_a_stuck_job();
    assert!(!log.contains(SECRET), "{log}");
    let failed: Vec<_> = log.lines().filter(|line| line.contains("step failed")).collect();
    assert_eq!(failed.len(), 1, "{log}");
    let job = format!("job{{job={} workflow=\"machine.create\" version=1}}", id(7));
    for part in [job.as_str(), "step{step=\"machine\"}", "error=the bank refuses do machine"] {
        assert!(failed[0].contains(part), "{part:?} is not in {:?}", failed[0]);
    }
    assert_eq!(log.matches("undo failed").count(), 1, "{log}");
    assert_eq!(log.matches("job is stuck").count(), 2, "once per time the outcome was found: {log}");
}
