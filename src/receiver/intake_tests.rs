//! Many send while rules change and the tenant is unloaded again and again: all is counted exactly once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::config;
use crate::ledger::{Event, Naming, Processor, Snapshot, Table, Tenant};
use crate::series::Values;

const SENDERS: usize = 4;
/// Of each sender at least, and then until there were so many of these:
const REQUESTS: usize = 100;
const UNLOADS: u64 = 100;
const RELOADS: u64 = 100;
const SPANS: u64 = 7;
const HOUR: Duration = Duration::from_hours(1);

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn body() -> Vec<u8> {
    let span = |n: u64| Span {
        name: format!("operation-{}", n % 3),
        attributes: vec![attribute("colour", "red")],
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 2_000,
        ..Span::default()
    };
    let scope_spans =
        vec![ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() }];
    let resource =
        Resource { attributes: vec![attribute("service.name", "shop")], ..Resource::default() };
    let resource_spans =
        ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

/// The configuration's defaults, without a time window.
fn settings() -> config::TenantSettings {
    let loaded = config::load(&config::Inputs::default()).expect("the defaults are in order");
    let mut settings = config::TenantSettings::clone(&loaded.tenants.everyone);
    settings.stage.window = None;
    settings
}

/// Every other one has a dimension more, every third other buckets, every seventh an external label.
fn rulebook(settings: &config::TenantSettings, epoch: u64) -> Rulebook {
    let (mut stage, mut ledger) = (settings.stage.clone(), settings.ledger.clone());
    if epoch.is_multiple_of(2) {
        stage.span_metrics.dimensions = vec!["colour".to_owned()];
    }
    if epoch.is_multiple_of(3) {
        stage.span_metrics.histogram_buckets = vec![1.0];
    }
    if epoch.is_multiple_of(7) {
        let label = ("cluster".to_owned(), "eu".to_owned());
        ledger.naming = Naming { external_labels: vec![label], ..Naming::default() }.into();
    }
    let rules = TenantRules {
        plan: Plan::new(&stage, epoch).expect("in order"),
        ledger: ledger::Rules {
            generation: epoch,
            settings: ledger,
            bounds: stage.bounds(),
            made: [true; Table::ALL.len()],
        },
        ingest: IngestLimits::default(),
    };
    Rulebook { epoch, rules: ByTenant::same(rules) }
}

/// What the ticks of all lives of a tenant have told in the end.
#[derive(Default)]
struct Told {
    /// Calls of the label sets that have ended.
    calls: f64,
    /// Observations of the histograms that have ended or begun anew.
    observed: f64,
    living: BTreeSet<u32>,
    previous: Option<Snapshot>,
    n_restarts: u64,
}

impl Told {
    fn take(&mut self, snapshot: Snapshot) {
        let is_later = self.previous.as_ref().is_none_or(|it| it.at_ms < snapshot.at_ms);
        assert!(is_later, "a tick that went back");
        for event in &snapshot.events {
            match event {
                Event::Birth { table: Table::SpanMetrics, slot, .. } => {
                    assert!(self.living.insert(*slot));
                }
                Event::Death { table: Table::SpanMetrics, slot, last } => {
                    assert!(self.living.remove(slot));
                    self.calls += last.calls(0).as_f64();
                    self.observed += observed(last, 0);
                }
                Event::Restart { table: Table::SpanMetrics, .. } => {
                    let as_it_was = self.previous.as_ref().expect("a tick before it");
                    let values = as_it_was.values(Table::SpanMetrics);
                    self.observed +=
                        self.living.iter().map(|&slot| observed(values, slot)).sum::<f64>();
                    self.n_restarts += 1;
                }
                _ => {}
            }
        }
        self.previous = Some(snapshot);
    }
}

fn observed(values: &Values, slot: u32) -> f64 {
    (0..=values.layout().bounds.len()).map(|bucket| values.bucket(slot, bucket).as_f64()).sum()
}

/// Answers how many requests were sent, and how many of them refused. Nothing panics before all have
/// ended: the others would wait for it.
fn send_until(intake: &Intake, seed: usize, done: impl Fn() -> bool) -> (u64, u64) {
    let (id, body) = (TenantId::single(), body());
    let (mut n_requests, mut n_refused) = (0, 0);
    while n_requests < REQUESTS || !done() {
        n_requests += 1;
        n_refused += u64::from(intake.take(&id, &body).is_err());
        // Gaps of all lengths, so that the tenant is found quiet, at any moment of a request.
        (0..seed * n_requests * 7919 % 300).for_each(|_| std::thread::yield_now());
    }
    (n_requests as u64, n_refused)
}

