//! What the series' pool is charged is what is held: counted with an allocator of this test's own,
//! which is why it is a binary of its own.
//!
//! Label sets, edges and edge sides go the whole way (state, tick, catalog, endpoint), are all born in
//! one tick, end in one tick. At every moment what is charged is at least what is held, and less than
//! twice as much: with half of it the test would fail.

#![expect(clippy::print_stdout, reason = "a test prints its figures")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spanmill::batch::Bounds;
use spanmill::budget::Pool;
use spanmill::collect::{Catalog, Change, Collected, Snapshot, Table, View, series_per_set};
use spanmill::config::{Inputs, load};
use spanmill::ledger::{Memory, Rules, Settings, Tenant};
use spanmill::remote_write::Offline;
use spanmill::remote_write::proto::{Sample, WriteRequest};
use spanmill::stage::{Plan, Stager};
use spanmill::tenant::TenantId;

const START: Duration = Duration::from_secs(1_800_000_000);
/// Spans of one request.
const TOGETHER: usize = 1000;
/// What an allocator adds to each allocation, about.
const ALLOCATION: i64 = 16;
/// What is there however few label sets there are: scratch of the endpoint's encoder, empty tables.
const FIXED: i64 = 1 << 20;
/// What stays for the next ones, most of it for exemplars.
const KEPT: i64 = 1 << 20;
/// More than what is held may be charged: pieces are charged whole, and not all peaks coincide.
const OVER_MAX: f64 = 1.7;

/// What comes in.
#[derive(Debug, Clone, Copy)]
enum Flood {
    /// Names of spans.
    Spans,
    /// Services with a resource attribute: each has span metrics and an info gauge.
    Infos,
    /// Calls of one service to others, both sides at once.
    Edges,
    /// Calling sides that nobody answers, all of one origin.
    Sides,
    /// The same with an origin each.
    Origins,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    flood: Flood,
    n: usize,
    /// Of the text that tells one from another.
    text_len: usize,
    relabel: bool,
    sets: &'static [&'static str],
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    bytes: i64,
    allocations: i64,
}

struct World {
    case: Case,
    plan: Plan,
    stager: Stager,
    settings: Settings,
    parts: Option<Parts>,
    pool: Arc<Pool>,
    now: Duration,
    held: Held,
    held_max: i64,
    charged_max: i64,
}

/// What is measured.
struct Parts {
    tenant: Tenant,
    catalog: Catalog,
    endpoint: Offline,
    /// Ticks that an endpoint and a reader are slow with, the newest last.
    kept: VecDeque<Collected>,
    /// What somebody reads.
    view: Option<View>,
    n_ticks: usize,
}

const UNLIMITED: [&str; 8] = [
    "limits.memory=64GiB",
    "limits.max_active_series=0",
    "limits.max_services=0",
    "limits.max_edges=0",
    "limits.max_label_bytes=0",
    "processors.ingestion_time_range_slack=0s",
    "processors.service_graphs.max_items=100000000",
    "processors.span_metrics.enable_target_info=true",
];

fn text(value: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) })
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: text(value), ..KeyValue::default() }
}

