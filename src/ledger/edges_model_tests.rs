//! The service graph against a naive count of the same random traces: totals, ends, conservation, and
//! the same bytes for the same seed. `SPANMILL_SEEDS` runs that many seeds instead of some hundreds.

#[cfg(test)]
#[path = "edges_naive_tests.rs"]
mod naive;
#[cfg(test)]
#[path = "edges_traces_tests.rs"]
mod traces;

use std::collections::BTreeMap;

use super::*;
use crate::batch::encoding::Decoder;
use crate::batch::{Discarded, Processor};
use crate::edges::{Connection, End};
use crate::ledger::EdgeSeries;
use crate::stage;
use naive::{Labels, Naive, Sums, Totals};
use traces::{Event as Step, Kinds, Random};

const SEEDS: u64 = 600;
const START: u64 = 1_000_000_000;
/// Seconds.
const BOUNDS: [f64; 3] = [0.1, 1.0, 10.0];

/// One run: settings, and what comes when.
#[derive(Clone)]
struct Run {
    seed: u64,
    settings: Settings,
    plan: Arc<stage::Plan>,
    prefix: bool,
    links: bool,
    /// Whether the naive count follows: not what gives way in a store that is too small, nor a side
    /// that is held and found late, nor copies that nobody knows where links are followed.
    modelled: bool,
    steps: Vec<(u64, Step)>,
}

/// What a run leaves behind.
struct Left {
    log: Vec<u8>,
    dump: Vec<u8>,
    totals: Totals,
    counts: Counts,
}

