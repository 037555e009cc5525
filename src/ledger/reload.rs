//! A tenant's settings change while its series live.
//!
//! What restarts is told by a snapshot that shows it as it was last: a tick is taken, then totals
//! begin from zero, both under one lock. So every total that anybody can have seen, and every span
//! that was counted before, is in a tick under the settings it was counted under.

use std::borrow::Cow;
use std::time::Duration;

use super::decide;
use super::edge_rows::EdgeRows;
use super::effects::Effect;
use super::settings::Settings;
use super::snapshot::Snapshot;
use super::tenant::{Tenant, World};
use crate::batch::{Bounds, Shape, Table};
use crate::series::Parts;

impl Tenant {
    /// Takes other settings. Histograms whose bounds are others restart, and what `restart` names of
    /// each table: then the tick before them is answered, which goes the way of every tick.
    ///
    /// A batch that was staged under other bounds must not be applied any more.
    pub fn reload(
        &self,
        settings: Settings,
        bounds: &Bounds,
        restart: &[Parts; Table::ALL.len()],
        now: Duration,
    ) -> Option<Snapshot> {
        self.lock().reload(settings, bounds, restart, now, &mut |_| {})
    }

    /// Every label set that lives, with its slot.
    pub fn label_sets(&self) -> Vec<(Table, u32, Box<[u8]>)> {
        let world = self.lock();
        let of = |(table, slot, _)| {
            let labels = world.state.table(table).labels_of(slot)?;
            Some((table, slot, labels.as_bytes().into()))
        };
        decide::all_live(&world.state).filter_map(of).collect()
    }
}

impl World {
    /// `log` sees every effect, in order.
    pub(super) fn reload(
        &mut self,
        settings: Settings,
        bounds: &Bounds,
        restart: &[Parts; Table::ALL.len()],
        now: Duration,
        log: &mut impl FnMut(&Effect<'_>),
    ) -> Option<Snapshot> {
        let restart = Table::ALL.map(|table| self.restart_of(table, bounds, restart));
        let last = restart.iter().any(|parts| parts.any()).then(|| {
            let at_ms = self.tick_ms(now);
            self.expire_edges(at_ms, log);
            let deaths = decide::deaths(&self.state, &self.settings, at_ms);
            self.tick(at_ms, &deaths, log)
        });
        for (table, parts) in Table::ALL.into_iter().zip(restart).filter(|(_, parts)| parts.any()) {
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
        last
    }

    fn restart_of(&self, table: Table, bounds: &Bounds, told: &[Parts; Table::ALL.len()]) -> Parts {
        let told = told[table as usize];
        let layout = self.state.table(table).values().layout();
        let relaid = layout.shape == Shape::Histogram && layout.bounds != bounds.of(table);
        Parts { latency: told.latency || relaid, ..told }.within(layout.shape)
    }
}