fn resource(service: &str, own: &str, spans: Vec<Span>) -> ResourceSpans {
    let mut attributes = vec![attribute("service.name", service)];
    if !own.is_empty() {
        attributes.push(attribute("own", own));
    }
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

fn span(n: usize, kind: i32, name: &str) -> Span {
    let mut id = [1; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    let own = u64::try_from(2 * n + 1).expect("few").to_be_bytes();
    let end = u64::try_from(START.as_nanos()).expect("this century");
    Span {
        trace_id: id.to_vec(),
        span_id: own.to_vec(),
        kind,
        name: name.to_owned(),
        start_time_unix_nano: end - 5_000_000,
        end_time_unix_nano: end,
        ..Span::default()
    }
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

impl Case {
    fn request(&self, numbers: std::ops::Range<usize>) -> Vec<u8> {
        let own = |n: usize| format!("{n:0width$}", width = self.text_len);
        let resource_spans = match self.flood {
            Flood::Spans => {
                let spans = numbers.map(|n| span(n, SERVER, &own(n))).collect();
                vec![resource("shop", "", spans)]
            }
            Flood::Infos => numbers
                .map(|n| resource(&format!("s{n}"), &own(n), vec![span(n, SERVER, "GET /")]))
                .collect(),
            Flood::Edges => numbers
                .map(|n| {
                    let call = span(n, CLIENT, "call");
                    let mut answer = span(n, SERVER, "answer");
                    answer.parent_span_id = call.span_id.clone();
                    answer.span_id[0] = 9;
                    (resource("shop", "", vec![call]), resource(&own(n), "", vec![answer]))
                })
                .flat_map(|(call, answer)| [call, answer])
                .collect(),
            Flood::Sides => {
                let spans = numbers.map(|n| span(n, CLIENT, "call")).collect();
                vec![resource("shop", "", spans)]
            }
            Flood::Origins => {
                let with_peer = |n| {
                    let mut span = span(n, CLIENT, "call");
                    span.attributes.push(attribute("region", &own(n)));
                    span
                };
                vec![resource("shop", "", numbers.map(with_peer).collect())]
            }
        };
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }
}

impl World {
    fn new(case: Case) -> Self {
        let endpoint = if case.relabel {
            "remote_write=[{url: 'http://127.0.0.1:1/', write_relabel_configs: [{action: labeldrop, regex: none}]}]"
        } else {
            "remote_write=[{url: 'http://127.0.0.1:1/'}]"
        };
        let sets = UNLIMITED.iter().chain([&endpoint]).chain(case.sets);
        let set = sets.map(|set| (*set).to_owned()).collect();
        let inputs = Inputs { set, ..Inputs::default() };
        let config = load(&inputs).expect("a configuration in order").config;
        let pool = Arc::new(Pool::unbounded());
        let memory = Memory { pool: Arc::clone(&pool), costs: config.costs };
        let bounds = config.stage.bounds();
        let mut world = Self {
            case,
            plan: Plan::new(&config.stage, 1).expect("valid settings"),
            stager: Stager::default(),
            settings: config.ledger.clone(),
            parts: None,
            pool,
            now: START,
            held: Held::default(),
            held_max: 0,
            charged_max: 0,
        };
        let shared = Arc::clone(&world.pool);
        world.phase("nothing", |parts, _| {
            let id = TenantId::single();
            *parts = Some(Parts {
                catalog: Catalog::new(&config.collect, &id),
                tenant: Tenant::with_memory(
                    id,
                    config.ledger.clone(),
                    &bounds,
                    [1, 2, 3, 4],
                    Arc::new(memory),
                ),
                endpoint: Offline::new(
                    &config.remote_write.endpoints[0].write_relabel_configs,
                    200,
                )
                .with_pool(shared),
                kept: VecDeque::new(),
                view: None,
                n_ticks: 0,
            });
        });
        world
    }

    /// What `work` takes and gives back, and what is charged for it.
    fn phase(&mut self, what: &str, work: impl FnOnce(&mut Option<Parts>, Duration)) {
        self.phase_charged(what, |parts, now| {
            work(parts, now);
            0
        });
    }

    /// `work` answers what was charged meanwhile.
    fn phase_charged(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Option<Parts>, Duration) -> usize,
    ) {
        let before = self.charged();
        let mut meanwhile = 0;
        let (parts, now) = (&mut self.parts, self.now);
        let info: AllocationInfo = measure(|| meanwhile = work(parts, now));
        let signed = |n: u64| i64::try_from(n).expect("far below 2^63");
        let meanwhile = i64::try_from(meanwhile).expect("far below 2^63");
        let held = self.held.bytes
            + signed(info.bytes_max)
            + ALLOCATION * (self.held.allocations + signed(info.count_max));
        self.held.bytes += info.bytes_current;
        self.held.allocations += info.count_current;
        let charged = before.max(self.charged()).max(meanwhile);
        assert!(
            charged + FIXED >= held,
            "{:?}: {what}: {held} bytes are held, {charged} are charged",
            self.case
        );
        self.held_max = self.held_max.max(held);
        self.charged_max = self.charged_max.max(charged);
    }

    fn charged(&self) -> i64 {
        i64::try_from(self.pool.used()).expect("far below 2^63")
    }

    fn send(&mut self, numbers: std::ops::Range<usize>) {
        let mut from = numbers.start;
        while from < numbers.end {
            let to = numbers.end.min(from + TOGETHER);
            let body = self.case.request(from..to);
            let mut stager = std::mem::take(&mut self.stager);
            let batch = stager.stage(&self.plan, &body, START).expect("a request in order");
            self.phase("apply", |parts, now| {
                parts.as_ref().expect("made").tenant.apply(batch, now);
            });
            self.stager = stager;
            from = to;
        }
    }

    /// Every histogram restarts, and an endpoint that is down hears of it later.
    fn reload(&mut self, generation: u64) {
        let (settings, naming) = (self.settings.clone(), &self.settings.naming);
        let buckets = vec![1.0; 1 + usize::from(generation.is_multiple_of(2))];
        let bounds = Bounds { span_metrics: buckets.clone(), service_graphs: buckets };
        let settings = Settings { series_per_set: series_per_set(naming, &bounds), ..settings };
        let rules = Rules { generation, settings, bounds, made: [true; Table::ALL.len()] };
        let mut taken = Vec::new();
        let made = &mut taken;
        self.phase("reload", |parts, now| {
            let tenant = &parts.as_ref().expect("made").tenant;
            assert!(tenant.follow(&rules, generation, now));
            *made = tenant.taken_before(i64::MAX);
        });
        for snapshot in taken {
            self.collect(snapshot, "of a reload", true);
        }
    }

    fn tick(&mut self, what: &str) {
        self.now += Duration::from_secs(5);
        let mut snapshot = None;
        let taken = &mut snapshot;
        self.phase(&format!("tick, {what}"), |parts, now| {
            *taken = Some(parts.as_ref().expect("made").tenant.tick(now));
        });
        self.collect(snapshot.expect("taken"), what, false);
    }

    fn collect(&mut self, snapshot: Snapshot, what: &str, is_down: bool) {
        let mut collected = None;
        let made = &mut collected;
        self.phase(&format!("collect, {what}"), |parts, _| {
            *made = Some(parts.as_mut().expect("made").catalog.collect(snapshot));
        });
        let pool = Arc::clone(&self.pool);
        self.phase_charged(&format!("send, {what}"), |parts, _| {
            let parts = parts.as_mut().expect("made");
            let collected = collected.expect("collected");
            let mut charged = 0;
            match is_down {
                true => parts.endpoint.hear(&collected),
                false => {
                    parts.endpoint.send(&collected, |_| charged = pool.used().max(charged));
                }
            }
            parts.kept.push_back(collected);
            if parts.n_ticks.is_multiple_of(3) {
                parts.view = parts.catalog.view();
            }
            parts.n_ticks += 1;
            // The catalog has the newest too; the state and the tick that is made are two more.
            while parts.kept.len() > 2 {
                parts.kept.pop_front();
            }
            charged
        });
    }
}

fn check(case: Case) {
    let mut world = World::new(case);
    let n = case.n;
    world.send(0..n);
    world.tick("all are new");
    world.tick("nothing is new");
    world.send(n..n + n / 2);
    world.tick("half as many more");
    world.tick("nothing is new");
    world.tick("nothing is new");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let over = world.charged_max as f64 / world.held_max as f64;
    let each = |bytes: i64| bytes / i64::try_from(n + n / 2).expect("few");
    println!(
        "{:?} {} of {} bytes, relabelled {}, {:?}: {} bytes each are held, {} are charged, {over:.2} times",
        case.flood,
        n,
        case.text_len,
        case.relabel,
        case.sets,
        each(world.held_max),
        each(world.charged_max),
    );
    let few = n < 10_000;
    assert!(few || over <= OVER_MAX, "{case:?}: {over:.2} times as much is charged");
    for generation in 1..=4 {
        world.reload(generation);
    }
    world.tick("every histogram has restarted");
    world.tick("nothing is new");
    world.now += Duration::from_hours(1);
    world.tick("all have ended");
    // Sides that waited until then have become edges.
    world.now += Duration::from_hours(1);
    world.tick("all have ended");
    for _ in 0..5 {
        world.tick("nothing is there");
    }
    // What is kept to save work is charged, and given up where room is short.
    let kept = KEPT.max(world.charged_max / 4);
    let Held { bytes, .. } = world.held;
    assert!(world.charged() <= kept && bytes <= kept, "{case:?}: {} stay", world.charged());
}

const SPANS: Case =
    Case { flood: Flood::Spans, n: 10_000, text_len: 20, relabel: false, sets: &[] };

#[test]
fn label_sets_cost_what_is_charged() {
    for n in [1000, 10_000, 50_000] {
        check(Case { n, ..SPANS });
    }
    for text_len in [1, 200, 1900] {
        check(Case { text_len, ..SPANS });
    }
}

#[test]
fn relabelled_series_cost_what_is_charged() {
    for text_len in [20, 400] {
        check(Case { relabel: true, text_len, ..SPANS });
    }
}

#[test]
fn label_values_cost_what_is_charged() {
    for text_len in [20, 400] {
        let sets = &["limits.max_cardinality_per_label=100000000"];
        check(Case { text_len, sets, ..SPANS });
    }
}

#[test]
fn services_and_info_gauges_cost_what_is_charged() {
    for text_len in [20, 1000] {
        check(Case { flood: Flood::Infos, text_len, ..SPANS });
    }
}

const GRAPH: &[&str] = &[
    "processors.enabled=[service-graphs]",
    "processors.service_graphs.dimensions=[region]",
    "processors.service_graphs.wait=60s",
];

#[test]
fn edges_cost_what_is_charged() {
    for text_len in [10, 400] {
        check(Case { flood: Flood::Edges, text_len, sets: GRAPH, ..SPANS });
    }
}

#[test]
fn edge_sides_cost_what_is_charged() {
    check(Case { flood: Flood::Sides, n: 50_000, sets: GRAPH, ..SPANS });
    for text_len in [10, 2000] {
        check(Case { flood: Flood::Origins, text_len, sets: GRAPH, ..SPANS });
    }
}

/// Of a day.
const TICKS: usize = 24 * 60;
/// Label sets that come at each tick.
const COME: usize = 40;
/// Different label sets: after them the first ones come again.
const DIFFERENT: usize = 25_000;
/// Calls, latency count and sum, two buckets; the size is off.
const SERIES: u64 = 5;

/// How often each label set has ended, and how many stale markers its series got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ends {
    ended: u64,
    markers: u64,
}

/// Label sets come and go for days: memory stays, slots return, each end is told once.
#[test]
fn memory_is_flat_while_label_sets_come_and_go() {
    let sets = &[
        "processors.enabled=[span-metrics-count,span-metrics-latency]",
        "processors.span_metrics.histogram_buckets=[1]",
        "processors.span_metrics.enable_target_info=false",
        "registry.stale_duration=5m",
    ];
    let days = std::env::var("SPANMILL_DAYS").map_or(2, |days| days.parse().expect("days"));
    let mut world = World::new(Case { sets, ..SPANS });
    let mut ends = vec![Ends::default(); DIFFERENT];
    let mut hours = Vec::new();
    let mut n_slots = 0;
    for tick in 0..days * TICKS {
        let from = tick * COME % DIFFERENT;
        world.send(from..from + COME);
        n_slots = n_slots.max(world.churn(&mut ends));
        if tick % 60 == 59 {
            hours.push((world.charged(), world.held.bytes));
        }
    }
    let n_born = days * TICKS * COME;
    // The first hours fill what is kept.
    let settled = &hours[6..];
    let of = |pick: fn(&(i64, i64)) -> i64| {
        let values: Vec<i64> = settled.iter().map(pick).collect();
        (24.0 * slope(&values), values[0])
    };
    let ((charged, used), (held, live)) = (of(|hour| hour.0), of(|hour| hour.1));
    println!(
        "{days} days, {n_born} label sets: charged {used} bytes, {charged:+.1} a day; \
         held {live} bytes, {held:+.1} a day; {n_slots} slots"
    );
    let flat = 4096.0;
    assert!(charged.abs() < flat, "what is charged grows: {hours:?}");
    assert!(held.abs() < flat, "what is held grows: {hours:?}");
    assert!(n_slots < 10 * COME, "{n_slots} slots for label sets that live 5 minutes");
    for _ in 0..8 {
        world.churn(&mut ends);
    }
    let n_ended: u64 = ends.iter().map(|ends| ends.ended).sum();
    assert_eq!(n_ended, n_born as u64, "all have ended");
    let wrong = ends.iter().position(|ends| ends.markers != SERIES * ends.ended);
    assert_eq!(wrong.map(|n| (n, ends[n])), None, "each series' end is told once");
    assert!(world.charged() <= KEPT && world.held.bytes <= KEPT, "{:?} stay", world.held);
}

impl World {
    /// A minute and its tick. Answers how many slots were in use.
    fn churn(&mut self, ends: &mut [Ends]) -> usize {
        self.now += Duration::from_mins(1);
        let mut n_slots = 0;
        let seen = &mut n_slots;
        self.phase("churn", |parts, now| {
            let parts = parts.as_mut().expect("made");
            let collected = parts.catalog.collect(parts.tenant.tick(now));
            for change in &*collected.changes {
                if let Change::Birth { slot, .. } = change {
                    *seen = (*slot as usize + 1).max(*seen);
                }
            }
            parts.endpoint.send(&collected, |body| count_markers(body, ends));
            parts.kept = VecDeque::from([collected]);
        });
        n_slots
    }
}

fn count_markers(body: &[u8], ends: &mut [Ends]) {
    let raw = snap::raw::Decoder::new().decompress_vec(body).expect("snappy");
    let request = WriteRequest::decode(&*raw).expect("a request");
    for series in request.timeseries {
        let label = |name| {
            let label = series.labels.iter().find(|label| label.name == name);
            label.map(|label| label.value.as_str()).unwrap_or_default()
        };
        let ends = &mut ends[label("span_name").parse::<usize>().expect("a number")];
        let is_marker = |s: &&Sample| s.value.to_bits() == STALE;
        let n = series.samples.iter().filter(is_marker).count() as u64;
        ends.markers += n;
        ends.ended +=
            if label("__name__") == "traces_spanmetrics_calls_total" { n.min(1) } else { 0 };
    }
}

/// Prometheus' stale marker.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// How much a step adds, by least squares.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn slope(values: &[i64]) -> f64 {
    let n = values.len() as f64;
    let mean_x = (n - 1.0) / 2.0;
    let mean_y = values.iter().map(|y| *y as f64).sum::<f64>() / n;
    let of = |x: usize| x as f64 - mean_x;
    let covariance: f64 =
        values.iter().enumerate().map(|(x, y)| of(x) * (*y as f64 - mean_y)).sum();
    covariance / (0..values.len()).map(|x| of(x) * of(x)).sum::<f64>()
}
