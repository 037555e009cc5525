//! The cost of an edge side: time in steady state, with so many sides pending, and memory of each.
//!
//! `cargo bench --bench edges` prints the tables of benches/README.md.

#![expect(clippy::cast_precision_loss, clippy::print_stdout, reason = "a bench prints its table")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use spanmill::batch::{Batch, Class, EdgeSide, Labels, Origin, Range, Role};
use spanmill::edges::{self, Book, Change, Edge, Store};
use spanmill::ledger::{End, Settings, Tenant};
use spanmill::stage::ServiceGraphs;
use spanmill::tenant::TenantId;

const SERVICES: u64 = 50;
/// Calling sides of one batch; as many called ones come with them.
const CALLS_PER_BATCH: u64 = 250;
/// Logical time between two batches.
const BATCH_TIME: Duration = Duration::from_millis(1);
const START: Duration = Duration::from_secs(1_800_000_000);
const ROUNDS: u32 = 7;
const SIDES_PER_ROUND: u64 = 500_000;

fn main() {
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    println!("\n| pending sides | keys remembered | pairing, ns a side | with rows | M sides/s |");
    println!("|---|---|---|---|---|");
    for n_pending in [10_000, 100_000, 1_000_000] {
        for remember in [true, false] {
            time(n_pending, remember);
        }
    }
    println!("\n| pending sides | bytes a side | at most meanwhile |");
    println!("|---|---|---|");
    for n_pending in [10_000, 100_000, 1_000_000] {
        memory(n_pending);
    }
}

/// The store by itself: edges that are complete are counted and forgotten.
struct Alone {
    settings: edges::Settings,
    store: Store,
    work: edges::Work,
    n_edges: u64,
}

impl Alone {
    fn new(settings: edges::Settings) -> Self {
        let store = Store::new(settings.max_items, [1, 2, 3, 4]);
        Self { settings, store, work: edges::Work::default(), n_edges: 0 }
    }

    fn take(&mut self, batch: &Batch, now: Duration) {
        let at_ms = i64::try_from(now.as_millis()).expect("within range");
        while edges::expire(self, at_ms, usize::MAX) > 0 {}
        self.work = edges::Work::default();
        let id = |range: &Range| edges::origin(self, range.slice(&batch.origin_text));
        let origins: Vec<u32> = batch.origins.iter().map(id).collect();
        for sides in batch.sides.chunks(edges::WARM) {
            self.store.warm(sides);
            for side in sides {
                let origin = origins[side.origin as usize];
                edges::arrive(self, EdgeSide { origin, ..*side }, &[], at_ms);
            }
        }
    }
}

impl Book for Alone {
    fn settings(&self) -> &edges::Settings {
        &self.settings
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn change(&mut self, change: Change<'_>) {
        self.store.apply(change);
    }

    fn complete(&mut self, edge: &Edge) {
        black_box(edge);
        self.n_edges += 1;
    }

    fn end(&mut self, _: End) {}

    fn work(&mut self) -> &mut edges::Work {
        &mut self.work
    }

    fn links_dropped(&mut self) {}
}

/// Calls that are answered so many calls later.
struct Traffic {
    batch: Batch,
    alone: Alone,
    tenant: Tenant,
    n_calls: u64,
    n_pending: u64,
    now: Duration,
}

impl Traffic {
    fn new(n_pending: u64, remember_completed: bool) -> Self {
        let mut settings = Settings::default();
        // An answer comes just in time, and a key is remembered as long as that.
        let n_batches = u32::try_from(n_pending / CALLS_PER_BATCH).expect("some thousands");
        settings.edges.wait = BATCH_TIME * (n_batches + 2);
        settings.edges.max_items = 4_000_000;
        settings.edges.remember_completed = remember_completed;
        let alone = Alone::new(settings.edges.clone());
        let graphs = ServiceGraphs::default();
        let bounds = spanmill::ledger::Bounds {
            span_metrics: Vec::new(),
            service_graphs: graphs.histogram_buckets,
        };
        let tenant = Tenant::new(TenantId::single(), settings, &bounds, [1, 2, 3, 4]);
        Self { batch: Batch::default(), alone, tenant, n_calls: 0, n_pending, now: START }
    }

