//! A warm stager allocates nothing per span, and what is kept of refused rows stays within its bytes:
//! counted with an allocator of this test's own, which is why it is a binary of its own.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use allocation_counter::measure;
use flate2::read::MultiGzDecoder;
use spanmill::admission::{self, Wanted};
use spanmill::batch::{Labels, Table, push_label};
use spanmill::stage::{
    DimensionMapping, HostInfo, IntrinsicDimensions, Multiplier, Plan, Processors, ServiceGraphs,
    Settings, SpanMetrics, SpanNames, Stager,
};

const CORPUS: &str = "tests/corpus/py-shop-grpc.otlp.binpb.gz";
/// Some thousands of spans; eight times as many are still taken in one request.
const REQUEST_BYTES: usize = 1 << 20;
const NOW: Duration = Duration::from_secs(1_795_000_000);
/// More than a request has scratch buffers of its own.
const ALLOCATIONS_PER_REQUEST_MAX: u64 = 4;
/// For the first span of each label set: its values, numbers as text.
const ALLOCATIONS_PER_ROW_MAX: u64 = 6;

fn settings() -> Settings {
    let dimensions =
        ["http.method", "http.route", "http.response.status_code", "db.system", "none"];
    Settings {
        processors: Processors {
            calls: true,
            latency: true,
            size: true,
            service_graphs: true,
            host_info: true,
        },
        window: None,
        span_metrics: SpanMetrics {
            histogram_buckets: vec![0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128],
            intrinsic_dimensions: IntrinsicDimensions {
                service: true,
                span_name: true,
                span_kind: true,
                status_code: true,
                status_message: true,
            },
            dimensions: dimensions.map(str::to_owned).to_vec(),
            dimension_mappings: vec![DimensionMapping {
                name: "call".to_owned(),
                source_labels: vec!["rpc.service".to_owned(), "rpc.method".to_owned()],
                join: "/".to_owned(),
                coalesce: false,
            }],
            enable_target_info: true,
            target_info_excluded_dimensions: Vec::new(),
            enable_instance_label: true,
            multiplier: Multiplier { key: "ratio".to_owned(), tracestate: true },
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

/// The first requests of the corpus as one: protobuf messages that follow each other are their union.
fn request() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CORPUS);
    let mut file = Vec::new();
    let zipped = File::open(path).expect("a corpus of this repository");
    MultiGzDecoder::new(zipped).read_to_end(&mut file).expect("gzip");
    let mut request = Vec::new();
    let mut frames = &file[..];
    while let Some((len, rest)) = frames.split_first_chunk::<4>()
        && request.len() < REQUEST_BYTES
    {
        let (body, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        request.extend_from_slice(body);
        frames = rest;
    }
    request
}

/// Allocations of staging one request, and its spans and rows.
fn allocations(stager: &mut Stager, plan: &Plan, request: &[u8]) -> (u64, u64, u64) {
    let mut seen = (0, 0);
    let info = measure(|| {
        let batch = stager.stage(plan, request, NOW).expect("a request of a corpus");
        seen = (batch.tallies.received, batch.rows.len() as u64);
    });
    (info.count_total, seen.0, seen.1)
}

#[test]
fn a_warm_stager_allocates_nothing_per_span() {
    let plan = Plan::new(&settings(), 0).expect("valid settings");
    let once = request();
    let twice = once.repeat(2);
    let mut stager = Stager::default();
    for _ in 0..3 {
        stager.stage(&plan, &twice, NOW).expect("a request of a corpus");
    }
    let (of_once, spans, rows) = allocations(&mut stager, &plan, &once);
    let (of_two, spans_of_two, rows_of_two) = allocations(&mut stager, &plan, &twice);
    println!("{spans} spans in {rows} rows: {of_once} allocations; twice: {of_two}");
    assert!(spans > 1000 && spans_of_two == 2 * spans && rows_of_two == rows);
    assert_eq!(of_two, of_once, "the same spans twice are the same label sets");
    let most = ALLOCATIONS_PER_REQUEST_MAX + ALLOCATIONS_PER_ROW_MAX * rows;
    assert!(of_once <= most, "{of_once} allocations, at most {most}");
}

/// Label sets of a flood, made anew each time.
#[derive(Default)]
struct Flood(Vec<u8>);

impl Flood {
    fn labels(&mut self, labels: &[(&str, &str)]) -> Labels<'_> {
        self.0.clear();
        labels.iter().for_each(|(name, value)| push_label(&mut self.0, name, value));
        Labels::new(&self.0)
    }
}

#[test]
fn what_was_wanted_stays_within_its_bytes_whatever_is_refused() {
    const STALE_MS: i64 = 900_000;
    const ROWS: i64 = 5_000_000;
    let long = "n".repeat(200);
    let mut flood = Flood::default();
    let mut wanted = Wanted::new([1, 2, 3, 4], STALE_MS);
    let mut values = 0_u64;
    let info = measure(|| {
        for i in 0..ROWS {
            // Over more than all generations, so that they turn under the flood as well.
            let at_ms = i * (STALE_MS * 4) / ROWS;
            let (value, many) = (format!("{i}{long}"), format!("{}{long}", i % 100));
            let (name, service) = (&*format!("k{value}"), &*value);
            let row = match i % 5 {
                // New services, new names of labels, and new values of a hundred services.
                0 => flood.labels(&[("a", service), ("b", service), ("service", service)]),
                1 => flood.labels(&[(name, service), ("service", "names")]),
                _ => flood.labels(&[
                    ("a", service),
                    ("b", service),
                    ("c", service),
                    ("service", &many),
                ]),
            };
            values += row.iter().count() as u64 - 1;
            wanted.refused(Table::SpanMetrics, row, 1, at_ms);
        }
        flood.0.clear();
    });
    let (bytes, bound) = (wanted_bytes(&wanted), admission::WANTED_BYTES as u64);
    println!("{values} values: at most {} bytes, now {bytes}, bound {bound}", info.bytes_max);
    assert!(values >= 10_000_000);
    // A row of the flood is made inside, too.
    assert!(info.bytes_max < bound + 2000, "{} bytes, at most {bound}", info.bytes_max);
    assert!(bytes > bound / 2, "{bytes} bytes of {bound}: the bound says little");
}

/// What a copy of it takes.
fn wanted_bytes(wanted: &Wanted) -> u64 {
    let mut copy = None;
    let info = measure(|| copy = Some(wanted.clone()));
    assert!(copy.is_some());
    info.bytes_max
}

#[test]
fn this_test_s_allocator_counts() {
    let info = measure(|| drop(std::hint::black_box(vec![1_u8; 100])));
    assert_eq!(info.count_total, 1);
}
