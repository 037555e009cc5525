//! What a tenant's state costs in bytes, and the pool that it is charged to.
//!
//! What a label set costs is told by those who hold something of it: the state its text and its slot,
//! collection its encoded labels and copies of the values, each endpoint what it knows of it.

use std::sync::Arc;

use super::snapshot::Last;
use crate::admission::label_value_bytes;
use crate::batch::Labels;
use crate::budget::Pool;

/// Shared by all tenants.
#[derive(Debug)]
pub struct Memory {
    pub pool: Arc<Pool>,
    pub costs: Costs,
}

/// What a label set costs besides what the state holds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Copies of the values: the state's own, in ticks, and with those who read them.
    pub value_copies: usize,
    /// For each slot, taken or not.
    pub slot: usize,
    /// For each label set, without its text.
    pub set: usize,
    /// Copies of its labels as they are written.
    pub label_copies: usize,
    /// For each of its Prometheus series, without text.
    pub series: usize,
    /// Copies of its labels for each of its Prometheus series.
    pub series_label_copies: usize,
}

/// Text and hash table entry of a label set, and its birth until a tick has taken it.
const SET_BYTES: usize = 2 * ALLOCATION + 64;
/// What an allocation costs besides what is asked for.
const ALLOCATION: usize = 16;
const LABEL_COPIES: usize = 2;
/// Of one that has ended: itself, its values' lists, and its places among what has changed.
const ENDED_BYTES: usize = size_of::<Last>() + 5 * ALLOCATION + 3 * 48;

/// Of one whose series begin anew: its places among what has changed, and the marks of what goes on.
const RESTARTED_BYTES: usize = 4 * 48 + 4 * 64;

/// Of the state alone.
impl Default for Costs {
    fn default() -> Self {
        Self {
            value_copies: 1,
            slot: 0,
            set: 0,
            label_copies: 0,
            series: 0,
            series_label_copies: 0,
        }
    }
}

impl Memory {
    /// For tools and tests that hold what they are given.
    pub fn unbounded() -> Self {
        Self { pool: Arc::new(Pool::unbounded()), costs: Costs::default() }
    }

    /// What a label set costs while it lives, without its slot: of an edge in all of its tables.
    pub(super) fn set_bytes(&self, labels: Labels<'_>, place: Place) -> usize {
        let Costs { set, label_copies, series, series_label_copies, .. } = self.costs;
        let Place { n_tables, n_series, common, counts_values } = place;
        let len = labels.as_bytes().len();
        let written = len + common;
        let values = if counts_values { label_value_bytes(labels) } else { 0 };
        n_tables * (SET_BYTES + set + len * LABEL_COPIES + written * label_copies)
            + n_series * (series + written * series_label_copies)
            + values
    }

    /// What a label set costs besides its values from a restart until every endpoint
    /// knows.
    pub(super) fn restarted_bytes(
        &self,
        labels: Labels<'_>,
        n_series: usize,
        common: usize,
    ) -> usize {
        let Costs { series, series_label_copies, .. } = self.costs;
        RESTARTED_BYTES
            + n_series * (series + (labels.as_bytes().len() + common) * series_label_copies)
    }

    /// What a label set costs in one table from its end until all have heard of it.
    pub(super) fn ended_bytes(&self, labels: Labels<'_>, place: Place, n_words: usize) -> usize {
        let Costs { slot, set, label_copies, series, series_label_copies, .. } = self.costs;
        let len = labels.as_bytes().len() + place.common;
        let labels = label_copies * len + place.n_series * (series + len * series_label_copies);
        ENDED_BYTES + slot + set + labels + n_words * size_of::<u64>()
    }
}

/// How a label set is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) n_tables: usize,
    pub(super) n_series: usize,
    /// Bytes of the labels that every series has besides those of its label set.
    pub(super) common: usize,
    /// A limit on label values is set.
    pub(super) counts_values: bool,
}
