//! The admin server: what the generator makes, own metrics, health and status.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regex::Regex;
use spanmill::admin::{Admin, Cardinality, Readiness};
use spanmill::collect::Collections;
use spanmill::ledger::Tenants;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::capture::{Capture, Seen};
use crate::support::command;
use crate::support::corpus;
use crate::support::http::{self, Answer};
use crate::support::oracle::{Labels, assert_equal, strip_origin};
use crate::support::process::{Config, SPAN_METRICS_ALONE, Spanmill, tool};
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::servers::prometheus_scraping;
use crate::support::wait;

const WITHIN: Duration = Duration::from_secs(30);
const CALLS: &str = "traces_spanmetrics_calls_total";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn start(run: &str, remote_write: Vec<String>, sets: &[&str]) -> Spanmill {
    let config = Config { collection_interval: "1s", run: run.to_owned(), remote_write };
    Spanmill::start_with(&config, sets).await
}

async fn get(addr: SocketAddr, path: &str) -> Answer {
    http::get(addr, path).await.unwrap_or_else(|e| panic!("{path}: {e}"))
}

async fn send(addr: SocketAddr, bodies: &[Bytes]) {
    Sender::connect(addr, Protocol::HttpProtobuf, Encoding::Identity).await.send_all(bodies).await;
}

/// The page once it shows all spans of a corpus.
async fn generated(spanmill: &Spanmill, n_spans: u64) -> String {
    let addr = spanmill.ports.admin;
    wait::until(&format!("{n_spans} calls on the page"), WITHIN, async || {
        let text = get(addr, "/generated").await.text();
        let calls = total(&text, CALLS);
        if calls >= n_spans as f64 { Ok(text) } else { Err(format!("{calls}: {text:.500}")) }
    })
    .await
}

/// Sum of a family's samples.
fn total(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let value = |line: &str| {
        let line = line.split(" # ").next().expect("a sample");
        line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")
    };
    samples.map(value).sum()
}

