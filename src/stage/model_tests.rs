//! The stager against a slow model: prost's structs, maps of label sets, and the rules as they are
//! written in reference/tempo.md 1.6 to 2.8, 4 and CONTRACT.md 4.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use prost::Message;

use super::{
    DimensionMapping, FilterPolicy, HostInfo, IntrinsicDimensions, MatchType, Multiplier, Plan,
    PolicyAttribute, PolicyMatch, PolicyValue, Processors, ServiceGraphs, Settings, SpanMetrics,
    SpanNames, Stager, Window,
};
use crate::batch::{Batch, Discarded, Exemplar, Processor, Repaired, Table};
use crate::otlp::generated::{Choices, KEYS, NOW_NANO, choices, request};
use crate::otlp::tests::text_of;

type Labels = BTreeMap<String, String>;

/// A row of a batch, or of the model.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    table: Table,
    labels: Labels,
    spans: u64,
    calls: f64,
    size: u64,
    latency: f64,
    buckets: BTreeMap<usize, f64>,
    exemplars: BTreeMap<usize, Exemplar>,
}

// ---- the model

#[derive(Debug, Default)]
struct Model {
    rows: Vec<Seen>,
    received: u64,
    outside: u64,
    filtered: u64,
    repaired: BTreeMap<&'static str, u64>,
}

/// A span and where it stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    settings: &'a Settings,
    resource: &'a [KeyValue],
    span: &'a Span,
}

impl Model {
    fn of(request: &ExportTraceServiceRequest, settings: &Settings) -> Self {
        let mut model = Self::default();
        for resource_spans in &request.resource_spans {
            let resource = resource_spans.resource.as_ref();
            let resource = resource.map_or(&[][..], |resource| &resource.attributes);
            if settings.processors.host_info {
                model.host_info(settings, resource);
            }
            for span in resource_spans.scope_spans.iter().flat_map(|scope| &scope.spans) {
                model.span(Place { settings, resource, span });
            }
        }
        model
    }

    fn span(&mut self, place: Place<'_>) {
        self.received += 1;
        if let Some(window) = &place.settings.window {
            let nano = |d: Duration| u64::try_from(d.as_nanos()).expect("short");
            let end = place.span.end_time_unix_nano;
            if end < NOW_NANO - nano(window.past) || end > NOW_NANO + nano(window.future) {
                self.outside += 1;
                return;
            }
        }
        if !place.settings.processors.span_metrics() {
            return;
        }
        if !place.kept() {
            self.filtered += 1;
            return;
        }
        let (labels, cut) = place.labels();
        let latency = self.latency(place.span);
        let weight = self.weight(place);
        self.repair("length", cut);
        let exemplar = exemplar(place.span, latency);
        self.repair("ids", exemplar.is_none());
        let bounds = &place.settings.span_metrics.histogram_buckets;
        let seconds = latency as f64 / 1e9;
        let bucket = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(bounds.len());
        let row = self.row(Table::SpanMetrics, labels);
        row.spans += 1;
        row.calls += weight;
        row.size += place.span.encoded_len() as u64;
        row.latency += latency as f64 * weight;
        *row.buckets.entry(bucket).or_default() += weight;
        if let Some(new) = exemplar {
            let new = Exemplar { bucket: u32::try_from(bucket).expect("few"), ..new };
            let old = row.exemplars.entry(bucket).or_insert(new);
            if (new.error, new.latency_nano) > (old.error, old.latency_nano) {
                *old = new;
            }
        }
        if place.settings.span_metrics.enable_target_info {
            self.target_info(place);
        }
    }

    fn repair(&mut self, what: &'static str, repaired: bool) {
        *self.repaired.entry(what).or_default() += u64::from(repaired);
    }

