//! What a tenant's ledger needs to know of the configuration.

use std::sync::Arc;
use std::time::Duration;

use crate::admission::Limits;
use crate::batch::{Bounds, Table};
use crate::edges;
use crate::series::Parts;
use crate::tenant::TenantId;

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
    pub naming: Arc<Naming>,
}

/// How label sets become Prometheus series. Where it is another, totals that have been shown can't go
/// on: they restart, or their label sets end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// Name and value, sorted by name; they win over a series' own label of that name.
    pub external_labels: Vec<(String, String)>,
    /// Label that carries the tenant's id; empty = none.
    pub inject_tenant_id_as: String,
    /// Label that carries `instance`; empty = none.
    pub instance_label: String,
    /// Never empty: resolved to the host name when not configured.
    pub instance: String,
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

impl Naming {
    /// Labels that every series has besides those of its label set: external ones, then the instance,
    /// then the tenant; a later one of the same name wins.
    pub fn common_labels(&self, tenant: &TenantId) -> Vec<(String, String)> {
        let mut common = self.external_labels.clone();
        let mut set = |name: &str, value: &str| {
            if !name.is_empty() && !value.is_empty() {
                common.retain(|(n, _)| n != name);
                common.push((name.to_owned(), value.to_owned()));
            }
        };
        set(&self.instance_label, &self.instance);
        set(&self.inject_tenant_id_as, tenant.as_str());
        common.retain(|(_, value)| !value.is_empty());
        common.sort();
        common
    }

    /// Bytes of these labels, at most.
    pub(super) fn common_bytes(&self) -> usize {
        let pairs = self.external_labels.iter().map(|(name, value)| (name.len(), value.len()));
        let instance = (self.instance_label.len(), self.instance.len());
        let tenant = (self.inject_tenant_id_as.len(), TenantId::LEN_MAX);
        let pairs = pairs.chain([instance, tenant]).filter(|(name, _)| *name > 0);
        pairs.map(|(name, value)| name + value + 8).sum()
    }

    /// Prometheus series of one label set of a histogram's table that hold these parts of its totals.
    pub(super) fn n_series(&self, table: Table, parts: Parts, n_bounds: usize) -> usize {
        let on = match table {
            Table::SpanMetrics => self.families,
            _ => Families { calls: false, size: false, latency: true },
        };
        let of = |is_told: bool, n: usize| if is_told { n } else { 0 };
        of(parts.calls && on.calls, 1)
            + of(parts.size && on.size, 1)
            // A bucket more than bounds, the sum and the count.
            + of(parts.latency && on.latency, n_bounds + 3)
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
            naming: Arc::default(),
        }
    }
}

impl Default for Naming {
    fn default() -> Self {
        Self {
            external_labels: Vec::new(),
            inject_tenant_id_as: String::new(),
            instance_label: "__metrics_gen_instance".to_owned(),
            instance: "localhost".to_owned(),
            host_info_metric_name: "traces_host_info".to_owned(),
            families: Families { calls: true, latency: true, size: true },
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
