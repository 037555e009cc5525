//! Settings change while series live: what endpoints store of it, whatever becomes of the requests.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use prost::Message;

use super::super::encode_v1::STALE;
use super::super::inbox::Inbox;
use super::super::proto::WriteRequest;
use super::super::relabel::{Action, compile_regex};
use super::super::requests::{Form, Plan, Request, Zeros, encode, pack};
use super::*;
use crate::batch::{Batch, Bounds, BucketCount, Buckets, Range, Row, Shape, Total, push_label};
use crate::collect::{Catalog, Settings, Snapshot};
use crate::ledger::{self, Families, Naming, Rules, Tenant};
use crate::tenant::TenantId;

const START_MS: i64 = 1_700_000_000_000;
const INTERVAL_MS: i64 = 15_000;
const STALE_AFTER: Duration = Duration::from_secs(40);
const BOUNDS: [&[f64]; 4] = [&[1.0], &[0.5, 1.0], &[0.25, 2.0], &[]];
const TABLES: [Table; 4] =
    [Table::SpanMetrics, Table::EdgeServer, Table::EdgeRequests, Table::TargetInfo];

/// What a reload says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    span_bounds: usize,
    graph_bounds: usize,
    families: [bool; 3],
    /// An external label's value; 0 = no such label.
    env: u8,
}

const FIRST: Told = Told { span_bounds: 0, graph_bounds: 0, families: [true, true, true], env: 1 };

#[derive(Debug, Clone)]
enum Step {
    /// So many quarters of a span.
    Add {
        table: usize,
        service: u8,
        latency_ms: u32,
        quarters: u32,
    },
    Tick,
    /// So long that label sets end.
    Wait,
    Reload(Told),
}

/// What happens to a request, or to a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    /// It does not get there, and that is known.
    Refused,
    LostWithoutAnswer,
    StoredWithoutAnswer,
    /// The tick is replaced by the next one before it is taken.
    Skipped,
}

/// The samples of each series that an endpoint has stored, with the bits of their values.
type Stored = BTreeMap<String, Vec<(i64, u64)>>;

/// An endpoint, and what a sender knows of it.
struct Endpoint {
    births: Births,
    form: Form,
    inbox: Inbox,
    stored: Stored,
    fates: Vec<Fate>,
    n_requests: usize,
}

/// A tenant, its endpoints, and what each family must sum to.
struct Bench {
    tenant: Tenant,
    catalog: Catalog,
    told: Told,
    n_reloads: u64,
    markers: bool,
    now_ms: i64,
    endpoints: Vec<Endpoint>,
    truth: BTreeMap<String, f64>,
}

fn bounds(told: Told) -> Bounds {
    let of = |n: usize| BOUNDS[n].to_vec();
    Bounds { span_metrics: of(told.span_bounds), service_graphs: of(told.graph_bounds) }
}

fn of_ledger(told: Told) -> ledger::Settings {
    let [calls, latency, size] = told.families;
    let env = (told.env > 0).then(|| ("env".to_owned(), told.env.to_string()));
    let naming = Naming {
        external_labels: env.into_iter().collect(),
        instance_label: String::new(),
        families: Families { calls, latency, size },
        ..Naming::default()
    };
    ledger::Settings { stale_duration: STALE_AFTER, naming: naming.into(), ..Default::default() }
}

impl Endpoint {
    /// `drops_env`: a rule makes the series of all external labels the same ones.
    fn new(max_samples: usize, drops_env: bool, fates: Vec<Fate>) -> Self {
        let mut rule = RelabelConfig::new(Action::LabelDrop);
        rule.regex = compile_regex("env").expect("a pattern");
        let relabel: Vec<RelabelConfig> = drops_env.then_some(rule).into_iter().collect();
        Self {
            births: Births::new(relabel.into()),
            form: Form { max_samples, send_exemplars: false },
            inbox: Inbox::default(),
            stored: Stored::new(),
            fates,
            n_requests: 0,
        }
    }

    fn fate(&mut self) -> Fate {
        self.n_requests += 1;
        let n = self.fates.len().max(1);
        self.fates.get(self.n_requests % n).copied().unwrap_or(Fate::Answered)
    }

