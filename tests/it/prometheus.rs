//! What people ask of a real Prometheus, with the answers that the oracle gives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spanmill::clock::Clock;

use crate::support::capture::{Capture, Seen};
use crate::support::corpus::{self, Corpus};
use crate::support::oracle::{Histogram, Labels, Oracle, assert_equal, strip_origin};
use crate::support::process::{Config, SPAN_METRICS_ALONE, Spanmill};
use crate::support::remote_write;
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::servers::{FoundExemplar, Server};
use crate::support::servers::{prometheus, shared_prometheus, victoria_metrics};

const WITHIN: Duration = Duration::from_secs(60);
const CALLS: &str = "traces_spanmetrics_calls_total";
const BUCKETS: &str = "traces_spanmetrics_latency_bucket";
const ALSO: [&str; 1] = ["traces_spanmetrics_size_total"];
/// Of `[5m]`, in seconds.
const WINDOW: f64 = 300.0;
/// External label of the runs that answer the queries.
const RUN: &str = "queries";
/// Of the samples that the queries see, besides the birth.
const TICKS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_error_ratios_and_quantiles_are_those_of_the_oracle() {
    let (prometheus, victoria) = tokio::join!(prometheus(), victoria_metrics());
    let capture = Capture::start().await;
    let urls = vec![capture.url(), prometheus.write_url(), victoria.write_url()];
    let (spanmill, mut sender) = start(RUN, "1s", urls).await;
    let corpus = corpus::named("py-shop-grpc");
    let oracle = corpus.oracle();
    // As one request, so that all series are born at one tick and factors of time cancel in ratios.
    sender.send_all(&[corpus.as_one_request()]).await;
    let n_series = oracle.series().len();
    let ticked = |seen: &Seen| {
        seen.series.len() >= n_series && seen.series.values().all(|s| s.samples.len() > TICKS)
    };
    capture.wait_until("a birth and three ticks of every series", WITHIN, ticked).await;
    let at = last_common_timestamp(&capture.seen(), TICKS);
    both_answer_as_the_oracle(&prometheus, &victoria, &oracle, at).await;
    spanmill.stop().await;
}

/// The expectations themselves, held against the servers without the program between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_written_by_hand_give_the_same_answers() {
    let (prometheus, victoria) = tokio::join!(prometheus(), victoria_metrics());
    let oracle = corpus::named("py-shop-grpc").oracle();
    let of_run = |(mut labels, value): (Labels, f64)| {
        labels.insert("run".to_owned(), RUN.to_owned());
        labels.insert("__metrics_gen_instance".to_owned(), "by-hand".to_owned());
        (labels, value)
    };
    let series: BTreeMap<Labels, f64> = oracle.series().into_iter().map(of_run).collect();
    let zeros = series.keys().map(|labels| (labels.clone(), 0.0)).collect();
    let last = Clock::default().now_unix_ms();
    let first = last - 1000 * (TICKS as i64 - 1);
    let ticks = (0..TICKS as i64).map(|tick| (&series, first + 1000 * tick));
    for (values, at) in [(&zeros, first - 1)].into_iter().chain(ticks) {
        let request = remote_write::snapshot(values, at);
        prometheus.write(&request).await;
        victoria.write(&request).await;
    }
    both_answer_as_the_oracle(&prometheus, &victoria, &oracle, last as f64 / 1000.0).await;
}

async fn both_answer_as_the_oracle(
    prometheus: &Server,
    victoria: &Server,
    oracle: &Oracle,
    at: f64,
) {
    let n_operations = oracle.operations.len();
    for (family, n) in [(CALLS, n_operations), (BUCKETS, n_operations * 15)] {
        prometheus.wait_for_sample(family, at, n).await;
        victoria.wait_for_sample(family, at, n).await;
    }
    rates_are_within_the_extrapolations_bounds(prometheus, oracle, at).await;
    error_ratios_are_the_oracles(prometheus, oracle, at).await;
    quantiles_are_the_oracles(prometheus, oracle, at).await;
    victoria_metrics_has_every_series(victoria, oracle, at).await;
}

/// Counters start from their zero, so that only the end of the window is extrapolated.
async fn rates_are_within_the_extrapolations_bounds(prometheus: &Server, oracle: &Oracle, at: f64) {
    let query = "sum(rate(traces_spanmetrics_calls_total[5m])) by (service)";
    let found = by_label(prometheus, query, "service", at).await;
    let expected = merged(oracle, "service", |_| true);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (service, histogram) in &expected {
        let calls = histogram.count as f64;
        let most = calls * (1.0 + 1.1 / TICKS as f64);
        let increase = found[service] * WINDOW;
        let within = (calls * (1.0 - 1e-9)..=most * (1.0 + 1e-9)).contains(&increase);
        assert!(within, "{service}: {increase} calls in 5m, expected {calls} to {most}");
    }
}

