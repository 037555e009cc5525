//! The service graph that spans should give: as an independent program counted it, and counted again
//! here, slowly and plainly, by the same two rules and for what that program was not asked.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;

use super::oracle::{self, Histogram, Labels};
use super::otlp_json::text_of;

pub(crate) const PREFIX: &str = "traces_service_graph_";
pub(crate) const REQUESTS: &str = "traces_service_graph_request_total";

const BOUNDS: [f64; 8] = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8];
const DATABASE: &str = "database";
const MESSAGING: &str = "messaging_system";
const VIRTUAL: &str = "virtual_node";
const USER: &str = "user";
const DATABASE_KEYS: [&str; 4] = ["db.namespace", "db.name", "db.system", "db.system.name"];
const PEER_KEYS: [&str; 4] = ["peer.service", "db.name", "db.system", "db.system.name"];

/// client, server, connection_type
pub(crate) type Names = [String; 3];

#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    pub(crate) edges: BTreeMap<Names, Edge>,
}

#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Of the sides that there were; those that virtual edges lack are not in it.
    pub(crate) client: Histogram,
    pub(crate) server: Histogram,
}

/// Whether a virtual edge has 0 s for the side that it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingSide {
    Observed,
    Left,
}

impl Default for Edge {
    fn default() -> Self {
        let none = Histogram::new(&BOUNDS);
        Self { requests: 0, failed: 0, client: none.clone(), server: none }
    }
}

impl Graph {
    /// Every series with its value. Sides without an observation have no series.
    pub(crate) fn series(&self, missing: MissingSide) -> BTreeMap<Labels, f64> {
        let mut series = BTreeMap::new();
        for (names, edge) in &self.edges {
            let put = &mut |family: &str, le: Option<String>, value: f64| {
                let mut labels = labels(names);
                labels.insert("__name__".to_owned(), format!("{PREFIX}request_{family}"));
                labels.extend(le.map(|le| ("le".to_owned(), le)));
                assert!(series.insert(labels, value).is_none(), "a series is named once");
            };
            put("total", None, edge.requests as f64);
            if edge.failed > 0 {
                put("failed_total", None, edge.failed as f64);
            }
            for (family, side) in [("client", &edge.client), ("server", &edge.server)] {
                let mut side = side.clone();
                if missing == MissingSide::Observed {
                    (side.count..edge.requests).for_each(|_| side.observe(0));
                }
                put_histogram(put, family, &side);
            }
        }
        series
    }

    pub(crate) fn n_requests(&self) -> u64 {
        self.edges.values().map(|edge| edge.requests).sum()
    }

    fn add(&mut self, [client, server, kind]: [&str; 3], failed: bool) -> &mut Edge {
        let edge = self.edges.entry([client, server, kind].map(str::to_owned)).or_default();
        edge.requests += 1;
        edge.failed += u64::from(failed);
        edge
    }

    /// The side that came last decides on the type; it differs from the other's only where a client
    /// meets a consumer, or a producer a server.
    fn complete(&mut self, client: &Side, server: &Side, failed: bool) {
        let last = if client.at < server.at { server } else { client };
        let messaging = matches!(last.kind, SpanKind::Producer | SpanKind::Consumer);
        let kind = if messaging { MESSAGING } else { "" };
        let edge = self.add([&client.service, &server.service, kind], failed);
        edge.client.observe(client.nano);
        edge.server.observe(server.nano);
    }

    /// Whether it is an edge already.
    fn database(&mut self, side: &Side, failed: bool) -> bool {
        let Some(node) = side.database.as_deref().filter(|node| !node.is_empty()) else {
            return false;
        };
        let edge = self.add([&side.service, node, DATABASE], failed);
        edge.client.observe(side.nano);
        edge.server.observe(side.nano);
        true
    }

    fn lone_client(&mut self, side: &Side, failed: bool, peer: &str) {
        if !peer.is_empty() {
            self.add([&side.service, peer, VIRTUAL], failed).client.observe(side.nano);
        }
    }

    fn lone_server(&mut self, side: &Side, failed: bool, peer: &str) {
        if side.is_root() {
            let caller = if peer.is_empty() { USER } else { peer };
            self.add([caller, &side.service, VIRTUAL], failed).server.observe(side.nano);
        }
    }
}

