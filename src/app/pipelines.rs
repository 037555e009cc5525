//! Each tenant's ticks, on their way from its ledger to every endpoint; until it has gone quiet.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::collect::{self, Catalog, Collections, StaleMarkers, first_tick_after};
use crate::config::{InForce, PerTenant};
use crate::ledger::{Snapshot, Tenant, Tenants};
use crate::remote_write::{Endpoint, Outlet};
use crate::telemetry::Telemetry;

/// A new tenant's series are shown and sent this soon, and then at its own ticks.
const SOON: Duration = Duration::from_secs(1);

/// What endpoints take at least of samples that are older than their newest: a tenant that is quiet for
/// that much longer does not wait any more for an endpoint to take the last of it.
const OLD: Duration = Duration::from_hours(1);

/// Starts a pipeline for each tenant as it appears.
#[derive(Clone)]
pub(super) struct Pipelines {
    pub(super) in_force: watch::Receiver<Arc<InForce>>,
    pub(super) send_tenant_id: bool,
    pub(super) tenants: Arc<Tenants>,
    pub(super) collections: Arc<Collections>,
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) clock: Arc<Clock>,
    pub(super) telemetry: Telemetry,
}

impl Pipelines {
    pub(super) async fn run(
        self,
        mut created: UnboundedReceiver<Arc<Tenant>>,
        stop: CancellationToken,
    ) {
        let mut pipelines = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                tenant = created.recv() => match tenant {
                    Some(tenant) => { pipelines.spawn(self.pipeline(tenant).run(stop.clone())); }
                    None => break,
                },
                () = stop.cancelled() => break,
                // That of a tenant that was unloaded; a panic has been reported.
                Some(_) = pipelines.join_next() => {}
            }
        }
        // A pipeline ends by itself after `stop`, or by a panic that has been reported.
        while pipelines.join_next().await.is_some() {}
    }

    fn pipeline(&self, tenant: Arc<Tenant>) -> Pipeline {
        let id = tenant.id();
        let sent_id = self.send_tenant_id.then(|| id.clone());
        let follows = Arc::clone(self.in_force.borrow().tenants.of(id));
        let open = |endpoint: &Arc<Endpoint>| {
            let outlet = endpoint.open(sent_id.clone());
            outlet.set_headers(&follows.settings.remote_write_headers);
            outlet
        };
        Pipeline {
            catalog: self.collections.open(id, &follows.settings.collect),
            outlets: self.endpoints.iter().map(open).collect(),
            shared: self.clone(),
            follows,
            tenant,
        }
    }
}

/// One tenant's ticks.
struct Pipeline {
    shared: Pipelines,
    tenant: Arc<Tenant>,
    catalog: Arc<Mutex<Catalog>>,
    outlets: Vec<Outlet>,
    /// What was in force when it was last looked at.
    follows: Arc<PerTenant>,
}

impl Pipeline {
    async fn run(mut self, stop: CancellationToken) {
        let mut in_force = self.shared.in_force.clone();
        let start = Instant::now();
        let mut tick_at = start + first_tick_after(self.tenant.id(), self.interval()).min(SOON);
        let mut regular = start + first_tick_after(self.tenant.id(), self.interval());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = in_force.changed() => {
                    self.follow();
                    // A shorter interval begins now, a longer one at the next tick.
                    tick_at = tick_at.min(Instant::now() + self.interval());
                    continue;
                }
                () = sleep_until(tick_at) => {}
            }
            if self.is_done() {
                return self.close().await;
            }
            self.hand_over(Tenant::tick);
            let now = Instant::now();
            while regular <= now {
                regular += self.interval();
            }
            tick_at = regular.min(now + self.interval());
            regular = tick_at;
        }
        self.hand_over(Tenant::last_tick);
        if self.follows.settings.collect.stale_markers == StaleMarkers::Shutdown {
            self.hand_over(Tenant::end_all);
        }
        self.close().await;
    }

    fn interval(&self) -> Duration {
        self.follows.settings.collect.collection_interval
    }

    /// Whether the tenant was unloaded: it has nothing left, and neither waits an endpoint for anything.
    fn is_done(&self) -> bool {
        let now = self.shared.clock.now();
        let Some(quiet) = self.tenant.quiet_for(now) else { return false };
        let stale = self.follows.settings.ledger.stale_duration;
        let settled = self.outlets.iter().all(Outlet::is_settled);
        quiet >= stale
            && (settled || quiet >= stale.saturating_add(OLD))
            && self.shared.tenants.unload(&self.tenant, now)
    }

    async fn close(self) {
        let closing: JoinSet<()> = self.outlets.into_iter().map(Outlet::close).collect();
        closing.join_all().await;
        self.shared.collections.close(self.tenant.id(), &self.catalog);
    }

    /// Takes what is in force. A tick that had to be taken for it is sent at once.
    fn follow(&mut self) {
        let in_force = Arc::clone(&self.shared.in_force.borrow());
        let of = in_force.tenants.of(self.tenant.id());
        self.tenant.follow(&of.rules.ledger, in_force.epoch, self.shared.clock.now());
        for taken in self.tenant.taken_before(i64::MAX) {
            self.send(taken);
        }
        if of.generation != self.follows.generation {
            collect::lock(&self.catalog).follow(&of.settings.collect);
            for outlet in &self.outlets {
                outlet.set_headers(&of.settings.remote_write_headers);
            }
            self.follows = Arc::clone(of);
        }
    }

    fn hand_over(&mut self, take: impl Fn(&Tenant, Duration) -> Snapshot) {
        let timer = self.shared.telemetry.collection_seconds.start_timer();
        self.follow();
        let newest = take(&self.tenant, self.shared.clock.now());
        // The tenant may have followed another reload meanwhile.
        for taken in self.tenant.taken_before(newest.at_ms) {
            self.send(taken);
        }
        self.send(newest);
        timer.observe_duration();
    }

    fn send(&self, snapshot: Snapshot) {
        let collected = collect::lock(&self.catalog).collect(snapshot);
        for outlet in &self.outlets {
            outlet.post(collected.clone());
        }
    }
}