    /// Found, or added behind the others.
    fn row(&mut self, table: Table, labels: Labels) -> &mut Seen {
        let at = self.rows.iter().position(|row| row.table == table && row.labels == labels);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Seen {
                table,
                labels,
                spans: 0,
                calls: 0.0,
                size: 0,
                latency: 0.0,
                buckets: BTreeMap::new(),
                exemplars: BTreeMap::new(),
            });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    fn latency(&mut self, span: &Span) -> u64 {
        const CENTURY: u64 = 100 * 365 * 86_400 * 1_000_000_000;
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        let odd = start == 0 || end < start || end - start > CENTURY;
        self.repair("duration", odd);
        if odd { 0 } else { end - start }
    }

    fn weight(&mut self, place: Place<'_>) -> f64 {
        let multiplier = &place.settings.span_metrics.multiplier;
        let weight = match (multiplier.tracestate, of_trace_state(&place.span.trace_state)) {
            (true, Some(weight)) => (weight <= 1e6).then_some(weight),
            _ if multiplier.key.is_empty() => Some(1.0),
            _ => {
                let of_span = first(&place.span.attributes, &multiplier.key);
                let value = of_span.or_else(|| first(place.resource, &multiplier.key));
                match value.map(|value| value.value) {
                    None => Some(1.0),
                    Some(Some(Any::DoubleValue(ratio))) => inverse(ratio),
                    Some(Some(Any::IntValue(ratio))) => inverse(ratio as f64),
                    Some(Some(Any::StringValue(text))) => text.parse().ok().and_then(inverse),
                    Some(_) => None,
                }
            }
        };
        self.repair("multiplier", weight.is_none());
        weight.unwrap_or(1.0)
    }

    fn host_info(&mut self, settings: &Settings, resource: &[KeyValue]) {
        let host = settings.host_info.host_identifiers.iter().find_map(|key| {
            match first(resource, key).and_then(|value| value.value) {
                Some(Any::StringValue(text)) if !text.is_empty() => Some((key, text)),
                _ => None,
            }
        });
        if let Some((key, host)) = host {
            let max = settings.max_label_value_length;
            let labels = [("grafana_host_id", host), ("host_source", key.clone())];
            let labels = labels.map(|(name, value)| (name.to_owned(), cut(&value, max)));
            self.row(Table::HostInfo, Labels::from(labels));
        }
    }

    fn target_info(&mut self, place: Place<'_>) {
        let settings = place.settings;
        let mut labels = Labels::new();
        let mut keys = Vec::new();
        for KeyValue { key, .. } in place.resource {
            let identity = ["service.name", "service.namespace", "service.instance.id"];
            let excluded = &settings.span_metrics.target_info_excluded_dimensions;
            if keys.contains(&key)
                || identity.contains(&key.as_str())
                || excluded.contains(key)
                || key.is_empty()
                || key.as_bytes()[0].is_ascii_digit()
            {
                continue;
            }
            keys.push(key);
            let value = first(place.resource, key).map_or_else(String::new, |v| text_of(&v, 0));
            let name = label_name(key, &["job", "instance"]);
            labels.insert(cut(&name, settings.max_label_name_length), value);
        }
        labels.retain(|_, value| !value.is_empty());
        let on = settings.span_metrics.enable_instance_label;
        let instance = if on { place.of_resource("service.instance.id") } else { String::new() };
        let job = place.job();
        if labels.is_empty() || job.is_empty() && instance.is_empty() {
            return;
        }
        labels.insert("job".to_owned(), job);
        labels.insert("instance".to_owned(), instance);
        labels.retain(|_, value| !value.is_empty());
        labels.values_mut().for_each(|value| *value = cut(value, settings.max_label_value_length));
        self.row(Table::TargetInfo, labels);
    }
}

