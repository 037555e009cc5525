//! Corpora, settings, and timing in turns.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spanmill::ledger;
use spanmill::stage::{
    HostInfo, IntrinsicDimensions, Multiplier, Processors, ServiceGraphs, Settings, SpanMetrics,
    SpanNames,
};

/// Request bodies as real SDKs sent them.
pub(crate) struct Corpus {
    pub(crate) name: String,
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) n_spans: u64,
}

/// py-shop-grpc, and pub-hipstershop where `SPANMILL_CORPUS` has it.
pub(crate) fn corpora() -> Vec<Corpus> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let others = std::env::var_os("SPANMILL_CORPUS").map(PathBuf::from);
    let mut corpora = vec![read(&own, "py-shop-grpc")];
    corpora.extend(others.map(|folder| read(&folder, "pub-hipstershop")));
    corpora
}

fn read(folder: &Path, name: &str) -> Corpus {
    let path = folder.join(format!("{name}.otlp.binpb.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    let mut bodies = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let (body, tail) = tail.split_at(u32::from_be_bytes(*len) as usize);
        bodies.push(body.to_vec());
        rest = tail;
    }
    let spans = |body: &Vec<u8>| {
        let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("a real request");
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        scopes.map(|scope| scope.spans.len() as u64).sum::<u64>()
    };
    Corpus { name: name.to_owned(), n_spans: bodies.iter().map(spans).sum(), bodies }
}

/// The defaults without a time window; with or without five dimensions.
pub(crate) fn settings(dimensions: bool) -> Settings {
    let keys =
        ["http.method", "http.status_code", "http.route", "rpc.method", "deployment.environment"];
    let dimensions = if dimensions { keys.map(str::to_owned).to_vec() } else { Vec::new() };
    Settings {
        processors: Processors {
            calls: true,
            latency: true,
            size: true,
            service_graphs: false,
            host_info: false,
        },
        window: None,
        span_metrics: SpanMetrics {
            histogram_buckets: (0..14).map(|k| 0.002 * f64::from(1 << k)).collect(),
            intrinsic_dimensions: IntrinsicDimensions {
                service: true,
                span_name: true,
                span_kind: true,
                status_code: true,
                status_message: false,
            },
            dimensions,
            dimension_mappings: Vec::new(),
            enable_target_info: false,
            target_info_excluded_dimensions: Vec::new(),
            enable_instance_label: true,
            multiplier: Multiplier::default(),
            filter_policies: Vec::new(),
        },
        service_graphs: ServiceGraphs::default(),
        host_info: HostInfo {
            host_identifiers: vec!["host.id".to_owned()],
            metric_name: "traces_host_info".to_owned(),
        },
        span_names: SpanNames::default(),
        max_label_name_length: 1024,
        max_label_value_length: 2048,
    }
}

/// With an external label.
pub(crate) fn naming() -> ledger::Naming {
    ledger::Naming {
        external_labels: vec![("cluster".to_owned(), "eu-west-1".to_owned())],
        ..ledger::Naming::default()
    }
}

/// Requests of 1,000 spans, each span of another name.
pub(crate) fn many_label_sets(n: usize) -> Vec<Vec<u8>> {
    let attribute = |key: &str, text: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) }),
        ..KeyValue::default()
    };
    let span = |i: usize| Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: format!("GET /api/v1/resource-{i}"),
        kind: 2,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_000_000_000 + (i as u64 % 500) * 1_000_000,
        attributes: vec![attribute("http.method", "GET"), attribute("http.route", "/api/v1/{id}")],
        ..Span::default()
    };
    let request = |first: usize| ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "checkout")],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans: (first..(first + 1000).min(n)).map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    (0..n).step_by(1000).map(|first| request(first).encode_to_vec()).collect()
}

/// The shortest time of each of several works, done in turns, so that the noise of a shared machine
/// falls on all alike.
pub(crate) fn in_turns<const N: usize>(mut works: [&mut dyn FnMut(); N]) -> [Duration; N] {
    const ROUNDS: usize = 15;
    let mut best = [Duration::MAX; N];
    for _ in 0..ROUNDS {
        for (work, best) in works.iter_mut().zip(&mut best) {
            #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
            let start = Instant::now();
            work();
            *best = start.elapsed().min(*best);
        }
    }
    best
}
