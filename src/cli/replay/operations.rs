//! What was counted, an operation a row: service, span name and span kind with rate, errors, duration.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::ledger::{Event, Labels, Snapshot, Table, Total};
use crate::series::histogram_quantile;

const ERROR: &str = "STATUS_CODE_ERROR";
/// Characters of a text that the table shows; JSON has all of it.
const TEXT_MAX: usize = 72;
const COLUMNS: [&str; 8] =
    ["service", "span_name", "span_kind", "calls", "errors", "p50", "p95", "p99"];
/// So many columns are text, the others numbers.
const TEXTS: usize = 3;
const BETWEEN: &str = "  ";

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
    buckets: Vec<Total>,
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
        sums.buckets.resize(bounds.len() + 1, Total::default());
        for (bucket, sum) in sums.buckets.iter_mut().enumerate() {
            sum.add(&values.bucket(*slot, bucket));
        }
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
    let counts: Vec<f64> = sums.buckets.iter().map(Total::as_f64).collect();
    Operation {
        names: names.map(str::to_owned),
        calls: sums.calls,
        errors: sums.errors,
        quantiles: [0.5, 0.95, 0.99]
            .map(|q| histogram_quantile(q, bounds, &counts).map(|seconds| seconds * 1000.0)),
    }
}

/// Aligned columns under their names; durations are milliseconds.
pub(super) fn table(operations: &[Operation]) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows[0][5..].iter_mut().for_each(|name| name.push_str(" ms"));
    rows.extend(operations.iter().map(|operation| {
        let [service, span_name, span_kind] = operation.names.each_ref().map(|name| shown(name));
        let [p50, p95, p99] = operation.quantiles.map(milliseconds);
        let (calls, errors) = (count(&operation.calls), count(&operation.errors));
        [service, span_name, span_kind, calls, errors, p50, p95, p99]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; COLUMNS.len()]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (text, width))| {
            if column < TEXTS { format!("{text:<width$}") } else { format!("{text:>width$}") }
        });
        format!("{}\n", cells.collect::<Vec<_>>().join(BETWEEN))
    };
    rows.iter().map(line).collect()
}

/// All of it, with the columns' names.
pub(super) fn json(operations: &[Operation]) -> String {
    let rows = operations.iter().map(|operation| {
        let [service, span_name, span_kind] = operation.names.each_ref().map(String::as_str);
        let [p50, p95, p99] = operation.quantiles;
        let (calls, errors) = (number(&operation.calls), number(&operation.errors));
        JsonOperation { service, span_name, span_kind, calls, errors, p50, p95, p99 }
    });
    let output = Output { operations: rows.collect(), edges: [] };
    let text = serde_json::to_string_pretty(&output).expect("texts and numbers are JSON");
    text + "\n"
}

#[derive(Serialize)]
struct Output<'a> {
    operations: Vec<JsonOperation<'a>>,
    edges: [(); 0],
}

#[derive(Serialize)]
struct JsonOperation<'a> {
    service: &'a str,
    span_name: &'a str,
    span_kind: &'a str,
    calls: Value,
    errors: Value,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

/// A whole number stays one.
fn number(total: &Total) -> Value {
    match u64::try_from(total.whole) {
        Ok(whole) if total.rest == 0.0 => json!(whole),
        _ => json!(total.as_f64()),
    }
}

fn count(total: &Total) -> String {
    if total.rest == 0.0 { total.whole.to_string() } else { format!("{:.3}", total.as_f64()) }
}

/// Three digits that count, and more where the whole part has more.
fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 1.0 => format!("{ms:.3}"),
        Some(ms) if ms < 10.0 => format!("{ms:.2}"),
        Some(ms) if ms < 100.0 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
    }
}

/// On one line, and not too long.
fn shown(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(TEXT_MAX).map(visible).collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::batch::Weight;

    fn operations() -> Vec<Operation> {
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

    #[test]
    fn json_has_the_columns_names_and_every_digit() {
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
              "edges": []
            }
        "#]]
        .assert_eq(&json(&operations()[2..]));
        let json: Value = serde_json::from_str(&json(&operations())).unwrap();
        assert_eq!(json["operations"][0]["calls"], 12345);
        assert_eq!(json["operations"][0]["p95"], 23.456);
        assert_eq!(json["operations"][1]["span_name"], "x".repeat(100));
    }
}
