//! Reports against slow counts, and their JSON.

use std::collections::BTreeMap;

use expect_test::expect;

use super::*;
use crate::admin::test_view::{TestRow, batch, view};
use crate::batch::Batch;
use crate::collect::View;
use crate::ledger::{Table, service_label};

fn refused(rows: &[TestRow<'_>]) -> Wanted {
    let mut wanted = Wanted::new([1, 2, 3, 4], 900_000);
    let batch: Batch = batch(rows);
    for row in &batch.rows {
        wanted.refused(row.table, batch.labels(row), row.spans, 0);
    }
    wanted
}

fn report(view: &View, wanted: Option<&Wanted>, only: Option<&str>, top: usize) -> Vec<Service> {
    let growth = |_: &str, _: &str, n: u64| i64::try_from(n).ok();
    Sources { wanted, only, top, growth }.services(&Count::of(view, only))
}

/// A small random number.
fn random(state: &mut u64, n: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % n
}

#[test]
fn what_is_admitted_is_counted_exactly() {
    for seed in 0..20 {
        let mut state = seed;
        let mut texts = Vec::new();
        for _ in 0..400 {
            let mut text = |name: &str, n| format!("{name}-{}", random(&mut state, n));
            texts.push([text("service", 6), text("route", 40), text("zone", 3)]);
        }
        texts.sort();
        texts.dedup();
        let rows = texts.iter().zip(1..).map(|([service, route, zone], n)| {
            let edge = n % 3 == 0;
            let table = if edge { Table::EdgeRequests } else { Table::SpanMetrics };
            let own = service_label(table);
            (table, vec![(own, &**service), ("route", route.as_str()), ("zone", zone.as_str())], n)
        });
        let rows: Vec<TestRow<'_>> = rows.collect();
        // Service and label, value: spans. Slowly, and with sorted maps.
        let mut expected: BTreeMap<(&str, &str), BTreeMap<&str, u64>> = BTreeMap::new();
        let mut series: BTreeMap<&str, usize> = BTreeMap::new();
        for (table, labels, spans) in &rows {
            // One bound: calls, size, count, sum, two buckets.
            let n_series = if *table == Table::EdgeRequests { 1 } else { 6 };
            *series.entry(labels[0].1).or_default() += n_series;
            for (label, value) in &labels[1..] {
                let values = expected.entry((labels[0].1, *label)).or_default();
                *values.entry(value).or_default() += spans;
            }
        }
        let view = view(&rows);
        let found = report(&view, None, None, usize::MAX);
        assert_eq!(found.len(), series.len());
        for service in &found {
            assert_eq!(service.series, series[&*service.service]);
            assert_eq!(service.labels.len(), 2, "labels that all series have are left out");
            for label in &service.labels {
                let of = &expected[&(&*service.service, &*label.label)];
                assert_eq!((label.admitted, label.wanted), (of.len() as u64, of.len() as u64));
                let top = label.top.iter().map(|top| (&*top.value, top.spans));
                assert_eq!(&top.clone().collect::<BTreeMap<_, _>>(), of);
                assert!(top.clone().zip(top.skip(1)).all(|(a, b)| a.1 >= b.1));
            }
        }
        let one = report(&view, None, Some("service-1"), 3);
        assert_eq!((one.len(), &*one[0].service), (1, "service-1"));
        assert_eq!(one[0].series, series["service-1"]);
        assert!(one[0].labels.iter().all(|label| label.top.len() as u64 == label.admitted.min(3)));
        assert!(report(&view, None, Some("none"), 3).is_empty());
    }
}

#[test]
fn what_was_refused_joins_what_is_admitted() {
    let span = |service, route| vec![("route", route), ("service", service), ("zone", "eu")];
    let admitted = [
        (Table::SpanMetrics, span("cart", "/a"), 100),
        (Table::SpanMetrics, span("cart", "/b"), 10),
        (Table::SpanMetrics, span("stock", "/c"), 5),
        (Table::EdgeRequests, vec![("client", "cart"), ("server", "stock")], 4),
    ];
    let beyond = [
        // A value that is admitted, in a label set that is not.
        (Table::SpanMetrics, vec![("route", "/b"), ("service", "cart"), ("zone", "us")], 1000),
        (Table::SpanMetrics, span("cart", "/new"), 20),
        (Table::SpanMetrics, span("mail", "/x"), 3),
    ];
    let wanted = refused(&beyond);
    let found = report(&view(&admitted), Some(&wanted), None, 2);
    let json = serde_json::to_string_pretty(&found).unwrap();
    let short = json.replace("\n        ", " ").replace("\n      ", " ").replace("  ", "");
    expect![[r#"
        [
        {
        "service": "cart",
        "series": 13,
        "overflowed_spans": 1020,
        "labels": [ { "label": "route", "wanted": 3, "admitted": 2, "growth_1h": 2, "top": [ { "value": "/b", "spans": 1010 }, { "value": "/a", "spans": 100 } ] }, { "label": "zone", "wanted": 2, "admitted": 1, "growth_1h": 1, "top": [ { "value": "us", "spans": 1000 }, { "value": "eu", "spans": 130 } ] }, { "label": "server", "wanted": 1, "admitted": 1, "growth_1h": 1, "top": [ { "value": "stock", "spans": 4 } ] }
        ]
        },
        {
        "service": "mail",
        "series": 0,
        "overflowed_spans": 3,
        "labels": [ { "label": "route", "wanted": 1, "admitted": 0, "growth_1h": 0, "top": [ { "value": "/x", "spans": 3 } ] }, { "label": "zone", "wanted": 1, "admitted": 0, "growth_1h": 0, "top": [ { "value": "eu", "spans": 3 } ] }
        ]
        },
        {
        "service": "stock",
        "series": 6,
        "overflowed_spans": 0,
        "labels": [ { "label": "route", "wanted": 1, "admitted": 1, "growth_1h": 1, "top": [ { "value": "/c", "spans": 5 } ] }, { "label": "zone", "wanted": 1, "admitted": 1, "growth_1h": 1, "top": [ { "value": "eu", "spans": 5 } ] }
        ]
        },
        {
        "service": "__cardinality_overflow__",
        "series": 0,
        "overflowed_spans": 0,
        "labels": [ { "label": "service", "wanted": 3, "admitted": 2, "growth_1h": 2, "top": [ { "value": "cart", "spans": 1130 }, { "value": "stock", "spans": 5 } ] }
        ]
        }
        ]"#]].assert_eq(&short);
    let one = report(&view(&admitted), Some(&wanted), Some("mail"), 0);
    assert_eq!((one.len(), one[0].overflowed_spans, one[0].labels[0].top.len()), (1, 3, 0));
    assert!(report(&view(&admitted), Some(&wanted), Some("none"), 2).is_empty());
}
