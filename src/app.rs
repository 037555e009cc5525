//! Build, bind, run, drain: the only file that knows every module.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Readiness, TenantMetrics};
use crate::budget::Pool;
use crate::clock::Clock;
use crate::collect::{self, Catalog, Collections, StaleMarkers, first_tick_after};
use crate::config::Loaded;
use crate::ledger::{Memory, Processor, Snapshot, Table, Tenant, Tenants};
use crate::receiver::{Intake, Listeners};
use crate::remote_write::client::Client;
use crate::remote_write::{Endpoint, EndpointSettings, Outlet};
use crate::stage::Plan;
use crate::telemetry::Telemetry;

/// In-flight requests are answered within this time after the signal to stop.
const INTAKE_DRAIN: Duration = Duration::from_millis(3500);
/// The last ticks are delivered within this time; only an endpoint that hangs needs it all.
const OUTLET_DRAIN: Duration = Duration::from_secs(11);

/// A new tenant's series are shown and sent this soon, and then at its own ticks.
const SOON: Duration = Duration::from_secs(1);

/// Everything that was built from the configuration; no socket is open yet.
pub struct App {
    loaded: Loaded,
    telemetry: Telemetry,
    clock: Arc<Clock>,
    tenants: Arc<Tenants>,
    created: UnboundedReceiver<Arc<Tenant>>,
    collections: Arc<Collections>,
    intake: Arc<Intake>,
    endpoints: Vec<Arc<Endpoint>>,
    readiness: Arc<Readiness>,
}

/// The sockets that are bound, and what serves them.
pub struct Bound {
    app: App,
    listeners: Listeners,
    admin: Option<TcpListener>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").finish_non_exhaustive()
    }
}

impl App {
    pub fn build(loaded: Loaded) -> anyhow::Result<Self> {
        let config = &loaded.config;
        let telemetry = Telemetry::new();
        let clock = Arc::new(Clock::default());
        let plan = match Plan::new(&config.stage, 1) {
            Ok(plan) => plan,
            Err(errors) => {
                bail!(errors.iter().map(|e| format!("{e}\n")).collect::<String>())
            }
        };
        let (sender, created) = unbounded_channel();
        let bounds = config.stage.bounds();
        let seed = std::array::from_fn(|_| ahash::RandomState::new().hash_one(0));
        let pool = Arc::new(Pool::new(config.memory.series));
        let memory = Arc::new(Memory { pool: Arc::clone(&pool), costs: config.costs });
        let tenants =
            Arc::new(Tenants::new(config.ledger.clone(), bounds, seed, sender).with_memory(memory));
        let intake = Arc::new(Intake::new(plan, Arc::clone(&tenants), Arc::clone(&clock)));
        let mut endpoints = Vec::new();
        let most = config.memory.sent_requests() / config.remote_write.endpoints.len().max(1);
        for settings in &config.remote_write.endpoints {
            let max_shards = settings.max_shards.min(most.max(1));
            let settings = &EndpointSettings { max_shards, ..settings.clone() };
            let client = Client::new(settings, &telemetry, Arc::clone(&clock))
                .with_context(|| format!("remote_write endpoint {}", settings.name))?;
            telemetry.remote_write.begin_at_zero(&settings.name);
            let (metrics, clock) = (telemetry.remote_write.clone(), Arc::clone(&clock));
            let endpoint = Endpoint::new(settings.clone(), client, metrics, clock);
            endpoints.push(Arc::new(endpoint.with_pool(Arc::clone(&pool))));
        }
        let app = Self {
            telemetry,
            clock,
            tenants,
            created,
            collections: Arc::default(),
            intake,
            endpoints,
            readiness: Arc::default(),
            loaded,
        };
        app.register_tenant_metrics()?;
        Ok(app)
    }

    fn register_tenant_metrics(&self) -> anyhow::Result<()> {
        let config = &self.loaded.config;
        let catalog = Catalog::new(
            &config.collect,
            &crate::tenant::TenantId::single(),
            self.tenants.bounds(),
        );
        let on = config.stage.processors;
        let processors = [
            (Processor::SpanMetrics, on.span_metrics()),
            (Processor::ServiceGraphs, on.service_graphs),
            (Processor::HostInfo, on.host_info),
        ];
        let metrics = TenantMetrics::new(
            Arc::clone(&self.tenants),
            Table::ALL.map(|table| catalog.n_series(table)),
            processors.into_iter().filter_map(|(processor, on)| on.then_some(processor)).collect(),
        );
        Ok(self.telemetry.registry.register(Box::new(metrics))?)
    }

    pub async fn bind(self) -> anyhow::Result<Bound> {
        let config = &self.loaded.config;
        let listeners = Listeners::bind(&config.receiver).await?;
        let admin = match &config.admin.endpoint {
            None => None,
            Some(endpoint) => Some(
                TcpListener::bind(endpoint)
                    .await
                    .with_context(|| format!("admin.endpoint: can't listen on {endpoint}"))?,
            ),
        };
        Ok(Bound { app: self, listeners, admin })
    }
}

impl Bound {
    /// Serves until `stop`, then drains.
    pub async fn run(self, stop: CancellationToken) {
        let Self { app, listeners, admin } = self;
        app.tell(&listeners, admin.as_ref());
        let admin = admin.map(|listener| tokio::spawn(app.admin().serve(listener)));
        let stop_ticks = CancellationToken::new();
        let ticks = tokio::spawn(app.pipelines().run(app.created, stop_ticks.clone()));
        app.readiness.ready();

        let drained = stop.clone();
        let intake = Arc::clone(&app.intake);
        let serving = tokio::spawn(listeners.run(app.intake, app.telemetry, stop));
        drained.cancelled().await;
        tracing::info!("draining");
        app.readiness.draining();
        if timeout(INTAKE_DRAIN, serving).await.is_err() {
            tracing::warn!("requests were still in flight when the drain time was over");
        }
        intake.close();
        stop_ticks.cancel();
        if timeout(OUTLET_DRAIN, ticks).await.is_err() {
            tracing::warn!("an endpoint did not take the last samples in time");
        }
        if let Some(admin) = admin {
            admin.abort();
        }
        tracing::info!("stopped");
    }
}

