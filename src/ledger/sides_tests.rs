//! What one batch makes of sides that came before it is bounded, and every side has one end.

use std::time::Duration;

use super::*;
use crate::admission::OVERFLOW;
use crate::batch::{Bounds, Labels, Origin, Range, Role, Table};
use crate::ledger::{Settings, Tenant};
use crate::tenant::TenantId;

const START: Duration = Duration::from_secs(1_000_000);
/// Longer than a side waits.
const LATER: Duration = Duration::from_secs(1_000_011);
const WAITING: u64 = 10_000;
/// What a budget is by default.
const VIRTUAL: u64 = 4096;
const EXPIRED: u64 = 5000;

/// Calls with these numbers, of a peer or of nobody.
fn calls(numbers: std::ops::Range<u64>, peer: &str) -> Batch {
    let mut batch = Batch::default();
    let (service, dimensions) = ("shop", Labels::new(&[]));
    Origin { service, peer, dimensions }.push(&mut batch.origin_text);
    batch.origins.push(Range::of(0, batch.origin_text.len()));
    batch.sides.extend(numbers.map(|n| EdgeSide {
        trace_id: [7; 16],
        meets_at: n.to_be_bytes(),
        span_id: n.to_be_bytes(),
        start_unix_nano: 1,
        end_unix_nano: 2,
        ..EdgeSide::NOBODY
    }));
    batch.tallies.received = batch.sides.len() as u64;
    batch
}

fn tenant(settings: Settings) -> Tenant {
    let bounds = Bounds { span_metrics: Vec::new(), service_graphs: vec![1.0] };
    Tenant::new(TenantId::single(), settings, &bounds, [1, 2, 3, 4])
}

/// A tenant whose store is full of calls that wait.
fn full(peer: &str) -> Tenant {
    let mut settings = Settings::default();
    settings.edges.max_items = usize::try_from(WAITING).expect("few");
    let tenant = tenant(settings);
    tenant.apply(&calls(0..WAITING, peer), START);
    assert_eq!(tenant.counts().sides_pending as u64, WAITING);
    tenant
}

fn ended<const N: usize>(tenant: &Tenant, ends: [End; N]) -> [u64; N] {
    ends.map(|end| tenant.counts().edges.ended(end))
}

fn requests_of(tenant: &Tenant, server: &str) -> u64 {
    let world = tenant.lock();
    let table = world.state.table(Table::EdgeRequests);
    let of_server = |&(slot, _): &(u32, _)| {
        table.labels_of(slot).is_some_and(|labels| labels.get("server") == server)
    };
    let calls = table.live().filter(of_server).map(|(slot, _)| table.values().calls(slot).whole);
    u64::try_from(calls.sum::<u128>()).expect("few")
}

#[test]
fn in_a_full_store_some_others_give_way_to_a_batch_and_then_its_own_sides() {
    let tenant = full("old");
    tenant.apply(&calls(WAITING..2 * WAITING, "new"), START);
    assert_eq!(ended(&tenant, [End::Virtual, End::Evicted]), [WAITING, 0]);
    assert_eq!(requests_of(&tenant, "old"), VIRTUAL);
    assert_eq!(requests_of(&tenant, "new"), WAITING - VIRTUAL);
    assert_eq!(tenant.counts().sides_pending as u64, WAITING);
    // The next batch has its own share.
    tenant.apply(&calls(2 * WAITING..2 * WAITING + 100, "next"), START);
    assert_eq!(requests_of(&tenant, "old"), VIRTUAL + 100);
    // What is still there is found: the first that was left, and the first of the batch.
    for n in [VIRTUAL + 100, WAITING] {
        let mut answer = calls(n..n + 1, "");
        answer.sides[0].role = Role::Server;
        answer.sides[0].span_id = [9; 8];
        tenant.apply(&answer, START);
    }
    assert_eq!(ended(&tenant, [End::Paired]), [4]);
}

#[test]
fn a_side_that_gives_way_and_makes_no_edge_is_evicted() {
    let tenant = full("old");
    tenant.apply(&calls(WAITING..2 * WAITING, ""), START);
    let expected = [VIRTUAL, WAITING - VIRTUAL];
    assert_eq!(ended(&tenant, [End::Virtual, End::Evicted]), expected);
    // Sending those away that make no edge costs little: all may come.
    let tenant = full("");
    tenant.apply(&calls(WAITING..2 * WAITING, "new"), START);
    assert_eq!(ended(&tenant, [End::Virtual, End::Evicted]), [0, WAITING]);
}

