//! What a tenant's ledger needs to know of the configuration.

use std::time::Duration;

use crate::admission::Limits;
use crate::batch::{Bounds, Table};
use crate::edges;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// A label set without an update for that long ends at the next tick.
    pub stale_duration: Duration,
    /// Exemplars that one tick may carry, over all series of a tenant.
    pub max_exemplars_per_tick: usize,
    pub edges: edges::Settings,
    pub edge_series: EdgeSeries,
    pub limits: Limits,
    /// Prometheus series of one label set of each table.
    pub series_per_set: [usize; Table::ALL.len()],
}

/// Which series an edge has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeSeries {
    /// Requests, and those that failed.
    pub requests: bool,
    pub server_seconds: bool,
    pub client_seconds: bool,
    pub messaging_seconds: bool,
    pub connection_info: bool,
    /// 0 s for the side that a virtual edge lacks, as in Tempo.
    pub observe_missing_side: bool,
    /// The label `virtual_node` on virtual edges.
    pub virtual_node_label: bool,
}

impl Settings {
    /// Prometheus series that a label set counts as: of an edge all that it may have.
    pub fn n_series(&self, table: Table) -> usize {
        if table.is_edge() {
            let on = self.edge_series.tables();
            on.map(|table| self.series_per_set[table as usize]).sum()
        } else {
            self.series_per_set[table as usize]
        }
    }
}

impl EdgeSeries {
    /// Tables that an edge may have.
    pub fn tables(&self) -> impl Iterator<Item = Table> + use<> {
        let on = [
            (Table::EdgeRequests, self.requests),
            (Table::EdgeFailed, self.requests),
            (Table::EdgeServer, self.server_seconds),
            (Table::EdgeClient, self.client_seconds),
            (Table::EdgeMessaging, self.messaging_seconds),
            (Table::EdgeInfo, self.connection_info),
        ];
        on.into_iter().filter_map(|(table, on)| on.then_some(table))
    }
}

/// What a tenant follows, as one value that is replaced as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Another one wherever anything that a tenant follows is another.
    pub generation: u64,
    pub settings: Settings,
    pub bounds: Bounds,
    /// Tables that something is made for; what is left in the others ends.
    pub made: [bool; Table::ALL.len()],
}

// As the configuration has them by default; a test there holds it.

impl Default for Settings {
    fn default() -> Self {
        Self {
            stale_duration: Duration::from_mins(15),
            max_exemplars_per_tick: 1000,
            edges: edges::Settings::default(),
            edge_series: EdgeSeries::default(),
            limits: Limits::default(),
            series_per_set: [19, 1, 1, 1, 1, 11, 11, 11, 1],
        }
    }
}

impl Default for EdgeSeries {
    fn default() -> Self {
        Self {
            requests: true,
            server_seconds: true,
            client_seconds: true,
            messaging_seconds: false,
            connection_info: false,
            observe_missing_side: true,
            virtual_node_label: false,
        }
    }
}
