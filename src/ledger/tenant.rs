//! One tenant: its state behind its lock. The tenants: made when their first data comes.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::mpsc::UnboundedSender;

use super::decide;
use super::edge_rows::EdgeRows;
use super::effects::Effect;
use super::settings::Settings;
use super::snapshot::{Event, Snapshot};
use super::state::State;
use crate::batch::{
    Batch, Bounds, Class, Discarded, EdgeSide, Processor, Repaired, Repairs, Row, Table, Tallies,
};
use crate::edges::{self, Book, Change, Edge, End};
use crate::tenant::TenantId;

/// Ticks of a tenant are at least so far apart: room for a zero and for a marker between them.
const TICK_DISTANCE_MS: i64 = 2;

#[derive(Debug)]
pub struct Tenant {
    id: TenantId,
    world: Mutex<World>,
}

/// What the lock guards.
#[derive(Debug)]
struct World {
    settings: Settings,
    state: State,
    tallies: Tallies,
    edge_rows: EdgeRows,
    edge_counts: edges::Counts,
    n_born: [u64; Table::ALL.len()],
    n_ended: [u64; Table::ALL.len()],
    /// Since the last tick.
    events: Vec<Event>,
}

/// A tenant's counts, all from one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub tallies: Tallies,
    /// Label sets of each table that live.
    pub live: [usize; Table::ALL.len()],
    /// Label sets born and ended so far.
    pub born: [u64; Table::ALL.len()],
    pub ended: [u64; Table::ALL.len()],
    pub edges: edges::Counts,
    /// Edge sides that have not met their end.
    pub sides_pending: usize,
}

impl Tenant {
    pub fn new(id: TenantId, settings: Settings, bounds: &Bounds, seed: [u64; 4]) -> Self {
        let world = World::new(settings, bounds, seed);
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
        let mut world = self.lock();
        let at_ms = world.tick_ms(now);
        world.expire_edges(at_ms, &mut |_| {});
        let deaths = decide::deaths(&world.state, &world.settings, at_ms);
        world.tick(at_ms, &deaths, &mut |_| {})
    }

    /// The last tick of a process that keeps nothing: edge sides that wait have met their end.
    pub fn last_tick(&self, now: Duration) -> Snapshot {
        let mut world = self.lock();
        let at_ms = world.tick_ms(now);
        world.expire_edges(at_ms, &mut |_| {});
        world.close_edges(at_ms, &mut |_| {});
        let deaths = decide::deaths(&world.state, &world.settings, at_ms);
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
        let world = self.lock();
        Counts {
            tallies: world.tallies,
            live: Table::ALL.map(|table| world.state.table(table).len()),
            born: world.n_born,
            ended: world.n_ended,
            edges: world.edge_counts,
            sides_pending: world.state.edges().n_pending(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|_| {
            // A fold that panicked left its state half changed: rather start anew than count wrongly.
            tracing::error!(tenant = %self.id, "the tenant's state is broken, the process ends");
            std::process::abort()
        })
    }
}

impl World {
    fn new(settings: Settings, bounds: &Bounds, seed: [u64; 4]) -> Self {
        let caller = &settings.edges.virtual_caller;
        Self {
            state: State::new(bounds, &settings, seed),
            tallies: Tallies::default(),
            edge_rows: EdgeRows::new(settings.edge_series, caller, bounds),
            edge_counts: edges::Counts::default(),
            n_born: [0; Table::ALL.len()],
            n_ended: [0; Table::ALL.len()],
            events: Vec::new(),
            settings,
        }
    }

    /// `log` sees every effect, in order.
    fn apply(&mut self, batch: &Batch, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        for row in &batch.rows {
            self.row(batch, row, at_ms, log);
        }
        self.tallies.add(&batch.tallies);
        self.expire_edges(at_ms, log);
        self.sides(batch, at_ms, log);
    }