    fn post(&mut self, collected: &Collected) {
        self.inbox.post(collected.clone());
        if self.fate() == Fate::Skipped {
            return;
        }
        let collected = self.inbox.take().now_or_never().flatten().expect("it was posted");
        assert_eq!(self.births.apply(&collected), 0, "nothing is given up");
        let Plan { ended, live } = pack(&self.births, &collected, &self.form);
        for mut request in ended.into_iter().chain(live) {
            request.put_in_order(&self.births);
            self.send(&request, &collected);
        }
    }

    /// As a sender does that asks once.
    fn send(&mut self, request: &Request, collected: &Collected) {
        let has_ended = request.units().any(|unit| matches!(unit, Unit::Ended(_)));
        for zeros in [Zeros::WhereBirthsNeedThem, Zeros::Without, Zeros::OnlyMarkers] {
            let mut bytes = Vec::new();
            encode(&self.births, collected, request, zeros, &self.form, &mut bytes);
            let sent = WriteRequest::decode(&*bytes).expect("a request");
            let fate = self.fate();
            let has_stored = match fate {
                Fate::Refused | Fate::LostWithoutAnswer => false,
                _ => self.store(&sent),
            };
            match fate {
                Fate::Refused => return,
                Fate::LostWithoutAnswer | Fate::StoredWithoutAnswer => {
                    return self.births.unknown(request.units(), collected.snapshot.at_ms - 1);
                }
                _ if has_stored => {
                    return self.births.accepted(request.units(), collected.snapshot.at_ms);
                }
                _ => assert!(request.attempt.is_some(), "out of order without doubt: {sent:?}"),
            }
            if zeros == Zeros::Without && !has_ended {
                break;
            }
        }
        panic!("refused for good: {request:?}");
    }

    /// As Prometheus does: all in the order of time, or nothing; the newest sample again is no harm.
    fn store(&mut self, request: &WriteRequest) -> bool {
        let mut stored = self.stored.clone();
        for series in &request.timeseries {
            let labels = series.labels.iter();
            let name: Vec<_> = labels.map(|l| format!("{}={}", l.name, l.value)).collect();
            let samples = stored.entry(name.join(" ")).or_default();
            for sample in &series.samples {
                let sample = (sample.timestamp, sample.value.to_bits());
                if samples.last() == Some(&sample) {
                    continue;
                }
                if samples.last().is_some_and(|last| last.0 >= sample.0) {
                    return false;
                }
                samples.push(sample);
            }
        }
        self.stored = stored;
        true
    }

    /// `increase()` of every series, summed over external labels.
    fn increases(&self) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (name, samples) in &self.stored {
            let labels = name.split(' ').filter(|label| !label.starts_with("env="));
            let sum: &mut f64 = sums.entry(labels.collect::<Vec<_>>().join(" ")).or_default();
            let values = samples.iter().filter(|sample| sample.1 != STALE);
            let values: Vec<f64> = values.map(|sample| f64::from_bits(sample.1)).collect();
            *sum += values
                .windows(2)
                .map(|two| if two[1] < two[0] { two[1] } else { two[1] - two[0] })
                .sum::<f64>();
        }
        sums
    }

    /// A counter begins with a zero, and so it does after a marker; it falls to zero alone, after one.
    fn counters_are_whole(&self, markers: bool) {
        for (name, samples) in self.stored.iter().filter(|(name, _)| !name.contains("_info")) {
            assert_eq!(samples[0].1, 0, "{name} begins with a zero: {samples:?}");
            for two in samples.windows(2) {
                let [before, after] = [two[0].1, two[1].1].map(f64::from_bits);
                let begins = two[0].1 == STALE;
                assert!(!begins || two[1].1 == 0, "{name} after a marker: {samples:?}");
                let falls = !begins && after < before;
                assert!(!falls || !markers && after == 0.0, "{name} falls: {samples:?}");
            }
        }
    }
}

