//! What becomes of edge sides, with counts worked out by hand, each in both orders of arrival.

use std::collections::BTreeMap;

use super::*;
use crate::batch::{
    Class, Discarded, EdgeSide, Labels, Link, Origin, Processor, Range, Repaired, Role, Weight,
};
use crate::edges::{Connection, End};
use crate::ledger::{EdgeSeries, Event};

const START: Duration = Duration::from_secs(1_000_000);
const WAIT: Duration = Duration::from_secs(10);
const SECOND: u64 = 1_000_000_000;

/// One span, as the stage makes it a side.
#[derive(Debug, Clone, Copy)]
struct Half {
    service: &'static str,
    peer: &'static str,
    side: EdgeSide,
    /// Trace and span number of each context that its links name.
    links: &'static [(u8, u8)],
}

/// Numbers stand for ids; a parent of 0 is none.
fn half(service: &'static str, role: Role, (trace, span, parent): (u8, u8, u8)) -> Half {
    let meets_at = if role.calls() || parent == 0 { span } else { parent };
    let class = Class::Plain;
    let (root, failed) = (!role.calls() && parent == 0, false);
    let side = EdgeSide {
        trace_id: [trace; 16],
        meets_at: [meets_at; 8],
        span_id: [span; 8],
        start_unix_nano: 100 * SECOND,
        end_unix_nano: 101 * SECOND,
        weight: None,
        origin: 0,
        role,
        class,
        root,
        failed,
    };
    Half { service, peer: "", side, links: &[] }
}

impl Half {
    fn peer(self, peer: &'static str) -> Self {
        Self { peer, ..self }
    }

    fn class(mut self, class: Class) -> Self {
        self.side.class = class;
        if self.side.is_alone() {
            self.side.meets_at = self.side.span_id;
        }
        self
    }

    /// A receiving side with links.
    fn links(self, links: &'static [(u8, u8)]) -> Self {
        Self { links, ..self.class(Class::Receives) }
    }

    fn at(mut self, start: u64, end: u64) -> Self {
        (self.side.start_unix_nano, self.side.end_unix_nano) = (start * SECOND, end * SECOND);
        self
    }

    fn failed(mut self) -> Self {
        self.side.failed = true;
        self
    }

    fn weight(mut self, weight: f64) -> Self {
        self.side.weight = Weight::new(weight);
        self
    }
}

fn client(service: &'static str, ids: (u8, u8)) -> Half {
    half(service, Role::Client, (ids.0, ids.1, 0))
}

fn producer(service: &'static str, ids: (u8, u8)) -> Half {
    half(service, Role::Producer, (ids.0, ids.1, 0)).class(Class::Plain)
}

fn server(service: &'static str, ids: (u8, u8, u8)) -> Half {
    half(service, Role::Server, ids)
}

fn consumer(service: &'static str, ids: (u8, u8, u8)) -> Half {
    half(service, Role::Consumer, ids)
}

fn batch(halves: &[Half]) -> Batch {
    let mut batch = Batch::default();
    for (i, half) in (0..).zip(halves) {
        let start = batch.origin_text.len();
        let Half { service, peer, side, links } = *half;
        let dimensions = Labels::new(&[]);
        Origin { service, peer, dimensions }.push(&mut batch.origin_text);
        batch.origins.push(Range::of(start, batch.origin_text.len()));
        batch.sides.push(EdgeSide { origin: i, ..side });
        let link =
            |&(trace, span): &(u8, u8)| Link { side: i, trace_id: [trace; 16], span_id: [span; 8] };
        batch.links.extend(links.iter().map(link));
    }
    batch.tallies.received = batch.sides.len() as u64;
    let n_filtered = batch.sides.iter().filter(|side| side.class == Class::Filtered).count() as u64;
    batch.tallies.discard(Processor::ServiceGraphs, Discarded::Filtered, n_filtered);
    batch
}

/// A tenant, and what it has been told when.
struct Graph {
    tenant: Tenant,
    now: Duration,
}

type Totals = BTreeMap<String, f64>;

