//! Where one endpoint finds the newest tick of one tenant: a place for one, not a queue.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::collect::{Change, Collected};

/// The newest tick, with what has changed since the last one that was taken out.
#[derive(Debug)]
pub(super) struct Inbox {
    newest: Mutex<Option<Collected>>,
    signal: watch::Sender<Signal>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Signal {
    posted: u64,
    taken: u64,
    closed_at: Option<Instant>,
    /// What was posted is done with, and nothing of it waits.
    settled: bool,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { newest: Mutex::new(None), signal: watch::Sender::new(Signal::default()) }
    }
}

impl Inbox {
    /// Replaces the tick that nobody has taken out yet; its changes stay.
    pub(super) fn post(&self, mut collected: Collected) {
        let mut newest = self.newest.lock().expect("nothing panics under this lock");
        if let Some(unseen) = newest.take() {
            let changes: Vec<Change> =
                unseen.changes.iter().chain(&*collected.changes).cloned().collect();
            collected.changes = changes.into();
        }
        *newest = Some(collected);
        self.signal.send_modify(|signal| {
            signal.posted += 1;
            signal.settled = false;
        });
    }

    /// Nothing of the ticks that were taken out waits any more.
    pub(super) fn settle(&self) {
        self.signal.send_modify(|signal| signal.settled = signal.posted == signal.taken);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.signal.borrow().settled
    }

    /// No tick comes after those that were posted.
    pub(super) fn close(&self) {
        self.signal.send_modify(|signal| signal.closed_at = Some(Instant::now()));
    }

    /// Since when, if it is.
    pub(super) fn closed_at(&self) -> Option<Instant> {
        self.signal.borrow().closed_at
    }

    /// Waits for a tick; `None` when the last one was taken out.
    pub(super) async fn take(&self) -> Option<Collected> {
        let mut signal = self.signal.subscribe();
        let waited =
            signal.wait_for(|s| s.posted > s.taken || s.closed_at.is_some()).await.map(drop);
        waited.expect("the sender of the signal lives as long as this inbox");
        let mut newest = self.newest.lock().expect("nothing panics under this lock");
        // Under the lock, so that a tick that is posted meanwhile is not taken for this one.
        self.signal.send_modify(|signal| signal.taken = signal.posted);
        newest.take()
    }

    /// Waits until no tick comes any more, and then for so long.
    pub(super) async fn closed_for(&self, time: Duration) {
        let mut signal = self.signal.subscribe();
        let closed = signal.wait_for(|s| s.closed_at.is_some()).await.map(|s| s.closed_at);
        if let Ok(Some(at)) = closed {
            tokio::time::sleep_until(at + time).await;
        }
    }

    /// Waits until there is a newer tick than the one that was taken out.
    pub(super) async fn newer(&self) {
        let mut signal = self.signal.subscribe();
        let waited = signal.wait_for(|s| s.posted > s.taken).await.map(drop);
        waited.expect("the sender of the signal lives as long as this inbox");
    }

    /// Waits until no tick comes any more.
    pub(super) async fn closed(&self) {
        let mut signal = self.signal.subscribe();
        let waited = signal.wait_for(|s| s.closed_at.is_some()).await.map(drop);
        waited.expect("the sender of the signal lives as long as this inbox");
    }

    pub(super) fn has_newer(&self) -> bool {
        let signal = self.signal.borrow();
        signal.posted > signal.taken
    }
}
