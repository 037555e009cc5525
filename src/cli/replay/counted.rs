//! All that was counted, for people and for programs.

use serde::Serialize;

use super::edges::{self, Edge, JsonEdge};
use super::operations::{self, JsonOperation, Operation};
use crate::ledger::Snapshot;

#[derive(Debug)]
pub(super) struct Counted {
    operations: Vec<Operation>,
    edges: Vec<Edge>,
}

#[derive(Serialize)]
struct Output<'a> {
    operations: Vec<JsonOperation<'a>>,
    edges: Vec<JsonEdge<'a>>,
}

impl Counted {
    /// Of the first tick of a tenant: what was born is all there is.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self { operations: operations::of(snapshot), edges: edges::of(snapshot) }
    }

    /// The operations, an empty line, the edges.
    pub(super) fn table(&self) -> String {
        format!("{}\n{}", operations::table(&self.operations), edges::table(&self.edges))
    }

    /// All of it, with the columns' names.
    pub(super) fn json(&self) -> String {
        let operations = self.operations.iter().map(Operation::json).collect();
        let edges = self.edges.iter().map(Edge::json).collect();
        let text = serde_json::to_string_pretty(&Output { operations, edges });
        text.expect("texts and numbers are JSON") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::Value;

    use super::*;

    fn counted() -> Counted {
        Counted { operations: operations::tests::operations(), edges: edges::tests::edges() }
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
        .assert_eq(&Counted { operations: Vec::new(), edges: Vec::new() }.table());
    }

    #[test]
    fn json_has_the_columns_names_and_every_digit() {
        let mut all = counted();
        let one =
            Counted { operations: all.operations.split_off(2), edges: all.edges.split_off(2) };
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
        let empty = Counted { operations: Vec::new(), edges: Vec::new() }.json();
        assert_eq!(empty, "{\n  \"operations\": [],\n  \"edges\": []\n}\n");
    }
}