/// Without empty ones: a label without a value is no label.
fn labels(names: &Names) -> Labels {
    let pairs = ["client", "server", "connection_type"].into_iter().zip(names);
    let filled = pairs.filter(|(_, value)| !value.is_empty());
    filled.map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

fn put_histogram(
    put: &mut impl FnMut(&str, Option<String>, f64),
    side: &str,
    histogram: &Histogram,
) {
    if histogram.count == 0 {
        return;
    }
    put(&format!("{side}_seconds_count"), None, histogram.count as f64);
    put(&format!("{side}_seconds_sum"), None, histogram.sum);
    for (bound, count) in &histogram.buckets {
        put(&format!("{side}_seconds_bucket"), Some(bound.text()), *count as f64);
    }
}

/// The expected series in a file of the oracle.
pub(crate) fn series_of_oracle(json: &[u8]) -> BTreeMap<Labels, f64> {
    let file: Value = serde_json::from_slice(json).expect("an oracle is JSON");
    let list = |name: &str| file["service_graph"][name].as_array().expect(name).clone();
    // Edges of mixed kinds have no latencies there: a corpus that has some needs another comparison.
    assert_eq!(list("mixed_kind_edges"), Vec::<Value>::new());
    let mut graph = Graph::default();
    for list in ["edges", "virtual_client_edges", "virtual_server_edges"].map(list) {
        for json in list {
            let text = |name: &str| json[name].as_str().expect(name).to_owned();
            let number = |name: &str| json[name].as_u64().expect(name);
            let names = ["client", "server", "connection_type"].map(text);
            let edge = graph.edges.entry(names).or_default();
            edge.requests += number("request_total");
            edge.failed += number("request_failed_total");
            edge.client.add(&oracle::histogram(&json["client_seconds"]));
            edge.server.add(&oracle::histogram(&json["server_seconds"]));
        }
    }
    graph.series(MissingSide::Left)
}

/// A span that takes part: one of a client, producer, server or consumer that names its service.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    /// Place in the order of arrival.
    at: usize,
    service: String,
    kind: SpanKind,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    failed: bool,
    nano: u64,
    /// "" for none.
    peer: String,
    /// The node that a database call names.
    database: Option<String>,
}

/// Trace, and the span id of the calling side.
type Key<'a> = (&'a [u8], &'a [u8]);

impl Side {
    fn of(at: usize, service: &str, resource: &[KeyValue], span: &Span) -> Self {
        let calls = matches!(span.kind(), SpanKind::Client | SpanKind::Producer);
        let peer = PEER_KEYS.iter().find_map(|key| attribute(key, &[&span.attributes]));
        Self {
            at,
            service: service.to_owned(),
            kind: span.kind(),
            trace: span.trace_id.clone(),
            id: span.span_id.clone(),
            parent: span.parent_span_id.clone(),
            failed: span.status.as_ref().is_some_and(|s| s.code() == StatusCode::Error),
            nano: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
            peer: peer.unwrap_or_default(),
            database: if calls { database_node(&[resource, &span.attributes]) } else { None },
        }
    }

    fn calls(&self) -> bool {
        matches!(self.kind, SpanKind::Client | SpanKind::Producer)
    }

    fn is_root(&self) -> bool {
        !self.calls() && self.parent.is_empty()
    }

    fn key(&self) -> Key<'_> {
        (&self.trace, if self.calls() { &self.id } else { &self.parent })
    }
}

/// In the order of arrival.
pub(crate) fn sides(requests: &[Request]) -> Vec<Side> {
    let mut sides = Vec::new();
    for resource_spans in requests.iter().flat_map(|request| &request.resource_spans) {
        let resource = resource_spans.resource.as_ref();
        let resource = resource.map_or(&[][..], |resource| &resource.attributes);
        let service = attribute("service.name", &[resource]).unwrap_or_default();
        for span in resource_spans.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let takes_part = !matches!(span.kind(), SpanKind::Unspecified | SpanKind::Internal);
            if takes_part && !service.is_empty() {
                sides.push(Side::of(sides.len(), &service, resource, span));
            }
        }
    }
    sides
}

/// A span whose trace, id and kind have been seen is a copy.
pub(crate) fn without_copies(sides: &[Side]) -> Vec<Side> {
    let mut seen = BTreeSet::new();
    let mut kept = sides.to_vec();
    kept.retain(|side| seen.insert((side.trace.clone(), side.id.clone(), side.kind as i32)));
    kept
}

