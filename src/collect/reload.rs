//! A tenant's settings change while its series live.
//!
//! A series whose name and labels are the same and whose totals go on is not touched. All others that
//! there were end, and all others that there are begin with a zero, so that what a total held before
//! must not be in it any more: totals that are told under new labels, or begin or cease to be told,
//! restart in the ledger, after a tick that has all they held. `increase()`, summed over the old labels and the new ones, then counts each span once,
//! also where old labels come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::block::Block;
use super::catalog::{Catalog, Change, Collected, LastTotals, common_labels};
use super::families::{SeriesSpec, specs};
use super::settings::Settings;
use crate::ledger::{self, Bounds, Event, Labels, Parts, Snapshot, Table, Tenant};
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
    /// The tick that had them last, and the one that has what comes after them.
    pub last_ms: i64,
    pub next_ms: i64,
}

/// What holds from the next tick on.
#[derive(Debug)]
pub(super) struct Next {
    settings: Arc<Settings>,
    common: Vec<(String, String)>,
    /// Of label sets whose labels are others.
    blocks: BTreeMap<(Table, u32), Arc<Block>>,
}

impl Catalog {
    /// Takes other settings, together with the tenant. Where something restarts, a tick is taken under
    /// those that there were and answered: it goes the way of every tick.
    pub fn reload(
        &mut self,
        tenant: &Tenant,
        settings: &Settings,
        of_ledger: ledger::Settings,
        bounds: &Bounds,
        now: Duration,
    ) -> Option<Collected> {
        let common = common_labels(settings, tenant.id());
        let restart = self.restart(settings, &common);
        let last = tenant.reload(of_ledger, bounds, &restart, now).map(|last| self.collect(last));
        let blocks = if common == self.common {
            BTreeMap::new()
        } else {
            self.blocks(tenant.label_sets(), &common)
        };
        self.next = Some(Next { settings: Arc::new(settings.clone()), common, blocks });
        last
    }

    /// What has to begin from zero, besides histograms with other bounds.
    fn restart(
        &self,
        settings: &Settings,
        common: &[(String, String)],
    ) -> [Parts; Table::ALL.len()] {
        // A reload that no tick has seen yet is done all the same when this one takes its tick.
        let (before, common_before) = match &self.next {
            Some(next) => (&next.settings, &next.common),
            None => (&self.settings, &self.common),
        };
        if common != common_before {
            return [Parts::ALL; Table::ALL.len()];
        }
        let (before, after) = (before.families, settings.families);
        Table::ALL.map(|table| match table {
            Table::SpanMetrics => Parts {
                calls: after.calls != before.calls,
                size: after.size != before.size,
                latency: after.latency != before.latency,
            },
            _ => Parts::default(),
        })
    }

    fn blocks(
        &self,
        label_sets: Vec<(Table, u32, Box<[u8]>)>,
        common: &[(String, String)],
    ) -> BTreeMap<(Table, u32), Arc<Block>> {
        let block = |(table, slot, labels): (Table, u32, Box<[u8]>)| {
            // One that was born since the newest tick is learnt with the next.
            let entry = self.entries[table as usize].get(slot as usize)?.as_ref()?;
            let block = Block::new(Labels::new(&labels), common);
            (block != *entry.block).then(|| ((table, slot), Arc::new(block)))
        };
        label_sets.into_iter().filter_map(block).collect()
    }

    /// Takes in what restarted right after the newest tick, and the settings that came with it.
    pub(super) fn renew(&mut self, snapshot: &Snapshot, events: &[Event]) -> Vec<Change> {
        let restarted = restarted(events);
        if self.next.is_none() && restarted.iter().all(|parts| !parts.any()) {
            return Vec::new();
        }
        let mut blocks = BTreeMap::new();
        if let Some(next) = self.next.take() {
            (self.settings, self.common, blocks) = (next.settings, next.common, next.blocks);
        }
        let before = Arc::clone(&self.specs);
        let specs = |table: Table| {
            let before = &before[table as usize];
            specs_after(before, table, &self.settings, snapshot, restarted[table as usize])
        };
        self.specs = Arc::new(Table::ALL.map(specs));
        let Some(newest) = self.newest.clone() else { return Vec::new() };
        let dying: BTreeSet<(Table, u32)> = events.iter().filter_map(death).collect();
        let mut changes = Vec::new();
        for table in Table::ALL {
            let same_series = before[table as usize] == self.specs[table as usize];
            let [same_labels, other_labels] = [false, true].map(|other_labels| {
                let (before, after) = (&before[table as usize], &self.specs[table as usize]);
                let last = newest.kept_values(table);
                let ticks = (newest.at_ms, snapshot.at_ms);
                Arc::new(Renewal::new((before, after), other_labels, last, ticks))
            });
            for (slot, place) in (0..).zip(&mut self.entries[table as usize]) {
                let block = blocks.remove(&(table, slot));
                let Some(entry) = place else { continue };
                if same_series && block.is_none() {
                    continue;
                }
                if dying.contains(&(table, slot)) {
                    // Nothing has come since: it ends as it was.
                    *place = None;
                    changes.push(same_labels.death(table, slot));
                    continue;
                }
                let renewal = if block.is_some() { &other_labels } else { &same_labels };
                entry.block = block.unwrap_or_else(|| Arc::clone(&entry.block));
                let (block, renewal) = (Arc::clone(&entry.block), Arc::clone(renewal));
                changes.push(Change::Renewal { table, slot, block, renewal });
            }
        }
        changes
    }
}

fn restarted(events: &[Event]) -> [Parts; Table::ALL.len()] {
    let mut restarted = [Parts::default(); Table::ALL.len()];
    for event in events {
        if let Event::Restart { table, parts } = event {
            let all = &mut restarted[*table as usize];
            all.calls |= parts.calls;
            all.size |= parts.size;
            all.latency |= parts.latency;
        }
    }
    restarted
}

fn death(event: &Event) -> Option<(Table, u32)> {
    match event {
        Event::Death { table, slot, .. } => Some((*table, *slot)),
        Event::Birth { .. } | Event::Restart { .. } => None,
    }
}

fn specs_after(
    before: &Arc<[SeriesSpec]>,
    table: Table,
    settings: &Settings,
    snapshot: &Snapshot,
    restarted: Parts,
) -> Arc<[SeriesSpec]> {
    let mut after = specs(table, &snapshot.values(table).layout().bounds, settings);
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
        other_labels: bool,
        last: Arc<Values>,
        (last_ms, next_ms): (i64, i64),
    ) -> Self {
        let place = |spec| before.iter().position(|b| !other_labels && b == spec);
        let places: Box<[_]> = after.iter().map(place).collect();
        let goes_on = (0..before.len()).map(|at| places.contains(&Some(at))).collect();
        let (before, after) = (Arc::clone(before), Arc::clone(after));
        Self { before, after, places, goes_on, last, last_ms, next_ms }
    }

    fn death(&self, table: Table, slot: u32) -> Change {
        Change::Death {
            table,
            slot,
            specs: Arc::clone(&self.before),
            last: LastTotals::OfTable(Arc::clone(&self.last), slot),
            last_ms: self.last_ms,
            end_ms: self.next_ms,
        }
    }
}
