//! A flood of sides that nobody answers: good pairs still meet, and every table keeps its bound.

use super::*;
use crate::batch::{Class, EdgeSide, Labels, Origin, Range, Role, push_label};
use crate::edges::{End, StoreSizes};

const MAX_ITEMS: usize = 10_000;
const ARRIVALS: u64 = 1_000_000;
/// Unpaired calls for each good pair.
const UNPAIRED: u64 = 100;
/// Sides of one request.
const TOGETHER: u64 = 1000;
const START: Duration = Duration::from_secs(1_000_000);

/// Who floods.
#[derive(Debug, Clone, Copy)]
struct Flood {
    services: u64,
    /// Arrivals between the halves of a good pair, about.
    distance: u64,
    /// Whether each span of the flood has a peer and a dimension that no other has.
    odd: bool,
    remember_completed: bool,
}

/// One arrival: the number of its service, what it is, and which call it belongs to.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    role: Role,
    call: u64,
    good: bool,
}

/// A fifth of the store: whoever floods, it holds that many.
const NEAR: u64 = MAX_ITEMS as u64 / 5;
/// Further than the store holds: only where the flood's own oldest give way.
const FAR: u64 = 2 * MAX_ITEMS as u64;

/// The n-th arrival: one in 102 is a good call, and one the answer to an old one.
fn arrival(n: u64, distance: u64) -> Arrival {
    let round = UNPAIRED + 2;
    let (call, role) = match n % round {
        0 => (Some(n), Role::Client),
        // The last place before the distance is over.
        1 => ((n - 1).checked_sub(distance / round * round), Role::Server),
        _ => (None, Role::Client),
    };
    Arrival { role, call: call.unwrap_or(n), good: call.is_some() }
}

fn batch(numbers: std::ops::Range<u64>, flood: Flood) -> Batch {
    let mut batch = Batch::default();
    for n in numbers {
        let Arrival { role, call, good } = arrival(n, flood.distance);
        let service = match (good, role) {
            (true, Role::Client) => "shop".to_owned(),
            (true, _) => "cart".to_owned(),
            _ => format!("noise-{}", n % flood.services),
        };
        let (mut peer, mut dimensions) = (String::new(), Vec::new());
        if flood.odd && !good {
            peer = format!("peer-{n}");
            push_label(&mut dimensions, "zone", &n.to_string());
        }
        let start = batch.origin_text.len();
        let dimensions = Labels::new(&dimensions);
        Origin { service: &service, peer: &peer, dimensions }.push(&mut batch.origin_text);
        batch.origins.push(Range::of(start, batch.origin_text.len()));
        let mut trace_id = [1; 16];
        trace_id[8..].copy_from_slice(&call.to_be_bytes());
        batch.sides.push(EdgeSide {
            trace_id,
            meets_at: call.to_be_bytes(),
            span_id: n.to_be_bytes(),
            start_unix_nano: 1,
            end_unix_nano: 2,
            weight: None,
            origin: u32::try_from(batch.origins.len() - 1).expect("few"),
            role,
            class: Class::Plain,
            root: false,
            failed: false,
        });
    }
    batch.tallies.received = batch.sides.len() as u64;
    batch
}

fn sizes(tenant: &Tenant) -> StoreSizes {
    tenant.lock().state.edges().sizes()
}

/// The flood comes, and goes.
fn check(flood: Flood) {
    let mut settings = Settings::default();
    settings.edges.max_items = MAX_ITEMS;
    settings.edges.remember_completed = flood.remember_completed;
    settings.edges.virtual_server = false;
    let bounds = Bounds { span_metrics: Vec::new(), service_graphs: vec![1.0] };
    let tenant = Tenant::new(TenantId::single(), settings, &bounds, [1, 2, 3, 4]);
    for first in (0..ARRIVALS).step_by(usize::try_from(TOGETHER).expect("few")) {
        tenant.apply(&batch(first..first + TOGETHER, flood), START);
        let sizes = sizes(&tenant);
        let (items, together) = (MAX_ITEMS, usize::try_from(TOGETHER).expect("few"));
        assert!(sizes.entries <= items, "{flood:?}: {sizes:?}");
        assert!(sizes.slots <= items, "{flood:?}: {sizes:?}");
        assert!(sizes.index <= 4 * items, "{flood:?}: {sizes:?}");
        assert!(sizes.queue <= 3 * items, "{flood:?}: {sizes:?}");
        assert!(sizes.origins <= items + together, "{flood:?}: {sizes:?}");
        assert!(sizes.services <= items + together, "{flood:?}: {sizes:?}");
        assert!(sizes.unused <= 2 * together, "{flood:?}: {sizes:?}");
    }
    let paired = tenant.counts().edges.ended(End::Paired) / 2;
    let good = (0..ARRIVALS)
        .map(|n| arrival(n, flood.distance))
        .filter(|a| a.good && a.role == Role::Server)
        .count();
    assert!(paired * 100 >= good as u64 * 95, "{flood:?}: {paired} of {good} pairs");
    // A tick finds what is over; another what was remembered of it.
    for later in [1, 2] {
        tenant.tick(START + Duration::from_secs(60 * later));
    }
    let StoreSizes { entries, live_origins, live_services, .. } = sizes(&tenant);
    assert_eq!(entries, 0, "{flood:?}");
    // Some that nobody refers to are kept for the next batch.
    assert!(live_origins < 1024 && live_services <= live_origins, "{flood:?}: {live_origins}");
}

