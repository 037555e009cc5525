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

impl Tenant {
    /// Takes the settings of the reload number `epoch`, unless a later one was heard of. Answers
    /// whether the tenant follows them.
    pub fn follow(&self, rules: &Rules, epoch: u64, now: Duration) -> bool {
        let mut world = self.lock();
        if world.life.is_news(rules, epoch) {
            world.reload(rules.settings.clone(), &rules.bounds, now, &mut |_| {});
            world.life.take(rules);
        }
        world.life.follows(rules.generation)
    }

    /// Ticks that reloads have taken, of those before another one. They go the way of every tick.
    pub fn taken_before(&self, at_ms: i64) -> Vec<Snapshot> {
        let mut world = self.lock();
        let n = world.taken.partition_point(|taken| taken.at_ms < at_ms);
        world.taken.drain(..n).collect()
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
        let ends = Table::ALL.map(|table| ends(table, &self.settings.naming, &settings.naming));
        if restart.iter().any(|parts| parts.any()) || !self.live_of(ends).is_empty() {
            let at_ms = self.tick_ms(now);
            self.expire_edges(at_ms, log);
            let deaths = self.deaths(at_ms);
            self.keep_tick(at_ms, &deaths, log);
        }
        let ending = self.live_of(ends);
        if !ending.is_empty() {
            self.keep_tick(self.tick_ms(now), &ending, log);
        }
        for (table, parts) in Table::ALL.into_iter().zip(restart).filter(|(_, parts)| parts.any()) {
            let n_sets = self.state.table(table).len() as u64;
            self.series.ended += n_sets * self.settings.n_series_of(table, parts) as u64;
            self.series.born += n_sets * settings.n_series_of(table, parts) as u64;
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
    }

    fn live_of(&self, tables: [bool; Table::ALL.len()]) -> Vec<(Table, u32)> {
        let live = decide::all_live(&self.state).filter(|(table, ..)| tables[*table as usize]);
        live.map(|(table, slot, _)| (table, slot)).collect()
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

/// Whether label sets of a table are written with other labels, or under another name, from now on.
fn ends(table: Table, before: &Naming, after: &Naming) -> bool {
    let same_name =
        table != Table::HostInfo || before.host_info_metric_name == after.host_info_metric_name;
    let (families, host_info_metric_name) = (before.families, before.host_info_metric_name.clone());
    !same_name || *before != Naming { families, host_info_metric_name, ..after.clone() }
}
