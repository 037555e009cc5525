//! Limits, at the ledger: totals stay exact, nobody exceeds what the limits say, and what goes is free.

use std::collections::BTreeMap;

use super::*;
use crate::admission::{Census, Limits, OVERFLOW};
use crate::batch::{EdgeSide, Labels, Limited, Processor, Range, Row, Total, push_label};
use crate::budget::Pool;
use crate::edges::End;
use crate::ledger::{Costs, Event};
use proptest::prelude::*;

const START: Duration = Duration::from_secs(1_000_000);
const STALE: Duration = Duration::from_secs(100);
/// Of a label set of the span metrics, with the bounds below.
const SERIES: usize = 4;

/// A row of span metrics: service, name, kind, status, spans.
type Spans = (u8, u16, u8, u8, u64);

fn labels_of((service, name, kind, status, _): Spans) -> Vec<u8> {
    let mut text = Vec::new();
    let kind = if kind == 0 { "99".to_owned() } else { "SPAN_KIND_SERVER".to_owned() };
    for (label, value) in [
        ("route", format!("/{name}")),
        ("service", format!("s{service}")),
        ("span_kind", kind),
        ("span_name", format!("GET /{name}")),
        ("status_code", ["STATUS_CODE_UNSET", "STATUS_CODE_ERROR"][usize::from(status)].to_owned()),
    ] {
        push_label(&mut text, label, &value);
    }
    text
}

fn row(batch: &mut Batch, table: Table, labels: &[u8], spans: u64) {
    let start = batch.text.len();
    batch.text.extend_from_slice(labels);
    batch.rows.push(Row {
        table,
        labels: Range::of(start, batch.text.len()),
        spans,
        calls: Total::of(spans),
        size: 10 * spans,
        latency: Total::of(spans),
        buckets: Range::default(),
        exemplars: Range::default(),
    });
}

/// Rows of one batch have distinct label sets.
fn batch(rows: &[Spans]) -> Batch {
    let mut sums = BTreeMap::new();
    for spans in rows {
        *sums.entry(labels_of(*spans)).or_default() += spans.4;
    }
    let mut batch = Batch::default();
    sums.iter().for_each(|(labels, n)| row(&mut batch, Table::SpanMetrics, labels, *n));
    let n = sums.values().sum();
    batch.tallies.received = n;
    batch.tallies.count(Processor::SpanMetrics, n);
    batch
}

/// A tenant, and the totals that somebody who gets every tick has.
struct Watched {
    tenant: Tenant,
    memory: Arc<Memory>,
    now: Duration,
    live: BTreeMap<(Table, u32), Vec<u8>>,
    ended: BTreeMap<(Table, Vec<u8>), u64>,
    newest: Option<Snapshot>,
}

impl Watched {
    fn new(limits: Limits, pool: usize) -> Self {
        Self::with_edges(limits, pool, edges::Settings::default())
    }

    fn with_edges(limits: Limits, pool: usize, edges: edges::Settings) -> Self {
        let settings = Settings {
            stale_duration: STALE,
            limits,
            edges,
            series_per_set: [SERIES, 1, 1, 1, 1, 3, 3, 3, 1],
            ..Settings::default()
        };
        let bounds = Bounds { span_metrics: vec![1.0], service_graphs: vec![1.0] };
        let memory = Arc::new(Memory { pool: Arc::new(Pool::new(pool)), costs: Costs::default() });
        let shared = Arc::clone(&memory);
        let tenant =
            Tenant::with_memory(TenantId::single(), settings, &bounds, [1, 2, 3, 4], shared);
        let (live, ended) = (BTreeMap::new(), BTreeMap::new());
        Self { tenant, memory, now: START, live, ended, newest: None }
    }

    fn send(&mut self, rows: &[Spans]) -> &mut Self {
        self.tenant.apply(&batch(rows), self.now);
        self
    }

