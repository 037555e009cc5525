//! The receivers: every answer of the table, and what is counted with it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on panics, in its functions too")]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spanmill::clock::Clock;
use spanmill::ledger::{self, Tenants};
use spanmill::receiver::{
    BodyLimits, ConnectionLimits, IngestLimits, Intake, Listeners, Memory, Rulebook, Settings,
    TakeError, TenantRules,
};
use spanmill::stage;
use spanmill::telemetry::Telemetry;
use spanmill::tenant::{ByTenant, TenantId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic_types::StatusExt;

pub(crate) const TRACES: &str = "POST /v1/traces HTTP/1.1\r\nhost: spanmill\r\n";
pub(crate) const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";
pub(crate) const JSON: &str = "content-type: application/json\r\n";
pub(crate) const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

// ---- the service in this process

pub(crate) struct Service {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    telemetry: Telemetry,
    tenants: Arc<Tenants>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

fn settings() -> Settings {
    Settings {
        grpc: Some("127.0.0.1:0".into()),
        http: Some("127.0.0.1:0".into()),
        limits: BodyLimits { max_wire_bytes: 16 << 20, max_inflated_bytes: 64 << 20 },
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(15),
        connections: ConnectionLimits::default(),
        ingest: IngestLimits::default(),
        memory: Memory::default(),
        multitenancy: false,
    }
}

fn intake() -> (Intake, Arc<Tenants>) {
    let settings = stage::Settings {
        processors: stage::Processors {
            calls: true,
            latency: true,
            size: true,
            service_graphs: false,
            host_info: false,
        },
        window: None,
        span_metrics: stage::SpanMetrics {
            histogram_buckets: vec![1.0],
            intrinsic_dimensions: stage::IntrinsicDimensions {
                service: true,
                span_name: true,
                span_kind: true,
                status_code: true,
                status_message: false,
            },
            dimensions: Vec::new(),
            dimension_mappings: Vec::new(),
            enable_target_info: false,
            target_info_excluded_dimensions: Vec::new(),
            enable_instance_label: false,
            multiplier: stage::Multiplier::default(),
            filter_policies: Vec::new(),
        },
        service_graphs: stage::ServiceGraphs::default(),
        host_info: stage::HostInfo {
            host_identifiers: vec!["host.id".into()],
            metric_name: "traces_host_info".into(),
        },
        span_names: stage::SpanNames::default(),
        max_label_name_length: 0,
        max_label_value_length: 0,
    };
    let ledger = ledger::Settings { max_exemplars_per_tick: 0, ..Default::default() };
    let rules = TenantRules {
        plan: stage::Plan::new(&settings, 0).expect("valid settings"),
        ledger: ledger::Rules {
            generation: 0,
            settings: ledger,
            bounds: settings.bounds(),
            made: [true; ledger::Table::ALL.len()],
        },
        ingest: IngestLimits::default(),
    };
    let (created, _) = tokio::sync::mpsc::unbounded_channel();
    let tenants = Arc::new(Tenants::new(0, [0; 4], created));
    let rulebook = Rulebook { epoch: 1, rules: ByTenant::same(rules) };
    (Intake::new(rulebook, Arc::clone(&tenants), Arc::new(Clock::default())), tenants)
}

async fn start() -> Service {
    start_with(|_| {}).await
}

pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Service {
    let mut settings = settings();
    change(&mut settings);
    let listeners = Listeners::bind(&settings).await.expect("port 0 is free");
    let telemetry = Telemetry::new();
    let shutdown = CancellationToken::new();
    let (http, grpc) = (listeners.http_addr().unwrap(), listeners.grpc_addr().unwrap());
    let (intake, tenants) = intake();
    let running = listeners.run(Arc::new(intake), telemetry.clone(), shutdown.clone());
    Service { http, grpc, telemetry, tenants, shutdown, running: tokio::spawn(running) }
}

impl Service {
    /// Sum of a metric's series that have all these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.telemetry.registry.gather();
        let series = families.iter().filter(|f| f.name() == name).flat_map(|f| f.get_metric());
        let matching = series.filter(|m| {
            labels.iter().all(|(name, value)| {
                m.get_label().iter().any(|l| l.name() == *name && l.value() == *value)
            })
        });
        let value = |m: &prometheus::proto::Metric| {
            let count = m.get_histogram().get_sample_count() as f64;
            m.get_counter().get_value() + m.get_gauge().get_value() + count
        };
        matching.map(value).sum()
    }

    /// Spans that were counted, of all tenants.
    pub(crate) fn n_spans(&self) -> u64 {
        self.tenants.all().iter().map(|tenant| tenant.counts().tallies.received).sum()
    }

    fn received(&self, form: &str) -> f64 {
        self.metric("spanmill_received_bytes_total", &[("form", form)])
    }

    /// Exactly this many requests ended so, and no other.
    pub(crate) fn assert_counted(&self, protocol: &str, ok: u32, refused: &[(&str, u32)]) {
        let requests = |result| {
            let labels = [("protocol", protocol), ("result", result)];
            self.metric("spanmill_requests_total", &labels)
        };
        assert_eq!(requests("ok"), f64::from(ok), "{protocol}: ok");
        let n_refused: u32 = refused.iter().map(|(_, n)| n).sum();
        assert_eq!(requests("refused"), f64::from(n_refused), "{protocol}: refused");
        for (reason, n) in refused {
            let labels = [("protocol", protocol), ("reason", *reason)];
            let found = self.metric("spanmill_requests_refused_total", &labels);
            assert_eq!(found, f64::from(*n), "{protocol}: {reason}");
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        within(self.running).await.expect("the receivers don't panic");
    }
}

/// Nothing in these tests may take this long, unless it hangs.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("answered in time")
}

pub(crate) fn request() -> Vec<u8> {
    let spans = vec![Span { name: "GET /".into(), ..Span::default() }; 3];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

// ---- HTTP/1.1, by hand

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ str| line.split_once(": ").map(|(n, _)| n.eq_ignore_ascii_case(name));
        let line = self.head.lines().find(|line| of(line) == Some(true))?;
        line.split_once(": ").map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON answer")
    }

    fn status_message(&self) -> tonic_types::Status {
        tonic_types::Status::decode(&*self.body).expect("a google.rpc.Status")
    }
}

