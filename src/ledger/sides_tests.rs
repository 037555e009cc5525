//! What one batch makes of sides that came before it is bounded, and every side has one end.

use std::time::Duration;

use super::*;
use crate::batch::{Bounds, Labels, Origin, Range, Role, Table};
use crate::ledger::{Settings, Tenant};
use crate::tenant::TenantId;

const START: Duration = Duration::from_secs(1_000_000);
/// Longer than a side waits.
const LATER: Duration = Duration::from_secs(1_000_011);
const WAITING: u64 = 10_000;

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

/// A tenant whose store is full of calls that wait.
fn full(peer: &str) -> Tenant {
    let mut settings = Settings::default();
    settings.edges.max_items = usize::try_from(WAITING).expect("few");
    settings.edges.wait = Duration::from_secs(10);
    let bounds = Bounds { span_metrics: Vec::new(), service_graphs: vec![1.0] };
    let tenant = Tenant::new(TenantId::single(), settings, &bounds, [1, 2, 3, 4]);
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
    assert_eq!(requests_of(&tenant, "old"), FORCED_MAX);
    assert_eq!(requests_of(&tenant, "new"), WAITING - FORCED_MAX);
    assert_eq!(tenant.counts().sides_pending as u64, WAITING);
    // The next batch has its own share.
    tenant.apply(&calls(2 * WAITING..2 * WAITING + 100, "next"), START);
    assert_eq!(requests_of(&tenant, "old"), FORCED_MAX + 100);
    // What is still there is found: the first that was left, and the first of the batch.
    for n in [FORCED_MAX + 100, WAITING] {
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
    let expected = [FORCED_MAX, WAITING - FORCED_MAX];
    assert_eq!(ended(&tenant, [End::Virtual, End::Evicted]), expected);
    // Sending those away that make no edge costs little: all may come.
    let tenant = full("");
    tenant.apply(&calls(WAITING..2 * WAITING, "new"), START);
    assert_eq!(ended(&tenant, [End::Virtual, End::Evicted]), [0, WAITING]);
}

#[test]
fn a_batch_ends_some_whose_time_is_over_and_the_tick_all() {
    // Of each thousand it is asked whether that was enough.
    for (n, expected) in [(1, 5000), (9000, 5000)] {
        let tenant = full("old");
        tenant.apply(&calls(WAITING..WAITING + n, "new"), LATER);
        assert_eq!(requests_of(&tenant, "old"), expected, "{n} calls");
        tenant.tick(LATER);
        assert_eq!(requests_of(&tenant, "old"), WAITING);
    }
    // Those that make no edge cost little: as many as come, and some.
    for (n, expected) in [(1, 5000), (3000, 8000)] {
        let tenant = full("");
        tenant.apply(&calls(WAITING..WAITING + n, "new"), LATER);
        assert_eq!(ended(&tenant, [End::Expired, End::Evicted]), [expected, 0], "{n} calls");
        tenant.tick(LATER);
        assert_eq!(ended(&tenant, [End::Expired]), [WAITING]);
    }
}
