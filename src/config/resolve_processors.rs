//! `processors` -> the settings of the stage, and of the ledger what belongs to the service graph.

use super::node::{Body, Node};
use super::problem::Problems;
use super::schema_processors::{HOST_INFO, SERVICE_GRAPHS, SPAN_METRICS};
use super::values;
use crate::stage::{self, MatchType, PolicyValue, Sanitization};
use crate::{edges, ledger};

const SPAN_METRICS_PATH: &str = "processors.span_metrics";
const SERVICE_GRAPHS_PATH: &str = "processors.service_graphs";

pub(super) fn stage(tree: &Node, problems: &mut Problems) -> stage::Settings {
    let processors = tree.at("processors");
    stage::Settings {
        processors: enabled(processors.at("enabled")),
        window: window(processors.at("ingestion_time_range_slack"), problems),
        span_metrics: span_metrics(processors.at("span_metrics"), problems),
        service_graphs: service_graphs(processors.at("service_graphs"), problems),
        host_info: stage::HostInfo {
            host_identifiers: processors.at("host_info.host_identifiers").texts(),
            metric_name: processors.at("host_info.metric_name").as_text().to_owned(),
        },
        span_names: stage::SpanNames {
            sanitization: sanitization(tree.at("registry.span_name_sanitization")),
            patterns: tree.at("registry.span_name_patterns").texts(),
        },
        max_label_name_length: tree.at("registry.max_label_name_length").count(),
        max_label_value_length: tree.at("registry.max_label_value_length").count(),
    }
}

fn sanitization(node: &Node) -> Sanitization {
    match node.as_text().to_lowercase().as_str() {
        "dry_run" => Sanitization::DryRun,
        "enabled" => Sanitization::Enabled,
        _ => Sanitization::Off,
    }
}

pub(super) fn enabled(names: &Node) -> stage::Processors {
    stage::Processors {
        calls: has_part(names, SPAN_METRICS, "count"),
        latency: has_part(names, SPAN_METRICS, "latency"),
        size: has_part(names, SPAN_METRICS, "size"),
        service_graphs: has_part(names, SERVICE_GRAPHS, "request")
            || has_part(names, SERVICE_GRAPHS, "latency")
            || has_connection_info(names),
        host_info: has(names, HOST_INFO),
    }
}

fn has(names: &Node, name: &str) -> bool {
    names.list().iter().any(|node| node.as_text() == name)
}

/// The bare name stands for all its parts, whatever else is listed.
fn has_part(names: &Node, processor: &str, part: &str) -> bool {
    has(names, processor) || has(names, &format!("{processor}-{part}"))
}

/// But for this one, which has to be named (reference/tempo.md 6.4).
fn has_connection_info(names: &Node) -> bool {
    has(names, &format!("{SERVICE_GRAPHS}-connection-info"))
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
    mapping_collisions(node, problems);
    stage::SpanMetrics {
        histogram_buckets: buckets(node),
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
        multiplier: multiplier(node),
        filter_policies: filter_policies(node, SPAN_METRICS_PATH, problems),
    }
}

fn service_graphs(node: &Node, problems: &mut Problems) -> stage::ServiceGraphs {
    stage::ServiceGraphs {
        histogram_buckets: buckets(node),
        dimensions: node.at("dimensions").texts(),
        enable_client_server_prefix: node.at("enable_client_server_prefix").boolean(),
        peer_attributes: node.at("peer_attributes").texts(),
        database_name_attributes: node.at("database_name_attributes").texts(),
        multiplier: multiplier(node),
        filter_policies: filter_policies(node, SERVICE_GRAPHS_PATH, problems),
        messaging_links: node.at("messaging_links").boolean(),
    }
}

/// Of `processors.service_graphs`.
pub(super) fn edges(node: &Node, problems: &mut Problems) -> edges::Settings {
    let hold = node.at("hold_virtual");
    let hold_virtual = u16::try_from(hold.count()).unwrap_or_else(|_| {
        let message =
            format!("found {}, expected at most {}", values::shown(hold.as_text()), u16::MAX);
        problems.add(hold.place, &format!("{SERVICE_GRAPHS_PATH}.hold_virtual"), message);
        0
    });
    edges::Settings {
        budget: edges::Budget::default(),
        wait: node.at("wait").duration(),
        max_items: node.at("max_items").count(),
        remember_completed: node.at("remember_completed").boolean(),
        hold_virtual,
        count_every_pair: node.at("count_every_pair").boolean(),
        virtual_caller: node.at("virtual_nodes.caller").as_text().to_owned(),
        virtual_server: node.at("virtual_nodes.server").boolean(),
    }
}

/// Of `processors`.
pub(super) fn edge_series(processors: &Node) -> ledger::EdgeSeries {
    let names = processors.at("enabled");
    let node = processors.at("service_graphs");
    let latency = has_part(names, SERVICE_GRAPHS, "latency");
    let sides = node.at("histograms").list();
    let seconds = |side| latency && sides.iter().any(|n| n.as_text().eq_ignore_ascii_case(side));
    ledger::EdgeSeries {
        requests: has_part(names, SERVICE_GRAPHS, "request"),
        server_seconds: seconds("server"),
        client_seconds: seconds("client"),
        messaging_seconds: latency
            && node.at("enable_messaging_system_latency_histogram").boolean(),
        connection_info: has_connection_info(names),
        observe_missing_side: node.at("observe_missing_side").boolean(),
        virtual_node_label: node.at("enable_virtual_node_label").boolean(),
    }
}

fn buckets(section: &Node) -> Vec<f64> {
    let bounds = section.at("histogram_buckets").list();
    bounds.iter().filter_map(|bound| values::finite(bound.as_text())).collect()
}

fn multiplier(section: &Node) -> stage::Multiplier {
    stage::Multiplier {
        key: section.at("span_multiplier_key").as_text().to_owned(),
        tracestate: section.at("enable_tracestate_span_multiplier").boolean(),
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
            let key = format!("{SPAN_METRICS_PATH}.dimension_mappings[{idx}].name");
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

fn filter_policies(
    section: &Node,
    path: &str,
    problems: &mut Problems,
) -> Vec<stage::FilterPolicy> {
    let policy = |(idx, node): (usize, &Node)| {
        let path = format!("{path}.filter_policies[{idx}]");
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
    section.at("filter_policies").list().iter().enumerate().map(policy).collect()
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