/// Law: every span of a request that was taken is in the totals of exactly one label set, and in the
/// tallies once, whatever happens to the rules and the tenant meanwhile.
#[test]
fn what_comes_during_reloads_and_unloads_is_counted_once() {
    let clock = Arc::new(Clock::default());
    let (sender, mut created) = unbounded_channel();
    let tenants = Arc::new(Tenants::new(1, [1, 2, 3, 4], sender));
    let settings = settings();
    let intake = Intake::new(rulebook(&settings, 1), Arc::clone(&tenants), Arc::clone(&clock));
    let [n_unloaded, n_reloads, n_restarts] = [0, 1, 0].map(AtomicU64::new);
    let n_sending = AtomicUsize::new(SENDERS);
    let so_many = [(&n_unloaded, UNLOADS), (&n_reloads, RELOADS), (&n_restarts, 1)];
    let done = || so_many.iter().all(|(n, least)| n.load(SeqCst) >= *least);
    let send = |seed: usize| {
        let sent = send_until(&intake, seed, done);
        n_sending.fetch_sub(1, SeqCst);
        sent
    };
    let reload = || {
        while n_sending.load(SeqCst) > 0 {
            let n = n_reloads.fetch_add(1, SeqCst) + 1;
            intake.follow(rulebook(&settings, n));
        }
    };
    let mut tick = || {
        let (mut told, mut n_odd, mut ahead) = (Told::default(), 0, HOUR);
        let mut living: Option<Arc<Tenant>> = None;
        loop {
            let last = n_sending.load(SeqCst) == 0;
            while let Ok(tenant) = created.try_recv() {
                n_odd += usize::from(living.is_some());
                living = Some(tenant);
            }
            let Some(tenant) = living.take() else {
                if last {
                    return (told, n_odd);
                }
                std::thread::yield_now();
                continue;
            };
            // Twice, and all that came before the first is stale at the second.
            for _ in 0..2 {
                ahead += HOUR;
                let snapshot = tenant.tick(clock.now() + ahead);
                tenant.taken_before(snapshot.at_ms).into_iter().for_each(|taken| told.take(taken));
                told.take(snapshot);
                n_restarts.store(told.n_restarts, SeqCst);
            }
            match tenants.unload(&tenant, clock.now() + ahead) {
                true => drop(n_unloaded.fetch_add(1, SeqCst)),
                false => living = Some(tenant),
            }
        }
    };
    let (sent, (told, n_odd)) = std::thread::scope(|scope| {
        let mut senders = Vec::new();
        for seed in 1..=SENDERS {
            senders.push(scope.spawn(move || send(seed)));
        }
        let reloads = scope.spawn(reload);
        let ticked = tick();
        reloads.join().expect("no panic");
        let sent = senders.into_iter().map(|sender| sender.join().expect("no panic"));
        (sent.collect::<Vec<_>>(), ticked)
    });
    assert_eq!(n_odd, 0, "two at a time");
    assert!(told.living.is_empty(), "all have ended");
    assert!(sent.iter().all(|(_, n_refused)| *n_refused == 0), "none is refused: {sent:?}");
    let expected = sent.iter().map(|(n_requests, _)| n_requests).sum::<u64>() * SPANS;
    assert_eq!((told.calls, told.observed), (expected as f64, expected as f64));
    let counts = tenants.counts();
    assert_eq!(counts.len(), 1);
    let tallies = counts[0].1.tallies;
    assert_eq!((tallies.received, tallies.counted(Processor::SpanMetrics)), (expected, expected));
}

#[test]
fn a_malformed_request_makes_no_tenant() {
    let (sender, _created) = unbounded_channel();
    let tenants = Arc::new(Tenants::new(1, [1, 2, 3, 4], sender));
    let intake = Intake::new(rulebook(&settings(), 1), Arc::clone(&tenants), Arc::default());
    assert!(intake.take(&TenantId::single(), b"\xff\xff").is_err());
    assert!(tenants.all().is_empty());
}
