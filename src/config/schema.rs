//! Every key that a configuration may hold: name, kind, default, doc. The one source of truth for
//! defaults, for what is known, for what comes in a later version, and for what is printed.

use std::time::Duration;

use super::node::{Body, Map, Node};
use super::problem::{Place, Problems};
use super::yaml;

#[derive(Debug)]
pub(crate) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// YAML; `None` = the key has to be written (a leaf), or may be left out (a block).
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

/// What stands at a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Always there; its keys have the defaults.
    Section(&'static [Key]),
    /// There only if written.
    Block(&'static [Key]),
    /// Blocks, one after the other.
    List(&'static [Key]),
    /// Not in this version: only the default may be written.
    Later,
    Bool,
    Count {
        least: u64,
    },
    /// Bytes, at least 1.
    Size,
    Duration {
        least: Duration,
    },
    Text,
    /// Text that is not empty.
    Name,
    /// Text that is never shown.
    Secret,
    /// Any scalar, its type kept.
    Scalar,
    Endpoint,
    /// A label's name, or "" for none.
    Label,
    MetricName,
    Choice(&'static [&'static str]),
    Url,
    /// Anchored at both ends.
    Regex,
    PolicyKey,
    /// Texts that are not empty; at least so many.
    Names {
        least: usize,
    },
    LabelNames,
    Buckets,
    Processors,
    Slack,
    LabelMap,
    Headers,
}

pub(crate) const SPAN_METRICS: &str = "span-metrics";
pub(crate) const HOST_INFO: &str = "host-info";
/// A processor's name, and whether it is in this version.
pub(crate) const PROCESSORS: [(&str, bool); 9] = [
    (SPAN_METRICS, true),
    ("span-metrics-latency", true),
    ("span-metrics-count", true),
    ("span-metrics-size", true),
    (HOST_INFO, true),
    ("service-graphs", false),
    ("service-graphs-request", false),
    ("service-graphs-latency", false),
    ("service-graphs-connection-info", false),
];

/// Header names that belong to the protocol (Prometheus' list).
pub(crate) const RESERVED_HEADERS: [&str; 17] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

pub(crate) const ROOT: &[Key] = &[
    section("receivers", RECEIVERS, "Where spans come in."),
    section("processors", PROCESSOR_KEYS, "What is made of them."),
    section("registry", REGISTRY, "How series are kept and handed on."),
    later("limits", "{}"),
    later("overrides", "{ file: \"\", poll_interval: 10s }"),
    key(
        "remote_write",
        Kind::List(super::schema_remote_write::REMOTE_WRITE),
        "[]",
        "Where series are sent: Prometheus' block, one entry an endpoint. Empty = nowhere.",
    ),
    later("storage", "{ path: \"\" }"),
    section("admin", ADMIN, "Health, own metrics, a look inside."),
    section("multitenancy", MULTITENANCY, "One set of series for each tenant."),
];

const RECEIVERS: &[Key] = &[section("otlp", OTLP, "OpenTelemetry's protocol.")];

const OTLP: &[Key] = &[
    section("grpc", &[endpoint("127.0.0.1:4317")], "OTLP over gRPC."),
    section("http", &[endpoint("127.0.0.1:4318")], "OTLP over HTTP: protobuf and JSON."),
    key(
        "max_wire_bytes",
        Kind::Size,
        "16MiB",
        "Largest request as it arrives; a larger one is refused. Raise it for senders of huge batches.",
    ),
    key(
        "max_inflated_bytes",
        Kind::Size,
        "64MiB",
        "Largest request after decompression; a larger one is refused.",
    ),
    key(
        "header_timeout",
        Kind::Duration { least: MILLISECOND },
        "10s",
        "A connection whose request header takes longer is closed.",
    ),
    key(
        "body_timeout",
        Kind::Duration { least: MILLISECOND },
        "15s",
        "A request whose body takes longer is answered 408.",
    ),
    later("duplicate_window", "0s"),
];

const PROCESSOR_KEYS: &[Key] = &[
    key(
        "enabled",
        Kind::Processors,
        "[span-metrics]",
        "span-metrics (all of span-metrics-count, span-metrics-latency, span-metrics-size, which can\n\
         also stand alone) and host-info. Empty = spans are taken and nothing is made of them.",
    ),
    key(
        "ingestion_time_range_slack",
        Kind::Slack,
        "{ past: 1h, future: 10m }",
        "Spans that end further from now are not counted. One duration is meant for both directions;\n\
         0s = every span counts.",
    ),
    section("span_metrics", SPAN_METRICS_KEYS, "traces_spanmetrics_*: calls, latency, size."),
    later(
        "service_graphs",
        "{ wait: 10s, max_items: 1000000, histogram_buckets: [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8], \
         dimensions: [], enable_client_server_prefix: false, \
         enable_messaging_system_latency_histogram: false, \
         peer_attributes: [peer.service, db.name, db.system, db.system.name], \
         database_name_attributes: [db.namespace, db.name, db.system, db.system.name], \
         span_multiplier_key: \"\", enable_tracestate_span_multiplier: false, \
         enable_virtual_node_label: false, filter_policies: [], histograms: [server, client], \
         virtual_nodes: { caller: user, server: true }, observe_missing_side: true, \
         remember_completed: true, hold_virtual: 0, count_every_pair: false, messaging_links: false }",
    ),
    section("host_info", HOST_INFO_KEYS, "One gauge for each host that spans come from."),
];

const SPAN_METRICS_KEYS: &[Key] = &[
    key(
        "histogram_buckets",
        Kind::Buckets,
        "[0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384]",
        "Upper bounds of the latency buckets in seconds, rising; +Inf is added.",
    ),
    section(
        "intrinsic_dimensions",
        &[
            key("service", Kind::Bool, "true", "Label service: the resource's service.name."),
            key("span_name", Kind::Bool, "true", "Label span_name."),
            key("span_kind", Kind::Bool, "true", "Label span_kind, e.g. SPAN_KIND_SERVER."),
            key("status_code", Kind::Bool, "true", "Label status_code, e.g. STATUS_CODE_ERROR."),
            key("status_message", Kind::Bool, "false", "Label status_message. Often unbounded."),
        ],
        "Labels that every span has.",
    ),
    key(
        "dimensions",
        Kind::Names { least: 0 },
        "[]",
        "Attributes that become labels, looked up in the resource and then in the span. Each value\n\
         makes series of its own.",
    ),
    key(
        "dimension_mappings",
        Kind::List(DIMENSION_MAPPING),
        "[]",
        "Labels made of one or several attributes.",
    ),
    key(
        "enable_target_info",
        Kind::Bool,
        "false",
        "Makes traces_target_info of each resource, and labels job and instance in the span metrics.",
    ),
    key(
        "target_info_excluded_dimensions",
        Kind::Names { least: 0 },
        "[]",
        "Resource attributes that traces_target_info leaves out.",
    ),
    key(
        "enable_instance_label",
        Kind::Bool,
        "true",
        "Whether enable_target_info also makes the label instance (service.instance.id).",
    ),
    key(
        "span_multiplier_key",
        Kind::Text,
        "\"\"",
        "Attribute with the share of spans that was kept: a span with 0.1 counts ten times. \"\" = off.",
    ),
    key(
        "enable_tracestate_span_multiplier",
        Kind::Bool,
        "false",
        "Takes that share from the trace state (ot=th:...); before the attribute.",
    ),
    key(
        "filter_policies",
        Kind::List(FILTER_POLICY),
        "[]",
        "Which spans count: none that an exclude matches; all that an include_any matches; else those\n\
         that every include matches. Empty = all.",
    ),
];

const DIMENSION_MAPPING: &[Key] = &[
    required("name", Kind::Name, "The label."),
    required("source_labels", Kind::Names { least: 1 }, "Attributes, as written in the span."),
    key("join", Kind::Text, "\"\"", "What stands between their values."),
    key("coalesce", Kind::Bool, "false", "Take the first that is present instead of all."),
];

const FILTER_POLICY: &[Key] = &[
    block("include", POLICY_MATCH, "Spans that count."),
    block("include_any", POLICY_MATCH, "Spans that count whatever the includes say."),
    block("exclude", POLICY_MATCH, "Spans that do not count."),
];

const POLICY_MATCH: &[Key] = &[
    required("match_type", Kind::Choice(&["strict", "regex"]), "regex is not anchored."),
    key("attributes", Kind::List(POLICY_ATTRIBUTE), "[]", "All of them have to match."),
];

const POLICY_ATTRIBUTE: &[Key] = &[
    required("key", Kind::PolicyKey, "resource.KEY, span.KEY, kind, name or status."),
    required("value", Kind::Scalar, "Its YAML type counts: 200 is not \"200\"."),
];

const HOST_INFO_KEYS: &[Key] = &[
    key(
        "host_identifiers",
        Kind::Names { least: 1 },
        "[k8s.node.name, host.id]",
        "Resource attributes that name a host; the first that is present is taken.",
    ),
    key("metric_name", Kind::MetricName, "traces_host_info", "Name of the gauge."),
];

const REGISTRY: &[Key] = &[
    key(
        "collection_interval",
        Kind::Duration { least: Duration::from_secs(1) },
        "15s",
        "How often series are collected and sent; 1s at least. Queries need a range of four intervals.",
    ),
    key(
        "stale_duration",
        Kind::Duration { least: MILLISECOND },
        "15m",
        "A series without a new span for that long ends.",
    ),
    key(
        "stale_markers",
        Kind::Choice(&["expiry", "shutdown", "off"]),
        "expiry",
        "Whether the end is marked, so that queries see it at once: expiry; shutdown = at expiry and\n\
         when the program stops; off.",
    ),
    key(
        "external_labels",
        Kind::LabelMap,
        "{}",
        "Labels on every series; they win over a series' own label of that name.",
    ),
    key(
        "inject_tenant_id_as",
        Kind::Label,
        "\"\"",
        "Label that holds the tenant's id. \"\" = none.",
    ),
    key(
        "max_label_name_length",
        Kind::Count { least: 0 },
        "1024",
        "Longer names are cut; bytes. 0 = no limit.",
    ),
    key(
        "max_label_value_length",
        Kind::Count { least: 0 },
        "2048",
        "Longer values are cut, on a character boundary; bytes. 0 = no limit.",
    ),
    key(
        "instance_label",
        Kind::Label,
        "__metrics_gen_instance",
        "Label that keeps the series of several instances apart. \"\" = none.",
    ),
    key("instance", Kind::Text, "\"\"", "Its value. \"\" = the host's name."),
    key(
        "trace_id_label_name",
        Kind::Label,
        "traceID",
        "Label of an exemplar that holds the trace's id; Grafana's data source has to name the same.",
    ),
    key(
        "max_exemplars_per_tick",
        Kind::Count { least: 0 },
        "1000",
        "Exemplars that one collection of one tenant may carry. 0 = none.",
    ),
    later("span_name_sanitization", "\"\""),
    later("span_name_patterns", "[]"),
];

const ADMIN: &[Key] = &[endpoint("127.0.0.1:4319")];

const MULTITENANCY: &[Key] = &[key(
    "enabled",
    Kind::Bool,
    "false",
    "true = each request names its tenant in X-Scope-OrgID and is refused without; false = the header\n\
     is ignored.",
)];

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

impl Kind {
    /// The keys below, if there are any.
    pub(crate) fn keys(self) -> &'static [Key] {
        match self {
            Self::Section(keys) | Self::Block(keys) | Self::List(keys) => keys,
            _ => &[],
        }
    }
}

