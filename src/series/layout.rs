//! Which numbers a label set of a table has, and where in its slot they stand.

use crate::batch::{Bounds, Shape, Table};

/// The parts of a label set's totals. A slot holds one word (`u64`) for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub shape: Shape,
    /// Upper bounds of the latency buckets in seconds, without `+Inf`.
    pub bounds: Vec<f64>,
}

/// Some of a label set's totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    pub calls: bool,
    pub size: bool,
    /// The histogram: buckets, sum and count.
    pub latency: bool,
}

impl Parts {
    pub fn any(self) -> bool {
        self.calls || self.size || self.latency
    }
}

impl Layout {
    pub fn of(table: Table, bounds: &Bounds) -> Self {
        Self { shape: table.shape(), bounds: bounds.of(table).to_vec() }
    }

    pub(super) const CALLS: usize = 0;
    pub(super) const SIZE: usize = 1;
    /// Two words, low one first.
    pub(super) const LATENCY: usize = 2;
    pub(super) const BUCKETS: usize = 4;

    /// Where the words of all other parts stand.
    pub(super) fn words_without(&self, parts: Parts) -> Vec<std::ops::Range<usize>> {
        [
            (parts.calls, Self::CALLS..Self::SIZE),
            (parts.size, Self::SIZE..Self::LATENCY),
            (parts.latency, Self::LATENCY..self.words()),
        ]
        .into_iter()
        .filter(|(without, words)| !without && !words.is_empty() && words.end <= self.words())
        .map(|(_, words)| words)
        .collect()
    }

    /// With `+Inf`; none without a histogram.
    pub fn n_buckets(&self) -> u32 {
        match self.shape {
            Shape::Info | Shape::Counter => 0,
            Shape::Histogram => u32::try_from(self.bounds.len() + 1).expect("a few bounds"),
        }
    }

    pub fn words(&self) -> usize {
        match self.shape {
            Shape::Info => 0,
            Shape::Counter => Self::CALLS + 1,
            Shape::Histogram => Self::BUCKETS + self.bounds.len() + 1,
        }
    }
}
