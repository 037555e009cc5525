//! When reports are made and for whom, and what is remembered between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ahash::RandomState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::count::Count;
use super::history::History;
use super::own_metrics::{self, Guilty};
use super::report::{Report, Sources};
use crate::collect::Collections;
use crate::ledger::Tenants;
use crate::tenant::TenantId;

/// Values of each label that an answer names at most.
pub(in crate::admin) const TOP_MAX: usize = 100;
/// Own metrics are this old at most when somebody scrapes more often.
const REFRESH_EVERY: Duration = Duration::from_secs(15);
/// A scrape waits so long for newer ones.
const REFRESH_WAIT: Duration = Duration::from_secs(1);
/// So that growth is known where nobody asks.
const SAMPLE_EVERY: Duration = Duration::from_mins(5);

/// Reads all tenants.
#[derive(Debug)]
pub struct Cardinality {
    tenants: Arc<Tenants>,
    collections: Arc<Collections>,
    window: Duration,
    /// Of service and label, in histories.
    hasher: RandomState,
    /// Only one count at a time is made, whoever asks.
    turn: Arc<Semaphore>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    histories: BTreeMap<TenantId, History>,
    /// Those with the most wanted values first.
    guilty: Vec<Guilty>,
    refreshed: Option<Instant>,
}

impl Cardinality {
    pub fn new(tenants: Arc<Tenants>, collections: Arc<Collections>, stale: Duration) -> Arc<Self> {
        Arc::new(Self {
            tenants,
            collections,
            window: stale,
            hasher: RandomState::new(),
            turn: Arc::new(Semaphore::new(1)),
            known: Mutex::default(),
        })
    }

    /// The report as JSON; nothing where nothing has been collected for the tenant.
    pub(in crate::admin) async fn json(
        self: Arc<Self>,
        tenant: TenantId,
        service: Option<String>,
        top: usize,
    ) -> Option<Vec<u8>> {
        let permit = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        let make = move || {
            let report = self.report(&tenant, service.as_deref(), top.min(TOP_MAX))?;
            drop(permit);
            Some(serde_json::to_vec(&report).expect("texts and numbers are JSON"))
        };
        spawn_blocking(make).await.ok()?
    }

    /// Where nothing has been collected yet.
    pub(in crate::admin) fn nothing(&self) -> Vec<u8> {
        let report = Report { window_seconds: self.window.as_secs(), services: Vec::new() };
        serde_json::to_vec(&report).expect("numbers are JSON")
    }

    /// Brings own metrics up to date, if they are old and nobody does it already.
    pub(in crate::admin) async fn refresh(self: &Arc<Self>) {
        let is_new = {
            let known = self.known();
            let is_new = known.refreshed.is_some_and(|at| at.elapsed() < REFRESH_EVERY);
            is_new && !known.guilty.is_empty()
        };
        if !is_new && let Ok(permit) = Arc::clone(&self.turn).try_acquire_owned() {
            let this = Arc::clone(self);
            let swept = spawn_blocking(move || this.sweep(permit));
            // A longer one goes on, and the next scrape has what it finds.
            drop(timeout(REFRESH_WAIT, swept).await);
        }
    }

    /// Keeps samples for the growth, until the task is dropped.
    pub(in crate::admin) async fn keep_samples(self: Arc<Self>) {
        let mut ticks = interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Ok(permit) = Arc::clone(&self.turn).acquire_owned().await else { return };
            let this = Arc::clone(&self);
            // A panic has been reported.
            drop(spawn_blocking(move || this.sweep(permit)).await);
        }
    }

    /// All tenants, one after the other.
    fn sweep(&self, permit: OwnedSemaphorePermit) {
        let tenants = self.tenants.all();
        let mut guilty = Vec::new();
        for tenant in &tenants {
            if let Some(report) = self.report(tenant.id(), None, 0) {
                own_metrics::add(&mut guilty, tenant.id(), report);
            }
        }
        let mut known = self.known();
        known.guilty = guilty;
        known.refreshed = Some(Instant::now());
        known.histories.retain(|id, _| tenants.iter().any(|tenant| tenant.id() == id));
        drop(permit);
    }

    fn report(&self, id: &TenantId, only: Option<&str>, top: usize) -> Option<Report> {
        let view = self.collections.view(id)?;
        let at_ms = view.snapshot.at_ms;
        let mut wanted = self.tenants.get(id).and_then(|tenant| tenant.wanted());
        wanted.iter_mut().for_each(|wanted| wanted.forget(at_ms));
        let history = self.known().histories.get(id).cloned().unwrap_or_default();
        let key = |service: &str, label: &str| self.hasher.hash_one((service, label));
        let growth = |service: &str, label: &str, admitted: u64| {
            history.growth(at_ms, key(service, label), admitted)
        };
        let count = Count::of(&view, only);
        let services = Sources { wanted: wanted.as_ref(), only, top, growth }.services(&count);
        if only.is_none() && history.is_due(at_ms) {
            let mut counts = Vec::new();
            for service in &services {
                let labels = service.labels.iter();
                counts.extend(labels.map(|l| (key(&service.service, &l.label), l.admitted)));
            }
            self.known().histories.entry(id.clone()).or_default().add(at_ms, counts);
        }
        Some(Report { window_seconds: self.window.as_secs(), services })
    }

    /// What was found last.
    pub(super) fn guilty(&self) -> Vec<Guilty> {
        self.known().guilty.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics under this lock")
    }
}
