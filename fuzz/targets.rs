//! What is held of any bytes at all: one function a target. The fuzzer runs them on what it makes up, and
//! a test of `tests/it` on what it has found so far (`fuzz/corpus/`).

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use spanmill::batch::{Batch, Processor};
use spanmill::clock::Clock;
use spanmill::config::{Config, Inputs, Loaded, load};
use spanmill::ledger::{self, Tenant, Tenants};
use spanmill::receiver::{Intake, Listeners, Rulebook, TenantRules, json_to_wire};
use spanmill::stage::{Plan, StageError, Stager};
use spanmill::telemetry::Telemetry;
use spanmill::tenant::{ByTenant, TenantId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const NOW: Duration = Duration::from_secs(1_795_000_000);
/// No service takes as long to answer what is small.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// From nothing but the defaults to everything at once.
const SETTINGS: [&[&str]; 4] = [
    &[],
    &[
        "processors.ingestion_time_range_slack=0s",
        "processors.enabled=[span-metrics, service-graphs, host-info]",
        "processors.span_metrics.dimensions=[k, http.method]",
        "processors.span_metrics.enable_target_info=true",
        "processors.service_graphs.messaging_links=true",
        "processors.service_graphs.max_items=7",
    ],
    &[
        "processors.ingestion_time_range_slack=0s",
        "processors.enabled=[span-metrics, service-graphs]",
        "processors.span_metrics.dimension_mappings=[{name: m, source_labels: [k, k], join: /}]",
        "processors.span_metrics.span_multiplier_key=k",
        "processors.span_metrics.enable_tracestate_span_multiplier=true",
        "processors.span_metrics.filter_policies=[{include_any: {match_type: regex, \
         attributes: [{key: resource.k, value: 'a+'}, {key: name, value: 'b*'}]}}]",
        "processors.service_graphs.remember_completed=false",
        "processors.service_graphs.dimensions=[k]",
        "registry.max_label_value_length=5",
    ],
    &[
        "processors.ingestion_time_range_slack=0s",
        "processors.enabled=[service-graphs, host-info]",
        "processors.service_graphs.count_every_pair=true",
        "processors.service_graphs.hold_virtual=2",
        "processors.service_graphs.filter_policies=[{exclude: {match_type: strict, \
         attributes: [{key: span.k, value: a}]}}]",
        "registry.max_label_value_length=0",
    ],
];

fn config_of(set: &[&str]) -> Config {
    let set = set.iter().map(|text| (*text).to_owned()).collect();
    load(&Inputs { set, ..Inputs::default() }).expect("valid settings").config
}

/// A request under one of the settings (the first byte): staged twice to the same batch, accounted for,
/// no larger than its bounds, refused where prost refuses it and only there, counted by a tenant.
pub(crate) fn walker(data: &[u8]) {
    static ALL: LazyLock<Vec<(Config, Plan)>> = LazyLock::new(|| {
        let configs = SETTINGS.iter().map(|set| config_of(set));
        configs.map(|c| (c.clone(), Plan::new(&c.stage, 1).expect("valid settings"))).collect()
    });
    let Some((first, body)) = data.split_first() else { return };
    let (config, plan) = &ALL[usize::from(*first) % ALL.len()];
    let (mut stager, mut other) = (Stager::default(), Stager::default());
    let staged = stager.stage(plan, body, NOW).cloned();
    assert_eq!(staged, other.stage(plan, body, NOW).cloned(), "staged alike by another");
    let again = stager.stage(plan, body, NOW).cloned();
    assert_eq!(staged, again, "staged alike again");
    let by_prost = ExportTraceServiceRequest::decode(body);
    match &staged {
        Ok(batch) => {
            let spans = |request: &ExportTraceServiceRequest| {
                let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
                scopes.map(|scope| scope.spans.len() as u64).sum::<u64>()
            };
            if let Ok(request) = &by_prost {
                assert_eq!(batch.tallies.received, spans(request));
            }
            check_bounds(config, batch, body.len());
            count(config, batch);
        }
        Err(StageError::Malformed(error)) => assert!(by_prost.is_err(), "prost takes it: {error}"),
        Err(_) => {}
    }
}

fn check_bounds(config: &Config, batch: &Batch, n_bytes: usize) {
    let on = config.stage.processors;
    for (on, processor) in
        [(on.span_metrics(), Processor::SpanMetrics), (on.host_info, Processor::HostInfo)]
    {
        assert!(!on || batch.tallies.balances(processor), "{processor:?}: {:?}", batch.tallies);
    }
    // A resource has two rows besides those of its spans, and costs two bytes at least.
    assert!(batch.rows.len() <= n_bytes && batch.origins.len() <= n_bytes);
    assert!(batch.sides.len() as u64 <= batch.tallies.received);
    assert!(batch.links.len() <= 128 * batch.sides.len());
    assert!(batch.text.len() <= 17 << 20 && batch.origin_text.len() <= 17 << 20);
    for row in &batch.rows {
        let names: Vec<_> = batch.labels(row).iter().collect();
        assert!(names.is_sorted_by(|a, b| a.0 < b.0), "{names:?}");
        assert!(names.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
    }
}

/// Counted twice, some time apart; at the end every side has met its end.
fn count(config: &Config, batch: &Batch) {
    let bounds = config.stage.bounds();
    let tenant = Tenant::new(TenantId::single(), config.ledger.clone(), &bounds, [1, 2, 3, 4]);
    tenant.apply(batch, NOW);
    tenant.apply(batch, NOW + Duration::from_secs(1));
    let counts = tenant.counts();
    let on = config.stage.processors;
    for (on, processor) in [
        (on.span_metrics(), Processor::SpanMetrics),
        (on.host_info, Processor::HostInfo),
        (on.service_graphs, Processor::ServiceGraphs),
    ] {
        assert!(!on || counts.tallies.balances(processor), "{processor:?}: {:?}", counts.tallies);
    }
    drop(tenant.last_tick(NOW + Duration::from_secs(3600)));
    assert_eq!(tenant.counts().sides_pending, 0);
}

/// JSON: turned into the same wire form each time, which is no larger, and is a request.
pub(crate) fn json(data: &[u8]) {
    static PLAN: LazyLock<Plan> =
        LazyLock::new(|| Plan::new(&config_of(SETTINGS[1]).stage, 1).expect("valid settings"));
    let wire = json_to_wire(data).map_err(|error| error.to_string());
    assert_eq!(wire, json_to_wire(data).map_err(|error| error.to_string()));
    if let Ok(wire) = wire {
        assert!(wire.len() <= data.len(), "{} bytes of {}", wire.len(), data.len());
        let staged = Stager::default().stage(&PLAN, &wire, NOW).map(|batch| batch.tallies.received);
        assert!(!matches!(staged, Err(StageError::Malformed(_))), "{staged:?}");
    }
}

/// A configuration: everything wrong with it is told, and the same each time; what is in order is printed
/// as a configuration that is in order.
pub(crate) fn config(data: &[u8]) {
    static FOLDER: LazyLock<tempfile::TempDir> =
        LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));
    let read = |name: &str, text: &[u8]| {
        let file = FOLDER.path().join(name);
        fs::write(&file, text).expect("a written file");
        let loaded = load(&Inputs { file: Some(file), ..Inputs::default() });
        loaded.map(|Loaded { effective, .. }| effective).map_err(|problems| problems.to_string())
    };
    let first = read("config.yaml", data);
    assert_eq!(first, read("config.yaml", data));
    match first {
        Ok(effective) => assert_eq!(read("effective.yaml", effective.as_bytes()), Ok(effective)),
        Err(problems) => assert!(!problems.is_empty()),
    }
}

