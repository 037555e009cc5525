//! Reads the configuration again: when asked to, on SIGHUP, and when the overrides file has changed.
//! One reload at a time.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::admin::{Readiness, ReloadRequest};
use crate::config::{Changes, Current, InForce, Look, Problems};
use crate::receiver::Intake;
use crate::telemetry::Telemetry;

/// A second look at a file that has changed comes so soon, or at the poll interval if that is less.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

/// Problems that are told at `/-/ready`; all are told to who has asked, and in the log.
const REASONS_MAX: usize = 20;

/// Keeps what is in force, and tells everyone of another.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) current: Current,
    pub(super) in_force: watch::Sender<Arc<InForce>>,
    pub(super) intake: Arc<Intake>,
    pub(super) effective: Arc<ArcSwap<String>>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) telemetry: Telemetry,
    /// SIGHUP, if the system has it to give.
    pub(super) hangups: Option<Signal>,
}

impl Reloader {
    /// Until the task is dropped.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<ReloadRequest>) {
        let mut look_at = Instant::now() + self.poll_interval();
        loop {
            tokio::select! {
                Some(ReloadRequest(answer)) = requests.recv() => {
                    let reloaded = self.work(Current::reload).await;
                    // Who asked may have gone.
                    drop(answer.send(self.finish(reloaded)));
                }
                () = next(&mut self.hangups) => {
                    let reloaded = self.work(Current::reload).await;
                    drop(self.finish(reloaded));
                }
                () = sleep_until(look_at) => {
                    look_at = Instant::now() + self.look().await;
                    continue;
                }
            }
            look_at = look_at.min(Instant::now() + self.poll_interval());
        }
    }

    /// Answers when to look again.
    async fn look(&mut self) -> Duration {
        match self.work(Current::look).await {
            Look::Unchanged => {}
            Look::Unsettled => return self.poll_interval().min(SETTLED_AFTER),
            Look::Changed(reloaded) => drop(self.finish(reloaded)),
        }
        self.poll_interval()
    }

    fn poll_interval(&self) -> Duration {
        self.current.loaded().config.overrides.poll_interval
    }

    /// Files are read and rules compiled where that holds up nobody.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Current) -> T + Send + 'static,
    ) -> T {
        let mut current = self.current.clone();
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut current);
            (current, outcome)
        });
        match done.await {
            Ok((current, outcome)) => {
                self.current = current;
                outcome
            }
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            // Only a runtime that is being shut down cancels; this task goes with it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Puts a configuration in force that is in order, and tells of one that is not.
    fn finish(&self, reloaded: Result<Changes, Problems>) -> Result<String, String> {
        let successful = &self.telemetry.config_last_reload_successful;
        match reloaded {
            Ok(changes) => {
                let in_force = Arc::clone(self.current.in_force());
                let rulebook = in_force.rulebook();
                self.intake.follow(rulebook);
                self.in_force.send_replace(in_force);
                self.effective.store(Arc::new(self.current.loaded().effective.clone()));
                self.readiness.not_reloaded(Vec::new());
                successful.set(1);
                let lines = changes.to_string();
                lines.lines().for_each(|line| tracing::info!("{line}"));
                Ok(lines)
            }
            Err(problems) => {
                successful.set(0);
                let lines: Vec<String> = problems.iter().map(|p| p.to_string()).collect();
                for line in &lines {
                    tracing::error!("not reloaded: {line}");
                }
                self.readiness.not_reloaded(lines.iter().take(REASONS_MAX).cloned().collect());
                Err(lines.join("\n"))
            }
        }
    }
}

/// Caught from here on: without that the signal ends the process.
pub(super) fn hangups() -> Option<Signal> {
    match signal(SignalKind::hangup()) {
        Ok(hangups) => Some(hangups),
        Err(error) => {
            tracing::error!(%error, "SIGHUP can't be received, use /-/reload");
            None
        }
    }
}

async fn next(hangups: &mut Option<Signal>) {
    if let Some(hangups) = hangups
        && hangups.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}