pub(crate) async fn read_answer(stream: &mut TcpStream) -> Answer {
    within(async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer before the end"));
        }
        let head = String::from_utf8(head).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let len = answer.header("content-length").map_or(0, |v| v.parse().unwrap());
        answer.body = vec![0; len];
        stream.read_exact(&mut answer.body).await.unwrap();
        answer
    })
    .await
}

async fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.expect("closed, not reset");
    // HTTP/2 servers speak first.
    assert!(!rest.starts_with(b"HTTP"), "expected no answer, found {rest:?}");
}

pub(crate) async fn send(service: &Service, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(service.http).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

pub(crate) async fn post(service: &Service, headers: &str, body: &[u8]) -> Answer {
    let head = format!("{TRACES}{headers}content-length: {}\r\n\r\n", body.len());
    let mut stream = send(service, &[head.as_bytes(), body].concat()).await;
    read_answer(&mut stream).await
}

// ---- gRPC, by hand over hyper's HTTP/2

pub(crate) type GrpcBody = BoxBody<Bytes, Infallible>;
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag][..], &len, message].concat()
}

/// A body that begins so and never ends.
pub(crate) fn unending(bytes: Vec<u8>) -> GrpcBody {
    let first = tokio_stream::iter([Ok(Frame::data(Bytes::from(bytes)))]);
    BoxBody::new(StreamBody::new(first.chain(tokio_stream::pending())))
}

pub(crate) fn whole(bytes: Vec<u8>) -> GrpcBody {
    BoxBody::new(Full::from(bytes))
}

async fn h2(addr: SocketAddr) -> hyper::client::conn::http2::SendRequest<GrpcBody> {
    let io = TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) struct Called {
    http: u16,
    headers: HeaderMap,
    pub(crate) status: tonic::Status,
    message: Bytes,
}

