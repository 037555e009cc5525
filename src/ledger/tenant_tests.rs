//! Determinism: what is decided twice is the same, and effects folded alone give the same state.

use super::*;
use crate::batch::encoding::Decoder;
use crate::batch::{BucketCount, Exemplar, Range, Row, Total, push_label};
use crate::collect;
use crate::edges;
use crate::ledger::{EdgeSeries, Families, Naming, Rules};
use crate::series::Parts;
use proptest::prelude::*;

const SEED: [u64; 4] = [1, 2, 3, 4];
const STALE: Duration = Duration::from_secs(60);
const MAX_EXEMPLARS: usize = 5;

fn settings() -> Settings {
    Settings {
        stale_duration: STALE,
        max_exemplars_per_tick: MAX_EXEMPLARS,
        edge_series: EdgeSeries { messaging_seconds: true, ..EdgeSeries::default() },
        edges: edges::Settings { max_items: 50, ..edges::Settings::default() },
        series_per_set: collect::series_per_set(&Naming::default(), &bounds()),
        ..Settings::default()
    }
}

fn bounds() -> Bounds {
    Bounds { span_metrics: vec![0.1, 1.0, 10.0], service_graphs: vec![0.1, 1.0] }
}

fn tenant(seed: [u64; 4]) -> Tenant {
    Tenant::new(TenantId::single(), settings(), &bounds(), seed)
}

#[derive(Debug, Clone)]
enum Step {
    Apply(Box<Batch>),
    Tick,
    EndAll,
    /// Time goes on, in seconds.
    Wait(u64),
    /// With so many bounds, these names, and what each store may hold.
    Reload(usize, Arc<Naming>, usize),
}

/// One row: which label set, how many spans in which bucket, and its weight's fraction.
fn row() -> impl Strategy<Value = (usize, u8, u64, u32, bool, u64)> {
    (0..3_usize, 0..12_u8, 1..1000_u64, 0..4_u32, any::<bool>(), 0..5_000_000_000_u64)
}

fn batch() -> impl Strategy<Value = Batch> {
    prop::collection::vec(row(), 0..8).prop_map(|rows| {
        let mut batch = Batch::default();
        for (table, set, n, bucket, weighted, latency_nano) in rows {
            let start = batch.text.len();
            push_label(&mut batch.text, "service", &format!("service-{set}"));
            let labels = Range::of(start, batch.text.len());
            let count = Total { whole: n.into(), rest: if weighted { 0.25 } else { 0.0 } };
            let (first_bucket, first_exemplar) = (batch.buckets.len(), batch.exemplars.len());
            let table = Table::ALL[table];
            if table == Table::SpanMetrics {
                batch.buckets.push(BucketCount { bucket, count });
                batch.exemplars.push(Exemplar {
                    bucket,
                    trace_id: [set + 1; 16],
                    span_id: [7; 8],
                    latency_nano,
                    end_unix_nano: latency_nano,
                    error: weighted,
                });
            }
            batch.rows.push(Row {
                table,
                labels,
                spans: n,
                calls: count,
                size: n * 100,
                latency: Total { whole: latency_nano.into(), rest: count.rest },
                buckets: Range::of(first_bucket, batch.buckets.len()),
                exemplars: Range::of(first_exemplar, batch.exemplars.len()),
            });
        }
        batch
    })
}