/// The receivers as they are in the program, on ports of loopback.
struct Service {
    runtime: Runtime,
    grpc: SocketAddr,
    http: SocketAddr,
}

/// What fits into few milliseconds.
const LIMITS: [&str; 5] = [
    "receivers.otlp.grpc.endpoint=127.0.0.1:0",
    "receivers.otlp.http.endpoint=127.0.0.1:0",
    "receivers.otlp.max_wire_bytes=64KiB",
    "receivers.otlp.max_inflated_bytes=256KiB",
    "processors.enabled=[span-metrics, service-graphs]",
];

static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let config = config_of(&LIMITS);
    let rules = TenantRules {
        plan: Plan::new(&config.stage, 1).expect("valid settings"),
        ledger: ledger::Rules {
            generation: 1,
            bounds: config.stage.bounds(),
            settings: config.ledger,
            made: [true; ledger::Table::ALL.len()],
        },
        ingest: config.receiver.ingest,
    };
    let rulebook = Rulebook { epoch: 1, rules: ByTenant::same(rules) };
    let (created, _) = tokio::sync::mpsc::unbounded_channel();
    let tenants = Tenants::new(0, [1, 2, 3, 4], created);
    let intake = Intake::new(rulebook, Arc::new(tenants), Arc::new(Clock::default()));
    let listeners = runtime.block_on(Listeners::bind(&config.receiver)).expect("free ports");
    let grpc = listeners.grpc_addr().expect("bound");
    let http = listeners.http_addr().expect("bound");
    let never = CancellationToken::new();
    runtime.spawn(listeners.run(Arc::new(intake), Telemetry::default(), never));
    Service { runtime, grpc, http }
});