impl Graph {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            edge_series: EdgeSeries { messaging_seconds: true, ..EdgeSeries::default() },
            ..Settings::default()
        };
        settings.edges.wait = WAIT;
        change(&mut settings);
        let bounds = Bounds { span_metrics: Vec::new(), service_graphs: vec![1.0, 10.0] };
        Self {
            tenant: Tenant::new(TenantId::single(), settings, &bounds, [1, 2, 3, 4]),
            now: START,
        }
    }

    /// Each in a request of its own.
    fn tell(&mut self, halves: &[Half]) -> &mut Self {
        halves.iter().for_each(|half| self.tenant.apply(&batch(&[*half]), self.now));
        self
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn ended(&self, end: End) -> u64 {
        self.tenant.counts().edges.ended(end)
    }

    /// Everything that waits has its time; then requests by `client>server:type`, those that failed
    /// with a `!` in front, and sums of seconds with the table's name in front.
    fn totals(&mut self) -> Totals {
        self.wait(1000);
        let snapshot = self.tenant.tick(self.now);
        self.check_ends();
        let mut totals = Totals::new();
        for event in &snapshot.events {
            let Event::Birth { table, slot, labels } = event else { continue };
            let labels = Labels::new(labels);
            let get = |name| labels.get(name).to_owned();
            let edge = format!("{}>{}:{}", get("client"), get("server"), get("connection_type"));
            let values = snapshot.values(*table);
            let (prefix, value) = match table {
                Table::EdgeRequests => (String::new(), values.calls(*slot).as_f64()),
                Table::EdgeFailed => ("!".to_owned(), values.calls(*slot).as_f64()),
                table => (format!("{table:?} "), values.latency(*slot).as_f64() / 1e9),
            };
            totals.insert(format!("{prefix}{edge}"), value);
        }
        totals
    }

    fn requests(&mut self) -> Totals {
        let is_request = |edge: &String| !edge.starts_with(['!', 'E']);
        self.totals().into_iter().filter(|(edge, _)| is_request(edge)).collect()
    }

    /// Every side that came has one end.
    fn check_ends(&self) {
        let counts = self.tenant.counts();
        let ended: u64 = End::ALL.iter().map(|&end| counts.edges.ended(end)).sum();
        let tallies = &counts.tallies;
        let came = tallies.counted(Processor::ServiceGraphs)
            + tallies.discarded(Processor::ServiceGraphs, Discarded::Duplicate);
        assert_eq!((ended, counts.sides_pending), (came, 0));
    }
}

fn totals(expected: &[(&str, f64)]) -> Totals {
    expected.iter().map(|(edge, n)| ((*edge).to_owned(), *n)).collect()
}

/// The same halves in the order given and the other way round.
fn both_orders(
    change: impl Fn(&mut Settings),
    halves: &[Half],
    expected: &[(&str, f64)],
    ends: &[(End, u64)],
) {
    let mut reversed = halves.to_vec();
    reversed.reverse();
    for order in [halves, &reversed] {
        let mut graph = Graph::new(&change);
        assert_eq!(graph.tell(order).requests(), totals(expected), "{order:?}");
        for &(end, n) in ends {
            assert_eq!(graph.ended(end), n, "{end:?} of {order:?}");
        }
    }
}

const FAN_OUT: fn() -> [Half; 4] = || {
    [
        client("shop", (1, 1)),
        server("cart", (1, 2, 1)),
        server("cart", (1, 3, 1)),
        server("cart", (1, 4, 1)),
    ]
};

#[test]
fn one_calling_span_makes_one_request() {
    let ends = [(End::Paired, 2), (End::Surplus, 2)];
    both_orders(|_| {}, &FAN_OUT(), &[("shop>cart:", 1.0)], &ends);
}

#[test]
fn every_called_span_makes_a_request_where_every_pair_counts() {
    let every = |settings: &mut Settings| settings.edges.count_every_pair = true;
    both_orders(every, &FAN_OUT(), &[("shop>cart:", 3.0)], &[(End::Paired, 4)]);

    let mut graph = Graph::new(every);
    graph.tell(&FAN_OUT()).tell(&FAN_OUT());
    assert_eq!(graph.requests(), totals(&[("shop>cart:", 3.0)]), "copies count once");
    assert_eq!(graph.ended(End::Duplicate), 4);

    let mut graph = Graph::new(every);
    graph.tell(&FAN_OUT()[..2]).wait(9).tell(&FAN_OUT()[2..3]);
    graph.wait(1).tell(&FAN_OUT()[3..]);
    assert_eq!(graph.requests(), totals(&[("shop>cart:", 2.0)]), "for the rest of its wait");
}

