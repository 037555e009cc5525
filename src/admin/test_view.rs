//! Views of a tick with given label sets, for tests.

use std::time::Duration;

use crate::batch::{Batch, Range, Row, push_label};
use crate::collect::{Catalog, Settings, Table, View};
use crate::ledger::{self, Bounds, Naming, Tenant, Total};
use crate::tenant::TenantId;

/// Table, labels, spans.
pub(super) type TestRow<'a> = (Table, Vec<(&'a str, &'a str)>, u64);

pub(super) const AT: Duration = Duration::from_secs(1_800_000_000);

pub(super) fn naming() -> Naming {
    Naming {
        external_labels: vec![("cluster".to_owned(), "home".to_owned())],
        instance: "host".to_owned(),
        ..Naming::default()
    }
}

pub(super) fn batch(rows: &[TestRow<'_>]) -> Batch {
    let mut batch = Batch::default();
    for (table, labels, spans) in rows {
        let start = batch.text.len();
        labels.iter().for_each(|(name, value)| push_label(&mut batch.text, name, value));
        batch.rows.push(Row {
            table: *table,
            labels: Range::of(start, batch.text.len()),
            spans: *spans,
            calls: Total::of(*spans),
            size: 0,
            latency: Total::default(),
            buckets: Range::default(),
            exemplars: Range::default(),
        });
    }
    batch
}

pub(super) fn view(rows: &[TestRow<'_>]) -> View {
    let bounds = Bounds { span_metrics: vec![1.0], service_graphs: vec![0.1, 1.0] };
    let settings = ledger::Settings { naming: naming().into(), ..ledger::Settings::default() };
    let tenant = Tenant::new(TenantId::single(), settings, &bounds, [0; 4]);
    tenant.apply(&batch(rows), AT);
    let mut catalog = Catalog::new(&Settings::default(), &TenantId::single());
    catalog.collect(tenant.tick(AT));
    catalog.view().expect("a tick")
}