impl Key {
    pub(crate) fn default_node(&self) -> Node {
        match (self.kind, self.default) {
            (Kind::Section(keys), _) => defaults(keys),
            (_, Some(text)) => yaml::parse(text, 0, &mut Problems::default()).unwrap_or_default(),
            (_, None) => Node::default(),
        }
    }
}

/// A map of all keys that have a default and are in this version.
pub(crate) fn defaults(keys: &'static [Key]) -> Node {
    let keys = keys.iter().filter(|key| !matches!(key.kind, Kind::Later));
    let map: Map = keys
        .map(|key| (key.name.to_owned(), (Place::default(), key.default_node())))
        .filter(|(_, (_, node))| !node.is_nothing())
        .collect();
    Node::new(Place::default(), Body::Map(map))
}

pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, kind, default: Some(default), doc }
}

pub(super) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, default: None, doc }
}

pub(super) const fn block(name: &'static str, keys: &'static [Key], doc: &'static str) -> Key {
    Key { name, kind: Kind::Block(keys), default: None, doc }
}

const fn section(name: &'static str, keys: &'static [Key], doc: &'static str) -> Key {
    Key { name, kind: Kind::Section(keys), default: None, doc }
}

const fn later(name: &'static str, default: &'static str) -> Key {
    Key { name, kind: Kind::Later, default: Some(default), doc: "" }
}

/// A key of which no value is taken yet.
pub(super) const fn refused(name: &'static str) -> Key {
    Key { name, kind: Kind::Later, default: None, doc: "" }
}

const fn endpoint(default: &'static str) -> Key {
    key("endpoint", Kind::Endpoint, default, "host:port; :port = every interface; \"\" = off.")
}
