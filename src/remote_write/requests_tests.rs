//! What an endpoint is sent, tick by tick, without a network: births, packing and bytes.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message;

use super::super::births::ENDED_BYTES;
use super::super::proto::{TimeSeries, WriteRequest};
use super::*;
use crate::batch::{Batch, Bounds, Range, Row, Total, push_label};
use crate::budget::Pool;
use crate::collect::{Catalog, Settings, Table};
use crate::ledger::{self, Families, Naming, Tenant};
use crate::tenant::TenantId;

/// Series of a label set: calls, latency count and sum, two buckets.
const SERIES_EACH: usize = 5;
const START_MS: i64 = 1_700_000_000_000;
const INTERVAL_MS: i64 = 15_000;
const MANY: usize = 1_000_000;

/// A tenant whose label sets end at the second tick after their last update, and one endpoint.
struct Bench {
    tenant: Tenant,
    catalog: Catalog,
    births: Births,
    form: Form,
    now_ms: i64,
    collected: Option<Collected>,
    given_up: usize,
}

impl Bench {
    fn new(max_samples: usize) -> Self {
        let families = Families { calls: true, latency: true, size: false };
        let naming = Naming { instance_label: String::new(), families, ..Naming::default() };
        let stale_duration = Duration::from_secs(20);
        let bounds = Bounds { span_metrics: vec![1.0], service_graphs: Vec::new() };
        let of_ledger = ledger::Settings {
            stale_duration,
            max_exemplars_per_tick: 0,
            naming: naming.into(),
            ..Default::default()
        };
        let id = TenantId::single();
        Self {
            catalog: Catalog::new(&Settings::default(), &id),
            tenant: Tenant::new(id, of_ledger, &bounds, [1, 2, 3, 4]),
            births: Births::new(Arc::from([])),
            form: Form { max_samples, send_exemplars: true },
            now_ms: START_MS,
            collected: None,
            given_up: 0,
        }
    }

    fn add(&self, services: impl IntoIterator<Item = String>) {
        for service in services {
            let mut text = Vec::new();
            push_label(&mut text, "service", &service);
            let row = Row {
                table: Table::SpanMetrics,
                labels: Range::of(0, text.len()),
                spans: 1,
                calls: Total::of(1),
                size: 0,
                latency: Total::of(1),
                buckets: Range::default(),
                exemplars: Range::default(),
            };
            let batch = Batch { text, rows: vec![row], ..Batch::default() };
            self.tenant.apply(&batch, since_epoch(self.now_ms + 1000));
        }
    }

    /// What the next tick has to send.
    fn tick(&mut self) -> Plan {
        self.now_ms += INTERVAL_MS;
        let collected = self.catalog.collect(self.tenant.tick(since_epoch(self.now_ms)));
        self.given_up += self.births.apply(&collected);
        let plan = pack(&self.births, &collected, &self.form);
        self.collected = Some(collected);
        plan
    }

    fn sent(&self, request: &Request, zeros: Zeros) -> Vec<TimeSeries> {
        let collected = self.collected.as_ref().expect("a tick was taken");
        let mut out = Vec::new();
        let contents = encode(&self.births, collected, request, zeros, &self.form, &mut out);
        let sent = WriteRequest::decode(&*out).expect("a request").timeseries;
        assert_eq!(contents.n_samples, sent.iter().map(|s| s.samples.len()).sum::<usize>());
        sent
    }

    /// Timestamps of every series, and its service.
    fn times(&self, request: &Request, zeros: Zeros) -> Vec<(String, Vec<i64>)> {
        let times = |s: &TimeSeries| s.samples.iter().map(|s| s.timestamp - START_MS).collect();
        self.sent(request, zeros).iter().map(|s| (service(s), times(s))).collect()
    }

    fn accept(&mut self, request: &Request) {
        self.births.accepted(request.units(), self.now_ms);
    }

    fn accept_all(&mut self, plan: &Plan) {
        plan.ended.iter().chain(&plan.live).for_each(|request| self.accept(request));
    }
}

fn since_epoch(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).expect("after 1970"))
}

fn service(series: &TimeSeries) -> String {
    let service = series.labels.iter().find(|label| label.name == "service");
    service.expect("every label set has one").value.clone()
}

fn names(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|n| format!("s{n}"))
}

