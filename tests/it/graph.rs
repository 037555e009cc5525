//! The service graph of every corpus, and of edges that none has, equals what it was counted to be: in
//! the bytes of remote write, and in the answers of a real Prometheus to what Grafana asks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message;
use serde_json::Value;
use spanmill::clock::Clock;

use crate::support::capture::{Capture, Seen};
use crate::support::corpus::{self, Corpus};
use crate::support::graph::MissingSide::{Left, Observed};
use crate::support::graph::{self, Graph, REQUESTS, Side};
use crate::support::oracle::{Histogram, Labels, Oracle, assert_equal, strip_origin};
use crate::support::process::{Config, Spanmill};
use crate::support::remote_write::Exemplar;
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::servers::{Server, prometheus};
use crate::support::{command, http, odd_edges, remote_write};

const WITHIN: Duration = Duration::from_secs(60);
const RUN: &str = "graph";
const COPIES_COUNT: &str = "processors.service_graphs.remember_completed=false";
const NO_MISSING_SIDES: &str = "processors.service_graphs.observe_missing_side=false";
/// Longer than any test.
const ENDLESS_WAIT: &str = "processors.service_graphs.wait=1h";

type Series = BTreeMap<Labels, f64>;

/// What is sent, and what the edges are made of.
struct Input {
    name: String,
    bodies: Vec<Bytes>,
    sides: Vec<Side>,
}

fn inputs() -> Vec<Input> {
    [corpora(), vec![odd()]].into_iter().flatten().collect()
}

fn corpora() -> Vec<Input> {
    let input = |corpus: Corpus| Input {
        bodies: corpus.bodies_as(corpus::Form::Protobuf),
        sides: graph::sides(&corpus.requests()),
        name: corpus.name,
    };
    corpus::all().into_iter().map(input).collect()
}

fn odd() -> Input {
    let requests = odd_edges::requests();
    let bodies = requests.iter().map(|request| request.encode_to_vec().into()).collect();
    Input { name: "odd edges".to_owned(), bodies, sides: graph::sides(&requests) }
}

