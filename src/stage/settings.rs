//! What staging needs to know of the configuration: filled by `config/resolve`, read by `Plan::new`.

use std::time::Duration;

use crate::batch::Bounds;

/// Everything that decides how a span becomes rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub processors: Processors,
    /// Spans whose end lies outside are discarded; `None` counts every span.
    pub window: Option<Window>,
    pub span_metrics: SpanMetrics,
    pub service_graphs: ServiceGraphs,
    pub host_info: HostInfo,
    pub span_names: SpanNames,
    /// Bytes; 0 = no limit.
    pub max_label_name_length: usize,
    /// Bytes; 0 = no limit. Values are cut on a character boundary.
    pub max_label_value_length: usize,
}

impl Settings {
    pub fn bounds(&self) -> Bounds {
        Bounds {
            span_metrics: self.span_metrics.histogram_buckets.clone(),
            service_graphs: self.service_graphs.histogram_buckets.clone(),
        }
    }
}

/// Which parts of which processors run (reference/tempo.md 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processors {
    pub calls: bool,
    pub latency: bool,
    pub size: bool,
    pub service_graphs: bool,
    pub host_info: bool,
}

impl Processors {
    pub fn span_metrics(&self) -> bool {
        self.calls || self.latency || self.size
    }
}

/// Distance of a span's end from now that is still counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub past: Duration,
    pub future: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SpanMetrics {
    /// Upper bounds in seconds, strictly rising, finite, without `+Inf`.
    pub histogram_buckets: Vec<f64>,
    pub intrinsic_dimensions: IntrinsicDimensions,
    /// Attribute keys, looked up in the resource and then in the span.
    pub dimensions: Vec<String>,
    pub dimension_mappings: Vec<DimensionMapping>,
    pub enable_target_info: bool,
    pub target_info_excluded_dimensions: Vec<String>,
    pub enable_instance_label: bool,
    pub multiplier: Multiplier,
    pub filter_policies: Vec<FilterPolicy>,
}

/// How a span becomes an edge side (reference/tempo.md 3).
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceGraphs {
    /// As those of the span metrics.
    pub histogram_buckets: Vec<f64>,
    /// As those of the span metrics.
    pub dimensions: Vec<String>,
    /// `client_` or `server_` in front of the name of each dimension.
    pub enable_client_server_prefix: bool,
    /// Attributes of the span that name the other side where there is no span of it.
    pub peer_attributes: Vec<String>,
    /// Attributes of resource or span that make a calling span a database call.
    pub database_name_attributes: Vec<String>,
    pub multiplier: Multiplier,
    pub filter_policies: Vec<FilterPolicy>,
    /// Whether links of receiving spans are followed.
    pub messaging_links: bool,
}

/// As the configuration has them by default; a test there holds it.
impl Default for ServiceGraphs {
    fn default() -> Self {
        let texts = |all: [&str; 4]| all.map(str::to_owned).to_vec();
        Self {
            histogram_buckets: vec![0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8],
            dimensions: Vec::new(),
            enable_client_server_prefix: false,
            peer_attributes: texts(["peer.service", "db.name", "db.system", "db.system.name"]),
            database_name_attributes: texts([
                "db.namespace",
                "db.name",
                "db.system",
                "db.system.name",
            ]),
            multiplier: Multiplier::default(),
            filter_policies: Vec::new(),
            messaging_links: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntrinsicDimensions {
    pub service: bool,
    pub span_name: bool,
    pub span_kind: bool,
    pub status_code: bool,
    pub status_message: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimensionMapping {
    pub name: String,
    /// Attribute keys as they stand in the span, dots and all.
    pub source_labels: Vec<String>,
    pub join: String,
    /// Take the first value that is present instead of joining all.
    pub coalesce: bool,
}

/// Where the weight of a sampled span is read from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Multiplier {
    /// Attribute key; empty = off.
    pub key: String,
    pub tracestate: bool,
}

/// One entry of `filter_policies`; at least one of the three is there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FilterPolicy {
    pub include: Option<PolicyMatch>,
    pub include_any: Option<PolicyMatch>,
    pub exclude: Option<PolicyMatch>,
}

/// All attributes must match.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyMatch {
    pub match_type: MatchType,
    pub attributes: Vec<PolicyAttribute>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchType {
    Strict,
    /// RE2 syntax, unanchored.
    Regex,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PolicyAttribute {
    /// `resource.KEY`, `span.KEY`, or one of `kind`, `name`, `status`.
    pub key: String,
    pub value: PolicyValue,
}

/// The value as it was written: its YAML type decides how it is compared.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyValue {
    Text(String),
    Int(i64),
    Double(f64),
    Bool(bool),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// Resource attributes in order of preference; not empty.
    pub host_identifiers: Vec<String>,
    pub metric_name: String,
}

/// What becomes of ids inside of span names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpanNames {
    pub sanitization: Sanitization,
    /// Regexes: what a group of theirs matches is an id, or without groups all that they match.
    pub patterns: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sanitization {
    #[default]
    Off,
    /// Names stay; it is estimated what `Enabled` would do.
    DryRun,
    Enabled,
}

/// What is wrong with settings that parsed: `key` as in `processors.span_metrics.filter_policies[0].include`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct SettingsError {
    pub key: String,
    pub message: String,
}
