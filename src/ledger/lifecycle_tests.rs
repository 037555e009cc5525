//! A tenant begins, follows its settings, goes quiet, is unloaded and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Event, Naming, NotApplied, Rules, Settings, Snapshot, Tenant, Tenants};
use crate::batch::{
    Batch, Bounds, Class, EdgeSide, Labels, Origin, Processor, Range, Role, Row, Table, Total,
    push_label,
};
use crate::edges;
use crate::tenant::TenantId;

const STALE: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(1_700_000_000);

fn rules(generation: u64) -> Rules {
    Rules {
        generation,
        settings: Settings { stale_duration: STALE, ..Settings::default() },
        bounds: Bounds { span_metrics: vec![1.0], service_graphs: vec![1.0] },
        made: [true; Table::ALL.len()],
    }
}

/// One span of a service in each of some tables.
fn batch(generation: u64, service: &str, tables: &[Table]) -> Batch {
    let mut batch = Batch { generation, ..Batch::default() };
    push_label(&mut batch.text, "service", service);
    for &table in tables {
        batch.rows.push(Row {
            table,
            labels: Range::of(0, batch.text.len()),
            spans: 1,
            calls: Total::of(1),
            size: 10,
            latency: Total::of(5),
            buckets: Range::default(),
            exemplars: Range::default(),
        });
    }
    batch.tallies.received = 1;
    batch.tallies.count(Processor::SpanMetrics, 1);
    batch
}

fn id(name: &str) -> TenantId {
    TenantId::parse(name).expect("a tenant")
}

fn side(n: u8) -> EdgeSide {
    EdgeSide {
        trace_id: [n; 16],
        span_id: [n; 8],
        meets_at: [n; 8],
        role: Role::Client,
        class: Class::Plain,
        ..EdgeSide::NOBODY
    }
}

struct Bench {
    tenants: Tenants,
    created: UnboundedReceiver<Arc<Tenant>>,
}

fn bench(max: usize) -> Bench {
    let (sender, created) = unbounded_channel();
    Bench { tenants: Tenants::new(max, [1, 2, 3, 4], sender), created }
}

impl Bench {
    fn tenant(&self, name: &str, now: Duration) -> Arc<Tenant> {
        self.tenants.get_or_create(&id(name), &rules(1), 1, now).expect("there is room")
    }
}

fn deaths(snapshot: &Snapshot) -> Vec<(Table, Total)> {
    let death = |event: &Event| match event {
        Event::Death { table, last, .. } => Some((*table, last.calls(0))),
        Event::Birth { .. } | Event::Restart { .. } => None,
    };
    snapshot.events.iter().filter_map(death).collect()
}

/// Law: what was staged under other settings is not counted, in any part.
#[test]
fn a_batch_of_another_generation_changes_nothing() {
    let bench = bench(0);
    let tenant = bench.tenant("a", START);
    assert_eq!(tenant.try_apply(&batch(1, "x", &[Table::SpanMetrics]), START), Ok(()));
    let before = (tenant.counts(), tenant.lock().state.dump());
    for generation in [0, 2] {
        let other = batch(generation, "x", &[Table::SpanMetrics]);
        assert_eq!(tenant.try_apply(&other, START), Err(NotApplied::OtherSettings));
    }
    assert_eq!((tenant.counts(), tenant.lock().state.dump()), before);
    assert!(tenant.follow(&rules(2), 2, START));
    assert_eq!(tenant.lock().state.dump(), before.1, "a reload changes no state");
    assert_eq!(tenant.try_apply(&batch(2, "x", &[Table::SpanMetrics]), START), Ok(()));
    let snapshot = tenant.tick(START);
    assert_eq!(snapshot.values(Table::SpanMetrics).calls(0), Total::of(2));
    assert_eq!(tenant.counts().live[0], 1, "the same label set goes on");
}

#[test]
fn news_of_an_earlier_reload_are_ignored_even_where_a_generation_comes_back() {
    let bench = bench(0);
    let tenant = bench.tenant("a", START);
    let follows = |generation, epoch| tenant.follow(&rules(generation), epoch, START);
    assert!(follows(2, 3));
    assert!(!follows(1, 2), "that was before");
    assert!(!follows(1, 3), "and this is not what reload 3 said");
    assert!(follows(2, 2), "it is what it follows");
    assert!(follows(1, 4), "the settings that it had at first");
    assert_eq!(tenant.try_apply(&batch(1, "x", &[]), START), Ok(()));
}

