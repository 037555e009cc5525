//! Odd and broken requests to the running program, over every protocol: the answer, what its own
//! metrics counted, and that no span is lost between them.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest as Request, ExportTraceServiceResponse as Response,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use crate::support::process::{Config, Spanmill};
use crate::support::send::{Answer, Encoding, Protocol, Sender};
use crate::support::{http, otlp_json};

const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson];
const SECOND: u64 = 1_000_000_000;
const PROCESSORS: [&str; 2] = ["span-metrics", "host-info"];

// ---- the program and its metrics

async fn start(set: &[&str]) -> Spanmill {
    let config = Config {
        collection_interval: "10m",
        run: "bad-input".to_owned(),
        remote_write: Vec::new(),
    };
    let both = "processors.enabled=[span-metrics, host-info]";
    Spanmill::start_with(&config, &[&[both], set].concat()).await
}

/// The own metrics, by series as they are written.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    async fn of(spanmill: &Spanmill) -> Self {
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
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
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
type Repairs = &'static [(&'static str, u32)];

/// What one request adds to the metrics.
#[derive(Debug, Clone, Default, PartialEq)]
struct Counted {
    received: u32,
    outside_window: u32,
    /// By the span metrics; host info has no filters.
    filtered: u32,
    repaired: Repairs,
}

const REPAIRS: [&str; 5] = ["utf8", "ids", "duration", "multiplier", "label_length"];

fn assert_counted(what: &str, before: &Metrics, after: &Metrics, counted: &Counted) {
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

/// Sends one body and holds the answer and the metrics against what is expected.
async fn exchange(
    spanmill: &Spanmill,
    sent: (Protocol, Encoding),
    body: &Bytes,
    result: &str,
    counted: &Counted,
) -> Answer {
    let (protocol, encoding) = sent;
    let what = format!("{protocol:?} {encoding:?} {result}");
    let addr = if protocol == Protocol::Grpc { spanmill.ports.grpc } else { spanmill.ports.http };
    let before = Metrics::of(spanmill).await;
    let mut sender = Sender::connect(addr, protocol, encoding).await;
    let answer = sender.send(body).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let after = Metrics::of(spanmill).await;
    assert_counted(&what, &before, &after, counted);

    let of = ("protocol", protocol_label(protocol));
    let added = |name: &str, label| after.sum(name, &[of, label]) - before.sum(name, &[of, label]);
    let refused = !matches!(result, "ok" | "partial");
    let group = if refused { "refused" } else { result };
    assert_eq!(added("spanmill_requests_total", ("result", group)), 1.0, "{what}: {answer:?}");
    if refused {
        let reason = ("reason", result);
        assert_eq!(added("spanmill_requests_refused_total", reason), 1.0, "{what}: {answer:?}");
    }
    answer
}

/// HTTP's status, or gRPC's.
fn assert_answer(answer: &Answer, protocol: Protocol, http: u16, grpc: &str) {
    if protocol == Protocol::Grpc {
        let found = (answer.status, answer.grpc_status.as_deref());
        assert_eq!(found, (200, Some(grpc)), "{answer:?}");
    } else {
        assert_eq!(answer.status, http, "{protocol:?}: {answer:?}");
    }
}

// ---- requests

fn now_nano() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the program under test lives by the wall clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_nanos()).expect("before 2500")
}

