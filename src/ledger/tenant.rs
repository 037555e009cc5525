//! One tenant: its state behind its lock. The tenants: made when their first data comes.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::mpsc::UnboundedSender;

use super::decide;
use super::effects::Effect;
use super::settings::Settings;
use super::snapshot::{Event, Snapshot};
use super::state::State;
use crate::batch::{Batch, Bounds, Table, Tallies};
use crate::tenant::TenantId;

/// Ticks of a tenant are at least so far apart: room for a zero and for a marker between them.
const TICK_DISTANCE_MS: i64 = 2;

#[derive(Debug)]
pub struct Tenant {
    id: TenantId,
    settings: Settings,
    world: Mutex<World>,
}

/// What the lock guards.
#[derive(Debug)]
struct World {
    state: State,
    tallies: Tallies,
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
}

impl Tenant {
    pub fn new(id: TenantId, settings: Settings, bounds: &Bounds, seed: [u64; 4]) -> Self {
        let state = State::new(bounds, settings.max_exemplars_per_tick, seed);
        let (tallies, events) = (Tallies::default(), Vec::new());
        let world = World {
            state,
            tallies,
            n_born: [0; Table::ALL.len()],
            n_ended: [0; Table::ALL.len()],
            events,
        };
        Self { id, settings, world: Mutex::new(world) }
    }

    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// Counts a batch; `now` is logical time, since the Unix epoch.
    pub fn apply(&self, batch: &Batch, now: Duration) {
        self.lock().apply(batch, ms(now), |_| {});
    }

    /// Takes a tick: ends what is stale, copies the values, hands over what came and went.
    pub fn tick(&self, now: Duration) -> Snapshot {
        let mut world = self.lock();
        let at_ms = world.tick_ms(now);
        let deaths = decide::deaths(&world.state, &self.settings, at_ms);
        world.tick(at_ms, &deaths, |_| {})
    }

    /// The tick after the last one: every label set ends.
    pub fn end_all(&self, now: Duration) -> Snapshot {
        let mut world = self.lock();
        let at_ms = world.tick_ms(now);
        let deaths: Vec<_> = decide::all_live(&world.state).map(|(t, s, _)| (t, s)).collect();
        world.tick(at_ms, &deaths, |_| {})
    }

    pub fn counts(&self) -> Counts {
        let world = self.lock();
        Counts {
            tallies: world.tallies,
            live: Table::ALL.map(|table| world.state.table(table).len()),
            born: world.n_born,
            ended: world.n_ended,
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
    /// `log` sees every effect, in order.
    fn apply(&mut self, batch: &Batch, at_ms: i64, mut log: impl FnMut(&Effect<'_>)) {
        for row in &batch.rows {
            let (birth, add) = decide::row(&self.state, batch, row, at_ms);
            for effect in birth.iter().chain([&add]) {
                self.fold(effect, &mut log);
            }
        }
        self.tallies.add(&batch.tallies);
    }

    fn fold(&mut self, effect: &Effect<'_>, log: &mut impl FnMut(&Effect<'_>)) {
        match *effect {
            Effect::Birth { table, slot, labels } => {
                self.n_born[table as usize] += 1;
                self.events.push(Event::Birth { table, slot, labels: labels.as_bytes().into() });
            }
            Effect::Death { table, slot } => {
                self.n_ended[table as usize] += 1;
                let last = Box::new(self.state.table(table).values().only(slot));
                self.events.push(Event::Death { table, slot, last });
            }
            Effect::Add(_) | Effect::Shown { .. } | Effect::Tick { .. } => {}
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
        mut log: impl FnMut(&Effect<'_>),
    ) -> Snapshot {
        for &(table, slot) in deaths {
            self.fold(&Effect::Death { table, slot }, &mut log);
        }
        let exemplars = decide::exemplars(&self.state, at_ms);
        for shown in &exemplars {
            let (table, slot, exemplar_ms) = (shown.table, shown.slot, shown.exemplar_ms);
            let newest = self.state.table(table).slot(slot).exemplar_ms.max(exemplar_ms);
            self.fold(&Effect::Shown { table, slot, exemplar_ms: newest }, &mut log);
        }
        let previous_ms = self.state.last_tick_ms();
        self.fold(&Effect::Tick { at_ms }, &mut log);
        let values = Table::ALL.map(|table| Arc::new(self.state.table(table).values().clone()));
        Snapshot::new((previous_ms, at_ms), std::mem::take(&mut self.events), values, exemplars)
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