fn naming() -> impl Strategy<Value = Naming> {
    let labels = prop_oneof![4 => Just(None), 1 => Just(Some(("a".to_owned(), "b".to_owned())))];
    let host_info = prop_oneof![4 => Just("traces_host_info"), 1 => Just("other")];
    (labels, host_info, any::<[bool; 3]>()).prop_map(
        |(labels, host_info, [calls, latency, size])| Naming {
            external_labels: labels.into_iter().collect(),
            host_info_metric_name: host_info.to_owned(),
            families: Families { calls, latency, size },
            ..Naming::default()
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => batch().prop_map(|batch| Step::Apply(Box::new(batch))),
        3 => Just(Step::Tick),
        1 => Just(Step::EndAll),
        3 => (0..90_u64).prop_map(Step::Wait),
        2 => (1..5_usize, naming(), 1..60_usize)
            .prop_map(|(n, naming, max)| Step::Reload(n, naming.into(), max)),
    ];
    prop::collection::vec(step, 0..40)
}

/// A batch that knows no more buckets than there are.
fn staged_under(bounds: &[f64], batch: &Batch) -> Batch {
    let mut batch = batch.clone();
    let last = u32::try_from(bounds.len()).expect("a few");
    batch.buckets.iter_mut().for_each(|bucket| bucket.bucket = bucket.bucket.min(last));
    batch.exemplars.iter_mut().for_each(|exemplar| exemplar.bucket = exemplar.bucket.min(last));
    batch
}

/// Runs the steps; answers the encoded effects and the state at the end.
fn run(seed: [u64; 4], steps: &[Step]) -> (Vec<u8>, Vec<u8>) {
    let tenant = tenant(seed);
    let mut world = tenant.lock();
    let mut now = Duration::from_secs(1_000_000);
    let mut log = Vec::new();
    for step in steps {
        let mut write = |effect: &Effect<'_>| effect.encode(&mut log);
        let at_ms = world.tick_ms(now);
        match step {
            Step::Apply(batch) => {
                let bounds = &world.state.table(Table::SpanMetrics).values().layout().bounds;
                let batch = staged_under(bounds, batch);
                world.apply(&batch, ms(now), &mut write);
            }
            Step::Wait(seconds) => now += Duration::from_secs(*seconds),
            Step::Tick => {
                world.expire_edges(at_ms, &mut write);
                let deaths = decide::deaths(&world.state, &settings(), at_ms);
                world.tick(at_ms, &deaths, &mut write);
            }
            Step::Reload(n, naming, max) => {
                let first = [0.1, 1.0, 10.0, 100.0];
                let bounds = Bounds { span_metrics: first[..*n].into(), ..bounds() };
                let mut settings = settings();
                (settings.edges.max_items, settings.max_exemplars_per_tick) = (*max, *max / 4);
                settings.naming = Arc::clone(naming);
                settings.series_per_set = collect::series_per_set(naming, &bounds);
                world.reload(settings, &bounds, now, &mut write);
                let [span_metrics, edges] = [Table::SpanMetrics, Table::EdgeServer]
                    .map(|table| world.state.table(table).values().layout().bounds.len());
                assert_eq!((span_metrics, edges), (*n, 2));
            }
            Step::EndAll => {
                let deaths: Vec<_> =
                    decide::all_live(&world.state).map(|(t, s, _)| (t, s)).collect();
                world.tick(at_ms, &deaths, &mut write);
            }
        }
    }
    let of_table = |table: Table| {
        world.state.table(table).len() * world.settings.series_per_set[table as usize]
    };
    let living: usize = Table::ALL.map(of_table).iter().sum();
    assert_eq!(world.series.live(), living as u64, "those that began and have not ended");
    (log, world.state.dump())
}

proptest! {
    /// forall steps: decide(steps) == decide(steps), whatever the seed of the hash tables.
    #[test]
    fn the_same_steps_decided_twice_give_the_same_effects(steps in steps()) {
        prop_assert_eq!(run(SEED, &steps), run(SEED, &steps));
        prop_assert_eq!(run(SEED, &steps), run([9, 8, 7, 6], &steps));
    }

    /// forall steps: fold(decode(encode(effects))) == state.
    #[test]
    fn effects_folded_alone_leave_identical_bytes_of_state(steps in steps()) {
        let (log, dump) = run(SEED, &steps);
        let mut state = State::new(&bounds(), &settings(), SEED);
        let mut decoder = Decoder::new(&log);
        while !decoder.is_empty() {
            state.fold(&Effect::decode(&mut decoder).expect("our own encoding"));
        }
        prop_assert_eq!(state.dump(), dump);
    }

    /// forall cuts of a log: an error, never a panic.
    #[test]
    fn a_cut_off_effect_is_an_error(steps in steps(), cut in any::<prop::sample::Index>()) {
        let (log, _) = run(SEED, &steps);
        let mut decoder = Decoder::new(&log[..cut.index(log.len() + 1)]);
        while !decoder.is_empty() && Effect::decode(&mut decoder).is_ok() {}
    }
}

#[test]
fn what_comes_after_a_tick_that_is_ahead_of_the_clock_does_not_end_uncollected() {
    let tenant = tenant(SEED);
    let now = Duration::from_secs(1_000);
    tenant.apply(&one_call("cart"), now);
    (0..2).for_each(|_| drop(tenant.tick(now)));
    tenant.apply(&one_call("cart"), now);
    let next = tenant.tick(now + STALE * 2);
    assert!(next.events.is_empty(), "{:?}", next.events);
    assert_eq!(next.values(Table::SpanMetrics).calls(0), Total::of(2));
}

#[test]
fn what_restarts_begins_from_zero_and_everything_else_stays() {
    let tenant = tenant(SEED);
    let now = Duration::from_secs(1_000);
    tenant.apply(&one_call("cart"), now);
    let rules = |generation, bounds| {
        let made = [true; Table::ALL.len()];
        let series_per_set = collect::series_per_set(&Naming::default(), &bounds);
        Rules { generation, settings: Settings { series_per_set, ..settings() }, bounds, made }
    };
    assert!(tenant.follow(&rules(1, bounds()), 1, now));
    assert_eq!(tenant.taken_before(i64::MAX).len(), 0, "nothing restarts");
    let n_series = tenant.counts().series;
    assert!(tenant.follow(&rules(2, Bounds { span_metrics: vec![5.0], ..bounds() }), 2, now));
    let last = tenant.taken_before(i64::MAX).pop().expect("a histogram restarts");
    let counts = tenant.counts().series;
    assert_eq!((counts.ended, counts.born - n_series.born), (6, 4), "of three bounds, and of one");
    let of = |snapshot: &Snapshot| {
        let values = snapshot.values(Table::SpanMetrics);
        let buckets = [0, 1].map(|bucket| values.bucket(0, bucket));
        [values.calls(0), values.size(0), values.latency(0), buckets[0], buckets[1]]
            .map(|total| total.whole)
    };
    assert_eq!((of(&last), last.events.len()), ([1, 10, 5, 1, 0], 1));
    tenant.apply(&one_call("cart"), now);
    let next = tenant.tick(now);
    assert_eq!(of(&next), [2, 20, 5, 1, 0]);
    let expected = Parts { latency: true, ..Parts::default() };
    let [Event::Restart { table: Table::SpanMetrics, parts, .. }] = next.events[..] else {
        panic!("{:?}", next.events)
    };
    assert_eq!((parts, next.previous_ms), (expected, last.at_ms));
    assert_eq!(tenant.counts().live[0], 1);
}

fn one_call(service: &str) -> Batch {
    let mut batch = Batch::default();
    push_label(&mut batch.text, "service", service);
    batch.buckets.push(BucketCount { bucket: 0, count: Total::of(1) });
    batch.rows.push(Row {
        table: Table::SpanMetrics,
        labels: Range::of(0, batch.text.len()),
        spans: 1,
        calls: Total::of(1),
        size: 10,
        latency: Total::of(5),
        buckets: Range::of(0, 1),
        exemplars: Range::default(),
    });
    batch
}

#[test]
fn a_label_set_ends_at_the_first_tick_after_the_stale_duration_and_comes_back_from_zero() {
    let tenant = tenant(SEED);
    let start = Duration::from_secs(1_000);
    tenant.apply(&one_call("cart"), start);
    assert_eq!(tenant.tick(start + STALE).events.len(), 1, "the birth alone");
    let ended = tenant.tick(start + STALE + Duration::from_millis(10));
    let [Event::Death { last, .. }] = &ended.events[..] else { panic!("{:?}", ended.events) };
    assert_eq!(last.calls(0), Total::of(1));
    tenant.apply(&one_call("cart"), start + STALE * 2);
    let back = tenant.tick(start + STALE * 2);
    let [Event::Birth { table, slot, .. }] = &back.events[..] else { panic!("{:?}", back.events) };
    assert_eq!(back.values(*table).calls(*slot), Total::of(1));
    let counts = tenant.counts();
    let each = settings().series_per_set[0] as u64;
    assert_eq!((counts.series.born, counts.series.ended), (2 * each, each));
    assert_eq!((counts.series.live(), counts.live[0]), (each, 1));
}

#[test]
fn ticks_leave_room_for_a_marker_and_a_zero_even_when_the_clock_stands() {
    let tenant = tenant(SEED);
    let now = Duration::from_secs(1_000);
    let at: Vec<i64> = (0..3).map(|_| tenant.tick(now).at_ms).collect();
    assert_eq!(at, [1_000_000, 1_000_003, 1_000_006]);
}