/// Two producers, one consumer of both batches whose parent is one of them, and one of the other's.
const BY_LINKS: fn() -> [Half; 4] = || {
    [
        producer("orders", (1, 1)).class(Class::Sends).at(100, 101),
        producer("refunds", (2, 1)).class(Class::Sends).at(100, 102),
        consumer("mail", (1, 5, 1)).links(&[(2, 1)]).at(105, 106),
        consumer("audit", (3, 7, 0)).links(&[(1, 1), (2, 1)]).at(104, 105),
    ]
};

#[test]
fn every_context_that_links_name_pairs_once_with_its_producer() {
    let expected = [
        ("orders>mail:messaging_system", 1.0),
        ("refunds>mail:messaging_system", 1.0),
        ("orders>audit:messaging_system", 1.0),
        ("refunds>audit:messaging_system", 1.0),
    ];
    both_orders(|_| {}, &BY_LINKS(), &expected, &[(End::Paired, 4), (End::Virtual, 0)]);
    let [orders, refunds, mail, audit] = BY_LINKS();
    both_orders(|_| {}, &[orders, audit, mail, refunds], &expected, &[(End::Paired, 4)]);

    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let mut graph = Graph::new(|_| {});
        let found = graph.tell(&order.map(|i| BY_LINKS()[i])).totals();
        let delay = |edge: &str| found[&format!("EdgeMessaging {edge}:messaging_system")];
        let delays = ["orders>mail", "refunds>mail", "orders>audit", "refunds>audit"].map(delay);
        assert_eq!(delays, [4.0, 3.0, 3.0, 2.0], "{order:?}");
    }
}

#[test]
fn a_root_consumer_is_called_by_nobody_only_where_no_link_pairs() {
    let root = consumer("audit", (3, 7, 0)).links(&[(1, 1)]);
    both_orders(|_| {}, &[root], &[("user>audit:virtual_node", 1.0)], &[(End::Virtual, 1)]);

    let mut graph = Graph::new(|_| {});
    graph.tell(&BY_LINKS()).tell(&BY_LINKS());
    assert_eq!(graph.requests().values().sum::<f64>(), 4.0, "copies count once");
    assert_eq!(graph.ended(End::Duplicate), 4);

    let mut graph = Graph::new(|_| {});
    graph.tell(&[root]).wait(11).tell(&BY_LINKS()[..1]);
    let expected = totals(&[("user>audit:virtual_node", 1.0)]);
    assert_eq!(graph.requests(), expected, "a link waits no longer than its side");
}

#[test]
fn a_client_that_receives_takes_the_place_of_a_consumer_and_one_that_sends_of_a_producer() {
    let receives = client("mail", (2, 9)).links(&[(1, 1)]).peer("broker");
    let sends = client("orders", (1, 1)).class(Class::Sends).peer("broker");
    let expected = [("orders>mail:messaging_system", 1.0)];
    both_orders(|_| {}, &[sends, receives], &expected, &[(End::Paired, 2)]);
    let alone = [("mail>broker:virtual_node", 1.0)];
    both_orders(|_| {}, &[receives], &alone, &[(End::Virtual, 1)]);
}

#[test]
fn a_client_with_a_peer_is_held_for_its_real_other_half() {
    let held = |n| move |settings: &mut Settings| settings.edges.hold_virtual = n;
    let (calls, answers) = (client("shop", (1, 1)).peer("pay.example"), server("pay", (1, 2, 1)));
    for (n, late, edge) in [
        (0, 11, "shop>pay.example:virtual_node"),
        (1, 11, "shop>pay:"),
        (1, 19, "shop>pay:"),
        (1, 20, "shop>pay.example:virtual_node"),
        (2, 29, "shop>pay:"),
        (2, 30, "shop>pay.example:virtual_node"),
    ] {
        let mut graph = Graph::new(held(n));
        graph.tell(&[calls]);
        // Something else comes each second.
        for _ in 0..late {
            graph.wait(1).tell(&[server("noise", (9, 2, 1))]);
        }
        graph.tell(&[answers]);
        assert_eq!(graph.requests(), totals(&[(edge, 1.0)]), "held {n}, {late} s late");
    }
    // The other half is not held, nor is a root.
    let mut graph = Graph::new(held(5));
    graph.tell(&[answers, server("web", (2, 1, 0))]).wait(10).tell(&[calls]);
    let expected =
        totals(&[("shop>pay.example:virtual_node", 1.0), ("user>web:virtual_node", 1.0)]);
    assert_eq!(graph.requests(), expected);
}