impl Place<'_> {
    fn of_resource(&self, key: &str) -> String {
        first(self.resource, key).map_or_else(String::new, |value| text_of(&value, 0))
    }

    fn of_either(&self, key: &str) -> String {
        let value = first(self.resource, key).or_else(|| first(&self.span.attributes, key));
        value.map_or_else(String::new, |value| text_of(&value, 0))
    }

    fn job(&self) -> String {
        let (namespace, name) =
            (self.of_resource("service.namespace"), self.of_resource("service.name"));
        match (namespace.as_str(), name.as_str()) {
            (_, "") | ("", _) => name,
            _ => format!("{namespace}/{name}"),
        }
    }

    /// In Tempo's order of building: the last of a name wins, and an empty one deletes it. And whether
    /// a value was too long.
    fn labels(&self) -> (Labels, bool) {
        let metrics = &self.settings.span_metrics;
        let on = metrics.intrinsic_dimensions;
        let status = self.span.status.clone().unwrap_or_default();
        let mut built: Vec<(String, String)> = Vec::new();
        for (on, name, value) in [
            (on.service, "service", self.of_resource("service.name")),
            (on.span_name, "span_name", self.span.name.clone()),
            (on.span_kind, "span_kind", kind(self.span.kind)),
            (on.status_code, "status_code", status_code(status.code)),
            (on.status_message, "status_message", status.message),
        ] {
            if on {
                built.push((name.to_owned(), value));
            }
        }
        for key in &metrics.dimensions {
            built.push((label_name(key, &[]), self.of_either(key)));
        }
        for mapping in &metrics.dimension_mappings {
            let values = mapping.source_labels.iter().map(|key| self.of_either(key));
            let mut values: Vec<String> = values.filter(|value| !value.is_empty()).collect();
            if mapping.coalesce {
                values.truncate(1);
            }
            built.push((label_name(&mapping.name, &[]), values.join(&mapping.join)));
        }
        if metrics.enable_target_info {
            built.push(("job".to_owned(), self.job()));
            if metrics.enable_instance_label {
                built.push(("instance".to_owned(), self.of_resource("service.instance.id")));
            }
        }
        let mut labels = Labels::new();
        for (name, value) in built {
            labels.insert(cut(&name, self.settings.max_label_name_length), value);
        }
        labels.retain(|_, value| !value.is_empty());
        let max = self.settings.max_label_value_length;
        let any_cut = labels.values().any(|value| cut(value, max) != *value);
        labels.values_mut().for_each(|value| *value = cut(value, max));
        (labels, any_cut)
    }

    fn kept(&self) -> bool {
        let policies = &self.settings.span_metrics.filter_policies;
        let of = |part: fn(&FilterPolicy) -> &Option<PolicyMatch>| {
            policies.iter().filter_map(move |policy| part(policy).as_ref())
        };
        if of(|policy| &policy.exclude).any(|rules| self.matches(rules)) {
            return false;
        }
        if of(|policy| &policy.include_any).any(|rules| self.matches(rules)) {
            return true;
        }
        if of(|policy| &policy.include).next().is_some() {
            return of(|policy| &policy.include).all(|rules| self.matches(rules));
        }
        of(|policy| &policy.include_any).next().is_none()
    }

    fn matches(&self, rules: &PolicyMatch) -> bool {
        rules.attributes.iter().all(|PolicyAttribute { key, value: expected }| {
            let text = |text: String| Some(AnyValue { value: Some(Any::StringValue(text)) });
            let value = match key.as_str() {
                "name" => text(self.span.name.clone()),
                "kind" => text(kind(self.span.kind)),
                "status" => text(status_code(self.span.status.clone().unwrap_or_default().code)),
                key => match key.split_once('.').expect("a scope") {
                    ("resource", key) => first(self.resource, key),
                    (_, key) => first(&self.span.attributes, key),
                },
            };
            value.is_some_and(|value| equals(&value, rules.match_type, expected))
        })
    }
}

/// By the getter of the policy's type, which answers that type's zero for any other.
fn equals(value: &AnyValue, match_type: MatchType, expected: &PolicyValue) -> bool {
    let value = value.value.clone();
    let text = if let Some(Any::StringValue(text)) = &value { text } else { "" };
    match (match_type, expected) {
        (MatchType::Regex, PolicyValue::Text(pattern)) => {
            regex::Regex::new(pattern).expect("a regex").is_match(text)
        }
        (_, PolicyValue::Text(expected)) => text == expected,
        (_, PolicyValue::Int(n)) => *n == if let Some(Any::IntValue(n)) = value { n } else { 0 },
        (_, PolicyValue::Double(n)) => {
            *n == if let Some(Any::DoubleValue(n)) = value { n } else { 0.0 }
        }
        (_, PolicyValue::Bool(truth)) => {
            *truth == if let Some(Any::BoolValue(truth)) = value { truth } else { false }
        }
    }
}