#[test]
fn good_pairs_meet_while_one_service_floods() {
    for remember_completed in [true, false] {
        check(Flood { services: 1, distance: FAR, odd: false, remember_completed });
    }
}

#[test]
fn good_pairs_meet_while_ten_thousand_services_flood() {
    for remember_completed in [true, false] {
        check(Flood { services: 10_000, distance: NEAR, odd: false, remember_completed });
    }
}

#[test]
fn origins_end_with_their_sides_even_if_every_span_has_its_own() {
    for services in [1, 10_000] {
        check(Flood { services, distance: NEAR, odd: true, remember_completed: true });
    }
}

/// One side that waits for long stands at the front, behind it pairs come and go.
#[test]
fn the_queue_stays_short_behind_a_side_that_waits_for_long() {
    let mut settings = Settings::default();
    settings.edges.wait = Duration::from_hours(24);
    settings.edges.remember_completed = false;
    let bounds = Bounds { span_metrics: Vec::new(), service_graphs: vec![1.0] };
    let tenant = Tenant::new(TenantId::single(), settings, &bounds, [1, 2, 3, 4]);
    let flood = Flood { services: 1, distance: NEAR, odd: false, remember_completed: false };
    tenant.apply(&batch(2..3, flood), START);
    let mut pairs = batch(0..1, flood);
    pairs.sides.push(EdgeSide { role: Role::Server, ..pairs.sides[0] });
    pairs.tallies.received = pairs.sides.len() as u64;
    for _ in 0..100_000 {
        tenant.apply(&pairs, START);
    }
    let sizes = sizes(&tenant);
    assert!(sizes.entries == 1 && sizes.slots <= 2 && sizes.queue <= 10_000, "{sizes:?}");
    assert_eq!(tenant.counts().edges.ended(End::Paired), 200_000);
}

/// One request of many calls whose peers differ, with a long label set that is the same for all.
#[test]
fn edges_of_one_request_are_known_within_bounds() {
    let mut settings = Settings::default();
    settings.edges.max_items = 1_000_000;
    let bounds = Bounds { span_metrics: Vec::new(), service_graphs: vec![1.0] };
    let tenant = Tenant::new(TenantId::single(), settings, &bounds, [1, 2, 3, 4]);
    let mut calls = Batch::default();
    for n in 1..=15_000_u64 {
        let caller = n % 2 == 1;
        let (service, peer) = if caller {
            ("shop".to_owned(), n.to_string())
        } else {
            ("x".repeat(2000), String::new())
        };
        let start = calls.origin_text.len();
        let dimensions = Labels::new(&[]);
        Origin { service: &service, peer: &peer, dimensions }.push(&mut calls.origin_text);
        calls.origins.push(Range::of(start, calls.origin_text.len()));
        calls.sides.push(EdgeSide {
            trace_id: [1; 16],
            meets_at: n.div_ceil(2).to_be_bytes(),
            span_id: n.to_be_bytes(),
            start_unix_nano: 1,
            end_unix_nano: 2,
            origin: u32::try_from(n - 1).expect("few"),
            role: if caller { Role::Client } else { Role::Server },
            ..EdgeSide::NOBODY
        });
    }
    calls.tallies.received = calls.sides.len() as u64;
    tenant.apply(&calls, START);
    let (n_known, text) = tenant.lock().edge_rows.n_known();
    assert!(n_known <= 10_000 && text <= 16 << 20, "{n_known} edges, {text} bytes");
    let counts = tenant.counts();
    assert_eq!(counts.edges.ended(End::Paired), 15_000);
    assert_eq!(counts.live[Table::EdgeRequests as usize], 1);
}
