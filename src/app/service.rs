//! The service: built from the configuration, bound, run, drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver, unbounded_channel};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::pipelines::Pipelines;
use super::reload::{Reloader, hangups};
use crate::admin::{
    Admin, Cardinality, CardinalityMetrics, Readiness, ReloadRequest, TenantMetrics,
};
use crate::budget::Pool;
use crate::clock::Clock;
use crate::collect::Collections;
use crate::config::{Current, InForce, Loaded};
use crate::ledger::{Memory, Tenant, Tenants};
use crate::receiver::{Intake, Listeners};
use crate::remote_write::client::Client;
use crate::remote_write::{Endpoint, EndpointSettings};
use crate::telemetry::Telemetry;
use crate::tenant::TenantId;

/// In-flight requests are answered within this time after the signal to stop.
const INTAKE_DRAIN: Duration = Duration::from_millis(3500);
/// The last ticks are delivered within this time; only an endpoint that hangs needs it all.
const OUTLET_DRAIN: Duration = Duration::from_secs(11);
/// Who asks for a reload beyond these waits for a place in the line.
const RELOADS_MAX: usize = 16;

/// Everything that was built from the configuration; no socket is open yet.
pub struct App {
    current: Current,
    in_force: watch::Sender<Arc<InForce>>,
    telemetry: Telemetry,
    clock: Arc<Clock>,
    tenants: Arc<Tenants>,
    created: UnboundedReceiver<Arc<Tenant>>,
    collections: Arc<Collections>,
    cardinality: Arc<Cardinality>,
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
        let current = Current::new(loaded)?;
        let config = &current.loaded().config;
        let telemetry = Telemetry::new();
        let bound = i64::try_from(config.memory.total).unwrap_or(i64::MAX);
        telemetry.memory_bound_bytes.set(bound);
        let clock = Arc::new(Clock::default());
        let (sender, created) = unbounded_channel();
        let seed = std::array::from_fn(|_| ahash::RandomState::new().hash_one(0));
        let pool = Arc::new(Pool::new(config.memory.series));
        let memory = Arc::new(Memory { pool: Arc::clone(&pool), costs: config.costs });
        let tenants = Tenants::new(config.max_tenants, seed, sender).with_memory(memory);
        let tenants = Arc::new(tenants);
        let rulebook = current.in_force().rulebook();
        let intake = Arc::new(Intake::new(rulebook, Arc::clone(&tenants), Arc::clone(&clock)));
        let mut endpoints = Vec::new();
        let most = config.memory.sent_requests() / config.remote_write.endpoints.len().max(1);
        for settings in &config.remote_write.endpoints {
            let max_shards = settings.max_shards.min(most.max(1));
            let settings = &EndpointSettings { max_shards, ..settings.clone() };
            let client = Client::new(settings, &telemetry, Arc::clone(&clock))
                .with_context(|| format!("remote_write endpoint {}", settings.name))?;
            telemetry.remote_write.begin(&settings.name, settings.send_exemplars, clock.now());
            let (metrics, clock) = (telemetry.remote_write.clone(), Arc::clone(&clock));
            let endpoint = Endpoint::new(settings.clone(), client, metrics, clock);
            endpoints.push(Arc::new(endpoint.with_pool(Arc::clone(&pool))));
        }
        let collections = Arc::<Collections>::default();
        let app = Self {
            cardinality: Cardinality::new(
                Arc::clone(&tenants),
                Arc::clone(&collections),
                config.ledger.stale_duration,
            ),
            telemetry,
            clock,
            tenants,
            created,
            collections,
            intake,
            endpoints,
            readiness: Arc::default(),
            in_force: watch::Sender::new(Arc::clone(current.in_force())),
            current,
        };
        app.register_tenant_metrics()?;
        Ok(app)
    }

    fn register_tenant_metrics(&self) -> anyhow::Result<()> {
        let in_force = self.in_force.subscribe();
        let metrics = TenantMetrics::new(Arc::clone(&self.tenants), move |id: &TenantId| {
            let in_force = Arc::clone(&in_force.borrow());
            in_force.tenants.of(id).processors().collect()
        });
        let cardinality = CardinalityMetrics::new(Arc::clone(&self.cardinality));
        self.telemetry.registry.register(Box::new(cardinality))?;
        Ok(self.telemetry.registry.register(Box::new(metrics))?)
    }

    pub async fn bind(self) -> anyhow::Result<Bound> {
        let config = &self.current.loaded().config;
        let ingest = Arc::clone(&self.intake);
        let listeners = Listeners::bind(&config.receiver).await?.with_ingest_of(ingest);
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

/// What can be read of a service while it runs.
#[derive(Debug, Clone)]
pub struct Reading {
    pub grpc: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// The ticks as they are collected.
    pub collections: Arc<Collections>,
    /// What each tenant has counted.
    pub tenants: Arc<Tenants>,
}

impl Bound {
    pub fn reading(&self) -> Reading {
        Reading {
            grpc: self.listeners.grpc_addr(),
            http: self.listeners.http_addr(),
            admin: self.admin.as_ref().and_then(|listener| listener.local_addr().ok()),
            collections: Arc::clone(&self.app.collections),
            tenants: Arc::clone(&self.app.tenants),
        }
    }

    /// Serves until `stop`, then drains.
    pub async fn run(self, stop: CancellationToken) {
        let Self { app, listeners, admin } = self;
        app.tell(&listeners, admin.as_ref());
        let (reload, reloads) = mpsc::channel(RELOADS_MAX);
        let pipelines = app.pipelines();
        let effective = Arc::new(ArcSwap::from_pointee(app.current.loaded().effective.clone()));
        let shown = app.admin(reload, Arc::clone(&effective));
        let admin = admin.map(|listener| tokio::spawn(shown.serve(listener)));
        let stop_ticks = CancellationToken::new();
        let ticks = tokio::spawn(pipelines.run(app.created, stop_ticks.clone()));
        let reloader = Reloader {
            current: app.current,
            in_force: app.in_force,
            intake: Arc::clone(&app.intake),
            effective,
            readiness: Arc::clone(&app.readiness),
            telemetry: app.telemetry.clone(),
            hangups: hangups(),
        };
        let reloader = tokio::spawn(reloader.run(reloads));
        app.readiness.ready();

        let drained = stop.clone();
        let intake = Arc::clone(&app.intake);
        let serving = tokio::spawn(listeners.run(app.intake, app.telemetry, stop));
        drained.cancelled().await;
        tracing::info!("draining");
        reloader.abort();
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
        for part in self.current.loaded().config.memory.parts() {
            tracing::info!(bytes = part.bytes, "memory: {}", part.what);
        }
        tracing::info!("all series are kept in memory: a restart begins anew");
    }

    fn admin(
        &self,
        reload: mpsc::Sender<ReloadRequest>,
        effective_config: Arc<ArcSwap<String>>,
    ) -> Admin {
        Admin {
            registry: self.telemetry.registry.clone(),
            collections: Arc::clone(&self.collections),
            cardinality: Arc::clone(&self.cardinality),
            effective_config,
            multitenancy: self.current.loaded().config.receiver.multitenancy,
            readiness: Arc::clone(&self.readiness),
            pages: Arc::new(Semaphore::new(1)),
            reload,
        }
    }

    fn pipelines(&self) -> Pipelines {
        Pipelines {
            in_force: self.in_force.subscribe(),
            send_tenant_id: self.current.loaded().config.remote_write.send_tenant_id,
            tenants: Arc::clone(&self.tenants),
            collections: Arc::clone(&self.collections),
            endpoints: self.endpoints.clone(),
            clock: Arc::clone(&self.clock),
            telemetry: self.telemetry.clone(),
        }
    }
}
