//! What was counted, an edge a row: who calls whom, how often, how badly, how slowly as both see it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::figures::{self, Latency, count, milliseconds, number, shown};
use crate::ledger::{Event, Labels, Snapshot, Table, Total};

const COLUMNS: [&str; 9] = [
    "client",
    "server",
    "type",
    "requests",
    "failed",
    "client_p50 ms",
    "client_p95 ms",
    "server_p50 ms",
    "server_p95 ms",
];
/// So many columns are text, the others numbers.
const TEXTS: usize = 3;

/// All label sets of one client, server and connection type.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edge {
    /// client, server, type
    names: [String; TEXTS],
    requests: Total,
    failed: Total,
    /// Milliseconds of p50 and p95; `None` without an observation.
    client: [Option<f64>; 2],
    server: [Option<f64>; 2],
}

#[derive(Default)]
struct Sums {
    requests: Total,
    failed: Total,
    client: Latency,
    server: Latency,
}

/// The edges of a tick: the most frequent first, then by name.
pub(super) fn of(snapshot: &Snapshot) -> Vec<Edge> {
    let mut edges: BTreeMap<[&str; TEXTS], Sums> = BTreeMap::new();
    for event in &snapshot.events {
        let Event::Birth { table, slot, labels } = event else { continue };
        let labels = Labels::new(labels);
        let names = ["client", "server", "connection_type"].map(|name| labels.get(name));
        let values = snapshot.values(*table);
        let edge = edges.entry(names);
        match table {
            Table::EdgeRequests => edge.or_default().requests.add(&values.calls(*slot)),
            Table::EdgeFailed => edge.or_default().failed.add(&values.calls(*slot)),
            Table::EdgeClient => edge.or_default().client.add(values, *slot),
            Table::EdgeServer => edge.or_default().server.add(values, *slot),
            Table::SpanMetrics
            | Table::TargetInfo
            | Table::HostInfo
            | Table::EdgeMessaging
            | Table::EdgeInfo => {}
        }
    }
    let quantiles = |latency: &Latency, table| {
        let bounds = &snapshot.values(table).layout().bounds;
        [0.5, 0.95].map(|q| latency.quantile(q, bounds))
    };
    let edge = |(names, sums): ([&str; TEXTS], Sums)| Edge {
        names: names.map(str::to_owned),
        requests: sums.requests,
        failed: sums.failed,
        client: quantiles(&sums.client, Table::EdgeClient),
        server: quantiles(&sums.server, Table::EdgeServer),
    };
    let mut edges: Vec<Edge> = edges.into_iter().map(edge).collect();
    edges.sort_by(|a, b| b.requests.as_f64().total_cmp(&a.requests.as_f64()));
    edges
}

/// Aligned columns under their names; durations are milliseconds.
pub(super) fn table(edges: &[Edge]) -> String {
    let row = |edge: &Edge| {
        let [client, server, kind] = edge.names.each_ref().map(|name| shown(name));
        let [client_p50, client_p95] = edge.client.map(milliseconds);
        let [server_p50, server_p95] = edge.server.map(milliseconds);
        let (requests, failed) = (count(&edge.requests), count(&edge.failed));
        [client, server, kind, requests, failed, client_p50, client_p95, server_p50, server_p95]
    };
    figures::table(COLUMNS, TEXTS, edges.iter().map(row))
}

#[derive(Debug, Serialize)]
pub(super) struct JsonEdge<'a> {
    client: &'a str,
    server: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    requests: Value,
    failed: Value,
    client_p50: Option<f64>,
    client_p95: Option<f64>,
    server_p50: Option<f64>,
    server_p95: Option<f64>,
}