/// Nobody has looked for as long as the replay of a file takes: one tick, after all of it.
#[test]
fn a_side_is_held_as_long_whether_or_not_anything_comes_meanwhile() {
    let calls = |trace| client("shop", (trace, 1)).peer("pay.example");
    let root = |trace| server("web", (trace, 3, 0));
    let expected =
        totals(&[("shop>pay.example:virtual_node", 3.0), ("user>web:virtual_node", 3.0)]);
    for hold in [0, 1, 2, u16::MAX] {
        for halves in [
            [root(1), calls(1), root(2), calls(2), root(3), calls(3)],
            [calls(1), root(1), calls(2), root(2), calls(3), root(3)],
        ] {
            let mut graph = Graph::new(|settings| settings.edges.hold_virtual = hold);
            graph.tell(&halves).wait(10 * (1 + u64::from(hold)));
            let before = graph.now - Duration::from_millis(1);
            graph.tenant.apply(&batch(&[]), before);
            let n_early = graph.ended(End::Virtual);
            assert_eq!(n_early, if hold == 0 { 0 } else { 3 }, "only roots, held {hold}");
            assert_eq!(graph.requests(), expected, "held {hold}");
        }
    }
}

#[test]
fn the_kind_of_the_side_that_came_last_is_the_kind_of_the_connection() {
    let (calls, sends) = (client("a", (1, 1)), producer("b", (2, 1)));
    let (answers, takes) = (server("c", (2, 2, 1)), consumer("d", (1, 2, 1)));
    let mut graph = Graph::new(|_| {});
    let first = graph.tell(&[calls, takes, sends, answers]).requests();
    assert_eq!(first, totals(&[("a>d:messaging_system", 1.0), ("b>c:", 1.0)]));
    let mut graph = Graph::new(|_| {});
    let second = graph.tell(&[takes, calls, answers, sends]).requests();
    assert_eq!(second, totals(&[("a>d:", 1.0), ("b>c:messaging_system", 1.0)]));
}

#[test]
fn an_edge_has_failed_if_either_side_has_and_weighs_what_its_client_weighs() {
    let calls = client("shop", (1, 1)).weight(4.0).at(100, 103);
    let answers = server("cart", (1, 2, 1)).weight(2.0).at(101, 102).failed();
    let expected = [
        ("shop>cart:", 4.0),
        ("!shop>cart:", 4.0),
        ("EdgeClient shop>cart:", 12.0),
        ("EdgeServer shop>cart:", 4.0),
    ];
    for order in [[calls, answers], [answers, calls]] {
        assert_eq!(Graph::new(|_| {}).tell(&order).totals(), totals(&expected));
    }
    // Where the client tells none, the server's.
    let mut calls = calls;
    calls.side.weight = None;
    let found = Graph::new(|_| {}).tell(&[calls, answers]).totals();
    assert_eq!((found["shop>cart:"], found["EdgeClient shop>cart:"]), (2.0, 6.0));
}

#[test]
fn a_database_call_is_an_edge_at_once_and_lasts_as_long_on_both_sides() {
    let calls = client("shop", (1, 1)).class(Class::Database).peer("orders-db").at(100, 102);
    let expected = [
        ("shop>orders-db:database", 1.0),
        ("EdgeClient shop>orders-db:database", 2.0),
        ("EdgeServer shop>orders-db:database", 2.0),
    ];
    let mut graph = Graph::new(|_| {});
    graph.tell(&[calls, calls]);
    assert_eq!(graph.tenant.counts().edges.completed(Connection::Database), 1);
    assert_eq!(graph.totals(), totals(&expected));
    assert_eq!((graph.ended(End::Database), graph.ended(End::Duplicate)), (1, 1));
}

#[test]
fn a_missing_side_is_observed_as_nothing_only_where_tempo_s_zero_is_wanted() {
    let halves = [server("web", (1, 1, 0)), client("shop", (2, 1)).peer("pay")];
    let with_zero = Graph::new(|_| {}).tell(&halves).totals();
    assert_eq!(with_zero["EdgeClient user>web:virtual_node"], 0.0);
    assert_eq!(with_zero["EdgeServer shop>pay:virtual_node"], 0.0);
    let without = |settings: &mut Settings| settings.edge_series.observe_missing_side = false;
    let mut rest = Graph::new(without).tell(&halves).totals();
    rest.insert("EdgeClient user>web:virtual_node".to_owned(), 0.0);
    rest.insert("EdgeServer shop>pay:virtual_node".to_owned(), 0.0);
    assert_eq!(rest, with_zero);
}

