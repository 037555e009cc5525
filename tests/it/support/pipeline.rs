//! One tenant's way from batches to endpoints, in the test's own process: time is the test's to tell,
//! and nothing waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use spanmill::batch::{Batch, Bounds, BucketCount, Exemplar, Range, Row, Table, Total, push_label};
use spanmill::clock::Clock;
use spanmill::collect::{Catalog, Collected, Settings};
use spanmill::ledger::{self, Families, Naming, Rules, Tenant};
use spanmill::remote_write::client::Client;
use spanmill::remote_write::{Endpoint, EndpointSettings, Outlet};
use spanmill::telemetry::{Dropped, Telemetry};
use spanmill::tenant::TenantId;

use super::wait;

pub(crate) const START_MS: i64 = 1_700_000_000_000;
pub(crate) const INTERVAL_MS: i64 = 15_000;
/// Series of one label set of span metrics: calls, latency count and sum, three buckets.
pub(crate) const SERIES_EACH: usize = 6;
const WITHIN: Duration = Duration::from_secs(20);

pub(crate) const CALLS: &str = "traces_spanmetrics_calls_total";

/// A tenant with its outlets.
pub(crate) struct Pipeline {
    tenant: Tenant,
    catalog: Catalog,
    of_ledger: ledger::Settings,
    n_reloads: u64,
    telemetry: Telemetry,
    outlets: Vec<Outlet>,
    names: Vec<String>,
    /// Of the last tick.
    pub(crate) now_ms: i64,
    /// Calls added so far, by service.
    pub(crate) truth: BTreeMap<String, f64>,
}

/// Without pauses between the requests of a tick.
pub(crate) fn collect_settings() -> Settings {
    Settings { collection_interval: Duration::from_micros(1), ..Settings::default() }
}

pub(crate) fn naming() -> Naming {
    Naming {
        instance_label: String::new(),
        instance: "here".to_owned(),
        families: Families { calls: true, latency: true, size: false },
        ..Naming::default()
    }
}

impl Pipeline {
    /// A label set without an update ends at the second tick after its last one.
    pub(crate) fn short_lived(settings: Settings) -> Self {
        Self::new(settings, naming(), Duration::from_secs(20))
    }

    /// Label sets live for as long as the test.
    pub(crate) fn long_lived(settings: Settings) -> Self {
        Self::new(settings, naming(), Duration::from_secs(1_000_000))
    }

    pub(crate) fn new(settings: Settings, naming: Naming, stale_duration: Duration) -> Self {
        let id = TenantId::parse("team-a").expect("a tenant");
        let of_ledger = ledger::Settings {
            stale_duration,
            max_exemplars_per_tick: 100,
            naming: naming.into(),
            ..Default::default()
        };
        Self {
            catalog: Catalog::new(&settings, &id),
            tenant: Tenant::new(id, of_ledger.clone(), &bounds(0), [1, 2, 3, 4]),
            of_ledger,
            n_reloads: 0,
            telemetry: Telemetry::new(),
            outlets: Vec::new(),
            names: Vec::new(),
            now_ms: START_MS,
            truth: BTreeMap::new(),
        }
    }

    pub(crate) fn open(&mut self, settings: EndpointSettings) {
        self.open_for(settings, None);
    }

    /// `tenant`: the id that requests carry.
    pub(crate) fn open_for(&mut self, settings: EndpointSettings, tenant: Option<TenantId>) {
        let clock = Arc::new(Clock::default());
        let client = Client::new(&settings, &self.telemetry, Arc::clone(&clock));
        self.names.push(settings.name.clone());
        let endpoint = Endpoint::new(
            settings,
            client.expect("good settings"),
            self.telemetry.remote_write.clone(),
            clock,
        );
        self.outlets.push(Arc::new(endpoint).open(tenant));
    }

    /// So many spans of half a second of a service, 1 s after the last tick.
    pub(crate) fn add(&mut self, service: &str, n: u64) {
        self.add_span(service, n, None);
    }

    /// With an exemplar of a span that ended then.
    pub(crate) fn add_ended_at(&mut self, service: &str, n: u64, end_ms: i64) {
        self.add_span(service, n, Some(end_ms));
    }