impl Bench {
    fn new(markers: bool, endpoints: Vec<Endpoint>) -> Self {
        let id = TenantId::single();
        let stale_markers = if markers { StaleMarkers::Expiry } else { StaleMarkers::Off };
        Self {
            catalog: Catalog::new(&Settings { stale_markers, ..Settings::default() }, &id),
            tenant: Tenant::new(id, of_ledger(FIRST), &bounds(FIRST), [1, 2, 3, 4]),
            told: FIRST,
            n_reloads: 0,
            markers,
            now_ms: START_MS,
            endpoints,
            truth: BTreeMap::new(),
        }
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.now_ms).expect("after 1970"))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Add { table, service, latency_ms, quarters } => {
                self.add(TABLES[table], service, latency_ms, quarters);
            }
            Step::Tick => {
                self.now_ms += INTERVAL_MS;
                let newest = self.tenant.tick(self.now());
                self.hand_over(newest.at_ms);
                self.post(newest);
            }
            Step::Wait => self.now_ms += 60_000,
            Step::Reload(told) => {
                self.n_reloads += 1;
                let rules = Rules {
                    generation: self.n_reloads,
                    settings: of_ledger(told),
                    bounds: bounds(told),
                    made: [true; Table::ALL.len()],
                };
                assert!(self.tenant.follow(&rules, self.n_reloads, self.now()));
                self.told = told;
                // Every other one is heard of right away, the rest with the next tick.
                if self.n_reloads.is_multiple_of(2) {
                    self.hand_over(i64::MAX);
                }
            }
        }
    }

    /// Ticks that reloads took.
    fn hand_over(&mut self, before_ms: i64) {
        for taken in self.tenant.taken_before(before_ms) {
            self.post(taken);
        }
    }

    fn post(&mut self, snapshot: Snapshot) {
        let collected = self.catalog.collect(snapshot);
        self.endpoints.iter_mut().for_each(|endpoint| endpoint.post(&collected));
    }

    fn add(&mut self, table: Table, service: u8, latency_ms: u32, quarters: u32) {
        let count = Total { whole: (quarters / 4).into(), rest: f64::from(quarters % 4) / 4.0 };
        let mut batch = Batch { generation: self.n_reloads, ..Batch::default() };
        push_label(&mut batch.text, "service", &service.to_string());
        let bounds = bounds(self.told);
        if table.shape() == Shape::Histogram {
            let bucket = Buckets::new(bounds.of(table)).index_of(u64::from(latency_ms) * 1_000_000);
            let bucket = u32::try_from(bucket).expect("a few buckets");
            batch.buckets.push(BucketCount { bucket, count });
        }
        let whole = u128::from(quarters) * u128::from(latency_ms) * 250_000;
        batch.rows.push(Row {
            table,
            labels: Range::of(0, batch.text.len()),
            spans: 1,
            calls: count,
            size: 10,
            latency: Total { whole, rest: 0.0 },
            buckets: Range::of(0, batch.buckets.len()),
            exemplars: Range::default(),
        });
        assert_eq!(self.tenant.try_apply(&batch, self.now()), Ok(()));
        self.expect(table, service, latency_ms, f64::from(quarters) / 4.0);
    }

    fn expect(&mut self, table: Table, service: u8, latency_ms: u32, n: f64) {
        let bounds = bounds(self.told);
        let mut add = |name: &str, le: &str, n: f64| {
            let le = if le.is_empty() { String::new() } else { format!(" le={le}") };
            let name = format!("__name__={name}{le} service={service}");
            *self.truth.entry(name).or_default() += n;
        };
        let seconds = f64::from(latency_ms) / 1000.0;
        let mut histogram = |name: &str| {
            add(&format!("{name}_count"), "", n);
            add(&format!("{name}_sum"), "", n * seconds);
            for bound in bounds.of(table).iter().chain([&f64::INFINITY]) {
                let n = if seconds <= *bound { n } else { 0.0 };
                add(&format!("{name}_bucket"), &le_text(*bound), n);
            }
        };
        let [calls, latency, size] = self.told.families;
        match table {
            Table::EdgeServer => histogram("traces_service_graph_request_server_seconds"),
            Table::EdgeRequests => add("traces_service_graph_request_total", "", n),
            Table::SpanMetrics => {
                if latency {
                    histogram("traces_spanmetrics_latency");
                }
                if calls {
                    add("traces_spanmetrics_calls_total", "", n);
                }
                if size {
                    add("traces_spanmetrics_size_total", "", 10.0);
                }
            }
            _ => {}
        }
    }

    /// With endpoints that answer everything from now on.
    fn settle(&mut self) {
        self.endpoints.iter_mut().for_each(|endpoint| endpoint.fates.clear());
        (0..20).for_each(|_| self.step(&Step::Tick));
    }

    fn check(&self) {
        for endpoint in &self.endpoints {
            assert!(endpoint.births.ended.is_empty(), "nothing waits");
            assert!(endpoint.births.left_out.is_empty() && endpoint.births.begun.is_empty());
            endpoint.counters_are_whole(self.markers);
            let found = endpoint.increases();
            for (name, expected) in &self.truth {
                let found = found.get(name).copied().unwrap_or_default();
                assert!((found - expected).abs() < 1e-6, "{name}: {found}, not {expected}");
            }
            let odd = found.iter().find(|(name, n)| **n != 0.0 && !self.truth.contains_key(*name));
            assert_eq!(odd, None, "nobody observed that");
        }
    }

    /// The samples of one endpoint's series whose name has these parts: ms since the start, and value.
    fn samples(&self, parts: &[&str]) -> Vec<(i64, Option<f64>)> {
        let stored = &self.endpoints[0].stored;
        let mut all = stored.iter().filter(|(name, _)| parts.iter().all(|p| name.contains(p)));
        let (_, samples) = all.next().unwrap_or_else(|| panic!("{parts:?} of {:?}", stored.keys()));
        let value = |bits: u64| (bits != STALE).then(|| f64::from_bits(bits));
        samples.iter().map(|(at_ms, bits)| (at_ms - START_MS, value(*bits))).collect()
    }
}