#[test]
fn those_that_make_no_edge_give_way_whatever_the_batch_has_done() {
    let mut settings = Settings::default();
    settings.edges.max_items = usize::try_from(WAITING).expect("few");
    let tenant = tenant(settings);
    tenant.apply(&calls(0..VIRTUAL, "old"), START);
    tenant.apply(&calls(VIRTUAL..WAITING, ""), START);
    tenant.apply(&calls(WAITING..2 * WAITING, "new"), START);
    let expected = [VIRTUAL, WAITING - VIRTUAL];
    assert_eq!(ended(&tenant, [End::Virtual, End::Evicted]), expected);
    assert_eq!([requests_of(&tenant, "old"), requests_of(&tenant, "new")], [VIRTUAL, 0]);
}

#[test]
fn a_batch_ends_some_whose_time_is_over_and_the_tick_all() {
    // The store stays full: it remembers those that have become edges. More give way to those that come.
    for (n, of_old, of_new) in [(1, VIRTUAL + 1, 0), (9000, 2 * VIRTUAL, 9000 - VIRTUAL)] {
        let tenant = full("old");
        tenant.apply(&calls(WAITING..WAITING + n, "new"), LATER);
        assert_eq!([requests_of(&tenant, "old"), requests_of(&tenant, "new")], [of_old, of_new]);
        assert_eq!(ended(&tenant, [End::Virtual, End::Evicted]), [of_old + of_new, 0]);
        tenant.tick(LATER);
        assert_eq!([requests_of(&tenant, "old"), requests_of(&tenant, "new")], [WAITING, of_new]);
    }
    // Those that make no edge cost little: as many as come, and some.
    for n in [1, 3000] {
        let tenant = full("");
        tenant.apply(&calls(WAITING..WAITING + n, "new"), LATER);
        assert_eq!(ended(&tenant, [End::Expired, End::Evicted]), [EXPIRED + n, 0]);
        tenant.tick(LATER);
        assert_eq!(ended(&tenant, [End::Expired]), [WAITING]);
    }
}

/// Many that wait in one place end with the one that comes, but not more than a batch may end.
#[test]
fn a_batch_that_has_done_its_share_ends_only_the_first_of_those_that_wait_for_a_call() {
    const ANSWERS: u64 = 50;
    for (others, surplus) in [(5_000, 2 * (ANSWERS - 1)), (60, 60), (0, 0)] {
        let mut settings = Settings::default();
        settings.edges.budget.others = others;
        let tenant = tenant(settings);
        let mut answers = calls(100..100 + 2 * ANSWERS, "");
        for side in &mut answers.sides {
            let call = u64::from_be_bytes(side.span_id) % 2;
            (side.role, side.meets_at) = (Role::Server, call.to_be_bytes());
        }
        tenant.apply(&answers, START);
        assert_eq!(tenant.counts().sides_pending as u64, 2 * ANSWERS);
        tenant.apply(&calls(0..2, ""), START);
        assert_eq!(ended(&tenant, [End::Paired, End::Surplus]), [4, surplus], "{others} others");
        tenant.tick(LATER);
        assert_eq!(ended(&tenant, [End::Expired]), [2 * (ANSWERS - 1) - surplus]);
    }
}

#[test]
fn more_new_edges_than_a_batch_may_have_are_let_in_when_they_come_again() {
    let mut settings = Settings::default();
    settings.edges.budget.new_edges = 3;
    settings.edges.wait = Duration::from_secs(10);
    let tenant = tenant(settings);
    let databases = |first: u64| {
        let mut all = Batch::default();
        for n in 0..5 {
            let one = calls(first + n..first + n + 1, &format!("db-{n}"));
            let start = all.origin_text.len();
            all.origin_text.extend_from_slice(&one.origin_text);
            all.origins.push(Range::of(start, all.origin_text.len()));
            let origin = u32::try_from(n).expect("few");
            all.sides.push(EdgeSide { origin, class: Class::Database, ..one.sides[0] });
        }
        all.tallies.received = 5;
        all
    };
    let of_all = || ["db-0", "db-1", "db-2", "db-3", "db-4"].map(|db| requests_of(&tenant, db));
    tenant.apply(&databases(0), START);
    assert_eq!(of_all(), [1, 1, 1, 0, 0]);
    assert_eq!(requests_of(&tenant, OVERFLOW), 2);
    tenant.apply(&databases(5), START);
    assert_eq!(of_all(), [2, 2, 2, 1, 1]);
    assert_eq!(requests_of(&tenant, OVERFLOW), 2);
    // A tick lets all in that end with it.
    let tenant = full("");
    tenant.lock().settings.edges.budget.new_edges = 0;
    tenant.apply(&calls(0..0, ""), START);
    for n in 0..5 {
        tenant.apply(&calls(WAITING + n..WAITING + n + 1, &format!("db-{n}")), START);
    }
    tenant.tick(LATER);
    assert_eq!((0..5).map(|n| requests_of(&tenant, &format!("db-{n}"))).sum::<u64>(), 5);
}
