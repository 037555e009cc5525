//! The pool that bodies are read in: what all of them hold together never exceeds it.
//!
//! Bytes are charged before they are taken in, and come back when a body's account is dropped, however
//! its request ends. A body for which there is no room waits; tenants below their share of the pool are
//! served before those above it, and of either the oldest body first. Who sends slowly gives way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::answer::Refusal;
use crate::telemetry::BodyMetrics;
use crate::tenant::TenantId;

/// In all, for one body.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// While a body waits, it is looked this often whether a slow one can give way.
const LOOK: Duration = Duration::from_millis(50);
/// From this age on a body that arrives slowly gives way when the pool is full.
const SLOW_AGE: Duration = Duration::from_secs(2);
/// What a tenant has beyond its share is lent: another that has waited this long for its own gets it.
const LENT: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Bodies {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// Of `used`, what bodies hold that will need more once they are whole.
    growing: usize,
    /// The most that `used` has been.
    peak: usize,
    next_id: u64,
    /// In the order of their age.
    bodies: BTreeMap<u64, Held>,
    /// Those that have bodies.
    tenants: BTreeMap<TenantId, Share>,
    /// Bodies that have been told to give way and still hold what they have.
    cut: usize,
    looked: Option<Instant>,
    metrics: Option<BodyMetrics>,
}

#[derive(Debug)]
struct Held {
    tenant: TenantId,
    bytes: usize,
    since: Instant,
    /// `Some` until it is whole: what has come of it.
    arrived: Option<usize>,
    grows: bool,
    waits: bool,
    gives_way: CancellationToken,
}

#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    bodies: usize,
    /// By the age of the body; those apart that may be held up while others go on.
    waiting: [BTreeMap<u64, Waiting>; 2],
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    granted: oneshot::Sender<()>,
}

/// One body's account.
#[derive(Debug)]
pub(super) struct Account {
    pool: Arc<Bodies>,
    id: u64,
    tenant: TenantId,
    waited: Duration,
    gives_way: CancellationToken,
}

impl Bodies {
    pub(super) fn new(capacity: usize, metrics: BodyMetrics) -> Arc<Self> {
        let state = State { metrics: Some(metrics), ..State::default() };
        Arc::new(Self { capacity, state: Mutex::new(state) })
    }

    /// What can never fit is refused before it is read.
    pub(super) fn check(&self, declared: usize) -> Result<(), Refusal> {
        let max = self.capacity;
        if declared > max { Err(Refusal::NeverFits { found: declared, max }) } else { Ok(()) }
    }

    /// `grows`: once it is whole it will be inflated or converted, and need room for that.
    pub(super) fn open(self: &Arc<Self>, tenant: &TenantId, grows: bool) -> Account {
        let gives_way = CancellationToken::new();
        let held = Held {
            tenant: tenant.clone(),
            bytes: 0,
            since: Instant::now(),
            arrived: Some(0),
            grows,
            waits: false,
            gives_way: gives_way.clone(),
        };
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.bodies.insert(id, held);
        state.tenants.entry(tenant.clone()).or_default().bodies += 1;
        drop(state);
        let (pool, tenant) = (Arc::clone(self), tenant.clone());
        Account { pool, id, tenant, waited: Duration::ZERO, gives_way }
    }

