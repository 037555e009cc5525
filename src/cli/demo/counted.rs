//! What the service has counted, read from its newest tick.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::app::Reading;
use crate::collect::{Block, Table, View};
use crate::demo::Books;
use crate::ledger::{Counts, Processor};
use crate::tenant::TenantId;

const ERROR: &str = "STATUS_CODE_ERROR";
/// Spans of requests that came in.
const ENTRIES: [&str; 2] = ["SPAN_KIND_SERVER", "SPAN_KIND_CONSUMER"];

#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    /// The tick's, since the Unix epoch.
    pub(super) at: Duration,
    pub(super) books: Books,
    /// As they came, whatever they weigh.
    pub(super) n_spans: u64,
    /// Of each service, the requests that came in.
    pub(super) services: BTreeMap<String, Sums>,
    /// Upper bounds of the buckets, seconds.
    pub(super) bounds: Vec<f64>,
    pub(super) n_series: u64,
    pub(super) series_limit: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    pub(super) calls: f64,
    pub(super) errors: f64,
    pub(super) buckets: Vec<f64>,
}

impl Counted {
    /// `None` before the first tick.
    pub(super) fn read(reading: &Reading) -> Option<Self> {
        let tenant = TenantId::single();
        let counts = reading.tenants.get(&tenant)?.counts();
        Some(Self::of(&reading.collections.view(&tenant)?, &counts))
    }

    fn of(view: &View, counts: &Counts) -> Self {
        let mut counted = Self {
            at: Duration::from_millis(u64::try_from(view.snapshot.at_ms).unwrap_or_default()),
            n_spans: counts.tallies.counted(Processor::SpanMetrics),
            series_limit: counts.series_limit as u64,
            bounds: view.snapshot.values(Table::SpanMetrics).layout().bounds.clone(),
            ..Self::default()
        };
        for table in Table::ALL {
            for (slot, block) in live(view, table) {
                counted.n_series += view.specs[table as usize].len() as u64;
                counted.add(view, table, slot, block);
            }
        }
        counted
    }

    fn add(&mut self, view: &View, table: Table, slot: u32, block: &Block) {
        let values = view.snapshot.values(table);
        let calls = || values.calls(slot).as_f64();
        match table {
            Table::SpanMetrics => {
                let names = labels(block, ["service", "span_name", "span_kind", "status_code"]);
                let [service, _, kind, status] = &names;
                if ENTRIES.contains(&kind.as_str()) {
                    let sums = self.services.entry(service.clone()).or_default();
                    sums.calls += calls();
                    sums.errors += if status == ERROR { calls() } else { 0.0 };
                    sums.buckets.resize(self.bounds.len() + 1, 0.0);
                    for (bucket, sum) in sums.buckets.iter_mut().enumerate() {
                        *sum += values.bucket(slot, bucket).as_f64();
                    }
                }
                *self.books.spans.entry(names).or_default() += calls();
            }
            Table::EdgeRequests | Table::EdgeFailed => {
                let names = labels(block, ["client", "server", "connection_type"]);
                let edge = self.books.edges.entry(names).or_default();
                edge[usize::from(table == Table::EdgeFailed)] += calls();
            }
            Table::TargetInfo
            | Table::HostInfo
            | Table::EdgeServer
            | Table::EdgeClient
            | Table::EdgeMessaging
            | Table::EdgeInfo => {}
        }
    }
}

fn live(view: &View, table: Table) -> impl Iterator<Item = (u32, &Block)> {
    let entries = (0..).zip(&view.entries[table as usize]);
    entries.filter_map(|(slot, entry)| Some((slot, &*entry.as_ref()?.block)))
}

/// Empty where the label is missing.
fn labels<const N: usize>(block: &Block, names: [&str; N]) -> [String; N] {
    names.map(|name| {
        let found = block.labels().find(|(other, _)| *other == name);
        found.map_or_else(String::new, |(_, value)| value.to_owned())
    })
}

#[cfg(test)]
#[path = "counted_tests.rs"]
mod tests;