    /// Answers the slot of its label set.
    fn row(
        &mut self,
        batch: &Batch,
        row: &Row,
        at_ms: i64,
        log: &mut impl FnMut(&Effect<'_>),
    ) -> u32 {
        let (birth, slot) = decide::row(&self.state, batch, row);
        if let Some(birth) = birth {
            self.fold(&birth, log);
        }
        self.fold(&decide::add(batch, row, slot, at_ms), log);
        slot
    }

    /// Every side meets others or joins those that wait; it is counted but where it is a copy.
    fn sides(&mut self, batch: &Batch, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        let n_copies = self.edge_counts.ended(End::Duplicate);
        let n_filtered = batch.sides.iter().filter(|side| side.class == Class::Filtered).count();
        let mut origins = vec![None; batch.origins.len()];
        let mut links = batch.links.iter().as_slice();
        for (i, side) in (0..).zip(&batch.sides) {
            if self.edge_rows.is_large() {
                self.add_edge_rows(at_ms, log);
            }
            let mut desk = self.desk(log);
            if (i as usize).is_multiple_of(edges::WARM) {
                desk.state.edges().warm(&batch.sides[i as usize..]);
            }
            let n_links = links.iter().take_while(|link| link.side == i).count();
            let (own_links, rest) = links.split_at(n_links);
            links = rest;
            let place = side.origin as usize;
            let origin = *origins[place].get_or_insert_with(|| {
                edges::origin(&mut desk, batch.origins[place].slice(&batch.origin_text))
            });
            edges::arrive(&mut desk, EdgeSide { origin, ..*side }, own_links, at_ms);
        }
        self.edge_rows_done(at_ms, log);
        let n_copies = self.edge_counts.ended(End::Duplicate) - n_copies;
        let n_counted = (batch.sides.len() - n_filtered) as u64 - n_copies;
        self.tallies.count(Processor::ServiceGraphs, n_counted);
        self.tallies.discard(Processor::ServiceGraphs, Discarded::Duplicate, n_copies);
    }

    fn expire_edges(&mut self, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        while edges::expire(&mut self.desk(log), at_ms) {
            self.edge_rows_done(at_ms, log);
        }
        self.edge_rows_done(at_ms, log);
    }

    fn close_edges(&mut self, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        while edges::close(&mut self.desk(log)) {
            self.edge_rows_done(at_ms, log);
        }
        self.edge_rows_done(at_ms, log);
    }

    fn desk<'w, L>(&'w mut self, log: &'w mut L) -> Desk<'w, L> {
        Desk {
            settings: &self.settings.edges,
            state: &mut self.state,
            rows: &mut self.edge_rows,
            counts: &mut self.edge_counts,
            tallies: &mut self.tallies,
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
    fn add_edge_rows(&mut self, at_ms: i64, log: &mut impl FnMut(&Effect<'_>)) {
        if !self.edge_rows.is_empty() {
            let batch = self.edge_rows.take();
            for (i, row) in batch.rows.iter().enumerate() {
                let Some(slot) = self.edge_rows.slot(i, row.table) else {
                    let slot = self.row(&batch, row, at_ms, log);
                    self.edge_rows.learn(i, row.table, slot);
                    continue;
                };
                self.fold(&decide::add(&batch, row, slot, at_ms), log);
            }
            self.edge_rows.give_back(batch);
        }
        self.edge_rows.shed();
    }

    fn fold(&mut self, effect: &Effect<'_>, log: &mut impl FnMut(&Effect<'_>)) {
        match *effect {
            Effect::Birth { table, slot, labels } => {
                self.n_born[table as usize] += 1;
                self.events.push(Event::Birth { table, slot, labels: labels.as_bytes().into() });
            }
            Effect::Death { table, slot } => {
                self.n_ended[table as usize] += 1;
                self.edge_rows.forget();
                let last = Box::new(self.state.table(table).values().only(slot));
                self.events.push(Event::Death { table, slot, last });
            }
            Effect::Add(_) | Effect::Shown { .. } | Effect::Tick { .. } | Effect::Edge(_) => {}
        }
        self.state.fold(effect);
        log(effect);
    }

    fn tick_ms(&self, now: Duration) -> i64 {
        ms(now).max(self.state.last_tick_ms().saturating_add(TICK_DISTANCE_MS))
    }

    /// `log` sees every effect, in order.
    fn tick(
        &mut self,
        at_ms: i64,
        deaths: &[(Table, u32)],
        log: &mut impl FnMut(&Effect<'_>),
    ) -> Snapshot {
        for &(table, slot) in deaths {
            self.fold(&Effect::Death { table, slot }, log);
        }
        let exemplars = decide::exemplars(&self.state, at_ms);
        for shown in &exemplars {
            let (table, slot, exemplar_ms) = (shown.table, shown.slot, shown.exemplar_ms);
            let newest = self.state.table(table).slot(slot).exemplar_ms.max(exemplar_ms);
            self.fold(&Effect::Shown { table, slot, exemplar_ms: newest }, log);
        }
        let previous_ms = self.state.last_tick_ms();
        self.fold(&Effect::Tick { at_ms }, log);
        let values = Table::ALL.map(|table| Arc::new(self.state.table(table).values().clone()));
        Snapshot::new((previous_ms, at_ms), std::mem::take(&mut self.events), values, exemplars)
    }
}

/// Where decisions about edge sides become effects, counts and rows.
struct Desk<'w, L> {
    settings: &'w edges::Settings,
    state: &'w mut State,
    rows: &'w mut EdgeRows,
    counts: &'w mut edges::Counts,
    tallies: &'w mut Tallies,
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

    fn links_dropped(&mut self) {
        let mut repairs = Repairs::default();
        repairs.set(Repaired::Links, true);
        self.tallies.repair(repairs);
    }
}

fn ms(since_epoch: Duration) -> i64 {
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// All tenants of the process.
#[derive(Debug)]
pub struct Tenants {
    tenants: DashMap<TenantId, Arc<Tenant>>,
    settings: Settings,
    bounds: Bounds,
    seed: [u64; 4],
    /// Told of each new tenant, once.
    created: UnboundedSender<Arc<Tenant>>,
}

impl Tenants {
    pub fn new(
        settings: Settings,
        bounds: Bounds,
        seed: [u64; 4],
        created: UnboundedSender<Arc<Tenant>>,
    ) -> Self {
        Self { tenants: DashMap::new(), settings, bounds, seed, created }
    }

    pub fn get(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.get(id).map(|tenant| Arc::clone(&tenant))
    }

    pub fn get_or_create(&self, id: &TenantId) -> Arc<Tenant> {
        if let Some(tenant) = self.get(id) {
            return tenant;
        }
        let entry = self.tenants.entry(id.clone()).or_insert_with(|| {
            let tenant = Tenant::new(id.clone(), self.settings.clone(), &self.bounds, self.seed);
            let tenant = Arc::new(tenant);
            // Nobody listens while the process drains: then nothing is to be told.
            drop(self.created.send(Arc::clone(&tenant)));
            tenant
        });
        Arc::clone(&entry)
    }

    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// In the order of their ids.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        let mut all: Vec<_> = self.tenants.iter().map(|t| Arc::clone(t.value())).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }
}

#[cfg(test)]
#[path = "tenant_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "edges_tests.rs"]
mod edges_tests;

#[cfg(test)]
#[path = "edges_model_tests.rs"]
mod edges_model;

#[cfg(test)]
#[path = "edges_flood_tests.rs"]
mod edges_flood;
