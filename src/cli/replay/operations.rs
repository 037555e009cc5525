//! What was counted, an operation a row: service, span name and span kind with rate, errors, duration.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::figures::{self, Latency, count, milliseconds, number, shown};
use crate::ledger::{Event, Labels, Snapshot, Table, Total};

const ERROR: &str = "STATUS_CODE_ERROR";
const COLUMNS: [&str; 8] =
    ["service", "span_name", "span_kind", "calls", "errors", "p50 ms", "p95 ms", "p99 ms"];
/// So many columns are text, the others numbers.
const TEXTS: usize = 3;

/// All label sets of one service, span name and span kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    /// service, span_name, span_kind
    names: [String; TEXTS],
    calls: Total,
    errors: Total,
    /// Milliseconds of p50, p95, p99; `None` without a call.
    quantiles: [Option<f64>; 3],
}

#[derive(Default)]
struct Sums {
    calls: Total,
    errors: Total,
    latency: Latency,
}

/// The operations of a tick, by service, and there the most frequent first.
pub(super) fn of(snapshot: &Snapshot) -> Vec<Operation> {
    let mut operations: BTreeMap<[&str; TEXTS], Sums> = BTreeMap::new();
    let values = snapshot.values(Table::SpanMetrics);
    let bounds = &values.layout().bounds;
    for event in &snapshot.events {
        let Event::Birth { table: Table::SpanMetrics, slot, labels } = event else { continue };
        let labels = Labels::new(labels);
        let names = ["service", "span_name", "span_kind"].map(|name| labels.get(name));
        let sums = operations.entry(names).or_default();
        sums.calls.add(&values.calls(*slot));
        if labels.get("status_code") == ERROR {
            sums.errors.add(&values.calls(*slot));
        }
        sums.latency.add(values, *slot);
    }
    let mut operations: Vec<Operation> =
        operations.into_iter().map(|(names, sums)| operation(names, &sums, bounds)).collect();
    operations.sort_by(|a, b| {
        let calls = |operation: &Operation| Reverse(operation.calls.whole);
        a.names[0].cmp(&b.names[0]).then_with(|| calls(a).cmp(&calls(b)))
    });
    operations
}

fn operation(names: [&str; TEXTS], sums: &Sums, bounds: &[f64]) -> Operation {
    Operation {
        names: names.map(str::to_owned),
        calls: sums.calls,
        errors: sums.errors,
        quantiles: [0.5, 0.95, 0.99].map(|q| sums.latency.quantile(q, bounds)),
    }
}

/// Aligned columns under their names; durations are milliseconds.
pub(super) fn table(operations: &[Operation]) -> String {
    let row = |operation: &Operation| {
        let [service, span_name, span_kind] = operation.names.each_ref().map(|name| shown(name));
        let [p50, p95, p99] = operation.quantiles.map(milliseconds);
        let (calls, errors) = (count(&operation.calls), count(&operation.errors));
        [service, span_name, span_kind, calls, errors, p50, p95, p99]
    };
    figures::table(COLUMNS, TEXTS, operations.iter().map(row))
}

#[derive(Debug, Serialize)]
pub(super) struct JsonOperation<'a> {
    service: &'a str,
    span_name: &'a str,
    span_kind: &'a str,
    calls: Value,
    errors: Value,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

impl Operation {
    pub(super) fn json(&self) -> JsonOperation<'_> {
        let [service, span_name, span_kind] = self.names.each_ref().map(String::as_str);
        let [p50, p95, p99] = self.quantiles;
        let (calls, errors) = (number(&self.calls), number(&self.errors));
        JsonOperation { service, span_name, span_kind, calls, errors, p50, p95, p99 }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::expect;

    use super::*;
    use crate::batch::Weight;

    pub(in super::super) fn operations() -> Vec<Operation> {
        let row = |names: [&str; 3], calls, errors, quantiles| Operation {
            names: names.map(str::to_owned),
            calls: Total::of(calls),
            errors: Total::of(errors),
            quantiles,
        };
        let mut sampled = row(["shop", "", "SPAN_KIND_CLIENT"], 0, 0, [None; 3]);
        sampled.calls.add_weighted(1, Weight::new(2.5).unwrap());
        vec![
            row(["cart", "GET /\n", "SPAN_KIND_SERVER"], 12345, 7, [1.0, 23.456, 7890.1].map(Some)),
            row(["cart", &"x".repeat(100), "SPAN_KIND_CLIENT"], 1, 0, [0.001; 3].map(Some)),
            sampled,
        ]
    }

    #[test]
    fn columns_are_aligned_and_numbers_short() {
        expect![[r#"
            service  span_name                                                                    span_kind         calls  errors  p50 ms  p95 ms  p99 ms
            cart     GET /                                                                        SPAN_KIND_SERVER  12345       7    1.00    23.5    7890
            cart     xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...  SPAN_KIND_CLIENT      1       0   0.001   0.001   0.001
            shop                                                                                  SPAN_KIND_CLIENT  2.500       0       -       -       -
        "#]].assert_eq(&table(&operations()));
        expect![[r#"
            service  span_name  span_kind  calls  errors  p50 ms  p95 ms  p99 ms
        "#]]
        .assert_eq(&table(&[]));
    }
}