// ---- /generated

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_scrapes_the_generated_series_and_their_exemplars() {
    const RUN: &str = "scraped";
    let spanmill = start(RUN, Vec::new(), &[]).await;
    let corpus = corpus::named("node-edge");
    let oracle = corpus.oracle();
    send(spanmill.ports.http, &[corpus.as_one_request()]).await;
    generated(&spanmill, oracle.n_spans()).await;
    let prometheus = prometheus_scraping(spanmill.ports.admin, "/generated").await;
    let query = r#"{__name__=~"traces_spanmetrics_.+", __name__!~".+_created"}"#;
    let found = wait::until("Prometheus to have every series", WITHIN, async || {
        let found = prometheus.query(query, None).await;
        if found.len() > oracle.series().len() { Ok(found) } else { Err(found.len().to_string()) }
    })
    .await;
    let plain = |(mut labels, (_, value)): (Labels, (f64, f64))| {
        assert_eq!(labels.remove("job").as_deref(), Some("scraped"), "{labels:?}");
        assert!(labels.remove("instance").is_some(), "{labels:?}");
        (strip_origin(labels, RUN), value)
    };
    let found: BTreeMap<Labels, f64> = found.into_iter().map(plain).collect();
    assert_equal(&oracle.series(), &found, &["traces_spanmetrics_size_total"], "scraped");

    // The page has exemplars of one tick only: another request, another tick.
    let asked = wait::until("scraped exemplars", WITHIN, async || {
        send(spanmill.ports.http, &[corpus.as_one_request()]).await;
        let found =
            prometheus.exemplars(r#"{__name__=~"traces_spanmetrics_.+"}"#, (0.0, 4e9)).await;
        let named: BTreeSet<String> = found.keys().map(|l| l["__name__"].clone()).collect();
        if named.len() == 2 { Ok(found) } else { Err(format!("{named:?}")) }
    })
    .await;
    let names: BTreeSet<&str> = asked.keys().map(|labels| labels["__name__"].as_str()).collect();
    assert_eq!(names, BTreeSet::from([CALLS, "traces_spanmetrics_latency_bucket"]));
    for exemplar in asked.values().flatten() {
        let lengths = ["traceID", "span_id"].map(|name| exemplar.labels[name].len());
        assert_eq!((lengths, exemplar.labels.len()), ([32, 16], 2), "{exemplar:?}");
    }
    spanmill.stop().await;
}

#[tokio::test]
async fn the_generated_page_is_open_metrics() {
    let buckets = "processors.span_metrics.histogram_buckets=[0.002, 1, 2.5]";
    let spanmill = start("page", Vec::new(), &[SPAN_METRICS_ALONE, buckets]).await;
    let answer = get(spanmill.ports.admin, "/generated").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "# EOF\n"));
    let corpus = corpus::named("node-edge");
    send(spanmill.ports.http, &[corpus.as_one_request()]).await;
    let text = generated(&spanmill, corpus.oracle().n_spans()).await;
    assert_eq!(get(spanmill.ports.admin, "/generated").await.headers["content-type"], OPEN_METRICS);

    assert!(text.ends_with("\n# EOF\n"), "{text:.300}");
    let types: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(
        types,
        [
            "# TYPE traces_spanmetrics_calls counter",
            "# TYPE traces_spanmetrics_size counter",
            "# TYPE traces_spanmetrics_latency histogram",
            "# EOF"
        ]
    );
    let sample = Regex::new(concat!(
        r#"^([a-z_]+)\{((?:[A-Za-z_][A-Za-z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)+)\} ([0-9.]+)"#,
        r#"( # \{traceID="[0-9a-f]{32}",span_id="[0-9a-f]{16}"\} [0-9.e-]+ \d+\.\d{3})?$"#,
    ))
    .expect("a regex");
    let le = Regex::new(r#"le="([^"]+)""#).expect("a regex");
    let mut bounds = BTreeSet::new();
    let mut with_exemplar = BTreeSet::new();
    let mut n_created = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let parts = sample.captures(line).unwrap_or_else(|| panic!("no sample: {line}"));
        let (name, value) = (&parts[1], &parts[3]);
        if !name.ends_with("_sum") && !name.ends_with("_created") {
            assert!(!value.contains('.'), "a whole number: {line}");
        }
        if parts.get(4).is_some() {
            with_exemplar.insert(name.to_owned());
        }
        if name.ends_with("_created") {
            *n_created.entry(name.to_owned()).or_insert(0) += 1;
        }
        bounds.extend(le.captures(&parts[2]).map(|le| le[1].to_owned()));
    }
    assert_eq!(bounds, ["+Inf", "0.002", "1.0", "2.5"].map(str::to_owned).into());
    let exemplars = [CALLS, "traces_spanmetrics_latency_bucket"].map(str::to_owned);
    assert_eq!(with_exemplar, exemplars.into());
    let n = corpus.oracle().operations.len();
    let created = ["calls", "latency", "size"];
    let created = created.map(|name| (format!("traces_spanmetrics_{name}_created"), n));
    assert_eq!(n_created, created.into());
    spanmill.stop().await;
}