    /// What has come of a body that is still arriving.
    pub(super) fn arrived(&self, id: u64) -> Option<usize> {
        self.lock().bodies.get(&id)?.arrived
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

impl Account {
    /// Ends when the body has to give way.
    pub(super) fn gives_way(&self) -> CancellationToken {
        self.gives_way.clone()
    }

    /// Waits for room, at most [`WAIT_MAX`] over the body's life.
    pub(super) async fn reserve(&mut self, bytes: usize) -> Result<(), Refusal> {
        let (sender, mut granted) = oneshot::channel();
        {
            let mut state = self.pool.lock();
            if state.try_charge(self.id, bytes, self.pool.capacity)? {
                return Ok(());
            }
            state.wait(self.id, bytes, sender);
            state.serve(self.pool.capacity);
        }
        let begun = Instant::now();
        let outcome = loop {
            let waited = self.waited + begun.elapsed();
            if waited >= WAIT_MAX {
                break Err(Refusal::NoRoom);
            }
            match timeout(LOOK.min(WAIT_MAX - waited), &mut granted).await {
                Ok(Ok(())) => break Ok(()),
                // Nobody is left who could grant it.
                Ok(Err(_)) => break Err(Refusal::NoRoom),
                Err(_) if self.gives_way.is_cancelled() => break Err(Refusal::GaveWay),
                Err(_) => self.pool.lock().look(self.id, waited, self.pool.capacity),
            }
        };
        self.waited += begun.elapsed();
        let mut state = self.pool.lock();
        // Granted in the very last moment: it is part of the account, and refunded with it.
        state.wait_no_more(self.id);
        outcome
    }

    /// The same without waiting: whether there is room.
    pub(super) fn try_reserve(&self, bytes: usize) -> Result<bool, Refusal> {
        self.pool.lock().try_charge(self.id, bytes, self.pool.capacity)
    }

    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.pool.lock();
        state.refund(self.id, bytes);
        state.serve(self.pool.capacity);
    }

    pub(super) fn capacity(&self) -> usize {
        self.pool.capacity
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Of the body, up to now.
    pub(super) fn arrived(&self, bytes: usize) {
        if let Some(held) = self.pool.lock().bodies.get_mut(&self.id) {
            held.arrived = Some(bytes);
        }
    }

    /// It has arrived: from here on it does not give way.
    pub(super) fn whole(&self) {
        if let Some(held) = self.pool.lock().bodies.get_mut(&self.id) {
            held.arrived = None;
        }
    }

    /// It is being inflated or converted: what it holds keeps nobody out but for lack of room.
    pub(super) fn grown(&self) {
        let mut state = self.pool.lock();
        if let Some(held) = state.bodies.get_mut(&self.id)
            && std::mem::take(&mut held.grows)
        {
            let bytes = held.bytes;
            state.growing -= bytes;
            state.serve(self.pool.capacity);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.wait_no_more(self.id);
        let bytes = state.bodies.get(&self.id).map_or(0, |held| held.bytes);
        state.refund(self.id, bytes);
        state.bodies.remove(&self.id);
        if self.gives_way.is_cancelled() {
            state.cut -= 1;
        }
        if let Some(share) = state.tenants.get_mut(&self.tenant) {
            share.bodies -= 1;
            if share.bodies == 0 {
                state.tenants.remove(&self.tenant);
            }
        }
        state.serve(self.pool.capacity);
    }
}

impl State {
    /// Charged at once if nobody waits and there is room; an error if there never can be.
    fn try_charge(&mut self, id: u64, bytes: usize, capacity: usize) -> Result<bool, Refusal> {
        let held = self.bodies.get(&id).map_or(0, |held| held.bytes);
        let found = held.saturating_add(bytes);
        if found > capacity {
            return Err(Refusal::NeverFits { found, max: capacity });
        }
        let nobody_waits = self.tenants.values().all(|share| !share.waits());
        let fits =
            nobody_waits && self.has_room(bytes, capacity) && !self.held_up(id, bytes, capacity);
        if fits {
            self.charge(id, bytes);
        }
        Ok(fits)
    }

    fn has_room(&self, bytes: usize, capacity: usize) -> bool {
        self.used + bytes <= capacity
    }

    /// Half of the pool is for inflating: else bodies that wait to be inflated could hold all of it,
    /// and each would wait for the others. The oldest of them is held up by nobody.
    fn held_up(&self, id: u64, bytes: usize, capacity: usize) -> bool {
        let Some(held) = self.bodies.get(&id) else { return false };
        let oldest = || self.bodies.iter().find(|(_, held)| held.grows).map(|(id, _)| *id);
        held.grows && self.growing + bytes > capacity / 2 && oldest() != Some(id)
    }

    fn charge(&mut self, id: u64, bytes: usize) {
        let Some(held) = self.bodies.get_mut(&id) else { return };
        held.bytes += bytes;
        if held.grows {
            self.growing += bytes;
        }
        self.tenants.entry(held.tenant.clone()).or_default().bytes += bytes;
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        self.publish();
    }

    fn refund(&mut self, id: u64, bytes: usize) {
        let Some(held) = self.bodies.get_mut(&id) else { return };
        debug_assert!(held.bytes >= bytes, "no more is refunded than was charged");
        held.bytes -= bytes;
        if held.grows {
            self.growing -= bytes;
        }
        if let Some(share) = self.tenants.get_mut(&held.tenant) {
            share.bytes -= bytes;
        }
        self.used -= bytes;
        self.publish();
    }

    fn publish(&self) {
        let gauge = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        if let Some(metrics) = &self.metrics {
            metrics.bytes.set(gauge(self.used));
            metrics.peak_bytes.set(gauge(self.peak));
        }
    }

    fn wait(&mut self, id: u64, bytes: usize, granted: oneshot::Sender<()>) {
        let Some(held) = self.bodies.get_mut(&id) else { return };
        held.waits = true;
        let share = self.tenants.entry(held.tenant.clone()).or_default();
        share.waiting[usize::from(held.grows)].insert(id, Waiting { bytes, granted });
    }

    fn wait_no_more(&mut self, id: u64) {
        let Some(held) = self.bodies.get_mut(&id) else { return };
        held.waits = false;
        if let Some(share) = self.tenants.get_mut(&held.tenant) {
            share.waiting.iter_mut().for_each(|waiting| drop(waiting.remove(&id)));
        }
    }

    /// Gives room to those that wait, in their order, until it is short.
    fn serve(&mut self, capacity: usize) {
        while let Some((tenant, grows, id)) = self.first(capacity) {
            let share = self.tenants.get_mut(&tenant);
            let waiting = share.and_then(|share| share.waiting[usize::from(grows)].remove(&id));
            let Some(Waiting { bytes, granted }) = waiting else { return };
            if let Some(held) = self.bodies.get_mut(&id) {
                held.waits = false;
            }
            if granted.send(()).is_ok() {
                self.charge(id, bytes);
            }
        }
    }

    /// Who is served next, if there is room for it: below its share before above it, then by age. Others
    /// do not overtake, or a large body would never find room.
    fn first(&self, capacity: usize) -> Option<(TenantId, bool, u64)> {
        let share_max = capacity / self.tenants.len().max(1);
        let mut first: Option<((bool, u64), &TenantId, bool, usize)> = None;
        for (tenant, share) in &self.tenants {
            for (grows, waiting) in [false, true].into_iter().zip(&share.waiting) {
                let Some((&id, Waiting { bytes, .. })) = waiting.first_key_value() else {
                    continue;
                };
                if self.held_up(id, *bytes, capacity) {
                    continue;
                }
                let rank = (share.bytes + bytes > share_max, id);
                if first.is_none_or(|(least, ..)| rank < least) {
                    first = Some((rank, tenant, grows, *bytes));
                }
            }
        }
        let ((_, id), tenant, grows, bytes) = first?;
        self.has_room(bytes, capacity).then(|| (tenant.clone(), grows, id))
    }

    /// What a body waits for, and whether its tenant is below its share with it.
    fn wanted(&self, id: u64, capacity: usize) -> Option<(usize, bool)> {
        let share = self.tenants.get(&self.bodies.get(&id)?.tenant)?;
        let bytes = share.waiting.iter().find_map(|waiting| waiting.get(&id))?.bytes;
        Some((bytes, share.bytes + bytes <= capacity / self.tenants.len().max(1)))
    }

    /// Bodies that arrive slowly give way to those that wait; to one below its share also others of a
    /// tenant above its own.
    fn look(&mut self, id: u64, waited: Duration, capacity: usize) {
        let Some((wanted, below)) = self.wanted(id, capacity) else { return };
        let (now, lent) = (Instant::now(), below && waited >= LENT);
        let again = self.looked.is_some_and(|looked| now < looked + LOOK / 2);
        if self.cut > 0 || (again && !lent) {
            return;
        }
        self.looked = Some(now);
        let share_max = capacity / self.tenants.len().max(1);
        let over = |tenant: &TenantId| {
            self.tenants.get(tenant).is_some_and(|share| share.bytes > share_max)
        };
        let mut slow: Vec<(f64, u64, usize)> = Vec::new();
        for (&other, held) in &self.bodies {
            let Some(arrived) = held.arrived.filter(|_| other != id && held.bytes > 0) else {
                continue;
            };
            let age = now - held.since;
            if (age >= SLOW_AGE && !held.waits) || (lent && over(&held.tenant)) {
                slow.push((arrived as f64 / age.as_secs_f64().max(0.001), other, held.bytes));
            }
        }
        slow.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut short = (self.used + wanted).saturating_sub(capacity);
        for (_, id, bytes) in slow {
            if short == 0 {
                return;
            }
            short = short.saturating_sub(bytes);
            self.cut += 1;
            self.bodies[&id].gives_way.cancel();
        }
    }
}

impl Share {
    fn waits(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }
}

#[cfg(test)]
#[path = "bodies_tests.rs"]
mod tests;