pub(crate) async fn call(service: &Service, headers: Headers<'_>, body: GrpcBody) -> Called {
    call_path(service, EXPORT, headers, body).await
}

async fn call_path(service: &Service, path: &str, headers: Headers<'_>, body: GrpcBody) -> Called {
    let mut request = Request::post(format!("http://spanmill{path}")).header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    let request = request.body(body).unwrap();
    let answer = within(h2(service.grpc).await.send_request(request)).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = within(body.collect()).await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = tonic::Status::from_header_map(&parts.headers)
        .or_else(|| tonic::Status::from_header_map(&trailers))
        .expect("a grpc-status");
    let message = body.to_bytes();
    Called { http: parts.status.as_u16(), headers: parts.headers, status, message }
}

// ---- what is taken

#[tokio::test]
async fn protobuf_is_taken_in_every_encoding_and_counted() {
    let service = start().await;
    let body = request();
    let (gzipped, zstded) = (gzip(&body), zstd(&body));
    let halves = [gzip(&body[..10]), gzip(&body[10..])].concat();
    let frames = [zstd(&body[..10]), zstd(&body[10..])].concat();
    let cases: [(&str, &[u8]); 6] = [
        ("", &body),
        ("content-encoding: identity\r\n", &body),
        ("content-encoding: GZIP\r\n", &gzipped),
        ("content-encoding: gzip\r\n", &halves),
        ("content-encoding: zstd\r\n", &zstded),
        ("content-encoding: zstd\r\n", &frames),
    ];
    let mut wire = 0;
    for (encoding, bytes) in cases {
        let answer = post(&service, &format!("{PROTOBUF}{encoding}"), bytes).await;
        assert_eq!((answer.status, &*answer.body), (200, &b""[..]), "{encoding}");
        assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
        wire += bytes.len();
    }
    service.assert_counted("http", 6, &[]);
    assert_eq!(service.received("wire"), wire as f64);
    assert_eq!(service.received("inflated"), (6 * body.len()) as f64);
    assert_eq!(service.metric("spanmill_ack_seconds", &[]), 6.0);
    service.stop().await;
}

