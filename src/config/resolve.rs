//! The merged layers -> the settings of each module, and what only shows between keys.
//!
//! Every scalar was checked in its layer; a getter's fallback is therefore only met together with a
//! problem that was reported there.

use std::time::Duration;

use super::node::{Body, Node};
use super::problem::Problems;
use super::resolve_remote_write;
use super::schema::{HOST_INFO, SPAN_METRICS};
use super::{Config, values};
use crate::stage::{self, MatchType, PolicyValue};
use crate::{admin, collect, edges, ledger, receiver, remote_write};

/// Runes that an exemplar's labels may hold in all, names included (Prometheus drops more).
const MAX_EXEMPLAR_RUNES: usize = 128;
const SPAN_ID_LABEL: &str = "span_id";
const TRACE_AND_SPAN_ID_RUNES: usize = 32 + 16;

pub(crate) fn resolve(tree: &Node, problems: &mut Problems) -> Config {
    Config {
        receiver: receiver(tree),
        stage: stage(tree, problems),
        ledger: ledger::Settings {
            stale_duration: tree.at("registry.stale_duration").duration(),
            max_exemplars_per_tick: tree.at("registry.max_exemplars_per_tick").count(),
            edges: edges::Settings::default(),
            edge_series: ledger::EdgeSeries::default(),
        },
        collect: collect(tree, problems),
        remote_write: remote_write::Settings {
            endpoints: resolve_remote_write::endpoints(tree.at("remote_write"), problems),
            send_tenant_id: tree.at("multitenancy.enabled").boolean(),
        },
        admin: admin::Settings { endpoint: values::endpoint(tree.at("admin.endpoint").as_text()) },
    }
}

fn receiver(tree: &Node) -> receiver::Settings {
    let otlp = tree.at("receivers.otlp");
    receiver::Settings {
        grpc: values::endpoint(otlp.at("grpc.endpoint").as_text()),
        http: values::endpoint(otlp.at("http.endpoint").as_text()),
        limits: receiver::BodyLimits {
            max_wire_bytes: otlp.at("max_wire_bytes").size(),
            max_inflated_bytes: otlp.at("max_inflated_bytes").size(),
        },
        header_timeout: otlp.at("header_timeout").duration(),
        body_timeout: otlp.at("body_timeout").duration(),
        multitenancy: tree.at("multitenancy.enabled").boolean(),
    }
}

fn collect(tree: &Node, problems: &mut Problems) -> collect::Settings {
    let registry = tree.at("registry");
    let label = registry.at("trace_id_label_name");
    let n_runes = label.as_text().len() + SPAN_ID_LABEL.len() + TRACE_AND_SPAN_ID_RUNES;
    let key = "registry.trace_id_label_name";
    let found = values::shown(label.as_text());
    if label.as_text().is_empty() || label.as_text() == SPAN_ID_LABEL {
        let message = format!("found {found}, expected a label's name other than {SPAN_ID_LABEL}");
        problems.add(label.place, key, message);
    } else if n_runes > MAX_EXEMPLAR_RUNES {
        let most = MAX_EXEMPLAR_RUNES - SPAN_ID_LABEL.len() - TRACE_AND_SPAN_ID_RUNES;
        problems.add(label.place, key, format!("found {found}, expected at most {most} letters"));
    }
    let external_labels = registry.at("external_labels").entries();
    let stage::Processors { calls, latency, size, .. } = enabled(tree.at("processors.enabled"));
    collect::Settings {
        collection_interval: registry.at("collection_interval").duration(),
        stale_markers: match registry.at("stale_markers").as_text().to_lowercase().as_str() {
            "shutdown" => collect::StaleMarkers::Shutdown,
            "off" => collect::StaleMarkers::Off,
            _ => collect::StaleMarkers::Expiry,
        },
        external_labels: external_labels
            .map(|(name, value)| (name.clone(), value.as_text().to_owned()))
            .collect(),
        inject_tenant_id_as: registry.at("inject_tenant_id_as").as_text().to_owned(),
        instance_label: registry.at("instance_label").as_text().to_owned(),
        instance: match registry.at("instance").as_text() {
            "" => host_name(),
            instance => instance.to_owned(),
        },
        trace_id_label_name: label.as_text().to_owned(),
        host_info_metric_name: tree.at("processors.host_info.metric_name").as_text().to_owned(),
        families: collect::Families { calls, latency, size },
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "localhost".to_owned())
}

