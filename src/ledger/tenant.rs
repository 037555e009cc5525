//! One tenant: its state behind its lock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::admit::Gate;
use super::decide;
use super::edge_rows::EdgeRows;
use super::effects::Effect;
use super::lifecycle::Life;
use super::memory::Memory;
use super::settings::Settings;
use super::snapshot::{Event, Last, Snapshot};
use super::state::State;
use crate::admission::{DemandEstimate, Demanded, Wanted};
use crate::batch::{Batch, Bounds, Row, Table, Tallies};
use crate::edges::{self, Change};
use crate::tenant::TenantId;

/// Ticks of a tenant are at least so far apart: room for a marker and for a zero between them.
const TICK_DISTANCE_MS: i64 = 3;

#[derive(Debug)]
pub struct Tenant {
    id: TenantId,
    world: Mutex<World>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) state: State,
    pub(super) life: Life,
    pub(super) tallies: Tallies,
    pub(super) gate: Gate,
    pub(super) memory: Arc<Memory>,
    /// For label sets that live.
    pub(super) charged_sets: usize,
    /// For slots, and the rest of what is held but edge sides.
    pub(super) charged_held: usize,
    /// For edge sides.
    pub(super) charged_sides: usize,
    /// Bytes of the values of the last ticks, the newest last: who reads them may still hold them.
    pub(super) tick_bytes: VecDeque<usize>,
    pub(super) edge_rows: EdgeRows,
    pub(super) edge_counts: edges::Counts,
    /// Of the current batch; no part of the state.
    pub(super) work: edges::Work,
    /// Edges that the current batch, or the tick, may still let in.
    pub(super) new_edges_left: usize,
    pub(super) series: SeriesCounts,
    /// Since the last tick.
    events: Vec<Event>,
    /// Ticks that reloads took, until they are handed over, the newest last.
    pub(super) taken: Vec<Snapshot>,
    /// With a dry run of name templates; guidance, no part of the state.
    pub(super) names_demand: Option<Box<DemandEstimate>>,
    /// Told of each row that goes to an overflow series; no part of the state.
    pub(super) wanted: Wanted,
}

/// A tenant's counts, all from one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub tallies: Tallies,
    /// Label sets of each table that live.
    pub live: [usize; Table::ALL.len()],
    pub series: SeriesCounts,
    pub edges: edges::Counts,
    /// Edge sides that have not met their end.
    pub sides_pending: usize,
    /// Label sets of the span metrics that were wanted within the stale duration, as of the last tick,
    /// with a dry run of name templates.
    pub names_demand: Option<Demanded>,
    /// Prometheus series that the tenant may have; 0 = no limit.
    pub series_limit: usize,
}

/// Prometheus series that began and ended so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeriesCounts {
    pub born: u64,
    pub ended: u64,
}

impl SeriesCounts {
    /// Prometheus series that live.
    pub fn live(&self) -> u64 {
        self.born - self.ended
    }
}

impl Tenant {
    /// One that holds what it is given. `seed` keys the hash tables.
    pub fn new(id: TenantId, settings: Settings, bounds: &Bounds, seed: [u64; 4]) -> Self {
        Self::with_memory(id, settings, bounds, seed, Arc::new(Memory::unbounded()))
    }

    /// What it holds is charged to `memory`.
    pub fn with_memory(
        id: TenantId,
        settings: Settings,
        bounds: &Bounds,
        seed: [u64; 4],
        memory: Arc<Memory>,
    ) -> Self {
        Self::of(id, World::new(settings, bounds, seed, memory))
    }

    pub(super) fn of(id: TenantId, world: World) -> Self {
        Self { id, world: Mutex::new(world) }
    }

    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// Counts a batch; `now` is logical time, since the Unix epoch.
    pub fn apply(&self, batch: &Batch, now: Duration) {
        self.lock().apply(batch, ms(now), &mut |_| {});
    }

    /// Takes a tick: ends what is stale, copies the values, hands over what came and went.
    pub fn tick(&self, now: Duration) -> Snapshot {
        self.lock().take_tick(now)
    }