#[tokio::test]
async fn json_is_taken_under_any_spelling_of_its_media_type() {
    let service = start().await;
    let body = br#"{"resource_spans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_SERVER","traceId":null}]}]}]}"#;
    let types = [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
        "application/json ; Charset=Utf-8; q=1",
    ];
    for media in types {
        let answer = post(&service, &format!("content-type: {media}\r\n"), body).await;
        assert_eq!((answer.status, &*answer.body), (200, &b"{}"[..]), "{media}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    service.assert_counted("http", 4, &[]);
    service.stop().await;
}

#[tokio::test]
async fn an_empty_body_is_an_empty_request() {
    let service = start().await;
    assert_eq!(post(&service, PROTOBUF, b"").await.status, 200);
    assert_eq!(post(&service, JSON, b"").await.body, b"{}");
    let called = call(&service, &[], whole(frame(0, b""))).await;
    assert_eq!(called.status.code(), tonic::Code::Ok);
    service.assert_counted("http", 2, &[]);
    service.assert_counted("grpc", 1, &[]);
    service.stop().await;
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_waits_with_the_body_if_asked() {
    let service = start().await;
    let body = request();
    let head =
        format!("{TRACES}{PROTOBUF}expect: 100-continue\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = send(&service, b"").await;
    for _ in 0..3 {
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 100);
        stream.write_all(&body).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 200);
    }
    service.assert_counted("http", 3, &[]);
    service.stop().await;
}

#[tokio::test]
async fn http_is_also_served_over_http2() {
    let service = start().await;
    let request = Request::post("http://spanmill/v1/traces")
        .header("content-type", "application/x-protobuf")
        .body(whole(request()))
        .unwrap();
    let answer = within(h2(service.http).await.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    service.assert_counted("http", 1, &[]);
    service.stop().await;
}

#[tokio::test]
async fn grpc_is_taken_in_every_encoding_and_counted() {
    let service = start().await;
    let body = request();
    let cases: [(Headers<'_>, Vec<u8>); 5] = [
        (&[], frame(0, &body)),
        (&[("content-type", "application/grpc+proto")], frame(0, &body)),
        (&[("grpc-encoding", "gzip")], frame(1, &gzip(&body))),
        (&[("grpc-encoding", "zstd")], frame(1, &zstd(&body))),
        (&[("grpc-encoding", "gzip")], frame(0, &body)),
    ];
    for (headers, bytes) in cases {
        let called = call(&service, headers, whole(bytes)).await;
        assert_eq!(called.status.code(), tonic::Code::Ok, "{headers:?}: {}", called.status);
        assert_eq!((called.http, &*called.message), (200, &[0; 5][..]));
    }
    service.assert_counted("grpc", 5, &[]);
    assert_eq!(service.received("inflated"), (5 * body.len()) as f64);
    assert_eq!(service.metric("spanmill_ack_seconds", &[]), 5.0);
    service.stop().await;
}

#[tokio::test]
async fn a_large_body_is_staged_off_the_reactor_with_the_same_answer() {
    let service = start().await;
    let span = Span { name: "x".repeat(2 << 20), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    assert_eq!(post(&service, PROTOBUF, &body).await.status, 200);
    let called = call(&service, &[], whole(frame(0, &body))).await;
    assert_eq!(called.status.code(), tonic::Code::Ok);
    let text = format!(r#"{{"x":"{}"}}"#, "x".repeat(100 << 10));
    assert_eq!(post(&service, JSON, text.as_bytes()).await.status, 200);
    assert_eq!(post(&service, JSON, &text.as_bytes()[1..]).await.status, 400);
    service.assert_counted("http", 2, &[("undecodable", 1)]);
    service.stop().await;
}

// ---- what is refused: HTTP

#[tokio::test]
async fn other_paths_and_methods_are_no_trace_requests() {
    let service = start().await;
    let cases = [
        ("POST /v1/metrics", 404),
        ("POST /v1/traces/", 404),
        ("GET /", 404),
        ("GET /v1/traces", 405),
        ("PUT /v1/traces", 405),
    ];
    for (line, status) in cases {
        let text = format!("{line} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let mut stream = send(&service, text.as_bytes()).await;
        let answer = read_answer(&mut stream).await;
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(answer.header("allow"), (status == 405).then_some("POST"), "{line}");
    }
    service.assert_counted("http", 0, &[]);
    service.stop().await;
}

#[tokio::test]
async fn other_media_types_are_refused() {
    let service = start().await;
    let types = [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/json;charset=latin1\r\n",
        "content-type: application/x-protobuf\r\ncontent-type: application/json\r\n",
        "content-type: \u{e9}\r\n",
    ];
    for media in types {
        let answer = post(&service, media, b"x").await;
        assert_eq!(answer.status, 415, "{media}");
        let text = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(text.contains("expected application/x-protobuf or application/json"), "{text}");
    }
    service.assert_counted("http", 0, &[("media_type", 5)]);
    service.stop().await;
}

#[tokio::test]
async fn other_encodings_are_refused() {
    let service = start().await;
    for encoding in ["br", "gzip, gzip", "deflate"] {
        let headers = format!("{PROTOBUF}content-encoding: {encoding}\r\n");
        let answer = post(&service, &headers, b"x").await;
        assert_eq!(answer.status, 415, "{encoding}");
        let expected = format!("encoding is {encoding:?}, expected identity, gzip or zstd");
        assert_eq!(answer.status_message().message, expected);
    }
    let called = call(&service, &[("grpc-encoding", "snappy")], whole(frame(1, b"x"))).await;
    assert_eq!(called.status.code(), tonic::Code::Unimplemented);
    assert_eq!(called.headers["grpc-accept-encoding"], "identity,gzip,zstd");
    service.assert_counted("http", 0, &[("encoding", 3)]);
    service.assert_counted("grpc", 0, &[("encoding", 1)]);
    service.stop().await;
}

#[tokio::test]
async fn corrupt_and_truncated_streams_are_undecodable() {
    let service = start().await;
    let body = request();
    let broken: [(&str, Vec<u8>); 6] = [
        ("gzip", b"no gzip".to_vec()),
        ("gzip", gzip(&body)[..20].to_vec()),
        ("gzip", [gzip(&body), b"trailing".to_vec()].concat()),
        ("zstd", b"no zstd".to_vec()),
        ("zstd", zstd(&body)[..12].to_vec()),
        ("zstd", [zstd(&body), b"trailing".to_vec()].concat()),
    ];
    for (encoding, bytes) in &broken {
        let headers = format!("{PROTOBUF}content-encoding: {encoding}\r\n");
        let answer = post(&service, &headers, bytes).await;
        assert_eq!(answer.status, 400, "{encoding} {bytes:?}");
        assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
        let status = answer.status_message();
        assert_eq!(status.code, i32::from(tonic::Code::InvalidArgument));
        assert!(status.message.starts_with(&format!("malformed {encoding} body: ")), "{status:?}");

        let called = call(&service, &[("grpc-encoding", encoding)], whole(frame(1, bytes))).await;
        assert_eq!(called.status.code(), tonic::Code::InvalidArgument);
        let violations = called.status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].description, called.status.message());
    }
    service.assert_counted("http", 0, &[("undecodable", 6)]);
    service.assert_counted("grpc", 0, &[("undecodable", 6)]);
    service.stop().await;
}

#[tokio::test]
async fn malformed_json_is_answered_in_json() {
    let service = start().await;
    let deep = r#"{"resourceSpans":["#.repeat(100_000);
    for text in [r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"spanId":"xy"}]}]}]}"#, &deep] {
        let answer = post(&service, JSON, text.as_bytes()).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let status = answer.json();
        assert_eq!(status["code"], 3);
        let message = status["message"].as_str().unwrap();
        assert!(message.starts_with("malformed OTLP/JSON: "), "{message}");
        assert!(message.contains("at line 1 column"), "{message}");
    }
    service.assert_counted("http", 0, &[("undecodable", 2)]);
    service.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_undecodable() {
    let service = start().await;
    let head = format!("{TRACES}{PROTOBUF}content-length: 100\r\n\r\nonly this");
    let mut stream = send(&service, head.as_bytes()).await;
    stream.shutdown().await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.status, 400);
    let message = answer.status_message().message;
    assert!(message.starts_with("the body broke off after 9 bytes: "), "{message}");
    assert_closed(&mut stream).await;
    service.assert_counted("http", 0, &[("undecodable", 1)]);
    service.stop().await;
}