fn stage(tree: &Node, problems: &mut Problems) -> stage::Settings {
    let processors = tree.at("processors");
    stage::Settings {
        processors: enabled(processors.at("enabled")),
        window: window(processors.at("ingestion_time_range_slack"), problems),
        span_metrics: span_metrics(processors.at("span_metrics"), problems),
        service_graphs: stage::ServiceGraphs::default(),
        host_info: stage::HostInfo {
            host_identifiers: processors.at("host_info.host_identifiers").texts(),
            metric_name: processors.at("host_info.metric_name").as_text().to_owned(),
        },
        max_label_name_length: tree.at("registry.max_label_name_length").count(),
        max_label_value_length: tree.at("registry.max_label_value_length").count(),
    }
}

/// The bare name stands for all its parts, whatever else is listed.
fn enabled(names: &Node) -> stage::Processors {
    let has = |name: &str| names.list().iter().any(|node| node.as_text() == name);
    let has_part = |part: &str| has(SPAN_METRICS) || has(&format!("{SPAN_METRICS}-{part}"));
    stage::Processors {
        calls: has_part("count"),
        latency: has_part("latency"),
        size: has_part("size"),
        service_graphs: false,
        host_info: has(HOST_INFO),
    }
}

fn window(node: &Node, problems: &mut Problems) -> Option<stage::Window> {
    let window =
        stage::Window { past: node.at("past").duration(), future: node.at("future").duration() };
    let stage::Window { past, future } = window;
    if past.is_zero() != future.is_zero() {
        let message =
            format!("found past {past:?} and future {future:?}, expected both above 0s or both 0s");
        problems.add(node.place, "processors.ingestion_time_range_slack", message);
    }
    (!past.is_zero() && !future.is_zero()).then_some(window)
}

fn span_metrics(node: &Node, problems: &mut Problems) -> stage::SpanMetrics {
    let intrinsic = node.at("intrinsic_dimensions");
    let buckets = node.at("histogram_buckets").list();
    mapping_collisions(node, problems);
    stage::SpanMetrics {
        histogram_buckets: buckets.iter().filter_map(|n| values::finite(n.as_text())).collect(),
        intrinsic_dimensions: stage::IntrinsicDimensions {
            service: intrinsic.at("service").boolean(),
            span_name: intrinsic.at("span_name").boolean(),
            span_kind: intrinsic.at("span_kind").boolean(),
            status_code: intrinsic.at("status_code").boolean(),
            status_message: intrinsic.at("status_message").boolean(),
        },
        dimensions: node.at("dimensions").texts(),
        dimension_mappings: node.at("dimension_mappings").list().iter().map(mapping).collect(),
        enable_target_info: node.at("enable_target_info").boolean(),
        target_info_excluded_dimensions: node.at("target_info_excluded_dimensions").texts(),
        enable_instance_label: node.at("enable_instance_label").boolean(),
        multiplier: stage::Multiplier {
            key: node.at("span_multiplier_key").as_text().to_owned(),
            tracestate: node.at("enable_tracestate_span_multiplier").boolean(),
        },
        filter_policies: filter_policies(node.at("filter_policies").list(), problems),
    }
}

fn mapping(node: &Node) -> stage::DimensionMapping {
    stage::DimensionMapping {
        name: node.at("name").as_text().to_owned(),
        source_labels: node.at("source_labels").texts(),
        join: node.at("join").as_text().to_owned(),
        coalesce: node.at("coalesce").boolean(),
    }
}

/// A mapping's label may be no one else's (reference: Tempo refuses to build the processor).
fn mapping_collisions(node: &Node, problems: &mut Problems) {
    let intrinsic = node.at("intrinsic_dimensions").entries();
    let intrinsic = intrinsic.filter(|(_, on)| on.boolean()).map(|(name, _)| name.clone());
    let mut taken: Vec<(String, String)> =
        intrinsic.map(|name| (name, "the intrinsic dimension".to_owned())).collect();
    for dimension in node.at("dimensions").texts() {
        taken.push((sanitized(&dimension), format!("the dimension {dimension}")));
    }
    for (idx, mapping) in node.at("dimension_mappings").list().iter().enumerate() {
        let name = mapping.at("name");
        let label = sanitized(name.as_text());
        if label.is_empty() {
            continue;
        }
        let owner = taken.iter().find(|(other, _)| *other == label).map(|(_, owner)| owner.clone());
        if let Some(owner) = owner {
            let key = format!("processors.span_metrics.dimension_mappings[{idx}].name");
            let found = values::shown(name.as_text());
            let message = format!("found {found}, expected another label than that of {owner}");
            problems.add(name.place, &key, message);
        }
        taken.push((label, format!("dimension_mappings[{idx}]")));
    }
}

