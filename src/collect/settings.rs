//! What collection needs to know of the configuration.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// At least 1 s.
    pub collection_interval: Duration,
    pub stale_markers: StaleMarkers,
    /// Name and value, sorted by name; they win over a series' own label of that name.
    pub external_labels: Vec<(String, String)>,
    /// Label that carries the tenant's id; empty = none.
    pub inject_tenant_id_as: String,
    /// Label that carries `instance`; empty = none.
    pub instance_label: String,
    /// Never empty: resolved to the host name when not configured.
    pub instance: String,
    pub trace_id_label_name: String,
    /// Name of the host info gauge (`processors.host_info.metric_name`).
    pub host_info_metric_name: String,
    pub families: Families,
}

/// Which families of the span metrics are written (`processors.enabled`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    pub calls: bool,
    pub latency: bool,
    pub size: bool,
}

/// When the end of a series is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleMarkers {
    Expiry,
    /// At expiry and at shutdown.
    Shutdown,
    Off,
}
