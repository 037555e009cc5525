//! What a tenant feels of its neighbour: the time to the answer of small requests, alone and beside a
//! tenant that sends ten times its share.
//!
//! `cargo bench --bench noisy` starts the program for each case and prints a table.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const SPANS: usize = 500;
const QUIET_EVERY: Duration = Duration::from_millis(10);
const QUIET_REQUESTS: u32 = 1000;
/// What each tenant may send in the case with a rate: the quiet one sends three quarters of it.
const BYTES_PER_SECOND: &str = "limits.ingest_bytes_per_second=40MiB";
const STARTS_WITHIN: Duration = Duration::from_secs(10);

struct Case {
    name: &'static str,
    sets: &'static [&'static str],
    /// Connections of the noisy tenant, each with one request after the other.
    noisy: usize,
    /// Of all of them together; none: as fast as they are answered.
    noisy_every: Option<Duration>,
}

const CASES: [Case; 4] = [
    Case { name: "alone", sets: &[], noisy: 0, noisy_every: None },
    Case {
        name: "beside ten times its requests",
        sets: &[],
        noisy: 10,
        noisy_every: Some(QUIET_EVERY),
    },
    Case {
        name: "beside ten times the rate that a tenant is given",
        sets: &[BYTES_PER_SECOND],
        noisy: 32,
        noisy_every: Some(Duration::from_millis(25)),
    },
    Case {
        name: "beside 32 connections as fast as they go",
        sets: &[],
        noisy: 32,
        noisy_every: None,
    },
];

fn main() {
    // cargo passes arguments of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "| quiet tenant, {SPANS} spans a request | p50 | p99 | worst | refused | noisy: sent/s | refused |"
    );
    println!("|---|---|---|---|---|---|---|");
    for case in &CASES {
        println!("{}", runtime.block_on(run(case)));
    }
}

async fn run(case: &Case) -> String {
    let (mut child, grpc) = start(case.sets).await;
    let mut noisy = JoinSet::new();
    let until = Instant::now() + QUIET_EVERY * (QUIET_REQUESTS + 100);
    for _ in 0..case.noisy {
        let every = case.noisy_every;
        noisy.spawn(async move {
            let mut sender = connect(grpc).await;
            let (body, mut sent, mut refused) = (request(), 0, 0);
            let mut ticks = interval(every.unwrap_or(Duration::from_secs(1)));
            while Instant::now() < until {
                if every.is_some() {
                    ticks.tick().await;
                }
                sent += 1;
                refused += u32::from(!send(&mut sender, "noisy", &body).await);
            }
            (sent, refused)
        });
    }
    let (mut latencies, refused) = quiet(grpc).await;
    let (mut noisy_sent, mut noisy_refused) = (0_u32, 0);
    while let Some(done) = noisy.join_next().await {
        let (sent, refused) = done.expect("no panic");
        noisy_sent += sent;
        noisy_refused += refused;
    }
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    latencies.sort();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let per_second = f64::from(noisy_sent) / (QUIET_EVERY * (QUIET_REQUESTS + 100)).as_secs_f64();
    format!(
        "| {} | {:.2?} | {:.2?} | {:.2?} | {refused} | {per_second:.0} | {noisy_refused} |",
        case.name,
        at(50),
        at(99),
        at(100)
    )
}

async fn quiet(grpc: SocketAddr) -> (Vec<Duration>, usize) {
    let mut sender = connect(grpc).await;
    let body = request();
    let (mut latencies, mut refused) = (Vec::new(), 0);
    let mut ticks = interval(QUIET_EVERY);
    for _ in 0..QUIET_REQUESTS {
        ticks.tick().await;
        let begun = Instant::now();
        refused += usize::from(!send(&mut sender, "quiet", &body).await);
        latencies.push(begun.elapsed());
    }
    (latencies, refused)
}

async fn connect(grpc: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(grpc).await.expect("let in");
    stream.set_nodelay(true).expect("a socket");
    let (sender, connection) =
        handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2 begins");
    tokio::spawn(connection);
    sender
}

/// Whether it was taken.
async fn send(sender: &mut SendRequest<Full<Bytes>>, tenant: &str, body: &Bytes) -> bool {
    let request = Request::post(format!("http://spanmill{EXPORT}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-scope-orgid", tenant)
        .body(Full::new(body.clone()))
        .expect("well-formed");
    sender.ready().await.expect("open");
    let answer = sender.send_request(request).await.expect("an answer");
    let refused = answer.headers().contains_key("grpc-status");
    answer.into_body().collect().await.expect("whole");
    !refused
}

/// Spans of fifty operations, framed.
fn request() -> Bytes {
    let text = |text: String| Some(AnyValue { value: Some(Value::StringValue(text)) });
    let pair = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: text(value),
        ..KeyValue::default()
    };
    #[expect(clippy::disallowed_methods, reason = "spans end now")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let end = u64::try_from(now.as_nanos()).expect("before 2500");
    let span = |i: usize| Span {
        trace_id: (i as u128 + 1).to_be_bytes().to_vec(),
        span_id: (i as u64 + 1).to_be_bytes().to_vec(),
        name: format!("operation {}", i % 50),
        kind: 1,
        start_time_unix_nano: end - 1_000_000 * (1 + i as u64),
        end_time_unix_nano: end,
        attributes: (0..10).map(|k| pair(&format!("attribute.{k}"), "x".repeat(30))).collect(),
        ..Span::default()
    };
    let scope_spans = ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() };
    let resource = Resource {
        attributes: vec![pair("service.name", "cart".to_owned())],
        ..Resource::default()
    };
    let spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    let message = ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec();
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("small"));
    frame.put_slice(&message);
    frame.freeze()
}

async fn start(sets: &[&str]) -> (Child, SocketAddr) {
    let free = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.local_addr().expect("bound")
    };
    let (grpc, http, admin) = (free(), free(), free());
    let own = [
        format!("receivers.otlp.grpc.endpoint={grpc}"),
        format!("receivers.otlp.http.endpoint={http}"),
        format!("admin.endpoint={admin}"),
        "multitenancy.enabled=true".to_owned(),
    ];
    let sets = own.iter().map(String::as_str).chain(sets.iter().copied());
    let child = Command::new(env!("CARGO_BIN_EXE_spanmill"))
        .args(sets.flat_map(|set| ["--set", set]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program is built");
    let deadline = Instant::now() + STARTS_WITHIN;
    while TcpStream::connect(grpc).await.is_err() {
        assert!(Instant::now() < deadline, "the program does not listen on {grpc}");
        sleep(Duration::from_millis(20)).await;
    }
    (child, grpc)
}