    fn add_span(&mut self, service: &str, n: u64, end_ms: Option<i64>) {
        *self.truth.entry(service.to_owned()).or_default() += n as f64;
        let mut text = Vec::new();
        push_label(&mut text, "service", service);
        let exemplar = end_ms.map(|end_ms| Exemplar {
            bucket: 1,
            trace_id: [7; 16],
            span_id: [8; 8],
            latency_nano: 500_000_000,
            end_unix_nano: u64::try_from(end_ms).expect("after 1970") * 1_000_000,
            error: false,
        });
        let exemplars: Vec<Exemplar> = exemplar.into_iter().collect();
        let row = Row {
            table: Table::SpanMetrics,
            labels: Range::of(0, text.len()),
            spans: n,
            calls: Total::of(n),
            size: 0,
            latency: Total::of(n * 500_000_000),
            buckets: Range::of(0, 1),
            exemplars: Range::of(0, exemplars.len()),
        };
        let buckets = vec![BucketCount { bucket: 1, count: Total::of(n) }];
        let batch = Batch { text, rows: vec![row], buckets, exemplars, ..Batch::default() };
        self.tenant.apply(&batch, since_epoch(self.now_ms + 1000));
    }

    /// A reload with other buckets, and its tick for every endpoint.
    pub(crate) fn restart_histograms(&mut self) {
        self.n_reloads += 1;
        let rules = Rules {
            generation: self.n_reloads,
            settings: self.of_ledger.clone(),
            bounds: bounds(self.n_reloads),
            made: [true; Table::ALL.len()],
        };
        assert!(self.tenant.follow(&rules, self.n_reloads, since_epoch(self.now_ms + 1000)));
        for taken in self.tenant.taken_before(i64::MAX) {
            let collected = self.catalog.collect(taken);
            self.post(&collected);
        }
    }

    /// Hands the next tick to every endpoint.
    pub(crate) fn tick(&mut self) {
        self.now_ms += INTERVAL_MS;
        let snapshot = self.tenant.tick(since_epoch(self.now_ms));
        let collected = self.catalog.collect(snapshot);
        self.post(&collected);
    }

    /// Ends every label set, as at shutdown.
    pub(crate) fn end_all(&mut self) {
        let snapshot = self.tenant.end_all(since_epoch(self.now_ms));
        self.now_ms = snapshot.at_ms;
        let collected = self.catalog.collect(snapshot);
        self.post(&collected);
    }

    fn post(&self, collected: &Collected) {
        self.outlets.iter().for_each(|outlet| outlet.post(collected.clone()));
    }

    /// Until an endpoint has everything up to the last tick.
    pub(crate) async fn delivered(&self, name: &str) {
        let gauge = &self.telemetry.remote_write.highest_sent_timestamp;
        wait::until(&format!("{name} to have the last tick"), WITHIN, async || {
            let sent = gauge.with_label_values(&[name]).get();
            let expected = self.now_ms as f64 / 1000.0;
            if sent == expected { Ok(()) } else { Err(format!("{sent}, expected {expected}")) }
        })
        .await;
    }

    /// A tick that every endpoint gets.
    pub(crate) async fn tick_delivered(&mut self) {
        self.tick();
        for name in &self.names {
            self.delivered(name).await;
        }
    }

    /// Until an endpoint has answered so many requests with a status, or not at all (`error`).
    pub(crate) async fn answered(&self, name: &str, code: &str, at_least: u64) {
        let counter = self.telemetry.remote_write.requests.with_label_values(&[name, code]);
        wait::until(&format!("{at_least} answers {code} of {name}"), WITHIN, async || {
            let n = counter.get();
            if n >= at_least { Ok(()) } else { Err(format!("{n} came")) }
        })
        .await;
    }

    pub(crate) fn dropped(&self, name: &str, reason: Dropped) -> u64 {
        self.telemetry.remote_write.samples_dropped(name, reason).get()
    }

    pub(crate) async fn close(self) {
        let closing = self.outlets.into_iter().map(Outlet::close);
        closing.collect::<tokio::task::JoinSet<()>>().join_all().await;
    }
}

/// Half a second is in the second bucket; every other reload has another bound.
fn bounds(n_reloads: u64) -> Bounds {
    let second = if n_reloads.is_multiple_of(2) { 1.0 } else { 2.0 };
    Bounds { span_metrics: vec![0.1, second], service_graphs: vec![0.1] }
}

fn since_epoch(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).expect("after 1970"))
}
