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
    /// Bytes, at least so many; 0 where that stands for none.
    Size {
        least: usize,
    },
    /// Bytes, or `auto`.
    Memory,
    /// A whole number, or `auto`.
    CountOrAuto,
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
    /// Some of these, each once.
    Choices(&'static [&'static str]),
    Url,
    /// Anchored at both ends.
    Regex,
    PolicyKey,
    /// Texts that are not empty; at least so many.
    Names {
        least: usize,
    },
    /// Regexes that match no empty text, not anchored.
    Patterns,
    LabelNames,
    Buckets,
    Processors,
    Slack,
    LabelMap,
    Headers,
}

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
    section("processors", super::schema_processors::PROCESSORS, "What is made of them."),
    section("registry", REGISTRY, "How series are kept and handed on."),
    section(
        "limits",
        LIMITS,
        "What nobody may exceed; over a limit detail is lost, totals are not. 0 = no limit of its own.",
    ),
    section("overrides", OVERRIDES, "Settings of single tenants, in a file of their own."),
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
        Kind::Size { least: 1 },
        "16MiB",
        "Largest request as it arrives; a larger one is refused. Raise it for senders of huge batches.",
    ),
    key(
        "max_inflated_bytes",
        Kind::Size { least: 1 },
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

const OVERRIDES: &[Key] = &[
    key(
        "file",
        Kind::Text,
        "\"\"",
        "tenants: { NAME: { processors:, registry:, limits:, remote_write_headers: } }, merged key by key\n\
         over this configuration; \"*\" stands for every tenant. \"\" = none.",
    ),
    key(
        "poll_interval",
        Kind::Duration { least: Duration::from_millis(10) },
        "10s",
        "How often the file is looked at; a change that is in order takes effect without a restart.",
    ),
];

pub(super) const REGISTRY: &[Key] = &[
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
    key(
        "span_name_sanitization",
        Kind::Choice(&["", "dry_run", "enabled"]),
        "\"\"",
        "Whether ids inside of span names (numbers, hashes, UUIDs, e-mail and IP addresses, dates) become\n\
         <_> in the label span_name: enabled; dry_run = names stay, and own metrics tell what it would\n\
         save. \"\" = off.",
    ),
    key(
        "span_name_patterns",
        Kind::Patterns,
        "[]",
        "Regexes for ids of your own, applied in front of the rules and not anchored: what their groups\n\
         match becomes <_>, without groups all that they match.",
    ),
];

pub(super) const LIMITS: &[Key] = &[
    key(
        "memory",
        Kind::Memory,
        "auto",
        "Resident memory of the process, in all; everything else is a claim on it. auto = 80 % of the\n\
         cgroup's limit, else 25 % of the machine's memory.",
    ),
    limit(
        "max_active_series",
        "500000",
        "Prometheus series of a tenant. Over it: the service's overflow series.",
    ),
    key(
        "guaranteed_series_per_service",
        Kind::CountOrAuto,
        "auto",
        "Series of a service that other services can't take. auto = half of max_active_series /\n\
         max_services, which is also the most.",
    ),
    limit(
        "max_active_series_per_service",
        "0",
        "Series of one service. Over it: its overflow series.",
    ),
    limit(
        "max_active_entities",
        "0",
        "Label sets of a tenant, as Tempo's limiter_type entity counts. Over it: as with series.",
    ),
    limit(
        "max_services",
        "2000",
        "Services of a tenant. Over it: service=\"__cardinality_overflow__\".",
    ),
    limit(
        "max_edges",
        "10000",
        "Label sets of edges of a tenant. Over it: server=\"__cardinality_overflow__\".",
    ),
    limit(
        "max_cardinality_per_label",
        "0",
        "Values of one label of a tenant, of which one service has at most half. Over it the value is\n\
         __cardinality_overflow__.",
    ),
    key(
        "max_label_bytes",
        Kind::Size { least: 0 },
        "64MiB",
        "Bytes of a tenant's label sets. Over it: as with series.",
    ),
    limit(
        "max_tenants",
        "100",
        "Tenants of the process. Over it a new tenant's requests are refused, 403.",
    ),
    key(
        "ingest_bytes_per_second",
        Kind::Size { least: 0 },
        "0",
        "Inflated bytes of a tenant's requests. Over it they are refused, 429.",
    ),
    key(
        "ingest_burst_bytes",
        Kind::Size { least: 0 },
        "0",
        "What may come at once. 0 = as much as in a second; a larger request is refused, 413.",
    ),
    limit(
        "ingest_spans_per_second",
        "0",
        "Spans of a tenant's requests. Over it they are refused, 429.",
    ),
    limit(
        "max_connections",
        "1024",
        "Connections of the process. Over it the one that is idle for the longest time is closed.",
    ),
    limit("max_connections_per_ip", "512", "Connections from one address, likewise."),
    key(
        "max_streams_per_connection",
        Kind::Count { least: 1 },
        "64",
        "HTTP/2 requests of one connection at once.",
    ),
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

pub(super) const fn section(name: &'static str, keys: &'static [Key], doc: &'static str) -> Key {
    Key { name, kind: Kind::Section(keys), default: None, doc }
}

const fn later(name: &'static str, default: &'static str) -> Key {
    Key { name, kind: Kind::Later, default: Some(default), doc: "" }
}

/// A key of which no value is taken yet.
pub(super) const fn refused(name: &'static str) -> Key {
    Key { name, kind: Kind::Later, default: None, doc: "" }
}

const fn limit(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Count { least: 0 }, default, doc)
}

const fn endpoint(default: &'static str) -> Key {
    key("endpoint", Kind::Endpoint, default, "host:port; :port = every interface; \"\" = off.")
}
