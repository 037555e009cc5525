//! `spanmill replay`: in process it equals the oracle, and a service that it is sent to does too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::capture::{Capture, Seen};
use crate::support::command::{Output, spanmill};
use crate::support::corpus::{self, Corpus};
use crate::support::oracle::{Histogram, Labels, Oracle};
use crate::support::process::{Config, Spanmill};

const CALLS: &str = "traces_spanmetrics_calls_total";
const BUCKETS: &str = "traces_spanmetrics_latency_bucket";
const COLUMNS: [&str; 3] = ["service", "span_name", "span_kind"];
const ERROR: &str = "STATUS_CODE_ERROR";

/// service, span_name, span_kind
type Names = [String; 3];

/// What the oracle says of an operation, its status codes together.
#[derive(Debug, Default)]
struct Expected {
    calls: u64,
    errors: u64,
    latency: Histogram,
}

fn expected(oracle: &Oracle) -> BTreeMap<Names, Expected> {
    let mut operations: BTreeMap<Names, Expected> = BTreeMap::new();
    for operation in &oracle.operations {
        let sums = operations.entry(names(&operation.labels)).or_default();
        sums.calls += operation.calls;
        if operation.labels["status_code"] == ERROR {
            sums.errors += operation.calls;
        }
        sums.latency.add(&operation.latency);
    }
    operations
}

fn names(labels: &Labels) -> Names {
    COLUMNS.map(|name| labels.get(name).cloned().unwrap_or_default())
}

