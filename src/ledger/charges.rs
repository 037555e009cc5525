//! What a tenant holds is charged to the pool of all tenants, and refunded when it goes.

use std::sync::Arc;

use super::effects::Effect;
use super::memory::Place;
use super::tenant::World;
use crate::admission::WANTED_BYTES;
use crate::batch::{Labels, Table};
use crate::budget::{Charge, Rank};
use crate::edges;

/// What an estimate of the demand for span names holds.
const DEMAND_BYTES: usize = 48 << 10;
/// Origins of a tenant's edge sides that are held however little room there is.
const ORIGIN_BYTES_MIN: usize = 64 << 10;

impl World {
    /// Charges what is held now instead of what was held before.
    pub(super) fn settle(&mut self) {
        let besides = self.memory.costs.slot;
        let tables = Table::ALL.map(|table| self.state.table(table));
        let slots: usize = tables.map(|table| table.slot_bytes(besides)).iter().sum();
        let held = slots
            + self.value_bytes()
            + self.copied_bytes()
            + self.state.pending().held_bytes()
            + self.gate.held_bytes()
            + if self.wanted.is_empty() { 0 } else { WANTED_BYTES }
            + self.names_demand.as_ref().map_or(0, |_| DEMAND_BYTES)
            + self.edge_rows.kept_bytes();
        let pool = &self.memory.pool;
        pool.settle(&mut self.charged_held, held, Rank::Total);
        self.settle_sides();
    }

    fn settle_sides(&mut self) {
        let held = self.state.edges().held_bytes();
        self.memory.pool.settle(&mut self.charged_sides, held, Rank::Waiting);
    }

    /// Of the state's own values.
    fn value_bytes(&self) -> usize {
        Table::ALL.map(|table| self.state.table(table).value_bytes()).iter().sum()
    }

    /// Of all copies of them: each may be of one of the last ticks, or will be of the next.
    fn copied_bytes(&self) -> usize {
        let now = self.value_bytes();
        let of_ticks = self.tick_bytes.iter().map(|then| now.max(*then)).sum::<usize>();
        let n_others = (self.memory.costs.value_copies - 1).saturating_sub(self.tick_bytes.len());
        of_ticks + n_others * now
    }

    /// The values are about to be copied.
    pub(super) fn tick_taken(&mut self) {
        self.tick_bytes.push_back(self.value_bytes());
        // Those that wait to be handed over are held besides.
        while self.tick_bytes.len() >= self.memory.costs.value_copies + self.taken.len() {
            self.tick_bytes.pop_front();
        }
        self.settle();
    }

    /// Bytes that the next birth in a table takes besides those of its label set.
    pub(super) fn chunk_ahead(&self, table: Table) -> usize {
        let costs = &self.memory.costs;
        self.state.table(table).bytes_ahead(costs.slot, costs.value_copies)
    }

    /// A label set is about to end: what is held of it until every endpoint knows is charged.
    pub(super) fn charge_ended(&self, table: Table, slot: u32) -> Charge {
        let table_of = self.state.table(table);
        let labels = table_of.labels_of(slot).unwrap_or_else(|| Labels::new(&[]));
        let n_series = self.settings.series_per_set[table as usize];
        let common = self.settings.naming.common_bytes();
        let place = Place { n_tables: 1, n_series, common, counts_values: false };
        let n_words = table_of.values().layout().words();
        let bytes = self.memory.ended_bytes(labels, place, n_words);
        Charge::new(Arc::clone(&self.memory.pool), bytes)
    }

    /// Parts of a table are about to restart: what is held of them until every endpoint knows is charged,
    /// which is the values as they are, and of each label set its end and the labels of all its series.
    pub(super) fn charge_restarted(&self, table: Table) -> Charge {
        let of_table = self.state.table(table);
        let n_series = self.settings.series_per_set[table as usize];
        let common = self.settings.naming.common_bytes();
        let labels = of_table.live().filter_map(|(slot, _)| of_table.labels_of(slot));
        let sets = labels.map(|labels| self.memory.restarted_bytes(labels, n_series, common));
        let bytes = of_table.value_bytes() + sets.sum::<usize>();
        Charge::new(Arc::clone(&self.memory.pool), bytes)
    }

