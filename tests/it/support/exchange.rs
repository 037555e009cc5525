//! One request to the running program over any protocol and encoding: its answer, and what the program's
//! own metrics say of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::process::{Config, Spanmill};
use super::send::{Answer, Encoding, Protocol, Sender};
use super::{http, otlp_json};

pub(crate) const SECOND: u64 = 1_000_000_000;
const PROCESSORS: [&str; 2] = ["span-metrics", "host-info"];

pub(crate) async fn start(set: &[&str]) -> Spanmill {
    let config = Config {
        collection_interval: "10m",
        run: "bad-input".to_owned(),
        remote_write: Vec::new(),
    };
    let both = "processors.enabled=[span-metrics, host-info]";
    Spanmill::start_with(&config, &[&[both], set].concat()).await
}

/// The own metrics, by series as they are written.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) async fn of(spanmill: &Spanmill) -> Self {
        let answer = http::get(spanmill.ports.admin, "/metrics").await.expect("an answer");
        let lines = answer.text();
        let samples = lines.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            (series.to_owned(), value.parse().expect("a number"))
        };
        Self(samples.map(sample).collect())
    }

    /// Sum of a metric's series that have all these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &str, (label, value): &(&str, &str)| {
            series.contains(&format!("{label}=\"{value}\""))
        };
        let of_name = self.0.iter().filter(|(series, _)| {
            series.split('{').next() == Some(name) && labels.iter().all(|label| has(series, label))
        });
        of_name.map(|(_, value)| value).sum()
    }

    fn spans(&self, what: &str, labels: &[(&str, &str)]) -> f64 {
        self.sum(&format!("spanmill_spans_{what}_total"), labels)
    }
}

/// What was put right, and on how many spans.
pub(crate) type Repairs = &'static [(&'static str, u32)];

/// What one request adds to the metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counted {
    pub(crate) received: u32,
    pub(crate) outside_window: u32,
    /// By the span metrics; host info has no filters.
    pub(crate) filtered: u32,
    pub(crate) repaired: Repairs,
}

const REPAIRS: [&str; 5] = ["utf8", "ids", "duration", "multiplier", "label_length"];

pub(crate) fn assert_counted(what: &str, before: &Metrics, after: &Metrics, counted: &Counted) {
    let added = |name: &str, labels: &[(&str, &str)]| {
        after.spans(name, labels) - before.spans(name, labels)
    };
    let received = f64::from(counted.received);
    assert_eq!(added("received", &[]), received, "{what}: received");
    for processor in PROCESSORS {
        let of = ("processor", processor);
        let outside = added("discarded", &[of, ("reason", "outside_time_window")]);
        assert_eq!(outside, f64::from(counted.outside_window), "{what}: outside, {processor}");
        let (n, discarded) = (added("counted", &[of]), added("discarded", &[of]));
        assert_eq!(received, n + discarded, "{what}: conservation, {processor}");
    }
    let filtered = added("discarded", &[("processor", "span-metrics"), ("reason", "filtered")]);
    assert_eq!(filtered, f64::from(counted.filtered), "{what}: filtered");
    for name in REPAIRS {
        let expected = counted.repaired.iter().find(|(n, _)| *n == name).map_or(0, |(_, n)| *n);
        let found = added("repaired", &[("what", name)]);
        assert_eq!(found, f64::from(expected), "{what}: repaired {name}");
    }
}

fn protocol_label(protocol: Protocol) -> &'static str {
    if protocol == Protocol::Grpc { "grpc" } else { "http" }
}

/// Where a protocol is spoken.
pub(crate) fn addr_of(spanmill: &Spanmill, protocol: Protocol) -> SocketAddr {
    if protocol == Protocol::Grpc { spanmill.ports.grpc } else { spanmill.ports.http }
}

/// Sends one body and holds the answer and the metrics against what is expected.
pub(crate) async fn exchange(
    spanmill: &Spanmill,
    sent: (Protocol, Encoding),
    body: &Bytes,
    result: &str,
    counted: &Counted,
) -> Answer {
    let sender = Sender::connect(addr_of(spanmill, sent.0), sent.0, sent.1).await;
    let what = format!("{sent:?} {result}");
    exchange_by(spanmill, (sender, sent.0), body, (&what, result), counted).await
}

/// The same with a sender of the caller's own; `what` goes before each failure.
pub(crate) async fn exchange_by(
    spanmill: &Spanmill,
    (mut sender, protocol): (Sender, Protocol),
    body: &Bytes,
    (what, result): (&str, &str),
    counted: &Counted,
) -> Answer {
    let before = Metrics::of(spanmill).await;
    let answer = sender.send(body).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let after = Metrics::of(spanmill).await;
    assert_counted(what, &before, &after, counted);

    let label = ("protocol", protocol_label(protocol));
    let added = |name: &str, more: &[(&str, &str)]| {
        let labels = [&[label], more].concat();
        after.sum(name, &labels) - before.sum(name, &labels)
    };
    let refused = !matches!(result, "ok" | "partial");
    let group = if refused { "refused" } else { result };
    let requests = "spanmill_requests_total";
    assert_eq!(added(requests, &[("result", group)]), 1.0, "{what}: {answer:?}");
    assert_eq!(added(requests, &[]), 1.0, "{what}: counted once");
    // Under one reason and no other.
    let (n, reasons) = (f64::from(u8::from(refused)), "spanmill_requests_refused_total");
    assert_eq!(added(reasons, &[("reason", result)]), n, "{what}: {answer:?}");
    assert_eq!(added(reasons, &[]), n, "{what}: one reason");
    answer
}

/// HTTP's status, or gRPC's.
pub(crate) fn assert_answer(answer: &Answer, protocol: Protocol, http: u16, grpc: &str) {
    if protocol == Protocol::Grpc {
        let found = (answer.status, answer.grpc_status.as_deref());
        assert_eq!(found, (200, Some(grpc)), "{answer:?}");
    } else {
        assert_eq!(answer.status, http, "{protocol:?}: {answer:?}");
    }
}

// ---- requests

pub(crate) fn now_nano() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the program under test lives by the wall clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_nanos()).expect("before 2500")
}

pub(crate) fn span() -> Span {
    let end = now_nano();
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "operation".to_owned(),
        start_time_unix_nano: end - SECOND,
        end_time_unix_nano: end,
        ..Span::default()
    }
}

pub(crate) fn request(spans: Vec<Span>) -> Request {
    let resource = Some(Resource {
        attributes: vec![KeyValue {
            key: "service.name".to_owned(),
            value: Some(AnyValue { value: Some(Any::StringValue("cart".to_owned())) }),
            ..KeyValue::default()
        }],
        ..Resource::default()
    });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let spans = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    Request { resource_spans: vec![spans] }
}

pub(crate) fn body(protocol: Protocol, request: &Request) -> Bytes {
    match protocol {
        Protocol::HttpJson => otlp_json::write(request).into(),
        Protocol::Grpc | Protocol::HttpProtobuf => request.encode_to_vec().into(),
    }
}

/// A length-delimited field.
pub(crate) fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

/// A request of one span that is made of these bytes.
pub(crate) fn around_span(span: &[u8]) -> Bytes {
    field(1, &field(2, &field(2, span))).into()
}
