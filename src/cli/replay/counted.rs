//! All that was counted, for people and for programs.

use serde::Serialize;

use super::edges::{self, Edge, JsonEdge};
use super::operations::{self, JsonOperation, Operation};
use super::what_if::{self, Dropped, Made, WhatIf};
use crate::ledger::Snapshot;

#[derive(Debug)]
pub(super) struct Counted {
    operations: Vec<Operation>,
    edges: Vec<Edge>,
    what_if: Vec<WhatIf>,
}

#[derive(Serialize)]
struct Output<'a> {
    operations: Vec<JsonOperation<'a>>,
    edges: Vec<JsonEdge<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    what_if: &'a [WhatIf],
}

impl Counted {
    /// Of the first tick of a tenant: what was born is all there is.
    pub(super) fn of(snapshot: &Snapshot, made: &Made, drops: &[Dropped]) -> Self {
        Self {
            operations: operations::of(snapshot),
            edges: edges::of(snapshot),
            what_if: what_if::of(snapshot, made, drops),
        }
    }

    /// Labels of what-ifs that no series has, a line each.
    pub(super) fn unknown_labels(&self) -> impl Iterator<Item = &String> {
        self.what_if.iter().flat_map(|what_if| &what_if.unknown)
    }

    /// The operations, an empty line, the edges, and what would be if.
    pub(super) fn table(&self) -> String {
        let mut text = operations::table(&self.operations);
        text.push('\n');
        text.push_str(&edges::table(&self.edges));
        if !self.what_if.is_empty() {
            text.push('\n');
            text.push_str(&what_if::lines(&self.what_if));
        }
        text
    }

    /// All of it, with the columns' names.
    pub(super) fn json(&self) -> String {
        let operations = self.operations.iter().map(Operation::json).collect();
        let edges = self.edges.iter().map(Edge::json).collect();
        let text =
            serde_json::to_string_pretty(&Output { operations, edges, what_if: &self.what_if });
        text.expect("texts and numbers are JSON") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::Value;

    use super::*;

    fn counted() -> Counted {
        let (operations, edges) = (operations::tests::operations(), edges::tests::edges());
        Counted { operations, edges, what_if: Vec::new() }
    }

    fn empty() -> Counted {
        Counted { operations: Vec::new(), edges: Vec::new(), what_if: Vec::new() }
    }

    #[test]
    fn the_edges_stand_below_the_operations_and_their_columns_are_always_there() {
        let table = counted().table();
        let (operations, edges) = table.split_once("\n\n").unwrap();
        assert!(operations.starts_with("service ") && edges.starts_with("client "), "{table}");
        expect![[r#"
            service  span_name  span_kind  calls  errors  p50 ms  p95 ms  p99 ms

            client  server  type  requests  failed  client_p50 ms  client_p95 ms  server_p50 ms  server_p95 ms
        "#]]
        .assert_eq(&empty().table());
    }

    #[test]
    fn json_has_the_columns_names_and_every_digit() {
        let mut all = counted();
        let (operations, edges) = (all.operations.split_off(2), all.edges.split_off(2));
        let one = Counted { operations, edges, what_if: Vec::new() };
        expect![[r#"
            {
              "operations": [
                {
                  "service": "shop",
                  "span_name": "",
                  "span_kind": "SPAN_KIND_CLIENT",
                  "calls": 2.5,
                  "errors": 0,
                  "p50": null,
                  "p95": null,
                  "p99": null
                }
              ],
              "edges": [
                {
                  "client": "stock",
                  "server": "pg\n",
                  "type": "database",
                  "requests": 2.5,
                  "failed": 0,
                  "client_p50": null,
                  "client_p95": null,
                  "server_p50": null,
                  "server_p95": null
                }
              ]
            }
        "#]]
        .assert_eq(&one.json());
        let json: Value = serde_json::from_str(&counted().json()).unwrap();
        assert_eq!(json["operations"][0]["calls"], 12345);
        assert_eq!(json["operations"][0]["p95"], 23.456);
        assert_eq!(json["operations"][1]["span_name"], "x".repeat(100));
        assert_eq!(json["edges"].as_array().unwrap().len(), 3);
        assert_eq!(empty().json(), "{\n  \"operations\": [],\n  \"edges\": []\n}\n");
    }
}
