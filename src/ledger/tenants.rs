//! The tenants of the process: made when their first data comes, unloaded when they have gone quiet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::mpsc::UnboundedSender;

use super::lifecycle::Before;
use super::memory::Memory;
use super::settings::Rules;
use super::tenant::{Counts, Tenant, World};
use crate::tenant::TenantId;

/// Unloaded tenants whose counts are kept where the number of tenants is not limited.
const UNLOADED_MAX: usize = 1000;

/// All tenants of the process.
#[derive(Debug)]
pub struct Tenants {
    /// Changed under the lock of `past` alone.
    live: DashMap<TenantId, Arc<Tenant>>,
    past: Mutex<Past>,
    /// 0 = no limit.
    max: usize,
    seed: [u64; 4],
    memory: Arc<Memory>,
    /// Told of each new tenant, once.
    created: UnboundedSender<Arc<Tenant>>,
}

/// What is left of tenants that were unloaded.
#[derive(Debug)]
struct Past {
    /// One for all: whoever comes back goes on after it, so that no sample goes back in time.
    latest_tick_ms: i64,
    /// Their counts, the newest last, so that counters go on where they were. At most as many as
    /// there is room for tenants.
    counts: VecDeque<(TenantId, Counts)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {id} is one too many: expected at most limits.max_tenants, {max}")]
pub struct TooManyTenants {
    pub id: TenantId,
    pub max: usize,
}

impl Tenants {
    /// `max`: how many there may be at a time, 0 = no limit.
    pub fn new(max: usize, seed: [u64; 4], created: UnboundedSender<Arc<Tenant>>) -> Self {
        let past = Past { latest_tick_ms: i64::MIN, counts: VecDeque::new() };
        let memory = Arc::new(Memory::unbounded());
        Self { live: DashMap::new(), past: Mutex::new(past), max, seed, memory, created }
    }

    /// What they hold is charged to it.
    pub fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self { memory, ..self }
    }

    pub fn get(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.live.get(id).map(|tenant| Arc::clone(&tenant))
    }

    /// Whether a request of this tenant may be taken, as of now.
    pub fn admits(&self, id: &TenantId) -> Result<(), TooManyTenants> {
        if self.has_room(id) {
            return Ok(());
        }
        // One that is about to be unloaded makes room.
        let _past = self.past();
        self.check_room(id)
    }

    /// `rules` of the reload number `epoch`, for a tenant that is new.
    pub fn get_or_create(
        &self,
        id: &TenantId,
        rules: &Rules,
        epoch: u64,
        now: Duration,
    ) -> Result<Arc<Tenant>, TooManyTenants> {
        if let Some(tenant) = self.get(id) {
            return Ok(tenant);
        }
        let mut past = self.past();
        if let Some(tenant) = self.get(id) {
            return Ok(tenant);
        }
        self.check_room(id)?;
        let counts = past.counts.iter().position(|(other, _)| other == id);
        let counts = counts.and_then(|place| past.counts.remove(place)).map(|(_, counts)| counts);
        let before = Before { latest_tick_ms: past.latest_tick_ms, counts };
        let world =
            World::new(rules.settings.clone(), &rules.bounds, self.seed, Arc::clone(&self.memory));
        let tenant = Arc::new(Tenant::begin(id.clone(), world, (rules, epoch), (before, now)));
        self.live.insert(id.clone(), Arc::clone(&tenant));
        self.forget_beyond_room(&mut past);
        // Nobody listens while the process drains: then nothing is to be told.
        drop(self.created.send(Arc::clone(&tenant)));
        Ok(tenant)
    }

    /// Ends a tenant that is quiet, so that another one has its place; whoever holds it finds it
    /// retired. Answers whether it was done.
    pub fn unload(&self, tenant: &Arc<Tenant>, now: Duration) -> bool {
        let mut past = self.past();
        // Out of sight first: whoever looks for it now waits for the outcome.
        let same = |_: &TenantId, live: &mut Arc<Tenant>| Arc::ptr_eq(live, tenant);
        if self.live.remove_if_mut(tenant.id(), same).is_none() {
            return false;
        }
        match tenant.retire(now) {
            Some((latest_tick_ms, counts)) => {
                past.latest_tick_ms = past.latest_tick_ms.max(latest_tick_ms);
                past.counts.push_back((tenant.id().clone(), counts));
                self.forget_beyond_room(&mut past);
                true
            }
            None => {
                self.live.insert(tenant.id().clone(), Arc::clone(tenant));
                false
            }
        }
    }

    /// In the order of their ids.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        let _past = self.past();
        self.sorted()
    }

    /// Counts of all tenants, also of those that were unloaded while there is room, by id.
    pub fn counts(&self) -> Vec<(TenantId, Counts)> {
        let (live, unloaded) = {
            let past = self.past();
            (self.sorted(), past.counts.clone())
        };
        let live = live.iter().map(|tenant| (tenant.id().clone(), tenant.counts()));
        let mut all: Vec<_> = live.chain(unloaded).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    fn sorted(&self) -> Vec<Arc<Tenant>> {
        let mut all: Vec<_> = self.live.iter().map(|t| Arc::clone(t.value())).collect();
        all.sort_by(|a, b| a.id().cmp(b.id()));
        all
    }

    /// Under the lock of `past`: nobody comes or goes meanwhile.
    fn check_room(&self, id: &TenantId) -> Result<(), TooManyTenants> {
        match self.has_room(id) {
            true => Ok(()),
            false => Err(TooManyTenants { id: id.clone(), max: self.max }),
        }
    }

    fn has_room(&self, id: &TenantId) -> bool {
        self.max == 0 || self.live.contains_key(id) || self.live.len() < self.max
    }

    fn forget_beyond_room(&self, past: &mut Past) {
        let room =
            if self.max == 0 { UNLOADED_MAX } else { self.max.saturating_sub(self.live.len()) };
        while past.counts.len() > room {
            past.counts.pop_front();
        }
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().expect("nothing panics under this lock but a broken tenant, which aborts")
    }
}