fn all_have(times: &[(String, Vec<i64>)], expected: &[i64]) {
    assert!(!times.is_empty());
    assert!(times.iter().all(|(_, times)| times == expected), "{times:?}, expected {expected:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_keep_to_their_size_and_label_sets_stay_together(
        max_samples in 1_usize..60,
        n in 1_usize..20,
        unanswered in proptest::collection::vec(any::<bool>(), 20),
        survivors in 0_usize..20,
    ) {
        let mut bench = Bench::new(max_samples);
        bench.add(names(0..n));
        let plan = bench.tick();
        check_sizes(&bench, &plan)?;
        // Some births have no answer, some label sets end, some are new.
        for (request, unanswered) in plan.live.iter().zip(&unanswered) {
            if *unanswered {
                let zero_ms = bench.now_ms - 1;
                bench.births.unknown(request.units(), zero_ms);
            } else {
                bench.accept(request);
            }
        }
        for _ in 0..2 {
            bench.add(names(0..survivors));
            let plan = bench.tick();
            check_sizes(&bench, &plan)?;
        }
    }

    #[test]
    fn halves_are_half_each_and_miss_nothing(
        sizes in proptest::collection::vec(1_usize..30, 1..20),
    ) {
        let items: Vec<Item> = (0..)
            .zip(&sizes)
            .map(|(slot, n)| {
                Item { unit: Unit::Live(Table::SpanMetrics, slot), from: 3, to: 3 + n }
            })
            .collect();
        let each = |items: &[Item]| -> Vec<(Unit, usize)> {
            items.iter().flat_map(|i| (i.from..i.to).map(|series| (i.unit, series))).collect()
        };
        let (left, right) = halves(&items);
        let total: usize = sizes.iter().sum();
        prop_assert_eq!((each(&left).len(), each(&right).len()), (total / 2, total - total / 2));
        prop_assert_eq!([each(&left), each(&right)].concat(), each(&items));
        prop_assert!(left.iter().chain(&right).all(|item| item.from < item.to));
    }
}

fn check_sizes(bench: &Bench, plan: &Plan) -> Result<(), TestCaseError> {
    let mut units = Vec::new();
    for request in plan.ended.iter().chain(&plan.live) {
        let series = bench.sent(request, Zeros::WhereBirthsNeedThem);
        let n_samples: usize = series.iter().map(|series| series.samples.len()).sum();
        let fits = n_samples <= bench.form.max_samples || request.items.len() == 1;
        prop_assert!(fits, "{n_samples} samples of {} label sets", request.items.len());
        prop_assert_eq!(series.len(), request.items.len() * SERIES_EACH);
        units.extend(request.units());
    }
    let mut all: Vec<Unit> = bench.births.units().map(|(unit, _)| unit).collect();
    units.sort_unstable();
    all.sort_unstable();
    prop_assert_eq!(units, all);
    Ok(())
}

#[test]
fn zeros_go_along_until_a_birth_is_accepted() {
    let mut bench = Bench::new(MANY);
    bench.add(names(0..2));
    let plan = bench.tick();
    let zeros = Zeros::WhereBirthsNeedThem;
    all_have(&bench.times(&plan.live[0], zeros), &[14_999, 15_000]);
    // Nothing of it arrived.
    bench.add(names(0..2));
    let plan = bench.tick();
    all_have(&bench.times(&plan.live[0], zeros), &[29_999, 30_000]);
    bench.accept_all(&plan);
    bench.add(names(0..2));
    let plan = bench.tick();
    all_have(&bench.times(&plan.live[0], zeros), &[45_000]);
}

#[test]
fn births_in_doubt_stay_together_and_keep_their_zero() {
    let mut bench = Bench::new(MANY);
    for (n, zero_ms) in [(1, 14_999), (2, 29_999)] {
        bench.add(names(0..n));
        let plan = bench.tick();
        let unsent = plan.live.iter().filter(|request| request.attempt.is_none());
        bench.births.unknown(unsent.flat_map(Request::units), START_MS + zero_ms);
    }
    bench.add(names(0..3));
    let plan = bench.tick();
    let zeros = Zeros::WhereBirthsNeedThem;
    assert_eq!(plan.live.len(), 3, "two groups in doubt, and the new one");
    for (request, (name, zero_ms)) in
        plan.live.iter().zip([("s0", 14_999), ("s1", 29_999), ("s2", 44_999)])
    {
        let times = bench.times(request, zeros);
        assert!(times.iter().all(|(service, _)| service == name), "{times:?}");
        all_have(&times, &[zero_ms, 45_000]);
        all_have(&bench.times(request, Zeros::Without), &[45_000]);
    }
}

#[test]
fn what_has_ended_owes_what_the_endpoint_has_not_got() {
    let mut bench = Bench::new(MANY);
    bench.add(names(0..3));
    let plan = bench.tick();
    let unit = |n: usize| plan.live[0].items[n].unit;
    let (accepted, doubtful) = (unit(0), unit(1));
    bench.births.accepted([accepted].into_iter(), bench.now_ms);
    bench.births.unknown([doubtful].into_iter(), bench.now_ms - 1);
    let plan = bench.tick();
    let zeros = Zeros::WhereBirthsNeedThem;
    let times = |bench: &Bench, zeros| {
        let mut times: Vec<_> = plan.ended.iter().flat_map(|r| bench.times(r, zeros)).collect();
        times.sort();
        times.dedup();
        times
    };
    let owned = |s: &str, times: &[i64]| (s.to_owned(), times.to_vec());
    let expected = [
        owned("s0", &[30_000]),
        owned("s1", &[14_999, 15_000, 30_000]),
        owned("s2", &[14_999, 15_000, 30_000]),
    ];
    assert_eq!(times(&bench, zeros), expected);
    let expected =
        [owned("s0", &[30_000]), owned("s1", &[15_000, 30_000]), owned("s2", &[15_000, 30_000])];
    assert_eq!(times(&bench, Zeros::Without), expected);
    assert!(times(&bench, Zeros::OnlyMarkers).iter().all(|(_, times)| *times == [30_000]));
    assert!(plan.live.is_empty());
    bench.accept_all(&plan);
    assert!(bench.tick().ended.is_empty());
}