#[tokio::test]
async fn with_tenancy_the_page_is_a_tenants_own() {
    let spanmill = start("tenants", Vec::new(), &["multitenancy.enabled=true"]).await;
    let addr = spanmill.ports.admin;
    let corpus = corpus::named("node-edge");
    let sender = Sender::connect(spanmill.ports.http, Protocol::HttpProtobuf, Encoding::Identity);
    let mut sender = sender.await.with_header("x-scope-orgid", "team-a");
    sender.send_all(&[corpus.as_one_request()]).await;
    wait::until("the tenant's page", WITHIN, async || {
        let answer = get(addr, "/generated?tenant=team-a").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    for (path, status, text) in [
        ("/generated", 400, "tenant is missing, expected /generated?tenant=ID"),
        ("/generated?tenant=a%7Cb", 400, "tenant id has the character '|'"),
        ("/generated?tenant=team-b", 404, "nothing has been collected for tenant team-b"),
        ("/api/v1/cardinality", 400, "tenant is missing, expected /api/v1/cardinality?tenant=ID"),
        ("/api/v1/cardinality?tenant=a%7Cb", 400, "tenant id has the character '|'"),
        ("/api/v1/cardinality?tenant=team-b", 404, "nothing has been collected for tenant"),
        ("/api/v1/cardinality?tenant=team-a&service=nobody", 200, "{\"window_seconds\":900,"),
    ] {
        let answer = get(addr, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.text().starts_with(text), "{path}: {}", answer.text());
    }
    spanmill.stop().await;
}

// ---- /api/v1/cardinality

#[tokio::test]
async fn cardinality_is_that_of_the_oracle() {
    let spanmill = start("guilt", Vec::new(), &[SPAN_METRICS_ALONE]).await;
    let addr = spanmill.ports.admin;
    let path = "/api/v1/cardinality";
    let nothing = get(addr, path).await.text();
    assert_eq!(nothing, r#"{"window_seconds":900,"services":[]}"#);
    let corpus = corpus::named("node-edge");
    let oracle = corpus.oracle();
    send(spanmill.ports.http, &[corpus.as_one_request()]).await;
    generated(&spanmill, oracle.n_spans()).await;

    // Service and label, value: spans.
    let mut expected: BTreeMap<[String; 2], BTreeMap<String, u64>> = BTreeMap::new();
    for operation in &oracle.operations {
        let service = &operation.labels["service"];
        for (label, value) in operation.labels.iter().filter(|(label, _)| *label != "service") {
            let values = expected.entry([service.clone(), label.clone()]).or_default();
            *values.entry(value.clone()).or_default() += operation.calls;
        }
    }
    let answer = get(addr, &format!("{path}?top=1000")).await;
    let headers = ["content-type", "x-content-type-options"].map(|name| &answer.headers[name]);
    assert_eq!(headers, ["application/json", "nosniff"]);
    let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let mut found = BTreeMap::new();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    for service in list(&json["services"]) {
        assert_eq!(service["overflowed_spans"], 0);
        for label in list(&service["labels"]) {
            let top = list(&label["top"]).into_iter();
            let top = top.map(|t| (text(&t["value"]), t["spans"].as_u64().expect("spans")));
            let names = [text(&service["service"]), text(&label["label"])];
            assert_eq!(label["wanted"], label["admitted"], "nothing was refused: {label}");
            assert_eq!(label["admitted"], expected[&names].len(), "{names:?}");
            found.insert(names, top.collect::<BTreeMap<_, _>>());
        }
    }
    assert_eq!(found, expected);

    let [service, _] = expected.keys().next().expect("services");
    let one = get(addr, &format!("{path}?service={service}&top=0")).await;
    let one: serde_json::Value = serde_json::from_slice(&one.body).expect("JSON");
    assert_eq!(list(&one["services"]).len(), 1);
    assert_eq!(
        (text(&one["services"][0]["service"]), &one["services"][0]["labels"][0]["top"]),
        (service.clone(), &serde_json::json!([]))
    );
    let none = get(addr, &format!("{path}?service=nobody")).await.text();
    assert_eq!(none, nothing);
    for top in ["x", "-1", "1.5"] {
        let answer = get(addr, &format!("{path}?top={top}")).await;
        let expected = format!("top is \"{top}\", expected a whole number\n");
        assert_eq!((answer.status.as_u16(), answer.text()), (400, expected));
    }
    spanmill.stop().await;
}

// ---- /metrics

/// Every own metric of this version, with its labels.
const OWN: [(&str, &[&str]); 40] = [
    ("spanmill_requests_total", &["protocol", "result"]),
    ("spanmill_requests_refused_total", &["protocol", "reason"]),
    ("spanmill_received_bytes_total", &["form", "protocol"]),
    ("spanmill_spans_received_total", &["tenant"]),
    ("spanmill_spans_counted_total", &["processor", "tenant"]),
    ("spanmill_spans_discarded_total", &["processor", "reason", "tenant"]),
    ("spanmill_spans_limited_total", &["limit", "processor", "tenant"]),
    ("spanmill_spans_repaired_total", &["tenant", "what"]),
    ("spanmill_ack_seconds_count", &[]),
    ("spanmill_collection_seconds_count", &[]),
    ("spanmill_series_active", &["tenant"]),
    ("spanmill_series_limit", &["tenant"]),
    ("spanmill_label_values", &["form", "label", "service", "tenant"]),
    ("spanmill_series_created_total", &["tenant"]),
    ("spanmill_series_expired_total", &["tenant"]),
    ("spanmill_edges_completed_total", &["connection_type", "tenant"]),
    ("spanmill_edge_sides_total", &["end", "tenant"]),
    ("spanmill_edge_sides_pending", &["tenant"]),
    ("spanmill_remote_write_samples_sent_total", &["endpoint"]),
    ("spanmill_remote_write_exemplars_sent_total", &["endpoint"]),
    ("spanmill_remote_write_samples_dropped_total", &["endpoint", "reason"]),
    ("spanmill_remote_write_exemplars_dropped_total", &["endpoint", "reason"]),
    ("spanmill_remote_write_requests_total", &["code", "endpoint"]),
    ("spanmill_remote_write_retries_total", &["endpoint"]),
    ("spanmill_remote_write_request_seconds_count", &["endpoint"]),
    ("spanmill_remote_write_highest_sent_timestamp_seconds", &["endpoint"]),
    ("spanmill_config_last_reload_successful", &[]),
    ("spanmill_memory_bound_bytes", &[]),
    ("spanmill_bodies_bytes", &[]),
    ("spanmill_bodies_peak_bytes", &[]),
    ("spanmill_connections", &[]),
    ("spanmill_connections_closed_total", &["reason"]),
    ("spanmill_connections_refused_total", &["reason"]),
    ("spanmill_span_names_sanitized_total", &["tenant"]),
    ("spanmill_build_info", &["commit", "version"]),
    ("process_cpu_seconds_total", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_start_time_seconds", &[]),
    ("process_open_fds", &[]),
    ("process_max_fds", &[]),
];

/// Label names of a family's first sample.
fn labels_of(text: &str, name: &str) -> Option<Vec<String>> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    })?;
    let label = Regex::new(r#"([a-z_]+)=""#).expect("a regex");
    let mut names: Vec<String> = label.captures_iter(line).map(|c| c[1].to_owned()).collect();
    names.sort();
    Some(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_own_metric_is_there_with_its_labels_and_promtool_is_content() {
    let capture = Capture::start().await;
    let spanmill = start("own", vec![capture.url()], &[]).await;
    let corpus = corpus::named("node-edge");
    send(spanmill.ports.http, &[corpus.as_one_request()]).await;
    let n_spans = corpus.oracle().n_spans() as f64;
    let sent = |seen: &Seen| seen.total(CALLS) >= n_spans;
    capture.wait_until("all calls", WITHIN, sent).await;
    let text = wait::until("all own metrics", WITHIN, async || {
        let text = get(spanmill.ports.admin, "/metrics").await.text();
        let missing: Vec<&str> =
            OWN.iter().map(|(n, _)| *n).filter(|n| labels_of(&text, n).is_none()).collect();
        if missing.is_empty() { Ok(text) } else { Err(format!("missing: {missing:?}")) }
    })
    .await;
    for (name, labels) in OWN {
        assert_eq!(labels_of(&text, name).as_deref(), Some(&labels.map_to_owned()[..]), "{name}");
    }
    assert_eq!(total(&text, "spanmill_spans_received_total"), n_spans);
    let of_span_metrics = |line: &&str| line.contains(r#"processor="span-metrics""#);
    let of_span_metrics = text.lines().filter(of_span_metrics).collect::<Vec<_>>().join("\n");
    assert_eq!(total(&of_span_metrics, "spanmill_spans_counted_total"), n_spans);
    assert!(total(&text, "spanmill_remote_write_samples_sent_total") >= n_spans.min(100.0));

    let known = OWN.map(|(name, _)| name.trim_end_matches("_count"));
    let named = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let others: Vec<&str> = named
        .map(|rest| rest.split(' ').next().expect("a name"))
        .filter(|name| !known.contains(name) && !name.starts_with("process_"))
        .collect();
    assert_eq!(others, [""; 0], "own metrics that the contract does not list");

    let mut promtool = Command::new(tool("promtool"));
    promtool.args(["check", "metrics"]);
    let checked = command::run(promtool, &text).await;
    assert_eq!((checked.code, checked.stdout + &checked.stderr), (Some(0), String::new()));
    spanmill.stop().await;
}

trait MapToOwned {
    fn map_to_owned(&self) -> Vec<String>;
}

impl MapToOwned for &[&str] {
    fn map_to_owned(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

// ---- health and status

async fn serve(admin: Admin) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(admin.serve(listener));
    addr
}

#[tokio::test]
async fn ready_says_why_not_before_and_after_the_service_takes_requests() {
    let readiness = Arc::new(Readiness::default());
    let (created, _) = tokio::sync::mpsc::unbounded_channel();
    let tenants = Tenants::new(0, [0; 4], created);
    let collections = Arc::new(Collections::default());
    let addr = serve(Admin {
        registry: prometheus::Registry::new(),
        cardinality: Cardinality::new(Arc::new(tenants), Arc::clone(&collections), WITHIN),
        collections,
        effective_config: Arc::default(),
        multitenancy: false,
        readiness: Arc::clone(&readiness),
        pages: Arc::new(tokio::sync::Semaphore::new(1)),
        reload: tokio::sync::mpsc::channel(1).0,
    })
    .await;
    let ready = async || {
        let answer = get(addr, "/-/ready").await;
        (answer.status.as_u16(), answer.text())
    };
    let starting = r#"{"ready":false,"reasons":["starting: receivers are not bound yet"]}"#;
    assert_eq!(ready().await, (503, starting.to_owned()));
    readiness.ready();
    assert_eq!(ready().await, (200, r#"{"ready":true,"reasons":[]}"#.to_owned()));
    readiness.draining();
    let draining = r#"{"ready":false,"reasons":["draining: the process is about to stop"]}"#;
    assert_eq!(ready().await, (503, draining.to_owned()));
    let healthy = get(addr, "/-/healthy").await;
    assert_eq!(healthy.status, 200, "a process that drains is healthy");
}

#[tokio::test]
async fn a_service_that_drains_says_so_while_a_request_is_in_flight() {
    let mut spanmill = start("draining", Vec::new(), &[]).await;
    let mut stream = TcpStream::connect(spanmill.ports.http).await.expect("it listens");
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n\
                content-length: 100\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("it asks for the body");
    assert_eq!(&answer, b"HTTP/1.1 100");
    spanmill.terminate();
    wait::until("draining", WITHIN, async || {
        match http::get(spanmill.ports.admin, "/-/ready").await {
            Ok(answer) if answer.status == 503 && answer.text().contains("draining: ") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(spanmill.exit_status().await.code(), Some(0), "{}", spanmill.stderr());
}

#[tokio::test]
async fn status_shows_the_configuration_without_secrets_and_the_build() {
    let endpoint = "remote_write=[{url: \"http://u:hunter1@127.0.0.1:1/w\", \
                    headers: {X-Key: hunter2}}, {url: \"http://127.0.0.1:2/w\", \
                    basic_auth: {username: u, password: hunter3}}, {url: \"http://127.0.0.1:3/w\", \
                    authorization: {credentials: hunter4}}]";
    let spanmill = start("status", Vec::new(), &[endpoint]).await;
    let addr = spanmill.ports.admin;
    let config = get(addr, "/status/config").await;
    let text = config.text();
    assert_eq!(
        (config.status.as_u16(), &config.headers["content-type"]),
        (200, &"application/yaml".parse().expect("a value"))
    );
    assert!(!text.contains("hunter"), "{text}");
    assert!(text.contains("collection_interval: 1s") && text.contains("127.0.0.1:2/w"), "{text}");

    let build = get(addr, "/status/buildinfo").await;
    let json: serde_json::Value = serde_json::from_slice(&build.body).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["commit"].is_string(), "{json}");
    drop(spanmill);
}

#[tokio::test]
async fn other_paths_and_methods_are_told_what_there_is() {
    let spanmill = start("paths", Vec::new(), &[]).await;
    let addr = spanmill.ports.admin;
    let answer = get(addr, "/nothing").await;
    assert_eq!(answer.status, 404);
    for path in [
        "/metrics",
        "/generated",
        "/-/healthy",
        "/-/ready",
        "/-/reload",
        "/status/config",
        "/api/v1/cardinality",
    ] {
        assert!(answer.text().contains(path), "{}", answer.text());
    }
    let answer = http::post(addr, "/-/reload", &[], Bytes::new()).await.expect("an answer");
    assert_eq!(answer.text(), "reloaded: nothing has changed\n");
    assert_eq!(get(addr, "/-/reload").await.status, 405, "a page can't be made to ask for it");
    let answer = http::post(addr, "/metrics", &[], Bytes::new()).await.expect("an answer");
    assert_eq!(answer.status, 405);
    spanmill.stop().await;
}