#[test]
fn virtual_nodes_can_be_named_and_switched_off() {
    let halves = [server("web", (1, 1, 0)), client("shop", (2, 1)).peer("pay")];
    let named = |settings: &mut Settings| settings.edges.virtual_caller = "internet".to_owned();
    both_orders(
        named,
        &halves,
        &[("internet>web:virtual_node", 1.0), ("shop>pay:virtual_node", 1.0)],
        &[(End::Virtual, 2)],
    );
    let off = |settings: &mut Settings| {
        settings.edges.virtual_caller = String::new();
        settings.edges.virtual_server = false;
    };
    both_orders(off, &halves, &[], &[(End::Expired, 2)]);
}

#[test]
fn a_filtered_half_takes_the_other_one_with_it() {
    // A database call that has been counted stays; one that comes later is refused.
    let below = server("db", (1, 2, 1)).class(Class::Filtered);
    let asks = client("shop", (1, 1)).class(Class::Database).peer("db");
    for (order, n) in [([asks, below], 1), ([below, asks], 0)] {
        let graph = Graph::new(|_| {});
        order.iter().for_each(|half| graph.tenant.apply(&batch(&[*half]), START));
        assert_eq!(graph.ended(End::Database), n);
    }

    let calls = client("shop", (1, 1)).peer("pay");
    let filtered = server("pay", (1, 2, 1)).class(Class::Filtered);
    for order in [[calls, filtered], [filtered, calls]] {
        let mut graph = Graph::new(|_| {});
        order.iter().for_each(|half| graph.tenant.apply(&batch(&[*half]), START));
        assert_eq!(graph.requests(), totals(&[]));
        assert_eq!(graph.ended(End::Expired), 1);
    }
}

#[test]
fn copies_behave_as_in_tempo_where_completed_keys_are_not_remembered() {
    let tempo = |settings: &mut Settings| settings.edges.remember_completed = false;
    let pair = [client("shop", (1, 1)), server("cart", (1, 2, 1))];
    let mut graph = Graph::new(tempo);
    assert_eq!(graph.tell(&pair).tell(&pair).requests(), totals(&[("shop>cart:", 2.0)]));

    // The last root of a trace counts, whoever failed, and a peer stays known.
    let roots = [server("a", (1, 1, 0)).peer("phone").failed(), server("b", (1, 2, 0))];
    let mut graph = Graph::new(tempo);
    let found = graph.tell(&roots).requests();
    assert_eq!(found, totals(&[("phone>b:virtual_node", 1.0)]));
    assert_eq!((graph.ended(End::Overwritten), graph.ended(End::Virtual)), (1, 1));

    // Roots of one trace in several services, in a store that is full.
    let mut graph = Graph::new(|settings| {
        tempo(settings);
        settings.edges.max_items = 3;
    });
    for trace in 1..20 {
        let names = [["a", "b"], ["b", "c"], ["c", "a"]][usize::from(trace % 3)];
        graph.tell(&names.map(|name| server(name, (trace, 1, 0))));
    }
    assert_eq!((graph.ended(End::Overwritten), graph.ended(End::Virtual)), (19, 16));

    // A database call takes the key with it.
    let calls = client("shop", (1, 1)).class(Class::Database).peer("db");
    let below = server("cart", (1, 2, 1)).failed();
    let mut graph = Graph::new(tempo);
    let found = graph.tell(&[below, calls]).totals();
    assert_eq!(found["!shop>db:database"], 1.0);
    assert_eq!((graph.ended(End::Overwritten), graph.ended(End::Database)), (1, 1));
}

#[test]
fn a_completed_key_is_remembered_for_one_wait() {
    let pair = [client("shop", (1, 1)), server("cart", (1, 2, 1))];
    for (after, requests) in [(9, 1.0), (10, 2.0)] {
        let mut graph = Graph::new(|_| {});
        graph.tell(&pair[..1]).wait(9).tell(&pair[1..]).wait(after);
        assert_eq!(graph.tell(&pair).requests(), totals(&[("shop>cart:", requests)]), "{after} s");
    }
}