    fn tick(&mut self) -> &mut Self {
        let snapshot = self.tenant.tick(self.now);
        for event in &snapshot.events {
            match event {
                Event::Birth { table, slot, labels } => {
                    assert!(self.live.insert((*table, *slot), labels.to_vec()).is_none());
                }
                Event::Death { table, slot, last } => {
                    let labels = self.live.remove(&(*table, *slot)).expect("it lived");
                    let n = u64::try_from(last.calls(0).whole).expect("few");
                    *self.ended.entry((*table, labels)).or_default() += n;
                }
                Event::Restart { .. } => panic!("nothing is reloaded here"),
            }
        }
        self.newest = Some(snapshot);
        self
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    /// Spans by label set, of those that live and those that have ended.
    fn totals(&mut self, table: Table) -> BTreeMap<Vec<u8>, u64> {
        self.tick();
        let ended = self.ended.iter().filter(|((t, _), _)| *t == table);
        let mut totals: BTreeMap<Vec<u8>, u64> =
            ended.map(|((_, labels), n)| (labels.clone(), *n)).collect();
        let newest = self.newest.as_ref().expect("a tick was taken");
        for ((t, slot), labels) in &self.live {
            if *t == table {
                let n = newest.values(table).calls(*slot).whole;
                *totals.entry(labels.clone()).or_default() += u64::try_from(n).expect("few");
            }
        }
        totals
    }

    /// Spans by some of the labels.
    fn by(&mut self, names: &[&str]) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (labels, n) in self.totals(Table::SpanMetrics) {
            let key = names.iter().map(|name| Labels::new(&labels).get(name).to_owned());
            *sums.entry(key.collect::<Vec<_>>().join(" ")).or_default() += n;
        }
        sums
    }

    fn limited(&self, limit: Limited) -> u64 {
        self.tenant.counts().tallies.limited(Processor::SpanMetrics, limit)
    }

    fn census<T>(&self, look: impl FnOnce(&Census) -> T) -> T {
        look(self.tenant.lock().state.census())
    }
}

/// What was sent, by service and status.
fn sent(all: &[Vec<Spans>]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (service, _, _, status, n) in all.iter().flatten() {
        let status = ["STATUS_CODE_UNSET", "STATUS_CODE_ERROR"][usize::from(*status)];
        *sums.entry(format!("s{service} {status}")).or_default() += n;
    }
    sums
}

fn limits() -> impl Strategy<Value = Limits> {
    let some = |max: usize| prop_oneof![1 => Just(0_usize), 3 => 1..max];
    (some(200), some(60), some(40), some(8), some(12), prop_oneof![Just(0_usize), 500..8000_usize])
        .prop_map(|(series, of_service, entities, services, values, bytes)| Limits {
            max_active_series: series,
            guaranteed_series_per_service: Limits::default_guarantee(series, services),
            max_active_series_per_service: of_service,
            max_active_entities: entities,
            max_services: services,
            max_edges: 0,
            max_cardinality_per_label: values,
            max_label_bytes: bytes,
        })
}

fn batches() -> impl Strategy<Value = Vec<Vec<Spans>>> {
    let spans = (0..12_u8, 0..40_u16, 0..4_u8, 0..2_u8, 1..4_u64);
    prop::collection::vec(prop::collection::vec(spans, 0..12), 1..30)
}

/// Whether a limit that is set is kept.
fn within(n: usize, max: usize) -> bool {
    max == 0 || n <= max
}