impl Run {
    fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let wait_ms = random.one_of(&[100, 10_000]);
        let (links, small) = (random.percent(30), random.percent(15));
        let (remember_completed, punctual) = (random.percent(70), random.percent(80));
        let edges = edges::Settings {
            wait: Duration::from_millis(wait_ms),
            max_items: if small { random.one_of(&[1, 2, 7, 30]) } else { 1_000_000 },
            remember_completed,
            hold_virtual: random.one_of(&[0, 0, 1, 2]),
            count_every_pair: random.percent(30),
            virtual_caller: random.one_of(&["user", "user", ""]).to_owned(),
            virtual_server: random.percent(80),
            budget: if small {
                edges::Budget {
                    expired: random.one_of(&[0, 1, 5]),
                    virtual_edges: random.one_of(&[0, 1, 3, 4096]),
                    others: random.one_of(&[0, 1, 10, 10_000]),
                    ..edges::Budget::default()
                }
            } else {
                edges::Budget::default()
            },
        };
        let modelled =
            !small && (punctual || edges.hold_virtual == 0) && (remember_completed || !links);
        let settings = Settings {
            stale_duration: Duration::from_hours(100_000),
            edges: edges.clone(),
            edge_series: EdgeSeries {
                requests: random.percent(90),
                server_seconds: random.percent(90),
                client_seconds: random.percent(90),
                messaging_seconds: random.percent(50),
                connection_info: random.percent(20),
                observe_missing_side: random.percent(70),
                virtual_node_label: random.percent(30),
            },
            ..Settings::default()
        };
        // Which prefix a client that receives has is left to tests of the stage.
        let prefix = !links && random.percent(30);
        let kinds = Kinds {
            links,
            filtered: !links && random.percent(20),
            weights: random.percent(30),
            mixed: !links && random.percent(50),
            n_traces: random.one_of(&[1, 1, 4, 12]),
        };
        let spans = traces::grow(random, kinds);
        let steps = traces::schedule(random, &spans, (wait_ms, punctual && edges.hold_virtual > 0));
        let plan = stage::Plan::new(&staging(links, prefix), 0).expect("in order");
        let plan = Arc::new(plan);
        Self { seed, settings, plan, prefix, links, modelled, steps }
    }

    /// Has the ledger take every step, each batch after a real staging.
    fn ledger(&self, seed: [u64; 4]) -> Left {
        let bounds = self.plan.settings().bounds();
        let tenant = Tenant::new(TenantId::single(), self.settings.clone(), &bounds, seed);
        let mut world = tenant.lock();
        let mut stager = stage::Stager::default();
        let (mut log, mut now) = (Vec::new(), START);
        for (at, step) in &self.steps {
            now = now.max(START + at);
            let since_epoch = Duration::from_millis(now);
            let mut write = |effect: &Effect<'_>| effect.encode(&mut log);
            let at_ms = match step {
                Step::Request(spans) => {
                    let body = traces::encode(spans);
                    let batch = stager.stage(&self.plan, &body, since_epoch).expect("in order");
                    world.apply(batch, ms(since_epoch), &mut write);
                    ms(since_epoch)
                }
                Step::Tick | Step::LastTick => {
                    let at_ms = world.tick_ms(since_epoch);
                    world.expire_edges(at_ms, &mut write);
                    if matches!(step, Step::LastTick) {
                        world.close_edges(at_ms, &mut write);
                    }
                    world.tick(at_ms, &[], &mut write);
                    at_ms
                }
            };
            now = u64::try_from(at_ms).expect("after 1970");
            let store = world.state.edges();
            assert!(store.len() <= self.settings.edges.max_items, "seed {}", self.seed);
        }
        let (totals, dump) = (totals_of(&world), world.state.dump());
        drop(world);
        Left { log, dump, totals, counts: tenant.counts() }
    }

    fn model(&self) -> Totals {
        let bounds = vec![100, 1000, 10_000];
        let mut naive = Naive::new(&self.settings, (self.prefix, self.links), bounds);
        let (mut now, mut last_tick) = (START, 0);
        for (at, step) in &self.steps {
            now = now.max(START + at);
            match step {
                Step::Request(spans) => naive.request(spans, now),
                Step::Tick | Step::LastTick => {
                    now = now.max(last_tick + 3);
                    last_tick = now;
                    naive.expire(now);
                    if matches!(step, Step::LastTick) {
                        naive.close();
                    }
                }
            }
        }
        naive.settle()
    }

    fn check(&self) {
        let left = self.ledger([1, 2, 3, 4]);
        self.conserves(&left);
        if self.modelled && !close(&left.totals, &self.model()) {
            self.differs();
        }
        let again = self.ledger([1, 2, 3, 4]);
        assert!(left.log == again.log && left.dump == again.dump, "seed {}: twice", self.seed);
        let other = self.ledger([5, 6, 7, 8]);
        assert!(left.log == other.log, "seed {}: the seed of the hash tables", self.seed);
        assert!(left.dump == other.dump, "seed {}: the seed of the hash tables", self.seed);
        let bounds = self.plan.settings().bounds();
        let mut state = State::new(&bounds, &self.settings, [1, 2, 3, 4]);
        let mut decoder = Decoder::new(&left.log);
        while !decoder.is_empty() {
            state.fold(&Effect::decode(&mut decoder).expect("our own encoding"));
        }
        assert!(state.dump() == left.dump, "seed {}: folded alone", self.seed);
    }

    /// Every side is pending or has one end, and every span is counted or discarded.
    fn conserves(&self, left: &Left) {
        let Counts { tallies, sides_pending, .. } = &left.counts;
        let graph = Processor::ServiceGraphs;
        assert!(tallies.balances(graph), "seed {}: {tallies:?}", self.seed);
        let came = tallies.counted(graph) + tallies.discarded(graph, Discarded::Duplicate);
        let ended: u64 = left.totals.ended.values().sum();
        assert_eq!(ended + *sides_pending as u64, came, "seed {}: {:?}", self.seed, left.totals);
        let copies = left.totals.ended.get(End::Duplicate.name()).copied().unwrap_or_default();
        assert_eq!(copies, tallies.discarded(graph, Discarded::Duplicate), "seed {}", self.seed);
    }

    /// Leaves out what is not needed for the difference, and shows the rest.
    fn differs(&self) -> ! {
        let mut least = self.clone();
        let mut at = 0;
        while let Some(smaller) = least.without(at) {
            if close(&smaller.ledger([1, 2, 3, 4]).totals, &smaller.model()) {
                at += 1;
            } else {
                (least, at) = (smaller, 0);
            }
        }
        let mut text = format!("seed {} {:#?}\n", self.seed, self.settings.edges);
        for (at, step) in &least.steps {
            text += &format!("{at} {step:?}\n");
        }
        let (found, expected) = (least.ledger([1, 2, 3, 4]).totals, least.model());
        panic!("{text}model {expected:#?}\nledger {found:#?}");
    }

    /// The run without its n-th span or tick.
    fn without(&self, mut n: usize) -> Option<Self> {
        let mut run = self.clone();
        for (i, (_, step)) in run.steps.iter_mut().enumerate() {
            match step {
                Step::Request(spans) if n < spans.len() && spans.len() > 1 => {
                    spans.remove(n);
                    return Some(run);
                }
                Step::Request(spans) if n >= spans.len() => n -= spans.len(),
                Step::Tick | Step::LastTick if n > 0 => n -= 1,
                Step::Request(_) | Step::Tick | Step::LastTick => {
                    run.steps.remove(i);
                    return Some(run);
                }
            }
        }
        None
    }
}

