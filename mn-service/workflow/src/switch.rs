//! The one switch of an engine: running, stopping, abandoned. It only ever moves forward.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Position {
    /// Jobs run.
    Running,
    /// What runs may finish and be recorded; nothing new begins.
    Stopping,
    /// From now on nothing is done and nothing is recorded, as if the process had died.
    Abandoned,
}

#[derive(Clone)]
pub(crate) struct Switch {
    position: watch::Sender<Position>,
}

impl Switch {
    pub(crate) fn new() -> Self {
        Switch { position: watch::Sender::new(Position::Running) }
    }

    pub(crate) fn stop(&self) {
        self.move_to(Position::Stopping);
    }

    pub(crate) fn abandon(&self) {
        self.move_to(Position::Abandoned);
    }

    pub(crate) fn is_running(&self) -> bool {
        *self.position.borrow() == Position::Running
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        *self.position.borrow() == Position::Abandoned
    }

    /// Returns when the switch is in its last position.
    pub(crate) async fn abandoned(&self) {
        let mut position = self.position.subscribe();
        // The sender lives in `self`, so waiting ends with the position and never with an error.
        let _ = position.wait_for(|position| *position == Position::Abandoned).await;
    }

    fn move_to(&self, to: Position) {
        self.position.send_if_modified(|position| {
            let forward = *position < to;
            *position = (*position).max(to);
            forward
        });
    }
}