async fn error_ratios_are_the_oracles(prometheus: &Server, oracle: &Oracle, at: f64) {
    let query = "sum(rate(traces_spanmetrics_calls_total{status_code=\"STATUS_CODE_ERROR\"}[5m])) \
                 by (span_name) / sum(rate(traces_spanmetrics_calls_total[5m])) by (span_name)";
    let found = by_label(prometheus, query, "span_name", at).await;
    let is_error = |labels: &Labels| labels["status_code"] == "STATUS_CODE_ERROR";
    let errors = merged(oracle, "span_name", is_error);
    let all = merged(oracle, "span_name", |_| true);
    assert!(!errors.is_empty(), "a corpus with errors");
    assert_eq!(found.keys().collect::<Vec<_>>(), errors.keys().collect::<Vec<_>>());
    for (name, histogram) in &errors {
        let expected = histogram.count as f64 / all[name].count as f64;
        let off = (found[name] - expected).abs();
        assert!(off <= 1e-9, "{name}: {}, expected {expected}", found[name]);
    }
}

async fn quantiles_are_the_oracles(prometheus: &Server, oracle: &Oracle, at: f64) {
    let query = "histogram_quantile(0.99, \
                 sum(rate(traces_spanmetrics_latency_bucket[5m])) by (le, service))";
    let found = by_label(prometheus, query, "service", at).await;
    let expected = merged(oracle, "service", |_| true);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (service, histogram) in &expected {
        // The rank may fall on the edge of a bucket, where the last bit of a rate decides.
        let [least, most] = [1.0 - 1e-12, 1.0 + 1e-12].map(|nudge| histogram.quantile(0.99, nudge));
        let quantile = found[service];
        let within = (least * (1.0 - 1e-9)..=most * (1.0 + 1e-9)).contains(&quantile);
        assert!(within, "{service}: {quantile}, expected {least} to {most}");
    }
}

