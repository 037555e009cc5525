//! The keys of `processors`: what is made of spans.

use super::schema::{Key, Kind, MILLISECOND, block, key, required, section};

pub(super) const SPAN_METRICS: &str = "span-metrics";
pub(super) const SERVICE_GRAPHS: &str = "service-graphs";
pub(super) const HOST_INFO: &str = "host-info";
/// All names that `enabled` may hold.
pub(super) const NAMES: [&str; 9] = [
    SPAN_METRICS,
    "span-metrics-latency",
    "span-metrics-count",
    "span-metrics-size",
    SERVICE_GRAPHS,
    "service-graphs-request",
    "service-graphs-latency",
    "service-graphs-connection-info",
    HOST_INFO,
];

pub(super) const PROCESSORS: &[Key] = &[
    key(
        "enabled",
        Kind::Processors,
        "[span-metrics, service-graphs]",
        "span-metrics: all of span-metrics-count, span-metrics-latency, span-metrics-size, which can also\n\
         stand alone. service-graphs: service-graphs-request and service-graphs-latency, likewise; besides\n\
         or alone service-graphs-connection-info. host-info. Empty = nothing is made of spans.",
    ),
    key(
        "ingestion_time_range_slack",
        Kind::Slack,
        "{ past: 1h, future: 10m }",
        "Spans that end further from now are not counted. One duration is meant for both directions;\n\
         0s = every span counts.",
    ),
    section("span_metrics", SPAN_METRICS_KEYS, "traces_spanmetrics_*: calls, latency, size."),
    section(
        "service_graphs",
        SERVICE_GRAPHS_KEYS,
        "traces_service_graph_*: which service calls which.",
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

const SERVICE_GRAPHS_KEYS: &[Key] = &[
    key(
        "wait",
        Kind::Duration { least: MILLISECOND },
        "10s",
        "How long one side of a call waits for the other: the spans of both have to arrive within that.",
    ),
    key(
        "max_items",
        Kind::Count { least: 1 },
        "1000000",
        "Sides that wait and calls that are remembered, of a tenant. Over it the oldest of a service that\n\
         holds more than half gives way, else the oldest of all.",
    ),
    key(
        "histogram_buckets",
        Kind::Buckets,
        "[0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8]",
        "Upper bounds of the latency buckets in seconds, rising; +Inf is added.",
    ),
    key(
        "dimensions",
        Kind::Names { least: 0 },
        "[]",
        "Attributes of either side that become labels, looked up in the resource and then in the span. The\n\
         server's value wins. Each value makes series of its own.",
    ),
    key(
        "enable_client_server_prefix",
        Kind::Bool,
        "false",
        "Puts client_ and server_ in front of a dimension's label, so that both sides have their own.",
    ),
    key(
        "enable_messaging_system_latency_histogram",
        Kind::Bool,
        "false",
        "Makes traces_service_graph_request_messaging_system_seconds: from the producer's end to the\n\
         consumer's start.",
    ),
    key(
        "peer_attributes",
        Kind::Names { least: 0 },
        "[peer.service, db.name, db.system, db.system.name]",
        "Attributes of the span that name the other side where it has no span; the first that is present.",
    ),
    key(
        "database_name_attributes",
        Kind::Names { least: 0 },
        "[db.namespace, db.name, db.system, db.system.name]",
        "Attributes of resource or span that make a client's span the call of a database. The first that\n\
         is present names it where peer.service and the server's address do not.",
    ),
    key(
        "span_multiplier_key",
        Kind::Text,
        "\"\"",
        "As in span_metrics; a call has the client's, else the server's.",
    ),
    key("enable_tracestate_span_multiplier", Kind::Bool, "false", "As in span_metrics."),
    key(
        "enable_virtual_node_label",
        Kind::Bool,
        "false",
        "Label virtual_node on edges with a virtual node: client or server, the side without a span.",
    ),
    key(
        "filter_policies",
        Kind::List(FILTER_POLICY),
        "[]",
        "Which spans are sides, by the rules of span_metrics. The other side of a span that is left out\n\
         makes no edge either.",
    ),
    key(
        "histograms",
        Kind::Choices(SIDES),
        "[server, client]",
        "Whose view of the latency is kept: server, client, or both. Empty = neither.",
    ),
    section(
        "virtual_nodes",
        &[
            key(
                "caller",
                Kind::Text,
                "user",
                "What calls a root server span that names no peer. \"\" = root spans make no edges.",
            ),
            key(
                "server",
                Kind::Bool,
                "true",
                "Whether a client's span that names its peer makes an edge when no server's span comes.",
            ),
        ],
        "Nodes that have no spans.",
    ),
    key(
        "observe_missing_side",
        Kind::Bool,
        "true",
        "Whether the side that a virtual node lacks counts as 0 s in its histogram, as in Tempo.",
    ),
    key(
        "remember_completed",
        Kind::Bool,
        "true",
        "Whether a call is remembered for one more wait, so that copies of its spans are recognised.",
    ),
    key(
        "hold_virtual",
        Kind::Count { least: 0 },
        "0",
        "A client's span that names its peer waits so many times wait longer for its real other side.",
    ),
    key(
        "count_every_pair",
        Kind::Bool,
        "false",
        "Whether each server span below one client span is a request of its own, not only the first.",
    ),
    key(
        "messaging_links",
        Kind::Bool,
        "false",
        "Whether a consumer is also paired with the producers that its span links name.",
    ),
];

const SIDES: &[&str] = &["server", "client"];

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