/// The plain rule: everything is known before anything is paired. One edge a calling span: with the
/// first called span below it. Every root stands for itself.
pub(crate) fn pair_plainly(sides: &[Side]) -> Graph {
    let mut graph = Graph::default();
    let mut callers: BTreeMap<Key<'_>, &Side> = BTreeMap::new();
    let mut called: BTreeMap<Key<'_>, &Side> = BTreeMap::new();
    for side in sides {
        if graph.database(side, side.failed) {
            continue;
        }
        if side.calls() {
            callers.entry(side.key()).or_insert(side);
        } else if side.is_root() {
            graph.lone_server(side, side.failed, &side.peer);
        } else {
            called.entry(side.key()).or_insert(side);
        }
    }
    for (key, client) in callers {
        match called.get(&key) {
            Some(server) => graph.complete(client, server, client.failed || server.failed),
            None => graph.lone_client(client, client.failed, &client.peer),
        }
    }
    graph
}

/// An edge on which sides are still to come.
#[derive(Debug, Default)]
struct Open<'a> {
    client: Option<&'a Side>,
    server: Option<&'a Side>,
    failed: bool,
    peer: &'a str,
}

/// Tempo's rule, strictly in the order of arrival: an edge is forgotten as soon as both sides are there;
/// until then a side takes the place of an earlier one, whose failure stays.
pub(crate) fn pair_in_order(sides: &[Side]) -> Graph {
    let mut graph = Graph::default();
    let mut open: BTreeMap<Key<'_>, Open<'_>> = BTreeMap::new();
    for side in sides {
        let edge = open.entry(side.key()).or_default();
        edge.failed |= side.failed;
        if !side.peer.is_empty() {
            edge.peer = &side.peer;
        }
        let failed = edge.failed;
        if graph.database(side, failed) {
            open.remove(&side.key());
            continue;
        }
        let place = if side.calls() { &mut edge.client } else { &mut edge.server };
        *place = Some(side);
        if let (Some(client), Some(server)) = (edge.client, edge.server) {
            graph.complete(client, server, failed);
            open.remove(&side.key());
        }
    }
    for Open { client, server, failed, peer } in open.into_values() {
        match (client, server) {
            (Some(client), _) => graph.lone_client(client, failed, peer),
            (None, Some(server)) => graph.lone_server(server, failed, peer),
            (None, None) => {}
        }
    }
    graph
}

fn database_node(attributes: &[&[KeyValue]]) -> Option<String> {
    let get = |key: &str| attribute(key, attributes);
    let database = DATABASE_KEYS.iter().find_map(|key| get(key))?;
    let address = || {
        let address = get("network.peer.address")?;
        let port = get("network.peer.port").map(|port| format!(":{port}"));
        Some(address + &port.unwrap_or_default())
    };
    let named = get("peer.service").or_else(|| get("server.address")).or_else(address);
    Some(named.unwrap_or(database))
}

/// The first of that key in the first list that has it.
fn attribute(key: &str, lists: &[&[KeyValue]]) -> Option<String> {
    let found = lists.iter().find_map(|list| list.iter().find(|kv| kv.key == key))?;
    Some(found.value.as_ref().map_or_else(String::new, text_of))
}

mod tests {
    use super::*;
    use crate::support::oracle::assert_equal;
    use crate::support::{corpus, odd_edges};

    #[test]
    fn both_rules_give_what_the_oracle_gives() {
        for corpus in corpus::all() {
            let sides = sides(&corpus.requests());
            let plain = pair_plainly(&sides).series(MissingSide::Observed);
            assert_equal(&corpus.graph(), &plain, &[], &format!("{}, plainly", corpus.name));
            if let Some(expected) = corpus.graph_in_order() {
                let found = pair_in_order(&sides).series(MissingSide::Observed);
                assert_equal(&expected, &found, &[], &format!("{}, in order", corpus.name));
            }
        }
    }

    #[test]
    fn a_copy_is_left_out_and_a_span_of_another_kind_is_none() {
        let requests = odd_edges::requests();
        let once = sides(&requests);
        let twice = sides(&[requests.clone(), requests].concat());
        assert_eq!((once.len(), without_copies(&once).len()), (twice.len() / 2, once.len()));
        let series = |sides: &[Side]| pair_in_order(sides).series(MissingSide::Observed);
        assert_eq!(series(&without_copies(&twice)), series(&once));
        assert_ne!(series(&twice), series(&once));
    }

    #[test]
    fn the_five_corpora_of_the_repository_have_both_rules_and_differ_between_them_in_four() {
        let ours = corpus::all().into_iter().filter_map(|c| Some((c.graph_in_order()?, c)));
        let differ = ours.filter(|(in_order, corpus)| *in_order != corpus.graph());
        let names: Vec<String> = differ.map(|(_, corpus)| corpus.name).collect();
        let expected = ["mixed-json", "node-edge", "node-old-json", "node-store-http-gzip"];
        assert_eq!(names[..4], expected);
        assert!(corpus::named("py-shop-grpc").graph_in_order().is_some());
    }
}