proptest! {
    /// forall limits, batches, times: the spans of all label sets are those that were sent, of every
    /// service by status where services are not limited; no limit is exceeded; what was limited is
    /// counted once; memory is charged for what lives, and refunded.
    #[test]
    fn totals_are_exact_and_limits_are_kept(
        limits in limits(),
        batches in batches(),
        waits in prop::collection::vec(prop_oneof![4 => Just(0_u64), 1 => 1..150_u64], 30),
        pool in prop_oneof![Just(usize::MAX), 100_000..400_000_usize],
    ) {
        let mut watched = Watched::new(limits, pool);
        for (rows, wait) in batches.iter().zip(waits) {
            watched.send(rows).wait(wait);
            if wait > 0 {
                watched.tick();
            }
            let (n_series, n_sets, n_services, bytes) = watched.census(|census| {
                (census.n_series(), census.n_sets(), census.n_services(), census.label_bytes())
            });
            prop_assert!(within(n_series, limits.max_active_series), "{n_series} series");
            prop_assert!(within(n_sets, limits.max_active_entities), "{n_sets} label sets");
            prop_assert!(within(n_services, limits.max_services), "{n_services} services");
            prop_assert!(within(bytes, limits.max_label_bytes), "{bytes} bytes");
            for service in 0..12 {
                let name = format!("s{service}");
                let n = watched.census(|census| census.series_of(&name)).unwrap_or_default();
                prop_assert!(within(n, limits.max_active_series_per_service), "{name}: {n}");
            }
            for label in ["route", "span_name"] {
                let n = watched.census(|census| census.label_values().n_values(label));
                prop_assert!(within(n, limits.max_cardinality_per_label), "{label}: {n}");
            }
        }
        let expected = sent(&batches);
        if limits.max_services == 0 && pool == usize::MAX {
            prop_assert_eq!(watched.by(&["service", "status_code"]), expected);
        } else {
            let totals = watched.by(&["service", "status_code"]);
            for (key, n) in &totals {
                let most = expected.get(key).copied().unwrap_or_default();
                prop_assert!(key.starts_with(OVERFLOW) || *n <= most, "{key}: {n} of {most}");
            }
            let by_status = |sums: &BTreeMap<String, u64>| {
                let mut all: BTreeMap<String, u64> = BTreeMap::new();
                for (key, n) in sums {
                    let status = key.split(' ').nth(1).unwrap_or_default();
                    *all.entry(status.to_owned()).or_default() += n;
                }
                all
            };
            prop_assert_eq!(by_status(&totals), by_status(&expected));
        }
        let in_overflow: u64 = watched
            .totals(Table::SpanMetrics)
            .iter()
            .filter(|(labels, _)| {
                let is_overflow = |(name, value)| name == "metric_overflow" || value == OVERFLOW;
                Labels::new(labels).iter().any(is_overflow)
            })
            .map(|(_, n)| n)
            .sum();
        let limited: u64 = Limited::ALL.iter().map(|&limit| watched.limited(limit)).sum();
        // Rows that find an overflow set as their own name (a limit on values) are known from then on.
        prop_assert!(limited <= in_overflow, "{limited} of {in_overflow}");
        watched.wait(10_000).tick().wait(10).tick().wait(10).tick();
        prop_assert_eq!(watched.tenant.counts().live, [0; Table::ALL.len()]);
        let gone = watched.census(|c| (c.n_series(), c.n_sets(), c.n_services(), c.n_shared_series()));
        prop_assert_eq!(gone, (0, 0, 0, 0));
        prop_assert_eq!(watched.census(Census::label_bytes), 0);
        prop_assert!(!watched.census(|census| census.knows("s0")));
        prop_assert_eq!(watched.tenant.lock().charged_sets, 0);
        let Watched { tenant, memory, .. } = watched;
        drop(tenant);
        prop_assert_eq!(memory.pool.used(), 0);
    }
}

fn span(service: u8, name: u16) -> Spans {
    (service, name, 1, 0, 1)
}

fn twice(service: u8, name: u16) -> Spans {
    (service, name, 1, 0, 2)
}

