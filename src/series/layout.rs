//! Which numbers a label set of a table has, and where in its slot they stand.

use crate::batch::Table;

/// The parts of a label set's totals. A slot holds one word (`u64`) for each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    /// Whether the label sets have calls, size and latency at all; info tables have none.
    pub counts: bool,
    /// Upper bounds of the latency buckets in seconds, without `+Inf`.
    pub bounds: Vec<f64>,
}

impl Layout {
    /// Span metrics have counts and latency buckets; info tables have neither.
    pub fn of(table: Table, bounds: &[f64]) -> Self {
        let counts = table == Table::SpanMetrics;
        Self { counts, bounds: if counts { bounds.to_vec() } else { Vec::new() } }
    }

    pub(super) const CALLS: usize = 0;
    pub(super) const SIZE: usize = 1;
    /// Two words, low one first.
    pub(super) const LATENCY: usize = 2;
    pub(super) const BUCKETS: usize = 4;

    /// With `+Inf`.
    pub fn n_buckets(&self) -> usize {
        if self.counts { self.bounds.len() + 1 } else { 0 }
    }

    pub fn words(&self) -> usize {
        if self.counts { Self::BUCKETS + self.n_buckets() } else { 0 }
    }
}
