//! What a tenant's ledger needs to know of the configuration.

use std::time::Duration;

use crate::admission::Limits;
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

// As the configuration has them by default; a test there holds it.

impl Default for Settings {
    fn default() -> Self {
        Self {
            stale_duration: Duration::from_mins(15),
            max_exemplars_per_tick: 1000,
            edges: edges::Settings::default(),
            edge_series: EdgeSeries::default(),
            limits: Limits::default(),
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