#[tokio::test]
async fn an_oversize_body_is_refused_without_being_read_and_without_a_reset() {
    let service = start_with(|s| s.limits.max_wire_bytes = 1 << 20).await;
    let n = 24 << 20;
    for framing in [format!("content-length: {n}"), "transfer-encoding: chunked".into()] {
        let mut stream =
            send(&service, format!("{TRACES}{PROTOBUF}{framing}\r\n\r\n").as_bytes()).await;
        let chunked = framing.starts_with('t');
        // The whole body is written before the answer is looked at, as simple clients do.
        let block = [b"10000\r\n".to_vec(), vec![7; 0x10000], b"\r\n".to_vec()].concat();
        let block = if chunked { &block[..] } else { &block[7..7 + 0x10000] };
        for _ in 0..n / 0x10000 {
            stream.write_all(block).await.unwrap();
        }
        let answer = read_answer(&mut stream).await;
        assert_eq!(answer.status, 413);
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.header("retry-after"), None);
        let status = answer.status_message();
        assert_eq!(status.code, i32::from(tonic::Code::ResourceExhausted));
        assert!(status.message.contains("expected at most 1048576"), "{}", status.message);
        assert_closed(&mut stream).await;
    }
    service.assert_counted("http", 0, &[("too_large", 2)]);
    // At most the limit and one chunk were held.
    assert!(service.received("wire") < f64::from(3 << 20));
    service.stop().await;
}

