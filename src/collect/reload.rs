//! A tenant's settings change while its series live.
//!
//! The ledger decides what restarts and what ends (`ledger/reload.rs`), and each tick says so. Series whose
//! name and labels are the same and whose totals go on are not touched. Of a label set that lives, all
//! others that there were end, and all others that there are begin with a zero.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::catalog::{Catalog, Change, LastTotals};
use super::families::{SeriesSpec, specs};
use crate::budget::Charge;
use crate::ledger::{Event, Parts, Snapshot, Table};
use crate::series::Values;

/// How the series of label sets change between two ticks.
#[derive(Debug)]
pub struct Renewal {
    pub before: Arc<[SeriesSpec]>,
    pub after: Arc<[SeriesSpec]>,
    /// For each series of `after` its place in `before`, where it goes on.
    pub places: Box<[Option<usize>]>,
    /// For each series of `before`.
    pub goes_on: Box<[bool]>,
    /// The totals at the end of those that do not, each in the slot of its label set.
    pub last: Arc<Values>,
    _charge: Option<Arc<Charge>>,
    /// The tick that had them last, and the one that has what comes after them.
    pub last_ms: i64,
    pub next_ms: i64,
}

impl Catalog {
    /// Takes in what restarted right after the newest tick, and under which names the tick was taken.
    pub(super) fn renew(&mut self, snapshot: &Snapshot, events: &[Event]) -> Vec<Change> {
        let (restarted, charges) = restarted(events);
        let same_names =
            self.newest.as_ref().is_some_and(|newest| newest.naming == snapshot.naming);
        if same_names && restarted.iter().all(|parts| !parts.any()) {
            return Vec::new();
        }
        // Where they are others, no label set has outlived the tick before.
        self.common = snapshot.naming.common_labels(&self.tenant);
        let before = Arc::clone(&self.specs);
        let specs = |table: Table| {
            specs_after(&before[table as usize], table, snapshot, restarted[table as usize])
        };
        self.specs = Arc::new(Table::ALL.map(specs));
        let Some(newest) = self.newest.clone() else { return Vec::new() };
        let dying: BTreeSet<(Table, u32)> = events.iter().filter_map(death).collect();
        let mut changes = Vec::new();
        for table in Table::ALL {
            let specs = (&before[table as usize], &self.specs[table as usize]);
            if specs.0 == specs.1 {
                continue;
            }
            let last = newest.kept_values(table);
            let last = (last, charges[table as usize].clone());
            let renewal = Arc::new(Renewal::new(specs, last, (newest.at_ms, snapshot.at_ms)));
            for (slot, place) in (0..).zip(&mut self.entries[table as usize]) {
                if place.is_none() {
                    continue;
                }
                if dying.contains(&(table, slot)) {
                    // Nothing has come since: it ends as it was.
                    *place = None;
                    changes.push(renewal.death(table, slot));
                    continue;
                }
                changes.push(Change::Renewal { table, slot, renewal: Arc::clone(&renewal) });
            }
        }
        changes
    }
}

/// Of each table what restarted, once at most since the tick before.
fn restarted(events: &[Event]) -> ([Parts; Table::ALL.len()], Charges) {
    let (mut restarted, mut charges) = ([Parts::default(); Table::ALL.len()], Charges::default());
    for event in events {
        if let Event::Restart { table, parts, charge } = event {
            restarted[*table as usize] = *parts;
            charges[*table as usize] = Some(Arc::clone(charge));
        }
    }
    (restarted, charges)
}

/// For the values of each table that restarted.
type Charges = [Option<Arc<Charge>>; Table::ALL.len()];

fn death(event: &Event) -> Option<(Table, u32)> {
    match event {
        Event::Death { table, slot, .. } => Some((*table, *slot)),
        Event::Birth { .. } | Event::Restart { .. } => None,
    }
}

fn specs_after(
    before: &Arc<[SeriesSpec]>,
    table: Table,
    snapshot: &Snapshot,
    restarted: Parts,
) -> Arc<[SeriesSpec]> {
    let mut after = specs(table, &snapshot.values(table).layout().bounds, &snapshot.naming);
    for spec in &mut after {
        let same = |b: &&SeriesSpec| b.metric == spec.metric && b.le == spec.le;
        if spec.quantity.is_in(restarted) {
            spec.restarted_ms = snapshot.at_ms;
        } else if let Some(before) = before.iter().find(same) {
            spec.restarted_ms = before.restarted_ms;
        }
    }
    if **before == *after { Arc::clone(before) } else { after.into() }
}

impl Renewal {
    fn new(
        (before, after): (&Arc<[SeriesSpec]>, &Arc<[SeriesSpec]>),
        (last, _charge): (Arc<Values>, Option<Arc<Charge>>),
        (last_ms, next_ms): (i64, i64),
    ) -> Self {
        let place = |spec| before.iter().position(|b| b == spec);
        let places: Box<[_]> = after.iter().map(place).collect();
        let goes_on = (0..before.len()).map(|at| places.contains(&Some(at))).collect();
        let (before, after) = (Arc::clone(before), Arc::clone(after));
        Self { before, after, places, goes_on, last, _charge, last_ms, next_ms }
    }

    fn death(self: &Arc<Self>, table: Table, slot: u32) -> Change {
        Change::Death {
            table,
            slot,
            specs: Arc::clone(&self.before),
            last: LastTotals::OfTable(Arc::clone(self), slot),
            last_ms: self.last_ms,
            end_ms: self.next_ms,
        }
    }
}
