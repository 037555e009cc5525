//! A label set that is new: let in with a slot of its own, or counted in another one (CONTRACT.md 7).

use ahash::RandomState;

use super::effects::Effect;
use super::memory::Place;
use super::tenant::World;
use crate::admission::{
    PROBATION_BYTES, Probation, Resident, Standing, WANTED_BYTES, has_place, is_pressed,
    push_edge_overflow, push_span_overflow, standing,
};
use crate::batch::{Labels, Limited, Processor, Table};
use crate::budget::Rank;

/// A label set that is larger gets no slot of its own: one request to an endpoint holds a whole one.
const LABELS_MAX: usize = 128 << 10;

/// What guides admission; nothing of it is state.
#[derive(Debug)]
pub(super) struct Gate {
    hasher: RandomState,
    probation: Probation,
    /// Label sets that replace others, while they are looked for.
    text: Vec<u8>,
    /// Overflow sets, while they are looked for.
    overflow: Vec<u8>,
}

impl Gate {
    pub(super) fn new(seed: [u64; 4]) -> Self {
        let [a, b, c, d] = seed;
        let hasher = RandomState::with_seeds(a, b, c, d);
        Self { hasher, probation: Probation::default(), text: Vec::new(), overflow: Vec::new() }
    }

    /// A tick: what was sighted long ago is given up.
    pub(super) fn tick(&mut self, at_ms: i64) {
        self.probation.forget(at_ms);
    }

    pub(super) fn held_bytes(&self) -> usize {
        let probation = if self.probation.is_held() { PROBATION_BYTES } else { 0 };
        probation + self.text.capacity() + self.overflow.capacity()
    }
}

/// Where a row is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// `None`: an info gauge that is not emitted.
    pub(super) slot: Option<u32>,
    /// Why it is not under its own label set.
    pub(super) limited: Option<Limited>,
    /// It is in an overflow set: it was refused, not only changed.
    pub(super) is_refused: bool,
}