    /// The last tick of a process that keeps nothing: edge sides that wait have met their end.
    pub fn last_tick(&self, now: Duration) -> Snapshot {
        let mut world = self.lock();
        let at_ms = world.tick_ms(now);
        world.expire_edges(at_ms, &mut |_| {});
        world.close_edges(at_ms, &mut |_| {});
        let deaths = world.deaths(at_ms);
        world.tick(at_ms, &deaths, &mut |_| {})
    }

    /// The tick after the last one: every label set ends.
    pub fn end_all(&self, now: Duration) -> Snapshot {
        let mut world = self.lock();
        let at_ms = world.tick_ms(now);
        let deaths: Vec<_> = decide::all_live(&world.state).map(|(t, s, _)| (t, s)).collect();
        world.tick(at_ms, &deaths, &mut |_| {})
    }

    pub fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// What was wanted beyond what was admitted, copied; nothing where nothing was refused of late.
    pub fn wanted(&self) -> Option<Wanted> {
        let world = self.lock();
        (!world.wanted.is_empty()).then(|| world.wanted.clone())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|_| {
            // A fold that panicked left its state half changed: rather start anew than count wrongly.
            tracing::error!(tenant = %self.id, "the tenant's state is broken, the process ends");
            std::process::abort()
        })
    }
}

impl World {
    pub(super) fn new(
        settings: Settings,
        bounds: &Bounds,
        seed: [u64; 4],
        memory: Arc<Memory>,
    ) -> Self {
        let caller = &settings.edges.virtual_caller;
        let stale_ms = ms(settings.stale_duration);
        Self {
            state: State::new(bounds, &settings, seed),
            life: Life::default(),
            tallies: Tallies::default(),
            gate: Gate::new(seed),
            memory,
            charged_sets: 0,
            charged_held: 0,
            charged_sides: 0,
            tick_bytes: VecDeque::new(),
            edge_rows: EdgeRows::new(settings.edge_series, caller, bounds),
            edge_counts: edges::Counts::default(),
            work: edges::Work::default(),
            new_edges_left: 0,
            series: SeriesCounts::default(),
            events: Vec::new(),
            taken: Vec::new(),
            names_demand: None,
            wanted: Wanted::new(seed, stale_ms),
            settings,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            tallies: self.tallies,
            live: Table::ALL.map(|table| self.state.table(table).len()),
            series: self.series,
            edges: self.edge_counts,
            sides_pending: self.state.edges().n_pending(),
            names_demand: self.names_demand.as_ref().map(|demand| demand.demanded()),
            series_limit: self.settings.limits.max_active_series,
        }
    }

    /// Counts of the same tenant before it was unloaded.
    pub(super) fn go_on_from(&mut self, counts: &Counts) {
        self.tallies = counts.tallies;
        self.series = counts.series;
        self.edge_counts = counts.edges;
    }

    /// Nothing has come or gone since the last tick.
    pub(super) fn has_no_events(&self) -> bool {
        self.events.is_empty()
    }

    /// `log` sees every effect, in order.
    pub(super) fn apply(&mut self, batch: &Batch, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        self.life.last_batch_ms = at_ms;
        self.new_edges_left = self.settings.edges.budget.new_edges;
        // A tick may be ahead of the clock; what comes after it has not been collected with it.
        let at_ms = at_ms.max(self.state.last_tick_ms());
        for row in &batch.rows {
            self.row(batch, row, at_ms, log);
        }
        self.tallies.add(&batch.tallies);
        if !batch.demand.is_empty() {
            let window = self.settings.stale_duration;
            let demand =
                self.names_demand.get_or_insert_with(|| DemandEstimate::new(window).into());
            demand.add(&batch.demand, at_ms);
        }
        self.edge_sides(batch, at_ms, log);
        self.tidy_up();
        debug_assert!(self.tallies.are_settled(), "every span is in one place: {:?}", self.tallies);
    }