#[test]
fn a_service_beyond_its_limit_overflows_alone_and_keeps_its_errors() {
    let limits = Limits { max_active_series_per_service: 2 * SERIES, ..Limits::none() };
    let mut watched = Watched::new(limits, usize::MAX);
    watched.send(&[twice(0, 1), twice(0, 2)]);
    watched.send(&[(0, 3, 1, 1, 5), (0, 4, 0, 0, 7), twice(1, 3), twice(0, 1)]);
    let sums = watched.by(&["service", "span_name", "span_kind", "status_code"]);
    let has = |key: &str, n: u64| assert_eq!(sums.get(key), Some(&n), "{key}: {sums:?}");
    has("s0 GET /1 SPAN_KIND_SERVER STATUS_CODE_UNSET", 4);
    has("s0  SPAN_KIND_SERVER STATUS_CODE_ERROR", 5);
    has(&format!("s0  {OVERFLOW} STATUS_CODE_UNSET"), 7);
    has("s1 GET /3 SPAN_KIND_SERVER STATUS_CODE_UNSET", 2);
    assert_eq!(watched.limited(Limited::MaxActiveSeriesPerService), 12);
}

#[test]
fn a_service_has_its_guaranteed_series_whatever_others_take() {
    let limits = Limits {
        max_active_series: 40 * SERIES,
        max_services: 4,
        guaranteed_series_per_service: 5 * SERIES,
        ..Limits::none()
    };
    let mut watched = Watched::new(limits, usize::MAX);
    let flood: Vec<Spans> = (0..100).map(|name| twice(0, name)).collect();
    watched.send(&flood);
    // Of 40 label sets 20 are kept for four services.
    assert_eq!(watched.census(|census| census.series_of("s0")), Some(25 * SERIES));
    assert_eq!(watched.limited(Limited::MaxActiveSeries), 2 * 75);
    for service in 1..4 {
        let own: Vec<Spans> = (0..6).map(|name| span(service, name)).collect();
        watched.send(&own);
        let name = format!("s{service}");
        assert_eq!(watched.census(|census| census.series_of(&name)), Some(5 * SERIES), "{name}");
    }
    // One-shot sets within the guaranteed part are not on probation, beyond it they are.
    assert_eq!(watched.limited(Limited::Probation), 3);
    watched.send(&[span(7, 1)]);
    assert_eq!(watched.by(&["service"]).get(OVERFLOW), Some(&1));
    assert_eq!(watched.limited(Limited::MaxServices) + watched.limited(Limited::Probation), 4);
}

/// Law: what a service has for itself is not on probation, whichever other limit is near.
#[test]
fn within_its_guaranteed_part_a_service_is_not_on_probation() {
    let limits = Limits {
        max_active_series: 1000 * SERIES,
        max_services: 4,
        guaranteed_series_per_service: 5 * SERIES,
        max_active_entities: 20,
        ..Limits::none()
    };
    let mut watched = Watched::new(limits, usize::MAX);
    watched.send(&(0..17).map(|name| twice(0, name)).collect::<Vec<_>>());
    watched.send(&[span(1, 0), span(1, 1)]).send(&[span(0, 18)]);
    assert_eq!(watched.census(|census| census.series_of("s1")), Some(2 * SERIES));
    assert_eq!(watched.limited(Limited::Probation), 1, "s0 has its part");
}

#[test]
fn under_pressure_a_label_set_comes_in_with_two_spans_or_the_second_time() {
    let limits = Limits { max_active_series: 10 * SERIES, ..Limits::none() };
    let mut watched = Watched::new(limits, usize::MAX);
    watched.send(&(0..8).map(|name| span(0, name)).collect::<Vec<_>>());
    assert_eq!(watched.census(Census::n_sets), 8);
    watched.send(&[span(0, 8)]);
    assert_eq!(watched.census(Census::n_sets), 8, "sighted");
    watched.wait(61).send(&[span(0, 8)]);
    assert_eq!(watched.census(Census::n_sets), 8, "too long ago");
    watched.wait(60).send(&[span(0, 8)]);
    assert_eq!(watched.census(Census::n_sets), 9);
    watched.send(&[twice(0, 9)]);
    assert_eq!(watched.census(Census::n_sets), 10);
    assert_eq!(watched.limited(Limited::Probation), 2);
    watched.send(&[twice(0, 10)]);
    assert_eq!(watched.limited(Limited::MaxActiveSeries), 2);
    // The sets that are quiet go, and their slots are free.
    watched.tick().wait(50).tick().send(&[span(0, 9)]);
    watched.wait(60).tick().send(&[twice(0, 10)]);
    assert_eq!(watched.census(Census::n_sets), 2);
    assert_eq!(watched.limited(Limited::MaxActiveSeries), 2);
}