fn told() -> impl Strategy<Value = Told> {
    let families = prop_oneof![3 => Just([true; 3]), 1 => any::<[bool; 3]>()];
    let env = prop_oneof![3 => Just(1_u8), 1 => 0..3_u8];
    (0..BOUNDS.len(), 0..2_usize, families, env).prop_map(
        |(span_bounds, graph_bounds, families, env)| Told {
            span_bounds,
            graph_bounds,
            families,
            env,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let quarters = prop_oneof![(1..100_u32).prop_map(|n| 4 * n), 1..400_u32];
    let add = (0..TABLES.len(), 0..3_u8, 0..10_u32, quarters);
    prop_oneof![
        6 => add.prop_map(|(table, service, n, quarters)| {
            Step::Add { table, service, latency_ms: n * 250, quarters }
        }),
        5 => Just(Step::Tick),
        1 => Just(Step::Wait),
        3 => told().prop_map(Step::Reload),
    ]
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => Just(Fate::Answered),
        1 => Just(Fate::Refused),
        1 => Just(Fate::LostWithoutAnswer),
        1 => Just(Fate::StoredWithoutAnswer),
        1 => Just(Fate::Skipped),
    ];
    prop::collection::vec(fate, 1..40)
}

fn endpoint() -> impl Strategy<Value = (usize, Vec<Fate>)> {
    (1..80_usize, fates())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// forall steps, fates: an endpoint that answers in the end has counted every observation once.
    #[test]
    fn every_observation_is_counted_once_whatever_is_reloaded(
        steps in prop::collection::vec(step(), 1..40),
        markers in prop::bool::weighted(0.8),
        endpoints in prop::collection::vec(endpoint(), 1..3),
    ) {
        let endpoints = endpoints.into_iter().map(|(n, fates)| Endpoint::new(n, false, fates));
        // Different label sets that a rule makes one are in order only where nothing has to wait.
        let endpoints = endpoints.chain([Endpoint::new(30, true, Vec::new())]);
        let mut bench = Bench::new(markers, endpoints.collect());
        steps.iter().for_each(|step| bench.step(step));
        bench.settle();
        bench.check();
    }
}

fn bench(fates: Vec<Fate>) -> Bench {
    Bench::new(true, vec![Endpoint::new(1_000_000, false, fates)])
}

fn one_span() -> Step {
    Step::Add { table: 0, service: 0, latency_ms: 1000, quarters: 4 }
}

const CALLS: &str = "calls_total";

#[test]
fn a_histogram_with_other_bounds_restarts_and_the_calls_go_on() {
    let mut bench = bench(vec![]);
    for step in [one_span(), Step::Tick, one_span()] {
        bench.step(&step);
    }
    bench.step(&Step::Reload(Told { span_bounds: 2, ..FIRST }));
    for step in [one_span(), Step::Tick, Step::Tick] {
        bench.step(&step);
    }
    let one = Some(1.0);
    let (two, three, zero) = (Some(2.0), Some(3.0), Some(0.0));
    let calls = [(14_999, zero), (15_000, one), (15_003, two), (30_000, three), (45_000, three)];
    assert_eq!(bench.samples(&[CALLS]), calls);
    let restarted = [
        (14_999, zero),
        (15_000, one),
        (15_003, two),
        (29_998, None),
        (29_999, zero),
        (30_000, one),
        (45_000, one),
    ];
    assert_eq!(bench.samples(&["latency_count"]), restarted);
    assert_eq!(bench.samples(&["le=+Inf"]), restarted);
    assert_eq!(bench.samples(&["latency_bucket", "le=1 "]), restarted[..4]);
    assert_eq!(bench.samples(&["latency_bucket", "le=2 "]), restarted[4..]);
    bench.check();
}

#[test]
fn what_restarts_while_nothing_gets_there_is_told_in_full_later() {
    // Posted, and refused: the first tick, the one of each reload, and one after them.
    let mut bench = bench(vec![Fate::Refused]);
    bench.step(&one_span());
    bench.step(&Step::Tick);
    for span_bounds in [1, 0] {
        bench.step(&one_span());
        bench.step(&Step::Reload(Told { span_bounds, ..FIRST }));
    }
    bench.step(&one_span());
    bench.step(&Step::Tick);
    bench.settle();
    let count = bench.samples(&["latency_count"]);
    let times: Vec<i64> = count.iter().map(|sample| sample.0).collect();
    // Three lives: up to the first reload's tick, up to the second's, and what is left.
    let expected = [15_002, 15_003, 15_004, 15_005, 15_006, 29_998];
    assert_eq!(times[..6], expected, "{count:?}");
    assert_eq!(bench.samples(&[CALLS]).first(), Some(&(44_999, Some(0.0))));
    bench.check();
}

#[test]
fn other_labels_begin_from_zero_and_so_do_those_that_come_back() {
    let mut bench = bench(vec![]);
    for env in [1, 2, 1] {
        bench.step(&Step::Reload(Told { env, ..FIRST }));
        bench.step(&one_span());
        bench.step(&Step::Tick);
    }
    bench.step(&Step::Tick);
    let (zero, one) = (Some(0.0), Some(1.0));
    let found = bench.samples(&[CALLS, "env=2"]);
    assert_eq!(found[..2], [(29_999, zero), (30_000, one)]);
    assert_eq!(found.last(), Some(&(30_006, None)));
    let found = bench.samples(&[CALLS, "env=1"]);
    let ends = found.iter().position(|sample| sample.1.is_none()).expect("it ended");
    assert_eq!(found[ends..], [(15_006, None), (44_999, zero), (45_000, one), (60_000, one)]);
    bench.check();
}

#[test]
fn a_label_set_that_ends_at_the_tick_after_a_reload_ends_once() {
    let mut bench = bench(vec![]);
    bench.step(&one_span());
    bench.step(&Step::Tick);
    bench.step(&Step::Reload(Told { span_bounds: 2, ..FIRST }));
    bench.step(&Step::Wait);
    bench.step(&Step::Tick);
    for name in [CALLS, "latency_count", "le=1 "] {
        let ends = bench.samples(&[name]).into_iter().filter(|sample| sample.1.is_none());
        assert_eq!(ends.collect::<Vec<_>>(), [(90_000, None)], "{name}");
    }
    bench.settle();
    bench.check();
}