fn first(attributes: &[KeyValue], key: &str) -> Option<AnyValue> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(found.value.clone().unwrap_or_default())
}

fn inverse(ratio: f64) -> Option<f64> {
    (1e-6..=1e6).contains(&ratio).then(|| 1.0 / ratio)
}

fn of_trace_state(text: &str) -> Option<f64> {
    let member = text.split(',').map(str::trim).find(|member| member.starts_with("ot="))?;
    let fields: BTreeMap<&str, &str> =
        member[3..].split(';').filter_map(|field| field.split_once(':')).collect();
    let bits56 = |digits: &str| u64::from_str_radix(&format!("{digits:0<14}"), 16).ok();
    let threshold = bits56(fields.get("th")?)?;
    let weight = (1_u64 << 56) as f64 / ((1_u64 << 56) - threshold) as f64;
    let Some(random) = fields.get("rv").and_then(|digits| bits56(digits)) else {
        return Some(weight);
    };
    let chance = (random >> 3) as f64 / (1_u64 << 53) as f64;
    Some(if chance < weight.fract() { weight.ceil() } else { weight.floor() })
}

fn kind(kind: i32) -> String {
    let names = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    let name = usize::try_from(kind).ok().and_then(|kind| names.get(kind));
    name.map_or_else(|| kind.to_string(), |name| format!("SPAN_KIND_{name}"))
}

fn status_code(code: i32) -> String {
    let name = usize::try_from(code).ok().and_then(|code| ["UNSET", "OK", "ERROR"].get(code));
    name.map_or_else(|| code.to_string(), |name| format!("STATUS_CODE_{name}"))
}

fn label_name(key: &str, taken_too: &[&str]) -> String {
    let taken = ["service", "span_name", "span_kind", "status_code", "status_message"];
    let name: String = key
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => c,
            _ => '_',
        })
        .collect();
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    let name = if digit { format!("_{name}") } else { name };
    let is = |name: &&str, names: &[&str]| names.contains(name);
    let reserved = is(&name.as_str(), &["le", "__name__"]);
    if reserved || is(&name.as_str(), &taken) || is(&name.as_str(), taken_too) {
        return format!("__{name}");
    }
    name
}

/// To at most so many bytes, whole characters; 0 = as long as a label set holds.
fn cut(text: &str, max: usize) -> String {
    let max = if max == 0 { 65_535 } else { max };
    let mut text = text.to_owned();
    while text.len() > max {
        text.pop();
    }
    text
}

fn exemplar(span: &Span, latency_nano: u64) -> Option<Exemplar> {
    let trace_id: [u8; 16] = span.trace_id.clone().try_into().ok()?;
    let span_id: [u8; 8] = span.span_id.clone().try_into().ok()?;
    let zero = trace_id == [0; 16] || span_id == [0; 8];
    (!zero).then_some(Exemplar {
        bucket: 0,
        trace_id,
        span_id,
        latency_nano,
        end_unix_nano: span.end_time_unix_nano,
        error: span.status.as_ref().is_some_and(|status| status.code == 2),
    })
}

// ---- settings

