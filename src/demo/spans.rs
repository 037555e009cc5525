//! Spans of what was made, as OTLP: each instance's own resource, and semantic conventions old and new.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

use super::attributes::{attributes, resource};
use super::calls::{Call, Instance, Outcome, Trace};
use super::topology::{Way, calling_name};

const STATUS_ERROR: i32 = 2;

/// A request to send.
#[derive(Debug)]
pub struct Request {
    /// An `ExportTraceServiceRequest`.
    pub body: Vec<u8>,
    pub n_spans: u64,
}

/// The spans of some traces, all of which end now.
pub fn request(traces: &[Trace], now: Duration) -> Request {
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let mut by_instance: BTreeMap<Instance, Vec<Span>> = BTreeMap::new();
    for trace in traces {
        let begin = now.saturating_sub(trace.duration());
        for call in &trace.calls {
            let spans = Spans { trace, call, begin };
            if let Some(caller) = call.caller {
                by_instance.entry(caller).or_default().push(spans.calling(caller));
            }
            if let Some(callee) = call.callee {
                by_instance.entry(callee).or_default().push(spans.serving(callee));
            }
        }
    }
    let n_spans = by_instance.values().map(|spans| spans.len() as u64).sum();
    let resource_spans = by_instance.into_iter().map(of_instance).collect();
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    Request { body, n_spans }
}