#[test]
fn copies_of_settings_follow_and_nothing_is_evicted() {
    let bench = bench(0);
    let tenant = bench.tenant("a", START);
    let sides = |generation, ids: std::ops::RangeInclusive<u8>| {
        let mut batch = Batch { generation, ..Batch::default() };
        let origin = Origin { service: "x", peer: "", dimensions: Labels::new(&[]) };
        origin.push(&mut batch.origin_text);
        batch.origins = vec![Range::of(0, batch.origin_text.len())];
        batch.sides = ids.map(side).collect();
        batch.tallies.received = batch.sides.len() as u64;
        batch
    };
    assert_eq!(tenant.try_apply(&sides(1, 1..=9), START), Ok(()));
    assert_eq!(tenant.counts().sides_pending, 9);
    let mut small = rules(2);
    small.settings.edges = edges::Settings { max_items: 4, ..edges::Settings::default() };
    small.settings.max_exemplars_per_tick = 0;
    assert!(tenant.follow(&small, 2, START));
    assert_eq!(tenant.counts().sides_pending, 9, "lowering a limit evicts nobody");
    let mut left = Vec::new();
    for n in 11..=17 {
        assert_eq!(tenant.try_apply(&sides(2, n..=n), START), Ok(()));
        left.push(tenant.counts().sides_pending);
    }
    assert_eq!(left, [8, 7, 6, 5, 4, 4, 4], "it shrinks as sides come");
}

#[test]
fn what_is_switched_off_ends_at_the_next_tick_and_can_begin_again() {
    let bench = bench(0);
    let tenant = bench.tenant("a", START);
    let tables = [Table::SpanMetrics, Table::HostInfo];
    assert_eq!(tenant.try_apply(&batch(1, "x", &tables), START), Ok(()));
    assert!(deaths(&tenant.tick(START)).is_empty());
    let mut without = rules(2);
    without.made[Table::SpanMetrics as usize] = false;
    tenant.follow(&without, 2, START);
    let after = START + Duration::from_secs(1);
    let snapshot = tenant.tick(after);
    assert_eq!(deaths(&snapshot), [(Table::SpanMetrics, Total::of(1))]);
    assert_eq!(tenant.counts().live[Table::HostInfo as usize], 1);
    assert!(deaths(&tenant.tick(after)).is_empty());
    tenant.follow(&rules(3), 3, after);
    assert_eq!(tenant.try_apply(&batch(3, "x", &tables), after), Ok(()));
    let snapshot = tenant.tick(after);
    assert_eq!(snapshot.values(Table::SpanMetrics).calls(0), Total::of(1), "it begins anew");
}

#[test]
fn a_tenant_is_unloaded_when_it_has_nothing_left_and_has_been_quiet() {
    let bench = bench(0);
    let tenant = bench.tenant("a", START);
    let at = |seconds| START + Duration::from_secs(seconds);
    let unload = |seconds| bench.tenants.unload(&tenant, at(seconds));
    assert_eq!(tenant.try_apply(&batch(1, "x", &[Table::SpanMetrics]), START), Ok(()));
    assert!(!unload(1000), "a label set lives");
    tenant.tick(at(1));
    assert!(!deaths(&tenant.tick(at(1000))).is_empty());
    assert_eq!(tenant.quiet_for(at(1000)), Some(Duration::from_secs(1000)));
    assert_eq!(tenant.try_apply(&batch(1, "x", &[]), at(1000)), Ok(()));
    assert!(!unload(1059), "data came within the stale duration");
    assert!(bench.tenants.get(&id("a")).is_some(), "it is as it was");
    assert_eq!(tenant.try_apply(&batch(1, "y", &[Table::SpanMetrics]), at(1000)), Ok(()));
    tenant.last_tick(at(1001));
    assert!(!unload(1061));
    tenant.end_all(at(1061));
    assert!(unload(1061));
    assert!(bench.tenants.get(&id("a")).is_none());
    assert!(!unload(1062), "once");
    let late = batch(1, "x", &[Table::SpanMetrics]);
    assert_eq!(tenant.try_apply(&late, at(1062)), Err(NotApplied::Retired));
}

#[test]
fn changes_that_no_tick_has_handed_over_keep_a_tenant() {
    let bench = bench(0);
    let tenant = bench.tenant("a", START);
    assert_eq!(tenant.try_apply(&batch(1, "x", &[Table::SpanMetrics]), START), Ok(()));
    let mut world = tenant.lock();
    let death = super::Effect::Death { table: Table::SpanMetrics, slot: 0 };
    world.fold(&death, &mut |_| {});
    drop(world);
    assert_eq!(tenant.quiet_for(START + STALE * 2), None);
    tenant.tick(START + STALE);
    assert_eq!(tenant.quiet_for(START + STALE * 2), Some(STALE * 2));
}