    /// A label set is about to end.
    pub(super) fn refund(&mut self, table: Table, slot: u32) {
        let table_of = self.state.table(table);
        let labels = table_of.labels_of(slot).unwrap_or_else(|| Labels::new(&[]));
        let who = self.state.resident(table, labels, table_of.slot(slot).is_overflow);
        if who.is_alone {
            let bytes = self.set_bytes(&who);
            self.charged_sets -= bytes;
            self.memory.pool.refund(bytes, Rank::Detail);
        }
    }

    /// Label sets may cost something else from now on.
    pub(super) fn recharge(&mut self) {
        let mut bytes = 0;
        for table in Table::ALL {
            for (slot, entry) in self.state.table(table).live() {
                let Some(labels) = self.state.table(table).labels_of(slot) else { continue };
                if self.state.is_first(table, labels) {
                    bytes += self.set_bytes(&self.state.resident(table, labels, entry.is_overflow));
                }
            }
        }
        self.memory.pool.settle(&mut self.charged_sets, bytes, Rank::Total);
        self.settle();
    }

    /// After a batch or a tick: what is only kept to save work is given up where room is short.
    pub(super) fn tidy_up(&mut self) {
        self.settle();
        let pool = &self.memory.pool;
        if pool.used() > pool.capacity_of(Rank::Waiting) {
            self.edge_rows.give_up();
            self.settle();
        }
    }

    /// Before a side comes: where the pool has no room for more, the store is full.
    pub(super) fn make_room_for_side(&mut self) {
        let store = self.state.edges();
        if store.must_grow() && store.n_held() > 0 {
            self.settle_sides();
            let store = self.state.edges();
            let has_room = self.memory.pool.has_room(edges::CHUNK_BYTES, Rank::Waiting);
            let most = if has_room { usize::MAX } else { store.n_held() };
            self.state.set_max_items(self.settings.edges.max_items.min(most));
        }
    }

    /// Before an origin comes: sides give way until the pool has room for its text. Where the batch may send
    /// no more of them away the store takes in no more either, and the text, a batch's at most, is held until
    /// the next sweep. Answers whether any have gone.
    pub(super) fn make_room_for_origin(
        &mut self,
        bytes: &[u8],
        at_ms: i64,
        log: &mut impl FnMut(&Effect<'_>),
    ) -> bool {
        let mut gave_way = false;
        self.settle_sides();
        while !self.has_room_for_origin(bytes) {
            let n_items = self.state.edges().len();
            let mut n_left = n_items.min(n_items / 16 + 16);
            let max = self.settings.edges.budget.others;
            while n_left > 0 && self.work.others < max && edges::make_room(&mut self.desk(log)) {
                self.work.others += 1;
                n_left -= 1;
            }
            self.add_edge_rows(at_ms, log);
            self.fold(&Effect::Edge(edges::Change::Sweep), log);
            self.edge_rows.forget();
            self.settle();
            gave_way = true;
            if n_left > 0 && !self.has_room_for_origin(bytes) {
                self.state.set_max_items(self.state.edges().len());
                break;
            }
        }
        gave_way
    }

    fn has_room_for_origin(&self, bytes: &[u8]) -> bool {
        let store = self.state.edges();
        store.origin_bytes() <= ORIGIN_BYTES_MIN
            || store.is_empty()
            || self.memory.pool.has_room(2 * bytes.len(), Rank::Waiting)
            || store.find_origin(bytes).is_some()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.memory.pool.refund(self.charged_sets + self.charged_held, Rank::Total);
        self.memory.pool.refund(self.charged_sides, Rank::Waiting);
    }
}