    /// The next calls, and the answers to old ones between them.
    fn fill(&mut self) {
        self.batch.clear();
        for service in 0..SERVICES {
            let start = self.batch.origin_text.len();
            let (service, dimensions) = (format!("service-{service}"), Labels::new(&[]));
            Origin { service: &service, peer: "", dimensions }.push(&mut self.batch.origin_text);
            self.batch.origins.push(Range::of(start, self.batch.origin_text.len()));
        }
        for _ in 0..CALLS_PER_BATCH {
            let call = self.n_calls;
            self.n_calls += 1;
            self.batch.sides.push(side(call, Role::Client));
            if let Some(old) = call.checked_sub(self.n_pending) {
                self.batch.sides.push(side(old, Role::Server));
            }
        }
        self.batch.tallies.received = self.batch.sides.len() as u64;
    }

    /// How long it took: pairing alone, or all that a tenant does.
    fn take(&mut self, work: Work) -> Duration {
        self.now += BATCH_TIME;
        let Self { batch, alone, tenant, now, .. } = self;
        match work {
            Work::Pairing => took(|| alone.take(black_box(batch), *now)),
            Work::All => took(|| tenant.apply(black_box(batch), *now)),
        }
    }
}

#[derive(Clone, Copy)]
enum Work {
    Pairing,
    All,
}

fn took(work: impl FnOnce()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
    let start = Instant::now();
    work();
    start.elapsed()
}

fn side(call: u64, role: Role) -> EdgeSide {
    let (high, low) = (mixed(call), mixed(call ^ (1 << 63)));
    let mut trace_id = [0; 16];
    trace_id[..8].copy_from_slice(&high.to_be_bytes());
    trace_id[8..].copy_from_slice(&low.to_be_bytes());
    let meets_at = (mixed(low) | 1).to_be_bytes();
    let called = u64::from(!role.calls());
    EdgeSide {
        trace_id,
        meets_at,
        span_id: if role.calls() { meets_at } else { mixed(high).to_be_bytes() },
        start_unix_nano: 1_800_000_000_000_000_000,
        end_unix_nano: 1_800_000_000_000_000_000 + low % 2_000_000_000,
        weight: None,
        origin: u32::try_from((high + called) % SERVICES).expect("few"),
        role,
        class: Class::Plain,
        root: false,
        failed: low.is_multiple_of(50),
    }
}

/// Distinct numbers that look random (splitmix64).
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

fn time(n_pending: u64, remember: bool) {
    let pairing = nanoseconds(n_pending, remember, Work::Pairing);
    let all = nanoseconds(n_pending, remember, Work::All);
    let (rate, remembered) = (1e3 / all, if remember { "yes" } else { "no" });
    println!("| {n_pending} | {remembered} | {pairing:.0} | {all:.0} | {rate:.1} |");
}

/// Of one side, in the best round.
fn nanoseconds(n_pending: u64, remember: bool, work: Work) -> f64 {
    let mut traffic = Traffic::new(n_pending, remember);
    while traffic.n_calls < 3 * n_pending {
        traffic.fill();
        traffic.take(work);
    }
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let (mut took, mut n_sides) = (Duration::ZERO, 0);
        while n_sides < SIDES_PER_ROUND {
            traffic.fill();
            n_sides += traffic.batch.sides.len() as u64;
            took += traffic.take(work);
        }
        best = best.min(took.as_secs_f64() * 1e9 / n_sides as f64);
    }
    let n_answered = traffic.n_calls - n_pending;
    let counts = traffic.tenant.counts();
    match work {
        Work::Pairing => assert_eq!(traffic.alone.n_edges, n_answered),
        Work::All => assert_eq!(counts.edges.ended(End::Paired), 2 * n_answered),
    }
    best
}

fn memory(n_pending: u64) {
    let mut traffic = Traffic::new(n_pending, true);
    let batches: Vec<Batch> = (0..n_pending / CALLS_PER_BATCH)
        .map(|_| {
            traffic.fill();
            traffic.batch.clone()
        })
        .collect();
    let info = measure(|| {
        for batch in &batches {
            traffic.tenant.apply(batch, START);
        }
    });
    assert_eq!(traffic.tenant.counts().sides_pending as u64, n_pending);
    let per_side = |bytes: f64| bytes / n_pending as f64;
    let (now, most) = (per_side(info.bytes_current as f64), per_side(info.bytes_max as f64));
    println!("| {n_pending} | {now:.0} | {most:.0} |");
}