fn assert_is_the_oracles(json: &Value, oracle: &Oracle, source: &str) {
    let expected = expected(oracle);
    let found = json["operations"].as_array().expect("operations");
    assert_eq!(found.len(), expected.len(), "{source}: number of operations");
    for row in found {
        let names = COLUMNS.map(|name| row[name].as_str().expect("text").to_owned());
        let of = expected.get(&names).unwrap_or_else(|| panic!("{source}: unexpected {row}"));
        assert_eq!((&row["calls"], &row["errors"]), (&of.calls.into(), &of.errors.into()), "{row}");
        for (column, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            let found = row[column].as_f64().expect("a number of milliseconds");
            let wanted = of.latency.quantile(q, 1.0) * 1000.0;
            assert!(
                (found - wanted).abs() <= 1e-9 * wanted,
                "{source}: {column} not {wanted}: {row}"
            );
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

async fn replay_json(file: &Path) -> Output {
    spanmill(&["replay", "--json", text(file)]).await
}

/// A folder with one file.
fn file(name: &str, content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a written file");
    (folder, path)
}

fn framed(bodies: &[Bytes]) -> Vec<u8> {
    let frame = |body: &Bytes| {
        let len = u32::try_from(body.len()).expect("short bodies").to_be_bytes();
        [&len[..], &body[..]].concat()
    };
    bodies.iter().flat_map(frame).collect()
}

fn summary(output: &Output) -> &str {
    output.stderr.lines().last().unwrap_or_default()
}

#[tokio::test]
async fn every_corpus_equals_its_oracle() {
    for corpus in corpus::all() {
        let output = replay_json(&corpus.file).await;
        assert_eq!(output.code, Some(0), "{}: {}", corpus.name, output.stderr);
        let oracle = corpus.oracle();
        assert_is_the_oracles(&output.json(), &oracle, &corpus.name);
        let requests = corpus.bodies().len();
        let wanted = format!(
            "replay: {requests} requests, {} spans, 0 undecodable, 0 refused",
            oracle.n_spans()
        );
        assert_eq!(summary(&output), wanted, "{}", corpus.name);
    }
}

/// Label sets and series of the span metrics without some labels, counted from the oracle.
fn size_without(oracle: &Oracle, drop: &[&str]) -> [usize; 2] {
    let without = |labels: &Labels| {
        let mut labels = labels.clone();
        labels.retain(|label, _| !drop.contains(&label.as_str()));
        labels
    };
    let sets: std::collections::BTreeSet<Labels> =
        oracle.operations.iter().map(|operation| without(&operation.labels)).collect();
    // Calls, size, count, sum, 14 buckets and that of the rest.
    [sets.len(), sets.len() * 19]
}

#[tokio::test]
async fn what_if_counts_the_series_without_a_label() {
    let enabled = "processors.enabled=[span-metrics]";
    for corpus in corpus::all() {
        let oracle = corpus.oracle();
        let mut arguments = vec!["replay", "--json", "--set", enabled, text(&corpus.file)];
        arguments.extend(["--what-if", "drop=span_name", "--what-if", "drop=span_kind,span_name"]);
        let json = spanmill(&arguments).await.json();
        let all = size_without(&oracle, &[]);
        for (found, drop) in json["what_if"]
            .as_array()
            .expect("answers")
            .iter()
            .zip([&["span_name"][..], &["span_kind", "span_name"]])
        {
            let without = size_without(&oracle, drop);
            let expected = serde_json::json!({
                "drop": drop.join(","),
                "series": all[1],
                "series_without": without[1],
                "label_sets": all[0],
                "label_sets_without": without[0],
            });
            assert_eq!(found, &expected, "{}", corpus.name);
        }
        assert_eq!(json["what_if"].as_array().map(Vec::len), Some(2));
    }
}

#[tokio::test]
async fn what_if_is_told_in_lines_and_does_not_know_every_label() {
    let corpus = corpus::named("node-edge");
    let file = text(&corpus.file);
    let output = spanmill(&["replay", file, "--what-if", "drop=client"]).await;
    let line = output.stdout.lines().last().expect("a line");
    assert!(line.starts_with("what-if drop=client: "), "{line}");
    assert_eq!(output.code, Some(0));
    let output = spanmill(&["replay", file, "--what-if", "drop=span.name"]).await;
    let told = "--what-if drop=span.name: no series has this label, the nearest one is span_name";
    assert!(output.stderr.lines().any(|line| line == told), "{}", output.stderr);
    assert_eq!(output.code, Some(1));
    for wrong in [&["--what-if", "span_name"][..], &["--what-if", "drop=a", "--to", "http://a:1"]] {
        let output = spanmill(&[&["replay", file], wrong].concat()).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""), "{wrong:?}");
    }
}

#[tokio::test]
async fn every_form_and_compression_of_a_corpus_gives_the_same() {
    let corpus = corpus::named("node-edge");
    let oracle = corpus.oracle();
    let protobuf = framed(&corpus.bodies());
    let lines: Vec<Value> = corpus
        .bodies_as(corpus::Form::Json)
        .iter()
        .map(|body| serde_json::from_slice(body).expect("JSON"))
        .collect();
    let pretty: String =
        lines.iter().map(|v| serde_json::to_string_pretty(v).expect("JSON") + "\n").collect();
    let joined: String = lines.iter().map(Value::to_string).collect();
    let zstd = zstd::encode_all(&protobuf[..], 1).expect("into memory");
    let twice = [
        zstd::encode_all(&joined.as_bytes()[..100], 1),
        zstd::encode_all(&joined.as_bytes()[100..], 1),
    ];
    let twice = twice.map(|part| part.expect("into memory")).concat();
    for (name, content) in [
        ("plain", protobuf),
        ("pretty.json", pretty.into_bytes()),
        ("values behind each other", joined.into_bytes()),
        ("zstd of frames", zstd),
        ("two zstd frames of values", twice),
    ] {
        let (_folder, path) = file(name, &content);
        let output = replay_json(&path).await;
        assert_eq!(output.code, Some(0), "{name}: {}", output.stderr);
        assert_is_the_oracles(&output.json(), &oracle, name);
    }
}

#[tokio::test]
async fn several_files_are_added_up_and_the_table_has_a_line_for_each_operation() {
    let corpus = corpus::named("node-edge");
    let path = text(&corpus.file).to_owned();
    let output = spanmill(&["replay", &path, &path]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let (operations, edges) = output.stdout.split_once("\n\n").expect("two tables");
    assert_are_the_edges(edges, &spanmill(&["replay", "--json", &path, &path]).await.json());
    let lines: Vec<&str> = operations.lines().collect();
    let operations = expected(&corpus.oracle());
    assert_eq!(lines.len(), 1 + operations.len());
    let columns: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(columns[..5], ["service", "span_name", "span_kind", "calls", "errors"]);
    assert_eq!(columns[5..], ["p50", "ms", "p95", "ms", "p99", "ms"]);
    let width = |line: &&str| line.chars().count();
    assert!(lines.iter().all(|line| width(line) == width(&lines[0])), "{}", output.stdout);
    let calls = |line: &&str| {
        let numbers: Vec<&str> = line.split_whitespace().rev().collect();
        numbers[4].parse::<u64>().expect("calls")
    };
    let total: u64 = lines[1..].iter().map(calls).sum();
    assert_eq!(total, 2 * corpus.oracle().n_spans());
    let services: Vec<&str> =
        lines[1..].iter().map(|l| l.split_whitespace().next().expect("a service")).collect();
    assert!(services.is_sorted(), "{services:?}");
    let falls = |pair: &[&str]| {
        let same = pair[0].split_whitespace().next() == pair[1].split_whitespace().next();
        !same || calls(&pair[0]) >= calls(&pair[1])
    };
    assert!(lines[1..].windows(2).all(falls), "{}", output.stdout);
}

/// The table has a line for each edge of the JSON, in the same order.
fn assert_are_the_edges(table: &str, json: &Value) {
    let lines: Vec<&str> = table.lines().collect();
    let columns: Vec<&str> = lines[0].split_whitespace().filter(|word| *word != "ms").collect();
    let quantiles = ["client_p50", "client_p95", "server_p50", "server_p95"];
    let names = ["client", "server", "type", "requests", "failed"];
    assert_eq!(columns, [&names[..], &quantiles[..]].concat());
    assert_eq!(lines[0].matches(" ms").count(), quantiles.len(), "{}", lines[0]);
    let edges = json["edges"].as_array().expect("edges");
    assert_eq!(lines.len(), 1 + edges.len(), "{table}");
    for (line, edge) in lines[1..].iter().zip(edges) {
        let client = edge["client"].as_str().expect("text");
        assert!(line.starts_with(client) && line.contains(&edge["requests"].to_string()), "{line}");
    }
}

#[tokio::test]
async fn the_configurations_filters_and_dimensions_hold_and_its_time_window_does_not() {
    let corpus = corpus::named("node-edge");
    let config = "processors.span_metrics: { dimensions: [http.method], filter_policies: \
                  [{ exclude: { match_type: strict, attributes: [{ key: kind, value: \
                  SPAN_KIND_CLIENT }] } }], intrinsic_dimensions: { status_code: false } }\n";
    let config = config.replacen("processors.span_metrics:", "processors:\n  span_metrics:", 1)
        + "  ingestion_time_range_slack: 1s\n";
    let (_folder, path) = file("spanmill.yaml", config.as_bytes());
    let output = spanmill(&["replay", "--json", "--config", text(&path), text(&corpus.file)]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let mut oracle = corpus.oracle();
    oracle.operations.retain(|operation| operation.labels["span_kind"] != "SPAN_KIND_CLIENT");
    assert_is_the_oracles(&output.json(), &oracle, "without clients");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_sent_a_corpus_over_http_has_the_same_numbers() {
    a_service_has_the_oracles_numbers("http").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_sent_a_corpus_over_grpc_has_the_same_numbers() {
    a_service_has_the_oracles_numbers("grpc").await;
}

async fn a_service_has_the_oracles_numbers(scheme: &str) {
    for corpus in corpus::all() {
        let (capture, service) = service(&corpus.name, &[]).await;
        let addr = if scheme == "grpc" { service.ports.grpc } else { service.ports.http };
        let to = format!("{scheme}://{addr}");
        let output = spanmill(&["replay", "--to", &to, text(&corpus.file)]).await;
        assert_eq!(output.code, Some(0), "{}: {}", corpus.name, output.stderr);
        assert_eq!((output.stdout.as_str(), output.stderr.lines().count()), ("", 1), "{output:?}");
        let oracle = corpus.oracle();
        let spans = format!("{} spans, 0 undecodable, 0 refused", oracle.n_spans());
        assert!(summary(&output).ends_with(&spans), "{}", output.stderr);
        service.stop().await;
        assert_has_the_oracles_numbers(&capture.seen(), &oracle, &corpus);
    }
}

fn assert_has_the_oracles_numbers(seen: &Seen, oracle: &Oracle, corpus: &Corpus) {
    let newest = seen.newest();
    for (labels, wanted) in oracle.series() {
        let name = &labels["__name__"];
        if name != CALLS && name != BUCKETS {
            continue;
        }
        let matches =
            |own: &Labels| labels.iter().all(|(name, value)| own.get(name) == Some(value));
        let found: Vec<f64> =
            newest.iter().filter(|(own, _)| matches(own)).map(|(_, v)| *v).collect();
        assert_eq!(found, [wanted], "{}: {labels:?}", corpus.name);
    }
}

async fn service(run: &str, sets: &[&str]) -> (Capture, Spanmill) {
    let capture = Capture::start().await;
    let config = Config {
        collection_interval: "1s",
        run: run.to_owned(),
        remote_write: vec![capture.url()],
    };
    let service = Spanmill::start_with(&config, sets).await;
    (capture, service)
}

const DEFAULT_WINDOW: &str = "processors.ingestion_time_range_slack={past: 1h, future: 10m}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shifted_to_now_old_spans_are_within_the_default_time_window() {
    let (capture, service) = service("shift", &[DEFAULT_WINDOW]).await;
    let corpus = corpus::named("node-edge");
    let to = format!("grpc://{}", service.ports.grpc);
    let output = spanmill(&["replay", "--to", &to, "--shift-to-now", text(&corpus.file)]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "nothing is left out: {}", output.stderr);
    service.stop().await;
    assert_has_the_oracles_numbers(&capture.seen(), &corpus.oracle(), &corpus);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_service_leaves_out_is_told_and_is_no_failure() {
    let (_capture, service) = service("no-shift", &[DEFAULT_WINDOW]).await;
    let path = corpus::named("node-edge").file;
    let n_requests = corpus::named("node-edge").bodies().len();
    let to = format!("http://{}/v1/traces", service.ports.http);
    let output = spanmill(&["replay", "--to", &to, text(&path)]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let lines = output.stderr_lines();
    let left_out = "spans are not counted: they end outside of ingestion_time_range_slack";
    assert!(lines[0].contains(": frame 1 at offset 0: "), "{}", lines[0]);
    assert!(lines[0].ends_with(left_out), "{}", lines[0]);
    assert_eq!(lines.len(), n_requests.min(21) + 2, "{}", output.stderr);
    assert!(output.stderr.contains("--shift-to-now"), "{}", output.stderr);
}

#[tokio::test]
async fn shifted_to_now_in_process_changes_no_number() {
    let corpus = corpus::named("mixed-json");
    let output = spanmill(&["replay", "--json", "--shift-to-now", text(&corpus.file)]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_is_the_oracles(&output.json(), &corpus.oracle(), "shifted");
}

#[tokio::test]
async fn malformed_and_truncated_frames_are_told_and_the_rest_is_read() {
    let corpus = corpus::named("node-edge");
    let bodies = corpus.bodies();
    let mut content = framed(&[bodies[0].clone(), Bytes::from_static(b"\x0a\xff no request")]);
    let last = content.len() + framed(&bodies[1..]).len();
    content.extend(framed(&bodies[1..]));
    content.extend([0, 0, 1, 0, 10]);
    let (_folder, path) = file("damaged.binpb", &content);
    let output = replay_json(&path).await;
    assert_eq!(output.code, Some(1));
    let lines = output.stderr_lines();
    let second = format!("damaged.binpb: frame 2 at offset {}: ", bodies[0].len() + 4);
    assert!(lines[0].contains(&second), "{}", lines[0]);
    assert!(lines[0].contains("malformed trace request: "), "{}", lines[0]);
    let number = bodies.len() + 2;
    let cut = format!("frame {number} at offset {last}: truncated: 1 bytes, expected 256");
    assert!(lines[1].ends_with(&cut), "{}", lines[1]);
    assert!(lines[2].ends_with(", 2 undecodable, 0 refused"), "{}", lines[2]);
    assert_eq!(lines.len(), 3);
    assert_is_the_oracles(&output.json(), &corpus.oracle(), "the rest");
}

#[tokio::test]
async fn malformed_json_values_are_told_and_the_rest_is_read() {
    let corpus = corpus::named("node-old-json");
    let bodies = corpus.bodies();
    let mut content = Vec::new();
    for (at, body) in bodies.iter().enumerate() {
        content.extend_from_slice(body);
        content.push(b'\n');
        match at {
            0 => content.extend_from_slice(b"{\"resourceSpans\": [{\"scopeSpans\": 7}]}\n"),
            1 => content.extend_from_slice(b"{\"resourceSpans\": [{\"sco\n"),
            2 => content.extend_from_slice(b"hello\n"),
            _ => {}
        }
    }
    let (_folder, path) = file("damaged.jsonl", &content);
    let output = replay_json(&path).await;
    assert_eq!(output.code, Some(1));
    let lines = output.stderr_lines();
    assert!(lines[0].contains(": value 2 on line 2 at offset "), "{}", lines[0]);
    assert!(lines[0].contains("scopeSpans: invalid type: integer `7`"), "{}", lines[0]);
    assert!(lines[1].contains(": value 4 on line 4 at offset "), "{}", lines[1]);
    assert!(lines[2].ends_with("found \"hello\", expected a JSON object"), "{}", lines[2]);
    assert!(lines[3].ends_with(", 3 undecodable, 0 refused"), "{}", lines[3]);
    assert_is_the_oracles(&output.json(), &corpus.oracle(), "the rest");
}

#[tokio::test]
async fn an_unreadable_and_a_cut_off_file_are_told_and_the_others_are_read() {
    let corpus = corpus::named("node-edge");
    let whole = fs::read(&corpus.file).expect("a corpus");
    let (_folder, cut) = file("cut.gz", &whole[..whole.len() / 2]);
    let good = text(&corpus.file);
    let arguments = ["replay", "--json", "/nonexistent/a", text(&cut), good];
    let output = spanmill(&arguments).await;
    assert_eq!(output.code, Some(1));
    let lines = output.stderr_lines();
    assert_eq!(lines[0], "/nonexistent/a: can't be read: No such file or directory (os error 2)");
    assert!(lines[1].contains("cut.gz: frame "), "{}", lines[1]);
    assert!(lines[2].ends_with(", 1 undecodable, 0 refused, 1 unreadable"), "{}", lines[2]);
    let calls = |output: &Output| -> u64 {
        let json = output.json();
        let rows = json["operations"].as_array().expect("operations").clone();
        rows.iter().map(|row| row["calls"].as_u64().expect("calls")).sum()
    };
    assert!(calls(&output) > corpus.oracle().n_spans(), "the good file, and what the other had");
}

#[tokio::test]
async fn an_empty_file_is_no_request_and_a_file_of_neither_form_is_told() {
    let (_folder, empty) = file("empty", b"");
    let output = spanmill(&["replay", text(&empty)]).await;
    assert_eq!((output.code, output.stdout.lines().count()), (Some(0), 3), "{output:?}");
    let (_folder, strange) = file("strange", b"hello, world");
    let output = spanmill(&["replay", text(&strange)]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("expected frames of at most"), "{}", output.stderr);
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_and_the_rest_is_read() {
    let corpus = corpus::named("node-edge");
    let largest = corpus.bodies().iter().map(Bytes::len).max().expect("bodies");
    let limit = format!("receivers.otlp.max_inflated_bytes={}", largest - 1);
    let output = spanmill(&["replay", "--set", &limit, text(&corpus.file)]).await;
    assert_eq!(output.code, Some(1));
    let found = format!("refused: {largest} bytes, expected at most {}, raise", largest - 1);
    assert!(output.stderr.contains(&found), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_refuses_is_told_with_its_words() {
    let (_capture, service) = service("refused", &["receivers.otlp.max_inflated_bytes=1KiB"]).await;
    let corpus = corpus::named("node-edge");
    let n_large = corpus.bodies().iter().filter(|body| body.len() > 1024).count();
    for (to, words) in [
        (format!("http://{}", service.ports.http), "refused: answer 413, body inflates to"),
        (format!("grpc://{}", service.ports.grpc), "refused: answer ResourceExhausted, body"),
    ] {
        let output = spanmill(&["replay", "--to", &to, text(&corpus.file)]).await;
        assert_eq!(output.code, Some(1));
        assert!(output.stderr_lines()[0].contains(words), "{}", output.stderr_lines()[0]);
        let refused = format!("0 undecodable, {n_large} refused");
        assert!(summary(&output).ends_with(&refused), "{}", summary(&output));
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_one_line() {
    let path = corpus::named("node-edge").file;
    let [addr] = crate::support::process::free_ports();
    for scheme in ["http", "grpc"] {
        let output =
            spanmill(&["replay", "--to", &format!("{scheme}://{addr}"), text(&path)]).await;
        assert_eq!(output.code, Some(1));
        let line = format!("can't reach {addr}: Connection refused (os error 111)\n");
        assert_eq!(output.stderr, line);
    }
}

#[tokio::test]
async fn a_service_that_is_busy_is_asked_again_and_nothing_is_counted_twice() {
    let busy = Busy::start(3).await;
    let (_folder, path) = file("one", &framed(&corpus::named("node-edge").bodies()[..2]));
    let output = spanmill(&["replay", "--to", &busy.url(), text(&path)]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(busy.n_requests(), 3 + 2, "three times busy, then both were taken");
    let busy = Busy::start(u32::MAX).await;
    let output = spanmill(&["replay", "--to", &busy.url(), text(&path)]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("refused: answer 503, busy, 6 times"), "{}", output.stderr);
    assert_eq!(busy.n_requests(), 12);
}

#[tokio::test]
async fn a_request_without_an_answer_is_told_and_not_sent_again() {
    use tokio::io::AsyncReadExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let served = tokio::spawn(async move {
        let mut n_connections = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            n_connections += 1;
            stream.read_u8().await.expect("a request begins");
            if n_connections == 2 {
                break;
            }
        }
        n_connections
    });
    let (_folder, path) = file("two", &framed(&corpus::named("node-edge").bodies()[..2]));
    let output = spanmill(&["replay", "--to", &format!("http://{addr}"), text(&path)]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr_lines()[0].contains(": frame 1 at offset 0: no answer: "), "{output:?}");
    assert!(summary(&output).ends_with("0 refused, 2 unanswered"), "{}", output.stderr);
    assert_eq!(served.await.expect("it counts"), 2, "one connection a request");
}

/// Answers 503 so often, and then 200.
struct Busy {
    addr: std::net::SocketAddr,
    n_requests: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

impl Busy {
    async fn start(n_busy: u32) -> Self {
        use axum::http::StatusCode;
        use std::sync::atomic::{AtomicU32, Ordering};
        let n_requests = std::sync::Arc::new(AtomicU32::new(0));
        let seen = std::sync::Arc::clone(&n_requests);
        let answer = move |_body: Bytes| async move {
            match seen.fetch_add(1, Ordering::SeqCst) < n_busy {
                true => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "busy"),
                false => (StatusCode::OK, [("retry-after", "0")], ""),
            }
        };
        let app = axum::Router::new().route("/v1/traces", axum::routing::post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { addr, n_requests }
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn n_requests(&self) -> u32 {
        self.n_requests.load(std::sync::atomic::Ordering::SeqCst)
    }
}