#[test]
fn a_receiver_is_remembered_for_one_wait_from_its_last_pair() {
    let takes = consumer("audit", (3, 7, 0)).links(&[(1, 1)]);
    let sends = producer("orders", (1, 1)).class(Class::Sends);
    let mut graph = Graph::new(|_| {});
    graph.tell(&[takes]).wait(9).tell(&[sends]).wait(2).tell(&[takes]);
    assert_eq!(graph.requests(), totals(&[("orders>audit:messaging_system", 1.0)]));
    assert_eq!(graph.ended(End::Duplicate), 1);
}

#[test]
fn a_sender_is_remembered_for_one_wait_from_its_last_pair() {
    let takes = consumer("audit", (3, 7, 0)).links(&[(1, 1)]);
    let sends = producer("orders", (1, 1)).class(Class::Sends).peer("broker");
    let mut graph = Graph::new(|_| {});
    graph.tell(&[sends]).wait(9).tell(&[takes]).wait(2).tell(&[sends]);
    assert_eq!(graph.requests(), totals(&[("orders>audit:messaging_system", 1.0)]));
    assert_eq!(graph.ended(End::Duplicate), 1);
}

#[test]
fn a_copy_is_a_copy_also_where_another_half_was_filtered() {
    let pair = [client("shop", (1, 1)), server("cart", (1, 2, 1))];
    let filtered = server("cart", (1, 3, 1)).class(Class::Filtered);
    let mut graph = Graph::new(|_| {});
    graph.tell(&pair);
    graph.tenant.apply(&batch(&[filtered]), START);
    graph.tell(&pair[..1]);
    assert_eq!((graph.ended(End::Duplicate), graph.ended(End::Expired)), (1, 0));
}

#[test]
fn at_the_end_of_the_process_only_roots_become_virtual_edges() {
    let mut graph = Graph::new(|_| {});
    graph.tell(&[server("web", (1, 1, 0)), client("shop", (2, 1)).peer("pay")]);
    let snapshot = graph.tenant.last_tick(graph.now);
    assert_eq!(snapshot.events.len(), 3, "requests and both histograms: {:?}", snapshot.events);
    assert_eq!((graph.ended(End::Virtual), graph.ended(End::Expired)), (1, 1));
}

#[test]
fn a_root_whose_link_has_paired_is_not_overwritten_by_another_root() {
    let tempo = |settings: &mut Settings| settings.edges.remember_completed = false;
    let takes = consumer("audit", (3, 7, 0)).links(&[(1, 1), (9, 9)]);
    let sends = producer("orders", (1, 1)).class(Class::Sends);
    let mut graph = Graph::new(tempo);
    let found = graph.tell(&[takes, sends, server("web", (3, 8, 0))]).requests();
    let expected = [("orders>audit:messaging_system", 1.0), ("user>web:virtual_node", 1.0)];
    assert_eq!(found, totals(&expected));
    assert_eq!((graph.ended(End::Overwritten), graph.ended(End::Virtual)), (0, 1));
}

#[test]
fn a_copy_that_takes_a_place_leaves_the_largest_service_the_largest() {
    let mut graph = Graph::new(|settings| {
        settings.edges.max_items = 3;
        settings.edges.remember_completed = false;
    });
    let small = client("small", (1, 1));
    graph.tell(&[small, client("noise", (2, 1)), client("noise", (3, 1)), small]);
    graph.tell(&[client("other", (4, 1)), server("cart", (1, 2, 1))]);
    assert_eq!(graph.requests(), totals(&[("small>cart:", 1.0)]));
}

#[test]
fn one_place_has_one_caller_whatever_kinds_its_copies_have() {
    let mut graph = Graph::new(|settings| settings.edges.remember_completed = false);
    let takes = consumer("audit", (3, 7, 2)).links(&[(1, 1)]);
    let (plain, sends) =
        (client("shop", (1, 1)).peer("pay"), producer("orders", (1, 1)).class(Class::Sends));
    let found = graph.tell(&[plain, takes, sends]).requests();
    assert_eq!(found, totals(&[("orders>audit:messaging_system", 1.0)]));
    assert_eq!((graph.ended(End::Overwritten), graph.ended(End::Paired)), (1, 2));
}

