//! A tenant's life: it begins, follows its settings, and retires when it has nothing left.
//!
//! Whoever holds a tenant may find that its settings have changed meanwhile, or that it has retired: what
//! was staged under other settings is not counted, and what comes to a retired one belongs to its successor.

use std::time::Duration;

use super::decide;
use super::settings::Rules;
use super::tenant::{Counts, Tenant, World, ms};
use crate::batch::{Batch, Table};
use crate::tenant::TenantId;

/// What a tenant is besides its state.
#[derive(Debug)]
pub(super) struct Life {
    /// Of the settings that it follows.
    generation: u64,
    /// The number of the reload that it last heard of.
    epoch: u64,
    /// Label sets of other tables end at the next tick.
    made: [bool; Table::ALL.len()],
    retired: bool,
    /// When data came last.
    pub(super) last_batch_ms: i64,
    /// The latest tick of all that were before it.
    pub(super) after_ms: i64,
}

/// What was before a tenant began.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) latest_tick_ms: i64,
    /// Its own, if it was unloaded.
    pub(super) counts: Option<Counts>,
}

/// Why a batch was not counted; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotApplied {
    /// It was staged under other settings than the tenant's.
    OtherSettings,
    /// The tenant was unloaded: another one of the same id takes its place.
    Retired,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            generation: 0,
            epoch: 0,
            made: [true; Table::ALL.len()],
            retired: false,
            last_batch_ms: i64::MIN,
            after_ms: i64::MIN,
        }
    }
}

impl Life {
    /// Hears of a reload: whether there is something to do.
    pub(super) fn hears(&mut self, rules: &Rules, epoch: u64) -> bool {
        let is_later = epoch > self.epoch && !self.retired;
        self.epoch = self.epoch.max(epoch);
        is_later && !self.follows(rules.generation)
    }

    pub(super) fn take(&mut self, rules: &Rules) {
        self.generation = rules.generation;
        self.made = rules.made;
    }

    pub(super) fn follows(&self, generation: u64) -> bool {
        self.generation == generation
    }
}

impl Tenant {
    pub(super) fn begin(
        id: TenantId,
        mut world: World,
        (rules, epoch): (&Rules, u64),
        (before, now): (Before, Duration),
    ) -> Self {
        world.life = Life {
            generation: rules.generation,
            epoch,
            made: rules.made,
            last_batch_ms: ms(now),
            after_ms: before.latest_tick_ms,
            ..Life::default()
        };
        if let Some(counts) = before.counts {
            world.go_on_from(&counts);
        }
        Self::of(id, world)
    }

    /// Counts a batch that was staged under the settings that the tenant follows.
    pub fn try_apply(&self, batch: &Batch, now: Duration) -> Result<(), NotApplied> {
        let mut world = self.lock();
        if world.life.retired {
            return Err(NotApplied::Retired);
        }
        if !world.life.follows(batch.generation) {
            return Err(NotApplied::OtherSettings);
        }
        world.apply(batch, ms(now), &mut |_| {});
        Ok(())
    }

    /// For how long nothing has come, if there is nothing left that a tick would show or wait for.
    pub fn quiet_for(&self, now: Duration) -> Option<Duration> {
        self.lock().quiet_for(ms(now))
    }

    /// Ends a tenant that has been quiet for the stale duration. Answers its last tick and its counts.
    pub(super) fn retire(&self, now: Duration) -> Option<(i64, Counts)> {
        let mut world = self.lock();
        let quiet = world.quiet_for(ms(now))?;
        if quiet < world.settings.stale_duration {
            return None;
        }
        world.life.retired = true;
        Some((world.latest_tick_ms(), world.counts()))
    }
}

impl World {
    /// Label sets that end with this tick: stale ones, and those of what is switched off.
    pub(super) fn deaths(&self, at_ms: i64) -> Vec<(Table, u32)> {
        let made = |table: Table| self.life.made[table as usize];
        let mut deaths = decide::deaths(&self.state, &self.settings, at_ms);
        if !self.life.made.contains(&false) {
            return deaths;
        }
        deaths.retain(|(table, _)| made(*table));
        let off = decide::all_live(&self.state).filter(|(table, ..)| !made(*table));
        deaths.extend(off.map(|(table, slot, _)| (table, slot)));
        deaths
    }

    pub(super) fn latest_tick_ms(&self) -> i64 {
        self.state.last_tick_ms().max(self.life.after_ms)
    }

    fn quiet_for(&self, now_ms: i64) -> Option<Duration> {
        let tables = Table::ALL.iter().all(|table| self.state.table(*table).is_empty());
        let is_told = self.taken.is_empty() && self.has_no_events();
        let is_empty = tables && self.state.edges().is_empty() && is_told;
        let quiet_ms = now_ms.saturating_sub(self.life.last_batch_ms);
        is_empty.then(|| Duration::from_millis(u64::try_from(quiet_ms).unwrap_or_default()))
    }
}