fn settings(c: &mut Choices<'_>) -> Settings {
    let on = |c: &mut Choices<'_>| c.below(4) > 0;
    let off = |c: &mut Choices<'_>| c.one_in(3);
    let all = c.one_in(4);
    Settings {
        processors: Processors {
            calls: !all && !c.one_in(8),
            latency: all,
            size: false,
            service_graphs: false,
            host_info: off(c),
        },
        window: c.one_in(3).then(|| Window {
            past: Duration::from_secs(c.one_of(&[60, 3600])),
            future: Duration::from_secs(60),
        }),
        span_metrics: SpanMetrics {
            histogram_buckets: c
                .one_of(&[&[0.002, 0.004, 1.024, 16.384][..], &[1.0], &[0.001_999_999, 3600.0]])
                .to_vec(),
            intrinsic_dimensions: IntrinsicDimensions {
                service: on(c),
                span_name: on(c),
                span_kind: on(c),
                status_code: on(c),
                status_message: off(c),
            },
            dimensions: c.list(5, dimension),
            dimension_mappings: c.list(2, |c| DimensionMapping {
                name: dimension(c),
                source_labels: c.list(3, dimension),
                join: c.one_of(&["", "/", "\u{20ac}"]).to_owned(),
                coalesce: c.one_in(2),
            }),
            enable_target_info: off(c),
            target_info_excluded_dimensions: c.list(2, dimension),
            enable_instance_label: on(c),
            multiplier: Multiplier {
                key: if off(c) { "ratio".to_owned() } else { String::new() },
                tracestate: off(c),
            },
            filter_policies: if off(c) { c.list(3, policy) } else { Vec::new() },
        },
        service_graphs: ServiceGraphs::default(),
        host_info: HostInfo {
            host_identifiers: vec!["k8s.node.name".to_owned(), "host.id".to_owned()],
            metric_name: "traces_host_info".to_owned(),
        },
        span_names: SpanNames::default(),
        max_label_name_length: c.one_of(&[1024, 0, 6]),
        max_label_value_length: c.one_of(&[2048, 0, 5, 13]),
    }
}

fn dimension(c: &mut Choices<'_>) -> String {
    let key = c.one_of(&KEYS);
    if key.is_empty() { "http-method".to_owned() } else { key.to_owned() }
}

fn policy(c: &mut Choices<'_>) -> FilterPolicy {
    let mut policy = FilterPolicy::default();
    let place = match c.below(3) {
        0 => &mut policy.include,
        1 => &mut policy.include_any,
        _ => &mut policy.exclude,
    };
    let match_type = c.one_of(&[MatchType::Strict, MatchType::Regex]);
    let mut attributes = vec![policy_attribute(c, match_type)];
    if c.one_in(4) {
        attributes.push(policy_attribute(c, match_type));
    }
    *place = Some(PolicyMatch { match_type, attributes });
    policy
}

fn policy_attribute(c: &mut Choices<'_>, match_type: MatchType) -> PolicyAttribute {
    let key = match c.below(6) {
        0 => "kind".to_owned(),
        1 => "status".to_owned(),
        2 => "name".to_owned(),
        3 => format!("resource.{}", dimension(c)),
        _ => format!("span.{}", dimension(c)),
    };
    let value = match (match_type, key.as_str()) {
        (MatchType::Regex, "kind" | "status") => {
            PolicyValue::Text(c.one_of(&["(SERVER|CLIENT)$", "ERROR", "^S"]).to_owned())
        }
        (MatchType::Regex, _) => PolicyValue::Text(c.one_of(&["^G", "", "cart", "\\d$"]).into()),
        (MatchType::Strict, "kind") => PolicyValue::Text(kind(c.one_of(&[1, 2, 3]))),
        (MatchType::Strict, "status") => PolicyValue::Text(status_code(c.one_of(&[0, 1, 2]))),
        (MatchType::Strict, "name") => PolicyValue::Text(c.text()),
        (MatchType::Strict, _) => match c.below(4) {
            0 => PolicyValue::Text(c.text()),
            1 => PolicyValue::Int(c.one_of(&[0, 7, 300])),
            2 => PolicyValue::Bool(c.one_in(2)),
            _ => PolicyValue::Double(c.one_of(&[0.0, 0.25, f64::NAN])),
        },
    };
    PolicyAttribute { key, value }
}

// ---- the law