#[tokio::test]
async fn an_oversize_message_is_refused_by_its_prefix() {
    let service = start_with(|s| s.limits.max_wire_bytes = 1000).await;
    let fits = call(&service, &[], whole(frame(0, &[0; 1000]))).await;
    // The message never comes: its length is enough.
    let prefix = [&[0][..], &1001u32.to_be_bytes()].concat();
    let called = call(&service, &[], unending(prefix)).await;
    assert_eq!(called.status.code(), tonic::Code::ResourceExhausted);
    assert!(called.status.details().is_empty(), "RetryInfo would have it sent again");
    assert!(called.status.message().contains("found at least 1001"), "{}", called.status);
    assert_ne!(fits.status.code(), tonic::Code::ResourceExhausted);
    let labels = [("protocol", "grpc"), ("reason", "too_large")];
    assert_eq!(service.metric("spanmill_requests_refused_total", &labels), 1.0);
    service.stop().await;
}

fn peak_resident_bytes() -> u64 {
    let mut text = String::new();
    std::fs::File::open("/proc/self/status").unwrap().read_to_string(&mut text).unwrap();
    let line = text.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn bombs_are_refused_while_inflating() {
    let service = start_with(|s| s.limits.max_inflated_bytes = 4 << 20).await;
    let zeros = || std::io::repeat(0).take(512 << 20);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut zeros(), &mut gz).unwrap();
    let bombs = [("gzip", gz.finish().unwrap()), ("zstd", zstd::encode_all(zeros(), 1).unwrap())];
    let before = peak_resident_bytes();
    for (encoding, bomb) in bombs {
        let headers = format!("{JSON}content-encoding: {encoding}\r\n");
        let answer = post(&service, &headers, &bomb).await;
        assert_eq!(answer.status, 413, "{encoding}");
        assert_eq!(answer.json()["code"], 8);
        let called = call(&service, &[("grpc-encoding", encoding)], whole(frame(1, &bomb))).await;
        assert_eq!(called.status.code(), tonic::Code::ResourceExhausted, "{encoding}");
        assert!(called.status.details().is_empty());
    }
    let grown = peak_resident_bytes() - before;
    assert!(grown < 256 << 20, "resident memory grew by {grown} bytes");
    service.assert_counted("http", 0, &[("too_large", 2)]);
    service.assert_counted("grpc", 0, &[("too_large", 2)]);
    service.stop().await;
}

// ---- what is slow

#[tokio::test]
async fn a_slow_header_closes_the_connection() {
    let service = start_with(|s| s.header_timeout = Duration::from_millis(200)).await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n", TRACES] {
        let mut stream = send(&service, start.as_bytes()).await;
        assert_closed(&mut stream).await;
    }
    for start in ["", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut stream = TcpStream::connect(service.grpc).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        assert_closed(&mut stream).await;
    }
    service.assert_counted("http", 0, &[]);
    service.assert_counted("grpc", 0, &[]);
    service.stop().await;
}

#[tokio::test]
async fn a_slow_body_is_answered_as_such() {
    let service = start_with(|s| s.body_timeout = Duration::from_millis(200)).await;
    let head = format!("{TRACES}{JSON}content-length: 100\r\n\r\n{{");
    let mut stream = send(&service, head.as_bytes()).await;
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.json()["message"], "body did not arrive whole within body_timeout, 200ms");
    assert_closed(&mut stream).await;
    let called = call(&service, &[], unending(frame(0, b"abc")[..6].to_vec())).await;
    assert_eq!(called.status.code(), tonic::Code::DeadlineExceeded);
    service.assert_counted("http", 0, &[("timeout", 1)]);
    service.assert_counted("grpc", 0, &[("timeout", 1)]);
    assert_eq!(service.metric("spanmill_ack_seconds", &[]), 0.0);
    service.stop().await;
}

// ---- gRPC's own

