//! A tenant's state, and `fold`, the only way to change it.

use super::effects::{Add, Effect};
use super::settings::Settings;
use crate::admission::{Census, Limits, Resident};
use crate::batch::encoding::{put_exemplars, put_number};
use crate::batch::{Bounds, Labels, Table};
use crate::edges::{self, Change};
use crate::series::{Addition, Layout, Pending, SeriesTable};

/// Everything a tenant's metrics are made of.
#[derive(Debug)]
pub struct State {
    tables: [SeriesTable; Table::ALL.len()],
    pending: Pending,
    edges: edges::Store,
    census: Census,
    limits: Limits,
    /// Prometheus series that a label set of each table counts as.
    n_series: [usize; Table::ALL.len()],
    /// Ticks taken so far.
    n_ticks: u32,
    last_tick_ms: i64,
}

impl State {
    /// `seed` keys the hash tables.
    pub fn new(bounds: &Bounds, settings: &Settings, seed: [u64; 4]) -> Self {
        let table = |table| SeriesTable::new(Layout::of(table, bounds), seed);
        Self {
            tables: Table::ALL.map(table),
            pending: Pending::new(settings.max_exemplars_per_tick),
            edges: edges::Store::new(settings.edges.max_items, seed),
            census: Census::default(),
            limits: settings.limits,
            n_series: Table::ALL.map(|table| settings.n_series(table)),
            n_ticks: 0,
            last_tick_ms: i64::MIN,
        }
    }

    pub fn table(&self, table: Table) -> &SeriesTable {
        &self.tables[table as usize]
    }

    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    pub fn edges(&self) -> &edges::Store {
        &self.edges
    }

    /// How many live, by what limits ask for. It follows from the tables.
    pub fn census(&self) -> &Census {
        &self.census
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A label set as the census counts it, while it is not in its table.
    pub fn resident<'a>(
        &self,
        table: Table,
        labels: Labels<'a>,
        is_overflow: bool,
    ) -> Resident<'a> {
        let is_alone = !table.is_edge() || {
            let hash = self.table(table).hash(labels);
            let is_there = |other: &Table| self.table(*other).find_hashed(hash, labels).is_some();
            !Table::EDGES.iter().filter(|other| **other != table).any(is_there)
        };
        Resident { table, labels, is_overflow, n_series: self.n_series[table as usize], is_alone }
    }

    /// Whether no earlier table has the label set: an edge is in several.
    pub(super) fn is_first(&self, table: Table, labels: Labels<'_>) -> bool {
        let is_earlier = |other: &&Table| (**other as u8) < table as u8;
        let has = |other: &Table| self.table(*other).find(labels).is_some();
        !table.is_edge() || !Table::EDGES.iter().filter(is_earlier).any(has)
    }

    /// Other limits, by which those that live are counted anew; nobody is sent away.
    pub(super) fn recount(&mut self, settings: &Settings) {
        self.limits = settings.limits;
        self.n_series = Table::ALL.map(|table| settings.n_series(table));
        let mut census = Census::default();
        for table in Table::ALL {
            for (slot, entry) in self.table(table).live() {
                let Some(labels) = self.table(table).labels_of(slot) else { continue };
                let is_alone = self.is_first(table, labels);
                let who = Resident { is_alone, ..self.resident(table, labels, entry.is_overflow) };
                census.birth(&who, &self.limits);
            }
        }
        self.census = census;
    }

    /// More or fewer edge sides may wait; nobody is sent away.
    pub(super) fn set_max_items(&mut self, max_items: usize) {
        self.edges.resize(max_items);
    }

    pub fn last_tick_ms(&self) -> i64 {
        self.last_tick_ms
    }

    /// Applies one effect. An effect that was decided on this state always fits; one that does not
    /// is a bug or a damaged log, and ends the process rather than count wrongly.
    pub fn fold(&mut self, effect: &Effect<'_>) {
        match effect {
            Effect::Birth { table, slot, labels, is_overflow } => {
                let resident = self.resident(*table, *labels, *is_overflow);
                self.census.birth(&resident, &self.limits);
                self.table_mut(*table).birth(*slot, *labels, *is_overflow);
            }
            Effect::Add(add) => self.add(add),
            Effect::Death { table, slot } => self.death(*table, *slot),
            Effect::Shown { table, slot, exemplar_ms } => {
                let tick = self.n_ticks + 1;
                self.table_mut(*table).shown(*slot, *exemplar_ms, tick);
            }
            Effect::Tick { at_ms } => {
                self.n_ticks += 1;
                self.last_tick_ms = *at_ms;
                self.pending.clear();
            }
            Effect::Edge(change) => self.fold_edge(*change),
            Effect::Restart { table, parts, bounds } => {
                self.table_mut(*table).restart(*parts, bounds);
            }
            Effect::Resize { max_items, max_exemplars } => {
                self.edges.resize(*max_items);
                self.pending.set_max(*max_exemplars);
            }
        }
    }

    /// As [`fold`](Self::fold) does with the effect of it.
    pub(super) fn fold_edge(&mut self, change: Change<'_>) {
        self.edges.apply(change);
    }

    fn death(&mut self, table: Table, slot: u32) {
        let table_of = self.table_mut(table);
        let n_buckets = table_of.values().layout().n_buckets();
        let is_overflow = table_of.slot(slot).is_overflow;
        let labels = table_of.death(slot);
        self.pending.forget(table, slot, n_buckets);
        let resident = self.resident(table, Labels::new(&labels), is_overflow);
        self.census.death(&resident, &self.limits);
    }

    fn add(&mut self, add: &Add<'_>) {
        let Add { calls, size, latency, .. } = *add;
        let addition = Addition { calls, size, latency, buckets: &add.buckets };
        self.table_mut(add.table).add(add.slot, add.at_ms, &addition);
        let Self { tables, pending, .. } = self;
        let shown = |table: Table, slot| tables[table as usize].slot(slot).shown_tick;
        pending.add(add.table, add.slot, &add.exemplars, shown);
    }

    fn table_mut(&mut self, table: Table) -> &mut SeriesTable {
        &mut self.tables[table as usize]
    }

    /// All of the state as bytes: equal states have equal bytes.
    pub fn dump(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.n_ticks.into());
        out.extend_from_slice(&self.last_tick_ms.to_le_bytes());
        self.tables.iter().for_each(|table| table.dump(&mut out));
        for (table, slot, exemplar) in self.pending.sorted() {
            out.push(table as u8);
            put_number(&mut out, slot.into());
            put_exemplars(&mut out, &[exemplar]);
        }
        self.edges.dump(&mut out);
        out
    }
}