fn of_instance((instance, spans): (Instance, Vec<Span>)) -> ResourceSpans {
    let scope = InstrumentationScope { name: "shop".to_owned(), ..InstrumentationScope::default() };
    ResourceSpans {
        resource: Some(Resource {
            attributes: key_values(resource(instance)),
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// The two spans of a call.
struct Spans<'a> {
    trace: &'a Trace,
    call: &'a Call,
    /// Of the trace, Unix nanoseconds.
    begin: u64,
}

impl Spans<'_> {
    fn calling(&self, caller: Instance) -> Span {
        let Call { operation, span_ids: [id, _], asked, outcome, within, .. } = self.call;
        let kind = match operation.way {
            Way::Send => SpanKind::Producer,
            _ => SpanKind::Client,
        };
        let parent = within.map(|index| self.trace.calls[index].span_ids[1]);
        Span {
            name: calling_name(caller.service, operation),
            attributes: key_values(attributes(self.call, caller, true)),
            ..self.span(*id, parent, kind, *asked, *outcome != Outcome::Fine)
        }
    }

    fn serving(&self, callee: Instance) -> Span {
        let Call { operation, span_ids: [asking, id], served, outcome, caller, .. } = self.call;
        let kind = match operation.way {
            Way::Receive => SpanKind::Consumer,
            Way::Schedule => SpanKind::Internal,
            _ => SpanKind::Server,
        };
        let link = |message: &super::calls::Message| Link {
            trace_id: message.trace_id.to_vec(),
            span_id: message.span_id.to_vec(),
            ..Link::default()
        };
        Span {
            name: self.serving_name(),
            attributes: key_values(attributes(self.call, callee, false)),
            links: self.call.messages.iter().map(link).collect(),
            ..self.span(*id, caller.map(|_| *asking), kind, *served, *outcome == Outcome::Failed)
        }
    }

    fn serving_name(&self) -> String {
        let name = self.call.operation.name;
        match self.call.subject_in_name {
            true => name.replace("{id}", &self.call.subject.to_string()),
            false => name.to_owned(),
        }
    }

    fn span(
        &self,
        id: [u8; 8],
        parent: Option<[u8; 8]>,
        kind: SpanKind,
        [start, end]: [u64; 2],
        failed: bool,
    ) -> Span {
        let status = failed.then(|| Status { code: STATUS_ERROR, ..Status::default() });
        Span {
            trace_id: self.trace.id.to_vec(),
            span_id: id.to_vec(),
            trace_state: trace_state(self.trace.weight),
            parent_span_id: parent.map_or_else(Vec::new, Vec::from),
            kind: kind.into(),
            start_time_unix_nano: self.begin + start,
            end_time_unix_nano: self.begin + end,
            status,
            ..Span::default()
        }
    }
}

/// One of so many was kept: the threshold of the share that was not, as a fraction of 2^56 in hex
/// without zeros at its end.
fn trace_state(weight: u32) -> String {
    if weight == 1 {
        return String::new();
    }
    let all = 1_u64 << 56;
    let threshold = format!("{:014x}", all - all / u64::from(weight));
    format!("ot=th:{}", threshold.trim_end_matches('0'))
}

fn key_values(attributes: Vec<(&'static str, Value)>) -> Vec<KeyValue> {
    let key_value = |(key, value): (&str, Value)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    attributes.into_iter().map(key_value).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::shop::{Settings, Shop};
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn resource_spans() -> Vec<ResourceSpans> {
        let mut shop = Shop::new(Settings { seed: 3, rate: 100.0, speed: 100.0 });
        let mut all = Vec::new();
        for _ in 0..40 {
            let Request { body, n_spans } = request(&shop.step(), NOW);
            let request = ExportTraceServiceRequest::decode(&*body).unwrap();
            let spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
            assert_eq!(spans.map(|scope| scope.spans.len() as u64).sum::<u64>(), n_spans);
            all.extend(request.resource_spans);
        }
        all
    }

    fn spans(all: &[ResourceSpans]) -> impl Iterator<Item = &Span> {
        all.iter().flat_map(|r| &r.scope_spans).flat_map(|scope| &scope.spans)
    }

    #[test]
    fn a_trace_ends_now_and_its_spans_lie_within_their_parents() {
        let all = resource_spans();
        let now = u64::try_from(NOW.as_nanos()).unwrap();
        for span in spans(&all) {
            assert!(span.start_time_unix_nano < span.end_time_unix_nano, "{}", span.name);
            if span.parent_span_id.is_empty() {
                assert_eq!(span.end_time_unix_nano, now, "{}", span.name);
                continue;
            }
            let parent = spans(&all).find(|other| other.span_id == span.parent_span_id).unwrap();
            assert_eq!(parent.trace_id, span.trace_id);
            assert!(parent.start_time_unix_nano <= span.start_time_unix_nano, "{}", span.name);
            assert!(span.end_time_unix_nano <= parent.end_time_unix_nano, "{}", span.name);
        }
    }

    #[test]
    fn ids_are_there_once() {
        let all = resource_spans();
        let ids: BTreeSet<_> = spans(&all).map(|span| &span.span_id).collect();
        assert_eq!(ids.len(), spans(&all).count());
    }

    #[test]
    fn the_conventions_are_those_of_the_service() {
        let all = resource_spans();
        let keys = |service: &str| -> BTreeSet<&str> {
            let is_its = |r: &&ResourceSpans| {
                let attributes = &r.resource.as_ref().unwrap().attributes;
                let name = attributes.iter().find(|a| a.key == "service.name").unwrap();
                let name = name.value.clone().unwrap().value.unwrap();
                name == Value::StringValue(service.to_owned())
            };
            let scopes = all.iter().filter(is_its).flat_map(|r| &r.scope_spans);
            let spans = scopes.flat_map(|scope| &scope.spans);
            spans.flat_map(|span| &span.attributes).map(|a| a.key.as_str()).collect()
        };
        let (old, new) = (keys("inventory"), keys("catalog"));
        for (was, is) in [
            ("http.method", "http.request.method"),
            ("http.status_code", "http.response.status_code"),
            ("db.system", "db.system.name"),
            ("net.peer.name", "server.address"),
        ] {
            assert!(old.contains(was) && !old.contains(is), "{old:?}");
            assert!(new.contains(is) && !new.contains(was), "{new:?}");
        }
    }

    #[test]
    fn a_weight_is_a_threshold() {
        assert_eq!([1, 2, 4, 16].map(trace_state), ["", "ot=th:8", "ot=th:c", "ot=th:f"]);
    }
}
