//! Edge sides of a tenant: they come, meet, end, and what they complete becomes rows.

use super::decide;
use super::edge_rows::EdgeRows;
use super::effects::Effect;
use super::state::State;
use super::tenant::World;
use crate::batch::{Batch, Class, Discarded, EdgeSide, Processor, Repaired, Repairs, Tallies};
use crate::edges::{self, Book, Change, Edge, End, Work};

impl World {
    /// A batch brings sides, and before that some others end whose time is over: what is left is for the
    /// next batch, or the tick.
    pub(super) fn edge_sides(
        &mut self,
        batch: &Batch,
        at_ms: i64,
        log: &mut impl FnMut(&Effect<'_>),
    ) {
        let budget = self.settings.edges.budget;
        self.work = Work::default();
        let mut n_left = budget.expired + batch.sides.len();
        while n_left > 0 {
            let n_max = n_left.min(budget.virtual_edges - self.work.virtual_edges);
            let n_over = self.expire_some_edges(at_ms, n_max, log);
            n_left = if n_over > 0 { n_left - n_over } else { 0 };
        }
        self.work = Work::default();
        self.arrive(batch, at_ms, log);
    }

    /// Every side meets others or joins those that wait; it is counted but where it is a copy.
    fn arrive(&mut self, batch: &Batch, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        let n_copies = self.edge_counts.ended(End::Duplicate);
        let n_filtered = batch.sides.iter().filter(|side| side.class == Class::Filtered).count();
        let mut origins = vec![None; batch.origins.len()];
        let mut links = batch.links.iter().as_slice();
        for (i, side) in (0..).zip(&batch.sides) {
            if self.edge_rows.is_large() {
                self.add_edge_rows(at_ms, log);
            }
            let place = side.origin as usize;
            let text = batch.origins[place].slice(&batch.origin_text);
            let n_links = links.iter().take_while(|link| link.side == i).count();
            let (own_links, rest) = links.split_at(n_links);
            links = rest;
            self.make_room_for_side();
            if origins[place].is_none() && self.make_room_for_origin(text, at_ms, log) {
                // Ids may have changed their owners.
                origins.fill(None);
            }
            let mut desk = self.desk(log);
            if (i as usize).is_multiple_of(edges::WARM) {
                desk.state.edges().warm(&batch.sides[i as usize..]);
            }
            let origin = *origins[place].get_or_insert_with(|| edges::origin(&mut desk, text));
            edges::arrive(&mut desk, EdgeSide { origin, ..*side }, own_links, at_ms);
        }
        self.edge_rows_done(at_ms, log);
        let n_copies = self.edge_counts.ended(End::Duplicate) - n_copies;
        let n_counted = (batch.sides.len() - n_filtered) as u64 - n_copies;
        self.tallies.count(Processor::ServiceGraphs, n_counted);
        self.tallies.discard(Processor::ServiceGraphs, Discarded::Duplicate, n_copies);
    }

    /// Whatever a batch may have left.
    pub(super) fn expire_edges(&mut self, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        self.new_edges_left = usize::MAX;
        while self.expire_some_edges(at_ms, usize::MAX, log) > 0 {}
    }

    /// Answers how many there were.
    fn expire_some_edges(
        &mut self,
        at_ms: i64,
        n_max: usize,
        log: &mut impl FnMut(&Effect<'_>),
    ) -> usize {
        let n_over = edges::expire(&mut self.desk(log), at_ms, n_max);
        self.edge_rows_done(at_ms, log);
        n_over
    }

    pub(super) fn close_edges(&mut self, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        while edges::close(&mut self.desk(log)) {
            self.edge_rows_done(at_ms, log);
        }
        self.edge_rows_done(at_ms, log);
    }

    pub(super) fn desk<'w, L>(&'w mut self, log: &'w mut L) -> Desk<'w, L> {
        Desk {
            settings: &self.settings.edges,
            state: &mut self.state,
            rows: &mut self.edge_rows,
            counts: &mut self.edge_counts,
            tallies: &mut self.tallies,
            work: &mut self.work,
            log,
        }
    }

    fn edge_rows_done(&mut self, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        self.add_edge_rows(at_ms, log);
        if self.state.edges().has_many_unused() {
            self.fold(&Effect::Edge(Change::Sweep), log);
            self.edge_rows.forget();
        }
    }

    /// The edges that are complete are added to their label sets.
    pub(super) fn add_edge_rows(&mut self, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        if !self.edge_rows.is_empty() {
            let batch = self.edge_rows.take();
            for (i, row) in batch.rows.iter().enumerate() {
                if let Some(slot) = self.edge_slot(&batch, i, at_ms, log) {
                    self.fold(&decide::add(&batch, row, slot, at_ms), log);
                }
            }
            self.edge_rows.give_back(batch);
        }
        self.edge_rows.shed();
    }

    /// The slot of a row of an edge, found, known from before, or decided as for its other rows.
    fn edge_slot(
        &mut self,
        batch: &Batch,
        i: usize,
        at_ms: i64,
        log: &mut impl FnMut(&Effect<'_>),
    ) -> Option<u32> {
        let row = &batch.rows[i];
        let known = self.edge_rows.slot(i, row.table);
        let found = known.or_else(|| self.state.table(row.table).find(batch.labels(row)));
        if let Some(slot) = found {
            self.edge_rows.learn(i, row.table, slot);
            return found;
        }
        if self.edge_rows.has_slot(i) {
            // An edge is let in with all its tables.
            let slot = self.birth(row.table, batch.labels(row), false, log);
            self.edge_rows.learn(i, row.table, slot);
            return Some(slot);
        }
        let before = self.edge_rows.limited(i);
        let refused = before.filter(|placed| placed.is_refused).and_then(|placed| placed.limited);
        let set = (row.table, batch.labels(row));
        let placed = self.place(set, row.spans, refused, at_ms, log);
        match (placed.limited, placed.slot) {
            (None, Some(slot)) => self.edge_rows.learn(i, row.table, slot),
            (Some(limit), _) if before.is_none() => {
                self.count_limited(set, limit, row.spans, at_ms);
                self.edge_rows.set_limited(i, placed);
            }
            _ => {}
        }
        placed.slot
    }
}

/// Where decisions about edge sides become effects, counts and rows.
pub(super) struct Desk<'w, L> {
    settings: &'w edges::Settings,
    state: &'w mut State,
    rows: &'w mut EdgeRows,
    counts: &'w mut edges::Counts,
    tallies: &'w mut Tallies,
    work: &'w mut Work,
    log: &'w mut L,
}

impl<L: FnMut(&Effect<'_>)> Book for Desk<'_, L> {
    fn settings(&self) -> &edges::Settings {
        self.settings
    }

    fn store(&self) -> &edges::Store {
        self.state.edges()
    }

    fn change(&mut self, change: Change<'_>) {
        self.state.fold_edge(change);
        (self.log)(&Effect::Edge(change));
    }

    fn complete(&mut self, edge: &Edge) {
        self.counts.complete(edge.connection);
        self.rows.complete(self.state.edges(), edge);
    }

    fn end(&mut self, end: End) {
        self.counts.end(end);
    }

    fn work(&mut self) -> &mut Work {
        self.work
    }

    fn links_dropped(&mut self) {
        let mut repairs = Repairs::default();
        repairs.set(Repaired::Links, true);
        self.tallies.repair(repairs);
    }
}

#[cfg(test)]
#[path = "sides_tests.rs"]
mod tests;