fn staging(links: bool, prefix: bool) -> stage::Settings {
    let exclude = stage::PolicyMatch {
        match_type: stage::MatchType::Strict,
        attributes: vec![stage::PolicyAttribute {
            key: "span.drop".to_owned(),
            value: stage::PolicyValue::Text("yes".to_owned()),
        }],
    };
    stage::Settings {
        processors: stage::Processors {
            calls: false,
            latency: false,
            size: false,
            service_graphs: true,
            host_info: false,
        },
        window: None,
        span_metrics: stage::SpanMetrics {
            histogram_buckets: Vec::new(),
            intrinsic_dimensions: stage::IntrinsicDimensions {
                service: true,
                span_name: true,
                span_kind: true,
                status_code: true,
                status_message: false,
            },
            dimensions: Vec::new(),
            dimension_mappings: Vec::new(),
            enable_target_info: false,
            target_info_excluded_dimensions: Vec::new(),
            enable_instance_label: true,
            multiplier: stage::Multiplier::default(),
            filter_policies: Vec::new(),
        },
        service_graphs: stage::ServiceGraphs {
            histogram_buckets: BOUNDS.to_vec(),
            dimensions: vec!["zone".to_owned(), "server".to_owned()],
            enable_client_server_prefix: prefix,
            multiplier: stage::Multiplier { key: "ratio".to_owned(), tracestate: false },
            filter_policies: vec![stage::FilterPolicy {
                exclude: Some(exclude),
                ..stage::FilterPolicy::default()
            }],
            messaging_links: links,
            ..stage::ServiceGraphs::default()
        },
        host_info: stage::HostInfo {
            host_identifiers: vec!["host.id".to_owned()],
            metric_name: "traces_host_info".to_owned(),
        },
        span_names: stage::SpanNames::default(),
        max_label_name_length: 1024,
        max_label_value_length: 2048,
    }
}

fn totals_of(world: &World) -> Totals {
    let mut totals = Totals::default();
    for (table, slot, _) in decide::all_live(&world.state) {
        let (series, values) = (world.state.table(table), world.state.table(table).values());
        let labels = series.labels_of(slot).expect("it lives");
        let labels: Labels =
            labels.iter().map(|(n, value)| (n.to_owned(), value.to_owned())).collect();
        let mut sums = Sums::default();
        if table != Table::EdgeInfo {
            sums.calls = values.calls(slot).as_f64();
        }
        if table.shape() == crate::batch::Shape::Histogram {
            sums.latency_ms = values.latency(slot).as_f64() / 1e6;
            let counts = (0..=BOUNDS.len()).map(|i| (i, values.bucket(slot, i).as_f64()));
            sums.buckets = counts.filter(|(_, n)| *n != 0.0).collect();
        }
        totals.series.insert((table, labels), sums);
    }
    let nonzero = |(_, n): &(&'static str, u64)| *n > 0;
    let counts = &world.edge_counts;
    totals.ended =
        End::ALL.map(|end| (end.name(), counts.ended(end))).into_iter().filter(nonzero).collect();
    let completed = Connection::ALL.map(|kind| (kind.name(), counts.completed(kind)));
    totals.completed = completed.into_iter().filter(nonzero).collect();
    totals.pending = world.state.edges().n_pending();
    let graph = Processor::ServiceGraphs;
    totals.received = world.tallies.received;
    totals.no_edge_side = world.tallies.discarded(graph, Discarded::NoEdgeSide);
    totals.filtered = world.tallies.discarded(graph, Discarded::Filtered);
    totals
}

/// Whole numbers are equal; sums with odd weights within 1e-9.
fn close(a: &Totals, b: &Totals) -> bool {
    let rest = |t: &Totals| Totals {
        series: BTreeMap::new(),
        ended: t.ended.clone(),
        completed: t.completed.clone(),
        ..*t
    };
    rest(a) == rest(b)
        && a.series.len() == b.series.len()
        && a.series.iter().all(|(key, sums)| b.series.get(key).is_some_and(|o| close_sums(sums, o)))
}

fn close_sums(a: &Sums, b: &Sums) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
    near(a.calls, b.calls)
        && near(a.latency_ms, b.latency_ms)
        && a.buckets.len() == b.buckets.len()
        && a.buckets.iter().all(|(i, n)| b.buckets.get(i).is_some_and(|o| near(*n, *o)))
}

/// forall seeds: totals and ends as counted naively; received = counted + discarded; every side has
/// one end or is pending; the store keeps its bound; the same bytes twice, under any seed of the hash
/// tables, and from the effects alone.
#[test]
fn random_traces_count_as_a_naive_count_has_them() {
    let asked = std::env::var("SPANMILL_SEEDS").ok();
    let n = asked.map_or(SEEDS, |n| n.parse().expect("a number of seeds"));
    (1..=n).for_each(|seed| Run::new(seed).check());
}

#[test]
fn the_traces_hold_every_end_and_every_kind_of_edge() {
    let (mut ends, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    for seed in 1..=SEEDS {
        let run = Run::new(seed);
        let totals = run.ledger([1, 2, 3, 4]).totals;
        for (all, of_run) in [(&mut ends, totals.ended), (&mut kinds, totals.completed)] {
            of_run.into_iter().for_each(|(name, n)| *all.entry(name).or_insert(0) += n);
        }
    }
    assert!(ends.len() == End::ALL.len() && ends.values().all(|&n| n > 100), "{ends:?}");
    assert!(kinds.len() == Connection::ALL.len() && kinds.values().all(|&n| n > 100), "{kinds:?}");
}
