//! What the page shows of settings that change while series live.

use std::time::Duration;

use super::*;
use crate::admin::test_view;
use crate::batch::{Batch, Bounds, BucketCount, Exemplar, Range, Row, Total, push_label};
use crate::collect::{Catalog, Settings};
use crate::ledger::{self, Families, Naming, Rules, Tenant};
use crate::tenant::TenantId;

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
    let settings = || {
        let families = Families { calls: true, latency: true, size: false };
        let naming = Naming { instance_label: String::new(), families, ..Naming::default() };
        ledger::Settings { naming: naming.into(), ..ledger::Settings::default() }
    };
    let id = TenantId::single();
    let mut catalog = Catalog::new(&Settings::default(), &id);
    let tenant = Tenant::new(id, settings(), &bounds(1), [1, 2, 3, 4]);
    tenant.apply(&one_span(), at(1000));
    catalog.collect(tenant.tick(at(1000)));
    let made = [true; Table::ALL.len()];
    let rules = Rules { generation: 1, settings: settings(), bounds: bounds(2), made };
    assert!(tenant.follow(&rules, 1, at(1500)));
    for taken in tenant.taken_before(i64::MAX) {
        catalog.collect(taken);
    }
    let trace_id_label_name = "trace_id".to_owned();
    catalog.follow(&Settings { trace_id_label_name, ..Settings::default() });
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