fn span() -> Span {
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

fn request(spans: Vec<Span>) -> Request {
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

fn body(protocol: Protocol, request: &Request) -> Bytes {
    match protocol {
        Protocol::HttpJson => otlp_json::write(request).into(),
        Protocol::Grpc | Protocol::HttpProtobuf => request.encode_to_vec().into(),
    }
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

/// A request of one span that is made of these bytes.
fn around_span(span: &[u8]) -> Bytes {
    field(1, &field(2, &field(2, span))).into()
}

fn all_encodings() -> impl Iterator<Item = (Protocol, Encoding)> {
    PROTOCOLS.into_iter().flat_map(|p| Encoding::ALL.map(|e| (p, e)))
}

// ---- what is taken

#[tokio::test]
async fn odd_spans_are_taken_and_what_was_odd_is_counted() {
    let spanmill = start(&[]).await;
    let no_resource = |mut request: Request| {
        request.resource_spans[0].resource = None;
        request
    };
    let no_value = KeyValue { key: "k".to_owned(), ..KeyValue::default() };
    let early = Span { start_time_unix_nano: now_nano() + 60 * SECOND, ..span() };
    let zero_ids = Span { trace_id: vec![0; 16], span_id: vec![0; 8], ..span() };
    let no_ids = Span { trace_id: Vec::new(), span_id: Vec::new(), ..span() };
    let cases: [(Request, Repairs, u32); 7] = [
        (request(vec![span()]), &[], 1),
        (request(vec![zero_ids, no_ids, span()]), &[("ids", 2)], 3),
        (no_resource(request(vec![span()])), &[], 1),
        (request(vec![early]), &[("duration", 1)], 1),
        (request(vec![Span { attributes: vec![no_value], ..span() }]), &[], 1),
        (request(vec![Span { kind: 99, ..span() }]), &[], 1),
        (Request::default(), &[], 0),
    ];
    for sent in all_encodings() {
        for (request, repaired, received) in &cases {
            let counted = Counted { received: *received, repaired, ..Counted::default() };
            let answer = exchange(&spanmill, sent, &body(sent.0, request), "ok", &counted).await;
            assert!(answer.is_ok(), "{sent:?}: {answer:?}");
        }
    }
    spanmill.stop().await;
}

#[tokio::test]
async fn an_empty_body_is_a_request_without_spans() {
    let spanmill = start(&[]).await;
    for sent in all_encodings() {
        let answer = exchange(&spanmill, sent, &Bytes::new(), "ok", &Counted::default()).await;
        assert!(answer.is_ok(), "{sent:?}: {answer:?}");
    }
    spanmill.stop().await;
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_repaired_and_counted() {
    let spanmill = start(&[]).await;
    for sent in all_encodings() {
        let mut bytes = body(sent.0, &request(vec![span()])).to_vec();
        let at = bytes.windows(9).position(|w| w == b"operation").expect("the name is there");
        bytes[at] = 0xff;
        let repaired = &[("utf8", 1)];
        let counted = Counted { received: 1, repaired, ..Counted::default() };
        assert!(exchange(&spanmill, sent, &bytes.into(), "ok", &counted).await.is_ok());
    }
    spanmill.stop().await;
}

#[tokio::test]
async fn spans_outside_the_window_are_a_partial_success_without_rejected_spans() {
    let spanmill = start(&["processors.ingestion_time_range_slack=1h"]).await;
    let at = |nano| Span { start_time_unix_nano: nano, end_time_unix_nano: nano, ..span() };
    let now = now_nano();
    let day = 86_400 * SECOND;
    let spans = vec![span(), at(now - day), at(now + day), at(u64::MAX), span()];
    let counted = Counted { received: 5, outside_window: 3, ..Counted::default() };
    for sent in all_encodings() {
        let body = body(sent.0, &request(spans.clone()));
        let answer = exchange(&spanmill, sent, &body, "partial", &counted).await;
        assert_answer(&answer, sent.0, 200, "0");
        let (rejected, message) = if sent.0 == Protocol::HttpJson {
            let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            let partial = &json["partialSuccess"];
            let rejected = &partial["rejectedSpans"];
            let zero = rejected.is_null() || *rejected == 0 || *rejected == "0";
            let message = partial["errorMessage"].as_str().unwrap_or_default();
            (i64::from(!zero), message.to_owned())
        } else {
            let response = Response::decode(answer.body.clone()).expect("a response");
            let partial = response.partial_success.unwrap_or_default();
            (partial.rejected_spans, partial.error_message)
        };
        assert_eq!(rejected, 0, "{sent:?}");
        assert!(
            message.contains('3') && message.contains("ingestion_time_range_slack"),
            "{sent:?}: {message}"
        );
    }
    spanmill.stop().await;
}

#[tokio::test]
async fn filtered_spans_are_answered_ok_and_counted_as_discarded() {
    let policy = "processors.span_metrics.filter_policies=\
        [{exclude: {match_type: regex, attributes: [{key: name, value: ^operation$}]}}]";
    let spanmill = start(&[policy]).await;
    let spans = vec![span(), Span { name: "other".to_owned(), ..span() }, span()];
    let counted = Counted { received: 3, filtered: 2, ..Counted::default() };
    for sent in all_encodings() {
        let body = body(sent.0, &request(spans.clone()));
        assert!(exchange(&spanmill, sent, &body, "ok", &counted).await.is_ok());
    }
    spanmill.stop().await;
}

// ---- what is refused

#[tokio::test]
async fn a_cut_off_body_is_refused_whole_wherever_it_is_cut() {
    let spanmill = start(&[]).await;
    let request = request(vec![span(); 3]);
    for sent in all_encodings() {
        let whole = body(sent.0, &request);
        // At 0 it would be an empty request.
        for len in [1, 2, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let cut = whole.slice(..len);
            let nothing = Counted::default();
            let answer = exchange(&spanmill, sent, &cut, "undecodable", &nothing).await;
            assert_answer(&answer, sent.0, 400, "3");
        }
    }
    spanmill.stop().await;
}

#[tokio::test]
async fn more_than_a_hundred_thousand_spans_are_refused_whole() {
    let spanmill = start(&[]).await;
    let most = request(vec![Span { name: "s".to_owned(), ..Span::default() }; 100_000]);
    let mut more = most.clone();
    more.resource_spans.push(request(vec![span()]).resource_spans.remove(0));
    for protocol in PROTOCOLS {
        let sent = (protocol, Encoding::Gzip);
        let repaired = &[("ids", 100_000), ("duration", 100_000)];
        let counted = Counted { received: 100_000, repaired, ..Counted::default() };
        assert!(exchange(&spanmill, sent, &body(protocol, &most), "ok", &counted).await.is_ok());
        let nothing = Counted::default();
        let more = body(protocol, &more);
        let answer = exchange(&spanmill, sent, &more, "too_large", &nothing).await;
        assert_answer(&answer, protocol, 413, "8");
    }
    spanmill.stop().await;
}

// ---- what is enormous

/// In JSON the depth of values that are written is limited; in protobuf it is not even looked at.
#[tokio::test]
async fn a_value_a_million_deep_is_stepped_over_in_protobuf_and_refused_as_json() {
    const DEPTH: usize = 1_000_000;
    let spanmill = start(&["processors.span_metrics.dimensions=[k]"]).await;
    let mut backwards = Vec::new();
    let mut wrap = |number: u8, before: &[u8]| {
        let mut head = vec![number << 3 | 2];
        prost::encoding::encode_varint((before.len() + backwards.len()) as u64, &mut head);
        backwards.extend(before.iter().rev());
        backwards.extend(head.iter().rev());
    };
    for _ in 0..DEPTH {
        wrap(1, b"");
        wrap(5, b"");
    }
    wrap(2, b"");
    wrap(9, b"\x0a\x01k");
    backwards.reverse();
    let protobuf = around_span(&backwards);
    let opening = r#"{"arrayValue":{"values":["#.repeat(DEPTH);
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{{"key":"k","value":{opening}"#
    );
    for protocol in PROTOCOLS {
        let sent = (protocol, Encoding::Gzip);
        if protocol == Protocol::HttpJson {
            let (body, nothing) = (Bytes::from(json.clone()), Counted::default());
            let answer = exchange(&spanmill, sent, &body, "undecodable", &nothing).await;
            assert_answer(&answer, protocol, 400, "3");
        } else {
            let repaired = &[("ids", 1), ("duration", 1)];
            let counted = Counted { received: 1, repaired, ..Counted::default() };
            assert!(exchange(&spanmill, sent, &protobuf, "ok", &counted).await.is_ok());
        }
    }
    spanmill.stop().await;
}

#[tokio::test]
async fn ten_million_empty_attributes_are_one_span() {
    const N: usize = 10_000_000;
    let spanmill = start(&["processors.span_metrics.dimensions=[k]"]).await;
    let protobuf = around_span(&b"\x4a\x00".repeat(N));
    let attributes = format!("{}{{}}", "{},".repeat(N - 1));
    let json = Bytes::from(format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{attributes}]}}]}}]}}]}}"#
    ));
    assert!(protobuf.len() < 64 << 20 && json.len() < 64 << 20);
    for protocol in PROTOCOLS {
        let body = if protocol == Protocol::HttpJson { &json } else { &protobuf };
        let repaired = &[("ids", 1), ("duration", 1)];
        let counted = Counted { received: 1, repaired, ..Counted::default() };
        let sent = (protocol, Encoding::Gzip);
        assert!(exchange(&spanmill, sent, body, "ok", &counted).await.is_ok());
    }
    // Of a resource the same.
    let resource = field(1, &b"\x0a\x00".repeat(N));
    let body = Bytes::from(field(1, &[resource, field(2, &field(2, b""))].concat()));
    let repaired = &[("ids", 1), ("duration", 1)];
    let counted = Counted { received: 1, repaired, ..Counted::default() };
    let sent = (Protocol::Grpc, Encoding::Zstd);
    assert!(exchange(&spanmill, sent, &body, "ok", &counted).await.is_ok());
    spanmill.stop().await;
}

#[tokio::test]
async fn the_next_request_is_served_after_each_bad_one() {
    let spanmill = start(&[]).await;
    let good = request(vec![span()]);
    for sent in all_encodings() {
        let bad = Bytes::from_static(b"{\xff\xff\xff\xff\xff\xff\xff");
        exchange(&spanmill, sent, &bad, "undecodable", &Counted::default()).await;
        let counted = Counted { received: 1, ..Counted::default() };
        exchange(&spanmill, sent, &body(sent.0, &good), "ok", &counted).await;
    }
    spanmill.stop().await;
}