// ---- what remote write brings

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_file_order_with_copies_every_edge_is_tempos() {
    each(inputs(), async |input| {
        let expected = graph::pair_in_order(&input.sides);
        let found = all_of(&expected, &input, &[COPIES_COUNT], 1).await;
        assert_equal(&expected.series(Observed), &found, &[], &input.name);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_side_that_is_not_observed_has_no_histogram() {
    each(inputs(), async |input| {
        let expected = graph::pair_in_order(&input.sides);
        let found = all_of(&expected, &input, &[COPIES_COUNT, NO_MISSING_SIDES], 1).await;
        assert_equal(&expected.series(Left), &found, &[], &input.name);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_copies_every_edge_of_a_corpus_is_that_of_the_plain_rule() {
    each(corpora(), async |input| {
        let expected = graph::pair_plainly(&graph::without_copies(&input.sides));
        let found = all_of(&expected, &input, &[], 1).await;
        assert_equal(&expected.series(Observed), &found, &[], &input.name);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_copies_odd_edges_are_those_on_which_both_rules_agree() {
    let input = odd();
    let expected = graph::pair_plainly(&input.sides);
    let agreed = Agreed::of([&expected, &graph::pair_in_order(&input.sides)]);
    let service = Service::start(&[]).await;
    service.send(&input.bodies, 1).await;
    let all_there =
        |seen: &Seen| agreed.series.keys().all(|labels| of_graph(seen).contains_key(labels));
    service.wait_until(all_there).await;
    agreed.check(service.stop().await, &input.name);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corpus_with_copies_that_is_sent_twice_counts_once_and_no_span_is_lost() {
    let mut input = corpora().into_iter().find(|c| c.name == "node-edge").expect("a corpus");
    let once = graph::without_copies(&input.sides);
    assert!(once.len() < input.sides.len(), "a corpus with copies");
    input.bodies.extend(input.bodies.clone());
    let expected = graph::pair_plainly(&once);
    let service = Service::start(&[]).await;
    service.send(&input.bodies, 1).await;
    service.wait_for(expected.n_requests()).await;

    let n_spans = 2.0 * corpus::named("node-edge").oracle().n_spans() as f64;
    let metrics = http::get(service.spanmill.ports.admin, "/metrics").await.expect("an answer");
    let of_graph = |name: &str| own(&metrics.text(), name, "processor=\"service-graphs\"");
    assert_eq!(own(&metrics.text(), "spanmill_spans_received_total", ""), n_spans);
    let [counted, discarded] =
        ["counted", "discarded"].map(|what| format!("spanmill_spans_{what}_total"));
    assert_eq!(of_graph(&counted) + of_graph(&discarded), n_spans, "{}", metrics.text());
    assert_equal(&expected.series(Observed), &service.stop().await, &[], "sent twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_sigterm_roots_end_as_edges_of_users_and_other_lone_sides_as_none() {
    each(inputs(), async |input| {
        let mut expected = graph::pair_in_order(&input.sides);
        expected.edges.retain(|_, edge| edge.server.count > 0);
        let service = Service::start(&[COPIES_COUNT, ENDLESS_WAIT]).await;
        service.send(&input.bodies, 1).await;
        let found = service.stop().await;
        assert_equal(&expected.series(Observed), &found, &[], &input.name);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_eight_connections_with_copies_what_does_not_hang_on_order_is_equal() {
    in_any_order(<[Side]>::to_vec, &[COPIES_COUNT, ENDLESS_WAIT]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_eight_connections_without_copies_what_does_not_hang_on_order_is_equal() {
    in_any_order(graph::without_copies, &[ENDLESS_WAIT]).await;
}

async fn in_any_order(counted: fn(&[Side]) -> Vec<Side>, sets: &[&str]) {
    // Worked out before anything is sent: it takes long, and nobody else would get a turn.
    let certain = |input: Input| (Agreed::in_any_order(&counted(&input.sides)), input);
    let inputs: Vec<_> = inputs().into_iter().map(certain).collect();
    let check = async |(agreed, input): (Agreed, Input)| {
        let service = Service::start(sets).await;
        service.send(&input.bodies, 8).await;
        agreed.check(service.stop().await, &input.name);
    };
    join_all(inputs.into_iter().map(check)).await;
}

/// Series on which several graphs agree, and all that any of them has.
struct Agreed {
    series: Series,
    possible: BTreeSet<Labels>,
}

impl Agreed {
    /// On both rules of the oracle.
    fn in_any_order(sides: &[Side]) -> Self {
        let mut graphs = [graph::pair_plainly(sides), graph::pair_in_order(sides)];
        // Sides with a peer alone make no edge when the program ends.
        graphs.iter_mut().for_each(|graph| graph.edges.retain(|_, edge| edge.server.count > 0));
        Self::of(&graphs)
    }

    fn of<'a>(graphs: impl IntoIterator<Item = &'a Graph>) -> Self {
        let mut graphs = graphs.into_iter().map(|graph| graph.series(Observed));
        let mut series = graphs.next().expect("a graph");
        let mut possible: BTreeSet<Labels> = series.keys().cloned().collect();
        for other in graphs {
            series.retain(|labels, value| other.get(labels).is_some_and(|v| is_close(*v, *value)));
            possible.extend(other.into_keys());
        }
        Self { series, possible }
    }

    /// Most series must be among those on which they agree, unless there are none at all.
    fn check(&self, mut found: Series, source: &str) {
        let (agreed, possible) = (self.series.len(), self.possible.len());
        assert!(agreed * 3 >= possible, "{source}: only {agreed} of {possible} series are certain");
        found.retain(|labels, _| {
            self.series.contains_key(labels) || !self.possible.contains(labels)
        });
        assert_equal(&self.series, &found, &[], source);
    }
}

/// Counts as they are, sums but for the last bits.
fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs()
}

/// All at the same time, for most of it is waiting.
async fn each(inputs: Vec<Input>, check: impl AsyncFn(Input)) {
    join_all(inputs.into_iter().map(|input| check(input))).await;
}

/// What there is when the virtual edges have come too.
async fn all_of(expected: &Graph, input: &Input, sets: &[&str], n_connections: usize) -> Series {
    let service = Service::start(sets).await;
    service.send(&input.bodies, n_connections).await;
    service.wait_for(expected.n_requests()).await;
    service.stop().await
}

struct Service {
    capture: Capture,
    spanmill: Spanmill,
}

impl Service {
    async fn start(sets: &[&str]) -> Self {
        Self::start_with(sets, None).await
    }

    async fn start_with(sets: &[&str], also: Option<&Server>) -> Self {
        let capture = Capture::start().await;
        let remote_write =
            [Some(capture.url()), also.map(Server::write_url)].into_iter().flatten().collect();
        let config = Config { collection_interval: "1s", run: RUN.to_owned(), remote_write };
        let spanmill = Spanmill::start_with(&config, sets).await;
        Self { capture, spanmill }
    }

    /// Dealt out in turn; on each connection one after the other.
    async fn send(&self, bodies: &[Bytes], n_connections: usize) {
        let addr = self.spanmill.ports.http;
        let one = async |at: usize| {
            let own: Vec<Bytes> = bodies.iter().skip(at).step_by(n_connections).cloned().collect();
            let sender = Sender::connect(addr, Protocol::HttpProtobuf, Encoding::Identity);
            sender.await.send_all(&own).await;
        };
        join_all((0..n_connections).map(one)).await;
    }

    /// The requests of all edges.
    async fn wait_for(&self, n_requests: u64) {
        self.wait_until(|seen| seen.total(REQUESTS) >= n_requests as f64).await;
    }

    /// Gives up in silence: the comparison that follows says what is missing.
    async fn wait_until(&self, holds: impl FnMut(&Seen) -> bool) {
        let arrived = self.capture.wait_until("edges", WITHIN * 2, holds);
        tokio::time::timeout(WITHIN, arrived).await.unwrap_or_default();
    }

    /// What there is after the final collection.
    async fn stop(self) -> Series {
        self.spanmill.stop().await;
        let seen = self.capture.seen();
        assert_eq!(seen.refused, Vec::<String>::new());
        of_graph(&seen)
    }
}

/// The newest of each series of the graph.
fn of_graph(seen: &Seen) -> Series {
    let mut newest = seen.newest();
    newest.retain(|labels, _| labels["__name__"].starts_with(graph::PREFIX));
    newest.into_iter().map(|(labels, value)| (strip_origin(labels, RUN), value)).collect()
}

/// Sum of the samples of an own metric that have this label.
fn own(metrics: &str, name: &str, label: &str) -> f64 {
    let samples = metrics.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')) && line.contains(label)
    });
    samples.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("it")).sum()
}

// ---- replay

#[tokio::test]
async fn replay_in_process_has_every_edge_of_a_corpus() {
    for corpus in corpus::all() {
        let sides = graph::without_copies(&graph::sides(&corpus.requests()));
        let file = Path::new(&corpus.file).to_str().expect("a path of text");
        let output = command::spanmill(&["replay", "--json", file]).await;
        assert_eq!(output.code, Some(0), "{}: {}", corpus.name, output.stderr);
        let row = |json: &Value| {
            let names = ["client", "server", "type"].map(|name| {
                json[name].as_str().unwrap_or_else(|| panic!("{name}: {json}")).to_owned()
            });
            (names, ["requests", "failed"].map(|name| json[name].as_u64().expect(name)))
        };
        let found: BTreeMap<_, _> =
            output.json()["edges"].as_array().expect("edges").iter().map(row).collect();
        let edges = graph::pair_plainly(&sides).edges.into_iter();
        let expected = edges.map(|(names, edge)| (names, [edge.requests, edge.failed]));
        assert_eq!(found, expected.collect(), "{}", corpus.name);
    }
}

// ---- what Grafana asks

/// Client and server, whatever lies between.
type Pair = [String; 2];

/// All edges from one service to another.
#[derive(Default)]
struct Link {
    requests: f64,
    failed: f64,
    server: Option<Histogram>,
}

fn links(graph: &Graph) -> BTreeMap<Pair, Link> {
    let mut links: BTreeMap<Pair, Link> = BTreeMap::new();
    for ([client, server, _], edge) in &graph.edges {
        let link = links.entry([client.clone(), server.clone()]).or_default();
        link.requests += edge.requests as f64;
        link.failed += edge.failed as f64;
        match &mut link.server {
            Some(histogram) => histogram.add(&edge.server),
            none => *none = Some(edge.server.clone()),
        }
    }
    links
}

/// The servers that a graph is drawn from, and the metrics that Grafana asks for.
const DRAWN_FROM: [&str; 4] = [
    "traces_service_graph_request_server_seconds_sum",
    "traces_service_graph_request_total",
    "traces_service_graph_request_failed_total",
    "traces_service_graph_request_server_seconds_bucket",
];
const TICKS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grafanas_queries_are_answered_with_the_corpus_numbers() {
    let prometheus = prometheus().await;
    let corpus = corpus::named("node-store-http-gzip");
    let graph = graph::pair_plainly(&graph::sides(&corpus.requests()));
    // As one request, so that edges are born at one tick and factors of time cancel in ratios.
    let sets = ["processors.service_graphs.wait=2s"];
    let service = Service::start_with(&sets, Some(&prometheus)).await;
    service.send(&[corpus.as_one_request()], 1).await;
    service.wait_for(graph.n_requests()).await;
    let n_series = graph.series(Observed).len();
    let ticked = |seen: &Seen| {
        let of_graph = seen.series.iter().filter(|(l, _)| l["__name__"].starts_with(graph::PREFIX));
        of_graph.clone().count() >= n_series
            && of_graph.clone().all(|(_, s)| s.samples.len() > TICKS)
    };
    service.capture.wait_until("a birth and three ticks of every edge", WITHIN, ticked).await;
    let at = newest_timestamp(&service.capture.seen());
    grafana_is_answered(&prometheus, &corpus, &graph, at).await;
    service.stop().await;
}

/// The expectations themselves, held against the server without the program between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_written_by_hand_give_grafana_the_same_answers() {
    let prometheus = prometheus().await;
    let corpus = corpus::named("py-shop-grpc");
    let graph = graph::pair_plainly(&graph::sides(&corpus.requests()));
    let of_run = |(mut labels, value): (Labels, f64)| {
        labels.insert("run".to_owned(), RUN.to_owned());
        labels.insert("__metrics_gen_instance".to_owned(), "by-hand".to_owned());
        (labels, value)
    };
    let series = graph.series(Observed).into_iter().chain(corpus.oracle().series());
    let series: Series = series.map(of_run).collect();
    let zeros = series.keys().map(|labels| (labels.clone(), 0.0)).collect();
    let last = Clock::default().now_unix_ms();
    let first = last - 1000 * (TICKS as i64 - 1);
    let (trace, span) = ids_of(&corpus).pop_first().expect("a span");
    let ids = Labels::from([("traceID".to_owned(), trace), ("span_id".to_owned(), span)]);
    let ticks = (0..TICKS as i64).map(|tick| (&series, first + 1000 * tick));
    for (values, at) in [(&zeros, first - 1)].into_iter().chain(ticks) {
        let mut request = remote_write::snapshot(values, at);
        let labels = remote_write::to_labels(&ids);
        let exemplar = Exemplar { labels, value: 0.25, timestamp: at };
        let last =
            request.timeseries.iter_mut().filter(|s| s.labels.iter().any(|l| l.value == "+Inf"));
        last.for_each(|series| series.exemplars.push(exemplar.clone()));
        prometheus.write(&request).await;
    }
    grafana_is_answered(&prometheus, &corpus, &graph, last as f64 / 1000.0).await;
}

async fn grafana_is_answered(prometheus: &Server, corpus: &Corpus, graph: &Graph, at: f64) {
    let mut families: BTreeMap<String, usize> = BTreeMap::new();
    for labels in graph.series(Observed).keys().chain(corpus.oracle().series().keys()) {
        *families.entry(labels["__name__"].clone()).or_default() += 1;
    }
    for (family, n) in &families {
        prometheus.wait_for_sample(family, at, *n).await;
    }
    raw_series_are_the_corpus(prometheus, graph, at).await;
    nodes_and_edges_are_drawn(prometheus, graph, at).await;
    latencies_and_failures_are_the_corpus(prometheus, graph, at).await;
    links_of_an_edge_are_answered(prometheus, graph, at).await;
    the_table_above_the_graph_is_filled(prometheus, &corpus.oracle(), at).await;
    exemplars_name_spans_of_the_corpus(prometheus, graph, corpus).await;
}

/// Trace and span of every span, in hex.
fn ids_of(corpus: &Corpus) -> BTreeSet<(String, String)> {
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let requests = corpus.requests();
    let scopes = requests.iter().flat_map(|r| &r.resource_spans).flat_map(|r| &r.scope_spans);
    let spans = scopes.flat_map(|scope| &scope.spans);
    spans.map(|span| (hex(&span.trace_id), hex(&span.span_id))).collect()
}

/// Seconds.
fn newest_timestamp(seen: &Seen) -> f64 {
    let (_, total) = seen.family(REQUESTS).next().expect("edges");
    total.samples.last().expect("a sample").timestamp as f64 / 1000.0
}

async fn raw_series_are_the_corpus(prometheus: &Server, graph: &Graph, at: f64) {
    let expected = graph.series(Observed);
    let query = r#"{__name__=~"traces_service_graph_.+"}"#;
    let found = prometheus.query(query, Some(at)).await;
    let found = found.into_iter().map(|(labels, (_, v))| (strip_origin(labels, RUN), v)).collect();
    assert_equal(&expected, &found, &[], "Prometheus");
}

async fn nodes_and_edges_are_drawn(prometheus: &Server, graph: &Graph, at: f64) {
    let links = links(graph);
    for metric in DRAWN_FROM {
        let has = |failed: f64| !metric.contains("failed") || failed > 0.0;
        let rates = format!("sum by (client, server) (rate({metric}[5m]))");
        let found = by_pair(prometheus, &rates, at).await;
        let pairs = links.iter().filter(|(_, link)| has(link.failed)).map(|(pair, _)| pair);
        assert_eq!(found.keys().collect::<Vec<_>>(), pairs.collect::<Vec<_>>(), "{rates}");

        let groups = format!("group by (client, connection_type, server) ({metric})");
        let found = prometheus.query(&groups, Some(at)).await;
        let name = |labels: &Labels, name: &str| labels.get(name).cloned().unwrap_or_default();
        let names: BTreeSet<graph::Names> = found
            .keys()
            .map(|labels| ["client", "server", "connection_type"].map(|n| name(labels, n)))
            .collect();
        let edges = graph.edges.iter().filter(|(_, edge)| has(edge.failed as f64));
        assert_eq!(names, edges.map(|(names, _)| names.clone()).collect(), "{groups}");
    }
}

/// As Grafana divides them: what fails of all requests, and the mean of the server's latency.
async fn latencies_and_failures_are_the_corpus(prometheus: &Server, graph: &Graph, at: f64) {
    let [sum, total, failed, _] =
        DRAWN_FROM.map(|metric| format!("sum by (client, server) (rate({metric}[5m]))"));
    let means = by_pair(prometheus, &format!("{sum} / {total}"), at).await;
    let failures = by_pair(prometheus, &format!("{failed} / {total}"), at).await;
    let mut n_failing = 0;
    for (pair, link) in links(graph) {
        let mean = link.server.expect("a histogram").sum / link.requests;
        assert!(is_close(means[&pair], mean), "{pair:?}: {}, expected {mean}", means[&pair]);
        if link.failed > 0.0 {
            n_failing += 1;
            let (found, expected) = (failures[&pair], link.failed / link.requests);
            assert!(is_close(found, expected), "{pair:?}: {found}, expected {expected}");
        }
    }
    assert!(n_failing > 0 && failures.len() == n_failing, "{failures:?}");
}

async fn links_of_an_edge_are_answered(prometheus: &Server, graph: &Graph, at: f64) {
    for (pair, link) in links(graph) {
        let [client, server] = &pair;
        let of_edge = format!("{{client=\"{client}\",server=\"{server}\"}}[5m]");
        let [_, total, failed, bucket] = DRAWN_FROM.map(|m| format!("rate({m}{of_edge})"));
        for (metric, is_there) in [(total, true), (failed, link.failed > 0.0)] {
            let query = format!("sum by (client, server) ({metric})");
            let rate = by_pair(prometheus, &query, at).await.remove(&pair);
            assert_eq!(rate.is_some_and(|rate| rate > 0.0), is_there, "{query}: {rate:?}");
        }
        let query = format!("histogram_quantile(0.9, sum({bucket}) by (le, client, server))");
        let found = by_pair(prometheus, &query, at).await[&pair];
        assert_is_quantile(found, &link.server.expect("a histogram"), &query);
    }
}

/// The rank may fall on the edge of a bucket, where the last bit of a rate decides.
fn assert_is_quantile(found: f64, histogram: &Histogram, query: &str) {
    let [least, most] = [1.0 - 1e-12, 1.0 + 1e-12].map(|nudge| histogram.quantile(0.9, nudge));
    let within = (least * (1.0 - 1e-9)..=most * (1.0 + 1e-9)).contains(&found);
    assert!(within, "{query}: {found}, expected {least} to {most}");
}

async fn the_table_above_the_graph_is_filled(prometheus: &Server, oracle: &Oracle, at: f64) {
    let servers = "traces_spanmetrics_calls_total{span_kind=\"SPAN_KIND_SERVER\"";
    let mut names: BTreeMap<String, (Histogram, u64)> = BTreeMap::new();
    for operation in &oracle.operations {
        if operation.labels["span_kind"] == "SPAN_KIND_SERVER" {
            let (all, failed) = names.entry(operation.labels["span_name"].clone()).or_default();
            all.add(&operation.latency);
            let is_error = operation.labels["status_code"] == "STATUS_CODE_ERROR";
            *failed += if is_error { operation.calls } else { 0 };
        }
    }
    let top = format!("topk(5, sum(rate({servers}}}[5m])) by (span_name))");
    let top = by_name(prometheus, &top, at).await;
    let mut counts: Vec<u64> = names.values().map(|(all, _)| all.count).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(top.len(), counts.len().min(5), "{top:?}");
    let fifth = counts[top.len() - 1];
    assert!(top.keys().all(|name| names[name].0.count >= fifth), "{top:?}, expected {names:?}");

    let any = top.keys().map(|name| regex::escape(name)).collect::<Vec<_>>().join("|");
    let errors = format!("{servers},status_code=\"STATUS_CODE_ERROR\",span_name=~`{any}`}}[5m]");
    let errors = format!("topk(5, sum(rate({errors})) by (span_name))");
    let found = by_name(prometheus, &errors, at).await;
    let failing = top.keys().filter(|name| names[*name].1 > 0);
    assert_eq!(found.keys().collect::<Vec<_>>(), failing.collect::<Vec<_>>(), "{errors}");
    for name in top.keys() {
        let of_name = oracle.operations.iter().filter(|o| o.labels.get("span_name") == Some(name));
        let mut latency = Histogram::default();
        of_name.for_each(|operation| latency.add(&operation.latency));
        let bucket =
            format!("traces_spanmetrics_latency_bucket{{span_name=~`{}`}}", regex::escape(name));
        let query = format!("histogram_quantile(.9, sum(rate({bucket}[5m])) by (le))");
        let found = prometheus.query(&query, Some(at)).await;
        let values: Vec<f64> = found.values().map(|(_, value)| *value).collect();
        assert_eq!(values.len(), 1, "{query}: {found:?}");
        assert_is_quantile(values[0], &latency, &query);
    }
}

async fn exemplars_name_spans_of_the_corpus(prometheus: &Server, graph: &Graph, corpus: &Corpus) {
    let ids = ids_of(corpus);
    for side in ["client", "server"] {
        let family = format!("{}request_{side}_seconds_bucket", graph::PREFIX);
        let found = prometheus.exemplars(&family, (0.0, 4e9)).await;
        let mut named: BTreeSet<graph::Names> = BTreeSet::new();
        for (series, exemplars) in &found {
            let name = |name: &str| series.get(name).cloned().unwrap_or_default();
            named.insert(["client", "server", "connection_type"].map(name));
            for exemplar in exemplars {
                let names: Vec<&str> = exemplar.labels.keys().map(String::as_str).collect();
                assert_eq!(names, ["span_id", "traceID"], "{series:?}");
                let id = (exemplar.labels["traceID"].clone(), exemplar.labels["span_id"].clone());
                assert_eq!((id.0.len(), id.1.len()), (32, 16), "{series:?}: {id:?}");
                assert!(ids.contains(&id), "{series:?}: {id:?} was never sent");
                let le: f64 = series["le"].parse().expect("a bound");
                assert!(exemplar.value <= le, "{series:?}: {exemplar:?}");
            }
        }
        let has_side = |edge: &graph::Edge| match side {
            "client" => edge.client.count > 0,
            _ => edge.server.count > 0,
        };
        let edges = graph.edges.iter().filter(|(_, edge)| has_side(edge));
        let missing: Vec<_> =
            edges.map(|(names, _)| names).filter(|n| !named.contains(*n)).collect();
        assert!(missing.is_empty(), "{family}: no exemplar on {missing:?}");
    }
}

async fn by_pair(server: &Server, query: &str, at: f64) -> BTreeMap<Pair, f64> {
    let found = server.query(query, Some(at)).await;
    let one = |(labels, (_, value)): (Labels, (f64, f64))| {
        (["client", "server"].map(|name| labels[name].clone()), value)
    };
    found.into_iter().map(one).collect()
}

async fn by_name(server: &Server, query: &str, at: f64) -> BTreeMap<String, f64> {
    let found = server.query(query, Some(at)).await;
    found
        .into_iter()
        .map(|(mut labels, (_, v))| (labels.remove("span_name").expect("it"), v))
        .collect()
}