#[test]
fn a_full_store_lets_the_oldest_of_the_largest_service_give_way() {
    let small = |settings: &mut Settings| settings.edges.max_items = 4;
    let mut graph = Graph::new(small);
    let flood = |n: u8| client("noise", (100 + n, 1));
    graph.tell(&[client("shop", (1, 1)), flood(1), flood(2), flood(3)]);
    graph.tell(&[flood(4), flood(5), flood(6), server("cart", (1, 2, 1))]);
    assert_eq!(graph.requests(), totals(&[("shop>cart:", 1.0)]));
    assert_eq!((graph.ended(End::Evicted), graph.ended(End::Expired)), (3, 3));

    // Without such a service the oldest of all; what would be a virtual edge becomes one.
    let mut graph = Graph::new(small);
    let names = ["a", "b", "c", "d", "e"];
    let halves: Vec<Half> =
        (1..).zip(names).map(|(n, name)| client(name, (n, 1)).peer("x")).collect();
    graph.tell(&halves);
    assert_eq!((graph.ended(End::Virtual), graph.ended(End::Evicted)), (1, 0));
    let counts = graph.tenant.counts();
    assert_eq!(counts.edges.completed(Connection::VirtualNode), 1);
    assert_eq!(graph.requests().len(), 5);
}

#[test]
fn an_edge_that_has_ended_begins_anew_and_not_in_the_place_of_another() {
    let mut graph = Graph::new(|settings| settings.stale_duration = Duration::from_secs(60));
    let request = |names: [&'static str; 2], trace: u8| {
        [client(names[0], (trace, 1)), server(names[1], (trace, 2, 1))]
    };
    let first = ["shop", "cart"];
    graph.tell(&request(first, 1)).wait(1);
    graph.tenant.tick(graph.now);
    graph.wait(100);
    assert_eq!(graph.tenant.tick(graph.now).events.len(), 3, "requests and two histograms end");
    graph.tell(&request(["web", "api"], 2)).tell(&request(first, 3));
    graph.tell(&request(first, 4));
    let expected = totals(&[("web>api:", 1.0), ("shop>cart:", 2.0)]);
    let snapshot = graph.tenant.tick(graph.now);
    let mut found = Totals::new();
    for event in &snapshot.events {
        let Event::Birth { table: Table::EdgeRequests, slot, labels } = event else { continue };
        let labels = Labels::new(labels);
        let edge = format!("{}>{}:", labels.get("client"), labels.get("server"));
        found.insert(edge, snapshot.values(Table::EdgeRequests).calls(*slot).as_f64());
    }
    assert_eq!(found, expected);
}

#[test]
fn the_last_tick_finds_what_has_ended_like_any_other() {
    let mut graph = Graph::new(|settings| settings.stale_duration = Duration::from_secs(60));
    graph.tell(&[client("shop", (1, 1)), server("cart", (1, 2, 1))]).wait(1);
    graph.tenant.tick(graph.now);
    graph.wait(100);
    let events = graph.tenant.last_tick(graph.now).events;
    let n_ended = events.iter().filter(|event| matches!(event, Event::Death { .. })).count();
    assert_eq!(n_ended, 3, "requests and two histograms");
}

#[test]
fn answers_beyond_the_64_that_wait_for_one_call_are_surplus() {
    let mut graph = Graph::new(|settings| settings.edges.count_every_pair = true);
    let answers: Vec<Half> = (10..76).map(|n| server("cart", (1, n, 1))).collect();
    graph.tell(&answers);
    assert_eq!(graph.tenant.counts().edges.ended(End::Surplus), 2);
    graph.tell(&[client("shop", (1, 1))]);
    assert_eq!(graph.requests(), totals(&[("shop>cart:", 64.0)]));
}

#[test]
fn consumers_beyond_the_32_that_wait_for_one_producer_are_counted() {
    let mut graph = Graph::new(|_| {});
    let consumers: Vec<Half> =
        (1..=34).map(|n| consumer("audit", (3, n, 0)).links(&[(1, 1)])).collect();
    graph.tell(&consumers).tell(&[producer("orders", (1, 1)).class(Class::Sends)]);
    assert_eq!(graph.tenant.counts().tallies.repaired(Repaired::Links), 2);
    let expected = [("orders>audit:messaging_system", 32.0), ("user>audit:virtual_node", 2.0)];
    assert_eq!(graph.requests(), totals(&expected));
}