#[test]
fn lowering_a_limit_or_a_flood_throws_nobody_out() {
    let limits = Limits { max_active_series: 20 * SERIES, ..Limits::none() };
    let mut watched = Watched::new(limits, usize::MAX);
    let own: Vec<Spans> = (0..5).map(|name| span(1, name)).collect();
    watched.send(&own);
    for n in 0..200 {
        watched.send(&(0..50).map(|i| span(0, 50 * n + i)).collect::<Vec<_>>());
    }
    watched.send(&own);
    let sums = watched.by(&["service", "span_name"]);
    (0..5).for_each(|name| assert_eq!(sums[&format!("s1 GET /{name}")], 2));
    let of_flood: u64 = sums.iter().filter(|(key, _)| key.starts_with("s0")).map(|(_, n)| n).sum();
    assert_eq!(of_flood, 10_000);
    assert!(watched.census(Census::n_sets) <= 17, "one-shot sets stay below the pressure");
}

#[test]
fn info_gauges_beyond_a_limit_are_not_emitted_and_counted() {
    let limits = Limits { max_active_series: 2, ..Limits::none() };
    let watched = Watched::new(limits, usize::MAX);
    let mut infos = Batch::default();
    for host in 0..5 {
        let mut labels = Vec::new();
        push_label(&mut labels, "grafana_host_id", &format!("host-{host}"));
        row(&mut infos, Table::HostInfo, &labels, 0);
        row(&mut infos, Table::TargetInfo, &labels, 0);
    }
    watched.tenant.apply(&infos, START);
    watched.tenant.apply(&infos, START);
    let counts = watched.tenant.counts();
    assert_eq!(counts.live[Table::HostInfo as usize] + counts.live[Table::TargetInfo as usize], 2);
    let limited = Processor::ALL.map(|p| counts.tallies.limited(p, Limited::Info));
    assert_eq!(limited, [9, 8, 0]);
}

#[test]
fn memory_alone_bounds_a_flood_and_the_sum_of_all_is_exact() {
    let limits = Limits::none();
    let pool = 2 << 20;
    let mut watched = Watched::new(limits, pool);
    for n in 0..500_u16 {
        let rows: Vec<Spans> = (0..40).map(|i| twice((i % 7) as u8, 40 * n + i)).collect();
        watched.send(&rows);
        assert!(watched.memory.pool.used() <= pool, "{}", watched.memory.pool.used());
    }
    let sums = watched.by(&["service"]);
    assert_eq!(sums.values().sum::<u64>(), 500 * 40 * 2);
    assert_eq!(sums["s6"], 500 * 5 * 2, "{sums:?}");
    assert!(watched.limited(Limited::Memory) > 20_000);
}

/// Rows of one edge: requests, and as seen by its client.
/// What has no room even as a sum of all is charged, and refunded when it goes.
#[test]
fn where_nothing_fits_the_sum_of_all_is_held_and_its_charge_returns() {
    let mut watched = Watched::new(Limits::none(), 1);
    watched.send(&[span(0, 0), span(1, 1)]).tick();
    assert_eq!(watched.by(&["service"]), BTreeMap::from([(OVERFLOW.to_owned(), 2)]));
    watched.wait(61).tick().tick();
    assert_eq!(watched.totals(Table::SpanMetrics).len(), 1, "it has ended");
    let memory = Arc::clone(&watched.memory);
    drop(watched);
    assert_eq!(memory.pool.used(), 0);
}