/// An attribute's key as the name of a label.
fn sanitized(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn filter_policies(list: &[Node], problems: &mut Problems) -> Vec<stage::FilterPolicy> {
    let policy = |(idx, node): (usize, &Node)| {
        let path = format!("processors.span_metrics.filter_policies[{idx}]");
        if node.entries().next().is_none() {
            let message = "found none of include, include_any, exclude, expected at least one";
            problems.add(node.place, &path, message);
        }
        let mut part =
            |name: &str| policy_match(node.at(name), &format!("{path}.{name}"), problems);
        stage::FilterPolicy {
            include: part("include"),
            include_any: part("include_any"),
            exclude: part("exclude"),
        }
    };
    list.iter().enumerate().map(policy).collect()
}

fn policy_match(node: &Node, path: &str, problems: &mut Problems) -> Option<stage::PolicyMatch> {
    if node.is_nothing() {
        return None;
    }
    let match_type = match node.at("match_type").as_text().to_lowercase().as_str() {
        "regex" => MatchType::Regex,
        _ => MatchType::Strict,
    };
    let attribute = |(idx, attribute): (usize, &Node)| {
        let key = attribute.at("key").as_text().to_owned();
        let value = attribute.at("value");
        if let Some(message) = policy_fault(&key, value.as_text(), match_type) {
            problems.add(value.place, &format!("{path}.attributes[{idx}].value"), message);
        }
        let is_text = match_type == MatchType::Regex || matches!(&*key, "kind" | "name" | "status");
        let text = || PolicyValue::Text(value.as_text().to_owned());
        stage::PolicyAttribute { value: if is_text { text() } else { typed(value) }, key }
    };
    let attributes = node.at("attributes").list().iter().enumerate().map(attribute).collect();
    Some(stage::PolicyMatch { match_type, attributes })
}

fn policy_fault(key: &str, text: &str, match_type: MatchType) -> Option<String> {
    const KINDS: [&str; 6] =
        ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    const STATUSES: [&str; 3] = ["UNSET", "OK", "ERROR"];
    let (prefix, names): (&str, &[&str]) = match (match_type, key) {
        (MatchType::Regex, _) => {
            let error = values::regex(text).err()?;
            return Some(format!("found {}, expected a regex: {error}", values::shown(text)));
        }
        (MatchType::Strict, "kind") => ("SPAN_KIND_", &KINDS),
        (MatchType::Strict, "status") => ("STATUS_CODE_", &STATUSES),
        (MatchType::Strict, _) => return None,
    };
    let is_fine = text.strip_prefix(prefix).is_some_and(|name| names.contains(&name));
    let expected: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
    (!is_fine)
        .then(|| format!("found {}, expected one of {}", values::shown(text), expected.join(", ")))
}

/// The value by its YAML type; what was quoted is text.
fn typed(node: &Node) -> PolicyValue {
    let Body::Text { text, plain: true } = &node.body else {
        return PolicyValue::Text(node.as_text().to_owned());
    };
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if let Some(value) = values::boolean(text) {
        PolicyValue::Bool(value)
    } else if let Ok(value) = text.parse::<i64>() {
        PolicyValue::Int(value)
    } else if let Some(value) = values::finite(text).filter(|_| is_number) {
        PolicyValue::Double(value)
    } else {
        PolicyValue::Text(text.clone())
    }
}

impl Node {
    pub(super) fn boolean(&self) -> bool {
        values::boolean(self.as_text()).unwrap_or_default()
    }

    pub(super) fn duration(&self) -> Duration {
        values::duration(self.as_text()).unwrap_or_default()
    }

    pub(super) fn size(&self) -> usize {
        values::size(self.as_text()).unwrap_or_default()
    }

    pub(super) fn count(&self) -> usize {
        let count = values::count(self.as_text()).unwrap_or_default();
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.list().iter().map(|node| node.as_text().to_owned()).collect()
    }
}
