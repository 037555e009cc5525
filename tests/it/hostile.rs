//! Odd, broken and hostile requests to the running program, over every protocol and in every encoding: the
//! answer, what its own metrics counted, that no span is lost between them, and that the next request is
//! served.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest as Request, ExportTraceServiceResponse as Response,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::exchange::{
    Counted, Metrics, Repairs, SECOND, addr_of, around_span, assert_answer, body, exchange,
    exchange_by, field, now_nano, request, span, start,
};
use crate::support::process::Spanmill;
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::wait;

const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson];

fn all_encodings() -> impl Iterator<Item = (Protocol, Encoding)> {
    PROTOCOLS.into_iter().flat_map(|p| Encoding::ALL.map(|e| (p, e)))
}

// ---- the table

/// What is sent, and what is to come of it: as protobuf, and what corresponds to it in JSON.
struct Row {
    input: &'static str,
    protobuf: (Bytes, Expected),
    json: (Bytes, Expected),
}

#[derive(Debug, Clone)]
struct Expected {
    http: u16,
    grpc: &'static str,
    /// `ok`, `partial`, or why the request is refused.
    result: &'static str,
    counted: Counted,
}

fn taken(received: u32, repaired: Repairs) -> Expected {
    let counted = Counted { received, repaired, ..Counted::default() };
    Expected { http: 200, grpc: "0", result: "ok", counted }
}

fn partial(received: u32, outside_window: u32) -> Expected {
    let counted = Counted { received, outside_window, ..Counted::default() };
    Expected { http: 200, grpc: "0", result: "partial", counted }
}

fn undecodable() -> Expected {
    Expected { http: 400, grpc: "3", result: "undecodable", counted: Counted::default() }
}

fn too_large() -> Expected {
    Expected { http: 413, grpc: "8", result: "too_large", counted: Counted::default() }
}

/// The same request in both forms.
fn row(input: &'static str, request: &Request, expected: Expected) -> Row {
    let protobuf = body(Protocol::HttpProtobuf, request);
    let json = body(Protocol::HttpJson, request);
    Row { input, protobuf: (protobuf, expected.clone()), json: (json, expected) }
}

fn spans(input: &'static str, spans: Vec<Span>, expected: Expected) -> Row {
    row(input, &request(spans), expected)
}

/// One span with one attribute.
fn with_value(input: &'static str, key: &str, value: Any, expected: Expected) -> Row {
    let attributes = vec![attribute(key, Some(AnyValue { value: Some(value) }))];
    spans(input, vec![Span { attributes, ..span() }], expected)
}

fn attribute(key: &str, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Any::StringValue(text.to_owned())) })
}

fn raw(input: &'static str, protobuf: (Bytes, Expected), json: (&str, Expected)) -> Row {
    Row { input, protobuf, json: (Bytes::copy_from_slice(json.0.as_bytes()), json.1) }
}

/// JSON of one span with these fields besides what an ordinary one has.
fn json_span(fields: &str) -> String {
    let end = now_nano();
    let start = end - SECOND;
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{}","spanId":"{}","startTimeUnixNano":"{start}","endTimeUnixNano":"{end}",{fields}}}]}}]}}]}}"#,
        "01".repeat(16),
        "02".repeat(8),
    )
}

/// A byte of a text is replaced by one that is no text.
fn no_text(input: &'static str, span: Span, byte_of: &[u8], repaired: Repairs) -> Row {
    let request = request(vec![span]);
    let broken = |protocol| {
        let mut bytes = body(protocol, &request).to_vec();
        let at = bytes.windows(byte_of.len()).position(|w| w == byte_of).expect("it is there");
        bytes[at] = 0xff;
        (Bytes::from(bytes), taken(1, repaired))
    };
    Row { input, protobuf: broken(Protocol::HttpProtobuf), json: broken(Protocol::HttpJson) }
}

