//! The buckets of the latency histograms.

use super::table::{Shape, Table};

/// Upper bounds of the latency buckets in seconds, strictly rising, without `+Inf`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bounds {
    pub span_metrics: Vec<f64>,
    pub service_graphs: Vec<f64>,
}

impl Bounds {
    /// Of a table; none where it has no histogram.
    pub fn of(&self, table: Table) -> &[f64] {
        match table.shape() {
            Shape::Info | Shape::Counter => &[],
            Shape::Histogram if table == Table::SpanMetrics => &self.span_metrics,
            Shape::Histogram => &self.service_graphs,
        }
    }

    /// Buckets of each table, with `+Inf`.
    pub fn n_buckets(&self) -> [usize; Table::ALL.len()] {
        Table::ALL.map(|table| match table.shape() {
            Shape::Info | Shape::Counter => 0,
            Shape::Histogram => self.of(table).len() + 1,
        })
    }
}

/// The same in whole nanoseconds: the largest latency that still falls into each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Buckets {
    bounds_nano: Vec<u64>,
}

impl Buckets {
    /// `bounds` are seconds, without `+Inf`.
    pub fn new(bounds: &[f64]) -> Self {
        Self { bounds_nano: bounds.iter().copied().map(bound_nano).collect() }
    }

    /// Index of the bucket that a latency falls into; the last one is `+Inf`.
    #[inline]
    pub fn index_of(&self, latency_nano: u64) -> usize {
        self.bounds_nano.iter().map(|&bound| usize::from(bound < latency_nano)).sum()
    }
}

/// The largest whole number of nanoseconds whose float64 value in seconds is at most `seconds`, so
/// that comparing integers gives the same bucket as comparing floats.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a float cast saturates, and the steps below mend the rounding"
)]
fn bound_nano(seconds: f64) -> u64 {
    let within = |nano: u64| nano as f64 / 1e9 <= seconds;
    let mut nano = (seconds * 1e9) as u64;
    while nano > 0 && !within(nano) {
        nano -= 1;
    }
    while nano < u64::MAX && within(nano + 1) {
        nano += 1;
    }
    nano
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_bounds_give_the_buckets_of_float_bounds() {
        #[expect(clippy::cast_precision_loss, reason = "the comparison under test")]
        let seconds = |nano: u64| nano as f64 / 1e9;
        for bound in [0.002, 0.1, 0.3, 1.0, 1.024, 16.384, 3600.0, 0.000_000_001] {
            let nano = bound_nano(bound);
            assert!(seconds(nano) <= bound, "{bound}");
            assert!(seconds(nano + 1) > bound, "{bound}");
        }
        assert_eq!(bound_nano(0.002), 2_000_000);
        assert_eq!(bound_nano(-1.0), 0);
    }
}
