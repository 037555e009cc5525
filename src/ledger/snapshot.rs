//! What a tick hands over: the values, and which label sets came and went since the last one.

use std::ops::Deref;
use std::sync::Arc;

use super::settings::Naming;
use crate::batch::{Exemplar, Table};
use crate::budget::Charge;
use crate::series::{Parts, Values};

/// One tick of one tenant. Nothing in it is shared with the state.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Timestamp of every sample of the tick, ms since the Unix epoch.
    pub at_ms: i64,
    /// Timestamp of the tick before; `i64::MIN` at the first.
    pub previous_ms: i64,
    /// As what its label sets are written.
    pub naming: Arc<Naming>,
    /// In the order in which they happened.
    pub events: Vec<Event>,
    values: [Arc<Values>; Table::ALL.len()],
    /// In the order of table, slot and bucket.
    pub exemplars: Vec<ShownExemplar>,
}

#[derive(Debug, Clone)]
pub enum Event {
    Birth {
        table: Table,
        slot: u32,
        labels: Box<[u8]>,
    },
    Death {
        table: Table,
        slot: u32,
        last: Arc<Last>,
    },
    /// Before all others: parts of the totals of all label sets of a table began anew from zero, right
    /// after the tick before.
    Restart {
        table: Table,
        parts: Parts,
        /// For the values as they were, for as long as somebody holds them.
        charge: Arc<Charge>,
    },
}

/// The totals of a label set as they were at its end, in slot 0 of values of their own. What is still
/// held of it, its labels too, is charged for as long as this is.
#[derive(Debug)]
pub struct Last {
    values: Values,
    _charge: Charge,
}

impl Last {
    pub(super) fn new(values: Values, charge: Charge) -> Self {
        Self { values, _charge: charge }
    }
}

impl Deref for Last {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.values
    }
}

/// An exemplar that goes out with this tick, on the bucket series that its latency falls into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShownExemplar {
    pub table: Table,
    pub slot: u32,
    pub exemplar: Exemplar,
    /// And on the label set's calls.
    pub on_calls: bool,
    pub exemplar_ms: i64,
}

impl Snapshot {
    pub(super) fn new(
        (previous_ms, at_ms): (i64, i64),
        naming: Arc<Naming>,
        events: Vec<Event>,
        values: [Arc<Values>; Table::ALL.len()],
        exemplars: Vec<ShownExemplar>,
    ) -> Self {
        Self { at_ms, previous_ms, naming, events, values, exemplars }
    }

    pub fn values(&self, table: Table) -> &Values {
        &self.values[table as usize]
    }

    /// The same, to be kept longer than the tick.
    pub fn kept_values(&self, table: Table) -> Arc<Values> {
        Arc::clone(&self.values[table as usize])
    }

    /// The exemplars of one label set.
    pub fn exemplars_of(&self, table: Table, slot: u32) -> &[ShownExemplar] {
        let key = (table, slot);
        let start = self.exemplars.partition_point(|e| (e.table, e.slot) < key);
        let len = self.exemplars[start..].partition_point(|e| (e.table, e.slot) == key);
        &self.exemplars[start..start + len]
    }
}