    fn row(&mut self, batch: &Batch, row: &Row, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        let labels = batch.labels(row);
        let slot = self.state.table(row.table).find(labels).or_else(|| {
            let placed = self.place((row.table, labels), row.spans, None, at_ms, log);
            if let Some(limit) = placed.limited {
                self.count_limited((row.table, labels), limit, row.spans, at_ms);
            }
            placed.slot
        });
        if let Some(slot) = slot {
            self.fold(&decide::add(batch, row, slot, at_ms), log);
        }
    }

    pub(super) fn fold(&mut self, effect: &Effect<'_>, log: &mut impl FnMut(&Effect<'_>)) {
        match *effect {
            Effect::Birth { table, slot, labels, .. } => {
                self.series.born += self.settings.series_per_set[table as usize] as u64;
                self.events.push(Event::Birth { table, slot, labels: labels.as_bytes().into() });
            }
            Effect::Death { table, slot } => {
                self.series.ended += self.settings.series_per_set[table as usize] as u64;
                self.edge_rows.forget();
                let charge = self.charge_ended(table, slot);
                self.refund(table, slot);
                let values = self.state.table(table).values().only(slot);
                let last = Arc::new(Last::new(values, charge));
                self.events.push(Event::Death { table, slot, last });
            }
            Effect::Restart { table, parts, .. } => {
                let charge = Arc::new(self.charge_restarted(table));
                self.events.push(Event::Restart { table, parts, charge });
            }
            Effect::Add(_)
            | Effect::Shown { .. }
            | Effect::Tick { .. }
            | Effect::Edge(_)
            | Effect::Resize { .. } => {}
        }
        let grows = matches!(effect, Effect::Birth { table, .. } if self.chunk_ahead(*table) > 0);
        self.state.fold(effect);
        log(effect);
        if grows {
            self.settle();
        }
    }

    pub(super) fn tick_ms(&self, now: Duration) -> i64 {
        ms(now).max(self.latest_tick_ms().saturating_add(TICK_DISTANCE_MS))
    }

    pub(super) fn take_tick(&mut self, now: Duration) -> Snapshot {
        let at_ms = self.tick_ms(now);
        self.expire_edges(at_ms, &mut |_| {});
        let deaths = self.deaths(at_ms);
        self.tick(at_ms, &deaths, &mut |_| {})
    }

    /// `log` sees every effect, in order.
    pub(super) fn tick(
        &mut self,
        at_ms: i64,
        deaths: &[(Table, u32)],
        log: &mut impl FnMut(&Effect<'_>),
    ) -> Snapshot {
        for &(table, slot) in deaths {
            self.fold(&Effect::Death { table, slot }, log);
        }
        if let Some(demand) = &mut self.names_demand {
            demand.advance(at_ms);
        }
        let exemplars = decide::exemplars(&self.state, at_ms);
        for shown in &exemplars {
            let (table, slot, exemplar_ms) = (shown.table, shown.slot, shown.exemplar_ms);
            let newest = self.state.table(table).slot(slot).exemplar_ms.max(exemplar_ms);
            self.fold(&Effect::Shown { table, slot, exemplar_ms: newest }, log);
        }
        let previous_ms = self.state.last_tick_ms();
        self.fold(&Effect::Tick { at_ms }, log);
        self.wanted.forget(at_ms);
        self.gate.tick(at_ms);
        // Whether there is room for more sides is found out anew.
        self.state.set_max_items(self.settings.edges.max_items);
        if self.state.edges().is_idle() {
            self.fold(&Effect::Edge(Change::Sweep), log);
            self.edge_rows.forget();
        }
        self.tidy_up();
        self.tick_taken();
        let values = Table::ALL.map(|table| Arc::new(self.state.table(table).values().clone()));
        let naming = Arc::clone(&self.settings.naming);
        let events = std::mem::take(&mut self.events);
        Snapshot::new((previous_ms, at_ms), naming, events, values, exemplars)
    }
}

pub(super) fn ms(since_epoch: Duration) -> i64 {
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "tenant_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "limits_tests.rs"]
mod limits_tests;

#[cfg(test)]
#[path = "edges_tests.rs"]
mod edges_tests;

#[cfg(test)]
#[path = "edges_model_tests.rs"]
mod edges_model;

#[cfg(test)]
#[path = "edges_flood_tests.rs"]
mod edges_flood;
