//! A tenant's settings change while its series live.
//!
//! Series whose name and labels stay the same go on. Of all others a tick shows the totals as they were
//! last; then they begin anew from zero, or, where every label set is written with other labels, end.
//! All under one lock: every span is in the ticks under the settings that it was counted under, and
//! `increase()`, summed over the old labels and the new ones, counts it once.

use std::borrow::Cow;
use std::time::Duration;

use super::decide;
use super::edge_rows::EdgeRows;
use super::effects::Effect;
use super::settings::{Naming, Rules, Settings};
use super::snapshot::Snapshot;
use super::tenant::{Tenant, World};
use crate::batch::{Bounds, Shape, Table};
use crate::series::Parts;
use crate::tenant::TenantId;

impl Tenant {
    /// Takes the settings of the reload number `epoch`, unless a later one was heard of. Answers
    /// whether the tenant follows them.
    pub fn follow(&self, rules: &Rules, epoch: u64, now: Duration) -> bool {
        let mut world = self.lock();
        if world.life.hears(rules, epoch) {
            world.reload(rules.settings.clone(), &rules.bounds, now, &mut |_| {});
            world.life.take(rules);
        }
        world.life.follows(rules.generation)
    }

    /// Ticks that reloads have taken, of those before another one. They go the way of every tick.
    pub fn taken_before(&self, at_ms: i64) -> Vec<Snapshot> {
        let mut world = self.lock();
        let n = world.taken.partition_point(|taken| taken.at_ms < at_ms);
        let taken = world.taken.drain(..n).collect();
        world.settle();
        taken
    }
}

impl World {
    /// `log` sees every effect, in order.
    pub(super) fn reload(
        &mut self,
        settings: Settings,
        bounds: &Bounds,
        now: Duration,
        log: &mut impl FnMut(&Effect<'_>),
    ) {
        let restart = Table::ALL.map(|table| self.restart_of(table, &settings.naming, bounds));
        let ends = ends(&self.settings.naming, &settings.naming);
        let is_shown = |table: &Table| {
            (restart[*table as usize].any() || ends[*table as usize])
                && !self.state.table(*table).is_empty()
        };
        if Table::ALL.iter().any(is_shown) {
            let at_ms = self.tick_ms(now);
            self.expire_edges(at_ms, log);
            let deaths = self.deaths(at_ms);
            self.keep_tick(at_ms, &deaths, log);
        }
        let live = decide::all_live(&self.state).filter(|(table, ..)| ends[*table as usize]);
        let ending: Vec<_> = live.map(|(table, slot, _)| (table, slot)).collect();
        if !ending.is_empty() {
            self.keep_tick(self.tick_ms(now), &ending, log);
        }
        for (table, parts) in Table::ALL.into_iter().zip(restart).filter(|(_, parts)| parts.any()) {
            self.count_restarted((table, parts), &settings.naming, bounds);
            let bounds = Cow::Borrowed(bounds.of(table));
            self.fold(&Effect::Restart { table, parts, bounds }, log);
        }
        let (max_items, max_exemplars) =
            (settings.edges.max_items, settings.max_exemplars_per_tick);
        self.fold(&Effect::Resize { max_items, max_exemplars }, log);
        let is_counted_otherwise = settings.limits != self.settings.limits
            || settings.series_per_set != self.settings.series_per_set
            || settings.edge_series != self.settings.edge_series;
        if is_counted_otherwise {
            self.state.recount(&settings);
        }
        let caller = &settings.edges.virtual_caller;
        self.edge_rows = EdgeRows::new(settings.edge_series, caller, bounds);
        self.settings = settings;
        if is_counted_otherwise {
            self.recharge();
        }
        self.settle();
    }

    fn count_restarted(
        &mut self,
        (table, parts): (Table, Parts),
        naming: &Naming,
        bounds: &Bounds,
    ) {
        let of_table = self.state.table(table);
        let n_sets = of_table.len() as u64;
        let (before, after) = (of_table.values().layout().bounds.len(), bounds.of(table).len());
        self.series.ended += n_sets * self.settings.naming.n_series(table, parts, before) as u64;
        self.series.born += n_sets * naming.n_series(table, parts, after) as u64;
    }

    /// A tick that waits until the next one is taken.
    fn keep_tick(
        &mut self,
        at_ms: i64,
        deaths: &[(Table, u32)],
        log: &mut impl FnMut(&Effect<'_>),
    ) {
        let taken = self.tick(at_ms, deaths, log);
        self.taken.push(taken);
    }

    /// What of a table's totals can't go on.
    fn restart_of(&self, table: Table, naming: &Naming, bounds: &Bounds) -> Parts {
        let layout = self.state.table(table).values().layout();
        let relaid = layout.shape == Shape::Histogram && layout.bounds != bounds.of(table);
        let (before, after) = (self.settings.naming.families, naming.families);
        let differs = |was: bool, is: bool| table == Table::SpanMetrics && was != is;
        Parts {
            calls: differs(before.calls, after.calls),
            size: differs(before.size, after.size),
            latency: relaid || differs(before.latency, after.latency),
        }
    }
}

/// Tables whose label sets are written with other labels, or under another name, from now on.
fn ends(before: &Naming, after: &Naming) -> [bool; Table::ALL.len()] {
    // Whose tenant's is all the same: it is one tenant.
    let common = |naming: &Naming| naming.common_labels(&TenantId::single());
    let all = common(before) != common(after);
    let host_info = before.host_info_metric_name != after.host_info_metric_name;
    Table::ALL.map(|table| all || table == Table::HostInfo && host_info)
}