#[tokio::test]
async fn broken_frames_are_refused() {
    use tonic::Code::{Internal, InvalidArgument};
    let service = start().await;
    let message = frame(0, b"");
    let cases = [
        (vec![], InvalidArgument, "truncated message: 0 bytes, expected a prefix of 5"),
        (vec![0, 0, 0], InvalidArgument, "truncated message: 3 bytes, expected a prefix of 5"),
        (vec![0, 0, 0, 0, 9, 1], InvalidArgument, "truncated message: 1 bytes, expected 9"),
        (vec![2, 0, 0, 0, 0], Internal, "compressed flag is 2, expected 0 or 1"),
        (vec![1, 0, 0, 0, 0], Internal, "message has the compressed flag, expected"),
        ([message.clone(), message].concat(), Internal, "5 bytes after a message of 0 bytes"),
    ];
    for (bytes, code, text) in cases {
        let called = call(&service, &[], whole(bytes)).await;
        assert_eq!(called.status.code(), code, "{text}");
        assert!(called.status.message().starts_with(text), "{}", called.status);
    }
    service.assert_counted("grpc", 0, &[("undecodable", 6)]);
    service.stop().await;
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let service = start().await;
    let other = EXPORT.replace("Export", "Import");
    for path in [&*other, "/opentelemetry.proto.collector.logs.v1.LogsService/Export"] {
        let called = call_path(&service, path, &[], whole(frame(0, b""))).await;
        assert_eq!(called.status.code(), tonic::Code::Unimplemented, "{path}");
    }
    service.assert_counted("grpc", 0, &[]);
    service.stop().await;
}

#[tokio::test]
async fn what_is_no_grpc_is_told_so_in_http() {
    let service = start().await;
    let called = call(&service, &[("content-type", "application/json")], whole(vec![])).await;
    assert_eq!((called.http, called.status.code()), (415, tonic::Code::InvalidArgument));
    service.assert_counted("grpc", 0, &[("media_type", 1)]);
    service.stop().await;
}

// ---- tenants

#[tokio::test]
async fn a_tenant_is_required_while_tenancy_is_on() {
    let service = start_with(|s| s.multitenancy = true).await;
    let long = "a".repeat(151);
    let http: [(&[&str], u16); 6] = [
        (&["team-a"], 200),
        (&[], 401),
        (&["a", "b"], 400),
        (&["a|b"], 400),
        (&[".."], 400),
        (&[&long], 400),
    ];
    for (tenants, status) in http {
        let headers: String = tenants.iter().map(|t| format!("X-Scope-OrgID: {t}\r\n")).collect();
        // Refused before the body is read: it never comes.
        let head = format!("{TRACES}{PROTOBUF}{headers}content-length: 5\r\n\r\n");
        let mut stream = send(&service, head.as_bytes()).await;
        if status == 200 {
            stream.write_all(&[0x0a, 3, 0x1a, 1, b's']).await.unwrap();
        }
        assert_eq!(read_answer(&mut stream).await.status, status, "{tenants:?}");
    }
    let grpc: [(Headers<'_>, tonic::Code); 4] = [
        (&[("x-scope-orgid", "team-a")], tonic::Code::Ok),
        (&[], tonic::Code::Unauthenticated),
        (&[("x-scope-orgid", "a"), ("x-scope-orgid", "a")], tonic::Code::InvalidArgument),
        (&[("x-scope-orgid", "a/b")], tonic::Code::InvalidArgument),
    ];
    for (headers, code) in grpc {
        let called = call(&service, headers, whole(frame(0, b""))).await;
        assert_eq!(called.status.code(), code, "{headers:?}");
    }
    service.assert_counted("http", 1, &[("tenant", 5)]);
    service.assert_counted("grpc", 1, &[("tenant", 3)]);
    service.stop().await;
}

#[tokio::test]
async fn a_tenant_header_is_ignored_while_tenancy_is_off() {
    let service = start().await;
    let answer = post(&service, &format!("{PROTOBUF}X-Scope-OrgID: a|b\r\n"), &request()).await;
    assert_eq!(answer.status, 200);
    service.stop().await;
}

// ---- the beginning and the end

#[tokio::test]
async fn a_port_in_use_is_named_with_its_key() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = taken.local_addr().unwrap().to_string();
    let settings = Settings { http: Some(endpoint.clone()), ..settings() };
    let error = Listeners::bind(&settings).await.unwrap_err().to_string();
    let expected = format!("receivers.otlp.http.endpoint: can't listen on {endpoint}: ");
    assert!(error.starts_with(&expected), "{error}");
}