impl Edge {
    pub(super) fn json(&self) -> JsonEdge<'_> {
        let [client, server, kind] = self.names.each_ref().map(String::as_str);
        let [client_p50, client_p95] = self.client;
        let [server_p50, server_p95] = self.server;
        let (requests, failed) = (number(&self.requests), number(&self.failed));
        JsonEdge {
            client,
            server,
            kind,
            requests,
            failed,
            client_p50,
            client_p95,
            server_p50,
            server_p95,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use super::*;
    use crate::batch::{Batch, Bounds, BucketCount, Range, Row, Weight, push_label};
    use crate::ledger::{self, Tenant};
    use crate::tenant::TenantId;

    struct Rows(Batch);

    impl Rows {
        /// So many requests, each observed in a bucket of a histogram.
        fn add(&mut self, table: Table, labels: &[(&str, &str)], n: Total, bucket: Option<u32>) {
            let Self(batch) = self;
            let (start, first) = (batch.text.len(), batch.buckets.len());
            labels.iter().for_each(|(name, value)| push_label(&mut batch.text, name, value));
            batch.buckets.extend(bucket.map(|bucket| BucketCount { bucket, count: n }));
            batch.rows.push(Row {
                table,
                labels: Range::of(start, batch.text.len()),
                spans: 1,
                calls: n,
                size: 0,
                latency: Total::default(),
                buckets: Range::of(first, batch.buckets.len()),
                exemplars: Range::default(),
            });
        }

        fn edges(self) -> Vec<Edge> {
            let bounds = Bounds { span_metrics: vec![1.0], service_graphs: vec![0.1, 1.0] };
            let settings = ledger::Settings::default();
            let tenant = Tenant::new(TenantId::single(), settings, &bounds, [0; 4]);
            tenant.apply(&self.0, Duration::from_secs(1));
            of(&tenant.tick(Duration::from_secs(2)))
        }
    }

    /// cart -> stock in two label sets, a virtual caller, and a sampled database call.
    pub(in super::super) fn edges() -> Vec<Edge> {
        let mut rows = Rows(Batch::default());
        let one = Total::of;
        let mut sampled = Total::default();
        sampled.add_weighted(1, Weight::new(2.5).unwrap());
        let eu = [("client", "cart"), ("region", "eu"), ("server", "stock")];
        let us = [("client", "cart"), ("region", "us"), ("server", "stock")];
        rows.add(Table::EdgeRequests, &eu, one(3), None);
        rows.add(Table::EdgeClient, &eu, one(3), Some(0));
        rows.add(Table::EdgeServer, &eu, one(3), Some(0));
        rows.add(Table::EdgeRequests, &us, one(1), None);
        rows.add(Table::EdgeFailed, &us, one(1), None);
        rows.add(Table::EdgeClient, &us, one(1), Some(2));
        rows.add(Table::EdgeServer, &us, one(1), Some(1));
        rows.add(Table::EdgeInfo, &us, Total::default(), None);
        let user = [("client", "user"), ("connection_type", "virtual_node"), ("server", "cart")];
        rows.add(Table::EdgeRequests, &user, one(12), None);
        rows.add(Table::EdgeServer, &user, one(12), Some(1));
        let db = [("client", "stock"), ("connection_type", "database"), ("server", "pg\n")];
        rows.add(Table::EdgeRequests, &db, sampled, None);
        rows.add(Table::EdgeMessaging, &db, sampled, Some(0));
        rows.add(Table::SpanMetrics, &[("service", "cart")], one(99), Some(0));
        rows.edges()
    }

    #[test]
    fn label_sets_of_an_edge_are_summed_and_the_most_frequent_come_first() {
        expect![[r#"
            client  server  type          requests  failed  client_p50 ms  client_p95 ms  server_p50 ms  server_p95 ms
            user    cart    virtual_node        12       0              -              -            550            955
            cart    stock                        4       1           66.7           1000           66.7            820
            stock   pg      database         2.500       0              -              -              -              -
        "#]].assert_eq(&table(&edges()));
    }

    #[test]
    fn edges_with_as_many_requests_stand_in_the_order_of_their_names() {
        let mut rows = Rows(Batch::default());
        for [client, server] in [["b", "a"], ["a", "c"], ["a", "b"]] {
            let labels = [("client", client), ("server", server)];
            rows.add(Table::EdgeRequests, &labels, Total::of(7), None);
        }
        let names: Vec<String> = rows.edges().iter().map(|edge| edge.names.concat()).collect();
        assert_eq!(names, ["ab", "ac", "ba"]);
    }
}