#[test]
fn ticks_that_a_reload_took_keep_a_tenant_until_they_are_handed_over() {
    let bench = bench(0);
    let tenant = bench.tenant("a", START);
    assert_eq!(tenant.try_apply(&batch(1, "x", &[Table::SpanMetrics]), START), Ok(()));
    let mut relabelled = rules(2);
    let external_labels = vec![("cluster".to_owned(), "eu".to_owned())];
    relabelled.settings.naming = Naming { external_labels, ..Naming::default() }.into();
    assert!(tenant.follow(&relabelled, 2, START));
    assert_eq!(tenant.quiet_for(START + STALE * 2), None);
    assert!(!bench.tenants.unload(&tenant, START + STALE * 2));
    let taken = tenant.taken_before(i64::MAX);
    assert_eq!(taken.len(), 2, "all as it was, and its end");
    assert_eq!(deaths(&taken[1]), [(Table::SpanMetrics, Total::of(1))]);
    assert!(bench.tenants.unload(&tenant, START + STALE * 2));
}

/// Law: a tenant that comes back has later ticks than any that it had, and its counts go on.
#[test]
fn who_comes_back_goes_on_after_its_last_tick_with_its_counts() {
    let mut bench = bench(0);
    let ahead = START + Duration::from_hours(5);
    let mut latest = i64::MIN;
    for round in 1..=3_u64 {
        // The clock that tells when data comes may be behind that of the ticks.
        let tenant = bench.tenant("a", START);
        assert!(Arc::ptr_eq(&tenant, &bench.created.try_recv().expect("it is told of")));
        assert_eq!(tenant.try_apply(&batch(1, "x", &[Table::SpanMetrics]), START), Ok(()));
        let first = tenant.tick(START);
        assert!(first.at_ms - 1 > latest, "{} after {latest}", first.at_ms);
        assert_eq!(first.values(Table::SpanMetrics).calls(0), Total::of(1), "it begins anew");
        assert_eq!(tenant.counts().tallies.received, round);
        let each = Settings::default().series_per_set[0] as u64;
        assert_eq!(tenant.counts().series.born, round * each);
        let last = tenant.end_all(if round == 1 { ahead } else { START });
        latest = last.at_ms;
        assert!(bench.tenants.unload(&tenant, ahead));
        let counts = bench.tenants.counts();
        assert_eq!(counts.len(), 1, "they are shown while it is away");
        assert_eq!((counts[0].1.tallies.received, counts[0].1.live[0]), (round, 0));
    }
    // And so does everybody else.
    let other = bench.tenant("b", START);
    assert!(other.tick(START).at_ms > latest);
}

#[test]
fn a_tenant_too_many_is_refused_and_leaves_nothing_until_another_goes() {
    let mut bench = bench(2);
    let (a, _b) = (bench.tenant("a", START), bench.tenant("b", START));
    let refused = bench.tenants.get_or_create(&id("c"), &rules(1), 1, START);
    assert_eq!(
        refused.expect_err("it is the third").to_string(),
        "tenant c is one too many: expected at most limits.max_tenants, 2"
    );
    assert!(bench.tenants.admits(&id("c")).is_err());
    assert!(bench.tenants.admits(&id("a")).is_ok(), "who is known always passes");
    assert_eq!(bench.tenants.all().len(), 2);
    assert!(bench.tenants.unload(&a, START + STALE));
    assert!(bench.tenants.admits(&id("c")).is_ok());
    bench.tenant("c", START);
    assert!(bench.tenants.admits(&id("a")).is_err());
    let names = |bench: &Bench| {
        bench.tenants.counts().into_iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&bench), ["b", "c"], "as many as there may be tenants");
    let told: Vec<_> =
        std::iter::from_fn(|| bench.created.try_recv().ok()).map(|t| t.id().to_string()).collect();
    assert_eq!(told, ["a", "b", "c"]);
}

#[test]
fn of_many_that_come_at_once_exactly_as_many_as_may_be_are_taken() {
    const MAX: usize = 5;
    let bench = bench(MAX);
    let (n_taken, n_refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (bench, n_taken, n_refused) = (&bench, &n_taken, &n_refused);
            scope.spawn(move || {
                for n in 0..50 {
                    let id = id(&format!("t{thread}-{n}"));
                    let counter = match bench.tenants.get_or_create(&id, &rules(1), 1, START) {
                        Ok(_) => n_taken,
                        Err(_) => n_refused,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    assert!(bench.tenants.all().len() <= MAX);
                }
            });
        }
    });
    assert_eq!((n_taken.into_inner(), n_refused.into_inner()), (MAX, 395));
    assert_eq!(bench.tenants.all().len(), MAX);
}