#[tokio::test]
async fn what_is_in_flight_at_shutdown_is_answered() {
    let service = start().await;
    let body = request();
    let head =
        format!("{TRACES}{PROTOBUF}expect: 100-continue\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = send(&service, head.as_bytes()).await;
    assert_eq!(read_answer(&mut stream).await.status, 100, "the service waits for the body");
    service.shutdown.cancel();
    stream.write_all(&body).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.status, 200);
    assert_closed(&mut stream).await;
    drop(stream);
    service.assert_counted("http", 1, &[]);
    within(service.running).await.unwrap();
    assert!(TcpStream::connect(service.http).await.is_err(), "nothing listens any more");
}

#[test]
fn a_closed_intake_acknowledges_nothing() {
    let (intake, _) = intake();
    let body = request();
    assert_eq!(intake.take(&TenantId::single(), &body).expect("it is open").spans, 3);
    intake.close();
    let late = intake.take(&TenantId::single(), &body);
    assert!(matches!(late, Err(TakeError::Closed)), "{late:?}");
}

#[tokio::test]
async fn a_body_that_does_not_end_is_cut_off_by_the_drain() {
    let service = start().await;
    let head = format!("{TRACES}{JSON}expect: 100-continue\r\ncontent-length: 9\r\n\r\n");
    let mut stream = send(&service, head.as_bytes()).await;
    assert_eq!(read_answer(&mut stream).await.status, 100);
    service.shutdown.cancel();
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.status, 503);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds), "{seconds}");
    assert_eq!(answer.json()["code"], 14);
    assert!(answer.json()["details"][0]["retryDelay"].is_string());
    assert_closed(&mut stream).await;
    service.assert_counted("http", 0, &[("draining", 1)]);
    within(service.running).await.unwrap();
}

/// One HTTP/2 frame.
fn h2_frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Reads frames until one of this kind and with these flags.
async fn await_h2_frame(stream: &mut TcpStream, kind: u8, flags: u8) {
    within(async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; len as usize]).await.unwrap();
            if head[3] == kind && head[4] & flags == flags {
                return;
            }
        }
    })
    .await;
}

/// By hand, since no client sends a request on a connection that has been told to go away. Requests
/// that crossed that message on their way get here like this.
#[tokio::test]
async fn a_request_that_comes_after_the_shutdown_is_told_to_come_again() {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    let literal = |name: &str, value: &str| {
        let text = |t: &str| [&[u8::try_from(t.len()).unwrap()], t.as_bytes()].concat();
        [vec![0], text(name), text(value)].concat()
    };
    let service = start().await;
    let mut http = TcpStream::connect(service.http).await.unwrap();
    let mut grpc = TcpStream::connect(service.grpc).await.unwrap();
    for stream in [&mut http, &mut grpc] {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        stream.write_all(&[&preface[..], &h2_frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
        await_h2_frame(stream, SETTINGS, 1).await;
    }
    service.shutdown.cancel();
    let requests = [(http, "/v1/traces", "application/json"), (grpc, EXPORT, "application/grpc")];
    for (mut stream, path, media) in requests {
        await_h2_frame(&mut stream, GOAWAY, 0).await;
        let headers = [
            literal(":method", "POST"),
            literal(":scheme", "http"),
            literal(":path", path),
            literal(":authority", "spanmill"),
            literal("content-type", media),
        ];
        stream.write_all(&h2_frame(HEADERS, 5, 1, &headers.concat())).await.unwrap();
        await_h2_frame(&mut stream, HEADERS, 4).await;
    }
    service.assert_counted("http", 0, &[("draining", 1)]);
    service.assert_counted("grpc", 0, &[("draining", 1)]);
    within(service.running).await.unwrap();
}