fn edge(batch: &mut Batch, client: &str, server: &str, dimension: &str) {
    let mut labels = Vec::new();
    for (name, value) in [("client", client), ("region", dimension), ("server", server)] {
        push_label(&mut labels, name, value);
    }
    row(batch, Table::EdgeRequests, &labels, 1);
    row(batch, Table::EdgeClient, &labels, 1);
}

#[test]
fn edges_beyond_the_limit_keep_who_called_and_enter_whole() {
    let limits = Limits { max_edges: 10, ..Limits::none() };
    let mut watched = Watched::new(limits, usize::MAX);
    let mut edges = Batch::default();
    for n in 0..30 {
        edge(&mut edges, "shop", &format!("db-{n}"), "eu");
    }
    edge(&mut edges, "stranger", "db-1", "eu");
    watched.tenant.apply(&edges, START);
    watched.tenant.apply(&edges, START);
    for table in [Table::EdgeRequests, Table::EdgeClient] {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (labels, n) in watched.totals(table) {
            let labels = Labels::new(&labels);
            let key = [labels.get("client"), labels.get("server"), labels.get("region")];
            *sums.entry(key.join(" ")).or_default() += n;
        }
        let n_own = sums.iter().filter(|(key, _)| key.ends_with("eu")).count();
        assert!((8..=10).contains(&n_own), "{sums:?}");
        let total: u64 = sums.values().sum();
        assert_eq!(total, 62);
        let of_shop: u64 =
            sums.iter().filter(|(key, _)| key.starts_with("shop ")).map(|(_, n)| n).sum();
        assert_eq!(of_shop, 60);
        assert_eq!(sums[&format!("{OVERFLOW} {OVERFLOW} ")], 2);
    }
    assert!(watched.census(Census::n_edges) <= 10);
    assert_eq!(watched.census(Census::n_series), watched.census(Census::n_edges) * 8);
}

/// Sides that nobody answers, each with a peer of its own.
fn sides(first: u64, n: u64, peer: usize) -> Batch {
    let mut batch = Batch::default();
    for (origin, id) in (0..).zip(first..first + n) {
        let start = batch.origin_text.len();
        let peer = format!("{id:0peer$}");
        let (service, dimensions) = (["shop", "cart"][(id % 2) as usize], Labels::new(&[]));
        crate::batch::Origin { service, peer: &peer, dimensions }.push(&mut batch.origin_text);
        batch.origins.push(Range::of(start, batch.origin_text.len()));
        batch.sides.push(EdgeSide {
            trace_id: [7; 16],
            meets_at: id.to_be_bytes(),
            span_id: id.to_be_bytes(),
            start_unix_nano: 1,
            end_unix_nano: 2,
            origin,
            ..EdgeSide::NOBODY
        });
    }
    // Some of the origins come again in the same request.
    let again: Vec<EdgeSide> = (0..n / 4)
        .map(|i| EdgeSide {
            meets_at: (first + n + i).to_be_bytes(),
            span_id: (first + n + i).to_be_bytes(),
            trace_id: [8; 16],
            ..batch.sides[usize::try_from(i * 3).expect("few")]
        })
        .collect();
    batch.sides.extend(again);
    batch.tallies.received = batch.sides.len() as u64;
    batch
}