/// Arrays in each other, in the attribute `k` of one span.
fn deep(input: &'static str, depth: usize) -> Row {
    let mut backwards = Vec::new();
    let mut wrap = |number: u8, before: &[u8]| {
        let mut head = vec![number << 3 | 2];
        prost::encoding::encode_varint((before.len() + backwards.len()) as u64, &mut head);
        backwards.extend(before.iter().rev());
        backwards.extend(head.iter().rev());
    };
    for _ in 0..depth {
        wrap(1, b"");
        wrap(5, b"");
    }
    wrap(2, b"");
    wrap(9, b"\x0a\x01k");
    backwards.reverse();
    let span = [span().encode_to_vec(), backwards].concat();
    // As many as a body may hold uncompressed.
    let opening = r#"{"arrayValue":{"values":["#.repeat(depth.min(600_000));
    let json = json_span(&format!(r#""attributes":[{{"key":"k","value":{opening}"#));
    // In JSON the depth of values that are written is limited; in protobuf it is not even looked at.
    raw(input, (around_span(&span), taken(1, &[])), (&json, undecodable()))
}

fn of_ids() -> Vec<Row> {
    let ids =
        |trace: usize, id: usize| Span { trace_id: vec![1; trace], span_id: vec![2; id], ..span() };
    let zeros = Span { trace_id: vec![0; 16], span_id: vec![0; 8], ..span() };
    let odd = || taken(1, &[("ids", 1)]);
    vec![
        spans("ids of zeros", vec![zeros], odd()),
        spans("a short trace id", vec![ids(8, 8)], odd()),
        spans("a trace id of 32 bytes", vec![ids(32, 8)], odd()),
        spans("no trace id", vec![ids(0, 8)], odd()),
        spans("no span id", vec![ids(16, 0)], odd()),
    ]
}

fn of_times() -> Vec<Row> {
    let at = |start, end| Span { start_time_unix_nano: start, end_time_unix_nano: end, ..span() };
    let now = now_nano();
    let year_2100 = 4_102_444_800 * SECOND;
    let odd = || taken(1, &[("duration", 1)]);
    vec![
        spans("an end before the start", vec![at(now + 60 * SECOND, now)], odd()),
        spans("no start", vec![at(0, now)], odd()),
        spans("an end in 1970", vec![at(1, SECOND), span()], partial(2, 1)),
        spans("no end", vec![at(0, 0)], partial(1, 1)),
        spans("an end in 2100", vec![at(now, year_2100), span()], partial(2, 1)),
        spans("an end at the end of time", vec![at(now, u64::MAX), span()], partial(2, 1)),
    ]
}

fn of_ratios() -> Vec<Row> {
    let odd = || taken(1, &[("multiplier", 1)]);
    let of = |input, ratio| with_value(input, "ratio", Any::DoubleValue(ratio), odd());
    vec![
        of("a sampling ratio of NaN", f64::NAN),
        of("an infinite sampling ratio", f64::INFINITY),
        of("a denormal sampling ratio", 5e-324),
        of("a negative sampling ratio", -1.0),
        with_value("a ratio that is no number", "ratio", Any::BoolValue(true), odd()),
        with_value("a sampling ratio", "ratio", Any::StringValue("0.25".to_owned()), taken(1, &[])),
    ]
}

fn of_attributes() -> Vec<Row> {
    let twice = vec![attribute("k", text("first")), attribute("k", text("second"))];
    let no_value = vec![attribute("k", None), attribute("", text("x"))];
    let values = vec![AnyValue { value: Some(Any::StringValue("x".repeat(8))) }; 50_000];
    let odd_labels = ["le", "__name__", "k"].map(|key| attribute(key, text("a\nb\0\"c\\")));
    let with = |attributes| vec![Span { attributes, ..span() }];
    let unused = Span { attributes: vec![attribute("unused", text("operator"))], ..span() };
    let unused = Span { name: "o".to_owned(), ..unused };
    let long = || taken(1, &[("label_length", 1)]);
    let array = Any::ArrayValue(ArrayValue { values });
    vec![
        no_text("a name that is no text", span(), b"operation", &[("utf8", 1)]),
        no_text("an unused attribute that is no text", unused, b"operator", &[]),
        spans("an attribute without a value, one without a key", with(no_value), taken(1, &[])),
        spans("one key twice", with(twice), taken(1, &[])),
        spans("values with newlines, quotes and zeros", with(odd_labels.to_vec()), taken(1, &[])),
        with_value("a value of 10 KB", "k", Any::StringValue("x".repeat(10_000)), long()),
        with_value("an array of 50,000 texts", "k", array, long()),
        deep("a value 100,000 deep", 100_000),
        deep("a value a million deep", 1_000_000),
    ]
}

/// What only JSON can say, and what corresponds to it in protobuf.
fn of_json() -> Vec<Row> {
    let good = |more: &[u8]| around_span(&[&span().encode_to_vec()[..], more].concat());
    let skipped = |more| (good(more), taken(1, &[]));
    let broken = |more| (good(more), undecodable());
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    vec![
        raw(
            "an id that is no hex; an id of another wire type",
            broken(&[8, 1]),
            (&json_span(r#""parentSpanId":"xyz""#), undecodable()),
        ),
        raw(
            "an id in base64; a length that runs past the end",
            broken(&[0x2a, 99]),
            (&json_span(r#""parentSpanId":"AgICAgICAgI=""#), undecodable()),
        ),
        raw(
            "integers as text and as numbers; a kind in two pieces",
            skipped(&[0x30, 1, 0x30, 2]),
            (&json_span(r#""kind":"2","flags":"1","droppedEventsCount":3"#), taken(1, &[])),
        ),
        raw(
            "unknown fields",
            skipped(&[0xfa, 7, 1, 0]),
            (&json_span(r#""later":{"a":[1,"x",null]},"":0"#), taken(1, &[])),
        ),
        raw(
            "an unknown field a million deep; groups too deep",
            broken(&[0xfb, 7].repeat(1_000_000)),
            (&json_span(&format!(r#""later":{deep}"#)), taken(1, &[])),
        ),
        raw(
            "a text where a message is; a varint that does not end",
            broken(&[0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            (&json_span(r#""status":"failed""#), undecodable()),
        ),
        raw(
            "two texts; a field with the number 0",
            broken(&[2, 0]),
            (&(json_span(r#""name":"x""#) + "{}"), undecodable()),
        ),
    ]
}

fn rows() -> Vec<Row> {
    let mut no_resource = request(vec![span()]);
    no_resource.resource_spans[0].resource = None;
    let status = Some(Status { code: 77, ..Status::default() });
    let odd_enums = Span { kind: 99, status, ..span() };
    let garbage = Bytes::from_static(b"{\xff\xff\xff\xff\xff\xff\xff");
    let mut rows = vec![
        spans("an ordinary span", vec![span()], taken(1, &[])),
        row("no spans", &Request::default(), taken(0, &[])),
        raw("nothing at all", (Bytes::new(), taken(0, &[])), ("", taken(0, &[]))),
        Row {
            input: "garbage",
            protobuf: (garbage.clone(), undecodable()),
            json: (garbage, undecodable()),
        },
        row("no resource", &no_resource, taken(1, &[])),
        spans("a kind and a status that nobody knows", vec![odd_enums], taken(1, &[])),
    ];
    let others = [of_ids(), of_times(), of_ratios(), of_attributes(), of_json()];
    rows.extend(others.into_iter().flatten());
    rows
}

/// What the table is held against: the limits that the program has by default.
const SETTINGS: [&str; 5] = [
    "receivers.otlp.max_wire_bytes=16MiB",
    "receivers.otlp.max_inflated_bytes=64MiB",
    "processors.ingestion_time_range_slack=1h",
    "processors.span_metrics.dimensions=[k, le, __name__]",
    "processors.span_metrics.span_multiplier_key=ratio",
];

/// After each, an ordinary request over the same protocol.
#[tokio::test]
async fn every_row_has_its_answer_and_moves_its_own_metrics() {
    let spanmill = start(&SETTINGS).await;
    for Row { input, protobuf, json } in rows() {
        for sent in all_encodings() {
            let (body, expected) = if sent.0 == Protocol::HttpJson { &json } else { &protobuf };
            hold(&spanmill, input, sent, body, expected).await;
        }
    }
    spanmill.stop().await;
}

async fn hold(
    spanmill: &Spanmill,
    input: &str,
    sent: (Protocol, Encoding),
    bytes: &Bytes,
    expected: &Expected,
) {
    let sender = async || Sender::connect(addr_of(spanmill, sent.0), sent.0, sent.1).await;
    let Expected { http, grpc, result, counted } = expected;
    let what = format!("{input}, {sent:?}, {result}");
    let by = (sender().await, sent.0);
    let answer = exchange_by(spanmill, by, bytes, (&what, result), counted).await;
    let seen = format!("{what}: {answer:?}");
    let grpc_status = answer.grpc_status.as_deref();
    if sent.0 == Protocol::Grpc {
        assert_eq!((answer.status, grpc_status), (200, Some(*grpc)), "{seen}");
    } else {
        assert_eq!(answer.status, *http, "{seen}");
    }
    assert_eq!(answer.is_ok(), *result == "ok", "{seen}");
    let ordinary = body(sent.0, &request(vec![span()]));
    let what = format!("after {what}");
    let by = (sender().await, sent.0);
    exchange_by(spanmill, by, &ordinary, (&what, "ok"), &taken(1, &[]).counted).await;
}

/// What inflates is refused while it inflates, and what does not by its length.
#[tokio::test]
async fn bombs_are_refused_in_every_encoding() {
    let spanmill = start(&SETTINGS).await;
    let zeros = Bytes::from(vec![b' '; 200 << 20]);
    for sent in all_encodings() {
        let bomb =
            if sent.1 == Encoding::Identity { zeros.slice(..17 << 20) } else { zeros.clone() };
        hold(&spanmill, "a bomb", sent, &bomb, &too_large()).await;
    }
    spanmill.stop().await;
}

/// A compressed body that is cut, and one that is none.
#[tokio::test]
async fn broken_compression_is_undecodable() {
    let spanmill = start(&SETTINGS).await;
    for protocol in PROTOCOLS {
        let ordinary = body(protocol, &request(vec![span()]));
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let encoded = encoding.encode(&ordinary);
            let bodies = [ordinary.clone(), encoded.slice(..encoded.len() - 5)];
            for bytes in bodies {
                // Sent as it is, and said to be compressed.
                let connected = Sender::connect(addr_of(&spanmill, protocol), protocol, encoding);
                let by = (connected.await.without_encoding(), protocol);
                let what = format!("{protocol:?} {encoding:?} of {} bytes", bytes.len());
                let counted = &undecodable().counted;
                let answer =
                    exchange_by(&spanmill, by, &bytes, (&what, "undecodable"), counted).await;
                assert_answer(&answer, protocol, 400, "3");
            }
        }
    }
    spanmill.stop().await;
}

#[tokio::test]
async fn other_headers_are_refused_by_name() {
    let spanmill = start(&SETTINGS).await;
    let ordinary = |protocol| body(protocol, &request(vec![span()]));
    for (header, value, reason, http, grpc) in [
        ("content-type", &b"text/plain"[..], "media_type", 415, "3"),
        ("content-type", b"application/json; charset=latin1", "media_type", 415, "3"),
        ("content-type", b"application/x-protob\xfcf", "media_type", 415, "3"),
        ("content-encoding", b"br", "encoding", 415, ""),
        ("content-encoding", b"gzip, gzip", "encoding", 415, ""),
        ("content-encoding", b"gz\xefp", "encoding", 415, ""),
        ("grpc-encoding", b"snappy", "encoding", 0, "12"),
        ("grpc-encoding", b"gz\xefp", "encoding", 0, "12"),
    ] {
        for protocol in PROTOCOLS {
            let grpcs = protocol == Protocol::Grpc;
            if (grpcs && grpc.is_empty()) || (!grpcs && http == 0) {
                continue;
            }
            let connected = Sender::connect(addr_of(&spanmill, protocol), protocol, Encoding::Gzip);
            let by = (connected.await.with_instead(header, value), protocol);
            let what = format!("{protocol:?} {header}: {}", String::from_utf8_lossy(value));
            let counted = Counted::default();
            let body = ordinary(protocol);
            let answer = exchange_by(&spanmill, by, &body, (&what, reason), &counted).await;
            if grpcs {
                assert_eq!(answer.grpc_status.as_deref(), Some(grpc), "{what}: {answer:?}");
            } else {
                assert_eq!(answer.status, http, "{what}: {answer:?}");
            }
            let next = Sender::connect(addr_of(&spanmill, protocol), protocol, Encoding::Gzip);
            let by = (next.await, protocol);
            exchange_by(&spanmill, by, &body, (&what, "ok"), &taken(1, &[]).counted).await;
        }
    }
    spanmill.stop().await;
}

// ---- what a row has no room for

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
async fn more_than_fifty_thousand_spans_are_refused_whole() {
    let spanmill = start(&[]).await;
    let most = request(vec![Span { name: "s".to_owned(), ..Span::default() }; 50_000]);
    let mut more = most.clone();
    more.resource_spans.push(request(vec![span()]).resource_spans.remove(0));
    for protocol in PROTOCOLS {
        let sent = (protocol, Encoding::Gzip);
        let repaired = &[("ids", 50_000), ("duration", 50_000)];
        let counted = Counted { received: 50_000, repaired, ..Counted::default() };
        assert!(exchange(&spanmill, sent, &body(protocol, &most), "ok", &counted).await.is_ok());
        let nothing = Counted::default();
        let more = body(protocol, &more);
        let answer = exchange(&spanmill, sent, &more, "too_large", &nothing).await;
        assert_answer(&answer, protocol, 413, "8");
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

// ---- connections that misbehave in the middle of a body

const CHUNKED: &str = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n";

/// The head and a first chunk of a request that is never whole.
async fn begin(spanmill: &Spanmill, media: &str, chunk: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(spanmill.ports.http).await.expect("a connection");
    let head = format!("{CHUNKED}content-type: {media}\r\n\r\n{:x}\r\n", chunk.len());
    stream.write_all(&[head.as_bytes(), chunk, b"\r\n"].concat()).await.expect("it listens");
    stream
}

#[tokio::test]
async fn a_chunked_upload_that_stalls_is_told_so_in_time() {
    let spanmill = start(&["receivers.otlp.body_timeout=300ms"]).await;
    for (protocol, media) in [
        (Protocol::HttpProtobuf, "application/x-protobuf"),
        (Protocol::HttpJson, "application/json"),
    ] {
        let before = Metrics::of(&spanmill).await;
        let whole = body(protocol, &request(vec![span()]));
        let mut stream = begin(&spanmill, media, &whole).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer, then the end");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let after = Metrics::of(&spanmill).await;
        let refused = [("protocol", "http"), ("reason", "timeout")];
        let of = |metrics: &Metrics| metrics.sum("spanmill_requests_refused_total", &refused);
        assert_eq!(of(&after) - of(&before), 1.0);
        assert_eq!(after.sum("spanmill_spans_received_total", &[]), 0.0);
    }
    spanmill.stop().await;
}

/// Whether the body of what was reset was whole spans or not: none of them is counted.
#[tokio::test]
async fn a_connection_that_is_reset_in_the_middle_of_a_body_counts_nothing() {
    let spanmill = start(&[]).await;
    let whole = body(Protocol::HttpProtobuf, &request(vec![span(); 100]));
    for bytes in [&whole[..], &whole[..whole.len() / 2], b""] {
        let stream = begin(&spanmill, "application/x-protobuf", bytes).await;
        let seen = async || {
            let received = [("protocol", "http"), ("form", "wire")];
            Metrics::of(&spanmill).await.sum("spanmill_received_bytes_total", &received)
        };
        let before = seen().await;
        // With what was sent unread or unacknowledged, closing is a reset.
        stream.set_zero_linger().expect("an option of every socket");
        drop(stream);
        let reset = Duration::from_secs(10);
        if !bytes.is_empty() {
            wait::until("the body to be given up", reset, async || {
                let now = seen().await;
                (now > before).then_some(()).ok_or_else(|| format!("{now} bytes"))
            })
            .await;
        }
    }
    let metrics = Metrics::of(&spanmill).await;
    assert_eq!(metrics.sum("spanmill_spans_received_total", &[]), 0.0);
    let ordinary = body(Protocol::Grpc, &request(vec![span()]));
    for sent in all_encodings() {
        let bytes = if sent.0 == Protocol::HttpJson {
            body(sent.0, &request(vec![span()]))
        } else {
            ordinary.clone()
        };
        exchange(&spanmill, sent, &bytes, "ok", &taken(1, &[]).counted).await;
    }
    spanmill.stop().await;
}
