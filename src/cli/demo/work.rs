//! The shop at work: a step every tenth of a second, and its spans on their way over a port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::cli::sending::{ConnectionError, SendError, Sender, Taken, Target};
use crate::cli::tell;
use crate::clock::Clock;
use crate::demo::{Books, STEP, Settings, Shop, into_loop, request, scene};

pub(super) struct Work {
    shop: Shop,
    sender: Sender,
    clock: Clock,
    /// Of the script's time.
    duration: Option<Duration>,
    progress: Arc<Progress>,
}

/// For whoever looks on.
#[derive(Debug)]
pub(super) struct Progress {
    n_sent: AtomicU64,
    /// Milliseconds of the script.
    script_ms: AtomicU64,
}

impl Work {
    pub(super) fn new(settings: Settings, target: Target, duration: Option<Duration>) -> Self {
        Self {
            shop: Shop::new(settings),
            sender: Sender::new(target),
            clock: Clock::default(),
            duration,
            progress: Arc::new(Progress { n_sent: 0.into(), script_ms: 0.into() }),
        }
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Until it is stopped or its time is over; then readers read what is left. Steps that are late are
    /// made up for.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<Self> {
        let mut steps = tokio::time::interval(STEP);
        while self.duration.is_none_or(|duration| self.shop.script_time() < duration) {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = steps.tick() => {}
            }
            let traces = self.shop.step();
            self.send(&traces).await?;
        }
        let traces = self.shop.close();
        self.send(&traces).await?;
        Ok(self)
    }

    async fn send(&mut self, traces: &[crate::demo::Trace]) -> Result<(), ConnectionError> {
        let script_ms = u64::try_from(self.shop.script_time().as_millis()).unwrap_or(u64::MAX);
        self.progress.script_ms.store(script_ms, Ordering::Relaxed);
        if traces.is_empty() {
            return Ok(());
        }
        let request = request(traces, self.clock.now());
        match self.sender.send(&Bytes::from(request.body)).await {
            Ok(Taken { message, n_rejected }) => {
                self.progress.n_sent.fetch_add(request.n_spans, Ordering::Relaxed);
                if n_rejected > 0 || !message.is_empty() {
                    tell(format_args!("{n_rejected} spans rejected: {message}"));
                }
            }
            Err(SendError::Connection(e @ ConnectionError::Unreachable { .. })) => return Err(e),
            // The ledger knows what is missing, or there twice.
            Err(error) => tell(format_args!("{} spans: {error}", request.n_spans)),
        }
        Ok(())
    }

    pub(super) fn books(&self) -> &Books {
        self.shop.books()
    }

    pub(super) fn n_sent(&self) -> u64 {
        self.progress.n_sent()
    }
}

impl Progress {
    fn n_sent(&self) -> u64 {
        self.n_sent.load(Ordering::Relaxed)
    }

    pub(super) fn script_time(&self) -> Duration {
        Duration::from_millis(self.script_ms.load(Ordering::Relaxed))
    }

    pub(super) fn line(&self) -> String {
        let at = self.script_time();
        let (n_sent, scene) = (self.n_sent(), scene(at));
        format!("script {}s: {}, sent {n_sent} spans", into_loop(at).as_secs(), scene.now)
    }
}
