//! A tenant's limits, as the configuration has them (CONTRACT.md 7). 0 = no limit of its own.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Prometheus series.
    pub max_active_series: usize,
    /// Series of a service that others can't take; times `max_services` at most half of
    /// `max_active_series`.
    pub guaranteed_series_per_service: usize,
    pub max_active_series_per_service: usize,
    /// Label sets, as Tempo's entity limiter counts.
    pub max_active_entities: usize,
    pub max_services: usize,
    /// Label sets of edges.
    pub max_edges: usize,
    /// Values of one label; one service has at most half of them.
    pub max_cardinality_per_label: usize,
    /// Bytes of all label sets.
    pub max_label_bytes: usize,
}

/// As the configuration has them by default; a test there holds it.
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_active_series: 500_000,
            guaranteed_series_per_service: 125,
            max_active_series_per_service: 0,
            max_active_entities: 0,
            max_services: 2000,
            max_edges: 10_000,
            max_cardinality_per_label: 0,
            max_label_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// Nobody is limited.
    pub fn none() -> Self {
        Self {
            max_active_series: 0,
            guaranteed_series_per_service: 0,
            max_active_series_per_service: 0,
            max_active_entities: 0,
            max_services: 0,
            max_edges: 0,
            max_cardinality_per_label: 0,
            max_label_bytes: 0,
        }
    }

    /// The share that each service has for itself where none is written: together half of all.
    pub fn default_guarantee(max_active_series: usize, max_services: usize) -> usize {
        (max_active_series / 2).checked_div(max_services).unwrap_or_default()
    }
}