impl App {
    /// Says where the service listens and sends.
    fn tell(&self, listeners: &Listeners, admin: Option<&TcpListener>) {
        let admin = admin.and_then(|listener| listener.local_addr().ok());
        let shown =
            |at: Option<SocketAddr>| at.map_or_else(|| "off".to_owned(), |at| at.to_string());
        let (grpc, http) = (shown(listeners.grpc_addr()), shown(listeners.http_addr()));
        tracing::info!(grpc, http, admin = shown(admin), "listening");
        for endpoint in &self.endpoints {
            let (name, url) = (&endpoint.settings.name, &endpoint.settings.url);
            tracing::info!(endpoint = name, host = url.host_str(), path = url.path(), "sending");
        }
        if self.endpoints.is_empty() {
            tracing::warn!(
                "no remote_write endpoint is configured, see /generated for what is made"
            );
        }
        for part in self.loaded.config.memory.parts() {
            tracing::info!(bytes = part.bytes, "memory: {}", part.what);
        }
        tracing::info!("all series are kept in memory: a restart begins anew");
    }

    fn admin(&self) -> Admin {
        Admin {
            registry: self.telemetry.registry.clone(),
            collections: Arc::clone(&self.collections),
            effective_config: self.loaded.effective.clone(),
            multitenancy: self.loaded.config.receiver.multitenancy,
            readiness: Arc::clone(&self.readiness),
        }
    }

    fn pipelines(&self) -> Pipelines {
        Pipelines {
            settings: self.loaded.config.collect.clone(),
            max_ended: match self.loaded.config.ledger.limits.max_active_series {
                0 => usize::MAX,
                max => max,
            },
            send_tenant_id: self.loaded.config.remote_write.send_tenant_id,
            tenants: Arc::clone(&self.tenants),
            collections: Arc::clone(&self.collections),
            endpoints: self.endpoints.clone(),
            clock: Arc::clone(&self.clock),
            telemetry: self.telemetry.clone(),
        }
    }
}

/// Starts a pipeline for each tenant as it appears.
#[derive(Clone)]
struct Pipelines {
    settings: collect::Settings,
    /// Series of a tenant that wait for their end to be sent.
    max_ended: usize,
    send_tenant_id: bool,
    tenants: Arc<Tenants>,
    collections: Arc<Collections>,
    endpoints: Vec<Arc<Endpoint>>,
    clock: Arc<Clock>,
    telemetry: Telemetry,
}

impl Pipelines {
    async fn run(self, mut created: UnboundedReceiver<Arc<Tenant>>, stop: CancellationToken) {
        let mut pipelines = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                tenant = created.recv() => match tenant {
                    Some(tenant) => { pipelines.spawn(self.pipeline(tenant).run(stop.clone())); }
                    None => break,
                },
                () = stop.cancelled() => break,
            }
        }
        // A pipeline ends by itself after `stop`, or by a panic that has been reported.
        while pipelines.join_next().await.is_some() {}
    }

    fn pipeline(&self, tenant: Arc<Tenant>) -> Pipeline {
        let id = tenant.id();
        let sent_id = self.send_tenant_id.then(|| id.clone());
        let open = |endpoint: &Arc<Endpoint>| endpoint.open(sent_id.clone(), self.max_ended);
        Pipeline {
            catalog: self.collections.open(id, &self.settings, self.tenants.bounds()),
            outlets: self.endpoints.iter().map(open).collect(),
            interval: self.settings.collection_interval,
            end_all: self.settings.stale_markers == StaleMarkers::Shutdown,
            clock: Arc::clone(&self.clock),
            telemetry: self.telemetry.clone(),
            tenant,
        }
    }
}

/// One tenant's ticks, on their way to every endpoint.
struct Pipeline {
    tenant: Arc<Tenant>,
    catalog: Arc<Mutex<Catalog>>,
    outlets: Vec<Outlet>,
    interval: Duration,
    end_all: bool,
    clock: Arc<Clock>,
    telemetry: Telemetry,
}

impl Pipeline {
    async fn run(self, stop: CancellationToken) {
        let first = first_tick_after(self.tenant.id(), self.interval);
        let mut ticks = interval_at(tokio::time::Instant::now() + first, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut soon = pin!(sleep(SOON));
        let mut had_soon = first <= SOON;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.hand_over(|now| self.tenant.tick(now)),
                () = &mut soon, if !had_soon => {
                    had_soon = true;
                    self.hand_over(|now| self.tenant.tick(now));
                }
            }
        }
        self.hand_over(|now| self.tenant.last_tick(now));
        if self.end_all {
            self.hand_over(|now| self.tenant.end_all(now));
        }
        let closing: JoinSet<()> = self.outlets.into_iter().map(Outlet::close).collect();
        closing.join_all().await;
    }

    fn hand_over(&self, take: impl FnOnce(Duration) -> Snapshot) {
        let timer = self.telemetry.collection_seconds.start_timer();
        let collected = collect::lock(&self.catalog).collect(take(self.clock.now()));
        timer.observe_duration();
        for outlet in &self.outlets {
            outlet.post(collected.clone());
        }
    }
}
