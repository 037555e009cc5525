//! The pipeline that anybody would write first: prost's structs, a map of owned labels.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use spanmill::stage::Settings;

/// Calls, size, latency and exemplars of each label set.
#[derive(Default)]
pub(crate) struct Naive {
    dimensions: Vec<String>,
    bounds: Vec<f64>,
    #[expect(clippy::disallowed_types, reason = "what anybody would write first")]
    series: std::collections::HashMap<Vec<(String, String)>, Series>,
}

#[derive(Default)]
struct Series {
    calls: f64,
    size: f64,
    sum: f64,
    buckets: Vec<f64>,
    exemplars: BTreeMap<usize, (Vec<u8>, f64)>,
}

impl Naive {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            dimensions: settings.span_metrics.dimensions.clone(),
            bounds: settings.span_metrics.histogram_buckets.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn n_series(&self) -> usize {
        self.series.len()
    }

    pub(crate) fn take(&mut self, body: &[u8]) {
        let request = ExportTraceServiceRequest::decode(body).expect("a real request");
        for resource_spans in &request.resource_spans {
            let none = Vec::new();
            let resource = resource_spans.resource.as_ref().map_or(&none, |r| &r.attributes);
            for span in resource_spans.scope_spans.iter().flat_map(|scope| &scope.spans) {
                self.count(resource, span);
            }
        }
    }

    fn count(&mut self, resource: &[KeyValue], span: &Span) {
        let mut labels = vec![
            ("service".to_owned(), text(find(resource, "service.name"))),
            ("span_name".to_owned(), span.name.clone()),
            ("span_kind".to_owned(), span.kind().as_str_name().to_owned()),
            ("status_code".to_owned(), status(span).to_owned()),
        ];
        for key in &self.dimensions {
            let value = find(resource, key).or_else(|| find(&span.attributes, key));
            labels.push((key.replace('.', "_"), text(value)));
        }
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort();
        let nano = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        let seconds = nano as f64 / 1e9;
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        let series = self.series.entry(labels).or_default();
        series.buckets.resize(self.bounds.len() + 1, 0.0);
        series.calls += 1.0;
        series.size += span.encoded_len() as f64;
        series.sum += seconds;
        series.buckets[bucket] += 1.0;
        series.exemplars.insert(bucket, (span.trace_id.clone(), seconds));
    }
}

fn status(span: &Span) -> &'static str {
    span.status.as_ref().map_or("STATUS_CODE_UNSET", |status| status.code().as_str_name())
}

fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a AnyValue> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(b)) => b.to_string(),
        Some(Value::IntValue(n)) => n.to_string(),
        Some(Value::DoubleValue(n)) => n.to_string(),
        _ => String::new(),
    }
}