fn rows_of(batch: &Batch) -> Vec<Seen> {
    let seen = |row: &crate::batch::Row| {
        let labels = batch.labels(row);
        let label = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let buckets = row.buckets.slice(&batch.buckets).iter();
        let exemplars = row.exemplars.slice(&batch.exemplars).iter();
        Seen {
            table: row.table,
            labels: labels.iter().map(label).collect(),
            spans: row.spans,
            calls: row.calls.as_f64(),
            size: row.size,
            latency: row.latency.as_f64(),
            buckets: buckets.map(|b| (b.bucket as usize, b.count.as_f64())).collect(),
            exemplars: exemplars.map(|e| (e.bucket as usize, *e)).collect(),
        }
    };
    batch.rows.iter().map(seen).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

/// Equal but for the rounding of fractional weights.
fn same(found: &Seen, expected: &Seen) -> bool {
    let buckets = || found.buckets.iter().zip(&expected.buckets);
    let exact = Seen {
        calls: found.calls,
        latency: found.latency,
        buckets: found.buckets.clone(),
        ..expected.clone()
    };
    *found == exact
        && near(found.calls, expected.calls)
        && near(found.latency, expected.latency)
        && found.buckets.len() == expected.buckets.len()
        && buckets().all(|((i, n), (j, m))| i == j && near(*n, *m))
}

fn tallies_agree(model: &Model, batch: &Batch, settings: &Settings) -> Result<(), TestCaseError> {
    let tallies = &batch.tallies;
    prop_assert_eq!(tallies.received, model.received);
    let of = |on: bool, n: u64| if on { n } else { 0 };
    for (processor, on, filtered) in [
        (Processor::SpanMetrics, settings.processors.span_metrics(), model.filtered),
        (Processor::HostInfo, settings.processors.host_info, 0),
    ] {
        let outside = tallies.discarded(processor, Discarded::OutsideTimeWindow);
        prop_assert_eq!(outside, of(on, model.outside));
        prop_assert_eq!(tallies.discarded(processor, Discarded::Filtered), of(on, filtered));
        let counted = model.received - model.outside - filtered;
        prop_assert_eq!(tallies.counted(processor), of(on, counted));
        prop_assert!(!on || tallies.balances(processor));
    }
    for (what, name) in [
        (Repaired::Utf8, "utf8"),
        (Repaired::Ids, "ids"),
        (Repaired::Duration, "duration"),
        (Repaired::Multiplier, "multiplier"),
        (Repaired::LabelLength, "length"),
    ] {
        let expected = model.repaired.get(name).copied().unwrap_or_default();
        prop_assert_eq!(tallies.repaired(what), expected, "{}", name);
    }
    Ok(())
}

fn names_rise(batch: &Batch) -> bool {
    batch.rows.iter().all(|row| {
        let names: Vec<&str> = batch.labels(row).iter().map(|(name, _)| name).collect();
        names.is_sorted_by(|a, b| a < b)
    })
}

/// `PROPTEST_CASES` for a longer run.
fn cases(by_default: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(by_default),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    /// Under any settings the batch of a request is what the slow rules make of it, row by row, in the
    /// order in which label sets were first seen, whatever the stager has staged before.
    #[test]
    fn the_batch_is_what_the_slow_model_makes(
        choices in choices(900),
        other in choices(200),
        settings in choices(90),
    ) {
        let settings = self::settings(&mut Choices::new(&settings));
        let plan = Plan::new(&settings, 7).expect("settings that are valid");
        let request = request(&mut Choices::new(&choices));
        let other = crate::otlp::generated::request(&mut Choices::new(&other));
        let now = Duration::from_nanos(NOW_NANO);
        let mut stager = Stager::default();
        stager.stage(&plan, &other.encode_to_vec(), now).expect("valid");
        let batch = stager.stage(&plan, &request.encode_to_vec(), now).expect("valid").clone();

        let model = Model::of(&request, &settings);
        prop_assert_eq!(batch.generation, 7);
        prop_assert!(names_rise(&batch));
        let rows = rows_of(&batch);
        prop_assert_eq!(rows.len(), model.rows.len(), "{:#?} {:#?}", rows, model.rows);
        for (found, expected) in rows.iter().zip(&model.rows) {
            prop_assert!(same(found, expected), "found {:#?}, expected {:#?}", found, expected);
        }
        tallies_agree(&model, &batch, &settings)?;
        prop_assert_eq!(stager.outside_window(), model.outside);
    }
}
