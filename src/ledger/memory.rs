//! What a tenant's state costs in bytes, and the pool that it is charged to.
//!
//! What a label set costs is told by those who hold something of it: the state its text and its slot,
//! collection its encoded labels and copies of the values, each endpoint what it knows of it.

use std::sync::Arc;

use crate::admission::BYTES_OF_A_LABEL;
use crate::batch::Labels;
use crate::budget::Pool;

/// Shared by all tenants.
#[derive(Debug)]
pub struct Memory {
    pub pool: Arc<Pool>,
    pub costs: Costs,
}

/// What a label set costs besides what the state holds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Costs {
    /// For each slot, taken or not.
    pub slot: usize,
    /// For each label set, without its text.
    pub set: usize,
    /// Copies of its text.
    pub label_copies: usize,
    /// For each of its Prometheus series, without text.
    pub series: usize,
    /// Copies of its text for each of its Prometheus series.
    pub series_label_copies: usize,
}

/// The values in the state, in the newest tick, in one that is being sent, and in one that is made.
pub(super) const VALUE_COPIES: usize = 4;

/// Text and hash table entry of a label set, and its birth until a tick has taken it.
const SET_BYTES: usize = 2 * ALLOCATION + 64;
/// What an allocation costs besides what is asked for.
const ALLOCATION: usize = 16;
const LABEL_COPIES: usize = 2;

impl Memory {
    /// For tools and tests that hold what they are given.
    pub fn unbounded() -> Self {
        Self { pool: Arc::new(Pool::unbounded()), costs: Costs::default() }
    }

    /// What a label set costs while it lives, without its slot: of an edge in all of its tables.
    pub(super) fn set_bytes(&self, labels: Labels<'_>, place: Place) -> usize {
        let Costs { set, label_copies, series, series_label_copies, .. } = self.costs;
        let Place { n_tables, n_series, counts_values, .. } = place;
        let len = labels.as_bytes().len();
        let values =
            if counts_values { labels.iter().count() * BYTES_OF_A_LABEL + 2 * len } else { 0 };
        n_tables * (SET_BYTES + set + len * (LABEL_COPIES + label_copies))
            + n_series * (series + len * series_label_copies)
            + values
    }
}

/// How a label set is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) n_tables: usize,
    pub(super) n_series: usize,
    /// A limit on label values is set.
    pub(super) counts_values: bool,
}
