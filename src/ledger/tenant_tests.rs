//! Determinism: what is decided twice is the same, and effects folded alone give the same state.

use super::*;
use crate::batch::encoding::Decoder;
use crate::batch::{BucketCount, Exemplar, Range, Row, Total, push_label};
use crate::edges;
use crate::ledger::EdgeSeries;
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

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => batch().prop_map(|batch| Step::Apply(Box::new(batch))),
        3 => Just(Step::Tick),
        1 => Just(Step::EndAll),
        3 => (0..90_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..40)
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
            Step::Apply(batch) => world.apply(batch, ms(now), &mut write),
            Step::Wait(seconds) => now += Duration::from_secs(*seconds),
            Step::Tick => {
                world.expire_edges(at_ms, &mut write);
                let deaths = decide::deaths(&world.state, &settings(), at_ms);
                world.tick(at_ms, &deaths, &mut write);
            }
            Step::EndAll => {
                let deaths: Vec<_> =
                    decide::all_live(&world.state).map(|(t, s, _)| (t, s)).collect();
                world.tick(at_ms, &deaths, &mut write);
            }
        }
    }
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
    assert_eq!((counts.born[0], counts.ended[0], counts.live[0]), (2, 1, 1));
}

#[test]
fn ticks_are_two_milliseconds_apart_even_when_the_clock_stands() {
    let tenant = tenant(SEED);
    let now = Duration::from_secs(1_000);
    let at: Vec<i64> = (0..3).map(|_| tenant.tick(now).at_ms).collect();
    assert_eq!(at, [1_000_000, 1_000_002, 1_000_004]);
}
