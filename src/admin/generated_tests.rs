//! What the page shows of settings that change while series live.

use std::time::Duration;

use super::*;
use crate::admin::test_view;
use crate::batch::{Batch, Bounds, BucketCount, Exemplar, Range, Row, Total, push_label};
use crate::collect::{Catalog, Families, Settings, StaleMarkers};
use crate::ledger::{self, Tenant};
use crate::tenant::TenantId;

fn settings(trace_id_label_name: &str) -> Settings {
    Settings {
        collection_interval: Duration::from_secs(15),
        stale_markers: StaleMarkers::Expiry,
        external_labels: Vec::new(),
        inject_tenant_id_as: String::new(),
        instance_label: String::new(),
        instance: "here".to_owned(),
        trace_id_label_name: trace_id_label_name.to_owned(),
        host_info_metric_name: "traces_host_info".to_owned(),
        families: Families { calls: true, latency: true, size: false },
    }
}

/// A span in the first bucket.
fn one_span() -> Batch {
    let mut batch = Batch::default();
    push_label(&mut batch.text, "service", "cart");
    batch.buckets.push(BucketCount { bucket: 0, count: Total::of(1) });
    let (trace_id, span_id) = ([1; 16], [2; 8]);
    let (latency_nano, end_unix_nano, error) = (0, 0, false);
    let exemplar = Exemplar { bucket: 0, trace_id, span_id, latency_nano, end_unix_nano, error };
    batch.exemplars.push(exemplar);
    batch.rows.push(Row {
        table: Table::SpanMetrics,
        labels: Range::of(0, batch.text.len()),
        spans: 1,
        calls: Total::of(1),
        size: 0,
        latency: Total::of(1),
        buckets: Range::of(0, 1),
        exemplars: Range::of(0, 1),
    });
    batch
}

#[test]
fn only_the_histogram_that_restarts_is_created_anew_and_at_its_first_tick() {
    let at = Duration::from_secs;
    let bounds = |n: usize| Bounds { span_metrics: [0.5, 1.0][..n].to_vec(), ..Bounds::default() };
    let id = TenantId::single();
    let mut catalog = Catalog::new(&settings("traceID"), &id, &bounds(1));
    let tenant = Tenant::new(id, ledger::Settings::default(), &bounds(1), [1, 2, 3, 4]);
    tenant.apply(&one_span(), at(1000));
    catalog.collect(tenant.tick(at(1000)));
    let of_ledger = ledger::Settings::default();
    let last = catalog.reload(&tenant, &settings("trace_id"), of_ledger, &bounds(2), at(1500));
    assert!(last.is_some(), "a tick as it was");
    let page = |catalog: &Catalog| whole(catalog.view().expect("a tick was taken"));
    let before = page(&catalog);
    assert!(before.contains("latency_bucket{service=\"cart\",le=\"0.5\"} 1\n"), "{before}");
    assert!(!before.contains("le=\"1.0\""), "{before}");
    assert!(before.contains("latency_created{service=\"cart\"} 1000.000\n"), "{before}");
    tenant.apply(&one_span(), at(1900));
    catalog.collect(tenant.tick(at(2000)));
    let after = page(&catalog);
    for line in [
        "traces_spanmetrics_calls_total{service=\"cart\"} 2 # {trace_id=",
        "traces_spanmetrics_calls_created{service=\"cart\"} 1000.000\n",
        "traces_spanmetrics_latency_count{service=\"cart\"} 1\n",
        "traces_spanmetrics_latency_bucket{service=\"cart\",le=\"1.0\"} 1\n",
        "traces_spanmetrics_latency_created{service=\"cart\"} 2000.000\n",
    ] {
        assert!(after.contains(line), "{line} of {after}");
    }
}

fn whole(view: View) -> String {
    let mut page = Page { chunk_bytes: usize::MAX, ..Page::new(view) };
    std::iter::from_fn(|| page.next_chunk()).collect()
}

fn pieces(chunk_bytes: usize, n: usize) -> Vec<String> {
    let names: Vec<String> = (0..n).map(|i| format!("GET /{i}")).collect();
    let rows = names.iter().map(|name| {
        (Table::SpanMetrics, vec![("service", "cart"), ("span_name", name.as_str())], 1)
    });
    let edge = (Table::EdgeRequests, vec![("client", "cart"), ("server", "stock")], 1);
    let view = test_view::view(&rows.chain([edge]).collect::<Vec<_>>());
    let mut page = Page { chunk_bytes, ..Page::new(view) };
    std::iter::from_fn(|| page.next_chunk()).collect()
}

#[test]
fn a_page_in_pieces_is_the_same_page() {
    let whole = pieces(usize::MAX, 300);
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].lines().filter(|line| line.starts_with("# TYPE")).count(), 4);
    assert!(whole[0].ends_with("\n# EOF\n"));
    for chunk_bytes in [1, 1000, CHUNK_BYTES] {
        assert_eq!(pieces(chunk_bytes, 300).concat(), whole[0], "{chunk_bytes}");
    }
    assert_eq!(pieces(1, 0).concat(), pieces(usize::MAX, 0).concat());
}

#[test]
fn a_piece_is_no_longer_than_its_bound_and_one_label_set() {
    let pieces = pieces(CHUNK_BYTES, 2000);
    let longest = pieces.iter().map(String::len).max();
    assert!(pieces.len() > 10, "{}", pieces.len());
    assert!(longest.is_some_and(|len| len < CHUNK_BYTES + 2000), "{longest:?}");
}