impl World {
    /// The slot that a row of a new label set is counted in; it is born if need be. `refused` tells why
    /// another row of the same edge was refused in the same batch.
    pub(super) fn place(
        &mut self,
        (table, labels): (Table, Labels<'_>),
        spans: u64,
        refused: Option<Limited>,
        at_ms: i64,
        log: &mut impl FnMut(&Effect<'_>),
    ) -> Placed {
        let mut text = std::mem::take(&mut self.gate.text);
        text.clear();
        let max = self.state.limits().max_cardinality_per_label;
        let values = self.state.census().label_values();
        let is_another = max > 0 && values.push_limited(table, labels, max, &mut text);
        let labels = if is_another { Labels::new(&text) } else { labels };
        let limited = is_another.then_some(Limited::MaxCardinalityPerLabel);
        let known = if is_another { self.state.table(table).find(labels) } else { None };
        let placed = if known.is_some() {
            Placed { slot: known, limited, is_refused: false }
        } else {
            match refused.map_or_else(|| self.admit(table, labels, spans, at_ms), Err) {
                Ok(()) => {
                    let slot = Some(self.birth(table, labels, false, log));
                    Placed { slot, limited, is_refused: false }
                }
                Err(limit) => {
                    let slot = self.overflow(table, labels, log);
                    Placed { slot, limited: Some(limit), is_refused: true }
                }
            }
        };
        self.gate.text = text;
        placed
    }

    /// Counts what a limit kept out, and notes what was wanted.
    pub(super) fn count_limited(
        &mut self,
        (table, labels): (Table, Labels<'_>),
        limit: Limited,
        spans: u64,
        at_ms: i64,
    ) {
        // What only informs is left where there is no room for it.
        let pool = &self.memory.pool;
        if !self.wanted.is_empty() || pool.has_room(WANTED_BYTES, Rank::Detail) {
            self.wanted.refused(table, labels, spans, at_ms);
        }
        match table {
            Table::SpanMetrics => self.tallies.limit(Processor::SpanMetrics, limit, spans),
            Table::TargetInfo => self.tallies.limit(Processor::SpanMetrics, Limited::Info, 1),
            Table::HostInfo => self.tallies.limit(Processor::HostInfo, Limited::Info, 1),
            _ => self.tallies.limit(Processor::ServiceGraphs, limit, spans),
        }
    }

    /// Whether a label set gets a slot of its own; it is charged if so.
    fn admit(
        &mut self,
        table: Table,
        labels: Labels<'_>,
        spans: u64,
        at_ms: i64,
    ) -> Result<(), Limited> {
        let who = self.state.resident(table, labels, false);
        if !who.is_alone {
            // An edge is let in with all its tables.
            return Ok(());
        }
        if table.is_edge() && self.new_edges_left == 0 {
            return Err(Limited::Probation);
        }
        let stands = standing(self.state.census(), self.state.limits(), &who);
        let rank = match stands {
            Ok(Standing::Guaranteed) => Rank::Guaranteed,
            _ => Rank::Detail,
        };
        let pool = &self.memory.pool;
        let is_pressed = rank == Rank::Detail
            && (!matches!(stands, Ok(Standing::Free))
                || is_pressed(pool.used(), pool.capacity_of(Rank::Detail)));
        if is_pressed && spans < 2 {
            let hash = self.gate.hasher.hash_one((table as u8, labels.as_bytes()));
            let probation = &mut self.gate.probation;
            // Where there is no room to remember sightings, none counts.
            let is_kept = probation.is_held() || pool.has_room(PROBATION_BYTES, Rank::Detail);
            if !is_kept || !probation.sight(hash, at_ms) {
                return Err(Limited::Probation);
            }
        }
        stands?;
        if labels.as_bytes().len() > LABELS_MAX {
            return Err(Limited::MaxLabelBytes);
        }
        if !self.try_charge(&who, rank) {
            return Err(Limited::Memory);
        }
        self.new_edges_left -= usize::from(table.is_edge());
        Ok(())
    }

    /// The overflow slot of a label set; none where an info gauge is not emitted.
    fn overflow(
        &mut self,
        table: Table,
        labels: Labels<'_>,
        log: &mut impl FnMut(&Effect<'_>),
    ) -> Option<u32> {
        let (census, limits) = (self.state.census(), self.state.limits());
        let keeps_name = match table {
            Table::TargetInfo | Table::HostInfo => return None,
            Table::SpanMetrics => has_place(census, limits, labels.get("service")),
            _ => census.knows(labels.get("client")),
        };
        let mut text = std::mem::take(&mut self.gate.overflow);
        let slot = self.overflow_of((table, labels), keeps_name, &mut text, log);
        self.gate.overflow = text;
        Some(slot)
    }

    /// Writes the overflow set into `text`.
    fn overflow_of(
        &mut self,
        (table, labels): (Table, Labels<'_>),
        keeps_name: bool,
        text: &mut Vec<u8>,
        log: &mut impl FnMut(&Effect<'_>),
    ) -> u32 {
        for keeps_name in [keeps_name, false] {
            text.clear();
            match table {
                Table::SpanMetrics => push_span_overflow(labels, keeps_name, text),
                _ => push_edge_overflow(labels, keeps_name, text),
            }
            let set = Labels::new(text);
            if let Some(slot) = self.state.table(table).find(set) {
                return slot;
            }
            // The sum of all has its place, however little room there is.
            let who = self.state.resident(table, set, true);
            if !who.is_alone || self.try_charge(&who, Rank::Total) {
                return self.birth(table, set, true, log);
            }
            if !keeps_name {
                break;
            }
        }
        let set = Labels::new(text);
        let who = self.state.resident(table, set, true);
        self.charge(self.set_bytes(&who));
        self.birth(table, set, true, log)
    }

    pub(super) fn birth(
        &mut self,
        table: Table,
        labels: Labels<'_>,
        is_overflow: bool,
        log: &mut impl FnMut(&Effect<'_>),
    ) -> u32 {
        let slot = self.state.table(table).next_slot();
        self.fold(&Effect::Birth { table, slot, labels, is_overflow }, log);
        slot
    }

    fn try_charge(&mut self, who: &Resident<'_>, rank: Rank) -> bool {
        let bytes = self.set_bytes(who);
        let pool = &self.memory.pool;
        let is_charged = pool.has_room(bytes + self.chunk_ahead(who.table), rank)
            && pool.try_charge(bytes, rank);
        self.charged_sets += if is_charged { bytes } else { 0 };
        is_charged
    }

    fn charge(&mut self, bytes: usize) {
        self.memory.pool.charge(bytes, Rank::Total);
        self.charged_sets += bytes;
    }

    /// What the label set costs while it lives.
    pub(super) fn set_bytes(&self, who: &Resident<'_>) -> usize {
        let settings = &self.settings;
        let place = Place {
            n_tables: if who.table.is_edge() { settings.edge_series.tables().count() } else { 1 },
            n_series: who.n_series,
            common: settings.naming.common_bytes(),
            counts_values: settings.limits.max_cardinality_per_label > 0,
        };
        self.memory.set_bytes(who.labels, place)
    }
}