#[test]
fn sides_give_way_where_memory_is_short_and_every_one_has_its_end() {
    let pool = 3 << 20;
    for peer in [1, 2000] {
        let limits = Limits { max_edges: 100, ..Limits::none() };
        let mut watched = Watched::new(limits, pool);
        for n in 0..40 {
            watched.tenant.apply(&sides(n * 1000, 1000, peer), START);
            let used = watched.memory.pool.used();
            // What is kept from batch to batch is given up where that is too much.
            assert!(used <= pool + (256 << 10), "{used} bytes after {n} with peers of {peer}");
        }
        let counts = watched.tenant.counts();
        let ended = counts.edges.ended(End::Virtual) + counts.edges.ended(End::Evicted);
        assert_eq!(ended + counts.sides_pending as u64, 50_000);
        assert!(counts.sides_pending > 100, "{} wait", counts.sides_pending);
        watched.wait(1000).tick().wait(1000).tick();
        let sums = watched.totals(Table::EdgeRequests);
        assert_eq!(sums.values().sum::<u64>(), 50_000, "peers of {peer}");
        let of = |client: &str| -> u64 {
            let own = |labels: &[u8]| Labels::new(labels).get("client") == client;
            sums.iter().filter(|(labels, _)| own(labels)).map(|(_, n)| n).sum()
        };
        assert_eq!(of("shop") + of("cart"), 50_000);
    }
}

/// A batch may send so many away for the text of its origins; then its own sides give way.
#[test]
fn where_memory_is_short_sides_that_may_send_nobody_away_become_edges_at_once() {
    let pool = 3 << 20;
    let budget = edges::Budget { virtual_edges: 50, ..edges::Budget::default() };
    let edges = edges::Settings { budget, ..edges::Settings::default() };
    let limits = Limits { max_edges: 100, ..Limits::none() };
    let watched = Watched::with_edges(limits, pool, edges);
    for n in 0..40 {
        let before = watched.tenant.counts();
        watched.tenant.apply(&sides(n * 1000, 1000, 2000), START);
        let counts = watched.tenant.counts();
        let charged = watched.tenant.lock().charged_sides;
        // Besides its part a little, and the text of one batch while it is there.
        assert!(charged <= pool / 16 * 6 + (3 << 20), "{charged} bytes after {n}");
        let (n_before, n_after) = (before.sides_pending, counts.sides_pending);
        assert!(n_after + 50 >= n_before, "{n_before} waited, then {n_after}");
    }
    let counts = watched.tenant.counts();
    let ended = [End::Virtual, End::Evicted].map(|end| counts.edges.ended(end));
    assert_eq!(ended, [50_000 - counts.sides_pending as u64, 0]);
}

/// Sides that share an origin leave no room for text when they go: a batch sends few of them away for it.
#[test]
fn a_batch_that_finds_no_room_for_text_does_not_empty_the_store() {
    let budget = edges::Budget { others: 50, ..edges::Budget::default() };
    let edges = edges::Settings { budget, ..edges::Settings::default() };
    let watched = Watched::with_edges(Limits::none(), 3 << 20, edges);
    let mut shared = sides(0, 1, 1);
    let one = shared.sides[0];
    let of_one = |n: u64| EdgeSide { meets_at: (1 << 40 | n).to_be_bytes(), ..one };
    shared.sides = (0..4000).map(of_one).collect();
    shared.tallies.received = 4000;
    watched.tenant.apply(&shared, START);
    watched.tenant.apply(&sides(10_000, 100, 2000), START);
    let before = watched.tenant.counts().sides_pending;
    watched.tenant.apply(&sides(20_000, 1000, 2000), START);
    let after = watched.tenant.counts().sides_pending;
    // Nor does it let all of its own in.
    assert!(before > 4000 && after + 50 >= before && after <= before + 100, "{before}, {after}");
}

#[test]
fn what_tables_grow_by_is_charged_while_a_batch_grows_them() {
    let pool = 4 << 20;
    let mut watched = Watched::new(Limits::none(), pool);
    let all: Vec<Spans> = (0..12_000).map(|n| (1, n, 1, 0, 2)).collect();
    watched.send(&all);
    let used = watched.memory.pool.used();
    assert!(used > pool / 2 && used <= pool, "{used} bytes of {pool}");
}