fn answered<T>(answer: impl Future<Output = T>) -> T {
    let in_time = async { tokio::time::timeout(ANSWER_WITHIN, answer).await };
    SERVICE.runtime.block_on(in_time).expect("an answer in time")
}

/// All that comes back on a connection that sends these bytes, and closes its side after them or waits.
async fn exchange(bytes: &[u8], closes: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(SERVICE.http).await.expect("it listens");
    let (mut from, mut to) = stream.split();
    let mut answer = Vec::new();
    let sent = async {
        // A refused connection may be closed before all of it is sent.
        drop(to.write_all(bytes).await);
        if closes {
            drop(to.shutdown().await);
        }
    };
    let read = async { drop(from.read_to_end(&mut answer).await) };
    tokio::join!(sent, read);
    answer
}

/// A connection that sends anything: it ends, and the next one is served.
pub(crate) fn http(data: &[u8]) {
    answered(exchange(data, true));
    let empty = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        content-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    let answer = answered(exchange(empty, false));
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

/// A compressed body (the first byte says how): taken or refused, and not for our own fault.
pub(crate) fn inflate(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let encoding = if first.is_multiple_of(2) { "gzip" } else { "zstd" };
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-encoding: {encoding}\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = answered(exchange(&[head.as_bytes(), body].concat(), false));
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let expected = [&b"200"[..], b"400", b"413"].contains(&status);
    assert!(expected, "{}", String::from_utf8_lossy(&answer));
}

/// A body of a gRPC call (the first byte says in which encoding): answered with a status that says who is
/// to blame, and never with one that a sender repeats.
pub(crate) fn grpc(data: &[u8]) {
    const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let Some((first, body)) = data.split_first() else { return };
    let encoding = ["identity", "gzip", "zstd", "snappy"][usize::from(*first) % 4];
    let called = async {
        let stream = TcpStream::connect(SERVICE.grpc).await.expect("it listens");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.expect("HTTP/2 begins");
        tokio::spawn(connection);
        let request = Request::post(format!("http://{}{PATH}", SERVICE.grpc))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", encoding)
            .body(Full::new(Bytes::copy_from_slice(body)))
            .expect("well-formed");
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole answer");
        let of_trailers = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let status = of_trailers.or_else(|| head.headers.get("grpc-status"));
        status.expect("a status").to_str().expect("digits").to_owned()
    };
    let status = answered(called);
    // OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL (of the frame).
    assert!(["0", "3", "8", "12", "13"].contains(&status.as_str()), "status {status}");
}