async fn victoria_metrics_has_every_series(victoria: &Server, oracle: &Oracle, at: f64) {
    let found = victoria.query(r#"{__name__=~"traces_.+"}"#, Some(at)).await;
    let found = found.into_iter().map(|(labels, (_, v))| (strip_origin(labels, RUN), v)).collect();
    assert_equal(&oracle.series(), &found, &ALSO, "VictoriaMetrics");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exemplars_carry_trace_ids_of_the_corpus_in_each_of_three_intervals() {
    const RUN: &str = "exemplars";
    const INTERVALS: usize = 3;
    let prometheus = shared_prometheus().await;
    let capture = Capture::start().await;
    let urls = vec![capture.url(), prometheus.write_url()];
    let (spanmill, mut sender) = start(RUN, "1s", urls).await;
    let corpus = corpus::named("node-edge");
    let oracle = corpus.oracle();
    let body = corpus.as_one_request();
    for interval in 1..=INTERVALS {
        sender.send_all(std::slice::from_ref(&body)).await;
        let calls = oracle.n_spans() as f64 * interval as f64;
        let ticked = |seen: &Seen| seen.total(CALLS) >= calls;
        capture.wait_until("the tick after a request", WITHIN, ticked).await;
    }
    spanmill.stop().await;

    let all_time = (0.0, 4e9);
    let on_calls = prometheus.exemplars(&format!("{CALLS}{{run=\"{RUN}\"}}"), all_time).await;
    let on_buckets = prometheus.exemplars(&format!("{BUCKETS}{{run=\"{RUN}\"}}"), all_time).await;
    let names = |found: &BTreeMap<Labels, Vec<FoundExemplar>>| -> BTreeSet<Labels> {
        let label = |labels: &Labels| {
            let mut labels = strip_origin(labels.clone(), RUN);
            labels.retain(|name, _| name != "le" && name != "__name__");
            labels
        };
        found.keys().map(label).collect()
    };
    let operations: BTreeSet<Labels> = oracle.operations.iter().map(|o| o.labels.clone()).collect();
    assert_eq!(names(&on_calls), operations, "operations with exemplars on calls");
    assert_eq!(names(&on_buckets), operations, "operations with exemplars on latency");
    let spans = latencies(&corpus);
    for (labels, exemplars) in on_calls.iter().chain(&on_buckets) {
        assert_eq!(exemplars.len(), INTERVALS, "{labels:?}: {exemplars:?}");
        let rise = exemplars.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp);
        assert!(rise, "{labels:?}: {exemplars:?}");
        exemplars.iter().for_each(|exemplar| check_exemplar(exemplar, labels, &spans));
    }
}

/// Seconds of latency of the spans of an id; requests that were sent twice have it twice.
type Latencies = BTreeMap<(String, String), Vec<f64>>;

fn latencies(corpus: &Corpus) -> Latencies {
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut latencies = Latencies::new();
    let requests = corpus.requests();
    let resources = requests.iter().flat_map(|request| &request.resource_spans);
    for span in resources.flat_map(|r| &r.scope_spans).flat_map(|scope| &scope.spans) {
        let ids = (hex(&span.trace_id), hex(&span.span_id));
        let ns = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        latencies.entry(ids).or_default().push(ns as f64 / 1e9);
    }
    latencies
}

fn check_exemplar(exemplar: &FoundExemplar, series: &Labels, spans: &Latencies) {
    let names: Vec<&str> = exemplar.labels.keys().map(String::as_str).collect();
    assert_eq!(names, ["span_id", "traceID"], "{series:?}");
    let ids = (exemplar.labels["traceID"].clone(), exemplar.labels["span_id"].clone());
    assert_eq!((ids.0.len(), ids.1.len()), (32, 16), "{series:?}: {ids:?}");
    let found = spans.get(&ids).unwrap_or_else(|| panic!("{series:?}: {ids:?} was never sent"));
    let latency = exemplar.value;
    let is_its_own = found.iter().any(|own| (own - latency).abs() <= 1e-9);
    assert!(is_its_own, "{series:?}: {latency} of {ids:?}, expected one of {found:?}");
    let le: f64 = series.get("le").map_or(f64::INFINITY, |le| le.parse().expect("a bound"));
    assert!(latency <= le, "{series:?}: {latency}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_that_appears_once_with_5_has_an_increase_of_5() {
    const AGE_MS: i64 = 45_000;
    let prometheus = shared_prometheus().await;
    let capture = Capture::start().await;
    let urls = vec![capture.url(), prometheus.write_url()];
    let (spanmill, mut sender) = start("increase", "5s", urls).await;
    sender.send_all(&[five_spans()]).await;
    let old = |seen: &Seen| sample_of_age(seen, AGE_MS).is_some();
    capture.wait_until("a sample 45 s after birth", WITHIN * 2, old).await;
    let timestamp = sample_of_age(&capture.seen(), AGE_MS).expect("waited for");
    let at = timestamp as f64 / 1000.0;
    let series = format!("{CALLS}{{run=\"increase\"}}");
    prometheus.wait_for_sample(&series, at, 1).await;
    let found = prometheus.query(&format!("increase({series}[5m])"), Some(at)).await;
    let values: Vec<f64> = found.values().map(|(_, value)| *value).collect();
    assert!(matches!(values[..], [4.0..=6.0]), "{found:?}, expected 5 within 20 %");
    spanmill.stop().await;
}

fn five_spans() -> Bytes {
    let span = |id: u8| Span {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        name: "once".to_owned(),
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 2_000_000_000,
        ..Span::default()
    };
    let name = AnyValue { value: Some(Value::StringValue("rare".to_owned())) };
    let service =
        KeyValue { key: "service.name".to_owned(), value: Some(name), ..KeyValue::default() };
    let scope_spans = ScopeSpans { spans: (1..=5).map(span).collect(), ..ScopeSpans::default() };
    let resource_spans = ResourceSpans {
        resource: Some(Resource { attributes: vec![service], ..Resource::default() }),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    Request { resource_spans: vec![resource_spans] }.encode_to_vec().into()
}

/// Timestamp of the first sample of calls that is `age_ms` behind the series' birth.
fn sample_of_age(seen: &Seen, age_ms: i64) -> Option<i64> {
    let (_, series) = seen.family(CALLS).next()?;
    let birth = series.samples.first()?.timestamp;
    series.samples.iter().map(|sample| sample.timestamp).find(|at| at - birth >= age_ms)
}

async fn start(run: &str, interval: &'static str, urls: Vec<String>) -> (Spanmill, Sender) {
    let config = Config { collection_interval: interval, run: run.to_owned(), remote_write: urls };
    let spanmill = Spanmill::start_with(&config, &[SPAN_METRICS_ALONE]).await;
    let http = spanmill.ports.http;
    (spanmill, Sender::connect(http, Protocol::HttpProtobuf, Encoding::Identity).await)
}

/// Seconds; every series must have the same timestamps until then.
fn last_common_timestamp(seen: &Seen, tick: usize) -> f64 {
    let mut timestamps: Option<Vec<i64>> = None;
    for (labels, series) in &seen.series {
        let own: Vec<i64> = series.samples.iter().take(tick + 1).map(|s| s.timestamp).collect();
        let first = timestamps.get_or_insert_with(|| own.clone());
        assert_eq!(&own, first, "{labels:?} has timestamps of its own");
    }
    timestamps.expect("series")[tick] as f64 / 1000.0
}

/// Value of each series of an answer by its one label.
async fn by_label(server: &Server, query: &str, label: &str, at: f64) -> BTreeMap<String, f64> {
    let found = server.query(query, Some(at)).await;
    let one = |(mut labels, (_, value)): (Labels, (f64, f64))| {
        let name = labels.remove(label).unwrap_or_default();
        assert!(labels.is_empty(), "{query}: more than {label}: {labels:?}");
        (name, value)
    };
    found.into_iter().map(one).collect()
}

/// The latency of the operations that match, by one of their labels.
fn merged(
    oracle: &Oracle,
    label: &str,
    matches: impl Fn(&Labels) -> bool,
) -> BTreeMap<String, Histogram> {
    let mut merged: BTreeMap<String, Histogram> = BTreeMap::new();
    for operation in oracle.operations.iter().filter(|operation| matches(&operation.labels)) {
        let name = operation.labels.get(label).cloned().unwrap_or_default();
        merged.entry(name).or_default().add(&operation.latency);
    }
    merged
}