#[test]
fn a_label_set_that_comes_back_comes_after_its_end() {
    let mut bench = Bench::new(MANY);
    bench.add(names(0..1));
    bench.tick();
    bench.tick();
    bench.add(names(0..1));
    let plan = bench.tick();
    let (ended, live) = (plan.ended[0].items[0].unit, plan.live[0].items[0].unit);
    assert_eq!(bench.births.predecessor(live), Some(ended));
    assert_eq!(bench.births.units().map(|(unit, _)| unit).collect::<Vec<_>>(), [ended, live]);
    bench.accept(&plan.ended[0]);
    assert_eq!(bench.births.predecessor(live), None);
    // Once more, with both lives unsent.
    bench.tick();
    bench.tick();
    bench.add(names(0..1));
    bench.tick();
    let units: Vec<Unit> = bench.births.units().map(|(unit, _)| unit).collect();
    assert_eq!(bench.births.predecessor(units[1]), Some(units[0]));
    // Each end of it is in a request of its own, to be sent when that of the life before is done.
    bench.tick();
    let ended = bench.tick().ended;
    assert_eq!(ended.iter().map(|request| request.life).collect::<Vec<_>>(), [0, 1]);
    assert!(ended.iter().all(|request| request.items.len() == 1), "{ended:?}");
}

#[test]
fn too_many_ended_series_cost_the_oldest_label_sets_whole() {
    let mut bench = Bench::new(MANY);
    // Of a pool six sixteenths are for what waits.
    bench.births.set_pool(Arc::new(Pool::new(16 * ENDED_BYTES * 7 / 12)));
    for n in 0..10 {
        bench.add(names(n..n + 1));
        let plan = bench.tick();
        let waiting: usize = plan.ended.iter().map(|request| request.items.len()).sum();
        assert!(waiting <= 3, "{waiting} label sets wait");
    }
    let plan = bench.tick();
    let mut services: Vec<String> =
        bench.times(&plan.ended[0], Zeros::WhereBirthsNeedThem).into_iter().map(|t| t.0).collect();
    services.dedup();
    assert_eq!(services, ["s7", "s8", "s9"]);
    // Zero, value and marker of each series.
    assert_eq!(bench.given_up, 7 * 3 * SERIES_EACH);
    // One of the middle is delivered, and makes room for one.
    let middle = plan.ended[0].items[1].unit;
    bench.births.accepted([middle].into_iter(), bench.now_ms);
    bench.add(names(20..21));
    bench.tick();
    bench.tick();
    assert_eq!(bench.given_up, 7 * 3 * SERIES_EACH);
}

#[test]
fn a_series_that_is_left_out_stays_out_until_the_next_birth() {
    let mut bench = Bench::new(MANY);
    bench.add(names(0..2));
    let plan = bench.tick();
    let bad = plan.live[0].items[0].unit;
    bench.births.leave_out(bad, 1);
    let n_sent = |bench: &Bench, requests: &[Request]| -> Vec<usize> {
        requests.iter().map(|r| bench.sent(r, Zeros::WhereBirthsNeedThem).len()).collect()
    };
    assert_eq!(n_sent(&bench, &plan.live), [2 * SERIES_EACH - 1]);
    bench.accept_all(&plan);
    bench.add(names(0..2));
    let plan = bench.tick();
    assert_eq!(n_sent(&bench, &plan.live), [2 * SERIES_EACH - 1]);
    // Its end is not told either; the next birth is.
    let plan = bench.tick();
    assert_eq!(n_sent(&bench, &plan.ended), [2 * SERIES_EACH - 1]);
    bench.accept_all(&plan);
    bench.add(names(0..2));
    let plan = bench.tick();
    assert_eq!(n_sent(&bench, &plan.live), [2 * SERIES_EACH]);
}

#[test]
fn a_series_that_has_begun_gets_no_second_zero() {
    let mut bench = Bench::new(MANY);
    bench.add(names(0..1));
    let plan = bench.tick();
    bench.births.accepted_series(plan.live[0].items[0].unit, 2);
    bench.add(names(0..1));
    let plan = bench.tick();
    let times = bench.times(&plan.live[0], Zeros::WhereBirthsNeedThem);
    let n_samples: Vec<usize> = times.iter().map(|(_, times)| times.len()).collect();
    assert_eq!(n_samples, [2, 2, 1, 2, 2]);
}
